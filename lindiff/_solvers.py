"""One step of each sampler: its coefficients, and its action on points and on modes.

Coordinates are y = u / sqrt(alpha_bar), so that only the noise levels matter. Every step
but Heun's is y' = D(y) + keep (y - D(y)) + fresh xi.
"""

from dataclasses import dataclass

import numpy as np

from lindiff import _check
from lindiff._noise_schedule import NoiseSchedule

SOLVERS = ("ddim", "ddpm", "ddpm-beta", "euler", "heun")


@dataclass(frozen=True, eq=False)
class Steps:
    """Coefficients of the steps down from each level, shape (T,); `below` ends in 0."""

    sigma: np.ndarray
    below: np.ndarray
    keep: np.ndarray
    lose: np.ndarray
    fresh: np.ndarray
    heun: bool

    @property
    def random(self):
        """Whether any step adds noise."""
        return bool(np.any(self.fresh > 0))


def make_steps(schedule, solver, eta, final_noise):
    """Check the options of a sampler and return the coefficients of its steps."""
    sigma = levels(schedule)
    if not isinstance(solver, str) or solver not in SOLVERS:
        raise ValueError(f"`solver` must be one of {', '.join(SOLVERS)}; got {solver!r}")
    eta = _check.as_array("eta", eta, ndim=0)
    if not 0 <= eta <= 1:
        raise ValueError(f"`eta` must lie in [0, 1], got {eta}")
    if eta > 0 and solver != "ddim":
        raise ValueError("`eta` belongs to solver 'ddim'; leave it out for the others")
    if not isinstance(final_noise, (bool, np.bool_)):
        raise TypeError(f"`final_noise` must be True or False, got {final_noise!r}")
    if final_noise and solver != "ddpm-beta":
        raise ValueError("`final_noise` belongs to solver 'ddpm-beta'; the others have none")
    below = np.append(0.0, sigma[:-1])
    eta = 1.0 if solver.startswith("ddpm") else float(eta)
    keep, lose, fresh = _family(sigma, below, eta)
    if solver == "ddpm-beta":
        # sqrt(beta_t / alpha_bar_{t-1}) in these coordinates.
        fresh = np.sqrt((sigma - below) * (sigma + below)) * np.hypot(1.0, below)
        fresh = fresh / np.hypot(1.0, sigma)
        fresh[0] *= final_noise
    return Steps(sigma, below, keep, lose, fresh, solver == "heun")


def levels(schedule):
    """Return the noise levels of a schedule that starts above noise 0."""
    if not isinstance(schedule, NoiseSchedule):
        raise TypeError("`schedule` must be a NoiseSchedule; see lindiff.schedules")
    sigma = np.asarray(schedule.sigma, dtype=np.float64)
    if sigma[0] <= 0:
        raise ValueError("`schedule` must start above noise 0; drop its clean level")
    if sigma[0] < 1e-150 or sigma[-1] > 1e150:
        raise ValueError("`schedule` must keep sigma between 1e-150 and 1e150; drop other levels")
    return sigma


def _family(sigma, below, eta):
    """Return rho, 1 - rho and tau of the DDIM family."""
    ratio = below / sigma
    drop = (sigma - below) * (sigma + below) / sigma**2
    keep = ratio * np.sqrt((1.0 - eta) * (1.0 + eta) + (eta * ratio) ** 2)
    lose = drop * (1.0 + (eta * ratio) ** 2) / (1.0 + keep)
    return keep, lose, eta * below * np.sqrt(drop)


def advance(denoise, steps, t, x):
    """Take the deterministic part of one step; `denoise(x, sigma)` is checked."""
    clean = denoise(x, steps.sigma[t])
    there = clean + steps.keep[t] * (x - clean)
    if not steps.heun or t == 0:
        return there
    begin, end = steps.sigma[t], steps.below[t]
    slopes = (x - clean) / begin + (there - denoise(there, end)) / end
    return x + 0.5 * (end - begin) * slopes


def step_maps(spread, load, steps, part):
    """Return A and 1 - A of the steps `part`, shape (steps, modes), without cancellation.

    A mode is multiplied by A about the mean. `spread` has shape (modes,), `load`, added to
    it at each level, shape (T,).
    """
    column = (part, None)
    noise, extra = np.square(steps.sigma)[column], load[column]
    inverse = np.reciprocal(spread + (noise + extra))
    if steps.heun:
        return _heun_maps(spread, load, steps, part, inverse)
    factor = (spread + (extra + steps.keep[column] * noise)) * inverse
    return factor, (steps.lose[column] * noise) * inverse


def _heun_maps(spread, load, steps, part, inverse):
    column = (part, None)
    sigma, extra = steps.sigma[column], load[column]
    first = steps.below[part] == 0
    # The last step ends at noise 0 and has no second evaluation; 1 is a stand-in there.
    below = np.where(first, 1.0, steps.below[part])[:, None]
    extra_below = np.append(0.0, load[:-1])[column]
    ratio = below / sigma
    inverse_below = np.reciprocal(spread + (np.square(below) + extra_below))
    gain, miss = (spread + extra) * inverse, np.square(sigma) * inverse
    gain_below = (spread + extra_below) * inverse_below
    miss_below = np.square(below) * inverse_below
    euler = gain + ratio * miss
    lose = 0.5 * (1.0 - ratio) * (miss + sigma * below * inverse_below * euler)
    factor = gain * (gain_below + 1.5 * miss_below) + miss * (0.5 * gain_below + ratio * miss_below)
    factor -= 0.5 * (extra - extra_below) * inverse * sigma * (below * inverse_below)
    factor[first], lose[first] = gain[first], miss[first]
    return factor, lose
