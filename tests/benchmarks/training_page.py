"""The part of the status page on training, from the stored table of a GPU."""

import json
from pathlib import Path

from tests.benchmarks.training_report import COLUMNS, Row, line

STORED = Path(__file__).with_name("training-h200.json")
RUNS, RUN_IMAGES, MINUTES = 36, 1_000_000, 20
HEAD = """
## Training of networks

Measured on one {device} with PyTorch {torch}, by

```
python -m tests.benchmarks.training --preset {preset} --budget 85
```

Ways of one comparison ran in turn; a ratio is the median over the rounds, with the smallest and
the largest in brackets. "Of peak" is three times the operations of a forward pass, times the rate,
over the measured rate of a large bf16 product.

"""
AFTER = """
Not measured, since the time on the device was used up: {left}.

{targets}
"""


def section():
    """Return the text, with what became of each target."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    rows = [Row(**row) for row in stored["rows"]]
    left = [row.comparison for row in rows if row.note.startswith("left out")]
    rows = [row for row in rows if row.comparison not in left]
    table = [f"| {' | '.join(COLUMNS)} |", "| " + " | ".join("---" for _ in COLUMNS) + " |"]
    table += [line(row) for row in rows]
    after = AFTER.format(left="; ".join(left), targets=targets(rows))
    return HEAD.format(**stored) + "\n".join(table) + "\n" + after


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
