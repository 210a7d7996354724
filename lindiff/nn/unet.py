r"""A small U-Net for grey images, written to be read from top to bottom.

The layout is the one of Ho, Jain and Abbeel 2020 (arXiv 2006.11239) without attention and
dropout.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from lindiff import _check
from lindiff.nn.preconditioning import sigma_embedding

__all__ = ["UNet"]

N_FEATURES = 16


def group_norm(channels):
    """Normalise over at most eight groups of channels, if possible of four or more each."""
    # A group of one channel would subtract the noise embedding, which is constant in space.
    return nn.GroupNorm(math.gcd(8, max(1, channels // 4), channels), channels)


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut; the noise embedding is added between them."""

    def __init__(self, channels_in, channels_out, n_embedding):
        super().__init__()
        self.norm1 = group_norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.embed = nn.Linear(n_embedding, channels_out)
        self.norm2 = group_norm(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x, embedding):
        h = self.conv1(functional.silu(self.norm1(x)))
        h = h + self.embed(embedding)[:, :, None, None]
        h = self.conv2(functional.silu(self.norm2(h)))
        return self.shortcut(x) + h


class Upsample(nn.Module):
    """Double the sides: repeat each pixel four times, then smooth with a convolution."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class UNet(nn.Module):
    r"""The raw network :math:`F`: from a scaled noisy image and its noise label to an image.

    Way down: one residual block for each level, then a strided convolution. Middle: two
    blocks. Way up: two blocks for each level, then `Upsample`. Every block on the way up
    reads one map of the way down beside its input, last stored first: the output of the
    first convolution, of each block and of each strided convolution.

    Parameters
    ----------
    base_width : int
        Channels :math:`C` of the finest level, >= 1; a multiple of 8 is fastest.
    multipliers : sequence of int
        Channels of the levels in units of `base_width`.

    Notes
    -----
    The embedding has 16 sines and cosines of the label and two layers of width
    :math:`4C`. The last convolution starts at 0, so the first output is 0.

    Parameters for C = 8, 16, 32, 48, 64: 66 809, 263 025, 1 043 681, 2 341 969, 4 157 889.
    GFLOP for a 32 x 32 image forward: 0.031, 0.121, 0.485, 1.09, 1.94, a multiplication
    with its addition counted as two; a quarter of that at 16 x 16.

    Examples
    --------
    >>> net = UNet(8)
    >>> sum(p.numel() for p in net.parameters())
    66809
    >>> net(torch.zeros(2, 1, 16, 16), torch.zeros(2)).shape
    torch.Size([2, 1, 16, 16])
    """

    def __init__(self, base_width, *, multipliers=(1, 2, 2)):
        super().__init__()
        base = _check.positive_int("base_width", base_width)
        widths = [base * _check.positive_int("multipliers", m) for m in multipliers]
        if not widths:
            raise ValueError("`multipliers` is empty; pass one number for each level")
        n_embedding = 4 * base
        self.embedding = nn.Sequential(
            nn.Linear(N_FEATURES, n_embedding),
            nn.SiLU(),
            nn.Linear(n_embedding, n_embedding),
            nn.SiLU(),
        )
        self.conv_in = nn.Conv2d(1, base, 3, padding=1)

        self.down = nn.ModuleList()
        width, stored = base, [base]
        for level, wider in enumerate(widths):
            self.down.append(ResidualBlock(width, wider, n_embedding))
            width = wider
            stored.append(width)
            if level < len(widths) - 1:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                stored.append(width)

        self.middle = nn.ModuleList(ResidualBlock(width, width, n_embedding) for _ in range(2))

        self.up = nn.ModuleList()
        for level, narrower in reversed(list(enumerate(widths))):
            for _ in range(2):
                self.up.append(ResidualBlock(width + stored.pop(), narrower, n_embedding))
                width = narrower
            if level > 0:
                self.up.append(Upsample(width))

        self.norm_out = group_norm(width)
        self.conv_out = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)
        self.factor = 2 ** (len(widths) - 1)

    def forward(self, x, noise_label):
        """Return images of the shape of `x`.

        Parameters
        ----------
        x : torch.Tensor, shape (n, 1, height, width)
            Sides divisible by 4 (by two for each strided convolution).
        noise_label : torch.Tensor, shape (n,)
            A quarter of the logarithm of sigma.
        """
        if x.ndim != 4 or x.shape[1] != 1:
            raise ValueError(f"`x` must have shape (n, 1, height, width), got {tuple(x.shape)}")
        if x.shape[2] % self.factor or x.shape[3] % self.factor:
            raise ValueError(
                f"the sides of `x` must be divisible by {self.factor}, got "
                f"{x.shape[2]} x {x.shape[3]}; pad the images"
            )
        embedding = self.embedding(sigma_embedding(noise_label, N_FEATURES))

        h = self.conv_in(x)
        stored = [h]
        for layer in self.down:
            h = layer(h, embedding) if isinstance(layer, ResidualBlock) else layer(h)
            stored.append(h)
        for block in self.middle:
            h = block(h, embedding)
        for layer in self.up:
            if isinstance(layer, ResidualBlock):
                h = layer(torch.cat([h, stored.pop()], dim=1), embedding)
            else:
                h = layer(h)
        return self.conv_out(functional.silu(self.norm_out(h)))
