r"""Regularised log-determinant and spectrum of the learned map by free convolution.

Private part of :mod:`lindiff.onestep`, which re-exports every public name.
"""

from __future__ import annotations

import numpy as np
import scipy

from lindiff import _check
from lindiff._onestep_limits import _fractions, _plain, log_det_limit, trace_limit

_RANGE = {"least": 1e-6, "most": 1e6}


def regularised_log_det(noise_to_signal, aspect_ratio, width):
    r"""Log-determinant per dimension of the map plus a kernel, in high dimension.

    .. math:: \Phi(\varepsilon)=\lim\tfrac1d\log\det(MM^\top+\varepsilon^2I)

    Implements eq. (A.13).

    Parameters
    ----------
    noise_to_signal : array_like
        :math:`\Lambda>0`.
    aspect_ratio : array_like
        :math:`c=d/n>0`, on either side of 1; broadcasts against `noise_to_signal`.
    width : float
        :math:`\varepsilon>0`, in units of the data's standard deviation.

    Returns
    -------
    float or ndarray
        Value per dimension.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    With :math:`m(x)` the resolvent of the nonzero Marchenko-Pastur law of A/n at -x,
    :math:`k=\min(1,1/c)` and :math:`\theta=x/((1-\rho)c)`, one number x > 0 solves

    .. math:: \theta P^2-P+k\rho\,(1-x\,m(x))=0,\qquad
              \varepsilon^2=(P-\rho)\Big(1-\frac{kc(1-\rho)\,m(x)}{P}\Big)

    for x and P. For c < 1 it is the free additive convolution of the symmetrised
    singular-value laws of :math:`\sqrt\rho I` and :math:`\sqrt{1-\rho}\,GA^{-1/2}`.
    Relative error 1e-11 for widths of 1e-3 and more. Halder 2024, H-21, H-21h.
    Range: ratio and width from 1e-6 to 1e6, c from 1e-10 to 1e10.

    Examples
    --------
    >>> regularised_log_det(1.0, [0.5, 2.0], 1.0).round(4)
    array([0.5908, 0.3961])
    """
    width = _check.within("width", width, **_RANGE)
    if np.ndim(width) != 0:
        raise ValueError("`width` must be one number")
    _check.within("noise_to_signal", noise_to_signal, **_RANGE)
    _check.within("aspect_ratio", aspect_ratio, least=1e-10, most=1e10)
    noise, rho, ratio = _fractions(noise_to_signal, aspect_ratio)
    values = [_phi(*item, width) for item in np.nditer((noise, rho, ratio))]
    return _plain(np.reshape(values, ratio.shape))


def kl_regularised(noise_to_signal, aspect_ratio, width):
    r"""Divergence per dimension after a Gaussian kernel is added to the samples.

    .. math:: \mathrm{KL}_\varepsilon/d=\tfrac12\big[t+\varepsilon^2-1-\Phi(\varepsilon)\big]

    Implements eq. (4.23).

    Parameters
    ----------
    noise_to_signal, aspect_ratio, width
        As in `regularised_log_det`.

    Returns
    -------
    float or ndarray
        Value per dimension: finite on both sides of c = 1 and ``inf`` there.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Halder 2024, H-20.
    Range: ratio and width from 1e-6 to 1e6, c from 1e-10 to 1e10.

    Examples
    --------
    >>> kl_regularised(1.0, [0.5, 2.0], np.sqrt(0.1)).round(4)
    array([0.2131, 0.4674])
    """
    width = _check.positive("width", width)
    log_det = regularised_log_det(noise_to_signal, aspect_ratio, width)
    return _plain(0.5 * (trace_limit(noise_to_signal, aspect_ratio) + width**2 - 1 - log_det))


def hellinger_exponent(noise_to_signal, aspect_ratio):
    r"""Rate at which the Hellinger affinity falls with the dimension.

    .. math:: -\lim\tfrac1d\log(1-H^2)=\tfrac12\big[\Phi(1)-\log2\big]-\tfrac14\ell

    Implements eq. (A.15).

    Parameters
    ----------
    noise_to_signal, aspect_ratio
        As in `regularised_log_det`.

    Returns
    -------
    float or ndarray
        Value >= 0 per dimension; ``inf`` for c > 1, where :math:`H^2=1`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    Halder 2024, H-26.
    Range: ratio and width from 1e-6 to 1e6, c from 1e-10 to 1e10.

    Examples
    --------
    >>> round(hellinger_exponent(1.0, 0.5), 4)
    0.1221
    """
    spread = regularised_log_det(noise_to_signal, aspect_ratio, 1.0) - np.log(2.0)
    return _plain(0.5 * spread - 0.25 * np.asarray(log_det_limit(noise_to_signal, aspect_ratio)))


def singular_value_density(x, noise_to_signal, aspect_ratio):
    r"""Density of the singular values of the learned map in high dimension, for c < 1.

    .. math:: zG=\tfrac12(1+r)+\frac{1-c-q}{2c},\qquad
              r=\sqrt{1+4\rho G^2},\quad q=\sqrt{(1-c)^2-4c^2(1-\rho)G^2}

    and the density is :math:`-\frac2\pi\,\mathrm{Im}\,G(x+i0)`.

    Implements eq. (A.5).

    Parameters
    ----------
    x : array_like, shape (n,)
        Positive places.
    noise_to_signal : float
        :math:`\Lambda>0`.
    aspect_ratio : float
        :math:`c=d/n` in (0, 1).

    Returns
    -------
    ndarray, shape (n,)
        Density on x > 0 with total mass 1.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    The equation is a polynomial of degree 4 in G. Its root is followed from large to
    vanishing imaginary part of z by Newton's iteration. Absolute error about 1e-6 away
    from the edges of the spectrum. Halder 2024, H-21.
    Range: ratios from 0.01 to 100, c from 0.01 on, places from 1e-6 to 1e3.

    Examples
    --------
    >>> singular_value_density([0.7, 50.0], 1.0, 0.5).round(4)
    array([0.8143, 0.    ])
    """
    x = np.atleast_1d(_check.positive("x", x))
    noise, rho, c = map(
        float, _fractions(_check.positive("noise_to_signal", noise_to_signal), aspect_ratio)
    )
    _check.within("x", x, least=1e-6, most=1e3)
    _check.within("noise_to_signal", noise_to_signal, least=0.01, most=100.0)
    _check.within("aspect_ratio", c, least=0.01)
    if c >= 1:
        raise ValueError("`aspect_ratio` must be below 1; use more samples than dimensions")
    z = x + 50j
    transform = 1.0 / z
    for height in np.geomspace(50.0, 1e-7, 400):
        z = x + 1j * height
        for _ in range(4):
            transform = transform - _quartic(transform, z, noise, rho, c)
    return np.maximum(-2.0 / np.pi * transform.imag, 0.0)


def _quartic(g, z, noise, rho, c):
    """Return one Newton step for the polynomial form of the convolution."""
    line = 2 * c * z * g - 1
    r2, q2 = c**2 * (1 + 4 * rho * g**2), (1 - c) ** 2 - 4 * c**2 * noise * g**2
    slope_r, slope_q = 8 * c**2 * rho * g, -8 * c**2 * noise * g
    rest = line**2 - r2 - q2
    slope = 2 * rest * (4 * c * z * line - slope_r - slope_q) - 4 * (slope_r * q2 + r2 * slope_q)
    return (rest**2 - 4 * r2 * q2) / slope


def _phi(noise, rho, ratio, width):
    """Solve for x at the given width and return the log-determinant per dimension."""
    noise, rho, ratio = float(noise), float(rho), float(ratio)
    share = min(1.0, 1.0 / ratio)

    def given(total):
        """Return x for P = `total`: a concave function of x meets a line once."""
        top = noise * ratio / total

        def gap(share_of_top):
            rest = 1.0 - _resolvent_times(top * share_of_top, ratio)
            return total * (1.0 - share_of_top) - share * rho * rest

        return top * scipy.optimize.brentq(gap, 0.0, 1.0, xtol=1e-300, rtol=1e-15, maxiter=500)

    def excess(total):
        x = given(total)
        loss = share * ratio * noise * _resolvent_times(x, ratio) / x / total
        return (total - rho) * (1.0 - loss) - width**2

    low = rho + width**2
    high = low + 1.0
    while excess(high) < 0:
        high = rho + 2.0 * (high - rho)
    total = low
    if excess(low) < 0:
        total = scipy.optimize.brentq(excess, low, high, rtol=1e-15, xtol=1e-300, maxiter=500)
    x = given(total)
    smooth = total - rho
    delta = x * total / smooth / (noise * ratio)
    value = share * (np.log(total) + np.log(x) - _mean_log(ratio)) + _shannon(x, ratio)
    if share < 1:
        value += (1.0 - share) * np.log(smooth)
    return value - (smooth - width**2) * delta


def _resolvent_times(x, ratio):
    """Return x m(x), m the mean of 1/(s + x) over the nonzero Marchenko-Pastur law."""
    if ratio > 1:
        return _resolvent_times(x / ratio, 1.0 / ratio)
    if x == 0:
        return 0.0
    half = 0.5 * (x + 1.0 - ratio)
    return x / (half + np.sqrt(half**2 + ratio * x))


def _shannon(x, ratio):
    """Return the mean of log(1 + s/x) over the whole Marchenko-Pastur law."""
    gain = 1.0 / x
    skew, root = (
        gain * (1.0 - ratio),
        np.sqrt(1.0 + 2.0 * gain * (1.0 + ratio) + (gain * (1.0 - ratio)) ** 2),
    )
    # Of the two equal forms of each term the one that does not cancel.
    first = 0.5 * (skew - 1.0 + root) if skew > 1 else 2.0 * gain / (root + 1.0 - skew)
    product = gain * ratio
    second = 0.5 * (root - 1.0 - skew) if skew < -1 else 2.0 * product / (root + 1.0 + skew)
    return np.log1p(first) + np.log1p(second) / ratio - 2.0 * gain / (1.0 + gain + product + root)


def _mean_log(ratio):
    """Return the mean of log s over the nonzero Marchenko-Pastur law."""
    if ratio > 1:
        return np.log(ratio) + _mean_log(1.0 / ratio)
    return -1.0 - (0.0 if ratio == 1 else (1.0 - ratio) / ratio * np.log1p(-ratio))
