"""Sums of powers of 1 / (eigenvalue + z) over a spectrum, at many values of z."""

import numpy as np
from numpy.polynomial.chebyshev import chebvander

from lindiff._compressed import compress

_BLOCK = 1 << 16
_FEW = 64
_CELL_WIDTH = 0.25
_POINTS = 10


def atoms(eigenvalues, weights, n_values):
    """Return a shorter spectrum with the same sums if it pays for this many values of z."""
    if n_values <= _FEW:
        return eigenvalues, weights
    short = compress(eigenvalues, weights)
    return short.nodes, short.weights


def kernel_sums(nodes, columns, shift, power):
    r"""Return :math:`\sum_jC_{jp}/(x_j+z)^{\rm power}` for every z.

    Parameters: nodes (k,), columns (k, p), shift (...), power 1 or 2; result (..., p).
    The sums are analytic in log z within a strip of half-width pi, like the kernel itself, so
    a table of Chebyshev points in cells of log z gives them to rounding where it is shorter.
    """
    flat = np.ravel(shift)
    route = _summed if _short(flat) else _interpolated
    return route(nodes, columns, flat, power).reshape(*np.shape(shift), columns.shape[1])


def _short(flat):
    if flat.size == 0 or flat.min() == 0:
        return True
    return flat.size <= 4 * _POINTS * (np.log(flat.max() / flat.min()) / _CELL_WIDTH + 1)


def _summed(nodes, columns, flat, power):
    """Blocks of rows stay in the cache, and memory is bounded."""
    result = np.empty((flat.size, columns.shape[1]))
    rows = max(1, _BLOCK // nodes.size)
    for start in range(0, flat.size, rows):
        kernel = nodes + flat[start : start + rows, None]
        np.divide(1.0, kernel, out=kernel)
        if power == 2:
            kernel *= kernel
        np.matmul(kernel, columns, out=result[start : start + rows])
    return result


def _interpolated(nodes, columns, flat, power):
    place = np.log(flat)
    low = place.min()
    place = (place - low) / _CELL_WIDTH
    cell = place.astype(np.int16)
    local = 2.0 * (place - cell) - 1.0
    angles = np.pi * (np.arange(_POINTS) + 0.5) / _POINTS
    places = np.arange(cell.max() + 1)[:, None] + 0.5 + 0.5 * np.cos(angles)
    table = _summed(nodes, columns, np.exp(low + _CELL_WIDTH * places).ravel(), power)
    basis = np.cos(np.arange(_POINTS)[:, None] * angles) * (2.0 / _POINTS)
    basis[0] *= 0.5
    coefficients = basis @ table.reshape(*places.shape, -1)
    order = np.argsort(cell, kind="stable")
    local, bounds = local[order], np.append(0, np.cumsum(np.bincount(cell)))
    sorted_sums = np.empty((flat.size, columns.shape[1]))
    for index in np.flatnonzero(np.diff(bounds)):
        part = slice(bounds[index], bounds[index + 1])
        sorted_sums[part] = chebvander(local[part], _POINTS - 1) @ coefficients[index]
    result = np.empty_like(sorted_sums)
    result[order] = sorted_sums
    return result
