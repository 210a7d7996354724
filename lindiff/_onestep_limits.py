r"""The one-step model on n training points in high dimension, at a fixed ratio d/n.

Private part of :mod:`lindiff.onestep`, which re-exports every public name.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from scipy.special import lambertw, xlog1py, xlogy

from lindiff import _check
from lindiff._onestep_exact import _noise, _sampler, _sizes
from lindiff._onestep_hooks import log_det_at_zero
from lindiff._onestep_kl import _divergence, _log_gap


class Threshold(NamedTuple):
    """Where the divergence stops being monotone in the number of samples.

    Parameters
    ----------
    noise_to_signal : float
        Above this value the divergence rises somewhere while n grows.
    aspect_ratio : float
        The ratio d/n at which the rise begins to exist.
    """

    noise_to_signal: float
    aspect_ratio: float


def trace_limit(noise_to_signal, aspect_ratio):
    r"""Generated variance per dimension in high dimension, in units of the data variance.

    .. math:: t=\rho+(1-\rho)\frac{c}{1-c}\ (c<1),\qquad
              t=\frac{\rho}{c}+\frac{1-\rho}{c-1}\ (c>1)

    Parameters
    ----------
    noise_to_signal : array_like
        :math:`\Lambda\ge0`; :math:`\rho=1/(1+\Lambda)`.
    aspect_ratio : array_like
        :math:`c=d/n>0`; broadcasts against `noise_to_signal`.

    Returns
    -------
    float or ndarray
        Value per dimension, ``inf`` at c = 1 (unless :math:`\Lambda=0`).

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Error O(1/d) against `expected_trace`. Halder 2024, H-15, H-24.
    Range: every ratio and every c > 0; relative error 1e-12 for c up to 0.9.

    Examples
    --------
    >>> trace_limit(1.0, [0.5, 2.0])
    array([1.  , 0.75])
    """
    noise, rho, ratio = _fractions(noise_to_signal, aspect_ratio)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(ratio < 1, noise * ratio / (1 - ratio), noise / (ratio - 1))
    spread = np.where(noise == 0, 0.0, np.where(ratio == 1, np.inf, spread))
    return _plain(rho / np.maximum(ratio, 1.0) + spread)


def log_det_limit(noise_to_signal, aspect_ratio):
    r"""Log-determinant per dimension of the learned map in high dimension.

    .. math:: \ell=\log\rho\ \ (c\le\rho),\qquad
              \ell=\log c+\frac{1-c}{c}\log\frac{1-c}{1-\rho}\ \ (c\ge\rho)

    Implements eq. (4.15).

    Parameters
    ----------
    noise_to_signal, aspect_ratio
        As in `trace_limit`.

    Returns
    -------
    float or ndarray
        Value per dimension; ``-inf`` for c > 1.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Two derivatives in c meet differently at :math:`c=\rho`: the second jumps by
    :math:`1/(\rho^2(1-\rho))`. Error against `expected_log_det`: O(1/d) for
    :math:`c<\rho`, :math:`-\frac12\log d/d` to leading order for :math:`\rho<c<1`.
    Halder 2024, H-17.
    Range: every ratio and every c > 0; relative error 1e-12 for c up to 0.9.

    Examples
    --------
    >>> log_det_limit(1.0, [0.25, 0.5, 1.0]).round(4)
    array([-0.6931, -0.6931,  0.    ])
    """
    noise, rho, ratio = _fractions(noise_to_signal, aspect_ratio)
    inner = np.minimum(ratio, 1.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        gap = xlog1py(1 - inner, -inner) - xlogy(1 - inner, noise)
        gap = np.where(rho < 0.5, xlog1py(1 - inner, -inner) - xlog1py(1 - inner, -rho), gap)
        above = np.log(inner) + gap / inner
    value = np.where(_left(noise_to_signal, ratio) >= 0, _log_rho(noise, rho), above)
    return _plain(np.where(ratio > 1, -np.inf, value))


def log_det_asymptotic(noise_to_signal, dimension, n_samples, *, intercept=True):
    r"""Average log-determinant of the learned map with its first correction.

    .. math::

       F\simeq\begin{cases}F_0-(\nu-d)\log(1-\rho)&d/\nu>\rho\\[2pt]
       d\log\rho+\log\dfrac{\rho-d/\nu}{\rho(1-d/\nu)}&d/\nu<\rho\end{cases}

    Implements eq. (A.10), (A.11).

    Parameters
    ----------
    noise_to_signal, dimension, n_samples, intercept
        As in `expected_trace`.

    Returns
    -------
    float
        Total over dimensions; ``-inf`` for :math:`\nu<d` and at the transition.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of another type.

    Notes
    -----
    First line: the error falls exponentially with d. Second line: O(1/d). Near
    :math:`d/\nu=\rho` neither holds within a window of width :math:`d^{-1/2}`; there use
    `expected_log_det`. Halder 2024, H-17.
    Range: every ratio, up to 1e9 points and more, relative error 1e-11; next to the
    transition what the formula makes of the rounding of the ratio.

    Examples
    --------
    >>> from lindiff.onestep import expected_log_det
    >>> print(f"{log_det_asymptotic(1.0, 20, 29):.4f} {expected_log_det(1.0, 20, 29):.4f}")
    -12.2260 -12.2262
    """
    noise, rho = _noise(noise_to_signal)
    dimension, degrees = _sizes(dimension, n_samples, intercept)
    if degrees < dimension:
        return -np.inf
    if degrees == dimension:
        return 0.0
    # Above 1 exactly where d / nu > rho.
    excess = float(noise_to_signal) * (dimension / (degrees - dimension))
    if excess > 1:
        spread = (degrees - dimension) * float(_log_rho(rho, noise))
        return log_det_at_zero(dimension, degrees) - spread
    with np.errstate(divide="ignore"):
        return float(dimension * _log_rho(noise, rho) + np.log1p(-excess))


def kl_limit(noise_to_signal, aspect_ratio, *, sampler="isotropic"):
    r"""Divergence per dimension :math:`\mathrm{KL}(p_G\|p_\star)/d` in high dimension.

    .. math:: \tfrac12\Big[\rho+(1-\rho)\frac{c}{1-c}-1-\ell(\rho,c)\Big],\qquad
              \tfrac12\Big[\rho+(1-\rho)c-\ell(\rho,c)+\frac{1-c}{c}\log(1-c)\Big]

    Implements eq. (4.16), (4.21).

    Parameters
    ----------
    noise_to_signal, aspect_ratio
        As in `trace_limit`.
    sampler : {"isotropic", "population", "full"}
        Law of the input, see `expected_kl`. The first formula is for both isotropic
        inputs, the second for ``"full"``.

    Returns
    -------
    float or ndarray
        Value per dimension; ``inf`` for c > 1, and at c = 1 unless the input is full.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    For :math:`c\le\rho` the first formula is
    :math:`\frac12(\rho-1-\log\rho)+\frac{1-\rho}{2}\frac{c}{1-c}`. The mean part of the
    divergence is O(1) in total and absent here. Error per dimension: O(1/d) for
    :math:`c<\rho`, O(log d / d) above. Halder 2024, H-23, H-24.
    Range: every ratio and every c > 0; relative error 1e-12 for c up to 0.9.

    Examples
    --------
    >>> kl_limit(1.0, [0.5, 0.1]).round(4)
    array([0.3466, 0.1244])
    """
    noise, rho, ratio = _fractions(noise_to_signal, aspect_ratio)
    log_det = log_det_limit(noise_to_signal, aspect_ratio)
    inner = np.minimum(ratio, 1.0)
    if _sampler(sampler) == "full":
        # 1 + (1 - c)/c log(1 - c), the first term of which is c/2.
        wishart = inner - (1.0 - inner) * _log_gap(-np.minimum(inner, 0.5)) / inner
        far = 1.0 + xlog1py(1.0 - inner, -inner) / inner
        added = noise * ratio + np.where(inner <= 0.5, wishart, far)
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            added = noise * inner / (1.0 - inner)
        added = np.where(noise == 0, 0.0, added)
    above = rho - 1.0 - log_det + added
    below = _divergence(np.asarray(noise_to_signal, dtype=float)) + added
    return _plain(0.5 * np.where(_left(noise_to_signal, ratio) >= 0, below, above))


def kl_reverse_limit(noise_to_signal, aspect_ratio):
    r"""Divergence per dimension in the other direction, :math:`\mathrm{KL}(p_\star\|p_G)/d`.

    .. math:: \tfrac12\Big[\frac{1-c}{\rho-c}-1+\log\rho\Big]\qquad(c<\rho)

    Implements eq. (4.22).

    Parameters
    ----------
    noise_to_signal, aspect_ratio
        As in `trace_limit`.

    Returns
    -------
    float or ndarray
        Value per dimension of a typical training set; ``inf`` for :math:`c\ge\rho`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    The average over training sets is infinite for every d and n: the smallest singular
    value of the map has a non-zero density at zero. Halder 2024, H-25, H-25b.
    Range: every ratio and every c > 0; relative error 1e-12 for c up to 0.9.

    Examples
    --------
    >>> kl_reverse_limit(1.0, [0.6, 0.1]).round(4)
    array([   inf, 0.2784])
    """
    _, rho, ratio = _fractions(noise_to_signal, aspect_ratio)
    noise, left = np.asarray(noise_to_signal, dtype=float), _left(noise_to_signal, ratio)
    # A sum of positive terms.
    with np.errstate(over="ignore"):
        share = np.where(left > 0, ratio / rho / np.where(left > 0, left, 1.0), 0.0)
        value = 0.5 * (_log_gap(noise) + noise * share)
    return _plain(np.where(left > 0, value, np.inf))


def monotone_threshold(*, sampler="isotropic"):
    r"""Largest noise-to-signal ratio at which more samples always help, in high dimension.

    .. math:: 2c\,e^{c/2}=1-c,\qquad \frac{\Lambda}{1+\Lambda}=1-\rho=\frac{(1-c)^2}{2c}

    Implements eq. (4.19).

    Parameters
    ----------
    sampler : {"isotropic", "population", "full"}
        For the full input :math:`1-\rho=e^{W_0(-1/4)}` and :math:`c=1/(2(1-\rho))`.

    Returns
    -------
    Threshold
        Named tuple (noise_to_signal, aspect_ratio) of the double root of the derivative
        of `kl_limit` in c.

    Raises
    ------
    ValueError
        If `sampler` is unknown.

    Notes
    -----
    The derivative times :math:`2c^2` is
    :math:`(1-\rho)c^2/(1-c)^2+\log\frac{1-c}{1-\rho}`; it and its derivative vanish
    together. Halder 2024, H-30.
    Range: relative error 1e-14.

    Examples
    --------
    >>> ratio, c = monotone_threshold()
    >>> print(f"{ratio:.5f} {1 / c:.4f}")
    4.33867 3.3246
    """
    if _sampler(sampler) == "full":
        noise = float(np.exp(lambertw(-0.25).real))
        return Threshold(noise / (1 - noise), 1 / (2 * noise))

    def slope(x):
        return x / 2 + np.log(2 * x) - np.log1p(-x)

    c = scipy.optimize.brentq(slope, 0.1, 0.9, xtol=1e-16, rtol=1e-15)
    noise = (1 - c) ** 2 / (2 * c)
    return Threshold(noise / (1 - noise), c)


def _fractions(noise_to_signal, aspect_ratio):
    """Return 1 - rho, rho and c, broadcast against each other."""
    ratio = np.asarray(_check.non_negative("noise_to_signal", noise_to_signal))
    aspect = np.asarray(_check.positive("aspect_ratio", aspect_ratio))
    try:
        ratio, aspect = np.broadcast_arrays(ratio, aspect)
    except ValueError as error:
        raise ValueError("`noise_to_signal` and `aspect_ratio` must broadcast") from error
    return ratio / (1.0 + ratio), 1.0 / (1.0 + ratio), aspect


def _left(noise_to_signal, aspect):
    """Return 1 - c / rho, whose sign says on which side of the transition c lies."""
    with np.errstate(over="ignore"):
        return (1.0 - aspect) - aspect * np.asarray(noise_to_signal, dtype=float)


def _log_rho(noise, rho):
    """Return log rho, by whichever of 1 - rho and rho has more digits."""
    return np.where(noise < 0.5, np.log1p(-np.minimum(noise, 0.5)), np.log(rho))


def _plain(value):
    return float(value) if np.ndim(value) == 0 else value
