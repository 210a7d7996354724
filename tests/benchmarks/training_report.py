"""Rates of training, measured in turn, and the table of them."""

import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch

from tests.benchmarks.measure import Missing
from tests.benchmarks.training_steps import Way

COLUMNS = ("comparison", "way", "images/s", "ratio", "TFLOP/s", "of peak", "note")


@dataclass(frozen=True)
class Row:
    """One way of one comparison; the ratio is of its rate to that of the first way."""

    comparison: str
    way: str
    images_per_second: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    tflops: float | None = None
    peak_share: float | None = None
    note: str = ""


def synchronize(device):
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(way, k, device):
    """Images a second over k steps."""
    synchronize(device)
    begin = time.perf_counter()
    way.run(k)
    synchronize(device)
    return k * way.images / (time.perf_counter() - begin)


def rates(ways, settings, device):
    """Rates of all ways in every round, shape (rounds, ways), measured in turn."""
    block = settings.seconds / settings.rounds
    steps = [max(1, round(block * rate(way, 2, device) / way.images)) for way in ways]
    return np.array(
        [
            [rate(way, k, device) for way, k in zip(ways, steps, strict=True)]
            for _ in range(settings.rounds)
        ]
    )


class Report:
    """The rows so far, on the screen and in a file that is whole at any moment."""

    def __init__(self, path, facts):
        self.path, self.facts, self.rows, self.peak = path, facts, [], None
        print("| " + " | ".join(COLUMNS) + " |", flush=True)
        print("|" + " --- |" * len(COLUMNS), flush=True)

    def add(self, row):
        """Print a row and save all."""
        self.rows.append(row)
        print(line(row), flush=True)
        self.save(complete=False)

    def of(self, comparison):
        """Measured rows of a comparison."""
        return [r for r in self.rows if r.comparison == comparison and r.images_per_second]

    def save(self, complete):
        """Write the file whole or not at all."""
        if self.path is None:
            return
        content = {**self.facts, "complete": complete, "rows": [asdict(r) for r in self.rows]}
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(content, stream, indent=1)
        os.replace(name, self.path)

    def compared(self, comparison, ways, found, baseline):
        """Add a row for each way, from rates of shape (rounds, ways)."""
        middle = np.median(found, axis=0)
        first = [i for i, way in enumerate(ways) if way.name == baseline]
        for i, way in enumerate(ways):
            ratios = found[:, i] / found[:, first[0]] if first else None
            tflops = 3 * way.gflop * float(middle[i]) / 1e3 if way.gflop else None
            row = Row(
                comparison,
                way.name,
                float(middle[i]),
                *((None,) * 3 if ratios is None else spread(ratios)),
                tflops=tflops,
                peak_share=tflops / self.peak if tflops and self.peak else None,
                note="" if first else f"no ratio: {baseline} was not measured",
            )
            self.add(row)


def spread(ratios):
    """Median, smallest and largest."""
    return float(np.median(ratios)), float(ratios.min()), float(ratios.max())


def line(row):
    """One line of the table."""
    number = "" if row.images_per_second is None else f"{row.images_per_second:,.0f}"
    ratio = ""
    if row.ratio is not None:
        ratio = f"**{row.ratio:.2f}** [{row.ratio_low:.2f}, {row.ratio_high:.2f}]"
    tflops = "" if row.tflops is None else f"{row.tflops:.3g}"
    share = "" if row.peak_share is None else f"{row.peak_share:.1%}"
    cells = (row.comparison, row.way, number, ratio, tflops, share, row.note)
    return f"| {' | '.join(cells)} |"


def why(error):
    """What a row says of a way that was not measured."""
    if isinstance(error, Missing):
        return f"left out: {error}"
    return f"failed: {type(error).__name__}: {error}".splitlines()[0][:160]


def compare(report, settings, device, comparison, builders):
    """Measure ways in turn; `builders` gives (name, function, images, GFLOP) of each.

    The function makes what runs k steps. One that cannot be made gets a row that says why.
    Ratios are to the first way.
    """
    ways = []
    for name, make, images, price in builders:
        try:
            ways.append(Way(name, make(), images, price))
            rate(ways[-1], settings.warm_up, device)
        except Exception as error:
            ways = [way for way in ways if way.name != name]
            report.add(Row(comparison, name, note=why(error)))
    if ways:
        report.compared(comparison, ways, rates(ways, settings, device), builders[0][0])
