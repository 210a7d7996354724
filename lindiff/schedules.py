r"""Noise levels: the only place that converts between the two ways of writing them.

A level is a pair :math:`x=s\,x_0+n\,\epsilon` of a signal factor :math:`s` and a noise
factor :math:`n`. All that matters is :math:`\sigma=n/s`. Variance preserving (VP)
coordinates have :math:`s^2+n^2=1` and :math:`s^2=\bar\alpha`; variance exploding (VE)
coordinates have :math:`s=1`. Nothing here computes :math:`1-\bar\alpha` by a subtraction
that would lose digits. Sources: Merger and Goldt 2025, MG-0, MG-1; Halder 2024, H-1.
"""

import numpy as np

from lindiff import _check
from lindiff._noise_schedule import NoiseSchedule, alpha_bar_to_sigma, sigma_to_alpha_bar

__all__ = [
    "NoiseSchedule",
    "add_noise",
    "alpha_bar_to_sigma",
    "cosine",
    "from_alpha_bars",
    "from_betas",
    "from_sigmas",
    "karras",
    "linear_beta",
    "ornstein_uhlenbeck",
    "sigma_to_alpha_bar",
]


def from_betas(betas):
    r"""Levels of a given list of noise added per step.

    .. math:: \bar\alpha_t=\prod_{s\le t}(1-\beta_s)

    Implements eq. (2.1), (2.3).

    Parameters
    ----------
    betas : array_like, shape (T,)
        In (0, 1), in the order of increasing noise.

    Returns
    -------
    NoiseSchedule
        VP levels; :math:`1-\bar\alpha` has the relative accuracy of the `betas` at every level,
        1e-14 if they are exact.

    Raises
    ------
    ValueError
        If a value is out of range, or the signal factor falls below e^-700.

    Notes
    -----
    A table with zero terminal signal ends with :math:`\beta=1`: leave its last level out.
    Range: betas from the smallest float to the largest below 1, signal factors down to e^-700;
    :math:`\bar\alpha` to 1e-13.

    Examples
    --------
    >>> from_betas([0.5, 0.5]).alpha_bar.round(12)
    array([0.5 , 0.25])
    """
    betas = _check.as_array("betas", betas, ndim=1)
    if betas.size == 0 or np.any((betas <= 0) | (betas >= 1)):
        raise ValueError("`betas` must hold numbers in (0, 1); a level with beta = 1 has no signal")
    log_alpha_bar = np.cumsum(np.log1p(-betas))
    if log_alpha_bar[-1] < -1400.0:
        raise ValueError(
            f"`betas` leave no signal, a factor of e^{0.5 * log_alpha_bar[-1]:.0f}; "
            "use fewer or smaller ones"
        )
    if np.any(np.diff(log_alpha_bar) >= 0):
        raise ValueError("`betas` has steps too small to change the level; leave them out")
    return NoiseSchedule(np.exp(0.5 * log_alpha_bar), np.sqrt(-np.expm1(log_alpha_bar)))


def from_alpha_bars(alpha_bars):
    r"""Levels of a given list of squared signal factors.

    .. math:: s_t^2=\bar\alpha_t,\qquad n_t^2=1-\bar\alpha_t

    Implements eq. (2.3).

    Parameters
    ----------
    alpha_bars : array_like, shape (T,)
        In (0, 1], strictly decreasing.

    Returns
    -------
    NoiseSchedule
        VP levels, exact for the numbers that are passed. Near 1 those say little about
        :math:`1-\bar\alpha`: a single precision table is off by 6e-8 there. Pass `from_betas`
        the step sizes or `from_sigmas` the noise levels where they are at hand.

    Raises
    ------
    ValueError
        If a value is out of range, or the list does not decrease.

    Notes
    -----
    Range: from the smallest float to 1.

    Examples
    --------
    >>> from_alpha_bars([0.8, 0.2]).sigma
    array([0.5, 2. ])
    """
    alpha_bars = _check.as_array("alpha_bars", alpha_bars, ndim=1)
    if alpha_bars.size == 0 or np.any((alpha_bars <= 0) | (alpha_bars > 1)):
        raise ValueError("`alpha_bars` must hold numbers in (0, 1]; drop levels without signal")
    if np.any(np.diff(alpha_bars) >= 0):
        raise ValueError("`alpha_bars` must decrease strictly; sort them and drop repeated ones")
    return NoiseSchedule(np.sqrt(alpha_bars), np.sqrt(1.0 - alpha_bars))


def from_sigmas(sigmas):
    r"""Levels of a given list of noise levels, in VE coordinates.

    .. math:: s_t=1,\qquad n_t=\sigma_t

    Parameters
    ----------
    sigmas : array_like, shape (T,)
        Not negative, strictly increasing.

    Returns
    -------
    NoiseSchedule
        VE levels, exact for the numbers that are passed.

    Raises
    ------
    ValueError
        If a value is negative, or the list does not increase.

    Notes
    -----
    Tables for sampling run downwards and end with 0: pass ``sigmas[-2::-1]``.
    Range: all floats.

    Examples
    --------
    >>> from_sigmas([0.5, 2.0]).alpha_bar
    array([0.8, 0.2])
    """
    sigmas = np.atleast_1d(_check.non_negative("sigmas", _check.as_array("sigmas", sigmas, ndim=1)))
    if sigmas.size == 0 or np.any(np.diff(sigmas) <= 0):
        raise ValueError(
            "`sigmas` must increase strictly; pass a falling table that ends with 0 as "
            "sigmas[-2::-1]"
        )
    return NoiseSchedule(np.ones_like(sigmas), sigmas)


def linear_beta(n_steps=1000, beta_start=1e-4, beta_end=2e-2):
    r"""Noise added per step grows linearly, as in DDPM.

    .. math:: \bar\alpha_t=\prod_{s\le t}(1-\beta_s),\qquad
              \beta_1=\mathrm{start},\ \dots,\ \beta_T=\mathrm{end}

    Implements eq. (2.1), (2.3).

    Parameters
    ----------
    n_steps : int
        Number of levels, >= 1.
    beta_start, beta_end : float
        First and last :math:`\beta`, in (0, 1).

    Returns
    -------
    NoiseSchedule
        VP levels; :math:`1-\bar\alpha` has full relative accuracy at every level.

    Raises
    ------
    ValueError
        If a value is out of range, or the signal factor falls below e^-700.

    Notes
    -----
    Ho, Jain and Abbeel 2020. Merger and Goldt 2025 (MG-1) use
    :math:`\beta_t=10^{-4}+(10^{-2}-10^{-4})t/T`: pass ``beta_start=1.099e-4`` and
    ``beta_end=1e-2`` for :math:`T=1000`.
    Range: signal factors down to e^-700, all levels to 1e-13.

    Examples
    --------
    >>> print(" ".join(f"{level:.3g}" for level in linear_beta(1000).alpha_bar[[0, 99, 999]]))
    1 0.897 4.04e-05
    """
    n_steps = _check.positive_int("n_steps", n_steps)
    for name, value in (("beta_start", beta_start), ("beta_end", beta_end)):
        if not 0.0 < _check.as_array(name, value, ndim=0) < 1.0:
            raise ValueError(f"`{name}` must lie in (0, 1), got {value}")
    return from_betas(np.linspace(beta_start, beta_end, n_steps))


def cosine(n_steps=1000, offset=0.008, *, max_beta=0.999):
    r"""Signal power follows a squared cosine.

    .. math:: \bar\alpha_t=\frac{\cos^2\theta_t}{\cos^2\theta_0},\qquad
              \theta_t=\frac\pi2\,\frac{t/T+\mathrm{offset}}{1+\mathrm{offset}}

    Parameters
    ----------
    n_steps : int
        Number of levels, >= 1.
    offset : float
        Small shift >= 0 that keeps the first steps from being too small.
    max_beta : float
        Cap on :math:`\beta_t`, in (0, 1). It only acts at the end, where the cosine is 0.

    Returns
    -------
    NoiseSchedule
        VP levels.

    Raises
    ------
    ValueError
        If a value is out of range.

    Notes
    -----
    :math:`\beta_t=\sin(\theta_t-\theta_{t-1})\sin(\theta_t+\theta_{t-1})/
    \cos^2\theta_{t-1}` avoids the difference of two cosines. Nichol and Dhariwal 2021.
    Range: any `offset` and number of steps for which the levels differ.

    Examples
    --------
    >>> cosine(4).alpha_bar.round(4)
    array([8.470e-01, 4.938e-01, 1.443e-01, 1.000e-04])
    """
    n_steps = _check.positive_int("n_steps", n_steps)
    offset = float(_check.as_array("offset", _check.non_negative("offset", offset), ndim=0))
    if not 0.0 < _check.as_array("max_beta", max_beta, ndim=0) < 1.0:
        raise ValueError(f"`max_beta` must lie in (0, 1), got {max_beta}")
    times = np.arange(n_steps + 1) / n_steps
    quarter = 0.5 * np.pi / (1.0 + offset)
    angle, rest = quarter * (times + offset), quarter * (1.0 - times)
    # A sine near its zero needs the smaller one of two angles that add up to pi.
    pair = np.minimum(angle[1:] + angle[:-1], rest[1:] + rest[:-1])
    before = np.sin(rest[:-1])
    beta = (np.sin(quarter / n_steps) / before) * (np.sin(pair) / before)
    return from_betas(np.minimum(beta, max_beta))


def ornstein_uhlenbeck(times, noise_scale=1.0):
    r"""Levels of the Ornstein-Uhlenbeck process at given times.

    .. math:: s=e^{-t},\qquad n=\sqrt{\lambda\,(1-e^{-2t})}

    Implements eq. (2.7), (2.8), (2.13).

    Parameters
    ----------
    times : array_like, shape (T,)
        Strictly increasing times, >= 0.
    noise_scale : float
        Stationary variance :math:`\lambda>0`.

    Returns
    -------
    NoiseSchedule
        VP levels if `noise_scale` is 1.

    Raises
    ------
    ValueError
        If a time is negative or repeated, or so large (above 700) that the signal is lost.

    Notes
    -----
    Halder 2024, H-1.
    Range: times from the smallest float to 700.

    Examples
    --------
    >>> levels = ornstein_uhlenbeck([1e-12, 0.5])
    >>> print(levels.noise_var)
    [2.00000000e-12 6.32120559e-01]
    """
    times = _check.as_array("times", times, ndim=1)
    _check.non_negative("times", times)
    if np.any(times > 700.0):
        raise ValueError("`times` above 700 leave no signal; use smaller ones")
    scale = _check.as_array("noise_scale", _check.positive("noise_scale", noise_scale), ndim=0)
    return NoiseSchedule(np.exp(-times), np.sqrt(scale) * np.sqrt(-np.expm1(-2.0 * times)))


def karras(n_steps, sigma_min=0.002, sigma_max=80.0, rho=7.0):
    r"""Levels spaced evenly in :math:`\sigma^{1/\rho}`, in VE coordinates.

    .. math:: \sigma_i=\Big(\sigma_{\min}^{1/\rho}+\frac{i}{T-1}
              \big(\sigma_{\max}^{1/\rho}-\sigma_{\min}^{1/\rho}\big)\Big)^{\rho},
              \qquad i=0,\dots,T-1

    Parameters
    ----------
    n_steps : int
        Number of levels; a single one is `sigma_max`.
    sigma_min, sigma_max : float
        Smallest and largest level, 0 < `sigma_min` < `sigma_max`.
    rho : float
        Exponent > 0; larger values put more levels at small noise.

    Returns
    -------
    NoiseSchedule
        VE levels, both ends exact.

    Raises
    ------
    ValueError
        If a value is out of range.

    Notes
    -----
    Karras et al. 2022, in increasing order and without their final level 0.
    Range: levels of any size; `rho` from 1e-3 up.

    Examples
    --------
    >>> karras(3, sigma_min=1.0, sigma_max=9.0, rho=2.0).sigma
    array([1., 4., 9.])
    """
    n_steps = _check.positive_int("n_steps", n_steps)
    named = (("sigma_min", sigma_min), ("sigma_max", sigma_max), ("rho", rho))
    low, high, rho = (
        float(_check.as_array(name, _check.positive(name, value), ndim=0)) for name, value in named
    )
    if low >= high:
        raise ValueError("`sigma_min` must be smaller than `sigma_max`")
    # Nothing overflows for small rho, nor cancels for large rho.
    left = np.linspace(1.0, 0.0, n_steps)
    with np.errstate(divide="ignore", over="ignore"):
        shrink = np.expm1((np.log(low) - np.log(high)) / rho)
        sigma = high * np.exp(rho * np.log1p(left * shrink))
    sigma[0], sigma[-1] = low, high
    return NoiseSchedule(np.ones(n_steps), sigma)


def add_noise(x0, signal, noise, rng):
    r"""Draw one noisy version of each point.

    .. math:: x=s\,x_0+n\,\epsilon,\qquad\epsilon\sim\mathcal N(0,I)

    Implements eq. (2.3), (2.8).

    Parameters
    ----------
    x0 : array_like, shape (..., d)
        Clean points.
    signal, noise : float or array_like
        Factors :math:`s>0`, :math:`n\ge0`. A number, or an array that broadcasts with
        `x0` without enlarging it, such as shape (n, 1) for one level per point.
    rng : numpy.random.Generator
        Source of the noise.

    Returns
    -------
    ndarray, shape of `x0`

    Raises
    ------
    ValueError
        If a factor is out of range or has a shape that does not fit.
    TypeError
        If `rng` is no Generator.

    Notes
    -----
    Range: points and factors up to 1e150.

    Examples
    --------
    >>> add_noise([[1.0, 2.0]], 0.5, 0.0, np.random.default_rng(0))
    array([[0.5, 1. ]])
    """
    x0 = _check.as_points("x0", x0)
    signal = _check.within("signal", signal, least=0.0)
    noise = _check.within("noise", noise, least=0.0, zero=True)
    rng = _check.generator(rng)
    for name, factor in (("signal", signal), ("noise", noise)):
        try:
            fits = np.broadcast_shapes(x0.shape, np.shape(factor)) == x0.shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"`{name}` must be a number or broadcast to shape {x0.shape}")
    return signal * x0 + noise * rng.standard_normal(x0.shape)
