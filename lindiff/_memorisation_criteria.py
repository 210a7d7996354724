r"""Other measures of memorisation, and the per-pixel distance of the network experiments.

Private half of :mod:`lindiff.memorisation`, which re-exports every public name.
"""

import numpy as np
from scipy.linalg import solve_triangular

from lindiff import _check, _divergences
from lindiff.denoisers import nearest_neighbours
from lindiff.gaussians import kl_gaussian


def _moments(points):
    points = _check.as_points("points", points, ndim=2)
    if points.shape[0] < 2:
        raise ValueError("`points` must hold at least 2 points")
    centre = points.mean(axis=0)
    return centre, (points - centre).T @ (points - centre) / points.shape[0]


def kl_gap(mean, cov, points, true_mean, true_cov):
    r"""Divergence from the Gaussian fitted to the data minus divergence from the truth.

    .. math:: \Delta_{\rm KL}=\mathrm{KL}(p_G\|\mathcal N(\bar y,\hat\Sigma))
              -\mathrm{KL}(p_G\|p_\star)

    Implements eq. (B.9).

    Parameters
    ----------
    mean, cov : array_like, shapes (d,) and (d, d)
        Law of the samples, positive definite.
    points : array_like, shape (n, d)
        Training points, n > d.
    true_mean, true_cov : array_like, shapes (d,) and (d, d)

    Returns
    -------
    float
        Total in nats; negative if the samples are nearer to the data than to the truth.

    Raises
    ------
    ValueError
        If there are too few points or the shapes differ.

    Notes
    -----
    The covariance of the points is divided by n. Halder 2024, H-42 (i).
    Range: points and means up to 1e150, in any units.

    Examples
    --------
    >>> points = [[-1.0], [1.0], [0.0]]
    >>> round(kl_gap([0.0], [[1.0]], points, [0.0], [[1.0]]), 4)
    0.0473
    """
    centre, fitted = _moments(points)
    for name, value in (("cov", cov), ("true_cov", true_cov)):
        if _check.is_singular(name, value):
            raise ValueError(f"`{name}` must be positive definite; add a floor to it")
    if _check.is_singular("points", fitted):
        raise ValueError(
            "`points` must hold more points than dimensions, none of them a combination of the "
            "others: the fit is singular"
        )
    near, far = kl_gaussian(mean, cov, centre, fitted), kl_gaussian(mean, cov, true_mean, true_cov)
    if near == far == np.inf:
        raise ValueError("`cov` is so far from both laws that both divergences overflow")
    return near - far


def likelihood_gap(mean, cov, points, true_mean, true_cov):
    r"""Mean log-likelihood of the training points minus that of fresh points.

    .. math::

       \tfrac12\,\mathrm{tr}\,\Sigma_G^{-1}\big[\Sigma_\star+\delta_\star\delta_\star^\top
       -\hat\Sigma-\hat\delta\hat\delta^\top\big],\qquad
       \delta_\star=m-\mu_G,\quad\hat\delta=\bar y-\mu_G

    Implements eq. (5.11).

    Parameters
    ----------
    mean, cov, points, true_mean, true_cov
        As in `kl_gap`; here n may be small, but `cov` must be positive definite.

    Returns
    -------
    float
        In nats per point; positive if the samples' law favours the training points.

    Raises
    ------
    ValueError
        If `cov` is not positive definite or shapes differ.

    Notes
    -----
    Exact, fresh points are averaged over. Halder 2024, H-42 (ii), with its mean terms.
    Range: points and means up to 1e150, in any units.

    Examples
    --------
    >>> points = [[-1.0], [1.0], [0.0]]
    >>> round(likelihood_gap([0.0], [[1.0]], points, [0.0], [[1.0]]), 4)
    0.1667
    """
    centre, fitted = _moments(points)
    mean, true_mean = (
        _check.as_points(name, value, 1)
        for name, value in (("mean", mean), ("true_mean", true_mean))
    )
    singular = _check.is_singular("cov", cov)
    cov = _check.as_covariance("cov", cov)
    true_cov = _check.as_covariance("true_cov", true_cov)
    if not mean.shape == true_mean.shape == centre.shape == cov.shape[:1] == true_cov.shape[:1]:
        raise ValueError("`mean`, `cov`, `points` and the truth must have one dimension")
    fresh = true_cov + np.outer(true_mean - mean, true_mean - mean)
    seen = fitted + np.outer(centre - mean, centre - mean)
    if singular:
        raise ValueError("`cov` must be positive definite; add a floor to it")
    lower = _divergences.factor(cov)
    half = solve_triangular(lower, fresh - seen, lower=True, check_finite=False)
    gap = np.trace(solve_triangular(lower, half.T, lower=True, check_finite=False))
    if not np.isfinite(gap):
        raise ValueError("`cov` is so small that the likelihoods overflow; change the units")
    return float(0.5 * gap)


def copy_rate(samples, points, fresh):
    r"""Share of samples that lie nearer to the training set than to fresh points.

    .. math:: \Pr\big(\min_i\lVert x-y_i\rVert<\min_i\lVert x-y_i'\rVert\big)

    Parameters
    ----------
    samples : array_like, shape (m, d)
        Generated points.
    points, fresh : array_like, shape (n, d)
        Training points, and as many fresh points of the same law.

    Returns
    -------
    float
        1 for pure copying, 1/2 on average if the samples do not depend on the training set.

    Raises
    ------
    ValueError
        If the two sets differ in size.

    Notes
    -----
    Halder 2024, H-42 (iii), in the form of a comparison of two sets of one size.
    Range: points up to 1e150.

    Examples
    --------
    >>> copy_rate([[0.1], [2.1]], [[0.0], [1.0]], [[2.0], [3.0]])
    0.5
    """
    if np.shape(points) != np.shape(fresh):
        raise ValueError("`points` and `fresh` must have the same shape")
    _, near = nearest_neighbours(samples, points)
    _, other = nearest_neighbours(samples, fresh)
    return float(np.mean(near < other))


def _pixel_overlap(first, second, widths):
    gap = first[:, None] - second[None]
    with np.errstate(over="ignore"):
        kernel = np.exp(-(gap**2) / (2 * widths))
    return np.mean(kernel / np.sqrt(2 * np.pi * widths), axis=(0, 1))


def pixel_distance(first, second, std):
    r"""Distance of two sets of images, pixel by pixel.

    .. math:: \frac1d\sum_j\sigma_j\int\big(p^{(1)}_j-p^{(2)}_j\big)^2dx,\qquad
              \varepsilon=\sigma_j/N

    Parameters
    ----------
    first, second : array_like, shapes (N, d) and (M, d)
        Values of the pixels.
    std : float or array_like, shape (d,)
        Standard deviations :math:`\sigma_j>0` that set the bandwidths.

    Returns
    -------
    float
        Dimensionless. The paper's script leaves out the factor :math:`1/\sqrt{2\pi}` of the
        Gaussian density and divides by :math:`\sigma_j` where this multiplies: its number is
        :math:`\sqrt{2\pi}/\sigma` times this one.

    Raises
    ------
    ValueError
        If the shapes differ or a number is not positive.

    Notes
    -----
    Memory :math:`O(NMd)`. Halder 2024, H-41.
    Range: values up to 1e150, `std` from 1e-100 to 1e100.

    Examples
    --------
    >>> pixel_distance([[0.0], [1.0]], [[0.0], [1.0]], 1.0)
    0.0
    """
    first = _check.as_points("first", first, ndim=2)
    second = _check.as_points("second", second, ndim=2)
    if first.shape[1] != second.shape[1] or 0 in first.shape + second.shape:
        raise ValueError("`first` and `second` must be full and have the same number of pixels")
    std = np.broadcast_to(_check.within("std", std, least=1e-100, most=1e100), first.shape[1:])
    widths = [(std / len(part)) ** 2 for part in (first, second)]
    own = sum(
        _pixel_overlap(part, part, 2 * width)
        for part, width in zip((first, second), widths, strict=True)
    )
    return float(np.mean(std * (own - 2 * _pixel_overlap(first, second, sum(widths)))))


def pixel_distance_mean(n_first, n_second):
    r"""Mean of `pixel_distance` for two independent sets of one Gaussian law.

    .. math::

       \frac1{\sqrt{2\pi}}\Big\{\frac1{\sqrt2}\Big[2+\frac{N-1}{\sqrt{1+N^2}}
       +\frac{M-1}{\sqrt{1+M^2}}\Big]-\frac2{\sqrt{2+N^{-2}+M^{-2}}}\Big\}

    Implements eq. (B.7).

    Parameters
    ----------
    n_first, n_second : int
        Sizes N and M.

    Returns
    -------
    float
        Exact; it is not zero, although the laws agree. The book prints :math:`\sqrt{2\pi}`
        times it.

    Notes
    -----
    Halder 2024, H-41, last formula.
    Range: sizes up to 1e9 and more.

    Examples
    --------
    >>> print(f"{pixel_distance_mean(10, 10_000):.4f}")
    0.5361
    """
    sizes = np.array(
        [_check.positive_int(n, v) for n, v in (("n_first", n_first), ("n_second", n_second))],
        dtype=float,
    )
    own = (2.0 + np.sum((sizes - 1.0) / np.sqrt(1.0 + sizes**2))) / np.sqrt(2.0)
    return float((own - 2.0 / np.sqrt(2.0 + np.sum(sizes**-2.0))) / np.sqrt(2.0 * np.pi))
