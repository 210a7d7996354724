r"""Averages of traces of the resolvent and of the log-determinant; see `lindiff.equivalents`."""

import numpy as np

from lindiff import _check, _one_loop
from lindiff._divergences import excess
from lindiff._kappa import as_modes, population, solve, unit
from lindiff._modes import Modes, as_resolvent, corrected, evaluate, shaped


def _trace(formula, count, eigenvalues, n_samples, z, weights, multiplicities, estimated_mean):
    r"""Average of a formula with `count` resolvents of :math:`\Sigma_0/a`."""
    eigenvalues, counts = as_modes(eigenvalues, multiplicities)
    shape, n, z, kept = as_resolvent(n_samples, z, estimated_mean)
    scale = 0
    if weights is not None:
        weights = _check.as_array("weights", weights)
        if weights.shape != eigenvalues.shape:
            raise ValueError(
                f"`weights` must have the shape {eigenvalues.shape} of `eigenvalues`, "
                f"got {weights.shape}"
            )
        scale = unit(weights)
        counts = np.stack([counts, counts * np.ldexp(weights, -scale)])
    source = None if weights is None else 1

    def unscaled(modes, kept):
        return modes.unscaled(formula(modes, source) / kept**count, count, scale)

    # Directions without variance have 1 / z, which may be far from all the others.
    used = eigenvalues > 0
    rest = np.atleast_2d(counts)[-1, ~used].sum()
    with np.errstate(over="ignore"):
        values = _over_power(rest, z * kept, count, scale)
        if used.any():
            spectrum = population(eigenvalues[used], counts[..., used])
            values = values + evaluate(unscaled, spectrum, n, z, kept)
    return shaped(values, shape)


def _over_power(value, z, count, exponent=0):
    mantissa, power = np.frexp(z)
    return np.ldexp(value / mantissa**count, exponent - count * power)


def trace_resolvent(
    eigenvalues,
    n_samples,
    z,
    *,
    weights=None,
    estimated_mean=False,
    multiplicities=None,
    one_loop=False,
):
    r"""Average trace of the resolvent :math:`Q=(\Sigma_0+z)^{-1}` of a sample covariance.

    .. math:: \langle\mathrm{Tr}\,GQ\rangle\simeq\sum_\nu\frac{g_\nu}{\kappa\lambda_\nu+z}

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        Population eigenvalues :math:`\lambda_\nu\ge0`.
    n_samples, z : array_like
        Number of samples N >= 1 and argument z > 0; they broadcast.
    weights : array_like, shape (d,), optional
        Diagonal :math:`g_\nu` of G in the eigenbasis of the population, of any sign; ones
        by default. ``weights=eigenvalues`` gives :math:`\langle\mathrm{Tr}\,\Sigma Q\rangle`.
    estimated_mean : bool
        Whether the mean of the training set is subtracted. That leaves N - 1 degrees of
        freedom, while :math:`\Sigma_0` stays normalised by N >= 2.
    multiplicities : array_like, shape (d,), optional
        How often each eigenvalue, with its weight, occurs; ones by default.
    one_loop : bool
        Whether to add the first finite-size correction.

    Returns
    -------
    float or numpy.ndarray
        Of the shape to which `n_samples` and `z` broadcast.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    With P from `log_det` and :math:`T_g=\sum g\lambda^2/E^3`, :math:`A_g=\sum g\lambda/E^2`,
    :math:`E=\kappa\lambda+z`, the correction is
    :math:`\frac{\kappa^2}{NP}\big[T_g-\frac{z\kappa A_g}{NP}T_1\big]`. The relative error
    of the leading order is :math:`O(1/N)`, with the correction :math:`O(1/N^2)`, at fixed
    d/N and z; the expansion fails below the hard edge, at N = d for
    :math:`z\lesssim\lambda/d^2`. Rounding stays below 1e-12 for weights of one sign.
    Merger and Goldt 2025, MG-D.2, MG-D.17, MG-X1.

    Examples
    --------
    >>> print(f"{trace_resolvent([1.0], 10, 0.5, multiplicities=[20]):.4f}")
    25.6155
    """

    def formula(modes, source):
        value = modes.moment(0, 1, source, 1)
        return corrected(value, _one_loop.first(modes, source, 1)) if one_loop else value

    setting = eigenvalues, n_samples, z, weights, multiplicities
    return _trace(formula, 1, *setting, estimated_mean)


def trace_resolvent_squared(
    eigenvalues,
    n_samples,
    z,
    *,
    weights=None,
    estimated_mean=False,
    multiplicities=None,
    one_loop=False,
):
    r"""Average trace of the squared resolvent, minus the derivative of the first one.

    .. math:: \langle\mathrm{Tr}\,GQ^2\rangle\simeq\sum_\nu\frac{g_\nu}{E_\nu^2}
              +\frac{\kappa^2}{NP}\sum_\nu\frac{g_\nu\lambda_\nu}{E_\nu^2}
              \sum_\mu\frac{\lambda_\mu}{E_\mu^2},\qquad E=\kappa\lambda+z

    Parameters
    ----------
    eigenvalues, n_samples, z, weights, estimated_mean, multiplicities, one_loop
        As in `trace_resolvent`.

    Returns
    -------
    float or numpy.ndarray
        Of the shape to which `n_samples` and `z` broadcast.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    :math:`P=\kappa+\frac{\kappa z}{N}\sum\lambda/E^2`. Validity and accuracy as in
    `trace_resolvent`. Merger and Goldt 2025, MG-D.17, MG-X1.

    Examples
    --------
    >>> print(f"{trace_resolvent_squared([1.0], 10, 0.5, multiplicities=[20]):.4f}")
    44.2536
    """

    def formula(modes, source):
        value = modes.moment(0, 2, source, 2)
        value += modes.moment(1, 1, source, 1) * modes.response(None, 1)
        return corrected(value, _one_loop.second(modes, source, 1)) if one_loop else value

    setting = eigenvalues, n_samples, z, weights, multiplicities
    return _trace(formula, 2, *setting, estimated_mean)


def resolvent_squared_elements(
    eigenvalues, n_samples, z, *, estimated_mean=False, multiplicities=None, one_loop=False
):
    r"""Average squares of the elements of the resolvent in the eigenbasis of the population.

    .. math:: \langle Q_{\nu\mu}^2\rangle\simeq\frac{\delta_{\nu\mu}}{E_\nu^2}
              +\frac{\kappa^2}{NP}\frac{\lambda_\nu}{E_\nu^2}\frac{\lambda_\mu}{E_\mu^2}

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        Population eigenvalues, not negative.
    n_samples, z : array_like
        Number of samples N >= 1 and argument z > 0; they broadcast.
    estimated_mean : bool
        As in `trace_resolvent`.
    multiplicities : array_like, shape (d,), optional
        How often each eigenvalue occurs. The result then has one entry per distinct
        eigenvalue: its diagonal is that of one mode, and two different modes with one
        eigenvalue have the same element as without the :math:`\delta` term.
    one_loop : bool
        Whether to add the first finite-size correction.

    Returns
    -------
    numpy.ndarray, shape (..., d, d)
        Symmetric; the leading axes are those to which `n_samples` and `z` broadcast.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    Single elements fluctuate: off the diagonal this leading order has a relative error of
    :math:`O(1/N)`, on the diagonal it leaves out a term of that order, which `one_loop`
    adds. Accurate where `trace_resolvent` is. Merger and Goldt 2025, MG-D.17, MG-X1.

    Examples
    --------
    >>> resolvent_squared_elements([1.0, 0.0], 4, 0.5).round(4)
    array([[0.615, 0.   ],
           [0.   , 4.   ]])
    """
    eigenvalues, counts = as_modes(eigenvalues, multiplicities)
    shape, n, z, kept = as_resolvent(n_samples, z, estimated_mean)
    values = np.zeros((n.size, eigenvalues.size, eigenvalues.size))
    used = np.flatnonzero(eigenvalues)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        empty = np.flatnonzero(eigenvalues == 0)
        values[:, empty, empty] = _over_power(1.0, z * kept, 2)[:, None]
        if used.size:
            spectrum = population(eigenvalues[used], counts[used])
            nodes, setting = np.ldexp(eigenvalues[used], -spectrum.exponent), (n, z)
            solution = solve(spectrum, *setting)
            modes = Modes(nodes, counts[None, used], spectrum.exponent, *setting, *solution)
            found = modes.unscaled(_elements(modes, one_loop).T, 2).T / kept[:, None, None] ** 2
            values[:, used[:, None], used] = found
    return values.reshape((*shape, eigenvalues.size, eigenvalues.size))


def _elements(modes, one_loop):
    n, stiffness = modes.n[:, None, None], modes.stiffness[:, None, None]
    signal, noise, resolvent = modes.signal, modes.noise, modes.resolvent
    diagonal = np.eye(modes.nodes.size)
    spread = signal * resolvent / np.sqrt(modes.n * modes.stiffness)[:, None]
    value = diagonal * (resolvent**2)[:, None] + _outer(spread, spread)
    if not one_loop:
        return value
    response = signal * resolvent / (modes.n * modes.stiffness)[:, None]
    own = response, signal**2 * resolvent, signal**2 * noise * resolvent
    left, right = [x[:, :, None] for x in own], [x[:, None, :] for x in own]
    ones = [modes.moment(2, 1)[:, None, None]] * 2 + [modes.moment(2, 2)[:, None, None]]
    joint = diagonal * (signal * resolvent**2)[:, None]
    joint = joint, diagonal * ((signal * resolvent) ** 2)[:, None]
    return corrected(value, _one_loop.curvature(n, stiffness, left, right, ones, joint))


def _outer(a, b):
    return a[:, :, None] * b[:, None, :]


def log_det(
    eigenvalues, n_samples, z, *, estimated_mean=False, multiplicities=None, one_loop=False
):
    r"""Average log-determinant of the regularised sample covariance.

    .. math:: \langle\ln\det(\Sigma_0+z)\rangle\simeq\sum_\nu\ln(\kappa\lambda_\nu+z)
              -N\ln\kappa-N(1-\kappa)+\tfrac12\ln P,\qquad
              P=1-\frac1N\sum_\nu\Big(\frac{\kappa\lambda_\nu}{\kappa\lambda_\nu+z}\Big)^2

    Parameters
    ----------
    eigenvalues, n_samples, z, estimated_mean, multiplicities
        As in `trace_resolvent`.
    one_loop : bool
        Whether to add the last term, the first finite-size correction.

    Returns
    -------
    float or numpy.ndarray
        Of the shape to which `n_samples` and `z` broadcast.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    With the last term the error is :math:`O(1/N)`, otherwise :math:`O(1)`. Merger and Goldt
    2025, MG-D.19, MG-X1.

    Examples
    --------
    >>> print(f"{log_det([1.0], 10, 0.5, multiplicities=[20]):.4f}")
    0.5604
    """
    setting = eigenvalues, n_samples, z, multiplicities, estimated_mean

    def formula(modes, kept):
        value = modes.total(_log_model(modes)) + modes.n * excess_of_kappa(modes)
        value += modes.weights[0].sum() * np.log(kept)
        return corrected(value, 0.5 * modes.log_stiffness) if one_loop else value

    return _logarithm(formula, *setting)


def _log_model(modes):
    r"""Logarithm of E, shape (B, m)."""
    large = modes.scaled > 1e300
    seen = modes.log_kappa[:, None] + np.log(np.where(large, modes.nodes, 1.0))
    noisy = modes.log_z[:, None] + np.log1p(modes.scaled)
    return np.where(large, seen, noisy) + modes.exponent * np.log(2.0)


def _logarithm(formula, eigenvalues, n_samples, z, multiplicities, estimated_mean):
    spectrum = population(*as_modes(eigenvalues, multiplicities))
    shape, n, z, kept = as_resolvent(n_samples, z, estimated_mean)
    return shaped(evaluate(formula, spectrum, n, z, kept), shape)


def excess_of_kappa(modes):
    r""":math:`-\ln\kappa-(1-\kappa)`, accurate for :math:`\kappa` near 0 and near 1."""
    near = modes.kappa > 0.5
    far = modes.kappa - 1.0 - modes.log_kappa
    return np.where(near, excess(np.where(near, -modes.loss, 0.0)), far)


def log_det_variance(eigenvalues, n_samples, z, *, estimated_mean=False, multiplicities=None):
    r"""Variance of the log-determinant over training sets.

    .. math:: \mathrm{Var}[\ln\det(\Sigma_0+z)]\simeq-2\ln P

    Parameters
    ----------
    eigenvalues, n_samples, z, estimated_mean, multiplicities
        As in `trace_resolvent`.

    Returns
    -------
    float or numpy.ndarray
        Of the shape to which `n_samples` and `z` broadcast.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    Relative error :math:`O(1/N)`; P as in `log_det`. Merger and Goldt 2025, MG-X2.

    Examples
    --------
    >>> print(f"{log_det_variance([1.0], 40, 0.5, multiplicities=[20]):.4f}")
    0.3765
    """

    def formula(modes, _):
        return -2.0 * modes.log_stiffness

    return _logarithm(formula, eigenvalues, n_samples, z, multiplicities, estimated_mean)
