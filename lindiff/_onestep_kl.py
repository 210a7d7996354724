r"""Functions of the noise-to-signal ratio: the KL divergence of the one-step model.

Private half of :mod:`lindiff.onestep`, which re-exports every public name.
"""

import numpy as np

from lindiff import _check

_SERIES_BELOW = 0.3
_SERIES_TERMS = 40


def _log_gap(x):
    """x - log(1 + x) for x > -1, without cancellation near zero."""
    near = np.where(np.abs(x) < _SERIES_BELOW, x, 0.0)
    series = np.zeros_like(near)
    for k in range(_SERIES_TERMS, 1, -1):
        series = 1.0 / k - near * series
    far = np.where(np.abs(x) < _SERIES_BELOW, 1.0, x)
    return np.where(np.abs(x) < _SERIES_BELOW, near**2 * series, far - np.log1p(far))


def _divergence(ratio):
    """Twice the KL per dimension, log(1 + L) - L / (1 + L)."""
    near = np.minimum(ratio, _SERIES_BELOW)
    direct = np.log1p(ratio) - ratio / (1.0 + ratio)
    return np.where(ratio < _SERIES_BELOW, _log_gap(-near / (1.0 + near)), direct)


def _ratio(value):
    return _check.non_negative("noise_to_signal", value)


def noise_to_signal(time, noise_scale, variance):
    r"""Ratio of noise variance to signal variance in a noised coordinate.

    .. math:: \Lambda = \frac{b^2}{a^2\sigma^2}
              = \frac{\lambda\,(e^{2T}-1)}{\sigma^2}

    Implements eq. (3.3).

    Parameters
    ----------
    time : array_like
        Diffusion time :math:`T\ge0`.
    noise_scale : array_like
        Stationary variance :math:`\lambda\ge0` of the noising process.
    variance : array_like
        Data variance :math:`\sigma^2>0` per coordinate. The three arguments broadcast.

    Returns
    -------
    float or ndarray
        :math:`\Lambda\ge0`, with full relative accuracy at short times.

    Raises
    ------
    ValueError
        If an argument has the wrong sign or the ratio overflows.

    Notes
    -----
    Halder 2024, H-3.
    Range: all floats.

    Examples
    --------
    >>> import math
    >>> print(f"{noise_to_signal(2.0, math.exp(-4.0), 1.0):.4f}")
    0.9817
    """
    time = _check.non_negative("time", time)
    noise_scale = _check.non_negative("noise_scale", noise_scale)
    variance = _check.positive("variance", variance)
    with np.errstate(over="ignore", invalid="ignore"):
        growth = np.expm1(2.0 * np.asarray(time))
        # Mantissas and exponents apart: a partial product may leave the range of floats.
        (scale, p), (growth, q), (size, r) = map(np.frexp, (noise_scale, growth, variance))
        ratio = np.ldexp(scale * (growth / size), p + q - r)
    if not np.all(np.isfinite(ratio)):
        raise ValueError("time: the noise-to-signal ratio overflows; use a time below 350")
    return ratio


def correlation_squared(time, noise_scale, variance):
    r"""Squared correlation of a clean and a noised coordinate.

    .. math:: \rho = \frac{1}{1+\Lambda} = \frac{a^2\sigma^2}{a^2\sigma^2+b^2}

    Implements eq. (3.4).

    Parameters
    ----------
    time, noise_scale, variance : array_like
        As in :func:`noise_to_signal`.

    Returns
    -------
    float or ndarray
        :math:`\rho\in(0,1]`.

    Raises
    ------
    ValueError
        As in :func:`noise_to_signal`.

    Notes
    -----
    Halder 2024, H-3.
    Range: that of :func:`noise_to_signal`; relative error 1e-14.

    Examples
    --------
    >>> print(f"{correlation_squared(0.5, 1.0, 1.0):.4f}")
    0.3679
    """
    return 1.0 / (1.0 + noise_to_signal(time, noise_scale, variance))


def kl_population(noise_to_signal, dimension):
    r"""KL divergence of the generated law from the data law.

    .. math:: \mathrm{KL}_\infty
              = \frac d2\Big[\log(1+\Lambda)-\frac{\Lambda}{1+\Lambda}\Big]
              = \frac d2\,(\rho-1-\log\rho)

    Implements eq. (3.13).

    Parameters
    ----------
    noise_to_signal : array_like
        :math:`\Lambda\ge0`.
    dimension : int
        :math:`d\ge1`; use 1 for the divergence per dimension.

    Returns
    -------
    float or ndarray
        :math:`\mathrm{KL}(p_G\|p_\star)` in nats, relative error below 1e-13.

    Notes
    -----
    The bracket loses half of its digits at small :math:`\Lambda`; there a power series of
    :math:`-\log(1-u)-u` in :math:`u=\Lambda/(1+\Lambda)` replaces it. Halder 2024, H-6.
    Range: every ratio, from 0 to the largest float.

    Examples
    --------
    >>> print(f"{kl_population(1.0, 1):.4f}")
    0.0966
    """
    return 0.5 * _check.positive_int("dimension", dimension) * _divergence(_ratio(noise_to_signal))


def kl_slope(noise_to_signal, dimension):
    r"""Derivative of the KL divergence with respect to the ratio.

    .. math:: \frac{\partial\,\mathrm{KL}_\infty}{\partial\Lambda}
              = \frac d2\,\frac{\Lambda}{(1+\Lambda)^2}

    Implements eq. (3.14).

    Parameters
    ----------
    noise_to_signal : array_like
        :math:`\Lambda\ge0`.
    dimension : int
        :math:`d\ge1`.

    Returns
    -------
    float or ndarray
        Slope, positive for every :math:`\Lambda>0`, largest at :math:`\Lambda=1`.

    Notes
    -----
    Range: every ratio, from 0 to the largest float.

    Examples
    --------
    >>> float(kl_slope(1.0, 8))
    1.0
    """
    ratio = _ratio(noise_to_signal)
    share = ratio / (1.0 + ratio) / (1.0 + ratio)
    return 0.5 * _check.positive_int("dimension", dimension) * share


def kl_small_noise(noise_to_signal, dimension):
    r"""First two terms of the KL divergence at small ratio.

    .. math:: \mathrm{KL}_\infty \simeq
              d\Big(\frac{\Lambda^2}{4}-\frac{\Lambda^3}{3}\Big),
              \qquad \Lambda\to0

    Implements eq. (3.15).

    Parameters
    ----------
    noise_to_signal : array_like
        :math:`\Lambda\ge0`; the error is :math:`3d\Lambda^4/8` to leading order.
    dimension : int
        :math:`d\ge1`.

    Returns
    -------
    float or ndarray
        The expansion, meaningful for :math:`\Lambda\lesssim0.3`.

    Notes
    -----
    Range: ratios up to 1e90, as an expansion.

    Examples
    --------
    >>> print(f"{kl_small_noise(0.03, 1):.6f}")
    0.000216
    """
    ratio = _check.within("noise_to_signal", noise_to_signal, least=0.0, most=1e90, zero=True)
    return _check.positive_int("dimension", dimension) * ratio**2 * (0.25 - ratio / 3.0)


def kl_large_noise(noise_to_signal, dimension):
    r"""Leading terms of the KL divergence at large ratio.

    .. math:: \mathrm{KL}_\infty \simeq \frac d2\,(\log\Lambda-1),
              \qquad \Lambda\to\infty

    Implements eq. (3.16).

    Parameters
    ----------
    noise_to_signal : array_like
        :math:`\Lambda>0`; the error is :math:`d/\Lambda` to leading order.
    dimension : int
        :math:`d\ge1`.

    Returns
    -------
    float or ndarray
        The expansion, meaningful for :math:`\Lambda\gtrsim10`.

    Notes
    -----
    Range: every ratio > 0, as an expansion.

    Examples
    --------
    >>> print(f"{kl_large_noise(100.0, 2):.4f}")
    3.6052
    """
    ratio = _check.positive("noise_to_signal", noise_to_signal)
    return 0.5 * _check.positive_int("dimension", dimension) * (np.log(ratio) - 1.0)
