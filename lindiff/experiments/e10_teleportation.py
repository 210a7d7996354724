"""E10: replace the first steps of a sampler by the closed form of the Gaussian.

Wang and Vastola 2024, W-4, with the exact denoiser of a mixture and with a network.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lindiff import sampling, schedules
from lindiff.denoisers import AffineDenoiser
from lindiff.experiments import _exact_mixture as exact
from lindiff.experiments._net_criteria import NotJudgeable, check_spread
from lindiff.experiments._net_plans import PLANS, Plan
from lindiff.experiments.rows import Row, judge
from lindiff.experiments.units import Unit

TITLE = "Teleportation: start at a lower noise level in closed form"
VERSION = 2
NEEDS_GPU = True
FACTORS = (0.5, 0.95, 1.4, 2.4, 4.0, 4.8, 8.0)
NET_FACTOR = 2.5
LARGE = 16384  # Training images at which criterion d is meant.


@dataclass(frozen=True)
class Settings:
    """Size of the experiment.

    Parameters
    ----------
    n_samples, n_steps : int
        For the mixtures: samples of a set, and solver steps.
    plan : Plan
        Of the network.
    dimension, n_components, rank, n_projections : int
    n_floors : int
        Sets of samples, each with reference draws of its own.
    factors : tuple of float
        Levels of the jump in units of sqrt(lambda_1).
    datasets : tuple of str
    seed : int
    """

    n_samples: int
    n_steps: int
    plan: Plan
    dimension: int = 64
    n_components: int = 8
    rank: int = 6
    n_projections: int = 200
    n_floors: int = 4
    factors: tuple = FACTORS
    datasets: tuple = ("vectors", "gmm")
    seed: int = 0


PRESETS = {
    "smoke": Settings(200, 30, PLANS["smoke"], dimension=16, n_projections=50),
    "cpu": Settings(500, 60, PLANS["cpu"]),
    "t4": Settings(4000, 200, PLANS["t4"]),
    "h100-slice": Settings(1000, 100, PLANS["h100-slice"]),
    "h200": Settings(4000, 200, PLANS["h200"]),
}


def units(settings):
    """For each mixture one unit without a jump, one for each level; one for the network."""
    found = []
    for name in settings.datasets:
        found.append(Unit(f"{name}-full", full, (settings, name)))
        for factor in settings.factors:
            found.append(Unit(f"{name}-jump-{factor}", jump, (settings, name, factor)))
    plan = settings.plan
    arguments = (plan, plan.config(plan.largest), settings.n_projections)
    return [*found, Unit(f"net-N{plan.largest}", on_network, arguments)]


@lru_cache(maxsize=2)
def _setting(settings, name):
    """The mixture, its Gaussian, the unit noise, and the samples of the whole trajectory.

    There are `n_floors` sets of `n_samples`, one after the other.
    """
    shape = settings.dimension, settings.n_components, settings.rank
    mixture = exact.named_mixture(name, *shape, settings.seed)
    gaussian = AffineDenoiser.from_moments(mixture.mean, mixture.covariance)
    n = settings.n_samples * settings.n_floors
    noise = exact.starting_noise(n, settings.dimension, settings.seed)
    return mixture, gaussian, noise, exact.solve(mixture, noise, "heun", settings.n_steps)


def _scale(gaussian):
    return float(np.sqrt(gaussian.eigenvalues.max()))


def _distances(mixture, settings, made):
    found = []
    for index, part in enumerate(np.split(made, settings.n_floors)):
        reference = exact.draw(mixture, settings.n_samples, settings.seed, index)
        found.append(exact.sliced_w2(part, reference, settings.n_projections, settings.seed))
    return np.mean(found), np.std(found, ddof=1) / np.sqrt(len(found))


def full(context, settings, name):
    """Distance of the samples of the whole trajectory, and of fresh draws.

    Means over sets of samples, each with noise and reference draws of its own.
    """
    mixture, gaussian, _, whole = _setting(settings, name)
    scale = _scale(gaussian)
    shared = {"dataset": name, "arch": "exact", "n_eval": settings.n_samples}
    rows = [Row("sqrt_lambda_max", scale, **shared)]
    fresh = exact.draw(mixture, len(whole), settings.seed, 100)
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
    return [
        Row("relative_change", exact.relative_change(made, whole), n_eval=len(made), **shared),
        Row("median_relative_change", np.median(gaps), n_eval=len(made), **shared),
        Row("sw2", distance, stderr=error, n_eval=settings.n_samples, **shared),
    ]


def on_network(context, plan, config, n_projections):
    """Distance of a network's samples from held-out images, with the jump and without."""
    from lindiff.experiments import _measures, nets
    from lindiff.experiments._subjects import network
    from lindiff.nn import diagnostics as dg
    from lindiff.nn import sampling as solvers

    subject = network(context, config, plan)
    gaussian = subject.gaussian
    scale = float(gaussian.eigenvalues.max().sqrt())
    noise = solvers.noise_bank(plan.n_samples, config.size**2, seed=0, device=context.device)
    grid = {"n_steps": plan.n_steps, "start": NET_FACTOR * scale}
    samples = {
        "full": nets.samples_of(context, config, plan),
        "jump": solvers.heun_samples(subject.denoiser, noise, gaussian=gaussian, **grid).float(),
    }
    rows = [subject.row("sqrt_lambda_max", scale)]
    for split, points in samples.items():
        distance = dg.sliced_w2(points, subject.test, n_projections)
        about = {"split": split, "n_eval": plan.n_samples}
        rows.append(subject.row("sw2", distance.value, stderr=distance.se, **about))
        rows += _measures.sample_rows(subject, points, split=split)
    saved = 1 - solvers.n_evaluations(**grid) / solvers.n_evaluations(plan.n_steps)
    return [*rows, subject.row("share_of_evaluations_saved", saved, split="jump")]


def criteria(table, settings):
    """Criteria E10.a to E10.d of the plan, the first three for each mixture.

    The plan does not say how changes of samples are averaged. Few samples that end in another
    component decide the root mean square, none the median; both are judged.
    """
    found = []
    for name in settings.datasets:
        for letter, metric in (("", "relative_change"), ("m", "median_relative_change")):
            found += _criteria(table, settings, name, letter, metric)
    return found + _on_network(table, settings.plan)


def _on_network(table, plan):
    where = {"dataset": plan.data, "arch": plan.arch, "N": plan.largest}

    def meant():
        if plan.largest < LARGE:
            n = plan.largest
            raise NotJudgeable(f"it is meant at N = {LARGE}, the network has N = {n}")
        check_spread(table, split="full", **where)

    def change():
        meant()
        before, after = (table.one("sw2", split=split, **where) for split in ("full", "jump"))
        value = abs(after["value"] - before["value"]) / before["stderr"]
        return value, value < 1

    def saved():
        meant()
        value = table.value("share_of_evaluations_saved", split="jump", **where)
        return value, value >= 0.25

    said = "trained network, jump to 2.5 sqrt(lambda_1): "
    entries = [
        ("E10.d.1", f"{said}change of SW2 over its standard error", "< 1", change),
        ("E10.d.2", f"{said}share of evaluations saved", ">= 0.25", saved),
    ]
    return [judge(*entry, dataset=plan.data, table=table) for entry in entries]


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
    about = {"dataset": name, "table": table}
    return [judge(f"E10.{key}{letter}", *entry, **about) for key, *entry in entries]
