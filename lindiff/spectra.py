r"""Eigenvalues of covariances: model spectra, measured spectra, simple functions, random draws."""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from lindiff import _check
from lindiff._sample_spectra import (
    IsotropicTraces,
    SampleSpectra,
    isotropic_traces,
    sample_log_det,
    sample_spectra,
)

__all__ = [
    "IsotropicTraces",
    "SampleSpectra",
    "Spectrum",
    "covariance_spectrum",
    "degrees_of_freedom",
    "isotropic",
    "isotropic_traces",
    "marchenko_pastur_atom",
    "marchenko_pastur_density",
    "marchenko_pastur_edges",
    "participation_ratio",
    "power_law",
    "sample_log_det",
    "sample_spectra",
    "spiked",
]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Mean, variances and principal directions of a set of points.

    Parameters
    ----------
    mean : numpy.ndarray, shape (d,)
    eigenvalues : numpy.ndarray, shape (k,)
        In decreasing order, k = min(N, d).
    eigenvectors : numpy.ndarray, shape (d, k)
        Orthonormal columns.
    """

    mean: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray


def covariance_spectrum(data):
    r"""Eigenvalues and eigenvectors of the covariance of a data set, normalised by N.

    .. math:: \Sigma_0=\frac1N\sum_i(x_i-\mu_0)(x_i-\mu_0)^\top

    Source: Merger and Goldt 2025, MG-7.

    Parameters
    ----------
    data : array_like, shape (N, d)

    Returns
    -------
    Spectrum
        From a singular value decomposition of the centred data, so that small eigenvalues
        keep their accuracy. Cost :math:`O(Nd\min(N,d))`.

    Raises
    ------
    ValueError
        If `data` has another number of axes, is empty, or holds NaN.

    Notes
    -----
    Range: entries up to 1e150; variances are good to 1e-16 times the largest.

    Examples
    --------
    >>> covariance_spectrum([[0.0, 0.0], [2.0, 0.0]]).eigenvalues
    array([1., 0.])
    """
    data = _check.as_points("data", data, 2)
    if data.size == 0:
        raise ValueError(f"data must hold at least one point, got shape {data.shape}")
    mean = data.mean(axis=0)
    _, singular, rows = linalg.svd(data - mean, full_matrices=False)
    return Spectrum(mean, singular**2 / len(data), rows.T)


def participation_ratio(eigenvalues):
    r"""Effective number of directions, :math:`(\sum\lambda)^2/\sum\lambda^2`, from 1 to d.

    Source: Merger and Goldt 2025, MG-PR.

    Parameters
    ----------
    eigenvalues : array_like, shape (..., d)
        Not negative, not all zero.

    Returns
    -------
    numpy.ndarray, shape (...)

    Raises
    ------
    ValueError
        If an eigenvalue is negative or all are zero.

    Notes
    -----
    Range: eigenvalues up to 1e304 of any spread; relative error 1e-14.

    Examples
    --------
    >>> float(participation_ratio([1.0, 1.0, 1.0, 0.0]))
    3.0
    """
    eigenvalues = _check.as_spectrum("eigenvalues", eigenvalues)
    largest = eigenvalues.max(axis=-1, keepdims=True)
    if np.any(largest == 0):
        raise ValueError("eigenvalues are all zero; the ratio needs some variance")
    scaled = eigenvalues / largest
    return scaled.sum(axis=-1) ** 2 / (scaled**2).sum(axis=-1)


def degrees_of_freedom(eigenvalues, floor):
    r"""Number of directions above a floor, :math:`\mathrm{df}(c)=\sum\lambda/(\lambda+c)`.

    Source: Merger and Goldt 2025, MG-V2.b.

    Parameters
    ----------
    eigenvalues : array_like, shape (..., d)
    floor : float
        Positive.

    Returns
    -------
    numpy.ndarray, shape (...)

    Raises
    ------
    ValueError
        If an eigenvalue is negative or `floor` is not positive.

    Notes
    -----
    Range: eigenvalues up to 1e304 of any spread, any `floor`.

    Examples
    --------
    >>> float(degrees_of_freedom([1.0, 0.0], 1.0))
    0.5
    """
    eigenvalues = _check.as_spectrum("eigenvalues", eigenvalues)
    floor = _check.positive("floor", floor)
    return (eigenvalues / (eigenvalues + floor)).sum(axis=-1)


def isotropic(d, variance=1.0):
    """Spectrum with d equal eigenvalues.

    Parameters
    ----------
    d : int
    variance : float
        Positive.

    Returns
    -------
    numpy.ndarray, shape (d,)

    Notes
    -----
    Range: any positive number.

    Examples
    --------
    >>> isotropic(2, 3.0)
    array([3., 3.])
    """
    variance = _check.as_array("variance", _check.positive("variance", variance), ndim=0)
    return np.full(_check.positive_int("d", d), float(variance))


def power_law(d, exponent, *, trace=None):
    r"""Spectrum :math:`\lambda_\nu\propto\nu^{-k}`, :math:`\nu=1,\dots,d`.

    Parameters
    ----------
    d : int
    exponent : float
        The number k, not negative.
    trace : float, optional
        Sum of the eigenvalues; d by default.

    Returns
    -------
    numpy.ndarray, shape (d,)
        In decreasing order.

    Notes
    -----
    Range: any exponent and trace; relative error 1e-14 of eigenvalues above 1e-307.

    Examples
    --------
    >>> power_law(2, 1.0, trace=3.0)
    array([2., 1.])
    """
    d = _check.positive_int("d", d)
    exponent = _check.as_array("exponent", _check.non_negative("exponent", exponent), ndim=0)
    trace = d if trace is None else trace
    trace = _check.as_array("trace", _check.positive("trace", trace), ndim=0)
    weights = np.arange(1.0, d + 1.0) ** -exponent
    return trace * weights / weights.sum()


def spiked(d, spikes, bulk=1.0):
    """Spectrum with a few given eigenvalues on top of equal ones.

    Parameters
    ----------
    d : int
    spikes : array_like, shape (k,)
        Eigenvalues of the first k <= d directions.
    bulk : float
        The other eigenvalues.

    Returns
    -------
    numpy.ndarray, shape (d,)
        In decreasing order.

    Notes
    -----
    Range: eigenvalues up to 1e304, a bulk of any size.

    Examples
    --------
    >>> spiked(3, [5.0])
    array([5., 1., 1.])
    """
    d, spikes = _check.positive_int("d", d), _check.as_spectrum("spikes", spikes)
    if spikes.ndim != 1 or spikes.size > d:
        raise ValueError(f"spikes must be a list of at most d = {d} numbers")
    bulk = _check.as_array("bulk", _check.non_negative("bulk", bulk), ndim=0)
    return np.sort(np.concatenate([spikes, np.full(d - spikes.size, float(bulk))]))[::-1]


def marchenko_pastur_edges(aspect_ratio):
    r"""Edges :math:`(1\pm\sqrt q)^2` of the Marcenko-Pastur law, :math:`q=d/N`.

    Implements eq. (7.16).

    Parameters
    ----------
    aspect_ratio : float
        The number q, positive.

    Returns
    -------
    tuple of float

    Notes
    -----
    Range: `aspect_ratio` from 1e-150 to 1e150; relative error 1e-14, of the lower edge near
    q = 1 too.

    Examples
    --------
    >>> marchenko_pastur_edges(0.25)
    (0.25, 2.25)
    """
    ratio = _check.as_array("aspect_ratio", _check.within("aspect_ratio", aspect_ratio), ndim=0)
    upper = 1.0 + float(np.sqrt(ratio))
    return ((1.0 - float(ratio)) / upper) ** 2, upper**2


def marchenko_pastur_atom(aspect_ratio):
    r"""Share :math:`\max(0,1-1/q)` of eigenvalues that are exactly zero.

    Parameters
    ----------
    aspect_ratio : float
        The number q = d / N, positive.

    Returns
    -------
    float

    Notes
    -----
    Range: `aspect_ratio` from 1e-150 to 1e150; relative error 1e-15.

    Examples
    --------
    >>> marchenko_pastur_atom(2.0)
    0.5
    """
    ratio = _check.as_array("aspect_ratio", _check.within("aspect_ratio", aspect_ratio), ndim=0)
    return max(0.0, (float(ratio) - 1.0) / float(ratio))


def marchenko_pastur_density(x, aspect_ratio):
    r"""Density of the non-zero eigenvalues of a sample covariance of white data.

    .. math:: \rho(x)=\frac{\sqrt{(\lambda_+-x)(x-\lambda_-)}}{2\pi qx},\qquad q=d/N

    Source: Merger and Goldt 2025, MG-MP. With `marchenko_pastur_atom` at zero it has mass 1.

    Implements eq. (7.16).

    Parameters
    ----------
    x : array_like
    aspect_ratio : float
        The number q, positive.

    Returns
    -------
    numpy.ndarray
        Of the shape of `x`; 0 outside the edges.

    Notes
    -----
    Range: `aspect_ratio` from 1e-150 to 1e150.

    Examples
    --------
    >>> marchenko_pastur_density([0.0, 1.0, 9.0], 1.0).round(4)
    array([0.    , 0.2757, 0.    ])
    """
    x, (low, high) = _check.as_array("x", x), marchenko_pastur_edges(aspect_ratio)
    inside = (x > low) & (x < high)
    safe = np.where(inside, x, 1.0)
    root = np.sqrt(np.where(inside, high - safe, 0.0)) * np.sqrt(np.where(inside, safe - low, 0.0))
    return root / (2.0 * np.pi * aspect_ratio) / safe
