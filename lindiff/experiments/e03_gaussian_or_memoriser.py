"""E3: which closed form is nearer to a network, the Gaussian one or the memoriser?"""

from dataclasses import dataclass

import numpy as np

from lindiff.experiments._net_criteria import (
    GENERALISING,
    NotJudgeable,
    between,
    generalising_sizes,
    net,
    sample_value,
    sizes_in,
    verdicts,
)
from lindiff.experiments._net_plans import PLANS, Plan
from lindiff.experiments.rows import MissingRow
from lindiff.experiments.units import Unit

TITLE = "Distance of networks from the Gaussian and the memorising denoiser"
VERSION = 1
NEEDS_GPU = True
LOWEST = 0.002
PYTHAGORAS_BUDGET = 4_000_000


@dataclass(frozen=True)
class Settings:
    """The first networks of E1; closed forms alone at `predicted` sizes N."""

    plan: Plan
    predicted: tuple
    seed: int = 0


PRESETS = {
    name: Settings(plan, tuple(4**k for k in range(2, 8) if 4**k <= plan.largest))
    for name, plan in PLANS.items()
}


def units(settings):
    """The prediction without training, then one unit for each N."""
    plan = settings.plan
    ends = [min(plan.sizes), plan.largest]
    sizes = [*ends, *(n for n in plan.sizes if n not in ends)]
    prediction = Unit("prediction", predict, (plan, settings.predicted))
    return [prediction, *(Unit(f"distance-N{n}", one_size, (plan, plan.config(n))) for n in sizes)]


def predict(context, plan, sizes):
    """Return the held-out errors of both closed forms and where they cross."""
    from lindiff.experiments import _measures, nets
    from lindiff.experiments._subjects import Subject

    rows = []
    for n in sizes:
        split = nets.split_of(plan.config(n), n_test=plan.n_test, device=context.device)
        stamp = {"dataset": plan.data, "N": n, "subset": 1}
        bare = Subject(None, split.train.flat(), split.test.flat(), stamp)
        for name in ("gaussian", "memoriser"):
            closed = bare.closed(name)
            rows += [
                closed.row(f"predicted_{row.metric}", row.value, **_place(row))
                for row in _measures.error_rows(closed, plan.levels, plan.n_test)
            ]
        rows += _crossover(rows, bare, n)
    return rows


def _place(row):
    return {"sigma": row.sigma, "split": row.split, "stderr": row.stderr, "n_eval": row.n_eval}


def _crossover(rows, bare, n):
    """The lowest level above which the memoriser is the better closed form, if there is one."""
    mine = [row for row in rows if row.metric == "predicted_mse" and n == row.N]
    error = {name: [r.value for r in mine if r.arch == name] for name in ("gaussian", "memoriser")}
    levels = [row.sigma for row in mine if row.arch == "gaussian"]
    lead = np.log(np.array(error["memoriser"]) / np.array(error["gaussian"]))
    falls = np.flatnonzero((lead[:-1] > 0) & (lead[1:] <= 0))
    if not len(falls):
        return []
    i = falls[0]
    share = lead[i] / (lead[i] - lead[i + 1])
    return [bare.row("sigma_crossover", levels[i] * (levels[i + 1] / levels[i]) ** share)]


def one_size(context, plan, config):
    """Return errors and distances of a network on held-out and on training images."""
    from lindiff.experiments import _measures, nets
    from lindiff.experiments._subjects import network

    subject = network(context, config, plan)
    rows = _measures.sample_rows(subject, nets.samples_of(context, config, plan))
    for split in ("test", "train"):
        rows += _measures.distance_rows(subject, plan.levels, plan.n_test, split=split)
        for name in ("gaussian", "memoriser"):
            closed = subject.closed(name)
            rows += _measures.error_rows(closed, plan.levels, plan.n_test, split=split)
    limit = _measures.off_span(subject.train, subject.test)
    return [*rows, subject.row("off_span", limit, split="test")]


class _Reader:
    """Values of E3 by N and noise level."""

    def __init__(self, table, settings):
        self.table, self.arch = table, settings.plan.arch
        self.dimension = settings.plan.size**2

    def levels(self, n):
        return self.table.curve("mse", "sigma", N=n, arch=self.arch, split="test")[0]

    def mse(self, n, sigma, of):
        return self.table.value("mse", N=n, arch=of, sigma=sigma, split="test")

    def to(self, name, n, sigma, split="test"):
        metric = f"rmse_to_{name}"
        return net(self.table, metric, N=n, arch=self.arch, sigma=sigma, split=split)

    def ratio(self, n, sigma, split="test"):
        """Distance from the memoriser over that from the Gaussian denoiser."""
        return self.to("memoriser", n, sigma, split) / self.to("gaussian", n, sigma, split)

    def copying(self):
        """Sizes N <= 64 whose network copies."""
        sizes = [n for n in sizes_in(self.table, "f_mem") if n <= 64]
        sizes = [n for n in sizes if sample_value(self.table, "f_mem", N=n) > GENERALISING]
        if not sizes:
            raise NotJudgeable("no network with N <= 64 copies")
        return sizes

    def large(self):
        """4096, or 16384 if the network at 4096 copies."""
        for n in (4096, 16384):
            if sample_value(self.table, "f_mem", N=n) <= GENERALISING:
                return n
        raise NotJudgeable("the networks at N = 4096 and 16384 copy")

    def prediction(self):
        right = []
        for n in generalising_sizes(self.table):
            for sigma in self.levels(n):
                errors = self.mse(n, sigma, "memoriser") / self.mse(n, sigma, "gaussian")
                if abs(np.log(errors)) > 0.1:
                    right.append((errors > 1) == (self.ratio(n, sigma) > 1))
        if not right:
            raise NotJudgeable("both closed forms are equally good everywhere")
        return np.mean(right), np.mean(right) >= 0.9

    def apart(self):
        sizes = [n for n in generalising_sizes(self.table) if n <= 16384]
        value = min(self.ratio(n, 0.2) for n in sizes)
        return value, value >= 2

    def reversed(self, split, low, high):
        sizes = self.copying()
        levels = between(self.levels(sizes[0]), low, high)
        value = max(self.ratio(n, sigma, split) for n in sizes for sigma in levels)
        return value, value < 1

    def closer(self):
        value = 1 - self.to("gaussian", self.large(), 0.5) / self.to("gaussian", 16, 0.5)
        return value, value >= 0.25

    def audit(self):
        first = self.large()
        rows = self.table.where("rho_gaussian", arch=self.arch, split="test")
        sizes = [int(n) for n in np.unique(rows["N"]) if n >= first]
        least = rows.where(N=sizes)["images_seen"].min()
        if least < PYTHAGORAS_BUDGET:
            raise NotJudgeable(f"it is meant after 4 million images, not after {least:.0f}")
        levels = between(self.levels(first), 0.1, 1.0)
        found = rows.where(N=sizes, sigma=levels)["value"]
        worst = found[abs(found - 1).argmax()]
        return worst, found.min() >= 0.9 and found.max() <= 1.5

    def low_noise(self):
        sizes = [n for n in sizes_in(self.table, "off_span") if n < self.dimension]
        if not sizes:
            raise MissingRow("no network has fewer training images than pixels")
        limits = {n: net(self.table, "off_span", N=n) for n in sizes}
        errors = [self.to("gaussian", n, LOWEST) / limits[n] - 1 for n in sizes]
        return max(errors, key=abs), max(map(abs, errors)) <= 0.05


_NEARER = "distance from the memoriser over that from the Gaussian denoiser"
TESTS = (
    (
        "a",
        "share of points (N, sigma) at which the better closed form is the nearer one",
        ">= 0.9",
        _Reader.prediction,
    ),
    ("b", f"{_NEARER}, sigma = 0.2, least over generalising N", ">= 2", _Reader.apart),
    (
        "c.1",
        f"{_NEARER}, held-out images, sigma 0.5 and 1, N <= 64",
        "< 1",
        lambda read: read.reversed("test", 0.5, 1.0),
    ),
    (
        "c.2",
        f"{_NEARER}, training images, sigma in [0.1, 1], N <= 64",
        "< 1",
        lambda read: read.reversed("train", 0.1, 1.0),
    ),
    (
        "d",
        "fall of the distance from the Gaussian denoiser, sigma = 0.5, N = 16 to 4096",
        ">= 0.25",
        _Reader.closer,
    ),
    (
        "e",
        "Pythagoras ratio farthest from 1, sigma in [0.1, 1], N >= 4096",
        "in [0.9, 1.5]",
        _Reader.audit,
    ),
    (
        "f",
        "relative error of the low-noise limit, N below the dimension",
        "<= 0.05",
        _Reader.low_noise,
    ),
)


def criteria(table, settings):
    """E3.a to E3.f."""
    return verdicts("E3", TESTS, _Reader, table, settings)
