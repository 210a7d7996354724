"""Stored results: written by the runner, loaded by the chapters, refused when out of date.

A result is a pair of files ``<exp>-<preset>.npz`` (columns of the table, arrays) and
``<exp>-<preset>.json`` (provenance, checksum of the npz). It belongs to a version of its
experiment. In the record of an earlier one a maintainer may write ``"reason"``: why it is out
of date, or, with ``"stands_at": 2``, why its numbers stand at version 2 all the same.
"""

import hashlib
import json
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lindiff.experiments import _registry, provenance
from lindiff.experiments.rows import COLUMNS, Table
from lindiff.experiments.store import read_arrays, write_arrays, write_bytes

__all__ = ["Result", "ResultMismatch", "command", "default_folder", "load", "read", "save"]

_ARRAY = "array:"


class ResultMismatch(RuntimeError):
    """A stored result belongs to another version or other settings of its experiment."""


@dataclass(frozen=True, eq=False)
class Result:
    """A stored experiment.

    Parameters
    ----------
    table : Table
        One row for each number.
    provenance : dict
        Experiment, preset, its version, hash of the settings, commit, versions of libraries,
        device, seconds, command, units done and failed.
    arrays : dict
        Arrays by "unit/name".
    reason : str
        Why a result of an earlier version is out of date, or stands.
    stands_at : int, optional
        The later version at which it stands.
    """

    table: Table
    provenance: dict
    arrays: dict
    reason: str = ""
    stands_at: int | None = None

    @property
    def complete(self):
        """Whether all units are in it."""
        return bool(self.provenance["complete"])

    @cached_property
    def criteria(self):
        """The criteria of the installed experiment on the table; none if its settings differ."""
        module, settings = _installed(self.provenance)
        return list(module.criteria(self.table, settings)) if settings else []


def _installed(found):
    """Return the module behind a provenance and its settings, None if they have changed."""
    module = _registry.load(found["exp"])
    settings = module.PRESETS.get(found["preset"])
    same = settings and found["configuration_hash"] == provenance.configuration_hash(
        found["exp"], found["preset"], settings
    )
    return module, settings if same else None


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
        "npz_sha256": hashlib.sha256(content).hexdigest(),
    }
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    write_bytes(_path(folder, exp, preset, "json"), text.encode())


def read(exp, preset, *, folder=None):
    """Read a stored result without asking whether it belongs to the installed experiment.

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
        found, checksum = record["provenance"], record["npz_sha256"]
        found["complete"], found["configuration_hash"], found["version"]
        if (found["exp"], found["preset"]) != (exp, preset):
            raise ValueError("the record is of another result")
        marks = {name: record[name] for name in ("reason", "stands_at") if name in record}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{record_path.name} is damaged; {remedy}") from error
    if "stands_at" in marks and not str(marks.get("reason", "")).strip():
        raise ValueError(f"{record_path.name} has `stands_at` and no `reason`: write why it stands")
    if hashlib.sha256(numbers_path.read_bytes()).hexdigest() != checksum:
        raise ValueError(f"{numbers_path.name} is damaged or of another run; {remedy}")
    arrays = read_arrays(numbers_path)
    table = Table.from_columns({name: arrays.pop(name) for name in COLUMNS})
    arrays = {name.removeprefix(_ARRAY): value for name, value in arrays.items()}
    return Result(table, found, arrays, **marks)


def load(exp, preset, *, folder=None):
    """Load a stored result that belongs to the installed version and settings.

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
        If the hash of the settings differs, or the version and no written reason says that
        the result stands; the message names the command that makes the result anew.
    FileNotFoundError, ValueError
        As `read`.
    """
    result = read(exp, preset, folder=folder)
    why = mismatch(result)
    if why:
        found = result.provenance
        remedy = command(found["exp"], preset, found.get("device"))
        raise ResultMismatch(f"{why}; run `{remedy}`")
    return result


def mismatch(result):
    """Say how a result disagrees with the installed experiment, or return None."""
    found = result.provenance
    name = f"{found['exp']}-{found['preset']}"
    module, settings = _installed(found)
    if settings is None:
        return f"the result {name} was made with other settings"
    if module.VERSION in (found["version"], result.stands_at):
        return None
    versions = (
        f"version {found['version']} of the experiment, the installed one is {module.VERSION}"
    )
    return f"the result {name} was made by {versions}" + (
        f" ({result.reason})" if result.reason else ""
    )


def as_arrays(name, arrays):
    """Return the arrays of a unit under the names they have in a result."""
    return {f"{name}/{key}": np.asarray(value) for key, value in arrays.items()}


def _path(folder, exp, preset, suffix):
    return Path(folder) / f"{exp}-{preset}.{suffix}"
