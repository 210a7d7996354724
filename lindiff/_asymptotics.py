r"""Exact results without a floor, and limits of the averages; see `lindiff.equivalents`."""

import numpy as np
from scipy import special

from lindiff import _check
from lindiff._compressed import compress
from lindiff._divergences import excess
from lindiff._kappa import as_modes, as_samples, broadcast, solve
from lindiff._modes import shaped

# Terms B_2k / 2k of the series of log(x) - digamma(x) in 1/x^2, enough for x >= 12.
_BERNOULLI = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)


def log_det_wishart(dimension, n_samples, *, estimated_mean=False):
    r"""Exact average log-determinant of a sample covariance, relative to the population.

    .. math:: \langle\ln\det\Sigma_0\rangle-\ln\det\Sigma
              =\sum_{i=1}^{d}\psi\Big(\frac{N-i+1}{2}\Big)+d\ln\frac2N

    Parameters
    ----------
    dimension : int
    n_samples : array_like
        Number of samples N > d - 1, or N > d with `estimated_mean`.
    estimated_mean : bool
        Whether the mean is subtracted: then :math:`N-i+1` becomes :math:`N-i`, while the
        covariance is still normalised by N.

    Returns
    -------
    float or numpy.ndarray
        Of the shape of `n_samples`; negative, the same for every population.

    Raises
    ------
    ValueError
        If there are too few samples.

    Notes
    -----
    Relative error below 1e-12 also for :math:`N\gg d`, where digamma and logarithm cancel. Time
    and memory O(d) per value. Merger and Goldt 2025, MG-X3, MG-X4.

    Examples
    --------
    >>> print(f"{log_det_wishart(100, 400):.3f}")
    -13.839
    """
    d, n = _wishart(dimension, n_samples, estimated_mean, 0)
    lost = np.arange(d) + float(bool(estimated_mean))
    half = 0.5 * (n[..., None] - lost)
    values = np.log1p(-lost / n[..., None]) - _log_minus_digamma(half)
    return shaped(values.sum(axis=-1).ravel(), n.shape)


def _wishart(dimension, n_samples, estimated_mean, margin):
    d, n = _check.positive_int("dimension", dimension), as_samples(n_samples)
    least = d - 1 + margin + bool(estimated_mean)
    if np.any(n <= least):
        raise ValueError(f"`n_samples` must be above {least} here; the average does not exist")
    return d, n


def _log_minus_digamma(x):
    far = np.maximum(x, 12.0)
    series = np.zeros_like(far)
    for coefficient in reversed(_BERNOULLI):
        series = (series + coefficient) / far**2
    return np.where(x >= 12.0, 0.5 / far + series, np.log(x) - special.digamma(x))


def kl_wishart(dimension, n_samples, *, estimated_mean=False):
    r"""Exact average divergence of the fitted Gaussian from the truth, without a floor.

    .. math:: \langle\mathrm{KL}\rangle=\frac12\Big[\frac{dN}{N-d-1}-d
              +\sum_{i=1}^{d}\psi\Big(\frac{N-i+1}2\Big)+d\ln\frac2N\Big]

    Parameters
    ----------
    dimension : int
    n_samples : array_like
        Number of samples N > d + 1, or N > d + 2 with `estimated_mean`.
    estimated_mean : bool
        Whether mean and covariance are both fitted.

    Returns
    -------
    float or numpy.ndarray
        Total in nats, of the shape of `n_samples`; the same for every population.

    Raises
    ------
    ValueError
        If there are too few samples; then the average is infinite.

    Notes
    -----
    Relative error below 1e-12 for N up to 1e12 d. With a fitted mean the first two terms
    become :math:`d(d+3)/(N-d-2)`. Merger and Goldt 2025, MG-X3, MG-X4.

    Examples
    --------
    >>> print(f"{kl_wishart(100, 400):.3f} {kl_wishart(100, 400, estimated_mean=True):.3f}")
    9.970 10.218
    """
    d, n = _wishart(dimension, n_samples, estimated_mean, 2)
    fitted = d * (d + 3.0) / (n - d - 2.0) if estimated_mean else d * (d + 1.0) / (n - d - 1.0)
    value = 0.5 * (fitted + log_det_wishart(d, n, estimated_mean=estimated_mean))
    return float(value) if n.shape == () else value


def kl_isotropic_limit(aspect_ratio):
    r"""Divergence per dimension without a floor, for many dimensions, any population.

    .. math:: \frac{\langle\mathrm{KL}\rangle}{d}\to\frac12\Big[\frac q{1-q}-1
              -\frac{1-q}q\ln(1-q)\Big]=\frac q4+\frac{5q^2}{12}+\dots,\qquad q=\frac dN<1

    Parameters
    ----------
    aspect_ratio : array_like
        The number q in (0, 1).

    Returns
    -------
    float or numpy.ndarray

    Raises
    ------
    ValueError
        If `aspect_ratio` is out of range.

    Notes
    -----
    Relative error below 1e-14, also for :math:`q\to0`. Merger and Goldt 2025, MG-D.22.

    Examples
    --------
    >>> print(f"{kl_isotropic_limit(0.5):.4f}")
    0.3466
    """
    q = np.asarray(_check.positive("aspect_ratio", aspect_ratio))
    if np.any(q >= 1):
        raise ValueError("`aspect_ratio` must be below 1; at d >= N the divergence is infinite")
    value = 0.5 * (excess(q / (1.0 - q)) + excess(-q) / q)
    return float(value) if q.shape == () else value


def kl_floor(eigenvalues, floor, *, multiplicities=None):
    r"""Divergence that a floor leaves when the number of samples is infinite.

    .. math:: \tfrac12\sum_\nu\Big[\frac{\lambda_\nu}{\lambda_\nu+c}-1
              +\ln\Big(1+\frac c{\lambda_\nu}\Big)\Big]

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
    floor : array_like
        Variance floor :math:`c\ge0`.
    multiplicities : array_like, shape (d,), optional

    Returns
    -------
    float or numpy.ndarray
        Total in nats, of the shape of `floor`; infinite if an eigenvalue is 0 and the floor not.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    About :math:`\frac{c^2}4\mathrm{Tr}\,\Sigma^{-2}` for small floors; no cancellation there.
    Merger and Goldt 2025, MG-X6.

    Examples
    --------
    >>> print(f"{kl_floor([1.0, 1.0], 1e-3):.3e}")
    4.993e-07
    """
    eigenvalues, counts = as_modes(eigenvalues, multiplicities)
    floor = np.asarray(_check.non_negative("floor", floor))[..., None]
    total = eigenvalues + floor
    missing = np.divide(-floor, total, out=np.zeros_like(total), where=total > 0)
    return shaped(0.5 * np.ravel(excess(missing) @ counts), floor.shape[:-1])


def alignment_many_samples(eigenvalues, n_samples, alpha_bar, *, multiplicities=None):
    r"""Distance of a fitted from the best denoiser for many samples, without a floor.

    .. math:: \langle\Delta\rangle\to\frac{\sigma^2}{N}\Big[
              \sum_\nu\frac{\lambda_\nu}{\lambda_\nu+\sigma^2}
              \sum_\mu\frac{\lambda_\mu}{(\lambda_\mu+\sigma^2)^2}
              +\sum_\nu\frac{\lambda_\nu^2}{(\lambda_\nu+\sigma^2)^3}\Big]

    Parameters
    ----------
    eigenvalues, n_samples, alpha_bar, multiplicities
        As in `alignment`; `alpha_bar` below 1.

    Returns
    -------
    float or numpy.ndarray
        Total over dimensions, of the shape to which `n_samples` and `alpha_bar` broadcast.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    Exact to order 1/N at fixed d. The leading order of `alignment` lacks the last sum, however
    large N is; with `one_loop` it has it. Merger and Goldt 2025, MG-X9.

    Examples
    --------
    >>> print(f"{alignment_many_samples([1.0, 1.0], 100, 0.5):.4f}")
    0.0075
    """
    eigenvalues, counts = as_modes(eigenvalues, multiplicities)
    shape, (n, level) = broadcast(n_samples=as_samples(n_samples), alpha_bar=_below_one(alpha_bar))
    sigma2 = (1.0 - level) / level
    inverse = 1.0 / (eigenvalues + sigma2[:, None])
    share = eigenvalues * inverse
    pairs = (share @ counts) * ((share * inverse) @ counts) + (share**2 * inverse) @ counts
    return shaped(sigma2 / n * pairs, shape)


def _below_one(alpha_bar):
    level = np.asarray(_check.alpha_bar(alpha_bar))
    if np.any(level == 1):
        raise ValueError("`alpha_bar` must be below 1 here; without noise there is no limit")
    return level


def gap_small_noise(eigenvalues, n_samples, alpha_bar, *, multiplicities=None):
    r"""Test minus training loss at small noise, without a floor, for fewer samples than rank.

    .. math:: \langle L-R\rangle\to\frac{N}{x\,\sigma^2},\qquad
              \sum_\nu\frac{x\lambda_\nu}{1+x\lambda_\nu}=N,\qquad
              \sigma^2=\frac{1-\bar\alpha}{\bar\alpha}

    Parameters
    ----------
    eigenvalues, n_samples, alpha_bar, multiplicities
        As in `gap`; `alpha_bar` below 1, `n_samples` below the number of positive eigenvalues.

    Returns
    -------
    float or numpy.ndarray
        Total over dimensions, of the shape to which `n_samples` and `alpha_bar` broadcast.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    The ratio to `gap` tends to 1 as :math:`\bar\alpha\to1`. Isotropic:
    :math:`(d-N)/\sigma^2` for unit eigenvalues. Merger and Goldt 2025, MG-X7.

    Examples
    --------
    >>> print(f"{gap_small_noise([1.0], 60, 0.5, multiplicities=[100]):.1f}")
    40.0
    """
    eigenvalues, counts = as_modes(eigenvalues, multiplicities)
    shape, (n, level) = broadcast(n_samples=as_samples(n_samples), alpha_bar=_below_one(alpha_bar))
    rank = counts[eigenvalues > 0].sum()
    if np.any(n >= rank):
        raise ValueError(
            f"`n_samples` must be below the rank {rank:.6g} of the population; otherwise "
            "the gap vanishes with the noise"
        )
    ratio = solve(compress(eigenvalues, counts), n, np.zeros_like(n))[0]
    return shaped(n / ratio * (level / (1.0 - level)), shape)


def power_law_scale(n_samples, exponent, *, amplitude=1.0):
    r"""Inverse :math:`x` of the smallest eigenvalue that N samples resolve in a power law.

    .. math:: x\simeq\frac1C\Big[\big(N+\tfrac12\big)\frac k\pi\sin\frac\pi k\Big]^k,\qquad
              \lambda_\nu=C\nu^{-k},\quad\sum_\nu\frac{x\lambda_\nu}{1+x\lambda_\nu}=N

    Parameters
    ----------
    n_samples : array_like
        Number of samples N >= 1, much smaller than d.
    exponent : array_like
        The number k > 1.
    amplitude : array_like
        The largest eigenvalue C > 0.

    Returns
    -------
    float or numpy.ndarray
        Of the shape to which the arguments broadcast.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    The sum replaced by an integral from 1/2; relative error :math:`O(N^{-2})` and
    :math:`O((N/d)^{k-1})`. Then the gap at small noise is :math:`N/(x\sigma^2)\propto N^{1-k}`.
    Merger and Goldt 2025, MG-V2.x.

    Examples
    --------
    >>> print(f"{power_law_scale(10, 2.0):.2f}")
    44.68
    """
    n, amplitude = as_samples(n_samples), np.asarray(_check.positive("amplitude", amplitude))
    k = np.asarray(_check.positive("exponent", exponent))
    if np.any(k <= 1):
        raise ValueError("`exponent` must be above 1; otherwise the scale depends on d")
    value = ((n + 0.5) * k * np.sin(np.pi / k) / np.pi) ** k / amplitude
    return float(value) if value.shape == () else value
