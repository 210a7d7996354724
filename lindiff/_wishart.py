"""One Gaussian sample covariance: a factor of it, and its eigenvalues and eigenvectors."""

import numpy as np
from scipy import linalg
from scipy.linalg import lapack

_GRADED = 1e-10


def factor(values, degrees, rng):
    r"""Draw a matrix F of shape (d, min(f, d)) with :math:`FF^\top=N\Sigma_0`, in law.

    The coordinates are the population eigenvectors. For f >= d it is upper triangular.
    """
    if degrees < values.size:
        return np.sqrt(values)[:, None] * rng.standard_normal((degrees, values.size)).T
    d = values.size
    triangle = np.zeros((d, d), order="F")
    rows, columns = np.triu_indices(d, 1)
    triangle[rows, columns] = rng.standard_normal(rows.size)
    np.fill_diagonal(triangle, np.sqrt(rng.chisquare(degrees - d + 1 + np.arange(d))))
    triangle *= np.sqrt(values)[:, None]
    return triangle


def decompose(values, n_samples, degrees, rng, *, vectors):
    r"""Draw the eigenvalues (k,) of :math:`\Sigma_0` and, if asked, eigenvectors (d, k).

    Decreasing order, :math:`k=\min(f,d_+)` for :math:`d_+` positive entries of `values`.
    """
    alive = values > 0
    kept = values[alive]
    root = factor(kept, degrees, rng) / np.sqrt(n_samples)
    if root.size > 0 and kept.min(initial=np.inf) < _GRADED * kept.max(initial=0.0):
        found, basis = _jacobi(root)
    else:
        found, basis = _symmetric(root, degrees < kept.size, vectors)
    if not vectors:
        return found, None
    full = np.zeros((values.size, found.size))
    full[alive] = basis
    return found, full


def _symmetric(root, wide, vectors):
    gram = root.T @ root if wide else lapack.dlauum(root, lower=0)[0]
    if not vectors:
        found = linalg.eigvalsh(gram, lower=False, check_finite=False)
        return np.maximum(found[::-1], 0.0), None
    found, basis = np.linalg.eigh(gram, UPLO="U")
    if wide:
        basis = root @ basis
        basis /= np.linalg.norm(basis, axis=0)
    return np.maximum(found[::-1], 0.0), basis[:, ::-1]


def _jacobi(root):
    """Left singular vectors and squares of the singular values, all to relative accuracy."""
    order = np.argsort(-np.abs(root).max(axis=1))
    # joba = 2: rows and columns of very different scale; jobu = 0: left vectors of that size.
    values, left, _, scale, _, info = lapack.dgejsv(
        np.asfortranarray(root[order]), joba=2, jobu=0, jobv=3
    )
    if info != 0:
        raise np.linalg.LinAlgError("the singular values of a sample did not converge")
    basis = np.empty_like(left)
    basis[order] = left
    return (values * (scale[0] / scale[1])) ** 2, basis
