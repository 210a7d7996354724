"""Simulated averages at the edges of float64: units, spreads, levels, floors and sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from lindiff import dynamics, losses
from lindiff.losses import LossModes
from lindiff.schedules import NoiseSchedule
from lindiff.simulation import QUANTITIES, Estimate, average

FEW = settings(derandomize=True, deadline=None, max_examples=5)
SPECTRA = st.sampled_from([(1.0,), (1.0, 1.0), (3.0, 1.0, 0.2), (1.0, 1e-9), (2.0, 1.0, 0.0)])
SIZES = st.sampled_from([1, 2, 3, 8, 40, 10**6, 10**9])
POWERS = {"trace_inverse": -1, "trace_inverse_squared": -2, "population_trace_squared": -1}


def draw(values, n_samples, levels, seed, *, floor, quantities=QUANTITIES, **options):
    names = [name for name in quantities if "kl" not in name or np.all(np.array(values) > 0)]
    rng = np.random.default_rng(seed)
    return average(
        values, n_samples, levels, rng, floor=floor, quantities=names, n_draws=50, **options
    )


@FEW
@given(
    SPECTRA,
    SIZES,
    st.sampled_from([-480, -400, 400, 480]),
    st.sampled_from([0.0, 1e-14, 0.3]),
    st.booleans(),
)
def test_another_unit_changes_nothing_but_the_unit(values, n_samples, power, floor, known):
    values, sigma, unit = np.array(values), np.array([0.01, 1.0, 30.0]), 2.0**power
    there = values * unit, NoiseSchedule(np.ones(3), sigma * 2.0 ** (power / 2))
    options = {"estimated_mean": not known}
    here = draw(values, n_samples, NoiseSchedule(np.ones(3), sigma), 1, floor=floor, **options)
    away = draw(there[0], n_samples, there[1], 1, floor=floor * unit, **options)
    for name in here.estimates:
        scale = unit ** POWERS.get(name, 0)
        shift = len(values) * np.log(unit) if name == "log_det" else 0.0
        one, two = here[name], away[name]
        size = 1e-9 * np.maximum(np.abs(one.mean), len(values))
        finite = np.isfinite(one.mean)
        assert np.array_equal(finite, np.isfinite(two.mean))
        apart = two.mean[finite] / scale - shift - one.mean[finite]
        assert np.all(np.abs(apart) <= size[finite]), (name, apart, size[finite])


@FEW
@given(
    st.lists(st.integers(-150, 150), min_size=1, max_size=3),
    SIZES,
    st.sampled_from([1 - 2.0**-53, 0.5, 1e-150, 1e-300]),
    st.sampled_from([0.0, 5e-324, 1e-300, 1e-14, 1.0, 1e150]),
)
def test_quantities_of_any_size_are_numbers_or_infinite(exponents, n_samples, level, floor):
    values = np.sort(10.0 ** np.array(exponents, float))[::-1]
    names = [name for name in QUANTITIES if name != "pair_alignment"]
    found = draw(values, n_samples, [level, level], 2, floor=floor, quantities=names)
    for name, estimate in found.estimates.items():
        assert not np.any(np.isnan(estimate.mean)), name
    for name in ("residual_loss", "training_loss", "test_loss", "alignment"):
        assert np.all(found[name].mean >= -1e-12 * len(values)), name
    assert np.all(found["residual_loss"].mean <= len(values) * (1 + 1e-9))


def test_many_points_leave_the_population():
    found = draw([2.0, 0.5], 10**9, 0.5, 3, floor=0.25)
    best = LossModes([2.0, 0.5], [2.0, 0.5])
    for name in ("residual_loss", "training_loss", "test_loss"):
        wanted = getattr(losses, name)(best, 0.5, floor=0.25)
        assert found[name].mean == pytest.approx(wanted, rel=1e-6)
    ratio = np.array([2.0, 0.5]) / np.array([2.25, 0.75])
    forward = 0.5 * np.sum(ratio - 1 - np.log(ratio))
    backward = 0.5 * np.sum(1 / ratio - 1 + np.log(ratio))
    assert found["kl"].mean == pytest.approx(forward, rel=1e-6)
    assert found["reverse_kl"].mean == pytest.approx(backward, rel=1e-6)


SPREAD = [1e150, 1e3, 1e-150]


@pytest.mark.parametrize("known", [False, True])
def test_divergences_do_not_see_how_far_the_eigenvalues_spread(known):
    n, d = 30, 3
    found = draw(
        SPREAD, n, 1.0, 5, floor=0.0, quantities=["kl", "reverse_kl"], estimated_mean=not known
    )
    f = n - (not known)
    log_det = special.digamma(0.5 * (f - np.arange(d))).sum() + d * np.log(2 / n)
    trace = n * d / (f - d - 1) * (1 + (not known) / n)
    # Without a floor they are combinations of the controls, hence exact.
    assert found["kl"].mean == pytest.approx(0.5 * (trace - d + log_det), rel=1e-10)
    assert found["reverse_kl"].mean == pytest.approx(-0.5 * log_det, rel=1e-10)


def test_many_points_of_a_spread_spectrum_leave_the_population():
    names = ["residual_loss", "training_loss", "test_loss", "trace_inverse", "log_det"]
    for level, floor in ((0.5, 0.0), (1 - 2.0**-53, 1e-150), (1.0, 1e-150)):
        found = draw(SPREAD, 10**9, level, 6, floor=floor, quantities=names)
        best, z = LossModes(SPREAD, SPREAD), (1 - level) / level + floor
        for name in names[:3]:
            wanted = getattr(losses, name)(best, level, floor=floor)
            assert found[name].mean == pytest.approx(wanted, rel=1e-5), name
        assert found["trace_inverse"].mean == pytest.approx(
            np.sum(1 / (np.array(SPREAD) + z)), 1e-5
        )
        assert found["log_det"].mean == pytest.approx(np.sum(np.log(np.array(SPREAD) + z)), 1e-5)


@pytest.mark.parametrize(("d", "n"), [(40, 80), (40, 21), (30, 30)])
def test_isotropic_modes_know_that_the_mean_is_estimated(d, n):
    level, floor = np.array([0.95, 0.5]), 0.05
    averages = [
        draw(
            np.ones(d),
            n,
            level,
            4,
            floor=floor,
            quantities=["training_loss", "test_loss", "residual_loss"],
            estimated_mean=flag,
        )
        for flag in (False, True)
    ]
    modes = [LossModes.isotropic(d, n, estimated_mean=flag) for flag in (False, True)]
    assert modes[1].multiplicities @ modes[1].eigenvalues == pytest.approx(d * (n - 1) / n)
    assert modes[1].dimension == pytest.approx(d)
    for name in ("training_loss", "test_loss", "residual_loss"):
        known, estimated = (getattr(losses, name)(one, level, floor=floor) for one in modes)
        drawn = averages[1][name].mean - averages[0][name].mean
        error = np.hypot(averages[1][name].standard_error, averages[0][name].standard_error)
        # The corrections of relative order 1/d are the same for both up to terms of order 1/d.
        assert np.all(np.abs(estimated - known - drawn) < 4 * error + 0.5 / d), name
        # Without the degree of freedom and the error of the mean the difference would be zero.
        assert np.all(np.abs(drawn) > 4 * error + 0.5 / d), name


def test_isotropic_modes_of_one_point_and_of_very_many():
    one = LossModes.isotropic(3, 1, estimated_mean=True)
    assert (one.eigenvalues, one.multiplicities, one.shifts) == ([0.0], [3.0], [1.0])
    assert losses.test_loss(one, 0.5) == 6.0
    two = LossModes.isotropic(3, 2, estimated_mean=True, n_nodes=5)
    np.testing.assert_allclose(two.multiplicities[-1], 2.0)
    for n in (10**9, 10**18):
        many = LossModes.isotropic(10, n, estimated_mean=True)
        assert losses.test_loss(many, 0.5) == pytest.approx(5.0, rel=1e-6)
        assert losses.gap(many, 0.5) >= 0
    for unit in (1e-150, 1e150):
        scaled = LossModes.isotropic(6, 3, variance=unit, estimated_mean=True)
        plain = LossModes.isotropic(6, 3, estimated_mean=True)
        np.testing.assert_allclose(scaled.eigenvalues, unit * plain.eigenvalues, rtol=1e-12)
    with pytest.raises(TypeError, match="`dimension` must hold real numbers"):
        LossModes.isotropic(10**400, 3)


def test_learning_curves_see_that_the_mean_is_estimated():
    modes = LossModes.isotropic(20, 10, estimated_mean=True)
    plain = LossModes(modes.eigenvalues, 1.0, 0.0, modes.multiplicities)
    late = dynamics.test_loss(modes, 1.0, 0.5) - dynamics.test_loss(plain, 1.0, 0.5)
    weights = dynamics.weights(modes.eigenvalues, 1.0, 0.5)
    assert late == pytest.approx(0.5 / 10 * np.sum(modes.multiplicities * weights**2), rel=1e-12)


@pytest.mark.filterwarnings("error")
def test_deviations_of_exact_and_of_infinite_means():
    mean = np.array([1.0, 1.0, np.inf, 1.0])
    found = Estimate(mean, np.array([0.0, 0.0, np.nan, 0.5]), 50)
    deviation = found.deviation(np.array([1.0, 0.5, np.inf, 0.0]))
    np.testing.assert_array_equal(deviation, [0.0, np.inf, 0.0, 2.0])
