"""Moments in the eigenbasis, from a covariance matrix or from data."""

import numpy as np
import scipy.linalg

from lindiff import _check
from lindiff._empirical import training_set


def spectrum_of_covariance(cov, dimension):
    """Return falling eigenvalues >= 0 and eigenvectors of a checked covariance matrix."""
    cov = _check.as_covariance("cov", cov)
    if cov.shape[0] != dimension:
        raise ValueError(f"`cov` must have shape {(dimension, dimension)}, got {cov.shape}")
    values, vectors = np.linalg.eigh(cov)
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


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
