"""E9: quality of samples against the number of steps, with an exact denoiser.

The error of a solver alone: the denoiser of a Gaussian mixture is exact. Li, Dai and Qu
2024, L-11; Karras et al. 2022.
"""

from dataclasses import dataclass

import numpy as np

from lindiff.experiments import _exact_mixture as exact
from lindiff.experiments.rows import Row, judge
from lindiff.experiments.units import Unit

TITLE = "Quality against sampling steps, exact mixture denoiser"
VERSION = 2
EULER = (4, 6, 7, 10, 11, 18, 19, 35, 40, 79, 80)
HEUN = (4, 6, 8, 10, 18, 40, 80)


@dataclass(frozen=True)
class Settings:
    """Size of the experiment."""

    n_samples: int
    n_paths: int
    dimension: int = 64
    n_components: int = 8
    rank: int = 6
    n_projections: int = 200
    reference_steps: int = 200
    n_floors: int = 4
    euler: tuple = EULER
    heun: tuple = HEUN
    datasets: tuple = ("vectors", "gmm")
    seed: int = 0


PRESETS = {
    "smoke": Settings(
        n_samples=300, n_paths=50, dimension=16, n_projections=50, reference_steps=100
    ),
    "cpu": Settings(n_samples=1000, n_paths=250),
    "t4": Settings(n_samples=4000, n_paths=1000),
    "h200": Settings(n_samples=4000, n_paths=1000),
}


def units(settings):
    """For each mixture one unit for the floor, one for paths, one for each solver and count."""
    runs = [("euler", n) for n in settings.euler] + [("heun", n) for n in settings.heun]
    found = []
    for name in settings.datasets:
        found.append(Unit(f"{name}-floor", floor, (settings, name)))
        found.append(Unit(f"{name}-paths", paths, (settings, name)))
        for solver, n in runs:
            found.append(Unit(f"{name}-{solver}-{n}", quality, (settings, name, solver, n)))
    return found


def _mixture(settings, name):
    shape = settings.dimension, settings.n_components, settings.rank
    return exact.named_mixture(name, *shape, settings.seed)


def _drawn(settings, mixture, index):
    return exact.draw(mixture, settings.n_samples, settings.seed, index)


def floor(context, settings, name):
    """Distances between independent draws of the mixture itself: no sampler can do better."""
    mixture = _mixture(settings, name)
    slices, frechets = [], []
    for index in range(settings.n_floors):
        reference, fresh = _drawn(settings, mixture, index), _drawn(settings, mixture, 100 + index)
        slices.append(exact.sliced_w2(fresh, reference, settings.n_projections, settings.seed))
        frechets.append(exact.frechet(fresh, mixture.mean, mixture.covariance))
    shared = {"dataset": name, "arch": "exact", "n_eval": settings.n_samples}
    return [
        Row(f"{name}_floor", np.mean(found), stderr=_error(found), **shared)
        for name, found in (("sw2", slices), ("frechet", frechets))
    ]


def quality(context, settings, name, solver, n_steps):
    """Distances of the samples of one solver to draws of the mixture.

    Means over sets of samples, each with noise and draws of its own.
    """
    mixture = _mixture(settings, name)
    n = settings.n_samples * settings.n_floors
    noise = exact.starting_noise(n, settings.dimension, settings.seed)
    made = exact.solve(mixture, noise, solver, n_steps)
    slices, frechets = [], []
    for index, part in enumerate(np.split(made, settings.n_floors)):
        reference = _drawn(settings, mixture, index)
        slices.append(exact.sliced_w2(part, reference, settings.n_projections, settings.seed))
        frechets.append(exact.frechet(part, mixture.mean, mixture.covariance))
    shared = {"dataset": name, "arch": "exact", "split": solver, "step": n_steps}
    shared |= {"n_eval": settings.n_samples}
    return [
        *(
            Row(metric, np.mean(found), stderr=_error(found), **shared)
            for metric, found in (("sw2", slices), ("frechet", frechets))
        ),
        Row("evaluations", exact.evaluations(solver, n_steps), **shared),
    ]


def paths(context, settings, name):
    """Error of single samples against a fine solution from the same noise."""
    mixture = _mixture(settings, name)
    noise = exact.starting_noise(settings.n_paths, settings.dimension, settings.seed)
    best = exact.solve(mixture, noise, "heun", settings.reference_steps)
    label = _component(mixture, best)
    rows = []
    for solver, counts in (("euler", settings.euler), ("heun", settings.heun)):
        for n_steps in counts:
            made = exact.solve(mixture, noise, solver, n_steps)
            shared = {"dataset": name, "arch": "exact", "split": solver, "step": n_steps}
            shared |= {"n_eval": settings.n_paths}
            same = np.mean(_component(mixture, made) == label)
            gaps = np.linalg.norm(made - best, axis=1) / np.linalg.norm(best, axis=1)
            rows.append(Row("path_error", exact.relative_change(made, best), **shared))
            rows.append(Row("median_path_error", np.median(gaps), **shared))
            rows.append(Row("same_component", same, **shared))
    return rows


def _component(mixture, points):
    return np.argmax(mixture.responsibilities(points, 0.05), axis=-1)


def _error(found):
    return float(np.std(found, ddof=1) / np.sqrt(len(found)))


def criteria(table, settings):
    """Criteria E9.a to E9.c of the plan, for each mixture.

    The plan does not say how errors of samples are averaged. Few samples that end in another
    component decide the root mean square, none the median; both are judged.
    """
    return [entry for name in settings.datasets for entry in _criteria(table, name)]


def _criteria(table, name):
    def value(solver, n_steps):
        return table.value("sw2", dataset=name, split=solver, step=n_steps)

    def few():
        ratios = [value("heun", n) / value("euler", 2 * n - 1) for n in (4, 6)]
        return min(ratios), min(ratios) > 1

    def many():
        ratios = [value("heun", n) / value("euler", 2 * n - 1) for n in (10, 18, 40)]
        return max(ratios), max(ratios) < 1

    def order(metric, solver, low, high):
        def found():
            steps = [18, 40, 80]
            errors = [table.value(metric, dataset=name, split=solver, step=n) for n in steps]
            calls = [exact.evaluations(solver, n) for n in steps]
            power = -np.polyfit(np.log(calls), np.log(errors), 1)[0]
            return power, low <= power <= high

        return found

    def near_floor():
        ratio = value("heun", 40) / table.value("sw2_floor", dataset=name)
        return ratio, ratio <= 1.1

    entries = [
        ("E9.a1", "Heun worse than Euler at 7 and 11 evaluations: least ratio of SW2", "> 1", few),
        ("E9.a2", "Heun better at 19, 35 and 79 evaluations: largest ratio of SW2", "< 1", many),
        ("E9.c", "SW2 of Heun at 79 evaluations over the floor", "<= 1.1", near_floor),
    ]
    for letter, metric, said in (
        ("", "path_error", "root mean square"),
        ("m", "median_path_error", "median"),
    ):
        for number, solver, low, high in ((1, "heun", 1.5, 2.3), (2, "euler", 0.85, 1.1)):
            text = f"order of {solver} in evaluations, 18 to 80 steps, {said} of the samples"
            test = order(metric, solver, low, high)
            entries.append((f"E9.b{number}{letter}", text, f"{low} to {high}", test))
    return [judge(*entry, dataset=name, table=table) for entry in entries]
