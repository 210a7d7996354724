r"""Averages over random training sets by brute force, with honest standard errors.

Every theory curve of a trained linear denoiser is drawn against these numbers. A draw is one
training set of N Gaussian points: one decomposition of its covariance serves all noise
levels and floors. The draws are exact for every N and d; nothing is expanded or averaged by
theory except the error of the sample mean, which is independent of the covariance and enters
by its conditional expectation, and what ``reverse_kl`` says.

Work is cut into jobs that run through joblib. The caller chooses where, for example with
``joblib.parallel_config(n_jobs=2)`` or, on a Dask cluster,
``joblib.parallel_config(backend="dask")``; the numbers do not depend on the choice.

Sources: Merger and Goldt 2025 (arXiv 2505.24769), ledger ids MG-6 to MG-15 before their
averages.
"""

from dataclasses import dataclass

import numpy as np

from lindiff import _check, _jobs, _training_jobs
from lindiff._control_variates import controlled_estimate, plain_estimate
from lindiff._loss_modes import levels, noise_to_signal
from lindiff._training_sets import QUANTITIES, Setting, expected_controls

__all__ = ["QUANTITIES", "Averages", "Estimate", "average"]

_MINIMUM = 50


@dataclass(frozen=True, eq=False)
class Estimate:
    """A simulated average.

    Parameters
    ----------
    mean : numpy.ndarray, shape (...)
    standard_error : numpy.ndarray, shape (...)
        One standard deviation of `mean`; nan where `mean` is infinite.
    n_draws : int
        Number of independent training sets.

    Examples
    --------
    >>> float(Estimate(np.array(1.5), np.array(0.25), 100).deviation(1.0))
    2.0
    """

    mean: np.ndarray
    standard_error: np.ndarray
    n_draws: int

    def deviation(self, theory):
        """Return simulation minus theory in standard errors.

        It is 0 where both agree exactly and nan where `mean` alone is infinite.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = np.where(self.mean == theory, 0.0, self.mean - theory)
            return np.where(gap == 0, 0.0, gap / self.standard_error)[()]


@dataclass(frozen=True, eq=False)
class Averages:
    """Estimates of several quantities; ``averages["test_loss"]`` is an `Estimate`.

    Parameters
    ----------
    n_samples : numpy.ndarray, shape (...)
        Sizes of the training sets.
    n_draws : int
        Number of training sets per size.
    estimates : dict
        From the name of a quantity to an `Estimate` whose arrays have the shape of
        `n_samples` followed by that of `alpha_bar` and `floor` broadcast together.
    """

    n_samples: np.ndarray
    n_draws: int
    estimates: dict

    def __getitem__(self, quantity):
        if quantity not in self.estimates:
            raise KeyError(f"{quantity!r} was not simulated; there are {sorted(self.estimates)}")
        return self.estimates[quantity]


def average(
    eigenvalues,
    n_samples,
    alpha_bar,
    rng,
    *,
    floor=0.0,
    quantities=("residual_loss", "training_loss", "test_loss", "gap"),
    n_draws=1000,
    estimated_mean=True,
    control_variates=True,
    draws_per_job=50,
    store=None,
    progress=False,
):
    r"""Average quantities of a trained linear denoiser over random training sets.

    .. math:: \langle Q\rangle\approx\bar Q-\hat\beta^\top(\bar X-\langle X\rangle)

    Here :math:`X` are controls with known mean: :math:`\mathrm{Tr}\,\Sigma_0`,
    :math:`\mathrm{Tr}\,\Sigma\Sigma_0`, :math:`\mathrm{Tr}\,\Sigma_0^2` and, with enough
    points, :math:`\ln\det\Sigma_0` and :math:`\mathrm{Tr}\,\Sigma\Sigma_0^{-1}`; the slopes
    :math:`\hat\beta` are fitted by least squares.

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        Eigenvalues >= 0 of the population covariance; positive for the divergences.
    n_samples : int or array_like of int, shape (...)
        Sizes N of the training sets.
    alpha_bar : float, array_like or NoiseSchedule
        In (0, 1].
    rng : numpy.random.Generator
        One child seed is spawned from it; every training set has a seed of its own.
    floor : float or array_like
        Variance floors :math:`c\ge0`; broadcasts with `alpha_bar`.
    quantities : sequence of str
        Names from `QUANTITIES`: ``residual_loss`` (penalty counted), ``training_loss`` (not
        counted), ``test_loss``, ``gap``; ``alignment`` with the population optimum without
        floor; ``pair_alignment`` of two models of independent sets of equal size;
        ``kl``, the divergence of the truth from the fitted Gaussian; ``reverse_kl``, that of
        the fitted Gaussian from the truth; and, with
        :math:`z=(1-\bar\alpha)/\bar\alpha+c` and :math:`Q=(\Sigma_0+z)^{-1}`, ``log_det``
        :math:`-\ln\det Q`, ``trace_inverse`` :math:`\mathrm{Tr}\,Q`,
        ``trace_inverse_squared`` :math:`\mathrm{Tr}\,Q^2`, ``population_trace``
        :math:`\mathrm{Tr}\,\Sigma Q`, ``population_trace_squared``
        :math:`\mathrm{Tr}\,\Sigma Q^2`.
    n_draws : int
        Training sets per size, at least 50: with fewer, standard errors are too small.
    estimated_mean : bool
        Whether the mean is fitted too, or known.
    control_variates : bool
        Whether to use the controls.
    draws_per_job : int
        Training sets per job.
    store : path, optional
        Folder, seen by all workers, where every finished job leaves one file. The same call
        with an equally seeded new `rng` continues there, also with more draws or sizes.
    progress : bool
        Whether to show a bar on standard error.

    Returns
    -------
    Averages

    Raises
    ------
    TypeError
        If `rng` is no Generator or a count no integer.
    ValueError
        If an argument is out of range, a quantity unknown, or `store` holds a damaged file.

    Notes
    -----
    A draw costs :math:`O(\min(N,d)^3)`, :math:`O(\min(N,d)^2)` for equal eigenvalues, and
    :math:`O(d)` per level; ``pair_alignment`` costs :math:`O(d^3)` and :math:`O(d^2)` per
    level. ``reverse_kl`` needs :math:`\ln\det(\Sigma_0+c)` only, since its other terms are
    :math:`d+c\,\mathrm{Tr}\,\Sigma^{-1}` on average. ``pair_alignment`` trains two models per
    draw; every other quantity is then the mean over both.

    Range: N from 1 to 1e9, eigenvalues from 1e-150 to 1e150, in one spectrum too (not for
    ``pair_alignment``, see `losses.alignment`), floors of 0 or from 5e-324 to 1e150,
    :math:`\bar\alpha` from 1e-300 to 1. Rounding is 1e-9 of a quantity, or of d where terms
    cancel (``gap``, ``alignment``, the divergences); what exceeds the largest float is ``inf``.

    The fitted slopes bias the mean at order ``1 / n_draws``, below the standard error, which
    counts the slopes.

    Examples
    --------
    >>> found = average([1.0, 1.0], 8, 0.5, np.random.default_rng(0), n_draws=400)
    >>> print(f"{found['gap'].mean:.3f} +- {found['gap'].standard_error:.3f}")
    0.384 +- 0.004
    """
    sizes = _sizes(n_samples)
    settings = [
        _setting(eigenvalues, int(n), alpha_bar, floor, estimated_mean, quantities)
        for n in sizes.ravel()
    ]
    n_draws = _check.positive_int("n_draws", n_draws)
    if n_draws < _MINIMUM:
        raise ValueError(
            f"`n_draws` must be at least {_MINIMUM} for a standard error, got {n_draws}"
        )
    step = _check.positive_int("draws_per_job", draws_per_job)
    root = _check.generator(rng).spawn(1)[0].bit_generator
    pieces = [(first, min(step, n_draws - first)) for first in range(0, n_draws, step)]
    jobs = [_training_jobs.job(setting, root, *piece) for setting in settings for piece in pieces]
    results = iter(_jobs.run(jobs, store=store, progress=progress))
    shape = np.broadcast_shapes(np.shape(noise_to_signal(alpha_bar)), np.shape(floor))
    rows = []
    for setting in settings:
        total = _training_jobs.merge([next(results) for _ in pieces])
        known = expected_controls(setting)
        rows.append(
            controlled_estimate(total, known) if control_variates else plain_estimate(total)
        )
    numbers = np.reshape(rows, (*sizes.shape, 2, len(settings[0].quantities), *shape))
    numbers = np.moveaxis(numbers, (sizes.ndim, sizes.ndim + 1), (0, 1))
    estimates = {
        name: Estimate(numbers[0, i], numbers[1, i], n_draws)
        for i, name in enumerate(settings[0].quantities)
    }
    return Averages(sizes, n_draws, estimates)


def _sizes(n_samples):
    shape = _check.as_array("n_samples", n_samples).shape
    # As objects, so that a boolean in a list stays one.
    sizes = np.asarray(n_samples, dtype=object).ravel()
    if sizes.size == 0:
        raise ValueError("`n_samples` is empty; pass at least one size")
    return np.reshape([_check.positive_int("n_samples", n) for n in sizes], shape)


def _setting(eigenvalues, n_samples, alpha_bar, floor, estimated_mean, quantities):
    values = _check.as_spectrum("eigenvalues", eigenvalues)
    if values.ndim != 1:
        raise ValueError(f"`eigenvalues` must have shape (d,), got {values.shape}; pass one row")
    names = (quantities,) if isinstance(quantities, str) else tuple(quantities)
    for name in names:
        if name not in QUANTITIES:
            raise ValueError(f"`quantities` has {name!r}; choose from {QUANTITIES}")
    if not names:
        raise ValueError(f"`quantities` is empty; choose from {QUANTITIES}")
    for name in names:
        if "kl" in name and np.any(values == 0):
            raise ValueError(f"`eigenvalues` must be positive for the quantity {name!r}")
    floor = np.asarray(_check.non_negative("floor", floor))
    setting = Setting(values, n_samples, alpha_bar, floor, bool(estimated_mean), names)
    full = setting.degrees >= values.size and np.all(values > 0)
    levels(np.ones(1) if full else np.zeros(1), alpha_bar, floor)
    return setting
