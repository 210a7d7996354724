r"""Many independent training sets of the one-step model, by two routes.

Private part of :mod:`lindiff.onestep`, which re-exports every public name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from lindiff import _check
from lindiff._onestep_exact import _noise, _sampler, _sizes
from lindiff._onestep_finite import fit_one_step, generated_law, require_model


@dataclass(frozen=True, eq=False)
class FiniteRuns:
    r"""What independent training sets gave, in units of the data variance.

    Attributes
    ----------
    trace : ndarray, shape (n_runs,)
        :math:`\mathrm{tr}\,\Sigma_G/\sigma^2`, plus :math:`d\varepsilon^2` with a kernel.
    log_det : ndarray, shape (n_runs,)
        :math:`\log\det(\Sigma_G/\sigma^2+\varepsilon^2I)`, ``-inf`` for a singular law.
    kl_mean : ndarray, shape (n_runs,)
        Part of the divergence from the generated mean.
    dimension : int
        Number of coordinates.
    """

    trace: np.ndarray
    log_det: np.ndarray
    kl_mean: np.ndarray
    dimension: int

    @property
    def kl_variance(self):
        r"""Part of the divergence from the covariance, shape (n_runs,)."""
        return 0.5 * (self.trace - self.dimension - self.log_det)

    @property
    def kl(self):
        r"""Divergence :math:`\mathrm{KL}(p_G\|p_\star)` of each run, shape (n_runs,)."""
        return self.kl_mean + self.kl_variance


def simulate_finite(
    model,
    n_samples,
    n_runs,
    rng,
    *,
    sampler="isotropic",
    route="wishart",
    width=0.0,
    intercept=True,
):
    r"""Train the one-step model on independent sets of n points and measure the divergence.

    .. math:: \mathrm{KL}_{\rm mean}=\frac{\|\mu_G-m\|^2}{2\sigma^2},\qquad
              \mathrm{KL}_{\rm var}=\tfrac12\Big[\frac{\mathrm{tr}\,\Sigma_G}{\sigma^2}-d
              -\log\det\frac{\Sigma_G}{\sigma^2}\Big]

    Parameters
    ----------
    model : OneStepModel
    n_samples, n_runs : int
        Training points n (at least 2 with intercept) and number of training sets.
    rng : numpy.random.Generator
    sampler : {"isotropic", "population", "full"}
        See `generated_law`.
    route : {"wishart", "regression"}
        Draw the fitted map from its exact law (fast, memory :math:`O(d^2)` for any n), or
        draw n pairs and fit them. Both have the same distribution.
    width : float
        Kernel :math:`\varepsilon` added to the samples, in units of :math:`\sigma`: 0, or from
        1e-150 to 1e150.
    intercept : bool
        Whether the mean is fitted; otherwise it is known and ``kl_mean`` is 0.

    Returns
    -------
    FiniteRuns

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of another type.

    Notes
    -----
    Halder 2024, H-9 to H-13, H-20. With the full sampler and intercept the input is centred
    at the mean of the noised points.
    Range: every ratio and up to 1e9 points and more; by regression, variances of data and of
    noised points from 1e-290 to 1e290. Rounding of the divergence is 1e-15 d.

    Examples
    --------
    >>> from lindiff.onestep import OneStepModel
    >>> model = OneStepModel(time=0.5, noise_scale=1.0, dimension=5)
    >>> runs = simulate_finite(model, 20, 4, np.random.default_rng(0))
    >>> runs.kl.shape, bool(np.all(runs.kl > 0))
    ((4,), True)
    """
    require_model(model)
    rng, sampler = _check.generator(rng), _sampler(sampler)
    dimension, degrees = _sizes(model.dimension, n_samples, intercept)
    n_runs = _check.positive_int("n_runs", n_runs)
    width = float(_check.as_array("width", _check.within("width", width, zero=True), ndim=0))
    if degrees == 0:
        raise ValueError("`n_samples` must be at least 2 to fit a mean and a map")
    if route not in ("wishart", "regression"):
        raise ValueError(f"`route` must be 'wishart' or 'regression', got {route!r}")
    draw = _draw_wishart if route == "wishart" else _draw_regression
    out = np.empty((3, n_runs))
    for run in range(n_runs):
        root, shift = draw(model, degrees, rng, sampler, intercept)
        out[:, run] = *_moments(root, min(dimension, degrees), width), 0.5 * shift
    return FiniteRuns(*out, dimension)


def simulate_sizes(model, sizes, n_runs, rng, *, part="kl", **options):
    r"""Mean and standard error of the divergence per dimension at several numbers of points.

    Parameters
    ----------
    model : OneStepModel
    sizes : sequence of int
        Numbers of training points.
    n_runs : int
        Training sets at each of them, at least 2.
    rng : numpy.random.Generator
    part : {"kl", "kl_mean", "kl_variance"}
        Which attribute of `FiniteRuns` is averaged.
    **options
        Passed on to `simulate_finite`.

    Returns
    -------
    ndarray, shape (2, len(sizes))
        Mean, and standard error of the mean, both divided by d; both ``inf`` where a run is.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of another type.

    Notes
    -----
    Range: that of `simulate_finite`.

    Examples
    --------
    >>> from lindiff.onestep import OneStepModel
    >>> model = OneStepModel(time=0.5, noise_scale=1.0, dimension=5)
    >>> mean, error = simulate_sizes(model, (10, 40), 20, np.random.default_rng(0))
    >>> bool(mean[0] > mean[1] > 0)
    True
    """
    if part not in ("kl", "kl_mean", "kl_variance"):
        raise ValueError(f"`part` must be 'kl', 'kl_mean' or 'kl_variance', got {part!r}")
    if _check.positive_int("n_runs", n_runs) < 2:
        raise ValueError("`n_runs` must be at least 2 to give a standard error")
    rows = [
        getattr(simulate_finite(model, n, n_runs, rng, **options), part) / model.dimension
        for n in sizes
    ]
    return np.array([[r.mean() for r in rows], [standard_error(r) for r in rows]])


def standard_error(runs):
    """Standard error of the mean along the first axis, infinite where a run is."""
    finite = np.all(np.isfinite(runs), axis=0)
    error = np.std(np.where(finite, runs, 0.0), axis=0, ddof=1) / np.sqrt(len(runs))
    return np.where(finite, error, np.inf)


def sample_maps(noise_to_signal, dimension, n_samples, n_runs, rng, *, intercept=True):
    r"""Draw normalised learned maps from their exact law.

    .. math:: M=\frac{\sigma_x}{\sigma}W\overset d=\sqrt\rho\,I+\sqrt{1-\rho}\,GA^{-1/2},
              \qquad A\sim\mathcal W_d(I,\nu)

    Implements eq. (4.4).

    Parameters
    ----------
    noise_to_signal : float
        :math:`\Lambda\ge0`.
    dimension, n_samples, n_runs : int
        d, n and the number of draws.
    rng : numpy.random.Generator
    intercept : bool
        Whether the mean is fitted, :math:`\nu=n-1`.

    Returns
    -------
    ndarray, shape (n_runs, d, min(d, nu))
        For :math:`\nu<d` the map restricted to the span of the data; its singular values
        are the nonzero ones of the map.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of another type.

    Notes
    -----
    With :math:`A=LL^\top` and L triangular (Bartlett), M is drawn as
    :math:`\sqrt\rho\,I+\sqrt{1-\rho}\,GL^{-1}`, whose rows have the same law.
    Halder 2024, H-11.
    Range: every ratio, up to 1e9 points and more.

    Examples
    --------
    >>> sample_maps(1.0, 6, 4, 2, np.random.default_rng(0)).shape
    (2, 6, 3)
    """
    noise, rho = _noise(noise_to_signal)
    dimension, degrees = _sizes(dimension, n_samples, intercept)
    n_runs, rng = _check.positive_int("n_runs", n_runs), _check.generator(rng)
    if degrees == 0:
        raise ValueError("`n_samples` must be at least 2 to fit a mean and a map")
    return np.stack([_map(noise, rho, dimension, degrees, rng)[0] for _ in range(n_runs)])


def _map(noise, rho, dimension, degrees, rng):
    """Return a map M and the product M L with the Bartlett factor of the Wishart matrix."""
    rank, freedom = min(dimension, degrees), max(dimension, degrees)
    lower = np.tril(rng.standard_normal((rank, rank)), -1)
    lower[np.diag_indices(rank)] = np.sqrt(rng.chisquare(freedom - np.arange(rank)))
    gauss = rng.standard_normal((rank, dimension))
    # Rows of G L^-1 have covariance (L L^T)^-1, which G L^-T would not.
    spread = solve_triangular(lower, gauss, lower=True, trans="T", check_finite=False).T
    product = np.sqrt(noise) * gauss.T
    product[:rank] += np.sqrt(rho) * lower
    return np.sqrt(rho) * np.eye(dimension, rank) + np.sqrt(noise) * spread, product


def _draw_wishart(model, degrees, rng, sampler, intercept):
    """Return a root of the generated covariance and the squared error of the mean."""
    dimension, (noise, rho) = model.dimension, _noise(model.noise_to_signal)
    learned, fitted = _map(noise, rho, dimension, degrees, rng)
    shift = 0.0
    if intercept:
        clean, noised = rng.standard_normal((2, dimension)) / np.sqrt(degrees + 1)
        if sampler != "full":
            # The map restricted to its row space sees as many coordinates of the noise.
            clean = clean - np.sqrt(noise) * (learned @ noised[: learned.shape[1]])
        shift = float(clean @ clean)
    if sampler == "full":
        return fitted / np.sqrt(degrees), shift
    if sampler == "isotropic":
        residual = noise * rng.chisquare(max(degrees - dimension, 0) * dimension or 1)
        residual = residual if degrees > dimension else 0.0
        variance = (np.sum(fitted**2) + residual) / (degrees * dimension)
        learned = np.sqrt(noise + rho * variance) * learned
    return learned, shift


def _draw_regression(model, degrees, rng, sampler, intercept):
    """Draw training pairs, fit them, and return the same two quantities."""
    shape = (degrees + int(intercept), model.dimension)
    clean = np.sqrt(model.variance) * rng.standard_normal(shape)
    noised = model.signal * clean + model.noise * rng.standard_normal(shape)
    mean, root = generated_law(
        fit_one_step(noised, clean, intercept=intercept), model, sampler=sampler
    )
    return root / np.sqrt(model.variance), float(mean @ mean) / model.variance


def _moments(root, rank, width):
    """Return trace and log-determinant of root root^T plus the kernel."""
    dimension = root.shape[0]
    trace = float(np.sum(root**2)) + dimension * width**2
    if width > 0:
        # Beyond the rank, rounding may be larger than a narrow kernel.
        stretch = np.linalg.svd(root, compute_uv=False)[:rank]
        logs = np.sum(np.log(np.hypot(stretch, width))) + (dimension - rank) * np.log(width)
        return trace, 2.0 * float(logs)
    if rank < dimension:
        return trace, -np.inf
    if root.shape[1] == dimension:
        return trace, 2.0 * float(np.linalg.slogdet(root)[1])
    return trace, 2.0 * float(np.sum(np.log(np.linalg.svd(root, compute_uv=False))))
