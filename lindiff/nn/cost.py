"""Size and price of a network."""

import copy

import torch
from torch.utils.flop_counter import FlopCounterMode

from lindiff import _check

__all__ = ["n_flops", "n_parameters"]


def n_parameters(module):
    """Return the number of trainable parameters.

    Examples
    --------
    >>> n_parameters(torch.nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def n_flops(module, image_size):
    r"""Return the floating point operations of one image's forward pass.

    A multiplication with its addition counts as two. Only convolutions and matrix products
    count; a training step costs about three times as much.

    Parameters
    ----------
    module : torch.nn.Module
        Called with images (1, 1, image_size, image_size) and one noise level or label.
    image_size : int

    Returns
    -------
    int

    Examples
    --------
    >>> from lindiff.nn.unet import UNet
    >>> round(n_flops(UNet(16), 32) / 1e9, 3)
    0.121
    """
    size = _check.positive_int("image_size", image_size)
    # Shapes suffice: on the "meta" device nothing is computed.
    shadow = copy.deepcopy(module).to("meta")
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        shadow(torch.ones(1, 1, size, size, device="meta"), torch.ones(1, device="meta"))
    return counter.get_total_flops()
