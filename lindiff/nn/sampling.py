r"""Samplers of the probability-flow equation, for denoisers of any kind.

.. math:: \frac{dx}{d\sigma}=\frac{x-D(x,\sigma)}{\sigma}

is integrated down the levels of Karras et al. 2022 (arXiv 2206.00364, eq. 5), from
:math:`x=\sigma_{\max}z` to noise 0. Tensors stay on their device; a NumPy array is
sampled in float64 with a denoiser that takes arrays, and an array comes back.
"""

from itertools import pairwise

import numpy as np
import torch

from lindiff import _check, schedules

__all__ = ["gaussian_flow", "heun_samples", "n_evaluations", "noise_bank", "noise_levels"]

_METHODS = ("heun", "euler")


def noise_bank(n, d, seed, device="cpu"):
    """Return standard normal numbers that are the same on every device.

    Parameters
    ----------
    n, d : int
    seed : int
    device : str or torch.device

    Returns
    -------
    torch.Tensor of float32, shape (n, d)
        The first rows of a larger bank of the same `d` and `seed`.

    Examples
    --------
    >>> torch.equal(noise_bank(5, 3, seed=0), noise_bank(9, 3, seed=0)[:5])
    True
    """
    n, d = _check.positive_int("n", n), _check.positive_int("d", d)
    drawn = np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32)
    return torch.from_numpy(drawn).to(device)


def noise_levels(n_steps=18, *, sigma_min=0.002, sigma_max=80.0, rho=7.0, start=None):
    r"""Return the levels that a sampler visits, from the noisiest down to 0.

    Parameters
    ----------
    n_steps : int
        Number of positive levels of the whole grid, see `lindiff.schedules.karras`.
    sigma_min, sigma_max, rho : float
    start : float, optional
        Leave out the levels above it.

    Returns
    -------
    numpy.ndarray
        Decreasing; the last one is 0.

    Raises
    ------
    ValueError
        If a value is out of range, or `start` is below `sigma_min`.

    Examples
    --------
    >>> noise_levels(3, sigma_min=1.0, sigma_max=9.0, rho=2.0, start=5.0)
    array([4., 1., 0.])
    """
    levels = schedules.karras(n_steps, sigma_min, sigma_max, rho).sigma[::-1]
    if start is not None:
        start = float(_check.as_array("start", _check.positive("start", start), ndim=0))
        levels = levels[levels <= start]
        if levels.size == 0:
            raise ValueError(f"`start` is {start:.6g}, below the smallest level of the grid")
    return np.append(levels, 0.0)


def n_evaluations(n_steps=18, *, method="heun", **grid):
    """Return how often `heun_samples` calls the denoiser on each sample (NFE).

    Twice per step for Heun, once for Euler; the last step, to noise 0, takes one call.

    Parameters
    ----------
    n_steps, method
        As in `heun_samples`.
    **grid
        Options of `noise_levels`.

    Examples
    --------
    >>> n_evaluations(18), n_evaluations(18, method="euler"), n_evaluations(18, start=5.0)
    (35, 18, 19)
    """
    steps = len(noise_levels(n_steps, **grid)) - 1
    return steps if _known(method) == "euler" else 2 * steps - 1


@torch.no_grad()
def heun_samples(
    denoiser,
    noise,
    *,
    n_steps=18,
    sigma_min=0.002,
    sigma_max=80.0,
    rho=7.0,
    start=None,
    gaussian=None,
    method="heun",
):
    r"""Sample by integrating the probability-flow equation.

    A step from :math:`\sigma` to :math:`s<\sigma` is, with the slope
    :math:`f(x,\sigma)=(x-D(x,\sigma))/\sigma`,

    .. math:: \hat x=x+(s-\sigma)f(x,\sigma),\qquad
              x\leftarrow x+\tfrac12(s-\sigma)\big(f(x,\sigma)+f(\hat x,s)\big)

    for Heun's method and :math:`x\leftarrow\hat x` for Euler's, and for the last step,
    to noise 0.

    Parameters
    ----------
    denoiser : object
        With a method ``denoise(x, sigma)`` on arrays of the kind of `noise`.
    noise : torch.Tensor or array_like, shape (n, d)
        Standard normal, for example from `noise_bank`. The first point is `noise` times
        the first level.
    n_steps, sigma_min, sigma_max, rho
        The grid, as in `noise_levels`.
    start : float, optional
        Begin at the largest level of the grid that is not above it.
    gaussian : object, optional
        Gaussian denoiser with `mean`, `eigenvalues` and `eigenvectors`. The first point is
        then carried from `sigma_max` to the first level by `gaussian_flow` ("analytic
        teleportation").
    method : {"heun", "euler"}

    Returns
    -------
    torch.Tensor or numpy.ndarray, shape (n, d)

    Raises
    ------
    TypeError, ValueError
        On a bad argument, or a denoiser that changes the shape or leads to NaN.

    Notes
    -----
    Karras et al. 2022, algorithm 1. Cost: `n_evaluations`. Teleportation: Wang and
    Vastola 2024, ledger id W-4.

    Examples
    --------
    >>> from lindiff.denoisers import EmpiricalDenoiser
    >>> points = EmpiricalDenoiser([[-1.0], [1.0]])
    >>> heun_samples(points, np.array([[-0.5], [0.3]])).round(6)
    array([[-1.],
           [ 1.]])
    """
    if not callable(getattr(denoiser, "denoise", None)):
        raise TypeError("`denoiser` must have a method denoise(x, sigma)")
    levels = noise_levels(
        n_steps, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho, start=start
    ).tolist()
    heun = _known(method) == "heun"
    x = _first_point(noise, levels[0], float(sigma_max), gaussian)
    for sigma, below in pairwise(levels):
        clean = _denoised(denoiser, x, sigma)
        # The same as a step along the slope, without the difference of large numbers.
        moved = clean + (below / sigma) * (x - clean)
        if heun and below > 0:
            slope = (x - clean) / sigma + (moved - _denoised(denoiser, moved, below)) / below
            moved = x + (0.5 * (below - sigma)) * slope
        x = moved
    if not bool((abs(x) < np.inf).all()):
        raise ValueError("`denoiser` led to NaN or infinite samples; check its outputs")
    return x


def gaussian_flow(gaussian, x, sigma, below):
    r"""Carry points along the probability flow of a Gaussian, in closed form.

    .. math:: x_s=\mu+\sum_i\sqrt{\frac{\lambda_i+s^2}{\lambda_i+\sigma^2}}\,
              u_iu_i^\top(x_\sigma-\mu)

    Directions outside the eigenvectors have :math:`\lambda=0`.

    Parameters
    ----------
    gaussian : object
        With `mean` (d,), `eigenvalues` (k,) and `eigenvectors` (d, k).
    x : torch.Tensor or array_like, shape (n, d)
        Points at noise level `sigma`.
    sigma, below : float
        Levels, `sigma` > 0 and `below` >= 0.

    Returns
    -------
    torch.Tensor or numpy.ndarray, shape (n, d)

    Raises
    ------
    TypeError, ValueError
        If the Gaussian lacks an attribute, has a floor or a ridge, or a level is out of
        range.

    Notes
    -----
    Wang and Vastola 2024; Li, Dai and Qu 2024: ledger id L-10.

    Examples
    --------
    >>> from lindiff.denoisers import AffineDenoiser
    >>> gaussian = AffineDenoiser.from_moments([0.0], [[9.0]])
    >>> gaussian_flow(gaussian, np.array([[5.0]]), 4.0, 0.0)
    array([[3.]])
    """
    sigma, below = _check.positive("sigma", sigma), _check.non_negative("below", below)
    x, as_given = _points("x", x)
    try:
        mean, values, vectors = (
            _like(x, getattr(gaussian, name)) for name in ("mean", "eigenvalues", "eigenvectors")
        )
    except AttributeError as error:
        raise TypeError("`gaussian` needs mean, eigenvalues and eigenvectors") from error
    if any(np.any(getattr(gaussian, name, 0.0)) for name in ("floor", "ridge")):
        raise ValueError("`gaussian` must have neither floor nor ridge")
    outside = below / sigma
    factor = torch.sqrt((values + below**2) / (values + sigma**2))
    away = x - mean
    inside = (away @ vectors) * (factor - outside) @ vectors.T
    return as_given(mean + outside * away + inside)


def _known(method):
    if method not in _METHODS:
        raise ValueError(f"`method` must be one of {', '.join(_METHODS)}; got {method!r}")
    return method


def _points(name, x):
    """Return a tensor, and what turns a tensor back into the kind of `x`."""
    if isinstance(x, torch.Tensor):
        if x.ndim != 2 or not x.is_floating_point():
            raise ValueError(f"`{name}` must be floats of shape (n, d), got {tuple(x.shape)}")
        return x, lambda tensor: tensor
    return torch.from_numpy(_check.as_array(name, x, ndim=2).copy()), torch.Tensor.numpy


def _like(x, value):
    if not isinstance(value, torch.Tensor):
        value = torch.from_numpy(np.array(value, dtype=np.float64))
    return value.to(x)


def _first_point(noise, level, sigma_max, gaussian):
    noise, as_given = _points("noise", noise)
    if gaussian is None:
        return as_given(level * noise)
    return as_given(gaussian_flow(gaussian, sigma_max * noise, sigma_max, level))


def _denoised(denoiser, x, sigma):
    clean = denoiser.denoise(x, sigma)
    if not isinstance(clean, (torch.Tensor, np.ndarray)):
        raise TypeError(
            f"`denoiser` must return points of shape {tuple(x.shape)} as a tensor or array, got "
            f"{type(clean).__name__}"
        )
    if tuple(clean.shape) != tuple(x.shape):
        raise ValueError(
            f"`denoiser` must return shape {tuple(x.shape)}, got {tuple(clean.shape)} at "
            f"noise level {sigma:.3g}"
        )
    return clean
