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
from lindiff._kappa import as_modes, as_samples

_BLOCK = 32768
_CURVE_POINTS = 24
_NEWTON_STEPS = 12
# Each step away from a pole multiplies the distance by 1.5 or more, over 300 decades.
_EDGE_STEPS = 4000
_HEIGHT_STEPS = 200
# Beyond this ratio of N to one multiplicity, or of d to N, bulks are narrower than rounding.
_RATIO = 1e28
_GAP = 30.0
# So many doubles are a relative 1e-11 apart, from where Newton goes on.
_ENOUGH = 1 << 16


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
    spectra. Cost O(d) per open gap. Relative error of an edge about 1e-13, also of the lowest
    one at N near the rank (relative to :math:`(1-\sqrt{d/N})^2` it is that of the number of
    samples), for any scale and eigenvalues over 300 decades; more of them, and N above 1e28
    times a multiplicity or below 1e-28 d, are refused. Merger and Goldt 2025, MG-MP, MG-D.12.

    Examples
    --------
    >>> density_support([1.0], 400, multiplicities=[100])
    array([[0.25, 2.25]])
    """
    values, counts, n, exponent, _ = _law(eigenvalues, n_samples, multiplicities)
    with np.errstate(over="ignore"):
        return np.ldexp(_Curve(values, counts, n).support, exponent)


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
    distance from the nearest edge, in the range of `density_support`. Time and memory are O(d)
    per point. The limit of :math:`d,N\to\infty` at fixed d / N; for equal eigenvalues it is
    `lindiff.spectra.marchenko_pastur_density`. Merger and Goldt 2025, MG-MP, MG-D.12, MG-D.16.

    Examples
    --------
    >>> spectral_density([0.1, 1.0, 2.0], [1.0], 400, multiplicities=[100]).round(4)
    array([0.    , 0.6164, 0.2105])
    """
    x = _check.as_array("x", x)
    values, counts, n, exponent, dimension = _law(eigenvalues, n_samples, multiplicities)
    curve = _Curve(values, counts, n)
    with np.errstate(over="ignore"):
        flat, density = np.ldexp(x.ravel(), -exponent), np.zeros(x.size)
    interval = np.searchsorted(curve.support[:, 0], flat, side="right") - 1
    # A point below all intervals has the index -1, of the last one, which lies above it.
    low, high = curve.support[interval].T
    inside = (low < flat) & (flat < high)
    if inside.any():
        u, y = curve.preimage(flat[inside], interval[inside])
        size = np.hypot(u, y)
        density[inside] = n / (np.pi * dimension) * (y / size) / size
    with np.errstate(over="ignore"):
        return np.ldexp(density, -exponent).reshape(x.shape)


def _law(eigenvalues, n_samples, multiplicities):
    """Distinct positive eigenvalues, at most 1, their counts, N, their unit's exponent, and d."""
    eigenvalues, counts = as_modes(eigenvalues, multiplicities)
    n = as_samples(n_samples)
    if n.ndim != 0:
        raise ValueError(f"`n_samples` must be one number, got shape {n.shape}")
    values, group = np.unique(eigenvalues, return_inverse=True)
    counts = np.bincount(group.ravel(), counts)
    if values[-1] == 0:
        raise ValueError("`eigenvalues` are all zero; the density needs some variance")
    dimension, used = counts.sum(), values > 0
    values, counts = values[used], counts[used]
    if n / _RATIO > counts.min() or counts.sum() / _RATIO > n:
        raise ValueError(
            f"`n_samples` = {float(n):.6g} leaves intervals narrower than rounding; the "
            "eigenvalues are those of the population, or all equal"
        )
    exponent = int(np.frexp(values[-1])[1])
    values = np.ldexp(values, -exponent)
    if values[0] < 1e-306 * np.sqrt(1.0 + counts.sum() / n):
        raise ValueError(
            "the intervals span more than 306 decades; set the smallest `eigenvalues` to zero"
        )
    return values, counts, float(n), exponent, dimension


class _Curve:
    r"""The curve u + i y that the map sends to the real axis.

    With :math:`Z=\lambda/(\lambda-w)`, which cannot overflow, :math:`x=-w(\frac1N\sum mZ-1)`,
    and the curve is where :math:`\frac1N\sum m|Z|^2=1`.
    """

    def __init__(self, values, counts, n):
        self.values, self.inverse, self.share = values, 1.0 / values, counts / n
        above = np.append(np.cumsum(counts[::-1])[::-1], 0.0)
        self.offset = (above - n) / n
        # N near the number of eigenvalues above a wide gap: there the sums are nearly 1.
        gaps = np.append(np.inf, values[1:] / values[:-1]) > _GAP
        self.close = bool(np.any(np.abs(self.offset[:-1][gaps]) < 0.1))
        self.edges = self._edges()
        self.support = self._map(self.edges.ravel()).reshape(self.edges.shape)

    def _parts(self, u, y=None):
        """Real part of Z, that and another factor of Re Z^2, imaginary part; what to add.

        Without `y` on the real axis.
        """
        real, turned, imag = u[:, None] * self.inverse, 0.0, 0.0
        near = 1.0 - real
        if y is None:
            np.divide(1.0, near, out=near)
        else:
            turned = y[:, None] * self.inverse
            with np.errstate(over="ignore"):
                imag = near * near
                imag += turned * turned
            np.divide(1.0, imag, out=imag)
            near *= imag
            imag *= turned
        if not self.close:
            return near, near, near, imag, -1.0
        # For large eigenvalues Z - 1 is taken, and the ones are counted exactly.
        first = np.searchsorted(self.values, 2.0 * (np.abs(u) if y is None else np.hypot(u, y)))
        large = np.arange(self.values.size) >= first[:, None]
        less = np.where(large, real * near - turned * imag, near)
        return near, less, np.where(large, near + 1.0, near), imag, self.offset[first]

    def _map(self, u):
        """The map x(w) for real arguments."""
        _, less, _, _, offset = self._parts(u)
        return 0.0 - u * (less @ self.share + offset)

    def _edges(self):
        """Intervals of u above which the curve leaves the real axis, shape (k, 2)."""
        values = self.values
        root, third = values * np.sqrt(self.share), np.cbrt(self.share) * np.cbrt(values) ** 2
        space = np.diff(values)
        # Both neighbours alone keep the sum above 1 in the whole gap: it is closed.
        maybe = np.flatnonzero((third[1:] + third[:-1]) ** 1.5 < space)
        pole = np.append(maybe, values.size - 1)
        barrier = np.append(values[maybe + 1], np.inf)
        upward = self._descend(values[pole] + root[pole], barrier, values[pole])
        pole = np.append(maybe + 1, 0)
        barrier = np.append(values[maybe], -np.inf)
        downward = self._descend(values[pole] - root[pole], barrier, values[pole])
        gap = np.isfinite(upward[:-1]) & np.isfinite(downward[:-1])
        gap &= upward[:-1] < np.where(gap, downward[:-1], np.inf)
        low = np.append(downward[-1], downward[:-1][gap])
        return np.stack([low, np.append(upward[:-1][gap], upward[-1])], axis=-1)

    def _descend(self, u, barrier, unit):
        """Newton from the side of a pole to where the sum is 1; NaN if it stays above 1."""
        u, active = u.copy(), np.arange(u.size)
        side = np.where(barrier > u, 1.0, -1.0)
        for _ in range(_EDGE_STEPS):
            if active.size == 0:
                return u
            near, less, more, _, offset = self._parts(u[active])
            square = less * more
            above = square @ self.share + offset
            near *= near * near if self.close else square
            near *= unit[active, None] * self.inverse
            slope = near @ self.share
            closed = slope * side[active] >= 0
            step = np.where(closed, 0.0, -0.5 * above / np.where(closed, 1.0, slope)) * unit[active]
            moved = u[active] + step
            closed |= (barrier[active] - moved) * side[active] <= 0
            done = step * side[active] <= 4.0 * np.finfo(float).eps * np.abs(moved)
            u[active] = np.where(closed, np.nan, moved)
            active = active[~(done | closed)]
        raise FloatingPointError("an edge was not found; pass fewer decades of `eigenvalues`")

    def _heights(self, u, y, tolerance=1e-4):
        """Solve for y at given u, by Newton on the reciprocal of the sum in y^2, from `y`."""
        y, active = y.copy(), np.arange(u.size)
        for _ in range(_HEIGHT_STEPS):
            above, slope = np.empty((2, active.size))
            for part in self._blocks(active.size):
                row = active[part]
                _, less, more, imag, offset = self._parts(u[row], y[row])
                imag *= imag
                above[part] = (less * more + imag) @ self.share + offset
                slope[part] = imag @ self.share
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                change = np.where(above == 0, 0.0, (1.0 + above) * above / slope)
            change = np.clip(change, -1.0 + 1e-12, 1e24)
            y[active] *= np.sqrt(1.0 + change)
            # Good enough for a start: the error after a step is about its square.
            active = active[np.abs(change) > tolerance]
            if active.size == 0:
                break
        return y

    def _blocks(self, size):
        rows = max(1, _BLOCK // self.values.size)
        return [slice(start, start + rows) for start in range(0, size, rows)]

    def _sums(self, u, y):
        """The map x(w) and its derivative at w = u + i y."""
        value, slope = np.empty((2, u.size), dtype=complex)
        for part in self._blocks(u.size):
            near, less, more, imag, offset = self._parts(u[part], y[part])
            value[part] = less @ self.share + offset + 1j * (imag @ self.share)
            less = less * more
            near *= imag
            imag *= imag
            less -= imag
            slope[part] = less @ self.share + offset + 2j * (near @ self.share)
        return -(u + 1j * y) * value, -slope

    def _table(self, low, high):
        """Points u of one interval with their x and y, ends included."""
        angle = np.pi * (np.arange(1, _CURVE_POINTS) / _CURVE_POINTS)
        inner = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(angle)
        atoms = self.values[(self.values > low) & (self.values < high)]
        picked = atoms[np.linspace(0, atoms.size - 1, min(atoms.size, _CURVE_POINTS)).astype(int)]
        inner = np.unique(np.concatenate([inner, picked]))
        inner = inner[(inner > low) & (inner < high)]
        y = self._heights(inner, self._start(inner))
        x = self._sums(inner, y)[0].real
        ends = np.array([low, high])
        edge = self._map(ends)
        u = np.concatenate([[low], inner, [high]])
        x = np.maximum.accumulate(np.concatenate([edge[:1], x, edge[1:]]))
        return u, x, np.concatenate([[0.0], y, [0.0]])

    def _start(self, u):
        """Heights that the nearest eigenvalue alone would give, or a small part of them."""
        near = np.abs(u[:, None] - self.values).argmin(axis=1)
        share = self.share[near]
        with np.errstate(over="ignore"):
            square = share - (1.0 - u / self.values[near]) ** 2
        return self.values[near] * np.sqrt(np.maximum(square, 1e-6 * share))

    def preimage(self, x, interval):
        """Solve x(u + i y) = x for points inside the given intervals of the support."""
        u, y = np.empty_like(x), np.empty_like(x)
        for index in np.unique(interval):
            here = interval == index
            u[here], y[here] = self._solve(x[here], *self._table(*self.edges[index]))
        return u, y

    def _solve(self, x, u_table, x_table, y_table):
        """Start from the table, where u and y^2 are nearly linear in x, then Newton."""
        left = np.clip(np.searchsorted(x_table, x, side="right") - 1, 0, x_table.size - 2)
        step = x_table[left + 1] - x_table[left]
        share = np.clip((x - x_table[left]) / np.where(step > 0, step, 1.0), 0.0, 1.0)
        u = u_table[left] + share * (u_table[left + 1] - u_table[left])
        y = np.hypot(np.sqrt(1.0 - share) * y_table[left], np.sqrt(share) * y_table[left + 1])
        bad = ~self._newton(x, u, y)
        if bad.any():
            low, high = u_table[left[bad]], u_table[left[bad] + 1]
            u[bad], y[bad] = self._bisect(x[bad], low, high)
            better = u[bad], y[bad]
            found = self._newton(x[bad], *better)
            for value, new in zip((u, y), better, strict=True):
                value[bad] = np.where(found, new, value[bad])
        return u, y

    def _newton(self, x, u, y):
        """Complex Newton steps in place; return where they converged in the upper half-plane."""
        fine, active = np.zeros(x.size, dtype=bool), np.arange(x.size)
        for _ in range(_NEWTON_STEPS):
            value, slope = self._sums(u[active], y[active])
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
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
        """Halve the set of doubles between two u, with the height solved at every trial."""
        low, high, y = _rank(low), _rank(high), np.zeros_like(x)
        for _ in range(64):
            middle = (low >> 1) + (high >> 1) + (low & high & 1)
            u = _number(middle)
            y = self._heights(u, np.maximum(y, self._start(u)))
            above = self._sums(u, y)[0].real > x
            low, high = np.where(above, low, middle), np.where(above, middle, high)
            if np.all((high >> 1) - (low >> 1) < _ENOUGH):
                break
        return u, self._heights(u, y, 1e-12)


def _rank(x):
    """Integers in the order of the doubles, one for each."""
    bits = x.view(np.int64)
    return np.where(bits < 0, np.iinfo(np.int64).min - bits, bits)


def _number(rank):
    return np.where(rank < 0, np.iinfo(np.int64).min - rank, rank).view(np.float64)
