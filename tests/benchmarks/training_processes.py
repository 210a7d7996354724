"""Rate of several processes that train at the same time on one device."""

import queue
import time

import torch

from lindiff.nn.images import image_split
from tests.benchmarks import training_steps as steps
from tests.benchmarks.training_report import rate

PATIENCE = 60.0


def _train(index, arch, batch, settings, device, barrier, results):
    try:
        split = image_split("toyfaces", settings.n_images, size=settings.size, n_test=1)
        images = split.train.to(device)
        name = "graph, bf16" if device.type == "cuda" else "eager, fp32"
        way = steps.Way(name, steps.ours(images, arch, batch, name), batch)
        block = rate(way, settings.warm_up + 1, device) * settings.seconds / batch / 8
        barrier.wait(PATIENCE)
        begin, done = time.perf_counter(), 0
        while time.perf_counter() < begin + settings.seconds:
            rate(way, max(1, round(block)), device)
            done += max(1, round(block)) * batch
        results.put((index, done / (time.perf_counter() - begin), ""))
    except Exception as error:
        barrier.abort()
        results.put((index, 0.0, f"{type(error).__name__}: {error}"))


def processes_rate(n, arch, batch, settings, device):
    """Images a second of n processes together, after all have warmed up.

    Raises
    ------
    RuntimeError
        If a process fails or does not answer.
    """
    context = torch.multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(n), context.Queue()
    arguments = (arch, batch, settings, device, barrier, results)
    children = [context.Process(target=_train, args=(i, *arguments)) for i in range(n)]
    try:
        for child in children:
            child.start()
        answers = [results.get(timeout=2 * PATIENCE) for _ in children]
    except queue.Empty as error:
        raise RuntimeError(f"a process did not answer within {2 * PATIENCE:.0f} s") from error
    finally:
        for child in children:
            child.join(5)
            if child.is_alive():
                child.kill()
    troubles = [trouble for _, _, trouble in answers if trouble]
    if troubles:
        raise RuntimeError(troubles[0])
    return sum(found for _, found, _ in answers)
