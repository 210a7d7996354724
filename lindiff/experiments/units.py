"""What an experiment is made of: independent units, and what a unit is told when it runs."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Context", "OutOfTime", "Unit"]

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+,-]{0,119}")


class OutOfTime(Exception):
    """A unit stopped at its deadline after saving what it had; the next run goes on."""


@dataclass(frozen=True)
class Context:
    """What the runner tells a unit.

    Parameters
    ----------
    exp, preset : str
        Names of the experiment and the preset.
    device : {"cpu", "cuda"}
        Where networks run.
    folder : pathlib.Path
        Where trained networks lie, shared by all experiments of these versions.
    ends_at : float or None
        Wall-clock second (``time.time()``) at which the budget ends.
    git : str
        Commit of the code, for the rows.
    """

    exp: str
    preset: str
    device: str = "cpu"
    folder: Path = field(default=Path("_build/experiments"))
    ends_at: float | None = None
    git: str = ""

    @property
    def deadline(self):
        """End of the budget on the clock ``time.monotonic()`` of this machine, or None."""
        if self.ends_at is None:
            return None
        return time.monotonic() + self.ends_at - time.time()

    @property
    def expired(self):
        """Whether the budget is used up."""
        return self.ends_at is not None and time.time() >= self.ends_at


@dataclass(frozen=True)
class Unit:
    """One independent piece of an experiment: ``function(context, *arguments)``.

    Parameters
    ----------
    key : str
        Names the unit and its file; unique in the experiment. Letters, digits and ``._=+,-``.
    function : callable
        A function of a module, so that workers find it. It returns a list of rows, or a pair
        of that list and a dict of arrays to be kept with the result. It raises `OutOfTime`
        if it saved its state and stopped at ``context.deadline``.
    arguments : tuple
        Further arguments; their ``repr`` must say all that the result depends on.
    """

    key: str
    function: Callable
    arguments: tuple = ()

    def __post_init__(self):
        if not _KEY.fullmatch(self.key):
            raise ValueError(
                f"unit key {self.key!r} is no file name; use letters, digits and . _ = + , -"
            )
