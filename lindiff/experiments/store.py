"""The working store: one file for each finished unit, written whole or not at all.

``<folder>/<exp>/<preset>/units/<key>.json`` holds the rows, ``<key>.npz`` beside it the
arrays of a unit that has some.
"""

import io
import json
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from lindiff.experiments.rows import Row

__all__ = ["UnitStore", "read_arrays", "write_arrays", "write_bytes"]


def write_bytes(path, content):
    """Write `content` to `path` through a temporary file in the same folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_arrays(path, arrays, *, method=zipfile.ZIP_DEFLATED):
    """Write arrays as a compressed npz file; return its bytes.

    ``method=zipfile.ZIP_LZMA`` takes longer and makes files of images a fifth smaller.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
    write_bytes(path, stream.getvalue())
    return stream.getvalue()


def read_arrays(path):
    """Return the arrays of an npz file; pickled objects are refused.

    Raises
    ------
    ValueError
        If the file cannot be read.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            return dict(file)
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{Path(path).name} is no readable npz file") from error


class UnitStore:
    """The units of one experiment at one preset.

    Parameters
    ----------
    folder : path
        Working store of all experiments.
    exp, preset : str
    """

    def __init__(self, folder, exp, preset):
        self.root = Path(folder)
        self.folder = self.root / exp / preset / "units"

    def path(self, key):
        """Where the record of a unit lies."""
        return self.folder / f"{key}.json"

    def save(self, key, fingerprint, rows, arrays, seconds):
        """Store a finished unit."""
        if arrays:
            write_arrays(
                self.folder / f"{key}.npz", {**arrays, "_fingerprint": np.array(fingerprint)}
            )
        self._write(
            key,
            {
                "status": "done",
                "fingerprint": fingerprint,
                "seconds": seconds,
                "arrays": sorted(arrays),
                "rows": [_compact(row) for row in rows],
            },
        )

    def save_failure(self, key, fingerprint, error, seconds):
        """Store that a unit failed and with which sentence."""
        self._write(
            key,
            {"status": "failed", "fingerprint": fingerprint, "seconds": seconds, "error": error},
        )

    def forget(self, key):
        """Remove the record of a unit, if there is one."""
        self.path(key).unlink(missing_ok=True)

    def _write(self, key, record):
        text = json.dumps(record, indent=1, allow_nan=False) + "\n"
        write_bytes(self.path(key), text.encode())

    def load(self, key, fingerprint):
        """Return the record of a unit, or None if there is none of this fingerprint.

        ``record["rows"]`` holds rows and ``record["arrays"]`` arrays. A file that cannot be
        read counts as none: the unit runs again.
        """
        try:
            record = json.loads(self.path(key).read_text(encoding="utf-8"))
            if record["fingerprint"] != fingerprint:
                return None
            if record["status"] == "failed":
                return record
            record["rows"] = [Row(**row) for row in record["rows"]]
            record["arrays"] = self._arrays(key, fingerprint, record["arrays"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return record

    def _arrays(self, key, fingerprint, names):
        if not names:
            return {}
        arrays = read_arrays(self.folder / f"{key}.npz")
        if str(arrays.pop("_fingerprint", "")) != fingerprint:
            raise ValueError("the arrays belong to another run")
        return {name: arrays[name] for name in names}


def _compact(row):
    return {k: v for k, v in vars(row).items() if v not in ("", None) or k == "value"}
