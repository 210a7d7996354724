r"""Random features: the score :math:`B\tanh(Wx/\sqrt d)` with a frozen matrix :math:`W`.

Ornstein-Uhlenbeck noise :math:`x=e^{-t}x_0+\sqrt{\Delta}\,\xi`, :math:`\Delta=1-e^{-2t}`,
standard normal data. Bonnaire et al. 2025, D-6 to D-8; George, Veiga and Macris 2025, G-2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy import linalg

from lindiff.denoisers import EmpiricalDenoiser, predict_noise


@dataclass(frozen=True)
class Case:
    """One draw of data and features."""

    dimension: int
    n_points: int
    n_features: int
    time: float
    seed: int

    @property
    def signal(self):
        """Power of the signal, exp(-2t)."""
        return float(np.exp(-2 * self.time))

    @property
    def delta(self):
        """Power of the noise, 1 - exp(-2t)."""
        return float(-np.expm1(-2 * self.time))

    def data(self):
        """Training points, shape (n, d)."""
        rng = np.random.default_rng([self.seed, 0])
        return rng.standard_normal((self.n_points, self.dimension))

    def features(self, points):
        """Features of noised points, shape (..., p)."""
        return np.tanh(points @ self.frozen().T / np.sqrt(self.dimension))

    def frozen(self):
        """The frozen matrix W, shape (p, d)."""
        rng = np.random.default_rng([self.seed, 1])
        return rng.standard_normal((self.n_features, self.dimension))


def noised(case, points, n_noises, stream):
    """Return noised copies of points and their noise, shape (n * n_noises, d)."""
    points = np.repeat(points, n_noises, axis=0)
    noise = np.random.default_rng([case.seed, 2, stream]).standard_normal(points.shape)
    return np.sqrt(case.signal) * points + np.sqrt(case.delta) * noise, noise


def training_batch(case, n_noises):
    """Return the features and the noise of the training set."""
    points, noise = noised(case, case.data(), n_noises, 0)
    return case.features(points), noise


def solve(features, noise, delta, ridge):
    """Return the matrix B that minimises the regularised training loss (G-2)."""
    n_rows, n_features = features.shape
    cross = features.T @ noise / n_rows
    second = features.T @ features / n_rows
    second[np.diag_indices(n_features)] += ridge
    return -linalg.solve(second, cross, assume_a="pos").T / np.sqrt(delta)


def losses(case, matrix, n_test):
    """Return the test loss, its standard error and the distance to the empirical score.

    Both per dimension and in units of the noise: zero score has loss 1. The distance is
    taken at training points with fresh noise.
    """
    rng = np.random.default_rng([case.seed, 3])
    fresh = rng.standard_normal((n_test, case.dimension))
    points, noise = noised(case, fresh, 1, 1)
    residual = np.sqrt(case.delta) * case.features(points) @ matrix.T + noise
    test = np.mean(residual**2, axis=1)
    data = case.data()
    points, _ = noised(case, data, max(1, n_test // (4 * case.n_points)), 2)
    memory = predict_noise(EmpiricalDenoiser(data), points, case.signal)
    gap = np.sqrt(case.delta) * case.features(points) @ matrix.T + memory
    return float(test.mean()), float(test.std() / np.sqrt(n_test)), float(np.mean(gap**2))


def averaged_second_moment(case, n_terms=8):
    r"""Return :math:`U`, the mean over the data of :math:`E_\xi[\phi\phi^\top]`, without sampling.

    The average over the noise is a series in the overlaps of the rows of W (Mehler).
    """
    frozen = case.frozen() / np.sqrt(case.dimension)
    lengths = np.linalg.norm(frozen, axis=1)
    overlap = (frozen @ frozen.T) / np.outer(lengths, lengths)
    np.fill_diagonal(overlap, 1.0)
    centre = np.sqrt(case.signal) * frozen @ case.data().T
    nodes, weights = hermegauss(40)
    weights = weights / weights.sum()
    total, power = np.zeros_like(overlap), np.ones_like(overlap)
    previous, current = np.zeros_like(nodes), np.ones_like(nodes)
    for k in range(n_terms):
        coefficient = np.zeros_like(centre)
        for node, weight in zip(nodes, weights * current, strict=True):
            coefficient += weight * np.tanh(centre + np.sqrt(case.delta) * lengths[:, None] * node)
        total += power * (coefficient @ coefficient.T) / case.n_points
        power = power * overlap
        # Normalised Hermite polynomials.
        following = (nodes * current - np.sqrt(k) * previous) / np.sqrt(k + 1)
        previous, current = current, following
    return total


def constants(time):
    r"""Return :math:`a_t,b_t,v_t^2,s_t^2` of D-7 for tanh and standard normal data."""
    signal, delta = np.exp(-2 * time), -np.expm1(-2 * time)
    nodes, weights = hermegauss(120)
    weights = weights / weights.sum()
    slope = weights @ (1 - np.tanh(nodes) ** 2)
    inner = np.tanh(np.sqrt(signal) * nodes[:, None] + np.sqrt(delta) * nodes) @ weights
    linear = slope**2
    cross = weights @ inner**2 - linear * signal
    rest = weights @ np.tanh(nodes) ** 2 - linear * signal - cross - delta * linear
    return slope, np.sqrt(delta) * slope, cross, rest


def stieltjes(z, psi_p, psi_n, time, *, last=None):
    """Return q(z), the normalised trace of (U - z)^-1 for z < 0, from the equations D-8.

    `last` replaces psi_n in the last equation: the transcription that the numbers refute.
    """
    from scipy.optimize import brentq

    a, b, v2, s2 = constants(time)
    ratio, linear = psi_p / psi_n, a**2 * np.exp(-2 * time)

    def reduced(q):
        """r = s at given q: the root of an increasing function."""

        def excess(r):
            damped = psi_p * linear / (1 + ratio * (linear * r + v2 * q))
            return r * (b**2 * psi_p + 1 / q + damped) - 1

        return brentq(excess, 0, q, xtol=1e-15)

    def equation(q):
        r = reduced(q)
        other = ratio if last is None else psi_p / last
        damped = 1 + other * (linear * r + v2 * q)
        return psi_p * (s2 - z) + psi_p * v2 / damped + (1 - psi_p) / q - r / q**2

    top = 1 / -z
    return brentq(equation, 1e-6 * top, top * (1 - 1e-12), xtol=1e-14)
