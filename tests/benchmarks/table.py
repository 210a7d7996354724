"""Measure every row, print the table and write it to the status page.

Run from the root of the repository: python -m tests.benchmarks.table
"""

import argparse
import os
import sys
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from tests.benchmarks import accuracy
from tests.benchmarks.measure import Missing, compare
from tests.benchmarks.rows import ROWS
from tests.benchmarks.training_page import section

PAGE = Path(__file__).resolve().parents[2] / "book" / "status.md"
LIBRARIES = ("numpy", "scipy", "diffusers", "freealg")
HEAD = """# Status

How fast `lindiff` is, measured, not promised. One command makes this page:

```
make bench
```

A ratio says how many times more CPU seconds the other way takes for the same work. Both run in
turn in one process with one BLAS thread, {rounds} rounds; the table gives medians, and in brackets
the smallest and the largest ratio of a round. A rival that would take too long does a stated part
of the work, and its time is multiplied. "Target" is the ratio that was set before the code was
written; a row that misses it says so.

Machine: {machine}. {libraries}. {day}.

## Speed

| work | against | part done | ours, CPU s | theirs, CPU s | ratio | target |
| --- | --- | --- | --- | --- | --- | --- |
"""
MIDDLE = """
{notes}

## Theory against Monte Carlo

Distance between theory and the mean of {draws:,} simulated training sets at d = {d}, floors from
1 / d to 1, in standard errors of that mean: the median over the settings. The leading order is off
by terms of relative order 1 / N, the one-loop correction removes them. The target was a median
under 1. The white traces are summed over so many equal modes that their standard error is a few
parts in 100,000: terms of the next order, 1 / N^2, then show at N = d and below, most in the
trace of the squared resolvent. They are what is left.

| population | settings | leading order | with one-loop correction |
| --- | --- | --- | --- |
"""


def number(value):
    """Three digits, thousands with commas."""
    if value >= 100:
        scale = 10 ** (int(np.log10(value)) - 2)
        return f"{round(value / scale) * scale:,}"
    return f"{value:.3g}"


def line(row, rival, figure):
    """One line of the table of speeds."""
    low, high = figure.ratios.min(), figure.ratios.max()
    middle = np.median(figure.ratios)
    missed = row.limit is not None and figure.ours > row.limit
    verdict = "" if middle >= rival.target and not missed else " (missed)"
    part = "all" if rival.done == rival.whole else f"{rival.done:,} of {rival.whole:,}"
    cells = (
        row.work,
        rival.name,
        part,
        f"{figure.ours:.3g}",
        number(figure.theirs),
        f"**{number(middle)}** [{number(low)}, {number(high)}]",
        f"{number(rival.target)}{verdict}",
    )
    return f"| {' | '.join(cells)} |"


def speeds(rounds):
    """Lines of the table, and the notes below it."""
    lines, notes = [], []
    for build in ROWS:
        try:
            row = build()
        except Missing as reason:
            notes.append(f"- Row `{build.__name__}` was left out: {reason}.")
            continue
        for rival in row.rivals:
            lines.append(line(row, rival, compare(row.call, rival, rounds)))
            print(lines[-1], flush=True)
        if row.note:
            notes.append(f"- {row.work}: {row.note}.")
    return lines, notes


def deviations():
    """Lines of the table of accuracies."""
    lines = []
    for measure in accuracy.ALL:
        found = measure()
        lines.append(
            f"| {found.name} | {found.settings} | {found.leading:.1f} | {found.one_loop:.2f} |"
        )
        print(lines[-1], flush=True)
    return lines


def machine():
    """Kind of processor and number of cores, and nothing that names the host."""
    try:
        from cpuinfo import get_cpu_info

        kind = get_cpu_info().get("brand_raw", "unknown processor")
    except ImportError:
        kind = "unknown processor"
    return f"{kind}, {len(os.sched_getaffinity(0))} cores"


def libraries():
    """Versions of Python and of the libraries that are there."""
    names = [f"Python {sys.version.split()[0]}"]
    for library in LIBRARIES:
        try:
            names.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    return ", ".join(names)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds per row (default 5)")
    parser.add_argument("--page", type=Path, default=PAGE, help="file to write")
    options = parser.parse_args()
    lines, notes = speeds(options.rounds)
    accuracies = deviations()
    text = HEAD.format(
        rounds=options.rounds,
        machine=machine(),
        libraries=libraries(),
        day=date.today().isoformat(),
    )
    text += "\n".join(lines) + "\n"
    text += MIDDLE.format(notes="\n".join(notes), draws=accuracy.DRAWS, d=accuracy.D)
    text += "\n".join(accuracies) + "\n" + section()
    options.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
