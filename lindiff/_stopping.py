"""When to stop training: the time at which the test loss is lowest."""

from functools import partial

import numpy as np

from lindiff._joint_training import JointModes, joint_levels, joint_start, problems
from lindiff._loss_modes import check_modes, levels
from lindiff._training import Level, flow, product, start_of

_GRID = 256
_DENSITY = 6
_HALVINGS = 60


def best_mode_times(modes, alpha_bar, *, floor=0.0, start=0.0):
    r"""Time at which the test loss of each direction is lowest under gradient flow.

    .. math:: \tau_\nu=-\frac1{2D_\nu}\ln\frac{w^{\rm test}_\nu-w^*_\nu}{w_\nu(0)-w^*_\nu},
              \qquad w^{\rm test}_\nu=\frac{\sqrt{1-\bar\alpha}}
              {\bar\alpha(m_\nu+\delta_\nu^2)+1-\bar\alpha}

    Parameters
    ----------
    modes : losses.LossModes
    alpha_bar : float, array_like or NoiseSchedule, shape (...)
        In (0, 1], below 1 if a variance is 0 without a floor.
    floor : float or array_like
        :math:`c\ge0`; broadcasts with `alpha_bar`.
    start : float or array_like, shape (k,)
        Weights before training.

    Returns
    -------
    numpy.ndarray, shape (..., k)
        ``inf`` where training should run to convergence, 0 where it should not begin.

    Raises
    ------
    TypeError, ValueError
        If `modes` is no LossModes, or an argument is out of range.

    Notes
    -----
    From a zero start the argument of the logarithm is
    :math:`(m_\nu+\delta_\nu^2-\hat\lambda_\nu-c)/(m_\nu+\delta_\nu^2+\sigma^2)`. The loss at that
    time is the lowest to 1e-9 for variances from 1e-150 to 1e150 and floors from 5e-324 to 1e300.
    Merger and Goldt 2025, MG-B.3.

    Examples
    --------
    >>> from lindiff.losses import LossModes
    >>> best_mode_times(LossModes([1.0, 0.0], [1.0, 1.0]), 0.5).round(4)
    array([   inf, 0.6931])
    """
    start = start_of(start, check_modes(modes).eigenvalues.size)
    level = Level.build(modes.eigenvalues, *levels(modes.eigenvalues, alpha_bar, floor))
    way = start - level.optimum
    stiffness, surplus = _stiffness_and_surplus(level, modes.second_moments)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # A direction without noise and data has no best weight: it stays where training ends.
        wanted = np.where(stiffness > 0, level.optimum * (surplus / stiffness), 0.0)
        share = np.where(way == 0, 1.0, wanted / way)
        return 0.5 * np.abs(np.log(np.clip(share, 0.0, 1.0))) / level.curvature


def best_time(modes, alpha_bar, *, floor=0.0, start=0.0):
    r"""Time at which the whole test loss is lowest under gradient flow, and that loss.

    .. math:: \tau^*=\arg\min_{\tau\in[0,\infty]}L^{\rm test}(\tau)

    Parameters
    ----------
    modes : losses.LossModes or JointModes
    alpha_bar, floor, start
        As in `best_mode_times`; `start` is one number with a `JointModes`.

    Returns
    -------
    times : float or numpy.ndarray, shape (...)
        ``inf`` if training should run to convergence.
    losses : float or numpy.ndarray, shape (...)

    Raises
    ------
    TypeError, ValueError
        As in `best_mode_times`.

    Notes
    -----
    Directions of different rates can give several minima. The loss is compared on 256 times or
    more, spaced evenly in :math:`\ln\tau` by at most 1/6 from far below the fastest relaxation
    to far above the slowest, and at both ends; around the lowest, a bisection of the sign of
    the derivative finds the minimum to rounding. A second minimum narrower than the spacing,
    and deeper, would be missed. Range as in `best_mode_times`. Merger and Goldt 2025, MG-B.2,
    MG-B.3.

    Examples
    --------
    >>> from lindiff.losses import LossModes
    >>> time, loss = best_time(LossModes([1.0, 0.0], [1.0, 1.0]), 0.5)
    >>> round(time, 4), round(loss, 4)
    (0.791, 1.0255)
    """
    if isinstance(modes, JointModes):
        start, (ratio, floor) = joint_start(start), joint_levels(modes, alpha_bar, floor)
        times, values = np.empty((2, ratio.size))
        for member, problem in problems(modes, ratio.ravel(), floor.ravel()):
            loss, slope = (partial(f, "test", start=start) for f in (problem.loss, problem.slope))
            times[member], values[member] = _lowest(problem.level.curvature[None], loss, slope)
    else:
        start = start_of(start, check_modes(modes).eigenvalues.size)
        ratio, floor = levels(modes.eigenvalues, alpha_bar, floor)
        times, values = _search(
            modes, Level.build(modes.eigenvalues, ratio.ravel(), floor.ravel()), start
        )
    if not ratio.shape:
        return float(times[0]), float(values[0])
    return times.reshape(ratio.shape), values.reshape(ratio.shape)


def _search(modes, level, start):
    way, second = start - level.optimum, modes.second_moments
    stiffness, surplus = _stiffness_and_surplus(level, second)
    unit = np.maximum(stiffness, np.abs(surplus)).max(axis=1, keepdims=True)
    unit = np.where(unit > 0, unit, 1.0)
    stiffness, pull = stiffness / unit, level.optimum * (surplus / unit)

    def loss(left, done):
        with np.errstate(over="ignore"):
            return level.loss(left, done, start, second) @ modes.multiplicities

    def slope(log_time):
        time = _exp(log_time)
        left, _ = flow(level.curvature, time)
        with np.errstate(over="ignore"):
            speed = product(level.curvature * time, left) * way
        return (speed * (pull - stiffness * (left * way))) @ modes.multiplicities

    return _lowest(level.curvature, loss, slope)


def _lowest(curvature, loss, slope):
    """Return the time, shape (levels,), at which a loss is lowest, and that loss.

    `loss` takes the shares of the way ahead and behind, `slope` the log of the time; it is the
    derivative up to a positive factor.
    """
    fastest, slowest = curvature.max(axis=1), curvature.min(axis=1)
    low, high = np.log(1e-4) - np.log(fastest), np.log(40.0) - np.log(slowest)
    n_times = max(_GRID, int(_DENSITY * np.max(high - low)))
    grid = low + (high - low) * np.linspace(0.0, 1.0, n_times)[:, None]
    best = np.argmin([loss(*flow(curvature, _exp(row))) for row in grid], axis=0)
    column = np.arange(best.size)
    left = grid[np.maximum(best - 1, 0), column]
    right = grid[np.minimum(best + 1, n_times - 1), column]
    for _ in range(_HALVINGS):
        middle = 0.5 * (left + right)
        rising = slope(middle) > 0
        left, right = np.where(rising, left, middle), np.where(rising, middle, right)
    inside = 0.5 * (left + right)
    # At equal loss an end wins: on the plateau before it the time has no meaning.
    start, end = np.zeros_like(curvature), np.ones_like(curvature)
    values = np.array([loss(end, start), loss(start, end), loss(*flow(curvature, _exp(inside)))])
    winner = np.argmin(values, axis=0)
    return np.choose(winner, [0.0, np.inf, _exp(inside)[:, 0]]), values[winner, column]


def _exp(log_time):
    with np.errstate(over="ignore"):
        return np.exp(log_time)[:, None]


def _stiffness_and_surplus(level, second):
    r"""Curvature on fresh points, and by how much that of the training exceeds it.

    Their quotient times the final weight is the way from there to the best weight.
    """
    surplus = level.misfit * level.curvature - level.signal * second
    return level.signal * second + level.noise**2, surplus
