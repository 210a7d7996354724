"""Denoisers of training sets and of mixtures of Gaussians in PyTorch."""

import math

import torch

from lindiff import _check
from lindiff.nn._closed_form import ClosedForm, as_tensor

_LOW_SIGMA = 0.02


class MemorisingDenoiser(ClosedForm):
    r"""The best of all denoisers on a training set: it knows the images by heart.

    .. math:: D(x,\sigma)=\sum_iw_i(x)\,y_i,\qquad
              w=\mathrm{softmax}\Big(-\frac{\lVert x-y_i\rVert^2}{2\sigma^2}\Big)

    Implements eq. (1.19).

    Parameters
    ----------
    points : torch.Tensor or array_like, shape (N, d)
        Training images.
    chunk : int
        Largest number of points denoised at once; fewer if N is large.

    Notes
    -----
    The exponents are float64 below sigma = 0.02, where float32 has too few digits. At
    sigma = 0 the answer is the nearest image, or the mean of those equally near. L-8.

    Examples
    --------
    >>> MemorisingDenoiser([[-1.0], [1.0]]).denoise(torch.tensor([[0.1]]), 0.01)
    tensor([[1.]])
    """

    def __init__(self, points, chunk=1024):
        super().__init__()
        points = as_tensor("points", points, 2)
        if 0 in points.shape:
            raise ValueError(f"`points` is empty, shape {tuple(points.shape)}; pass (N, d)")
        centre = points.double().mean(dim=0).to(points.dtype)
        self.register_buffer("centre", centre)
        self.register_buffer("points", points - centre)
        # The table of weights holds at most 2^24 numbers.
        self.chunk = max(1, min(_check.positive_int("chunk", chunk), 2**24 // len(points)))

    @property
    def dimension(self):
        """Number of pixels d."""
        return self.points.shape[1]

    def _denoise(self, x, sigma):
        x = x - self.centre
        low = bool((sigma < _LOW_SIGMA).any())
        kind = torch.float64 if low else x.dtype
        queries, points, sigma = x.to(kind), self.points.to(kind), sigma.to(kind)[:, None]
        # The square of the query is the same for all points and drops out.
        score = queries @ points.T - 0.5 * points.square().sum(dim=1)
        score = score - score.amax(dim=1, keepdim=True)
        exponent = torch.where(score == 0, 0.0, score / sigma / sigma)
        return self.centre + exponent.softmax(dim=1).to(x.dtype) @ self.points


class MixtureDenoiser(ClosedForm):
    r"""The exact denoiser of a mixture of Gaussians.

    .. math:: D(x,\sigma)=\sum_kr_k(x)\,[\mu_k+\Sigma_k(\Sigma_k+\sigma^2)^{-1}(x-\mu_k)],
              \qquad r_k(x)\propto\pi_k\,\mathcal N(x;\mu_k,\Sigma_k+\sigma^2\mathbb 1)

    Implements eq. (1.18).

    Parameters
    ----------
    means : torch.Tensor or array_like, shape (K, d)
    eigenvalues : torch.Tensor or array_like, shape (K, d)
        Variances >= 0 of each component.
    eigenvectors : torch.Tensor or array_like, shape (K, d, d)
        Their directions, in columns.
    weights : torch.Tensor or array_like, shape (K,)
        Positive, of sum 1.

    Raises
    ------
    ValueError
        From `denoise`, if sigma is 0 and a component has a singular covariance.

    Notes
    -----
    L-15. Build it with `from_numpy`. The exponents lose digits in float32 as sigma falls;
    ``.double()`` keeps them.
    """

    def __init__(self, means, eigenvalues, eigenvectors, weights):
        super().__init__()
        means, values = as_tensor("means", means, 2), as_tensor("eigenvalues", eigenvalues, 2)
        vectors, weights = (
            as_tensor("eigenvectors", eigenvectors, 3),
            as_tensor("weights", weights, 1),
        )
        k, d = means.shape
        if (values.shape, vectors.shape, weights.shape) != ((k, d), (k, d, d), (k,)):
            raise ValueError(
                f"`eigenvalues`, `eigenvectors` and `weights` must have shapes {(k, d)}, "
                f"{(k, d, d)} and {(k,)}, got {tuple(values.shape)}, {tuple(vectors.shape)} "
                f"and {tuple(weights.shape)}"
            )
        if torch.any(values < 0) or torch.any(weights <= 0):
            raise ValueError("`eigenvalues` must be >= 0 and `weights` positive")
        if not math.isclose(float(weights.double().sum()), 1.0, abs_tol=1e-5):
            raise ValueError("`weights` must sum to 1; divide them by their sum")
        self.register_buffer("means", means)
        self.register_buffer("eigenvalues", values)
        self.register_buffer("eigenvectors", vectors)
        self.register_buffer("log_weights", weights.log())
        self.chunk = max(1, 2**22 // (k * d))

    @classmethod
    def from_numpy(cls, denoiser, *, dtype=torch.float32):
        """Translate a `lindiff.denoisers.GaussianMixtureDenoiser`.

        Parameters
        ----------
        denoiser : lindiff.denoisers.GaussianMixtureDenoiser
        dtype : torch.dtype
        """
        parts = (denoiser.means, denoiser._values, denoiser._vectors, denoiser.weights)
        return cls(*(torch.tensor(part, dtype=dtype) for part in parts))

    @property
    def dimension(self):
        """Number of pixels d."""
        return self.means.shape[1]

    def _denoise(self, x, sigma):
        total = self.eigenvalues + sigma[:, None, None].square()
        if bool((total == 0).any()):
            raise ValueError("`sigma` must be positive: a component has a singular covariance")
        away = (x[:, None, :] - self.means).transpose(0, 1)
        coefficients = (away @ self.eigenvectors).transpose(0, 1)
        distance = (coefficients.square() / total + total.log()).sum(dim=2)
        share = (self.log_weights - 0.5 * distance).softmax(dim=1)
        shrunk = (share[..., None] * coefficients * self.eigenvalues / total).transpose(0, 1)
        back = shrunk @ self.eigenvectors.transpose(1, 2)
        return share @ self.means + back.sum(dim=0)
