"""Images that live on the device that trains on them."""

import hashlib
from functools import cached_property

import numpy as np
import torch

# Standardised or Gaussian pixels are fine, grey levels up to 255 are not.
REACH = 20.0


def in_scale(name, pixels):
    """Refuse floats that reach far beyond [-1, 1]."""
    reach = float(pixels.abs().max())
    if reach > REACH:
        raise ValueError(
            f"`{name}` reaches {reach:g}, far beyond [-1, 1]: scale it by pixels / 127.5 - 1, or "
            "for 16 bits by pixels / 32767.5 - 1"
        )


class DeviceImages:
    """Grey square images on one device.

    Parameters
    ----------
    pixels : array_like or torch.Tensor, shape (n, size, size)
        uint8, for which 0 and 255 stand for -1 and 1, or floats in [-1, 1] or near it, which
        are used as they are and kept in float32.

    Raises
    ------
    TypeError
        If the pixels are neither uint8 nor floats, or some are masked.
    ValueError
        If there are no images, they are not square, some are not finite, floats reach beyond
        20, or no uint8 is above 1.

    Examples
    --------
    >>> import numpy as np
    >>> images = DeviceImages(np.full((2, 3, 3), 255, np.uint8))
    >>> images.flat().shape, images.take([1]).shape, images.second_moment
    (torch.Size([2, 9]), torch.Size([1, 1, 3, 3]), 1.0)
    """

    def __init__(self, pixels):
        if not isinstance(pixels, torch.Tensor):
            pixels = _as_tensor(pixels)
        whole = pixels.dtype == torch.uint8
        if not (whole or pixels.is_floating_point()) or pixels.layout != torch.strided:
            raise TypeError(
                f"`pixels` must be uint8 or floats in a dense array, got {pixels.dtype}, "
                f"{pixels.layout}; scale other integers to [-1, 1] by 2 * pixels / white - 1"
            )
        pixels = pixels.detach() if whole else pixels.detach().float()
        if pixels.ndim != 3 or pixels.shape[1] != pixels.shape[2] or pixels.numel() == 0:
            raise ValueError(
                f"`pixels` must have shape (n, size, size), got {tuple(pixels.shape)}: grey squares"
            )
        if not whole:
            if not torch.isfinite(pixels).all():
                raise ValueError("`pixels` has NaN or infinite entries; remove them first")
            in_scale("pixels", pixels)
        elif int(pixels.max()) == 1:
            raise ValueError("`pixels` are 0 and 1 in uint8, where white is 255; pass 255 * pixels")
        self.pixels = pixels.contiguous()

    def __len__(self):
        return self.n

    @property
    def n(self):
        """Number of images."""
        return self.pixels.shape[0]

    @property
    def size(self):
        """Height and width of an image."""
        return self.pixels.shape[1]

    @property
    def dimension(self):
        """Number of pixels of an image."""
        return self.size**2

    @property
    def device(self):
        """Where the images are."""
        return self.pixels.device

    def to(self, device):
        """Return the images on another device, or themselves if they are there."""
        moved = self.pixels.to(device)
        return self if moved is self.pixels else DeviceImages(moved)

    def take(self, indices):
        """Return some images as float32 in [-1, 1], shape (b, 1, size, size).

        An index tensor on the device is used without waiting for the device.
        """
        indices = torch.as_tensor(indices, dtype=torch.long, device=self.device)
        return _unit(self.pixels.index_select(0, indices)).unsqueeze(1)

    def flat(self, indices=None):
        """Return all or some images as rows of float32 in [-1, 1], shape (n, dimension)."""
        if indices is None:
            return _unit(self.pixels).reshape(self.n, -1)
        return self.take(indices).reshape(-1, self.dimension)

    @cached_property
    def _moments(self):
        """Mean and mean square of a pixel, exact for uint8."""
        if self.pixels.dtype == torch.uint8:
            counts = torch.bincount(self.pixels.reshape(-1).long(), minlength=256).double().cpu()
            levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
            weights = counts / counts.sum()
            return float(weights @ levels), float(weights @ levels.square())
        pixels = self.pixels.double()
        return float(pixels.mean()), float(pixels.square().mean())

    @property
    def second_moment(self):
        """Mean square of a pixel."""
        return self._moments[1]

    @property
    def std(self):
        """Standard deviation of a pixel, over all pixels of all images."""
        mean, square = self._moments
        return max(square - mean * mean, 0.0) ** 0.5

    @cached_property
    def fingerprint(self):
        """SHA-256 of the type, the shape and the pixels, in hexadecimal digits."""
        array = self.pixels.cpu().numpy()
        head = f"{array.dtype.newbyteorder('<').str} {array.shape}"
        return hashlib.sha256(head.encode() + array.tobytes()).hexdigest()


def _as_tensor(pixels):
    if np.ma.is_masked(pixels):
        raise TypeError("`pixels` has masked entries; fill them first")
    try:
        pixels = np.array(pixels)
        # Other precisions and orders of bytes are unknown to PyTorch.
        return torch.from_numpy(pixels.astype(np.float32) if pixels.dtype.kind == "f" else pixels)
    except ValueError as error:
        raise ValueError("`pixels` has images of several sizes; pass (n, size, size)") from error
    except TypeError as error:
        raise TypeError(f"`pixels` must be uint8 or floats, got {pixels.dtype}") from error


def _unit(pixels):
    return pixels.float().div_(127.5).sub_(1) if pixels.dtype == torch.uint8 else pixels
