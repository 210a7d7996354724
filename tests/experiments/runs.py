"""Runs of experiments for several test files: what they train, few units, a killed run."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lindiff.experiments import _registry, runner
from lindiff.experiments.results import Result

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Smoke:
    """A smoke run: how it ended, its result, and the networks it trained."""

    outcome: runner.Outcome
    result: Result
    trained: list


def trainings(patch):
    """Return the list to which each configuration is added that is trained from now on."""
    from lindiff.experiments import nets

    seen, train_many = [], nets.trainer.train_many

    def noted(configs, *arguments, **options):
        seen.extend(configs)
        return train_many(configs, *arguments, **options)

    patch.setattr(nets.trainer, "train_many", noted)
    return seen


def first_units(patch, exp, number):
    """Let an experiment have its first units only."""
    module = _registry.load(exp)
    units = module.units
    patch.setattr(module, "units", lambda settings: units(settings)[:number])


def killed_run(exp, number, finished, out):
    """Run the first units of an experiment in a process that kills itself; return its code.

    It dies when `finished` units are stored and the next one would be.
    """
    code = """
import os, pathlib, signal, sys
import pytest
from lindiff.experiments import runner, store
from tests.experiments.runs import first_units
exp, number, finished, out = sys.argv[1], *map(int, sys.argv[2:4]), pathlib.Path(sys.argv[4])
save, stored = store.UnitStore.save, []
def save_or_die(*arguments):
    if len(stored) == finished:
        os.kill(os.getpid(), signal.SIGKILL)
    stored.append(save(*arguments))
store.UnitStore.save = save_or_die
first_units(pytest.MonkeyPatch(), exp, number)
runner.run(exp, "smoke", out=out, device="cpu")
"""
    command = [sys.executable, "-c", code, exp, str(number), str(finished), str(out)]
    return subprocess.run(command, cwd=ROOT).returncode
