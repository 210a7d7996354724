"""A mixture of Gaussians whose denoiser is exact, its samplers and distances of samples."""

import numpy as np

from lindiff import gaussians, sampling, schedules
from lindiff.denoisers import GaussianMixtureDenoiser


def low_rank_mixture(dimension, n_components, rank, seed):
    """Return a mixture of `n_components` Gaussians of a low rank plus variance 0.001.

    The variances of a component fall as 1, 1/2, ..., 1/rank; the means are normal with
    standard deviation 0.6 in each coordinate.
    """
    rng = np.random.default_rng([seed, 0])
    means = 0.6 * rng.standard_normal((n_components, dimension))
    covs = np.empty((n_components, dimension, dimension))
    for cov in covs:
        axes = np.linalg.qr(rng.standard_normal((dimension, rank)))[0]
        cov[:] = (axes / np.arange(1, rank + 1)) @ axes.T + 1e-3 * np.eye(dimension)
    return GaussianMixtureDenoiser(means, covs, np.full(n_components, 1 / n_components))


def named_mixture(name, dimension, n_components, rank, seed):
    """Return the mixture "vectors" of `low_rank_mixture`, or "gmm" of smooth pictures.

    The second is `lindiff.nn.images.mixture_images`; `dimension` is the square of its side.
    """
    if name == "vectors":
        return low_rank_mixture(dimension, n_components, rank, seed)
    from lindiff.nn._mixture_images import mixture_images

    side = round(np.sqrt(dimension))
    return mixture_images(side, n_components=n_components, rank=rank, seed=seed)


def draw(mixture, n_samples, seed, index):
    """Return points of a mixture: other ones for each index, the same on every machine."""
    from lindiff.nn.images import draw_mixture

    return draw_mixture(mixture, n_samples, seed=1000 * (seed + 1) + index)


def starting_noise(n_samples, dimension, seed):
    """Return the unit noise that all solvers start from."""
    return np.random.default_rng([seed, 1]).standard_normal((n_samples, dimension))


def solve(denoiser, noise, solver, n_steps, *, sigma_max=80.0):
    """Return what a solver makes of the unit noise on the grid of Karras et al. 2022 (L-6)."""
    return solve_from(
        denoiser, sigma_max * noise, solver, schedules.karras(n_steps, sigma_max=sigma_max)
    )


def solve_from(denoiser, points, solver, schedule):
    """Return what a solver makes of points at the noisiest level of `schedule`."""
    start = points * np.sqrt(schedule.alpha_bar[-1])
    rng = np.random.default_rng(0)  # Neither solver draws from it.
    return sampling.sample(denoiser, schedule, len(points), rng, solver=solver, start=start)


def evaluations(solver, n_steps):
    """Return the calls of the denoiser of a solver that ends at noise 0."""
    return n_steps if solver == "euler" else 2 * n_steps - 1


def sliced_w2(a, b, n_projections, seed):
    """Return the sliced Wasserstein-2 distance of two equally large sets of points."""
    axes = np.random.default_rng([seed, 2]).standard_normal((a.shape[1], n_projections))
    axes /= np.linalg.norm(axes, axis=0)
    gap = np.sort(a @ axes, axis=0) - np.sort(b @ axes, axis=0)
    return float(np.sqrt(np.mean(gap**2)))


def frechet(points, mean, cov):
    """Return the Frechet distance (squared Wasserstein-2) of points to a Gaussian's moments."""
    found = np.cov(points, rowvar=False, bias=True)
    return gaussians.wasserstein2_squared(points.mean(axis=0), found, mean, cov)


def relative_change(found, reference):
    """Return the relative root mean square change of samples."""
    return float(np.linalg.norm(found - reference) / np.linalg.norm(reference))
