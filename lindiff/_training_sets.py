"""What one random training set contributes to an average: all quantities on a grid."""

import functools
from dataclasses import dataclass

import numpy as np
from scipy import special

from lindiff import losses, spectra
from lindiff._kernel_sums import atoms, trace_sums
from lindiff._loss_modes import levels
from lindiff._wishart import decompose
from lindiff.denoisers import AffineDenoiser

QUANTITIES = (
    "residual_loss",
    "training_loss",
    "test_loss",
    "gap",
    "alignment",
    "pair_alignment",
    "kl",
    "reverse_kl",
    "log_det",
    "trace_inverse",
    "trace_inverse_squared",
    "population_trace",
    "population_trace_squared",
)
_BLOCK = 1 << 16
_HEAVY_TAIL = 10


@dataclass(frozen=True, eq=False)
class Setting:
    """One population, one size of the training set, and a grid of levels and floors."""

    eigenvalues: np.ndarray
    n_samples: int
    alpha_bar: object
    floor: np.ndarray
    estimated_mean: bool
    quantities: tuple

    @property
    def degrees(self):
        """Degrees of freedom of the sample covariance."""
        return self.n_samples - self.estimated_mean

    @property
    def unit(self):
        """Unit of the controls, whose squares neither overflow nor vanish in it."""
        return self.eigenvalues.max() or 1.0

    @property
    def invertible(self):
        """Whether the inverse sample covariance has the moments a control needs."""
        full = np.all(self.eigenvalues > 0)
        return bool(full and self.degrees >= self.eigenvalues.size + _HEAVY_TAIL)


def one_draw(setting, rng):
    """Return the chosen quantities of one training set, in one row, and the controls.

    For the distance of two models two sets are drawn; the rest is the mean over both.
    """
    pair = "pair_alignment" in setting.quantities
    trained = [_train(setting, rng, pair) for _ in range(2 if pair else 1)]
    rows = [_row(setting, modes, trained) for modes, _ in trained]
    controls = [_controls(setting, modes) for modes, _ in trained]
    return np.mean(rows, axis=0), np.mean(controls, axis=0)


def _row(setting, modes, trained):
    ratio, floor = levels(modes.eigenvalues, setting.alpha_bar, setting.floor)
    z, along = ratio + floor, modes.variances
    calls = {
        "alignment": lambda: _to_optimum(setting, modes),
        "pair_alignment": lambda: _between(setting, trained, ratio, z),
        "kl": lambda: np.broadcast_to(_kl(setting, modes), z.shape),
        "reverse_kl": lambda: np.broadcast_to(_reverse_kl(setting, modes), z.shape),
        "log_det": lambda: _log_det(modes, z),
        "trace_inverse": lambda: _trace(modes, 1.0, z, 1),
        "trace_inverse_squared": lambda: _trace(modes, 1.0, z, 2),
        "population_trace": lambda: _trace(modes, along, z, 1),
        "population_trace_squared": lambda: _trace(modes, along, z, 2),
    }
    for name in ("residual_loss", "training_loss", "test_loss", "gap"):
        loss = getattr(losses, name)
        calls[name] = functools.partial(loss, modes, setting.alpha_bar, floor=setting.floor)
    return np.concatenate([np.ravel(calls[name]()) for name in setting.quantities])


def expected_controls(setting):
    """Exact expectations of the controls of `one_draw`, known from the Wishart law."""
    values, n, f = setting.eigenvalues / setting.unit, setting.n_samples, setting.degrees
    first, second, share = values.sum(), np.sum(values**2), f / n
    known = [share * first, share * second, share * ((f + 1) / n * second + first**2 / n)]
    if setting.invertible:
        d = values.size
        halves = 0.5 * (f - np.arange(d))
        known.append(special.digamma(halves).sum() + np.log(2.0 * values / n).sum())
        known.append(d * n / (f - d - 1.0))
    return np.array(known)


def _controls(setting, modes):
    values, along = modes.eigenvalues / setting.unit, modes.variances / setting.unit
    many = modes.multiplicities
    found = [np.sum(many * x) for x in (values, along * values, values**2)]
    if setting.invertible:
        found += [np.sum(np.log(values)), np.sum(along / values)]
    return np.array(found)


def _train(setting, rng, vectors):
    """Draw a training set: its modes and, if asked, its eigenvectors as a denoiser.

    The shift of the mean is independent of the covariance, so that its square stands at its
    expectation, the variance along the mode over N.
    """
    values, n = setting.eigenvalues, setting.n_samples
    denoiser = None
    if vectors:
        found, basis = decompose(values, n, setting.degrees, rng, vectors=True)
        denoiser = AffineDenoiser(np.zeros(values.size), found, basis)
        modes = losses.LossModes.from_denoiser(denoiser, np.zeros(values.size), values)
        found, along, many = modes.eigenvalues, modes.variances, modes.multiplicities
    else:
        drawn = spectra.sample_spectra(
            values, n, rng, estimated_mean=setting.estimated_mean, projected=True
        )
        found, along = drawn.eigenvalues[0], drawn.projected_variances[0]
        rank = np.count_nonzero(found)
        many = np.ones(found.size)
        if rank < found.size:
            many = np.append(many[:rank], found.size - rank)
            found, along = found[: rank + 1], along[: rank + 1]
    shifts = along / n if setting.estimated_mean else 0.0
    return losses.LossModes(found, along, shifts, many), denoiser


def _to_optimum(setting, modes):
    best = losses.LossModes(setting.eigenvalues, setting.eigenvalues)
    trained = losses.test_loss(modes, setting.alpha_bar, floor=setting.floor)
    return trained - losses.residual_loss(best, setting.alpha_bar)


def _between(setting, trained, ratio, z):
    zero = np.zeros(setting.eigenvalues.size)
    denoisers = [denoiser for _, denoiser in trained]
    pair = losses.ModelPair.from_denoisers(*denoisers, zero, setting.eigenvalues)
    options = {"floor": setting.floor, "other_floor": setting.floor}
    means = sum(_trace(modes, modes.shifts, z, 2) for modes, _ in trained)
    return losses.alignment(pair, setting.alpha_bar, **options) + ratio * means


def _kl(setting, modes):
    floor = setting.floor
    singular = (floor == 0) & (modes.eigenvalues.min() == 0)
    safe = np.where(singular, 1.0, floor)
    value = _trace(modes, modes.second_moments, safe, 1) - setting.eigenvalues.size
    value = value + _log_det(modes, safe) - np.log(setting.eigenvalues).sum()
    return np.where(singular, np.inf, 0.5 * value)


def _reverse_kl(setting, modes):
    r"""The divergence with :math:`\Sigma^{-1}` at its expectation.

    The trace of :math:`\Sigma^{-1}\Sigma_0` and the square of the error of the mean in units of
    :math:`\Sigma` make d together, whether the mean is known or not.
    """
    values, floor = setting.eigenvalues, setting.floor
    singular = (floor == 0) & (modes.eigenvalues.min() == 0)
    safe = np.where(singular, 1.0, floor)
    with np.errstate(over="ignore"):
        value = (safe[..., None] / values).sum(axis=-1)
    value = value - _log_det(modes, safe) + np.log(values).sum()
    return np.where(singular, np.inf, 0.5 * value)


def _trace(modes, weights, z, power):
    nodes, masses = atoms(modes.eigenvalues, modes.multiplicities * weights, np.size(z))
    return trace_sums(nodes, masses, z, power)


def _log_det(modes, z):
    flat, rows = np.ravel(z), max(1, _BLOCK // modes.eigenvalues.size)
    blocks = [flat[start : start + rows, None] for start in range(0, flat.size, rows)]
    sums = [np.log(modes.eigenvalues + block) @ modes.multiplicities for block in blocks]
    return np.concatenate(sums).reshape(np.shape(z))
