"""Conditioning, denoising and sampling of one Gaussian; see `lindiff.gaussians`."""

import operator

import numpy as np
from scipy import linalg

from lindiff import _check, _divergences


def condition(mean, cov, observed_index, observed_value):
    r"""Law of the other coordinates, given some of them.

    .. math::

       \mu_{y|x}=\mu_y+\Sigma_{yx}\Sigma_{xx}^{-1}(x-\mu_x),\qquad
       \Sigma_{y|x}=\Sigma_{yy}-\Sigma_{yx}\Sigma_{xx}^{-1}\Sigma_{xy}

    Implements eq. (2.15), (2.16).

    Parameters
    ----------
    mean : array_like, shape (d,)
        Mean of all coordinates.
    cov : array_like, shape (d, d)
        Covariance of all coordinates.
    observed_index : int or array_like of int, shape (k,)
        The observed coordinates, 1 <= k < d, all different.
    observed_value : float or array_like, shape (..., k)
        Their values; leading axes are a batch.

    Returns
    -------
    mean : ndarray, shape (..., d - k)
        Conditional mean of the remaining coordinates, in their original order.
    cov : ndarray, shape (d - k, d - k)
        Conditional covariance, the same for every value.

    Raises
    ------
    ValueError
        If shapes disagree, an index repeats or is out of range, or the observed block is
        singular (drop redundant coordinates).
    TypeError
        If an index is not an integer.

    Notes
    -----
    Range: values up to 1e150 and variances up to 1e304.

    Examples
    --------
    >>> condition([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]], 1, 2.0)
    (array([1.]), array([[0.75]]))
    """
    given = np.asarray(cov)
    mean, cov, _ = _divergences.law(mean, cov)
    seen = _indices(observed_index, mean.size)
    value = np.atleast_1d(_check.as_points("observed_value", observed_value))
    if value.shape[-1] != seen.size:
        raise ValueError(f"`observed_value` must end with {seen.size} entries, got {value.shape}")
    rest = np.setdiff1d(np.arange(mean.size), seen)
    if _check.is_singular("cov", given[np.ix_(seen, seen)]):
        raise ValueError("`observed_index` has redundant coordinates; drop some of them")
    lower = _divergences.factor(cov[np.ix_(seen, seen)])
    gain = linalg.solve_triangular(lower, cov[np.ix_(seen, rest)], lower=True)
    gap = linalg.solve_triangular(
        lower, np.moveaxis(value - mean[seen], -1, 0).reshape(seen.size, -1), lower=True
    )
    if not np.all(np.abs(gap) < 1e300):
        raise ValueError("`observed_value` is too far from `mean` for `cov`; change the units")
    moved = (gap.T @ gain).reshape((*value.shape[:-1], rest.size))
    return mean[rest] + moved, cov[np.ix_(rest, rest)] - gain.T @ gain


def posterior_mean(mean, cov, x, *, signal, noise):
    r"""Best guess of a Gaussian y, given x = signal * y + noise * z.

    .. math::

       \mathbb E[Y|X=x]=\mu+a\Sigma\,(a^2\Sigma+b^2I)^{-1}(x-a\mu)

    Implements eq. (2.17).

    Parameters
    ----------
    mean : array_like, shape (d,)
        Mean of y.
    cov : array_like, shape (d, d)
        Covariance of y; may be singular.
    x : array_like, shape (..., d)
        Noisy points.
    signal, noise : float
        Factors :math:`a>0` and :math:`b\ge0`; z is standard normal.

    Returns
    -------
    ndarray, shape (..., d)
        Posterior means. Where neither prior nor noise has any variance, the prior mean.

    Raises
    ------
    ValueError
        If shapes disagree or a value is out of range.

    Notes
    -----
    Halder 2024, H-4. One eigendecomposition, :math:`O(d^3)`; no inverse is formed.
    Range: `signal` and `noise` from 1e-150 to 1e150, or no noise; points up to 1e150.

    Examples
    --------
    >>> posterior_mean([0.0], [[1.0]], [2.0], signal=1.0, noise=1.0)
    array([1.])
    """
    mean, cov, _ = _divergences.law(mean, cov)
    x = _check.as_points("x", x)
    if x.ndim == 0 or x.shape[-1] != mean.size:
        raise ValueError(f"`x` must have last axis {mean.size}, got shape {x.shape}")
    signal = _check.as_array("signal", _check.within("signal", signal), ndim=0)
    noise = _check.as_array("noise", _check.within("noise", noise, zero=True), ndim=0)
    eigenvalues, vectors = linalg.eigh(cov)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    # In units of the signal: its square may overflow.
    with np.errstate(over="ignore"):
        total = eigenvalues + np.square(noise / signal)
    gain = eigenvalues / np.where(total == 0, 1.0, total)
    return mean + ((x / signal - mean) @ vectors * gain) @ vectors.T


def sample(mean, cov, n_samples, rng):
    r"""Draw from a Gaussian, singular or not.

    .. math:: x=\mu+\Sigma^{1/2}z,\qquad z\sim\mathcal N(0,I)

    Parameters
    ----------
    mean : array_like, shape (d,)
        Mean.
    cov : array_like, shape (d, d)
        Symmetric positive semidefinite covariance.
    n_samples : int
        Number of draws, >= 1.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray, shape (n_samples, d)

    Raises
    ------
    ValueError
        If shapes disagree or `cov` is no covariance.
    TypeError
        If `rng` is no Generator.

    Notes
    -----
    The symmetric root is unique, so that draws do not depend on how a machine orders or
    signs eigenvectors.
    Range: means up to 1e150, variances up to 1e304.

    Examples
    --------
    >>> sample([1.0, 2.0], [[0.0, 0.0], [0.0, 0.0]], 1, np.random.default_rng(0))
    array([[1., 2.]])
    """
    mean, cov, _ = _divergences.law(mean, cov)
    shape = (_check.positive_int("n_samples", n_samples), mean.size)
    normal = _check.generator(rng).standard_normal(shape)
    return mean + normal @ _divergences.symmetric_root(cov)


def _indices(observed_index, dimension):
    try:
        seen = np.array([operator.index(i) for i in np.atleast_1d(observed_index)], dtype=int)
    except TypeError as error:
        raise TypeError("`observed_index` must hold integers") from error
    if not 1 <= seen.size < dimension:
        raise ValueError(f"`observed_index` must name 1 to {dimension - 1} coordinates")
    if np.any((seen < -dimension) | (seen >= dimension)):
        raise ValueError(f"`observed_index` must lie in 0 .. {dimension - 1}")
    seen = seen % dimension
    if np.unique(seen).size != seen.size:
        raise ValueError("`observed_index` repeats a coordinate; name each one once")
    return seen
