"""Training at the edges of float64: huge and tiny variances, times and rates, divergence."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindiff import dynamics, losses
from lindiff.losses import LossModes

EDGES = settings(derandomize=True, deadline=None, max_examples=60)
FEW = settings(derandomize=True, deadline=None, max_examples=40)
LEVELS = st.sampled_from([1.0, 1 - 2.0**-53, 0.99999, 0.5, 1e-3, 1e-150, 1e-300])
FLOORS = st.sampled_from([0.0, 5e-324, 1e-300, 1e-14, 1.0, 1e160, 1e300])
SIZES = st.one_of(st.just(0.0), st.integers(-150, 150).map(lambda e: 10.0**e * 1.25))
MODES = st.lists(st.tuples(SIZES, SIZES), min_size=1, max_size=4)
TIMES = st.sampled_from([0.0, 5e-324, 1e-9, 0.3, 50.0, 1e12, 1e300])
RATES = st.sampled_from([1e-300, 1e-9, 1e-3, 0.4, 0.7, 3.0, 1e200])
STEPS = st.sampled_from([0, 1, 2, 7, 1000, 10**6])
# Not 1, the optimum at small levels: what is left of the way is then a matter of rounding.
STARTS = st.sampled_from([0.0, 0.9, -0.3, 1e100])
LARGEST = mpmath.mpf(np.finfo(float).max)


def close(found, exact, rtol):
    if abs(exact) > LARGEST:
        return found == np.inf * int(mpmath.sign(exact))
    if abs(exact) > LARGEST * (1 - rtol):
        return True
    return abs(mpmath.mpf(found) - exact) <= rtol * abs(exact) + mpmath.mpf(10) ** -290


def exact_training(rows, alpha_bar, floor, start, left_of):
    """Weights and losses, where `left_of` gives the shares ahead and behind for a curvature."""
    a, c, start = mpmath.mpf(alpha_bar), mpmath.mpf(floor), mpmath.mpf(start)
    ratio, noise = (1 - a) / a, mpmath.sqrt(1 - a)
    weights, total = [], [mpmath.mpf(0)] * 3
    for e, m in rows:
        e, m = mpmath.mpf(e), mpmath.mpf(m)
        whole = e + ratio + c
        left, done = left_of(a * whole)
        end, kept = noise / (a * whole), (e + c) / whole
        if abs(left) > LARGEST:
            # As stated: what has grown by more than the largest float is infinite.
            left = mpmath.sign(left) * mpmath.mpf(10) ** 100_000
        if abs(left) > 1:
            w, misfit = end + left * (start - end), kept - noise * left * (start - end)
        else:
            w, misfit = done * end + left * start, done * kept + left * (1 - noise * start)
        weights.append(w)
        terms = [misfit**2 + a * second * w**2 for second in (e + c, e, m)]
        total = [x + y for x, y in zip(total, terms, strict=True)]
    return weights, total


def refused(rows, alpha_bar, floor):
    return alpha_bar == 1 and floor == 0 and min(e for e, _ in rows) == 0


def compare(rows, time, alpha_bar, left_of, rtol, **options):
    modes = LossModes(*np.transpose(rows))
    with mpmath.workdps(60):
        weights, total = exact_training(
            rows, alpha_bar, options["floor"], options["start"], left_of
        )
        found = dynamics.weights(modes.eigenvalues, time, alpha_bar, **options)
        for value, exact in zip(found, weights, strict=True):
            assert close(value, exact, rtol)
        functions = dynamics.objective, dynamics.training_loss, dynamics.test_loss
        for function, exact in zip(functions, total, strict=True):
            assert close(function(modes, time, alpha_bar, **options), exact, rtol)
            shares = function(modes, time, alpha_bar, per_mode=True, **options)
            with np.errstate(over="ignore"):
                assert close(np.sum(shares), exact, rtol)


@EDGES
@given(MODES, TIMES, LEVELS, FLOORS, STARTS)
def test_flow_of_any_size(rows, time, alpha_bar, floor, start):
    def left_of(curvature):
        exponent = -2 * curvature * mpmath.mpf(time)
        return mpmath.exp(exponent), -mpmath.expm1(exponent)

    if not refused(rows, alpha_bar, floor):
        compare(rows, time, alpha_bar, left_of, 1e-12, floor=floor, start=start)


@EDGES
@given(MODES, RATES, STEPS, LEVELS, FLOORS, STARTS)
def test_descent_of_any_size_converges_oscillates_or_diverges(
    rows, eta, n_steps, alpha_bar, floor, start
):
    def left_of(curvature):
        step = 2 * mpmath.mpf(eta) * curvature
        left = (1 - step) ** n_steps
        near = step < 0.5
        return left, -mpmath.expm1(n_steps * mpmath.log1p(-step)) if near else 1 - left

    if not refused(rows, alpha_bar, floor):
        options = {"floor": floor, "start": start, "learning_rate": eta}
        rtol = 2e-12 + 1e-15 * n_steps
        compare(rows, eta * n_steps, alpha_bar, left_of, rtol, **options)


def test_a_divergent_rate_ends_at_infinity_and_not_at_nan():
    modes = LossModes([2.0, 0.0], [1.0, 1.0])
    options = {"learning_rate": 3.0}
    for steps in (2000, 2001):
        for start in (0.0, 0.3, [1.0, -2.0]):
            args = modes, 3.0 * steps, 0.5
            assert dynamics.test_loss(*args, start=start, **options) == np.inf
            assert dynamics.training_loss(*args, start=start, **options) == np.inf
            assert dynamics.objective(*args, start=start, **options) == np.inf
    weights = [dynamics.weights([2.0], 3.0 * n, 0.5, **options)[0] for n in (2000, 2001)]
    assert weights == [-np.inf, np.inf]
    stays = losses.optimal_weights([2.0, 0.0], 0.5)
    found = dynamics.weights([2.0, 0.0], 6000.0, 0.5, start=stays, **options)
    np.testing.assert_array_equal(found, stays)


def test_a_long_training_counts_its_steps_to_rounding():
    modes = LossModes([1.0, 1e-12], [1.0, 1.0])
    for eta, steps in ((0.1, 123_456_789_012), (1e-3, 987_654_321_098_765)):
        found = dynamics.test_loss(modes, eta * steps, 0.5, learning_rate=eta)
        assert found == pytest.approx(losses.test_loss(modes, 0.5), rel=1e-12)
    with pytest.raises(ValueError, match=r"more than 2\*\*53 steps"):
        dynamics.test_loss(modes, 1e300, 0.5, learning_rate=1e-300)
    with pytest.raises(ValueError, match="whole number of steps"):
        dynamics.test_loss(modes, 0.1 * 1_000_000.5, 0.5, learning_rate=0.1)


@EDGES
@given(MODES, LEVELS, FLOORS)
def test_rates_of_any_size(rows, alpha_bar, floor):
    values = np.array([e for e, _ in rows])
    if refused(rows, alpha_bar, floor):
        return
    found = dynamics.relaxation_rates(values, alpha_bar, floor=floor)
    with mpmath.workdps(60):
        a = mpmath.mpf(alpha_bar)
        for value, rate in zip(values, found, strict=True):
            exact = 2 * (a * (mpmath.mpf(value) + mpmath.mpf(floor)) + (1 - a))
            assert abs(mpmath.mpf(rate) - exact) <= 1e-14 * exact


@FEW
@given(MODES, LEVELS, FLOORS, st.sampled_from([0.0, 0.5]))
def test_best_times_of_any_size_beat_a_grid(rows, alpha_bar, floor, start):
    if refused(rows, alpha_bar, floor):
        return
    modes, options = LossModes(*np.transpose(rows)), {"floor": floor, "start": start}
    time, value = dynamics.best_time(modes, alpha_bar, **options)
    rates = dynamics.relaxation_rates(modes.eigenvalues, alpha_bar, floor=floor)
    low, high = np.log10(rates).min(), np.log10(rates).max()
    grid = 10.0 ** np.linspace(*np.clip([-high - 3, 2 - low], -307, 307), 6000)
    curve = dynamics.test_loss(modes, grid, alpha_bar, **options)
    assert not np.isnan(time)
    assert value <= curve.min() * (1 + 1e-9)
    at = losses.test_loss(modes, alpha_bar, floor=floor)
    if time < np.inf:
        at = dynamics.test_loss(modes, time, alpha_bar, **options)
    assert value == pytest.approx(at, rel=1e-9)
    for mode, best in enumerate(dynamics.best_mode_times(modes, alpha_bar, **options)):
        shares = dynamics.test_loss(modes, grid, alpha_bar, per_mode=True, **options)[:, mode]
        end = losses.test_loss(modes, alpha_bar, floor=floor, per_mode=True)[mode]
        if best < np.inf:
            end = dynamics.test_loss(modes, best, alpha_bar, per_mode=True, **options)[mode]
        assert end <= shares.min() * (1 + 1e-9)


@FEW
@given(MODES, LEVELS, FLOORS, st.sampled_from([0.0, 0.5]))
def test_learning_curves_of_any_size(rows, alpha_bar, floor, start):
    if refused(rows, alpha_bar, floor):
        return
    modes = LossModes(*np.transpose(rows))
    rates = dynamics.relaxation_rates(modes.eigenvalues, alpha_bar, floor=floor)
    eta = 0.4 / max(rates.max(), 1e-300)
    options = {"floor": floor, "start": start, "learning_rate": eta}
    curve = dynamics.learning_curve(modes, 30, alpha_bar, **options)
    for name in ("training", "test"):
        loss = getattr(dynamics, f"{name}_loss")(modes, curve.time, alpha_bar, **options)
        np.testing.assert_allclose(getattr(curve, name), loss, rtol=1e-11, atol=1e-290)
