"""Distances between two sets of samples."""

import math

import numpy as np
import torch

from lindiff.nn import _evaluation as ev
from lindiff.nn._evaluation import Estimate

_PROJECTIONS = 64


def sliced_w2(a, b, n_projections=200, seed=0, *, n_bootstrap=20):
    r"""Return the sliced Wasserstein distance of two sets of samples.

    .. math:: \mathrm{SW}_2=\Big(\mathbb E_\theta\,W_2^2\big(\theta^\top a,\theta^\top b\big)
              \Big)^{1/2},\qquad \lVert\theta\rVert=1

    Parameters
    ----------
    a, b : torch.Tensor or numpy.ndarray, shapes (n, d) and (m, d), n, m >= 2
        On one device; n and m may differ.
    n_projections : int
        Random directions.
    seed : int
        Of the directions, drawn on the CPU, and of the bootstrap. The same seed gives the
        same directions, so that distances can be compared.
    n_bootstrap : int
        Resamples of both sets for the standard error; 0 leaves it out (NaN).

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        If the dimensions differ, an entry is NaN, or there are too few samples.

    Notes
    -----
    Each one-dimensional distance is exact. Two sets of one law are not at distance zero:
    print the distance of two real sets next to it. Li, Dai and Qu 2024, L-34.
    """
    a, b = _two_sets(a, b)
    n_projections = ev.count("n_projections", n_projections)
    n_bootstrap = ev.count("n_bootstrap", n_bootstrap, 0)
    source = ev.generator(seed)
    theta = torch.randn((n_projections, a.shape[1]), generator=source, dtype=torch.float64)
    theta = (theta / theta.norm(dim=1, keepdim=True)).to(a.device)
    draws = [(slice(None), slice(None))]
    for _ in range(n_bootstrap):
        draws.append(
            tuple(torch.randint(len(s), (len(s),), generator=source).to(a.device) for s in (a, b))
        )
    squares = torch.zeros(len(draws), dtype=torch.float64)
    for part in theta.split(_PROJECTIONS):
        first, second = part @ a.double().T, part @ b.double().T
        for i, (rows, columns) in enumerate(draws):
            squares[i] += _transport(first[:, rows], second[:, columns]).sum().cpu()
    values = ev.as_numpy((squares / n_projections).sqrt())
    return Estimate(float(values[0]), _spread(values[1:]))


def frechet_pca(a, b, k=64, *, seed=0, n_bootstrap=20):
    r"""Return the squared Fréchet distance of two sets in the leading modes of the second.

    .. math:: \lVert m_a-m_b\rVert^2+\mathrm{tr}\big(C_a+C_b-2(C_a^{1/2}C_bC_a^{1/2})^{1/2}\big)

    Parameters
    ----------
    a, b : torch.Tensor or numpy.ndarray, shapes (n, d) and (m, d), n, m >= 2
        Samples, and the real images that fix the modes.
    k : int
        Number of modes; all of them if k > d.
    seed : int
        Of the bootstrap.
    n_bootstrap : int
        Resamples of both sets for the standard error; 0 leaves it out (NaN).

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        If the dimensions differ, an entry is NaN, or there are too few samples.

    Notes
    -----
    The same formula as the Fréchet inception distance, with pixels in place of features.
    Its bias grows as k / n: print the distance of two real sets next to it. Li, Dai and Qu
    2024, L-34.
    """
    a, b = _two_sets(a, b)
    k, n_bootstrap = min(ev.count("k", k), a.shape[1]), ev.count("n_bootstrap", n_bootstrap, 0)
    centre = b.double().mean(0)
    away = b.double() - centre
    basis = torch.linalg.eigh(away.T @ away)[1][:, -k:]
    sets = [(a.double() - centre) @ basis, away @ basis]
    source, values = ev.generator(seed), []
    for repeat in range(n_bootstrap + 1):
        moments = []
        for points in sets:
            if repeat:
                points = points[torch.randint(len(points), (len(points),), generator=source)]
            moments += [points.mean(0), points.T.cov(correction=0).reshape(k, k)]
        values.append(_frechet(*moments))
    return Estimate(values[0], _spread(values[1:]))


def _two_sets(a, b):
    a = ev.points("a", a, minimum=2)
    b = ev.points("b", b, minimum=2, dimension=a.shape[1])
    if a.device != b.device:
        raise ValueError(f"`a` is on {a.device}, `b` on {b.device}; move one of them")
    ev.one_scale("a", a, "b", b)
    return a, b


def _transport(first, second):
    """Return the exact squared distances of the rows, as laws of equal weights."""
    first, second = _sorted(first), _sorted(second)
    n, m = first.shape[1], second.shape[1]
    if n == m:
        return (first - second).square().mean(1)
    # Both quantile functions are constant between these levels, in units of 1 / (n m).
    device = first.device
    levels = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()
    width = torch.diff(levels, prepend=levels.new_zeros(1)).to(device, torch.float64) / (n * m)
    at_first, at_second = ((levels - 1) // m).to(device), ((levels - 1) // n).to(device)
    return (first[:, at_first] - second[:, at_second]).square() @ width


def _sorted(rows):
    # NumPy sorts a long row several times faster than PyTorch does on a CPU.
    if rows.device.type == "cpu":
        return torch.from_numpy(np.sort(rows.numpy(), axis=1))
    return rows.sort(dim=1)[0]


def _frechet(mean_a, cov_a, mean_b, cov_b):
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp_min(0).sqrt()
    cross = torch.linalg.eigvalsh(root.T @ cov_b @ root).clamp_min(0).sqrt().sum()
    total = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return float(total.clamp_min(0))


def _spread(values):
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
