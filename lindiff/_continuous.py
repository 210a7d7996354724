r"""Closed forms for samplers with infinitely many steps, mode by mode."""

import numpy as np

from lindiff import _check
from lindiff._affine import AffineDenoiser
from lindiff._chain import check_start
from lindiff._empirical import points_and_levels


def continuous_moments(eigenvalues, alpha_bar, alpha_bar_end, *, ratio=0.0, start="normal"):
    r"""Mean and variance along each eigenvector while sampling in continuous time.

    .. math:: v=\frac{D}{D_T}\big[v_Tq^r+D_T(1-q^r)\big],\qquad
              \frac m\mu=\sqrt{\bar\alpha}\,\big(1-q^{(1+r)/2}\big),\qquad
              q=\frac{\bar\alpha_TD}{\bar\alpha D_T}

    with :math:`D=1+\bar\alpha(\lambda-1)` and :math:`v_T=1`.

    Implements eq. (9.9), (9.10), (9.11), (9.12).

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        Variances :math:`\lambda\ge0` behind the denoiser, with the floor if there is one.
    alpha_bar : float or array_like, shape (...)
        Where on the way, between `alpha_bar_end` (the start) and 1 (the samples).
    alpha_bar_end : float
        :math:`\bar\alpha_T` of the noisiest level, in (0, 1).
    ratio : float
        :math:`r=\sigma^2/\beta\ge0`, injected noise per :math:`\beta`: 0 is DDIM and the
        probability flow, 1 is DDPM with either variance, :math:`\eta^2` the general rule.
    start : {"normal", "matched"}
        :math:`\mathcal N(0,1)`, or the noised law of the data, which is then kept:
        :math:`v=D` and :math:`m=\sqrt{\bar\alpha}\mu`.

    Returns
    -------
    mean_factor, variances : numpy.ndarray, shape (..., d)
        In variance-preserving coordinates; the mean in units of the mean of the data.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Solution of :math:`v'=2Av+\sigma^2`, :math:`m'=Am+h`, arranged so that only positive
    numbers are added; relative error below 1e-13 for the levels that are passed. The
    discrete samplers approach it as 1/T, Heun as :math:`1/T^2`. Merger and Goldt 2025,
    MG-C.6 to MG-C.9, MG-C.gen; for r = 0 Wang and Vastola 2024, W-1.
    Range: `alpha_bar_end` from the smallest float on, eigenvalues up to 1e304.

    Examples
    --------
    >>> factor, variances = continuous_moments([4.0], [0.25, 1.0], 0.25, ratio=1.0)
    >>> variances.round(3).ravel(), factor.round(3).ravel()
    (array([1.  , 3.02]), array([0.   , 0.429]))
    """
    spread, end = _spectrum_and_end(eigenvalues, alpha_bar_end)
    level = np.asarray(_check.alpha_bar(alpha_bar))[..., None]
    if np.any(level < end):
        raise ValueError("`alpha_bar` must not lie below `alpha_bar_end`, where sampling starts")
    ratio = _ratio(ratio)
    check_start(start)
    whole = (1.0 - level) + level * spread
    if start == "matched":
        return np.sqrt(level) * np.ones_like(spread), whole
    whole_end = (1.0 - end) + end * spread
    q = np.minimum(end * whole / (level * whole_end), 1.0)
    drop = (level - end) / (level * whole_end)
    with np.errstate(divide="ignore"):
        log_q = np.where(q < 0.5, np.log(q), np.log1p(-np.minimum(drop, 0.5)))
    gone = -np.expm1(ratio * log_q) if ratio > 0 else 0.0
    mean_factor = -np.sqrt(level) * np.expm1(0.5 * (1.0 + ratio) * log_q)
    return mean_factor, whole / whole_end * (q**ratio + whole_end * gone)


def final_bias(signal_to_noise, *, ratio=0.0):
    r"""Bias of the samples because sampling starts from pure noise.

    .. math:: \frac m\mu=1-\Big(\frac{x}{1+x}\Big)^{(1+r)/2},\qquad
              \frac v\lambda=1-\Big(\frac{x}{1+x}\Big)^{1+r},\qquad x=\bar\alpha_T\lambda

    Implements eq. (9.19).

    Parameters
    ----------
    signal_to_noise : array_like, shape (...)
        :math:`x=\bar\alpha_T\lambda\ge0`, what is left of a mode at the noisiest level.
    ratio : float
        :math:`r=\sigma^2/\beta\ge0`, as in `continuous_moments`.

    Returns
    -------
    mean_factor, variance_factor : numpy.ndarray, shape (...)
        In units of the mean and of the variance of the data; 1 is no bias.

    Raises
    ------
    ValueError
        If an argument is negative.

    Notes
    -----
    `continuous_moments` at the end of sampling, for :math:`\bar\alpha_T\to0` at fixed x;
    the relative error is of order :math:`\bar\alpha_T`. The samples are right where
    :math:`x\ll1`, not merely where :math:`\bar\alpha_T\ll1`. Merger and Goldt 2025,
    MG-C.9, MG-C.gen.
    Range: all floats.

    Examples
    --------
    >>> final_bias(1.0, ratio=1.0)
    (0.5, 0.75)
    """
    x, ratio = np.asarray(_check.non_negative("signal_to_noise", signal_to_noise)), _ratio(ratio)
    with np.errstate(divide="ignore"):
        log_q = np.where(x < 1, np.log(x) - np.log1p(x), -np.log1p(1.0 / np.maximum(x, 1.0)))
    mean, variance = (-np.expm1(power * (1.0 + ratio) * log_q) for power in (0.5, 1.0))
    return (float(mean), float(variance)) if x.ndim == 0 else (mean, variance)


def flow_map(denoiser, x, sigma, sigma_next):
    r"""Carry points along the probability flow of an affine denoiser, without steps.

    .. math:: y'=\mu+\sum_\nu\sqrt{\frac{\lambda_\nu+c+\sigma'^2}{\lambda_\nu+c+\sigma^2}}\;
              u_\nu u_\nu^\top(y-\mu)

    Implements eq. (9.20).

    Parameters
    ----------
    denoiser : AffineDenoiser
        Without a ridge.
    x : array_like, shape (..., d)
        Points :math:`y` at noise level `sigma`, in the coordinates of ``denoise``.
    sigma : float
        Noise level > 0 of `x`.
    sigma_next : float
        Noise level >= 0 to go to, below or above.

    Returns
    -------
    numpy.ndarray, shape (..., d)

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Notes
    -----
    Wang and Vastola 2024, W-1, W-3; Li, Dai and Qu 2024, L-10. Use it instead of the first
    steps of a sampler (W-4).
    Range: noise levels from 1e-150 to 1e150, points up to 1e150.

    Examples
    --------
    >>> denoiser = AffineDenoiser.from_moments([0.0], [[3.0]])
    >>> flow_map(denoiser, [[4.0]], 1.0, 0.0).round(4)
    array([[3.4641]])
    """
    if not isinstance(denoiser, AffineDenoiser):
        raise TypeError("`denoiser` must be an AffineDenoiser; others have no closed form")
    if callable(denoiser.ridge) or denoiser.ridge > 0:
        raise ValueError("`denoiser` has a ridge, which has no closed form; use a floor instead")
    x, _ = points_and_levels(x, 0.0, denoiser.dimension)
    begin = _check.as_array("sigma", _check.within("sigma", sigma), ndim=0)
    end = _check.as_array("sigma_next", _check.within("sigma_next", sigma_next, zero=True), ndim=0)
    spread = np.sqrt(np.append(denoiser.eigenvalues, 0.0) + denoiser.floor)
    factor = np.hypot(spread, end) / np.hypot(spread, begin)
    away, vectors = x - denoiser.mean, denoiser.eigenvectors
    with np.errstate(over="ignore", invalid="ignore"):
        inside = ((away @ vectors) * (factor[:-1] - factor[-1])) @ vectors.T
        result = denoiser.mean + inside + factor[-1] * away
    if not np.all(np.isfinite(result)):
        raise ValueError("`sigma_next` is so far above `sigma` that the points overflow")
    return result


def ddim_variance(eigenvalues, alpha_bar_end):
    r"""Variance of DDIM samples with infinitely many steps.

    .. math:: v=\frac{\lambda}{1+\bar\alpha_T(\lambda-1)}

    Implements eq. (1.17).

    Parameters
    ----------
    eigenvalues : array_like, shape (..., d)
        Variances :math:`\lambda\ge0` behind the denoiser, with the floor if there is one.
    alpha_bar_end : float
        :math:`\bar\alpha_T` of the noisiest level, in (0, 1).

    Returns
    -------
    numpy.ndarray, shape (..., d)

    Raises
    ------
    ValueError
        If a variance is negative or `alpha_bar_end` is outside (0, 1).

    Notes
    -----
    The last row of `continuous_moments` at r = 0. Merger and Goldt 2025, MG-C.9.
    Range: `alpha_bar_end` from the smallest float on, eigenvalues up to 1e304.

    Examples
    --------
    >>> ddim_variance([4.0], 0.25).round(4)
    array([2.2857])
    """
    spread, end = _spectrum_and_end(eigenvalues, alpha_bar_end)
    return spread / ((1.0 - end) + end * spread)


def ddim_mean_factor(eigenvalues, alpha_bar_end):
    r"""Mean of DDIM samples with infinitely many steps, in units of the mean of the data.

    .. math:: \frac{m}{\mu}=1-\sqrt{\frac{\bar\alpha_T\lambda}{1+\bar\alpha_T(\lambda-1)}}

    Implements eq. (9.11).

    Parameters
    ----------
    eigenvalues : array_like, shape (..., d)
        Variances behind the denoiser, >= 0.
    alpha_bar_end : float
        :math:`\bar\alpha_T` of the noisiest level, in (0, 1).

    Returns
    -------
    numpy.ndarray, shape (..., d)

    Raises
    ------
    ValueError
        As in `ddim_variance`.

    Notes
    -----
    Merger and Goldt 2025, MG-C.9.
    Range: `alpha_bar_end` from the smallest float on, eigenvalues up to 1e304.

    Examples
    --------
    >>> ddim_mean_factor([1.0], 0.25)
    array([0.5])
    """
    spread, end = _spectrum_and_end(eigenvalues, alpha_bar_end)
    whole = (1.0 - end) + end * spread
    # 1 - sqrt(q) = (1 - q) / (1 + sqrt(q)) keeps its digits where q is close to 1.
    return (1.0 - end) / whole / (1.0 + np.sqrt(end * spread / whole))


def _spectrum_and_end(eigenvalues, alpha_bar_end):
    end = _check.as_array("alpha_bar_end", alpha_bar_end, ndim=0)
    if not 0 < end < 1:
        raise ValueError(f"`alpha_bar_end` must lie in (0, 1), got {end}")
    return _check.as_spectrum("eigenvalues", eigenvalues), float(end)


def _ratio(ratio):
    return float(_check.as_array("ratio", _check.non_negative("ratio", ratio), ndim=0))
