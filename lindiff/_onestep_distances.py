r"""Other distances of the one-step model, its inverse, and general covariances.

Private half of :mod:`lindiff.onestep`, which re-exports every public name.
"""

import numpy as np
from scipy.special import lambertw

from lindiff import _check
from lindiff._onestep_kl import _divergence, _log_gap, _ratio, noise_to_signal

_LARGEST_KL = 300.0


def kl_reverse(noise_to_signal, dimension):
    r"""KL divergence of the data law from the generated law.

    .. math:: \mathrm{KL}(p_\star\|p_G) = \frac d2\,[\Lambda-\log(1+\Lambda)]

    Implements eq. (D.1).

    Parameters
    ----------
    noise_to_signal : array_like
        :math:`\Lambda\ge0`.
    dimension : int
        :math:`d\ge1`.

    Returns
    -------
    float or ndarray
        Divergence in nats, never below :func:`kl_population`.

    Notes
    -----
    Halder 2024, H-7.
    Range: every ratio, from 0 to the largest float; relative error 1e-12.

    Examples
    --------
    >>> print(f"{kl_reverse(1.0, 1):.4f}")
    0.1534
    """
    gap = _log_gap(_ratio(noise_to_signal))
    with np.errstate(over="ignore"):
        return 0.5 * _check.positive_int("dimension", dimension) * gap


def wasserstein2_squared(noise_to_signal, dimension, *, variance=1.0):
    r"""Squared Wasserstein distance of the generated and the data law.

    .. math:: W_2^2 = d\,\sigma^2\,(1-\sqrt\rho)^2

    Implements eq. (D.3).

    Parameters
    ----------
    noise_to_signal : array_like
        :math:`\Lambda\ge0`.
    dimension : int
        :math:`d\ge1`.
    variance : float
        Data variance :math:`\sigma^2>0`.

    Returns
    -------
    float or ndarray
        :math:`W_2^2\in[0,d\sigma^2)`.

    Notes
    -----
    Halder 2024, H-7.
    Range: every ratio, from 0 to the largest float; relative error 1e-12.

    Examples
    --------
    >>> print(f"{wasserstein2_squared(1.0, 1):.4f}")
    0.0858
    """
    ratio = _ratio(noise_to_signal)
    variance = _check.positive("variance", variance)
    root = 1.0 / np.sqrt(1.0 + ratio)
    gap = ratio / (1.0 + ratio) / (1.0 + root)
    return _check.positive_int("dimension", dimension) * variance * gap**2


def hellinger_squared(noise_to_signal, dimension):
    r"""Squared Hellinger distance of the generated and the data law.

    .. math:: H^2 = 1-\Big[\frac{\rho^{1/4}}{((1+\rho)/2)^{1/2}}\Big]^d
              = 1-\Big[1+\frac{\Lambda^2}{4(1+\Lambda)}\Big]^{-d/4}

    Implements eq. (D.4).

    Parameters
    ----------
    noise_to_signal : array_like
        :math:`\Lambda\ge0`.
    dimension : int
        :math:`d\ge1`.

    Returns
    -------
    float or ndarray
        :math:`H^2\in[0,1]`, one minus the Bhattacharyya coefficient.

    Notes
    -----
    Halder 2024, H-7.
    Range: every ratio, from 0 to the largest float; relative error 1e-12.

    Examples
    --------
    >>> print(f"{hellinger_squared(1.0, 100):.4f}")
    0.9474
    """
    ratio = _ratio(noise_to_signal)
    dimension = _check.positive_int("dimension", dimension)
    return -np.expm1(-0.25 * dimension * np.log1p(0.25 * ratio * (ratio / (1.0 + ratio))))


def required_noise_to_signal(kl_per_dimension):
    r"""Ratio at which the KL divergence per dimension has a given value.

    .. math:: \Lambda(\varepsilon) = -\frac1{W_0(-e^{-1-2\varepsilon})}-1

    Implements eq. (3.19).

    Parameters
    ----------
    kl_per_dimension : array_like
        :math:`\varepsilon\in[0,300]`, in nats per dimension.

    Returns
    -------
    float or ndarray
        :math:`\Lambda`, close to :math:`2\sqrt\varepsilon` for small
        :math:`\varepsilon`. Relative error below 1e-12.

    Raises
    ------
    ValueError
        If a target is negative or above 300.

    Notes
    -----
    :math:`W_0` is the principal Lambert function. It loses digits at its
    branch point :math:`\varepsilon=0`; Newton steps restore them.
    Range: targets of 0 or from the smallest float to 300.

    Examples
    --------
    >>> print(f"{required_noise_to_signal(0.01):.4f}")
    0.2299
    """
    target = 2.0 * np.asarray(_check.non_negative("kl_per_dimension", kl_per_dimension))
    if np.any(target > 2.0 * _LARGEST_KL):
        raise ValueError(f"kl_per_dimension must be at most {_LARGEST_KL:g} nats")
    far = -1.0 / np.real(lambertw(-np.exp(-1.0 - np.maximum(target, 0.05)))) - 1.0
    ratio = np.where(target < 0.05, np.sqrt(2.0 * target), far)
    for _ in range(6):
        slope = ratio / (1.0 + ratio) / (1.0 + ratio)
        safe = np.where(target > 0.0, slope, 1.0)
        ratio = ratio - np.where(target > 0.0, (_divergence(ratio) - target) / safe, 0.0)
    return ratio[()]


def required_noise_scale(kl_per_dimension, time, variance):
    r"""Largest noise scale that keeps the KL divergence below a target.

    .. math:: \lambda(\varepsilon,T)
              = \frac{\sigma^2\,\Lambda(\varepsilon)}{e^{2T}-1}

    Implements eq. (3.19).

    Parameters
    ----------
    kl_per_dimension : array_like
        Target :math:`\varepsilon\in[0,300]`, in nats per dimension.
    time : array_like
        Diffusion time :math:`T>0`.
    variance : array_like
        Data variance :math:`\sigma^2>0`.

    Returns
    -------
    float or ndarray
        :math:`\lambda`, with :math:`\mathrm{KL}_\infty/d=\varepsilon` exactly there.

    Notes
    -----
    Halder 2024, H-8.
    Range: any time; relative error 1e-12, ``inf`` where the result is above the floats.

    Examples
    --------
    >>> print(f"{required_noise_scale(0.01, 2.0, 1.0):.5f}")
    0.00429
    """
    time = _check.positive("time", time)
    variance = _check.positive("variance", variance)
    ratio = required_noise_to_signal(kl_per_dimension)
    twice = 2.0 * np.asarray(time)
    with np.errstate(divide="ignore", over="ignore"):
        return np.exp(np.log(ratio) + np.log(variance) - twice - np.log(-np.expm1(-twice)))[()]


def kl_modes(eigenvalues, *, time, noise_scale):
    r"""Contribution of each covariance eigenvalue to the KL divergence.

    .. math:: k_i = \tfrac12(\rho_i-1-\log\rho_i),\qquad
              \rho_i = \frac{a^2s_i}{a^2s_i+b^2}

    Parameters
    ----------
    eigenvalues : array_like, shape (..., d)
        Covariance eigenvalues :math:`s_i>0` of the data.
    time, noise_scale : float
        :math:`T\ge0` and :math:`\lambda\ge0`.

    Returns
    -------
    ndarray, shape (..., d)
        :math:`k_i` in nats, largest for the smallest eigenvalues.

    Notes
    -----
    Directions without variance must be removed first: there data and samples
    are both a point and no density exists. Halder 2024, H-28 (n = infinity).
    Range: eigenvalues and noise of any size for which the ratio is a float.

    Examples
    --------
    >>> print(kl_modes([4.0, 0.25], time=0.5, noise_scale=1.0).round(3))
    [0.028 0.595]
    """
    eigenvalues = _check.as_array("eigenvalues", eigenvalues)
    if eigenvalues.ndim == 0 or not np.all(eigenvalues > 0.0):
        raise ValueError("eigenvalues must be positive, (..., d); remove null directions first")
    return 0.5 * _divergence(np.asarray(noise_to_signal(time, noise_scale, eigenvalues)))


def kl_anisotropic(eigenvalues, *, time, noise_scale):
    r"""KL divergence for Gaussian data with an arbitrary covariance.

    .. math:: \mathrm{KL}_\infty
              = \frac12\sum_{i=1}^d(\rho_i-1-\log\rho_i)

    Implements eq. (3.22).

    Parameters
    ----------
    eigenvalues : array_like, shape (..., d)
        Covariance eigenvalues :math:`s_i>0` of the data.
    time, noise_scale : float
        :math:`T\ge0` and :math:`\lambda\ge0`.

    Returns
    -------
    float or ndarray, shape (...)
        Divergence in nats, summed over the last axis.

    Notes
    -----
    Halder 2024, H-28 (n = infinity).
    Range: eigenvalues and noise of any size for which the ratio is a float.

    Examples
    --------
    >>> print(f"{kl_anisotropic([1.0] * 5, time=0.5, noise_scale=1.0):.4f}")
    0.9197
    """
    return kl_modes(eigenvalues, time=time, noise_scale=noise_scale).sum(axis=-1)
