r"""Laws of K-step chains with optimal linear denoisers, one mode at a time.

Private half of :mod:`lindiff.multistep`, which re-exports every public name.
"""

import numpy as np

from lindiff import _check
from lindiff._onestep_kl import _log_gap

RULES = ("means", "ancestral", "ddpm", "ddim", "beta")
_MOST_STEPS = 10_000_000


def levels(grid):
    """Return the noise variances, shape (K,), strictly increasing and positive."""
    grid = _check.as_array("grid", grid, ndim=1)
    if grid.size == 0 or grid[0] <= 0 or np.any(np.diff(grid) <= 0):
        raise ValueError("`grid` must hold positive, strictly increasing noise variances")
    return _check.within("grid", grid)


def count_steps(n_steps):
    """Return a number of steps that a recursion can take."""
    n_steps = _check.positive_int("n_steps", n_steps)
    if n_steps > _MOST_STEPS:
        raise ValueError(f"`n_steps` must be at most {_MOST_STEPS:,}, got {n_steps}")
    return n_steps


def named(name, value, allowed):
    """Return `value` if it is one of the allowed strings."""
    if value not in allowed:
        raise ValueError(f"`{name}` must be one of {', '.join(allowed)}, got {value!r}")
    return value


def step_terms(s, omega):
    """Gain s / (s + w_{k-1}), step w_k - w_{k-1}, and s + w_k, each (..., K)."""
    below = np.append(0.0, omega[:-1])
    s = np.asarray(s)[..., None]
    # The gain of the first step is 1 also for a mode without variance.
    gain = np.where(below == 0, 1.0, s / np.where(below == 0, 1.0, s + below))
    return gain, omega - below, s + omega


def _ddim_log_factor(s, omega):
    """log of the product of squared cosines, shape (...)."""
    below = np.append(0.0, omega[:-1])
    gain, step, whole = step_terms(s, omega)
    # sin^2 = s (sqrt w_k - sqrt w_{k-1})^2 / ((s + w_k)(s + w_{k-1}))
    sine = gain * (step / (np.sqrt(omega) + np.sqrt(below))) ** 2 / whole
    # cos^2 = (s + sqrt(w_k w_{k-1}))^2 / ((s + w_k)(s + w_{k-1}))
    mixed = np.asarray(s)[..., None] + np.sqrt(omega * below)
    base = np.where(below == 0, mixed, np.asarray(s)[..., None] + below)
    cosine = mixed / whole * (mixed / np.where(base > 0, base, 1.0))
    small = sine < 0.5
    with np.errstate(divide="ignore"):
        logs = np.where(small, np.log1p(-np.where(small, sine, 0.0)), np.log(cosine))
    return logs.sum(axis=-1)


def _noise_terms(s, omega, rule, noise_scale):
    """Variance added by each step, in units of clean data, shape (..., K)."""
    below = np.append(0.0, omega[:-1])
    _, step, whole = step_terms(s, omega)
    if rule == "means":
        return np.zeros_like(whole)
    if rule == "ancestral":
        return (np.asarray(s)[..., None] + below) * (step / whole)
    if rule == "ddpm":
        return below * (step / omega)
    return (noise_scale + below) * (step / (noise_scale + omega))


def _relative_excess(s, omega, rule, noise_scale):
    """V_0 / s - 1 of a rule other than ddim with a matched start."""
    gain, step, whole = step_terms(s, omega)
    if rule == "ancestral":
        return np.zeros(np.shape(s))
    if rule == "means":
        return -omega[-1] / whole[..., -1]
    if rule == "ddpm":
        return -np.sum(gain**2 * (step / omega) * (step / whole), axis=-1)
    pull = np.sum(gain**2 * (step / (noise_scale + omega)) * (step / whole), axis=-1)
    return (noise_scale - s) / s * pull


def _inputs(eigenvalues, grid, rule, start, noise_scale):
    eigenvalues = _check.as_spectrum("eigenvalues", eigenvalues)
    omega, rule = levels(grid), named("rule", rule, RULES)
    if rule == "beta":
        if noise_scale is None:
            raise ValueError("`noise_scale` is needed by the rule beta: it sets the signal factors")
        noise_scale = _check.as_array(
            "noise_scale", _check.within("noise_scale", noise_scale), ndim=0
        )
    if start is not None:
        start = np.asarray(_check.within("start", start, least=0.0, zero=True))
        try:
            eigenvalues, start = np.broadcast_arrays(eigenvalues, start)
        except ValueError as error:
            raise ValueError("`start` must broadcast against `eigenvalues`") from error
    return eigenvalues, omega, rule, start, noise_scale


def step_variance(eigenvalues, grid, *, rule="ddpm", start=None, noise_scale=None):
    r"""Variance that a chain of K optimal linear steps generates in each mode.

    .. math::

       \frac{V_0}{s}=\begin{cases}
       \rho_K & \text{means}\\ 1 & \text{ancestral}\\
       1-\sum_k\frac{(\rho_{k-1}-\rho_k)^2}{1-\rho_k} & \text{ddpm}\\
       \prod_k\cos^2(\theta_k-\theta_{k-1}) & \text{ddim}\\
       1+\frac{\lambda-s}{s}\sum_k\frac{\rho_{k-1}^2(\omega_k-\omega_{k-1})^2}
       {(\lambda+\omega_k)(s+\omega_k)} & \text{beta}\end{cases}

    with :math:`\rho_k=s/(s+\omega_k)`, :math:`\tan^2\theta_k=\omega_k/s`, :math:`\omega_0=0`.

    Implements eq. (6.3), (6.4), (6.5), (C.1).

    Parameters
    ----------
    eigenvalues : array_like, shape (..., d)
        Variances :math:`s\ge0` of the data along each mode.
    grid : array_like, shape (K,)
        Noise variances :math:`\omega_k=b_k^2/a_k^2>0` in units of clean data, increasing; the
        squares of `sigma` of `lindiff.schedules`.
    rule : {"ddpm", "ddim", "means", "ancestral", "beta"}
        Noise added after each step: that of the bridge between the clean estimate and the
        current point; none, on the deterministic chord; none, after the posterior mean; that
        of the true posterior; that of the forward step, also after the last one.
    start : array_like, optional
        Variance :math:`V_K/a_K^2` of the input; without it :math:`s+\omega_K`, that of the
        noised data. Broadcast against `eigenvalues`.
    noise_scale : float, optional
        Stationary variance :math:`\lambda` of the noising process, for the rule "beta".

    Returns
    -------
    numpy.ndarray, shape (..., d)

    Raises
    ------
    ValueError
        If the grid is not increasing or an argument is out of range.

    Notes
    -----
    A start of another variance adds :math:`\rho_K^2(V_K/a_K^2-s-\omega_K)`, and multiplies
    the variance of "ddim" by :math:`V_K/(a_K^2(s+\omega_K))`. Only the rule "beta" depends on
    the signal factors :math:`a_k^2=\lambda/(\lambda+\omega_k)`. Time and memory
    :math:`O(dK)`. Halder 2024, H-31 to H-36.
    Range: grids from 1e-150 to 1e150, eigenvalues up to 1e304.

    Examples
    --------
    >>> step_variance([1.0], [1.0])
    array([0.5])
    >>> step_variance([1.0], [0.5, 1.0], rule="ddim").round(4)
    array([0.6476])
    """
    s, omega, rule, start, noise_scale = _inputs(eigenvalues, grid, rule, start, noise_scale)
    return _variance(s, omega, rule, start, noise_scale)


def _variance(s, omega, rule, start, noise_scale):
    """A sum of positive terms, so that nearly lost variances keep their digits."""
    whole = s + omega[-1]
    start = whole if start is None else start
    if rule == "ddim":
        return s * np.exp(_ddim_log_factor(s, omega)) * (start / whole)
    gain = step_terms(s, omega)[0]
    added = np.sum(gain**2 * _noise_terms(s, omega, rule, noise_scale), axis=-1)
    return added + (s / whole) ** 2 * start


def step_kl(eigenvalues, grid, *, rule="ddpm", start=None, noise_scale=None, multiplicities=None):
    r"""KL divergence of the samples of a K-step chain from the data.

    .. math:: \mathrm{KL}(p_G\|p_\star)=\frac12\sum_i(u_i-1-\log u_i),\qquad u_i=V_{0,i}/s_i

    Parameters
    ----------
    eigenvalues : array_like, shape (..., d)
        Variances :math:`s_i>0` of the data; remove modes without variance.
    grid, rule, start, noise_scale
        As in `step_variance`.
    multiplicities : array_like, shape (d,), optional
        How often each eigenvalue occurs, or its weight; 1 without it.

    Returns
    -------
    float or numpy.ndarray, shape (...)
        Total over modes. Relative error below 1e-12 for nearly perfect chains too.

    Raises
    ------
    ValueError
        If an eigenvalue is not positive, or as in `step_variance`.

    Notes
    -----
    Where :math:`u_i` is close to 1 the deficit :math:`1-u_i` is summed, and elsewhere
    :math:`u_i`, so that no digits are lost. Halder 2024, OQ-2.
    Range: grids from 1e-150 to 1e150, eigenvalues up to 1e304.

    Examples
    --------
    >>> print(f"{step_kl([1.0], [1.0]):.4f}")
    0.0966
    """
    s, omega, rule, start, noise_scale = _inputs(eigenvalues, grid, rule, start, noise_scale)
    if np.any(s <= 0):
        raise ValueError("`eigenvalues` must be positive; remove modes without variance")
    weights = _weights(multiplicities, s.shape[-1])
    moved = 0.0 if start is None else (start - s - omega[-1]) / (s + omega[-1])
    # A start or a variance that is too large, or lost, has an infinite divergence.
    with np.errstate(divide="ignore", over="ignore"):
        if rule == "ddim":
            log_u = _ddim_log_factor(s, omega) + np.log1p(moved)
            excess = np.expm1(log_u)
        else:
            excess = _relative_excess(s, omega, rule, noise_scale) + s / (s + omega[-1]) * moved
        ratio = _variance(s, omega, rule, start, noise_scale) / s
        far = np.where(ratio < np.inf, ratio, 0.0) - 1.0 - np.log(ratio)
        near = (excess > -0.5) & (excess < 1e3)
        twice = np.where(
            near, _log_gap(np.clip(excess, -0.5, 1e3)), np.where(ratio < np.inf, far, np.inf)
        )
        return (0.5 * np.sum(weights * twice, axis=-1))[()]


def _exp_gap(x):
    """exp(x) - 1 - x without cancellation near zero."""
    return _log_gap(np.expm1(x))


def _weights(multiplicities, size):
    if multiplicities is None:
        return np.ones(size)
    weights = np.asarray(_check.positive("multiplicities", multiplicities))
    if weights.shape != (size,):
        raise ValueError(f"`multiplicities` must have shape ({size},), got {weights.shape}")
    return weights
