"""A denoiser under examination: with its images, its closed forms and its place in a table."""

import re
from dataclasses import dataclass
from functools import cached_property

import torch

from lindiff.experiments import nets
from lindiff.experiments.rows import Row
from lindiff.nn.closed_forms import GaussianDenoiser, MemorisingDenoiser
from lindiff.nn.cost import n_parameters


@dataclass(frozen=True)
class Subject:
    """A denoiser with the images it stems from and images it has not seen.

    Parameters
    ----------
    denoiser : object with ``denoise(x, sigma)``
    train, test : torch.Tensor, shape (n, d)
    stamp : dict
        Columns of its rows.
    """

    denoiser: object
    train: torch.Tensor
    test: torch.Tensor
    stamp: dict

    def row(self, metric, value, **more):
        """Return a row of the table about this denoiser."""
        return Row(metric, value, **{**self.stamp, **more})

    @cached_property
    def gaussian(self):
        """The Gaussian denoiser of the training images."""
        return GaussianDenoiser.from_images(self.train)

    @cached_property
    def memoriser(self):
        """The memorising denoiser of the training images."""
        return MemorisingDenoiser(self.train)

    def images(self, split, n):
        """Return `n` images of "test" or "train", again and again if there are fewer."""
        images = self.test if split == "test" else self.train
        return images[torch.arange(n, device=images.device) % len(images)]

    def closed(self, name):
        """Return "gaussian" or "memoriser" of the same images as a subject of its own."""
        stamp = {k: self.stamp[k] for k in ("dataset", "N", "subset") if k in self.stamp}
        return Subject(getattr(self, name), self.train, self.test, {**stamp, "arch": name})


def network(context, config, *, n_test, beside=()):
    """Return the finished network of a training as a subject."""
    return subject_of(config, nets.trained(context, config, n_test=n_test, beside=beside))


def subject_of(config, found):
    """Return a network with its images as a subject."""
    stamp = stamp_of(config) | {
        "params": n_parameters(found.net),
        "images_seen": found.images_seen,
    }
    return Subject(found.net, found.split.train.flat(), found.split.test.flat(), stamp)


def stamp_of(config):
    """Return the columns that a configuration fixes."""
    label = config.arch
    label += "" if config.kind == "edm" else f"+{config.kind}"
    label += "" if config.sigma_law == "edm+tail" else f"+{config.sigma_law}"
    return {
        "dataset": config.data,
        "N": config.n_images,
        "subset": config.subset,
        "arch": label,
        "C": int(re.search(r"\d+", config.arch)[0]),
        "seed": config.seed_weights,
    }
