r"""Learning curves of a one-step denoiser with fixed random features.

Private part of :mod:`lindiff.onestep`, which re-exports every public name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from lindiff import _check, spectra

_NODES = 4000
_RIDGES = {"least": 1e-12, "most": 1e12}


@dataclass(frozen=True)
class FeatureCurve:
    r"""What a random-feature denoiser does, in units of the data variance.

    Attributes
    ----------
    error : float
        Mean squared error per coordinate on fresh pairs; :math:`1-\rho` at best.
    variance : float
        Generated variance per coordinate, second moment of the output on fresh inputs;
        :math:`\rho` for the best denoiser.
    """

    error: float
    variance: float


def random_features(
    noise_to_signal,
    samples_per_dimension,
    features_per_dimension,
    *,
    ridge,
    activation=np.tanh,
    averaged=False,
):
    r"""Error and generated variance of ridge regression on random features, in high dimension.

    The features are :math:`\phi(x)=f(Fx/\sigma_x)` with p rows of independent
    :math:`\mathcal N(0,I/d)` in F and an odd f; the penalty is :math:`n\zeta\|\Theta\|^2`.
    With :math:`\langle\cdot\rangle` the sum over the p eigenvalues e of
    :math:`FF^\top` divided by d, :math:`l=\mu_1^2e+\mu_\star^2`, and for one noise draw

    .. math:: \kappa\Big(1-\frac dn\Big\langle\frac l{l+\kappa}\Big\rangle\Big)=\zeta,\quad
              \gamma=\frac dn\Big\langle\frac{l^2}{(l+\kappa)^2}\Big\rangle

    .. math:: I_1=\Big\langle\frac{\mu_1^2e}{l+\kappa}\Big\rangle,\quad
              I_2=\Big\langle\frac{\mu_1^2e\,l}{(l+\kappa)^2}\Big\rangle

    .. math:: \mathcal E=\frac{1-2\rho I_1+\rho I_2}{1-\gamma},\qquad
              t=\mathcal E-1+2\rho I_1

    Implements eq. (A.19), (A.20).

    Parameters
    ----------
    noise_to_signal : float
        :math:`\Lambda\ge0`.
    samples_per_dimension, features_per_dimension : float
        :math:`n/d>0` and :math:`p/d>0`.
    ridge : float
        :math:`\zeta>0`.
    activation : callable
        Odd function f of an array; its first two Gaussian moments
        :math:`\mu_1=\mathbb E zf(z)` and :math:`\mu_\star^2=\mathbb Ef^2-\mu_1^2` enter.
    averaged : bool
        False: one noise draw for each datum. True: infinitely many.

    Returns
    -------
    FeatureCurve

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, or `activation` is not odd.

    Notes
    -----
    Deterministic equivalent with Gaussian features of the same second moments; a conjecture
    that simulation confirms. With averaged noise the data covariance
    :math:`\mu_1^2\rho e+\varsigma^2` and the penalty commute. Halder 2024, open question on
    nonlinear denoisers; H-45, H-45b.
    Range: samples per dimension from 1e-6 to 1e8, features from 1e-6 to 1e6, ridge from 1e-12
    to 1e12.

    Examples
    --------
    >>> curve = random_features(1.0, 2.0, 0.5, ridge=0.02)
    >>> round(curve.error, 3), round(curve.variance, 3)
    (0.985, 0.387)
    """
    ratio = _check.non_negative("noise_to_signal", noise_to_signal)
    samples = _check.within("samples_per_dimension", samples_per_dimension, least=1e-6, most=1e8)
    features = _check.within("features_per_dimension", features_per_dimension, least=1e-6, most=1e6)
    ridge = _check.within("ridge", ridge, **_RIDGES)
    for name, value in (
        ("noise_to_signal", ratio),
        ("samples_per_dimension", samples),
        ("features_per_dimension", features),
        ("ridge", ridge),
    ):
        _check.as_array(name, value, ndim=0)
    if not callable(activation):
        raise TypeError("`activation` must be a function of an array, such as numpy.tanh")
    rho = 1.0 / (1.0 + float(ratio))
    moments = _moments(activation, rho)
    solve = _averaged if averaged else _single
    values = solve(rho, float(samples), float(features), float(ridge), *moments)
    return FeatureCurve(*map(float, values))


def _moments(activation, rho):
    """Return mu_1^2, mu_star^2 and the part of E f(u) f(u') beyond the linear one."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    values = np.asarray(activation(nodes), dtype=float)
    if values.shape != nodes.shape or not np.allclose(values, -values[::-1], atol=1e-9):
        raise ValueError("`activation` must be odd and act on arrays; subtract its even part")
    first = float(weights @ (nodes * values)) ** 2
    rest = float(weights @ values**2) - first
    partner = rho * nodes[:, None] + np.sqrt(1 - rho**2) * nodes
    shared = float((weights * values) @ np.asarray(activation(partner)) @ weights)
    return first, max(rest, 0.0), max(shared - first * rho, 0.0)


def _average(features):
    """Return eigenvalues e of FF^T and their weights in the sum divided by d."""
    ratio = 1.0 / features
    low, high = spectra.marchenko_pastur_edges(ratio)
    angle = np.pi * (np.arange(_NODES) + 0.5) / _NODES
    x = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(angle)
    weight = spectra.marchenko_pastur_density(x, ratio) * np.sin(angle)
    weight = weight * 0.5 * np.pi * (high - low) / _NODES
    return np.append(features * x, 0.0), np.append(weight, max(features - 1.0, 0.0))


def _single(rho, samples, features, ridge, first, rest, _):
    """Return error and variance for one noise draw per datum."""
    e, weight = _average(features)
    size = first * e + rest

    def gap(rise):
        kappa = ridge + rise
        return rise - weight @ (size * (kappa / (size + kappa))) / samples

    # Twice the bound: at the bound itself a large ridge leaves a sign to rounding.
    kappa = ridge + scipy.optimize.brentq(
        gap, 0.0, 2.0 * (weight @ size) / samples, xtol=1e-300, rtol=1e-14
    )
    gamma = weight @ (size / (size + kappa)) ** 2 / samples
    overlap = weight @ (first * e / (size + kappa))
    square = weight @ (first * e * size / (size + kappa) ** 2)
    error = (1.0 - 2.0 * rho * overlap + rho * square) / (1.0 - gamma)
    return error, error - 1.0 + 2.0 * rho * overlap


def _averaged(rho, samples, features, ridge, first, rest, shared):
    """Return error and variance for infinitely many noise draws per datum."""
    e, weight = _average(features)
    data, signal = first * rho * e + shared, first * rho * e
    total = first * e + rest
    penalty = total - data + ridge

    def gap(delta):
        return delta - weight @ (data / (data / (1.0 + delta) + penalty)) / samples

    delta = scipy.optimize.brentq(
        gap, 0.0, 1.0 + weight @ (data / penalty) / samples, xtol=1e-300, rtol=1e-14
    )
    inverse = 1.0 / (data / (1.0 + delta) + penalty)
    gamma = weight @ (data * inverse) ** 2 / samples / (1.0 + delta) ** 2
    leak = weight @ (inverse**2 * total * data) / samples / (1.0 + delta) ** 2 / (1.0 - gamma)
    share = np.divide(signal, data, out=np.zeros_like(e), where=data > 0)
    fitted = data * inverse / (1.0 + delta)
    spread = fitted * inverse / (1.0 + delta) * total + (1.0 - fitted) ** 2 * leak
    variance = weight @ (share * spread) + (1.0 - weight @ share) * leak
    return 1.0 - 2.0 / (1.0 + delta) * (weight @ (signal * inverse)) + variance, variance


def simulate_random_features(
    noise_to_signal,
    dimension,
    n_samples,
    n_features,
    n_runs,
    rng,
    *,
    ridge,
    activation=np.tanh,
    draws=1,
):
    r"""Train random-feature denoisers on independent sets and measure them on fresh pairs.

    Parameters
    ----------
    noise_to_signal : float
        :math:`\Lambda\ge0`.
    dimension, n_samples, n_features, n_runs : int
        d, n, p and the number of training sets, each with its own features.
    rng : numpy.random.Generator
    ridge, activation
        As in `random_features`.
    draws : int
        Noise draws for each datum; many of them approach averaged noise.

    Returns
    -------
    ndarray, shape (n_runs, 2)
        Error and generated variance of each run, on 2000 fresh pairs.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of another type.

    Notes
    -----
    Halder 2024, open question on nonlinear denoisers; H-45, H-45b.
    Range: every ratio, ridge from 1e-12 to 1e12.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> simulate_random_features(1.0, 10, 20, 5, 3, rng, ridge=0.02).shape
    (3, 2)
    """
    ratio = float(_check.non_negative("noise_to_signal", noise_to_signal))
    ridge = float(_check.as_array("ridge", _check.within("ridge", ridge, **_RIDGES), ndim=0))
    d, n, p, n_runs, draws = (
        _check.positive_int(name, value)
        for name, value in (
            ("dimension", dimension),
            ("n_samples", n_samples),
            ("n_features", n_features),
            ("n_runs", n_runs),
            ("draws", draws),
        )
    )
    rng = _check.generator(rng)
    rho = 1.0 / (1.0 + ratio)

    def noised(clean):
        return np.sqrt(rho) * clean + np.sqrt(1 - rho) * rng.standard_normal(clean.shape)

    out = np.empty((n_runs, 2))
    for run in range(n_runs):
        mixing = rng.standard_normal((d, p)) / np.sqrt(d)
        clean = rng.standard_normal((n, d))
        gram, cross = n * ridge * np.eye(p), np.zeros((p, d))
        for _ in range(draws):
            features = activation(noised(clean) @ mixing)
            gram += features.T @ features / draws
            cross += features.T @ clean / draws
        fresh = rng.standard_normal((2000, d))
        made = activation(noised(fresh) @ mixing) @ np.linalg.solve(gram, cross)
        out[run] = np.mean((fresh - made) ** 2), np.mean(made**2)
    return out
