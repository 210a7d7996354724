"""Where a result comes from: commit, settings, versions, device, seconds, command."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, is_dataclass
from importlib import metadata
from pathlib import Path

__all__ = [
    "commit",
    "configuration_hash",
    "device_name",
    "hashed",
    "made_by",
    "plain",
    "scrub",
    "versions",
]

PACKAGE = Path(__file__).resolve().parents[1]
LIBRARIES = ("numpy", "scipy", "torch", "joblib", "lindiff")


def configuration_hash(exp, preset, settings):
    """Return the hash of the settings (a frozen dataclass) of a preset, 16 hex digits."""
    if not is_dataclass(settings):
        raise TypeError(f"the preset {preset!r} of {exp} must be a dataclass")
    return hashed(json.dumps([exp, preset, plain(settings)], sort_keys=True))


def plain(settings):
    """Return a dataclass of settings as a dict that JSON can hold."""
    return json.loads(json.dumps(asdict(settings), default=str))


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
