"""Weights of the memorising denoiser and the noise level at which one of them takes over."""

import numpy as np
from scipy.special import softmax


def collapse_sigma(variances, n_points):
    r"""Return :math:`\sigma_C`: :math:`\tfrac12\sum_i\log(1+\lambda_i/\sigma^2)=\log N` (B-5)."""
    from scipy.optimize import brentq

    variances = np.asarray(variances, dtype=float)
    variances = variances[variances > 0]

    def excess(log_sigma):
        return 0.5 * np.sum(np.log1p(variances * np.exp(-2 * log_sigma))) - np.log(n_points)

    top = 0.5 * np.log(variances.max())
    return float(np.exp(brentq(excess, top - 60, top + 60, xtol=1e-13, rtol=1e-14)))


def posterior_weights(noisy, data, sigma):
    """Return the weight of each training point for each noised point, shape (n, N)."""
    centre = data.mean(axis=0)
    data, noisy = data - centre, noisy - centre
    exponents = noisy @ data.T - 0.5 * np.sum(data**2, axis=1)
    return softmax(exponents / sigma**2, axis=1)


def own_weights(data, sigma, n_eval, rng):
    """Return the weight that noised training points give to their own clean points."""
    which = rng.choice(len(data), size=min(n_eval, len(data)), replace=False)
    noisy = data[which] + sigma * rng.standard_normal((len(which), data.shape[1]))
    found = np.empty(len(which))
    for start in range(0, len(which), 200):
        part = slice(start, start + 200)
        weights = posterior_weights(noisy[part], data, sigma)
        found[part] = weights[np.arange(len(weights)), which[part]]
    return found
