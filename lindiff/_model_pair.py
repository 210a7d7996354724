"""Distance between the predictions of two linear denoisers on fresh points."""

from dataclasses import dataclass

import numpy as np

from lindiff._loss_modes import levels, population

_SPREAD = 1e150


@dataclass(frozen=True, eq=False)
class ModelPair:
    r"""Overlaps of two linear denoisers, as the population sees them.

    .. math:: O_{\nu\mu}=(u_\nu\cdot u'_\mu)^2,\qquad
              K_{\nu\mu}=(u_\nu\cdot u'_\mu)\,(u_\nu^\top\Sigma u'_\mu)

    Parameters
    ----------
    eigenvalues, other_eigenvalues : numpy.ndarray, shape (k,) and (l,)
        Variances of the two training sets; a common mode of eigenvalue 0 comes last where
        directions are left over.
    overlaps, weighted_overlaps : numpy.ndarray, shape (k, l)
        O and K, summed over the directions that share a mode.
    shifts, other_shifts : numpy.ndarray, shape (k, d) and (l, d)
        Parts of the two errors of the mean along the modes.

    Notes
    -----
    Built by `from_denoisers` in :math:`O(d^3)`. Merger and Goldt 2025, MG-14.

    Examples
    --------
    >>> from lindiff.denoisers import AffineDenoiser
    >>> pair = ModelPair.from_denoisers(
    ...     AffineDenoiser([0.0], [1.0], [[1.0]]), AffineDenoiser([0.0], [2.0], [[1.0]]),
    ...     [0.0], [2.0])
    >>> pair.weighted_overlaps
    array([[2.]])
    """

    eigenvalues: np.ndarray
    other_eigenvalues: np.ndarray
    overlaps: np.ndarray
    weighted_overlaps: np.ndarray
    shifts: np.ndarray
    other_shifts: np.ndarray

    @classmethod
    def from_denoisers(cls, first, second, mean, cov):
        r"""Compare two fitted denoisers on points of a population.

        Parameters
        ----------
        first, second : AffineDenoiser
            Of two training sets, or one of them of the population or a large reference. Their
            floors are not part of the pair: pass them to `alignment`.
        mean : array_like, shape (d,)
            Mean of the test points.
        cov : array_like, shape (d, d) or (d,)
            Their covariance, or the variances of independent coordinates.

        Raises
        ------
        TypeError, ValueError
            If an argument is no AffineDenoiser, or dimensions disagree.

        Examples
        --------
        >>> from lindiff.denoisers import AffineDenoiser
        >>> line = AffineDenoiser.from_data([[-1.0, 0.0], [1.0, 0.0]])
        >>> ModelPair.from_denoisers(line, line, [0.0, 0.0], [1.0, 1.0]).overlaps.round(12)
        array([[1., 0.],
               [0., 1.]])
        """
        mean, cov = population(first, mean, cov)
        population(second, mean, cov)
        u, v = first.eigenvectors, second.eigenvectors
        image = cov @ u if cov.ndim == 2 else cov[:, None] * u
        image_v = cov @ v if cov.ndim == 2 else cov[:, None] * v
        dots, weighted = u.T @ v, image.T @ v
        # What the other model's directions leave of each direction: nothing is subtracted from 1.
        left_u, left_v = u - v @ dots.T, v - u @ dots
        trace = float(np.sum(cov) if cov.ndim == 1 else np.trace(cov))
        overlaps = _bordered(
            dots**2,
            np.sum(left_u**2, axis=0),
            np.sum(left_v**2, axis=0),
            first.dimension - u.shape[1] - np.sum(v**2) + np.sum(dots**2),
        )
        weighted_overlaps = _bordered(
            dots * weighted,
            np.sum(image * left_u, axis=0),
            np.sum(image_v * left_v, axis=0),
            trace - np.sum(image * u) - np.sum(image_v * v) + np.sum(dots * weighted),
        )
        rows = slice(None, None if u.shape[1] < first.dimension else -1)
        columns = slice(None, None if v.shape[1] < first.dimension else -1)
        return cls(
            np.append(first.eigenvalues, 0.0)[rows],
            np.append(second.eigenvalues, 0.0)[columns],
            overlaps[rows, columns],
            weighted_overlaps[rows, columns],
            _parts(u, mean - first.mean)[rows],
            _parts(v, mean - second.mean)[columns],
        )


def alignment(pair, alpha_bar, *, floor=0.0, other_floor=0.0):
    r"""Mean squared distance of the noise that two denoisers predict on fresh points.

    .. math::

       \Delta_t=\big\langle\lVert\epsilon_1(x_t)-\epsilon_2(x_t)\rVert^2\big\rangle
       =\sigma^2\Big\{\sum_{\nu\mu}\frac{(K_{\nu\mu}+\sigma^2O_{\nu\mu})
       (\hat\lambda'_\mu+c'-\hat\lambda_\nu-c)^2}{(\hat\lambda_\nu+\sigma^2+c)^2
       (\hat\lambda'_\mu+\sigma^2+c')^2}
       +\Big\lVert\sum_\nu\frac{u_\nu\delta_\nu}{\hat\lambda_\nu+\sigma^2+c}
       -\sum_\mu\frac{u'_\mu\delta'_\mu}{\hat\lambda'_\mu+\sigma^2+c'}\Big\rVert^2\Big\}

    Parameters
    ----------
    pair : ModelPair
    alpha_bar : float, array_like or NoiseSchedule, shape (...)
        In (0, 1], below 1 if a variance is 0 without a floor.
    floor, other_floor : float or array_like
        Floors :math:`c,c'\ge0` of the two models; broadcast with `alpha_bar`.

    Returns
    -------
    float or numpy.ndarray, shape (...)
        Total over dimensions, >= 0.

    Raises
    ------
    TypeError, ValueError
        If `pair` is no ModelPair, a floor is negative, or `alpha_bar` is out of range.

    Notes
    -----
    The double sum follows from :math:`\sum_\mu K_{\nu\mu}=u_\nu^\top\Sigma u_\nu` and
    :math:`\sum_\mu O_{\nu\mu}=1`. Models with common directions keep all digits however little
    they differ; otherwise the error is near 1e-15, relative to d at :math:`\sigma^2` of the
    order of the variances, so that a value of 1e-8 d still has seven digits. If the
    second model is the population optimum (no floor), the value is the test loss of the
    first minus that of the population. :math:`O(d^2)` per level, as products of matrices; one
    pass per distinct pair of floors. Merger and Goldt 2025, MG-14 before its average.

    Examples
    --------
    >>> from lindiff.denoisers import AffineDenoiser
    >>> pair = ModelPair.from_denoisers(
    ...     AffineDenoiser([0.0], [1.0], [[1.0]]), AffineDenoiser([0.0], [3.0], [[1.0]]),
    ...     [0.0], [3.0])
    >>> alignment(pair, 0.5)
    0.25
    """
    if not isinstance(pair, ModelPair):
        raise TypeError("`pair` must be a ModelPair; see ModelPair.from_denoisers")
    ratio, floor = levels(pair.eigenvalues, alpha_bar, floor)
    other_ratio, other = levels(pair.other_eigenvalues, alpha_bar, other_floor)
    ratio, _, floor, other = np.broadcast_arrays(ratio, other_ratio, floor, other)
    floors, group = np.unique(np.stack([floor.ravel(), other.ravel()]), axis=1, return_inverse=True)
    flat, result = ratio.ravel(), np.empty(ratio.size)
    for index, (first, second) in enumerate(floors.T):
        member = group.ravel() == index
        result[member] = _distance(pair, flat[member], first, second)
    return float(result[0]) if ratio.ndim == 0 else result.reshape(ratio.shape)


def _distance(pair, ratio, floor, other):
    result, used = np.zeros(ratio.size), ratio > 0
    ratio = ratio[used]
    values, others = pair.eigenvalues, pair.other_eigenvalues
    z, other_z = (ratio + floor)[:, None], (ratio + other)[:, None]
    difference = others - values[:, None] + (other - floor)
    unit, weight = _largest(difference), _largest(pair.weighted_overlaps)
    largest = max(values.max(), others.max(), unit)
    if np.any(np.minimum(z, other_z) < largest / _SPREAD):
        raise ValueError(
            f"`alpha_bar` leaves noise below {1 / _SPREAD:.0e} of the largest variance or floor of "
            "`pair`; pass a smaller one, or larger floors"
        )
    # In these units no square overflows, and none vanishes that counts.
    difference = (difference / unit) ** 2
    left, right = (z / (values + z)) ** 2, (unit / (others + other_z)) ** 2
    weighted = left @ (pair.weighted_overlaps / weight * difference)
    plain = left @ (pair.overlaps * difference)
    root = np.sqrt(ratio)[:, None]
    with np.errstate(over="ignore"):
        spread = np.sum(weighted * right, axis=1) * (weight / z[:, 0]) * (ratio / z[:, 0])
        spread = spread + np.sum(plain * right, axis=1) * (ratio / z[:, 0]) ** 2
        moved = (root / (values + z)) @ pair.shifts - (
            root / (others + other_z)
        ) @ pair.other_shifts
        result[used] = np.maximum(spread, 0.0) + np.sum(moved**2, axis=1)
    return result


def _largest(values):
    return np.abs(values).max() or 1.0


def _bordered(block, column, row, corner):
    return np.block([[block, column[:, None]], [row[None, :], np.array([[corner]])]])


def _parts(vectors, shift):
    along = vectors * (shift @ vectors)
    return np.vstack([along.T, shift - vectors @ (shift @ vectors)])
