"""Command line: ``python -m lindiff.experiments list | run | status``."""

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

from lindiff.experiments import _registry, report, results, runner

EPILOG = """\
Finished units are kept in --out and never run twice, until the version or the settings of the
experiment change; a run that was stopped at any moment goes on with the same command.
Result files go to book/results when the package lies in its repository, --out is left at its
default and the preset is not smoke; otherwise to <out>/results. --results chooses another
folder. Exit codes: 0 all units finished, 1 a unit failed, 2 a wrong argument, a missing device
or no PyTorch, 3 the budget ended before all units were tried. Where git does not know it, the
variable LINDIFF_COMMIT names the commit of the code.
"""


def parser():
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="python -m lindiff.experiments",
        description="Run the experiments of the book and keep their results.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="name, title, presets and stored results")
    status = commands.add_parser("status", help="units, criteria, age and device of each")
    run = commands.add_parser("run", help="run what is missing, judge the criteria, store")
    run.add_argument("name", nargs="+", help="names such as e07, or all")
    run.add_argument(
        "--preset", default="cpu", help="smoke, cpu (default), t4, h100-slice, h200: see list"
    )
    run.add_argument("--budget", type=float, metavar="SECONDS", help="stop cleanly after this time")
    run.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto (default): the GPU for networks if there is one, else the CPU",
    )
    run.add_argument("--jobs", type=int, metavar="N", help="parallel workers (joblib)")
    run.add_argument("--quiet", action="store_true", help="no progress bar")
    for each in (listing, status, run):
        each.add_argument("--results", type=Path, help="folder of the result files")
    for each in (status, run):
        each.add_argument("--out", type=Path, default=runner.DEFAULT_STORE, help="working store")
    return top


def main(arguments=None):
    """Run the command line; return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(arguments)
    try:
        code, lines = _carried_out(options)
        if code == 3:
            lines = [f"go on with `python -m lindiff.experiments {shlex.join(arguments)}`"]
        if lines:
            print("\n".join(lines), flush=True)
        return code
    except (ValueError, runner.NoDevice) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        if not runner.lacks_torch(error):
            raise
        print('error: this needs PyTorch: pip install "lindiff[torch]"', file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError) and options.command in ("list", "status"):
            # Who reads has seen enough, as `head` does.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        print(f"error: {error}; finished units are kept", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; finished units are kept: the same command goes on", file=sys.stderr)
        return 130


def _carried_out(options):
    """Return the exit code of a command and the lines it ends with."""
    if options.command == "run":
        return _run(options), []
    folder = options.results or results.default_folder()
    if options.command == "list":
        return 0, report.list_lines(folder)
    return 0, report.status_lines(folder, options.out)


def _run(options):
    for name in ("budget", "jobs"):
        number = getattr(options, name)
        if number is not None and number <= 0:
            raise ValueError(f"--{name} must be positive, got {number:g}")
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out {options.out} is no folder: name another one")
    names = _names(options)
    ends_at = None if options.budget is None else time.time() + options.budget
    for name in names:  # A wrong preset or device ends the command before anything runs.
        module = runner.plan(name, options.preset, options.out).module
        runner.resolve_device(options.device, options.preset, module)
    # Where units failed before comes last, and as long as units wait for time, the same command
    # has to go on.
    names.sort(key=lambda name: _failed_before(name, options))
    return max(_run_one(name, options, ends_at) for name in names)


def _failed_before(name, options):
    records = runner.plan(name, options.preset, options.out).records().values()
    return any(record is not None and not runner.is_done(record) for record in records)


def _names(options):
    """Return the experiments to run; "all" are those that have the preset."""
    if "all" not in options.name:
        return [_registry.resolve(name) for name in options.name]
    presets = {name: _registry.load(name).PRESETS for name in _registry.names()}
    having = [name for name in presets if options.preset in presets[name]]
    if not having:
        known = dict.fromkeys(preset for found in presets.values() for preset in found)
        raise ValueError(f"there is no preset {options.preset!r}; there are {', '.join(known)}")
    lacking = [name for name in presets if name not in having]
    if lacking:
        print(f"without preset {options.preset}, left out: {', '.join(lacking)}")
    return having


def _run_one(name, options, ends_at):
    outcome = runner.run(
        name,
        options.preset,
        out=options.out,
        folder=_result_folder(options),
        device=options.device,
        ends_at=ends_at,
        jobs=options.jobs,
        progress=not options.quiet,
    )
    print("\n".join(report.outcome_lines(name, options.preset, outcome)), flush=True)
    if outcome.done + len(outcome.failures) < outcome.total:
        return 3
    return 1 if outcome.failures else 0


def _result_folder(options):
    if options.results is not None:
        return options.results
    inside = results.default_folder().parent.name == "book"
    if inside and options.preset != "smoke" and options.out == runner.DEFAULT_STORE:
        return results.default_folder()
    return options.out / "results"


if __name__ == "__main__":
    sys.exit(main())
