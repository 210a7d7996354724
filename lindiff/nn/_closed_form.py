"""What the closed forms share: the checked call and the checked arguments."""

import torch
from torch import nn

from lindiff import _check
from lindiff.nn._points import full_precision, in_chunks


class ClosedForm(nn.Module):
    """A denoiser that is a formula: subclasses give `dimension`, `chunk` and `_denoise`."""

    chunk = 4096

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


def as_tensor(name, value, ndim):
    """Return a checked floating point tensor; arrays and lists become the default type."""
    if not isinstance(value, torch.Tensor):
        value = torch.from_numpy(_check.as_array(name, value).copy())
        value = value.to(torch.get_default_dtype())
    if value.ndim != ndim or not value.is_floating_point():
        raise ValueError(
            f"`{name}` must be floating point with {ndim} axes, got {value.dtype} of shape "
            f"{tuple(value.shape)}"
        )
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"`{name}` has NaN or infinite entries; remove them first")
    return value.detach()
