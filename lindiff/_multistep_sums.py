r"""Two chains apart: exact inputs at every step, and the schedule of the network experiments.

Private half of :mod:`lindiff.multistep`, which re-exports every public name.
"""

import numpy as np

from lindiff import _check
from lindiff._multistep_chains import count_steps, levels, named, step_terms
from lindiff._onestep_kl import _divergence


def teacher_forced_kl(grid, dimension, *, variance=1.0, n_samples=None):
    r"""Sum over the steps of the one-step divergences with exact inputs.

    .. math::

       \sum_k\mathrm{KL}_k=\frac d2\Big[-\log\rho_K-(1-\kappa)\sum_k(1-r_k)\Big],\qquad
       r_k=\frac{s+\omega_{k-1}}{s+\omega_k},\quad\kappa=\frac{d}{n-d-2}

    Implements eq. (C.7).

    Parameters
    ----------
    grid : array_like, shape (K,)
        Noise variances, as in `step_variance`.
    dimension : int
    variance : float
        Data variance :math:`s>0`.
    n_samples : int, optional
        Number of training points of every step, at least d + 3; infinite without it.

    Returns
    -------
    float
        Total in nats.

    Raises
    ------
    ValueError
        If `n_samples` is below d + 3, where the mean divergence is infinite.

    Notes
    -----
    Each step regresses the next point on the current one, with an intercept, and its
    log-determinant is that of high dimension, :math:`d\log r_k`, which holds for
    :math:`r_k\ge d/n`. Terms of order one are left out. Halder 2024, H-43.
    Range: grids and `variance` from 1e-150 to 1e150.

    Examples
    --------
    >>> print(f"{teacher_forced_kl([1.0], 1):.4f}")
    0.0966
    """
    omega, d = levels(grid), _check.positive_int("dimension", dimension)
    s = _check.as_array("variance", _check.within("variance", variance), ndim=0)
    kappa = 0.0
    if n_samples is not None:
        n = _check.positive_int("n_samples", n_samples)
        if n < d + 3:
            raise ValueError(f"`n_samples` must be at least dimension + 3 = {d + 3}")
        kappa = d / (n - d - 2)
    _, step, whole = step_terms(s, omega)
    gained = step / (s + np.append(0.0, omega[:-1]))
    return float(0.5 * d * np.sum(kappa * step / whole + _divergence(gained)))


def network_schedule_variance(variance, n_steps, *, index="consistent"):
    r"""Variance generated with the schedule of the paper's network experiments.

    .. math::

       V_{t-1}=\frac{(1-\beta/v_t)^2}{1-\beta}V_t+\beta\,[t>1],\qquad
       v_t=\bar\alpha_tv_0+1-\bar\alpha_t,\qquad V_K=1

    with :math:`\bar\alpha_t=\prod_{j<t}(1-\beta_j)`, :math:`\beta_j=10^{-4}+0.0199\,j/K`.

    Implements eq. (C.2).

    Parameters
    ----------
    variance : array_like
        Data variance :math:`v_0>0`.
    n_steps : int
        Number of steps K, which also sets the total noise.
    index : {"consistent", "coded"}
        :math:`\beta=\beta_{t-1}`, which belongs to the step from t to t - 1, or
        :math:`\beta=\beta_t`, as the public code has it.

    Returns
    -------
    float or numpy.ndarray
        Variance of the samples of the ideal linear predictor of the noise.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of another type.

    Notes
    -----
    In place of :math:`1-\beta/v_t` stands
    :math:`[(1-\beta_{t-1})v_{t-1}+\beta_{t-1}-\beta]/v_t`, without cancellation for the
    consistent index. Halder 2024, H-40.
    Range: every variance and up to 1e7 steps; relative error 1e-11.

    Examples
    --------
    >>> print(f"{network_schedule_variance(0.04, 1000):.4f}")
    0.0404
    """
    v0 = np.asarray(_check.positive("variance", variance))[..., None]
    n_steps = count_steps(n_steps)
    coded = named("index", index, ("consistent", "coded")) == "coded"
    beta = 1e-4 + np.arange(n_steps + 1) / n_steps * (0.02 - 1e-4)
    log_bar = np.cumsum(np.log1p(-beta[:-1]))
    v = v0 * np.exp(log_bar) - np.expm1(log_bar)
    used, drift = (beta[1:], 0.0199 / n_steps) if coded else (beta[:-1], 0.0)
    before = np.concatenate([v0, v[..., :-1]], axis=-1)
    factor = (((1.0 - beta[:-1]) * before - drift) / v) ** 2 / (1.0 - used)
    noise = np.where(np.arange(n_steps) > 0, used, 0.0)
    gain = np.cumprod(factor, axis=-1)
    carried = np.concatenate([np.ones_like(gain[..., :1]), gain[..., :-1]], axis=-1)
    return (gain[..., -1] + np.sum(noise * carried, axis=-1))[()]
