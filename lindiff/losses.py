r"""Exact losses of one trained linear denoiser: residual, training, test, gap, alignment, KL.

Every loss is one noise level of the noise-prediction loss, a total over dimensions:

.. math:: L(W,b)=\big\langle\lVert\epsilon-Wx-b\rVert^2\big\rangle,\qquad
          x=\sqrt{\bar\alpha}\,x_0+\sqrt{1-\bar\alpha}\,\epsilon

at the optimum of a training set with variance floor :math:`c` (ridge penalty
:math:`\gamma_t\lVert W\rVert^2`, :math:`\gamma_t=\bar\alpha_tc`). With
:math:`\sigma^2=(1-\bar\alpha)/\bar\alpha` and :math:`z=\sigma^2+c` nothing cancels:
:math:`1-\sqrt{1-\bar\alpha}\,w_\nu=(\hat\lambda_\nu+c)/(\hat\lambda_\nu+z)`.

In all functions `alpha_bar` is a number, an array, or a `NoiseSchedule`, whose levels keep
:math:`1-\bar\alpha` to full relative accuracy where the float `alpha_bar` has rounded it
away. `alpha_bar` and `floor` broadcast. Relative accuracy is 1e-12 for :math:`\bar\alpha` from
1e-300 to 1, variances of 0 or from 1e-150 to 1e150, in one spectrum too, and floors of 0 or from
5e-324 to 1e308. A loss beyond the largest float is ``inf``; moments that add up to more are
refused. Losses below 1e-290 may come out as 0.

Sources: Merger and Goldt 2025 (arXiv 2505.24769), ledger ids MG-6 to MG-11 and MG-14.
"""

import numpy as np

from lindiff import _check
from lindiff._fitted_kl import kl_fitted
from lindiff._kernel_sums import atoms, loss_sums
from lindiff._loss_modes import LossModes, check_modes, levels
from lindiff._model_pair import ModelPair, alignment
from lindiff._training import product

__all__ = [
    "LossModes",
    "ModelPair",
    "alignment",
    "gap",
    "kl_fitted",
    "optimal_weights",
    "residual_loss",
    "test_loss",
    "training_loss",
]


def optimal_weights(eigenvalues, alpha_bar, *, floor=0.0):
    r"""Eigenvalues of the optimal weights W at every noise level.

    .. math:: w_\nu=\frac{\sqrt{1-\bar\alpha}}{\bar\alpha\hat\lambda_\nu+1-\bar\alpha
              +\bar\alpha c}=\frac{\sigma\sqrt{1+\sigma^2}}{\hat\lambda_\nu+\sigma^2+c}

    Implements eq. (7.7).

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        Variances of the training set, >= 0.
    alpha_bar : float, array_like or NoiseSchedule, shape (...)
        In (0, 1], below 1 if a variance is 0 without a floor.
    floor : float or array_like
        :math:`c\ge0`; broadcasts with `alpha_bar`.

    Returns
    -------
    numpy.ndarray, shape (..., d)

    Raises
    ------
    ValueError
        If a variance or floor is negative, or `alpha_bar` is out of range.

    Notes
    -----
    Relative error 1e-12 in the range at the top of the module. Merger and Goldt 2025, MG-8.

    Examples
    --------
    >>> optimal_weights([1.0, 0.0], 0.64).round(4)
    array([0.6   , 1.6667])
    """
    eigenvalues = _check.as_spectrum("eigenvalues", eigenvalues)
    ratio, floor = levels(eigenvalues, alpha_bar, floor)
    ratio, floor = ratio[..., None], floor[..., None]
    return np.sqrt(ratio) * np.sqrt(1.0 + ratio) / (eigenvalues + (ratio + floor))


def residual_loss(modes, alpha_bar, *, floor=0.0, per_mode=False):
    r"""Regularised objective at its minimum: the penalty is counted.

    .. math:: R_t=\sum_\nu\frac{\hat\lambda_\nu+c}{\hat\lambda_\nu+\sigma^2+c}

    Implements eq. (7.12).

    Parameters
    ----------
    modes : LossModes
    alpha_bar : float, array_like or NoiseSchedule, shape (...)
        In (0, 1], below 1 if a variance is 0 without a floor.
    floor : float or array_like
        :math:`c\ge0`; broadcasts with `alpha_bar`.
    per_mode : bool
        Return the share of each mode instead of the total.

    Returns
    -------
    float or numpy.ndarray, shape (...) or (..., k)

    Raises
    ------
    TypeError
        If `modes` is no LossModes.
    ValueError
        If `floor` is negative or `alpha_bar` out of range.

    Notes
    -----
    It equals `training_loss` plus :math:`\bar\alpha_tc\lVert W\rVert^2`. Relative error 1e-12 in
    the range at the top of the module. Merger and Goldt 2025, MG-9, first reading.

    Examples
    --------
    >>> modes = LossModes([1.0, 0.0], [1.0, 1.0])
    >>> residual_loss(modes, 0.5)
    0.5
    """
    ratio, floor = levels(check_modes(modes).eigenvalues, alpha_bar, floor)
    if per_mode:
        ratio, floor = ratio[..., None], floor[..., None]
        return _shares(modes, (modes.eigenvalues + floor) / (modes.eigenvalues + (ratio + floor)))
    first, _, _, noise, rest = _sums(modes, modes.eigenvalues, ratio, floor)
    return _result(rest * modes.dimension + noise * first)


def training_loss(modes, alpha_bar, *, floor=0.0, per_mode=False):
    r"""Loss on the training set: the penalty is not counted.

    .. math:: R'_t=\sum_\nu\frac{(\hat\lambda_\nu+c)^2+\sigma^2\hat\lambda_\nu}
              {(\hat\lambda_\nu+\sigma^2+c)^2}

    Implements eq. (7.11).

    Parameters
    ----------
    modes, alpha_bar, floor, per_mode
        As in `residual_loss`.

    Returns
    -------
    float or numpy.ndarray, shape (...) or (..., k)

    Raises
    ------
    TypeError, ValueError
        As in `residual_loss`.

    Notes
    -----
    Without a floor both readings agree. Relative error 1e-12 in the range at the top of the
    module. Merger and Goldt 2025, MG-9, second reading.

    Examples
    --------
    >>> modes = LossModes([1.0, 0.0], [1.0, 1.0])
    >>> round(training_loss(modes, 0.5, floor=1.0), 4)
    0.8056
    """
    return _quadratic(modes, check_modes(modes).eigenvalues, alpha_bar, floor, per_mode)


def test_loss(modes, alpha_bar, *, floor=0.0, per_mode=False):
    r"""Loss on fresh points of the population.

    .. math:: L^{\rm test}_t=\sum_\nu\frac{(\hat\lambda_\nu+c)^2
              +\sigma^2(m_\nu+\delta_\nu^2)}{(\hat\lambda_\nu+\sigma^2+c)^2}

    Implements eq. (7.10), (7.14).

    Parameters
    ----------
    modes, alpha_bar, floor, per_mode
        As in `residual_loss`.

    Returns
    -------
    float or numpy.ndarray, shape (...) or (..., k)

    Raises
    ------
    TypeError, ValueError
        As in `residual_loss`.

    Notes
    -----
    Only two moments of the population enter, whatever its law. Relative error 1e-12 in the range
    at the top of the module. Merger and Goldt 2025, MG-6 with population moments, MG-10.

    Examples
    --------
    >>> modes = LossModes([1.0, 0.0], [1.0, 1.0])
    >>> test_loss(modes, 0.5)
    1.5
    """
    return _quadratic(modes, check_modes(modes).second_moments, alpha_bar, floor, per_mode)


test_loss.__test__ = False  # The name is no invitation to pytest.


def gap(modes, alpha_bar, *, floor=0.0, per_mode=False):
    r"""Test loss minus training loss (without the penalty).

    .. math:: L^{\rm test}_t-R'_t=\sigma^2\sum_\nu\frac{m_\nu+\delta_\nu^2-\hat\lambda_\nu}
              {(\hat\lambda_\nu+\sigma^2+c)^2}

    Implements eq. (7.13).

    Parameters
    ----------
    modes, alpha_bar, floor, per_mode
        As in `residual_loss`.

    Returns
    -------
    float or numpy.ndarray, shape (...) or (..., k)

    Raises
    ------
    TypeError, ValueError
        As in `residual_loss`.

    Notes
    -----
    Terms of both signs are summed: the error is 1e-12 of the sum of their sizes in the range at
    the top of the module. Merger and Goldt 2025, MG-10.

    Examples
    --------
    >>> modes = LossModes([1.0, 0.0], [1.0, 1.0])
    >>> gap(modes, 0.5)
    1.0
    """
    excess = check_modes(modes).second_moments - modes.eigenvalues
    ratio, floor = levels(modes.eigenvalues, alpha_bar, floor)
    if per_mode:
        ratio, floor = ratio[..., None], floor[..., None]
        return _shares(modes, _moved(ratio, excess, modes.eigenvalues + (ratio + floor)))
    return _result(_sums(modes, excess, ratio, floor)[2])


def _quadratic(modes, second, alpha_bar, floor, per_mode):
    """Loss on points whose second moments along the modes are `second`."""
    ratio, floor = levels(modes.eigenvalues, alpha_bar, floor)
    if per_mode:
        ratio, floor = ratio[..., None], floor[..., None]
        whole = modes.eigenvalues + (ratio + floor)
        kept = (modes.eigenvalues + floor) / whole
        return _shares(modes, kept**2 + _moved(ratio, second, whole))
    first, squares, moved, noise, rest = _sums(modes, second, ratio, floor)
    kept = rest * (rest * modes.dimension + 2.0 * noise * first) + noise**2 * squares
    return _result(kept + moved)


def _sums(modes, second, ratio, floor):
    r"""Sums of :math:`v,v^2`, of the moved data, and the shares of noise and floor in z.

    With :math:`v=\hat\lambda/(\hat\lambda+z)` a mode keeps :math:`c/z+v\,\sigma^2/z`.
    """
    z = ratio + floor
    both = np.stack([modes.multiplicities, modes.multiplicities * second])
    nodes, (masses, data) = atoms(modes.eigenvalues, both, ratio.size)
    first, squares, moved = np.moveaxis(loss_sums(nodes, masses, data, z), -1, 0)
    # Without noise and floor every mode has data and is kept whole.
    noise = np.divide(ratio, z, out=np.ones_like(z), where=z > 0)
    rest = np.divide(floor, z, out=np.zeros_like(z), where=z > 0)
    return first, squares, product(noise, moved), noise, rest


def _moved(ratio, second, whole):
    with np.errstate(over="ignore"):
        return product(ratio / whole, second / whole)


def _shares(modes, values):
    with np.errstate(over="ignore"):
        return modes.multiplicities * values


def _result(total):
    return float(total) if np.ndim(total) == 0 else total
