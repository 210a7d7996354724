r"""The least-squares denoiser of n points and the law of its samples.

Private part of :mod:`lindiff.onestep`, which re-exports every public name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lindiff import _check
from lindiff._onestep_exact import _sampler, _sizes
from lindiff._onestep_model import OneStepModel


@dataclass(frozen=True, eq=False, kw_only=True)
class OneStepFit:
    r"""Least-squares denoiser of one training set.

    Attributes
    ----------
    weights : ndarray, shape (d, d)
        Fitted map W.
    intercept : ndarray, shape (d,)
        Fitted intercept, zero for a fit through the origin.
    clean_mean, noised_mean : ndarray, shape (d,)
        Means of the training points, zero for a fit through the origin.
    clean_variance : float
        Unbiased variance of the clean points, averaged over coordinates.
    noised_root : ndarray, shape (n, d)
        Centred noised points over the square root of :math:`\nu`; its Gram matrix is their
        sample covariance.
    degrees : int
        :math:`\nu=n-1` with intercept, else n.
    """

    weights: np.ndarray
    intercept: np.ndarray
    clean_mean: np.ndarray
    noised_mean: np.ndarray
    clean_variance: float
    noised_root: np.ndarray
    degrees: int

    def denoise(self, x):
        """Apply the fitted map to points of shape (..., d)."""
        return self.intercept + _check.as_points("x", x) @ self.weights.T


def fit_one_step(noised, clean, *, intercept=True):
    r"""Fit the linear denoiser to n pairs by least squares.

    .. math:: (w_0,W)=\arg\min\sum_i\|Y_i-w_0-WX_i\|^2,\qquad
              W=\tilde Y^\top\tilde X(\tilde X^\top\tilde X)^+

    Implements eq. (4.1).

    Parameters
    ----------
    noised, clean : array_like, shape (n, d)
        Training pairs (X, Y), n >= 2 with intercept, else n >= 1.
    intercept : bool
        Whether to fit :math:`w_0`, which centres both sets; otherwise the origin is the mean.

    Returns
    -------
    OneStepFit
        Of all minimisers the one with the smallest norm of W.

    Raises
    ------
    ValueError, TypeError
        If the shapes disagree, an entry is NaN, or there are too few points.

    Notes
    -----
    By a singular value decomposition of the centred noised points, :math:`O(nd\min(n,d))`.
    Halder 2024, H-9.
    Range: points up to 1e150, noised and clean ones in units of their own from 1e-150 on.
    Directions in which the noised points spread less than 1e-16 max(n, d) of the widest one
    count as empty.

    Examples
    --------
    >>> fit = fit_one_step([[0.0], [1.0], [2.0]], [[1.0], [3.0], [5.0]])
    >>> fit.weights.round(12), fit.intercept.round(12)
    (array([[2.]]), array([1.]))
    """
    noised = _check.as_points("noised", noised, ndim=2)
    clean = _check.as_points("clean", clean, ndim=2)
    if noised.shape != clean.shape or noised.shape[1] == 0:
        raise ValueError(f"`noised` {noised.shape} and `clean` {clean.shape} must have one shape")
    n_samples, dimension = noised.shape
    _, degrees = _sizes(dimension, max(n_samples, 1), intercept)
    if degrees < 1 or n_samples < 1:
        raise ValueError("`noised` must have at least 2 points, or 1 without intercept")
    zero = np.zeros(dimension)
    x_mean, y_mean = (noised.mean(axis=0), clean.mean(axis=0)) if intercept else (zero, zero)
    x, y = noised - x_mean, clean - y_mean
    weights = np.linalg.lstsq(x, y, rcond=None)[0].T
    return OneStepFit(
        weights=weights,
        intercept=y_mean - weights @ x_mean,
        clean_mean=y_mean,
        noised_mean=x_mean,
        clean_variance=float(np.sum(y**2) / (degrees * dimension)),
        noised_root=x / np.sqrt(degrees),
        degrees=degrees,
    )


def generated_law(fit, model, *, sampler="isotropic"):
    r"""Gaussian law of the samples of a fitted denoiser.

    .. math:: p_G=\mathcal N(w_0+W\mu_x,\;W\Sigma_xW^\top)

    Implements eq. (4.6).

    Parameters
    ----------
    fit : OneStepFit
    model : OneStepModel
        Noise level, and the true variance for ``"population"``.
    sampler : {"isotropic", "population", "full"}
        Input law :math:`\mathcal N(\mu_x,\Sigma_x)`:
        :math:`(a\bar Y,(a^2s^2+b^2)I)` with the average sample variance :math:`s^2`;
        :math:`(a\bar Y,\sigma_x^2I)`; :math:`(\bar X,\tilde X^\top\tilde X/\nu)`.

    Returns
    -------
    mean : ndarray, shape (d,)
    root : ndarray, shape (d, r)
        A matrix with :math:`\Sigma_G` = root root^T; it has rank :math:`\min(d,\nu)`.

    Raises
    ------
    ValueError, TypeError
        If the sampler is unknown or the model has another dimension.

    Notes
    -----
    Halder 2024, H-10, H-12.
    Range: that of `fit_one_step` and of the model.

    Examples
    --------
    >>> fit = fit_one_step([[0.0], [1.0], [2.0]], [[1.0], [3.0], [5.0]])
    >>> mean, root = generated_law(fit, OneStepModel(time=0.0, noise_scale=1.0))
    >>> mean.round(12), root.round(12)
    (array([7.]), array([[4.]]))
    """
    if not isinstance(fit, OneStepFit):
        raise TypeError("`fit` must be a OneStepFit; make one with fit_one_step")
    require_model(model)
    if fit.weights.shape[0] != model.dimension:
        raise ValueError(f"`model` has dimension {model.dimension}, `fit` {len(fit.weights)}")
    if _sampler(sampler) == "full":
        centre, root = fit.noised_mean, fit.weights @ fit.noised_root.T
    else:
        variance = model.variance if sampler == "population" else fit.clean_variance
        centre = model.signal * fit.clean_mean
        root = np.sqrt(model.signal**2 * variance + model.noise**2) * fit.weights
    return fit.intercept + fit.weights @ centre, root


def require_model(model):
    if not isinstance(model, OneStepModel):
        raise TypeError("`model` must be a OneStepModel")
