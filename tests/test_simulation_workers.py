"""Simulated averages are the same numbers on every backend, and after a killed process."""

import os
import signal
import subprocess
import sys
import time

import joblib
from test_simulation import call, same


def test_numbers_do_not_depend_on_the_workers():
    alone = call()
    assert alone["kl"].mean.shape == (2, 2)
    with joblib.parallel_config(n_jobs=2, backend="loky", inner_max_num_threads=1):
        same(alone, call())
    with joblib.parallel_config(n_jobs=2, backend="threading"):
        same(alone, call())
    with joblib.parallel_config(n_jobs=2, backend="multiprocessing"):
        same(alone, call())


SCRIPT = """
import pathlib, sys
import numpy as np
from lindiff import _training_jobs, simulation
work = _training_jobs._moments
def slow(*arguments):
    if len(list(pathlib.Path(sys.argv[1]).glob("*.npz"))) == 2:
        sys.stdin.read()
    return work(*arguments)
_training_jobs._moments = slow
simulation.average([3.0, 1.0, 0.5, 0.2], (5, 9), [0.9, 0.3], np.random.default_rng(11), floor=0.1,
    quantities=["test_loss", "kl"], draws_per_job=20, n_draws=60, store=sys.argv[1])
"""


def test_killed_process_resumes_bit_for_bit(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    process = subprocess.Popen(command, env=os.environ, stdin=subprocess.PIPE)
    while len(list(tmp_path.glob("*.npz"))) < 2 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list(tmp_path.glob("*.npz"))) == 2
    same(call(), call(store=tmp_path))


def test_real_dask_cluster(tmp_path, dask_client):
    same(call(), call(store=tmp_path, progress=True))
    tasks = dask_client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.task_prefixes))
    assert tasks > 0
    assert dask_client.cluster.scheduler_address.startswith("tcp://127.0.0.1:")
    assert len(list(tmp_path.glob("*.npz"))) == 6
