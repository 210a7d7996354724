"""Sums of powers of 1 / (eigenvalue + z) over a spectrum, at many values of z."""

import numpy as np

from lindiff._compressed import compress

_BLOCK = 1 << 16
_FEW = 64


def atoms(eigenvalues, weights, n_values):
    """Return a shorter spectrum with the same sums if it pays for this many values of z."""
    if n_values <= _FEW:
        return eigenvalues, weights
    short = compress(eigenvalues, weights)
    return short.nodes, short.weights


def kernel_sums(nodes, columns, shift, power):
    r"""Return :math:`\sum_jC_{jp}/(x_j+z)^{\rm power}` for every z.

    Parameters: nodes (k,), columns (k, p), shift (...), power 1 or 2; result (..., p).
    Blocks of rows stay in the cache, so that memory is bounded and no loop is over nodes.
    """
    flat = np.ravel(shift)
    result = np.empty((flat.size, columns.shape[1]))
    rows = max(1, _BLOCK // nodes.size)
    for start in range(0, flat.size, rows):
        kernel = nodes + flat[start : start + rows, None]
        np.divide(1.0, kernel, out=kernel)
        if power == 2:
            kernel *= kernel
        np.matmul(kernel, columns, out=result[start : start + rows])
    return result.reshape(*np.shape(shift), columns.shape[1])
