"""What holds for all modules of the theory: data classes, and what an option is by default."""

import dataclasses
import importlib
import inspect
from pathlib import Path

import pytest

import lindiff

APART = {"_report", "_symbolic", "data", "figures", "verify"}
MODULES = sorted({path.stem for path in Path(lindiff.__file__).parent.glob("*.py")} - APART)
# Without options: no floor, no ridge, nothing injected, unit variance, one draw, plain theory.
DEFAULTS = {
    "add_residual": False,
    "amplitude": 1.0,
    "bandwidth_factor": 1.0,
    "bulk": 1.0,
    "eta": 0.0,
    "final_noise": False,
    "floor": 0.0,
    "intercept": True,
    "mean": 0.0,
    "noise": "path",
    "one_loop": False,
    "order": 1,
    "other_floor": 0.0,
    "per_mode": False,
    "placebo": False,
    "progress": False,
    "projected": False,
    "ratio": 0.0,
    "reference_floor": 0.0,
    "ridge": 0.0,
    "rule": "ddpm",
    "sampler": "isotropic",
    "shift": 0.0,
    "shifts": 0.0,
    "size": 1,
    "solver": "ddim",
    "swapped": False,
    "variance": 1.0,
    "width": 0.0,
}


def classes():
    """Every data class, each once."""
    for name in MODULES:
        module = importlib.import_module(f"lindiff.{name}")
        for found in vars(module).values():
            if dataclasses.is_dataclass(found) and found.__module__ == module.__name__:
                yield found


@pytest.mark.parametrize("found", list(classes()), ids=lambda found: found.__name__)
def test_data_classes_are_frozen_and_compare_by_identity_if_they_hold_arrays(found):
    assert found.__dataclass_params__.frozen
    if any("ndarray" in str(field.type) for field in dataclasses.fields(found)):
        assert found.__eq__ is object.__eq__


def options():
    """Name of the function, name of the option and default, for all public functions."""
    for name in MODULES:
        module = importlib.import_module(f"lindiff.{name}")
        for public in getattr(module, "__all__", ()):
            found = getattr(module, public)
            methods = inspect.getmembers(found, inspect.isroutine) if inspect.isclass(found) else []
            own = [(f"{public}.{key}", value) for key, value in methods if key[0] != "_"]
            for label, function in [(public, found), *own]:
                if callable(function):
                    for option in inspect.signature(function).parameters.values():
                        yield f"{name}.{label}", option.name, option.default


@pytest.mark.parametrize("option", DEFAULTS)
def test_an_option_has_one_default(option):
    given = {
        label: default
        for label, name, default in options()
        if name == option and default is not inspect.Parameter.empty
    }
    assert given and set(given.values()) == {DEFAULTS[option]}, given


def test_the_usual_levels_are_the_default():
    given = {(label, name): default for label, name, default in options()}
    linear = [given["schedules.linear_beta", name] for name in ("beta_start", "beta_end")]
    karras = [given["schedules.karras", name] for name in ("sigma_min", "sigma_max", "rho")]
    cosine = [given["schedules.cosine", name] for name in ("n_steps", "offset", "max_beta")]
    assert linear == [1e-4, 2e-2] and given["schedules.linear_beta", "n_steps"] == 1000
    assert karras == [0.002, 80.0, 7.0] and cosine == [1000, 0.008, 0.999]


@pytest.mark.parametrize(
    "path", sorted(Path(lindiff.__file__).parent.rglob("*.py")), ids=lambda p: p.name
)
def test_no_formula_has_lost_a_backslash(path):
    # In a string that is not raw "\bar" is a backspace and "ar".
    text = path.read_text(encoding="utf-8")
    assert not [c for c in text if ord(c) < 32 and c != "\n"]
