"""How many images a second the training takes in, against other ways to train.

Run from the root of the repository:

    python -m tests.benchmarks.training --preset h200 --budget 420 --out training.json

Every row is printed and saved as soon as it is measured, the most important first; what no
longer fits into the budget is named as left out. Ways of one comparison are measured in turn
on the same device, and a ratio is the median over the rounds.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

from tests.benchmarks.training_plan import PRESETS, plan
from tests.benchmarks.training_report import Report, Row, why


def facts(preset, device):
    """What was measured on, without the name of a host."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {
        "preset": preset,
        "device": kind,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": sys.version.split()[0],
    }


def carry_out(report, settings, device, deadline):
    """Measure what fits before the deadline, and say whether that is all.

    One failure never stops the others.
    """
    complete = True
    for task in plan(settings):
        if time.monotonic() + task.seconds > deadline:
            report.add(Row(task.name, "", note="left out: the budget is used up"))
            complete = False
            continue
        try:
            task.run(report, settings, device)
        except Exception as error:
            report.add(Row(task.name, "", note=why(error)))
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return complete


def main(arguments=None):
    """Measure, print and save; return the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="smoke")
    parser.add_argument("--budget", type=float, help="seconds (default: that of the preset)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--out", type=Path, help="JSON file, written after every row")
    options = parser.parse_args(arguments)
    settings = PRESETS[options.preset]
    budget = settings.budget if options.budget is None else options.budget
    deadline = time.monotonic() + budget
    name = options.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    report = Report(options.out, facts(options.preset, device))
    report.save(complete=carry_out(report, settings, device, deadline))
    return report.rows


if __name__ == "__main__":
    main()
