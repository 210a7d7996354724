"""Densities of sample covariances against closed forms, polynomials, simulation and libraries."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lindiff import spectra
from lindiff._density import _Curve
from lindiff.equivalents import density_support, spectral_density, trace_resolvent

ORACLES = Path(__file__).parent / "oracles"


def nodes(low, high, count=400):
    """Points and weights of a midpoint rule in the angle, which square-root edges need."""
    angle = np.pi * (np.arange(count) + 0.5) / count
    x = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(angle)
    return x, 0.5 * np.pi * (high - low) / count * np.sin(angle)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.95, 1.0, 1.05, 2.0, 10.0])
def test_equal_eigenvalues_give_marchenko_pastur(q):
    n = 1000
    edges = np.array(spectra.marchenko_pastur_edges(q))
    assert_allclose(
        density_support([2.0] * 3, n, multiplicities=[q * n / 3] * 3), [2 * edges], atol=1e-14
    )
    x = nodes(*edges, 200)[0]
    found = spectral_density(2 * x, [2.0], n, multiplicities=[q * n])
    assert_allclose(2 * found, spectra.marchenko_pastur_density(x, q), rtol=1e-10)
    outside = [-1.0, 0.0, edges[0] - 1e-9, edges[1] + 1e-9, 50.0]
    assert np.all(spectral_density(2 * np.array(outside), [2.0], n, multiplicities=[q * n]) == 0)


@pytest.mark.parametrize("q", [0.1, 0.5, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("second", [1.5, 8.0])
def test_two_atoms_solve_their_cubic(q, second):
    n, atoms = 1000, np.array([1.0, second])
    share = np.array([0.3, 0.7])
    intervals = density_support(atoms, n, multiplicities=share * q * n)
    for low, high in intervals:
        x = nodes(low, high, 40)[0]
        found = spectral_density(x, atoms, n, multiplicities=share * q * n)
        for point, value in zip(x, found, strict=True):
            # x m prod + prod - q m sum w t prod' = 0 for the companion transform m.
            product = np.poly1d([atoms[0], 1.0]) * np.poly1d([atoms[1], 1.0])
            others = share[0] * atoms[0] * np.poly1d([atoms[1], 1.0])
            others = others + share[1] * atoms[1] * np.poly1d([atoms[0], 1.0])
            roots = np.roots((np.poly1d([point, 1.0]) * product - np.poly1d([q, 0.0]) * others).c)
            assert_allclose(value, roots.imag.max() / (np.pi * q), rtol=1e-10)


@pytest.mark.parametrize("counts", [[99.0, 1.0], [1.0, 99.0]])
@pytest.mark.parametrize(("second", "n"), [(1.5, 100), (3.0, 2000)])
def test_edges_of_atoms_of_unequal_weight_are_those_of_the_polynomial(second, n, counts):
    atoms = np.array([1.0, second])
    squares = [np.poly1d([-1.0, atom]) ** 2 for atom in atoms]
    weight = np.array(counts) * atoms**2 / n
    turns = (squares[0] * squares[1] - weight[0] * squares[1] - weight[1] * squares[0]).r
    turns = np.sort(turns[np.abs(turns.imag) < 1e-9].real)
    edges = [u * (1.0 - np.sum(counts * atoms / (atoms - u)) / n) for u in turns]
    assert len(edges) == (2 if n == 100 else 4)
    for scale in (1e-3, 1.0, 1e3):
        found = density_support(scale * atoms, n, multiplicities=counts)
        assert_allclose(found / scale, np.reshape(edges, (-1, 2)), atol=1e-12)


@pytest.mark.parametrize("q", [0.1, 0.6, 1.0, 2.5, 10.0])
@pytest.mark.parametrize("atoms", [2, 40, 10_000])
def test_mass_and_moments(q, atoms):
    values = np.linspace(1.0, 4.0, atoms)
    n, count = 1000, np.full(atoms, 1000 * q / atoms)
    sums = np.zeros(3)
    for low, high in density_support(values, n, multiplicities=count):
        x, weight = nodes(low, high, 200)
        mass = weight * spectral_density(x, values, n, multiplicities=count)
        sums += (x ** np.arange(3)[:, None]) @ mass
    assert_allclose(sums[0], min(1, 1 / q), rtol=1e-9)
    mean = values.mean()
    assert_allclose(sums[1:], [mean, np.mean(values**2) + q * mean**2], rtol=1e-9)


def test_transform_of_the_density_is_the_trace():
    values, n = np.geomspace(0.3, 3.0, 60), 150
    ((low, high),) = density_support(values, n)
    x, weight = nodes(low, high, 1000)
    mass = weight * spectral_density(x, values, n)
    for z in (1e-2, 1.0, 30.0):
        assert_allclose(60 * np.sum(mass / (x + z)), trace_resolvent(values, n, z), rtol=1e-11)


def test_zero_eigenvalues_take_mass_only():
    values = np.array([0.0, 1.0, 2.0])
    x = np.linspace(0.05, 4.0, 50)
    with_zero = spectral_density(x, values, 40, multiplicities=[20, 10, 10])
    without = spectral_density(x, values[1:], 40, multiplicities=[10, 10])
    assert_allclose(with_zero, 0.5 * without, rtol=1e-12)


def test_multiplicity_scale_and_order():
    values, n = spectra.power_law(50, 1.3), 80
    x = np.geomspace(1e-2, 20.0, 60)
    plain = spectral_density(x, values, n)
    assert plain.shape == x.shape and np.count_nonzero(plain) > 30
    assert_allclose(spectral_density(x, values[::-1], n), plain, rtol=1e-11)
    assert_allclose(spectral_density(x, np.repeat(values, 2), 2 * n), plain, rtol=1e-11)
    double = spectral_density(x, values, 2 * n, multiplicities=[2.0] * 50)
    assert_allclose(double, plain, rtol=1e-11)
    assert_allclose(8 * spectral_density(8 * x, 8 * values, n), plain, rtol=1e-10)


def test_many_separate_bulks():
    values, n = spectra.power_law(300, 1.2), 3000
    support = density_support(values, n)
    assert len(support) > 10 and np.all(np.diff(support.ravel()) > 0)
    x = np.concatenate([nodes(low, high, 8)[0] for low, high in support])
    density = spectral_density(x, values, n)
    assert np.all(density > 0)
    gaps = 0.5 * (support[1:, 0] + support[:-1, 1])
    assert np.all(spectral_density(gaps, values, n) == 0)
    # The points of the curve are mapped back to where they came from.
    u, y = _Curve(np.sort(values), np.ones(300), float(n)).preimage(
        x, np.repeat(np.arange(len(support)), 8)
    )
    w = u + 1j * y
    back = w * (1 - (values / (values - w[:, None])).sum(axis=1) / n)
    assert_allclose(back.real, x, rtol=1e-12)
    assert np.all(np.abs(back.imag) < 1e-12 * x)


def test_bisection_finds_what_newton_finds():
    values, n = np.sort(spectra.power_law(60, 1.0)), 40.0
    curve = _Curve(values, np.ones(60), n)
    ((low, high),) = curve.edges[-1:]
    x = nodes(*curve.support[-1], 12)[0]
    u, y = curve.preimage(x, np.full(12, len(curve.edges) - 1))
    slow_u, slow_y = curve._bisect(x, np.full(12, low), np.full(12, high))
    assert_allclose(slow_u, u, rtol=1e-6)
    assert_allclose(slow_y, y, rtol=1e-6)


def test_points_that_newton_misses_are_bisected(monkeypatch):
    curve = _Curve(np.sort(spectra.power_law(60, 1.0)), np.ones(60), 40.0)
    x, last = nodes(*curve.support[-1], 12)[0], np.full(12, len(curve.edges) - 1)
    wanted = curve.preimage(x, last)
    monkeypatch.setattr(_Curve, "_newton", lambda self, x, u, y: np.zeros(x.size, dtype=bool))
    assert_allclose(curve.preimage(x, last), wanted, rtol=1e-6)


def test_a_single_sample_has_a_support():
    assert_allclose(density_support([1.0], 1, multiplicities=[4.0]), [[1.0, 9.0]], rtol=1e-13)


@pytest.mark.parametrize(("d", "n"), [(300, 900), (600, 300)])
def test_eigenvalues_of_random_matrices_follow_it(d, n):
    values = np.repeat([1.0, 6.0], [2 * d // 3, d // 3])
    rng = np.random.default_rng(5)
    data = rng.standard_normal((n, d)) * np.sqrt(values)
    drawn = np.sort(np.linalg.svd(data, compute_uv=False) ** 2 / n)
    for low, high in density_support(values, n):
        x, weight = nodes(low, high)
        share = np.cumsum(weight * spectral_density(x, values, n))
        counted = (np.searchsorted(drawn, x) - np.searchsorted(drawn, low - 0.1)) / d
        assert np.abs(share - counted).max() < 0.01


def test_against_scikit_rmt():
    stored = json.loads((ORACLES / "scikit_rmt_marchenko_pastur.json").read_text())
    for case in stored["cases"]:
        count = [1000 * case["ratio"]]
        found = spectral_density(case["x"], [case["variance"]], 1000, multiplicities=count)
        assert_allclose(found, case["density"], rtol=1e-12)


def test_against_freealg():
    stored = json.loads((ORACLES / "freealg_densities.json").read_text())
    for case in stored["cases"]:
        count = 1000 * case["ratio"] * np.array(case["weights"])
        found = spectral_density(case["x"], case["jumps"], 1000, multiplicities=count)
        # Its points lie 1e-12 above the real axis.
        assert_allclose(found * case["ratio"], case["companion_density"], atol=1e-11)
        assert np.count_nonzero(found) >= 8


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: spectral_density([np.nan], [1.0], 2), "x"),
        (lambda: spectral_density([1.0], [-1.0], 2), "eigenvalues"),
        (lambda: spectral_density([1.0], [0.0], 2), "eigenvalues"),
        (lambda: spectral_density([1.0], [1.0], 0), "n_samples"),
        (lambda: spectral_density([1.0], [1.0], [2, 3]), "n_samples"),
        (lambda: spectral_density([1.0], [1.0], 2, multiplicities=[-1.0]), "multiplicities"),
        (lambda: density_support([0.0], 2), "eigenvalues"),
        (lambda: density_support([1.0], 0.5), "n_samples"),
        (lambda: density_support([1.0], 2, multiplicities=[1.0, 2.0]), "multiplicities"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
