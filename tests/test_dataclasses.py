"""Results and settings of the theory cannot be changed, and comparing two raises no error."""

import dataclasses
import importlib
from pathlib import Path

import pytest

import lindiff

MODULES = [path.stem for path in Path(lindiff.__file__).parent.glob("*.py")]


def classes():
    """Every data class of the theory, each once."""
    for name in sorted(MODULES):
        module = importlib.import_module(f"lindiff.{name}")
        for found in vars(module).values():
            if dataclasses.is_dataclass(found) and found.__module__ == module.__name__:
                yield found


@pytest.mark.parametrize("found", list(classes()), ids=lambda found: found.__name__)
def test_data_classes_are_frozen_and_compare_by_identity_if_they_hold_arrays(found):
    assert found.__dataclass_params__.frozen
    if any("ndarray" in str(field.type) for field in dataclasses.fields(found)):
        assert found.__eq__ is object.__eq__


def test_some_are_found():
    assert {found.__name__ for found in classes()} > {"LossModes", "NoiseSchedule", "OneStepModel"}
