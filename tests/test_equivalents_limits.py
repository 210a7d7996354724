"""Exact Wishart results and asymptotics against fifty digits, simulation and the full theory."""

import mpmath
import numpy as np
import pytest
import sympy
from numpy.testing import assert_allclose
from scipy.special import polygamma

from lindiff import _asymptotics, gaussians, spectra
from lindiff import equivalents as eq


def exact_kl(d, n, estimated):
    with mpmath.workdps(60):
        n, lost = mpmath.mpf(float(n)), int(estimated)
        fitted = d * n / (n - d - 1 - lost) - d + (d / (n - d - 2) if estimated else 0)
        logs = mpmath.fsum(mpmath.digamma((n - i - lost) / 2) for i in range(d))
        return float((fitted + logs + d * mpmath.log(2 / n)) / 2)


@pytest.mark.parametrize("estimated", [False, True])
@pytest.mark.parametrize(
    ("d", "n"), [(1, 4), (7, 10), (40, 42.5), (100, 400), (5, 1e6), (30, 1e12)]
)
def test_wishart_divergence_keeps_twelve_digits(d, n, estimated):
    found = eq.kl_wishart(d, n, estimated_mean=estimated)
    if n - d - 2 <= 0:
        pytest.fail("the case has no average")
    assert_allclose(found, exact_kl(d, n, estimated), rtol=1e-12)


def test_single_numbers_give_floats_and_arrays_give_arrays():
    calls = [
        lambda n: eq.kl_wishart(3, n),
        lambda n: eq.log_det_wishart(3, n),
        lambda n: eq.kl_isotropic_limit(3 / n),
        lambda n: eq.kl_floor([1.0, 2.0], n),
        lambda n: eq.alignment_many_samples([1.0, 2.0], n, 0.5),
        lambda n: eq.gap_small_noise(np.ones(99), n, 0.5),
        lambda n: eq.power_law_scale(n, 2.0),
    ]
    many = np.array([[20.0], [30.0]])
    for call in calls:
        one, table = call(20.0), call(many)
        assert type(one) is float and table.shape == (2, 1)
        assert table[0, 0] == pytest.approx(one, rel=1e-13)


def test_wishart_values_of_the_ledger():
    assert f"{eq.kl_wishart(100, 400):.3f}" == "9.970"
    assert f"{eq.kl_wishart(100, 400, estimated_mean=True):.3f}" == "10.218"
    assert f"{100 * eq.kl_isotropic_limit(0.25):.3f}" == "9.819"
    assert_allclose(eq.kl_wishart(1000, 4000), 98.34, atol=0.005)


@pytest.mark.parametrize("estimated", [False, True])
def test_wishart_results_against_simulation(estimated):
    rng, values, n = np.random.default_rng(2), np.array([3.0, 1.0, 0.1, 0.02]), 12
    data = rng.standard_normal((6000, n, 4)) * np.sqrt(values)
    mean = data.mean(axis=1, keepdims=True) if estimated else np.zeros((6000, 1, 4))
    covariance = np.swapaxes(data - mean, 1, 2) @ (data - mean) / n
    log_det = np.linalg.slogdet(covariance)[1] - np.sum(np.log(values))
    error = log_det.std() / np.sqrt(6000)
    theory = eq.log_det_wishart(4, n, estimated_mean=estimated)
    assert abs(log_det.mean() - theory) < 4 * error
    zero, truth = np.zeros(4), np.diag(values)
    kl = np.array(
        [gaussians.kl_gaussian(zero, truth, m[0], s) for m, s in zip(mean, covariance, strict=True)]
    )
    theory = eq.kl_wishart(4, n, estimated_mean=estimated)
    assert abs(kl.mean() - theory) < 4 * kl.std() / np.sqrt(6000)


@pytest.mark.parametrize("exponent", [0.0, 1.5])
def test_finite_size_theory_without_floor_approaches_the_exact_result(exponent):
    d = np.array([20, 40, 80])
    leading, corrected = [], []
    for dimension in d:
        values, exact = (
            spectra.power_law(dimension, exponent),
            eq.kl_wishart(dimension, 3 * dimension),
        )
        leading.append(exact - eq.kl(values, 3 * dimension))
        corrected.append(exact - eq.kl(values, 3 * dimension, one_loop=True))
    # The total divergence is of order d: its leading error is O(1), the next one O(1/d).
    assert_allclose(leading[-1] / leading[0], 1.0, rtol=0.1)
    assert_allclose(np.divide(corrected[:-1], corrected[1:]), 2.0, rtol=0.08)
    assert abs(corrected[-1]) < 0.05 * abs(leading[-1])


@pytest.mark.parametrize("estimated", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("exponent", [0.0, 1.5])
def test_finite_size_corrections_of_both_divergences_and_means(exponent, reverse, estimated):
    errors = []
    given = dict(reverse=reverse, estimated_mean=estimated)
    for d in (25, 50, 100, 200):
        exact = eq.kl_wishart(d, 4 * d, **given)
        errors.append(exact - eq.kl(spectra.power_law(d, exponent), 4 * d, one_loop=True, **given))
    # A total of order d, with its terms of orders d and 1: an error of order 1/d is left.
    assert_allclose(np.divide(errors[:-1], errors[1:]), 2.0, rtol=0.1)
    assert abs(errors[-1]) < 1e-3


@pytest.mark.parametrize("estimated", [False, True])
def test_exact_trace_of_the_inverse(estimated):
    given = dict(estimated_mean=estimated)
    rng, values, n, d = np.random.default_rng(6), np.array([3.0, 1.0, 0.1, 0.02]), 12, 4
    data = rng.standard_normal((8000, n, 4)) * np.sqrt(values)
    if estimated:
        data -= data.mean(axis=1, keepdims=True)
    covariance = np.swapaxes(data, 1, 2) @ data / n
    drawn = np.einsum("kii->ki", np.linalg.inv(covariance)) @ values
    exact = eq.trace_inverse_wishart(d, n, **given)
    assert abs(drawn.mean() - exact) < 4 * drawn.std() / np.sqrt(8000)
    assert exact == n * d / (n - d - 1 - estimated)
    below = eq.trace_inverse_wishart(d, np.arange(2, d + 2 + estimated), **given)
    assert np.isinf(below).all()
    assert np.isfinite(eq.trace_inverse_wishart(d, d + 1.5 + estimated, **given))
    errors = []
    for size in (20, 40, 80):
        flat = spectra.power_law(size, 1.0)
        setting = flat, 3 * size, 1e-9 * flat[-1]
        leading = eq.trace_resolvent(*setting, weights=flat, one_loop=True, **given)
        errors.append(eq.trace_inverse_wishart(size, 3 * size, **given) / leading - 1)
    assert_allclose(np.divide(errors[:-1], errors[1:]), 4.0, rtol=0.15)


@pytest.mark.parametrize("estimated", [False, True])
def test_divergence_with_the_reversed(estimated):
    rng, values, n = np.random.default_rng(7), np.array([3.0, 1.0, 0.1, 0.02]), 12
    data = rng.standard_normal((6000, n, 4)) * np.sqrt(values)
    mean = data.mean(axis=1, keepdims=True) if estimated else np.zeros((6000, 1, 4))
    covariance = np.swapaxes(data - mean, 1, 2) @ (data - mean) / n
    zero, truth = np.zeros(4), np.diag(values)
    kl = np.array(
        [gaussians.kl_gaussian(m[0], s, zero, truth) for m, s in zip(mean, covariance, strict=True)]
    )
    exact = eq.kl_wishart(4, n, reverse=True, estimated_mean=estimated)
    assert abs(kl.mean() - exact) < 4 * kl.std() / np.sqrt(6000)


def test_many_samples_with_an_estimated_mean():
    values, level = spectra.power_law(30, 1.0), np.array([0.9, 0.0163])
    given = dict(estimated_mean=True)
    limit = eq.alignment_many_samples(values, 1e8, level, **given)
    assert_allclose(eq.alignment(values, 1e8, level, one_loop=True, **given), limit, rtol=1e-5)
    known = eq.alignment_many_samples(values, 1e8, level)
    noise = (1 - level) / level
    mean = noise / 1e8 * np.sum(values[:, None] / (values[:, None] + noise) ** 2, axis=0)
    assert_allclose(limit, known + mean, rtol=1e-12)


def test_gap_at_small_noise_with_an_estimated_mean():
    values, n = spectra.power_law(20, 1.0), np.array([5.0, 10.0, 18.0])
    given = dict(estimated_mean=True)
    errors = []
    for noise in (1e-4, 1e-5):
        limit = eq.gap_small_noise(values, n, 1 - noise, **given)
        errors.append(np.abs(eq.gap(values, n, 1 - noise, **given) / limit - 1))
    assert np.all(errors[1] < 1e-4)
    assert_allclose(errors[0] / errors[1], 100, rtol=0.25)


def test_finite_size_corrections_against_exact_wishart_moments():
    errors = []
    for d in (20, 40, 80):
        n, z = 3 * d, 1e-9
        given = dict(multiplicities=[d], one_loop=True)
        inverse = n * d / (n - d - 1)
        squared = n**2 * d * (n - 1) / ((n - d) * (n - d - 1) * (n - d - 3))
        log_det = eq.log_det_wishart(d, n)
        errors.append(
            [
                eq.trace_resolvent([1.0], n, z, **given) / inverse - 1,
                eq.trace_resolvent_squared([1.0], n, z, **given) / squared - 1,
                (eq.log_det([1.0], n, z, **given) - log_det) / d,
            ]
        )
        half = 0.5 * (n - np.arange(d))
        variance = eq.log_det_variance([1.0], n, z, multiplicities=[d])
        assert_allclose(variance, polygamma(1, half).sum(), rtol=1.5 / n)
    errors = np.abs(errors)
    # Each doubling divides the error of second order by four.
    assert_allclose(errors[:-1] / errors[1:], 4.0, rtol=0.15)


def test_isotropic_limit():
    q = np.array([1e-12, 1e-6, 1e-3, 0.1, 0.5, 0.9, 1 - 1e-9])
    with mpmath.workdps(60):
        exact = [mpmath.mpf(float(v)) for v in q]
        exact = [(v / (1 - v) - 1 - (1 - v) / v * mpmath.log(1 - v)) / 2 for v in exact]
        exact = [float(v) for v in exact]
    assert_allclose(eq.kl_isotropic_limit(q), exact, rtol=1e-13)
    series = q[:3] / 4 + 5 * q[:3] ** 2 / 12 + 11 * q[:3] ** 3 / 24 + 19 * q[:3] ** 4 / 40
    assert_allclose(eq.kl_isotropic_limit(q[:3]), series, rtol=1e-11)
    for share in (0.01, 0.6):
        found = eq.kl(spectra.power_law(60, 1.0), 60 / share) / 60
        assert_allclose(found, eq.kl_isotropic_limit(share), rtol=1e-12)


def test_infinitesimal_floor_always_helps():
    values, n, c = spectra.power_law(30, 1.0), 90, 1e-6
    slope = (eq.kl(values, n, floor=c) - eq.kl(values, n)) / c
    q = 1 / 3
    expected = 0.5 * np.sum(1 / values) * (1 / (1 - q) - 1 / (1 - q) ** 3)
    assert expected < 0
    assert_allclose(slope, expected, rtol=1e-4)


def test_floor_is_what_infinitely_many_samples_leave():
    values, floor = spectra.power_law(25, 1.0), np.array([[1e-9, 1e-3], [0.1, 10.0]])
    found = eq.kl_floor(values, floor)
    assert found.shape == (2, 2)
    assert_allclose(eq.kl(values, 1e40, floor=floor), found, rtol=1e-12)
    assert_allclose(found[0, 0], 0.25e-18 * np.sum(values**-2.0), rtol=1e-6)
    assert_allclose(eq.kl_floor(values, 0.1, multiplicities=np.full(25, 2)), 2 * found[1, 0])
    assert eq.kl_floor([1.0, 0.0], 0.0) == 0.0 and np.isinf(eq.kl_floor([1.0, 0.0], 0.1))


@pytest.mark.parametrize("exponent", [0.0, 2.0])
def test_many_samples(exponent):
    values, alpha_bar = spectra.power_law(30, exponent), np.array([0.9, 0.0163])
    n = np.array([[1e6], [1e9]])
    limit = eq.alignment_many_samples(values, n, alpha_bar)
    full = eq.alignment(values, n, alpha_bar, one_loop=True)
    assert_allclose(full[0], limit[0], rtol=1e-3)
    assert_allclose(full[1], limit[1], rtol=1e-6)
    noise = (1 - alpha_bar) / alpha_bar
    share = values[:, None] / (values[:, None] + noise)
    diagonal = noise / n * np.sum(share**2 / (values[:, None] + noise), axis=0)
    leading = eq.alignment(values, n, alpha_bar)
    assert_allclose(leading[1], (limit - diagonal)[1], rtol=1e-6)
    twice = eq.alignment_many_samples(values, 1e6, 0.9, multiplicities=np.full(30, 2.0))
    assert_allclose(twice, eq.alignment_many_samples(np.repeat(values, 2), 1e6, 0.9), rtol=1e-13)


def test_many_samples_against_simulation_where_few_modes_dominate():
    rng, values, n, level = np.random.default_rng(4), spectra.power_law(20, 2.0), 1500, 0.0163
    squares = rng.chisquare(n - np.arange(20), size=(6000, 20))
    lower = np.sqrt(squares)[:, :, None] * np.eye(20)
    lower += np.tril(rng.standard_normal((6000, 20, 20)), -1)
    root = np.sqrt(values)[:, None] * lower
    covariance = root @ np.swapaxes(root, 1, 2) / n
    noise = np.sqrt(1 - level)
    weights = noise * np.linalg.inv(level * covariance + (1 - level) * np.eye(20))
    noised = level * values + 1 - level
    distance = np.sum((weights - noise * np.diag(1 / noised)) ** 2 * noised, axis=(1, 2))
    error = distance.std() / np.sqrt(6000)
    limit = eq.alignment_many_samples(values, n, level)
    assert abs(distance.mean() - limit) < 4 * error + 4 / n * limit
    assert abs(distance.mean() - eq.alignment(values, n, level, one_loop=True)) < 4 * error
    assert distance.mean() - eq.alignment(values, n, level) > 8 * error


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_gap_at_small_noise(exponent):
    values, n = spectra.power_law(20, exponent), np.array([5.0, 10.0, 15.0])
    errors = []
    for noise in (1e-4, 1e-5):
        full, limit = eq.gap(values, n, 1 - noise), eq.gap_small_noise(values, n, 1 - noise)
        errors.append(np.abs(full / limit - 1))
    assert np.all(errors[1] < 1e-4)
    assert_allclose(errors[0] / errors[1], 100, rtol=0.25)
    flat = eq.gap_small_noise([1.0], n, 0.999, multiplicities=[20])
    assert_allclose(flat, (20 - n) * 999, rtol=1e-10)


LEDGER = """
0 .950 .900 .750 .500 .100
0.5 .914 .842 .663 .415 .0777
1 .596 .480 .311 .168 .0276
1.5 .167 .108 .0525 .0232 .00329
2 .0282 .0136 .00470 .00165 .000198
"""


@pytest.mark.parametrize("row", LEDGER.strip().splitlines())
def test_gap_amplitudes_of_the_ledger(row):
    exponent, *expected = [float(number) for number in row.split()]
    n = 1000 * np.array([0.05, 0.1, 0.25, 0.5, 0.9])
    found = eq.gap_small_noise(spectra.power_law(1000, exponent), n, 0.5) / 1000
    assert_allclose(found, expected, rtol=6e-3)


def test_scale_of_a_power_law():
    n = np.array([20.0, 80.0])
    for exponent in (1.5, 2.0, 3.0):
        values = 5.0 * np.arange(1.0, 300_001.0) ** -exponent
        # Without noise the gap times the noise is N / x.
        scale = n / eq.gap_small_noise(values, n, 0.5)
        tail = (n / 300_000) ** (exponent - 1)
        error = np.abs(eq.power_law_scale(n, exponent, amplitude=5.0) / scale - 1)
        assert np.all(error < 0.5 / n**1.5 + 2 * tail)
    assert eq.power_law_scale(n, 2.0).shape == (2,)


def test_tiny_floors_and_few_samples():
    assert eq.kl([1.0, 0.5, 0.25, 0.1], 2, floor=5e-324) == np.inf
    assert eq.kl([1.0, 0.5, 0.25], 2, floor=5e-324) == np.inf
    with mpmath.workdps(400):
        # With N = d the root is kappa = sqrt(c tr(1 / Sigma) / N), and the trace N / kappa.
        floor, values = mpmath.mpf(5e-324), [mpmath.mpf(x) for x in (1.0, 0.5, 0.25)]
        expected = 3 / mpmath.sqrt(floor / 3 * sum(1 / v for v in values)) / 2
    assert_allclose(eq.kl([1.0, 0.5, 0.25], 3, floor=5e-324), float(expected), rtol=1e-12)
    # Without noise or floor N = d leaves a finite divergence only if the model comes first.
    assert eq.kl([1.0, 0.5], 2) == np.inf and eq.kl([1.0, 0.5], 2, reverse=True) == 1.0
    found = eq.kl([1.0, 0.5], 3, reverse=True, estimated_mean=True)
    assert_allclose(found, 1.0 + np.log(1.5), rtol=1e-14)
    assert eq.kl([1.0, 0.5], 2, reverse=True, estimated_mean=True) == np.inf
    with pytest.raises(ValueError, match="one_loop"):
        eq.kl([1.0, 0.5], 2, reverse=True, one_loop=True)


def test_directions_without_variance():
    for reverse in (False, True):
        given = dict(reverse=reverse)
        floors = eq.kl([1.0, 0.0, 2.0], 9, floor=[0.0, 1e-9], **given)
        assert floors[0] == eq.kl([1.0, 2.0], 9, **given) and floors[1] == np.inf
        assert eq.kl([0.0], 3, floor=[0.0, 1.0], **given).tolist() == [0.0, np.inf]
    # The best denoiser sees them for what they are; one with a floor and no noise does not.
    assert_allclose(
        eq.alignment([1.0, 0.0], 50, 1 - 1e-14, floor=0.1)
        - eq.alignment([1.0, 0.0], 50, 1.0, floor=0.1),
        0.0,
        atol=1e-10,
    )
    assert eq.alignment([1.0, 0.0], 50, 1.0, floor=0.1) == 1.0


def test_limits_over_the_whole_range():
    q = np.array([5e-324, 1e-300, 1e-200, 1e-155, 1e-90])
    assert_allclose(eq.kl_isotropic_limit(q), q / 4, rtol=1e-13, atol=5e-324)
    ratio = np.array([1e-300, 1e-20, 1e-3, 0.7, 1.0, 3.0, 1e8, 1e20, 1e170, 1e300])
    with mpmath.workdps(700):
        exact = [mpmath.mpf(float(c)) for c in ratio]
        exact = [float((1 / (1 + c) - 1 + mpmath.log(1 + c)) / 2) for c in exact]
    for unit in (1e-150, 1.0, 1e7):
        assert_allclose(eq.kl_floor([unit], unit * ratio), exact, rtol=1e-12)
    assert_allclose(eq.kl_floor([1e-150], 1e300), 0.5 * (450 * np.log(10) - 1), rtol=1e-14)
    assert eq.kl_floor([1e304], 1e304) == eq.kl_floor([1.0], 1.0)
    found = eq.alignment_many_samples([1e150, 2e150], 100, 1 - 1e-15)
    expected = (1 - (1 - 1e-15)) / 100 * (2 * (1 + 0.5) + (1 + 0.5)) / 1e150
    assert_allclose(found, expected, rtol=1e-12)
    assert_allclose(eq.alignment_many_samples([1e-150], 4, 1e-150), 0.0, atol=1e-299)
    values = np.array([1.0, 3.0, 8.0])
    for unit in (1e-150, 1e150):
        gap = eq.gap_small_noise(unit * values, 2, 0.5)
        assert_allclose(gap, unit * eq.gap_small_noise(values, 2, 0.5), rtol=1e-12)
    assert eq.gap_small_noise([1e300, 2e300], 1, 1 - 2**-53) == np.inf
    scale = eq.power_law_scale([2.0, 1e9], [2.0, 1e300], amplitude=1e-300)
    assert scale[0] == pytest.approx(1e300 * 2.5**2 * (2 / np.pi) ** 2) and scale[1] == np.inf
    for d, n in ((1, 1e9 + 0.5), (3, 1e200), (2, 1e300)):
        for estimated in (False, True):
            given = dict(estimated_mean=estimated)
            kl = d * (d + 1) / 4 if not estimated else d * (d + 3) / 4
            assert_allclose(eq.kl_wishart(d, n, **given), kl / n, rtol=1e-7)
            found = eq.kl_wishart(d, n, reverse=True, **given)
            assert_allclose(found, kl / n, rtol=1e-7)
            assert_allclose(eq.trace_inverse_wishart(d, n, **given), d, rtol=1e-7)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: eq.trace_inverse_wishart(0, 6), "dimension"),
        (lambda: eq.trace_inverse_wishart(4, 0.5), "n_samples"),
        (lambda: eq.trace_inverse_wishart(4, 1, estimated_mean=True), "n_samples"),
        (lambda: eq.kl_wishart(4, 3, reverse=True), "n_samples"),
        (lambda: eq.kl([1.0], 1.5, estimated_mean=True), "n_samples"),
        (lambda: eq.test_loss([1.0], 1, 0.5, estimated_mean=True), "estimated_mean"),
        (lambda: eq.gap([1.0], 2, 5e-324), "alpha_bar"),
        (lambda: eq.gap([1.0], 2, 1e-308, floor=1.7e308), "floor"),
        (lambda: eq.alignment([1.0], 2, 1e-308, reference_floor=1.7e308), "reference_floor"),
        (lambda: eq.trace_resolvent([1.0], 2, 1.7e308, estimated_mean=True), "`z`"),
        (lambda: eq.kl_wishart(4, 5), "n_samples"),
        (lambda: eq.kl_wishart(4, 6, estimated_mean=True), "n_samples"),
        (lambda: eq.kl_wishart(0, 6), "dimension"),
        (lambda: eq.log_det_wishart(4, 3), "n_samples"),
        (lambda: eq.log_det_wishart(4, 4, estimated_mean=True), "n_samples"),
        (lambda: eq.log_det_wishart(4, np.nan), "n_samples"),
        (lambda: eq.log_det_wishart(0, 3), "dimension"),
        (lambda: eq.kl_isotropic_limit(1.0), "aspect_ratio"),
        (lambda: eq.kl_isotropic_limit(0.0), "aspect_ratio"),
        (lambda: eq.kl_floor([-1.0], 1.0), "eigenvalues"),
        (lambda: eq.kl_floor([1.0], -1.0), "floor"),
        (lambda: eq.kl_floor([1.0], 1.0, multiplicities=[0.0]), "multiplicities"),
        (lambda: eq.alignment_many_samples([-1.0], 3, 0.5), "eigenvalues"),
        (lambda: eq.alignment_many_samples([1.0], 0, 0.5), "n_samples"),
        (lambda: eq.alignment_many_samples([1.0], 3, 1.0), "alpha_bar"),
        (lambda: eq.gap_small_noise([1.0, 1.0], 1, 1.0), "alpha_bar"),
        (lambda: eq.gap_small_noise([1.0, 0.0], 1, 0.5), "n_samples"),
        (lambda: eq.gap_small_noise([-1.0], 1, 0.5), "eigenvalues"),
        (lambda: eq.power_law_scale(0, 2.0), "n_samples"),
        (lambda: eq.power_law_scale(3, 1.0), "exponent"),
        (lambda: eq.power_law_scale(3, 0.5), "exponent"),
        (lambda: eq.power_law_scale(3, 2.0, amplitude=0.0), "amplitude"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def test_coefficients_of_the_digamma_series_are_bernoulli_numbers():
    exact = [float(sympy.bernoulli(2 * k) / (2 * k)) for k in range(1, 8)]
    assert_allclose(_asymptotics._BERNOULLI, exact, rtol=1e-15)
