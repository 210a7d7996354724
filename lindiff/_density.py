r"""Density of the eigenvalues of a sample covariance; see `lindiff.equivalents`.

With :math:`w=-z/\kappa` the equation for :math:`\kappa` at :math:`z=-x` becomes an explicit map

.. math:: x(w)=w\Big(1-\frac1N\sum_\nu\frac{m_\nu\lambda_\nu}{\lambda_\nu-w}\Big),\qquad
          x'(w)=1-\frac1N\sum_\nu\frac{m_\nu\lambda_\nu^2}{(\lambda_\nu-w)^2}.

A point x of the bulk has exactly one preimage :math:`w=u+iy` with :math:`y>0`, and the
density is :math:`\frac N{\pi d}\,y/|w|^2`. For given u the height y solves
:math:`\frac1N\sum m\lambda^2/((\lambda-u)^2+y^2)=1`, monotone in y, and x increases with
u along this curve; it touches the real axis at the edges.
"""

import numpy as np

from lindiff import _check
from lindiff._kappa import as_modes

_BLOCK = 32768
_CURVE_POINTS = 24
_NEWTON_STEPS = 12


def density_support(eigenvalues, n_samples, *, multiplicities=None):
    r"""Intervals that hold the non-zero eigenvalues of a large sample covariance.

    .. math:: x_\pm=x(u_\pm),\qquad\frac1N\sum_\nu\frac{m_\nu\lambda_\nu^2}
              {(\lambda_\nu-u_\pm)^2}=1

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        Population eigenvalues, not negative and not all zero.
    n_samples : float
        Number of samples N >= 1.
    multiplicities : array_like, shape (d,), optional
        How often each eigenvalue occurs; ones by default.

    Returns
    -------
    numpy.ndarray, shape (k, 2)
        Lower and upper edges in increasing order.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    The edges solve a convex equation by a Newton iteration that cannot overshoot; gaps
    between two eigenvalues that are provably closed are skipped, which leaves few for smooth
    spectra. Cost O(d) per open gap. Relative error of an edge about 1e-14, but at N near the
    rank, where the lowest one tends to 0, absolute. Merger and Goldt 2025, MG-MP, MG-D.12.

    Examples
    --------
    >>> density_support([1.0], 400, multiplicities=[100])
    array([[0.25, 2.25]])
    """
    return _Curve(*_law(eigenvalues, n_samples, multiplicities)[:3]).support


def spectral_density(x, eigenvalues, n_samples, *, multiplicities=None):
    r"""Density of the non-zero eigenvalues of a large sample covariance, any population.

    .. math:: \rho(x)=\frac{N}{\pi d}\,\frac{y}{u^2+y^2},\qquad
              x=w\Big(1-\frac1N\sum_\nu\frac{m_\nu\lambda_\nu}{\lambda_\nu-w}\Big),
              \quad w=u+iy

    Parameters
    ----------
    x : array_like
        Where to evaluate.
    eigenvalues : array_like, shape (d,)
        Population eigenvalues, not negative and not all zero.
    n_samples : float
        Number of samples N >= 1.
    multiplicities : array_like, shape (d,), optional
        How often each eigenvalue occurs; ones by default.

    Returns
    -------
    numpy.ndarray
        Of the shape of `x`; 0 outside `density_support`. The mass is min(rank, N) / d.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    No small imaginary part is added. Relative error about 1e-13, times the ratio of x to its
    distance from the nearest edge. Time and memory are O(d) per point. The limit of
    :math:`d,N\to\infty` at fixed d / N; for equal eigenvalues it is
    `lindiff.spectra.marchenko_pastur_density`. Merger and Goldt 2025, MG-MP, MG-D.12, MG-D.16.

    Examples
    --------
    >>> spectral_density([0.1, 1.0, 2.0], [1.0], 400, multiplicities=[100]).round(4)
    array([0.    , 0.6164, 0.2105])
    """
    x = _check.as_array("x", x)
    values, counts, n, dimension = _law(eigenvalues, n_samples, multiplicities)
    curve = _Curve(values, counts, n)
    flat, density = x.ravel(), np.zeros(x.size)
    interval = np.searchsorted(curve.support[:, 0], flat, side="right") - 1
    # A point below all intervals has the index -1, of the last one, which lies above it.
    low, high = curve.support[interval].T
    inside = (low < flat) & (flat < high)
    if inside.any():
        u, y = curve.preimage(flat[inside], interval[inside])
        density[inside] = n / (np.pi * dimension) * y / (u**2 + y**2)
    return density.reshape(x.shape)


def _law(eigenvalues, n_samples, multiplicities):
    """Distinct positive eigenvalues, their counts, N, and the dimension."""
    eigenvalues, counts = as_modes(eigenvalues, multiplicities)
    n = _check.as_array("n_samples", n_samples, ndim=0)
    if n < 1:
        raise ValueError(f"`n_samples` must be at least 1, got {float(n):.6g}")
    values, group = np.unique(eigenvalues, return_inverse=True)
    merged = np.bincount(group.ravel(), counts)
    if values[-1] == 0:
        raise ValueError("`eigenvalues` are all zero; the density needs some variance")
    return values[values > 0], merged[values > 0], float(n), counts.sum()


class _Curve:
    """The curve u + i y that the map sends to the real axis."""

    def __init__(self, values, counts, n):
        self.values, self.n = values, n
        self.first, self.second = counts * values / n, counts * values**2 / n
        self.edges = self._edges()
        self.support = self.edges * (1.0 - self._real_sum(self.edges))

    def _real_sum(self, u):
        return (self.first / (self.values - u[..., None])).sum(axis=-1)

    def _edges(self):
        """Intervals of u above which the curve leaves the real axis, shape (k, 2)."""
        values, weight = self.values, self.second
        root, third = np.sqrt(weight), np.cbrt(weight)
        space = np.diff(values)
        # Both neighbours alone keep the sum above 1 in the whole gap: it is closed.
        maybe = np.flatnonzero((third[1:] + third[:-1]) ** 3 < space**2)
        upward = np.append(values[maybe] + root[maybe], values[-1] + root[-1])
        upward = self._descend(upward, np.append(values[maybe + 1], np.inf))
        downward = np.append(values[maybe + 1] - root[maybe + 1], values[0] - root[0])
        downward = self._descend(downward, np.append(values[maybe], -np.inf))
        gap = np.isfinite(upward[:-1]) & np.isfinite(downward[:-1])
        gap &= upward[:-1] < np.where(gap, downward[:-1], np.inf)
        low = np.append(downward[-1], downward[:-1][gap])
        return np.stack([low, np.append(upward[:-1][gap], upward[-1])], axis=-1)

    def _descend(self, u, barrier):
        """Newton from the side of a pole to where the sum is 1; NaN if it stays above 1."""
        u, active = u.copy(), np.arange(u.size)
        side = np.where(barrier > u, 1.0, -1.0)
        while active.size:
            inverse = 1.0 / (self.values - u[active, None])
            power = inverse * inverse
            above = power @ self.second - 1.0
            power *= inverse
            slope = 2.0 * (power @ self.second)
            closed = slope * side[active] >= 0
            step = np.where(closed, 0.0, -above / np.where(closed, 1.0, slope))
            moved = u[active] + step
            closed |= (barrier[active] - moved) * side[active] <= 0
            done = step * side[active] <= 4.0 * np.finfo(float).eps * np.abs(moved)
            u[active] = np.where(closed, np.nan, moved)
            active = active[~(done | closed)]
        return u

    def _heights(self, u, square):
        """Solve for y^2 at given u, by Newton on the reciprocal of the sum, from `square`."""
        square, active = square.copy(), np.arange(u.size)
        for _ in range(60):
            sums = np.empty((2, active.size))
            for part in self._blocks(active.size):
                row = active[part]
                inverse = 1.0 / ((self.values - u[row, None]) ** 2 + square[row, None])
                sums[0, part] = inverse @ self.second
                inverse *= inverse
                sums[1, part] = inverse @ self.second
            change = sums[0] * (sums[0] - 1.0) / sums[1]
            change = np.maximum(change, -0.75 * square[active])
            square[active] += change
            # Good enough for a start: the error after a step is about its square.
            active = active[np.abs(change) > 1e-4 * square[active]]
            if active.size == 0:
                break
        return square

    def _blocks(self, size):
        rows = max(1, _BLOCK // self.values.size)
        return [slice(start, start + rows) for start in range(0, size, rows)]

    def _sums(self, u, y):
        """The map x(w) and its derivative at w = u + i y."""
        sums = np.empty((5, u.size))
        for part in self._blocks(u.size):
            real = self.values - u[part, None]
            inverse = 1.0 / (real * real + y[part, None] ** 2)
            real *= inverse
            sums[0, part], sums[1, part] = real @ self.first, inverse @ self.first
            sums[2, part] = inverse @ self.second
            real *= inverse
            inverse *= inverse
            sums[3, part], sums[4, part] = inverse @ self.second, real @ self.second
        w = u + 1j * y
        value = w * (1.0 - (sums[0] + 1j * y * sums[1]))
        return value, 1.0 - (sums[2] - 2.0 * y**2 * sums[3] + 2j * y * sums[4])

    def _table(self, low, high):
        """Points u of one interval with their x and y^2, ends included."""
        angle = np.pi * (np.arange(1, _CURVE_POINTS) / _CURVE_POINTS)
        inner = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(angle)
        atoms = self.values[(self.values > low) & (self.values < high)]
        picked = atoms[np.linspace(0, atoms.size - 1, min(atoms.size, _CURVE_POINTS)).astype(int)]
        inner = np.unique(np.concatenate([inner, picked]))
        inner = inner[(inner > low) & (inner < high)]
        nearest = np.abs(inner[:, None] - self.values).argmin(axis=1)
        start = self.second[nearest] - (inner - self.values[nearest]) ** 2
        square = self._heights(inner, np.maximum(start, 1e-6 * self.second[nearest]))
        x = self._sums(inner, np.sqrt(square))[0].real
        ends = np.array([low, high])
        edge = ends * (1.0 - self._real_sum(ends))
        u = np.concatenate([[low], inner, [high]])
        x = np.maximum.accumulate(np.concatenate([edge[:1], x, edge[1:]]))
        return u, x, np.concatenate([[0.0], square, [0.0]])

    def preimage(self, x, interval):
        """Solve x(u + i y) = x for points inside the given intervals of the support."""
        u, y = np.empty_like(x), np.empty_like(x)
        for index in np.unique(interval):
            here = interval == index
            u[here], y[here] = self._solve(x[here], *self._table(*self.edges[index]))
        return u, y

    def _solve(self, x, u_table, x_table, square_table):
        """Start from the table, where u and y^2 are nearly linear in x, then Newton."""
        u = np.interp(x, x_table, u_table)
        y = np.sqrt(np.interp(x, x_table, square_table))
        fine = self._newton(x, u, y)
        if not fine.all():
            bad = ~fine
            left = np.clip(np.searchsorted(x_table, x[bad], side="right") - 1, 0, x_table.size - 2)
            u[bad], y[bad] = self._bisect(x[bad], u_table[left], u_table[left + 1])
            self._newton(x, u, y)
        return u, y

    def _newton(self, x, u, y):
        """Complex Newton steps in place; return where they converged in the upper half-plane."""
        fine, active = np.zeros(x.size, dtype=bool), np.arange(x.size)
        for _ in range(_NEWTON_STEPS):
            value, slope = self._sums(u[active], y[active])
            step = (x[active] - value) / slope
            good = (np.abs(step) < y[active]) & np.isfinite(step)
            kept = active[good]
            u[kept] += step[good].real
            y[kept] += step[good].imag
            # The error after a step is of the order of its square over y.
            done = np.abs(step[good]) < 1e-8 * y[kept]
            fine[kept[done]] = True
            active = kept[~done]
            if active.size == 0:
                break
        return fine

    def _bisect(self, x, low, high):
        """Halve the interval of u, with the height solved at every trial."""
        square = np.full(x.size, self.second.max())
        for _ in range(48):
            u = 0.5 * (low + high)
            square = self._heights(u, square)
            above = self._sums(u, np.sqrt(square))[0].real > x
            low, high = np.where(above, low, u), np.where(above, u, high)
        return u, np.sqrt(square)
