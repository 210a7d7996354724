"""Time to import the theory and to list the experiments, against its libraries alone.

``python -m tests.benchmarks.imports`` prints the medians of fresh processes, taken in turn,
and fails where a limit is passed.
"""

import statistics
import subprocess
import sys

ROUNDS = 9
LIBRARIES = "import numpy, scipy.linalg, scipy.special"
LIST = "import runpy; runpy.run_module('lindiff.experiments', run_name='__main__')"
LIMITS = {"import lindiff.onestep": 1.5, LIST: 2.0}
CHILD = """
import contextlib, io, sys, time
sys.argv = ["lindiff.experiments", "list"]
start = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    {}
print(time.perf_counter() - start)
"""


def seconds(statement):
    """Time of a statement in a fresh process, without the start of the interpreter."""
    command = [sys.executable, "-c", CHILD.format(statement)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    statements = [LIBRARIES, *LIMITS]
    runs = [[seconds(statement) for statement in statements] for _ in range(ROUNDS + 1)]
    base, *medians = [statistics.median(column) for column in zip(*runs[1:], strict=True)]
    print(f"{base:6.3f} s  {LIBRARIES}")
    for (statement, limit), median in zip(LIMITS.items(), medians, strict=True):
        print(f"{median:6.3f} s  {median / base:.2f} times, at most {limit}  {statement}")
    ratios = [median / base for median in medians]
    return any(ratio > limit for ratio, limit in zip(ratios, LIMITS.values(), strict=True))


if __name__ == "__main__":
    sys.exit(main())
