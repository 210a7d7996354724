"""Identities of closed-form denoisers; each function returns error, tolerance and control.

The control is the error of a deliberately wrong version; it must exceed the tolerance.
"""

import numpy as np

from lindiff import sampling, spectra
from lindiff.denoisers import AffineDenoiser, EmpiricalDenoiser, GaussianMixtureDenoiser
from lindiff.experiments import _exact_mixture as exact

SIGMA = 0.7
FOUR = 4.0  # Standard errors allowed to a Monte Carlo test.


def _mixture(dimension=8, seed=0):
    """A mixture of three Gaussians of full rank in few dimensions."""
    rng = np.random.default_rng(seed)
    means = 1.2 * rng.standard_normal((3, dimension))
    roots = 0.4 * rng.standard_normal((3, dimension, dimension))
    covs = roots @ roots.transpose(0, 2, 1) / np.sqrt(dimension) + 0.02 * np.eye(dimension)
    return GaussianMixtureDenoiser(means, covs, [0.5, 0.3, 0.2])


def _gaussian(model):
    return AffineDenoiser.from_moments(model.mean, model.covariance)


def _pairs(model, n, sigma, seed):
    rng = np.random.default_rng([seed, 1])
    clean = model.sample(n, rng)
    return clean, clean + sigma * rng.standard_normal(clean.shape)


def _squares(a, b):
    return np.sum((a - b) ** 2, axis=-1)


def _standard_errors(values, expected=0.0):
    """How many standard errors the mean of `values` is away from `expected`."""
    return float(abs(values.mean() - expected) / (values.std(ddof=1) / np.sqrt(len(values))))


def score(n, seed):
    """L-2: the score of the noised mixture is (D - x) / sigma^2.

    The derivative of the log density is taken by a complex step.
    """
    model = _mixture()
    _, noisy = _pairs(model, 50, SIGMA, seed)
    step = 1e-30
    shifted = noisy[:, None, :] + 1j * step * np.eye(model.dimension)
    found = _log_density(model, shifted, SIGMA).imag / step
    away = model.denoise(noisy, SIGMA) - noisy
    error, control = (np.abs(found - away / SIGMA**p).max() for p in (2, 1))
    return error, 1e-9, control


def _log_density(model, x, sigma):
    terms = []
    for mean, cov, weight in zip(model.means, model.covs, model.weights, strict=True):
        total = cov + sigma**2 * np.eye(len(cov))
        away = x - mean
        square = np.einsum("...i,ij,...j->...", away, np.linalg.inv(total), away)
        terms.append(np.log(weight) - 0.5 * square - 0.5 * np.linalg.slogdet(total)[1])
    top = np.max(np.real(terms), axis=0)
    return top + np.log(np.sum(np.exp(np.array(terms) - top), axis=0))


def minimum_loss(n, seed):
    """L-9: the loss of the Gaussian denoiser on any data is sigma^2 times the sum of gains."""
    model = _mixture()
    clean, noisy = _pairs(model, n, SIGMA, seed)
    affine = _gaussian(model)
    losses = _squares(affine.denoise(noisy, SIGMA), clean)
    expected = SIGMA**2 * affine.gains(SIGMA)[0].sum()
    wrong = SIGMA**2 * affine.gains(1.2 * SIGMA)[0].sum()
    return _standard_errors(losses, expected), FOUR, _standard_errors(losses, wrong)


def flow(n, seed):
    """L-10: solvers converge to the closed form of the Gaussian flow.

    The error is the largest relative deviation from the tabulated errors of Heun's method
    with 10, 18, 40, 100 and 500 steps; the control is Euler's method.
    """
    variances = spectra.power_law(64, 1.5, trace=None)
    variances = variances / variances.max()
    gaussian = AffineDenoiser(np.zeros(64), variances, np.eye(64))
    noise = exact.starting_noise(min(n, 500), 64, seed)
    target = sampling.flow_map(gaussian, 80.0 * noise, 80.0, 0.0)
    table = {10: 0.24, 18: 0.061, 40: 0.0106, 100: 0.0015, 500: 1.3e-4}

    def deviation(solver):
        found = {
            n_steps: exact.relative_change(exact.solve(gaussian, noise, solver, n_steps), target)
            for n_steps in table
        }
        return max(abs(found[k] / table[k] - 1) for k in table)

    return deviation("heun"), 0.1, deviation("euler")


def affine_optimum(n, seed):
    """L-12: least squares of clean on noisy points gives the Gaussian denoiser."""
    model = _mixture()
    clean, noisy = _pairs(model, n, SIGMA, seed)
    tolerance = 3 * np.sqrt(model.dimension / n)
    found = _regression(noisy, clean)
    return (
        _matrix_error(found, _weights(model, SIGMA)),
        tolerance,
        _matrix_error(found, _weights(model, 1.2 * SIGMA)),
    )


def _regression(inputs, outputs):
    columns = np.hstack([inputs, np.ones((len(inputs), 1))])
    return np.linalg.lstsq(columns, outputs, rcond=None)[0][:-1].T


def _weights(model, sigma):
    cov = model.covariance
    return np.linalg.solve(cov + sigma**2 * np.eye(len(cov)), cov)


def _matrix_error(found, expected):
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def ridge_view(n, seed):
    """L-14: averaging over noise adds sigma^2 |W|^2 to the loss without noise."""
    model = _mixture()
    clean, noisy = _pairs(model, n, SIGMA, seed)
    rng = np.random.default_rng([seed, 2])
    weights = rng.standard_normal((model.dimension, model.dimension)) / 2
    bias = rng.standard_normal(model.dimension)
    gap = _squares(noisy @ weights.T + bias, clean) - _squares(clean @ weights.T + bias, clean)
    penalty = np.sum(weights**2)
    return (
        _standard_errors(gap, SIGMA**2 * penalty),
        FOUR,
        _standard_errors(gap, SIGMA * penalty),
    )


def mixture_denoiser(n, seed):
    """L-15: the mixture denoiser is the posterior mean, here by quadrature in the plane."""
    model = _mixture(2)
    _, noisy = _pairs(model, 20, SIGMA, seed)
    axis = np.linspace(-9, 9, 361)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    prior = np.exp(_log_density(model, grid, 0.0))
    kernel = np.exp(-((noisy[:, None] - grid) ** 2).sum(-1) / (2 * SIGMA**2)) * prior
    expected = kernel @ grid / kernel.sum(axis=1, keepdims=True)
    error = np.abs(model.denoise(noisy, SIGMA) - expected).max()
    parts = [
        AffineDenoiser.from_moments(m, c).denoise(noisy, SIGMA)
        for m, c in zip(model.means, model.covs, strict=True)
    ]
    fixed = np.einsum("k,kni->ni", model.weights, np.array(parts))
    return error, 1e-8, np.abs(fixed - expected).max()


def high_noise(n, seed):
    """L-16: D_M approaches D_G with a slope between -1 and -2 in log-log above sqrt(lambda_1).

    The error is the distance of the slope from that range; the control compares D_M with the
    denoiser of an isotropic Gaussian.
    """
    model = _mixture()
    rng = np.random.default_rng([seed, 3])
    data, fresh = model.sample(100, rng), model.sample(400, rng)
    memory, affine = EmpiricalDenoiser(data), AffineDenoiser.from_data(data)
    mean = affine.mean
    spread = np.full(model.dimension, affine.eigenvalues.mean())
    round_one = AffineDenoiser(mean, spread, np.eye(model.dimension))
    sigmas = np.sqrt(affine.eigenvalues[0]) * np.geomspace(3, 100, 8)

    def slope(other):
        gaps = []
        for sigma in sigmas:
            noisy = fresh + sigma * np.random.default_rng([seed, 4]).standard_normal(fresh.shape)
            found, expected = memory.denoise(noisy, sigma), other.denoise(noisy, sigma)
            gaps.append(np.linalg.norm(found - expected) / np.linalg.norm(expected - mean))
        return np.polyfit(np.log(sigmas), np.log(gaps), 1)[0]

    error, control = (max(-2 - s, s + 1, 0.0) for s in (slope(affine), slope(round_one)))
    return error, 0.2, control


def distillation(n, seed):
    """L-17: the best affine map to the optimal denoiser of any law is the Gaussian denoiser.

    The control is a perfect memoriser distilled on points it has not seen.
    """
    model = _mixture()
    _, noisy = _pairs(model, n, SIGMA, seed)
    found = _regression(noisy, model.denoise(noisy, SIGMA))
    error = _matrix_error(found, _weights(model, SIGMA))
    data = model.sample(50, np.random.default_rng([seed, 5]))
    found = _regression(noisy, EmpiricalDenoiser(data).denoise(noisy, SIGMA))
    control = _matrix_error(found, _weights(model, SIGMA))
    return error, 3 * np.sqrt(model.dimension / n), control


def pythagoras(n, seed):
    """L-18: E|D* - A|^2 = MSE(A) - MSE(D*) for any map A, here the Gaussian denoiser.

    The control puts a denoiser that is not optimal in place of D*.
    """
    model = _mixture()
    clean, noisy = _pairs(model, n, SIGMA, seed)
    affine = _gaussian(model).denoise(noisy, SIGMA)

    def gap(denoised):
        return _squares(denoised, affine) - _squares(affine, clean) + _squares(denoised, clean)

    best, other = model.denoise(noisy, SIGMA), model.denoise(noisy, 1.3 * SIGMA)
    return _standard_errors(gap(best)), FOUR, _standard_errors(gap(other))


def affine_defect(n, seed):
    """L-22: an affine denoiser is not linear: its defect is (1 - a - b)(I - W) mu.

    The control takes the defect for zero.
    """
    model = _mixture()
    affine, sigma = _gaussian(model), 80.0
    one, two = (_pairs(model, 100, sigma, seed + k)[1] for k in (0, 7))
    a = b = np.sqrt(0.5)
    found = affine.denoise(a * one + b * two, sigma)
    found = found - a * affine.denoise(one, sigma) - b * affine.denoise(two, sigma)
    matrix = _weights(model, sigma)
    expected = (1 - a - b) * (model.mean - matrix @ model.mean)
    return np.abs(found - expected).max(), 1e-10, np.abs(found).max()
