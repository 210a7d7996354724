"""E6: networks pass near the Gaussian denoiser first and copy later, the later the larger N."""

from dataclasses import dataclass, replace

import numpy as np

from lindiff.experiments._net_criteria import (
    NotJudgeable,
    check_spread,
    crossing,
    sizes_in,
    verdicts,
)
from lindiff.experiments._net_plans import PLANS, Plan
from lindiff.experiments.units import Unit

TITLE = "Training time: distance from the Gaussian denoiser, and the onset of copying"
VERSION = 1
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
    "h100-slice": Settings(PLANS["h100-slice"], (64, 128)),
    "h200": Settings(PLANS["h200"], (64, 128, 256, 512), ramp=10_000_000),
}


def units(settings):
    """One unit for each N, and the twins at the largest N of E1 as the reference."""
    plan, n_samples = settings.plan, settings.n_samples
    sizes = settings.sizes
    twins = {n: (plan.config(n, 1), plan.config(n, 2)) for n in (*sizes, plan.largest)}
    group = tuple(config for n in sizes for config in twins[n])
    found = [Unit(f"time-N{n}", course, (plan, twins[n], n_samples, group)) for n in sizes]
    arguments = (plan, twins[plan.largest], n_samples)
    found.append(Unit(f"reference-N{plan.largest}", reference, arguments))
    if settings.ramp is not None:
        slow = tuple(replace(config, warmup=settings.ramp) for config in twins[min(sizes)])
        arguments = (plan, slow, n_samples, slow, "+ramp")
        found.append(Unit(f"ramp-N{min(sizes)}", course, arguments))
    return found


def course(context, plan, twins, n_samples, group, label=""):
    """Return what becomes of a network and of its twin in the course of training."""
    from lindiff.experiments import _measures, nets
    from lindiff.experiments._subjects import subject_of

    rows, first = [], twins[0]
    nets.trained(context, twins[1], plan, beside=group)
    on_the_way = nets.at_checkpoints(context, first, plan, beside=group)
    for step, found in enumerate(on_the_way):
        subject = subject_of(first, found)
        subject.stamp.update(step=step, arch=subject.stamp["arch"] + label)
        for split in ("test", "train"):
            rows += _measures.distance_rows(subject, [SIGMA], plan.n_test, split=split)
        rows += _measures.linearity_rows(subject, [SIGMA], plan.n_pairs)
        rows += _twin_rows(context, plan, subject, twins, n_samples)
    return rows


def reference(context, plan, twins, n_samples):
    """Return the agreement of twins trained on many images in the course of training."""
    from lindiff.experiments import _measures, nets
    from lindiff.experiments._subjects import subject_of

    rows = []
    nets.trained(context, twins[1], plan)
    for step, found in enumerate(nets.at_checkpoints(context, twins[0], plan)):
        subject = subject_of(twins[0], found)
        subject.stamp.update(step=step)
        rows += _measures.error_rows(subject, [SIGMA], plan.n_test)
        rows += _twin_rows(context, plan, subject, twins, n_samples)
    return rows


def _twin_rows(context, plan, subject, twins, n_samples):
    from lindiff.experiments import _measures, nets
    from lindiff.nn import diagnostics as dg

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
            raise NotJudgeable(
                f"the network at N = {self.n} saw fewer than {images_seen:.0f} images"
            )
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


class _Reader:
    """The courses of an experiment."""

    def __init__(self, table, settings):
        self.table, self.arch, self.largest = table, settings.plan.arch, settings.plan.largest

    def courses(self, most=np.inf, least=1):
        sizes = sizes_in(self.table, "rmse_to_gaussian", arch=self.arch, subset=1)
        if len(sizes) < least:
            raise NotJudgeable(f"it needs {least} sizes N")
        return [_Course(self.table, n, self.arch) for n in sizes if n <= most]

    def at_turning(self):
        """Courses with the images at their least distance, where samples have their spread."""
        found = [(each, each.turning()[0]) for each in self.courses(256)]
        for each, seen in found:
            check_spread(self.table, N=each.n, arch=self.arch, images_seen=seen)
        return found

    def minimum(self):
        turns = [each.turning() for each in self.courses(256)]
        value = min(rise for _, rise, _ in turns)
        return value, value >= 1.2 and all(inside for *_, inside in turns)

    def no_copies(self):
        value = max(each.at("f_mem", seen) for each, seen in self.at_turning())
        return value, value == 0

    def agreement(self):
        many, metric = _Course(self.table, self.largest, self.arch), "twin_cosine"
        pairs = [(each.at(metric, s), many.at(metric, s)) for each, s in self.at_turning()]
        value = max(abs(few - all_) for few, all_ in pairs)
        return value, value <= 0.1

    def generalised(self):
        times = [each.generalised() for each in self.courses(least=2)]
        value = max(times) / min(times)
        return value, value < 2

    def exponent(self):
        logs = [np.log([each.n, each.copied()]) for each in self.courses(least=2)]
        beta = float(np.polyfit(*np.transpose(logs), 1)[0])
        return beta, 0.7 <= beta <= 1.3

    def order(self):
        value = max(each.parted() / each.copied() for each in self.courses())
        return value, value < 1


_DISTANCE = "distance from the Gaussian denoiser of the training images, sigma = 0.5"
TESTS = (
    (
        "a",
        f"{_DISTANCE}, N <= 256: last over least value; the least must come before the end",
        ">= 1.2",
        _Reader.minimum,
    ),
    ("b.1", "share of copies where that distance is least", "0", _Reader.no_copies),
    (
        "b.2",
        "twins' cosine there, against twins on the largest N",
        "within 0.1",
        _Reader.agreement,
    ),
    (
        "c",
        "images until the held-out error is within 5 % of its least, largest over least N",
        "< 2",
        _Reader.generalised,
    ),
    ("d", "exponent of the onset of copying in N", "in [0.7, 1.3]", _Reader.exponent),
    ("e", "images until the errors part over images until copying", "< 1", _Reader.order),
)


def criteria(table, settings):
    """E6.a to E6.e."""
    return verdicts("E6", TESTS, _Reader, table, settings)
