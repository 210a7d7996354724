"""Mutation testing: change the theory modules in small ways, and count the changes nobody sees.

    pip install cosmic-ray            (in an environment of its own: it is no part of the book)
    python tests/mutation.py spectra --cosmic-ray PATH/TO/cosmic-ray

runs in a copy of the repository and prints how many of the sampled mutants the tests of that
module kill, with the differences that survived. Without names it takes all groups of
``[tool.mutation]`` in pyproject.toml, which says which tests belong to which files.

A mutant that computes the same may survive; others want a test. The known ones stand in
mutation_equivalent.toml, each with its reason. They are printed, and count neither as killed nor
as run: the score is killed / (run - equivalent). An entry that fits no line of its module, or
whose mutant is killed, is an error.
"""

import argparse
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENT = tomllib.loads(Path(__file__).with_name("mutation_equivalent.toml").read_text())
EVERYWHERE = EQUIVALENT.pop("*")["mutants"]
ANY = "..."
# Numbers have no bits and no identity: such mutants raise at once and would flatter the score.
EXCLUDED = ("_RShift", "_LShift", "_BitXor", "_Is", "_IsNot", "_FloorDiv", "_Mod")
BITS = ("BinaryOperator", ("_BitOr", "_BitAnd"))
# The product of two masks is their conjunction, and the sum is their disjunction.
MASKS = ("_BitAnd_Mul", "_BitOr_Add")
COMMAND = (
    "{python} -m pytest -x -q -p no:cacheprovider -m 'not slow' {tests} tests/test_conventions.py"
)
CONFIG = """\
[cosmic-ray]
module-path = {modules}
timeout = {timeout}
excluded-modules = []
test-command = {command}
[cosmic-ray.distributor]
name = "local"
"""


def copy_of_repository(folder):
    """Copy the files that git knows; mutants are written there."""
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in names.stdout.splitlines():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)


def keep_sample(session, size, seed, lines):
    """Drop useless mutants, then all but a random sample; return how many there were."""
    with sqlite3.connect(session) as database:
        # In the order of the source: the names of the jobs differ from run to run.
        rows = database.execute(
            "SELECT module_path, start_pos_row, start_pos_col, operator_name, occurrence, job_id "
            "FROM mutation_specs ORDER BY 1, 2, 3, 4, 5"
        ).fetchall()
        useful = [row[-1] for row in rows if not useless(row[3], lines[row[0]][row[1] - 1], row)]
        kept = set(random.Random(seed).sample(useful, min(size, len(useful))))
        dropped = [(row[-1],) for row in rows if row[-1] not in kept]
        database.executemany("DELETE FROM mutation_specs WHERE job_id = ?", dropped)
        database.executemany("DELETE FROM work_items WHERE job_id = ?", dropped)
    return len(useful)


def useless(operator, line, row):
    """Whether a mutant always raises an error or changes nothing, or tunes a listed constant."""
    kind, bits = BITS
    if kind in operator and operator.endswith(bits):
        return not operator.endswith(("_BitOr_BitAnd", "_BitAnd_BitOr"))
    if operator.endswith(MASKS):
        return True
    # The star of keyword-only arguments is no product.
    if kind in operator and line[row[2] :].startswith("*,"):
        return True
    constants = EQUIVALENT.get(row[0], {}).get("constants", ())
    return operator.endswith(EXCLUDED) or line.split(" = ")[0] in constants


def entries(module, lines):
    """Return the equivalent mutants of a module as {(line before, line after): reason}."""
    return {**general(lines), **special(module, lines)}


def general(lines):
    """Return the mutants that are equivalent in every module."""
    found = {}
    for before, after, why in EVERYWHERE:
        for line in lines:
            for place in re.finditer(re.escape(before), line):
                changed_line = line[: place.start()] + after + line[place.end() :]
                found[bare(line), bare(changed_line)] = why
    return found


def special(module, lines):
    """Return the mutants of one module; an entry that fits no line of it is an error."""
    listed = EQUIVALENT.get(module, {})
    for name in listed.get("constants", ()):
        if not any(line.startswith(f"{name} = ") for line in lines):
            raise SystemExit(f"mutation_equivalent.toml: {module} has no constant {name}")
    found = {}
    for before, after, why in listed.get("mutants", ()):
        places = [line for line in lines if before in line]
        if len(set(places)) != 1:
            raise SystemExit(f"mutation_equivalent.toml: not one line of {module} has {before!r}")
        changed_line = None if after == ANY else bare(places[0].replace(before, after))
        found[bare(places[0]), changed_line] = why
    return found


def bare(line):
    """Return a line without spaces: mutants of numbers add some."""
    return line.replace(" ", "")


def changed(diff):
    """Return the lines before and after, as `entries` writes them."""
    rows = [row for row in diff.splitlines() if not row.startswith(("---", "+++"))]
    return tuple(bare("".join(row[1:] for row in rows if row[:1] == sign)) for sign in "-+")


def results(tool, session):
    """Yield outcome, place and difference of every mutant that ran."""
    for line in subprocess.check_output([tool, "dump", session], text=True).splitlines():
        item, result = json.loads(line)
        if result is not None:
            place = item["mutations"][0]
            yield result["test_outcome"], place, result["diff"]


def run_group(name, group, options, folder):
    """Run one group in the copy; print its score and survivors."""
    command = COMMAND.format(python=sys.executable, tests=" ".join(group["tests"]))
    config, session = folder / f"{name}.toml", folder / f"{name}.sqlite"
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    tool = options.cosmic_ray

    def call(*arguments):
        subprocess.run([tool, *arguments], cwd=folder, env=environment, check=True)

    lines = {name: (folder / name).read_text().splitlines() for name in group["modules"]}
    known = {name: entries(name, rows) for name, rows in lines.items()}
    begin = time.monotonic()
    subprocess.run(command, shell=True, cwd=folder, env=environment, check=True)
    # A mutant may run for ever: it counts as killed after this time.
    timeout = 60 + 10 * (time.monotonic() - begin)
    values = {"modules": group["modules"], "timeout": timeout, "command": command}
    config.write_text(CONFIG.format(**{key: json.dumps(value) for key, value in values.items()}))
    call("init", config.name, session.name)
    total = keep_sample(session, options.sample, options.seed, lines)
    call("exec", config.name, session.name)
    report(name, total, list(results(tool, session)), known)


def report(name, total, found, known):
    """Print the score of a group and its survivors, those that compute the same with a reason."""
    survivors, equivalent, wrong = [], 0, []
    for outcome, place, diff in found:
        (before, after), reasons = changed(diff), known[place["module_path"]]
        why = reasons.get((before, after))
        if outcome == "survived" and why is None:
            why = reasons.get((before, None))
        if outcome == "survived":
            survivors.append((place, diff, why))
            equivalent += why is not None
        elif why is not None:
            wrong.append(diff)
    killed, counted = len(found) - len(survivors), len(found) - equivalent
    print(
        f"{name}: {killed} of {counted} killed ({killed / max(counted, 1):.0%}), "
        f"{equivalent} equivalent; {total} mutants in all"
    )
    for place, diff, why in survivors:
        line = place["start_pos"][0]
        print(f"  {place['module_path']}:{line} {place['operator_name']} {place['occurrence']}")
        print(f"    equivalent: {why}" if why else "    wants a test")
        print("".join(f"    {row}\n" for row in diff.splitlines() if row[:1] in "+-"), flush=True)
    if wrong:
        raise SystemExit("\n".join(["mutation_equivalent.toml: tests kill these mutants:", *wrong]))


def main():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutation"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", help=f"from {', '.join(groups)}; all by default")
    parser.add_argument("--sample", type=int, default=60, help="mutants per group (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (%(default)s)")
    parser.add_argument("--cosmic-ray", default="cosmic-ray", help="the program, if not on PATH")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy_of_repository(Path(folder))
        for name in options.groups or groups:
            run_group(name, groups[name], options, Path(folder))


if __name__ == "__main__":
    main()
