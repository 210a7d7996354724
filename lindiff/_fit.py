"""Moments in the eigenbasis, from a covariance matrix or from data."""

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from lindiff import _check
from lindiff._empirical import training_set


def spectrum_of_covariance(cov, dimension):
    """Return falling eigenvalues >= 0 and eigenvectors of a checked covariance matrix."""
    cov = _check.as_covariance("cov", cov)
    if cov.shape[0] != dimension:
        raise ValueError(f"`cov` must have shape {(dimension, dimension)}, got {cov.shape}")
    values, vectors = np.linalg.eigh(cov)
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


def graded_svd(matrix):
    """Return singular values and right vectors (columns) of a matrix with rows >= columns.

    One-sided Jacobi rotations keep the small values of rows and columns of any scale.
    """
    # The rotations call everything zero that is small in itself.
    unit = np.abs(matrix).max() or 1.0
    # joba = 2: rows and columns of very different scale; jobu = 3: no left vectors.
    values, _, vectors, scale, _, info = lapack.dgejsv(
        np.asfortranarray(matrix / unit), joba=2, jobu=3, jobv=0
    )
    if info != 0:
        raise np.linalg.LinAlgError("the singular values did not converge")
    return values * (scale[0] / scale[1]) * unit, vectors


def moments_of_data(data):
    """Return mean, non-zero variances and their directions, by the smaller side of the data."""
    data = training_set(data)
    n, d = data.shape
    mean = data.mean(axis=0)
    centred = data - mean
    size = np.linalg.norm(data)
    if n > d:
        (triangle,) = scipy.linalg.qr(centred, mode="r", overwrite_a=True)
        _, singular, rows = np.linalg.svd(triangle[:d], full_matrices=False)
    else:
        basis, triangle = scipy.linalg.qr(centred.T, mode="economic", overwrite_a=True)
        vectors, singular, _ = np.linalg.svd(triangle)
        rows = vectors.T @ basis.T
    kept = singular > max(n, d) * np.finfo(float).eps * size
    return mean, singular[kept] ** 2 / n, rows[kept].T
