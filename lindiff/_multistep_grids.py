r"""Best noise levels of K-step chains, for one mode and for many.

Private half of :mod:`lindiff.multistep`, which re-exports every public name.
"""

import itertools

import numpy as np
import scipy

from lindiff import _check
from lindiff._multistep_chains import _exp_gap, _weights, count_steps, levels, named, step_kl
from lindiff._onestep_kl import _divergence, _log_gap

_RULES = ("ddpm", "ddim")
_NODES = 4001
_DECADES = 12.0
_SPAN = 30.0


def ddpm_deficits(n_steps):
    r"""Smallest missing variance of DDPM chains with 1, ..., K steps.

    .. math:: m_1=1,\qquad m_K=m_{K-1}-\tfrac14m_{K-1}^2

    Implements eq. (6.9).

    Parameters
    ----------
    n_steps : int
        The largest K.

    Returns
    -------
    numpy.ndarray, shape (K,)
        :math:`m_1,\dots,m_K`; the best chain lacks the share :math:`m_K(1-\rho_K)` of the
        variance.

    Raises
    ------
    ValueError, TypeError
        If `n_steps` is no integer from 1 to 1e7.

    Notes
    -----
    :math:`m_K\simeq4/(K+\log K)`. Halder 2024, H-34.
    Range: up to 1e7 steps; rounding at most :math:`10^{-16}K`.

    Examples
    --------
    >>> ddpm_deficits(4).round(6)
    array([1.      , 0.75    , 0.609375, 0.516541])
    """
    n_steps = count_steps(n_steps)
    deficits = itertools.accumulate(range(n_steps - 1), lambda m, _: m - 0.25 * m**2, initial=1.0)
    return np.fromiter(deficits, float, n_steps)


def best_grid(n_steps, end, *, rule="ddpm", variance=1.0):
    r"""Noise levels that make the divergence of one mode smallest.

    .. math::

       x_{k-1}=x_k\Big(1-\frac{m_{k-1}}2\Big)\ \text{(ddpm)},\qquad
       \theta_k=\frac kK\,\theta_K\ \text{(ddim)}

    with :math:`x_k=1-\rho_k=\omega_k/(s+\omega_k)=\sin^2\theta_k`.

    Implements eq. (6.9), (6.10).

    Parameters
    ----------
    n_steps : int
        Number of steps K.
    end : float
        Last and largest noise variance :math:`\omega_K>0`, in units of clean data.
    rule : {"ddpm", "ddim"}
    variance : float
        Variance :math:`s>0` of the mode.

    Returns
    -------
    numpy.ndarray, shape (K,)
        :math:`\omega_1<\dots<\omega_K`.

    Notes
    -----
    Both minima are unique: the missing variance of DDPM is a convex function of the
    :math:`x_k`, and the logarithm of the cosine is concave. Halder 2024, H-34, H-35.
    Range: `end` and `variance` from 1e-150 to 1e150.

    Examples
    --------
    >>> best_grid(2, 1.0)
    array([0.33333333, 1.        ])
    >>> best_grid(2, 1.0, rule="ddim").round(4)
    array([0.1716, 1.    ])
    """
    n_steps, end, variance, rule = _problem(n_steps, end, rule, variance)
    if rule == "ddim":
        angle = np.arctan(np.sqrt(end / variance))
        grid = variance * np.tan(angle * np.arange(1, n_steps + 1) / n_steps) ** 2
    else:
        ratio = 1.0 - 0.5 * ddpm_deficits(n_steps)[:-1]
        x = end / (variance + end) * np.append(np.cumprod(ratio[::-1])[::-1], 1.0)
        grid = np.append(variance * x[:-1] / (1.0 - x[:-1]), end)
    grid[-1] = end
    return grid


def best_grid_kl(n_steps, end, *, rule="ddpm", variance=1.0, limit=False):
    r"""Smallest divergence of a K-step chain, for one mode.

    .. math::

       \tfrac12\big[-\delta-\log(1-\delta)\big],\quad
       \delta=m_K(1-\rho_K)\ \text{(ddpm)},\qquad
       1-\delta=\cos^{2K}\frac{\theta_K}{K}\ \text{(ddim)}

    Implements eq. (6.9), (6.10), (6.12).

    Parameters
    ----------
    n_steps, end, rule, variance
        As in `best_grid`.
    limit : bool
        Return the leading term for many steps instead, :math:`4(1-\rho_K)^2/K^2` or
        :math:`\theta_K^4/(4K^2)`.

    Returns
    -------
    float
        Divergence in nats per mode.

    Notes
    -----
    The limit of "ddpm" is approached slowly, with a relative error of order
    :math:`\log K/K`. Halder 2024, H-34, H-35.
    Range: `end` and `variance` from 1e-150 to 1e150.

    Examples
    --------
    >>> print(f"{best_grid_kl(1, 1.0):.4f} {best_grid_kl(4, 1.0, rule='ddim'):.5f}")
    0.0966 0.00572
    """
    n_steps, end, variance, rule = _problem(n_steps, end, rule, variance)
    lost = end / (variance + end)
    angle = np.arctan(np.sqrt(end / variance))
    if limit:
        return float((4.0 * lost**2 if rule == "ddpm" else angle**4 / 4.0) / n_steps**2)
    if n_steps == 1:
        return float(0.5 * _divergence(end / variance))
    if rule == "ddpm":
        return float(0.5 * _log_gap(-ddpm_deficits(n_steps)[-1] * lost))
    return float(0.5 * _exp_gap(n_steps * np.log1p(-(np.sin(angle / n_steps) ** 2))))


def _problem(n_steps, end, rule, variance):
    end = _check.as_array("end", _check.within("end", end), ndim=0)
    variance = _check.as_array("variance", _check.within("variance", variance), ndim=0)
    n_steps = _check.positive_int("n_steps", n_steps)
    return n_steps, float(end), float(variance), named("rule", rule, _RULES)


def continuum_grid(eigenvalues, n_steps, end, *, rule="ddpm", multiplicities=None):
    r"""Noise levels that are best for many modes when the number of steps is large.

    .. math::

       \frac{du}{d\varphi}\propto\sqrt{\sum_iJ_iw_i(\varphi)},\qquad
       J_i=\int_0^1w_i\,\varphi'(u)^2du,\qquad
       w_i=\begin{cases}\rho_i^2(1-\rho_i)&\text{ddpm}\\
       \tfrac14\rho_i(1-\rho_i)&\text{ddim}\end{cases}

    with :math:`\varphi=\log\omega` and :math:`\omega_k=e^{\varphi(k/K)}`.

    Implements eq. (C.4).

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        Variances :math:`s_i>0` of the data.
    n_steps, end, rule
        As in `best_grid`.
    multiplicities : array_like, shape (d,), optional
        As in `step_kl`.

    Returns
    -------
    numpy.ndarray, shape (K,)

    Notes
    -----
    The self-consistent density is found by iteration on 4001 points of
    :math:`\varphi`; levels are good to about 1e-4 relative. For few steps
    `optimise_grid` is better. Halder 2024, H-46.
    Range: `end` and eigenvalues within thirty decades.

    Examples
    --------
    >>> continuum_grid([1.0], 2, 1.0, rule="ddim").round(3)
    array([0.172, 1.   ])
    """
    s, weights, n_steps, end, rule = _modes(eigenvalues, multiplicities, n_steps, end, rule)
    phi, u, _ = _continuum(s, weights, end, rule)
    grid = np.exp(np.interp(np.arange(1, n_steps + 1) / n_steps, u, phi))
    grid[-1] = end
    return grid


def continuum_kl(eigenvalues, n_steps, end, *, rule="ddpm", multiplicities=None):
    r"""Divergence of the continuum grid, to leading order in the number of steps.

    .. math:: \mathrm{KL}\simeq\frac1{4K^2}\sum_iJ_i^2

    Implements eq. (C.3).

    Parameters
    ----------
    eigenvalues, n_steps, end, rule, multiplicities
        As in `continuum_grid`.

    Returns
    -------
    float

    Notes
    -----
    Halder 2024, H-46.
    Range: `end` and eigenvalues within thirty decades.

    Examples
    --------
    >>> print(f"{continuum_kl([1.0], 10, 1.0, rule='ddim'):.5f}")
    0.00095
    """
    s, weights, n_steps, end, rule = _modes(eigenvalues, multiplicities, n_steps, end, rule)
    costs = _continuum(s, weights, end, rule)[2]
    return float(np.sum(weights * costs**2) / (4.0 * n_steps**2))


def _modes(eigenvalues, multiplicities, n_steps, end, rule):
    s = np.atleast_1d(_check.positive("eigenvalues", eigenvalues))
    if s.ndim != 1:
        raise ValueError(f"`eigenvalues` must have one axis, got shape {s.shape}")
    n_steps, end, _, rule = _problem(n_steps, end, rule, 1.0)
    if np.log10(max(end, s.max())) - np.log10(min(end, s.min())) > _SPAN:
        raise ValueError(f"`eigenvalues` and `end` span more than {_SPAN:g} decades")
    return s, _weights(multiplicities, s.size), n_steps, end, rule


def _continuum(s, weights, end, rule):
    """Return nodes phi, cumulative steps u(phi) in [0, 1], and costs J_i."""
    low = min(end, s.min()) * 10.0**-_DECADES
    phi = np.linspace(np.log(low), np.log(end), _NODES)
    rho = s[:, None] / (s[:, None] + np.exp(phi))
    lost = np.exp(phi) / (s[:, None] + np.exp(phi))
    w = rho**2 * lost if rule == "ddpm" else 0.25 * rho * lost
    costs = np.ones(s.size)
    for _ in range(500):
        density = np.sqrt((weights * costs) @ w)
        length = scipy.integrate.trapezoid(density, phi)
        new = length * scipy.integrate.trapezoid(w / density, phi, axis=1)
        done = np.max(np.abs(new / costs - 1.0)) < 1e-12
        costs = new
        if done:
            break
    half = 0.5 * (density[1:] + density[:-1]) * np.diff(phi)
    u = np.append(0.0, np.cumsum(half))
    return phi, u / u[-1], costs


def optimise_grid(eigenvalues, n_steps, end, *, rule="ddpm", multiplicities=None):
    r"""Noise levels that make the divergence of many modes smallest, found numerically.

    .. math:: \min_{\omega_1<\dots<\omega_{K-1}}\ \frac12\sum_i(u_i-1-\log u_i)

    Parameters
    ----------
    eigenvalues, n_steps, end, rule, multiplicities
        As in `continuum_grid`.

    Returns
    -------
    numpy.ndarray, shape (K,)

    Notes
    -----
    BFGS on the logarithms of the increments of :math:`\log\omega`, from three starts: the
    continuum grid, the best grid of the mean variance, and equal steps of
    :math:`\log\omega`. The value is a local minimum below all three; for one mode it is the
    global one. Halder 2024, OQ-2.
    Range: `end` and eigenvalues within thirty decades.

    Examples
    --------
    >>> optimise_grid([1.0], 2, 1.0).round(4)
    array([0.3333, 1.    ])
    """
    s, weights, n_steps, end, rule = _modes(eigenvalues, multiplicities, n_steps, end, rule)
    if n_steps == 1:
        return np.array([end])
    s = s / end
    low = np.log(min(1.0, s.min())) - 3.0
    starts = (
        continuum_grid(s, n_steps, 1.0, rule=rule, multiplicities=weights),
        best_grid(n_steps, 1.0, rule=rule, variance=float(np.average(s, weights=weights))),
        np.exp(np.linspace(low, 0.0, n_steps)),
    )

    def grid_of(z):
        # Increments of log w from the last level downwards keep the order. A trial step of the
        # search may ask for levels that are lost or equal: their distances are limited.
        steps = np.exp(np.clip(z, -15.0, 15.0))
        steps = steps * min(1.0, (20.0 - low) / steps.sum())
        return np.exp(-np.append(np.cumsum(steps)[::-1], 0.0))

    def cost(z):
        return np.log(step_kl(s, levels(grid_of(z)), rule=rule, multiplicities=weights))

    found = [
        scipy.optimize.minimize(cost, np.log(np.diff(np.log(grid))[::-1]), method="BFGS", tol=1e-9)
        for grid in starts
    ]
    return end * grid_of(min(found, key=lambda result: result.fun).x)
