"""Two classes and their cloning probability; nearest training points along trajectories."""

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import expit

from lindiff import sampling, schedules
from lindiff.denoisers import EmpiricalDenoiser, GaussianMixtureDenoiser, nearest_neighbours
from lindiff.experiments import _exact_mixture as exact


@dataclass(frozen=True)
class TwoClasses:
    """Equal mixture of two Gaussians of one variance with means +m and -m on one axis."""

    dimension: int
    separation: float
    variance: float

    @property
    def sqrt_lambda_max(self):
        """Root of the largest variance of the data."""
        return float(np.sqrt(self.separation**2 + self.variance))

    def denoiser(self):
        """The exact denoiser; the classes differ along the first coordinate."""
        means = np.zeros((2, self.dimension))
        means[:, 0] = self.separation, -self.separation
        covs = np.tile(self.variance * np.eye(self.dimension), (2, 1, 1))
        return GaussianMixtureDenoiser(means, covs, [0.5, 0.5])

    def cloning(self, sigma):
        r"""Return :math:`E[r_+^2+r_-^2]` at noise level `sigma` (B-3), by quadrature."""
        nodes, weights = hermegauss(150)
        spread = self.variance + sigma**2
        x = self.separation + np.sqrt(spread) * nodes
        share = expit(2 * self.separation * x / spread)
        return float(weights @ (share**2 + (1 - share) ** 2) / weights.sum())

    def simulate(self, sigma, n_pairs, n_steps, rng):
        """Return whether two stochastic trajectories from one noised point end in one class."""
        denoiser = self.denoiser()
        noisy = denoiser.sample(n_pairs, rng)
        noisy = noisy + sigma * rng.standard_normal(noisy.shape)
        schedule = schedules.karras(n_steps, sigma_max=sigma)
        start = noisy * np.sqrt(schedule.alpha_bar[-1])
        ends = [
            sampling.sample(denoiser, schedule, n_pairs, rng, solver="ddpm", start=start)[:, 0] > 0
            for _ in range(2)
        ]
        return (ends[0] == ends[1]).astype(float)


class _Recorder:
    """The memorising denoiser; it notes which training point is nearest at every call."""

    def __init__(self, data):
        self.inner = EmpiricalDenoiser(data)
        self.dimension = data.shape[1]
        self.levels, self.nearest = [], []

    def denoise(self, x, sigma):
        """Denoise and take a note."""
        self.levels.append(float(np.max(sigma)))
        self.nearest.append(nearest_neighbours(x, self.inner.data)[0])
        return self.inner.denoise(x, sigma)


def nearest_along_paths(data, noise, n_steps):
    """Return the noise levels of Euler's method and the nearest training point at each.

    Returns
    -------
    sigmas : numpy.ndarray, shape (n_steps,)
        Falling.
    nearest : numpy.ndarray of int, shape (n_steps, n_paths)
    """
    recorder = _Recorder(data)
    exact.solve(recorder, noise, "euler", n_steps)
    return np.array(recorder.levels), np.array(recorder.nearest)
