"""E7: two Gaussian samplers of disjoint training sets agree, and networks near them do.

Li, Dai and Qu 2024, C-8, with the samples of the Gaussians in closed form (L-10).
"""

from dataclasses import dataclass

import numpy as np

from lindiff import sampling
from lindiff.denoisers import AffineDenoiser
from lindiff.experiments import _faces
from lindiff.experiments._net_criteria import (
    GENERALISING,
    NotJudgeable,
    check_spread,
    net,
    sample_value,
)
from lindiff.experiments._net_plans import PLANS, Plan
from lindiff.experiments.rows import MissingRow, Row, judge
from lindiff.experiments.units import Unit

TITLE = "Strong generalisation through the Gaussian"
VERSION = 1
NEEDS_GPU = True
COUNTS = (16, 32, 64, 128, 256, 512, 1024, 2048)
PACKAGED = 4000  # Images of S1 and of S2 in the packaged sets.
SIGMA = 0.5
FEW = 256  # The plan's number of training images for criterion d.
COPYING = 0.5


@dataclass(frozen=True)
class Settings:
    """Size of the experiment.

    Parameters
    ----------
    size : int
        Side of the images of the Gaussians.
    counts : tuple of int
        Numbers N of training images of the Gaussians.
    n_samples : int
    plan : Plan
        Of the networks.
    few, narrow : int
        Training images of the networks that should copy, and width C of the small ones.
    datasets : tuple of str
    sigma_max : float
    n_population, seed : int
    """

    size: int
    counts: tuple
    n_samples: int
    plan: Plan
    few: int = FEW
    narrow: int = 4
    datasets: tuple = ("toyfaces",)
    sigma_max: float = 80.0
    n_population: int = 8192
    seed: int = 0


_ALL = ("toyfaces", "mnist", "fashion-mnist")
_MANY = (*COUNTS, 4096, 8192)
PRESETS = {
    "smoke": Settings(8, (16, 128, 2048), 64, PLANS["smoke"], few=16, narrow=8, n_population=1024),
    "cpu": Settings(16, _MANY, 1024, PLANS["cpu"], few=16, datasets=_ALL),
    "t4": Settings(32, _MANY, 1024, PLANS["t4"], datasets=_ALL),
    "h100-slice": Settings(32, COUNTS, 1024, PLANS["h100-slice"], few=64),
    "h200": Settings(32, (*COUNTS, 4096, 16384), 1024, PLANS["h200"], datasets=_ALL),
}


def units(settings):
    """One unit for each data set and number of training images, three with networks."""
    found = [
        Unit(f"{name}-N{n}", agreement, (settings, name, n))
        for name in settings.datasets
        for n in settings.counts
        if name == "toyfaces" or n <= PACKAGED
    ]
    plan, few = settings.plan, settings.few
    for key, width in (("nets", plan.width), (f"nets-C{settings.narrow}", settings.narrow)):
        twins = tuple(plan.config(few, subset, width=width) for subset in (1, 2))
        found.append(Unit(f"{key}-N{few}", networks, (plan, twins)))
    return [*found, Unit(f"net-N{plan.largest}", generalised, (plan, plan.config(plan.largest)))]


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


def networks(context, plan, twins):
    """Agreement of twins at the end, and at the least distance from their Gaussian."""
    from lindiff.experiments import _measures, nets
    from lindiff.experiments._subjects import subject_of
    from lindiff.nn import diagnostics as dg

    nets.trained(context, twins[1], plan, beside=twins)
    course = [subject_of(twins[0], f) for f in nets.at_checkpoints(context, twins[0], plan)]
    rows = []
    for subject in course:
        rows += _measures.distance_rows(subject, [SIGMA], plan.n_test, closed=("gaussian",))
    distances = [row.value for row in rows if row.metric == "rmse_to_gaussian"]
    for split, subject in (("early", course[int(np.argmin(distances))]), ("end", course[-1])):
        seen = subject.stamp["images_seen"]
        samples = [nets.samples_of(context, config, plan, count=seen) for config in twins]
        found = dg.agreement(*samples, subject.test.mean(0))
        about = {"split": split, "n_eval": plan.n_samples}
        rows.append(subject.row("twin_cosine", found.cosine, stderr=found.se, **about))
        rows += _measures.sample_rows(subject, samples[0], split=split)
    return rows


def generalised(context, plan, config):
    """Cosine of the samples of a network with those of the Gaussian of its images."""
    from lindiff.experiments import _measures, nets
    from lindiff.experiments._subjects import network
    from lindiff.nn import diagnostics as dg
    from lindiff.nn.sampling import gaussian_flow, noise_bank

    subject = network(context, config, plan)
    samples = nets.samples_of(context, config, plan)
    noise = noise_bank(plan.n_samples, config.size**2, seed=0, device=context.device)
    drawn = gaussian_flow(subject.gaussian, 80.0 * noise, 80.0, 0.0)
    found = dg.agreement(samples, drawn, subject.test.mean(0))
    about = {"stderr": found.se, "n_eval": plan.n_samples}
    rows = [subject.row("cosine_to_gaussian", found.cosine, **about)]
    return rows + _measures.sample_rows(subject, samples)


class _Networks:
    """Values of the networks: twins on few images, and the one on the most."""

    def __init__(self, table, settings):
        self.table, self.settings = table, settings

    def _twins(self, split, width):
        where = {"N": self.settings.few, "arch": f"unet-{width}", "split": split}
        check_spread(self.table, **where)
        return net(self.table, "twin_cosine", **where), where

    def copying(self):
        """Agreement of twins that copy."""
        value, where = self._twins("end", self.settings.plan.width)
        share = net(self.table, "f_mem", **where)
        if share < COPYING:
            raise NotJudgeable(f"only {share:.0%} of the samples are copies")
        return value

    def disagree(self):
        value = self.copying()
        return value, value <= 0.6

    def raised(self):
        """The larger rise; one that cannot be judged counts only if the other does not pass."""
        copying, rises, unfit = self.copying(), [], None
        for split, width in (("early", self.settings.plan.width), ("end", self.settings.narrow)):
            try:
                rises.append(self._twins(split, width)[0] - copying)
            except MissingRow as error:
                unfit = error
        if unfit is not None and max(rises, default=0.0) < 0.2:
            raise unfit
        return max(rises), max(rises) >= 0.2

    def near_gaussian(self):
        n = self.settings.plan.largest
        share = sample_value(self.table, "f_mem", N=n)
        if share > GENERALISING:
            raise NotJudgeable(f"the network at N = {n} copies {share:.1%} of its samples")
        row = self.table.one("cosine_to_gaussian", N=n)
        return row["value"], row["value"] >= 0.8, row["stderr"]


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

    nets, few = _Networks(table, settings), settings.few
    cosine = "centred cosine of the Gaussian samples of S1 and S2, N = 128"
    place = f"N = {few}" + ("" if few == FEW else f" (in the plan {FEW})")
    twins = f"centred cosine of the samples of twins that copy, {place}"
    stopped = "its rise by early stopping or by C = 4, the larger one"
    gaussian = "centred cosine of the samples of a generalising network and of its Gaussian"
    entries = [
        ("E7.a", cosine, ">= 0.9", at(128, 0.9)),
        ("E7.b", "the same, N = 2048", ">= 0.99", at(2048, 0.99)),
        ("E7.c", "shuffled pairs: largest mean cosine", "< 0.15", control),
        ("E7.d.1", twins, "<= 0.6", nets.disagree),
        ("E7.d.2", stopped, ">= 0.2", nets.raised),
        ("E7.e", gaussian, ">= 0.8", nets.near_gaussian),
    ]
    return [judge(*entry, dataset="toyfaces", table=table) for entry in entries]
