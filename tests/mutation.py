"""Mutation testing: change the theory modules in small ways, and count the changes nobody sees.

    pip install cosmic-ray            (in an environment of its own: it is no part of the book)
    python tests/mutation.py spectra --cosmic-ray PATH/TO/cosmic-ray

runs in a copy of the repository and prints how many of the sampled mutants the tests of that
module kill, with the differences that survived. Without names it takes all groups of
``[tool.mutation]`` in pyproject.toml, which says which tests belong to which files. A mutant that
computes the same (a bound of an iteration, a size of a block) may survive; others want a test.
"""

import argparse
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Numbers have no bits and no identity: such mutants raise at once and would flatter the score.
EXCLUDED = ("_RShift", "_LShift", "_BitXor", "_Is", "_IsNot", "_FloorDiv", "_Mod")
BITS = ("BinaryOperator", ("_BitOr", "_BitAnd"))
COMMAND = "{python} -m pytest -x -q -p no:cacheprovider -m 'not slow' {tests}"
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


def keep_sample(session, size, seed):
    """Drop useless mutants, then all but a random sample; return how many there were."""
    with sqlite3.connect(session) as database:
        rows = database.execute("SELECT job_id, operator_name FROM mutation_specs").fetchall()
        useful = sorted(job for job, operator in rows if not useless(operator))
        kept = set(random.Random(seed).sample(useful, min(size, len(useful))))
        dropped = [(job,) for job, _ in rows if job not in kept]
        database.executemany("DELETE FROM mutation_specs WHERE job_id = ?", dropped)
        database.executemany("DELETE FROM work_items WHERE job_id = ?", dropped)
    return len(useful)


def useless(operator):
    """Whether every mutant of this operator raises an error or is none."""
    kind, bits = BITS
    if kind in operator and operator.endswith(bits):
        return not operator.endswith(("_BitOr_BitAnd", "_BitAnd_BitOr"))
    return operator.endswith(EXCLUDED)


def results(tool, session):
    """Yield outcome, place and difference of every mutant that ran."""
    for line in subprocess.check_output([tool, "dump", session], text=True).splitlines():
        item, result = json.loads(line)
        if result is not None:
            place = item["mutations"][0]
            yield result["test_outcome"], place, result["diff"]


def run_group(name, group, options, folder):
    """Run one group in the copy; print its score and survivors; return (killed, run)."""
    command = COMMAND.format(python=sys.executable, tests=" ".join(group["tests"]))
    config, session = folder / f"{name}.toml", folder / f"{name}.sqlite"
    values = {
        "modules": group["modules"],
        "timeout": group.get("timeout", 1200),
        "command": command,
    }
    config.write_text(CONFIG.format(**{key: json.dumps(value) for key, value in values.items()}))
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

    subprocess.run(command, shell=True, cwd=folder, env=environment, check=True)
    call("init", config.name, session.name)
    total = keep_sample(session, options.sample, options.seed)
    call("exec", config.name, session.name)
    found = list(results(tool, session))
    survivors = [(place, diff) for outcome, place, diff in found if outcome == "survived"]
    killed = len(found) - len(survivors)
    print(f"{name}: {killed} of {len(found)} killed ({total} mutants in all)")
    for place, diff in survivors:
        line = place["start_pos"][0]
        print(f"  {place['module_path']}:{line} {place['operator_name']} {place['occurrence']}")
        print("".join(f"    {row}\n" for row in diff.splitlines() if row[:1] in "+-"), flush=True)
    return killed, len(found)


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
