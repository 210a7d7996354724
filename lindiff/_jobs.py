"""Independent jobs through joblib, each stored in a file of its own when it is done."""

import hashlib
import os
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Job:
    """A call `function(*arguments)` that returns a dict of arrays.

    `key` is a text that says everything the result depends on.
    """

    key: str
    function: object
    arguments: tuple

    def path(self, store):
        """Where the result lies in the folder `store`."""
        return store / f"{hashlib.sha256(self.key.encode()).hexdigest()[:32]}.npz"


def run(jobs, *, store=None, progress=False):
    """Return the results of all jobs in order; those already in `store` are not run again.

    The caller chooses the workers through ``joblib.parallel_config``. A worker writes its
    result to a temporary file and renames it, so that an interruption leaves whole files of
    all finished jobs and nothing else that counts.
    """
    from joblib import delayed
    from tqdm import tqdm

    results = dict.fromkeys(range(len(jobs)))
    if store is not None:
        store = Path(store).resolve()
        store.mkdir(parents=True, exist_ok=True)
        results.update((i, _load(job, store)) for i, job in enumerate(jobs))
    missing = [i for i, result in results.items() if result is None]
    finished = _parallel()(delayed(_run_one)(i, jobs[i], store) for i in missing)
    done = len(jobs) - len(missing)
    with tqdm(total=len(jobs), initial=done, disable=not progress, file=sys.stderr) as bar:
        for i, result in finished:
            results[i] = result
            bar.update()
    return [results[i] for i in range(len(jobs))]


def _parallel():
    from joblib import Parallel

    try:
        return Parallel(return_as="generator_unordered")
    except ValueError:  # Some backends, as multiprocessing and Ray, return all at the end.
        return Parallel()


def _run_one(index, job, store):
    result = job.function(*job.arguments)
    if store is not None:
        _save(job, store, result)
    return index, result


def _save(job, store, result):
    handle, temporary = tempfile.mkstemp(dir=store, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, key=np.array(job.key), **result)
        os.replace(temporary, job.path(store))
    except BaseException:
        os.unlink(temporary)
        raise


def _load(job, store):
    path = job.path(store)
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            found = dict(file)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"`store` has an unreadable file {path}; delete it") from error
    if str(found.pop("key", "")) != job.key:
        raise ValueError(f"`store` has a file {path} of another configuration; delete it")
    return found
