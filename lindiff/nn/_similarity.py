"""Samples and their nearest training images: copies, novelty, agreement."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.integrate import quad_vec

from lindiff import _check
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


@dataclass(frozen=True)
class Agreement:
    """Mean centred cosine of matching samples, with samples that do not match as control.

    `shuffled` is the mean over all pairs that do not match, `shuffled_rms` the root of the
    mean square.
    """

    cosine: float
    se: float
    shuffled: float
    shuffled_se: float
    shuffled_rms: float


@dataclass(frozen=True)
class DetailSimilarity:
    """Cosine of each sample with the training image nearest in angle, leading modes removed.

    `unrelated` is the root mean square cosine of two unrelated Gaussian vectors with the
    retained spectrum, the inverse root of its participation ratio.
    """

    value: float
    se: float
    unrelated: float
    cosine: torch.Tensor
    index: torch.Tensor


def nearest(samples, train):
    r"""Find the two nearest training images of each sample.

    .. math:: a_1=\arg\min_{y\in\mathrm{train}}\lVert x-y\rVert,\qquad
              a_2=\arg\min_{y\ne a_1}\lVert x-y\rVert

    Parameters
    ----------
    samples : torch.Tensor or numpy.ndarray, shape (n, d)
    train : torch.Tensor or numpy.ndarray, shape (N, d), N >= 2
        On the device of `samples`.

    Returns
    -------
    Nearest
        Indices, and float64 distances computed from the differences, without cancellation.

    Raises
    ------
    ValueError
        If the dimensions differ, an entry is NaN, or there are fewer than two images.

    Notes
    -----
    Li, Dai and Qu 2024, L-28, L-32. Memory: 1024 x 4096 distances at a time.
    """
    samples, train = _both(samples, train, 2)
    centre = train.double().mean(0)
    parts = [_two_best(part.double() - centre, train, centre) for part in samples.split(_SAMPLES)]
    index = torch.cat(parts)
    distance = torch.stack(
        [(samples.double() - train[column].double()).norm(dim=1) for column in index.T], 1
    )
    # Rounding may have swapped two images at nearly the same distance.
    distance, order = distance.sort(dim=1, stable=True)
    index = index.gather(1, order)
    return Nearest(index[:, 0], distance[:, 0], index[:, 1], distance[:, 1])


def memorised_fraction(samples, train, *, k=1 / 3, seed=0):
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
    An exact copy counts, whatever the second distance. Where no sample or every sample is
    a copy the bootstrap interval is a point; 3 / n then bounds the other end. Near
    duplicates in `train` hide copies. Bonnaire et al. 2025, L-32.
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


def generalisation_score(samples, train, *, real, seed=0):
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
        If the dimensions differ, an entry is NaN, or there are too few images.

    Notes
    -----
    The score itself depends on the norm and contrast of the images; only the ratio can be
    compared between data sets. Li, Dai and Qu 2024, L-28.
    """
    scores = []
    for name, points in (("samples", samples), ("real", real)):
        points = ev.points(name, points)
        scores.append(ev.as_numpy(nearest(points, train).distance / points.double().norm(dim=1)))
    drawn = [ev.resampled_means(s[:, None], (seed, i)) for i, s in enumerate(scores)]
    ratio_se = np.std(drawn[0] / drawn[1])
    (value, se), (base, base_se) = (ev.estimate(s) for s in scores)
    return GeneralisationScore(value, se, base, base_se, value / base, float(ratio_se))


def agreement(samples1, samples2, mean):
    r"""Compare the samples that two models make from the same noise.

    .. math:: \cos_i=\frac{(x_i-\mu)\cdot(x_i'-\mu)}{\lVert x_i-\mu\rVert\,
              \lVert x_i'-\mu\rVert}

    Parameters
    ----------
    samples1, samples2 : torch.Tensor or numpy.ndarray, shape (n, d), n >= 2
        Row i of both from the same noise.
    mean : array_like, shape (d,)
        Mean of the training images; without it all cosines are near 1.

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        If the shapes differ or an entry is NaN.

    Notes
    -----
    Kadkhodaie et al. 2024, L-31. The control takes all n (n - 1) pairs that do not match,
    at the cost of one product of d x d matrices.
    """
    samples1 = ev.points("samples1", samples1, minimum=2)
    samples2 = ev.points("samples2", samples2, minimum=2, dimension=samples1.shape[1])
    if len(samples1) != len(samples2):
        raise ValueError(f"`samples2` must have {len(samples1)} rows, one for each of `samples1`")
    mean, n = ev.vector("mean", mean, samples1), len(samples1)
    first, second = (_unit((s - mean).double()) for s in (samples1, samples2))
    matching = (first * second).sum(1)
    rows = (first @ second.sum(0) - matching) / (n - 1)
    columns = (second @ first.sum(0) - matching) / (n - 1)
    # A pair's mean depends on both of its samples: the two parts of its variance add.
    shuffled_se = float((rows + columns).std(correction=0)) / n**0.5
    squares = ((first.T @ first) * (second.T @ second)).sum() - matching.square().sum()
    rms = (squares.clamp_min(0) / (n * (n - 1))).sqrt()
    return Agreement(*ev.estimate(matching), float(rows.mean()), shuffled_se, float(rms))


def detail_similarity(samples, train, eigenvectors, n_leading, *, mean=None):
    r"""Return the largest cosine with a training image once leading modes are removed.

    .. math:: \cos_{>\nu_0}(x,y)=\frac{Px\cdot Py}{\lVert Px\rVert\lVert Py\rVert},\qquad
              P=\mathbb 1-\sum_{\nu\le\nu_0}v_\nu v_\nu^\top

    Parameters
    ----------
    samples : torch.Tensor or numpy.ndarray, shape (n, d)
    train : torch.Tensor or numpy.ndarray, shape (N, d), N >= 2
    eigenvectors : array_like, shape (d, k)
        Of the covariance, in columns, leading first.
    n_leading : int
        Number :math:`\nu_0\ge0` of modes to remove, at most k and below d.
    mean : array_like, shape (d,), optional
        Subtracted first; the mean of `train` by default. Zeros give the raw cosine.

    Returns
    -------
    DetailSimilarity

    Raises
    ------
    ValueError
        If shapes disagree, an entry is NaN, or `n_leading` is out of range.

    Notes
    -----
    Unrelated images already agree in the few leading modes; `unrelated` says how much is
    left by chance for one pair. The largest of N pairs is larger: compare with held-out
    images. Merger and Goldt 2025, appendix A, MG-A.
    """
    samples, train = _both(samples, train, 2)
    basis = ev.directions("eigenvectors", eigenvectors, train)
    n_leading = ev.count("n_leading", n_leading, 0)
    if n_leading > min(basis.shape[1], train.shape[1] - 1):
        raise ValueError(
            f"`n_leading` must be at most {min(basis.shape[1], train.shape[1] - 1)}, "
            f"got {n_leading}"
        )
    mean = train.double().mean(0) if mean is None else ev.vector("mean", mean, train).double()
    lead = basis[:, :n_leading]

    def details(points):
        away = points.double() - mean
        return away - (away @ lead) @ lead.T

    best = torch.full((len(samples),), -np.inf, dtype=torch.float64, device=train.device)
    index = torch.zeros(len(samples), dtype=torch.int64, device=train.device)
    gram = torch.zeros((train.shape[1],) * 2, dtype=torch.float64, device=train.device)
    for start in range(0, len(train), _BLOCK):
        block = details(train[start : start + _BLOCK])
        gram += block.T @ block
        for first in range(0, len(samples), _SAMPLES):
            part = slice(first, first + _SAMPLES)
            cosine, at = (_unit(details(samples[part])) @ _unit(block).T).max(1)
            index[part] = torch.where(cosine > best[part], start + at, index[part])
            best[part] = torch.maximum(best[part], cosine)
    unrelated = float(gram.norm() / gram.trace())
    return DetailSimilarity(*ev.estimate(best), unrelated, best, index)


def unrelated_cosine(eigenvalues):
    r"""Return the root mean square cosine of two independent centred Gaussian vectors.

    .. math:: \mathbb E\cos^2=\sum_\nu u_\nu^2,\qquad
              u_\nu=\int_0^\infty\frac{\lambda_\nu}{1+2s\lambda_\nu}
              \prod_\mu(1+2s\lambda_\mu)^{-1/2}ds

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        Variances of the modes that are kept, > 0.

    Returns
    -------
    float
        Close to the inverse root of the participation ratio
        :math:`(\sum\lambda)^2/\sum\lambda^2` where that is large.

    Raises
    ------
    ValueError
        If a variance is not positive.

    Notes
    -----
    Merger and Goldt 2025, MG-A.

    Examples
    --------
    >>> round(unrelated_cosine([1.0] * 25), 6)
    0.2
    """
    values = np.atleast_1d(_check.positive("eigenvalues", eigenvalues))
    if values.ndim != 1:
        raise ValueError(f"`eigenvalues` must have shape (d,), got {values.shape}")
    values = values / values.sum()

    def integrand(t):
        # s = exp(t) spreads the scales of the modes evenly.
        grown = 1 + 2 * np.exp(t) * values
        return values / grown * np.exp(t - 0.5 * np.log(grown).sum())

    share, _ = quad_vec(integrand, -40.0, 80.0, epsabs=1e-12, epsrel=1e-10, limit=2000)
    return float(np.sqrt((share**2).sum()))


def _both(samples, train, minimum):
    train = ev.points("train", train, minimum=minimum)
    samples = ev.points("samples", samples, dimension=train.shape[1])
    if samples.device != train.device:
        raise ValueError(f"`samples` are on {samples.device}, `train` on {train.device}")
    return samples, train


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


def _unit(points):
    return points / points.norm(dim=1, keepdim=True).clamp_min(1e-300)
