r"""Weights and losses of one linear denoiser while it learns.

Training at one noise level moves the weights down the gradient of
:math:`L_t+\gamma_t\lVert W\rVert^2`, :math:`\gamma_t=\bar\alpha_tc`, on centred data and from a
start :math:`w(0)` that is diagonal in the eigenbasis of the training set; on data with a mean,
whose bias learns at the same time, with a `JointModes` for the training set. Time is
:math:`\tau=\eta\times` steps, and the loss carries no factor 1/2: with

.. math:: D_\nu=\bar\alpha\hat\lambda_\nu+1-\bar\alpha+\bar\alpha c

weights relax at the rate :math:`2D_\nu` and the excess of the objective at :math:`4D_\nu`.
Without `learning_rate` the functions follow gradient flow; with it, gradient descent, whose
factor per step is :math:`1-2\eta D_\nu` (stable below :math:`\eta D_\nu=1`).

`time`, `alpha_bar` (a number, an array or a `NoiseSchedule`) and `floor` broadcast. No value
is a difference of large numbers: the relative accuracy is 1e-12, near the optimum and at
:math:`\bar\alpha=1-10^{-16}` too, for variances and noise levels from 1e-150 to 1e150, floors
from 5e-324 to 1e300, any finite time and up to :math:`2^{53}` steps (an n-th power of a factor
beyond -1 has n times the rounding error). What grows by more than the largest float is ``inf``,
with the sign of the oscillation; a start that is the optimum up to rounding stays there. Averages
over white training sets: pass `losses.LossModes.isotropic`.

Sources: Merger and Goldt 2025 (arXiv 2505.24769), appendix B, ledger ids MG-B.1 to MG-B.3.
"""

import numpy as np

from lindiff import _check
from lindiff._joint_training import JointModes, joint_loss, weights_and_bias
from lindiff._learning_curves import LearningCurve, learning_curve
from lindiff._loss_modes import check_modes, levels
from lindiff._stopping import best_mode_times, best_time
from lindiff._training import Level, progress, rate, start_of

__all__ = [
    "JointModes",
    "LearningCurve",
    "best_mode_times",
    "best_time",
    "learning_curve",
    "objective",
    "relaxation_rates",
    "test_loss",
    "training_loss",
    "weights",
    "weights_and_bias",
]

_BLOCK = 1 << 17


def relaxation_rates(eigenvalues, alpha_bar, *, floor=0.0):
    r"""Rates at which the weights approach their optimum under gradient flow.

    .. math:: 2D_\nu=2\,[\bar\alpha\hat\lambda_\nu+1-\bar\alpha+\bar\alpha c]

    Parameters
    ----------
    eigenvalues : array_like, shape (k,)
        Variances of the training set, >= 0.
    alpha_bar : float, array_like or NoiseSchedule, shape (...)
        In (0, 1], below 1 if a variance is 0 without a floor.
    floor : float or array_like
        :math:`c\ge0`; broadcasts with `alpha_bar`.

    Returns
    -------
    numpy.ndarray, shape (..., k)

    Raises
    ------
    ValueError
        If a variance or floor is negative, or `alpha_bar` is out of range.

    Notes
    -----
    Relative error 1e-14 in the range at the top of the module. Merger and Goldt 2025, MG-B.1.

    Examples
    --------
    >>> relaxation_rates([1.0, 0.0], 0.75)
    array([2. , 0.5])
    """
    eigenvalues = _check.as_spectrum("eigenvalues", eigenvalues)
    with np.errstate(over="ignore"):
        return 2.0 * Level.build(eigenvalues, *levels(eigenvalues, alpha_bar, floor)).curvature


def weights(eigenvalues, time, alpha_bar, *, floor=0.0, start=0.0, learning_rate=None):
    r"""Diagonal weights after some training.

    .. math:: w_\nu(\tau)=w^*_\nu+\big(w_\nu(0)-w^*_\nu\big)\,e^{-2D_\nu\tau}
              \quad\text{or}\quad w^*_\nu+\big(w_\nu(0)-w^*_\nu\big)\,(1-2\eta D_\nu)^{\tau/\eta}

    Parameters
    ----------
    eigenvalues : array_like, shape (k,)
        Variances of the training set, >= 0.
    time : float or array_like, shape (...)
        Training time :math:`\tau\ge0`, finite.
    alpha_bar : float, array_like or NoiseSchedule, shape (...)
        In (0, 1], below 1 if a variance is 0 without a floor.
    floor : float or array_like
        :math:`c\ge0`; broadcasts with the two above.
    start : float or array_like, shape (k,)
        Weights :math:`w_\nu(0)` before training.
    learning_rate : float, optional
        Step :math:`\eta>0` of gradient descent; `time` is then a whole number of steps.

    Returns
    -------
    numpy.ndarray, shape (..., k)

    Raises
    ------
    ValueError
        If an argument is out of range or has a wrong shape, or `time` is no whole number of
        steps.

    Notes
    -----
    An entry off the diagonal decays at the rate of its column. Accuracy and range: top of the
    module. Merger and Goldt 2025, MG-B.1.

    Examples
    --------
    >>> weights([1.0], 0.2, 0.75, learning_rate=0.1).round(4)
    array([0.18])
    """
    eigenvalues = _check.as_spectrum("eigenvalues", eigenvalues)
    time = np.asarray(_check.non_negative("time", time))[..., None]
    start = start_of(start, eigenvalues.shape[-1])
    level = Level.build(eigenvalues, *levels(eigenvalues, alpha_bar, floor))
    return level.state(*progress(level.curvature, time, rate(learning_rate)), start)[0]


def objective(modes, time, alpha_bar, *, floor=0.0, start=0.0, learning_rate=None, per_mode=False):
    r"""Regularised training objective along training: the penalty is counted.

    .. math:: R_t+\sum_\nu D_\nu\big(w_\nu(0)-w^*_\nu\big)^2e^{-4D_\nu\tau}

    Parameters
    ----------
    modes, time, alpha_bar, floor, start, learning_rate, per_mode
        As in `test_loss`.

    Returns
    -------
    float or numpy.ndarray, shape (...) or (..., k)

    Raises
    ------
    TypeError, ValueError
        As in `test_loss`.

    Notes
    -----
    Accuracy and range: top of the module. Merger and Goldt 2025, MG-B.2.

    Examples
    --------
    >>> from lindiff.losses import LossModes
    >>> round(objective(LossModes([1.0], [1.0]), 50.0, 0.75, floor=1.0), 4)
    0.8571
    """
    if isinstance(modes, JointModes):
        options = floor, start, learning_rate, per_mode
        return joint_loss(modes, "objective", time, alpha_bar, *options)
    second = check_modes(modes).eigenvalues
    return _along(modes, (second, 1.0), time, alpha_bar, floor, start, learning_rate, per_mode)


def training_loss(
    modes, time, alpha_bar, *, floor=0.0, start=0.0, learning_rate=None, per_mode=False
):
    r"""Loss on the training set along training: the penalty is not counted.

    .. math:: \sum_\nu\big(1-\sqrt{1-\bar\alpha}\,w_\nu(\tau)\big)^2
              +\bar\alpha\hat\lambda_\nu\,w_\nu(\tau)^2

    Parameters
    ----------
    modes, time, alpha_bar, floor, start, learning_rate, per_mode
        As in `test_loss`.

    Returns
    -------
    float or numpy.ndarray, shape (...) or (..., k)

    Raises
    ------
    TypeError, ValueError
        As in `test_loss`.

    Notes
    -----
    Accuracy and range: top of the module. Merger and Goldt 2025, MG-B.2.

    Examples
    --------
    >>> from lindiff.losses import LossModes
    >>> training_loss(LossModes([1.0], [1.0]), 0.0, 0.75)
    1.0
    """
    if isinstance(modes, JointModes):
        options = floor, start, learning_rate, per_mode
        return joint_loss(modes, "training", time, alpha_bar, *options)
    second = check_modes(modes).eigenvalues
    return _along(modes, (second, 0.0), time, alpha_bar, floor, start, learning_rate, per_mode)


def test_loss(modes, time, alpha_bar, *, floor=0.0, start=0.0, learning_rate=None, per_mode=False):
    r"""Loss on fresh points of the population along training.

    .. math:: \sum_\nu\big(1-\sqrt{1-\bar\alpha}\,w_\nu(\tau)\big)^2
              +\bar\alpha(m_\nu+\delta_\nu^2)\,w_\nu(\tau)^2

    Parameters
    ----------
    modes : losses.LossModes or JointModes
        With a `JointModes` the bias learns too, from 0.
    time : float or array_like, shape (...)
        Training time :math:`\tau\ge0`, finite.
    alpha_bar : float, array_like or NoiseSchedule, shape (...)
        In (0, 1], below 1 if a variance is 0 without a floor.
    floor : float or array_like
        :math:`c\ge0`; broadcasts with the two above.
    start : float or array_like, shape (k,)
        Weights :math:`w_\nu(0)` before training; one number with a `JointModes`.
    learning_rate : float, optional
        Step :math:`\eta>0` of gradient descent; `time` is then a whole number of steps.
    per_mode : bool
        Return the share of each mode instead of the total; not with a `JointModes`.

    Returns
    -------
    float or numpy.ndarray, shape (...) or (..., k)

    Raises
    ------
    TypeError
        If `modes` is neither of the two.
    ValueError
        If an argument is out of range or has a wrong shape, or `time` is no whole number of
        steps.

    Notes
    -----
    With a LossModes the bias follows the weights, :math:`b=-\sqrt{\bar\alpha}\,W\mu_0`, as for
    centred data.
    For every step of a long training use `learning_curve`. Accuracy and range: top of the
    module. Merger and Goldt 2025, MG-B.2.

    Examples
    --------
    >>> from lindiff.losses import LossModes
    >>> test_loss(LossModes([1.0, 0.0], [1.0, 1.0]), [0.0, 0.5, 50.0], 0.5).round(4)
    array([2.    , 1.0904, 1.5   ])
    """
    if isinstance(modes, JointModes):
        options = floor, start, learning_rate, per_mode
        return joint_loss(modes, "test", time, alpha_bar, *options)
    second = check_modes(modes).second_moments
    return _along(modes, (second, 0.0), time, alpha_bar, floor, start, learning_rate, per_mode)


test_loss.__test__ = False  # The name is no invitation to pytest.


def _along(modes, moments, time, alpha_bar, floor, start, learning_rate, per_mode):
    """Losses on points of second moments ``moments[0] + moments[1] * floor`` per mode."""
    start, eta = start_of(start, modes.eigenvalues.size), rate(learning_rate)
    grid = np.broadcast_arrays(
        *levels(modes.eigenvalues, alpha_bar, floor), _check.non_negative("time", time)
    )
    shape, flat = grid[0].shape, np.stack([part.ravel() for part in grid])
    size = modes.eigenvalues.size
    result = np.empty((flat.shape[1], size) if per_mode else flat.shape[1])
    rows = max(1, _BLOCK // size)
    for first in range(0, flat.shape[1], rows):
        ratio, floors, times = flat[:, first : first + rows]
        level = Level.build(modes.eigenvalues, ratio, floors)
        left, done = progress(level.curvature, times[:, None], eta)
        second = moments[0] + moments[1] * floors[:, None]
        shares = level.loss(left, done, start, second)
        with np.errstate(over="ignore"):
            part = modes.multiplicities * shares if per_mode else shares @ modes.multiplicities
        result[first : first + rows] = part
    if per_mode:
        return result.reshape(*shape, size)
    return float(result[0]) if not shape else result.reshape(shape)
