"""Write the page of the book that shows the stored results of the experiments.

Usage: ``python -m book._tools.experiments_page [--check]``. Without an option the page is
written from ``book/results``; with ``--check`` it is compared with the committed one. In both
cases a stored result that is damaged, or one of a CPU that the installed code would not make, is
an error that names the command to run again; then nothing is written. One of a GPU that earlier
code made is shown as such.
"""

import argparse
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from book._tools.experiments_text import render_page
from lindiff.experiments import _registry, amend, results
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
_RESULT = re.compile(r"(e\d\d_[a-z0-9_]+)-(.+)\.(?:json|npz)")


class PageError(Exception):
    """A stored result cannot be shown."""


@dataclass(frozen=True)
class Experiment:
    """A named experiment with its stored results by preset."""

    name: str
    title: str
    networks: bool
    presets: tuple
    results: dict = field(default_factory=dict)
    # Why a result by preset is not one of the installed code.
    earlier: dict = field(default_factory=dict)

    @property
    def label(self):
        """Its number as the criteria write it, such as "E7"."""
        return f"E{int(self.name[1:3])}"


def collect(folder):
    """Return all experiments with the results in `folder`.

    Raises
    ------
    PageError
        If a result is damaged, one of a CPU out of date, one of no known experiment or preset,
        or an amendment is not borne out; the message has one line for each.
    """
    found = {name: _experiment(name) for name in _registry.names()}
    problems = amend.problems(folder)
    for exp, preset in _stored(folder):
        if exp not in found or preset not in found[exp].presets:
            problems.append(f"{exp}-{preset} is of no known experiment and preset: remove it")
            continue
        try:
            result, reason = _load(exp, preset, folder)
            found[exp].results[preset] = _complete_record(exp, preset, result)
            if reason:
                found[exp].earlier[preset] = reason
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
    return Experiment(name, module.TITLE, networks, tuple(module.PRESETS))


def _stored(folder):
    """Return (experiment, preset) of each result of which a file is there."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    matches = filter(None, map(_RESULT.fullmatch, names))
    order = list(PLANS)

    def place(pair):
        return pair[0], order.index(pair[1]) if pair[1] in order else len(order), pair[1]

    return sorted({(match[1], match[2]) for match in matches}, key=place)


def _load(exp, preset, folder):
    """Return a result and, for one of a GPU, why it is not of the installed code."""
    try:
        return results.load(exp, preset, folder=folder), None
    except results.ResultMismatch:
        old = results.read(exp, preset, folder=folder)
        if old.provenance.get("device") != "cuda":
            raise
        # It cannot be made anew where there is no GPU: it is shown with its age.
        return old, results.mismatch(exp, preset, old.provenance, folder=folder)


def _complete_record(exp, preset, result):
    lacking = [name for name in PRINTED if name not in result.provenance]
    if lacking:
        remedy = results.command(exp, preset)
        raise ValueError(f"{exp}-{preset}.json lacks {', '.join(lacking)}; run `{remedy}`")
    return result


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
    if page.exists() and page.read_text(encoding="utf-8") == text:
        return 0
    if options.check:
        print(f"book/experiments.md is out of date: run {COMMAND}", file=sys.stderr)
        return 1
    page.write_text(text, encoding="utf-8", newline="\n")
    print("wrote book/experiments.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
