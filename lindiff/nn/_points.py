"""Checks, chunks and full precision: what all denoisers of lindiff.nn share."""

import contextlib
import math

import torch

from lindiff import _check


def levels(sigma):
    """Return checked noise levels (a float or a tensor), all finite and >= 0."""
    if not isinstance(sigma, torch.Tensor):
        sigma = _check.non_negative("sigma", sigma)
        return sigma if isinstance(sigma, float) else torch.tensor(sigma)
    if not bool(torch.all(torch.isfinite(sigma) & (sigma >= 0))):
        raise ValueError("`sigma` must be finite and >= 0; it is the standard deviation of noise")
    return sigma


def points(x, dimension=None):
    """Return checked points (..., d) as a tensor."""
    if not isinstance(x, torch.Tensor):
        x = torch.from_numpy(_check.as_array("x", x).copy())
    if not x.is_floating_point() or x.layout != torch.strided:
        raise TypeError(
            f"`x` must hold floating point numbers in a dense tensor, got {x.dtype}, {x.layout}; "
            "scale to [-1, 1]"
        )
    if x.ndim == 0 or (dimension is not None and x.shape[-1] != dimension):
        flatten = "; flatten images with .reshape(n, -1)" if x.ndim > 2 else ""
        raise ValueError(
            f"`x` must have shape (n, {dimension or 'd'}), got {tuple(x.shape)}{flatten}"
        )
    return x


def in_chunks(function, x, sigma, *, dimension, device, dtype, chunk):
    """Apply function(points (m, d), levels (m,)) to pieces of `x`, shape and kind kept.

    The function sees tensors of `dtype` on `device`. A NumPy array gives a float64 array
    back, a tensor a tensor of its own type and device.
    """
    is_array = not isinstance(x, torch.Tensor)
    x, sigma = points(x, dimension), levels(sigma)
    level = torch.as_tensor(sigma, dtype=torch.float64, device=x.device)
    try:
        level = level.expand(x.shape[:-1])
    except RuntimeError as error:
        raise ValueError(
            f"`sigma` of shape {tuple(level.shape)} does not fit points of shape "
            f"{tuple(x.shape)}; pass one number or one for each point"
        ) from error
    if x.numel() == 0:
        return x.numpy() if is_array else x
    flat, level = x.reshape(-1, x.shape[-1]), level.reshape(-1)
    pieces = [
        function(part.to(device, dtype), at.to(device, dtype)).to(x.device, x.dtype)
        for part, at in zip(flat.split(chunk), level.split(chunk), strict=True)
    ]
    out = torch.cat(pieces).reshape(x.shape)
    return out.numpy() if is_array else out


def size_of(dimension):
    """Return the side of a square image with `dimension` pixels."""
    size = math.isqrt(dimension)
    if size * size != dimension:
        raise ValueError(f"`x` has {dimension} pixels, which is no square image; pass size * size")
    return size


@contextlib.contextmanager
def full_precision(device):
    """Turn autocast and TF32 off: closed forms and evaluation need all digits of float32."""
    matmul, conv = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(torch.device(device).type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = conv
