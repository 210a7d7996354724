"""E5: a small network stays near the Gaussian denoiser, a large one copies."""

from dataclasses import dataclass, replace

import numpy as np

from lindiff.experiments._net_criteria import (
    NotJudgeable,
    between,
    check_spread,
    spearman,
    verdicts,
)
from lindiff.experiments._net_plans import PLANS, Plan
from lindiff.experiments.rows import MissingRow
from lindiff.experiments.units import Unit

TITLE = "Capacity: base width of the network at a fixed number of training images"
VERSION = 1
NEEDS_GPU = True
SIZE = 256
PURE = "edm"


@dataclass(frozen=True)
class Settings:
    """Widths C at `n_images`; `pure` are the widths trained without the tail of high noise."""

    plan: Plan
    widths: tuple
    pure: tuple
    n_images: int = SIZE
    seed: int = 0


PRESETS = {
    "smoke": Settings(replace(PLANS["smoke"], width=4), (4, 8), (4, 8), n_images=16),
    # The budget is too small for a network to copy 256 images.
    "cpu": Settings(PLANS["cpu"], (4, 8, 16), (), n_images=16),
    "t4": Settings(PLANS["t4"], (4, 16, 64), (4, 64)),
    "h100-slice": Settings(PLANS["h100-slice"], (4, 16, 64), ()),
    "h200": Settings(PLANS["h200"], (4, 8, 16, 32, 64), (4, 64)),
}


def units(settings):
    """One unit for each network, the cheap ones first."""
    plan, n = settings.plan, settings.n_images
    found = [
        Unit(f"net-C{width}", one_net, (plan, plan.config(n, width=width)))
        for width in settings.widths
    ]
    pure = [
        Unit(f"net-C{width}-pure-edm", one_net, (plan, plan.config(n, width=width, sigma_law=PURE)))
        for width in settings.pure
    ]
    return found + pure


def one_net(context, plan, config):
    """Return copies and distances of one network."""
    from lindiff.experiments import _measures, nets
    from lindiff.experiments._subjects import network

    subject = network(context, config, plan)
    samples = nets.samples_of(context, config, plan)
    rows = _measures.sample_rows(subject, samples)
    rows += _measures.distance_rows(subject, plan.levels, plan.n_test, closed=("gaussian",))
    return rows


class _Reader:
    """Values of E5 by width C; the criteria are about one N."""

    def __init__(self, table, settings):
        self.table, self.settings = table, settings

    def _where(self, width, pure=False):
        n = self.settings.n_images
        if n != SIZE:
            raise NotJudgeable(f"it is meant at N = {SIZE}, these networks have N = {n}")
        label = f"unet-{width}" + (f"+{PURE}" if pure else "")
        return {"arch": label, "N": n, "subset": 1}

    def widths(self):
        found = [c for c in self.settings.widths if len(self.table.where("mse", **self._where(c)))]
        if not found:
            raise MissingRow("there are no networks in the table")
        return found

    def share(self, width):
        check_spread(self.table, **self._where(width))
        return self.table.value("f_mem", **self._where(width))

    def distance(self, width, low=0.117, high=5.0, pure=False):
        """Distance from the Gaussian denoiser, averaged over noise levels."""
        sigma, value, _ = self.table.curve(
            "rmse_to_gaussian", "sigma", split="test", **self._where(width, pure)
        )
        return float(np.mean(value[np.isin(sigma, between(sigma, low, high))]))

    def copies(self, width, low, high):
        value = self.share(width)
        return value, low <= value <= high

    def monotone(self):
        value = spearman([self.share(c) for c in self.widths()])
        return value, value >= 0.9

    def smallest(self):
        distances = {c: self.distance(c) for c in self.widths()}
        best = min(distances, key=distances.get)
        return best, best in (4, 8)

    def rise(self):
        value = self.distance(64) / min(self.distance(c) for c in self.widths())
        return value, value >= 1.25

    def high_noise(self, pure):
        value = self.distance(4, 40.0, 80.0, pure) / self.distance(64, 40.0, 80.0, pure)
        return value, (value > 1) == pure


_DISTANCE = "distance from the Gaussian denoiser"
TESTS = (
    ("a.1", "share of copies, C = 64", ">= 0.8", lambda read: read.copies(64, 0.8, 1.0)),
    ("a.2", "share of copies, C = 4", "<= 0.05", lambda read: read.copies(4, 0.0, 0.05)),
    ("a.3", "the share rises with C (rank correlation)", ">= 0.9", _Reader.monotone),
    (
        "b.1",
        f"width C of the least {_DISTANCE}, sigma in [0.117, 5]",
        "4 or 8",
        _Reader.smallest,
    ),
    ("b.2", f"{_DISTANCE} at C = 64 over the least", ">= 1.25", _Reader.rise),
    (
        "c.1",
        f"{_DISTANCE}, C = 4 over C = 64, sigma >= 40, EDM's noise law",
        "> 1",
        lambda read: read.high_noise(True),
    ),
    (
        "c.2",
        "the same with the tail of high noise",
        "<= 1",
        lambda read: read.high_noise(False),
    ),
)


def criteria(table, settings):
    """E5.a to E5.c."""
    return verdicts("E5", TESTS, _Reader, table, settings)
