"""Weights and bias that learn together, against explicit descent and matrix exponentials."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from lindiff import dynamics, losses
from lindiff.denoisers import AffineDenoiser
from lindiff.dynamics import JointModes
from lindiff.losses import LossModes

SHAPES = [(20, 5), (3, 6), (1, 4), (7, 7)]


def problem(n, d, seed=0):
    """Return data with a mean, and the moments of another law with a mean."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((d, d)) / np.sqrt(d)
    data = rng.standard_normal((n, d)) @ root.T + rng.standard_normal(d)
    return data, rng.standard_normal(d), root @ root.T


def gradients(weights, bias, data, alpha_bar, floor):
    """Gradients of the objective, averaged over the points one by one and over the noise."""
    inputs = np.sqrt(alpha_bar) * data
    outputs = inputs @ weights.T + bias
    by_weights = 2 * outputs.T @ inputs / len(data) + 2 * (1 - alpha_bar) * weights
    by_weights += 2 * alpha_bar * floor * weights - 2 * np.sqrt(1 - alpha_bar) * np.eye(len(bias))
    return by_weights, 2 * outputs.mean(axis=0)


def explicit(data, alpha_bar, floor, start, eta, n_steps):
    d = data.shape[1]
    weights, bias = start * np.eye(d), np.zeros(d)
    for _ in range(n_steps):
        by_weights, by_bias = gradients(weights, bias, data, alpha_bar, floor)
        weights, bias = weights - eta * by_weights, bias - eta * by_bias
    return weights, bias


def dense_loss(weights, bias, mean, cov, alpha_bar):
    centre = np.sqrt(alpha_bar) * weights @ mean + bias
    noise = np.eye(len(cov)) - np.sqrt(1 - alpha_bar) * weights
    return alpha_bar * np.trace(weights @ cov @ weights.T) + centre @ centre + np.sum(noise**2)


def dense_losses(weights, bias, data, mean, cov, alpha_bar, floor):
    empirical = np.cov(data.T, bias=True).reshape(cov.shape)
    training = dense_loss(weights, bias, data.mean(axis=0), empirical, alpha_bar)
    penalty = alpha_bar * floor * np.sum(weights**2)
    return training + penalty, training, dense_loss(weights, bias, mean, cov, alpha_bar)


def found_losses(modes, *args, **options):
    functions = dynamics.objective, dynamics.training_loss, dynamics.test_loss
    return [function(modes, *args, **options) for function in functions]


@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("alpha_bar", [0.999, 0.5])
@pytest.mark.parametrize(("floor", "start"), [(0.0, 0.0), (0.2, 0.7)])
@pytest.mark.parametrize("eta", [0.02, 0.15])
def test_weights_bias_and_losses_equal_explicit_gradient_descent(
    n, d, alpha_bar, floor, start, eta
):
    data, mean, cov = problem(n, d)
    modes = JointModes.from_data(data, mean, cov)
    options = {"floor": floor, "start": start, "learning_rate": eta}
    for n_steps in (0, 1, 40):
        weights, bias = explicit(data, alpha_bar, floor, start, eta, n_steps)
        args = n_steps * eta, alpha_bar
        found = dynamics.weights_and_bias(modes, *args, **options)
        size = max(1.0, np.abs(weights).max())
        np.testing.assert_allclose(found[0], weights, rtol=1e-11, atol=1e-12 * size)
        np.testing.assert_allclose(found[1], bias, rtol=1e-11, atol=1e-12 * size)
        expected = dense_losses(weights, bias, data, mean, cov, alpha_bar, floor)
        np.testing.assert_allclose(found_losses(modes, *args, **options), expected, rtol=1e-11)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_flow_is_the_exponential_of_the_augmented_matrix(n, d):
    data, mean, cov = problem(n, d, seed=1)
    alpha_bar, floor, start = 0.8, 0.1, 0.4
    inputs = np.column_stack([np.sqrt(alpha_bar) * data, np.ones(n)])
    augmented = inputs.T @ inputs / n
    augmented[:d, :d] += (1 - alpha_bar + alpha_bar * floor) * np.eye(d)
    wanted = np.sqrt(1 - alpha_bar) * np.linalg.inv(augmented)[:d]
    modes = JointModes.from_data(data, mean, cov)
    times = np.array([0.0, 0.1, 0.7, 3.0, 1e6])
    weights, bias = dynamics.weights_and_bias(modes, times, alpha_bar, floor=floor, start=start)
    begin = np.column_stack([start * np.eye(d), np.zeros(d)])
    for time, w, b in zip(times, weights, bias, strict=True):
        theta = wanted + (begin - wanted) @ linalg.expm(-2 * time * augmented)
        np.testing.assert_allclose(np.column_stack([w, b]), theta, rtol=1e-10, atol=1e-12)
        expected = dense_losses(w, b, data, mean, cov, alpha_bar, floor)
        found = found_losses(modes, time, alpha_bar, floor=floor, start=start)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_small_steps_of_euler_tend_to_the_flow():
    data, mean, cov = problem(9, 4, seed=2)
    modes = JointModes.from_data(data, mean, cov)
    exact = dynamics.test_loss(modes, 1.0, 0.7)
    errors = [dynamics.test_loss(modes, 1.0, 0.7, learning_rate=1 / n) - exact for n in (512, 1024)]
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=2e-2)


def test_training_ends_at_the_optimum_and_centred_data_leave_the_bias_alone():
    data, mean, cov = problem(4, 6, seed=3)
    joint, plain = JointModes.from_data(data, mean, cov), LossModes.from_data(data, mean, cov)
    level, floor = np.array([0.9, 0.3]), np.array([[0.0], [0.3]])
    for name in ("training_loss", "test_loss"):
        late = getattr(dynamics, name)(joint, 1e6, level, floor=floor)
        np.testing.assert_allclose(late, getattr(losses, name)(plain, level, floor=floor), 1e-11)
    late = dynamics.objective(joint, 1e6, level, floor=floor)
    np.testing.assert_allclose(late, losses.residual_loss(plain, level, floor=floor), rtol=1e-11)
    fitted = AffineDenoiser.from_data(data, floor=0.3)
    found = dynamics.weights_and_bias(joint, 1e6, 0.9, floor=0.3)
    np.testing.assert_allclose(found[0], fitted.weights(0.9)[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found[1], fitted.weights(0.9)[1], rtol=1e-10, atol=1e-12)
    # On centred data, and a centred population, both kinds of training are one.
    centred = data - data.mean(axis=0)
    joint, plain = (kind.from_data(centred, np.zeros(6), cov) for kind in (JointModes, LossModes))
    times = np.array([0.0, 0.2, 3.0, 50.0])[:, None]
    for name in ("objective", "training_loss", "test_loss"):
        one, two = (
            getattr(dynamics, name)(modes, times, level, floor=0.1) for modes in (joint, plain)
        )
        np.testing.assert_allclose(one, two, rtol=1e-12)
    time, value = dynamics.best_time(joint, level)
    np.testing.assert_allclose(value, dynamics.best_time(plain, level)[1], rtol=1e-12)
    np.testing.assert_allclose(time, dynamics.best_time(plain, level)[0], rtol=1e-5)
    # With a mean it matters that the bias has to learn.
    moved = JointModes.from_data(centred + 1.0, np.ones(6), cov)
    assert dynamics.test_loss(moved, 1.0, 0.5) > 1.01 * dynamics.test_loss(joint, 1.0, 0.5)


def test_learning_curves_and_the_best_time():
    data, mean, cov = problem(4, 6, seed=4)
    mean = data.mean(axis=0) + 0.1 * mean
    modes = JointModes.from_data(data, mean, cov)
    curve = dynamics.learning_curve(modes, 400, 0.9, learning_rate=0.02, floor=1e-3, start=0.1)
    weights, bias = np.eye(6) * 0.1, np.zeros(6)
    for step in range(401):
        _, training, test = dense_losses(weights, bias, data, mean, cov, 0.9, 1e-3)
        assert curve.training[step] == pytest.approx(training, rel=1e-11)
        assert curve.test[step] == pytest.approx(test, rel=1e-11)
        by_weights, by_bias = gradients(weights, bias, data, 0.9, 1e-3)
        weights, bias = weights - 0.02 * by_weights, bias - 0.02 * by_bias
    np.testing.assert_allclose(curve.time, 0.02 * np.arange(401))
    grid = np.logspace(-4, 5, 20_001)
    times, values = dynamics.best_time(modes, [0.999, 0.9], floor=[[0.0], [0.01]])
    for i, j in np.ndindex(2, 2):
        args = [0.999, 0.9][j], {"floor": [0.0, 0.01][i]}
        along = dynamics.test_loss(modes, grid, args[0], **args[1])
        near = np.argmin(along)
        assert values[i, j] <= along.min() * (1 + 1e-13)
        assert grid[near - 1] < times[i, j] < grid[near + 1]
        assert dynamics.best_time(modes, args[0], **args[1])[0] == pytest.approx(times[i, j])


def test_a_divergent_rate_ends_at_infinity():
    data, mean, cov = problem(5, 3)
    modes = JointModes.from_data(data, mean, cov)
    for steps in (300, 3000, 3001):
        found = found_losses(modes, 3.0 * steps, 0.5, learning_rate=3.0)
        assert np.all(np.array(found) > 1e200)
    assert found == [np.inf] * 3


def exact_test_loss(data, mean, variances, time, alpha_bar, floor):
    """By the power series of the exponential at many digits, W(0) = 0 and b(0) = 0."""
    with mpmath.workdps(120):
        n, d = data.shape
        a, c = mpmath.mpf(alpha_bar), mpmath.mpf(floor)
        augmented = mpmath.zeros(d + 1)
        for row in data:
            x = mpmath.matrix([mpmath.sqrt(a) * mpmath.mpf(float(v)) for v in row] + [1])
            augmented += x * x.T / n
        for i in range(d):
            augmented[i, i] += 1 - a + a * c
        values, vectors = mpmath.eigsy(augmented)
        gain = [mpmath.sqrt(1 - a) * -mpmath.expm1(-2 * e * mpmath.mpf(time)) / e for e in values]
        theta = vectors * mpmath.diag(gain) * vectors.T
        total = mpmath.mpf(0)
        for i in range(d):
            centre = theta[i, d]
            for j in range(d):
                w = theta[i, j]
                total += ((1 if i == j else 0) - mpmath.sqrt(1 - a) * w) ** 2
                total += a * mpmath.mpf(float(variances[j])) * w**2
                centre += mpmath.sqrt(a) * w * mpmath.mpf(float(mean[j]))
            total += centre**2
        return total


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([1 - 2.0**-53, 0.99999, 0.5, 1e-3, 1e-9]),
    st.sampled_from([0.0, 5e-324, 1e-14, 0.3]),
    st.sampled_from([0.0, 1e-9, 0.3, 50.0, 1e9, 1e300]),
    st.sampled_from([0.0, 1.0, 10.0]),
)
def test_edges_against_many_digits(n, d, alpha_bar, floor, time, away):
    rng = np.random.default_rng(n + 10 * d)
    data, mean = rng.standard_normal((n, d)) + away, rng.standard_normal(d) + away
    variances = rng.uniform(0.1, 2.0, d)
    modes = JointModes.from_data(data, mean, variances)
    found = dynamics.test_loss(modes, time, alpha_bar, floor=floor)
    exact = exact_test_loss(data, mean, variances, time, alpha_bar, floor)
    assert abs(mpmath.mpf(found) / exact - 1) < 1e-11 * (1 + away)


def test_bad_input():
    data, mean, cov = problem(5, 3)
    modes, plain = JointModes.from_data(data, mean, cov), LossModes.from_data(data, mean, cov)
    with pytest.raises(ValueError, match="`per_mode` needs a LossModes"):
        dynamics.test_loss(modes, 1.0, 0.5, per_mode=True)
    with pytest.raises(ValueError, match="`start` must have 0 axes"):
        dynamics.test_loss(modes, 1.0, 0.5, start=[1.0, 0.0, 0.0])
    with pytest.raises(TypeError, match="`modes` must be a JointModes"):
        dynamics.weights_and_bias(plain, 1.0, 0.5)
    with pytest.raises(TypeError, match="`modes` must be a LossModes"):
        dynamics.best_mode_times(modes, 0.5)
    with pytest.raises(ValueError, match="single numbers"):
        dynamics.learning_curve(modes, 5, [0.5, 0.4], learning_rate=0.01)
    with pytest.raises(ValueError, match="`learning_rate` must be at most"):
        dynamics.learning_curve(modes, 5, 0.5, learning_rate=3.0)
    with pytest.raises(ValueError, match="`alpha_bar` must be below 1"):
        dynamics.test_loss(JointModes.from_data(data[:2], mean, cov), 1.0, 1.0)
    with pytest.raises(ValueError, match="`mean` must have 3 rows"):
        JointModes.from_data(data, [0.0], cov)
    with pytest.raises(ValueError, match="`time` must be >= 0"):
        dynamics.test_loss(modes, -1.0, 0.5)
