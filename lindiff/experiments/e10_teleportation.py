"""E10: replace the first steps of a sampler by the closed form of the Gaussian.

Wang and Vastola 2024, W-4, with the exact denoiser of a mixture.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lindiff import sampling, schedules
from lindiff.denoisers import AffineDenoiser
from lindiff.experiments import _exact_mixture as exact
from lindiff.experiments.rows import Criterion, Row, judge
from lindiff.experiments.units import Unit

TITLE = "Teleportation: start at a lower noise level in closed form"
FACTORS = (0.5, 0.95, 1.4, 2.4, 4.0, 4.8, 8.0)


@dataclass(frozen=True)
class Settings:
    """Size of the experiment; `factors` are levels of the jump in units of sqrt(lambda_1)."""

    n_samples: int
    n_steps: int
    dimension: int = 64
    n_components: int = 8
    rank: int = 6
    n_projections: int = 200
    n_floors: int = 4
    factors: tuple = FACTORS
    datasets: tuple = ("vectors", "gmm")
    seed: int = 0


PRESETS = {
    "smoke": Settings(n_samples=200, n_steps=30, dimension=16, n_projections=50),
    "cpu": Settings(n_samples=500, n_steps=60),
    "t4": Settings(n_samples=4000, n_steps=200),
    "h200": Settings(n_samples=4000, n_steps=200),
}


def units(settings):
    """For each mixture one unit without a jump, one for each level of the jump."""
    found = []
    for name in settings.datasets:
        found.append(Unit(f"{name}-full", full, (settings, name)))
        for factor in settings.factors:
            found.append(Unit(f"{name}-jump-{factor}", jump, (settings, name, factor)))
    return found


@lru_cache(maxsize=2)
def _setting(settings, name):
    """The mixture, its Gaussian, the unit noise, and the samples of the whole trajectory."""
    shape = settings.dimension, settings.n_components, settings.rank
    mixture = exact.named_mixture(name, *shape, settings.seed)
    gaussian = AffineDenoiser.from_moments(mixture.mean, mixture.covariance)
    noise = exact.starting_noise(settings.n_samples, settings.dimension, settings.seed)
    return mixture, gaussian, noise, exact.solve(mixture, noise, "heun", settings.n_steps)


def _scale(gaussian):
    return float(np.sqrt(gaussian.eigenvalues.max()))


def _distances(mixture, settings, made):
    found = []
    for index in range(settings.n_floors):
        rng = np.random.default_rng([settings.seed, 3, index])
        reference = mixture.sample(settings.n_samples, rng)
        found.append(exact.sliced_w2(made, reference, settings.n_projections, settings.seed))
    return np.mean(found), np.std(found, ddof=1) / np.sqrt(len(found))


def full(context, settings, name):
    """Distance of the samples of the whole trajectory, and of fresh draws."""
    mixture, gaussian, _, whole = _setting(settings, name)
    scale = _scale(gaussian)
    shared = {"dataset": name, "arch": "exact", "n_eval": settings.n_samples}
    rows = [Row("sqrt_lambda_max", scale, **shared)]
    fresh = mixture.sample(settings.n_samples, np.random.default_rng([settings.seed, 4]))
    for split, points in (("full", whole), ("floor", fresh)):
        distance, error = _distances(mixture, settings, points)
        rows.append(Row("sw2", distance, stderr=error, split=split, **shared))
    grid = schedules.karras(18).sigma
    skipped = np.count_nonzero(grid > 2.5 * scale)
    rows.append(Row("share_of_evaluations_saved", 2 * skipped / 35, split="18 steps", **shared))
    return rows


def jump(context, settings, name, factor):
    """Change of the samples by a jump from 80 to `factor` times sqrt(lambda_1)."""
    mixture, gaussian, noise, whole = _setting(settings, name)
    level = factor * _scale(gaussian)
    start = sampling.flow_map(gaussian, 80.0 * noise, 80.0, level)
    rest = schedules.karras(settings.n_steps, sigma_max=level)
    made = exact.solve_from(mixture, start, "heun", rest)
    gaps = np.linalg.norm(made - whole, axis=1) / np.linalg.norm(whole, axis=1)
    distance, error = _distances(mixture, settings, made)
    shared = {"dataset": name, "arch": "exact", "sigma": level, "split": f"{factor}"}
    shared |= {"n_eval": settings.n_samples}
    return [
        Row("relative_change", exact.relative_change(made, whole), **shared),
        Row("median_relative_change", np.median(gaps), **shared),
        Row("sw2", distance, stderr=error, **shared),
    ]


def criteria(table, settings):
    """Criteria E10.a to E10.d of the plan, for each mixture.

    The plan does not say how changes of samples are averaged. Few samples that end in another
    component decide the root mean square, none the median; both are judged.
    """
    found = []
    for name in settings.datasets:
        for letter, metric in (("", "relative_change"), ("m", "median_relative_change")):
            found += _criteria(table, settings, name, letter, metric)
    text = "trained network: SW2 changes by less than its error, 25 % of evaluations saved"
    reason = "needs the network of E1 with 16384 images"
    return [*found, Criterion("E10.d", text, "< 1 s.e. and >= 0.25", None, None, reason=reason)]


def _criteria(table, settings, name, letter, metric):
    def change(factor):
        return table.value(metric, dataset=name, split=f"{factor}")

    def high():
        worst = max(change(f) for f in settings.factors if f >= 4)
        return worst, worst <= 0.01

    def middle():
        return change(2.4), change(2.4) <= 0.03

    def low():
        least = min(change(f) for f in settings.factors if f < 1)
        return least, least >= 0.1

    said = "median change" if letter else "relative change"
    entries = [
        ("a", f"largest {said} for jumps to 4 sqrt(lambda_1) or more", "<= 0.01", high),
        ("b", f"{said} for a jump to 2.4 sqrt(lambda_1)", "<= 0.03", middle),
        ("c", f"least {said} for jumps below sqrt(lambda_1)", ">= 0.1", low),
    ]
    return [judge(f"E10.{key}{letter}", *entry, dataset=name) for key, *entry in entries]
