r"""Averages of traces of the resolvent and of the log-determinant; see `lindiff.equivalents`."""

import numpy as np

from lindiff import _check, _one_loop
from lindiff._compressed import compress
from lindiff._divergences import excess
from lindiff._kappa import as_modes, as_samples, broadcast, solve
from lindiff._modes import Modes, evaluate, positive_z, shaped


def _setting(eigenvalues, n_samples, z, weights, multiplicities):
    """Check the arguments; return the compressed spectrum, the shape and flat N and z."""
    eigenvalues, counts = as_modes(eigenvalues, multiplicities)
    if weights is not None:
        weights = _check.as_array("weights", weights)
        if weights.shape != eigenvalues.shape:
            raise ValueError(
                f"`weights` must have the shape {eigenvalues.shape} of `eigenvalues`, "
                f"got {weights.shape}"
            )
        counts = np.stack([counts, counts * weights])
    shape, (n, z) = broadcast(n_samples=as_samples(n_samples), z=positive_z(z))
    return compress(eigenvalues, counts), shape, n, z


def trace_resolvent(
    eigenvalues, n_samples, z, *, weights=None, multiplicities=None, one_loop=False
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
    spectrum, shape, n, z = _setting(eigenvalues, n_samples, z, weights, multiplicities)
    source = None if weights is None else 1

    def formula(modes):
        value = modes.moment(0, 1, source)
        return (value + _one_loop.first(modes, source) if one_loop else value) / modes.z

    return shaped(evaluate(formula, spectrum, n, z), shape)


def trace_resolvent_squared(
    eigenvalues, n_samples, z, *, weights=None, multiplicities=None, one_loop=False
):
    r"""Average trace of the squared resolvent, minus the derivative of the first one.

    .. math:: \langle\mathrm{Tr}\,GQ^2\rangle\simeq\sum_\nu\frac{g_\nu}{E_\nu^2}
              +\frac{\kappa^2}{NP}\sum_\nu\frac{g_\nu\lambda_\nu}{E_\nu^2}
              \sum_\mu\frac{\lambda_\mu}{E_\mu^2},\qquad E=\kappa\lambda+z

    Parameters
    ----------
    eigenvalues, n_samples, z, weights, multiplicities, one_loop
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
    spectrum, shape, n, z = _setting(eigenvalues, n_samples, z, weights, multiplicities)
    source = None if weights is None else 1

    def formula(modes):
        value = modes.moment(0, 2, source) + modes.moment(1, 1, source) * modes.response()
        return (value + _one_loop.second(modes, source) if one_loop else value) / modes.z**2

    return shaped(evaluate(formula, spectrum, n, z), shape)


def resolvent_squared_elements(eigenvalues, n_samples, z, *, multiplicities=None, one_loop=False):
    r"""Average squares of the elements of the resolvent in the eigenbasis of the population.

    .. math:: \langle Q_{\nu\mu}^2\rangle\simeq\frac{\delta_{\nu\mu}}{E_\nu^2}
              +\frac{\kappa^2}{NP}\frac{\lambda_\nu}{E_\nu^2}\frac{\lambda_\mu}{E_\mu^2}

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        Population eigenvalues, not negative.
    n_samples, z : array_like
        Number of samples N >= 1 and argument z > 0; they broadcast.
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
    adds. Merger and Goldt 2025, MG-D.17, MG-X1.

    Examples
    --------
    >>> resolvent_squared_elements([1.0, 0.0], 4, 0.5).round(4)
    array([[0.615, 0.   ],
           [0.   , 4.   ]])
    """
    eigenvalues, counts = as_modes(eigenvalues, multiplicities)
    shape, (n, z) = broadcast(n_samples=as_samples(n_samples), z=positive_z(z))
    ratio, kappa = solve(compress(eigenvalues, counts), n, z)
    modes = Modes(eigenvalues, counts[None], n, z, ratio, kappa)
    scalar = [value[:, None, None] for value in (n, z, modes.stiffness)]
    n_, z_, stiffness = scalar
    signal, noise = modes.signal, modes.noise
    response = signal * noise / (n * modes.stiffness)[:, None]
    diagonal = np.eye(eigenvalues.size)
    value = diagonal * (noise**2)[:, None] + n_ * stiffness * _outer(response, response)
    if one_loop:
        own = response, signal**2 * noise, (signal * noise) ** 2
        left, right = [x[:, :, None] for x in own], [x[:, None, :] for x in own]
        ones = [modes.moment(2, 1)[:, None, None]] * 2 + [modes.moment(2, 2)[:, None, None]]
        joint = diagonal * (signal * noise**2)[:, None], diagonal * own[2][:, None]
        value = value + _one_loop.curvature(n_, stiffness, left, right, ones, joint)
    return (value / z_**2).reshape((*shape, eigenvalues.size, eigenvalues.size))


def _outer(a, b):
    return a[:, :, None] * b[:, None, :]


def log_det(eigenvalues, n_samples, z, *, multiplicities=None, one_loop=False):
    r"""Average log-determinant of the regularised sample covariance.

    .. math:: \langle\ln\det(\Sigma_0+z)\rangle\simeq\sum_\nu\ln(\kappa\lambda_\nu+z)
              -N\ln\kappa-N(1-\kappa)+\tfrac12\ln P,\qquad
              P=1-\frac1N\sum_\nu\Big(\frac{\kappa\lambda_\nu}{\kappa\lambda_\nu+z}\Big)^2

    Parameters
    ----------
    eigenvalues, n_samples, z, multiplicities
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
    spectrum, shape, n, z = _setting(eigenvalues, n_samples, z, None, multiplicities)

    def formula(modes):
        value = modes.total(np.log1p(modes.scaled)) + spectrum.masses.sum() * np.log(modes.z)
        value += modes.n * excess_of_kappa(modes)
        return value + 0.5 * modes.log_stiffness if one_loop else value

    return shaped(evaluate(formula, spectrum, n, z), shape)


def excess_of_kappa(modes):
    r""":math:`-\ln\kappa-(1-\kappa)`, accurate for :math:`\kappa` near 0 and near 1."""
    near = modes.kappa > 0.5
    far = modes.kappa - 1.0 - np.log(modes.kappa)
    return np.where(near, excess(np.where(near, -modes.loss, 0.0)), far)


def log_det_variance(eigenvalues, n_samples, z, *, multiplicities=None):
    r"""Variance of the log-determinant over training sets.

    .. math:: \mathrm{Var}[\ln\det(\Sigma_0+z)]\simeq-2\ln P

    Parameters
    ----------
    eigenvalues, n_samples, z, multiplicities
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
    spectrum, shape, n, z = _setting(eigenvalues, n_samples, z, None, multiplicities)
    return shaped(evaluate(lambda modes: -2.0 * modes.log_stiffness, spectrum, n, z), shape)
