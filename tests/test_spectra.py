"""Spectra against quadrature, simulation and limits."""

import numpy as np
import pytest
from scipy import integrate

from lindiff import spectra


def moment(q, power):
    low, high = spectra.marchenko_pastur_edges(q)
    # x = middle - half cos(u) removes the square-root edges.
    middle, half = 0.5 * (low + high), 0.5 * (high - low)

    def integrand(u):
        x = middle - half * np.cos(u)
        return x**power * spectra.marchenko_pastur_density(x, q) * half * np.sin(u)

    return integrate.quad(integrand, 0, np.pi, epsabs=1e-12, epsrel=1e-12, limit=400)[0]


@pytest.mark.parametrize("q", [0.1, 0.5, 2.0, 5.0])
def test_marchenko_pastur_moments(q):
    assert moment(q, 0) + spectra.marchenko_pastur_atom(q) == pytest.approx(1, abs=1e-9)
    assert moment(q, 1) == pytest.approx(1, abs=1e-9)
    assert moment(q, 2) == pytest.approx(1 + q, abs=1e-9)


@pytest.mark.parametrize("shape", [(5, 12), (40, 6)])
def test_spectrum_rebuilds_the_covariance(shape):
    data = np.random.default_rng(1).normal(3.0, 2.0, shape)
    found = spectra.covariance_spectrum(data)
    rebuilt = (found.eigenvectors * found.eigenvalues) @ found.eigenvectors.T
    np.testing.assert_allclose(rebuilt, np.cov(data.T, bias=True), atol=1e-12)
    np.testing.assert_allclose(found.mean, data.mean(axis=0), rtol=1e-14)
    assert np.all(np.diff(found.eigenvalues) <= 0)


def test_spectrum_of_a_single_point_and_of_none():
    found = spectra.covariance_spectrum([[3.0]])
    assert found.mean == 3.0 and found.eigenvalues == 0.0
    for shape in ((0, 3), (3, 0)):
        with pytest.raises(ValueError, match="data must hold at least one point"):
            spectra.covariance_spectrum(np.ones(shape))


def test_density_vanishes_on_and_outside_the_edges():
    low, high = spectra.marchenko_pastur_edges(0.25)
    outside = [-1.0, 0.0, 0.5 * low, low, high, 2.0 * high]
    assert spectra.marchenko_pastur_density(outside, 0.25).tolist() == [0.0] * 6


def test_stacked_spectra_are_taken_one_by_one():
    rows = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]])
    ratio, freedom = spectra.participation_ratio(rows), spectra.degrees_of_freedom(rows, 0.5)
    np.testing.assert_allclose(ratio, [36 / 14, 1.0], rtol=1e-14)
    np.testing.assert_allclose(freedom, [spectra.degrees_of_freedom(row, 0.5) for row in rows])


def test_participation_ratio():
    values = spectra.power_law(50, 1.3)
    ratio = spectra.participation_ratio(values)
    assert ratio == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-14)
    assert spectra.participation_ratio(7e-200 * values) == pytest.approx(ratio, rel=1e-12)
    assert spectra.participation_ratio(spectra.isotropic(9)) == pytest.approx(9)


def test_degrees_of_freedom_limits():
    values = spectra.power_law(30, 1.0)
    assert spectra.degrees_of_freedom(values, 1e-14) == pytest.approx(30, rel=1e-10)
    large = 1e12
    assert spectra.degrees_of_freedom(values, large) == pytest.approx(30 / large, rel=1e-9)


def test_shapes_of_spectra():
    assert spectra.isotropic(2).tolist() == [1.0, 1.0]
    assert spectra.power_law(10, 2.0).sum() == pytest.approx(10)
    assert spectra.power_law(10, 2.0)[4] / spectra.power_law(10, 2.0)[0] == pytest.approx(1 / 25)
    np.testing.assert_array_equal(spectra.spiked(4, [0.5, 7.0]), [7.0, 1.0, 1.0, 0.5])
    assert spectra.spiked(2, [3.0, 5.0]).tolist() == [5.0, 3.0]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: spectra.participation_ratio([1.0, -1.0]), "eigenvalues"),
        (lambda: spectra.participation_ratio([0.0, 0.0]), "eigenvalues"),
        (lambda: spectra.degrees_of_freedom([1.0], 0.0), "floor"),
        (lambda: spectra.power_law(0, 1.0), "d"),
        (lambda: spectra.power_law(3, -1.0), "exponent"),
        (lambda: spectra.spiked(1, [1.0, 2.0]), "spikes"),
        (lambda: spectra.spiked(3, [[1.0, 2.0]]), "spikes"),
        (lambda: spectra.marchenko_pastur_density([1.0], -1.0), "aspect_ratio"),
        (lambda: spectra.covariance_spectrum([1.0, 2.0]), "data"),
        (lambda: spectra.covariance_spectrum([[np.nan, 2.0]]), "data"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def test_marchenko_pastur_against_simulation():
    rng = np.random.default_rng(0)
    data = rng.standard_normal((2000, 500))
    values = spectra.covariance_spectrum(data).eigenvalues
    grid = np.linspace(*spectra.marchenko_pastur_edges(0.25), 2001)
    density = spectra.marchenko_pastur_density(grid, 0.25)
    cdf = integrate.cumulative_trapezoid(density, grid, initial=0)
    empirical = np.searchsorted(np.sort(values), grid) / values.size
    assert np.abs(cdf - empirical).max() < 0.01
