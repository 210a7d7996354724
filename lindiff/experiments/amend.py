"""Stored results without running: declare amendments, see whether they hold, judge anew."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from lindiff.experiments import _registry, amendments, provenance, results, runner
from lindiff.experiments.amendments import FILE, Amendment
from lindiff.experiments.rows import TEXTS
from lindiff.experiments.store import write_bytes

__all__ = ["PRESET", "declare", "judge", "problems"]

PRESET = "cpu"


def declare(folder, before, why, *, leave_out=()):
    """Declare that a change of code moved no number, where the CPU results show it.

    Parameters
    ----------
    folder : path
        The results; those at preset cpu are made by the installed code.
    before : path
        The results as they were before the change.
    why : str
        What was changed.
    leave_out : sequence of str
        Experiments whose numbers differ in what the CPU result does not take: another
        branch, another device.

    Returns
    -------
    lines : list of str
        One for each experiment whose code has changed.
    equal : bool
        Whether all of them are amended or left out.

    Raises
    ------
    ValueError
        If `why` is empty, there is no such experiment, or a file is damaged.
    """
    if not why.strip():
        raise ValueError("--why is empty: say what was changed and why it moves no number")
    if not Path(before).is_dir():
        raise ValueError(f"--before {before} is no folder; give a copy of the results")
    leave_out = {_registry.resolve(name) for name in leave_out}
    # Earlier ones stay, also where they lead nowhere now: other CPU results may be to come.
    known, lines, equal = amendments.read(folder), [], True
    content = list(known)
    for exp in _registry.names():
        try:
            old, new = (results.read(exp, PRESET, folder=place) for place in (before, folder))
        except FileNotFoundError:
            continue
        first, last = (each.provenance["code_hash"] for each in (old, new))
        if first == last == provenance.code_hash(exp):
            continue
        if exp in leave_out:
            lines.append(f"{exp}: left out")
            continue
        trouble = _obstacle(exp, old, new) or difference(old, new)
        if trouble:
            equal = False
            lines.append(f"{exp}: not amended, {trouble}")
            continue
        lines.append(f"{exp}: amended, {len(new.table)} numbers are equal")
        entry = Amendment(exp, first, last, " ".join(why.split()), amendments.digest(new))
        content += [entry] if entry not in content else []
    if content != known:
        entries = [entry.as_dict() for entry in content]
        write_bytes(Path(folder) / FILE, (json.dumps(entries, indent=1) + "\n").encode())
    return lines or ["the code behind no result has changed"], equal


def _obstacle(exp, old, new):
    """Say why two results cannot be compared, or return None."""
    hashes = [result.provenance["configuration_hash"] for result in (old, new)]
    if new.provenance["code_hash"] != provenance.code_hash(exp):
        return f"its {PRESET} result is not of the installed code: run it first"
    if hashes[0] != hashes[1]:
        return "its settings have changed"
    if not (old.complete and new.complete):
        return "a result is not complete"
    return None


def difference(old, new):
    """Say where the numbers of two results differ first, or return None."""
    if amendments.digest(old) == amendments.digest(new):
        return None
    if len(old.table) != len(new.table):
        return f"there were {len(old.table)} numbers, now {len(new.table)}"
    for name, column in new.table.columns.items():
        if name in amendments.ASIDE:
            continue
        same = old.table[name] == column
        if name not in TEXTS:
            same |= np.isnan(old.table[name]) & np.isnan(column)
        if not same.all():
            at = int(np.argmin(same))
            place = f"{new.table['metric'][at]} of {new.table['run_id'][at]}"
            return f"{name} of {place} was {old.table[name][at]}, now {column[at]}"
    names = set(old.arrays) ^ set(new.arrays)
    if names:
        return f"the array {min(names)} is in one of them only"
    pairs = ((name, old.arrays[name], new.arrays[name]) for name in sorted(new.arrays))
    return next(
        f"the array {name} differs"
        for name, a, b in pairs
        if a.dtype != b.dtype or not np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
    )


def _leads_somewhere(entry, entries):
    """Whether a chain leads from an amendment to the installed code."""
    code = provenance.code_hash(entry.exp)
    return amendments.chain(entries, entry.exp, entry.before, code) is not None


def problems(folder):
    """Return one sentence for each amendment that the stored CPU results do not bear out.

    All amendments on the way to the installed code must have the digest of the CPU result,
    and that one must be made by the installed code.
    """
    try:
        known = amendments.read(folder)
    except ValueError as error:
        return [str(error)]
    found = []
    for exp in sorted({entry.exp for entry in known}):
        if exp not in _registry.names():
            found.append(f"{FILE} names {exp}, which is no experiment: remove the entry")
            continue
        code = provenance.code_hash(exp)
        used = [e for e in known if e.exp == exp and _leads_somewhere(e, known)]
        if not used:
            continue
        try:
            cpu = results.read(exp, PRESET, folder=folder)
        except (FileNotFoundError, ValueError) as error:
            found.append(f"the amendments of {exp} rest on its {PRESET} result: {error}")
            continue
        if cpu.provenance["code_hash"] != code or not cpu.complete:
            remedy = results.command(exp, PRESET)
            found.append(
                f"the amendments of {exp} rest on a {PRESET} result of other code: run `{remedy}`"
            )
        elif {entry.digest for entry in used} != {amendments.digest(cpu)}:
            found.append(
                f"the amendments of {exp} are false: the numbers of its {PRESET} result are others"
            )
    return found


def judge(exp, preset, *, folder):
    """Judge a stored result by the criteria of the installed code, and store what differs.

    Returns
    -------
    dict
        By criterion (identifier and data set) whose verdict differs, the verdict before and now.

    Raises
    ------
    ResultMismatch, FileNotFoundError, ValueError
        As `results.load`: the numbers must belong to the installed code.
    """
    planned = runner.plan(exp, preset)
    result = results.load(exp, preset, folder=folder)
    criteria = list(planned.module.criteria(result.table, planned.settings))
    if [c.as_dict() for c in criteria] == [c.as_dict() for c in result.criteria]:
        return {}
    judged = {"judged": runner.now(), "judged_by": provenance.commit()[0]}
    new = replace(result, criteria=criteria, provenance=result.provenance | judged)
    results.save(folder, planned.exp, preset, new)
    before, now = (
        {f"{c.id} {c.dataset}".strip(): c.verdict for c in each}
        for each in (result.criteria, criteria)
    )
    names = dict.fromkeys((*before, *now))
    pairs = {name: (before.get(name, "absent"), now.get(name, "absent")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
