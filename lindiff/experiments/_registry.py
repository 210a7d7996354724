"""The named experiments: every module ``eNN_name.py`` of this package is one."""

import importlib
import re
from pathlib import Path

_MODULE = re.compile(r"e(\d\d)_[a-z0-9_]+")
# VERSION is a whole number. It goes up when a change of the code moves numbers.
PARTS = ("TITLE", "VERSION", "PRESETS", "units", "criteria")
CPU_PRESETS = ("smoke", "cpu")  # All others are named after a GPU.


def names():
    """Return the names of all experiments, in order of their numbers."""
    found = (path.stem for path in Path(__file__).parent.glob("e[0-9][0-9]_*.py"))
    return sorted(name for name in found if _MODULE.fullmatch(name))


def resolve(text):
    """Return the full name for "e07_gaussian_agreement", "e07", "E7" or "7".

    Raises
    ------
    ValueError
        If there is no such experiment.
    """
    known = names()
    if text in known:
        return text
    number = re.fullmatch(r"[eE]?(\d{1,2})", text)
    matches = [n for n in known if number and n.startswith(f"e{int(number[1]):02d}_")]
    if len(matches) != 1:
        raise ValueError(f"there is no experiment {text!r}; there are {', '.join(known)}")
    return matches[0]


def load(name):
    """Return the module of an experiment; it has all of `PARTS`."""
    module = importlib.import_module(f"lindiff.experiments.{resolve(name)}")
    lacking = [part for part in PARTS if not hasattr(module, part)]
    if lacking:
        raise TypeError(f"experiment {name} lacks {', '.join(lacking)}")
    return module


def settings(module, preset):
    """Return the settings of a preset.

    Raises
    ------
    ValueError
        If the experiment has no such preset.
    """
    if preset not in module.PRESETS:
        raise ValueError(f"there is no preset {preset!r}; there are {', '.join(module.PRESETS)}")
    return module.PRESETS[preset]
