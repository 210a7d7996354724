"""E13: the noise levels at which the class, and then the training point, are decided.

Biroli et al. 2024, B-1 to B-6, in variance-exploding form.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from lindiff.experiments import _collapse, _faces, _speciation
from lindiff.experiments.rows import MissingRow, Row, judge
from lindiff.experiments.units import Unit

TITLE = "Speciation and collapse"
VERSION = 1
FACES = "toyfaces"


@dataclass(frozen=True)
class Settings:
    """Size of the experiment."""

    size: int
    counts: tuple
    gaussian_counts: tuple
    n_eval: int
    n_pairs: int
    n_paths: int
    n_classified: int
    path_counts: tuple
    n_population: int = 8192
    n_steps: int = 60
    seed: int = 0


PRESETS = {
    "smoke": Settings(
        size=8,
        counts=(32, 256),
        gaussian_counts=(64, 1024),
        n_eval=100,
        n_pairs=200,
        n_paths=50,
        n_classified=512,
        path_counts=(64,),
        n_population=1024,
    ),
    "cpu": Settings(
        size=16,
        counts=(32, 128, 512, 2048, 8192),
        gaussian_counts=(64, 1024, 16384),
        n_eval=1000,
        n_pairs=2000,
        n_paths=300,
        n_classified=4096,
        path_counts=(32, 256, 1024),
        n_steps=100,
    ),
    "t4": Settings(
        size=32,
        counts=(32, 128, 512, 2048, 8192),
        gaussian_counts=(64, 1024, 16384),
        n_eval=2000,
        n_pairs=4000,
        n_paths=1000,
        n_classified=8192,
        path_counts=(32, 256, 1024),
        n_steps=100,
    ),
}
PRESETS["h200"] = PRESETS["t4"]

SPECTRA = {
    "isotropic-32": np.ones(32),
    "power-law-256": np.arange(1, 257) ** -1.5,
}
RATIOS = np.geomspace(1 / 3, 3, 17)


def units(settings):
    """Units of cloning, of collapse for Gaussian data and for faces, of branching."""
    found = [
        Unit("cloning-mixture", cloning_mixture, (settings,)),
        Unit("cloning-faces", cloning_faces, (settings,)),
    ]
    for name in SPECTRA:
        for n in settings.gaussian_counts:
            found.append(Unit(f"collapse-{name}-N{n}", collapse_gaussian, (settings, name, n)))
    found += [Unit(f"collapse-faces-N{n}", collapse_faces, (settings, n)) for n in settings.counts]
    found += [Unit(f"branching-N{n}", branching, (settings, n)) for n in settings.path_counts]
    return found


def cloning_mixture(context, settings):
    """Probability that two trajectories from one noised point end in one class."""
    pair = _speciation.TwoClasses(dimension=16, separation=2.0, variance=0.25)
    scale = pair.sqrt_lambda_max
    shared = {"dataset": "two classes", "arch": "exact"}
    rows = [Row("sqrt_lambda_max", scale, **shared)]
    for sigma in scale * np.geomspace(0.15, 6, 33):
        rows.append(Row("cloning_exact", pair.cloning(sigma), sigma=sigma, **shared))
    for index, sigma in enumerate(scale * np.array([0.3, 0.6, 1.0, 1.6, 3.0])):
        rng = np.random.default_rng([settings.seed, 5, index])
        same = pair.simulate(sigma, settings.n_pairs, settings.n_steps, rng)
        error = same.std(ddof=1) / np.sqrt(len(same))
        shared |= {"n_eval": settings.n_pairs}
        rows.append(Row("cloning_simulated", same.mean(), sigma=sigma, stderr=error, **shared))
        rows.append(Row("cloning_expected", pair.cloning(sigma), sigma=sigma, **shared))
    return rows


def cloning_faces(context, settings):
    """The same for faces; the class is the sign of the leading principal coefficient."""
    data = _faces.vectors(FACES, settings.n_classified, 1, settings.size, settings.seed)
    fresh = _faces.population(FACES, settings.size, settings.seed, settings.n_eval)
    centred = data - data.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(data))
    label = centred @ vectors[:, -1] > np.median(centred @ vectors[:, -1])
    scale = np.sqrt(values[-1])
    shared = {"dataset": FACES, "arch": "empirical", "N": len(data), "n_eval": len(fresh)}
    rows = [Row("sqrt_lambda_max", scale, **shared)]
    rng = np.random.default_rng([settings.seed, 6])
    for sigma in scale * np.geomspace(0.05, 6, 25):
        noisy = fresh + sigma * rng.standard_normal(fresh.shape)
        share = _collapse.posterior_weights(noisy, data, sigma) @ label
        same = share**2 + (1 - share) ** 2
        error = same.std() / np.sqrt(len(same))
        rows.append(Row("cloning", same.mean(), sigma=sigma, stderr=error, **shared))
    return rows


def collapse_gaussian(context, settings, name, n_images):
    """Weight of the own point of the memorising denoiser around the predicted level."""
    variances = SPECTRA[name]
    rng = np.random.default_rng([settings.seed, 7, n_images])
    data = rng.standard_normal((n_images, len(variances))) * np.sqrt(variances)
    return _own_weights(settings, name, data, variances, (0.7, 1.0, 1.4, 2.0))


def collapse_faces(context, settings, n_images):
    """The same for faces, around the level predicted from their covariance."""
    data = _faces.vectors(FACES, n_images, 1, settings.size, settings.seed)
    return _own_weights(settings, FACES, data, _face_variances(settings), RATIOS)


def _face_variances(settings):
    images = _faces.population(FACES, settings.size, settings.seed, settings.n_population)
    centred = images - images.mean(axis=0)
    return np.linalg.eigvalsh(centred.T @ centred / len(centred)).clip(0)


def _own_weights(settings, name, data, variances, ratios):
    level = _collapse.collapse_sigma(variances, len(data))
    shared = {"dataset": name, "arch": "empirical", "N": len(data)}
    rows = [Row("collapse_level", level, **shared)]
    for index, ratio in enumerate(ratios):
        rng = np.random.default_rng([settings.seed, 8, index])
        # Few points are noised several times, so that the average has enough terms.
        repeats = max(1, settings.n_eval // len(data))
        found = np.concatenate(
            [
                _collapse.own_weights(data, ratio * level, settings.n_eval, rng)
                for _ in range(repeats)
            ]
        )
        error = found.std() / np.sqrt(len(found))
        split = f"{ratio:.4g} of the level"
        row = Row("own_weight", found.mean(), sigma=ratio * level, stderr=error, split=split)
        rows.append(row.filled(n_eval=len(found), **shared))
    return rows


def branching(context, settings, n_images):
    """Share of trajectories of the memorising denoiser whose nearest point is the last one."""
    data = _faces.vectors(FACES, n_images, 1, settings.size, settings.seed)
    rng = np.random.default_rng([settings.seed, 9, n_images])
    noise = rng.standard_normal((settings.n_paths, data.shape[1]))
    sigmas, nearest = _speciation.nearest_along_paths(data, noise, settings.n_steps)
    level = _collapse.collapse_sigma(_face_variances(settings), n_images)
    shared = {"dataset": FACES, "arch": "empirical", "N": n_images, "n_eval": settings.n_paths}
    rows = [Row("collapse_level", level, split="paths", **shared)]
    for step, sigma in enumerate(sigmas):
        same = np.mean(nearest[step:] == nearest[-1], axis=0) == 1
        rows.append(Row("fixed", same.mean(), sigma=sigma, step=step, **shared))
    return rows


def _crossing(sigmas, values, level):
    """Noise level at which values that fall with noise cross `level`, on a log scale."""
    below = np.flatnonzero((values[:-1] >= level) & (values[1:] < level))
    if len(below) == 0:
        raise MissingRow(f"the curve does not cross {level}")
    at = below[0]
    share = (values[at] - level) / (values[at] - values[at + 1])
    return float(np.exp((1 - share) * np.log(sigmas[at]) + share * np.log(sigmas[at + 1])))


def _speciation_level(table, metric, dataset):
    sigmas, values, _ = table.curve(metric, "sigma", dataset=dataset)
    ratio = _crossing(sigmas, values, 0.75) / table.value("sqrt_lambda_max", dataset=dataset)
    return ratio, 0.5 <= ratio <= 2


def _simulation(table):
    _, values, _ = table.curve("cloning_simulated", "sigma")
    _, expected, _ = table.curve("cloning_expected", "sigma")
    expected = np.clip(expected, 0, 1)
    n = table.where("cloning_simulated")["n_eval"].min()
    # The error that the expected value has: a simulated 1 would have none. At least one draw.
    errors = np.maximum(np.sqrt(expected * (1 - expected) / n), 1 / n)
    worst = (np.abs(values - expected) / errors).max()
    return worst, worst <= 4


def _own_weight(table):
    values = table.where("own_weight", split="1 of the level", dataset=tuple(SPECTRA))["value"]
    if len(values) == 0:
        raise MissingRow("there is no row with metric=own_weight of Gaussian data")
    worst = values[np.argmax(np.abs(values - 0.55))]
    return worst, abs(worst - 0.55) <= 0.1


def _face_collapse(table, counts):
    ratios = []
    for n in counts:
        sigmas, values, _ = table.curve("own_weight", "sigma", dataset=FACES, N=n)
        level = table.value("collapse_level", dataset=FACES, N=n, split="")
        ratios.append(_crossing(sigmas, values, 0.5) / level)
    worst = max(ratios, key=lambda ratio: abs(np.log(ratio)))
    return worst, 0.5 <= worst <= 2


def _fixed_points(table, counts):
    shares = []
    for n in counts:
        sigmas, values, _ = table.curve("fixed", "sigma", N=n)
        level = table.value("collapse_level", N=n, split="paths") / 1.5
        shares.append(values[sigmas <= level][-1])
    return min(shares), min(shares) >= 0.95


def criteria(table, settings):
    """Criteria E13.a to E13.d of the plan."""
    mixture = partial(_speciation_level, table, "cloning_exact", "two classes")
    images = partial(_speciation_level, table, "cloning", FACES)
    level = "level of cloning probability 0.75 over sqrt(lambda_1)"
    simulated = "simulated cloning probability, in standard errors"
    gaussian = "own weight at the collapse level, Gaussian data: the one farthest from 0.55"
    empirical = "level of own weight 1/2 over the predicted collapse level: farthest from 1"
    branch = "nearest training image is final below 2/3 of the collapse level: least share"
    collapse = partial(_face_collapse, table, settings.counts)
    fixed = partial(_fixed_points, table, settings.path_counts)
    entries = [
        ("E13.a1", level, "0.5 to 2", mixture, "two classes"),
        ("E13.a2", simulated, "<= 4", partial(_simulation, table), "two classes"),
        ("E13.a3", level, "0.5 to 2", images, FACES),
        ("E13.b", gaussian, "0.45 to 0.65", partial(_own_weight, table), "gaussian"),
        ("E13.c", empirical, "0.5 to 2", collapse, FACES),
        ("E13.d", branch, ">= 0.95", fixed, FACES),
    ]
    return [judge(*entry, dataset=dataset, table=table) for *entry, dataset in entries]
