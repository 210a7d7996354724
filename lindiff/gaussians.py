r"""Gaussian laws: divergences, conditioning, sampling.

Every divergence is the *total* over dimensions, in nats; divide by :math:`d` to compare
dimensions. The first law is the one the expectation is taken over: with samples first and
data second, :math:`\mathrm{KL}(p_{\rm generated}\,\|\,p_{\rm data})`. Functions named
``..._spectral`` take variances along common eigenvectors and broadcast over leading axes.

Rounding is judged by one rule, here as in all of the theory, and by the precision
:math:`\epsilon` of the type that is handed in. A negative eigenvalue of a covariance, or entry of
a spectrum, of at most :math:`4\epsilon` times the sum of the positive ones becomes zero; a larger
one is an error. A covariance is singular if, with every coordinate scaled to variance 1, its
smallest eigenvalue is at most :math:`4\epsilon d`.
"""

import numpy as np

from lindiff import _check, _divergences
from lindiff._gaussian_laws import condition, posterior_mean, sample

__all__ = [
    "condition",
    "entropy",
    "hellinger_squared",
    "kl_gaussian",
    "kl_spectral",
    "posterior_mean",
    "sample",
    "wasserstein2_squared",
    "wasserstein2_squared_spectral",
]


def kl_gaussian(mean_p, cov_p, mean_q, cov_q):
    r"""Kullback-Leibler divergence of two Gaussians, averaged over the first.

    .. math::

       \mathrm{KL}(p\|q)=\tfrac12\big[\operatorname{tr}(\Sigma_q^{-1}\Sigma_p)-d
       -\ln\det(\Sigma_q^{-1}\Sigma_p)+\delta^\top\Sigma_q^{-1}\delta\big],
       \qquad\delta=\mu_p-\mu_q

    Implements eq. (2.22).

    Parameters
    ----------
    mean_p, mean_q : array_like, shape (d,)
        Means.
    cov_p, cov_q : array_like, shape (d, d)
        Symmetric positive semidefinite covariances.

    Returns
    -------
    float
        Total over the d dimensions, >= 0. It is ``inf`` if exactly one covariance is
        singular: then one law gives no mass to a set that the other lives on.

    Raises
    ------
    ValueError
        If shapes disagree, a matrix is no covariance, or both are singular. In that last
        case the value depends on whether the supports coincide exactly, which rounding
        hides; use `kl_spectral` in common eigenvectors, or add a floor to both.

    Notes
    -----
    With :math:`\Sigma_q=LL^\top` and :math:`e_i` the eigenvalues of
    :math:`L^{-1}(\Sigma_p-\Sigma_q)L^{-\top}`, the value is
    :math:`\frac12\sum_i[e_i-\ln(1+e_i)]` plus the shift, so that nearly equal laws lose no
    digits. Cost :math:`O(d^3)`.
    Range: variances up to 1e304 in any units, means up to 1e150; a divergence above the
    floats is ``inf``.

    Examples
    --------
    >>> round(kl_gaussian([1.0], [[2.0]], [0.0], [[1.0]]), 4)
    0.6534
    """
    shift, cov_p, cov_q, *singular = _divergences.pair(mean_p, cov_p, mean_q, cov_q)
    if all(singular):
        raise ValueError(
            "`cov_p` and `cov_q` are both singular; use kl_spectral or add a floor to both"
        )
    return np.inf if any(singular) else _divergences.kl(shift, cov_p, cov_q)


def kl_spectral(var_p, var_q, *, shift=0.0):
    r"""Kullback-Leibler divergence of Gaussians with common eigenvectors.

    .. math::

       \mathrm{KL}(p\|q)=\sum_i\tfrac12\Big[r_i-1-\ln r_i+\frac{\delta_i^2}{v^q_i}\Big],
       \qquad r_i=\frac{v^p_i}{v^q_i}

    Implements eq. (2.21), (2.23).

    Parameters
    ----------
    var_p, var_q : array_like, shape (..., d)
        Variances >= 0 of the modes; leading axes broadcast.
    shift : float or array_like, shape (..., d)
        Difference of the means along each mode.

    Returns
    -------
    float or ndarray, shape (...)
        Sum over the last axis. A mode with one vanishing variance gives ``inf``; a mode in
        which both laws are the same point gives 0.

    Raises
    ------
    ValueError
        If a variance is negative or the shapes do not broadcast.

    Notes
    -----
    Relative error of a few units in the last place, for nearly equal variances as for
    ratios over hundreds of decades.
    Range: variances from the smallest float to 1e304, shifts up to 1e150.

    Examples
    --------
    >>> print(f"{kl_spectral([1.0, 2.0], [1.0, 1.0]):.4f}")
    0.1534
    >>> print(f"{kl_spectral([1.0 + 1e-9], [1.0]):.3e}")
    2.500e-19
    """
    var_p, var_q, shift = _modes(var_p, var_q, shift)
    both_zero = (var_p == 0) & (var_q == 0) & (shift == 0)
    p, q = np.where(both_zero, 1.0, var_p), np.where(both_zero, 1.0, var_q)
    with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
        ratio = p / q
        near = (ratio >= 0.5) & (ratio <= 2.0)
        exact = (ratio > 1e-290) & (ratio < np.inf)
        log_ratio = np.where(exact, np.log(ratio), np.log(p) - np.log(q))
        spread = np.where(near, _divergences.excess(np.where(near, (p - q) / q, 0.0)), 0.0)
        spread = np.where(near, spread, ratio - 1.0 - log_ratio)
        moved = np.where(shift == 0, 0.0, (shift / np.sqrt(q)) ** 2)
        spread = np.where(q == 0, np.inf, spread)
    return _total(0.5 * (spread + moved))


def wasserstein2_squared(mean_p, cov_p, mean_q, cov_q):
    r"""Squared Wasserstein-2 (Frechet) distance of two Gaussians.

    .. math::

       W_2^2=\|\delta\|^2+\operatorname{tr}\big[\Sigma_p+\Sigma_q
       -2(\Sigma_p^{1/2}\Sigma_q\Sigma_p^{1/2})^{1/2}\big]

    Parameters
    ----------
    mean_p, mean_q : array_like, shape (d,)
        Means.
    cov_p, cov_q : array_like, shape (d, d)
        Symmetric positive semidefinite covariances; singular ones are allowed.

    Returns
    -------
    float
        Total over the d dimensions, >= 0; finite also for singular covariances.

    Raises
    ------
    ValueError
        If shapes disagree or a matrix is no covariance.

    Notes
    -----
    Computed as :math:`\min_U\|\Sigma_p^{1/2}-\Sigma_q^{1/2}U\|_F^2` over orthogonal U, so
    that the error of the distance (not of its square) is at rounding level. Cost
    :math:`O(d^3)`. Gelbrich 1990.
    Range: variances up to 1e304 in any units, means up to 1e150; a divergence above the
    floats is ``inf``.

    Examples
    --------
    >>> round(wasserstein2_squared([3.0], [[4.0]], [0.0], [[1.0]]), 12)
    10.0
    """
    shift, cov_p, cov_q, *_ = _divergences.pair(mean_p, cov_p, mean_q, cov_q)
    return float(shift @ shift) + _divergences.bures(cov_p, cov_q)


def wasserstein2_squared_spectral(var_p, var_q, *, shift=0.0):
    r"""Squared W2 distance of Gaussians with common eigenvectors.

    .. math:: W_2^2=\sum_i\Big[\big(\sqrt{v^p_i}-\sqrt{v^q_i}\big)^2+\delta_i^2\Big]

    Parameters
    ----------
    var_p, var_q : array_like, shape (..., d)
        Variances >= 0 of the modes; leading axes broadcast.
    shift : float or array_like, shape (..., d)
        Difference of the means along each mode.

    Returns
    -------
    float or ndarray, shape (...)
        Sum over the last axis.

    Raises
    ------
    ValueError
        If a variance is negative or the shapes do not broadcast.

    Notes
    -----
    Range: variances up to 1e304, shifts up to 1e150; relative error 1e-14.

    Examples
    --------
    >>> wasserstein2_squared_spectral([4.0, 1.0], [1.0, 1.0], shift=[3.0, 0.0])
    10.0
    """
    var_p, var_q, shift = _modes(var_p, var_q, shift)
    roots = np.sqrt(var_p) + np.sqrt(var_q)
    gap = (var_p - var_q) / np.where(roots == 0, 1.0, roots)
    return _total(gap**2 + shift**2)


def hellinger_squared(mean_p, cov_p, mean_q, cov_q):
    r"""Squared Hellinger distance of two Gaussians, between 0 and 1.

    .. math::

       H^2=1-\int\sqrt{pq}=1-\frac{(\det\Sigma_p\det\Sigma_q)^{1/4}}{\sqrt{\det M}}
       e^{-\frac18\delta^\top M^{-1}\delta},\qquad M=\tfrac12(\Sigma_p+\Sigma_q)

    Parameters
    ----------
    mean_p, mean_q : array_like, shape (d,)
        Means.
    cov_p, cov_q : array_like, shape (d, d)
        Symmetric positive semidefinite covariances.

    Returns
    -------
    float
        In [0, 1]. It is 1 if exactly one covariance is singular.

    Raises
    ------
    ValueError
        If shapes disagree, a matrix is no covariance, or both are singular.

    Notes
    -----
    Range: variances up to 1e304 in any units, means up to 1e150; a divergence above the
    floats is ``inf``.

    Examples
    --------
    >>> round(hellinger_squared([0.0], [[4.0]], [0.0], [[1.0]]), 4)
    0.1056
    """
    shift, cov_p, cov_q, *singular = _divergences.pair(mean_p, cov_p, mean_q, cov_q)
    if all(singular):
        raise ValueError("`cov_p` and `cov_q` are both singular; add a floor to both")
    if any(singular):
        return 1.0
    return abs(float(np.expm1(_divergences.log_affinity(shift, cov_p, cov_q))))


def entropy(cov):
    r"""Differential entropy of a Gaussian.

    .. math:: h=\tfrac12\ln\det(2\pi e\,\Sigma)

    Parameters
    ----------
    cov : array_like, shape (d, d)
        Symmetric positive semidefinite covariance.

    Returns
    -------
    float
        Total over the d dimensions; ``-inf`` for a singular covariance.

    Raises
    ------
    ValueError
        If `cov` is no covariance.

    Notes
    -----
    Range: variances up to 1e304, in any units.

    Examples
    --------
    >>> round(entropy([[1.0]]), 4)
    1.4189
    """
    if _check.is_singular("cov", cov):
        return -np.inf
    cov = _check.as_covariance("cov", cov)
    constant = len(cov) * (1.0 + np.log(2.0 * np.pi))
    return float(0.5 * (constant + _divergences.log_det(_divergences.factor(cov))))


def _modes(var_p, var_q, shift):
    var_p, var_q = _check.as_spectrum("var_p", var_p), _check.as_spectrum("var_q", var_q)
    shift = _check.as_points("shift", shift)
    try:
        shape = np.broadcast_shapes(var_p.shape, var_q.shape, shift.shape)
    except ValueError as error:
        raise ValueError(
            f"`var_p` {var_p.shape}, `var_q` {var_q.shape} and `shift` {shift.shape} must broadcast"
        ) from error
    return tuple(np.broadcast_to(value, shape) for value in (var_p, var_q, shift))


def _total(terms):
    total = np.sum(terms, axis=-1)
    return float(total) if total.ndim == 0 else total
