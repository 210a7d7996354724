r"""Divergences between Gaussians in matrix form; see `lindiff.gaussians`.

Matrices are first scaled by the diagonal of one of them, which changes no divergence and
makes "singular" mean "nearly linearly dependent coordinates", whatever their units.
"""

import numpy as np
from scipy import linalg

from lindiff import _check
from lindiff._check import is_singular

_SERIES_BELOW = 0.5
_SERIES_TERMS = 18


def excess(x):
    r"""Return x - log(1 + x) for x >= -1, with full relative accuracy near zero."""
    near = np.where(np.abs(x) <= _SERIES_BELOW, x, 0.0)
    # log(1 + x) = 2 artanh(u) with u = x / (2 + x), and x - 2u = x u.
    u = near / (2.0 + near)
    series = np.zeros_like(u)
    for k in range(_SERIES_TERMS, -1, -1):
        series = 1.0 / (2 * k + 3) + u**2 * series
    far = np.where(np.abs(x) <= _SERIES_BELOW, 1.0, x)
    with np.errstate(divide="ignore"):
        direct = far - np.log1p(far)
    return np.where(np.abs(x) <= _SERIES_BELOW, near * u - 2.0 * u**3 * series, direct)


def law(mean, cov, suffix=""):
    """Check one Gaussian and return its mean, its covariance and whether it is singular."""
    mean_name, cov_name = f"mean{suffix}", f"cov{suffix}"
    mean = _check.as_points(mean_name, mean, ndim=1)
    singular = is_singular(cov_name, cov)
    cov = _check.as_covariance(cov_name, cov)
    if mean.size != len(cov):
        raise ValueError(
            f"`{mean_name}` must have shape ({len(cov)},) to fit `{cov_name}`, got {mean.shape}"
        )
    return mean, cov, singular


def pair(mean_p, cov_p, mean_q, cov_q):
    """Check two Gaussians of one dimension."""
    mean_p, cov_p, singular_p = law(mean_p, cov_p, "_p")
    mean_q, cov_q, singular_q = law(mean_q, cov_q, "_q")
    if mean_p.size != mean_q.size:
        raise ValueError(
            f"`mean_q` and `cov_q` must have dimension {mean_p.size} like p, got {mean_q.size}"
        )
    return mean_p - mean_q, cov_p, cov_q, singular_p, singular_q


def factor(cov):
    """Return the lower Cholesky factor of a matrix known to be regular."""
    scale = np.sqrt(np.diag(cov))
    return scale[:, None] * linalg.cholesky(cov / scale[:, None] / scale, lower=True)


def log_det(lower):
    """Return the log-determinant of the matrix with Cholesky factor `lower`."""
    return 2.0 * np.sum(np.log(np.diag(lower)))


def whitened(lower, matrix):
    """Return the eigenvalues of L^-1 M L^-T."""
    half = linalg.solve_triangular(lower, matrix, lower=True, check_finite=False)
    full = linalg.solve_triangular(lower, half.T, lower=True, check_finite=False)
    if not np.all(np.isfinite(full)):
        return np.array([np.inf])
    return linalg.eigvalsh(0.5 * full + 0.5 * full.T)


def kl(shift, cov_p, cov_q):
    """Return KL(p || q) of two regular Gaussians."""
    lower = factor(cov_q)
    gap = linalg.solve_triangular(lower, shift, lower=True)
    relative = whitened(lower, cov_p - cov_q)
    if np.max(np.abs(relative)) <= _SERIES_BELOW:
        spread = np.sum(excess(relative))
    elif np.any(relative == np.inf):
        return np.inf
    else:
        # Small eigenvalues of p drown in the large ones of `relative`, not in its factor.
        lower_p = factor(cov_p)
        ratio = linalg.solve_triangular(lower, lower_p, lower=True)
        with np.errstate(over="ignore"):
            spread = np.sum(ratio**2) - len(cov_q) + log_det(lower) - log_det(lower_p)
    with np.errstate(over="ignore"):
        return float(0.5 * (spread + gap @ gap))


def log_affinity(shift, cov_p, cov_q):
    r"""Return the log of :math:`\int\sqrt{pq}` of two regular Gaussians."""
    lower = factor(0.5 * cov_p + 0.5 * cov_q)
    gap = linalg.solve_triangular(lower, shift, lower=True)
    contrast = whitened(lower, 0.5 * cov_p - 0.5 * cov_q)
    if np.max(np.abs(contrast)) <= _SERIES_BELOW:
        overlap = 0.25 * np.sum(np.log1p(-(contrast**2)))
    else:
        both = log_det(factor(cov_p)) + log_det(factor(cov_q))
        overlap = 0.25 * both - 0.5 * log_det(lower)
    with np.errstate(over="ignore"):
        return float(overlap - 0.125 * gap @ gap)


def symmetric_root(cov):
    """Return the positive semidefinite square root; rounding counts as zero."""
    eigenvalues, vectors = linalg.eigh(cov)
    eigenvalues[eigenvalues <= _check.rounding(eigenvalues, np.finfo(float).eps)] = 0.0
    return (vectors * np.sqrt(eigenvalues)) @ vectors.T


def bures(cov_p, cov_q):
    """Return the squared W2 distance of two centred Gaussians.

    The smallest Frobenius distance between roots of the two matrices: a sum of squares,
    so that nothing cancels when they are nearly equal.
    """
    root_p, root_q = symmetric_root(cov_p), symmetric_root(cov_q)
    left, _, right = linalg.svd(root_q @ root_p)
    return float(np.sum((root_p - root_q @ left @ right) ** 2))
