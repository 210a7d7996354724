"""Trained networks in the working store: each is trained once and found by all experiments.

``<store>/nets/<key>/`` holds a training, with the checkpoints on its way. The key is the hash
of the training's settings and of its pixels, so that experiments and presets that ask for
the same network share it.
"""

import contextlib
import copy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from lindiff.experiments.store import read_arrays, write_arrays
from lindiff.experiments.units import OutOfTime
from lindiff.nn import checkpoints, trainer
from lindiff.nn.closed_forms import GaussianDenoiser
from lindiff.nn.images import DeviceImages, Split, image_split, shuffled_pixels
from lindiff.nn.sampling import heun_samples, noise_bank

__all__ = [
    "Found",
    "at_checkpoints",
    "counts",
    "folder_of",
    "fresh_images",
    "is_trained",
    "population",
    "samples_of",
    "split_of",
    "trained",
]

GAUSSIAN_IMAGES = 24_000
_POPULATION_SEED = 1


@dataclass(frozen=True)
class Found:
    """A trained network with its images.

    Parameters
    ----------
    net : lindiff.nn.preconditioning.Preconditioned
        Averaged weights, in evaluation mode.
    split : lindiff.nn.images.Split
        On the device of `net`.
    images_seen : int
    """

    net: torch.nn.Module
    split: Split
    images_seen: int


def split_of(config, *, n_test, device="cpu"):
    """Return the images of a training.

    Parameters
    ----------
    config : TrainConfig
        ``config.data`` is a name of `image_split`, alone or followed by ``+shuffled`` (one
        permutation of the pixels of all images) or ``+gaussian`` (a Gaussian law with mean
        and covariance of `GAUSSIAN_IMAGES` images of the set).
    n_test : int
        Held-out images; a real set may have fewer.
    device : str

    Returns
    -------
    lindiff.nn.images.Split

    Raises
    ------
    ValueError
        If the set is unknown or too small.
    """
    train = _train_images(config.data, config.n_images, config.subset, config.size)
    test = _test_images(config.data, n_test, config.size)
    return Split(train.to(device), test.to(device), config.data, train.fingerprint)


@lru_cache(maxsize=16)
def _train_images(data, n_images, subset, size):
    name, change = _named(data)
    if change == "gaussian":
        return _gaussian_images(name, n_images, subset, size)
    images = image_split(name, n_images, subset=subset, size=size, n_test=1).train
    return shuffled_pixels(images, 0) if change else images


@lru_cache(maxsize=16)
def _test_images(data, n_test, size):
    name, change = _named(data)
    if change == "gaussian":
        return _gaussian_images(name, n_test, 0, size)
    images = image_split(name, 1, size=size, n_test=n_test).test
    return shuffled_pixels(images, 0) if change else images


def _named(data):
    name, _, change = data.partition("+")
    if change not in ("", "shuffled", "gaussian"):
        raise ValueError(f"`data` may end in +shuffled or +gaussian, got {data!r}")
    return name, change


def _gaussian_images(name, n_images, part, size):
    drawn = _draw_gaussian(population(name, size, GAUSSIAN_IMAGES), n_images, part)
    return DeviceImages(drawn.reshape(-1, size, size))


def _draw_gaussian(law, n, seed):
    normal = np.random.default_rng(seed).standard_normal((n, law.dimension))
    values, vectors = (part.double().numpy() for part in (law.eigenvalues, law.eigenvectors))
    # The symmetric root does not depend on the signs of the eigenvectors.
    root = (vectors * np.sqrt(values)) @ vectors.T
    return (law.mean.double().numpy() + normal @ root).astype(np.float32)


@lru_cache(maxsize=2)
def fresh_images(name, size, n_images, seed=_POPULATION_SEED):
    """Return images that no network has seen, shape (n, d): held-out ones of a real set.

    Drawn sets give as many as asked for, other ones for each seed > 0.
    """
    if name == "toyfaces":
        return image_split(name, n_images, seed=seed, size=size, n_test=1).train.flat()
    return image_split(name, 1, size=size, n_test=n_images).test.flat()


def population(name, size, n_images, device="cpu"):
    """Return the Gaussian denoiser of `n_images` fresh images."""
    # The cached one stays where it is: a module moves in place.
    return copy.deepcopy(_population(name, size, n_images)).to(device)


@lru_cache(maxsize=4)
def _population(name, size, n_images):
    return GaussianDenoiser.from_images(fresh_images(name, size, n_images))


def folder_of(context, config):
    """Return the folder of a training in the store of `context`."""
    return _folder(context.folder, config)


@lru_cache(maxsize=256)
def _folder(store, config):
    data = (config.data, config.n_images, config.subset, config.size)
    fingerprint = _train_images(*data).fingerprint
    return Path(store) / "nets" / config.key_with(fingerprint)


def counts(config):
    """Return the numbers of images seen at the checkpoints, the end of the training last."""
    return [step * config.batch for step in config.checkpoint_steps()]


def is_trained(context, config):
    """Whether the store holds the finished network."""
    return _path(context, config, counts(config)[-1]).exists()


def _path(context, config, count):
    return checkpoints.checkpoint_path(folder_of(context, config), count)


def _network(context, config, count):
    """Return (network, images seen) at a checkpoint of a finished training."""
    path = _path(context, config, count)
    try:
        net, _, images_seen = checkpoints.load_checkpoint(path, context.device)
    except (FileNotFoundError, checkpoints.CorruptFile) as error:
        raise checkpoints.CorruptFile(
            f"{path.name} of a finished training is lost or damaged: delete the folder "
            f"{path.parent.name} in {path.parent.parent}, and it is trained again"
        ) from error
    return net, images_seen


def trained(context, config, plan, *, beside=()):
    """Return a network, trained now if the store does not hold it.

    Parameters
    ----------
    context : lindiff.experiments.units.Context
        Store, device and deadline.
    config : TrainConfig
    plan : lindiff.experiments._net_plans.Plan
        Number of held-out images of the split that is returned, and what is compiled.
    beside : sequence of TrainConfig
        Networks that will be wanted too: on a GPU they are trained at the same time.

    Returns
    -------
    Found

    Raises
    ------
    OutOfTime
        If the deadline came first; the state of the training is saved.
    """
    if is_trained(context, config):
        # A damaged one is written again by the finished training.
        with contextlib.suppress(checkpoints.CorruptFile):
            return _found(context, config, counts(config)[-1], plan.n_test)
    _train(context, config, plan, beside)
    return _found(context, config, counts(config)[-1], plan.n_test)


def at_checkpoints(context, config, plan, *, beside=()):
    """Yield the network at each checkpoint of its training, as `trained` returns it.

    Raises
    ------
    CorruptFile
        If a checkpoint before the end is lost or damaged: only a new training restores it.
    OutOfTime
        As `trained`.
    """
    trained(context, config, plan, beside=beside)
    for count in counts(config):
        yield _found(context, config, count, plan.n_test)


def _found(context, config, count, n_test):
    net, images_seen = _network(context, config, count)
    split = split_of(config, n_test=n_test, device=context.device)
    return Found(net, split, images_seen)


def _train(context, config, plan, beside):
    wanted = [config]
    if context.device == "cuda":
        missing = [c for c in beside if c != config and not is_trained(context, c)]
        # Compiled or not: a training must not depend on its company.
        alike = [c for c in missing if plan.compiles(c) == plan.compiles(config)]
        wanted += alike[: plan.together - 1]

    def split(config):
        return split_of(config, n_test=1, device=context.device)

    def folder(config):
        return folder_of(context, config)

    # Each training holds its folder: in one order, or two workers could wait for one another.
    wanted.sort(key=folder)
    results = trainer.train_many(
        wanted,
        split,
        folder=folder,
        device=context.device,
        compile=context.device == "cuda" and plan.compiles(config),
        deadline=context.deadline,
        keep_checkpoints=True,
        errors="return",
    )
    own = results[wanted.index(config)]
    if isinstance(own, Exception) and not isinstance(own, TimeoutError):
        raise own
    if not is_trained(context, config):
        raise OutOfTime(f"the training of {config.arch} on {config.n_images} images goes on later")


def samples_of(context, config, plan, *, count=None, n_samples=None):
    """Return samples of a network from the common noise bank, kept in the store.

    Parameters
    ----------
    context : Context
    config : TrainConfig
        Of a finished training.
    plan : lindiff.experiments._net_plans.Plan
        Number of samples and of solver steps.
    count : int, optional
        Images seen at a checkpoint; by default the end of the training.
    n_samples : int, optional
        Instead of that of `plan`.

    Returns
    -------
    torch.Tensor, shape (n, d), float32
    """
    n = plan.n_samples if n_samples is None else n_samples
    count = counts(config)[-1] if count is None else count
    folder = folder_of(context, config)
    path = folder / f"samples-{count:010d}-{n}-{plan.n_steps}.npz"
    if path.exists():
        with contextlib.suppress(ValueError):
            return torch.from_numpy(read_arrays(path)["samples"]).to(context.device)
    net = _network(context, config, count)[0]
    noise = noise_bank(n, config.size**2, seed=0, device=context.device)
    found = heun_samples(net, noise, n_steps=plan.n_steps)
    write_arrays(path, {"samples": found.float().cpu().numpy()})
    return found.float()
