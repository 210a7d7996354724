"""Smoke rows: each experiment at its smallest size, stored, and compared with a fresh run.

Usage: ``python -m tests.experiments.smoke [NAME ...]`` stores them anew, all without a name.
Where numbers moved, the version of the experiment must have been raised before.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from lindiff.experiments import _registry, results, runner
from lindiff.experiments.rows import COLUMNS

FOLDER = Path(__file__).with_name("smoke_rows")
RELATIVE, ABSOLUTE = 1e-5, 1e-6
# When, on what and at which commit a number was made is no part of it.
ASIDE = ("git", "device", "wall_s")
REAL = ("value", "stderr", "sigma")
# Rows whose numbers no float32 or no choice of eigenvectors fixes to five digits: the condition,
# the relative tolerance, and why.
EXCEPTIONS = (
    (
        {"metric": ("rho_gaussian", "rho_memoriser"), "sigma": (20.0, 42.415, 80.0)},
        1e-2,
        "its denominator, the error saved, nearly vanishes at high noise; mse_gap and rmse_to "
        "hold its two parts",
    ),
    (
        {"metric": ("overlap_20",), "arch": ("memoriser", "mixture")},
        5e-2,
        "less than 20 directions have an eigenvalue of their own, the others are any basis",
    ),
    (
        {"metric": ("relative_mse_band",), "arch": ("mixture",)},
        0.25,
        "equal eigenvalues: which of their directions falls into which band is free",
    ),
    (
        {"metric": ("gap",)},
        1e-3,
        "it is a hundredth of the two distances whose difference it is",
    ),
)
FREE_ARRAYS = ("mixture/mse-",)  # Along directions of equal eigenvalues, as above.
REMEDY = """\
If this is an error, mend it. If it is meant, raise VERSION in {path} and run
`python -m tests.experiments.smoke {name}`. Larger results are then out of date: make them anew, or
write into their record why they stand or are out of date (CONTRIBUTING.md)."""


def stored(exp):
    """Return the stored result of an experiment at smoke size."""
    return results.load(exp, "smoke", folder=FOLDER)


def report(exp, fresh):
    """Say how a fresh result differs from the stored one and what to do, or return None."""
    found = differences(stored(exp), fresh)
    if not found:
        return None
    shown = [*found[:5], *([f"and {len(found) - 5} more"] if len(found) > 5 else [])]
    name = _registry.resolve(exp)
    remedy = REMEDY.format(path=f"lindiff/experiments/{name}.py", name=name)
    return "\n".join([f"{name}: smoke rows moved", *shown, remedy])


def differences(old, new):
    """Return one line for each difference of the units that the new result has."""
    units = np.unique(new.table["run_id"])
    old_rows = old.table.where(run_id=tuple(units))
    if len(old_rows) != len(new.table):
        return [f"there were {len(old_rows)} rows, now there are {len(new.table)}"]
    found = []
    within = tolerances(old_rows)
    for column in COLUMNS:
        before, now = old_rows[column], new.table[column]
        if column in ASIDE:
            continue
        if column in REAL:
            same = np.isclose(now, before, within, ABSOLUTE, equal_nan=True)
        else:
            same = (before == now) | ((before != before) & (now != now))
        found += [_line(old_rows, column, i, now[i]) for i in np.flatnonzero(~same)]
    return found + _array_differences(old.arrays, new.arrays, units)


def tolerances(table):
    """Return the relative tolerance of each row."""
    within = np.full(len(table), RELATIVE)
    for condition, relative, _ in EXCEPTIONS:
        hit = np.all([np.isin(table[name], wanted) for name, wanted in condition.items()], axis=0)
        within[hit] = relative
    return within


def _line(table, column, i, now):
    row = f"{table['metric'][i]} of {table['run_id'][i]}"
    about = {name: table[name][i] for name in ("split", "sigma", "step")}
    more = ", ".join(f"{k} {v}" for k, v in about.items() if v not in ("",) and v == v)
    return f"{column} of {row} ({more}) was {table[column][i]!s}, now {now!s}"


def _array_differences(old, new, units):
    """Arrays of floats are compared; of others, as pictures and their indices, the shape."""
    old = {name: array for name, array in old.items() if name.split("/")[0] in units}
    if set(old) != set(new):
        return [f"array {name} is in one of them only" for name in sorted(set(old) ^ set(new))]
    found = []
    for name, before in old.items():
        now = new[name]
        same = (before.shape, before.dtype) == (now.shape, now.dtype)
        if same and before.dtype.kind == "f" and not name.startswith(FREE_ARRAYS):
            same = np.allclose(now, before, RELATIVE, ABSOLUTE, equal_nan=True)
        found += [] if same else [f"array {name} differs"]
    return found


def store(exp):
    """Run an experiment at smoke size and store it in place of what is there.

    Raises
    ------
    ValueError
        If numbers moved and the version did not, or a unit failed.
    """
    exp = _registry.resolve(exp)
    with tempfile.TemporaryDirectory() as place:
        outcome = runner.run(exp, "smoke", out=place, device="cpu")
        if not outcome.complete:
            raise ValueError(f"{exp}: not all units finished: {outcome.failures}")
        fresh = results.load(exp, "smoke", folder=outcome.folder)
    try:
        moved = report(exp, fresh)
    except (FileNotFoundError, results.ResultMismatch):
        moved = None  # There are none of this version and these settings.
    if moved:
        raise ValueError(moved)
    results.save(FOLDER, exp, "smoke", fresh)


def main(names):
    """Store the smoke rows of the named experiments; return the exit code."""
    code = 0
    for name in names or _registry.names():
        try:
            store(name)
            print(f"{name}: stored")
        except ValueError as error:
            code = 1
            print(error, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
