r"""The denoisers of the theory as PyTorch modules: Gaussian, memorising, linear, mixture.

They follow ``.to(device)`` and compute in the floating type of the tensors they are made
of (arrays and lists become float32; ``.double()`` for float64), without autocast or TF32.
`lindiff.denoisers` has the same formulas in float64 NumPy. Source: Li, Dai and Qu
2024 (arXiv 2410.24060), L-8, L-9, L-15.
"""

import math

import torch
from torch import nn

from lindiff import _check
from lindiff.nn._points import full_precision, in_chunks, levels

__all__ = ["GaussianDenoiser", "LinearDenoiser", "MemorisingDenoiser", "MixtureDenoiser"]

_CHUNK = 4096
_LOW_SIGMA = 0.02


class _ClosedForm(nn.Module):
    """A denoiser that is a formula: subclasses give `dimension`, `chunk` and `_denoise`."""

    chunk = _CHUNK

    def denoise(self, x, sigma):
        """Return the estimate of the clean points.

        Parameters
        ----------
        x : torch.Tensor or array_like, shape (n, d)
            Points y + sigma z.
        sigma : float or array_like, shape (n,)
            Noise levels >= 0.

        Returns
        -------
        torch.Tensor or numpy.ndarray, shape (n, d)
            A tensor of the type and device of `x`, a float64 array for an array.

        Raises
        ------
        ValueError
            If `x` has another dimension, or `sigma` is negative or NaN.
        """
        like = next(self.buffers())
        with full_precision(like.device):
            return in_chunks(
                self._denoise,
                x,
                sigma,
                dimension=self.dimension,
                device=like.device,
                dtype=like.dtype,
                chunk=self.chunk,
            )


class GaussianDenoiser(_ClosedForm):
    r"""The best affine denoiser of data with given mean and covariance.

    .. math:: D(x,\sigma)=\mu+U\,\mathrm{diag}\Big(\frac{\lambda_i}{\lambda_i+\sigma^2}\Big)
              U^\top(x-\mu)

    Implements eq. (1.7).

    Parameters
    ----------
    mean : torch.Tensor or array_like, shape (d,)
    eigenvalues : torch.Tensor or array_like, shape (k,), k <= d
        Variances >= 0; the other d - k directions have variance 0.
    eigenvectors : torch.Tensor or array_like, shape (d, k)
        Orthonormal columns.

    Raises
    ------
    ValueError
        If shapes disagree, a variance is negative, or the columns are not orthonormal.

    Notes
    -----
    L-9. `lindiff.denoisers.AffineDenoiser` in PyTorch.

    Examples
    --------
    >>> denoiser = GaussianDenoiser([0.0, 0.0], [3.0, 1.0], [[1.0, 0.0], [0.0, 1.0]])
    >>> denoiser.denoise(torch.tensor([[4.0, 4.0]]), 1.0)
    tensor([[3., 2.]])
    """

    def __init__(self, mean, eigenvalues, eigenvectors):
        super().__init__()
        mean, values, vectors = (
            _tensor(*pair, ndim)
            for pair, ndim in (
                (("mean", mean), 1),
                (("eigenvalues", eigenvalues), 1),
                (("eigenvectors", eigenvectors), 2),
            )
        )
        if vectors.shape != (len(mean), len(values)):
            raise ValueError(
                f"`eigenvectors` must have shape {(len(mean), len(values))} = (d, k), "
                f"got {tuple(vectors.shape)}"
            )
        if torch.any(values < 0):
            raise ValueError("`eigenvalues` has negative entries; variances must be >= 0")
        gram = vectors.double().T @ vectors.double()
        if not torch.allclose(gram, torch.eye(len(values)).to(gram), rtol=0, atol=1e-4):
            raise ValueError("`eigenvectors` must have orthonormal columns")
        self.register_buffer("mean", mean)
        self.register_buffer("eigenvalues", values)
        self.register_buffer("eigenvectors", vectors)

    @classmethod
    def from_images(cls, pixels):
        r"""Fit mean and covariance (1/N convention) to images.

        .. math:: \mu=\frac1N\sum_iy_i,\qquad
                  \Sigma=\frac1N\sum_i(y_i-\mu)(y_i-\mu)^\top

        Parameters
        ----------
        pixels : torch.Tensor or array_like, shape (N, d)
            Floating point. Tensors keep their type; the fit itself is in float64.

        Returns
        -------
        GaussianDenoiser
            Variances in decreasing order, on the device of `pixels`.
        """
        pixels = _tensor("pixels", pixels, 2)
        if 0 in pixels.shape:
            raise ValueError(f"`pixels` is empty, shape {tuple(pixels.shape)}; pass (N, d)")
        data = pixels.double()
        mean = data.mean(dim=0)
        data = data - mean
        values, vectors = torch.linalg.eigh(data.T @ data / len(data))
        found = (mean, values.clamp_min(0).flip(0), vectors.flip(1))
        return cls(*(part.to(pixels.dtype) for part in found))

    @property
    def dimension(self):
        """Number of pixels d."""
        return len(self.mean)

    def gains(self, sigma):
        r"""Return the factor of each direction, :math:`g_i=\lambda_i/(\lambda_i+\sigma^2)`.

        Parameters
        ----------
        sigma : float or array_like, shape (...)
            Noise levels >= 0. At 0, directions without variance have gain 0.

        Returns
        -------
        torch.Tensor, shape (..., k)
        """
        values = self.eigenvalues
        total = values + torch.as_tensor(levels(sigma)).to(values)[..., None].square()
        return torch.where(total > 0, values / total, 0.0)

    def at(self, sigma):
        r"""Return the denoiser at one level as `LinearDenoiser`.

        .. math:: W=U\,\mathrm{diag}(g)\,U^\top,\qquad b=(\mathbb 1-W)\mu

        Parameters
        ----------
        sigma : float
        """
        with full_precision(self.mean.device):
            weight = (self.eigenvectors * self.gains(sigma)) @ self.eigenvectors.T
            return LinearDenoiser(weight, self.mean - weight @ self.mean)

    def _denoise(self, x, sigma):
        coefficients = (x - self.mean) @ self.eigenvectors
        total = self.eigenvalues + sigma[:, None].square()
        gains = torch.where(total > 0, self.eigenvalues / total, 0.0)
        return self.mean + (gains * coefficients) @ self.eigenvectors.T


class LinearDenoiser(_ClosedForm):
    r"""An affine map, such as the linear distillation of a network at one noise level.

    .. math:: D(x,\sigma)=Wx+b\quad\text{at every }\sigma

    Parameters
    ----------
    weight : torch.Tensor or array_like, shape (d, d)
    bias : torch.Tensor or array_like, shape (d,)

    Notes
    -----
    `denoise` checks `sigma` and does not use it. L-40.

    Examples
    --------
    >>> LinearDenoiser([[2.0]], [1.0]).denoise(torch.tensor([[3.0]]), 0.5)
    tensor([[7.]])
    """

    def __init__(self, weight, bias):
        super().__init__()
        weight, bias = _tensor("weight", weight, 2), _tensor("bias", bias, 1)
        if weight.shape != (len(bias), len(bias)):
            raise ValueError(
                f"`weight` must have shape {(len(bias), len(bias))}, got {tuple(weight.shape)}"
            )
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    @property
    def dimension(self):
        """Number of pixels d."""
        return len(self.bias)

    def _denoise(self, x, sigma):
        return x @ self.weight.T + self.bias


class MemorisingDenoiser(_ClosedForm):
    r"""The best of all denoisers on a training set: it knows the images by heart.

    .. math:: D(x,\sigma)=\sum_iw_i(x)\,y_i,\qquad
              w=\mathrm{softmax}\Big(-\frac{\lVert x-y_i\rVert^2}{2\sigma^2}\Big)

    Implements eq. (1.12).

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
        points = _tensor("points", points, 2)
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


class MixtureDenoiser(_ClosedForm):
    r"""The exact denoiser of a mixture of Gaussians.

    .. math:: D(x,\sigma)=\sum_kr_k(x)\,[\mu_k+\Sigma_k(\Sigma_k+\sigma^2)^{-1}(x-\mu_k)],
              \qquad r_k(x)\propto\pi_k\,\mathcal N(x;\mu_k,\Sigma_k+\sigma^2\mathbb 1)

    Implements eq. (1.11).

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
        means, values = _tensor("means", means, 2), _tensor("eigenvalues", eigenvalues, 2)
        vectors, weights = _tensor("eigenvectors", eigenvectors, 3), _tensor("weights", weights, 1)
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


def _tensor(name, value, ndim):
    """Return a checked floating point tensor; arrays and lists become the default type."""
    if not isinstance(value, torch.Tensor):
        value = torch.tensor(_check.as_array(name, value), dtype=torch.get_default_dtype())
    if value.ndim != ndim or not value.is_floating_point():
        raise ValueError(
            f"`{name}` must be floating point with {ndim} axes, got {value.dtype} of shape "
            f"{tuple(value.shape)}"
        )
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"`{name}` has NaN or infinite entries; remove them first")
    return value.detach()
