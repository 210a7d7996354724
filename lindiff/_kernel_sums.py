"""Sums of smooth kernels over a spectrum, at many values of z."""

import numpy as np
from numpy.polynomial.chebyshev import chebvander

from lindiff._compressed import compress

_BLOCK = 1 << 14
_FEW = 64
_CELL_WIDTH = 0.25
_POINTS = 10
_MODERATE = 1e100


def atoms(eigenvalues, weights, n_values):
    """Return a shorter spectrum with the same sums if it pays for this many values of z.

    The atoms' weights alternate in sign, so that sums which overflow need the spectrum itself.
    """
    if n_values <= _FEW or not (_moderate(eigenvalues) and _moderate(weights)):
        return eigenvalues, weights
    short = compress(eigenvalues, weights)
    return short.nodes, short.weights


def _moderate(values):
    sizes = np.abs(values[values != 0])
    return sizes.size == 0 or (sizes.min() > 1 / _MODERATE and sizes.max() < _MODERATE)


def loss_sums(nodes, masses, data, shift):
    r"""Return :math:`\sum_jm_jv_j,\ \sum_jm_jv_j^2` and :math:`\sum_ja_jz/(x_j+z)^2`.

    Here :math:`v_j=x_j/(x_j+z)`; masses m (k,), data a (k,), shift z (...), result (..., 3).
    """

    def sums(whole, z):
        kept = nodes / whole
        first = kept @ masses
        kept *= kept
        moved = data / whole
        moved *= z / whole
        return np.stack([first, kept @ masses, moved.sum(axis=1)], axis=1)

    return _over_levels(sums, nodes, shift)


def trace_sums(nodes, weights, shift, power):
    r"""Return :math:`\sum_jw_j/(x_j+z)^{\rm power}` for every z, power 1 or 2."""

    def sums(whole, _):
        share = weights / whole
        if power == 2:
            share /= whole
        return share.sum(axis=1, keepdims=True)

    return _over_levels(sums, nodes, shift)[..., 0]


def _over_levels(sums, nodes, shift):
    """Evaluate sums for every z.

    The sums are analytic in log z within a strip of half-width pi, like the kernels, so a
    table of Chebyshev points in cells of log z gives them to rounding where it is shorter.
    """
    flat = np.ravel(shift)
    route = _summed if _short(flat) else _interpolated
    with np.errstate(over="ignore"):
        found = route(sums, nodes, flat)
    return found.reshape(*np.shape(shift), found.shape[1])


def _short(flat):
    if flat.size == 0 or flat.min() < 1 / _MODERATE or flat.max() > _MODERATE:
        return True
    return flat.size <= 4 * _POINTS * (np.log(flat.max() / flat.min()) / _CELL_WIDTH + 1)


def _summed(sums, nodes, flat):
    """Blocks of rows stay in the cache, and memory is bounded."""
    rows = max(1, _BLOCK // nodes.size)
    blocks = [flat[start : start + rows, None] for start in range(0, max(flat.size, 1), rows)]
    return np.concatenate([sums(nodes + block, block) for block in blocks])


def _interpolated(sums, nodes, flat):
    place = np.log(flat)
    low = place.min()
    place = (place - low) / _CELL_WIDTH
    cell = place.astype(np.int16)
    local = 2.0 * (place - cell) - 1.0
    angles = np.pi * (np.arange(_POINTS) + 0.5) / _POINTS
    places = np.arange(cell.max() + 1)[:, None] + 0.5 + 0.5 * np.cos(angles)
    table = _summed(sums, nodes, np.exp(low + _CELL_WIDTH * places).ravel())
    basis = np.cos(np.arange(_POINTS)[:, None] * angles) * (2.0 / _POINTS)
    basis[0] *= 0.5
    coefficients = basis @ table.reshape(*places.shape, -1)
    order = np.argsort(cell, kind="stable")
    local, bounds = local[order], np.append(0, np.cumsum(np.bincount(cell)))
    sorted_sums = np.empty((flat.size, table.shape[1]))
    for index in np.flatnonzero(np.diff(bounds)):
        part = slice(bounds[index], bounds[index + 1])
        sorted_sums[part] = chebvander(local[part], _POINTS - 1) @ coefficients[index]
    result = np.empty_like(sorted_sums)
    result[order] = sorted_sums
    return result
