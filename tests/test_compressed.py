"""Compressed spectra give the sums of the full ones."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lindiff._compressed import compress

RNG = np.random.default_rng(0)
SPECTRA = {
    "power law": np.arange(1.0, 5001.0) ** -1.5,
    "twelve decades": 10.0 ** RNG.uniform(-9, 3, 20_000),
    "narrow": RNG.uniform(1.0, 1.001, 300),
    "equal": np.full(200, 3.7),
    "two clusters": np.concatenate([RNG.uniform(1, 2, 400), RNG.uniform(1e9, 2e9, 400)]),
    "with zeros": np.concatenate([np.zeros(37), RNG.uniform(0.1, 5.0, 2000)]),
    "short": np.array([3.0, 0.0, 1.0]),
}
Z = 10.0 ** np.linspace(-15, 12, 55)
KERNELS = {
    **{f"f^{p}": (lambda f, h, z, p=p: f**p) for p in (1, 2, 3, 4)},
    **{f"h^{p}": (lambda f, h, z, p=p: h**p) for p in (1, 2, 3)},
    "f^3 h^2": lambda f, h, z: f**3 * h**2,
    "f h": lambda f, h, z: f * h,
    "log": lambda f, h, z: np.where(f < 0.5, np.log1p(f / h), -np.log(h)),
}


def total(nodes, weights, kernel):
    ratio = nodes / Z[:, None]
    return kernel(ratio / (1 + ratio), 1 / (1 + ratio), Z[:, None]) @ weights


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("kernel", KERNELS)
def test_positive_sums_keep_thirteen_digits(name, kernel):
    values = SPECTRA[name]
    short = compress(values)
    expected = total(values, np.ones(values.size), KERNELS[kernel])
    assert_allclose(total(short.nodes, short.weights, KERNELS[kernel]), expected, rtol=1e-13)


def test_several_signed_weights_at_once():
    values = SPECTRA["twelve decades"]
    rows = np.stack([np.ones(values.size), RNG.normal(size=values.size), values * 0.3])
    short = compress(values, rows)
    assert short.weights.shape == (3, short.nodes.size)
    kernel = KERNELS["f h"]
    for row, weights in zip(rows, short.weights, strict=True):
        error = total(short.nodes, weights, kernel) - total(values, row, kernel)
        assert np.all(np.abs(error) < 1e-13 * total(values, np.abs(row), kernel))
        alone = compress(values, row)
        assert_allclose(alone.weights, weights, rtol=0, atol=1e-15 * np.abs(row).max() * 1e4)
        assert np.abs(weights).sum() < 3.3 * np.abs(row).sum()


def test_multiplicities_are_repetitions():
    values = SPECTRA["power law"][:400]
    times = RNG.integers(1, 5, 400)
    one, two = compress(values, times.astype(float)), compress(np.repeat(values, times))
    kernel = KERNELS["f^2"]
    assert_allclose(
        total(one.nodes, one.weights, kernel), total(two.nodes, two.weights, kernel), rtol=1e-13
    )


@pytest.mark.parametrize("name", SPECTRA)
def test_cells_count_exactly_and_lie_in_order(name):
    short = compress(SPECTRA[name])
    assert short.masses.sum() == SPECTRA[name].size
    assert np.all(short.masses == np.round(short.masses))
    assert np.all(np.diff(short.centres) >= 0)
    ratio = short.nodes[short.nodes > 0] / short.centres[short.cells[short.nodes > 0]]
    assert np.all(np.abs(np.log(ratio)) <= 1.0 + 1e-12)
    assert_allclose(np.bincount(short.cells, short.weights), short.masses, rtol=1e-13)


def test_lengths():
    assert compress(SPECTRA["equal"]).nodes.tolist() == [3.7]
    assert compress(SPECTRA["short"]).nodes.tolist() == [0.0, 1.0, 3.0]
    assert compress(SPECTRA["with zeros"]).nodes[0] == 0.0
    assert compress(SPECTRA["with zeros"]).weights[0] == 37.0
    assert compress(SPECTRA["with zeros"]).centres[0] == 0.0
    assert compress(SPECTRA["two clusters"]).nodes.size < 50
    assert compress(SPECTRA["narrow"]).nodes.size < 8
    assert compress(SPECTRA["twelve decades"]).nodes.size < 350
