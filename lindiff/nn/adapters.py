r"""Networks of other libraries as denoisers ``denoise(x, sigma)``.

No other library is imported: an adapter uses what its network can be called with. A network
returns a tensor, or a tuple, a dictionary or an object that has it first or as ``sample``.
One that also needs a class, a text or another axis is wrapped first, by a function of two
arguments: ``lambda x, t: model(x, t, text.expand(len(x), -1, -1))``.

Conventions: Karras et al. 2022 (networks of EDM and k-diffusion); Ho, Jain and Abbeel
2020, Salimans and Ho 2022 (diffusers).
"""

import math
from collections.abc import Mapping

import numpy as np
import torch

from lindiff import _check
from lindiff.nn._device import resolve_device
from lindiff.nn._points import full_precision, in_chunks, points

__all__ = ["from_diffusers", "from_edm", "from_function", "from_k_diffusion"]

_CHUNK_VALUES = 2**19
_PREDICTIONS = ("epsilon", "sample", "v_prediction")
_TIMESTEPS = ("interpolated", "nearest")
# What diffusers writes in place of no signal, so that the last sigma is finite.
_NO_SIGNAL = 2.0**-24
# Of 1 - alpha_bar, in the float32 of the tables.
_ROUNDING = 2.0**-24


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
            Points y + sigma z, n >= 0.
        sigma : float or array_like, shape (n,)
            Noise levels >= 0.

        Returns
        -------
        torch.Tensor or numpy.ndarray, shape (n, d)

        Raises
        ------
        TypeError
            If `x` is a tensor of integers.
        ValueError
            If `x` has NaN or the wrong number of pixels, the answer is no tensor, has NaN or
            another shape than the question, or a level is outside the range of the network.
        RuntimeError
            If the network fails; the message says what it was given.
        """
        x = points(x) if isinstance(x, torch.Tensor) else _check.as_array("x", x)
        shape = self.image_shape or x.shape[-1:]
        dimension, device = math.prod(shape), self.device or getattr(x, "device", "cpu")
        if x.ndim == 2 and x.shape[1] != dimension:
            raise ValueError(
                f"`x` has {x.shape[1]} pixels in a row, but `image_shape` {shape} has {dimension}"
            )
        if isinstance(x, torch.Tensor) and not bool(torch.isfinite(x).all()):
            raise ValueError("`x` has NaN or infinite entries; remove them first")

        def flat(part, level):
            return self.function(part.reshape(-1, *shape), level).reshape(part.shape)

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


def from_function(f, image_shape=None, *, device=None, dtype=None):
    r"""Make a denoiser of a function.

    Parameters
    ----------
    f : callable
        ``f(x, sigma)`` with `x` of shape (n, \*image_shape), or (n, d) without an image
        shape, and `sigma` of shape (n,); returns the clean estimate.
    image_shape : tuple of int, optional
        Such as (channels, height, width), (channels, frames, height, width) or (channels, d).
    device : optional
        Where `f` is called; by default that of its parameters, or where `x` is.
    dtype : torch.dtype, optional
        Precision of the points and levels that `f` gets, float32 by default.

    Raises
    ------
    TypeError, ValueError
        If `f` cannot be called or is a module in training mode, or `image_shape` is no tuple.

    Notes
    -----
    This is the way for networks with levels of their own. With EDM's preconditioning (such as
    diffusers' ``EDMEulerScheduler``)

    .. math:: D(x,\sigma)=c_{\mathrm{skip}}\,x+c_{\mathrm{out}}F\big(c_{\mathrm{in}}\,x,\,
              \tfrac14\ln\sigma\big),

    and with a flow :math:`v(x_s,s)=z-y` at :math:`x_s=(1-s)\,y+s\,z` (``FlowMatch...``)

    .. math:: D(x,\sigma)=x_s-s\,v(x_s,s),\qquad s=\frac\sigma{1+\sigma},\quad
              x_s=(1-s)\,x .

    Examples
    --------
    >>> from_function(lambda x, sigma: x / (1 + sigma[:, None] ** 2)).denoise([[2.0]], 1.0)
    array([[1.]])
    """
    return _as_given("f", f, image_shape, device, dtype)


def from_edm(net, image_shape, *, device=None, dtype=None):
    """Make a denoiser of a network of EDM, ``net(x, sigma)`` = D(x, sigma).

    Parameters
    ----------
    net : callable
        Takes images (n, channels, height, width) in [-1, 1] and levels (n,). A
        conditional network must be wrapped with its class first.
    image_shape : tuple of int
        (channels, height, width), or any other.
    device : optional
        By default that of the parameters of `net`.
    dtype : torch.dtype, optional
        Precision of the points and levels that `net` gets, float32 by default. A network in half
        precision that does not convert them itself needs its own; small levels lose digits.

    Raises
    ------
    TypeError
        If `net` cannot be called.
    ValueError
        If `net` is in training mode.

    Notes
    -----
    `lindiff.nn.preconditioning.Preconditioned` has the same call. Karras et al. 2022.
    """
    return _as_given("net", net, image_shape, device, dtype)


def from_k_diffusion(denoiser, image_shape, *, device=None, dtype=None):
    """Make a denoiser of a k-diffusion denoiser, ``denoiser(x, sigma)`` = D(x, sigma).

    Parameters and errors are those of `from_edm`: both libraries share the call.
    """
    return _as_given("denoiser", denoiser, image_shape, device, dtype)


def from_diffusers(
    model, scheduler, image_shape, *, timesteps="interpolated", device=None, dtype=None
):
    r"""Make a denoiser of a diffusers model and the scheduler it was trained with.

    .. math:: x_t=\sqrt{\bar\alpha}\,x,\qquad\bar\alpha=\frac1{1+\sigma^2},\qquad
              D=\begin{cases}x-\sigma\,\epsilon&\text{epsilon}\\
              y&\text{sample}\\
              \sqrt{\bar\alpha}\,x_t-\sqrt{1-\bar\alpha}\,v&\text{v\_prediction}\end{cases}

    Parameters
    ----------
    model : callable
        ``model(x_t, t)`` such as ``UNet2DModel``, in evaluation mode. Of an answer with twice
        the channels, as of a model that has learnt its variance too, the first half is taken.
    scheduler
        Has ``alphas_cumprod`` and ``config.prediction_type``, such as ``DDPMScheduler``. Its
        table of training levels is used, not the levels of ``set_timesteps``; clipping and
        thresholding are not applied.
    image_shape : tuple of int
        (channels, height, width), or any other; what the model sees behind the first axis.
    timesteps : {"interpolated", "nearest"}
        The timestep that tells the model the noise level. "interpolated": fractional,
        linear in :math:`\ln\sigma` between the two neighbours, as float32. "nearest" in
        :math:`\ln\sigma`: an integer, for models with a table of timesteps. The points
        are scaled with the exact sigma either way.
    device : optional
        By default that of the parameters of `model`.
    dtype : torch.dtype, optional
        Precision of the points that `model` gets; by default that of its parameters, or float32
        for a function.

    Raises
    ------
    TypeError
        If `model` cannot be called.
    ValueError
        If the scheduler has no table of :math:`\bar\alpha` or predicts something else, or the
        model is in training mode; from `denoise`, if a sigma is outside the table.

    Notes
    -----
    :math:`\sigma_t=\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}`. The ends of the table may be missed by
    the rounding of :math:`1-\bar\alpha` in float32, so that the same levels in float64 are
    inside. A first level without noise is left out, and a last one without signal: infinite
    sigma, or the :math:`\bar\alpha=2^{-24}` that stands for it where it is not the least.

    Networks trained with sigmas or a flow have no such table: see `from_function`.
    """
    if timesteps not in _TIMESTEPS:
        raise ValueError(f"`timesteps` must be one of {', '.join(_TIMESTEPS)}; got {timesteps!r}")
    prediction, table = _prediction(scheduler), _table(scheduler.alphas_cumprod)
    device, dtype = device or _device_of("model", model), _checked(dtype) or _dtype_of(model)

    def clean(x, sigma):
        t = _timestep(sigma, *table, nearest=timesteps == "nearest")
        sigma = sigma.reshape(-1, *[1] * (x.ndim - 1))
        signal = (1 + sigma.square()).rsqrt()
        out = _answer("model", model, (signal * x).to(dtype), t, variance=True)
        if prediction == "sample":
            return out
        if prediction == "epsilon":
            return x - sigma * out
        return signal.square() * x - sigma * signal * out

    return AdaptedDenoiser(clean, image_shape, device)


def _as_given(name, network, image_shape, device, dtype):
    device, dtype = device or _device_of(name, network), _checked(dtype) or torch.float32

    def clean(x, sigma):
        return _answer(name, network, x.to(dtype), sigma.to(dtype))

    return AdaptedDenoiser(clean, image_shape, device)


def _answer(name, network, x, level, *, variance=False):
    """Call a network; return its answer in float32, with the shape of `x`."""
    try:
        out = network(x, level)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:
        given = " and ".join(
            f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
            for value in (x, level)
        )
        raise RuntimeError(
            f"`{name}` failed on {given}, on {x.device}: {error}. If type or device are wrong, "
            "pass `dtype` or `device`; if a class, a text or an axis is missing, wrap it by a "
            "function that adds it; of a pipeline, pass its network"
        ) from error
    if isinstance(out, (tuple, list)):
        out = out[0] if out else None
    elif isinstance(out, Mapping):
        out = out.get("sample")
    else:
        out = getattr(out, "sample", out)
    real = isinstance(out, torch.Tensor) and not out.is_complex()
    if variance and real and x.ndim > 1 and out.shape[:2] == (len(x), 2 * x.shape[1]):
        out = out[:, : x.shape[1]]
    if not real or out.shape != x.shape:
        kind = type(out).__name__ if not isinstance(out, torch.Tensor) else out.dtype
        kind = tuple(out.shape) if real else kind
        raise ValueError(
            f"`{name}` must return a tensor of shape {tuple(x.shape)}, or have it first in a tuple "
            f"or as `sample`; got {kind}"
        )
    if not bool(torch.isfinite(out).all()):
        raise ValueError(
            f"`{name}` returned NaN or infinite entries; in half precision its numbers may "
            "overflow, at noise 0 it may have no answer"
        )
    return out.to(x.device, torch.float32)


def _prediction(scheduler):
    """Return what the model is trained to predict; refuse schedulers with other levels."""
    config, kind = getattr(scheduler, "config", None), type(scheduler).__name__
    prediction = getattr(config, "prediction_type", None)
    own = [
        setting
        for setting, found in (
            ("no alphas_cumprod", not hasattr(scheduler, "alphas_cumprod")),
            ("use_flow_sigmas", getattr(config, "use_flow_sigmas", False)),
            ("continuous timesteps", getattr(config, "timestep_type", "") == "continuous"),
        )
        if found
    ]
    if own:
        raise ValueError(
            f"`scheduler` must have levels alphas_cumprod, but {kind} has {', '.join(own)}: wrap "
            "the model by from_edm or from_function, whose page has the formulas"
        )
    if prediction not in _PREDICTIONS:
        raise ValueError(
            f"`scheduler` must have a config.prediction_type in {', '.join(_PREDICTIONS)}; got "
            f"{prediction!r} of {kind}: pass the scheduler of the training, or use from_function"
        )
    return prediction


def _table(alphas_cumprod):
    """Return timesteps, ln sigma, and by how much ln sigma may be rounded."""
    power = torch.as_tensor(alphas_cumprod).double().cpu().numpy().copy().reshape(-1)
    if power.size > 1 and power[-1] == _NO_SIGNAL and power[-2] <= _NO_SIGNAL:
        power[-1] = 0.0
    times = np.flatnonzero((power != 0) & (power != 1))
    inside = power[times]
    if times.size < 2 or not (
        np.all(np.diff(power) <= 0)
        and np.all(np.diff(inside) < 0)
        and inside[0] < 1
        and inside[-1] > 0
    ):
        raise ValueError(
            "`scheduler.alphas_cumprod` must decrease, with at least two levels between 0 and 1"
        )
    # Each factor of the product is 1 - beta, rounded.
    factors = inside / np.append(1.0, inside[:-1])
    rounding = _ROUNDING * np.cumsum(1 / factors) / (1 - inside)
    return times, 0.5 * (np.log1p(-inside) - np.log(inside)), rounding


def _timestep(sigma, times, log_sigmas, rounding, *, nearest):
    wanted = sigma.double().log().cpu().numpy()
    low, high = log_sigmas[[0, -1]]
    # float32 levels may miss the ends by their own rounding, too.
    below, above = rounding[[0, -1]] + 1e-6
    outside = (wanted < low - below) | (wanted > high + above)
    if np.any(outside):
        raise ValueError(
            f"`sigma` must lie between {math.exp(low):.7g} and {math.exp(high):.7g}, the levels "
            f"of the scheduler, got {math.exp(wanted[outside][0]):.7g}: let the grid of the "
            "sampler begin and end there"
        )
    t = np.interp(wanted, log_sigmas, times)
    if not nearest:
        return torch.as_tensor(t, dtype=torch.float32, device=sigma.device)
    return torch.as_tensor(np.rint(t), dtype=torch.int64, device=sigma.device)


def _image_shape(image_shape):
    sides = tuple(image_shape) if np.iterable(image_shape) else ()
    if not sides:
        raise ValueError(
            "`image_shape` must be a tuple of sizes, such as (channels, height, width), got "
            f"{image_shape!r}"
        )
    return tuple(_check.positive_int("image_shape", side) for side in sides)


def _checked(dtype):
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"`dtype` must be a floating-point torch.dtype, got {dtype!r}")
    return dtype


def _dtype_of(net):
    """Precision a network computes in: its own word, that of its parameters, or float32."""
    if not isinstance(net, torch.nn.Module):
        return torch.float32
    own = [getattr(net, "dtype", None), *(p.dtype for p in net.parameters())]
    return next(
        (d for d in own if isinstance(d, torch.dtype) and d.is_floating_point), torch.float32
    )


def _device_of(name, net):
    if not callable(net):
        raise TypeError(f"`{name}` must be a network or a function of (x, level), got {net!r}")
    if not isinstance(net, torch.nn.Module):
        return None
    if net.training:
        raise ValueError(f"`{name}` is in training mode, where dropout is random; call .eval()")
    parameter = next(net.parameters(), None)
    if parameter is not None and parameter.is_meta:
        raise ValueError(f"`{name}` has no weights yet, its device is meta; load them first")
    return None if parameter is None else parameter.device
