"""Importing the theory loads NumPy and two parts of SciPy, and nothing that is slow to load."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCIPY = ["scipy." + part for part in ("integrate", "interpolate", "optimize", "sparse", "stats")]
OTHERS = ["joblib", "matplotlib", "PIL", "pooch", "requests", "sklearn", "sympy", "torch", "tqdm"]
HEAVY = [*SCIPY, *OTHERS]
# What a module is about may be loaded with it.
ALLOWED = {"figures": {"matplotlib", "PIL"}, "verify": {"sympy"}}
MODULES = sorted(path.stem for path in (ROOT / "lindiff").glob("[a-z]*.py"))


def loaded(statement):
    """Which heavy modules a fresh interpreter holds after a statement."""
    code = f"import sys; {statement}; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def libraries():
    """What the libraries alone load: an old scipy.linalg holds scipy.sparse."""
    return loaded("import numpy, scipy.linalg, scipy.special")


@pytest.mark.parametrize("name", MODULES)
def test_nothing_heavy_is_loaded(name, libraries):
    assert loaded(f"import lindiff.{name}") - libraries <= ALLOWED.get(name, set())


def test_what_is_heavy_is_seen(libraries):
    assert loaded("import scipy.stats") >= {"scipy.stats", "scipy.optimize"}
    assert libraries <= {"scipy.sparse"}
