"""Accuracy at the edges of the ranges that the docstrings state: scaling laws and many digits."""

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import trapezoid

from lindiff import gaussians, memorisation, multistep, onestep, sampling, schedules, spectra
from lindiff.denoisers import (
    AffineDenoiser,
    EmpiricalDenoiser,
    GaussianMixtureDenoiser,
    nearest_neighbours,
)

pytestmark = pytest.mark.filterwarnings("error:::lindiff")
few = settings(derandomize=True, deadline=None, max_examples=25)
# Powers of two change the units without rounding: lengths from 1e-150 to 1e150.
units = st.integers(-480, 480).map(lambda k: 2.0**k)
decades = st.floats(-300.0, 300.0).map(lambda k: 10.0**k)
ratios = st.one_of(st.sampled_from([0.0, 5e-324, 1e-17, 1.7e308]), decades)
seeds = st.integers(0, 2**32 - 1)


def rng(seed=0):
    return np.random.default_rng(seed)


def digits(function, *arguments, places=700):
    with mpmath.workdps(places):
        return float(function(*(mpmath.mpf(float(a)) for a in arguments)))


def covariance(seed, unit, dim=3):
    root = rng(seed).standard_normal((dim, dim + 2))
    return unit * (unit * (root @ root.T))


@given(decades, decades, st.floats(-150, 150))
@few
def test_spectral_divergences(p, q, size):
    def kl(p, q, s):
        return (p / q - 1 - mpmath.log(p / q) + s**2 / q) / 2

    shift = 10.0**size
    for s in (0.0, shift):
        with mpmath.workdps(700):
            exact = kl(mpmath.mpf(p), mpmath.mpf(q), mpmath.mpf(s))
            exact = np.inf if exact > 1.79e308 else float(exact)
        assert_allclose(gaussians.kl_spectral([p], [q], shift=s), exact, rtol=1e-14)
        w2 = digits(lambda p, q, s: (mpmath.sqrt(p) - mpmath.sqrt(q)) ** 2 + s**2, p, q, s)
        found = gaussians.wasserstein2_squared_spectral([p], [q], shift=s)
        assert_allclose(found, w2, rtol=1e-14)


@given(units, seeds)
@few
def test_matrix_divergences_do_not_depend_on_the_units(unit, seed):
    means = rng(seed + 1).standard_normal((2, 3))
    plain = means[0], covariance(seed, 1.0), means[1], covariance(seed + 2, 1.0)
    moved = unit * means[0], covariance(seed, unit), unit * means[1], covariance(seed + 2, unit)
    for function in (gaussians.kl_gaussian, gaussians.hellinger_squared):
        assert_allclose(function(*moved), function(*plain), rtol=1e-9)
    w2 = gaussians.wasserstein2_squared
    assert_allclose(w2(*moved) / unit / unit, w2(*plain), rtol=1e-9)
    expected = gaussians.entropy(plain[1]) + 3 * np.log(unit)
    assert_allclose(gaussians.entropy(moved[1]), expected, rtol=1e-12, atol=1e-9)
    got, cov = gaussians.condition(*moved[:2], [0], unit)
    want, plain_cov = gaussians.condition(*plain[:2], [0], 1.0)
    assert_allclose(got / unit, want, rtol=1e-9)
    assert_allclose(cov / unit / unit, plain_cov, rtol=1e-9)
    options = {"signal": 0.5, "noise": unit}
    got = gaussians.posterior_mean(*moved[:2], unit * means[1], **options) / unit
    options["noise"] = 1.0
    assert_allclose(got, gaussians.posterior_mean(*plain[:2], means[1], **options), rtol=1e-9)


@given(decades, decades)
@few
def test_matrix_divergence_of_coordinates_in_any_units(p, q):
    zero = np.zeros(2)
    found = gaussians.kl_gaussian(zero, np.diag([p, 1.0]), zero, np.diag([q, 1.0]))
    assert_allclose(found, gaussians.kl_spectral([p], [q]), rtol=1e-12)


@given(units, seeds, st.sampled_from([0.0, 5e-324, 1e-150, 1.0]))
@few
def test_denoisers_do_not_depend_on_the_units(unit, seed, sigma):
    draw = rng(seed)
    data, x = draw.standard_normal((6, 3)), draw.standard_normal((4, 3))
    cov = covariance(seed, 1.0)
    for plain, moved in (
        (AffineDenoiser.from_data(data), AffineDenoiser.from_data(unit * data)),
        (EmpiricalDenoiser(data), EmpiricalDenoiser(unit * data)),
        (
            GaussianMixtureDenoiser(data[:2], [cov, 2 * cov], [0.5, 0.5]),
            GaussianMixtureDenoiser(
                unit * data[:2], [unit * (unit * cov), 2 * (unit * (unit * cov))], [0.5, 0.5]
            ),
        ),
    ):
        # Tiny levels are those of the plain data in both, up to underflow.
        got = moved.denoise(unit * x, unit * sigma)
        assert_allclose(got / unit, plain.denoise(x, sigma), rtol=1e-8, atol=1e-9)
    index, distance = nearest_neighbours(unit * x, unit * data)
    assert np.array_equal(index, nearest_neighbours(x, data)[0])
    assert_allclose(distance / unit, nearest_neighbours(x, data)[1], rtol=1e-12)


@given(decades, st.sampled_from([0.0, 5e-324, 1e-150, 1.0, 1e150, 1e300]), st.floats(-150, 150))
@few
def test_gains_against_many_digits(variance, floor, size):
    sigma = 10.0**size
    denoiser = AffineDenoiser([0.0, 0.0], [variance], [[1.0], [0.0]], floor=floor)

    def gain(variance, sigma):
        return variance / (variance + sigma**2) if variance > 0 else mpmath.mpf(0)

    found, null = denoiser.gains(sigma)
    with mpmath.workdps(700):
        total = mpmath.mpf(variance) + mpmath.mpf(floor)
    exact = digits(lambda s: gain(total, s), sigma, places=1400)
    assert_allclose(found, [exact], rtol=1e-12, atol=1e-290)
    exact = digits(lambda f, s: gain(f, s), floor, sigma, places=1400)
    assert_allclose(null, exact, rtol=1e-12, atol=1e-290)


@given(st.floats(-150, 150), st.sampled_from(["ddim", "ddpm", "euler", "heun"]), units)
@few
def test_samplers_do_not_depend_on_the_units(size, solver, unit):
    levels, spread = np.geomspace(1e-2, 1e2, 7), 10.0 ** (size / 75) * np.array([1.0, 0.3, 0.0])
    options = {"solver": solver, "start": "matched"}
    plain = sampling.mode_moments(spread, schedules.from_sigmas(levels), **options)
    inside = min(max(unit, 2.0**-450), 2.0**450)
    moved = sampling.mode_moments(
        inside * (inside * spread), schedules.from_sigmas(inside * levels), **options
    )
    assert_allclose(moved[0], plain[0], rtol=1e-12, atol=1e-15)
    assert_allclose(moved[1] / inside / inside, plain[1], rtol=1e-12)


@given(decades, st.sampled_from([5e-324, 1e-300, 1e-17, 0.5, 1 - 1e-16]))
@few
def test_continuous_limits_against_many_digits(variance, end):
    def kept(v, e):
        return e * v / (1 + e * (v - 1))

    exact = digits(lambda v, e: v / (1 + e * (v - 1)), variance, end)
    assert_allclose(sampling.ddim_variance([variance], end), [exact], rtol=1e-13)
    exact = digits(lambda v, e: 1 - mpmath.sqrt(kept(v, e)), variance, end)
    assert_allclose(sampling.ddim_mean_factor([variance], end), [exact], rtol=1e-13)
    _, found = sampling.continuous_moments([variance], 1.0, end)
    assert_allclose(found, sampling.ddim_variance([variance], end), rtol=1e-12)


@given(
    st.one_of(st.sampled_from([5e-324, 1 - 1e-16, 1.0]), st.floats(-300, -1).map(lambda k: 10**k))
)
@few
def test_levels_against_many_digits(alpha_bar):
    exact = digits(lambda a: mpmath.sqrt((1 - a) / a), alpha_bar)
    assert_allclose(schedules.alpha_bar_to_sigma(alpha_bar), exact, rtol=1e-15)
    assert_allclose(schedules.from_alpha_bars([alpha_bar]).sigma, [exact], rtol=1e-15)
    schedule = schedules.from_sigmas([exact])
    assert_allclose(schedule.alpha_bar, [alpha_bar], rtol=1e-15, atol=5e-324)
    assert_allclose(schedule.noise_var, [1.0 - alpha_bar], rtol=1e-15)


@given(units, st.sampled_from([1e-3, 0.1, 1.0, 7.0, 1e3, 1e150]))
@few
def test_karras_levels_in_any_units(unit, rho):
    plain = schedules.karras(9, 1.0, 80.0, rho)
    assert_allclose(
        schedules.karras(9, unit, 80.0 * unit, rho).sigma / unit, plain.sigma, rtol=1e-12
    )
    with mpmath.workdps(400):
        low, power = mpmath.mpf(1), 1 / mpmath.mpf(rho)
        high = mpmath.mpf(80) ** power
        middle = float(((low + high) / 2) ** mpmath.mpf(rho))
    assert_allclose(plain.sigma[4], middle, rtol=1e-11)


@given(ratios)
@few
def test_one_step_functions_against_many_digits(ratio):
    log, root = mpmath.log, mpmath.sqrt
    for function, exact in (
        (onestep.kl_population, lambda r: (log(1 + r) - r / (1 + r)) / 2),
        (onestep.kl_reverse, lambda r: (r - log(1 + r)) / 2),
        (onestep.kl_slope, lambda r: r / (1 + r) ** 2 / 2),
        (onestep.wasserstein2_squared, lambda r: (1 - 1 / root(1 + r)) ** 2),
        (onestep.hellinger_squared, lambda r: 1 - (1 + r**2 / (1 + r) / 4) ** -0.25),
    ):
        expected = digits(exact, ratio, places=1400)
        assert_allclose(function(ratio, 1), expected, rtol=1e-12, atol=1e-300)


@given(ratios, st.integers(1, 4), st.sampled_from([3, 8, 9, 40, 20_000, 10**9]))
@few
def test_exact_averages_at_any_ratio_and_size(ratio, dimension, n):
    for function in (onestep.expected_trace, onestep.expected_mean_term, onestep.kl_lower_bound):
        assert function(ratio, dimension, n) >= 0.0
    if n <= 40 and (ratio == 0 or ratio > 0.1):
        kl = onestep.expected_kl(ratio, dimension, n, sampler="population")
        assert kl >= onestep.kl_lower_bound(ratio, dimension, n) * (1 - 1e-9)
    if n == 10**9:
        assert_allclose(
            onestep.expected_trace(ratio, dimension, n), dimension / (1 + ratio), atol=1e-7
        )
        with pytest.raises(ValueError, match=r"`n_samples` .* exact sum"):
            onestep.expected_kl(1.0, dimension, n)


@given(*(st.floats(-size, size).map(lambda k: 10.0**k) for size in (6, 10, 6)))
@few
def test_regularised_log_determinant_lies_between_its_bounds(ratio, aspect, width):
    found = onestep.regularised_log_det(ratio, aspect, width)
    above = np.log(onestep.trace_limit(ratio, aspect) + width**2)
    assert 2 * np.log(width) - 1e-9 <= found <= above + 1e-9 * max(1.0, abs(above))


@pytest.mark.parametrize(
    ("ratio", "aspect", "x"),
    [
        (0.01, 0.01, np.linspace(0.8, 1.2, 1001)),
        (100.0, 0.01, np.linspace(1e-4, 1.0, 1001)),
        (0.01, 0.99, np.geomspace(1e-3, 1e3, 3001)),
        (100.0, 0.99, np.geomspace(1e-4, 1e3, 3001)),
    ],
)
def test_density_of_singular_values_has_its_mass_and_trace(ratio, aspect, x):
    density = onestep.singular_value_density(x, ratio, aspect)
    assert_allclose(trapezoid(density, x), 1.0, rtol=3e-3)
    trace = onestep.trace_limit(ratio, aspect)
    assert_allclose(trapezoid(density * x**2, x), trace, rtol=5e-3)


@given(
    st.sampled_from([0.0, 1e-17, 1.0, 1e16, 1e300]),
    st.floats(-6, 8),
    st.floats(-6, 6),
    st.floats(-12, 12),
    st.booleans(),
)
@few
@example(0.0, 0.0, 0.0, 9.625, False)
@example(1e16, -1.72, 5.96, -6.71, True)
def test_random_features_are_numbers(ratio, samples, features, ridge, averaged):
    curve = onestep.random_features(
        ratio, 10.0**samples, 10.0**features, ridge=10.0**ridge, averaged=averaged
    )
    assert curve.variance >= -1e-9 and curve.error >= -1e-9
    assert np.isfinite(curve.variance) and np.isfinite(curve.error)


@given(decades, st.integers(1, 5), st.sampled_from([0.0, 5e-324, 1e-150, 1.0, 1e150, 1e300]))
@few
def test_ridge_variances_are_numbers(scale, n, ridge):
    found = onestep.ridge_variances(
        [min(scale, 1e150), 1.0, 1e-3], n + 1, time=0.3, noise_scale=1.0, ridge=ridge
    )
    assert np.all(found >= 0.0)
    if n != 3:
        assert np.all(np.isfinite(found))


@given(units, st.sampled_from([1, 2, 3, 7, 10**9]), st.booleans())
@few
def test_sample_spectra_scale_with_the_units(unit, n, fitted):
    values, square = np.array([3.0, 1.0, 1e-3]), unit * unit
    options = {"size": 2, "estimated_mean": fitted, "projected": True}
    plain = spectra.sample_spectra(values, n, rng(1), **options)
    moved = spectra.sample_spectra(unit * (unit * values), n, rng(1), **options)
    assert_allclose(moved.eigenvalues / square, plain.eigenvalues, rtol=1e-9)
    assert_allclose(moved.projected_variances / square, plain.projected_variances, rtol=1e-9)
    if n == 10**9:
        assert_allclose(plain.eigenvalues, [values, values], rtol=1e-3)
    log_det = spectra.sample_log_det(unit * (unit * values), n, rng(1))
    expected = spectra.sample_log_det(values, n, rng(1)) + 6 * np.log(unit)
    assert_allclose(log_det, expected, rtol=1e-12)


@given(st.integers(0, 300), st.sampled_from([1, 2, 5, 10**9]))
@few
def test_sample_spectra_of_any_spread(decades, n):
    values = 10.0 ** -np.array([0.0, decades / 2, decades])
    found = spectra.sample_spectra(values, n, rng(2), size=2, projected=True)
    assert np.all(found.eigenvalues >= 0) and np.all(np.isfinite(found.projected_variances))
    assert_allclose(
        spectra.participation_ratio(values),
        digits(lambda a, b, c: (a + b + c) ** 2 / (a**2 + b**2 + c**2), *values),
        rtol=1e-14,
    )
    if n == 10**9:
        assert_allclose(found.eigenvalues, [values, values], rtol=1e-3)


@given(st.floats(-140, 140), st.floats(-240, 99), st.sampled_from([1, 2, 3, 10**9]))
@few
def test_isotropic_traces_against_eigenvalues(size, relative, n):
    variance = 10.0**size
    z = variance * 10.0**relative
    z = 0.0 if min(z, 10.0**relative) < 1e-140 else min(z, 1e150)
    drawn = spectra.isotropic_traces(3, n, z, rng(3), size=2, variance=variance, order=1)
    plain = spectra.isotropic_traces(3, n, z / variance, rng(3), size=2, order=1)
    assert_allclose(drawn.log_det, plain.log_det + 3 * np.log(variance), rtol=1e-11, atol=1e-9)
    assert_allclose(drawn.inverse * variance, plain.inverse, rtol=1e-9)


@given(
    st.sampled_from(["ddpm", "ddim", "means", "ancestral"]),
    st.floats(-100, 100),
    st.floats(-40, 40),
)
@few
def test_chains_do_not_depend_on_the_units(rule, size, relative):
    unit, grid = 10.0**size, np.array([0.2, 1.0, 5.0])
    s = np.array([10.0**relative, 1.0])
    plain = multistep.step_variance(s, grid, rule=rule)
    moved = multistep.step_variance(unit * s, unit * grid, rule=rule)
    assert_allclose(moved / unit, plain, rtol=1e-11)
    kl = multistep.step_kl(s, grid, rule=rule)
    assert kl >= 0.0
    assert_allclose(multistep.step_kl(unit * s, unit * grid, rule=rule), kl, rtol=1e-9, atol=1e-25)


@given(st.floats(-100, 100), st.integers(1, 12), st.sampled_from(["ddpm", "ddim"]))
@few
def test_best_grids_in_any_units(size, n, rule):
    end = 10.0**size
    grid = multistep.best_grid(n, end, rule=rule)
    assert np.all(np.diff(grid) > 0) and grid[0] > 0 and grid[-1] == end
    unit = 2.0**100
    assert_allclose(
        multistep.best_grid(n, unit * end, rule=rule, variance=unit), unit * grid, rtol=1e-9
    )
    best = multistep.best_grid_kl(n, end, rule=rule)
    assert_allclose(best, multistep.step_kl([1.0], grid, rule=rule), rtol=1e-9, atol=1e-25)
    forced = multistep.teacher_forced_kl([end], 1)
    assert_allclose(forced, onestep.kl_population(end, 1), rtol=1e-12)


@given(st.integers(-240, 240).map(lambda k: 2.0**k), seeds)
@few
def test_memorisation_in_any_units(unit, seed):
    draw = rng(seed)
    train, fresh = draw.standard_normal((2, 9, 2))
    mean, cov, square = draw.standard_normal(2), covariance(seed, 1.0, 2), unit * unit
    rows = []
    for u in (1.0, unit):
        known = {"variance": u * u}
        law = u * mean, u * (u * cov)
        near, far = (memorisation.kernel_density(u * x, **known) for x in (train, fresh))
        gap = memorisation.memorisation_gap(*law, near, far)
        truth = np.zeros(2), u * u * np.eye(2)
        rows.append(
            [
                *gap,
                memorisation.log_l2_distance(*law, near) + 2 * np.log(u),
                memorisation.kl_gap(*law, u * train, *truth),
                memorisation.likelihood_gap(*law, u * train, *truth),
                memorisation.pixel_distance(u * train, u * fresh, u) if 1e-100 < u < 1e100 else 0,
            ]
        )
    assert square > 0
    rows[0][-1] *= rows[1][-1] != 0
    assert_allclose(rows[1], rows[0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: AffineDenoiser([1e151], [1.0], [[1.0]]), "`mean`"),
        (lambda: AffineDenoiser([0.0], [1.0], [[1.0]], floor=1e305), "`floor`"),
        (lambda: AffineDenoiser([0.0], [1.0], [[1.0]], ridge=1.0).penalty(1e200), "`ridge`"),
        (lambda: EmpiricalDenoiser([[1e151]]), "`data`"),
        (lambda: EmpiricalDenoiser([[1.0]]).denoise([1e151], 1.0), "`x`"),
        (
            lambda: GaussianMixtureDenoiser([[0.0]], [[[1.0]]], [1.0]).denoise([0.0], 1e151),
            "`sigma`",
        ),
        (
            lambda: GaussianMixtureDenoiser([[0.0]], [[[0.0]]], [1.0]).denoise([1e100], 1e-100),
            "`x` lies too far",
        ),
        (lambda: gaussians.kl_spectral([1e305], [1.0]), "`var_p`"),
        (lambda: gaussians.kl_spectral([1.0], [1.0], shift=1e151), "`shift`"),
        (lambda: gaussians.entropy([[1e305]]), "`cov`"),
        (lambda: spectra.covariance_spectrum([[1e151]]), "`data`"),
        (lambda: spectra.isotropic_traces(2, 3, 1.0, rng(), variance=1e-141), "`variance`"),
        (lambda: spectra.isotropic_traces(2, 3, 1e120, rng()), "`z` is more than"),
        (lambda: multistep.step_variance([1.0], [1e151]), "`grid`"),
        (lambda: multistep.continuum_grid([1.0, 1e-31], 3, 1.0), "`eigenvalues` and `end` span"),
        (lambda: multistep.simulate_step_kl([[1.0]], [1.0, 1e-13], 9, 2, rng()), "12 decades"),
        (lambda: onestep.regularised_log_det(1.0, 0.5, 1e-7), "`width`"),
        (lambda: onestep.singular_value_density([1e7], 1.0, 0.5), "`x`"),
        (lambda: onestep.random_features(1.0, 1e-7, 1.0, ridge=1.0), "`samples_per_dimension`"),
        (lambda: onestep.kl_small_noise(1e91, 1), "`noise_to_signal`"),
        (lambda: onestep.OneStepModel(time=1.0, noise_scale=1.0, variance=1e-301), "`variance`"),
        (lambda: memorisation.kernel_density([[0.0], [1.0]], bandwidth=1e-151), "`bandwidth`"),
    ],
)
def test_numbers_out_of_range_are_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
