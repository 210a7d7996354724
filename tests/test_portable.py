"""The gate of other machines sees that it runs on one, and is red where it does not."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests import portable

USUAL = {name: value for name, value in os.environ.items() if name not in portable.PATH}


def run(where, environment):
    """Run the gate with some variables more; return its status and what it says."""
    command = [sys.executable, "-m", "tests.portable", where]
    done = subprocess.run(
        command, cwd=portable.ROOT, env=USUAL | environment, capture_output=True, text=True
    )
    assert not done.stderr
    return done.returncode, done.stdout


@pytest.mark.skipif(not portable.has_two_paths(), reason="the processor has one path only")
def test_another_path_moves_last_digits():
    variables = {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "X86_V3"}
    code, said = run("path", variables)
    assert code == 0 and "differ from the usual ones in: products" in said


def test_the_usual_path_is_refused():
    code, said = run("path", {})
    assert code == 1 and "would show nothing" in said


def test_one_thread_is_refused():
    code, said = run("threads", dict.fromkeys(portable.THREADS, "1"))
    assert code == 1 and "uses 1 threads, not 2" in said


def test_newer_libraries_are_refused(monkeypatch):
    wanted = portable.lower_bounds()
    assert wanted["numpy"] == "1.26" and set(wanted) > {"scipy", "sympy", "torch"}
    monkeypatch.setattr(portable, "installed", wanted.get)
    monkeypatch.delattr(np, "trapezoid", raising=False)
    assert portable.oldest() == []
    monkeypatch.setattr(portable, "installed", {**wanted, "scipy": "1.11.4"}.get)
    assert portable.oldest() == ["scipy is 1.11.4, not 1.11"]
    monkeypatch.setattr(portable, "installed", {**wanted, "scipy": None}.get)
    assert portable.oldest() == ["scipy is None, not 1.11"]
    monkeypatch.setattr(portable, "installed", {**wanted, "torch": None}.get)
    assert portable.oldest() == []
    monkeypatch.setattr(np, "trapezoid", np.sum, raising=False)
    assert "np.trapezoid" in portable.oldest()[0]


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        ("1.26.0", "1.26", True),
        ("1.26", "1.26.0", True),
        ("2.4.0+cpu", "2.4", True),
        ("1.26.1", "1.26", False),
        ("1.260", "1.26", False),
    ],
)
def test_versions(found, wanted, same):
    assert portable.is_version(found, wanted) is same
