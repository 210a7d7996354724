"""Checks of arguments shared by the modules: bad input fails early and by name."""

from __future__ import annotations

import operator

import numpy as np

_SYMMETRY_RTOL = 1e-10
_ROUNDING = 4.0
_ROWS = 128
# Sums of squares of points up to here, and sums of variances, stay within the floats.
LARGEST, LARGEST_VARIANCE = 1e150, 1e304


def as_array(name, value, ndim=None):
    """Return `value` as a float64 array; reject NaN, infinity, masks and a wrong rank."""
    if np.ma.is_masked(value):
        raise ValueError(
            f"`{name}` has masked entries, which would be read as numbers; pass "
            f"{name}.compressed() or {name}.filled(...)"
        )
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


def as_points(name, value, ndim=None):
    """Return `value` as by `as_array`; reject entries whose squares leave the range of floats."""
    array = as_array(name, value, ndim)
    if array.size > 0 and max(array.max(), -array.min()) > LARGEST:
        raise ValueError(f"`{name}` has entries above {LARGEST:g} in size; rescale the data")
    return array


def within(name, value, *, least=1e-150, most=1e150, zero=False):
    """Return `value` as by `positive`; reject numbers outside a range, 0 apart if `zero`."""
    array = np.asarray((non_negative if zero else positive)(name, value))
    outside = ((array < least) & (array != 0)) | (array > most)
    if np.any(outside):
        raise ValueError(
            f"`{name}` must {'be 0 or ' * zero}lie between {least:g} and {most:g}, got "
            f"{array[outside].flat[0]:.6g}; change the units"
        )
    return float(array) if array.ndim == 0 else array


def precision(value):
    """Return the spacing of the numbers next to 1 in the type of `value`, float64 at best."""
    dtype = np.asarray(value).dtype
    return max(np.finfo(dtype if dtype.kind == "f" else float).eps.item(), np.finfo(float).eps)


def rounding(variances, precision):
    """Return the size of rounding, shape (..., 1): 4 times `precision` times the sum.

    The dimension times the largest one would also bound the errors of a covariance, but in
    float32 that is more than the smallest variances of images.
    """
    return np.sum(_ROUNDING * precision * np.maximum(variances, 0.0), axis=-1, keepdims=True)


def as_spectrum(name, value, ndim=None):
    """Return variances of shape (..., d), d >= 1, all non-negative.

    Entries below zero by no more than `rounding` become zero, as `eigvalsh` returns them.
    """
    array = as_array(name, value, ndim)
    if array.ndim == 0:
        raise ValueError(f"`{name}` must have at least one axis; pass [value] for d = 1")
    if array.shape[-1] == 0:
        raise ValueError(f"`{name}` is empty; pass at least one variance")
    _not_too_large(name, array)
    return _without_rounding(name, "entries", array, value)


def as_covariance(name, value):
    """Return a symmetrised (d, d) matrix; reject one that is no covariance.

    A covariance is symmetric and has no eigenvalue below zero by more than `rounding`.
    Whether it may be singular is left to the caller; see `is_singular`.
    """
    array = as_array(name, value, ndim=2)
    if array.shape[0] != array.shape[1] or array.shape[0] == 0:
        raise ValueError(f"`{name}` must be a square matrix, got shape {array.shape}")
    _not_too_large(name, array)
    mean, gap = np.empty_like(array), 0.0
    for start in range(0, len(array), _ROWS):
        # A block of rows and its transpose stay in the cache.
        rows = slice(start, start + _ROWS)
        mean[rows] = array[:, rows].T
        gap = max(gap, np.abs(array[rows] - mean[rows]).max())
        # Half of the smallest number is zero, so equal entries are kept.
        equal = array[rows] == mean[rows]
        mean[rows] = np.where(equal, mean[rows], 0.5 * mean[rows] + 0.5 * array[rows])
    tolerance = max(_SYMMETRY_RTOL, _ROUNDING * precision(value) * len(array))
    if gap > tolerance * max(array.max(), -array.min()):
        raise ValueError(f"`{name}` must be symmetric; pass ({name} + {name}.T) / 2")
    try:
        np.linalg.cholesky(mean)
    except np.linalg.LinAlgError:
        eigenvalues = np.linalg.eigvalsh(mean)
        _without_rounding(name, "eigenvalues", eigenvalues, value)
        if eigenvalues[0] < -rounding(eigenvalues, precision(mean)).item():
            # Rounding of a lower precision would be an error to whoever sees float64.
            eigenvalues, vectors = np.linalg.eigh(mean)
            mean = (vectors * np.maximum(eigenvalues, 0.0)) @ vectors.T
            mean = 0.5 * (mean + mean.T)
    return mean


def is_singular(name, value):
    """Return whether a covariance is singular to the precision of the type handed in.

    The units of single coordinates do not matter: in units in which every variance is 1, an
    eigenvalue of at most `rounding` counts as zero.
    """
    cov = as_covariance(name, value)
    variances = np.diag(cov)
    if np.any(variances <= 0):
        return True
    scale = 1.0 / np.sqrt(variances)
    with np.errstate(over="ignore"):
        # A correlation beyond 1 is rounding; however large, it tells no more than 2.
        correlations = np.clip(scale[:, None] * cov * scale, -2.0, 2.0)
    lowest = np.linalg.eigvalsh(correlations)[0]
    return bool(lowest <= _ROUNDING * precision(value) * len(cov))


def _not_too_large(name, variances):
    if max(variances.max(), -variances.min()) > LARGEST_VARIANCE:
        raise ValueError(f"`{name}` has entries above {LARGEST_VARIANCE:g}; rescale the data")


def _without_rounding(name, what, variances, value):
    if not np.any(variances < 0):
        return variances
    below = variances + rounding(variances, precision(value))
    if np.any(below < 0):
        row = np.unravel_index(np.argmin(below), below.shape)[:-1]
        lowest = variances[row].min()
        explained = rounding(variances[row], precision(value)).item()
        raise ValueError(
            f"`{name}` has negative {what}, down to {lowest:.3g}; rounding of "
            f"{np.asarray(value).dtype} explains {-explained:.3g}. Set them to zero, or pass "
            f"`{name}` in the precision in which it was computed"
        )
    return np.maximum(variances, 0.0)


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
