"""Where a result comes from: code, configuration, versions, device, seconds, command.

Two hashes decide whether a stored result still belongs to the installed code. The
configuration hash covers the settings of the preset. The code hash covers the source of the
experiment and of everything it imports from ``lindiff.experiments`` and ``lindiff.nn``, as
syntax trees without docstrings, so that comments, docstrings and layout do not count and a
changed number does. The theory in ``lindiff`` is held by its own tests.
"""

import ast
import hashlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, is_dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

__all__ = [
    "code_files",
    "code_hash",
    "commit",
    "configuration_hash",
    "device_name",
    "hashed",
    "made_by",
    "plain",
    "scrub",
    "source_hash",
    "versions",
]

PACKAGE = Path(__file__).resolve().parents[1]
PACKAGES = ("lindiff.experiments", "lindiff.nn")
# The machinery decides where numbers are kept, not what they are.
MACHINERY = ("__main__", "_registry", "amend", "amendments", "provenance", "results", "rows")
MACHINERY = {"lindiff.experiments"} | {
    f"lindiff.experiments.{name}" for name in (*MACHINERY, "report", "runner", "store", "units")
}
LIBRARIES = ("numpy", "scipy", "torch", "joblib", "lindiff")


def configuration_hash(exp, preset, settings):
    """Return the hash of the settings (a frozen dataclass) of a preset, 16 hex digits."""
    if not is_dataclass(settings):
        raise TypeError(f"the preset {preset!r} of {exp} must be a dataclass")
    return hashed(json.dumps([exp, preset, plain(settings)], sort_keys=True))


def plain(settings):
    """Return a dataclass of settings as a dict that JSON can hold."""
    return json.loads(json.dumps(asdict(settings), default=str))


def code_hash(exp, package=None):
    """Return the hash of all source behind an experiment, 16 hex digits."""
    package = PACKAGE if package is None else Path(package)
    return hashed(
        "\n".join(
            f"{name} {source_hash(package.parent / name)}" for name in code_files(exp, package)
        )
    )


def code_files(exp, package=None):
    """Return the files that `code_hash` covers, relative to the folder above the package."""
    package = PACKAGE if package is None else Path(package)
    found, open_modules = set(), [f"lindiff.experiments.{exp}"]
    while open_modules:
        module = open_modules.pop()
        path = _path(module, package)
        if path is None or module in found or module in MACHINERY:
            continue
        found.add(module)
        open_modules += _imports(path)
    return sorted(_path(module, package).relative_to(package.parent).as_posix() for module in found)


def _path(module, package):
    if not module.startswith(PACKAGES):
        return None
    parts = module.split(".")[1:]
    for path in (
        package.joinpath(*parts).with_suffix(".py"),
        package.joinpath(*parts, "__init__.py"),
    ):
        if path.is_file():
            return path
    return None


def _imports(path):
    found = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@cache
def _parsed(text):
    return ast.parse(text)


def _tree(path):
    return _parsed(Path(path).read_text(encoding="utf-8"))


def source_hash(path):
    """Return the hash of one source file without comments, docstrings and layout.

    The tree is written by this module, not by ``ast.dump``, whose output depends on the
    version of Python.
    """
    return hashed(_written(_tree(path)))


def _written(node):
    if isinstance(node, list):
        return "[" + ",".join(_written(item) for item in node if not _is_text(item)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    # Empty fields are left out: each version of Python knows some that others do not.
    parts = (f"{k}={_written(v)}" for k, v in ast.iter_fields(node) if v not in (None, []))
    return f"{type(node).__name__}({','.join(parts)})"


def _is_text(node):
    """Whether a statement is a bare text: a docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def commit():
    """Return the git commit of the package and whether its files differ from it.

    The variable ``LINDIFF_COMMIT`` goes first: a copy of the files may lie in a repository that
    has not seen their commit. Without it and outside a repository the commit is "unknown".
    Then the second value is None.
    """
    named = os.environ.get("LINDIFF_COMMIT")
    if named:
        return named, None
    found = _git("log", "-1", "--format=%H", "--", ".") and _git("rev-parse", "HEAD")
    if not found:
        return "unknown", None
    return found, bool(_git("status", "--porcelain", "--", "."))


def _git(*arguments):
    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE), *arguments], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def versions():
    """Return the versions of Python and of the libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def device_name(device):
    """Return the name of the device, such as "NVIDIA H200" or "cpu (x86_64)"."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return f"cpu ({platform.machine()})"


def made_by(table, origin, device):
    """Return what made the rows of a table: commit, dirty, device, device_name, note.

    The units may come from several calls, and the last one may have run none of them.

    Parameters
    ----------
    table : Table
        Its columns `git` and `device` say what made each row.
    origin : tuple
        What `commit` says in the last call.
    device : {"cpu", "cuda"}
        The device of the last call.

    Returns
    -------
    dict
        The commit of the rows if they agree, else that of the last call and a `note` that
        names all; the devices of the rows. `dirty` is None where it is not known. `device` is
        "cuda" if a GPU made any row.
    """
    found = {"commit": origin[0], "dirty": origin[1]}
    found |= {"device": device, "device_name": device_name(device)}
    commits, devices = (
        [name for name in dict.fromkeys(table[column].tolist()) if name]
        for column in ("git", "device")
    )
    if len(commits) == 1 and commits != [origin[0][:12]]:
        found |= {"commit": commits[0], "dirty": None}
    if devices not in ([], [found["device_name"]]):
        on_cpu = all(name.startswith("cpu") for name in devices)
        found["device"] = "cpu" if on_cpu else "cuda"
    if devices:
        found["device_name"] = ", ".join(devices)
    several = {"commits": commits, "devices": devices}
    said = [f"{what} {', '.join(names)}" for what, names in several.items() if len(names) > 1]
    return found | ({"note": f"units of {' and '.join(said)}"} if said else {})


def scrub(text):
    """Return `text` without the absolute paths of this machine.

    Paths below the current folder become relative to it.
    """
    here = str(Path.cwd())
    if len(here) > 1:
        text = text.replace(here + os.sep, "")
    places = {
        str(PACKAGE.parent): "<package>",
        here: "<here>",
        sys.prefix: "<python>",
        str(Path.home()): "<home>",
    }
    for place in sorted(places, key=len, reverse=True):
        if len(place) > 1:
            text = text.replace(place, places[place])
    return text


def hashed(text):
    """Return 16 hex digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
