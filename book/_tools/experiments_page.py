"""Write the page of the book that shows the stored results of the experiments.

Usage: ``python -m book._tools.experiments_page [--check]``. Without an option the page is
written from ``book/results``; with ``--check`` it is compared with the committed one. In both
cases a stored result that is damaged or out of date is an error that names the command to run
again; then nothing is written. One of a GPU, or one whose record says why it is out of date, is
shown as such. Criteria are computed anew: another processor may print another last digit, and
that is no difference.
"""

import argparse
import re
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from book._tools.experiments_text import render_page
from lindiff.experiments import _registry, results
from lindiff.experiments._net_plans import PLANS

COMMAND = "python -m book._tools.experiments_page"
# What the page prints of a provenance; `results.read` asks for less.
PRINTED = (
    "command",
    "commit",
    "device",
    "device_name",
    "dirty",
    "failures",
    "seconds",
    "seed",
    "units_done",
    "units_total",
    "versions",
    "written",
)
_NUMBER = re.compile(r"((?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]*\d))")
# What rounding leaves of a zero.
_ZERO = Decimal("1e-9")
_RESULT = re.compile(r"(e\d\d_[a-z0-9_]+)-(.+)\.(?:json|npz)")


class PageError(Exception):
    """A stored result cannot be shown."""


@dataclass(frozen=True)
class Experiment:
    """A named experiment with its stored results by preset."""

    name: str
    title: str
    version: int
    networks: bool
    presets: tuple
    results: dict = field(default_factory=dict)

    @property
    def label(self):
        """Its number as the criteria write it, such as "E7"."""
        return f"E{int(self.name[1:3])}"


def collect(folder):
    """Return all experiments with the results in `folder`.

    Raises
    ------
    PageError
        If a result is damaged, out of date without a reason, or of no known experiment or
        preset; the message has one line for each.
    """
    found = {name: _experiment(name) for name in _registry.names()}
    problems = []
    for exp, preset in _stored(folder):
        if exp not in found or preset not in found[exp].presets:
            problems.append(f"{exp}-{preset} is of no known experiment and preset: remove it")
            continue
        try:
            found[exp].results[preset] = _complete_record(exp, preset, _load(exp, preset, folder))
        except results.ResultMismatch as error:
            problems.append(f"{error} (or remove the result)")
        except (FileNotFoundError, ValueError) as error:
            problems.append(str(error))
    if problems:
        raise PageError("\n".join(problems))
    return list(found.values())


def _experiment(name):
    module = _registry.load(name)
    networks = getattr(module, "NEEDS_GPU", False)
    return Experiment(name, module.TITLE, module.VERSION, networks, tuple(module.PRESETS))


def _stored(folder):
    """Return (experiment, preset) of each result of which a file is there."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    matches = filter(None, map(_RESULT.fullmatch, names))
    order = list(PLANS)

    def place(pair):
        return pair[0], order.index(pair[1]) if pair[1] in order else len(order), pair[1]

    return sorted({(match[1], match[2]) for match in matches}, key=place)


def _load(exp, preset, folder):
    try:
        return results.load(exp, preset, folder=folder)
    except results.ResultMismatch:
        old = results.read(exp, preset, folder=folder)
        # One of a GPU cannot be made anew where there is none: it is shown with its age.
        if old.provenance.get("device") != "cuda" and not old.reason:
            raise
        return old


def _complete_record(exp, preset, result):
    lacking = [name for name in PRINTED if name not in result.provenance]
    if lacking:
        remedy = results.command(exp, preset)
        raise ValueError(f"{exp}-{preset}.json lacks {', '.join(lacking)}; run `{remedy}`")
    return result


def same_text(one, other):
    """Whether two pages agree, up to one unit in the last place of a printed decimal."""
    one, other = _NUMBER.split(one), _NUMBER.split(other)
    return len(one) == len(other) and all(map(_same, one, other))


def _same(one, other):
    if one == other:
        return True
    if not (_NUMBER.fullmatch(one) and _NUMBER.fullmatch(other)):
        return False
    if not re.search("[.e]", one + other):
        return False  # A count.
    one, other = Decimal(one), Decimal(other)
    last = Decimal(1).scaleb(min(number.as_tuple().exponent for number in (one, other)))
    return abs(one - other) <= max(last, _ZERO)


def main(arguments=None):
    """Write the page or check it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    options = parser.parse_args(arguments)
    page = options.root / "book" / "experiments.md"
    try:
        text = render_page(collect(options.root / "book" / "results"), PLANS)
    except PageError as error:
        print(error, file=sys.stderr)
        return 1
    if page.exists() and same_text(page.read_text(encoding="utf-8"), text):
        return 0
    if options.check:
        print(f"book/experiments.md is out of date: run {COMMAND}", file=sys.stderr)
        return 1
    page.write_text(text, encoding="utf-8", newline="\n")
    print("wrote book/experiments.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
