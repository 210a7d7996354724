"""The U-Net of Halder's network experiment, written from its description.

Halder 2024, public code of the second version: three max-pools, widths 64-128-256-256, one
group per normalisation, self-attention with four heads at the two coarsest levels and once on
the way up. What the description leaves open (two bottleneck blocks, residual first half of a
level, aligned corners of the interpolation) follows the usual form of this network.
"""

import math

import torch
from torch import nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention

__all__ = ["HalderUNet", "time_code"]

HEADS = 4


def time_code(times, size):
    """Return sines and cosines of integer times, shape (B, size), at frequencies 1 to 1e-4."""
    rates = torch.exp(-math.log(1e4) * torch.arange(0, size, 2, device=times.device) / size)
    angles = times.to(rates.dtype)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class _DoubleConv(nn.Module):
    """Two 3x3 convolutions without bias, each normalised over all channels."""

    def __init__(self, inside, outside, middle=None, *, residual=False):
        super().__init__()
        middle = middle or outside
        self.residual = residual
        self.layers = nn.Sequential(
            nn.Conv2d(inside, middle, 3, padding=1, bias=False),
            nn.GroupNorm(1, middle),
            nn.GELU(),
            nn.Conv2d(middle, outside, 3, padding=1, bias=False),
            nn.GroupNorm(1, outside),
        )

    def forward(self, x):
        return gelu(x + self.layers(x)) if self.residual else self.layers(x)


class _Level(nn.Module):
    """Two double convolutions, then the projected time code is added to every pixel."""

    def __init__(self, inside, outside, code, middle=None):
        super().__init__()
        self.same = _DoubleConv(inside, inside, residual=True)
        self.change = _DoubleConv(inside, outside, middle)
        self.time = nn.Linear(code, outside)

    def forward(self, x, code):
        return self.change(self.same(x)) + self.time(nn.functional.silu(code))[:, :, None, None]


class _Attention(nn.Module):
    """Self-attention between pixels and a two-layer network for each pixel, both residual."""

    def __init__(self, width):
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.inputs = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.pixelwise = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )

    def forward(self, x):
        pixels = x.flatten(2).transpose(1, 2)
        parts = self.inputs(self.before(pixels)).chunk(3, dim=-1)
        query, key, value = (p.unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in parts)
        mixed = scaled_dot_product_attention(query, key, value)
        pixels = pixels + self.output(mixed.transpose(1, 2).flatten(2))
        pixels = pixels + self.pixelwise(pixels)
        return pixels.transpose(1, 2).reshape(x.shape)


class HalderUNet(nn.Module):
    """Predictor of the noise in grey images.

    Parameters
    ----------
    widths : tuple of int
        Channels at the four resolutions, fine to coarse; (64, 128, 256, 256) in the paper.
        All but the first are divisible by 4, the number of heads.
    code : int
        Even size of the sinusoidal code of the time; 256 in the paper.

    Raises
    ------
    ValueError
        If a width or `code` does not fit.

    Notes
    -----
    Input (B, 1, S, S) with S divisible by 8, and integer times (B,); the output has the shape
    of the input. Halder 2024, ledger section A2.
    """

    def __init__(self, widths=(64, 128, 256, 256), code=256):
        super().__init__()
        if len(widths) != 4 or min(widths) < 1 or any(w % HEADS for w in widths[1:]):
            raise ValueError(
                f"`widths` must be four positive numbers, the last three divisible by {HEADS}, "
                f"got {widths}"
            )
        if code < 2 or code % 2:
            raise ValueError(f"`code` must be even and positive, got {code}")
        a, b, c, d = widths
        self.code = code
        self.first = _DoubleConv(1, a)
        self.down = nn.ModuleList([_Level(i, o, code) for i, o in ((a, b), (b, c), (c, d))])
        self.attend = nn.ModuleList([_Attention(w) for w in (c, d, b)])
        self.bottom = nn.Sequential(_DoubleConv(d, d), _DoubleConv(d, d))
        joined = ((d + c, b), (b + b, a), (a + a, a))
        self.up = nn.ModuleList([_Level(i, o, code, i // 2) for i, o in joined])
        self.last = nn.Conv2d(a, 1, 1)

    def forward(self, x, times):
        if x.ndim != 4 or x.shape[1] != 1 or any(side % 8 for side in x.shape[2:]):
            raise ValueError(f"images must have shape (B, 1, S, S), 8 divides S, got {x.shape}")
        code = time_code(times, self.code)
        kept = [self.first(x)]
        for level, attend in zip(self.down, (None, *self.attend[:2]), strict=True):
            h = level(nn.functional.max_pool2d(kept[-1], 2), code)
            kept.append(attend(h) if attend else h)
        h = self.bottom(kept.pop())
        for level, attend in zip(self.up, (self.attend[2], None, None), strict=True):
            h = interpolate(h, scale_factor=2, mode="bilinear", align_corners=True)
            h = level(torch.cat([kept.pop(), h], dim=1), code)
            h = attend(h) if attend else h
        return self.last(h)
