import inspect

import mpmath
import numpy as np
import pytest
from scipy import integrate, optimize

from lindiff import dynamics, losses, schedules
from lindiff.losses import LossModes

LEVELS = [0.99999, 0.9, 0.3]
SHAPES = [(20, 5), (3, 5)]


def problem(n, d, seed=0):
    """Return centred data, their covariance and a population covariance."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((d, d)) / np.sqrt(d)
    data = rng.standard_normal((n, d)) @ root.T
    data -= data.mean(0)
    return data, data.T @ data / n, root @ root.T


def gradient(weights, cov, alpha_bar, floor):
    curvature = alpha_bar * cov + (1 - alpha_bar + alpha_bar * floor) * np.eye(len(cov))
    return 2 * (weights @ curvature - np.sqrt(1 - alpha_bar) * np.eye(len(cov)))


def dense_loss(weights, cov, alpha_bar):
    noise = np.eye(len(cov)) - np.sqrt(1 - alpha_bar) * weights
    return alpha_bar * np.trace(weights @ cov @ weights.T) + np.sum(noise**2)


@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("alpha_bar", LEVELS)
@pytest.mark.parametrize("floor", [0.0, 0.2])
@pytest.mark.parametrize("eta", [0.05, 0.4])
def test_weights_and_losses_equal_explicit_gradient_descent(n, d, alpha_bar, floor, eta):
    _, cov, truth = problem(n, d)
    values, vectors = np.linalg.eigh(cov)
    values = np.maximum(values, 0.0)
    start = np.linspace(-0.5, 1.0, d)
    modes = LossModes(values, np.einsum("ij,ij->j", vectors, truth @ vectors))
    matrix, steps = (vectors * start) @ vectors.T, 60
    for _ in range(steps):
        matrix = matrix - eta * gradient(matrix, cov, alpha_bar, floor)
    options = {"floor": floor, "start": start, "learning_rate": eta}
    found = dynamics.weights(values, steps * eta, alpha_bar, **options)
    np.testing.assert_allclose((vectors * found) @ vectors.T, matrix, rtol=1e-12, atol=1e-12)
    args = modes, steps * eta, alpha_bar
    training, test = (dense_loss(matrix, c, alpha_bar) for c in (cov, truth))
    np.testing.assert_allclose(dynamics.training_loss(*args, **options), training, rtol=1e-11)
    np.testing.assert_allclose(dynamics.test_loss(*args, **options), test, rtol=1e-11)
    penalty = alpha_bar * floor * np.sum(matrix**2)
    np.testing.assert_allclose(dynamics.objective(*args, **options), training + penalty, 1e-11)


def test_descent_oscillates_and_diverges_as_explicit_steps_do():
    values, alpha_bar = np.array([0.2, 1.0, 1.5, 2.0]), 0.5
    curvature = alpha_bar * values + 1 - alpha_bar
    for eta in (0.3, 0.5 / curvature[1], 0.9, 1.2):
        weights = np.full(4, 0.3)
        for step in range(40):
            found = dynamics.weights(values, step * eta, alpha_bar, start=0.3, learning_rate=eta)
            np.testing.assert_allclose(found, weights, rtol=1e-11, atol=1e-12)
            weights = weights - 2 * eta * (curvature * weights - np.sqrt(1 - alpha_bar))


@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_flow_equals_an_ode_solver(n, d, floor):
    _, cov, _ = problem(n, d)
    values, vectors = np.linalg.eigh(cov)
    start, alpha_bar = np.linspace(0.0, 1.0, d), 0.7

    def flow(_, flat):
        return -gradient(flat.reshape(d, d), cov, alpha_bar, floor).ravel()

    times = np.array([0.1, 0.7, 3.0])
    begin = ((vectors * start) @ vectors.T).ravel()
    solved = integrate.solve_ivp(
        flow, (0, 3), begin, method="DOP853", t_eval=times, rtol=1e-13, atol=1e-13
    )
    found = dynamics.weights(np.maximum(values, 0), times, alpha_bar, floor=floor, start=start)
    expected = np.array([np.diag(vectors.T @ y.reshape(d, d) @ vectors) for y in solved.y.T])
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-11)


def test_rates_are_those_of_weights_and_objective():
    modes = LossModes([2.0, 0.5, 0.0], [1.0, 1.0, 1.0])
    options = {"floor": 0.1, "start": 0.8}
    rates = dynamics.relaxation_rates(modes.eigenvalues, 0.9, floor=0.1)
    best = losses.optimal_weights(modes.eigenvalues, 0.9, floor=0.1)
    left = [dynamics.weights(modes.eigenvalues, t, 0.9, **options) - best for t in (1.0, 1.5)]
    np.testing.assert_allclose(np.log(left[0] / left[1]) / 0.5, rates, rtol=1e-10)
    excess = [
        dynamics.objective(modes, t, 0.9, per_mode=True, **options)
        - losses.residual_loss(modes, 0.9, floor=0.1, per_mode=True)
        for t in (0.5, 1.0)
    ]
    np.testing.assert_allclose(np.log(excess[0] / excess[1]) / 0.5, 2 * rates, rtol=1e-9)
    np.testing.assert_allclose(excess[0], 0.5 * rates * (0.8 - best) ** 2 * np.exp(-rates), 1e-10)


def test_descent_tends_to_flow_at_first_order():
    modes = LossModes([2.0, 0.5, 0.0], [1.0, 1.0, 1.0])
    exact = dynamics.test_loss(modes, 1.0, 0.7)
    errors = [dynamics.test_loss(modes, 1.0, 0.7, learning_rate=1 / n) - exact for n in (512, 1024)]
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=1e-2)


@pytest.mark.parametrize("floor", [0.0, 1e-6])
@pytest.mark.parametrize("time", [1e-9, 0.3, 50.0, 1e5, 1e12])
@pytest.mark.parametrize("alpha_bar", [0.99999, 1 - 2.0**-40])
def test_twelve_digits_at_the_first_levels(floor, time, alpha_bar):
    h = np.append(np.logspace(1, -12, 14), 0.0)
    m = h[::-1] + 0.1 * h
    with mpmath.workdps(60):
        a, total, objective = mpmath.mpf(alpha_bar), mpmath.mpf(0), mpmath.mpf(0)
        for hi, mi in zip(map(mpmath.mpf, h), map(mpmath.mpf, m), strict=True):
            curvature = a * hi + 1 - a + a * mpmath.mpf(floor)
            left = mpmath.exp(-2 * curvature * mpmath.mpf(time))
            w = mpmath.sqrt(1 - a) / curvature * (1 - left) + left / 10
            misfit = (1 - mpmath.sqrt(1 - a) * w) ** 2
            total += misfit + a * mi * w**2
            objective += misfit + a * (hi + mpmath.mpf(floor)) * w**2
    args = {"floor": floor, "start": 0.1}
    modes = LossModes(h, m)
    found = dynamics.test_loss(modes, time, alpha_bar, **args)
    np.testing.assert_allclose(found, float(total), rtol=1e-12)
    found = dynamics.objective(modes, time, alpha_bar, **args)
    np.testing.assert_allclose(found, float(objective), rtol=1e-12)


@pytest.mark.parametrize("eta", [1e-9, 1e-3, 0.7])
@pytest.mark.parametrize("n_steps", [1, 2, 5000])
def test_descent_keeps_twelve_digits(eta, n_steps):
    h, alpha_bar = np.array([1.0, 1e-3, 0.0]), 1 - 2.0**-20
    found = dynamics.weights(h, eta * n_steps, alpha_bar, learning_rate=eta)
    with mpmath.workdps(60):
        for value, hi in zip(found, map(mpmath.mpf, h), strict=True):
            a = mpmath.mpf(alpha_bar)
            curvature = a * hi + 1 - a
            left = (1 - 2 * mpmath.mpf(eta) * curvature) ** n_steps
            exact = mpmath.sqrt(1 - a) / curvature * (1 - left)
            assert abs(value / exact - 1) < 1e-12


def test_training_begins_at_the_start_and_ends_at_the_optimum():
    data, _, truth = problem(3, 5)
    modes = LossModes.from_data(data, np.zeros(5), truth)
    level, floor = np.array([0.9, 0.2]), np.array([[0.0], [0.3]])
    for name in ("training_loss", "test_loss"):
        along, static = getattr(dynamics, name), getattr(losses, name)
        late = along(modes, 1e4, level, floor=floor)
        np.testing.assert_allclose(late, static(modes, level, floor=floor), rtol=1e-12)
        assert np.all(along(modes, 0.0, level, floor=floor) == 5.0)
    late = dynamics.objective(modes, 1e4, level, floor=floor)
    np.testing.assert_allclose(late, losses.residual_loss(modes, level, floor=floor), rtol=1e-12)
    schedule = schedules.linear_beta(10)
    by_schedule = dynamics.test_loss(modes, 0.7, schedule)
    np.testing.assert_allclose(by_schedule, dynamics.test_loss(modes, 0.7, schedule.alpha_bar))


def test_training_starts_from_zero_by_default():
    losses_in_time = (dynamics.objective, dynamics.training_loss, dynamics.test_loss)
    best = (dynamics.best_mode_times, dynamics.best_time)
    for function in (dynamics.weights, dynamics.learning_curve, *losses_in_time, *best):
        assert inspect.signature(function).parameters["start"].default == 0.0


def test_shares_and_shapes():
    modes = LossModes([2.0, 0.5, 0.0], [1.0, 0.7, 0.2], 0.1, [1.0, 2.0, 3.0])
    time, level = np.linspace(0, 5, 4)[:, None, None], np.array([0.9, 0.5])[:, None]
    floor = np.array([0.0, 0.1, 0.2])
    for function in (dynamics.test_loss, dynamics.training_loss, dynamics.objective):
        total = function(modes, time, level, floor=floor)
        shares = function(modes, time, level, floor=floor, per_mode=True)
        assert total.shape == (4, 2, 3)
        assert shares.shape == (4, 2, 3, 3)
        np.testing.assert_allclose(shares.sum(-1), total, rtol=1e-13)
        assert type(function(modes, 1.0, 0.5)) is float
    many = dynamics.test_loss(modes, np.linspace(0, 3, 100_000), 0.5)
    one = dynamics.test_loss(modes, np.linspace(0, 3, 100_000)[77_777], 0.5)
    assert many[77_777] == pytest.approx(one, rel=1e-14)


@pytest.mark.parametrize("n_steps", [1, 2, 35, 36, 400])
@pytest.mark.parametrize("alpha_bar", [0.99999, 0.5])
def test_learning_curve_is_the_losses_step_by_step(n_steps, alpha_bar):
    data, _, truth = problem(3, 5)
    modes = LossModes.from_data(data, np.full(5, 0.1), truth)
    eta = 0.4 / dynamics.relaxation_rates(modes.eigenvalues, alpha_bar, floor=1e-4).max()
    options = {"learning_rate": eta, "floor": 1e-4, "start": np.linspace(-0.1, 0.9, 3)}
    curve = dynamics.learning_curve(modes, n_steps, alpha_bar, **options)
    assert curve.time.shape == curve.test.shape == curve.training.shape == (n_steps + 1,)
    found = dynamics.test_loss(modes, curve.time, alpha_bar, **options)
    np.testing.assert_allclose(curve.test, found, rtol=1e-12)
    found = dynamics.training_loss(modes, curve.time, alpha_bar, **options)
    np.testing.assert_allclose(curve.training, found, rtol=1e-12)


@pytest.mark.parametrize("start", [0.0, 0.9, np.array([0.1, 2.0, 0.4, 0.0])])
def test_best_mode_times_equal_a_scalar_search(start):
    modes = LossModes([2.0, 0.6, 0.1, 0.0], [1.2, 1.0, 1.0, 1.0], [0.0, 0.0, 0.1, 0.1])
    alpha_bar, floor = 0.7, 0.05
    found = dynamics.best_mode_times(modes, alpha_bar, floor=floor, start=start)
    for mode, time in enumerate(found):

        def loss(at, mode=mode):
            shares = dynamics.test_loss(
                modes, at, alpha_bar, floor=floor, start=start, per_mode=True
            )
            return shares[..., mode]

        grid = loss(np.linspace(0, 30, 3001))
        at = loss(1e6) if np.isinf(time) else loss(time)
        assert at <= grid.min() * (1 + 1e-13)
        if 0 < time < np.inf:
            best = optimize.minimize_scalar(
                loss, bounds=(0.5 * time, 2 * time), method="bounded", options={"xatol": 1e-9}
            )
            assert time == pytest.approx(best.x, rel=1e-6)


def test_best_mode_times_follow_the_closed_forms():
    level = np.array([0.99999, 0.5])
    null = dynamics.best_mode_times(LossModes([0.0], [1.0]), level)
    np.testing.assert_allclose(null[:, 0], -np.log(level) / (2 * (1 - level)), rtol=1e-10)
    np.testing.assert_allclose(null[0, 0], 0.5, rtol=1e-4)
    h, m, shift, a, c = 0.3, 0.8, 0.1, 0.6, 0.2
    curvature = a * h + 1 - a + a * c
    expected = -np.log((a * (m + shift - h) - a * c) / (a * (m + shift) + 1 - a)) / (2 * curvature)
    found = dynamics.best_mode_times(LossModes([h], [m], [shift]), a, floor=c)
    np.testing.assert_allclose(found, [expected], rtol=1e-12)
    assert dynamics.best_mode_times(LossModes([1.0], [0.9]), 0.5)[0] == np.inf
    best = losses.optimal_weights([1.0], 0.5)
    assert dynamics.best_mode_times(LossModes([2.0], [1.0]), 0.5, start=best)[0] == 0.0
    for second in (0.5, 1.0, 2.0):
        times = dynamics.best_mode_times(LossModes([1.0], [second]), 0.5, start=np.sqrt(0.5))
        assert times.tolist() == [0.0]
    noiseless = dynamics.best_mode_times(LossModes([1.0, 2.0], [0.0, 1.0]), 1.0, start=0.5)
    assert np.all(np.isinf(noiseless))


def test_best_time_equals_a_fine_search():
    data, _, truth = problem(3, 6, seed=2)
    modes = LossModes.from_data(data, np.zeros(6), truth)
    level, floor = np.array([0.999, 0.9, 0.5]), np.array([[0.0], [0.01]])
    times, values = dynamics.best_time(modes, level, floor=floor)
    assert times.shape == values.shape == (2, 3)
    grid = np.logspace(-4, 5, 20_001)
    for index in np.ndindex(2, 3):
        args = {"floor": floor[index[0], 0]}
        curve = dynamics.test_loss(modes, grid, level[index[1]], **args)
        assert values[index] <= curve.min() * (1 + 1e-14)
        near = np.argmin(curve)
        assert grid[near - 1] < times[index] < grid[near + 1]
        step = times[index] * np.array([1 - 1e-6, 1 + 1e-6])
        around = dynamics.test_loss(modes, step, level[index[1]], **args)
        assert np.all(around >= values[index] * (1 - 1e-14))
        assert dynamics.best_time(modes, level[index[1]], **args)[0] == times[index]


def test_best_time_is_never_above_a_fine_grid():
    rng, grid = np.random.default_rng(4), np.logspace(-5, 5, 4001)
    for _ in range(60):
        h, m, count = rng.lognormal(0, 3, (3, 4))
        alpha_bar = rng.choice([0.5, 0.99])
        modes = LossModes(h, m, 0.0, count)
        value = dynamics.best_time(modes, alpha_bar)[1]
        assert value <= dynamics.test_loss(modes, grid, alpha_bar).min() * (1 + 1e-12)


def test_best_time_of_one_mode_is_its_own():
    modes = LossModes([0.3], [0.9], 0.0, [7.0])
    time, value = dynamics.best_time(modes, 0.8)
    np.testing.assert_allclose(time, dynamics.best_mode_times(modes, 0.8)[0], rtol=1e-12)
    np.testing.assert_allclose(value, dynamics.test_loss(modes, time, 0.8), rtol=1e-13)


def test_best_time_of_a_start_close_to_the_best_weight():
    # Weights relax as exp(-2t) from the start to 1 / sqrt(2); sqrt(2) / 3 is best on fresh points.
    best, end, wanted = np.sqrt(2.0) / 3.0, np.sqrt(0.5), 2e-4
    start = end + (best - end) * np.exp(2.0 * wanted)
    time, value = dynamics.best_time(LossModes([1.0], [2.0]), 0.5, start=start)
    assert time == pytest.approx(wanted, rel=1e-9)
    assert value == pytest.approx(losses.test_loss(LossModes([2.0], [2.0]), 0.5), rel=1e-13)


def test_best_time_may_be_an_end():
    assert dynamics.best_time(LossModes([1.0, 0.5], [0.5, 0.2]), 0.9)[0] == np.inf
    best = losses.optimal_weights([1.0], 0.9)
    time, value = dynamics.best_time(LossModes([0.2], [1.0]), 0.9, start=best)
    assert time == 0.0
    np.testing.assert_allclose(value, losses.test_loss(LossModes([1.0], [1.0]), 0.9), rtol=1e-13)


@pytest.mark.parametrize(("slow", "early"), [(30.0, True), (60.0, False)])
def test_best_time_takes_the_lower_of_two_minima(slow, early):
    # Fast directions overfit at once; much later the slow ones still have much to learn.
    modes = LossModes([20.0, 0.0], [200.0, 0.001], 0.0, [100.0, slow])
    grid = np.logspace(-4, 2, 4001)
    curve = dynamics.test_loss(modes, grid, 0.5)
    turns = np.flatnonzero((curve[1:-1] < curve[:-2]) & (curve[1:-1] < curve[2:]))
    assert len(turns) == 2
    time, value = dynamics.best_time(modes, 0.5)
    assert (time < 0.1) == early
    assert time == pytest.approx(grid[np.argmin(curve)], rel=5e-3)
    assert value <= curve.min()


SLIDES = schedules.linear_beta(1000, 1.099e-4, 1e-2)


@pytest.mark.parametrize(
    ("t", "minimum", "half_rise"),
    [
        (10, 0.533793, 398),
        (50, 0.538409, 36),
        (100, 0.550726, 11),
        (300, 0.683938, 2.3),
        (500, 1.012295, None),
    ],
)
def test_overfitting_of_white_data_begins_early_and_completes_late(t, minimum, half_rise):
    # Minima by scipy's quad and minimize_scalar on the Marcenko-Pastur density; N = d / 2.
    modes = LossModes.isotropic(2, 1)
    alpha_bar = SLIDES.alpha_bar[t - 1]
    time, value = dynamics.best_time(modes, alpha_bar)
    assert time == pytest.approx(minimum, abs=1e-6)
    if half_rise is not None:
        middle = 0.5 * (value + losses.test_loss(modes, alpha_bar))
        crossing = optimize.brentq(
            lambda at: dynamics.test_loss(modes, at, alpha_bar) - middle, time, 1e4
        )
        assert crossing == pytest.approx(half_rise, rel=0.03)


def test_isotropic_curves_are_the_average_of_simulated_training_sets():
    d, n, times = 100, 50, np.array([0.2, 1.0, 5.0, 100.0])
    rng, found = np.random.default_rng(3), []
    for _ in range(40):
        data = rng.standard_normal((n, d))
        modes = LossModes.from_data(np.vstack([data, -data]), np.zeros(d), np.ones(d))
        found.append(dynamics.test_loss(modes, times, 0.94))
    theory = dynamics.test_loss(LossModes.isotropic(d, n), times, 0.94)
    np.testing.assert_allclose(np.mean(found, axis=0), theory, rtol=5e-3)


MODES = LossModes([1.0, 0.0], [1.0, 1.0])


@pytest.mark.parametrize(
    "call",
    [dynamics.test_loss, dynamics.training_loss, dynamics.objective],
)
def test_losses_reject_bad_input(call):
    with pytest.raises(TypeError, match="`modes` must be a LossModes"):
        call(None, 1.0, 0.5)
    for time in (-1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="`time`"):
            call(MODES, time, 0.5)
    for level in (0.0, 1.1):
        with pytest.raises(ValueError, match="`alpha_bar`"):
            call(MODES, 1.0, level)
    with pytest.raises(ValueError, match="`alpha_bar` must be below 1"):
        call(MODES, 1.0, 1.0)
    with pytest.raises(ValueError, match="`floor` must be >= 0"):
        call(MODES, 1.0, 0.5, floor=-1.0)
    with pytest.raises(ValueError, match="`start` must be a number or have shape"):
        call(MODES, 1.0, 0.5, start=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="`learning_rate` must be positive"):
        call(MODES, 1.0, 0.5, learning_rate=0.0)
    with pytest.raises(ValueError, match="whole number of steps"):
        call(MODES, 1.05, 0.5, learning_rate=0.1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dynamics.weights([-1.0], 1.0, 0.5), ValueError, "`eigenvalues`"),
        (lambda: dynamics.weights([1.0], -1.0, 0.5), ValueError, "`time`"),
        (lambda: dynamics.relaxation_rates([1.0], 0.0), ValueError, "`alpha_bar`"),
        (lambda: dynamics.best_time(None, 0.5), TypeError, "`modes`"),
        (lambda: dynamics.best_mode_times(None, 0.5), TypeError, "`modes`"),
        (lambda: dynamics.best_time(MODES, 1.0), ValueError, "`alpha_bar` must be below 1"),
        (
            lambda: dynamics.learning_curve(None, 5, 0.5, learning_rate=0.1),
            TypeError,
            "`modes`",
        ),
        (
            lambda: dynamics.learning_curve(MODES, 0, 0.5, learning_rate=0.1),
            ValueError,
            "`n_steps` must be at least 1",
        ),
        (
            lambda: dynamics.learning_curve(MODES, 5, 0.5, learning_rate=0.51),
            ValueError,
            "`learning_rate` must be at most 0.5",
        ),
        (
            lambda: dynamics.learning_curve(LossModes([3.0], [1.0]), 5, 0.5, learning_rate=0.3),
            ValueError,
            "`learning_rate` must be at most 0.25;",
        ),
        (
            lambda: dynamics.learning_curve(MODES, 5, 0.5, learning_rate=None),
            ValueError,
            "`learning_rate`",
        ),
        (
            lambda: dynamics.learning_curve(MODES, 5, [0.5, 0.4], learning_rate=0.1),
            ValueError,
            "single numbers",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
