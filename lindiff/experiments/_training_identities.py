"""Identities of collapse, training and random features; error, tolerance and control."""

import numpy as np
from scipy.special import expi

from lindiff.experiments import _collapse, _random_features

RATE = 0.5


def collapse_level(n, seed):
    """B-5: for equal variances the level of collapse is s^2 / (N^(2/d) - 1).

    The control counts in bits instead of nats.
    """
    errors, controls = [], []
    for dimension, variance, n_points in ((32, 1.0, 64), (32, 0.3, 16384), (256, 2.0, 1024)):
        found = _collapse.collapse_sigma(np.full(dimension, variance), n_points)
        expected = np.sqrt(variance / (n_points ** (2 / dimension) - 1))
        bits = _collapse.collapse_sigma(np.full(dimension, variance), n_points ** (1 / np.log(2)))
        errors.append(abs(found / expected - 1))
        controls.append(abs(bits / expected - 1))
    return max(errors), 1e-9, min(controls)


def one_layer(n, seed):
    """S-1: weights and bias of one linear layer relax with the rates 2 eta (sigma^2 + lambda).

    Gradient flow is integrated in the pixel basis from random weights; the control takes the
    rates without the noise.
    """
    rng = np.random.default_rng([seed, 6])
    dimension, sigma, time = 5, 0.6, 0.8
    root = rng.standard_normal((dimension, dimension))
    cov = root @ root.T / dimension
    weights, bias = rng.standard_normal((dimension, dimension)), rng.standard_normal(dimension)
    total = cov + sigma**2 * np.eye(dimension)

    from scipy import integrate

    def velocity(_, state):
        now, shift = state[:-dimension].reshape(dimension, dimension), state[-dimension:]
        return -2 * RATE * np.append((now @ total - cov).ravel(), shift)

    start = np.append(weights.ravel(), bias)
    end = integrate.solve_ivp(velocity, (0, time), start, rtol=1e-11, atol=1e-12).y[:, -1]
    values, vectors = np.linalg.eigh(cov)
    best = np.linalg.solve(total, cov)

    def closed(noise):
        decay = vectors * np.exp(-2 * RATE * time * (noise + values)) @ vectors.T
        return np.append((best + (weights - best) @ decay).ravel(), bias * np.exp(-2 * RATE * time))

    error, control = (np.abs(end - closed(noise)).max() for noise in (sigma**2, 0.0))
    return error, 1e-8, control


def generated_variance(n, seed):
    """S-2: variance generated after some training, against quadrature of the flow.

    The control leaves out the initial weight.
    """
    errors, controls = [], []
    for variance in (0.05, 1.0, 4.0):
        for time in (0.1, 1.0, 20.0):
            case = (variance, time, 0.3, 0.02, 20.0)
            expected = _integrated_variance(*case)
            errors.append(abs(trained_variance(*case) / expected - 1))
            controls.append(abs(trained_variance(variance, time, 0.0, 0.02, 20.0) / expected - 1))
    return max(errors), 1e-9, max(controls)


def trained_variance(variance, time, start, sigma_min, sigma_max, rate=RATE):
    """Variance that a linear denoiser generates after training time `time` (S-2)."""

    def phi(sigma):
        power = 0.5 * (1 - start) * expi(-2 * rate * time * sigma**2)
        power *= np.exp(-2 * rate * time * variance)
        power -= 0.5 * expi(-2 * rate * time * (sigma**2 + variance))
        return np.sqrt(variance + sigma**2) * np.exp(power)

    return sigma_max**2 * (phi(sigma_min) / phi(sigma_max)) ** 2


def _integrated_variance(variance, time, start, sigma_min, sigma_max):
    from scipy import integrate

    def shrinkage(log_sigma):
        total = np.exp(2 * log_sigma) + variance
        best = variance / total
        return 1 - best - (start - best) * np.exp(-2 * RATE * time * total)

    ends = np.log(sigma_min), np.log(sigma_max)
    exponent = integrate.quad(shrinkage, *ends, epsabs=1e-13, epsrel=1e-13, limit=400)[0]
    return sigma_max**2 * np.exp(-2 * exponent)


def two_layers(n, seed):
    """S-3: a symmetric two-layer denoiser learns a mode along a logistic curve.

    Gradient flow of the factor is integrated; the control halves the rate.
    """
    from scipy import integrate

    errors, controls = [], []
    for variance, start, time in ((1.0, 0.01, 0.5), (0.2, 0.05, 3.0), (3.0, 0.9, 0.1)):
        best = variance / (variance + 0.6**2)

        def velocity(_, factor, best=best, variance=variance):
            return -4 * RATE * (variance + 0.6**2) * (factor**2 - best) * factor

        solved = integrate.solve_ivp(velocity, (0, time), [np.sqrt(start)], rtol=1e-11, atol=1e-13)
        found = solved.y[0, -1] ** 2

        def closed(rate, best=best, variance=variance, start=start, time=time):
            decay = np.exp(-8 * rate * variance * time)
            return best * start / ((best - start) * decay + start)

        errors.append(abs(found - closed(RATE)))
        controls.append(abs(found - closed(RATE / 2)))
    return max(errors), 1e-7, min(controls)


def random_features(n, seed):
    """G-2: the ridge solution of random features makes the gradient vanish.

    The error is the largest gradient of the regularised loss, computed sample by sample;
    the control has the opposite sign of the cross term.
    """
    case = _random_features.Case(dimension=8, n_points=30, n_features=20, time=0.05, seed=seed)
    features, noise = _random_features.training_batch(case, n_noises=2)
    matrix = _random_features.solve(features, noise, case.delta, ridge=1e-3)

    def gradient(weights):
        residual = np.sqrt(case.delta) * features @ weights.T + noise
        slope = 2 * np.sqrt(case.delta) * residual.T @ features / len(features)
        return np.abs(slope + 2 * case.delta * 1e-3 * weights).max()

    return gradient(matrix), 1e-10, gradient(-matrix)
