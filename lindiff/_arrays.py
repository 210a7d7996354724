"""Input checks and small fits for the numerical checks of `lindiff.verify`."""

import numpy as np

from lindiff._report import CheckError


def numbers(name, values):
    array = np.asarray(values)
    if array.dtype == object or array.dtype.kind not in "biufc":
        raise TypeError(f"{name} must hold numbers, got {array.dtype}; call float() on them")
    array = array.astype(complex if array.dtype.kind == "c" else float)
    if array.size == 0:
        raise ValueError(f"{name} must not be empty")
    if not np.all(np.isfinite(array)):
        raise CheckError(f"{name} holds NaN or infinity")
    return array


def tolerance(name, value):
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and not negative, got {value}")
    return float(value)


def difference(tag, left, right):
    if left.shape != right.shape:
        raise ValueError(f"shapes {left.shape} and {right.shape} in ({tag}) must be equal")
    return np.abs(left - right)


def largest_error(tag, left, right):
    return difference(tag, left, right).max()


def sizes_values_limit(sizes, values, limit):
    sizes, values = numbers("sizes", sizes), numbers("values", values)
    limit = numbers("limit", limit)
    if sizes.ndim != 1 or np.unique(sizes).size < 3:
        raise ValueError("sizes must be a list of at least 3 different sizes")
    if sizes.min() <= 0 or sizes.max() < 4 * sizes.min():
        raise ValueError("sizes must be positive and span a factor of at least 4")
    if values.ndim not in (1, 2) or values.shape[0] != sizes.size:
        raise ValueError(f"values must have shape {sizes.shape} or one row per size")
    if limit.shape not in ((), values.shape[1:], values.shape):
        raise ValueError(f"limit must be a number or have shape {values.shape}")
    return sizes, values, limit


def slopes(sizes, errors):
    """Fit the power law of each column; None for a column that holds a zero."""
    columns = np.abs(errors).reshape(sizes.size, -1).T
    return [None if column.min() == 0 else _slope(sizes, column) for column in columns]


def _slope(sizes, errors):
    return np.polyfit(np.log(sizes), np.log(errors), 1)[0]


def wrong_limit(values, limit):
    """Return limits 5 % off; where a column has the limit zero, half of its closest value."""
    limit = np.broadcast_to(limit, values.shape)
    near = 0.5 * np.abs(values).min(axis=0)
    return np.where(np.any(limit != 0, axis=0), 1.05 * limit, limit + near)
