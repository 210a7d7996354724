"""Averages over training sets, cut into jobs: every draw has a seed of its own."""

import functools
import hashlib
import json
from dataclasses import fields

import numpy as np

import lindiff
from lindiff._control_variates import Moments
from lindiff._jobs import Job
from lindiff._loss_modes import noise_to_signal
from lindiff._training_sets import one_draw


def job(setting, root, first, count):
    """Job for the draws first, ..., first + count - 1 of a setting, seeded by `root`."""
    sequence = root.seed_seq
    key = {
        "format": 2,
        "version": lindiff.__version__,
        "eigenvalues": _digest(setting.eigenvalues),
        "n_samples": setting.n_samples,
        "levels": _digest(noise_to_signal(setting.alpha_bar)),
        "floor": _digest(setting.floor),
        "estimated_mean": setting.estimated_mean,
        "quantities": setting.quantities,
        "seed": [type(root).__name__, str(sequence.entropy), sequence.spawn_key],
        "draws": [first, count],
    }
    arguments = (setting, type(root), sequence.entropy, sequence.spawn_key, first, count)
    return Job(json.dumps(key, sort_keys=True), _moments, arguments)


def _digest(array):
    array = np.ascontiguousarray(array, dtype="<f8")
    return hashlib.sha256(f"{array.shape}".encode() + array.tobytes()).hexdigest()


def _moments(setting, kind, entropy, spawn_key, first, count):
    outputs, controls = [], []
    for draw in range(first, first + count):
        # The key of a child is its parent's with one number more, as in SeedSequence.spawn.
        child = (*spawn_key, setting.n_samples, draw)
        rng = np.random.Generator(kind(np.random.SeedSequence(entropy, spawn_key=child)))
        output, control = one_draw(setting, rng)
        outputs.append(output)
        controls.append(control)
    found = Moments.of(np.array(outputs), np.array(controls))
    return {field.name: np.asarray(getattr(found, field.name)) for field in fields(found)}


def merge(results):
    """Moments of all draws of a setting from the results of its jobs, in order."""
    pieces = [Moments(**{**piece, "count": int(piece["count"])}) for piece in results]
    return functools.reduce(Moments.merged, pieces)
