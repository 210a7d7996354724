"""A training in progress: its state on disk, its checkpoints and its clock."""

import time
from dataclasses import asdict, dataclass

import numpy as np
import torch

from lindiff.nn._device import numerics, resolve_precision
from lindiff.nn._device_images import DeviceImages
from lindiff.nn._graphs import GraphedStep
from lindiff.nn._step import Stepper
from lindiff.nn.checkpoints import (
    CorruptFile,
    FolderLock,
    checkpoint_path,
    load_state,
    read_tensors,
    save_checkpoint,
    save_state,
)

SECONDS_BETWEEN_STATES = 30.0
STEPS_PER_CHUNK = {"cuda": 32}


class TrainingDiverged(RuntimeError):
    """The loss or the weights are no longer finite."""


@dataclass(frozen=True)
class TrainResult:
    """What `train` returns.

    Attributes
    ----------
    net : Preconditioned
        Network with the averaged weights, in evaluation mode.
    images_seen : int
    finished : bool
        Whether the budget is used up.
    losses : ndarray, shape (n, 2)
        Images seen, and the mean training loss since the row before.
    seconds : float
        Time spent training, over all calls. Trainings that run at once count their common time
        each.
    """

    net: torch.nn.Module
    images_seen: int
    finished: bool
    losses: np.ndarray
    seconds: float


@dataclass(frozen=True)
class Options:
    """How a training is carried out; at most the last digits depend on it."""

    compile: bool = False
    graph: str = "auto"
    channels_last: bool = False
    stop_after: int | None = None
    deadline: float | None = None
    on_checkpoint: object = None
    keep_checkpoints: bool = False
    rank: int = 0
    world: int = 1


class Run:
    """One training: `launch` queues steps, `settle` does what the host has to do after them."""

    def __init__(self, config, split, folder, device, options):
        from lindiff.nn.build import build

        self.config, self.folder, self.options = config, folder, options
        self.device, self.precision = device, resolve_precision(config.precision, device)
        images = _checked_images(config, split).to(device)
        self.fingerprint = split.train.fingerprint
        sigma_data = float(split.train.std)
        net = build(
            config.arch,
            size=config.size,
            sigma_data=sigma_data,
            seed=config.seed_weights,
            kind=config.kind,
        )
        self.stepper = Stepper(
            config,
            images,
            net,
            sigma_data=sigma_data,
            device=device,
            precision=self.precision,
            channels_last=options.channels_last,
            compiled=options.compile,
            rank=options.rank,
            world=options.world,
        )
        self.steps, self.losses, self.seconds = 0, [], 0.0
        self.lock = FolderLock(folder, options.deadline) if options.rank == 0 else None
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self):
        self._resume()
        self.saved_at = time.monotonic()
        self.done = self._over()
        self.checkpoints = [step for step in self.config.checkpoint_steps() if step > self.steps]
        if self.finished and self._last_is_lost():
            self._keep_checkpoint()
        self.stream, self.step = None, self.stepper.step
        if self.device.type == "cuda" and not self.done:
            self._prepare_cuda()

    def _prepare_cuda(self):
        self.stream = torch.cuda.Stream(self.device)
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        if self.options.graph != "off":
            with numerics(self.device):
                self.step = GraphedStep(self.stepper, self.stream)

    @property
    def images_seen(self):
        return self.steps * self.config.batch

    @property
    def finished(self):
        return self.steps >= self.config.n_steps

    def _over(self):
        stop, deadline = self.options.stop_after, self.options.deadline
        return (
            self.finished
            or (stop is not None and self.images_seen >= stop)
            or (deadline is not None and time.monotonic() >= deadline)
        )

    def next_chunk(self):
        """How many steps to queue before the host has to look again."""
        stop = self.options.stop_after
        room = STEPS_PER_CHUNK.get(self.device.type, 1)
        room = min(room, self.checkpoints[0] - self.steps)
        if stop is not None:
            room = min(room, -(-(stop - self.images_seen) // self.config.batch))
        return room

    def launch(self):
        """Queue one step."""
        if self.stream is None:
            self.step()
        else:
            with torch.cuda.stream(self.stream):
                self.step()
        self.steps += 1

    def wait(self):
        """Wait for the queued steps."""
        if self.stream is not None:
            self.stream.synchronize()

    def settle(self, seconds):
        """Save and report where it is time to, after steps that took `seconds`."""
        self.seconds += seconds
        at_checkpoint = self.steps == self.checkpoints[0]
        if at_checkpoint:
            self._checkpoint()
        self.done = self._over()
        waited = time.monotonic() - self.saved_at
        if at_checkpoint or self.done or waited >= SECONDS_BETWEEN_STATES:
            self.save()
        if self.stream is not None:
            # A callback may have queued work on the averaged weights that the next step changes.
            self.stream.wait_stream(torch.cuda.current_stream(self.device))

    def _checkpoint(self):
        self.check_finite()
        before = self.losses[-1][0] if self.losses else 0
        steps = (self.images_seen - before) // self.config.batch
        mean = self.stepper.loss_sum.item() / steps
        self._keep_checkpoint()
        if self.options.rank == 0 and self.options.on_checkpoint is not None:
            self.options.on_checkpoint(self.images_seen, self.stepper.ema_net)
        self.losses.append([self.images_seen, mean])
        self.stepper.loss_sum.zero_()
        self.checkpoints.pop(0)

    @property
    def _checkpoint_file(self):
        return checkpoint_path(self.folder, self.images_seen)

    def _last_is_lost(self):
        if not self._keeps:
            return False
        try:
            read_tensors(self._checkpoint_file)
        except (FileNotFoundError, CorruptFile):
            return True
        return False

    @property
    def _keeps(self):
        return self.options.rank == 0 and self.options.keep_checkpoints

    def _keep_checkpoint(self):
        if self._keeps:
            save_checkpoint(
                self._checkpoint_file,
                self.stepper.ema_net,
                self.config,
                self.images_seen,
                sigma_data=self.stepper.sigma_data,
                fingerprint=self.fingerprint,
            )

    def check_finite(self):
        """Raise TrainingDiverged if the loss or a weight is not finite."""
        step = int(self.stepper.finite) + 1
        if step <= self.steps or not torch.isfinite(self.stepper.weights.detach().sum()):
            at = min(step, self.steps)
            raise TrainingDiverged(
                f"the loss of {self.config.arch!r} with learning rate "
                f"{self.config.learning_rate:g} is not finite at step {at} "
                f"({at * self.config.batch} images seen, {self.precision}): train in another "
                "folder with a lower learning rate or a longer warm-up. What was saved before is "
                "kept"
            )

    def save(self):
        """Write the state; a diverged one is refused."""
        self.check_finite()
        if self.options.rank == 0:
            meta = {
                **self._identity(),
                "images_seen": self.images_seen,
                "losses": self.losses,
                "seconds": self.seconds,
            }
            save_state(self.folder, self.stepper.tensors(), meta)
        self.saved_at = time.monotonic()

    def _identity(self):
        return {
            "config": asdict(self.config),
            "fingerprint": self.fingerprint,
            "precision": self.precision,
            "device": self.device.type,
        }

    def _resume(self):
        state = load_state(self.folder)
        if state is None:
            return
        tensors, meta = state
        self._check_identity(meta)
        seen = meta["images_seen"]
        self.steps = seen // self.config.batch
        if self.finished:
            tensors = _foreign(tensors, self.stepper.tensors())
        self.stepper.load(tensors)
        self.losses, self.seconds = meta["losses"], meta["seconds"]

    def _check_identity(self, meta):
        here = self._identity()
        done = meta["images_seen"] >= self.config.images_seen
        here["config"]["betas"] = list(self.config.betas)
        there = {**meta, **meta["config"]}
        here = {**here, **here["config"]}
        loose = {"config", "images_seen"} | ({"precision", "device"} if done else set())
        names = [name for name in here if name not in loose and here[name] != there.get(name)]
        if names:
            differences = ", ".join(_differ(n, there.get(n), here[n]) for n in names)
            raise ValueError(
                f"`folder` {self.folder} holds a training of another configuration "
                f"({differences}): choose another folder or delete it"
            )
        if meta["images_seen"] > self.config.n_steps * self.config.batch:
            raise ValueError(
                f"`folder` {self.folder} holds a training of {meta['images_seen']} images, more "
                f"than the budget of {self.config.images_seen}: choose another folder"
            )

    def close(self):
        """Leave the folder to others."""
        if self.lock is not None:
            self.lock.release()

    def result(self):
        """The network and the record of its training."""
        losses = np.array(self.losses, dtype=float).reshape(-1, 2)
        net = self.stepper.ema_net
        return TrainResult(net, self.images_seen, self.finished, losses, self.seconds)


def _foreign(tensors, own):
    """A finished state, perhaps of another kind of device: its random streams are done with."""
    shared = [n for n in own if n in tensors and not n.startswith("generator/")]
    return {**own, **{name: tensors[name] for name in shared}}


def _differ(name, there, here):
    if name == "fingerprint":
        return f"other images: their fingerprint is {there[:8]} there, {here[:8]} here"
    return f"{name} {there!r} there, {here!r} here"


def _checked_images(config, split):
    """The training images of a split, if they fit the configuration."""
    images = getattr(split, "train", None)
    if not isinstance(images, DeviceImages):
        raise TypeError(
            f"`split` must be a Split of lindiff.nn.images, got {type(split).__name__}; "
            "split_from(train, test) makes one of arrays"
        )
    if images.n != config.n_images or images.size != config.size:
        raise ValueError(
            f"`split` has {images.n} training images of side {images.size}; the configuration "
            f"says n_images={config.n_images}, size={config.size}"
        )
    if images.std == 0:
        raise ValueError("`split` has training images of one constant grey: nothing can be learnt")
    return images
