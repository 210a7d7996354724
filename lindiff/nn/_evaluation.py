"""What all diagnostics share: checked points, equal noise, estimates with standard errors."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from lindiff import _check
from lindiff.denoisers import AffineDenoiser, EmpiricalDenoiser, GaussianMixtureDenoiser
from lindiff.nn._device_images import REACH, DeviceImages

_ROWS = 1024
_RESAMPLES = 400
NUMPY_DENOISERS = (AffineDenoiser, EmpiricalDenoiser, GaussianMixtureDenoiser)


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    se: float


@dataclass(frozen=True)
class Noised:
    """Clean points and the same points with noise; every denoiser sees the same ones."""

    clean: torch.Tensor
    noisy: torch.Tensor
    sigma: float


def points(name, value, *, minimum=1, dimension=None):
    """Return finite points (n, d); NumPy arrays and half precision become float32."""
    if np.ma.is_masked(value):
        raise TypeError(f"`{name}` has masked entries; fill them or leave their rows out")
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        value = torch.from_numpy(np.require(value, np.float32, ["C", "W"]))
    dense = isinstance(value, torch.Tensor) and value.layout == torch.strided
    if not dense or not value.is_floating_point():
        kind = getattr(value, "dtype", type(value).__name__)
        remedy = "convert it by numpy.asarray(..., dtype=float)"
        if isinstance(value, DeviceImages):
            remedy = "pass its rows, .flat()"
        elif isinstance(value, torch.Tensor) and not dense:
            kind, remedy = value.layout, "pass .to_dense()"
        elif hasattr(value, "dtype"):
            remedy = "scale integer pixels to [-1, 1] by pixels / 127.5 - 1"
        raise TypeError(f"`{name}` must be a floating-point tensor or array, got {kind}; {remedy}")
    if value.ndim != 2 or value.shape[1] == 0:
        raise ValueError(
            f"`{name}` must have shape (n, d), got {tuple(value.shape)}; "
            "flatten images with .reshape(n, -1)"
        )
    if dimension is not None and value.shape[1] != dimension:
        raise ValueError(f"`{name}` must have {dimension} columns, got {value.shape[1]}")
    if len(value) < minimum:
        raise ValueError(f"`{name}` must have at least {minimum} rows, got {len(value)}")
    # Half precision would round away the smallest noise levels.
    value = value.detach().float() if value.dtype.itemsize < 4 else value.detach()
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"`{name}` has NaN or infinite entries; remove them first")
    return value


def clean_points(name, value, **limits):
    """Return `points` that noise is added to; grey levels would drown it in silence."""
    value = points(name, value, **limits)
    if _is_grey(value):
        raise ValueError(
            f"`{name}` holds grey levels up to {float(value.max()):g}; scale it to [-1, 1] by "
            "pixels / 127.5 - 1"
        )
    return value


def one_scale(name, value, other_name, other):
    """Refuse grey levels beside points in [-1, 1]: no distance between them has a meaning."""
    for first, second, own in ((value, other, name), (other, value, other_name)):
        if _is_grey(first) and float(second.abs().max()) <= REACH:
            raise ValueError(
                f"`{own}` holds grey levels up to {float(first.max()):g}, the other points do not: "
                "scale it to [-1, 1] by pixels / 127.5 - 1"
            )


def _is_grey(value):
    return float(value.max()) > REACH and float(value.min()) >= 0


def noise_level(sigma):
    """Return one positive noise level."""
    try:
        level = float(sigma)
    except (TypeError, ValueError) as error:
        raise TypeError("`sigma` must be one number; call once per noise level") from error
    if not 0 < level < float("inf"):
        raise ValueError(f"`sigma` must be positive and finite, got {level}")
    return level


def count(name, value, minimum=1):
    """Return an integer that is at least `minimum`."""
    try:
        whole = not isinstance(value, bool) and int(value) == value
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or value < minimum:
        raise ValueError(f"`{name}` must be an integer >= {minimum}, got {value!r}")
    return int(value)


def double(value, like):
    """Return numbers as a float64 tensor on the device of `like`."""
    if not isinstance(value, torch.Tensor):
        value = torch.from_numpy(np.array(value, dtype=np.float64))
    return value.detach().to(like.device, torch.float64)


def gaussian(name, law):
    """Return mean, eigenvalues and eigenvectors of a Gaussian denoiser."""
    try:
        return law.mean, law.eigenvalues, law.eigenvectors
    except AttributeError as error:
        raise TypeError(
            f"`{name}` needs mean, eigenvalues and eigenvectors, such as GaussianDenoiser has; got "
            f"{type(law).__name__}"
        ) from error


def vector(name, value, like):
    """Return one point (d,) with the type and device of the points `like` (n, d)."""
    value = double(_numbers(name, value), like).to(like.dtype)
    if value.shape != like.shape[1:]:
        raise ValueError(f"`{name}` must have shape ({like.shape[1]},), got {tuple(value.shape)}")
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"`{name}` has NaN or infinite entries")
    return value


def directions(name, value, like):
    """Return orthonormal columns (d, k) in float64 on the device of the points `like`."""
    value = double(_numbers(name, value), like)
    if value.ndim != 2 or value.shape[0] != like.shape[1] or value.shape[1] == 0:
        raise ValueError(f"`{name}` must have shape ({like.shape[1]}, k), got {tuple(value.shape)}")
    unit = torch.eye(value.shape[1], dtype=torch.float64, device=like.device)
    # Directions may come in float32, orthonormal only to its precision.
    if not torch.allclose(value.T @ value, unit, rtol=0, atol=1e-4):
        raise ValueError(f"`{name}` must have orthonormal columns")
    return value


def _numbers(name, value):
    return value if isinstance(value, torch.Tensor) else _check.as_array(name, value)


def generator(seed):
    """Return a generator on the CPU, so that a seed means the same on every device."""
    return torch.Generator("cpu").manual_seed(seed)


def normal(shape, source, like):
    """Draw standard normals in float32 on the CPU; return them as `like` is kept."""
    return torch.randn(shape, generator=source).to(like)


def noised(clean, sigma, seed, *, minimum=2):
    """Check clean points and a level, and add noise drawn from `seed`."""
    clean, sigma = clean_points("clean", clean, minimum=minimum), noise_level(sigma)
    return Noised(clean, clean + sigma * normal(clean.shape, generator(seed), clean), sigma)


def apply(denoiser, x, sigma, name="denoiser"):
    """Return the denoised points (n, d) in float64, computed in pieces."""
    if not callable(getattr(denoiser, "denoise", None)):
        raise TypeError(
            f"`{name}` must have a method denoise(x, sigma); lindiff.nn.adapters makes one of a "
            "network or a function"
        )
    out = torch.empty(x.shape, dtype=torch.float64, device=x.device)
    for start in range(0, len(x), _ROWS):
        part = x[start : start + _ROWS]
        if isinstance(denoiser, NUMPY_DENOISERS):
            found = denoiser.denoise(part.double().cpu().numpy(), sigma)
        else:
            with torch.no_grad():
                found = denoiser.denoise(part, sigma)
        if not isinstance(found, (torch.Tensor, np.ndarray)) or "complex" in str(found.dtype):
            raise TypeError(
                f"`{name}` must return real points of shape {tuple(part.shape)} as a tensor or "
                f"array, got {getattr(found, 'dtype', type(found).__name__)}"
            )
        if found.shape != part.shape:
            raise ValueError(
                f"`{name}` returned shape {tuple(found.shape)} for points of {tuple(part.shape)}"
            )
        out[start : start + _ROWS] = double(found, part)
    if not bool(torch.isfinite(out).all()):
        raise ValueError(f"`{name}` returned NaN or infinite entries at sigma = {sigma}")
    return out


def mean_and_se(values):
    """Return the mean over the first axis and its ideal bootstrap standard error.

    For a mean the bootstrap needs no resampling: its limit is the standard deviation over
    the square root of the number of points.
    """
    values = np.asarray(values, dtype=np.float64)
    return values.mean(axis=0), values.std(axis=0) / np.sqrt(len(values))


def estimate(values):
    """Return the mean of one number per image, with its standard error."""
    mean, se = mean_and_se(as_numpy(values))
    return Estimate(float(mean), float(se))


def resampled_means(columns, seed, resamples=_RESAMPLES):
    """Return bootstrap means (resamples, k) of columns (n, k), rows drawn together."""
    columns = np.asarray(columns, dtype=np.float64)
    n, source = len(columns), np.random.default_rng(seed)
    rows = max(1, 2_000_000 // n)
    out = []
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = source.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        out.append(counts @ columns / n)
    return np.concatenate(out)


def ratio(numerator, denominator, seed):
    """Return mean(numerator) / mean(denominator) and its bootstrap standard error."""
    columns = np.stack([as_numpy(numerator), as_numpy(denominator)], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        top, bottom = columns.mean(axis=0)
        drawn = resampled_means(columns, seed)
        return Estimate(float(np.divide(top, bottom)), float(np.std(drawn[:, 0] / drawn[:, 1])))


def as_numpy(values):
    """Return a float64 NumPy array of a tensor on any device."""
    if isinstance(values, torch.Tensor):
        return values.detach().double().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


def squared(difference):
    """Return the squared norm of each row, in float64."""
    return difference.double().square().sum(1)
