r"""Simulation of the memorisation criterion.

Private half of :mod:`lindiff.memorisation`, which re-exports every public name.
"""

from dataclasses import dataclass

import numpy as np

from lindiff import _check
from lindiff._memorisation_kernels import (
    GaussianReference,
    KernelDensity,
    gap_of_overlaps,
    kernel_density,
)
from lindiff._multistep_chains import levels
from lindiff._multistep_training import train_steps


@dataclass(frozen=True, eq=False)
class GapStudy:
    r"""Signs and sizes of :math:`\Delta_n` over independent training sets.

    Attributes
    ----------
    sign : numpy.ndarray, shape (n_runs,)
    log_size : numpy.ndarray, shape (n_runs,)
        As in `memorisation_gap`.
    """

    sign: np.ndarray
    log_size: np.ndarray

    @property
    def probability(self):
        r"""Share of runs with :math:`\Delta_n>0`."""
        return float(np.mean(self.sign > 0))

    @property
    def standard_error(self):
        """Standard error of the share, with one run added on either side."""
        size = self.sign.size
        share = (np.sum(self.sign > 0) + 1.0) / (size + 2.0)
        return float(np.sqrt(share * (1.0 - share) / (size + 2.0)))


def simulate_gap(
    grid,
    dimension,
    n_samples,
    n_runs,
    rng,
    *,
    reference,
    variance=1.0,
    bandwidth_factor=1.0,
    noise="path",
    rule="ddpm",
    swapped=False,
    placebo=False,
    precision=np.float64,
):
    r"""Train chains on Gaussian data and evaluate the memorisation criterion of each.

    .. math:: \Pr(\Delta_n>0)

    Parameters
    ----------
    grid : array_like, shape (K,)
        Noise variances in units of clean data; one level is the one-step model.
    dimension, n_samples, n_runs : int
    rng : numpy.random.Generator
    reference : int, KernelDensity, GaussianReference or list of these
        Number of fresh points whose kernel density stands for the truth, drawn anew in
        every run; or a reference of the law :math:`\mathcal N(0,\sigma^2I)` for all runs; or
        several, taken in turn.
    variance : float
        Data variance :math:`\sigma^2>0`.
    bandwidth_factor : float
        Multiplies the bandwidths :math:`\sigma N^{-1/d}` of the densities built here.
    noise, rule
        As in `train_steps` and `LinearChain.law`.
    swapped : bool
        Use :math:`W^\top W` in place of :math:`WW^\top`, as the public script does; one level
        only.
    placebo : bool
        Put fresh points in the place of the training points when :math:`\Delta_n` is computed:
        what the criterion says where there is nothing to remember.
    precision
        As in `memorisation_gap`; or a tuple of several, for the same runs.

    Returns
    -------
    GapStudy
        For several values of `precision` a list of them.

    Raises
    ------
    ValueError
        If an argument is out of range, or `swapped` is asked for several levels.

    Notes
    -----
    Training points, noise and fresh points have generators of their own: studies with one seed
    and other grids share their training points. Cost for each run :math:`O(Knd^2+n^2d)`, and
    :math:`O(N^2d)` for a new reference of N points. Halder 2024, H-42, E-1, E-2, E-9.
    Range: grids and `variance` from 1e-150 to 1e150, from one sample and one fresh point on.

    Examples
    --------
    >>> study = simulate_gap([1.0], 4, 40, 8, np.random.default_rng(0), reference=200)
    >>> study.probability
    0.625
    """
    omega, rng = levels(grid), _check.generator(rng)
    n, d = _check.positive_int("n_samples", n_samples), _check.positive_int("dimension", dimension)
    if swapped and omega.size > 1:
        raise ValueError("`swapped` needs a grid with one level")
    scale = float(_check.as_array("variance", _check.within("variance", variance), 0)) ** 0.5
    factor = float(_check.within("bandwidth_factor", bandwidth_factor, least=1e-6, most=1e6))
    ready = reference if isinstance(reference, (list, tuple)) else [reference]
    fixed = bool(ready) and all(isinstance(r, (KernelDensity, GaussianReference)) for r in ready)
    n_fresh = 1 if fixed else _check.positive_int("reference", reference)
    first, noising, second = rng.spawn(3)
    kinds = precision if isinstance(precision, tuple) else (precision,)

    def draw(size, source=second):
        return scale * source.standard_normal((size, d))

    def density(points):
        width = None if factor == 1 else factor * scale * len(points) ** (-1.0 / d)
        return kernel_density(points, variance=scale**2, bandwidth=width)

    rows = []
    for run in range(_check.positive_int("n_runs", n_runs)):
        points = draw(n, first)
        chain = train_steps(points, omega, noising, noise=noise)
        mean, cov = chain.law(rule=rule)
        if swapped:
            cov = (chain.variance + omega[0]) * chain.weights[0].T @ chain.weights[0]
        truth = ready[run % len(ready)] if fixed else density(draw(n_fresh))
        near = density(draw(n) if placebo else points)
        crosses = [each.log_cross(mean, cov) for each in (near, truth)]
        rows.append([gap_of_overlaps(crosses, near, truth, kind) for kind in kinds])
    studies = [GapStudy(*column.T) for column in np.swapaxes(rows, 0, 1)]
    return studies if isinstance(precision, tuple) else studies[0]
