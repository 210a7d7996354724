"""A network that is affine in the image: the trainable form of a linear denoiser."""

import math

import torch
from torch import nn

from lindiff import _check

__all__ = ["AffineNet"]

_LABELS = (math.log(0.002) / 4, math.log(80.0) / 4)


class AffineNet(nn.Module):
    r"""A raw network :math:`F` with a weight matrix and a bias at each of a few noise levels.

    .. math:: F(x,c)=\sum_kh_k(c)\,(W_kx+b_k)

    The hat functions :math:`h_k` interpolate linearly between `n_levels` labels that are
    equally spaced from sigma = 0.002 to 80. With one level the label is ignored.

    Parameters
    ----------
    size : int
        Side of the images.
    n_levels : int

    Notes
    -----
    All weights start at 0. The denoiser made of it (`Preconditioned`) is affine in the
    image at every sigma, but with one level not the best affine one at every sigma.

    Examples
    --------
    >>> AffineNet(8)(torch.ones(2, 1, 8, 8), torch.zeros(2)).abs().max().item()
    0.0
    """

    def __init__(self, size, n_levels=1):
        super().__init__()
        self.size = _check.positive_int("size", size)
        n_levels = _check.positive_int("n_levels", n_levels)
        self.weights = nn.Parameter(torch.zeros(n_levels, size**2, size**2))
        self.biases = nn.Parameter(torch.zeros(n_levels, size**2))
        self.register_buffer("positions", torch.arange(n_levels, dtype=torch.float32))

    def forward(self, x, noise_label):
        """Return images of the shape of `x`, (n, 1, size, size); labels of shape (n,)."""
        if x.shape[1:] != (1, self.size, self.size):
            wanted = f"(n, 1, {self.size}, {self.size})"
            raise ValueError(f"`x` must have shape {wanted}, got {tuple(x.shape)}")
        low, high = _LABELS
        last = len(self.positions) - 1
        place = ((noise_label - low) / (high - low)).clamp(0, 1) * last
        hats = (1 - (place[:, None] - self.positions).abs()).clamp_min(0)
        each = torch.einsum("kij,nj->nki", self.weights, x.flatten(1)) + self.biases
        return torch.einsum("nk,nki->ni", hats.to(each.dtype), each).reshape(x.shape)
