"""E6: networks pass near the Gaussian denoiser first and copy later, the later the larger N."""

from dataclasses import dataclass, replace

import numpy as np

from lindiff.experiments import _measures, nets
from lindiff.experiments._net_criteria import (
    NotJudgeable,
    check_spread,
    crossing,
    sizes_in,
)
from lindiff.experiments._net_plans import PLANS, Plan
from lindiff.experiments._subjects import subject_of
from lindiff.experiments.rows import judge
from lindiff.experiments.units import Unit
from lindiff.nn import diagnostics as dg

TITLE = "Training time: distance from the Gaussian denoiser, and the onset of copying"
NEEDS_GPU = True
SIGMA = 0.5
COPYING = 0.1
SPLIT = 1.1


@dataclass(frozen=True)
class Settings:
    """Twins at each N of `sizes`, looked at in all checkpoints; `ramp` is a longer warm-up.

    Parameters
    ----------
    plan : Plan
    sizes : tuple of int
    n_samples : int
        Samples at each checkpoint.
    ramp : int or None
        Images of the warm-up of a further training at the smallest N.
    """

    plan: Plan
    sizes: tuple
    n_samples: int = 256
    ramp: int | None = None
    seed: int = 0


PRESETS = {
    "smoke": Settings(PLANS["smoke"], (16,), 16),
    "cpu": Settings(PLANS["cpu"], (16, 32), 64),
    "t4": Settings(PLANS["t4"], (64, 256)),
    "h100-slice": Settings(PLANS["h100-slice"], (64, 256)),
    "h200": Settings(PLANS["h200"], (64, 128, 256, 512), ramp=10_000_000),
}


def units(settings):
    """One unit for each N, and the twins at the largest N of E1 as the reference."""
    plan = settings.plan
    group = tuple(plan.config(n, subset) for n in settings.sizes for subset in (1, 2))
    twins = {n: (plan.config(n, 1), plan.config(n, 2)) for n in (*settings.sizes, plan.largest)}
    arguments = (settings.n_samples, group)
    found = [Unit(f"time-N{n}", course, (plan, twins[n], *arguments)) for n in settings.sizes]
    found.append(Unit(f"reference-N{plan.largest}", reference, (plan, twins[plan.largest], settings.n_samples)))
    if settings.ramp is not None:
        slow = tuple(replace(c, warmup=settings.ramp) for c in twins[min(settings.sizes)])
        key = f"ramp-N{min(settings.sizes)}"
        found.append(Unit(key, course, (plan, slow, settings.n_samples, slow, "+ramp")))
    return found


def course(context, plan, twins, n_samples, group, label=""):
    """Return what becomes of a network and of its twin in the course of training."""
    rows, first = [], twins[0]
    nets.trained(context, twins[1], n_test=plan.n_test, beside=group)
    for step, found in enumerate(nets.at_checkpoints(context, first, n_test=plan.n_test, beside=group)):
        subject = subject_of(first, found)
        subject.stamp.update(step=step, arch=subject.stamp["arch"] + label)
        for split in ("test", "train"):
            rows += _measures.distance_rows(subject, [SIGMA], plan.n_test, split=split)
        rows += _measures.linearity_rows(subject, [SIGMA], plan.n_pairs)
        rows += _twin_rows(context, plan, subject, twins, n_samples)
    return rows


def reference(context, plan, twins, n_samples):
    """Return the agreement of twins trained on many images in the course of training."""
    rows = []
    nets.trained(context, twins[1], n_test=plan.n_test)
    for step, found in enumerate(nets.at_checkpoints(context, twins[0], n_test=plan.n_test)):
        subject = subject_of(twins[0], found)
        subject.stamp.update(step=step)
        rows += _measures.error_rows(subject, [SIGMA], plan.n_test)
        rows += _twin_rows(context, plan, subject, twins, n_samples)
    return rows


def _twin_rows(context, plan, subject, twins, n_samples):
    samples = [
        nets.samples_of(context, c, plan, count=subject.stamp["images_seen"], n_samples=n_samples)
        for c in twins
    ]
    found = dg.agreement(*samples, subject.test.mean(0))
    twin = subject.row("twin_cosine", found.cosine, stderr=found.se, n_eval=n_samples)
    return [*_measures.sample_rows(subject, samples[0]), twin]


class _Course:
    """Curves of E6 along training, for one N."""

    def __init__(self, table, n, arch):
        self.table, self.n, self.arch = table, n, arch

    def curve(self, metric, **conditions):
        seen, value, _ = self.table.curve(
            metric, "images_seen", N=self.n, subset=1, arch=self.arch, **conditions
        )
        return seen, value

    def distance(self):
        return self.curve("rmse_to_gaussian", split="test", sigma=SIGMA)

    def turning(self):
        """Images at which the distance is least; it must lie inside the course."""
        seen, value = self.distance()
        least = int(value.argmin())
        return seen[least], value[-1] / value[least], 0 < least < len(seen) - 1

    def at(self, metric, images_seen):
        seen, value = self.curve(metric)
        if images_seen > seen[-1] * (1 + 1e-9):
            raise NotJudgeable(f"the network at N = {self.n} saw fewer than {images_seen:.0f} images")
        return float(np.interp(np.log(images_seen), np.log(seen), value))

    def generalised(self):
        """Images after which the held-out error is within 5 % of its least."""
        seen, value = self.curve("mse", split="test", sigma=SIGMA)
        return seen[np.flatnonzero(value <= 1.05 * value.min())[0]]

    def copied(self):
        """Images after which more than a tenth of the samples are copies."""
        seen, value = self.curve("f_mem")
        check_spread(self.table, N=self.n, arch=self.arch, images_seen=seen[-1])
        return crossing(seen, value, COPYING)

    def parted(self):
        """Images after which the held-out error is 10 % above the training error."""
        seen, test = self.curve("mse", split="test", sigma=SIGMA)
        train = self.curve("mse", split="train", sigma=SIGMA)[1]
        return crossing(seen, test / train, SPLIT)


def criteria(table, settings):
    """E6.a to E6.e."""
    arch, data = settings.plan.arch, settings.plan.data

    def courses(most=None):
        sizes = sizes_in(table, "rmse_to_gaussian", arch=arch, subset=1)
        return [_Course(table, n, arch) for n in sizes if most is None or n <= most]

    def minimum():
        turns = [each.turning() for each in courses(256)]
        value = min(rise for _, rise, _ in turns)
        return value, value >= 1.2 and all(inside for *_, inside in turns)

    def no_copies():
        value = max(each.at("f_mem", _spread_at_turning(each)) for each in courses(256))
        return value, value == 0

    def agreement():
        many = _Course(table, settings.plan.largest, arch)
        found = [(each, _spread_at_turning(each)) for each in courses(256)]
        gaps = [
            abs(each.at("twin_cosine", seen) - many.at("twin_cosine", seen)) for each, seen in found
        ]
        return max(gaps), max(gaps) <= 0.1

    def generalised():
        times = [each.generalised() for each in courses()]
        if len(times) < 2:
            raise NotJudgeable("a comparison needs two sizes N")
        value = max(times) / min(times)
        return value, value < 2

    def exponent():
        found = courses()
        if len(found) < 2:
            raise NotJudgeable("an exponent needs two sizes N")
        logs = [(np.log(each.n), np.log(each.copied())) for each in found]
        beta = float(np.polyfit(*zip(*logs, strict=True), 1)[0])
        return beta, 0.7 <= beta <= 1.3

    def order():
        value = max(each.parted() / each.copied() for each in courses())
        return value, value < 1

    distance = "distance from the Gaussian denoiser of the training images, sigma = 0.5"
    tests = [
        ("a", f"{distance}: last over least, least inside, N <= 256", ">= 1.2", minimum),
        ("b.1", "share of copies where that distance is least", "0", no_copies),
        ("b.2", "twins' cosine there, against twins on the largest N", "within 0.1", agreement),
        ("c", "images until the held-out error is within 5 % of its least, largest over least N", "< 2", generalised),
        ("d", "exponent of the onset of copying in N", "in [0.7, 1.3]", exponent),
        ("e", "images until the errors part over images until copying", "< 1", order),
    ]
    return [judge(f"E6.{i}", text, limit, test, dataset=data) for i, text, limit, test in tests]


def _spread_at_turning(each):
    seen = each.turning()[0]
    check_spread(each.table, N=each.n, arch=each.arch, images_seen=seen)
    return seen
