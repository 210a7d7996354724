"""Affine denoisers in PyTorch."""

import torch

from lindiff.nn._closed_form import ClosedForm, as_tensor
from lindiff.nn._points import full_precision, levels


class GaussianDenoiser(ClosedForm):
    r"""The best affine denoiser of data with given mean and covariance.

    .. math:: D(x,\sigma)=\mu+U\,\mathrm{diag}\Big(\frac{\lambda_i}{\lambda_i+\sigma^2}\Big)
              U^\top(x-\mu)

    Implements eq. (1.10).

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
            as_tensor(*pair, ndim)
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
        pixels = as_tensor("pixels", pixels, 2)
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
        like = self.eigenvalues
        return self._gains(torch.as_tensor(levels(sigma), dtype=like.dtype, device=like.device))

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
        return self.mean + (self._gains(sigma) * coefficients) @ self.eigenvectors.T

    def _gains(self, sigma):
        total = self.eigenvalues + sigma[..., None].square()
        return torch.where(total > 0, self.eigenvalues / total, 0.0)


class LinearDenoiser(ClosedForm):
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
        weight, bias = as_tensor("weight", weight, 2), as_tensor("bias", bias, 1)
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
