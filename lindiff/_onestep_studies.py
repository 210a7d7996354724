r"""Least squares on training sets of other laws: coordinates that are not Gaussian, or correlated.

Private part of :mod:`lindiff.onestep`, which re-exports every public name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lindiff import _check
from lindiff._onestep_exact import _sizes
from lindiff._onestep_finite import fit_one_step
from lindiff._onestep_ridge import _modes

LAWS = ("gaussian", "signs", "heavy tails", "common scale")


@dataclass(frozen=True, eq=False)
class ModeRuns:
    r"""What fits to correlated data gave, training set by training set.

    Attributes
    ----------
    variances : ndarray, shape (n_runs, d)
        Generated variance :math:`V_i/s_i` of every mode.
    kl : ndarray, shape (n_runs,)
        Variance part of the divergence; ``inf`` for a singular map.
    """

    variances: np.ndarray
    kl: np.ndarray


def fit_maps(noise_to_signal, dimension, n_samples, n_runs, rng, *, law="gaussian", intercept=True):
    r"""Fit normalised maps to points with independent or common-scale coordinates.

    Clean coordinates have mean 0 and variance 1 and are noised to the correlation
    :math:`\sqrt\rho` with variance 1, so that the fitted :math:`W` is
    :math:`M=\frac{\sigma_x}{\sigma}W`.

    Parameters
    ----------
    noise_to_signal : float
        :math:`\Lambda\ge0`.
    dimension, n_samples, n_runs : int
        d, n (at least 2 with intercept) and the number of training sets.
    rng : numpy.random.Generator
    law : {"gaussian", "signs", "heavy tails", "common scale"}
        Standard normal; :math:`\pm1`; Student's t with 5 degrees of freedom; or normal
        vectors times a random length with a :math:`\chi^2_8` law.
    intercept : bool
        Whether the mean is fitted.

    Returns
    -------
    ndarray, shape (n_runs, d, d)

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of another type.

    Notes
    -----
    By brute force; `sample_maps` draws from the exact law for Gaussian data. Halder 2024,
    H-9, H-11.
    Range: every ratio.

    Examples
    --------
    >>> fit_maps(1.0, 3, 8, 2, np.random.default_rng(0), law="signs").shape
    (2, 3, 3)
    """
    ratio = float(_check.non_negative("noise_to_signal", noise_to_signal))
    dimension, degrees = _sizes(dimension, n_samples, intercept)
    n_runs, rng = _check.positive_int("n_runs", n_runs), _check.generator(rng)
    if degrees == 0:
        raise ValueError("`n_samples` must be at least 2 to fit a mean and a map")
    if law not in LAWS:
        raise ValueError(f"`law` must be one of {', '.join(LAWS)}, got {law!r}")
    maps = np.empty((n_runs, dimension, dimension))
    for run in range(n_runs):
        clean = _points(law, (degrees + int(intercept), dimension), rng)
        noised = clean + np.sqrt(ratio) * rng.standard_normal(clean.shape)
        noised /= np.sqrt(1.0 + ratio)
        maps[run] = fit_one_step(noised, clean, intercept=intercept).weights
    return maps


def _points(law, shape, rng):
    """Return points whose coordinates have mean 0 and variance 1."""
    if law == "signs":
        return rng.choice([-1.0, 1.0], shape)
    if law == "heavy tails":
        return rng.standard_t(5, shape) * np.sqrt(3 / 5)
    points = rng.standard_normal(shape)
    if law == "common scale":
        points *= np.sqrt(rng.chisquare(8, (shape[0], 1)) / 8)
    return points


def simulate_modes(eigenvalues, n_samples, n_runs, rng, *, time, noise_scale, ridge=0.0):
    r"""Fit correlated Gaussian data with known mean and measure every mode.

    .. math:: V_i=(W\Sigma_xW^\top)_{ii}

    .. math:: \mathrm{KL}_{\rm var}=\tfrac12\Big[
              \sum_i\frac{V_i}{s_i}-d-\log\det\Sigma^{-1}W\Sigma_xW^\top\Big]

    Parameters
    ----------
    eigenvalues, time, noise_scale, ridge
        As in `ridge_variances`, with :math:`\nu=n`.
    n_samples, n_runs : int
        n and the number of training sets.
    rng : numpy.random.Generator

    Returns
    -------
    ModeRuns

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of another type.

    Notes
    -----
    By brute force, to compare with `expected_trace_modes`, `ridge_variances` and
    `kl_modes_finite`. Halder 2024, H-27, H-28.
    Range: eigenvalues from 1e-290 to 1e290 whose noised variances span at most 12 decades.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> runs = simulate_modes([1.0, 0.2], 9, 4, rng, time=0.3, noise_scale=1.0)
    >>> runs.variances.shape, runs.kl.shape
    ((4, 2), (4,))
    """
    spectrum, noised, _ = _modes(eigenvalues, time, noise_scale)
    _check.within("eigenvalues", spectrum, least=1e-290, most=1e290)
    if noised.max() > 1e12 * noised.min():
        raise ValueError("`eigenvalues` span more than 12 decades, which covariances cannot hold")
    n_samples = _check.positive_int("n_samples", n_samples)
    n_runs, rng = _check.positive_int("n_runs", n_runs), _check.generator(rng)
    ridge = _check.non_negative("ridge", ridge)
    signal = np.exp(-float(time))
    noise = np.sqrt(float(noise_scale) * -np.expm1(-2.0 * float(time)))
    variances, kl = np.empty((n_runs, spectrum.size)), np.full(n_runs, np.inf)
    for run in range(n_runs):
        clean = rng.standard_normal((n_samples, spectrum.size)) * np.sqrt(spectrum)
        inputs = signal * clean + noise * rng.standard_normal(clean.shape)
        gram = inputs.T @ inputs + n_samples * ridge * np.eye(spectrum.size)
        weights = clean.T @ inputs @ np.linalg.pinv(gram, hermitian=True)
        variances[run] = weights**2 @ noised / spectrum
        if n_samples >= spectrum.size:
            log_det = 2 * np.linalg.slogdet(weights)[1] + np.sum(np.log(noised / spectrum))
            kl[run] = 0.5 * (np.sum(variances[run]) - spectrum.size - log_det)
    return ModeRuns(variances, kl)
