"""The exact denoiser of a mixture of Gaussians."""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from lindiff import _check
from lindiff._empirical import points_and_levels


@dataclass(frozen=True, eq=False)
class GaussianMixtureDenoiser:
    r"""The exact denoiser of a mixture of Gaussians.

    .. math:: D(x,\sigma)=\sum_kr_k(x)\,D_k(x,\sigma),\qquad
              r_k(x)\propto\pi_k\,\mathcal N(x;\mu_k,\Sigma_k+\sigma^2\mathbb 1)

    Implements eq. (1.18), (F.9).

    Parameters
    ----------
    means : array_like, shape (K, d)
    covs : array_like, shape (K, d, d)
        Symmetric, positive semi-definite; zero is allowed.
    weights : array_like, shape (K,)
        Positive; their sum must be 1.

    Raises
    ------
    ValueError
        If shapes disagree, a covariance is not one, or the weights do not sum to 1.

    Notes
    -----
    :math:`D_k` is the affine denoiser of component k. One component gives
    `AffineDenoiser`; components of covariance zero give `EmpiricalDenoiser`.
    Range: points and noise levels up to 1e150, variances up to 1e304.

    Examples
    --------
    >>> model = GaussianMixtureDenoiser([[-2.0], [2.0]], [[[0.0]], [[0.0]]], [0.5, 0.5])
    >>> float(model.denoise([0.0], 1.0)[0])
    0.0
    """

    means: np.ndarray
    covs: np.ndarray
    weights: np.ndarray

    def __post_init__(self):
        means = _check.as_points("means", self.means, ndim=2)
        weights = np.atleast_1d(_check.positive("weights", self.weights))
        covs = _check.as_array("covs", self.covs, ndim=3)
        k, d = means.shape
        if covs.shape != (k, d, d) or weights.shape != (k,):
            raise ValueError(
                f"`covs` and `weights` must have shapes {(k, d, d)} and {(k,)}, "
                f"got {covs.shape} and {weights.shape}"
            )
        if k == 0 or d == 0:
            raise ValueError("`means` is empty; pass (K, d) with K, d >= 1")
        if abs(weights.sum() - 1) > 1e-9:
            raise ValueError("`weights` must sum to 1; divide them by their sum")
        given = enumerate(np.asarray(self.covs))
        covs = np.stack([_check.as_covariance(f"covs[{i}]", cov) for i, cov in given])
        values, vectors = np.linalg.eigh(covs)
        stored = {
            "means": means.copy(),
            "covs": covs,
            "weights": weights.copy(),
            "_values": np.maximum(values, 0.0),
            "_vectors": vectors,
        }
        for name, value in stored.items():
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    @property
    def dimension(self):
        """Number of coordinates d."""
        return self.means.shape[1]

    @property
    def mean(self):
        """Mean of the mixture, shape (d,)."""
        return self.weights @ self.means

    @property
    def covariance(self):
        """Covariance of the mixture, within and between components, shape (d, d)."""
        away = self.means - self.mean
        within = np.einsum("k,kij->ij", self.weights, self.covs)
        return within + np.einsum("k,ki,kj->ij", self.weights, away, away)

    def sample(self, n_samples, rng):
        """Draw points of the mixture.

        Parameters
        ----------
        n_samples : int
        rng : numpy.random.Generator

        Returns
        -------
        numpy.ndarray, shape (n_samples, d)
        """
        n_samples, rng = _check.positive_int("n_samples", n_samples), _check.generator(rng)
        which = rng.choice(len(self.weights), size=n_samples, p=self.weights)
        spread = rng.standard_normal((n_samples, self.dimension)) * np.sqrt(self._values[which])
        points = self.means[which]
        for k, vectors in enumerate(self._vectors):
            points[which == k] += spread[which == k] @ vectors.T
        return points

    def responsibilities(self, x, sigma):
        r"""Return the probability of each component given the noised point.

        .. math:: r_k(x)\propto\pi_k\,\mathcal N(x;\mu_k,\Sigma_k+\sigma^2\mathbb 1)

        Parameters
        ----------
        x : array_like, shape (..., d)
        sigma : float or array_like
            Noise level, as in `denoise`.

        Returns
        -------
        numpy.ndarray, shape (..., K)
            Each row sums to one.
        """
        return self._split(x, sigma)[0]

    def denoise(self, x, sigma):
        r"""Return the posterior mean of the clean point.

        .. math:: D(x,\sigma)=\sum_kr_k(x)\,D_k(x,\sigma)

        Implements eq. (1.18).

        Parameters
        ----------
        x : array_like, shape (..., d)
            Points :math:`y+\sigma z`.
        sigma : float or array_like
            Noise level :math:`\ge0`, positive if a covariance is singular; broadcast
            against the shape of `x` without its last axis.

        Returns
        -------
        numpy.ndarray, shape (..., d)
        """
        share, coefficients, total = self._split(x, sigma)
        shrunk = coefficients * (self._values / total)
        estimates = np.einsum("kij,...kj->...ki", self._vectors, shrunk) + self.means
        return np.einsum("...k,...ki->...i", share, estimates)

    def _split(self, x, sigma):
        sigma = _check.within("sigma", sigma, least=0.0, zero=True)
        x, sigma = points_and_levels(x, sigma, self.dimension)
        total = self._values + np.square(sigma)[..., None, None]
        if np.any(total == 0):
            raise ValueError("`sigma` must be positive: a component has a singular covariance")
        away = x[..., None, :] - self.means
        coefficients = np.einsum("kij,...ki->...kj", self._vectors, away)
        # Divide by the root first: the square of a large residual would overflow sooner.
        with np.errstate(over="ignore"):
            distance = np.sum(np.square(coefficients / np.sqrt(total)), axis=-1)
        if not np.all(np.isfinite(np.min(distance, axis=-1))):
            raise ValueError("`x` lies too far from all components for this `sigma`")
        log_share = np.log(self.weights) - 0.5 * (distance + np.sum(np.log(total), axis=-1))
        share = np.exp(log_share - logsumexp(log_share, axis=-1, keepdims=True))
        return share, coefficients, total
