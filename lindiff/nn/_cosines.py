"""Cosines: agreement of two models, similarity of details, and what chance gives."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import quad_vec

from lindiff import _check
from lindiff.nn import _evaluation as ev
from lindiff.nn._similarity import both_sets

_SAMPLES, _BLOCK = 1024, 4096


@dataclass(frozen=True)
class Agreement:
    """Mean centred cosine of matching samples, with samples that do not match as control.

    `shuffled` is the mean over all pairs that do not match, `shuffled_rms` the root of the
    mean square; `cosines` has one entry for each matching pair.
    """

    cosine: float
    se: float
    shuffled: float
    shuffled_se: float
    shuffled_rms: float
    cosines: torch.Tensor


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
    shuffled = float(rows.mean())
    return Agreement(*ev.estimate(matching), shuffled, shuffled_se, float(rms), matching)


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
    samples, train = both_sets(samples, train, 2)
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


def _unit(points):
    return points / points.norm(dim=1, keepdim=True).clamp_min(1e-300)
