"""See that this process is the other machine that ``.ci/portable`` asks for.

``python -m tests.portable path|threads|oldest`` prints what it found, and fails where the
variables or the constraints had no effect: a green run would then say nothing. ``constraints``
prints the oldest versions that ``pyproject.toml`` allows, in the form that pip takes.
"""

import hashlib
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PATH = ("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "ATEN_CPU_CAPABILITY")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
DIGESTS = "import tests.portable as p; print(*p.digests().values())"


def lower_bounds():
    """The oldest version of each library: of the package, and of its networks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = project["dependencies"] + project["optional-dependencies"]["torch"]
    return dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", line).groups() for line in asked)


def digests():
    """Digests of all last digits of a sum of products, of functions, of a factorisation."""
    draws = np.random.default_rng(0).standard_normal((300, 300))
    results = {
        "products": draws @ draws.T,
        "long sum": np.atleast_1d(draws.ravel() @ draws.T.ravel()),
        "functions": np.exp(draws) + np.sin(draws),
        "eigenvalues": np.linalg.eigvalsh(draws + draws.T),
    }
    return {name: hashlib.sha256(x.tobytes()).hexdigest()[:12] for name, x in results.items()}


def digests_elsewhere(environment):
    """The digests in a process without the variables of the other machine."""
    command = [sys.executable, "-c", DIGESTS]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return dict(zip(digests(), done.stdout.split(), strict=True))


def comparison(elsewhere):
    """Problems: a comparison of last digits must turn red here, or the run shows nothing."""
    here = digests()
    moved = [name for name in here if here[name] != elsewhere[name]]
    print("last digits differ from the usual ones in:", ", ".join(moved) or "nothing")
    return [] if moved else ["all last digits are the usual ones: this run would show nothing"]


def has_two_paths():
    """Whether OpenBLAS has another path here than that of old processors."""
    from threadpoolctl import threadpool_info

    found = [item for item in threadpool_info() if item["internal_api"] == "openblas"]
    return any(item["architecture"] not in ("Nehalem", "Prescott") for item in found)


def path():
    """Problems of the other CPU path."""
    usual = {name: value for name, value in os.environ.items() if name not in PATH}
    return comparison(digests_elsewhere(usual))


def threads():
    """Problems of two threads."""
    import scipy.linalg  # noqa: F401  (it brings a BLAS of its own)
    from threadpoolctl import threadpool_info

    found = [(item["internal_api"], item["num_threads"]) for item in threadpool_info()]
    print("threads:", ", ".join(f"{name} {count}" for name, count in found))
    problems = [f"{name} uses {count} threads, not 2" for name, count in found if count != 2]
    usual = os.environ | dict.fromkeys(THREADS, "1")
    return problems + comparison(digests_elsewhere(usual))


def installed(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def is_version(found, wanted):
    """Whether a version is the one wanted, where 1.26 means 1.26.0."""
    return found.split("+")[0].removesuffix(".0") == wanted.removesuffix(".0")


def oldest():
    """Problems of the oldest libraries."""
    wanted = lower_bounds()
    found = {name: installed(name) for name in wanted}
    print(", ".join(f"{name} {number or 'not installed'}" for name, number in found.items()))
    optional = {"torch", "safetensors"} if found["torch"] is None else set()
    problems = [
        f"{name} is {number}, not {wanted[name]}"
        for name, number in found.items()
        if name not in optional and not (number and is_version(number, wanted[name]))
    ]
    if hasattr(np, "trapezoid"):
        problems.append("np.trapezoid is there: a use of it would not be seen")
    return problems


def main(where):
    if where == "constraints":
        print(*(f"{name}=={number}" for name, number in lower_bounds().items()), sep="\n")
        return 0
    problems = {"path": path, "threads": threads, "oldest": oldest}[where]()
    print(*problems, sep="\n", end="\n" if problems else "")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
