"""Fit, simulation and high-dimensional limits of the one-step model on n points."""

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad, trapezoid
from scipy.stats import ks_2samp, multivariate_normal
from sklearn.linear_model import LinearRegression, Ridge

from lindiff import _onestep_free, gaussians, onestep
from lindiff.onestep import OneStepModel


def model(ratio, dimension, variance=1.0):
    """A model with the given noise-to-signal ratio."""
    scale = ratio * variance / np.expm1(1.0)
    return OneStepModel(time=0.5, noise_scale=scale, variance=variance, dimension=dimension)


def pairs(rng, n, dimension, mean=0.0):
    clean = mean + rng.standard_normal((n, dimension))
    return 0.6 * clean + 0.5 * rng.standard_normal(clean.shape), clean


def within(draws, theory, errors=4):
    draws = np.asarray(draws)
    return abs(draws.mean() - theory) < errors * draws.std(ddof=1) / np.sqrt(draws.size)


@pytest.mark.parametrize("n_samples", [3, 6, 7, 30])
@pytest.mark.parametrize("intercept", [True, False])
def test_fit_is_that_of_scikit_learn(n_samples, intercept):
    noised, clean = pairs(np.random.default_rng(n_samples), n_samples, 6, mean=4.0)
    fit = onestep.fit_one_step(noised, clean, intercept=intercept)
    other = LinearRegression(fit_intercept=intercept).fit(noised, clean)
    assert_allclose(fit.weights, other.coef_, rtol=1e-8, atol=1e-10)
    assert_allclose(fit.denoise(noised[:2]), other.predict(noised[:2]), rtol=1e-8)
    residual = clean - fit.denoise(noised)
    centred = noised - noised.mean(axis=0) * intercept
    assert np.max(np.abs(centred.T @ residual)) < 1e-9


@pytest.mark.parametrize("sampler", ["isotropic", "population", "full"])
@pytest.mark.parametrize("n_samples", [4, 25])
def test_generated_law_is_the_law_of_denoised_inputs(sampler, n_samples):
    rng = np.random.default_rng(n_samples)
    setting = model(0.5, 3, variance=2.0)
    clean = 3.0 + np.sqrt(2.0) * rng.standard_normal((n_samples, 3))
    noised = setting.signal * clean + setting.noise * rng.standard_normal(clean.shape)
    fit = onestep.fit_one_step(noised, clean)
    mean, root = onestep.generated_law(fit, setting, sampler=sampler)
    signal, noise = setting.signal, setting.noise
    variances = {"isotropic": clean.var(axis=0, ddof=1).mean(), "population": 2.0}
    if sampler == "full":
        centre, cov = noised.mean(axis=0), np.cov(noised.T)
    else:
        centre = signal * clean.mean(axis=0)
        cov = (signal**2 * variances[sampler] + noise**2) * np.eye(3)
    assert_allclose(mean, fit.denoise(centre), rtol=1e-12)
    assert_allclose(root @ root.T, fit.weights @ cov @ fit.weights.T, rtol=1e-10)


@pytest.mark.parametrize("sampler", ["isotropic", "population", "full"])
@pytest.mark.parametrize("n_samples", [4, 9, 30])
@pytest.mark.parametrize("intercept", [True, False])
def test_both_routes_have_one_law(sampler, n_samples, intercept):
    setting, options = model(0.8, 6), {"sampler": sampler, "width": 0.4, "intercept": intercept}
    drawn, fitted = (
        onestep.simulate_finite(
            setting, n_samples, 1500, np.random.default_rng(seed), route=route, **options
        )
        for seed, route in enumerate(("wishart", "regression"))
    )
    for name in ("trace", "log_det", "kl_mean", "kl"):
        if intercept or name != "kl_mean":
            assert ks_2samp(getattr(drawn, name), getattr(fitted, name)).pvalue > 1e-3


def test_runs_report_the_divergence_of_the_fitted_law():
    setting = model(0.7, 4, variance=1.7)
    runs = onestep.simulate_finite(setting, 12, 1, np.random.default_rng(3), route="regression")
    rng = np.random.default_rng(3)
    clean = np.sqrt(1.7) * rng.standard_normal((12, 4))
    noised = setting.signal * clean + setting.noise * rng.standard_normal(clean.shape)
    mean, root = onestep.generated_law(onestep.fit_one_step(noised, clean), setting)
    expected = gaussians.kl_gaussian(mean, root @ root.T, np.zeros(4), 1.7 * np.eye(4))
    assert_allclose(runs.kl, [expected], rtol=1e-11)
    draws = multivariate_normal(mean, root @ root.T).rvs(60_000, random_state=1)
    log_ratio = multivariate_normal(mean, root @ root.T).logpdf(draws)
    log_ratio -= multivariate_normal(np.zeros(4), 1.7 * np.eye(4)).logpdf(draws)
    assert within(log_ratio, runs.kl[0])


def test_runs_with_the_full_input_report_the_divergence_of_their_law():
    setting = model(0.7, 4)
    options = {"route": "regression", "sampler": "full"}
    runs = onestep.simulate_finite(setting, 12, 1, np.random.default_rng(3), **options)
    rng = np.random.default_rng(3)
    clean = rng.standard_normal((12, 4))
    noised = setting.signal * clean + setting.noise * rng.standard_normal(clean.shape)
    fit = onestep.fit_one_step(noised, clean)
    cov = fit.weights @ np.cov(noised.T) @ fit.weights.T
    expected = gaussians.kl_gaussian(clean.mean(axis=0), cov, np.zeros(4), np.eye(4))
    assert_allclose(runs.kl, [expected], rtol=1e-11)
    assert_allclose(runs.log_det, [np.linalg.slogdet(cov)[1]], rtol=1e-11)


def test_below_n_equal_d_the_law_is_singular_and_the_divergence_infinite():
    runs = onestep.simulate_finite(model(1.0, 8), 5, 3, np.random.default_rng(0))
    assert np.all(np.isinf(runs.kl)) and np.all(runs.log_det == -np.inf)
    maps = onestep.sample_maps(1.0, 8, 5, 3, np.random.default_rng(0))
    assert maps.shape == (3, 8, 4) and np.all(np.isfinite(maps))


def test_one_point_and_two_points():
    fit = onestep.fit_one_step([[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [3.0, 2.0]])
    step_x, step_y = np.array([1.0, -2.0]), np.array([-2.0, -1.0])
    assert_allclose(fit.weights, np.outer(step_y, step_x) / 5.0, rtol=1e-12, atol=1e-15)
    assert onestep.fit_one_step([[2.0]], [[6.0]], intercept=False).weights == pytest.approx(3.0)


@pytest.mark.parametrize("n_samples", [7, 13, 40])
def test_maps_have_the_law_of_regression(n_samples):
    rng = np.random.default_rng(n_samples)
    drawn = onestep.sample_maps(0.5, 6, n_samples, 800, rng)
    drawn = np.linalg.svd(drawn, compute_uv=False)
    fitted = []
    for _ in range(800):
        x = rng.standard_normal((n_samples, 6))
        y = np.sqrt(2 / 3) * x + np.sqrt(1 / 3) * rng.standard_normal(x.shape)
        fitted.append(np.linalg.svd(onestep.fit_one_step(x, y).weights, compute_uv=False))
    for column in (0, 3, 5):
        assert ks_2samp(drawn[:, column], np.array(fitted)[:, column]).pvalue > 1e-3


@pytest.mark.parametrize(("rho", "c"), [(0.5, 0.3), (0.5, 0.8), (0.2, 0.9), (0.9, 0.4)])
def test_log_det_limit_is_the_potential_of_the_brown_measure(rho, c):
    """Radial law F(r) = r^2 / (c (1 + r^2)): the potential at z is 2 int max(log z, log r) dF."""
    z, edge = np.sqrt(rho / (1 - rho)), np.sqrt(c / (1 - c))
    density = lambda r: 2 * r / (c * (1 + r**2) ** 2)  # noqa: E731
    inside = min(z, edge)
    value = np.log(z) * quad(density, 0, inside)[0]
    value += quad(lambda r: np.log(r) * density(r), inside, edge, epsabs=1e-13)[0]
    expected = np.log(1 - rho) + 2 * value
    assert_allclose(onestep.log_det_limit((1 - rho) / rho, c), expected, rtol=1e-11)


def test_log_det_limit_has_a_jump_in_the_second_derivative_only():
    rho, h = 0.5, 1e-3
    c = rho + h * np.arange(-2, 3)
    values = onestep.log_det_limit(1.0, c)
    assert_allclose(values[:3], np.log(rho), rtol=1e-15)
    assert abs((values[3] - values[2]) / h) < 2 * h / (rho**2 * (1 - rho))
    second = (values[4] - 2 * values[3] + values[2]) / h**2
    assert_allclose(second, 1 / (rho**2 * (1 - rho)), rtol=0.02)
    assert onestep.log_det_limit(1.0, [1.0, 1.2]).tolist() == [0.0, -np.inf]


def test_corrected_log_det_beats_the_limit():
    for degrees, error in ((45, 1e-9), (50, 1e-7), (400, 1e-3)):
        exact = onestep.expected_log_det(1.0, 40, degrees, intercept=False)
        close = onestep.log_det_asymptotic(1.0, 40, degrees, intercept=False)
        assert abs(close - exact) < error
        assert abs(40 * onestep.log_det_limit(1.0, 40 / degrees) - exact) > 2 * abs(close - exact)
    assert onestep.log_det_asymptotic(1.0, 40, 30) == -np.inf
    assert onestep.log_det_asymptotic(1.0, 40, 41) == 0


def test_full_input_has_the_limit_one_half_at_n_equal_d():
    for ratio in (0.05, 1.0, 20.0):
        assert_allclose(onestep.kl_limit(ratio, 1.0, sampler="full"), 0.5, rtol=1e-14)
        assert np.isinf(onestep.kl_limit(ratio, 1.0))
    assert np.isinf(onestep.kl_limit(1.0, 1.5, sampler="full"))


def test_many_samples_give_the_population_and_the_one_over_n_law():
    ratio = np.array([0.1, 1.0, 5.0])
    limit = onestep.kl_limit(ratio, 1e-9)
    assert_allclose(limit, onestep.kl_population(ratio, 1), rtol=1e-7)
    excess = (onestep.kl_limit(ratio, 1e-4) - onestep.kl_population(ratio, 1)) / 1e-4
    assert_allclose(excess, 0.5 * ratio / (1 + ratio), rtol=2e-4)


@pytest.mark.parametrize("sampler", ["isotropic", "full"])
def test_threshold_separates_monotone_from_not(sampler):
    ratio, c = onestep.monotone_threshold(sampler=sampler)
    grid = np.linspace(0.01, 0.99, 4000)
    below = np.diff(onestep.kl_limit(0.99 * ratio, grid, sampler=sampler))
    above = np.diff(onestep.kl_limit(1.01 * ratio, grid, sampler=sampler))
    assert np.all(below > 0)
    assert np.any(above < 0)
    assert abs(grid[np.argmin(above)] - c) < 0.05


def test_threshold_values_of_the_ledger():
    assert_allclose(onestep.monotone_threshold(), [4.33867, 1 / 3.3246], rtol=2e-5)
    rho = 1 / (1 + onestep.monotone_threshold(sampler="full").noise_to_signal)
    assert_allclose(rho, 0.30051, rtol=2e-5)


def stationary_log_det(wishart, rho, dimension, width):
    """Finite-size form with the sampled Wishart eigenvalues, by damped iteration."""
    s, y2, left, right = (1 - rho) / wishart, width**2, dimension - wishart.size, (0.0, 0.0)
    a, b = dimension / y2, 0.0
    for _ in range(20_000):
        common = y2 * (1 + b) * (1 + s * a) + rho
        new_a = np.sum((1 + s * a) / common) + left / (y2 * (1 + b))
        new_b = np.sum((1 + b) * s / common)
        right = (a, b)
        a, b = 0.5 * (a + new_a), 0.5 * (b + new_b)
        if max(abs(a / right[0] - 1), abs(b - right[1])) < 1e-14:
            break
    value = np.sum(np.log(y2 * (1 + b) * (1 + s * a) + rho)) + left * np.log(y2 * (1 + b))
    return (value - y2 * a * b) / dimension


@pytest.mark.parametrize("c", [0.4, 0.9, 1.6, 4.0])
def test_regularised_log_det_against_eigenvalues_at_d_400(c):
    degrees = round(400 / c)
    maps = onestep.sample_maps(1.0, 400, degrees, 6, np.random.default_rng(1), intercept=False)
    values = np.linalg.svd(maps, compute_uv=False) ** 2
    missing = (400 - values.shape[1]) * np.log(0.09)
    draws = (np.sum(np.log(values + 0.09), axis=1) + missing) / 400
    assert_allclose(draws.mean(), onestep.regularised_log_det(1.0, 400 / degrees, 0.3), atol=0.006)


@pytest.mark.parametrize("c", [0.4, 0.95, 1.6, 4.0])
def test_regularised_log_det_against_the_stationary_form(c):
    """Quantiles of the Marchenko-Pastur law stand in for the sampled eigenvalues."""
    ratio, size = (c, 3000) if c < 1 else (1 / c, 3000)
    low, high = (1 - np.sqrt(ratio)) ** 2, (1 + np.sqrt(ratio)) ** 2
    angle = np.linspace(0, np.pi / 2, 400_001)
    s = low + (high - low) * np.sin(angle) ** 2
    density = (high - low) ** 2 * (np.sin(angle) * np.cos(angle)) ** 2 / (np.pi * ratio * s)
    mass = np.concatenate([[0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    quantiles = np.interp((np.arange(size) + 0.5) / size, mass / mass[-1], s)
    dimension = size if c < 1 else round(size * c)
    wishart = quantiles * max(dimension, round(dimension / c))
    expected = stationary_log_det(wishart, 0.6, dimension, 0.5)
    value = onestep.regularised_log_det(2 / 3, c, 0.5)
    assert_allclose(value, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("rho", "c", "width"), [(0.5, 0.4, 0.3), (0.2, 0.9, 1.0), (0.9, 0.3, 0.05), (0.5, 0.95, 0.001)]
)
def test_regularised_log_det_against_free_convolution_at_fifty_digits(rho, c, width):
    with mpmath.workdps(50):
        p, a, y = mpmath.mpf(rho), mpmath.mpf(c), mpmath.mpf(width)
        g = lambda r: mpmath.sqrt((1 - r * r) / (4 * p))  # noqa: E731
        q = lambda r: mpmath.sqrt((1 - a) ** 2 + 4 * a**2 * (1 - p) * g(r) ** 2)  # noqa: E731
        balance = lambda r: 1 + (r - 1) / 2 + (1 - a - q(r)) / (2 * a) - y * g(r)  # noqa: E731
        low = max(-1, 1 - 2 * p / a)
        r = mpmath.findroot(
            balance, (low + mpmath.mpf(10) ** -40, 1 - mpmath.mpf(10) ** -40), solver="anderson"
        )
        value = 2 * y * g(r) - 2 * mpmath.log(g(r)) - r + mpmath.log(1 + r)
        value += (q(r) - (1 - a) * mpmath.log(q(r) + 1 - a)) / a - 1 - mpmath.log(2)
        value -= (1 - a) / a * (1 - mpmath.log(2 * (1 - a)))
    ratio = (1 - rho) / rho
    assert_allclose(onestep.regularised_log_det(ratio, c, width), float(value), rtol=1e-11)


def test_regularised_log_det_is_continuous_at_n_equal_d_and_has_the_right_limits():
    both = onestep.regularised_log_det(1.0, [1 - 1e-12, 1.0, 1 + 1e-12], 0.4)
    assert np.ptp(both) < 1e-10
    assert_allclose(
        onestep.regularised_log_det(1.0, [0.4, 0.8], 1e-4),
        onestep.log_det_limit(1.0, [0.4, 0.8]),
        atol=1e-3,
    )
    assert_allclose(onestep.regularised_log_det(1.0, 0.5, 1e4), 2 * np.log(1e4), rtol=1e-8)
    assert_allclose(onestep.regularised_log_det(1.0, 1e9, 0.3), np.log(0.09), rtol=1e-7)


def test_hellinger_exponent_against_matrices():
    maps = onestep.sample_maps(1.0, 200, 601, 6, np.random.default_rng(4))
    values = np.linalg.svd(maps, compute_uv=False) ** 2
    draws = np.mean(0.5 * np.log(0.5 * (1 + values)) - 0.25 * np.log(values), axis=1)
    assert_allclose(draws.mean(), onestep.hellinger_exponent(1.0, 1 / 3), rtol=0.02)
    square = onestep.hellinger_squared(0.7, 1)
    assert_allclose(onestep.hellinger_exponent(0.7, 1e-10), -np.log1p(-square), rtol=1e-8)
    assert onestep.hellinger_exponent(1.0, 1.3) == np.inf


@pytest.mark.parametrize("c", [0.3, 0.8])
def test_density_of_singular_values(c):
    maps = onestep.sample_maps(1.0, 300, round(300 / c) + 1, 8, np.random.default_rng(6))
    values = np.linalg.svd(maps, compute_uv=False).ravel()
    x = np.linspace(0.002, 12, 3001)
    density = onestep.singular_value_density(x, 1.0, c)
    cumulative = np.concatenate([[0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(x))])
    assert abs(cumulative[-1] - 1) < 0.005
    for place in (0.4, 0.7, 1.0, 1.6):
        measured = np.mean(values < place)
        assert abs(measured - np.interp(place, x, cumulative)) < 0.015
    second = trapezoid(density * x**2, x)
    assert_allclose(second, onestep.trace_limit(1.0, c), rtol=0.02)


def spectrum_and_draws(rng, eigenvalues, n, runs, ridge=0.0):
    a, b2 = np.exp(-0.4), 0.5 * -np.expm1(-0.8)
    out = []
    for _ in range(runs):
        clean = rng.standard_normal((n, eigenvalues.size)) * np.sqrt(eigenvalues)
        noised = a * clean + np.sqrt(b2) * rng.standard_normal(clean.shape)
        if ridge:
            fit = Ridge(alpha=ridge * n, fit_intercept=False).fit(noised, clean)
            weights = fit.coef_
        else:
            weights = onestep.fit_one_step(noised, clean, intercept=False).weights
        out.append((weights**2 @ (a**2 * eigenvalues + b2)) / eigenvalues)
    return np.array(out)


@pytest.mark.parametrize("n", [50, 100, 200, 300])
def test_ridge_goes_over_into_least_squares_on_white_data(n):
    options = {"time": 0.5, "noise_scale": 1 / np.expm1(1.0), "intercept": False}
    values = onestep.ridge_variances(np.ones(120), n, **options)
    assert_allclose(values.mean(), onestep.trace_limit(1.0, 120 / n), rtol=1e-12)
    small = onestep.ridge_variances(np.ones(120), n, ridge=1e-9, **options)
    assert_allclose(small, values, rtol=1e-6)
    assert np.all(np.isinf(onestep.ridge_variances(np.ones(9), 9, **options)))


def test_trace_of_correlated_data_is_exact():
    eigenvalues = np.array([4.0, 1.0, 0.5, 0.1])
    draws = spectrum_and_draws(np.random.default_rng(8), eigenvalues, 12, 4000)
    theory = onestep.expected_trace_modes(
        eigenvalues, 12, time=0.4, noise_scale=0.5, intercept=False
    )
    for mode in range(4):
        assert within(draws[:, mode], theory[mode])
    assert np.all(np.isinf(onestep.expected_trace_modes(np.ones(4), 6, time=1.0, noise_scale=1.0)))


GOOD = {"noise_to_signal": 1.0, "aspect_ratio": 0.5}
LIMITS = [onestep.trace_limit, onestep.log_det_limit, onestep.kl_limit, onestep.kl_reverse_limit]


@pytest.mark.parametrize("function", [*LIMITS, onestep.hellinger_exponent])
def test_numbers_give_numbers_and_arrays_give_arrays(function):
    number = function(**GOOD)
    assert type(number) is float
    for shape in ((1,), (2, 3)):
        array = function(**{**GOOD, "aspect_ratio": np.full(shape, GOOD["aspect_ratio"])})
        assert isinstance(array, np.ndarray) and array.shape == shape
        assert_allclose(array, number, rtol=1e-14)


def exact_limits(ratio, c):
    """Trace, log-determinant and the two divergences below c = 1, at 700 digits."""
    with mpmath.workdps(700):
        ratio, c = mpmath.mpf(ratio), mpmath.mpf(c)
        rho, noise, log = 1 / (1 + ratio), ratio / (1 + ratio), mpmath.log
        trace = rho + noise * c / (1 - c)
        log_det = log(rho) if c <= rho else log(c) + (1 - c) / c * log((1 - c) / noise)
        full = (rho + noise * c - log_det + (1 - c) / c * log(1 - c)) / 2
        return [float(v) for v in (trace, log_det, (trace - 1 - log_det) / 2, full)]


@pytest.mark.parametrize("ratio", [1e-150, 1e-9, 0.3, 5.0, 1e9, 3e15, 1e16, 1e150, 1.7e308])
@pytest.mark.parametrize("c", [5e-324, 1e-150, 1e-17, 1e-8, 0.05, 0.4, 0.9])
def test_limits_keep_their_accuracy_at_any_ratio(ratio, c):
    trace, log_det, kl, full = exact_limits(ratio, c)
    assert_allclose(onestep.trace_limit(ratio, c), trace, rtol=1e-13)
    assert_allclose(onestep.log_det_limit(ratio, c), log_det, rtol=1e-12, atol=1e-15)
    assert_allclose(onestep.kl_limit(ratio, c), kl, rtol=1e-12, atol=1e-300)
    assert_allclose(onestep.kl_limit(ratio, c, sampler="full"), full, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("function", [*LIMITS, onestep.hellinger_exponent])
@pytest.mark.parametrize(
    ("name", "value"),
    [("noise_to_signal", -1.0), ("noise_to_signal", np.nan), ("aspect_ratio", 0.0)],
)
def test_limits_name_bad_input(function, name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        function(**{**GOOD, name: value})


@pytest.mark.parametrize("x", [1e-9, 1e-3, 1.0, 1e3, 1e9])
@pytest.mark.parametrize("ratio", [1e-4, 0.3, 1.0, 3.0, 1e4])
def test_mean_logarithm_is_the_shannon_transform_at_sixty_digits(x, ratio):
    with mpmath.workdps(60):
        gain, beta = 1 / mpmath.mpf(x), mpmath.mpf(ratio)
        upper, lower = 1 + mpmath.sqrt(beta), 1 - mpmath.sqrt(beta)
        f = (mpmath.sqrt(gain * upper**2 + 1) - mpmath.sqrt(gain * lower**2 + 1)) ** 2 / 4
        value = mpmath.log(1 + gain - f) + mpmath.log(1 + gain * beta - f) / beta
        value = float(value - f / (beta * gain))
    # Two terms of order one may leave little of each other at large x.
    assert_allclose(_onestep_free._shannon(x, ratio), value, rtol=1e-11, atol=1e-16 / x)


def test_without_noise_the_model_is_the_data():
    assert onestep.log_det_asymptotic(0.0, 5, 20) == 0.0
    assert onestep.kl_reverse_limit(0.0, 0.5) == 0.0
    assert onestep.kl_reverse_limit(0.0, 2.0) == np.inf


def test_smallest_numbers_of_samples_are_taken():
    fit = onestep.fit_one_step([[2.0]], [[1.0]], intercept=False)
    assert_allclose([fit.weights[0, 0], fit.intercept[0]], [0.5, 0.0], atol=1e-15)
    quiet = {"time": 0.4, "noise_scale": 1e-9}
    assert np.isfinite(onestep.kl_modes_finite(np.ones(9), 12, **quiet))
    for n, finite in ((10, False), (11, False), (12, True)):
        trace = onestep.expected_trace_modes(np.ones(9), n, time=0.4, noise_scale=0.5)
        assert np.all(np.isfinite(trace)) == finite


def test_other_bad_input_is_named():
    rng = np.random.default_rng(0)
    setting = model(1.0, 3)
    fit = onestep.fit_one_step(*pairs(rng, 9, 3))
    options, none = {"time": 0.4, "noise_scale": 0.5}, np.ones((0, 2))
    quiet = {"time": 0.4, "noise_scale": 1e-9}
    wrong = [
        ("broadcast", lambda: onestep.kl_limit([1.0, 2.0], [0.1, 0.2, 0.3])),
        ("`sampler`", lambda: onestep.kl_limit(1.0, 0.5, sampler="x")),
        ("`sampler`", lambda: onestep.monotone_threshold(sampler="x")),
        ("`width`", lambda: onestep.regularised_log_det(1.0, 0.5, 0.0)),
        ("`width`", lambda: onestep.regularised_log_det(1.0, 0.5, [1.0])),
        ("`width`", lambda: onestep.kl_regularised_few_samples(1.0, 0.5, -1.0)),
        ("`noise_to_signal`", lambda: onestep.regularised_log_det(0.0, 0.5, 1.0)),
        ("`aspect_ratio`", lambda: onestep.singular_value_density(1.0, 1.0, 1.0)),
        ("`aspect_ratio`", lambda: onestep.singular_value_density(1.0, 1.0, 1.5)),
        ("`x`", lambda: onestep.singular_value_density(-1.0, 1.0, 0.5)),
        ("one shape", lambda: onestep.fit_one_step(np.ones((3, 0)), np.ones((3, 0)))),
        ("one shape", lambda: onestep.fit_one_step(np.ones((3, 2)), np.ones((2, 2)))),
        ("one shape", lambda: onestep.fit_one_step(np.ones((2, 2)), np.ones((3, 2)))),
        ("`noised`", lambda: onestep.fit_one_step([[np.nan]], [[1.0]])),
        ("at least 2", lambda: onestep.fit_one_step([[1.0]], [[1.0]])),
        ("at least 2", lambda: onestep.fit_one_step(none, none, intercept=False)),
        ("`model`", lambda: onestep.generated_law(fit, model(1.0, 2))),
        ("`model`", lambda: onestep.generated_law(fit, model(1.0, 4))),
        ("`sampler`", lambda: onestep.generated_law(fit, setting, sampler="x")),
        ("`route`", lambda: onestep.simulate_finite(setting, 9, 1, rng, route="x")),
        ("`width`", lambda: onestep.simulate_finite(setting, 9, 1, rng, width=-1.0)),
        ("`n_samples`", lambda: onestep.simulate_finite(setting, 1, 1, rng)),
        ("`part`", lambda: onestep.simulate_sizes(setting, [9], 2, rng, part="x")),
        ("`n_runs`", lambda: onestep.simulate_sizes(setting, [9], 1, rng)),
        ("`n_samples`", lambda: onestep.sample_maps(1.0, 3, 1, 1, rng)),
        ("`eigenvalues`", lambda: onestep.ridge_variances([1.0, 0.0], 9, **options)),
        ("`eigenvalues`", lambda: onestep.ridge_variances([[1.0]], 9, **options)),
        ("`ridge`", lambda: onestep.ridge_variances([1.0], 9, ridge=-1.0, **options)),
        ("`n_samples`", lambda: onestep.ridge_variances([1.0], 1, **options)),
        ("`n_samples`", lambda: onestep.kl_modes_finite(np.ones(9), 12, **options)),
        ("`n_samples`", lambda: onestep.kl_modes_finite(np.ones(9), 11, **quiet)),
        ("`samples_per_dimension`", lambda: onestep.wasserstein2_few_samples(1.0, -1.0)),
    ]
    for match, call in wrong:
        with pytest.raises(ValueError, match=match):
            call()
    for call in (
        lambda: onestep.generated_law(None, setting),
        lambda: onestep.simulate_finite(None, 9, 1, rng),
        lambda: onestep.simulate_finite(setting, 9, 1, 0),
        lambda: onestep.simulate_finite(setting, 9, 1.0, rng),
    ):
        with pytest.raises(TypeError, match="`"):
            call()


@pytest.mark.parametrize("sampler", ["isotropic", "full"])
def test_exact_averages_approach_the_limits(sampler):
    dimensions = np.array([16, 32, 64, 128])

    def scaled_error(c):
        exact = [
            onestep.expected_kl(1.0, d, round(d / c) + 1, sampler=sampler) / d for d in dimensions
        ]
        return dimensions * (np.array(exact) - onestep.kl_limit(1.0, c, sampler=sampler))

    many, few = scaled_error(0.25), scaled_error(0.5 + 1 / 6)
    assert np.ptp(many) < 0.06 * many[-1]
    if sampler == "full":
        # One quarter of a logarithm, from the gamma functions of the log-determinant.
        assert_allclose(np.diff(few), 0.25 * np.log(2), rtol=0.15)


@pytest.mark.parametrize("n_samples", [30, 90, 200])
def test_regularised_divergence_by_simulation(n_samples):
    runs = onestep.simulate_finite(
        model(1.0, 150),
        n_samples,
        12,
        np.random.default_rng(2),
        sampler="population",
        width=np.sqrt(0.1),
        intercept=False,
    )
    expected = onestep.kl_regularised(1.0, 150 / n_samples, np.sqrt(0.1))
    assert_allclose(runs.kl_variance.mean() / 150, expected, rtol=0.03)


def test_few_samples_expansions_have_errors_of_third_order():
    alpha = np.array([0.02, 0.04, 0.08])
    exact = onestep.kl_regularised(1.0, 1 / alpha, 0.5)
    error = np.abs(onestep.kl_regularised_few_samples(1.0, alpha, 0.5) - exact)
    assert abs(np.polyfit(np.log(alpha), np.log(error), 1)[0] - 3) < 0.2
    maps = onestep.sample_maps(1.0, 800, 40, 20, np.random.default_rng(3), intercept=False)
    values = np.linalg.svd(maps, compute_uv=False)
    distance = 1 + (np.sum(values**2, axis=1) - 2 * np.sum(values, axis=1)) / 800
    assert_allclose(distance.mean(), onestep.wasserstein2_few_samples(1.0, 0.05), atol=3e-4)


@pytest.mark.parametrize("c", [0.1, 0.2])
def test_reverse_limit_against_draws(c):
    maps = onestep.sample_maps(1.0, 160, round(160 / c) + 1, 15, np.random.default_rng(0))
    values = np.linalg.svd(maps, compute_uv=False) ** 2
    draws = 0.5 * np.mean(1 / values - 1 + np.log(values), axis=1)
    # The mean over training sets does not exist: compare the median.
    assert_allclose(np.median(draws), onestep.kl_reverse_limit(1.0, c), rtol=0.03)
    assert onestep.kl_reverse_limit(1.0, 0.5) == np.inf


@pytest.mark.parametrize(("n", "ridge"), [(40, 0.0), (400, 0.0), (60, 0.05), (150, 0.3)])
def test_mode_resolved_variances_with_and_without_ridge(n, ridge):
    eigenvalues = np.arange(1, 121) ** -1.2
    draws = spectrum_and_draws(np.random.default_rng(n), eigenvalues, n, 30, ridge)
    theory = onestep.ridge_variances(
        eigenvalues, n, time=0.4, noise_scale=0.5, ridge=ridge, intercept=False
    )
    for band in (slice(0, 10), slice(10, 40), slice(40, 120)):
        assert_allclose(draws[:, band].mean(), theory[band].mean(), rtol=0.05)


def test_divergence_of_correlated_data():
    eigenvalues = np.repeat([2.0, 1.0, 0.5], 20)
    a, b2 = np.exp(-0.4), 0.5 * -np.expm1(-0.8)
    rng, draws = np.random.default_rng(9), []
    for _ in range(60):
        clean = rng.standard_normal((400, 60)) * np.sqrt(eigenvalues)
        noised = a * clean + np.sqrt(b2) * rng.standard_normal(clean.shape)
        weights = onestep.fit_one_step(noised, clean, intercept=False).weights
        scaled = weights * np.sqrt(a**2 * eigenvalues + b2) / np.sqrt(eigenvalues)[:, None]
        draws.append(0.5 * (np.sum(scaled**2) - 60 - 2 * np.linalg.slogdet(scaled)[1]))
    theory = onestep.kl_modes_finite(eigenvalues, 400, time=0.4, noise_scale=0.5, intercept=False)
    assert_allclose(np.mean(draws), theory, rtol=0.02)
    same = onestep.kl_modes_finite(np.ones(60), 400, time=0.4, noise_scale=0.5)
    ratio = onestep.noise_to_signal(0.4, 0.5, 1.0)
    exact = onestep.expected_kl(ratio, 60, 400, sampler="population")
    exact -= onestep.expected_mean_term(ratio, 60, 400, sampler="population")
    assert_allclose(same, exact, rtol=0.03)
