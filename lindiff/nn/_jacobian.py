"""What the derivative of a denoiser says: symmetry, and errors without clean images."""

import math
from dataclasses import dataclass

import torch

from lindiff.nn import _evaluation as ev
from lindiff.nn._points import full_precision, size_of
from lindiff.nn.adapters import AdaptedDenoiser

_ROWS = 1024
_METHODS = ("auto", "autograd", "differences")


@dataclass(frozen=True)
class JacobianChecks:
    r"""Result of `jacobian_checks`; errors are mean squares per pixel.

    Attributes
    ----------
    asymmetry, asymmetry_se : float
        Mean of :math:`\lVert J-J^\top\rVert_F/\lVert J\rVert_F`, in [0, 2].
    trace_mse, trace_mse_se : float
        :math:`\sigma^2\,\mathbb E\,\mathrm{tr}J/d`, the error of an optimal denoiser.
    sure, sure_se : float
        Unbiased estimate of the error of any denoiser, from noisy images alone.
    trace_ratio, trace_ratio_se : float
        `trace_mse` over the error: the measured one if clean images were given, else `sure`.
    mse, mse_se : float
        Measured error; NaN without clean images.
    method : str
        "autograd" or "differences".
    """

    asymmetry: float
    asymmetry_se: float
    trace_mse: float
    trace_mse_se: float
    sure: float
    sure_se: float
    trace_ratio: float
    trace_ratio_se: float
    mse: float
    mse_se: float
    method: str


def jacobian_checks(denoiser, x, sigma, *, clean=None, method="auto", seed=0):
    r"""Check the derivative :math:`J=\partial D/\partial x` of a denoiser.

    .. math:: J^*=\sigma^{-2}\,\mathrm{Cov}[y\mid x],\qquad
              \mathrm{MSE}(D^*)=\sigma^2\,\mathbb E\,\mathrm{tr}J^*,\qquad
              \mathrm{MSE}(D)=\mathbb E\big[2\sigma^2\,\mathrm{tr}J+\lVert x-D\rVert^2
              -\sigma^2d\big]

    Parameters
    ----------
    denoiser : object with ``denoise(x, sigma)``
    x : torch.Tensor or numpy.ndarray, shape (n, d), n >= 2
        Noisy images :math:`y+\sigma z`.
    sigma : float
        Noise level > 0.
    clean : torch.Tensor or numpy.ndarray, shape (n, d), optional
        The images y under the noise.
    method : {"auto", "autograd", "differences"}
        By derivatives, or by central differences. "auto" takes the first where the
        denoiser can be differentiated: where `denoise` keeps the graph, or where the
        denoiser is a module called with images (n, 1, size, size) and levels (n,), such as
        `lindiff.nn.preconditioning.Preconditioned`, or comes from `lindiff.nn.adapters`.
    seed : int
        Of the bootstrap.

    Returns
    -------
    JacobianChecks

    Raises
    ------
    ValueError
        If the denoiser cannot be differentiated as asked, shapes disagree, or `sigma` <= 0.

    Notes
    -----
    The whole Jacobian is computed, so nothing is estimated by random probes: d evaluations
    for each image (2 d by differences). Kadkhodaie et al. 2024, K-2, K-3.
    """
    x, sigma = ev.points("x", x, minimum=2), ev.noise_level(sigma)
    if method not in _METHODS:
        raise ValueError(f"`method` must be one of {', '.join(_METHODS)}; got {method!r}")
    if clean is not None:
        clean = ev.clean_points("clean", clean, dimension=x.shape[1])
        if len(clean) != len(x):
            raise ValueError(f"`clean` must have {len(x)} rows, one for each row of `x`")
    d, out = x.shape[1], ev.apply(denoiser, x, sigma)
    jacobian, method = _chosen(denoiser, x, sigma, method)
    trace, asymmetry = [], []
    with full_precision(x.device):
        for point in x.split(1 if d >= _ROWS else _ROWS // d):
            matrix = jacobian(point)
            trace.append(matrix.diagonal(dim1=1, dim2=2).sum(1))
            odd = (matrix - matrix.transpose(1, 2)).norm(dim=(1, 2))
            # The zero matrix of a constant is symmetric.
            asymmetry.append(odd / matrix.norm(dim=(1, 2)).clamp_min(1e-300))
    trace_mse = sigma**2 * torch.cat(trace) / d
    sure = 2 * trace_mse + ev.squared(x - out) / d - sigma**2
    error = sure if clean is None else ev.squared(out - clean) / d
    measured = ev.Estimate(math.nan, math.nan) if clean is None else ev.estimate(error)
    return JacobianChecks(
        *ev.estimate(torch.cat(asymmetry)),
        *ev.estimate(trace_mse),
        *ev.estimate(sure),
        *ev.ratio(trace_mse, error, seed),
        *measured,
        method,
    )


def _chosen(denoiser, x, sigma, method):
    """Return a function of points (m, d) that gives their Jacobians (m, d, d) in float64."""
    function = None if method == "differences" else _differentiable(denoiser, x, sigma)
    if function is not None:
        return lambda point: _by_autograd(function, point), "autograd"
    if method == "autograd":
        raise ValueError(
            "`denoiser` cannot be differentiated: its output does not depend on the input's "
            'graph; pass method="differences"'
        )
    return lambda point: _by_differences(denoiser, point, sigma), "differences"


def _differentiable(denoiser, x, sigma):
    """Return a differentiable map of points (n, d), or None."""

    def images(points):
        if isinstance(denoiser, AdaptedDenoiser):
            function, shape = denoiser.function, denoiser.image_shape or points.shape[1:]
            device = denoiser.device or points.device
        else:
            size = size_of(points.shape[1])
            function, shape = denoiser, (1, size, size)
            device = next(denoiser.parameters()).device
        level = torch.full((len(points),), sigma, device=device)
        out = function(points.reshape(-1, *shape).to(device, torch.float32), level)
        return out.reshape(points.shape).to(points)

    if isinstance(denoiser, ev.NUMPY_DENOISERS):
        return None
    is_module = isinstance(denoiser, torch.nn.Module) and any(True for _ in denoiser.parameters())
    maps = [lambda points: denoiser.denoise(points, sigma)]
    if is_module or isinstance(denoiser, AdaptedDenoiser):
        maps.append(images)
    for function in maps:
        with torch.enable_grad():
            if function(x[:1].clone().requires_grad_()).requires_grad:
                return function
    return None


def _by_autograd(function, points):
    """Return the Jacobians: gradients of single outputs, many at once on copies of a point."""
    n, d = points.shape
    rows = max(1, _ROWS // n)
    out = points.new_empty((n, d, d), dtype=torch.float64)
    for start in range(0, d, rows):
        size = min(rows, d - start)
        copies = points.repeat_interleave(size, 0).requires_grad_()
        with torch.enable_grad():
            value = function(copies)
            chosen = torch.arange(start, start + size, device=points.device).repeat(n)
            picked = value.gather(1, chosen[:, None]).sum()
        gradient = torch.autograd.grad(picked, copies)[0]
        out[:, start : start + size] = gradient.reshape(n, size, d)
    return out


def _by_differences(denoiser, points, sigma):
    n, d = points.shape
    step = sigma * torch.finfo(points.dtype).eps ** (1 / 3)
    unit = step * torch.eye(d, dtype=points.dtype, device=points.device)
    around = torch.stack([points[:, None] + unit, points[:, None] - unit])
    value = ev.apply(denoiser, around.reshape(-1, d), sigma).reshape(2, n, d, d)
    # Rows are inputs here; the step is what the type made of it.
    width = (around[0] - around[1]).double().diagonal(dim1=1, dim2=2)
    return ((value[0] - value[1]) / width[:, :, None]).transpose(1, 2)
