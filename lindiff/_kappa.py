r"""The self-consistent factor :math:`\kappa`; see `lindiff.equivalents`.

The unknown is the ratio :math:`x=\kappa/z`, the root of

.. math:: N-\sum_\nu m_\nu\frac{x\lambda_\nu}{1+x\lambda_\nu}-Nzx=0,

whose left side is decreasing and convex. The integer part of the sum, the number of modes
with :math:`x\lambda>1`, is subtracted from N exactly; what remains is a sum of small
terms. So the root has full relative accuracy also where N is close to the rank.
"""

from dataclasses import replace

import numpy as np

from lindiff import _check
from lindiff._compressed import compress

_BLOCK = 32768
_GRID_STEP = 0.125
_SPREAD = 1e-300
# The largest eigenvalue is brought near 2 ** _TOP, so that x times any eigenvalue reaches
# from 1e-290 to where rounding hides the noise, without leaving the range of a double.
_TOP = 50
_LARGEST = 2.0**1012
_NOISY = 900


def as_modes(eigenvalues, multiplicities):
    """Check a spectrum and its multiplicities, both of shape (d,)."""
    eigenvalues = _check.as_spectrum("eigenvalues", eigenvalues)
    if eigenvalues.ndim != 1:
        raise ValueError(f"`eigenvalues` must have shape (d,), got {eigenvalues.shape}")
    if np.any((eigenvalues > 0) & (eigenvalues < _SPREAD * eigenvalues.max())):
        raise ValueError(
            "`eigenvalues` span more than 300 decades; set those that do not count to zero"
        )
    if multiplicities is None:
        return eigenvalues, np.ones_like(eigenvalues)
    multiplicities = np.asarray(_check.positive("multiplicities", multiplicities))
    if multiplicities.shape != eigenvalues.shape:
        raise ValueError(
            f"`multiplicities` must have the shape {eigenvalues.shape} of `eigenvalues`, "
            f"got {multiplicities.shape}"
        )
    return eigenvalues, multiplicities


def as_samples(value, name="n_samples", *, estimated_mean=False):
    """Check numbers of samples: real, at least 1, or 2 where their mean is subtracted."""
    array = _check.as_array(name, value)
    if np.asarray(value).dtype == bool:
        raise TypeError(f"`{name}` must hold numbers, got {value!r}")
    least = 2 if estimated_mean else 1
    if np.any(array < least):
        why = " with `estimated_mean`" if estimated_mean else ""
        raise ValueError(f"`{name}` must be at least {least}{why}, got {float(array.min()):.6g}")
    return array


def unit(values):
    """Exponent of the power of two that brings the largest of `values` near 2 ** _TOP."""
    return int(np.frexp(np.abs(values).max())[1]) - _TOP


def population(eigenvalues, weights):
    """Compress a checked spectrum in units that leave room at both ends of the doubles."""
    exponent = unit(eigenvalues)
    return replace(compress(np.ldexp(eigenvalues, -exponent), weights), exponent=exponent)


def broadcast(**arrays):
    """Broadcast named arrays; return the common shape and them as flat arrays."""
    try:
        full = np.broadcast_arrays(*arrays.values())
    except ValueError as error:
        shapes = ", ".join(f"`{name}` {np.shape(value)}" for name, value in arrays.items())
        raise ValueError(f"these shapes do not broadcast: {shapes}") from error
    return full[0].shape, [np.ravel(array) for array in full]


def solve_kappa(eigenvalues, n_samples, z, *, multiplicities=None):
    r"""Factor by which N samples weaken the signal in every deterministic equivalent.

    .. math:: \kappa=1-\frac1N\sum_\nu m_\nu\frac{\kappa\lambda_\nu}{\kappa\lambda_\nu+z}

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        Population eigenvalues :math:`\lambda_\nu\ge0`.
    n_samples : array_like
        Number N of samples, >= 1, not necessarily whole.
    z : array_like
        Noise level plus floor, :math:`(1-\bar\alpha)/\bar\alpha+c\ge0`. Broadcasts with
        `n_samples`.
    multiplicities : array_like, shape (d,), optional
        How often each eigenvalue occurs, :math:`m_\nu>0`; ones by default.

    Returns
    -------
    float or numpy.ndarray
        The root in [0, 1], of the shape to which `n_samples` and `z` broadcast.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    Relative error below 1e-13 for positive eigenvalues over up to 300 decades, more of them
    are refused, for every z and real N >= 1, also at N = d; multiplicities that are not whole
    add their own rounding, 1e-16 N, to :math:`N\kappa`. At z = 0 it is the limit
    max(0, 1 - rank / N). The number of samples never weakens the signal by more than the
    degrees of freedom, :math:`\kappa\ge1-\mathrm{df}(z)/N`.
    Memory and time are linear in d, then independent of d for each root.
    Merger and Goldt 2025, MG-12, MG-V2.b.

    Examples
    --------
    >>> print(solve_kappa([1.0, 1.0], 2, [0.5, 1e-20]))
    [5.e-01 1.e-10]
    """
    eigenvalues, multiplicities = as_modes(eigenvalues, multiplicities)
    n_samples, z = as_samples(n_samples), np.asarray(_check.non_negative("z", z))
    shape, (n, z) = broadcast(n_samples=n_samples, z=z)
    kappa = solve(population(eigenvalues, multiplicities), n, z)[1].reshape(shape)
    return float(kappa) if shape == () else kappa


def solve(spectrum, n, z):
    r"""Return :math:`x=\kappa/z` and :math:`\kappa` for a `Compressed` spectrum.

    `n` and `z` have shape (M,), z in the units of the caller and x in those of the nodes.
    Where z = 0, x is infinite unless N is below the rank.
    """
    # In the units of the nodes z may lie outside the doubles: mantissa and exponent.
    mantissa, power = np.frexp(z)
    power = power - spectrum.exponent
    equation = _Equation(spectrum)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        ratio, kappa = np.ldexp(1.0 / mantissa, -power), np.ones(n.shape)
        least = 1.0 - equation.rank / n
        # Known to be x up to the share that the samples take; beyond it rounds to infinity.
        singular = (least > 0) & (least * ratio > _LARGEST) | (least >= 0) & (z == 0)
    kappa[singular], ratio[singular] = least[singular], np.inf
    regular = ~singular & (power < _NOISY)
    if equation.rank > 0 and regular.any():
        setting = n[regular], mantissa[regular], power[regular]
        root = equation.solve(*setting)
        # There all of the sum is what the smallest eigenvalues leave, and that underflows.
        most = _LARGEST / max(1.0, equation.nodes[equation.nodes > 0].min())
        if np.any((root > most) & (n[regular] == equation.rank)):
            raise ValueError("`floor` or `z` is too small for this spectrum at N = rank; pass 0")
        ratio[regular] = root
        kappa[regular] = np.minimum(_product(root, *setting[1:]), 1.0)
    return ratio, kappa


def _product(x, mantissa, power):
    return np.ldexp(mantissa * x, power)


class _Equation:
    """The sum over modes and its slope, with the count of large modes kept apart."""

    def __init__(self, spectrum):
        self.nodes, self.weights = spectrum.nodes, spectrum.weights
        self.centres, self.masses = spectrum.centres, spectrum.masses
        self.first_node = np.searchsorted(spectrum.cells, np.arange(self.centres.size + 1))
        self.above = np.append(np.cumsum(self.masses[::-1])[::-1], 0.0)
        # The same sum as in `above`, so that the two agree in how they round.
        self.rank = self.above[np.searchsorted(self.centres, 0.0, side="right")]

    def sums(self, x):
        """Count of modes above 1/x, its correction, and the slope in log x; all (M,)."""
        first = np.searchsorted(self.centres, 1.0 / x, side="right")
        rest, slope = np.empty_like(x), np.empty_like(x)
        rows = max(1, _BLOCK // self.nodes.size)
        for start in range(0, x.size, rows):
            part = slice(start, start + rows)
            with np.errstate(over="ignore"):
                signed = x[part, None] * self.nodes
            np.minimum(signed, _LARGEST, out=signed)
            share = 1.0 / (1.0 + signed)
            slope[part] = (signed * share * share) @ self.weights
            np.negative(signed, out=signed)
            large = np.arange(self.nodes.size) >= self.first_node[first[part], None]
            signed[large] = 1.0
            signed *= share
            rest[part] = signed @ self.weights
        return self.above[first], rest, slope

    def bounds(self, n, mantissa, power):
        """Two numbers between which all roots lie."""
        low = np.min(1.0 / (self.nodes @ self.weights / n + np.ldexp(mantissa, power)))
        with np.errstate(divide="ignore", over="ignore"):
            from_z = np.ldexp(1.0 / mantissa, -power)
        few = n < self.rank
        high = np.max(from_z[~few], initial=low)
        if few.any():
            most = n[few].max()
            enough = (self.above[:-1] > most) & (self.centres > 0)
            # An eigenvalue is at most a factor e below the centre of its cell.
            at_most = most * np.e / (self.above[:-1] - most)[enough] / self.centres[enough]
            high = max(high, min(at_most.min(), from_z[few].max()))
        return 0.999 * low, min(1.001 * max(high, low), 2.0 * _LARGEST)

    def solve(self, n, mantissa, power):
        """Bracket each root on a common grid, then three Newton steps."""
        low, high = self.bounds(n, mantissa, power)
        points = 2 + int((np.log(high) - np.log(low)) / _GRID_STEP)
        grid = np.geomspace(low, high, points)
        count, rest, _ = self.sums(grid)

        def value(index):
            noise = n * _product(grid[index], mantissa, power)
            return (n - count[index]) + rest[index] - noise

        left, right = np.zeros(n.size, dtype=np.intp), np.full(n.size, points - 1)
        while np.any(right - left > 1):
            middle = (left + right) // 2
            positive = value(middle) > 0
            left, right = np.where(positive, middle, left), np.where(positive, right, middle)
        at_left, at_right = np.maximum(value(left), 0.0), np.minimum(value(right), 0.0)
        drop = np.where(at_left > at_right, at_left - at_right, 1.0)
        x = grid[left] + (grid[right] - grid[left]) * (at_left / drop)
        # The chord is off by less than 0.4 %, and each step squares that relative error.
        for _ in range(3):
            count_x, rest_x, slope = self.sums(x)
            noise = n * _product(x, mantissa, power)
            x = x * (1.0 + ((n - count_x) + rest_x - noise) / (slope + noise))
        return x
