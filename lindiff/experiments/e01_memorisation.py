"""E1: with few images a network copies them; with many, two networks draw the same new images."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from lindiff.experiments import _measures, nets
from lindiff.experiments._net_criteria import (
    NotJudgeable,
    check_spread,
    net,
    sample_value,
    sizes_in,
    spearman,
)
from lindiff.experiments._net_plans import PLANS, Plan
from lindiff.experiments._subjects import network, stamp_of
from lindiff.experiments.rows import MissingRow, judge
from lindiff.experiments.units import Unit
from lindiff.nn import diagnostics as dg

TITLE = "From copies to new images: networks on N training images"
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
    subject = network(context, config, n_test=plan.n_test, beside=beside)
    samples = nets.samples_of(context, config, plan)
    rows = _measures.sample_rows(subject, samples)
    for split in ("test", "train"):
        rows += _measures.error_rows(subject, [SIGMA], plan.n_test, split=split)
    rows.append(subject.row("passes", subject.stamp["images_seen"] / config.n_images))
    kept = samples[:KEPT_SAMPLES]
    near = dg.nearest(kept, subject.train).index
    return rows, {"samples": _bytes(kept, config), "nearest": _bytes(subject.train[near], config)}


def _bytes(images, config):
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return pixels.reshape(-1, config.size, config.size).cpu().numpy()


def one_pair(context, plan, first, second):
    """Return how well two networks agree on the image they draw from the same noise."""
    subject = network(context, first, n_test=plan.n_test, beside=(second,))
    network(context, second, n_test=plan.n_test)
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
        rows += _measures.sample_rows(network(context, second, n_test=plan.n_test), samples[1])
    return rows, {
        "twin_cosines": _measures.cosines(*samples, centre).float().cpu().numpy(),
        "nn_cosines": _measures.nearest_cosines(subject, samples[0]).float().cpu().numpy(),
    }


def criteria(table, settings):
    """E1.a to E1.e."""
    data = settings.plan.data
    return [*_copies(table, data), *_novelty(table, data), *_twins(table, data)]


def _copies(table, data):
    def test(n, low, high):
        def run():
            value = sample_value(table, "f_mem", N=n)
            stderr = table.one("f_mem", N=n, subset=1, seed=0)["stderr"]
            return value, low <= value <= high, stderr

        return run

    parts = [(16, 0.9, 1.0, ">= 0.9"), (4096, 0.0, 0.05, "<= 0.05"), (16384, 0.0, 0.01, "<= 0.01")]
    return [
        judge(
            f"E1.a.{i}",
            f"share of copies among the samples at N = {n}",
            text,
            test(n, low, high),
            dataset=data,
            run_ids=(f"net-N{n}-S1",),
        )
        for i, (n, low, high, text) in enumerate(parts, 1)
    ]


def _novelty(table, data):
    def ratio(n, holds):
        def run():
            value = sample_value(table, "gl_ratio", N=n)
            return value, holds(value)

        return run

    def rank(metric, decreasing):
        def run():
            sizes = sizes_in(table, metric, subset=1, seed=0)
            values = [sample_value(table, metric, N=n) for n in sizes]
            found = spearman(values, decreasing=decreasing)
            return found, abs(found) >= 0.9 and (found < 0) == decreasing

        return run

    novel = "distance of samples from the nearest training image over that of real images"
    return [
        judge("E1.b.1", f"{novel}, N = 16", "<= 0.3", ratio(16, lambda v: v <= 0.3), dataset=data),
        judge(
            "E1.b.2", f"{novel}, N = 16384", ">= 0.85", ratio(16384, lambda v: v >= 0.85), dataset=data
        ),
        judge(
            "E1.b.3", "it rises with N (rank correlation)", ">= 0.9", rank("gl_ratio", False), dataset=data
        ),
        judge(
            "E1.b.4",
            "the share of copies falls with N (rank correlation, equal values count as ordered)",
            "<= -0.9",
            rank("f_mem", True),
            dataset=data,
        ),
    ]


def twin_value(table, n, metric="twin_cosine", seed=0):
    """Return a value about twins whose samples have the right spread."""
    value = table.value(metric, N=n, seed=seed)
    check_spread(table, N=n, subset=1)
    check_spread(table, N=n, subset=2, seed=seed)
    return value


def _twins(table, data):
    large, least = AGREEMENT.get(data, (16384, 0.95))

    def few():
        value = twin_value(table, 16)
        return value, value <= 0.5

    def many():
        value = twin_value(table, large)
        return value, value >= least

    def control():
        sizes = sizes_in(table, "twin_shuffled", seed=0)
        value = twin_value(table, max(sizes), "twin_shuffled")
        return value, abs(value) < 0.15

    def weights():
        n = max(sizes_in(table, "twin_cosine", seed=1))
        value = abs(twin_value(table, n, seed=1) - twin_value(table, n))
        return value, value <= 0.05

    same = "cosine of twins' samples from the same noise, mean subtracted"
    return [
        judge("E1.c.1", f"{same}, N = 16", "<= 0.5", few, dataset=data),
        judge("E1.c.2", f"{same}, N = {large}", f">= {least}", many, dataset=data),
        judge("E1.c.3", f"{same}, pairs shuffled", "< 0.15", control, dataset=data),
        judge(
            "E1.d",
            "N at which twins become more alike than sample and training image; one crossing",
            "in [256, 8192]",
            lambda: _one_crossing(table),
            dataset=data,
        ),
        judge(
            "E1.e",
            "change of the twins' cosine if their initial weights differ too, largest N",
            "<= 0.05",
            weights,
            dataset=data,
        ),
    ]


def _one_crossing(table):
    sizes = sizes_in(table, "twin_cosine", seed=0)
    if len(sizes) < 3:
        raise MissingRow(f"a crossing needs at least three N, the table has {len(sizes)}")
    lead = np.array([twin_value(table, n) - net(table, "nn_cosine", N=n) for n in sizes])
    changes = np.flatnonzero(np.diff(np.sign(lead)))
    if not len(changes):
        raise NotJudgeable("the two cosines do not cross on this grid of N")
    i = changes[0]
    share = lead[i] / (lead[i] - lead[i + 1])
    where = sizes[i] * (sizes[i + 1] / sizes[i]) ** share
    return where, len(changes) == 1 and 256 <= where <= 8192
