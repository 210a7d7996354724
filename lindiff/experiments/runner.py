"""Run an experiment: the units that are missing, then the criteria, then the result files."""

import time
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from lindiff.experiments import _registry, provenance, results
from lindiff.experiments.rows import Table
from lindiff.experiments.store import UnitStore
from lindiff.experiments.units import Context, OutOfTime

__all__ = ["NoDevice", "Outcome", "Plan", "plan", "resolve_device", "run"]

DEFAULT_STORE = Path("_build/experiments")


class NoDevice(RuntimeError):
    """The device that was asked for is not there."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Parameters
    ----------
    done, total : int
        Units finished and units of the experiment.
    failures : dict
        The sentence of each failed unit by key.
    criteria : list of Criterion
    folder : pathlib.Path or None
        Where the result files lie; None if complete ones were left in place of a part.
    """

    done: int
    total: int
    failures: dict
    criteria: list
    folder: Path

    @property
    def complete(self):
        """Whether all units are finished."""
        return self.done == self.total


@dataclass(frozen=True)
class Plan:
    """An experiment at a preset, with what its store already holds."""

    exp: str
    preset: str
    module: object
    settings: object
    units: list
    store: UnitStore

    def fingerprint(self, unit):
        """What the numbers of a unit depend on, as a hash."""
        version = self.module.VERSION
        return provenance.hashed(f"{unit.key} {unit.arguments!r} {self.configuration} {version}")

    @cached_property
    def configuration(self):
        """Hash of the settings."""
        return provenance.configuration_hash(self.exp, self.preset, self.settings)

    def records(self):
        """Return the stored record of each unit by key, None where there is none."""
        return {u.key: self.store.load(u.key, self.fingerprint(u)) for u in self.units}


def plan(exp, preset, out=DEFAULT_STORE):
    """Return the plan of an experiment.

    Raises
    ------
    ValueError
        If there is no such experiment or preset, or two units have one key.
    """
    exp = _registry.resolve(exp)
    module = _registry.load(exp)
    settings = _registry.settings(module, preset)
    units = list(module.units(settings))
    keys = [unit.key for unit in units]
    if len(set(keys)) != len(keys):
        raise ValueError(f"two units of {exp} at preset {preset} have one key")
    return Plan(exp, preset, module, settings, units, UnitStore(Path(out).resolve(), exp, preset))


def resolve_device(device, preset, module):
    """Return "cpu" or "cuda".

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        "auto" takes the GPU if there is one. A GPU preset of an experiment that trains
        networks (its module says ``NEEDS_GPU = True``) runs on a CPU only by "cpu". Other
        experiments compute on the CPU, whatever is asked for.

    Raises
    ------
    NoDevice
        If a GPU is needed and there is none.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"`device` must be auto, cpu or cuda, got {device!r}")
    if device == "cpu" or not getattr(module, "NEEDS_GPU", False):
        return "cpu"
    if _has_cuda():
        return "cuda"
    if device == "cuda" or preset not in _registry.CPU_PRESETS:
        asks = "--device cuda" if device == "cuda" else f"--preset {preset}"
        raise NoDevice(
            f"{asks} needs a GPU, but PyTorch finds no CUDA device here; use a machine with "
            "one, or --preset cpu --device cpu"
        )
    return "cpu"


def _has_cuda():
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def run(
    exp,
    preset,
    *,
    out=DEFAULT_STORE,
    folder=None,
    device="auto",
    ends_at=None,
    jobs=None,
    progress=False,
):
    """Run what is missing of an experiment and write its result.

    Parameters
    ----------
    exp, preset : str
    out : path
        Working store. Finished units are not run again.
    folder : path, optional
        Where the result files go; by default ``<out>/results``.
    device : {"auto", "cpu", "cuda"}
    ends_at : float, optional
        Wall-clock second at which no further unit starts; units are told.
    jobs : int, optional
        Parallel workers; by default those of ``joblib.parallel_config``.
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    Outcome

    Raises
    ------
    NoDevice, ValueError
        Before anything runs.
    """
    import joblib

    from lindiff import _jobs

    planned = plan(exp, preset, out)
    device = resolve_device(device, preset, planned.module)
    folder = Path(out) / "results" if folder is None else Path(folder)
    origin = provenance.commit()  # Before the units: the tree may change while they run.
    networks = Path(out).resolve() / f"networks-{_versions()}"
    context = Context(planned.exp, preset, device, networks, ends_at, origin[0][:12])
    before = planned.records()
    missing = [u for u in planned.units if not is_done(before[u.key])]
    # Those that failed come last: a budget goes to the others first.
    missing.sort(key=lambda unit: before[unit.key] is not None)
    calls = [
        _jobs.Job(u.key, _run_unit, (context, planned.store, u, planned.fingerprint(u)))
        for u in missing
    ]
    with joblib.parallel_config(n_jobs=jobs) if jobs else nullcontext():
        _jobs.run(calls, progress=progress and bool(calls))
    return _collect(planned, device, folder, origin, fresh=bool(calls))


def lacks_torch(error):
    """Whether an error says that PyTorch is not installed."""
    return isinstance(error, ImportError) and "torch" in str(error).lower()


def _versions():
    """Return the versions of all experiments as a hash.

    They share networks. Other trainings move numbers and so raise a version.
    """
    return provenance.hashed(repr([(n, _registry.load(n).VERSION) for n in _registry.names()]))


def is_done(record):
    """Whether the record of a unit says that it is finished."""
    return record is not None and record["status"] == "done"


def _run_unit(context, store, unit, fingerprint):
    """Run one unit in a worker and store what it gives."""
    if context.expired:
        return
    started = time.monotonic()
    try:
        found = unit.function(context, *unit.arguments)
        rows, arrays = found if isinstance(found, tuple) else (found, {})
        seconds = time.monotonic() - started
        defaults = {
            "run_id": unit.key,
            "exp": context.exp,
            "git": context.git,
            "wall_s": round(seconds, 3),
            "device": provenance.device_name(context.device),
        }
        rows = [row.filled(**defaults) for row in rows]
        store.save(unit.key, fingerprint, rows, arrays, seconds)
    except OutOfTime:
        # It goes on: an earlier failure is over.
        store.forget(unit.key)
    except Exception as error:
        if lacks_torch(error):  # It fails no unit: none of this kind can run here.
            raise
        sentence = provenance.scrub(f"{type(error).__name__}: {error}".strip().split("\n")[0])
        store.save_failure(unit.key, fingerprint, sentence, time.monotonic() - started)


def _collect(planned, device, folder, origin, fresh):
    """Evaluate the criteria on what is finished and write the result files.

    Without fresh units a result that is up to date is left as it is. A part never takes the
    place of the whole, of whatever version: it goes to the working store.
    """
    records = planned.records()
    done = {key: record for key, record in records.items() if is_done(record)}
    failures = {k: r["error"] for k, r in records.items() if r is not None and k not in done}
    table = Table(row for record in done.values() for row in record["rows"])
    arrays = {}
    for key, record in done.items():
        arrays |= results.as_arrays(key, record["arrays"])
    seconds = sum(record["seconds"] for record in done.values())
    made = provenance.made_by(table, origin, device)
    found = _provenance(planned, made, seconds, failures, len(done))
    result = results.Result(table, found, arrays)
    ended = len(done), len(planned.units), failures, result.criteria
    if not found["complete"] and _is_complete(planned, folder):
        folder = planned.store.root / "results"
        if _is_complete(planned, folder):
            return Outcome(*ended, None)
    if done and (fresh or not _up_to_date(planned, folder)):
        results.save(folder, planned.exp, planned.preset, result)
    return Outcome(*ended, folder)


def _stored(planned, folder):
    """The stored result, of whatever version and settings, or None."""
    try:
        return results.read(planned.exp, planned.preset, folder=folder)
    except (OSError, ValueError):
        return None


def _is_complete(planned, folder):
    stored = _stored(planned, folder)
    return stored is not None and stored.complete


def _up_to_date(planned, folder):
    stored = _stored(planned, folder)
    # One that stands for a reason gives way to finished units of the installed version.
    current = stored is not None and stored.provenance["version"] == planned.module.VERSION
    return current and stored.complete and results.mismatch(stored) is None


def _provenance(planned, made, seconds, failures, done):
    return {
        "exp": planned.exp,
        "title": planned.module.TITLE,
        "preset": planned.preset,
        "settings": provenance.plain(planned.settings),
        "complete": done == len(planned.units),
        "units_done": done,
        "units_total": len(planned.units),
        "failures": failures,
        "version": planned.module.VERSION,
        "configuration_hash": planned.configuration,
        "versions": provenance.versions(),
        "seed": getattr(planned.settings, "seed", None),
        "seconds": round(seconds, 3),
        "written": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": results.command(planned.exp, planned.preset, made["device"]),
        **made,
    }
