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
python -m tests.benchmarks.training --preset {preset} --budget 95
```

Ways of one comparison ran in turn; a ratio is the median over the rounds, with the smallest and
the largest in brackets. "Of peak" is three times the operations of a forward pass, times the rate,
over the measured rate of a large bf16 product.

"""
AFTER = """
The last row is a fault of the benchmark: it let go of the weights that a recorded step reads. It is
mended, and the trainer never had it. The rows named "graph" have it too: they ran the same kernels
on memory that was no longer theirs, so take their rates as a guide until they are measured again.

{targets}
"""


def section():
    """Return the text, with what became of each target."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    rows = [Row(**row) for row in stored["rows"]]
    table = [f"| {' | '.join(COLUMNS)} |", "| " + " | ".join("---" for _ in COLUMNS) + " |"]
    table += [line(row) for row in rows]
    return HEAD.format(**stored) + "\n".join(table) + "\n" + AFTER.format(targets=targets(rows))


def targets(rows):
    """Return one line for each target."""
    largest = next(row for row in rows if row.way.startswith("ours, C=52"))
    sweep = next(row for row in rows if row.way == "one sweep of eight")
    minutes = RUNS * RUN_IMAGES / sweep.images_per_second / 60
    return "\n".join(
        [
            f"- 40,000 images/s for a network of 2.7 million parameters: "
            f"{largest.images_per_second:,.0f}, {verdict(largest.images_per_second >= 40_000)}. "
            "Norms and activations run as kernels of their own and wait for memory; compiling "
            "the network merges them, which this run did not measure.",
            f"- Five times a plain loop around the network of diffusers: {largest.ratio:.2f} "
            f"times, {verdict(largest.ratio >= 5)}, for the same reason.",
            "- Three times eager bf16 at batch 64: not measured yet.",
            f"- {RUNS} runs of a million images in {MINUTES} minutes: {minutes:.0f} minutes at the "
            f"rate of the sweep of small networks (C = 16), {verdict(minutes <= MINUTES)}.",
        ]
    )


def verdict(met):
    return "met" if met else "missed"
