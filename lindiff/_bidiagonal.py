r"""Sample covariances of white data as tridiagonal matrices, and their log-determinants.

A white Gaussian matrix with n degrees of freedom in m <= n directions is, up to rotations,
a lower bidiagonal matrix B with independent entries: squares of the diagonal
:math:`a_i\sim\chi^2_{n-i+1}` and of the subdiagonal :math:`b_i\sim\chi^2_{m-i}`.
"""

import numpy as np
from scipy.linalg import lapack

_CHUNK = 2**16


def draw(degrees, dimension, size, rng):
    r"""Squares of the entries of B, shapes (size, m); the last subdiagonal entry is 0.

    The law is that of a `degrees` x `dimension` matrix of standard normals; m is the
    smaller of the two numbers, which may be zero.
    """
    small, large = sorted((degrees, dimension))
    steps = np.arange(small)
    if small == 0:
        return np.zeros((size, 0)), np.zeros((size, 0))
    freedom = np.concatenate([large - steps, small - 1 - steps[:-1]])
    squares = rng.chisquare(freedom, (size, 2 * small - 1))
    below = np.concatenate([squares[:, small:], np.zeros((size, 1))], axis=1)
    return squares[:, :small], below


def eigenvalues(diagonal, below):
    r"""Eigenvalues of :math:`BB^\top` in decreasing order, from squares of shape (size, m)."""
    values = diagonal.copy()
    values[:, 1:] += below[:, :-1]
    coupling = np.sqrt(diagonal * below)[:, :-1]
    for row, off in zip(values, coupling, strict=True):
        if row.size > 1:
            row[:] = lapack.dsterf(row, off)[0]
    return np.maximum(values, 0.0)[:, ::-1]


def log_det_series(diagonal, below, z, order):
    r"""Taylor coefficients in z of :math:`\ln\det(BB^\top+z)`, up to `order` <= 2.

    Parameters
    ----------
    diagonal, below : numpy.ndarray, shape (size, m)
        Squares of the entries of B.
    z : numpy.ndarray, shape (n,)

    Returns
    -------
    numpy.ndarray, shape (order + 1, size, n)

    Notes
    -----
    The pivots of :math:`BB^\top+z` are :math:`a_i+z\sigma_i` with
    :math:`\sigma_1=1` and :math:`\sigma_{i+1}=1+b_i\sigma_i/(a_i+z\sigma_i)`. This map is a
    positive 2 x 2 matrix, and the determinant is an entry of the product of all. The product
    is taken over neighbours in a tree, every matrix divided by its last entry, whose
    logarithms add up. Only positive numbers are added in the values; in the derivatives
    each division acts on one pair of neighbours, so that no error grows with m.
    """
    size, m = diagonal.shape
    result = np.zeros((order + 1, size, z.size))
    if m == 0:
        return result
    levels = max(1, min(z.size, _CHUNK // m))
    draws = max(1, _CHUNK // (m * levels))
    for first in range(0, size, draws):
        a, b = diagonal[first : first + draws].T, below[first : first + draws].T
        for start in range(0, z.size, levels):
            part = z[start : start + levels]
            result[:, first : first + draws, start : start + levels] = _tree(a, b, part, order)
    return result


def _tree(a, b, z, order):
    a, b = a[:, :, None], b[:, :, None]
    shape = np.broadcast_shapes(a.shape, z.shape)
    total = np.zeros((order + 1, *shape[1:]))
    total[0] += np.log(a).sum(axis=0)
    upper, corner, lower = np.zeros((3, order + 1, *shape))
    upper[0], corner[0], lower[0] = (z + b) / a, 1.0, z / a
    if order > 0:
        upper[1] = lower[1] = 1.0 / a
    while upper.shape[1] > 1:
        upper, corner, lower = _halve(upper, corner, lower, total)
    # The first vector is (1, 1): one more neighbour with these two entries.
    lower[0] += 1.0
    total += _logarithm(lower[:, 0])
    return total


def _halve(upper, corner, lower, total):
    """Multiply neighbours of the chain of matrices [[upper, corner], [lower, 1]]."""
    pairs = upper.shape[1] // 2 * 2
    first = [entry[:, 0:pairs:2] for entry in (upper, corner, lower)]
    second = [entry[:, 1:pairs:2] for entry in (upper, corner, lower)]
    scale = _product(second[2], first[1])
    scale[0] += 1.0
    total += _logarithm(scale).sum(axis=1)
    halves = (
        _product(second[0], first[0]) + _product(second[1], first[2]),
        _product(second[0], first[1]) + second[1],
        _product(second[2], first[0]) + first[2],
    )
    halves = [_quotient(entry, scale) for entry in halves]
    if pairs == upper.shape[1]:
        return halves
    last = [entry[:, -1:] for entry in (upper, corner, lower)]
    return [np.concatenate(both, axis=1) for both in zip(halves, last, strict=True)]


def _product(u, v):
    """Product of two power series; the coefficients lie along the first axis."""
    result = u[0] * v
    for k in range(1, len(u)):
        result[k:] += u[k] * v[: len(v) - k]
    return result


def _quotient(u, v):
    result = np.empty_like(u)
    for k in range(len(u)):
        rest = u[k] - sum(result[j] * v[k - j] for j in range(k))
        np.divide(rest, v[0], out=result[k])
    return result


def _logarithm(u):
    result = np.empty_like(u)
    result[0] = np.log(u[0])
    if len(u) > 1:
        result[1] = u[1] / u[0]
    if len(u) > 2:
        result[2] = u[2] / u[0] - 0.5 * result[1] ** 2
    return result
