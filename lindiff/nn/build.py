"""Networks by name."""

import re

import torch

from lindiff import _check
from lindiff.nn.affine import AffineNet
from lindiff.nn.mlp import ResidualMLP
from lindiff.nn.preconditioning import Preconditioned
from lindiff.nn.unet import UNet

__all__ = ["build"]

_KNOWN = '"unet-C" (base width), "mlp-H" (width), "affine", "affine-K" (noise levels)'


def build(arch, *, size, sigma_data, seed, kind="edm"):
    """Return a new denoiser; its weights depend on `seed` alone.

    Parameters
    ----------
    arch : str
        "unet-16": `UNet` of base width 16. "mlp-384": `ResidualMLP` of width 384.
        "affine" and "affine-8": `AffineNet` with one and with eight noise levels.
    size : int
        Side of the images; divisible by 4 for a U-Net.
    sigma_data : float
        Standard deviation of the pixels.
    seed : int
        The global random state is left as it was.
    kind : {"edm", "noise", "clean"}

    Returns
    -------
    Preconditioned
        On the CPU, in float32.

    Raises
    ------
    ValueError
        If `arch` is unknown or does not fit `size`.

    Examples
    --------
    >>> build("unet-8", size=16, sigma_data=0.5, seed=0).denoise([[1.0] * 256], 0.5)[0, :2]
    array([0.5, 0.5])
    """
    size = _check.positive_int("size", size)
    found = re.fullmatch(r"(unet|mlp)-([1-9]\d*)|(affine)(?:-([1-9]\d*))?", str(arch))
    if found is None:
        raise ValueError(f"`arch` {arch!r} is unknown; the known ones are {_KNOWN}")
    name, number = found[1] or found[3], int(found[2] or found[4] or 1)
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        if name == "unet":
            network = UNet(number)
            if size % network.factor:
                raise ValueError(f"`size` must be divisible by {network.factor}, got {size}")
        elif name == "mlp":
            network = ResidualMLP(size, number)
        else:
            network = AffineNet(size, number)
    return Preconditioned(network, sigma_data, kind=kind, size=size)
