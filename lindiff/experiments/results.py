"""Stored results: written by the runner, loaded by the chapters, refused when out of date.

A result is a pair of files ``<exp>-<preset>.npz`` (columns of the table, arrays) and
``<exp>-<preset>.json`` (criteria, provenance, checksum of the npz).
"""

import hashlib
import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lindiff.experiments import _registry, amendments, provenance
from lindiff.experiments.rows import COLUMNS, Criterion, Table
from lindiff.experiments.store import read_arrays, write_arrays, write_bytes

__all__ = ["Result", "ResultMismatch", "command", "default_folder", "load", "read", "save"]

_ARRAY = "array:"


class ResultMismatch(RuntimeError):
    """A stored result does not belong to the installed code or configuration."""


@dataclass(frozen=True, eq=False)
class Result:
    """A stored experiment.

    Parameters
    ----------
    table : Table
        One row for each number.
    criteria : list of Criterion
    provenance : dict
        Commit, hashes, versions, device, seconds, command, units done and failed.
    arrays : dict
        Arrays by "unit/name".
    amended : tuple of str
        What was changed in the code since, one reason for each amendment; set by `load`.
    """

    table: Table
    criteria: list
    provenance: dict
    arrays: dict
    amended: tuple = ()

    @property
    def complete(self):
        """Whether all units are in it."""
        return bool(self.provenance["complete"])


def command(exp, preset, device=None):
    """Return the command that makes a result."""
    text = f"python -m lindiff.experiments run {exp} --preset {preset}"
    return text + (f" --device {device}" if device else "")


def default_folder():
    """Return ``book/results`` of the repository; without one, where results lie.

    That is ``results`` or ``book/results`` below the current folder, or else what came with
    the installed package.
    """
    root = provenance.PACKAGE.parent
    if (root / "book").is_dir() and (root / "pyproject.toml").is_file():
        return root / "book" / "results"
    here = Path.cwd()
    own = (here / "results", here / "book" / "results")
    return next((path for path in own if path.is_dir()), provenance.PACKAGE / "_results")


def save(folder, exp, preset, result):
    """Write a result into `folder`: first the numbers, then the record that names them."""
    arrays = {name: result.table[name] for name in COLUMNS}
    arrays |= {f"{_ARRAY}{name}": value for name, value in result.arrays.items()}
    path = _path(folder, exp, preset, "npz")
    content = write_arrays(path, arrays, method=zipfile.ZIP_LZMA)
    record = {
        "provenance": result.provenance,
        "criteria": [criterion.as_dict() for criterion in result.criteria],
        "npz_sha256": hashlib.sha256(content).hexdigest(),
    }
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    write_bytes(_path(folder, exp, preset, "json"), text.encode())


def read(exp, preset, *, folder=None):
    """Read a stored result without asking whether it belongs to the installed code.

    Parameters
    ----------
    exp : str
        Name of the experiment, also short as "e07".
    preset : str
    folder : path, optional
        Where the files lie; by default `default_folder`.

    Returns
    -------
    Result

    Raises
    ------
    FileNotFoundError
        If there is no such result; the message names the command that makes it.
    ValueError
        If a file is damaged, or the two files do not belong together.
    """
    exp = _registry.resolve(exp)
    folder = default_folder() if folder is None else Path(folder)
    remedy = f"run `{command(exp, preset)}`"
    record_path = _path(folder, exp, preset, "json")
    numbers_path = _path(folder, exp, preset, "npz")
    for path in (record_path, numbers_path):
        if not path.is_file():
            raise FileNotFoundError(f"there is no result {path.name} in {folder}; {remedy}")
    try:
        record = json.loads(record_path.read_text(encoding="utf-8"))
        criteria = [Criterion(**entry) for entry in record["criteria"]]
        found, checksum = record["provenance"], record["npz_sha256"]
        found["complete"], found["code_hash"], found["configuration_hash"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{record_path.name} is damaged; {remedy}") from error
    if hashlib.sha256(numbers_path.read_bytes()).hexdigest() != checksum:
        raise ValueError(f"{numbers_path.name} is damaged or of another run; {remedy}")
    arrays = read_arrays(numbers_path)
    table = Table.from_columns({name: arrays.pop(name) for name in COLUMNS})
    arrays = {name.removeprefix(_ARRAY): value for name, value in arrays.items()}
    return Result(table, criteria, found, arrays)


def load(exp, preset, *, folder=None):
    """Load a stored result that belongs to the installed code and configuration.

    Amendments count: changes of code that were shown to move no number.

    Parameters
    ----------
    exp, preset, folder
        As in `read`.

    Returns
    -------
    Result

    Raises
    ------
    ResultMismatch
        If the hash of the configuration differs, or that of the code and no amendment leads
        from one to the other; the message names the command that makes the result anew.
    FileNotFoundError, ValueError
        As `read`.
    """
    result = read(exp, preset, folder=folder)
    exp = _registry.resolve(exp)
    reason = mismatch(exp, preset, result.provenance, folder=folder)
    if reason:
        remedy = command(exp, preset, result.provenance.get("device"))
        raise ResultMismatch(f"{reason}; run `{remedy}`")
    steps = _amendments(exp, result.provenance, folder)
    return replace(result, amended=tuple(step.why for step in steps))


def mismatch(exp, preset, found, *, folder=None):
    """Say how a provenance disagrees with the installed code, or return None."""
    settings = _registry.settings(_registry.load(exp), preset)
    if found["configuration_hash"] != provenance.configuration_hash(exp, preset, settings):
        return f"the result {exp}-{preset} was made with other settings"
    if _amendments(exp, found, folder) is None:
        return f"the result {exp}-{preset} was made by other code"
    return None


def _amendments(exp, found, folder):
    """Return the amendments since a result was made, or None if its code has changed."""
    folder = default_folder() if folder is None else folder
    code = provenance.code_hash(exp)
    if found["code_hash"] == code:
        return []
    return amendments.chain(amendments.read(folder), exp, found["code_hash"], code)


def as_arrays(name, arrays):
    """Return the arrays of a unit under the names they have in a result."""
    return {f"{name}/{key}": np.asarray(value) for key, value in arrays.items()}


def _path(folder, exp, preset, suffix):
    return Path(folder) / f"{exp}-{preset}.{suffix}"
