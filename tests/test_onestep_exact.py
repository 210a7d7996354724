"""Exact averages of the one-step model on n points against independent routes."""

from fractions import Fraction
from itertools import combinations
from math import factorial

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import digamma
from scipy.stats import chi2, kstest, nbinom

from lindiff import onestep
from lindiff._onestep_exact import _mean_log_variance
from lindiff._onestep_hooks import hook_sum, log_det_at_zero
from lindiff.onestep import OneStepModel


def model(ratio, dimension, variance=1.0):
    """A model with the given noise-to-signal ratio."""
    return OneStepModel(
        time=0.5,
        noise_scale=ratio * variance / np.expm1(1.0),
        variance=variance,
        dimension=dimension,
    )


def within(draws, theory, errors=4):
    draws = np.asarray(draws)
    return abs(draws.mean() - theory) < errors * draws.std(ddof=1) / np.sqrt(draws.size)


def pochhammer(x, k):
    out = Fraction(1)
    for i in range(k):
        out *= x + i
    return out


def zonal_term(parts, dimension, b):
    """Coefficient of rho^|parts| from zonal polynomials at the unit matrix (Muirhead 1982).

    The (d/2) symbols of C(I) and of the hypergeometric series cancel.
    """
    p = len(parts)
    slope = Fraction(-factorial(parts[0] - 1))
    for i, k in enumerate(parts[1:], start=1):
        slope *= pochhammer(Fraction(-i, 2), k)
    if p > dimension:
        return Fraction(0)
    weight = Fraction(4) ** sum(parts)
    for i, j in combinations(range(p), 2):
        weight *= 2 * parts[i] - 2 * parts[j] - i + j
    for i, k in enumerate(parts):
        weight /= factorial(2 * k + p - 1 - i)
        weight *= pochhammer(b - Fraction(i, 2), k)
    return slope * weight


def partitions(total, largest=None):
    largest = total if largest is None else largest
    if total == 0:
        yield ()
    for first in range(min(total, largest), 0, -1):
        for rest in partitions(total - first, first):
            yield (first, *rest)


def zonal_polynomial(dimension, degrees, order):
    b = Fraction(dimension - degrees, 2)
    return [
        sum((zonal_term(parts, dimension, b) for parts in partitions(k)), Fraction(0))
        for k in range(1, order + 1)
    ]


@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
@pytest.mark.parametrize("excess", [2, 4, 6])
def test_even_log_det_is_the_exact_rational_polynomial_of_all_partitions(dimension, excess):
    degrees = dimension + excess
    exact = zonal_polynomial(dimension, degrees, max(degrees, 4))
    assert exact[-1] == 0 or degrees - 2 == len(exact)
    for ratio in (0.25, 1.0, 3.0):
        rho = 1 / (1 + Fraction(ratio))
        value = float(sum(c * rho ** (k + 1) for k, c in enumerate(exact)))
        assert_allclose(hook_sum(ratio, dimension, degrees), value, rtol=1e-14)


@pytest.mark.parametrize(("dimension", "excess"), [(1, 3), (2, 1), (3, 3), (4, 5)])
def test_odd_log_det_is_the_convergent_series_of_all_partitions(dimension, excess):
    degrees, ratio = dimension + excess, 9.0
    exact = zonal_polynomial(dimension, degrees, 14)
    value = sum(float(c) * 0.1 ** (k + 1) for k, c in enumerate(exact))
    assert_allclose(hook_sum(ratio, dimension, degrees), value, rtol=1e-12)


@pytest.mark.parametrize(("dimension", "excess"), [(3, 4), (3, 5), (5, 2), (5, 3)])
def test_first_d_coefficients_are_harmonic(dimension, excess):
    exact = zonal_polynomial(dimension, dimension + excess, dimension)
    assert exact == [Fraction(excess, k) for k in range(1, dimension + 1)]


@pytest.mark.parametrize("degrees", [2, 3, 4, 7, 8])
@pytest.mark.parametrize("rho", [0.2, 0.9, 0.98])
def test_one_dimension_is_the_mixture_of_beta_laws(degrees, rho):
    k = np.arange(6000)
    terms = digamma(0.5 + k) - digamma(0.5 * degrees + k)
    expected = np.sum(nbinom.pmf(k, 0.5 * degrees, 1 - rho) * terms)
    value = onestep.expected_log_det((1 - rho) / rho, 1, degrees, intercept=False)
    assert_allclose(value, expected, rtol=1e-11)


def test_two_extra_degrees_give_a_harmonic_sum():
    rho, k = 0.7, np.arange(1, 301)
    value = onestep.expected_log_det(0.3 / 0.7, 300, 302, intercept=False)
    assert_allclose(value, -2 * np.sum((1 - rho**k) / k), rtol=1e-13)


def test_reference_values_of_the_log_det():
    cases = [(0.5, 2, 4, -1.75), (0.5, 4, 8, -3.41875), (0.5, 20, 40, -15.25610147)]
    cases += [(0.5, 20, 28, -12.22624836), (0.8, 50, 100, -11.45708313)]
    for rho, dimension, degrees, expected in cases:
        value = onestep.expected_log_det(1 / rho - 1, dimension, degrees, intercept=False)
        assert abs(value - expected) < 6e-9  # printed with eight decimals


@pytest.mark.parametrize("degrees", [24, 25, 41])
def test_log_det_vanishes_without_noise_and_is_the_gamma_sum_without_signal(degrees):
    assert onestep.expected_log_det(0.0, 20, degrees + 1) == 0
    small = 1e-6 if degrees % 2 == 0 else 0.01
    assert -100 * small < onestep.expected_log_det(small, 20, degrees + 1) < 0
    assert_allclose(
        onestep.expected_log_det(1e9, 20, degrees + 1), log_det_at_zero(20, degrees), rtol=1e-7
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 30), st.floats(0.05, 20.0))
def test_log_det_grows_with_the_correlation_and_falls_with_samples(dimension, excess, ratio):
    n = dimension + excess
    value = onestep.expected_log_det(ratio, dimension, n, intercept=False)
    assert value > onestep.expected_log_det(1.1 * ratio, dimension, n, intercept=False)
    if dimension * np.log(1 + ratio) + value > 1e-6:
        more = onestep.expected_log_det(ratio, dimension, n + 1, intercept=False)
        assert more < value
    assert value <= 0


def test_trace_has_no_mean_within_one_of_the_threshold_and_none_is_needed_without_noise():
    values = [onestep.expected_trace(1.0, 8, n) for n in (8, 9, 10)]
    assert values == [np.inf] * 3
    assert [onestep.expected_trace(0.0, 8, n) for n in (1, 4, 9, 40)] == [0, 3, 8, 8]
    assert onestep.expected_trace(1.0, 8, 1) == onestep.expected_trace(1.0, 1, 1) == 0


def test_expected_kl_with_known_mean_shifts_by_one_sample():
    expected = onestep.expected_kl(0.6, 8, 25)
    mean_term = onestep.expected_mean_term(0.6, 8, 25)
    assert_allclose(
        onestep.expected_kl(0.6, 8, 24, intercept=False), expected - mean_term, rtol=1e-13
    )


def test_finiteness_begins_at_d_plus_three():
    assert [np.isinf(onestep.expected_kl(1.0, 7, n)) for n in (3, 8, 9, 10)] == [
        True,
        True,
        True,
        False,
    ]
    assert [np.isinf(onestep.expected_kl(1.0, 7, n, sampler="full")) for n in (7, 8)] == [
        True,
        False,
    ]


@pytest.mark.parametrize("count", [1, 2, 9, 400, 10**6, 10**8])
def test_mean_log_of_a_chi_square_against_digamma(count):
    with mpmath.workdps(40):
        expected = float(mpmath.digamma(mpmath.mpf(count) / 2) - mpmath.log(mpmath.mpf(count) / 2))
    assert_allclose(_mean_log_variance(0.0, 1.0, count), expected, rtol=1e-11)
    shape = count / 2
    if count >= 9:
        rng = np.random.default_rng(count)
        draws = np.log(0.7 + 0.3 * rng.chisquare(count, 200_000) / (2 * shape))
        assert within(draws, _mean_log_variance(0.7, 0.3, count))


def test_lower_bound_is_below_the_average_and_vanishes_at_two_d():
    for n in (14, 20, 21, 22, 40, 100):
        bound = onestep.kl_lower_bound(1.5, 10, n)
        assert 0 <= bound < onestep.expected_kl(1.5, 10, n, sampler="population")
    for ratio in (0.1, 1.0, 7.0):
        assert abs(onestep.kl_lower_bound(ratio, 10, 22)) < 1e-13
    assert np.isfinite(onestep.kl_lower_bound(1.0, 10, 5))
    assert onestep.kl_lower_bound(1.0, 10, 1) == np.inf
    assert np.isinf(onestep.kl_lower_bound(1.0, 10, 11))


CALLS = [
    lambda **k: onestep.expected_trace(**k),
    lambda **k: onestep.expected_mean_term(**k),
    lambda **k: onestep.expected_log_det(**k),
    lambda **k: onestep.expected_kl(**k),
    lambda **k: onestep.kl_lower_bound(**k),
    lambda **k: onestep.log_det_asymptotic(**k),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("noise_to_signal", -1.0, ValueError),
        ("noise_to_signal", np.nan, ValueError),
        ("noise_to_signal", [1.0, 2.0], ValueError),
        ("dimension", 0, ValueError),
        ("dimension", 2.5, TypeError),
        ("n_samples", 0, ValueError),
        ("n_samples", 3.0, TypeError),
    ],
)
def test_bad_input_is_named(call, name, value, error):
    good = {"noise_to_signal": 1.0, "dimension": 3, "n_samples": 9}
    with pytest.raises(error, match=f"`{name}`"):
        call(**{**good, name: value})


def test_a_series_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="n_samples \\+ 1"):
        onestep.expected_log_det(1e-5, 3, 5)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="`sampler`"):
        onestep.expected_kl(1.0, 3, 9, sampler="iso")
    with pytest.raises(ValueError, match="`sampler`"):
        onestep.expected_mean_term(1.0, 3, 9, sampler="iso")
    for function in (onestep.expected_trace, onestep.expected_log_det, onestep.expected_kl):
        with pytest.raises(TypeError, match="`intercept`"):
            function(1.0, 3, 9, intercept=1)


@pytest.mark.parametrize("n_samples", [9, 10, 14])
def test_inverse_diagonal_has_a_chi_square_law_and_a_heavy_tail(n_samples):
    dimension, rng = 8, np.random.default_rng(n_samples)
    x = rng.standard_normal((4000, n_samples, dimension))
    x -= x.mean(axis=1, keepdims=True)
    inverse = np.linalg.inv(np.swapaxes(x, 1, 2) @ x)
    freedom = n_samples - 1 - dimension + 1
    assert kstest(1 / inverse[:, 2, 2], chi2(freedom).cdf).pvalue > 1e-3
    assert kstest(1 / inverse[:, 2, 2], chi2(freedom + 1).cdf).pvalue < 1e-6


@pytest.mark.parametrize(("dimension", "degrees"), [(3, 4), (4, 7), (4, 8), (6, 9)])
def test_log_det_and_trace_by_simulated_regression(dimension, degrees):
    rng = np.random.default_rng(dimension + degrees)
    runs = onestep.simulate_finite(
        model(0.8, dimension, variance=2.5),
        degrees + 1,
        4000,
        rng,
        sampler="population",
        route="regression",
    )
    assert within(runs.log_det, onestep.expected_log_det(0.8, dimension, degrees + 1))
    assert not within(runs.log_det, 1.2 * onestep.expected_log_det(0.8, dimension, degrees + 1))


@pytest.mark.parametrize("n_samples", [3, 5, 8, 18, 22, 30, 60])
def test_trace_and_mean_term_on_both_sides_of_n_equal_d(n_samples):
    rng = np.random.default_rng(n_samples)
    runs = onestep.simulate_finite(
        model(0.7, 12), n_samples, 3000, rng, sampler="population", route="regression"
    )
    assert within(runs.trace, onestep.expected_trace(0.7, 12, n_samples))
    mean_term = onestep.expected_mean_term(0.7, 12, n_samples, sampler="population")
    assert within(runs.kl_mean, mean_term)


@pytest.mark.parametrize("rho", [0.3, 0.8])
def test_covariance_of_input_variance_and_trace(rho):
    """The correction of the isotropic input, measured alone with a shared random stream."""
    dimension, degrees = 4, 10
    rng = np.random.default_rng(5)
    x = rng.standard_normal((40_000, degrees, dimension))
    y = np.sqrt(rho) * x + np.sqrt(1 - rho) * rng.standard_normal(x.shape)
    gram = np.swapaxes(x, 1, 2) @ x
    maps = np.linalg.solve(gram, np.swapaxes(x, 1, 2) @ y)
    variance = 1 - rho + rho * np.mean(y**2, axis=(1, 2))
    trace = np.sum(maps**2, axis=(1, 2))
    draws = (variance - 1) * (trace - trace.mean())
    kappa = dimension / (degrees - dimension - 1)
    assert within(draws, 2 * rho * (1 - rho) / degrees * (2 * rho + (1 - 2 * rho) * kappa))
    gain = 0.5 * ((variance - 1) * trace - dimension * np.log(variance))
    isotropic, population = (
        onestep.expected_kl(1 / rho - 1, dimension, degrees, sampler=name, intercept=False)
        for name in ("isotropic", "population")
    )
    assert within(gain, isotropic - population)
    assert not within(gain, 0.8 * (isotropic - population))


@pytest.mark.parametrize("sampler", ["isotropic", "population", "full"])
@pytest.mark.parametrize("n_samples", [20, 24, 60])
@pytest.mark.parametrize("route", ["wishart", "regression"])
def test_expected_kl_of_every_sampler(sampler, n_samples, route):
    rng = np.random.default_rng([n_samples, len(sampler), len(route)])
    runs = onestep.simulate_finite(
        model(0.6, 8, variance=0.3), n_samples, 3000, rng, sampler=sampler, route=route
    )
    expected = onestep.expected_kl(0.6, 8, n_samples, sampler=sampler)
    assert within(runs.kl, expected)
    assert not within(runs.kl, 1.05 * expected)


@pytest.mark.parametrize("ratio", [1e12, 9.1e15, 1e16, 1e100, 1.7e308])
def test_averages_at_any_ratio(ratio):
    # Without correlation, in one dimension, M^2 is a ratio of two chi-squares.
    for degrees in (5, 6, 40):
        got = onestep.expected_log_det(ratio, 1, degrees, intercept=False)
        assert_allclose(got, digamma(0.5) - digamma(0.5 * degrees), rtol=1e-11)
        mean = 1 / (degrees - 2)
        expected = 0.5 * (mean - 1 - got)
        kl = onestep.expected_kl(ratio, 1, degrees, sampler="population", intercept=False)
        assert_allclose(kl, expected, rtol=1e-11)
    for sampler in ("isotropic", "full"):
        # The limit of many noises is reached as 1 / ratio.
        far = onestep.expected_kl(1e10, 3, 20, sampler=sampler)
        assert_allclose(onestep.expected_kl(ratio, 3, 20, sampler=sampler), far, rtol=1e-8)
