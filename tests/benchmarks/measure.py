"""One row of the benchmark, and how its CPU seconds are taken."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SHORTEST = 0.05


class Missing(Exception):
    """A peer is not installed, or cannot do the work; the text says which."""


@dataclass(frozen=True)
class Rival:
    """A slower way; `call` does the share `done` of `whole` units of the same work."""

    name: str
    call: Callable
    target: float
    done: int = 1
    whole: int = 1
    note: str = ""


@dataclass(frozen=True)
class Row:
    """Some work, our function for it, and the rivals."""

    work: str
    call: Callable
    rivals: tuple[Rival, ...]
    note: str = ""
    limit: float | None = None


@dataclass(frozen=True)
class Figure:
    """CPU seconds of both, medians, and the ratio per round."""

    ours: float
    theirs: float
    ratios: np.ndarray


def seconds(call):
    """CPU seconds of one call, all threads together."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def repeated(call, repeats):
    """CPU seconds of one of several calls in a row, so that the clock's grain is small."""
    begin = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - begin) / repeats


def compare(call, rival, rounds):
    """Measure both in turn, so that a busy machine slows both alike."""
    repeats = max(1, int(np.ceil(SHORTEST / max(seconds(call), 1e-6))))
    pairs = []
    for _ in range(rounds):
        ours = repeated(call, repeats)
        theirs = seconds(rival.call) * rival.whole / rival.done
        pairs.append((ours, theirs))
    ours, theirs = np.array(pairs).T
    return Figure(float(np.median(ours)), float(np.median(theirs)), theirs / ours)
