"""Fits to other laws of data against exact averages, scikit-learn and bad input."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from lindiff import gaussians, onestep

LEVEL = {"time": 0.3, "noise_scale": 0.6}


def rng():
    return np.random.default_rng(5)


def near(draws, theory, errors=4):
    return abs(np.mean(draws) - theory) < errors * np.std(draws, ddof=1) / np.sqrt(len(draws))


@pytest.mark.parametrize("intercept", [True, False])
def test_gaussian_fits_have_the_exact_law(intercept):
    maps = onestep.fit_maps(0.8, 5, 14, 3000, rng(), intercept=intercept)
    trace = np.sum(maps**2, axis=(1, 2))
    log_det = 2 * np.linalg.slogdet(maps)[1]
    assert near(trace, onestep.expected_trace(0.8, 5, 14, intercept=intercept))
    assert near(log_det, onestep.expected_log_det(0.8, 5, 14, intercept=intercept))
    assert not near(trace, onestep.expected_trace(0.8, 5, 14, intercept=not intercept))


@pytest.mark.parametrize("law", ["signs", "heavy tails", "common scale"])
def test_other_laws_have_the_second_moments_of_the_gaussian(law):
    maps = onestep.fit_maps(0.8, 2, 20_000, 40, rng(), law=law)
    assert_allclose(maps.mean(axis=0), np.sqrt(1 / 1.8) * np.eye(2), atol=5e-3)


def test_a_common_scale_costs_more_than_independent_coordinates():
    kl = {}
    for law in ("gaussian", "signs", "common scale"):
        maps = onestep.fit_maps(1.0, 64, 256, 40, rng(), law=law)
        trace, log_det = np.sum(maps**2, axis=(1, 2)), 2 * np.linalg.slogdet(maps)[1]
        kl[law] = 0.5 * (trace - 64 - log_det)
    assert kl["common scale"].mean() > 1.05 * kl["gaussian"].mean()
    assert abs(kl["signs"].mean() / kl["gaussian"].mean() - 1) < 0.05


def test_modes_have_their_exact_average():
    spectrum = np.array([3.0, 1.0, 0.2])
    runs = onestep.simulate_modes(spectrum, 10, 6000, rng(), **LEVEL)
    exact = onestep.expected_trace_modes(spectrum, 10, intercept=False, **LEVEL)
    wrong = onestep.expected_trace_modes(spectrum, 10, intercept=True, **LEVEL)
    for mode in range(3):
        assert near(runs.variances[:, mode], exact[mode])
    assert not near(runs.variances[:, 2], wrong[2])


def test_equal_modes_are_the_isotropic_model():
    runs = onestep.simulate_modes(np.ones(4), 11, 3000, rng(), **LEVEL)
    ratio = onestep.noise_to_signal(0.3, 0.6, 1.0)
    model = onestep.OneStepModel(dimension=4, **LEVEL)
    other = onestep.simulate_finite(
        model, 11, 6000, rng(), sampler="population", intercept=False
    ).kl_variance
    spread = np.hypot(runs.kl.std() / np.sqrt(runs.kl.size), other.std() / np.sqrt(other.size))
    assert abs(runs.kl.mean() - other.mean()) < 4 * spread
    assert_allclose(onestep.OneStepModel.with_ratio(ratio, 4).rho, model.rho)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_one_run_is_that_of_scikit_learn(ridge):
    spectrum = np.array([2.0, 0.5, 0.1])
    runs = onestep.simulate_modes(spectrum, 8, 1, rng(), ridge=ridge, **LEVEL)
    draw, signal = rng(), np.exp(-0.3)
    noise = 0.6 * -np.expm1(-0.6)
    y = draw.standard_normal((8, 3)) * np.sqrt(spectrum)
    x = signal * y + np.sqrt(noise) * draw.standard_normal(y.shape)
    w = Ridge(alpha=8 * ridge, fit_intercept=False).fit(x, y).coef_
    cov = w @ np.diag(signal**2 * spectrum + noise) @ w.T
    assert_allclose(runs.variances[0], np.diag(cov) / spectrum, rtol=1e-8)
    kl = gaussians.kl_gaussian(np.zeros(3), cov, np.zeros(3), np.diag(spectrum))
    assert_allclose(runs.kl[0], kl, rtol=1e-8)


def test_singular_maps_have_infinite_divergence():
    runs = onestep.simulate_modes(np.ones(5), 3, 2, rng(), **LEVEL)
    assert np.all(np.isinf(runs.kl))
    assert np.all(np.isfinite(runs.variances))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: onestep.fit_maps(1.0, 3, 8, 2, rng(), law="uniform"), "law"),
        (lambda: onestep.fit_maps(-1.0, 3, 8, 2, rng()), "noise_to_signal"),
        (lambda: onestep.fit_maps(1.0, 3, 1, 2, rng()), "n_samples"),
        (lambda: onestep.simulate_modes([1.0, 0.0], 8, 2, rng(), **LEVEL), "eigenvalues"),
        (lambda: onestep.simulate_modes([1.0], 8, 2, rng(), ridge=-1.0, **LEVEL), "ridge"),
        (lambda: onestep.OneStepModel.with_ratio(-0.5), "noise_to_signal"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
