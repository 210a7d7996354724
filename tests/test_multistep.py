"""K-step chains against dense recursions, brute force, optimisers and high precision."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.stats import special_ortho_group

from lindiff import gaussians, multistep, onestep, sampling, spectra
from lindiff.denoisers import AffineDenoiser
from lindiff.multistep import (
    averaged_noise_kl,
    best_grid,
    best_grid_kl,
    continuum_grid,
    continuum_kl,
    ddpm_deficits,
    fresh_sets_trace,
    network_schedule_variance,
    optimise_grid,
    simulate_step_kl,
    step_kl,
    step_variance,
    teacher_forced_kl,
    train_steps,
)
from lindiff.schedules import NoiseSchedule

GRID = np.array([0.05, 0.3, 1.1, 4.0])
MODES = np.array([0.2, 1.0, 3.0])
RULES = ("means", "ancestral", "ddpm", "ddim", "beta")


def recursion(covariance, grid, rule, noise_scale, start):
    """Samples' covariance from conditional Gaussians of the noising process, in x-space."""
    eye = np.eye(len(covariance))
    omega = np.append(0.0, grid)
    a = np.sqrt(noise_scale / (noise_scale + omega))
    b2 = a**2 * omega
    v = [a[k] ** 2 * covariance + b2[k] * eye for k in range(omega.size)]
    out = v[-1] if start is None else a[-1] ** 2 * start * eye
    for k in range(grid.size, 0, -1):
        ratio = a[k] / a[k - 1]
        q = b2[k] - ratio**2 * b2[k - 1]
        clean = a[k] * covariance @ np.linalg.inv(v[k])
        bridge = ratio * b2[k - 1] / b2[k] * eye + a[k - 1] * q / b2[k] * clean
        if rule == "ddim":
            root = np.sqrt(b2[k - 1] / b2[k])
            step = root * eye + (a[k - 1] - root * a[k]) * clean
        else:
            step = bridge
        out = step @ out @ step.T
        if rule == "ddpm":
            out += b2[k - 1] * q / b2[k] * eye
        elif rule == "ancestral":
            out += v[k - 1] - bridge @ v[k] @ bridge.T
        elif rule == "beta":
            out += q * eye
    return out


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("start", [None, 0.0, 7.0])
def test_variance_against_the_dense_recursion_with_rotated_modes(rule, start):
    rotation = special_ortho_group.rvs(3, random_state=1)
    covariance = rotation @ np.diag(MODES) @ rotation.T
    dense = rotation.T @ recursion(covariance, GRID, rule, 0.7, start) @ rotation
    closed = step_variance(MODES, GRID, rule=rule, start=start, noise_scale=0.7)
    assert_allclose(dense, np.diag(closed), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule, eta", [("ddpm", 1.0), ("ddim", 0.0)])
def test_variance_against_the_sampler_of_the_package(rule, eta):
    grid = np.geomspace(1e-3, 1e4, 200)
    schedule = NoiseSchedule(1.0 / np.sqrt(1.0 + grid), np.sqrt(grid / (1.0 + grid)))
    denoiser = AffineDenoiser.from_moments(np.zeros(3), np.diag(MODES))
    law = sampling.affine_moments(denoiser, schedule, eta=eta)
    ours = step_variance(MODES, grid, rule=rule, start=1.0 + grid[-1])
    assert_allclose(np.sort(law.variances), np.sort(ours), rtol=1e-11)


def test_variance_by_sampling_point_by_point():
    rng = np.random.default_rng(0)
    y = np.sqrt(2.0 + GRID[-1]) * rng.standard_normal(200_000)
    below = np.append(0.0, GRID[:-1])
    for k in range(GRID.size - 1, -1, -1):
        keep = below[k] / GRID[k]
        y = keep * y + (1 - keep) * 2.0 / (2.0 + GRID[k]) * y
        y += np.sqrt(below[k] * (1 - keep)) * rng.standard_normal(y.size)
    expected = step_variance([2.0], GRID)[0]
    assert abs(np.mean(y**2) - expected) < 4 * np.std(y**2) / np.sqrt(y.size)
    assert abs(np.mean(y**2) - 2.0) > 4 * np.std(y**2) / np.sqrt(y.size)


def test_one_step_is_the_one_step_model():
    ratio = np.array([0.01, 0.5, 20.0])
    for rule in ("means", "ddpm", "ddim"):
        for value in ratio:
            assert_allclose(step_variance([3.0], [3.0 * value], rule=rule), 3 / (1 + value))
            kl = step_kl([3.0], [3.0 * value], rule=rule, multiplicities=[5])
            assert_allclose(kl, onestep.kl_population(value, 5), rtol=1e-12)


def test_rules_that_do_not_depend_on_the_number_of_steps():
    assert_allclose(step_variance(MODES, GRID, rule="ancestral"), MODES, rtol=1e-15)
    composed = step_variance(MODES, GRID, rule="means")
    assert_allclose(composed, step_variance(MODES, GRID[-1:], rule="means"), rtol=1e-15)


def test_forward_noise_is_too_large_below_the_noise_scale_and_exact_at_it():
    variance = step_variance(MODES, GRID, rule="beta", noise_scale=1.0)
    assert variance[0] > MODES[0] and variance[2] < MODES[2]
    assert_allclose(variance[1], 1.0, rtol=1e-15)


@pytest.mark.parametrize("rule", RULES)
def test_modes_without_variance_are_the_limit_of_small_ones(rule):
    zero = step_variance([0.0], GRID, rule=rule, noise_scale=0.7)
    small = step_variance([1e-13], GRID, rule=rule, noise_scale=0.7)
    assert_allclose(zero, small, atol=1e-12)


def test_kl_of_a_nearly_perfect_chain_against_fifty_digits():
    grid = np.linspace(1e-5, 1e-3, 40)
    with mpmath.workdps(50):
        w = [mpmath.mpf(0)] + [mpmath.mpf(float(x)) for x in grid]
        rho = [1 / (1 + x) for x in w]
        lost = sum((rho[k - 1] - rho[k]) ** 2 / (1 - rho[k]) for k in range(1, 41))
        theta = [mpmath.atan(mpmath.sqrt(x)) for x in w]
        kept = mpmath.fprod(mpmath.cos(theta[k] - theta[k - 1]) ** 2 for k in range(1, 41))
        ddpm = float((-lost - mpmath.log(1 - lost)) / 2)
        ddim = float((kept - 1 - mpmath.log(kept)) / 2)
    assert_allclose(step_kl([1.0], grid), ddpm, rtol=1e-12)
    assert_allclose(step_kl([1.0], grid, rule="ddim"), ddim, rtol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("start", [None, 9.0])
def test_kl_is_that_of_the_variances(rule, start):
    variance = step_variance(MODES, GRID, rule=rule, start=start, noise_scale=0.7)
    kl = step_kl(MODES, GRID, rule=rule, start=start, noise_scale=0.7)
    assert_allclose(kl, gaussians.kl_spectral(variance, MODES), rtol=1e-12, atol=1e-15)


def test_chains_that_generate_a_point_are_infinitely_far():
    assert step_kl([1.0], [1.0], rule="means", start=0.0) == np.inf
    assert step_kl([1.0], [1.0], rule="ddim", start=0.0) == np.inf


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5),
    st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5, unique=True),
    st.floats(1e-3, 1e3),
)
def test_scale_multiplicities_and_missing_variance(modes, grid, scale):
    modes, grid = np.array(modes), np.sort(grid)
    for rule in ("ddpm", "ddim"):
        variance = step_variance(modes, grid, rule=rule)
        assert np.all(variance <= modes * (1 + 1e-12))
        scaled = step_variance(scale * modes, scale * grid, rule=rule)
        assert_allclose(scaled, scale * variance, rtol=1e-10, atol=1e-300)
        twice = step_kl(np.repeat(modes, 2), grid, rule=rule)
        counted = step_kl(modes, grid, rule=rule, multiplicities=np.full(modes.size, 2))
        assert_allclose(twice, counted, rtol=1e-10)


def test_deficits_recursion_and_slow_limit():
    assert_allclose(ddpm_deficits(5), [1, 0.75, 0.609375, 0.516541, 0.449837], atol=5e-7)
    m = ddpm_deficits(100_000)
    k = np.arange(1, m.size + 1)
    # 4 / m_K - K - log K tends to a constant.
    offset = 4 / m - k - np.log(k)
    assert abs(offset[-1] - offset[9_999]) < 2e-3
    assert abs(offset[9_999] - offset[99]) > 1e-2


@pytest.mark.parametrize("rule", ["ddpm", "ddim"])
@pytest.mark.parametrize("n_steps, end, s", [(2, 1.0, 1.0), (4, 30.0, 2.0), (6, 0.1, 0.5)])
def test_best_grid_is_what_a_general_optimiser_finds(rule, n_steps, end, s):
    def grid_of(z):
        share = np.cumsum(np.exp(z))
        return end * np.append(share[:-1] / share[-1], 1.0)

    found = min(
        (
            minimize(
                lambda z: np.log(step_kl([s], grid_of(z), rule=rule)),
                np.random.default_rng(seed).normal(size=n_steps),
                method="Nelder-Mead",
                options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 20_000, "maxfev": 20_000},
            )
            for seed in range(2)
        ),
        key=lambda result: result.fun,
    )
    best = best_grid(n_steps, end, rule=rule, variance=s)
    assert_allclose(step_kl([s], best, rule=rule), np.exp(found.fun), rtol=1e-7)
    assert_allclose(best, grid_of(found.x), rtol=1e-2)
    closed = best_grid_kl(n_steps, end, rule=rule, variance=s)
    assert_allclose(closed, step_kl([s], best, rule=rule), rtol=1e-12)


def test_any_change_of_the_best_grid_is_worse():
    rng = np.random.default_rng(0)
    for rule in ("ddpm", "ddim"):
        best = best_grid(7, 5.0, rule=rule)
        for _ in range(50):
            moved = np.sort(best * np.append(np.exp(0.05 * rng.normal(size=6)), 1.0))
            assert step_kl([1.0], moved, rule=rule) > step_kl([1.0], best, rule=rule)


def test_large_numbers_of_steps_follow_their_laws():
    assert_allclose(
        best_grid_kl(4000, 3.0, rule="ddim", limit=True),
        best_grid_kl(4000, 3.0, rule="ddim"),
        rtol=1e-3,
    )
    ratio = [best_grid_kl(k, 3.0, limit=True) / best_grid_kl(k, 3.0) for k in (10**3, 10**5)]
    assert 1 < ratio[1] < ratio[0] < 1.03
    small = [best_grid_kl(10**5, 1e-4, rule=rule) for rule in ("ddpm", "ddim")]
    assert_allclose(small[0] / small[1], 16, rtol=1e-2)


@pytest.mark.parametrize("rule, known", [("ddpm", 3.013), ("ddim", 1.6418)])
def test_several_modes_optimum_lies_below_every_named_grid(rule, known):
    s, end, steps = 1 / np.arange(1.0, 65.0), 400.0, 8
    best = step_kl(s, optimise_grid(s, steps, end, rule=rule), rule=rule)
    assert_allclose(best, known, rtol=2e-4)
    others = [
        best_grid(steps, end, rule=rule),
        np.geomspace(1e-2, end, steps),
        np.expm1(np.linspace(0, np.log1p(end), steps + 1)[1:]),
        continuum_grid(s, steps, end, rule=rule),
    ]
    assert best < min(step_kl(s, grid, rule=rule) for grid in others)


@pytest.mark.parametrize("rule, tolerance", [("ddpm", 0.05), ("ddim", 0.005)])
def test_continuum_grid_and_its_divergence(rule, tolerance):
    s = 1 / np.arange(1.0, 65.0)
    exact = step_kl(s, continuum_grid(s, 256, 400.0, rule=rule), rule=rule)
    assert_allclose(continuum_kl(s, 256, 400.0, rule=rule), exact, rtol=tolerance)
    lost = 400.0 / 401.0
    single = {"ddpm": 4 * lost**2, "ddim": np.arctan(20.0) ** 4 / 4}[rule]
    assert_allclose(continuum_kl([1.0], 1, 400.0, rule=rule), single, rtol=1e-4)
    best = best_grid(200, 400.0, rule="ddim")
    assert_allclose(continuum_grid([1.0], 200, 400.0, rule="ddim")[5:], best[5:], rtol=1e-3)


@pytest.mark.parametrize("rule", ["ddpm", "ddim"])
def test_continuum_takes_a_multiplicity_as_repeated_modes(rule):
    once = [1.0, 0.1], 8, 30.0
    many = [1.0, 0.1, 0.1, 1.0, 0.1], 8, 30.0
    for function in (continuum_grid, continuum_kl):
        found = function(*once, rule=rule, multiplicities=[2.0, 3.0])
        assert_allclose(found, function(*many, rule=rule), rtol=1e-10)


@pytest.mark.parametrize("rule", ["ddpm", "ddim"])
def test_continuum_grid_is_better_than_those_of_other_weights(rule):
    s = np.array([0.01, 1.0, 100.0])
    own = step_kl(s, continuum_grid(s, 500, 400.0, rule=rule), rule=rule)
    for counts in np.concatenate([1.0 + np.eye(3), 1.0 - 0.5 * np.eye(3)]):
        other = continuum_grid(s, 500, 400.0, rule=rule, multiplicities=counts)
        assert step_kl(s, other, rule=rule) > 1.01 * own


def test_network_schedule_against_point_by_point_sampling_moments():
    steps, v0 = 7, 0.3
    beta = 1e-4 + np.arange(steps + 1) / steps * (0.02 - 1e-4)
    for index, shift in (("consistent", 1), ("coded", 0)):
        variance = 1.0
        for t in range(steps, 0, -1):
            bar = np.prod(1 - beta[:t])
            v, b = bar * v0 + 1 - bar, beta[t - shift]
            # eps_hat = sqrt(1 - bar) / v x, and x <- (x - b / sqrt(1 - bar) eps_hat) / sqrt(1-b)
            variance = ((1 - b / v) / np.sqrt(1 - b)) ** 2 * variance + (b if t > 1 else 0.0)
        assert_allclose(network_schedule_variance(v0, steps, index=index), variance, rtol=1e-13)


def test_network_schedule_reference_values_and_shape():
    steps = (5, 10, 20, 50, 100, 200, 1000)
    known = {
        "consistent": [1.981, 0.514, 0.0807, 0.00405, 0.00054, 0.00015, 0.00002],
        "coded": [0.499, 0.122, 0.0131, 0.00000, 0.00025, 0.00019, 0.00004],
    }
    for index, values in known.items():
        variance = np.array([network_schedule_variance(0.04, k, index=index) for k in steps])
        kl = gaussians.kl_spectral(variance[:, None], [0.04])
        assert_allclose(kl, values, rtol=4e-3, atol=6e-6)
    assert network_schedule_variance([0.1, 0.2], 5).shape == (2,)


def test_teacher_forced_sum_is_the_sum_of_one_step_divergences():
    ratios = np.diff(GRID, prepend=0.0) / (1.5 + np.append(0.0, GRID[:-1]))
    total = sum(onestep.kl_population(r, 6) for r in ratios)
    assert_allclose(teacher_forced_kl(GRID, 6, variance=1.5), total, rtol=1e-12)
    rho, lost = 1.5 / (1.5 + GRID[-1]), np.sum(1 - 1 / (1 + ratios))
    kappa = 6 / (40 - 8)
    closed = 3 * (-np.log(rho) - (1 - kappa) * lost)
    assert_allclose(teacher_forced_kl(GRID, 6, variance=1.5, n_samples=40), closed, rtol=1e-12)


def test_teacher_forced_sum_changes_direction_at_twice_the_dimension():
    def slope(n):
        one, many = (teacher_forced_kl(best_grid(k, 2.0), 50, n_samples=n) for k in (1, 50))
        return many - one

    assert slope(101) > 0 > slope(103)
    assert_allclose(slope(102), 0, atol=1e-12)


def test_averaged_noise_limit_against_quadrature_of_the_density():
    from scipy.integrate import quad

    c, grid = 0.8, best_grid(3, 2.0, rule="ddim")
    low, high = spectra.marchenko_pastur_edges(c)

    def integrand(x):
        v = step_variance([x], grid, rule="ddim", start=1.0 + grid[-1])[0]
        return 0.5 * (v - 1 - np.log(v)) * spectra.marchenko_pastur_density([x], c)[0]

    value = quad(integrand, low, high, epsabs=1e-12, limit=500)[0]
    assert_allclose(averaged_noise_kl(c, grid, rule="ddim"), value, rtol=1e-7)


def test_many_steps_with_averaged_noise_leave_the_fitted_gaussian():
    s, end = np.array([0.3, 1.7]), 2.0
    many = step_variance(s, best_grid(20_000, end), start=1.0 + end)
    limit = s + (s / (s + end)) ** 2 * (1.0 - s)
    assert_allclose(many, limit, rtol=1e-3)


def test_fresh_sets_trace_at_one_step_and_with_many_points():
    rho, kappa = 0.4, 10 / (50 - 12)
    expected = rho + (1 - rho) * kappa
    assert_allclose(fresh_sets_trace([1.5], 10, 50), expected, rtol=1e-13)
    for rule in ("ddpm", "ddim"):
        many = fresh_sets_trace(GRID, 3, 10**12, variance=2.0, rule=rule)
        assert_allclose(many, step_variance([2.0], GRID, rule=rule)[0], rtol=1e-10)
    per_level = fresh_sets_trace(GRID, 3, np.full(4, 20))
    assert_allclose(per_level, fresh_sets_trace(GRID, 3, 20), rtol=1e-15)


def test_training_is_least_squares_with_intercept():
    from sklearn.linear_model import LinearRegression

    rng = np.random.default_rng(0)
    for n in (5, 30):
        points = rng.normal(3.0, 1.0, (n, 8))
        seen = rng.bit_generator.state
        chain = train_steps(points, GRID, rng, noise="path")
        rng.bit_generator.state = seen
        steps = np.sqrt(np.diff(GRID, prepend=0.0))[:, None, None]
        paths = points + np.cumsum(steps * rng.standard_normal((4, n, 8)), axis=0)
        for k in range(4):
            fit = LinearRegression().fit(paths[k], points)
            assert_allclose(chain.weights[k], fit.coef_, rtol=1e-8, atol=1e-10)
            intercept = chain.centres[k] - chain.weights[k] @ chain.noised_centres[k]
            assert_allclose(intercept, fit.intercept_, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("noise, expected", [("path", 0.3), ("single", np.sqrt(0.3)), ("fresh", 0)])
def test_noise_of_two_levels_has_the_right_correlation(noise, expected):
    from lindiff._multistep_training import _noise

    draws = _noise(noise, np.array([0.3, 1.0]), (200_000, 1), np.random.default_rng(0))[..., 0]
    assert_allclose(draws.var(axis=1), [0.3, 1.0], rtol=0.02)
    assert_allclose(np.mean(draws[0] * draws[1]), expected, atol=4 / np.sqrt(200_000))


def test_averaged_noise_is_the_limit_of_many_copies_and_the_closed_form():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((12, 3))
    copies = np.repeat(points, 20_000, axis=0)
    many = train_steps(copies, [0.7], rng, noise="single").weights[0]
    averaged = train_steps(points, GRID, rng, noise="averaged")
    assert_allclose(train_steps(points, [0.7], rng, noise="averaged").weights[0], many, atol=0.01)
    centred = points - points.mean(axis=0)
    s, vectors = np.linalg.eigh(centred.T @ centred / 12)
    start = averaged.variance + GRID[-1]
    closed = (vectors * step_variance(s, GRID, start=start)) @ vectors.T
    assert_allclose(averaged.law()[1], closed, rtol=1e-11)


def test_smallest_numbers_of_samples_are_taken():
    assert np.isfinite(fresh_sets_trace(GRID, 5, 8))
    assert np.isfinite(teacher_forced_kl(GRID, 5, n_samples=8))
    assert simulate_step_kl([[1.0]], [1.0], 2, 2, np.random.default_rng(0)).kl.shape == (2, 1)


@pytest.mark.parametrize("rule", RULES)
def test_rows_of_eigenvalues_are_taken_one_by_one(rule):
    rows, counts = np.array([[0.2, 1.0, 3.0], [2.0, 0.5, 0.1]]), [1.0, 2.0, 3.0]
    scale = 0.7 if rule == "beta" else None
    found = step_kl(rows, GRID, rule=rule, noise_scale=scale, multiplicities=counts)
    for row, value in zip(rows, found, strict=True):
        alone = step_kl(row, GRID, rule=rule, noise_scale=scale, multiplicities=counts)
        assert_allclose(value, alone, rtol=1e-13)


@pytest.mark.parametrize("noise", ["path", "single", "fresh", "averaged", "fresh sets"])
def test_simulated_divergence_does_not_depend_on_the_units(noise):
    one, other = (
        simulate_step_kl(
            [[unit], [0.3 * unit, unit]],
            unit * np.array([1.0, 2.0]),
            9,
            3,
            np.random.default_rng(0),
            noise=noise,
        )
        for unit in (1.0, 16.0)
    )
    assert_allclose(one.kl, other.kl, rtol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(3, 4), (4, 4), (5, 4), (1, 2)])
def test_trained_map_is_the_least_squares_fit_of_smallest_norm(n, d):
    points = np.random.default_rng(1).standard_normal((n, d))
    chain = train_steps(points, [0.6], np.random.default_rng(2), noise="single")
    noised = points + np.sqrt(0.6) * np.random.default_rng(2).standard_normal((n, d))
    clean = points - points.mean(axis=0)
    fit = np.linalg.lstsq(noised - noised.mean(axis=0), clean, rcond=1e-12)[0]
    assert_allclose(chain.weights[0], fit.T, atol=1e-10)
    assert_allclose(chain.variance, np.sum(clean**2) / (d * max(n - 1, 1)), rtol=1e-14)


def test_contenders_are_within_two_standard_errors_of_the_best():
    # The gaps to the first number have the standard error sqrt(1 / 3).
    signs, error = np.array([1.0, -1.0, 1.0, -1.0]), np.sqrt(1 / 3)
    kl = np.stack([0.0 * signs, signs + 1.5 * error, signs + 2.2 * error], axis=1)
    study = multistep.StepsStudy((1, 4, 9), kl)
    assert study.best == 1 and study.contenders == (1, 4)
    assert_allclose(study.standard_error, [0.0, error, error], rtol=1e-14)


def test_one_step_is_the_end_and_more_steps_reach_it():
    assert optimise_grid([1.0, 2.0], 1, 3.0).tolist() == [3.0]
    assert optimise_grid([1.0, 2.0], 2, 3.0)[-1] == 3.0


def test_too_few_points_give_an_infinite_divergence():
    study = simulate_step_kl([[1.0]], np.ones(5), 5, 2, np.random.default_rng(0))
    assert np.all(np.isinf(study.kl))


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: step_variance([-1.0], GRID), "eigenvalues"),
        (lambda: step_variance([np.nan], GRID), "eigenvalues"),
        (lambda: step_variance([1.0], [1.0, 0.5]), "grid"),
        (lambda: step_variance([1.0], []), "grid"),
        (lambda: step_variance([1.0], [0.0, 1.0]), "grid"),
        (lambda: step_variance([1.0], [-1.0, 1.0]), "grid"),
        (lambda: step_variance([1.0], [1.0, 1.0]), "grid"),
        (lambda: step_variance([1.0], GRID, rule="euler"), "rule"),
        (lambda: step_variance([1.0], GRID, rule="beta"), "noise_scale"),
        (lambda: step_variance([1.0], GRID, start=-1.0), "start"),
        (lambda: step_variance([1.0, 2.0], GRID, start=[1.0, 2.0, 3.0]), "start"),
        (lambda: step_kl([0.0], GRID), "eigenvalues"),
        (lambda: step_kl([1.0], GRID, multiplicities=[1, 2]), "multiplicities"),
        (lambda: step_kl([1.0, 2.0], GRID, multiplicities=[1]), "multiplicities"),
        (lambda: teacher_forced_kl(GRID, 5, n_samples=7), "n_samples"),
        (lambda: teacher_forced_kl(GRID, 0), "dimension"),
        (lambda: network_schedule_variance(0.0, 5), "variance"),
        (lambda: network_schedule_variance(1.0, 0), "n_steps"),
        (lambda: network_schedule_variance(1.0, 5, index="other"), "index"),
        (lambda: ddpm_deficits(0), "n_steps"),
        (lambda: best_grid(3, 0.0), "end"),
        (lambda: best_grid(3, 1.0, rule="means"), "rule"),
        (lambda: best_grid_kl(3, 1.0, variance=0.0), "variance"),
        (lambda: continuum_grid([0.0], 3, 1.0), "eigenvalues"),
        (lambda: continuum_kl([1.0], 3, -1.0), "end"),
        (lambda: optimise_grid([[1.0]], 3, 1.0), "eigenvalues"),
        (lambda: averaged_noise_kl(1.0, GRID), "aspect_ratio"),
        (lambda: averaged_noise_kl(1.5, GRID), "aspect_ratio"),
        (lambda: fresh_sets_trace(GRID, 5, 20.5), "n_samples"),
        (lambda: fresh_sets_trace(GRID, 5, [[20] * len(GRID)]), "n_samples"),
        (lambda: fresh_sets_trace(GRID, 5, 7), "n_samples"),
        (lambda: fresh_sets_trace(GRID, 5, [20, 20]), "n_samples"),
        (lambda: train_steps([1.0], GRID, RNG), "points"),
        (lambda: train_steps(np.ones((0, 2)), GRID, RNG), "points"),
        (lambda: train_steps(np.ones((2, 0)), GRID, RNG), "points"),
        (lambda: train_steps(np.ones((4, 2)), GRID, RNG, noise="none"), "noise"),
        (lambda: train_steps(np.ones((4, 2)), GRID, 0), "rng"),
        (lambda: simulate_step_kl([GRID], [[1.0]], 5, 5, RNG), "eigenvalues"),
        (lambda: simulate_step_kl([GRID], [1.0], 1, 5, RNG), "n_samples"),
        (lambda: simulate_step_kl([GRID], [1.0], 5, 1, RNG), "n_runs"),
    ],
)
def test_bad_input_names_the_argument(call, name):
    with pytest.raises((ValueError, TypeError), match=f"`{name}`"):
        call()


def test_least_number_of_samples_is_named():
    for call in (
        lambda: teacher_forced_kl(GRID, 5, n_samples=7),
        lambda: fresh_sets_trace(GRID, 5, 7),
    ):
        with pytest.raises(ValueError, match=r"at least dimension \+ 3 = 8"):
            call()


def test_shared_path_has_an_inner_optimum_and_fresh_noise_has_none():
    grids = [best_grid(k, 1.0) for k in (1, 3, 20)]
    run = {
        noise: simulate_step_kl(grids, np.ones(20), 40, 40, np.random.default_rng(0), noise=noise)
        for noise in ("path", "fresh", "averaged", "fresh sets")
    }
    assert run["path"].best == 3 and run["path"].contenders == (3,)
    assert all(run[noise].best == 20 for noise in ("fresh", "averaged", "fresh sets"))
    assert np.all(run["path"].standard_error > 0)


def test_averaged_noise_limit_against_the_spectra_of_large_samples():
    grid, c, d = best_grid(5, 1.0), 0.5, 400
    rng = np.random.default_rng(0)
    values = []
    for _ in range(8):
        points = rng.standard_normal((int(d / c), d))
        s = np.linalg.eigvalsh(points.T @ points / len(points))
        variance = step_variance(s, grid, start=1.0 + grid[-1])
        values.append(gaussians.kl_spectral(variance, np.ones(d)) / d)
    assert_allclose(averaged_noise_kl(c, grid), np.mean(values), rtol=1e-2)


def test_law_of_a_chain_by_sampling():
    rng = np.random.default_rng(1)
    chain = train_steps(rng.normal(2.0, 1.0, (9, 2)), GRID, rng)
    start = chain.variance + GRID[-1]
    y = chain.centres[-1] + np.sqrt(start) * rng.standard_normal((300_000, 2))
    below = np.append(0.0, GRID[:-1])
    for k in range(3, -1, -1):
        keep = below[k] / GRID[k]
        clean = chain.centres[k] + (y - chain.noised_centres[k]) @ chain.weights[k].T
        y = keep * y + (1 - keep) * clean
        y += np.sqrt(below[k] * (1 - keep)) * rng.standard_normal(y.shape)
    mean, cov = chain.law()
    assert np.all(np.abs(y.mean(axis=0) - mean) < 4 * y.std(axis=0) / np.sqrt(len(y)))
    second = (y - mean)[:, :, None] * (y - mean)[:, None]
    error = second.std(axis=0) / np.sqrt(len(y))
    assert np.all(np.abs(second.mean(axis=0) - cov) < 4 * error)


@pytest.mark.parametrize("rule", ["ddpm", "ddim"])
def test_fresh_sets_trace_against_training(rule):
    d, n, s, grid = 4, 11, 1.3, best_grid(3, 1.0)
    rng, traces = np.random.default_rng(2), []
    for _ in range(3000):
        parts = [train_steps(np.sqrt(s) * rng.standard_normal((n, d)), [w], rng) for w in grid]
        chain = multistep.LinearChain(
            grid,
            np.concatenate([p.weights for p in parts]),
            np.concatenate([p.centres for p in parts]),
            np.concatenate([p.noised_centres for p in parts]),
            s,
        )
        traces.append(np.trace(chain.law(rule=rule)[1]) / d)
    error = np.std(traces) / np.sqrt(len(traces))
    value = fresh_sets_trace(grid, d, n, variance=s, rule=rule)
    assert abs(np.mean(traces) - value) < 4 * error
    assert (
        abs(np.mean(traces) - fresh_sets_trace(grid, d, n + 2, variance=s, rule=rule)) > 4 * error
    )
