"""E1: with few images a network copies them; with many, two networks draw the same new images."""

from dataclasses import dataclass, replace

import numpy as np

from lindiff.experiments._net_criteria import (
    NotJudgeable,
    check_spread,
    net,
    sample_value,
    sizes_in,
    spearman,
    verdicts,
)
from lindiff.experiments._net_plans import PLANS, Plan
from lindiff.experiments.rows import MissingRow
from lindiff.experiments.units import Unit

TITLE = "From copies to new images: networks on N training images"
VERSION = 1
NEEDS_GPU = True
KEPT_SAMPLES = 64
SIGMA = 0.5
AGREEMENT = {
    "toyfaces": (16384, 0.95),
    "faces": (4096, 0.85),
    "mnist": (16384, 0.8),
    "fashion-mnist": (16384, 0.8),
}


@dataclass(frozen=True)
class Settings:
    """Networks of `plan`, two for each N: S1 and S2 differ in their images only."""

    plan: Plan
    seed: int = 0


PRESETS = {name: Settings(plan) for name, plan in PLANS.items()}


def units(settings):
    """One unit for each network and for each pair of twins; the extremes of N come first."""
    plan = settings.plan
    found = []
    for sizes in _order(plan):
        group = tuple(plan.config(n, subset) for n in sizes for subset in (1, 2))
        found += [Unit(f"net-N{c.n_images}-S{c.subset}", one_net, (plan, c, group)) for c in group]
        for n in sizes:
            twins = (plan.config(n, 1), plan.config(n, 2))
            found.append(Unit(f"twins-N{n}", one_pair, (plan, *twins)))
    first, second = (plan.config(plan.largest, subset) for subset in (1, 2))
    other = replace(second, seed_weights=1, seed_noise=1)
    return [*found, Unit(f"twins-N{plan.largest}-other-weights", one_pair, (plan, first, other))]


def _order(plan):
    """Groups of sizes that are trained together, the most telling first."""
    rest = [n for n in plan.sizes if n not in (min(plan.sizes), plan.largest)]
    sizes = [min(plan.sizes), plan.largest, *rest]
    pairs = max(1, plan.together // 2)
    return [sizes[i : i + pairs] for i in range(0, len(sizes), pairs)]


def one_net(context, plan, config, beside):
    """Return copies, novelty and error of one network; keep some of its samples."""
    from lindiff.experiments import _measures, nets
    from lindiff.experiments._subjects import network
    from lindiff.nn import diagnostics as dg

    subject = network(context, config, plan, beside=beside)
    samples = nets.samples_of(context, config, plan)
    rows = _measures.sample_rows(subject, samples)
    for split in ("test", "train"):
        rows += _measures.error_rows(subject, [SIGMA], plan.n_test, split=split)
    rows.append(subject.row("passes", subject.stamp["images_seen"] / config.n_images))
    kept = samples[:KEPT_SAMPLES]
    near = dg.nearest(kept, subject.train).index
    return rows, {"samples": _bytes(kept, config), "nearest": _bytes(subject.train[near], config)}


def _bytes(images, config):
    import torch

    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return pixels.reshape(-1, config.size, config.size).cpu().numpy()


def one_pair(context, plan, first, second):
    """Return how well two networks agree on the image they draw from the same noise."""
    from lindiff.experiments import _measures, nets
    from lindiff.experiments._subjects import network, stamp_of
    from lindiff.nn import diagnostics as dg

    subject = network(context, first, plan, beside=(second,))
    network(context, second, plan)
    samples = [nets.samples_of(context, config, plan) for config in (first, second)]
    centre = subject.test.mean(0)
    found = dg.agreement(*samples, centre)
    stamp = stamp_of(second) | {"subset": None}
    n = len(samples[0])
    rows = [
        replace(subject.row("twin_cosine", found.cosine, stderr=found.se, n_eval=n), **stamp),
        replace(subject.row("twin_shuffled", found.shuffled, n_eval=n), **stamp),
    ]
    if second.seed_weights != first.seed_weights:
        rows += _measures.sample_rows(network(context, second, plan), samples[1])
    return rows, {
        "twin_cosines": _measures.cosines(*samples, centre).float().cpu().numpy(),
        "nn_cosines": _measures.nearest_cosines(subject, samples[0]).float().cpu().numpy(),
    }


class _Reader:
    """Values of E1 by N; `large` and `least` are the N and the cosine of criterion c."""

    def __init__(self, table, settings):
        self.table = table
        self.large, self.least = AGREEMENT.get(settings.plan.data, (16384, 0.95))

    def copies(self, n, low, high):
        value = sample_value(self.table, "f_mem", N=n)
        stderr = self.table.one("f_mem", N=n, subset=1, seed=0)["stderr"]
        return value, low <= value <= high, stderr

    def novelty(self, n, low, high):
        value = sample_value(self.table, "gl_ratio", N=n)
        stderr = self.table.one("gl_ratio", N=n, subset=1, seed=0)["stderr"]
        return value, low <= value <= high, stderr

    def rank(self, metric, decreasing):
        sizes = sizes_in(self.table, metric, subset=1, seed=0)
        values = [sample_value(self.table, metric, N=n) for n in sizes]
        found = spearman(values, decreasing=decreasing)
        return found, abs(found) >= 0.9 and (found < 0) == decreasing

    def twins(self, n, metric="twin_cosine", seed=0):
        """A value about twins whose samples have the right spread."""
        value = self.table.value(metric, N=n, seed=seed)
        check_spread(self.table, N=n, subset=1)
        check_spread(self.table, N=n, subset=2, seed=seed)
        return value

    def disagree(self):
        value = self.twins(16)
        return value, value <= 0.5

    def agree(self):
        value = self.twins(self.large)
        return value, value >= self.least

    def shuffled(self):
        value = self.twins(max(sizes_in(self.table, "twin_shuffled", seed=0)), "twin_shuffled")
        return value, abs(value) < 0.15

    def crossing(self):
        sizes = sizes_in(self.table, "twin_cosine", seed=0)
        if len(sizes) < 3:
            raise MissingRow(f"a crossing needs at least three N, the table has {len(sizes)}")
        lead = np.array([self.twins(n) - net(self.table, "nn_cosine", N=n) for n in sizes])
        changes = np.flatnonzero(np.diff(np.sign(lead)))
        if len(changes):
            i = changes[0]
            share = lead[i] / (lead[i] - lead[i + 1])
            where = sizes[i] * (sizes[i + 1] / sizes[i]) ** share
            return where, len(changes) == 1 and lead[0] < 0 and 256 <= where <= 8192
        if sizes[0] > 256 or sizes[-1] < 8192:
            raise NotJudgeable("the two cosines do not cross on this grid of N")
        # A grid that covers the range shows that there is none: its far end stands for it.
        return sizes[-1 if lead[0] < 0 else 0], False, None, "no crossing: an end of the grid"

    def weights(self):
        n = max(sizes_in(self.table, "twin_cosine", seed=1))
        value = abs(self.twins(n, seed=1) - self.twins(n))
        return value, value <= 0.05


_COPIES = "share of copies among the samples at N = "
_NOVEL = "distance of samples from the nearest training image over that of real images, N = "
_TWINS = "cosine of twins' samples from the same noise, mean subtracted"
TESTS = (
    ("a.1", f"{_COPIES}16", ">= 0.9", lambda read: read.copies(16, 0.9, 1.0)),
    ("a.2", f"{_COPIES}4096", "<= 0.05", lambda read: read.copies(4096, 0.0, 0.05)),
    ("a.3", f"{_COPIES}16384", "<= 0.01", lambda read: read.copies(16384, 0.0, 0.01)),
    ("b.1", f"{_NOVEL}16", "<= 0.3", lambda read: read.novelty(16, 0.0, 0.3)),
    ("b.2", f"{_NOVEL}16384", ">= 0.85", lambda read: read.novelty(16384, 0.85, np.inf)),
    (
        "b.3",
        "this distance rises with N (rank correlation)",
        ">= 0.9",
        lambda read: read.rank("gl_ratio", False),
    ),
    (
        "b.4",
        "the share of copies falls with N (rank correlation, equal values count as ordered)",
        "<= -0.9",
        lambda read: read.rank("f_mem", True),
    ),
    ("c.1", f"{_TWINS}, N = 16", "<= 0.5", _Reader.disagree),
    ("c.2", f"{_TWINS}, N = {{large}}", ">= {least}", _Reader.agree),
    ("c.3", f"{_TWINS}, pairs shuffled", "< 0.15", _Reader.shuffled),
    (
        "d",
        "N at which twins become more alike than sample and training image; one crossing",
        "in [256, 8192]",
        _Reader.crossing,
    ),
    (
        "e",
        "change of the twins' cosine if their initial weights differ too, largest N",
        "<= 0.05",
        _Reader.weights,
    ),
)


def criteria(table, settings):
    """E1.a to E1.e."""
    return verdicts("E1", TESTS, _Reader, table, settings)
