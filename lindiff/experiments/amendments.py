"""Amendments: changes of the code that moved no number of an experiment.

A result carries the hash of the code that made it and is refused by other code. One of a GPU
cannot be made again where there is none. So a maintainer may declare that a change moved no
number: then the result on the CPU, made anew, must equal the one before to the last digit, and
results of the code before count as results of the code after. The file ``amendments.json``
beside the results holds what was declared, with reasons.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from lindiff.experiments.rows import COLUMNS, TEXTS

__all__ = ["ASIDE", "FILE", "Amendment", "chain", "digest", "read"]

FILE = "amendments.json"
# When, on what and by which commit a number was made is no part of it.
ASIDE = ("git", "device", "wall_s")


@dataclass(frozen=True)
class Amendment:
    """A change of code behind an experiment.

    Parameters
    ----------
    exp : str
    before, after : str
        Hashes of the code.
    why : str
        What was changed, and why it moves no number.
    digest : str
        SHA-256 of all numbers of the CPU result, the same with both codes.
    """

    exp: str
    before: str
    after: str
    why: str
    digest: str

    def as_dict(self):
        """Return the amendment as a dict that JSON can hold."""
        return asdict(self)


def read(folder):
    """Return the amendments declared in a folder of results, none without the file.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return []
    names = {field.name for field in fields(Amendment)}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        found = [Amendment(**entry) for entry in entries]
        if any(not isinstance(v, str) or not v for e in found for v in asdict(e).values()):
            raise ValueError("an entry is empty")
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{FILE} in {folder} is damaged: it must be a list of entries with "
            f"{', '.join(sorted(names))}; restore it from the repository"
        ) from error
    return found


def chain(amendments, exp, before, after):
    """Return the fewest amendments that lead from one code of an experiment to another, or None."""
    paths, seen = [(before, [])], {before}
    for at, path in paths:
        if at == after:
            return path
        for entry in amendments:
            if (entry.exp, entry.before) == (exp, at) and entry.after not in seen:
                seen.add(entry.after)
                paths.append((entry.after, [*path, entry]))
    return None


def digest(result):
    """Return the SHA-256 of all numbers of a result, in 64 hex digits."""
    total = hashlib.sha256()
    for name in COLUMNS:
        if name not in ASIDE:
            column = result.table[name]
            total.update(f"{name} {len(column)} ".encode())
            texts = name in TEXTS
            total.update(json.dumps(column.tolist()).encode() if texts else _bytes(column))
    for name in sorted(result.arrays):
        array = np.asarray(result.arrays[name])
        total.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        total.update(_bytes(array))
    return total.hexdigest()


def _bytes(array):
    array = np.ascontiguousarray(array)
    if array.dtype.kind in "fc":
        # Equal numbers have equal bytes: one NaN, and no zero with a sign.
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array + 0)
    return array.tobytes()
