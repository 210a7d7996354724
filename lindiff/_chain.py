"""Exact mean and variance of each mode after all steps of a sampler."""

import numpy as np

from lindiff import _check
from lindiff._solvers import levels, make_steps, step_maps

_CELLS = 2**13
_NODES = 24
_WIDTH = 2.0
STARTS = ("normal", "matched")


def mode_moments(
    eigenvalues, schedule, *, solver="ddim", eta=0.0, final_noise=False, start="normal"
):
    r"""Mean and variance of the samples along each eigenvector, after all steps.

    .. math:: \frac m\mu=1-\prod_tA_t,\qquad
              v=\frac{1}{\bar\alpha_T}\prod_tA_t^2+\sum_t\tau_t^2\prod_{s<t}A_s^2

    Implements eq. (9.13), (9.14).

    Parameters
    ----------
    eigenvalues : array_like, shape (..., d)
        Variances :math:`\lambda\ge0` behind the denoiser, with the floor if there is one.
    schedule : NoiseSchedule
        Levels visited; the last step goes to noise 0.
    solver, eta, final_noise
        The sampler, as in `sample`.
    start : {"normal", "matched"}
        Law of the first point: :math:`\mathcal N(0,\mathbb 1)` as in practice, or the
        noised law :math:`\mathcal N(\sqrt{\bar\alpha_T}\mu,
        \bar\alpha_T\lambda+1-\bar\alpha_T)`.

    Returns
    -------
    mean_factor : numpy.ndarray, shape (..., d)
        Mean of the samples in units of the mean of the data.
    variances : numpy.ndarray, shape (..., d)

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Notes
    -----
    :math:`A_t` is the factor of one step. :math:`1-\prod A` and the variance are sums of
    positive terms, built by composing neighbouring steps in a tree: relative error below
    1e-12 after 1000 steps. Many eigenvalues are served by Chebyshev interpolation in
    :math:`\log\lambda`, 24 nodes for each factor :math:`e^2`, at the same accuracy, so the
    cost hardly grows with d. At variance 0 only noise injected in the last step survives:
    :math:`\beta_1` for "ddpm-beta" with `final_noise`, else 0. The mean of "ddpm" is that
    of continuous time at any step number, because its factors
    :math:`(\lambda+\sigma_s^2)/(\lambda+\sigma_t^2)` telescope. Merger and Goldt 2025,
    MG-3, MG-C.floor, at finite step number; Karras et al. 2022 for Heun.
    Range: noise levels from 1e-150 to 1e150, eigenvalues up to 1e304.

    Examples
    --------
    >>> from lindiff import schedules
    >>> factor, variances = mode_moments([0.0, 4.0], schedules.linear_beta(), solver="heun")
    >>> factor.round(3), variances.round(3)
    (array([1.   , 0.987]), array([0.   , 3.999]))
    """
    steps = make_steps(schedule, solver, eta, final_noise)
    spread = _check.as_spectrum("eigenvalues", eigenvalues)
    factor, variances = chain(spread.ravel(), np.zeros(len(schedule)), steps, schedule, start)
    return factor.reshape(spread.shape), variances.reshape(spread.shape)


def mode_trajectory(
    eigenvalues, schedule, *, solver="ddim", eta=0.0, final_noise=False, start="normal"
):
    r"""Mean and variance along each eigenvector at every level of the schedule.

    .. math:: m\leftarrow\mu+A_t(m-\mu),\qquad v\leftarrow A_t^2v+\tau_t^2

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        Variances behind the denoiser, >= 0.
    schedule, solver, eta, final_noise, start
        As in `mode_moments`.

    Returns
    -------
    mean_factor, variances : numpy.ndarray, shape (T + 1, d)
        In variance-preserving coordinates :math:`u_t`, in the order of the schedule: row t
        is the state at level t, row 0 the samples, row T the start.

    Raises
    ------
    TypeError, ValueError
        As in `mode_moments`.

    Notes
    -----
    The rows are a recursion, so this one costs T small steps; memory is the result's.
    Merger and Goldt 2025, MG-3.
    Range: as `mode_moments`.

    Examples
    --------
    >>> from lindiff import schedules
    >>> _, variances = mode_trajectory([4.0], schedules.linear_beta(500), solver="ddpm")
    >>> float(variances[-1, 0]), float(variances[0, 0].round(2))
    (1.0, 3.96)
    """
    steps = make_steps(schedule, solver, eta, final_noise)
    spread = _check.as_spectrum("eigenvalues", eigenvalues, ndim=1)
    left, variance = _begin(spread, schedule, start)
    means = np.full((len(schedule) + 1, spread.size), 1.0 - left)
    variances = np.empty_like(means)
    variances[-1] = variance
    no_load = np.zeros(len(schedule))
    for t in range(len(schedule) - 1, -1, -1):
        factor, lose = (row[0] for row in step_maps(spread, no_load, steps, slice(t, t + 1)))
        means[t] = lose + factor * means[t + 1]
        variances[t] = factor * (factor * variances[t + 1]) + steps.fresh[t] ** 2
    level = np.append(1.0, schedule.alpha_bar)[:, None]
    return np.sqrt(level) * means, level * variances


def chain(spread, load, steps, schedule, start):
    """Return mean factor and variance of modes (m,); `load` (T,) adds to the variances."""
    left, variance = _begin(spread, schedule, start)
    factor, lose, fresh = _on_nodes(spread, lambda values: _compose(values, load, steps))
    # The square of a factor may underflow where the variance that it meets is large.
    return lose + factor * (1.0 - left), factor * (factor * variance) + fresh


def check_start(start):
    """Reject a start that is not one of the two laws."""
    if not isinstance(start, str) or start not in STARTS:
        raise ValueError(f"`start` must be one of {', '.join(STARTS)}; got {start!r}")


def _begin(spread, schedule, start):
    """Return the missing part of the mean, and the variance, of the first point."""
    check_start(start)
    if start == "matched":
        return 0.0, spread + levels(schedule)[-1] ** 2
    return 1.0, np.full(spread.size, 1.0 / schedule.alpha_bar[-1])


def _compose(spread, load, steps):
    """Compose all steps; rows of the result: product of A, 1 - product, injected variance."""
    rows = max(2, _CELLS // spread.size)
    factor, lose, fresh = np.ones(spread.size), np.zeros(spread.size), np.zeros(spread.size)
    for stop in range(steps.sigma.size, 0, -rows):
        part = slice(max(stop - rows, 0), stop)
        a, one_minus_a = step_maps(spread, load, steps, part)
        added = np.square(steps.fresh[part])[:, None] if steps.random else None
        a, one_minus_a, added = _tree(a, one_minus_a, added)
        lose = one_minus_a + a * lose
        factor = factor * a
        if steps.random:
            fresh = added + a * (a * fresh)
    return np.stack([factor, lose, fresh])


def _tree(a, one_minus_a, added):
    """Compose rows, the last of which acts first, by halving their number."""
    while len(a) > 1:
        if len(a) % 2:
            a = np.concatenate([a, np.ones_like(a[:1])])
            one_minus_a = np.concatenate([one_minus_a, np.zeros_like(a[:1])])
            added = None if added is None else np.concatenate([added, np.zeros_like(added[:1])])
        late = a[::2]
        one_minus_a = one_minus_a[::2] + late * one_minus_a[1::2]
        if added is not None:
            added = added[::2] + late * (late * added[1::2])
        a = late * a[1::2]
    return a[0], one_minus_a[0], None if added is None else added[0]


def _on_nodes(values, function):
    """Evaluate a function analytic in log(values) on Chebyshev nodes if that is cheaper."""
    inside = values > 0
    log_values = np.log(values[inside])
    if log_values.size == 0:
        return function(values)
    low = log_values.min()
    cell = np.floor((log_values - low) / _WIDTH).astype(np.intp)
    used, cell = np.unique(cell, return_inverse=True)
    if 2 * used.size * _NODES > log_values.size:
        return function(values)
    angle = np.pi * (np.arange(_NODES) + 0.5) / _NODES
    nodes, weights = np.cos(angle), np.sin(angle) * (-1.0) ** np.arange(_NODES)
    centre = low + _WIDTH * (used + 0.5)
    grid = np.exp(centre[:, None] + 0.5 * _WIDTH * nodes)
    table = function(np.append(0.0, grid.ravel()))
    out = np.empty((len(table), values.size))
    out[:, ~inside] = table[:, :1]
    where = np.flatnonzero(inside)
    table = np.ascontiguousarray(table[:, 1:].reshape(len(table), used.size, _NODES))
    for begin in range(0, where.size, _CELLS):
        part = slice(begin, begin + _CELLS)
        away = (log_values[part] - centre[cell[part]])[:, None] / (0.5 * _WIDTH) - nodes
        # A hit of a node must give its value: the huge weight drowns all others.
        basis = weights / np.where(away == 0, 1e-300, away)
        total = basis.sum(axis=1)
        for row, values_at_nodes in zip(out, table, strict=True):
            row[where[part]] = np.einsum("ij,ij->i", basis, values_at_nodes[cell[part]]) / total
    return out
