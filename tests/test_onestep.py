"""The one-step model at population level against independent routes."""

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm

from lindiff import onestep
from lindiff.onestep import OneStepModel

RATIOS = 10.0 ** np.linspace(-12, 12, 97)


def high_precision(function, ratios=RATIOS):
    with mpmath.workdps(60):
        return np.array([float(function(mpmath.mpf(float(ratio)))) for ratio in ratios])


def test_ratio_at_short_and_long_times_against_fifty_digits():
    times = [1e-15, 1e-9, 0.3, 2.0, 30.0]
    with mpmath.workdps(60):
        exact = [float(0.7 * (mpmath.exp(2 * mpmath.mpf(time)) - 1) / 1.3) for time in times]
    assert_allclose(onestep.noise_to_signal(times, 0.7, 1.3), exact, rtol=1e-14)


def test_correlation_squared_is_the_squared_correlation_of_the_joint_law():
    time, noise_scale, variance = 0.8, 0.6, 2.3
    a, b2 = np.exp(-time), noise_scale * (1 - np.exp(-2 * time))
    joint = np.array([[variance, a * variance], [a * variance, a**2 * variance + b2]])
    expected = joint[0, 1] ** 2 / (joint[0, 0] * joint[1, 1])
    assert_allclose(onestep.correlation_squared(time, noise_scale, variance), expected, rtol=1e-13)


def test_kl_population_keeps_all_digits_down_to_tiny_ratios():
    exact = high_precision(lambda x: (mpmath.log(1 + x) - x / (1 + x)) / 2)
    assert_allclose(onestep.kl_population(RATIOS, 1), exact, rtol=1e-13)


def test_naive_formula_would_fail_where_ours_holds():
    naive = 0.5 * (np.log1p(1e-9) - 1e-9 / (1 + 1e-9))
    exact = onestep.kl_population(1e-9, 1)
    assert abs(naive / exact - 1) > 1e-8


def test_reverse_wasserstein_and_hellinger_against_high_precision():
    reverse = high_precision(lambda x: (x - mpmath.log(1 + x)) / 2)
    assert_allclose(onestep.kl_reverse(RATIOS, 1), reverse, rtol=1e-13)
    wasserstein = high_precision(lambda x: 3 * (1 - 1 / mpmath.sqrt(1 + x)) ** 2)
    assert_allclose(onestep.wasserstein2_squared(RATIOS, 3), wasserstein, rtol=1e-13)

    def hellinger(ratio):
        rho = 1 / (1 + ratio)
        return 1 - (rho ** mpmath.mpf("0.25") / mpmath.sqrt((1 + rho) / 2)) ** 5

    assert_allclose(onestep.hellinger_squared(RATIOS, 5), high_precision(hellinger), rtol=1e-12)


def test_distances_against_quadrature_of_the_densities():
    ratio = 0.7
    small = np.sqrt(1 / (1 + ratio))

    def kl_integrand(x, p, q):
        log_p = norm.logpdf(x, scale=p)
        return np.exp(log_p) * (log_p - norm.logpdf(x, scale=q))

    forward = quad(kl_integrand, -12, 12, args=(small, 1.0), epsabs=1e-13)[0]
    assert_allclose(onestep.kl_population(ratio, 4), 4 * forward, rtol=1e-9)
    reverse = quad(kl_integrand, -12, 12, args=(1.0, small), epsabs=1e-13)[0]
    assert_allclose(onestep.kl_reverse(ratio, 4), 4 * reverse, rtol=1e-9)
    overlap = quad(lambda x: np.sqrt(norm.pdf(x) * norm.pdf(x, scale=small)), -12, 12)[0]
    assert_allclose(onestep.hellinger_squared(ratio, 4), 1 - overlap**4, rtol=1e-9)
    quantiles = (np.arange(200_000) + 0.5) / 200_000
    moved = norm.ppf(quantiles) - norm.ppf(quantiles, scale=small)
    assert_allclose(onestep.wasserstein2_squared(ratio, 1), np.mean(moved**2), rtol=1e-3)


def test_kl_grows_and_its_slope_is_the_derivative():
    ratios = np.geomspace(1e-3, 1e3, 200)
    assert np.all(np.diff(onestep.kl_population(ratios, 3)) > 0)
    step = 1e-5 * ratios
    rise = onestep.kl_population(ratios + step, 3) - onestep.kl_population(ratios - step, 3)
    assert_allclose(onestep.kl_slope(ratios, 3), rise / (2 * step), rtol=1e-6)


def test_expansions_have_the_stated_leading_errors():
    small = np.array([1e-3, 1e-2])
    error = onestep.kl_population(small, 2) - onestep.kl_small_noise(small, 2)
    assert_allclose(error / (2 * 3 / 8 * small**4), 1.0, rtol=0.03)
    large = np.array([1e3, 1e4])
    error = onestep.kl_population(large, 2) - onestep.kl_large_noise(large, 2)
    assert_allclose(error / (2 / large), 1.0, rtol=0.01)


def test_order_of_the_distances():
    forward = onestep.kl_population(RATIOS, 1)
    assert np.all(onestep.kl_reverse(RATIOS, 1) >= forward * (1 - 1e-13))
    assert np.all(onestep.hellinger_squared(RATIOS, 1) <= forward * (1 + 1e-13))
    assert_allclose(onestep.kl_population(RATIOS, 7), 7 * forward, rtol=1e-15)


def test_no_noise_is_perfect_generation():
    for distance in (
        onestep.kl_population,
        onestep.kl_reverse,
        onestep.wasserstein2_squared,
        onestep.hellinger_squared,
    ):
        assert distance(0.0, 5) == 0.0
    model = OneStepModel(time=0.0, noise_scale=1.0, dimension=5)
    assert (model.rho, model.slope, model.residual_variance, model.kl) == (1.0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize("target", [1e-16, 1e-8, 0.0249, 0.0251, 0.1, 3.0, 200.0, 300.0])
def test_required_ratio_inverts_the_divergence(target):
    ratio = onestep.required_noise_to_signal(target)
    assert_allclose(onestep.kl_population(ratio, 1), target, rtol=1e-12)
    if 1e-9 < target < 10:
        root = brentq(lambda x: onestep.kl_population(x, 1) - target, 0, 1e10, xtol=1e-15)
        assert_allclose(ratio, root, rtol=1e-9)


def test_required_ratio_starts_as_twice_the_root_and_vanishes_at_zero():
    assert_allclose(onestep.required_noise_to_signal(1e-14), 2e-7, rtol=1e-6)
    assert_allclose(onestep.required_noise_to_signal([0.0, 0.01]), [0.0, 0.22985329], rtol=1e-7)


def test_required_noise_scale_meets_the_target():
    times = np.array([1e-6, 0.1, 2.0, 340.0])
    scales = onestep.required_noise_scale(0.02, times, 1.7)
    ratios = onestep.noise_to_signal(times, scales, 1.7)
    assert_allclose(onestep.kl_population(ratios, 1), 0.02, rtol=1e-12)


def test_anisotropic_divergence_against_dense_matrices():
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    eigenvalues = np.array([5.0, 1.0, 0.3, 0.02])
    time, noise_scale = 0.7, 0.4
    a, b2 = np.exp(-time), noise_scale * (1 - np.exp(-2 * time))
    cov = basis @ np.diag(eigenvalues) @ basis.T
    noised = a**2 * cov + b2 * np.eye(4)
    weights = np.linalg.solve(noised, a * cov).T
    generated = weights @ noised @ weights.T
    expected = 0.5 * (
        np.trace(np.linalg.solve(cov, generated))
        - 4
        - np.linalg.slogdet(generated)[1]
        + np.linalg.slogdet(cov)[1]
    )
    found = onestep.kl_anisotropic(eigenvalues, time=time, noise_scale=noise_scale)
    assert_allclose(found, expected, rtol=1e-11)
    stacked = onestep.kl_anisotropic([eigenvalues, eigenvalues[::-1]], time=0.7, noise_scale=0.4)
    assert_allclose(stacked, [found, found], rtol=1e-14)
    assert np.all(np.diff(onestep.kl_modes(eigenvalues, time=0.7, noise_scale=0.4)) > 0)


def test_isotropic_is_the_special_case_of_equal_eigenvalues():
    model = OneStepModel(time=0.7, noise_scale=0.4, variance=2.0, dimension=6)
    found = onestep.kl_anisotropic([2.0] * 6, time=0.7, noise_scale=0.4)
    assert_allclose(found, model.kl, rtol=1e-13)


def test_model_solves_the_normal_equations_and_conserves_variance():
    model = OneStepModel(time=1.1, noise_scale=0.3, variance=2.5, dimension=4)
    assert_allclose(model.slope * model.noised_variance, model.signal * model.variance, rtol=1e-14)
    assert_allclose(model.residual_variance + model.generated_variance, 2.5, rtol=1e-14)
    assert_allclose(model.slope**2 * model.noised_variance, model.generated_variance, rtol=1e-14)
    assert_allclose(model.noise_to_signal, (model.noise / model.signal) ** 2 / 2.5, rtol=1e-13)


def test_denoiser_fixes_the_mean_and_shifts_with_it():
    model = OneStepModel(time=0.5, noise_scale=1.0, dimension=3)
    mean = np.array([1.0, -2.0, 10.0])
    assert_allclose(model.denoise(model.signal * mean, mean=mean), mean, rtol=1e-14)
    x = np.ones((2, 3))
    shifted = model.denoise(x + model.signal * mean, mean=mean) - mean
    assert_allclose(shifted, model.denoise(x), rtol=1e-13)
    assert_allclose(model.denoise(x), model.slope * x, rtol=1e-15)


def test_simulation_removes_the_sampling_error_of_the_mean_from_its_divergence():
    model = OneStepModel(time=1.0, noise_scale=1.0, variance=2.0, dimension=3)
    run = onestep.simulate_population(model, 8, np.random.default_rng(2), mean=10.0)
    ratio = run.variance / 2.0
    shift = np.sum((run.mean - 10.0) ** 2) - 3 * run.variance / 8
    assert_allclose(run.kl, 0.5 * (shift / 2.0 + 3 * (ratio - 1 - np.log(ratio))), rtol=1e-12)


def test_model_with_a_given_ratio():
    model = OneStepModel.with_ratio(3.0, 8)
    assert (model.time, model.variance, model.dimension) == (0.5, 1.0, 8)
    assert_allclose([model.noise_to_signal, model.rho], [3.0, 0.25], rtol=1e-14)
    assert OneStepModel.with_ratio(0.0).dimension == 1
    plain = OneStepModel(time=1.0, noise_scale=1.0)
    assert (plain.variance, plain.dimension) == (1.0, 1)
    with pytest.raises(TypeError):
        OneStepModel(1.0, 1.0)
    for bad in (-1.0, [1.0]):
        with pytest.raises(ValueError, match="noise_to_signal"):
            OneStepModel.with_ratio(bad)


def test_residual_variance_of_few_points_is_unbiased():
    model, rng = OneStepModel(time=1.0, noise_scale=1.0, dimension=3), np.random.default_rng(6)
    found = [onestep.simulate_population(model, 8, rng).residual_variance for _ in range(600)]
    error = np.std(found, ddof=1) / np.sqrt(600)
    assert abs(np.mean(found) - model.residual_variance) < 4 * error < 0.1 * np.mean(found)


def test_simulated_variance_does_not_count_the_mean():
    model = OneStepModel(time=1.0, noise_scale=1.0, variance=2.0, dimension=3)
    rng = np.random.default_rng(4)
    run = onestep.simulate_population(model, 4000, rng, mean=[10.0, -3.0, 0.0])
    # Four standard errors of the variance of 12000 numbers.
    assert_allclose(run.variance, model.generated_variance, rtol=4 * np.sqrt(2 / 12_000))


@pytest.mark.parametrize("ratio", [0.1, 1.0, 8.0])
def test_brute_force_agrees_at_four_standard_errors(ratio):
    model = OneStepModel(time=1.0, noise_scale=ratio / np.expm1(2.0), variance=1.0, dimension=3)
    rng = np.random.default_rng(11)
    runs = [onestep.simulate_population(model, 4000, rng, mean=10.0) for _ in range(40)]

    def close(name, values, theory, bias=0.0):
        values = np.asarray(values)
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        assert np.all(np.abs(values.mean(axis=0) - theory) < 4 * error + bias), name

    bias = 3 * (1 - model.rho) / 4000
    close("weights", [run.weights for run in runs], model.slope * np.eye(3))
    close("residual", [run.residual_variance for run in runs], model.residual_variance)
    close("mean", [run.mean for run in runs], np.full(3, 10.0))
    close("variance", [run.variance for run in runs], model.generated_variance, bias)
    close("kl", [run.kl for run in runs], model.kl, 10 * bias)


def test_residual_noise_restores_the_data_law():
    model = OneStepModel(time=1.0, noise_scale=1.0, dimension=4)
    rng = np.random.default_rng(5)
    run = onestep.simulate_population(model, 60_000, rng, add_residual=True)
    assert abs(run.variance - 1.0) < 4 * np.sqrt(2 / (4 * 60_000)) + 1e-3
    assert abs(run.kl) < 1e-3 < model.kl


@pytest.mark.parametrize(
    "call",
    [
        lambda: onestep.noise_to_signal(-1.0, 1.0, 1.0),
        lambda: onestep.noise_to_signal(1.0, -1.0, 1.0),
        lambda: onestep.noise_to_signal(1.0, 1.0, 0.0),
        lambda: onestep.noise_to_signal(np.nan, 1.0, 1.0),
        lambda: onestep.noise_to_signal(1000.0, 1.0, 1.0),
        lambda: onestep.kl_population(-0.1, 2),
        lambda: onestep.kl_population(0.1, 0),
        lambda: onestep.kl_large_noise(0.0, 2),
        lambda: onestep.required_noise_to_signal(300.5),
        lambda: onestep.required_noise_scale(0.1, 0.0, 1.0),
        lambda: OneStepModel(time=[1.0, 2.0], noise_scale=1.0),
    ],
)
def test_bad_values_are_refused(call):
    with pytest.raises(ValueError):
        call()


def test_divergence_refuses_directions_without_variance():
    for bad in ([1.0, 0.0], [1.0, -1.0], 1.0):
        with pytest.raises(ValueError, match="eigenvalues must be positive"):
            onestep.kl_anisotropic(bad, time=1.0, noise_scale=1.0)


def test_denoiser_refuses_points_of_another_dimension():
    model = OneStepModel(time=1.0, noise_scale=1.0, dimension=3)
    for x in (1.0, [1.0], [1.0, 2.0], np.ones(4)):
        with pytest.raises(ValueError, match="x must have shape"):
            model.denoise(x)


def test_simulation_of_centred_data_is_the_default():
    model = OneStepModel(time=1.0, noise_scale=1.0, dimension=3)
    runs = [
        onestep.simulate_population(model, 50, np.random.default_rng(3), **options)
        for options in ({}, {"mean": 0.0, "add_residual": False})
    ]
    assert runs[0].kl == runs[1].kl and np.array_equal(runs[0].mean, runs[1].mean)


def test_simulation_refuses_bad_input():
    model = OneStepModel(time=1.0, noise_scale=1.0, dimension=3)
    rng = np.random.default_rng(0)
    with pytest.raises(TypeError, match="model"):
        onestep.simulate_population(1.0, 100, rng)
    with pytest.raises(TypeError, match="rng"):
        onestep.simulate_population(model, 100, 0)
    with pytest.raises(ValueError, match=r"n_samples must be at least dimension \+ 3 = 6"):
        onestep.simulate_population(model, 5, rng)
    assert np.isfinite(onestep.simulate_population(model, 6, rng).kl)
    with pytest.raises(ValueError, match="mean"):
        onestep.simulate_population(model, 100, rng, mean=[1.0, 2.0])


def test_measured_variance_is_unbiased():
    model = OneStepModel(time=0.5, noise_scale=1.0, dimension=1)
    rng, ratios = np.random.default_rng(0), []
    for _ in range(2000):
        run = onestep.simulate_population(model, 5, rng)
        ratios.append(run.variance / (model.noised_variance * run.weights[0, 0] ** 2))
    error = np.std(ratios, ddof=1) / np.sqrt(len(ratios))
    assert abs(np.mean(ratios) - 1) < 4 * error < 0.1
