"""E5: a small network stays near the Gaussian denoiser, a large one copies."""

from dataclasses import dataclass, replace

import numpy as np

from lindiff.experiments import _measures, nets
from lindiff.experiments._net_criteria import NotJudgeable, between, check_spread, spearman
from lindiff.experiments._net_plans import PLANS, Plan
from lindiff.experiments._subjects import network
from lindiff.experiments.rows import MissingRow, judge
from lindiff.experiments.units import Unit

TITLE = "Capacity: base width of the network at a fixed number of training images"
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


_REDUCED = {"widths": (4, 16, 64), "pure": (4, 64)}
PRESETS = {
    "smoke": Settings(replace(PLANS["smoke"], width=4), (4, 8), (4, 8), n_images=16),
    # 16 images: 64,000 are too few for a small network to copy 256.
    "cpu": Settings(PLANS["cpu"], (4, 8, 16), (), n_images=16),
    "t4": Settings(PLANS["t4"], **_REDUCED),
    "h100-slice": Settings(PLANS["h100-slice"], **_REDUCED),
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
    subject = network(context, config, n_test=plan.n_test)
    samples = nets.samples_of(context, config, plan)
    rows = _measures.sample_rows(subject, samples)
    rows += _measures.distance_rows(subject, plan.levels, plan.n_test, closed=("gaussian",))
    return rows


class _Reader:
    """Values of E5 by width."""

    def __init__(self, table, settings):
        self.table, self.settings = table, settings

    def _where(self, width, pure=False):
        label = f"unet-{width}" + (f"+{PURE}" if pure else "")
        return {"arch": label, "N": self.settings.n_images, "subset": 1}

    def widths(self):
        found = [c for c in self.settings.widths if len(self.table.where("mse", **self._where(c)))]
        if not found:
            raise MissingRow("there are no networks in the table")
        return found

    def meant(self):
        """Raise if the networks have not the N of the criteria."""
        if self.settings.n_images != SIZE:
            raise NotJudgeable(f"it is meant at N = {SIZE}, these have N = {self.settings.n_images}")

    def copies(self, width):
        check_spread(self.table, C=width, **self._where(width))
        return self.table.value("f_mem", **self._where(width))

    def distance(self, width, low, high, pure=False):
        sigma, value, _ = self.table.curve(
            "rmse_to_gaussian", "sigma", split="test", **self._where(width, pure)
        )
        levels = between(sigma, low, high)
        return float(np.mean(value[np.isin(sigma, levels)]))


def criteria(table, settings):
    """E5.a to E5.c."""
    read, data = _Reader(table, settings), settings.plan.data

    def copies(width, low, high):
        def run():
            read.meant()
            value = read.copies(width)
            return value, low <= value <= high

        return run

    def monotone():
        read.meant()
        value = spearman([read.copies(c) for c in read.widths()])
        return value, value >= 0.9

    def smallest():
        read.meant()
        distances = {c: read.distance(c, 0.117, 5.0) for c in read.widths()}
        best = min(distances, key=distances.get)
        return best, best in (4, 8)

    def rise():
        read.meant()
        least = min(read.distance(c, 0.117, 5.0) for c in read.widths())
        value = read.distance(64, 0.117, 5.0) / least
        return value, value >= 1.25

    def high_noise(pure, holds):
        def run():
            read.meant()
            value = read.distance(4, 40.0, 80.0, pure) / read.distance(64, 40.0, 80.0, pure)
            return value, holds(value)

        return run

    distance = "distance from the Gaussian denoiser"
    tests = [
        ("a.1", "share of copies, C = 64", ">= 0.8", copies(64, 0.8, 1.0)),
        ("a.2", "share of copies, C = 4", "<= 0.05", copies(4, 0.0, 0.05)),
        ("a.3", "the share rises with C (rank correlation)", ">= 0.9", monotone),
        ("b.1", f"width C of the least {distance}, sigma in [0.117, 5]", "4 or 8", smallest),
        ("b.2", f"{distance} at C = 64 over the least", ">= 1.25", rise),
        (
            "c.1",
            f"{distance}, C = 4 over C = 64, sigma >= 40, EDM's noise law",
            "> 1",
            high_noise(True, lambda v: v > 1),
        ),
        (
            "c.2",
            "the same with the tail of high noise",
            "<= 1",
            high_noise(False, lambda v: v <= 1),
        ),
    ]
    return [judge(f"E5.{i}", text, limit, test, dataset=data) for i, text, limit, test in tests]
