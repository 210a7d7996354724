r"""K-step chains trained on finite data, by brute force.

Private half of :mod:`lindiff.multistep`, which re-exports every public name.
"""

from dataclasses import dataclass

import numpy as np

from lindiff import _check, _divergences
from lindiff._multistep_chains import levels, named
from lindiff._onestep_runs import standard_error

_NOISES = ("path", "single", "fresh", "averaged")


@dataclass(frozen=True, eq=False)
class LinearChain:
    r"""Affine denoisers of K levels, :math:`D_k(x)=\bar y_k+W_k(x-\bar x_k)`.

    Attributes
    ----------
    grid : numpy.ndarray, shape (K,)
        Noise variances in units of clean data.
    weights : numpy.ndarray, shape (K, d, d)
    centres, noised_centres : numpy.ndarray, shape (K, d)
        Means of the training points of each level, and of their noised copies.
    variance : float
        Unbiased variance of the training points, averaged over coordinates.
    """

    grid: np.ndarray
    weights: np.ndarray
    centres: np.ndarray
    noised_centres: np.ndarray
    variance: float

    def law(self, *, rule="ddpm", start=None):
        r"""Mean and covariance of the samples of the chain.

        .. math::

           m\leftarrow r_km+(1-r_k)D_k(m),\qquad
           V\leftarrow M_kVM_k^\top+\tilde\sigma_k^2I,\qquad M_k=r_kI+(1-r_k)W_k

        Parameters
        ----------
        rule : {"ddpm", "ddim", "means"}
            As in `step_variance`.
        start : float, optional
            Variance of the input in every direction, in units of clean data; without it
            :math:`\hat s+\omega_K` with the averaged sample variance.

        Returns
        -------
        mean : numpy.ndarray, shape (d,)
        cov : numpy.ndarray, shape (d, d)

        Notes
        -----
        The input is isotropic and has the mean :math:`\bar y_K`.
        Range: that of `train_steps`; `start` up to 1e304.
        """
        named("rule", rule, ("ddpm", "ddim", "means"))
        below = np.append(0.0, self.grid[:-1])
        keep = np.sqrt(below / self.grid) if rule == "ddim" else below / self.grid
        noise = below * (1.0 - keep) if rule == "ddpm" else np.zeros_like(keep)
        eye = np.eye(self.centres.shape[1])
        start = self.variance + self.grid[-1] if start is None else start
        start = _check.within("start", start, least=0.0, most=_check.LARGEST_VARIANCE, zero=True)
        mean, cov = self.centres[-1], _check.as_array("start", start, ndim=0) * eye
        for k in range(self.grid.size - 1, -1, -1):
            clean = self.centres[k] + self.weights[k] @ (mean - self.noised_centres[k])
            mean = keep[k] * mean + (1.0 - keep[k]) * clean
            step = keep[k] * eye + (1.0 - keep[k]) * self.weights[k]
            cov = step @ cov @ step.T + noise[k] * eye
        return mean, 0.5 * (cov + cov.T)


def train_steps(points, grid, rng, *, noise="path"):
    r"""Fit one affine denoiser at each noise level by least squares.

    .. math:: W_k=\tilde Y^\top\tilde X_k(\tilde X_k^\top\tilde X_k)^+,\qquad
              X_k=Y+\sqrt{\omega_k}\,Z_k

    Implements eq. (6.14).

    Parameters
    ----------
    points : array_like, shape (n, d)
        Training points, of any law.
    grid : array_like, shape (K,)
        Noise variances in units of clean data.
    rng : numpy.random.Generator
    noise : {"path", "single", "fresh", "averaged"}
        One path of the noising process for each point, shared by all levels; one noise
        vector for each point; independent noise at every level; infinitely many draws.

    Returns
    -------
    LinearChain

    Raises
    ------
    ValueError
        If the data are empty or hold NaN, or `noise` is unknown.

    Notes
    -----
    With an intercept; the pseudo-inverse solution where n - 1 < d. With averaged noise
    :math:`W_k=\hat\Sigma(\hat\Sigma+\omega_k)^{-1}`, the covariance with 1/n. Cost
    :math:`O(Knd^2)`. Halder 2024, H-9, H-37, H-39.
    Range: points up to 1e150, grids from 1e-150 to 1e150.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> chain = train_steps(rng.standard_normal((4000, 2)), [0.5, 1.0], rng)
    >>> chain.weights[:, 0, 0].round(1)
    array([0.7, 0.5])
    """
    points = _check.as_points("points", points, ndim=2)
    n, d = points.shape
    if n == 0 or d == 0:
        raise ValueError("`points` is empty; pass (n, d) with n, d >= 1")
    omega, rng = levels(grid), _check.generator(rng)
    named("noise", noise, _NOISES)
    centres = np.tile(points.mean(axis=0), (omega.size, 1))
    clean = points - centres[0]
    spread = float(np.sum(clean**2) / (d * max(n - 1, 1)))
    if noise == "averaged":
        weights = _averaged_weights(clean, omega)
        return LinearChain(omega, weights, centres, centres, spread)
    noised = points + _noise(noise, omega, (n, d), rng)
    middle = noised.mean(axis=1)
    weights = _least_squares(clean, noised - middle[:, None])
    return LinearChain(omega, weights, centres, middle, spread)


def _noise(kind, omega, shape, rng):
    """Noise of all levels, (K, n, d)."""
    if kind == "single":
        return np.sqrt(omega)[:, None, None] * rng.standard_normal(shape)
    draws = rng.standard_normal((omega.size, *shape))
    if kind == "fresh":
        draws *= np.sqrt(omega)[:, None, None]
        return draws
    draws *= np.sqrt(np.diff(omega, prepend=0.0))[:, None, None]
    for level in range(1, omega.size):
        draws[level] += draws[level - 1]
    return draws


def _averaged_weights(clean, omega):
    _, singular, vectors = np.linalg.svd(clean, full_matrices=False)
    s = singular**2 / clean.shape[0]
    shrink = s / (s + omega[:, None])
    return (vectors.T * shrink[:, None, :]) @ vectors


def _least_squares(clean, noised):
    """Slopes (K, d, d) of clean on centred noised points, smallest norm if not unique."""
    n, d = clean.shape
    if n - 1 < d:
        return np.swapaxes(np.linalg.pinv(noised) @ clean, 1, 2)
    q, r = np.linalg.qr(noised)
    return np.swapaxes(np.linalg.solve(r, np.swapaxes(q, 1, 2) @ clean), 1, 2)


@dataclass(frozen=True, eq=False)
class StepsStudy:
    """Divergences of trained chains with several numbers of steps.

    Attributes
    ----------
    n_steps : tuple of int
    kl : numpy.ndarray, shape (n_runs, len(n_steps))
        Total divergence of each run; the chains of a run share the training points.
    """

    n_steps: tuple
    kl: np.ndarray

    @property
    def mean(self):
        """Mean over the runs, shape (len(n_steps),)."""
        return self.kl.mean(axis=0)

    @property
    def standard_error(self):
        """Standard error of the mean, shape (len(n_steps),); ``inf`` where that is."""
        return standard_error(self.kl)

    @property
    def best(self):
        """Number of steps with the smallest mean divergence."""
        return self.n_steps[int(np.argmin(self.mean))]

    @property
    def contenders(self):
        """Numbers of steps whose paired difference from the best is below 2 standard errors."""
        finite = np.isfinite(self.mean)
        if not np.any(finite):
            return self.n_steps
        kl = np.where(finite, self.kl, 0.0)
        gap = kl - kl[:, [int(np.argmin(self.mean))]]
        near = finite & (gap.mean(axis=0) <= 2.0 * standard_error(gap))
        return tuple(np.array(self.n_steps)[near].tolist())


def simulate_step_kl(grids, eigenvalues, n_samples, n_runs, rng, *, noise="path", rule="ddpm"):
    r"""Train chains on Gaussian data and measure their divergence, run after run.

    Parameters
    ----------
    grids : sequence of array_like
        One grid of noise variances for each number of steps to compare.
    eigenvalues : array_like, shape (d,)
        Variances :math:`s_i>0` of the data along the axes.
    n_samples, n_runs : int
        Training points of a run, at least 2; runs, at least 2.
    rng : numpy.random.Generator
    noise : str
        As in `train_steps`, or "fresh sets" for new training points at every level.
    rule : {"ddpm", "ddim", "means"}

    Returns
    -------
    StepsStudy

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    The divergence counts mean and covariance; it is infinite for n - 1 < d. All grids of a
    run use the same training points, so that differences between grids are sharper than the
    values. Halder 2024, H-38, H-39.
    Range: eigenvalues from 1e-150 to 1e150 that span at most 12 decades.

    Examples
    --------
    >>> grids = [[1.0], [0.3, 1.0]]
    >>> study = simulate_step_kl(grids, np.ones(4), 40, 3, np.random.default_rng(0))
    >>> study.n_steps, study.kl.shape
    ((1, 2), (3, 2))
    """
    s = np.asarray(_check.within("eigenvalues", eigenvalues))
    if s.ndim != 1:
        raise ValueError(f"`eigenvalues` must have shape (d,), got {s.shape}")
    if s.max() > 1e12 * s.min():
        raise ValueError("`eigenvalues` span more than 12 decades, which covariances cannot hold")
    grids = [levels(grid) for grid in grids]
    named("noise", noise, (*_NOISES, "fresh sets"))
    n = _check.positive_int("n_samples", n_samples)
    n_runs, rng = _check.positive_int("n_runs", n_runs), _check.generator(rng)
    if min(n, n_runs) < 2:
        raise ValueError("`n_samples` and `n_runs` must be at least 2")
    kl, truth = np.full((n_runs, len(grids)), np.inf), np.diag(s)
    for row in kl if n > s.size else ():
        points = np.sqrt(s) * rng.standard_normal((n, s.size))
        for j, grid in enumerate(grids):
            if noise == "fresh sets":
                chain = _fresh_chain(s, n, grid, rng)
            else:
                chain = train_steps(points, grid, rng, noise=noise)
            mean, cov = chain.law(rule=rule)
            row[j] = _divergences.kl(mean, cov, truth)
    return StepsStudy(tuple(grid.size for grid in grids), kl)


def _fresh_chain(s, n, grid, rng):
    """Chain whose levels are fitted to independent training sets."""
    shape = (n, s.size)
    parts = [train_steps(np.sqrt(s) * rng.standard_normal(shape), [omega], rng) for omega in grid]
    stacked = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("grid", "weights", "centres", "noised_centres")
    )
    return LinearChain(*stacked, parts[-1].variance)
