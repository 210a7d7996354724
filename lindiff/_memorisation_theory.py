r"""The memorisation criterion as a competition of two sums of random energies.

Private half of :mod:`lindiff.memorisation`, which re-exports every public name.
"""

import numpy as np
import scipy
from scipy.linalg import solve_triangular
from scipy.special import ndtri

from lindiff import _check
from lindiff._multistep_chains import levels, step_variance

_NODES, _STEP, _SMEAR, _WIDEST = 240, 0.05, 9, 40.0


def gap_probability(
    grid,
    dimension,
    n_samples,
    rng,
    *,
    reference=None,
    noise="path",
    placebo=False,
    n_maps=24,
):
    r"""Approximate probability that the criterion says "not memorised", without training.

    .. math::

       \Pr(\Delta_n>0)\approx\Pr\Big(\frac1n\sum_{i\le n}e^{-q_i}
       <\frac1N\sum_{j\le N}e^{-q'_j}+\tfrac12(P_{\rm train}-P_{\rm ref})\Big)

    with independent energies :math:`q=\tfrac12(y-\mu_G)^\top(\Sigma_G+\varepsilon^2)^{-1}
    (y-\mu_G)+\tfrac12\log\det(\Sigma_G+\varepsilon^2)` up to a constant, each of a gamma law
    with the first three cumulants of one training or one fresh point.

    Implements eq. (B.3).

    Parameters
    ----------
    grid : array_like, shape (K,)
        Noise variances in units of clean data of unit variance; one level unless `noise` is
        ``"averaged"``.
    dimension, n_samples : int
        At least 8 dimensions and 3 samples; with averaged noise more samples than dimensions.
    rng : numpy.random.Generator
        Draws the learned maps of whose spectra the energies are made.
    reference : int, optional
        Points of the reference density; without it the exact density.
    noise : {"path", "averaged"}
    placebo : bool
        As in `simulate_gap`.
    n_maps : int
        Maps to average over, at least 2.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If an argument is out of range, or the energies have a standard deviation above 40:
        for so many reference points in few dimensions rare points decide.

    Notes
    -----
    Given the fit and the noised inputs, a training point is
    :math:`\bar y+WS^{1/2}Q_i+\tau(1-1/n-|Q_i|^2)^{1/2}\xi`, :math:`S=\tilde X^\top\tilde X`, with
    a row :math:`Q_i` of a Haar-distributed frame and standard :math:`\xi`: its cumulants follow
    from traces. Neglected are the dependence between points, higher cumulants, and all
    fluctuations of the map but a normal one of the mean energies. Cost
    :math:`O(d^3)` for each map. The probability is that of the formula to 0.03. Our own; the
    criterion is that of Halder 2024, H-42.
    Range: grids from 1e-150 to 1e150, up to 1e9 samples and reference points where the energies
    are narrow enough.

    Examples
    --------
    >>> value = gap_probability([1.0], 20, 40, np.random.default_rng(0), reference=40)
    >>> 0.0 < value < 0.1
    True
    """
    omega, rng = levels(grid), _check.generator(rng)
    d, n = _check.positive_int("dimension", dimension), _check.positive_int("n_samples", n_samples)
    n_ref = None if reference is None else _check.positive_int("reference", reference)
    if noise not in ("path", "averaged"):
        raise ValueError(f"`noise` must be 'path' or 'averaged', got {noise!r}")
    if d < 8:
        raise ValueError(
            "`dimension` must be at least 8: energies of few coordinates have no gamma law; use "
            "simulate_gap"
        )
    if n < 3:
        raise ValueError("`n_samples` must be at least 3")
    if _check.positive_int("n_maps", n_maps) < 2:
        raise ValueError("`n_maps` must be at least 2")
    if noise == "averaged" and n <= d:
        raise ValueError("averaged noise needs `n_samples` > `dimension`")
    if noise == "path" and omega.size > 1:
        raise ValueError("several levels are treated for noise='averaged' only")
    rows = []
    for _ in range(n_maps):
        model = _averaged(omega, d, n, rng) if noise == "averaged" else _map(omega[0], d, n, rng)
        spectrum, _, rest = model
        near = _fresh(spectrum, rest, n, n) if placebo else _seen(*model, n)
        rows.append((near, _fresh(spectrum, rest, n, n_ref)))
    rows = np.array(rows)
    near, far = rows.mean(axis=0)
    for name, (_, variance, _) in (("n_samples", near), ("reference", far)):
        if variance > _WIDEST**2:
            raise ValueError(
                f"`{name}` is too large for this `dimension`: energies with a standard deviation "
                f"of {np.sqrt(variance):.3g}; use simulate_gap"
            )
    scatter = np.std(rows[:, 0, 0] - rows[:, 1, 0], ddof=1)
    unit = 0.5 * d * np.log(2.0)
    gap = 0.5 * (_pairs(d, n) - _pairs(d, n_ref))
    return _chance(near, n, far, n_ref, gap, unit, scatter)


def _map(ratio, d, n, rng):
    """Squared singular values of a map, map times root of the design, share of the noise."""
    nu, rho = n - 1, 1.0 / (1.0 + ratio)
    if nu >= d:
        root = np.tril(rng.standard_normal((d, d)), -1)
        root[np.diag_indices(d)] = np.sqrt(rng.chisquare(nu - np.arange(d)))
    else:
        root = rng.standard_normal((d, nu))
    image = np.sqrt(rho) * root + np.sqrt(1.0 - rho) * rng.standard_normal(root.shape)
    if nu >= d:
        weights = solve_triangular(root, image.T, lower=True, trans="T").T
    else:
        weights = image @ np.linalg.pinv(root)
    spectrum, vectors = np.linalg.eigh(weights @ weights.T)
    return np.maximum(spectrum, 0.0), vectors.T @ image, 1.0 - rho


def _averaged(omega, d, n, rng):
    spectrum = np.linalg.svd(rng.standard_normal((n - 1, d)), compute_uv=False) ** 2 / n
    start = spectrum.mean() * n / (n - 1) + omega[-1]
    made = step_variance(spectrum, omega, start=start)
    return made, np.diag(np.sqrt(n * spectrum)), 0.0


def _seen(spectrum, image, rest, n):
    """Log size and cumulants 2 and 3 of exp(-energy) of a training point."""
    nu, part, rank = n - 1, 1.0 - 1.0 / n, image.shape[1]
    k = 1.0 / (spectrum + n ** (-2.0 / spectrum.size))
    free = rest * part * (1.0 - rank / nu)
    # The energy is a quadratic form in the unit vector and the residual: blocks A, B, D.
    inner = image.T @ (k[:, None] * image) - rest * np.sum(k) * np.eye(rank)
    trace = np.trace(inner)
    inner[np.diag_indices(rank)] -= trace / nu
    inner *= part / nu
    side, last = np.sqrt(free * part / nu) * k[:, None] * image, free * k
    spare, left = nu - rank, -part * trace / nu**2
    mean = part * (trace / nu + rest * np.sum(k)) + rest * np.sum(k * spectrum) / n
    squares = np.sum(side**2, axis=1)
    variance = np.sum(inner**2) + 2.0 * np.sum(squares) + np.sum(last**2) + spare * left**2
    third = np.sum((inner @ inner + 3.0 * side.T @ side) * inner)
    third += 3.0 * squares @ last + np.sum(last**3) + spare * left**3
    # A point with much leverage has a small residual: both fluctuate together.
    joint = 2.0 * trace * (1.0 - rank / nu) / (nu * (nu + 2.0))
    tied = free * np.sum(k**2) + part * np.sum((k[:, None] * image) ** 2) / nu
    third -= 1.5 * part**2 * rest * joint * tied
    return 0.5 * (np.sum(np.log(k)) - mean), 0.5 * variance, third


def _fresh(spectrum, rest, n, size):
    """The same for a point that the model has not seen, in a reference of `size` points."""
    k = 1.0 / (spectrum + (1.0 if size is None else size ** (-2.0 / spectrum.size)))
    shift = (1.0 + rest * spectrum) / n
    if size is None:
        return 0.5 * np.sum(np.log(k) - shift * k), 0.0, 0.0
    weight = (1.0 + shift) * k
    return 0.5 * np.sum(np.log(k) - weight), 0.5 * np.sum(weight**2), np.sum(weight**3)


def _pairs(d, size):
    """Mean part of the pairs in the squared density over space, in units of the diagonal."""
    if size is None:
        return 0.0
    return (1.0 - 1.0 / size) * (1.0 + size ** (-2.0 / d)) ** (-0.5 * d)


def _chance(near, n, far, n_ref, gap, unit, scatter):
    """Pr(A < B + gap) by Gil-Pelaez, from the characteristic functions of both sums."""
    centre = far[0] if n_ref is None else _typical(far, n_ref)
    times = np.arange(min(0.0, centre - _typical(near, n)) - 10.0, 5.0, _STEP)
    first = _transform(near, n, times - centre)
    nodes = scatter * ndtri((np.arange(_SMEAR) + 0.5) / _SMEAR)
    first = np.mean([np.interp(times + node, times, first) for node in nodes], axis=0)
    turn = np.exp(-1j * np.exp(times - centre - unit) * gap)
    # A Gaussian of 3 % of B, added to the difference, ends the oscillations of a sharp B.
    turn *= np.exp(-0.5 * (0.03 * np.exp(times)) ** 2)
    inside = np.imag(first * np.conj(_transform(far, n_ref, times - centre)) * turn)
    return float(np.clip(0.5 - scipy.integrate.trapezoid(inside, times) / np.pi, 0.0, 1.0))


def _terms(law, size):
    """Logarithms of one term of the mean of `size` numbers exp(log size - energy), weights."""
    x = np.linspace(-9.0, 7.0, _NODES)
    weight = scipy.stats.pearson3.pdf(x, law[2] / law[1] ** 1.5)
    return law[0] - np.sqrt(law[1]) * x - np.log(size), weight / weight.sum()


def _typical(law, size):
    """Logarithm of the mean at which its Laplace transform is one half."""
    terms, weight = _terms(law, size)

    def excess(log_time):
        transform = np.exp(-np.exp(log_time + terms)) @ weight
        return size * np.log(np.maximum(transform, 1e-300)) + np.log(2.0)

    return -scipy.optimize.brentq(excess, -terms.max() - 9.0, 30.0 - law[0])


def _transform(law, size, log_times):
    """E exp(i t S) of the mean S of `size` numbers exp(log size - energy)."""
    if size is None:
        return np.exp(1j * np.exp(log_times + law[0]))
    terms, weight = _terms(law, size)
    return (np.exp(1j * np.exp(log_times[:, None] + terms)) @ weight) ** size
