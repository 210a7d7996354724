"""Expected log-determinant of the learned map: the double-hook sum in fixed-point integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.special import digamma

_GUARD_BITS = 90
_MOST_TERMS, _MOST_SAMPLES = 50_000, 20_000


def log_det_at_zero(dimension, degrees):
    r"""Return :math:`F_0=\sum_i[\psi(i/2)-\psi((\nu-i+1)/2)]`, the value at zero correlation."""
    index = np.arange(1, dimension + 1)
    return float(np.sum(digamma(0.5 * index) - digamma(0.5 * (degrees - index + 1))))


def hook_sum(noise_to_signal, dimension, degrees):
    r"""Return :math:`F(\rho;d,\nu)-F_0` for :math:`\nu\ge d` and :math:`\Lambda>0`.

    The sums alternate and their terms grow exponentially with :math:`\nu`. They are added in
    integers scaled by a power of two that leaves 90 bits after the cancellation.
    """
    if degrees - dimension > _MOST_SAMPLES:
        raise ValueError(
            f"`n_samples` is more than {_MOST_SAMPLES:,} above `dimension`: the exact sum takes "
            "minutes; use log_det_asymptotic or kl_limit"
        )
    rho = 1 / (1 + Fraction(float(noise_to_signal)))
    twice_b = dimension - degrees
    logs, n_terms = _log_sizes(float(rho), float(1 - rho), twice_b, dimension)
    bits = _GUARD_BITS + int(sum(logs) / np.log(2.0))
    fixed = (rho.numerator << bits) // rho.denominator
    first, second, third = _factors(fixed, bits, twice_b, n_terms, dimension)
    k = np.arange(1, n_terms + 1).astype(object)
    total = -int(np.sum(first // k))
    for m, weight in enumerate(third):
        width = 2 * k + m
        lower = np.cumsum(second // (width - 1))
        upper = np.cumsum(second // (width * (width - 1)))
        inner = (first * (upper - lower // (width + 1))) >> bits
        total += 4 * ((int(np.sum(inner // width)) * weight) >> bits)
    return float(Fraction(total, 1 << bits))


def _log_sizes(rho, rest, twice_b, dimension):
    """Return the logarithms of the largest factors, and how many terms matter."""
    n_terms = -twice_b // 2 if twice_b % 2 == 0 else _odd_terms(rho, rest, twice_b)
    k = np.arange(n_terms)
    grow = np.log(np.abs(twice_b + 2 * k)) - np.log(2 * k + 1) + np.log(rho)
    numerator = np.abs(0.5 * (twice_b - 1) + k)
    second = np.where(numerator > 0, np.log(np.maximum(numerator, 0.25)), -np.inf)
    second = np.cumsum(second + np.log(rho) - np.log(np.maximum(k, 1)))
    m = np.arange(max(dimension - 2, 0))
    third = np.log(2 - twice_b + m) - np.log(m + 1) + np.log(rho)
    peaks = [np.max(np.cumsum(grow), initial=0.0), np.max(second, initial=0.0)]
    return [*peaks, np.max(np.cumsum(third), initial=0.0)], n_terms


def _odd_terms(rho, rest, twice_b):
    """Return a number of terms after which the tail is below the guard bits."""
    n_terms = 64 - twice_b
    while True:
        k = np.arange(n_terms)
        ratio = np.log(np.abs(twice_b + 2 * k)) - np.log(2 * k + 1) + np.log(rho)
        size = np.cumsum(ratio)
        if size[-1] < -_GUARD_BITS * np.log(2.0) + min(0.0, np.log(rest)):
            return n_terms
        if n_terms > _MOST_TERMS:
            raise ValueError(
                "`noise_to_signal` is too small for this `n_samples`: the series has too many "
                "terms; take n_samples + 1, where it is finite"
            )
        n_terms *= 2


def _factors(rho, bits, twice_b, n_terms, dimension):
    """Return the three Pochhammer factors times powers of rho, as scaled integers."""
    one = 1 << bits
    first, second, third = [], [], [one] if dimension > 1 else []
    value = one
    for k in range(1, n_terms + 1):
        value = ((value * (twice_b + 2 * k - 2)) // (2 * k - 1) * rho) >> bits
        first.append(value)
    value = one
    for k in range(1, n_terms + 1):
        value = ((value * (twice_b + 2 * k - 3)) // (2 * max(k - 1, 1)) * rho) >> bits
        second.append(value)
    for m in range(1, dimension - 1):
        third.append(((third[-1] * (1 - twice_b + m)) // m * rho) >> bits)
    return np.array(first, dtype=object), np.array(second, dtype=object), third
