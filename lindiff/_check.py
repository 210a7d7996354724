"""Checks of arguments shared by the modules: bad input fails early and by name."""

from __future__ import annotations

import operator

import numpy as np

_SYMMETRY_RTOL = 1e-10
_ROWS = 128


def as_array(name, value, ndim=None):
    """Return `value` as a float64 array; reject NaN, infinity and a wrong rank."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise TypeError(f"`{name}` has rows of different lengths; pass a full array") from error
    if array.dtype.kind not in "biuf" and array.size > 0:
        raise TypeError(f"`{name}` must hold real numbers, got dtype {array.dtype}")
    array = array.astype(np.float64, copy=False)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"`{name}` has NaN or infinite entries; remove them first")
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if allowed is not None and array.ndim not in allowed:
        wanted = " or ".join(str(n) for n in allowed)
        raise ValueError(f"`{name}` must have {wanted} axes, got shape {array.shape}")
    return array


def as_spectrum(name, value):
    """Return variances of shape (..., d), d >= 1, all non-negative."""
    array = as_array(name, value)
    if array.ndim == 0:
        raise ValueError(f"`{name}` must have at least one axis; pass [value] for d = 1")
    if array.shape[-1] == 0:
        raise ValueError(f"`{name}` is empty; pass at least one variance")
    if np.any(array < 0):
        raise ValueError(f"`{name}` has negative entries; variances must be >= 0")
    return array


def as_covariance(name, value):
    """Return a symmetrised (d, d) matrix; reject one that is not symmetric.

    Positivity is left to the caller, who knows whether a singular matrix is allowed.
    """
    array = as_array(name, value, ndim=2)
    if array.shape[0] != array.shape[1] or array.shape[0] == 0:
        raise ValueError(f"`{name}` must be a square matrix, got shape {array.shape}")
    mean, gap = np.empty_like(array), 0.0
    for start in range(0, len(array), _ROWS):
        # A block of rows and its transpose stay in the cache.
        rows = slice(start, start + _ROWS)
        mean[rows] = array[:, rows].T
        gap = max(gap, np.abs(array[rows] - mean[rows]).max())
        mean[rows] *= 0.5
        mean[rows] += 0.5 * array[rows]
    if gap > _SYMMETRY_RTOL * max(array.max(), -array.min()):
        raise ValueError(f"`{name}` must be symmetric; pass ({name} + {name}.T) / 2")
    return mean


def positive(name, value):
    """Return `value` (a float for a scalar, else an array) with all entries > 0."""
    array = as_array(name, value)
    if np.any(array <= 0):
        raise ValueError(f"`{name}` must be positive, got {_worst(array)}")
    return float(array) if array.ndim == 0 else array


def non_negative(name, value):
    """Return `value` (a float for a scalar, else an array) with all entries >= 0."""
    array = as_array(name, value)
    if np.any(array < 0):
        raise ValueError(f"`{name}` must be >= 0, got {_worst(array)}")
    return float(array) if array.ndim == 0 else array


def positive_int(name, value):
    """Return `value` as an int >= 1; reject booleans, floats and strings."""
    return _int(name, value, 1)


def natural(name, value):
    """Return `value` as an int >= 0, such as a seed or an index."""
    return _int(name, value, 0)


def _int(name, value, least):
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"`{name}` must be an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"`{name}` must be an integer, got {value!r}") from error
    if number < least:
        raise ValueError(f"`{name}` must be at least {least}, got {number}")
    return number


def alpha_bar(value):
    """Return the squared signal coefficient(s) of a VP level, in (0, 1]."""
    array = as_array("alpha_bar", value)
    if np.any((array <= 0) | (array > 1)):
        raise ValueError("`alpha_bar` must lie in (0, 1]; it is the squared signal coefficient")
    return float(array) if array.ndim == 0 else array


def generator(rng):
    """Return `rng` if it is a numpy Generator; seeds and legacy states are rejected."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError("`rng` must be a numpy Generator; pass np.random.default_rng(seed)")
    return rng


def _worst(array):
    return f"{float(np.min(array)):.6g}"
