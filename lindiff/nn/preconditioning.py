r"""From a raw network to a denoiser: input and output scaled with the noise level.

Source: Karras, Aittala, Aila and Laine 2022 (arXiv 2206.00364), Table 1; ledger id L-7.
"""

import math

import torch
from torch import nn

from lindiff import _check, schedules
from lindiff.nn._points import full_precision, in_chunks, levels, points, size_of

__all__ = ["Preconditioned", "sigma_embedding"]

KINDS = ("edm", "noise", "clean")
_LOWEST_LABEL = 1e-4
_FREQUENCIES = (0.5, 16.0)


def sigma_embedding(c_noise, dim):
    r"""Return sines and cosines of the noise label.

    .. math:: \big(\cos\omega_jc,\ \sin\omega_jc\big),\qquad \omega_j\ \text{geometric from
              }\tfrac12\text{ to }16

    The label :math:`c=\tfrac14\ln\sigma` spans about 2.7 over the levels 0.002 to 80, so
    the slowest sine is monotone and the fastest wave turns once while sigma grows fivefold.

    Parameters
    ----------
    c_noise : torch.Tensor, shape (n,)
    dim : int
        Number of features, even and >= 2.

    Returns
    -------
    torch.Tensor, shape (n, dim)

    Examples
    --------
    >>> sigma_embedding(torch.zeros(1), 4)
    tensor([[1., 1., 0., 0.]])
    """
    if _check.positive_int("dim", dim) % 2:
        raise ValueError(f"`dim` must be even, half sines and half cosines; got {dim}")
    low, high = (math.log(bound) for bound in _FREQUENCIES)
    frequencies = torch.linspace(low, high, dim // 2, device=c_noise.device).exp()
    angles = c_noise.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class Preconditioned(nn.Module):
    r"""A denoiser made of a raw network :math:`F`.

    .. math:: D(x,\sigma)=c_{skip}x+c_{out}F(c_{in}x,\ \tfrac14\ln\sigma),\qquad
              c_{in}=\frac1{\sqrt{\sigma^2+s^2}}

    With ``kind="edm"``, :math:`c_{skip}=s^2/(\sigma^2+s^2)` and
    :math:`c_{out}=\sigma s/\sqrt{\sigma^2+s^2}`. With ``kind="noise"`` the network
    estimates the noise: :math:`c_{skip}=1`, :math:`c_{out}=-\sigma`. With
    ``kind="clean"`` it estimates the clean image: :math:`c_{skip}=0`, :math:`c_{out}=1`.

    Parameters
    ----------
    network : torch.nn.Module
        ``network(images, noise_label)``, such as `lindiff.nn.unet.UNet`.
    sigma_data : float
        Standard deviation :math:`s>0` of the pixels.
    kind : {"edm", "noise", "clean"}
    size : int, optional
        Side of the images. `denoise` then refuses another number of pixels.

    Raises
    ------
    ValueError
        If `sigma_data` is not positive or `kind` is unknown.

    Notes
    -----
    The skip path and the sum are float32 under autocast too: in bfloat16 the rounding of
    :math:`c_{skip}x` alone would exceed the noise at sigma = 0.002. Karras et al. 2022,
    Table 1; L-7.
    """

    def __init__(self, network, sigma_data, *, kind="edm", size=None):
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(KINDS)}; got {kind!r}")
        self.network = network
        self.sigma_data = float(_check.positive("sigma_data", sigma_data))
        self.kind = kind
        self.size = size

    def coefficients(self, sigma):
        r"""Return :math:`c_{skip}`, :math:`c_{out}` and :math:`c_{in}` of a tensor of levels."""
        total = sigma.square() + self.sigma_data**2
        c_in = total.rsqrt()
        if self.kind == "edm":
            return self.sigma_data**2 / total, sigma * self.sigma_data * c_in, c_in
        if self.kind == "noise":
            return torch.ones_like(sigma), -sigma, c_in
        return torch.zeros_like(sigma), torch.ones_like(sigma), c_in

    def weight(self, sigma):
        r"""Return the weight of the squared error that asks as much of F at every level.

        .. math:: w(\sigma)=1/c_{out}^2,\qquad
                  \text{"edm": }\frac{\sigma^2+s^2}{(\sigma s)^2}

        Parameters
        ----------
        sigma : torch.Tensor
            Levels > 0.
        """
        return self.coefficients(sigma)[1].square().reciprocal()

    def forward(self, x, sigma):
        """Return the estimate of the clean images in float32.

        Parameters
        ----------
        x : torch.Tensor, shape (n, 1, size, size)
        sigma : float or torch.Tensor, shape (n,)
            Levels >= 0. A tensor is not checked, so that the call can be captured in a
            CUDA graph; `denoise` checks. The noise label is that of at least 1e-4.
        """
        if not isinstance(sigma, torch.Tensor):
            sigma = torch.full((), _check.non_negative("sigma", sigma), device=x.device)
        x, sigma = x.float(), sigma.float().expand(x.shape[0])
        c_skip, c_out, c_in = (c[:, None, None, None] for c in self.coefficients(sigma))
        label = sigma.clamp_min(_LOWEST_LABEL).log() / 4
        return c_skip * x + c_out * self.network(c_in * x, label).float()

    @torch.no_grad()
    def denoise(self, x, sigma):
        """Return the estimate of flat clean images, without gradients and in full float32.

        Parameters
        ----------
        x : torch.Tensor or array_like, shape (n, d)
            Points y + sigma z, with d = size * size pixels.
        sigma : float or array_like, shape (n,)
            Noise levels >= 0.

        Returns
        -------
        torch.Tensor or numpy.ndarray, shape (n, d)
            A tensor for a tensor, a float64 array for an array.

        Raises
        ------
        ValueError
            If the number of pixels is wrong, or `sigma` is negative or NaN.
        """
        device = next(self.parameters()).device
        size = self.size or size_of(points(x).shape[-1])
        pixels = 2**20 if device.type == "cuda" else 2**17

        def flat(part, level):
            return self(part.reshape(-1, 1, size, size), level).reshape(part.shape)

        with full_precision(device):
            return in_chunks(
                flat,
                x,
                sigma,
                dimension=size * size,
                device=device,
                dtype=torch.float32,
                chunk=max(1, pixels // size**2),
            )

    def predict_noise(self, x, alpha_bar):
        r"""Return the noise seen in variance-preserving points.

        .. math:: \epsilon(x)=\frac{x/\sqrt{\bar\alpha}-D(x/\sqrt{\bar\alpha},\sigma)}{\sigma},
                  \qquad\sigma=\sqrt{(1-\bar\alpha)/\bar\alpha}

        Implements eq. (1.8).

        Parameters
        ----------
        x : torch.Tensor or array_like, shape (n, d)
            Points :math:`\sqrt{\bar\alpha}\,y+\sqrt{1-\bar\alpha}\,\epsilon`.
        alpha_bar : float
            In (0, 1).
        """
        sigma = schedules.alpha_bar_to_sigma(alpha_bar)
        if not isinstance(levels(sigma), float) or sigma == 0:
            raise ValueError("`alpha_bar` must be one number below 1; a clean point has no noise")
        x = x if isinstance(x, torch.Tensor) else _check.as_array("x", x)
        x = x * math.hypot(1.0, sigma)
        return (x - self.denoise(x, sigma)) / sigma
