"""Losses after every step of a long gradient descent."""

from dataclasses import dataclass
from math import isqrt

import numpy as np

from lindiff import _check
from lindiff._joint_training import JointModes, joint_loss, single_problem
from lindiff._loss_modes import check_modes, levels
from lindiff._training import Level, descent, rate, start_of


@dataclass(frozen=True, eq=False)
class LearningCurve:
    r"""Losses along gradient descent.

    Parameters
    ----------
    time : numpy.ndarray, shape (n_steps + 1,)
        Training time :math:`\tau=\eta\times` steps, from 0.
    training, test : numpy.ndarray, shape (n_steps + 1,)
        Losses on the training set and on fresh points, totals over dimensions.
    """

    time: np.ndarray
    training: np.ndarray
    test: np.ndarray


def learning_curve(modes, n_steps, alpha_bar, *, learning_rate, floor=0.0, start=0.0):
    r"""Training and test loss after every step of gradient descent.

    .. math:: w_\nu(k)=w^*_\nu+\big(w_\nu(0)-w^*_\nu\big)\,(1-2\eta D_\nu)^k,
              \qquad k=0,\dots,n

    Parameters
    ----------
    modes : losses.LossModes or JointModes
    n_steps : int
        Number of steps n, >= 1.
    alpha_bar : float
        One level in (0, 1], below 1 if a variance is 0 without a floor.
    learning_rate : float
        :math:`\eta>0`, at most :math:`1/(2\max_\nu D_\nu)`, so that no direction oscillates.
    floor : float
        :math:`c\ge0`.
    start : float or array_like, shape (k,)
        Weights before training.

    Returns
    -------
    LearningCurve

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or the learning rate is too large.

    Notes
    -----
    The same numbers as `training_loss` and `test_loss` with `learning_rate`. Step
    :math:`k=iB+j` continues for i blocks from the state after j steps; with :math:`l_i` and
    :math:`p_i` the shares of the way ahead and behind after the blocks,

    .. math:: f_\nu(k)=p_i^2f_\nu(\infty)+2\,p_il_i\,g_\nu(j)+l_i^2f_\nu(j)

    so the whole curve is two products of matrices with :math:`\sqrt n` rows, and no term is
    negative from a start between 0 and the optimum. Cost :math:`O(d\sqrt n)` exponentials; with a
    JointModes :math:`O(nd^2)`. Accuracy and range are those of the two losses.
    Merger and Goldt 2025, MG-B.1, MG-B.2.

    Examples
    --------
    >>> from lindiff.losses import LossModes
    >>> curve = learning_curve(LossModes([1.0], [1.0]), 2, 0.75, learning_rate=0.1)
    >>> curve.test.round(4)
    array([1.    , 0.91  , 0.8524])
    """
    joint = isinstance(modes, JointModes)
    n_steps = _check.positive_int("n_steps", n_steps)
    eta = rate(learning_rate)
    if joint:
        problem = single_problem(modes, alpha_bar, floor)
        level = problem.level
    else:
        start = start_of(start, check_modes(modes).eigenvalues.size)
        level = Level.build(modes.eigenvalues, *levels(modes.eigenvalues, alpha_bar, floor))
    if level.curvature.ndim != 1:
        raise ValueError("`alpha_bar` and `floor` must be single numbers; loop over them")
    with np.errstate(over="ignore"):
        largest = 0.5 / level.curvature.max()
    if eta is None or eta > largest:
        raise ValueError(f"`learning_rate` must be at most {largest:.6g}; pass a smaller one")
    times = eta * np.arange(n_steps + 1)
    if joint:
        curves = [
            joint_loss(modes, kind, times, alpha_bar, floor, start, eta, False)
            for kind in ("training", "test")
        ]
        return LearningCurve(times, *curves)
    block = isqrt(n_steps) + 1
    steps = np.arange(block)[:, None]
    within = descent(level.curvature, steps, eta)
    before = descent(level.curvature, block * steps, eta)
    curves = [
        _totals(modes, level, start, second, before, within)[: n_steps + 1]
        for second in (modes.eigenvalues, modes.second_moments)
    ]
    return LearningCurve(times, *curves)


def _totals(modes, level, start, second, before, within):
    (left, done), root = before, np.sqrt(level.signal * second)
    weights, misfit = level.state(*within, start)
    moved, end = root * weights, root * level.optimum
    # A loss may be larger than the largest float: its root is not.
    unit = max(1e-150 * max(np.abs(moved).max(), np.abs(misfit).max(), end.max()), 1.0)
    moved, misfit, end, best = moved / unit, misfit / unit, end / unit, level.misfit / unit
    # Halves of the quadratic form: of the state with the optimum, and of each with itself.
    with_optimum = misfit * best + moved * end
    alone = misfit**2 + moved**2
    at_optimum = best**2 + end**2
    scaled = modes.multiplicities * left
    total = (2.0 * done * scaled) @ with_optimum.T + (left * scaled) @ alone.T
    total += ((modes.multiplicities * done**2) @ at_optimum)[:, None]
    with np.errstate(over="ignore"):
        return (total * unit * unit).ravel()
