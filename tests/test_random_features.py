"""Random-feature denoisers against simulation, linear limits, oracles and bad input."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lindiff import onestep
from lindiff.onestep import random_features, simulate_random_features


def linear(z):
    return z


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize(("samples", "features"), [(2.0, 0.5), (1.0, 2.0), (3.0, 1.0)])
def test_theory_agrees_with_simulation(averaged, samples, features):
    d, ratio = 60, 0.6
    runs = simulate_random_features(
        ratio,
        d,
        round(samples * d),
        round(features * d),
        8,
        np.random.default_rng(1),
        ridge=0.05,
        draws=150 if averaged else 1,
    )
    curve = random_features(ratio, samples, features, ridge=0.05, averaged=averaged)
    assert_allclose(runs.mean(axis=0), [curve.error, curve.variance], rtol=0.035)
    other = random_features(ratio, samples, features, ridge=0.05, averaged=not averaged)
    assert abs(runs[:, 1].mean() / other.variance - 1) > 0.035


@pytest.mark.parametrize("ratio", [0.2, 1.5])
def test_many_linear_features_are_ridge_regression(ratio):
    samples, count = 1.7, 4000.0
    curve = random_features(ratio, samples, count, ridge=0.1 * count, activation=linear)
    rho, d = 1 / (1 + ratio), 400
    time = 0.5 * np.log1p(ratio)
    noised = np.exp(-2 * time) * (1 + ratio)
    modes = onestep.ridge_variances(
        np.ones(d),
        round(samples * d),
        time=time,
        noise_scale=1.0,
        ridge=0.1 * noised,
        intercept=False,
    )
    assert_allclose(curve.variance, modes[0], rtol=2e-3)
    assert 1 - rho < curve.error < 1 + modes[0]


@pytest.mark.parametrize("averaged", [False, True])
def test_infinite_data_give_the_best_linear_denoiser_for_linear_features(averaged):
    curve = random_features(1.0, 1e7, 3.0, ridge=1e-9, activation=linear, averaged=averaged)
    assert_allclose([curve.error, curve.variance], [0.5, 0.5], rtol=1e-4)


def test_the_two_draws_agree_without_noise():
    one, many = (random_features(0.0, 2.0, 1.5, ridge=0.1, averaged=a) for a in (False, True))
    assert_allclose([one.error, one.variance], [many.error, many.variance], rtol=1e-8)


def test_one_draw_peaks_where_features_meet_samples():
    ratio = np.array([0.5, 1.0, 2.0, 4.0, 8.0])
    single = [random_features(1.0, r, 2.0, ridge=1e-4).error for r in ratio]
    averaged = [random_features(1.0, r, 2.0, ridge=1e-4, averaged=True).error for r in ratio]
    assert np.argmax(single) == 2
    assert np.all(np.diff(averaged) < 0)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"ridge": 0.0}, ValueError, "ridge"),
        ({"ridge": [0.1, 0.2]}, ValueError, "ridge"),
        ({"noise_to_signal": -1.0}, ValueError, "noise_to_signal"),
        ({"samples_per_dimension": 0.0}, ValueError, "samples_per_dimension"),
        ({"features_per_dimension": -2.0}, ValueError, "features_per_dimension"),
        ({"activation": np.abs}, ValueError, "odd"),
        ({"activation": 3.0}, TypeError, "function"),
    ],
)
def test_bad_arguments_are_named(change, error, words):
    given = {
        "noise_to_signal": 1.0,
        "samples_per_dimension": 2.0,
        "features_per_dimension": 1.0,
        "ridge": 0.1,
        **change,
    }
    with pytest.raises(error, match=words):
        random_features(
            given.pop("noise_to_signal"),
            given.pop("samples_per_dimension"),
            given.pop("features_per_dimension"),
            **given,
        )


def test_sizes_are_averaged_as_by_hand():
    model = onestep.OneStepModel(time=0.5, noise_scale=1.0, dimension=4)
    mean, error = onestep.simulate_sizes(
        model, (9, 30), 50, np.random.default_rng(2), part="kl_variance", sampler="full"
    )
    rng = np.random.default_rng(2)
    for k, n in enumerate((9, 30)):
        values = onestep.simulate_finite(model, n, 50, rng, sampler="full").kl_variance / 4
        assert_allclose(mean[k], values.mean())
        assert_allclose(error[k], np.sqrt(np.sum((values - mean[k]) ** 2) / 49 / 50))
    with pytest.raises(ValueError, match="part"):
        onestep.simulate_sizes(model, (9,), 5, rng, part="trace")
    with pytest.raises(ValueError, match="n_runs"):
        onestep.simulate_sizes(model, (9,), 1, rng)
