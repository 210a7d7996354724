r"""Networks of other libraries as denoisers ``denoise(x, sigma)``.

No other library is imported: an adapter uses what its network can be called with.
Conventions: Karras et al. 2022 (networks of EDM and k-diffusion); Ho, Jain and Abbeel
2020, Salimans and Ho 2022 (diffusers).
"""

import math

import numpy as np
import torch

from lindiff import _check
from lindiff.nn._device import resolve_device
from lindiff.nn._points import full_precision, in_chunks, points

__all__ = ["from_diffusers", "from_edm", "from_function", "from_k_diffusion"]

_CHUNK_VALUES = 2**19
_PREDICTIONS = ("epsilon", "sample", "v_prediction")
_TIMESTEPS = ("interpolated", "nearest")


class AdaptedDenoiser:
    """What the functions of this module return: a function of images, called on flat points."""

    def __init__(self, function, image_shape, device):
        self.function = function
        self.image_shape = None if image_shape is None else _image_shape(image_shape)
        self.device = None if device is None else resolve_device(device)

    @torch.no_grad()
    def denoise(self, x, sigma):
        """Return the estimate of the clean points, without gradients and in float32.

        Parameters
        ----------
        x : torch.Tensor or array_like, shape (n, d)
            Points y + sigma z.
        sigma : float or array_like, shape (n,)
            Noise levels >= 0.

        Returns
        -------
        torch.Tensor or numpy.ndarray, shape (n, d)

        Raises
        ------
        ValueError
            If the number of pixels is wrong, the answer has another shape than the
            question, or a level is outside the range of the network.
        """
        x = points(x) if isinstance(x, torch.Tensor) else _check.as_array("x", x)
        shape = self.image_shape or x.shape[-1:]
        dimension, device = math.prod(shape), self.device or getattr(x, "device", "cpu")
        if x.ndim == 2 and x.shape[1] != dimension:
            raise ValueError(
                f"`x` has {x.shape[1]} pixels in a row, but `image_shape` {shape} has {dimension}"
            )

        def flat(part, level):
            out = self.function(part.reshape(-1, *shape), level)
            if not isinstance(out, torch.Tensor) or out.shape != (len(part), *shape):
                raise ValueError(
                    f"the network must return a tensor of shape {(len(part), *shape)}, got "
                    f"{tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__}"
                )
            return out.float().reshape(part.shape)

        with full_precision(device):
            return in_chunks(
                flat,
                x,
                sigma,
                dimension=dimension,
                device=device,
                dtype=torch.float32,
                chunk=max(1, _CHUNK_VALUES // max(1, dimension)),
            )


def from_function(f, image_shape=None, *, device=None):
    """Make a denoiser of a function.

    Parameters
    ----------
    f : callable
        ``f(x, sigma)`` with `x` float32 of shape (n, \\*image_shape), or (n, d) without
        an image shape, and `sigma` of shape (n,); returns the clean estimate.
    image_shape : tuple of int, optional
        (channels, height, width).
    device : optional
        Where `f` is called; by default where `x` is.

    Examples
    --------
    >>> from_function(lambda x, sigma: x / (1 + sigma[:, None] ** 2)).denoise([[2.0]], 1.0)
    array([[1.]])
    """
    if not callable(f):
        raise TypeError("`f` must be a function f(x, sigma)")
    return AdaptedDenoiser(f, image_shape, device)


def from_edm(net, image_shape, *, device=None, dtype=None):
    """Make a denoiser of a network of EDM, ``net(x, sigma)`` = D(x, sigma).

    Parameters
    ----------
    net : callable
        Takes images (n, channels, height, width) in [-1, 1] and levels (n,). A
        conditional network must be wrapped with its class first.
    image_shape : tuple of int
        (channels, height, width).
    device : optional
        By default that of the parameters of `net`.
    dtype : torch.dtype, optional
        Precision of the points and levels that `net` gets, float32 by default. A network in half
        precision that does not convert them itself needs its own; small levels lose digits.

    Raises
    ------
    ValueError
        If `net` is in training mode.

    Notes
    -----
    `lindiff.nn.preconditioning.Preconditioned` has the same call. Karras et al. 2022.
    """
    if not callable(net):
        raise TypeError("`net` must be callable as net(x, sigma)")

    def clean(x, sigma):
        return net(x.to(dtype), sigma.to(dtype))

    function = net if dtype is None else clean
    return AdaptedDenoiser(function, image_shape, device or _device_of(net))


def from_k_diffusion(denoiser, image_shape, *, device=None, dtype=None):
    """Make a denoiser of a k-diffusion denoiser, ``denoiser(x, sigma)`` = D(x, sigma).

    Parameters and errors are those of `from_edm`: both libraries share the call.
    """
    return from_edm(denoiser, image_shape, device=device, dtype=dtype)


def from_diffusers(model, scheduler, image_shape, *, timesteps="interpolated", device=None):
    r"""Make a denoiser of a diffusers model and the scheduler it was trained with.

    .. math:: x_t=\sqrt{\bar\alpha}\,x,\qquad\bar\alpha=\frac1{1+\sigma^2},\qquad
              D=\begin{cases}x-\sigma\,\epsilon&\text{epsilon}\\
              y&\text{sample}\\
              \sqrt{\bar\alpha}\,x_t-\sqrt{1-\bar\alpha}\,v&\text{v\_prediction}\end{cases}

    Parameters
    ----------
    model : callable
        ``model(x_t, t)`` returning a tensor, a tuple, or an object with ``.sample``, such
        as ``UNet2DModel``. In evaluation mode.
    scheduler
        Has ``alphas_cumprod`` and ``config.prediction_type``, such as ``DDPMScheduler``.
        Clipping and thresholding of the scheduler are not applied.
    image_shape : tuple of int
        (channels, height, width).
    timesteps : {"interpolated", "nearest"}
        The timestep that tells the model the noise level. "interpolated": fractional,
        linear in :math:`\ln\sigma` between the two neighbours, as float32. "nearest" in
        :math:`\ln\sigma`: an integer, for models with a table of timesteps. The points
        are scaled with the exact sigma either way.
    device : optional
        By default that of the parameters of `model`.

    Raises
    ------
    ValueError
        If the prediction type is unknown or the model is in training mode; from
        `denoise`, if a sigma is outside the levels of the scheduler.

    Notes
    -----
    :math:`\sigma_t=\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}`; a last level without signal
    (infinite sigma) is left out. A model in half or double precision gets its points so.
    """
    prediction = getattr(getattr(scheduler, "config", None), "prediction_type", None)
    if prediction not in _PREDICTIONS or not hasattr(scheduler, "alphas_cumprod"):
        raise ValueError(
            "`scheduler` must have alphas_cumprod and a config.prediction_type in "
            f"{', '.join(_PREDICTIONS)}; got {prediction!r}"
        )
    if timesteps not in _TIMESTEPS:
        raise ValueError(f"`timesteps` must be one of {', '.join(_TIMESTEPS)}; got {timesteps!r}")
    log_sigmas, dtype = _log_levels(scheduler), _dtype_of(model)

    def clean(x, sigma):
        t = _timestep(sigma, log_sigmas, nearest=timesteps == "nearest")
        sigma = sigma.reshape(-1, *[1] * (x.ndim - 1))
        signal = (1 + sigma.square()).rsqrt()
        out = _output(model((signal * x).to(dtype), t))
        if prediction == "sample":
            return out
        if prediction == "epsilon":
            return x - sigma * out
        return signal.square() * x - sigma * signal * out

    return AdaptedDenoiser(clean, image_shape, device or _device_of(model))


def _log_levels(scheduler):
    power = np.asarray(torch.as_tensor(scheduler.alphas_cumprod).double().cpu())
    power = power[power > 0]
    log_sigmas = 0.5 * (np.log1p(-power) - np.log(power))
    if log_sigmas.size < 2 or not np.all(np.diff(log_sigmas) > 0):
        raise ValueError("`scheduler.alphas_cumprod` must decrease, with at least two levels")
    return log_sigmas


def _timestep(sigma, log_sigmas, *, nearest):
    wanted = sigma.double().log().cpu().numpy()
    low, high = log_sigmas[[0, -1]]
    # float32 levels may miss the ends by their rounding.
    if np.any(wanted < low - 1e-6) or np.any(wanted > high + 1e-6):
        raise ValueError(
            f"`sigma` must lie between {math.exp(low):.4g} and {math.exp(high):.4g}, the "
            "levels of the scheduler"
        )
    t = np.interp(wanted, log_sigmas, np.arange(log_sigmas.size))
    if not nearest:
        return torch.as_tensor(t, dtype=torch.float32, device=sigma.device)
    return torch.as_tensor(np.rint(t), dtype=torch.int64, device=sigma.device)


def _output(out):
    out = getattr(out, "sample", out)
    return (out[0] if isinstance(out, tuple) else out).float()


def _image_shape(image_shape):
    sides = tuple(image_shape) if np.iterable(image_shape) else ()
    if len(sides) != 3:
        raise ValueError(f"`image_shape` must be (channels, height, width), got {image_shape!r}")
    return tuple(_check.positive_int("image_shape", side) for side in sides)


def _dtype_of(net):
    """Precision of the parameters, float32 without any."""
    parameters = net.parameters() if isinstance(net, torch.nn.Module) else ()
    return next((p.dtype for p in parameters if p.is_floating_point()), torch.float32)


def _device_of(net):
    if not isinstance(net, torch.nn.Module):
        return None
    if net.training:
        raise ValueError("the network is in training mode, where dropout is random; call .eval()")
    parameter = next(net.parameters(), None)
    return None if parameter is None else parameter.device
