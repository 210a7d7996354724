"""Training of denoising networks: resumable bit for bit, on a CPU or as a CUDA graph.

``train`` runs one network, ``train_many`` several at once. Both follow section 5 of Karras et al.
2022 with a heavier tail of high noise, a constant learning rate after the warm-up, and averaged
weights whose half-life is a share of the images seen, so that training time has one meaning.
"""

import contextlib
import sys
import time
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from lindiff.nn._config import TrainConfig
from lindiff.nn._device import numerics, resolve_device
from lindiff.nn._run import Options, Run, TrainingDiverged, TrainResult

__all__ = ["TrainConfig", "TrainResult", "TrainingDiverged", "train", "train_many"]


def train(
    config,
    split,
    *,
    folder,
    device="cpu",
    progress=False,
    compile=False,
    graph="auto",
    channels_last=False,
    stop_after=None,
    deadline=None,
    on_checkpoint=None,
    keep_checkpoints=False,
):
    """Train a network, or go on where an earlier call stopped.

    The state in `folder` is written at every checkpoint, every 30 seconds and at the end. A
    training that was killed at any moment and started again ends with the same weights, bit for
    bit, as one that was not, on the same device and version of PyTorch.

    Parameters
    ----------
    config : TrainConfig
        A larger `images_seen` than before continues a finished training.
    split : Split
        Of `lindiff.nn.images.image_split`, or of `split_from` with images of one's own. Its
        `train` images are used, with their standard deviation as sigma_data.
    folder : path
        Belongs to this training alone. While another process trains in it, this one waits.
    device : str or torch.device
        "auto" takes the GPU if there is one.
    progress : bool
        Show a progress bar on standard error.
    compile : bool
        Compile the network with `torch.compile`; this changes the last digits.
    graph : {"auto", "off"}
        ``"auto"`` replays the step as a CUDA graph on a CUDA device.
    channels_last : bool
        Memory layout of images. Channels last is slower even on a CUDA device, since the group
        norms put every map back in order; it changes the last digits.
    stop_after : int, optional
        Stop at this total number of images, rounded up to a whole batch.
    deadline : float, optional
        Stop at this value of `time.monotonic()`.
    on_checkpoint : callable, optional
        Called as ``on_checkpoint(images_seen, net)`` at each checkpoint, with the averaged
        weights. After a kill it can be called again for the same checkpoint, with the same
        weights. It must not change `net`.
    keep_checkpoints : bool
        Also keep the averaged weights of each checkpoint, for
        `lindiff.nn.checkpoints.load_checkpoint`. If those of the end are lost or damaged, a
        call on the finished training writes them again from its state.

    Returns
    -------
    TrainResult

    Raises
    ------
    TrainingDiverged
        If the loss is not finite. The state before that is kept.
    ValueError
        If `folder` holds a training of another configuration, or the device is missing.
    TimeoutError
        If another process trains in `folder` until the deadline.
    OSError
        If a file cannot be written; the state before it is kept.

    Examples
    --------
    A network on images of one's own, which goes on from `folder` when it is called again:

    >>> import tempfile
    >>> import numpy as np
    >>> from lindiff.nn.images import split_from
    >>> pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    >>> split = split_from(pixels[:32], pixels[32:], "noise")
    >>> config = TrainConfig("unet-4", "noise", n_images=32, images_seen=64, size=8, batch=16)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = train(config, split, folder=folder)
    >>> result.finished, result.net.denoise(split.test.flat(), 0.5).shape
    (True, torch.Size([8, 64]))
    """
    device = resolve_device(device)
    options = _options(
        compile, graph, channels_last, stop_after, deadline, on_checkpoint, keep_checkpoints
    )
    return carry_out(Run(config, split, Path(folder).expanduser(), device, options), progress)


def carry_out(run, progress):
    """Advance one run until it is over and return its result."""
    with contextlib.closing(run), _bar([run], progress) as bar:
        while not run.done:
            for error in _advance({0: run}, bar).values():
                raise error
    return run.result()


def train_many(
    configs,
    split_of,
    *,
    folder,
    device="cpu",
    progress=False,
    compile=False,
    graph="auto",
    channels_last=False,
    stop_after=None,
    deadline=None,
    on_checkpoint=None,
    keep_checkpoints=False,
    errors="raise",
):
    """Train several networks; each ends as it would with `train` alone.

    On a CUDA device each has a graph on a stream of its own, and the graphs are replayed in
    turn, which fills the device with small networks. On the CPU they run one after the other.

    Parameters
    ----------
    configs : sequence of TrainConfig
    split_of : callable
        ``split_of(config)`` returns the Split of a configuration.
    folder : path or callable
        Each training lies in ``folder / config.key``, or in ``folder(config)``.
    on_checkpoint : callable, optional
        Called as ``on_checkpoint(config, images_seen, net)``.
    errors : {"raise", "return"}
        A training that fails never stops the others. Afterwards the errors are raised together,
        or returned in the places of the results.

    Returns
    -------
    list of TrainResult, in the order of `configs`

    Raises
    ------
    ExceptionGroup
        Of the errors, once all other trainings are done and saved.
    """
    if errors not in ("raise", "return"):
        raise ValueError(f"`errors` must be 'raise' or 'return', not {errors!r}")
    configs = list(configs)
    device = resolve_device(device)
    where = folder if callable(folder) else lambda config: Path(folder) / config.key
    if len({Path(where(config)).expanduser() for config in configs}) < len(configs):
        raise ValueError("`configs` must have a folder each: two of them have the same one")
    options = _options(compile, graph, channels_last, stop_after, deadline, None, keep_checkpoints)
    results = {}

    def start(index):
        config = configs[index]
        callback = _bound(on_checkpoint, config)
        own = replace(options, on_checkpoint=callback)
        return Run(config, split_of(config), Path(where(config)).expanduser(), device, own)

    together = len(configs) if device.type == "cuda" else 1
    for first in range(0, len(configs), max(together, 1)):
        group = range(first, min(first + together, len(configs)))
        _run_group(group, start, results, progress)
    failed = [result for result in results.values() if isinstance(result, Exception)]
    if failed and errors == "raise":
        message = f"{len(failed)} of {len(configs)} trainings failed; the others are saved"
        raise ExceptionGroup(message, failed)
    return [results[index] for index in range(len(configs))]


def _run_group(group, start, results, progress):
    """Advance the trainings of a group in turn until each is over or has failed."""
    runs = {}
    try:
        for index in group:
            try:
                runs[index] = start(index)
            except Exception as error:
                results[index] = error
        with _bar(list(runs.values()), progress) as bar:
            while runs:
                # What is over leaves at once: its folder, its graph and its memory are free.
                for index in [index for index, run in runs.items() if run.done]:
                    with contextlib.closing(runs.pop(index)) as run:
                        results[index] = run.result()
                    del run
                for index, error in (_advance(runs, bar) if runs else {}).items():
                    runs.pop(index).close()
                    results[index] = error
    finally:
        for run in runs.values():
            run.close()


def _advance(runs, bar):
    """Queue a chunk of steps of each run in turn, then settle each; return errors by index."""
    begin, failed = time.monotonic(), {}

    def attempt(index, action, *arguments):
        if index not in failed:
            try:
                action(*arguments)
            except Exception as error:
                failed[index] = error

    chunks = {index: run.next_chunk() for index, run in runs.items()}
    device = next(iter(runs.values())).device
    with numerics(device):
        for position in range(max(chunks.values())):
            for index, run in runs.items():
                if position < chunks[index]:
                    attempt(index, run.launch)
    for index, run in runs.items():
        attempt(index, run.wait)
    seconds = time.monotonic() - begin
    for index, run in runs.items():
        attempt(index, run.settle, seconds)
        bar.update(chunks[index] * run.config.batch)
    return failed


def _bar(runs, progress):
    total = sum(run.config.n_steps * run.config.batch for run in runs)
    return tqdm(
        total=total,
        initial=sum(run.images_seen for run in runs),
        unit="img",
        unit_scale=True,
        disable=not progress,
        file=sys.stderr,
    )


def _bound(on_checkpoint, config):
    if on_checkpoint is None:
        return None
    return lambda images_seen, net: on_checkpoint(config, images_seen, net)


def _options(compile, graph, channels_last, stop_after, deadline, on_checkpoint, keep_checkpoints):
    if graph not in ("auto", "off"):
        raise ValueError(f"`graph` must be 'auto' or 'off', not {graph!r}")
    if stop_after is not None and stop_after < 1:
        raise ValueError(f"`stop_after` must be a positive number of images, not {stop_after!r}")
    return Options(
        compile=compile,
        graph=graph,
        channels_last=channels_last,
        stop_after=stop_after,
        deadline=deadline,
        on_checkpoint=on_checkpoint,
        keep_checkpoints=keep_checkpoints,
    )
