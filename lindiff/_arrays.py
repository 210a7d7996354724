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
    if values.shape != sizes.shape:
        raise ValueError(f"values must have shape {sizes.shape}, got {values.shape}")
    if limit.shape not in ((), sizes.shape):
        raise ValueError(f"limit must be a number or have shape {sizes.shape}")
    return sizes, values, limit


def slope(sizes, errors):
    errors = np.abs(errors)
    if errors.min() == 0:
        return None
    return np.polyfit(np.log(sizes), np.log(errors), 1)[0]
