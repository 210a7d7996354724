r"""Finite training sets, in expectation: averaged noise, and fresh data at every level.

Private half of :mod:`lindiff.multistep`, which re-exports every public name.
"""

import numpy as np

from lindiff import _check
from lindiff._multistep_chains import levels, named, step_terms, step_variance
from lindiff.gaussians import kl_spectral

_NODES = 2048


def _marchenko_pastur_nodes(aspect_ratio):
    """Nodes and weights of the law of sample eigenvalues, for aspect ratios below 1."""
    angle = np.pi * np.arange(1, _NODES) / _NODES
    nodes = 1.0 + aspect_ratio + 2.0 * np.sqrt(aspect_ratio) * np.cos(angle)
    return nodes, 2.0 / _NODES * np.sin(angle) ** 2 / nodes


def averaged_noise_kl(aspect_ratio, grid, *, rule="ddpm", noise_scale=None):
    r"""Divergence per dimension when every datum is noised infinitely often.

    .. math::

       \frac{\mathrm{KL}}d=\frac12\int\mathrm{MP}_c(d\hat s)\,\big[V_0(\hat s)-1-\log
       V_0(\hat s)\big]

    Implements eq. (6.15).

    Parameters
    ----------
    aspect_ratio : float
        :math:`c=d/n` in (0, 1); at 1 and above the divergence is infinite.
    grid : array_like, shape (K,)
        Noise variances :math:`\omega_k` in units of the data variance.
    rule, noise_scale
        As in `step_variance`.

    Returns
    -------
    float
        Limit of the variance part at fixed c, for isotropic data of unit variance and an
        input of variance :math:`1+\omega_K` in every direction.

    Raises
    ------
    ValueError
        If the aspect ratio is not in (0, 1).

    Notes
    -----
    All levels share the eigenvectors of the sample covariance, so that every sample
    eigenvalue runs through `step_variance` on its own. The substitution
    :math:`\hat s=1+c+2\sqrt c\cos\varphi` makes the integrand smooth; with 2048 points the
    relative error is below 1e-10 for c up to 0.97. Halder 2024, H-37.
    Range: grids from 1e-150 to 1e150.

    Examples
    --------
    >>> print(f"{averaged_noise_kl(0.5, [1.0]):.4f}")
    0.3196
    """
    c = float(_check.as_array("aspect_ratio", _check.positive("aspect_ratio", aspect_ratio), 0))
    if c >= 1:
        raise ValueError("`aspect_ratio` must be below 1: the samples have no density there")
    nodes, weights = _marchenko_pastur_nodes(c)
    omega = levels(grid)
    variance = step_variance(
        nodes, omega, rule=rule, start=1.0 + omega[-1], noise_scale=noise_scale
    )
    return float(np.sum(weights * kl_spectral(variance[:, None], [1.0])))


def _steps(s, omega, rule):
    """Mean part, random part and noise of each step, (K,), in units of clean data."""
    below = np.append(0.0, omega[:-1])
    _, step, whole = step_terms(s, omega)
    rho = s / whole
    root = np.sqrt(below / omega)
    keep = root if rule == "ddim" else below / omega
    lose = step / omega / (1.0 + root) if rule == "ddim" else step / omega
    noise = np.zeros_like(omega) if rule == "ddim" else below * (step / omega)
    return keep + lose * rho, lose**2 * rho * (omega / whole), noise


def fresh_sets_trace(grid, dimension, n_samples, *, variance=1.0, rule="ddpm"):
    r"""Mean generated variance when every level has a training set of its own.

    .. math::

       \frac{U_{k-1}}{d}=\big[(r_k+(1-r_k)\rho_k)^2+(1-r_k)^2\rho_k(1-\rho_k)\,\kappa\big]
       \frac{U_k}d+\tilde\sigma_k^2,\qquad\kappa=\frac{d}{n_k-d-2}

    with :math:`r_k=\omega_{k-1}/\omega_k` for "ddpm" and its square root for "ddim".

    Implements eq. (C.6).

    Parameters
    ----------
    grid : array_like, shape (K,)
        Noise variances, as in `step_variance`.
    dimension : int
    n_samples : int or array_like of int, shape (K,)
        Training points of each level, at least d + 3.
    variance : float
        Data variance :math:`s>0`.
    rule : {"ddpm", "ddim"}

    Returns
    -------
    float
        :math:`\mathbb E\,\mathrm{tr}\,V_0/d`, exact for every n and d.

    Raises
    ------
    ValueError
        If a level has fewer than d + 3 points, where the mean is infinite.

    Notes
    -----
    Regressions with an intercept; the input has the law of the noised data. With n points
    in total and n / K for each level, K must stay below n / (d + 2). Halder 2024, H-38.
    Range: grids and `variance` from 1e-150 to 1e150.

    Examples
    --------
    >>> print(f"{fresh_sets_trace([1.0], 10, 32):.4f}")
    0.7500
    """
    omega, d = levels(grid), _check.positive_int("dimension", dimension)
    s = float(_check.as_array("variance", _check.within("variance", variance), ndim=0))
    n = np.asarray(_check.positive("n_samples", n_samples))
    if n.shape not in ((), omega.shape) or np.any(n != np.floor(n)) or np.any(n < d + 3):
        raise ValueError(
            f"`n_samples` must hold integers of at least dimension + 3 = {d + 3}, one number "
            f"or shape ({omega.size},)"
        )
    centre, random, noise = _steps(s, omega, named("rule", rule, ("ddpm", "ddim")))
    factor = centre**2 + random * (d / (n - d - 2.0))
    gain = np.cumprod(factor)
    return float(gain[-1] * (s + omega[-1]) + np.sum(noise * np.append(1.0, gain[:-1])))
