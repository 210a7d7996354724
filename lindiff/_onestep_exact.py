r"""Exact averages of the one-step model over training sets of n points.

Private part of :mod:`lindiff.onestep`, which re-exports every public name.
"""

from __future__ import annotations

import functools

import numpy as np
from scipy.special import digamma

from lindiff import _check
from lindiff._onestep_hooks import hook_sum, log_det_at_zero

_SAMPLERS = ("isotropic", "population", "full")


def expected_trace(noise_to_signal, dimension, n_samples, *, intercept=True):
    r"""Average generated variance, in units of the data variance, summed over dimensions.

    .. math::

       \mathbb E\,\mathrm{tr}\,MM^\top=\begin{cases}
       d\rho+(1-\rho)\dfrac{d^2}{\nu-d-1}&\nu>d+1\\[4pt]
       \nu\rho+(1-\rho)\dfrac{\nu d}{d-\nu-1}&\nu<d-1\\[4pt] \infty&|\nu-d|\le1\end{cases}

    Implements eq. (4.10).

    Parameters
    ----------
    noise_to_signal : float
        :math:`\Lambda\ge0`; :math:`\rho=1/(1+\Lambda)`.
    dimension : int
        :math:`d\ge1`.
    n_samples : int
        :math:`n\ge1` training points.
    intercept : bool
        Whether the mean is fitted, :math:`\nu=n-1`; otherwise it is known and :math:`\nu=n`.

    Returns
    -------
    float
        Total over dimensions, for the input law of the population (sampler ``"population"``).

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of another type.

    Notes
    -----
    Exact for every d and n, below n = d for the fit of smallest norm. Without noise,
    :math:`\Lambda=0`, the value is :math:`\min(d,\nu)`. Halder 2024, H-15.
    Range: every ratio, up to 1e9 points and more.

    Examples
    --------
    >>> expected_trace(1.0, 10, 32)
    7.5
    """
    noise, rho = _noise(noise_to_signal)
    dimension, degrees = _sizes(dimension, n_samples, intercept)
    return _trace(noise, rho, dimension, degrees)


def expected_mean_term(noise_to_signal, dimension, n_samples, *, sampler="isotropic"):
    r"""Average of the part of the divergence that comes from the generated mean.

    .. math:: \mathbb E\,\mathrm{KL}_{\rm mean}
              =\frac{d}{2n}+\frac{1-\rho}{2n}\,\mathbb E\,\mathrm{tr}\,MM^\top

    Implements eq. (4.11).

    Parameters
    ----------
    noise_to_signal, dimension, n_samples
        As in `expected_trace`; the mean is fitted, :math:`\nu=n-1`.
    sampler : {"isotropic", "population", "full"}
        Law of the input, see `expected_kl`. With ``"full"`` the second term is absent.

    Returns
    -------
    float
        Total over dimensions; ``inf`` where the trace is.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of another type.

    Notes
    -----
    With a known mean there is no such part. Halder 2024, H-14.
    Range: every ratio, up to 1e9 points and more.

    Examples
    --------
    >>> round(expected_mean_term(1.0, 10, 33), 4)
    0.2074
    """
    noise, rho = _noise(noise_to_signal)
    dimension, degrees = _sizes(dimension, n_samples, True)
    return _mean_term(noise, rho, dimension, degrees, _sampler(sampler))


def expected_log_det(noise_to_signal, dimension, n_samples, *, intercept=True):
    r"""Average log-determinant of the learned map, :math:`\mathbb E\log\det MM^\top`.

    .. math::

       F=F_0-\sum_{k\ge1}\frac{(B)_k\rho^k}{k(\frac12)_k}
       +4\!\!\sum_{k_1\ge k_2\ge1}\sum_{m=0}^{d-2}
       \frac{(B)_{k_1}}{(\frac12)_{k_1}}\frac{(B-\frac12)_{k_2}}{(k_2-1)!}
       \frac{(2-2B)_m}{m!}\frac{(l_1-l_2)\rho^{k_1+k_2+m}}{l_1(l_1-1)l_2(l_2-1)}

    with :math:`B=(d-\nu)/2`, :math:`l_1=2k_1+m+1`, :math:`l_2=2k_2+m` and
    :math:`F_0=\sum_{i\le d}[\psi(\frac i2)-\psi(\frac{\nu-i+1}2)]`.

    Implements eq. (A.3).

    Parameters
    ----------
    noise_to_signal, dimension, n_samples, intercept
        As in `expected_trace`.

    Returns
    -------
    float
        Total over dimensions, <= 0; ``-inf`` for :math:`\nu<d`, 0 for :math:`\nu=d`.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of another type.

    Notes
    -----
    Exact for every :math:`\nu\ge d`. For even :math:`\nu-d` the sums are finite; for odd
    they converge like :math:`\rho^{k_1}`. The terms alternate and are exponentially large:
    they are added in long integers, so that the error is that of the result (absolute
    1e-15 d). Cost :math:`O(dK)` integers of :math:`O(\nu)` bits, with
    :math:`K=(\nu-d)/2`, or about :math:`60/\Lambda` for odd :math:`\nu-d`, where ratios
    below about 0.002 are refused unless :math:`\nu-d` is large; beyond n = d + 20,000 all are,
    since the cost grows as its square. It takes 0.03 s
    for d = 256 and n = 2d, 2 s for d = 1024 and n = 2d, 0.3 s for d = 64 and n = 30d.
    Halder 2024, H-16.
    Range: every ratio up to the largest float; n up to d + 20,000.

    Examples
    --------
    >>> round(expected_log_det(1.0, 2, 5), 12)
    -1.75
    """
    _noise(noise_to_signal)
    dimension, degrees = _sizes(dimension, n_samples, intercept)
    return _log_det(float(noise_to_signal), dimension, degrees)


def expected_kl(noise_to_signal, dimension, n_samples, *, sampler="isotropic", intercept=True):
    r"""Average divergence :math:`\mathbb E\,\mathrm{KL}(p_G\|p_\star)` of the finite model.

    .. math:: \mathbb E\,\mathrm{KL}=\mathbb E\,\mathrm{KL}_{\rm mean}
              +\tfrac12\big\{\mathbb E\,\mathrm{tr}-d-\mathbb E\log\det\big\}

    Implements eq. (4.13), (4.20).

    Parameters
    ----------
    noise_to_signal, dimension, n_samples, intercept
        As in `expected_trace`.
    sampler : {"isotropic", "population", "full"}
        Law of the input X at sampling: isotropic with the average variance of the training
        data; isotropic with the true variance; with the sample covariance of the noised
        training points.

    Returns
    -------
    float
        Total over dimensions; ``inf`` when the average diverges: for :math:`\nu<d+2` with
        the isotropic inputs, for :math:`\nu<d` with the full one.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of another type.

    Notes
    -----
    Exact; accuracy and cost are those of `expected_log_det`. With an intercept the isotropic
    average is finite from n = d + 3 on. Halder 2024, H-14, H-19, H-22, H-23.
    Range: every ratio up to the largest float; n up to d + 20,000.

    Examples
    --------
    >>> round(expected_kl(1.0, 20, 41), 3)
    8.27
    """
    noise, rho = _noise(noise_to_signal)
    dimension, degrees = _sizes(dimension, n_samples, intercept)
    sampler = _sampler(sampler)
    if degrees < dimension + (0 if sampler == "full" else 2):
        return np.inf
    log_det = _log_det(float(noise_to_signal), dimension, degrees)
    if sampler == "full":
        trace = dimension * (rho + noise * dimension / degrees)
        log_det += _log_det_wishart(dimension, degrees) - dimension * np.log(degrees)
    else:
        trace = _trace(noise, rho, dimension, degrees)
    if sampler == "isotropic":
        inflation = dimension / (degrees - dimension - 1)
        trace += 2 * rho * noise / degrees * (2 * rho + (1 - 2 * rho) * inflation)
        log_det += dimension * _mean_log_variance(noise, rho, degrees * dimension)
    spread = 0.5 * (trace - dimension - log_det)
    return spread + (_mean_term(noise, rho, dimension, degrees, sampler) if intercept else 0.0)


def kl_lower_bound(noise_to_signal, dimension, n_samples, *, intercept=True):
    r"""Lower bound of the average divergence by Jensen's inequality.

    .. math:: \mathbb E\,\mathrm{KL}\ge\frac d2(\bar t-1-\log\bar t),\qquad
              \bar t=\tfrac1d\,\mathbb E\,\mathrm{tr}\,MM^\top

    Parameters
    ----------
    noise_to_signal, dimension, n_samples, intercept
        As in `expected_trace`.

    Returns
    -------
    float
        Total over dimensions; finite also for :math:`\nu<d-1`, where the divergence is not.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of another type.

    Notes
    -----
    For the population input. It vanishes at :math:`\nu=2d+1`, where :math:`\bar t=1`
    for every :math:`\rho`. Halder 2024, H-44.
    Range: every ratio, up to 1e9 points and more.

    Examples
    --------
    >>> kl_lower_bound(1.0, 10, 22)
    0.0
    """
    noise, rho = _noise(noise_to_signal)
    dimension, degrees = _sizes(dimension, n_samples, intercept)
    excess = _trace(noise, rho, dimension, degrees) / dimension - 1.0
    if not -1.0 < excess < np.inf:
        return np.inf
    return 0.5 * dimension * float(excess - np.log1p(excess))


def _noise(noise_to_signal):
    """Return 1 - rho and rho, both with full relative accuracy."""
    ratio = _check.non_negative("noise_to_signal", noise_to_signal)
    if np.ndim(ratio) != 0:
        raise ValueError("`noise_to_signal` must be one number; loop over several")
    return ratio / (1.0 + ratio), 1.0 / (1.0 + ratio)


def _sizes(dimension, n_samples, intercept):
    """Return the dimension and the degrees of freedom of the regression."""
    dimension = _check.positive_int("dimension", dimension)
    n_samples = _check.positive_int("n_samples", n_samples)
    if not isinstance(intercept, (bool, np.bool_)):
        raise TypeError(f"`intercept` must be True or False, got {intercept!r}")
    return dimension, n_samples - int(intercept)


def _sampler(name):
    if name not in _SAMPLERS:
        raise ValueError(f"`sampler` must be one of {', '.join(_SAMPLERS)}, got {name!r}")
    return name


def _trace(noise, rho, dimension, degrees):
    if noise == 0 or degrees == 0:
        return float(min(dimension, degrees))
    if abs(degrees - dimension) <= 1:
        return np.inf
    if degrees > dimension:
        return dimension * (rho + noise * dimension / (degrees - dimension - 1))
    return degrees * (rho + noise * dimension / (dimension - degrees - 1))


def _mean_term(noise, rho, dimension, degrees, sampler):
    total = float(dimension)
    if sampler != "full" and noise > 0:
        total += noise * _trace(noise, rho, dimension, degrees)
    return 0.5 * total / (degrees + 1)


def _log_det(noise_to_signal, dimension, degrees):
    if degrees < dimension:
        return -np.inf
    if degrees == dimension or noise_to_signal == 0:
        return 0.0
    return log_det_at_zero(dimension, degrees) + hook_sum(noise_to_signal, dimension, degrees)


def _log_det_wishart(dimension, degrees):
    """Average log-determinant of a white Wishart matrix."""
    index = np.arange(dimension)
    return float(np.sum(digamma(0.5 * (degrees - index)))) + dimension * np.log(2.0)


@functools.cache
def _legendre():
    return np.polynomial.legendre.leggauss(400)


def _mean_log_variance(noise, rho, count):
    """Average of log(1 - rho + rho chi2_count / count), by Gauss-Legendre in the logarithm.

    The linear part, whose average is zero, is left out of the sum.
    """
    shape = 0.5 * count
    spread = 40.0 / shape + np.sqrt(80.0 / shape)
    low, high = -1.2 * spread, np.log1p(spread)
    nodes, weights = _legendre()
    log_x = 0.5 * (high - low) * nodes + 0.5 * (high + low)
    growth = np.expm1(log_x)
    weights = weights * np.exp(shape * (log_x - growth))
    shift = rho * growth
    near = np.log1p(np.maximum(shift, rho * np.expm1(-1.0)))
    values = np.where(log_x < -1.0, np.log(noise + rho * np.exp(log_x)), near)
    return float(np.sum(weights * (values - shift)) / np.sum(weights))
