"""The part of the status page on training, from the stored tables of a GPU and of a CPU."""

import json
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.training_report import COLUMNS, Row, line

FOLDER = Path(__file__).parent
RUNS, RUN_IMAGES, MINUTES = 36, 1_000_000, 20
HEAD = """
## Training of networks

Ways of one comparison ran in turn; a ratio is the median over the rounds, with the smallest and
the largest in brackets. "Of peak" is three times the operations of a forward pass, times the rate,
over the measured rate of a large matrix product. The first table is of one {device} with PyTorch
{torch}, by

```
python -m tests.benchmarks.training --preset {preset} --budget 85
```

"""
LEFT = """
Not measured, since the time on the device was used up: {left}.

{targets}
"""
ON_CPU = """
The same on a CPU with PyTorch {torch}, one thread for each process, with smaller images and
networks; ways that need a GPU are left out. One model keeps a core busy, so `train_many` trains
one after the other there, and only further cores help:
{processes}.
With equal numbers of parameters our network takes {dearer:.1f} times the operations of the one of
diffusers; at an equal rate of operations it trains so much slower. By

```
python -m tests.benchmarks.training --preset {preset} --device cpu
```

"""


def stored(name):
    """Return a stored table: its facts, with the rows that were measured and what was not."""
    facts = json.loads((FOLDER / f"training-{name}.json").read_text(encoding="utf-8"))
    rows = [Row(**row) for row in facts.pop("rows")]
    left = [row.comparison for row in rows if row.note.startswith("left out: the budget")]
    return facts, [row for row in rows if row.comparison not in left], left


def table(rows):
    """Return rows as a table."""
    lines = [f"| {' | '.join(COLUMNS)} |", "| " + " | ".join("---" for _ in COLUMNS) + " |"]
    return "\n".join(lines + [line(row) for row in rows]) + "\n"


def section():
    """Return the text, with what became of each target."""
    facts, rows, left = stored("h200")
    text = HEAD.format(**facts) + table(rows)
    text += LEFT.format(left="; ".join(left), targets=targets(rows))
    facts, rows, left = stored("cpu")
    if left:
        raise ValueError(f"training-cpu.json lacks {', '.join(left)}: measure it again")
    one = {row.way: row for row in rows}
    ours = next(row for way, row in one.items() if way.startswith("ours, "))
    theirs = one["diffusers, fp32"]
    dearer = (ours.tflops / ours.images_per_second) / (theirs.tflops / theirs.images_per_second)
    several = [
        f"{way.removeprefix('processes: ')} processes take in {row.ratio:.2f} times as much"
        for way, row in one.items()
        if way.startswith("processes")
    ]
    text += ON_CPU.format(**facts, dearer=dearer, processes=", ".join(several))
    shown = [row for row in rows if not row.note.startswith("left out")]
    # The peak was measured in float32.
    return text + table(replace(r, peak_share=None) if "bf16" in r.way else r for r in shown)


def targets(rows):
    """Return one line for each target."""
    one = {(row.comparison, row.way): row for row in rows}
    medium = one["step, C=32, batch 256", "graph, bf16"].images_per_second
    graph, both = (
        one["step, C=32, batch 64", way].ratio for way in ("graph, bf16", "compile and graph, bf16")
    )
    minutes = RUNS * RUN_IMAGES / one["sweep, C=16", "one sweep of eight"].images_per_second / 60
    return "\n".join(
        [
            "- 40,000 images/s for a network of 2.7 million parameters: "
            f"{verdict(medium >= 40_000)}. One of 1.0 million (C = 32) takes in {medium:,.0f}. "
            "Norms and activations run as kernels of their own and wait for memory; compiling the "
            "network merges them.",
            "- Five times a plain loop around the network of diffusers: the time of this run was "
            "used up before. An earlier run, whose graph ways had a fault, gave 1.65.",
            f"- Three times eager bf16 at batch 64: {graph:.1f} times by the graph, {both:.1f} "
            f"times compiled too, {verdict(graph >= 3)}.",
            f"- {RUNS} runs of a million images in {MINUTES} minutes: {minutes:.0f} minutes at the "
            f"rate of the sweep of small networks (C = 16), {verdict(minutes <= MINUTES)}.",
        ]
    )


def verdict(met):
    return "met" if met else "missed"
