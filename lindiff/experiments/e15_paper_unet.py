"""E15: the network figure of Halder 2024: quality against training images and steps.

An addition of the book. Halder 2024 (arXiv 2411.17807), H-40 to H-42, C-7, E-4, E-6; protocol
of the second public code, with all images on the scale [0, 1].
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lindiff.experiments.rows import MissingRow, Row, judge
from lindiff.experiments.units import Unit
from lindiff.gaussians import kl_gaussian

TITLE = "Halder's U-Net: quality against training images and sampling steps"
VERSION = 1
NEEDS_GPU = True
DATASET = "gaussian-pixels"
ARCH = "halder-unet"
MEAN, STD = 0.5, 0.1
VARIANCE = (2 * STD) ** 2  # Networks see 2x - 1.
SHARE = 0.9  # Of n, for training.
EPOCHS, STEPS = "equal epochs", "equal steps"


@dataclass(frozen=True)
class Settings:
    """Size of the experiment.

    Parameters
    ----------
    n_repetitions, block : int
        Repetitions of each cell, and how many of them make a unit.
    n_samples : int
        Generated images for the moments; the first `n_judged` of them give the distances.
    n_reference : int
        Fresh images that stand for the truth; the paper has 10,000. The least distance of a
        perfect generator hardly depends on it.
    """

    n_repetitions: int
    block: int = 1
    steps: tuple = (10, 50, 200)
    sizes: tuple = (50, 250, 550, 1050)
    widths: tuple = (64, 128, 256, 256)
    code: int = 256
    batch: int = 128
    n_epochs: int = 10
    n_samples: int = 256
    n_judged: int = 10
    n_reference: int = 400
    side: int = 8
    seed: int = 0

    def epochs(self, size, kind):
        """Return the passes over the images; those of "equal steps" match the largest set."""
        if kind == EPOCHS:
            return self.n_epochs
        wanted = self.n_epochs * self._batches(self.sizes[-1])
        return -(-wanted // self._batches(size))

    def _batches(self, size):
        return -(-int(SHARE * size) // self.batch)

    @property
    def cells(self):
        """All (K, n, kind), each K with its control at the smallest n."""
        plain = [(k, n, EPOCHS) for k in self.steps for n in self.sizes]
        return plain + [(k, self.sizes[0], STEPS) for k in self.steps]


_HALF = {"widths": (32, 64, 128, 128), "code": 128}
PRESETS = {
    "smoke": Settings(
        2,
        steps=(2, 4),
        sizes=(8, 20),
        widths=(4, 4, 8, 8),
        code=8,
        batch=8,
        n_epochs=2,
        n_samples=12,
        n_reference=40,
    ),
    "cpu": Settings(4, n_samples=64, **_HALF),
    "t4": Settings(10, block=2),
    "h100-slice": Settings(8, block=2),
    "h200": Settings(30, block=5),
}


def units(settings):
    """The closed forms, then each cell in blocks of repetitions."""
    found = [Unit("theory", theory, (settings,))]
    for first in range(0, settings.n_repetitions, settings.block):
        last = min(first + settings.block, settings.n_repetitions)
        for k, n, kind in settings.cells:
            key = f"K{k}-n{n}{'-control' if kind == STEPS else ''}-r{first}"
            found.append(Unit(key, cell, (settings, k, n, kind, (first, last))))
    return found


def theory(context, settings):
    """Return what the ideal linear predictor generates, and the least mean distance."""
    from lindiff.memorisation import pixel_distance_mean
    from lindiff.multistep import network_schedule_variance

    rows = []
    for k in settings.steps:
        for index in ("coded", "consistent"):
            variance = float(network_schedule_variance(VARIANCE, k, index=index))
            shared = {"step": k, "arch": "linear", "split": index, "dataset": DATASET}
            rows.append(Row("pixel_std", np.sqrt(variance) / 2, **shared))
            rows.append(Row("kl", _kl(0.0, variance), **shared))
    least = _scaled(pixel_distance_mean(settings.n_judged, settings.n_reference))
    return [*rows, Row("floor", least, n_eval=settings.n_judged, dataset=DATASET)]


def cell(context, settings, n_steps, size, kind, block):
    """Train and judge one network for each repetition from block[0] to block[1] - 1."""
    repetitions = range(*block)
    return [
        row
        for repetition in repetitions
        for row in _one(context.device, settings, n_steps, size, kind, repetition)
    ]


def _one(device, settings, n_steps, size, kind, repetition):
    from lindiff.experiments._halder_training import Schedule, Training, sample, train

    words = [settings.seed, n_steps, size, repetition, int(kind == STEPS)]
    draw, learn, generate = np.random.default_rng(words).spawn(3)
    shape = settings.side, settings.side
    images = MEAN + STD * draw.standard_normal((int(SHARE * size), *shape))
    fresh = MEAN + STD * draw.standard_normal((settings.n_reference, *shape))
    schedule = Schedule(n_steps)
    training = Training(settings.widths, settings.code, settings.batch)
    epochs = settings.epochs(size, kind)
    net, loss, taken = train(2 * images - 1, schedule, training, epochs, learn, device)
    made = sample(net, schedule, settings.n_samples, settings.side, generate, device)
    shared = {
        "step": n_steps,
        "N": size,
        "seed": repetition,
        "split": kind,
        "arch": ARCH,
        "C": settings.widths[0],
        "params": sum(p.numel() for p in net.parameters()),
        "images_seen": epochs * len(images),
        "dataset": DATASET,
    }
    rows = [Row("final_loss", loss, **shared), Row("gradient_steps", taken, **shared)]
    return (
        rows + _moments(made, shared) + _distances(made[: settings.n_judged], images, fresh, shared)
    )


def _moments(made, shared):
    """Rows of the pixels before the clamp: standard deviation, mean, divergence."""
    shared = shared | {"n_eval": len(made)}
    return [
        Row("pixel_std", made.std() / 2, **shared),
        Row("pixel_mean", (made.mean() + 1) / 2, **shared),
        Row("kl", _kl(made.mean(), made.var()), **shared),
    ]


def _kl(mean, variance):
    """Divergence per pixel from the truth, in nats, of a Gaussian with these moments."""
    return kl_gaussian([mean], [[variance]], [0.0], [[VARIANCE]])


def _distances(made, images, fresh, shared):
    """Rows of the paper's distances: generated to fresh (OG) and to training images (TG)."""
    shared = shared | {"n_eval": len(made)}
    pixels = (np.clip(made, -1, 1) + 1) / 2
    to_fresh, to_training = (_distance(pixels, other) for other in (fresh, images))
    return [
        Row("e_og", to_fresh, **shared),
        Row("e_tg", to_training, **shared),
        Row("gap", to_training - to_fresh, **shared),
        Row("tg_above_og", to_training > to_fresh, **shared),
    ]


def _distance(first, second):
    from lindiff.memorisation import pixel_distance

    # Pixel by pixel: the temporary arrays of 64 pixels at once would take gigabytes.
    pairs = zip(*(part.reshape(len(part), -1).T for part in (first, second)), strict=True)
    return _scaled(np.mean([pixel_distance(a[:, None], b[:, None], STD) for a, b in pairs]))


def _scaled(distance):
    """The paper's script leaves out a factor of the density and divides by the deviation."""
    return float(np.sqrt(2 * np.pi) / STD * distance)


class _Reader:
    """Values of E15 by K, n and kind, over repetitions."""

    def __init__(self, table, settings):
        self.table, self.settings = table, settings
        self.least, self.most = settings.sizes[0], settings.sizes[-1]

    def values(self, metric, k, n, kind=EPOCHS):
        found = self.table.where(metric, step=k, N=n, split=kind, arch=ARCH)["value"]
        if len(found) < 2:
            raise MissingRow(f"fewer than two repetitions of {metric} at K={k}, n={n}, {kind}")
        return found

    def mean(self, metric, k, n, kind=EPOCHS):
        return float(np.mean(self.values(metric, k, n, kind)))

    def best(self, n, kind=EPOCHS):
        return min(self.settings.steps, key=lambda k: self.mean("e_og", k, n, kind))

    def never_falls(self):
        found = [self.best(n) for n in self.settings.sizes]
        value = min(b / a for a, b in pairwise(found))
        return value, value >= 1

    def larger(self):
        value = self.best(self.most) / self.best(self.least)
        return value, value > 1

    def control(self):
        value = self.best(self.least, STEPS) / self.best(self.most)
        return value, value == 1

    def above_floor(self):
        floor = self.table.value("floor")
        scores = []
        for where in self.settings.cells:
            found = self.values("e_og", *where)
            scores.append((found.mean() - floor) / _error(found))
        return min(scores), min(scores) >= -3

    def little_information(self):
        gaps = [self.values("gap", *where) for where in self.settings.cells]
        value = max(abs(found.mean()) / found.std(ddof=1) for found in gaps)
        return value, value < 1

    def nearer(self):
        k = self.settings.steps[-1]
        large, small = (abs(self.mean("pixel_std", k, n) - STD) for n in (self.most, self.least))
        return large / small, large < small

    def near_ideal(self):
        k = self.settings.steps[-1]
        found = self.values("pixel_std", k, self.most)
        ideal = self.table.value("pixel_std", step=k, split="coded", arch="linear")
        value = found.mean() / ideal
        return value, 0.5 <= value <= 2, _error(found) / ideal


def _error(found):
    return float(found.std(ddof=1) / np.sqrt(len(found)))


TESTS = (
    (
        "a.1",
        "least ratio of the best K of neighbouring n, larger n first; best: least mean e_OG",
        ">= 1",
        _Reader.never_falls,
    ),
    ("a.2", "best K at n = {most} over the best K at n = {least}", "> 1", _Reader.larger),
    (
        "b",
        "best K at n = {least} after as many gradient steps as at n = {most}, over the best K "
        "at n = {most}",
        "1",
        _Reader.control,
    ),
    (
        "c",
        "least of mean e_OG minus the mean of a perfect generator, in standard errors, any K, n",
        ">= -3",
        _Reader.above_floor,
    ),
    (
        "d",
        "largest mean of e_TG - e_OG over its standard deviation between repetitions, any K, n",
        "< 1",
        _Reader.little_information,
    ),
    (
        "e.1",
        "error of the pixels' standard deviation, largest K, n = {most} over n = {least}",
        "< 1",
        _Reader.nearer,
    ),
    (
        "e.2",
        "standard deviation of pixels over that of the ideal linear predictor, largest K and n",
        "0.5 to 2",
        _Reader.near_ideal,
    ),
)


def criteria(table, settings):
    """E15.a to E15.e; the thresholds come from claims C-7, E-6 and H-41 and the first rerun."""
    read = _Reader(table, settings)
    return [
        judge(
            f"E15.{name}",
            text.format_map(vars(read)),
            limit,
            lambda t=test: t(read),
            dataset=DATASET,
        )
        for name, text, limit, test in TESTS
    ]
