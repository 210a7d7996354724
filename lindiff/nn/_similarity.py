"""Samples and their nearest training images: copies and novelty."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from lindiff.nn import _evaluation as ev

_SAMPLES, _BLOCK, _RESAMPLES = 1024, 4096, 2000


class Nearest(NamedTuple):
    """The two nearest training images of each sample; tensors of shape (n,)."""

    index: torch.Tensor
    distance: torch.Tensor
    second_index: torch.Tensor
    second_distance: torch.Tensor


@dataclass(frozen=True)
class MemorisedFraction:
    """Share of memorised samples, its standard error and bootstrap 95 % interval."""

    value: float
    se: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class GeneralisationScore:
    """Mean relative distance to the nearest training image, of samples and of real images."""

    value: float
    se: float
    real: float
    real_se: float
    ratio: float
    ratio_se: float


def nearest(samples, train):
    r"""Find the two nearest training images of each sample.

    .. math:: a_1=\arg\min_{y\in\mathrm{train}}\lVert x-y\rVert,\qquad
              a_2=\arg\min_{y\ne a_1}\lVert x-y\rVert

    Parameters
    ----------
    samples : torch.Tensor or numpy.ndarray, shape (n, d)
    train : torch.Tensor or numpy.ndarray, shape (N, d), N >= 2
        On the device of `samples`. Of equal images the first is meant.

    Returns
    -------
    Nearest
        Indices, and float64 distances computed from the differences, without cancellation.

    Raises
    ------
    ValueError
        If the dimensions differ, an entry is NaN, there are fewer than two different images,
        or one of the sets holds grey levels and the other not.

    Notes
    -----
    Li, Dai and Qu 2024, L-28, L-32. Memory: 1024 x 4096 distances at a time.
    """
    samples, train = both_sets(samples, train, 2)
    different = _different(train)
    if len(different) < 2:
        raise ValueError("`train` is one image again and again; pass at least two different ones")
    train = train[different] if len(different) < len(train) else train
    centre = train.double().mean(0)
    parts = [_two_best(part.double() - centre, train, centre) for part in samples.split(_SAMPLES)]
    index = torch.cat(parts)
    distance = torch.stack(
        [(samples.double() - train[column].double()).norm(dim=1) for column in index.T], 1
    )
    # Rounding may have swapped two images at nearly the same distance.
    distance, order = distance.sort(dim=1, stable=True)
    index = different[index.gather(1, order)]
    return Nearest(index[:, 0], distance[:, 0], index[:, 1], distance[:, 1])


def memorised_fraction(samples, train, k=1 / 3, seed=0):
    r"""Return the share of samples that are copies of training images.

    .. math:: f=\Pr\Big(\frac{\lVert x-a_1\rVert}{\lVert x-a_2\rVert}<k\Big)

    Parameters
    ----------
    samples : torch.Tensor or numpy.ndarray, shape (n, d)
    train : torch.Tensor or numpy.ndarray, shape (N, d), N >= 2
    k : float
        In (0, 1].
    seed : int
        Of the bootstrap over samples.

    Returns
    -------
    MemorisedFraction

    Raises
    ------
    ValueError
        If `train` has one image only: the ratio has no second distance then.

    Notes
    -----
    The second image is the nearest one that differs from the first: a training set with each
    image twice gives the same share. An exact copy counts, whatever the second distance.
    Where no sample or every sample is a copy the bootstrap interval is a point; 3 / n then
    bounds the other end. Near duplicates in `train`, which are not equal, hide copies.
    Bonnaire et al. 2025, L-32.
    """
    if not 0 < k <= 1:
        raise ValueError(f"`k` must lie in (0, 1], got {k}")
    if getattr(train, "ndim", 0) == 2 and len(train) == 1:
        raise ValueError(
            "`train` has one image; the memorised fraction needs a second nearest image"
        )
    found = nearest(samples, train)
    copied = (found.distance < k * found.second_distance) | (found.distance == 0)
    n, value = len(copied), float(copied.double().mean())
    drawn = np.random.default_rng(seed).binomial(n, value, _RESAMPLES) / n
    low, high = np.quantile(drawn, [0.025, 0.975])
    return MemorisedFraction(value, (value * (1 - value) / n) ** 0.5, float(low), float(high), n)


def generalisation_score(samples, train, real, *, seed=0):
    r"""Return how far samples are from the training set, relative to real new images.

    .. math:: \mathrm{GL}=\frac1n\sum_i\frac{\lVert x_i-a_1(x_i)\rVert}{\lVert x_i\rVert}

    Parameters
    ----------
    samples : torch.Tensor or numpy.ndarray, shape (n, d)
    train : torch.Tensor or numpy.ndarray, shape (N, d), N >= 2
    real : torch.Tensor or numpy.ndarray, shape (m, d)
        Held-out images, for the score that a perfect sampler would have.
    seed : int
        Of the bootstrap of the ratio, over samples and real images independently.

    Returns
    -------
    GeneralisationScore

    Raises
    ------
    ValueError
        If the dimensions differ, an entry is NaN, there are too few images, an image is zero
        everywhere, or all of `real` are in `train`.

    Notes
    -----
    The score itself depends on the norm and contrast of the images; only the ratio can be
    compared between data sets. Li, Dai and Qu 2024, L-28.
    """
    scores = []
    train = ev.points("train", train, minimum=2)
    for name, points in (("samples", samples), ("real", real)):
        points = ev.points(name, points, dimension=train.shape[1])
        ev.one_scale(name, points, "train", train)
        norm = points.double().norm(dim=1)
        if not bool(norm.all()):
            raise ValueError(
                f"`{name}` has an image that is zero everywhere, row {int(norm.argmin())}: its "
                "relative distance is not defined; leave it out"
            )
        scores.append(ev.as_numpy(nearest(points, train).distance / norm))
    if not scores[1].any():
        raise ValueError("`real` are images of `train`; pass held-out ones")
    drawn = [ev.resampled_means(s[:, None], (seed, i)) for i, s in enumerate(scores)]
    ratio_se = np.std(drawn[0] / drawn[1]) if drawn[1].all() else np.inf
    (value, se), (base, base_se) = (ev.estimate(s) for s in scores)
    return GeneralisationScore(value, se, base, base_se, value / base, float(ratio_se))


def both_sets(samples, train, minimum):
    train = ev.points("train", train, minimum=minimum)
    samples = ev.points("samples", samples, dimension=train.shape[1])
    if samples.device != train.device:
        raise ValueError(f"`samples` are on {samples.device}, `train` on {train.device}")
    ev.one_scale("samples", samples, "train", train)
    return samples, train


def _different(train):
    """Return the rows of the images that differ, each the first of its equals."""
    _, group = torch.unique(train, dim=0, return_inverse=True)
    rows = torch.arange(len(train), device=train.device)
    first = torch.full_like(rows, len(train)).scatter_reduce(0, group, rows, "amin")
    return first[first < len(train)].sort()[0]


def _two_best(part, train, centre):
    """Return the indices (n, 2) of the two nearest rows of `train` to centred points."""
    best = part.new_full((len(part), 2), -np.inf)
    index = torch.zeros((len(part), 2), dtype=torch.int64, device=part.device)
    for start in range(0, len(train), _BLOCK):
        block = train[start : start + _BLOCK].double() - centre
        score = part @ block.T - 0.5 * block.square().sum(1)
        value, at = score.topk(min(2, len(block)), dim=1)
        value, order = torch.cat([best, value], 1).topk(2, dim=1)
        index = torch.cat([index, at + start], 1).gather(1, order)
        best = value
    return index
