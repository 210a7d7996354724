"""Densities of sample covariances against closed forms, polynomials, simulation and libraries."""

import json
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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


def by_cubic(x, small, large, counts, n):
    """Density from the cubic equation of two atoms, by Cardano's formula in many digits."""
    with mpmath.workdps(2000):
        x, n = mpmath.mpf(x), mpmath.mpf(n)
        a, b = mpmath.mpf(small), mpmath.mpf(large)
        p, q = (mpmath.mpf(m) * value / n for m, value in zip(counts, (a, b), strict=True))
        # (x - w)(a - w)(b - w) + w p (b - w) + w q (a - w) = 0
        c2, c1, c0 = p + q - x - a - b, x * (a + b) + a * b - p * b - q * a, -x * a * b
        third, half = c1 / 3 - c2**2 / 9, c2**3 / 27 - c1 * c2 / 6 + c0 / 2
        under = half**2 + third**3
        if under <= 0:
            return 0.0
        root = -mpmath.sign(half) * mpmath.cbrt(abs(half) + mpmath.sqrt(under))
        other = -third / root
        w = mpmath.mpc(-(root + other) / 2 - c2 / 3, mpmath.sqrt(3) / 2 * abs(root - other))
        return float(n / (mpmath.pi * sum(counts)) * w.imag / abs(w) ** 2)


@pytest.mark.parametrize(
    ("small", "large", "counts", "n"),
    [
        (1e-300, 1.0, [1, 1], 1),
        (1e-300, 1.0, [2, 1], 1.5),
        (1e-150, 1e150, [1, 2], 2),
        (1e-150, 1e150, [1, 2], 7.5),
        (1e-12, 1.0, [1, 1], 1),
        (2e-160, 3e-160, [5, 5], 1e9),
        (1e-200, 1.0, [1, 1], 2),
    ],
)
def test_two_atoms_far_apart_solve_their_cubic(small, large, counts, n):
    for low, high in density_support([small, large], n, multiplicities=counts):
        inside = np.geomspace(max(low, 1e-3 * high), high, 5)[1:-1]
        inside = np.append(np.geomspace(max(low, 1e-5 * high), high, 4)[1:-1], inside)
        x = np.append(np.sqrt(low) * np.sqrt(high) if low > 0 else 1e-5 * high, inside)
        found = spectral_density(x, [small, large], n, multiplicities=counts)
        expected = [by_cubic(float(point), small, large, counts, n) for point in x]
        assert_allclose(found, expected, rtol=1e-11)
        assert np.all(np.array(expected) > 0)


def test_lowest_edge_keeps_its_digits_where_samples_and_eigenvalues_are_about_as_many():
    d = 1000.0
    for n in (d, d * (1 + 1e-9), d + 1e-3, d + 1):
        ((low, high),) = density_support([1.0], n, multiplicities=[d])
        with mpmath.workdps(40):
            edge = float((1 - mpmath.sqrt(mpmath.mpf(d) / mpmath.mpf(n))) ** 2)
        assert_allclose(low, edge, rtol=1e-12)
        assert_allclose(high, (1 + np.sqrt(d / n)) ** 2, rtol=1e-14)


@pytest.mark.parametrize("n", [37, 345, 1e6])
def test_geometric_spectra_end(n):
    # Far below the samples the largest eigenvalues act as a number of samples less.
    values = 0.5 ** np.arange(345)
    support = density_support(values, n)
    assert len(support) >= min(n, 345) / 2 and np.all(np.diff(support.ravel()) > 0)
    middle = np.mean(support, axis=1)
    assert np.all(spectral_density(middle, values, n) > 0)
    shifted = density_support(values[:300] * 2.0**40, n if n > 345 else n + 0.5)
    plain = density_support(values[:300], n if n > 345 else n + 0.5)
    assert_allclose(shifted, plain * 2.0**40, rtol=1e-13)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    st.lists(st.floats(-150, 150), min_size=1, max_size=4),
    st.floats(0, 9),
    st.lists(st.sampled_from([0.3, 1.0, 2.0, 50.0]), min_size=4, max_size=4),
)
def test_supports_and_densities_scale_over_the_whole_range(decades, samples, counts):
    values, n = 10.0 ** np.array(decades), 10.0**samples
    counts = np.array(counts[: values.size])
    support = density_support(values, n, multiplicities=counts)
    assert np.all(np.diff(support.ravel()) > 0) and support[0, 0] >= 0
    # In units in which the largest is about 1 nothing overflows.
    unit = 2.0 ** np.round(np.log2(values.max()))
    again = density_support(values / unit, n, multiplicities=counts)
    assert_allclose(again * unit, support, rtol=1e-12)
    x = np.concatenate([low + (high - low) * np.array([1e-6, 0.5]) for low, high in support])
    density = spectral_density(x, values, n, multiplicities=counts)
    assert np.all(density > 0) and np.all(np.isfinite(density))
    moved = spectral_density(x / unit, values / unit, n, multiplicities=counts)
    assert_allclose(density * unit, moved, rtol=1e-7)


@pytest.mark.parametrize("unit", [1e-310, 1e-150, 1e-105, 1e120, 1e150, 1e300, 1e304])
def test_units_of_one_bulk(unit):
    edges = 0.25 * unit, 2.25 * unit
    assert_allclose(density_support([unit], 400, multiplicities=[100]), [edges], rtol=1e-13)
    x = unit * np.array([0.1, 0.5, 1.0, 2.0, 2.5])
    found = spectral_density(x, [unit], 400, multiplicities=[100])
    with np.errstate(over="ignore"):
        expected = spectra.marchenko_pastur_density(x / unit, 0.25) / unit
    assert_allclose(found, expected, rtol=1e-11, atol=1e-322)


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
        (lambda: density_support([1.0, 2.0], 1e300), "n_samples"),
        (lambda: density_support([1.0], 1, multiplicities=[1e300]), "n_samples"),
        (lambda: density_support([1.0, 1e-301], 3), "eigenvalues"),
        (lambda: density_support([1.0, 1e-300], 1, multiplicities=[1e20, 1]), "eigenvalues"),
        (lambda: density_support([1.0], 0.5), "n_samples"),
        (lambda: density_support([1.0], 2, multiplicities=[1.0, 2.0]), "multiplicities"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
