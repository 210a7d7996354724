r"""Correlated data, ridge regression and very few samples in the one-step model.

Private part of :mod:`lindiff.onestep`, which re-exports every public name.
"""

from __future__ import annotations

import numpy as np
import scipy

from lindiff import _check
from lindiff._onestep_exact import _sizes
from lindiff._onestep_kl import _divergence
from lindiff._onestep_kl import noise_to_signal as _ratio_of
from lindiff._onestep_limits import _fractions, _plain


def ridge_variances(eigenvalues, n_samples, *, time, noise_scale, ridge=0.0, intercept=True):
    r"""Generated variance of every mode, in units of its true variance, in high dimension.

    .. math::

       \frac{V_i}{s_i}=\rho_i\Big[1-2q_i+\frac{q_i^2}{1-\gamma}\Big]
       +(1-\rho_i)\frac{\gamma}{1-\gamma},\qquad
       q_i=\frac{\kappa}{s_{x,i}+\kappa},\quad\gamma=\frac1\nu\sum_j(1-q_j)^2

    with :math:`s_{x,i}=a^2s_i+b^2`, :math:`\rho_i=a^2s_i/s_{x,i}` and
    :math:`\kappa\big(1-\frac1\nu\sum_js_{x,j}/(s_{x,j}+\kappa)\big)=\zeta`.

    Implements eq. (A.17).

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        Variances :math:`s_i>0` of the data along the eigenvectors of their covariance.
    n_samples : int
        :math:`n\ge2` with intercept, else >= 1.
    time, noise_scale : float
        Diffusion time :math:`T\ge0` and noise scale :math:`\lambda\ge0`.
    ridge : float
        Penalty :math:`\zeta\ge0` of :math:`\frac1\nu\|Y-XW^\top\|^2+\zeta\|W\|^2`; zero is
        least squares, below n = d the fit of smallest norm.
    intercept : bool
        Whether the mean is fitted, :math:`\nu=n-1`.

    Returns
    -------
    ndarray, shape (d,)
        :math:`V_i/s_i`, for the input :math:`\mathcal N(am,\Sigma_x)`; ``inf`` at
        :math:`\nu=d` without ridge.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of another type.

    Notes
    -----
    Deterministic equivalent: the error of the average is O(1/d). Halder 2024, H-27 and
    the answer for structured data to the open question on few samples.
    Range: every ridge; eigenvalues and noise for which the ratio is a float.

    Examples
    --------
    >>> ridge_variances(np.ones(50), 101, time=np.log(2) / 2, noise_scale=1.0)[:2]
    array([1., 1.])
    """
    spectrum, noised, ratio = _modes(eigenvalues, time, noise_scale)
    _, degrees = _sizes(spectrum.size, n_samples, intercept)
    if degrees == 0:
        raise ValueError("`n_samples` must be at least 2 to fit a mean and a map")
    ridge = _check.non_negative("ridge", ridge)
    kappa = _effective_ridge(noised, degrees, ridge)
    kept, q = noised / (noised + kappa), kappa / (noised + kappa)
    gamma = np.sum(kept**2) / degrees
    # 1 - gamma as a sum of positive terms, by the equation that defines kappa.
    left = 1 - spectrum.size / degrees
    if kappa > 0:
        left = ridge / kappa + np.sum(q * kept) / degrees
    if left == 0:
        return np.full(spectrum.size, np.inf)
    rho = 1 / (1 + ratio)
    with np.errstate(over="ignore"):
        spread = gamma / left
        return rho * (kept**2 + q**2 * spread) + ratio * rho * spread


def expected_trace_modes(eigenvalues, n_samples, *, time, noise_scale, intercept=True):
    r"""Average generated variance of every mode for n > d, in units of its true variance.

    .. math:: \mathbb E\,\frac{V_i}{s_i}=\rho_i+(1-\rho_i)\frac{d}{\nu-d-1}

    Implements eq. (4.24).

    Parameters
    ----------
    eigenvalues, n_samples, time, noise_scale, intercept
        As in `ridge_variances`.

    Returns
    -------
    ndarray, shape (d,)
        Sum over modes for :math:`\mathrm{tr}\,\Sigma^{-1}\Sigma_G`; ``inf`` for
        :math:`\nu\le d+1`.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of another type.

    Notes
    -----
    Exact for least squares and the input :math:`\mathcal N(am,\Sigma_x)`. Halder 2024, H-28.
    Range: eigenvalues and noise for which the ratio is a float, any n; relative error 1e-14.

    Examples
    --------
    >>> expected_trace_modes([1.0, 3.0], 10, time=np.log(2) / 2, noise_scale=1.0).round(4)
    array([0.6667, 0.8333])
    """
    _, _, ratio = _modes(eigenvalues, time, noise_scale)
    dimension, degrees = _sizes(ratio.size, n_samples, intercept)
    if degrees <= dimension + 1:
        return np.full(dimension, np.inf)
    return (1 + ratio * (dimension / (degrees - dimension - 1))) / (1 + ratio)


def kl_modes_finite(eigenvalues, n_samples, *, time, noise_scale, intercept=True):
    r"""Divergence of the finite model for correlated data and enough samples.

    .. math:: \mathrm{KL}\simeq\tfrac12\sum_i(\rho_i-1-\log\rho_i)
              +\frac{d}{2(\nu-d-1)}\sum_i(1-\rho_i)

    Implements eq. (A.18).

    Parameters
    ----------
    eigenvalues, n_samples, time, noise_scale, intercept
        As in `ridge_variances`.

    Returns
    -------
    float
        Total over dimensions, without the part of the mean.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, or
        :math:`\nu<d(1+\langle\Lambda\rangle)` with the mean of :math:`\Lambda_i=1/\rho_i-1`:
        then the log-determinant is no longer that of the population.

    Notes
    -----
    The trace is exact, the log-determinant right to O(1) in total. The condition on n is
    sharp only for equal eigenvalues. Halder 2024, H-28.
    Range: eigenvalues and noise for which the ratio is a float, any n; relative error 1e-12.

    Examples
    --------
    >>> print(f"{kl_modes_finite([1.0, 3.0], 10, time=0.3, noise_scale=1.0):.4f}")
    0.1990
    """
    _, _, ratio = _modes(eigenvalues, time, noise_scale)
    dimension, degrees = _sizes(ratio.size, n_samples, intercept)
    with np.errstate(over="ignore"):
        least = dimension + np.sum(ratio)
    if degrees < least or degrees <= dimension + 1:
        raise ValueError(
            f"`n_samples` is too small: {degrees} degrees of freedom, need {least:.1f}"
        )
    spread = ratio / (1 + ratio) * (dimension / (degrees - dimension - 1))
    return float(0.5 * np.sum(_divergence(ratio) + spread))


def wasserstein2_few_samples(noise_to_signal, samples_per_dimension):
    r"""Squared Wasserstein distance per dimension for far fewer samples than dimensions.

    .. math:: \frac{W_2^2}{d\sigma^2}=1-\alpha+\frac{1-\rho}{2}\alpha^2+O(\alpha^3)

    Parameters
    ----------
    noise_to_signal : array_like
        :math:`\Lambda\ge0`.
    samples_per_dimension : array_like
        :math:`\alpha=n/d`, small; broadcasts.

    Returns
    -------
    float or ndarray
        Value per dimension in units of the data variance.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    In high dimension. Halder 2024, H-29.
    Range: up to 1e100 samples per dimension, widths from 1e-75 to 1e75.

    Examples
    --------
    >>> round(wasserstein2_few_samples(1.0, 0.1), 4)
    0.9025
    """
    noise, alpha = _few(noise_to_signal, samples_per_dimension)
    return _plain(1 - alpha + 0.5 * noise * alpha**2)


def kl_regularised_few_samples(noise_to_signal, samples_per_dimension, width):
    r"""Divergence per dimension with a kernel for far fewer samples than dimensions.

    .. math::

       \tfrac12\Big[\alpha+(1-\rho)\alpha^2+\varepsilon^2-1-(1-\alpha)\log\varepsilon^2
       -\alpha\log(1+\varepsilon^2)-(1-\rho)\alpha^2\frac{\varepsilon^2}{(1+\varepsilon^2)^2}\Big]

    Implements eq. (A.14).

    Parameters
    ----------
    noise_to_signal, samples_per_dimension
        As in `wasserstein2_few_samples`.
    width : array_like
        Kernel width :math:`\varepsilon>0` in units of the data's standard deviation.

    Returns
    -------
    float or ndarray
        Value per dimension; the error is :math:`O(\alpha^3)`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Notes
    -----
    To leading order the best width is :math:`\varepsilon^2=\sqrt{1-\alpha}`.
    Halder 2024, H-29.
    Range: up to 1e100 samples per dimension, widths from 1e-75 to 1e75.

    Examples
    --------
    >>> round(kl_regularised_few_samples(1.0, 0.1, np.sqrt(0.1)), 4)
    0.6337
    """
    noise, alpha = _few(noise_to_signal, samples_per_dimension)
    kernel = np.asarray(_check.within("width", width, least=1e-75, most=1e75)) ** 2
    first = alpha + noise * alpha**2 + kernel - 1 - (1 - alpha) * np.log(kernel)
    second = alpha * np.log1p(kernel) + noise * alpha**2 * (kernel / (1 + kernel) ** 2)
    return _plain(0.5 * (first - second))


def _few(noise_to_signal, samples_per_dimension):
    """Return 1 - rho and alpha, broadcast against each other."""
    alpha = _check.within("samples_per_dimension", samples_per_dimension, least=0.0, most=1e100)
    noise, _, alpha = _fractions(noise_to_signal, alpha)
    return noise, alpha


def _modes(eigenvalues, time, noise_scale):
    """Return the variances of the data and of the noised points, and their ratios."""
    spectrum = _check.as_spectrum("eigenvalues", eigenvalues)
    if spectrum.ndim != 1 or np.any(spectrum == 0):
        raise ValueError("`eigenvalues` must have shape (d,) and be positive; drop the zeros")
    for name, value in (("time", time), ("noise_scale", noise_scale)):
        _check.as_array(name, value, ndim=0)
    ratio = np.asarray(_ratio_of(time, noise_scale, spectrum))
    signal_squared = np.exp(-2.0 * float(time))
    return spectrum, signal_squared * spectrum * (1.0 + ratio), ratio


def _effective_ridge(noised, degrees, ridge):
    """Solve kappa (1 - mean of s/(s + kappa) d/nu) = ridge for kappa >= 0."""
    if ridge == 0 and degrees >= noised.size:
        return 0.0

    def gap(log_kappa):
        kappa = np.exp(log_kappa)
        return 1.0 - np.sum(noised / (noised + kappa)) / degrees - ridge / kappa

    high = np.log(ridge + np.sum(noised) / degrees)
    low = np.log(ridge) if ridge > 0 else np.log(np.min(noised)) - np.log(2.0 * degrees)
    return float(
        np.exp(scipy.optimize.brentq(gap, low - 1e-9, high + 1e-9, xtol=1e-14, rtol=1e-15))
    )
