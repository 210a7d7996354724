"""E7: two Gaussian samplers of disjoint training sets agree, without any network.

Li, Dai and Qu 2024, C-8, with the samples in closed form (L-10).
"""

from dataclasses import dataclass

import numpy as np

from lindiff import sampling
from lindiff.denoisers import AffineDenoiser
from lindiff.experiments import _faces
from lindiff.experiments.rows import Criterion, Row, judge
from lindiff.experiments.units import Unit

TITLE = "Strong generalisation through the Gaussian"
COUNTS = (16, 32, 64, 128, 256, 512, 1024, 2048)
PACKAGED = 4000  # Images of S1 and of S2 in the packaged sets.


@dataclass(frozen=True)
class Settings:
    """Size of the experiment."""

    size: int
    counts: tuple
    n_samples: int
    datasets: tuple = ("toyfaces",)
    sigma_max: float = 80.0
    n_population: int = 8192
    seed: int = 0


PRESETS = {
    "smoke": Settings(size=8, counts=(16, 128, 2048), n_samples=64, n_population=1024),
    "cpu": Settings(16, (*COUNTS, 4096, 8192), 1024, ("toyfaces", "mnist", "fashion-mnist")),
    "t4": Settings(32, (*COUNTS, 4096, 8192), 1024, ("toyfaces", "mnist", "fashion-mnist")),
    "h200": Settings(32, (*COUNTS, 4096, 16384), 1024, ("toyfaces", "mnist", "fashion-mnist")),
}


def units(settings):
    """One unit for each data set and number of training images."""
    return [
        Unit(f"{name}-N{n}", agreement, (settings, name, n))
        for name in settings.datasets
        for n in settings.counts
        if name == "toyfaces" or n <= PACKAGED
    ]


def agreement(context, settings, name, n_images):
    """Cosine of the samples of both Gaussians from equal noise, raw, centred and shuffled."""
    images = _faces.population(name, settings.size, settings.seed, settings.n_population)
    centre = images.mean(axis=0)
    noise = np.random.default_rng([settings.seed, 1])
    noise = settings.sigma_max * noise.standard_normal((settings.n_samples, settings.size**2))
    made, norms = [], []
    for subset in (1, 2):
        images = _faces.vectors(name, n_images, subset, settings.size, settings.seed)
        gaussian = AffineDenoiser.from_data(images)
        made.append(sampling.flow_map(gaussian, noise, settings.sigma_max, 0.0))
        norms.append(np.sqrt(gaussian.eigenvalues.sum()))
    one, two = (points - centre for points in made)
    found = {
        "cosine_centred": _cosines(one, two),
        "cosine_raw": _cosines(*made),
        "cosine_shuffled": _cosines(one, np.roll(two, 1, axis=0)),
    }
    shared = {"dataset": name, "N": n_images, "arch": "gaussian", "n_eval": settings.n_samples}
    rows = [
        Row(metric, values.mean(), stderr=values.std() / np.sqrt(len(values)), **shared)
        for metric, values in found.items()
    ]
    rows.append(Row("ratio_of_spreads", norms[0] / norms[1], **shared))
    shown = np.stack([points[:8].reshape(-1, settings.size, settings.size) for points in made])
    return rows, {"samples": shown.astype(np.float32)}


def _cosines(one, two):
    scales = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return np.sum(one * two, axis=1) / scales


def criteria(table, settings):
    """Criteria E7.a to E7.e of the plan; the shuffled pairs are the control."""

    def at(n_images, least):
        def found():
            row = table.one("cosine_centred", dataset="toyfaces", N=n_images)
            return row["value"], row["value"] >= least, row["stderr"]

        return found

    def control():
        _, values, _ = table.curve("cosine_shuffled", "N", dataset="toyfaces")
        worst = np.abs(values).max()
        return worst, worst < 0.15

    entries = [
        (
            "E7.a",
            "centred cosine of the Gaussian samples of S1 and S2, N = 128",
            ">= 0.9",
            at(128, 0.9),
        ),
        ("E7.b", "the same, N = 2048", ">= 0.99", at(2048, 0.99)),
        ("E7.c", "shuffled pairs: largest mean cosine", "< 0.15", control),
    ]
    found = [judge(*entry, dataset="toyfaces") for entry in entries]
    reason = "needs the networks of E1, E5 and E6"
    text = "networks at N = 256: twins disagree, early stopping or C = 4 raises the agreement"
    found.append(Criterion("E7.d", text, "<= 0.6 and + >= 0.2", None, None, reason=reason))
    text = "centred cosine of the samples of a generalising network and of the Gaussian"
    found.append(Criterion("E7.e", text, ">= 0.8", None, None, reason=reason))
    return found
