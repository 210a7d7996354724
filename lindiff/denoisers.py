r"""Optimal denoisers: affine, of a training set, of a Gaussian mixture.

A denoiser estimates the clean point :math:`y` from :math:`x=y+\sigma z` with
:math:`z\sim\mathcal N(0,\mathbb 1)`. All of them share one method,
``denoise(x, sigma)``; `predict_noise` translates it to a point noised as
:math:`\sqrt{\bar\alpha}\,y+\sqrt{1-\bar\alpha}\,\epsilon`. Each is the posterior mean
:math:`\mathbb E[y\mid x]` of one law of the data: a Gaussian with the moments of the
data, the training points themselves, or a mixture of Gaussians.

Sources: Merger and Goldt 2025 (arXiv 2505.24769), ledger ids MG-2 to MG-8.
"""

from typing import Protocol, runtime_checkable

import numpy as np

from lindiff import _check
from lindiff._affine import AffineDenoiser
from lindiff._empirical import EmpiricalDenoiser, nearest_neighbours, stream_denoise
from lindiff._mixture import GaussianMixtureDenoiser

__all__ = [
    "AffineDenoiser",
    "Denoiser",
    "EmpiricalDenoiser",
    "GaussianMixtureDenoiser",
    "nearest_neighbours",
    "predict_noise",
    "stream_denoise",
]


@runtime_checkable
class Denoiser(Protocol):
    r"""Anything that estimates :math:`y` from :math:`x=y+\sigma z`."""

    def denoise(self, x, sigma):
        """Return the estimate of the clean points, shape of `x` (..., d)."""


def predict_noise(denoiser, x, alpha_bar):
    r"""Return the noise that any denoiser sees in a variance-preserving point.

    .. math:: \epsilon(x)=\frac{x-\sqrt{\bar\alpha}\,D(x/\sqrt{\bar\alpha},\sigma)}
              {\sqrt{1-\bar\alpha}},\qquad \sigma=\sqrt{(1-\bar\alpha)/\bar\alpha}

    Implements eq. (1.8).

    Parameters
    ----------
    denoiser : Denoiser
    x : array_like, shape (..., d)
        Points :math:`\sqrt{\bar\alpha}\,y+\sqrt{1-\bar\alpha}\,\epsilon`.
    alpha_bar : float
        In (0, 1).

    Returns
    -------
    numpy.ndarray, shape (..., d)

    Raises
    ------
    TypeError, ValueError
        If `denoiser` has no method of that name, or a number is out of range.

    Notes
    -----
    The difference loses digits as `alpha_bar` approaches 1; `AffineDenoiser.predict_noise`
    does not. Merger and Goldt 2025, MG-4.
    Range: `alpha_bar` from 1e-300 on, points and points over the signal factor up to 1e150.
    Rounding is 1e-15 of the point and of its estimate, over :math:`\sqrt{1-\bar\alpha}`.

    Examples
    --------
    >>> predict_noise(EmpiricalDenoiser([[0.0], [0.0]]), [[0.6]], 0.64)
    array([[1.]])
    """
    if not isinstance(denoiser, Denoiser):
        raise TypeError("`denoiser` must have a method denoise(x, sigma)")
    level = np.asarray(_check.within("alpha_bar", alpha_bar, least=1e-300, most=1.0))
    if level.ndim != 0 or level == 1:
        raise ValueError("`alpha_bar` must be one number below 1; a clean point has no noise")
    x, signal, noise = _check.as_points("x", x), np.sqrt(level), np.sqrt(1.0 - level)
    clean = denoiser.denoise(_check.as_points("x over the signal", x / signal), noise / signal)
    return (x - signal * clean) / noise
