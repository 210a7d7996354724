r"""Exact results without a floor, and limits of the averages; see `lindiff.equivalents`."""

import numpy as np
from scipy import special

from lindiff import _check
from lindiff._divergences import excess
from lindiff._kappa import as_modes, as_samples, broadcast, population, solve
from lindiff._modes import degrees, noise_levels, shaped

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
    Relative error below 1e-12 for every N, also for :math:`N\gg d`, where digamma and logarithm
    cancel. Time and memory O(d) per value. Merger and Goldt 2025, MG-X3, MG-X4.

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


def trace_inverse_wishart(dimension, n_samples, *, estimated_mean=False):
    r"""Exact average of the inverse of a sample covariance, relative to the population.

    .. math:: \langle\mathrm{Tr}\,\Sigma\,\Sigma_0^{-1}\rangle=\frac{Nd}{N-d-1}

    Parameters
    ----------
    dimension : int
    n_samples : array_like
        Number of samples N >= 1, or N >= 2 with `estimated_mean`.
    estimated_mean : bool
        Whether the mean is subtracted: then it is :math:`Nd/(N-d-2)`, with the covariance
        still normalised by N.

    Returns
    -------
    float or numpy.ndarray
        Of the shape of `n_samples`, the same for every population. Infinite for N <= d + 1, or
        N <= d + 2 with `estimated_mean`: there the average diverges or no inverse exists.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Relative error below 1e-15 for every N. The limit of ``trace_resolvent(eigenvalues, N, z,
    weights=eigenvalues)`` for :math:`z\to0`. Merger and Goldt 2025, MG-X3, MG-X4.

    Examples
    --------
    >>> trace_inverse_wishart(2, [3, 4, 100]).round(4).tolist()
    [inf, 8.0, 2.0619]
    """
    d = _check.positive_int("dimension", dimension)
    n = as_samples(n_samples, estimated_mean=estimated_mean)
    margin = n - d - (2.0 if estimated_mean else 1.0)
    exists = margin > 0
    value = np.where(exists, d * (n / np.where(exists, margin, 1.0)), np.inf)
    return float(value) if n.shape == () else value


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
        series = (series + coefficient) / far / far
    return np.where(x >= 12.0, 0.5 / far + series, np.log(x) - special.digamma(x))


def kl_wishart(dimension, n_samples, *, reverse=False, estimated_mean=False):
    r"""Exact average divergence of the fitted Gaussian from the truth, or back, without a floor.

    .. math:: \langle\mathrm{KL}\rangle=\frac12\Big[\frac{dN}{N-d-1}-d
              +\sum_{i=1}^{d}\psi\Big(\frac{N-i+1}2\Big)+d\ln\frac2N\Big]

    Parameters
    ----------
    dimension : int
    n_samples : array_like
        Number of samples N > d + 1 (with the model first N > d - 1); one more with
        `estimated_mean`.
    reverse : bool
        Whether to take :math:`\langle\mathrm{KL}(\rho_N\,\|\,\rho)\rangle`, which is
        :math:`-\tfrac12` of `log_det_wishart`: trace and mean add up to d.
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
    Relative error below 1e-12 for every N. With a fitted mean the first two terms
    become :math:`d(d+3)/(N-d-2)`. Merger and Goldt 2025, MG-X3, MG-X4.

    Examples
    --------
    >>> print(f"{kl_wishart(100, 400):.3f} {kl_wishart(100, 400, estimated_mean=True):.3f}")
    9.970 10.218
    """
    if reverse:
        return -0.5 * log_det_wishart(dimension, n_samples, estimated_mean=estimated_mean)
    d, n = _wishart(dimension, n_samples, estimated_mean, 2)
    fitted = d * (d + 3.0) / (n - d - 2.0) if estimated_mean else d * (d + 1.0) / (n - d - 1.0)
    value = 0.5 * (fitted + log_det_wishart(d, n, estimated_mean=estimated_mean))
    return float(value) if n.shape == () else value


def kl_isotropic_limit(aspect_ratio):
    r"""Divergence per dimension without a floor, for many dimensions, any population.

    .. math:: \frac{\langle\mathrm{KL}\rangle}{d}\to\frac12\Big[\frac q{1-q}-1
              -\frac{1-q}q\ln(1-q)\Big]=\frac q4+\frac{5q^2}{12}+\dots,\qquad q=\frac dN<1

    Implements eq. (7.21).

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
    Relative error below 1e-14 for every q in (0, 1). Merger and Goldt 2025, MG-D.22.

    Examples
    --------
    >>> print(f"{kl_isotropic_limit(0.5):.4f}")
    0.3466
    """
    q = np.asarray(_check.positive("aspect_ratio", aspect_ratio))
    if np.any(q >= 1):
        raise ValueError("`aspect_ratio` must be below 1; at d >= N the divergence is infinite")
    # Squares of numbers below 1e-154 vanish; the next term is 5 q / 3 of the first.
    large = np.maximum(q, 1e-100)
    value = 0.5 * (excess(large / (1.0 - large)) + excess(-large) / large) * (q / large)
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
    Relative error below 1e-12 for eigenvalues over 300 decades at any scale and every floor.
    Merger and Goldt 2025, MG-X6.

    Examples
    --------
    >>> print(f"{kl_floor([1.0, 1.0], 1e-3):.3e}")
    4.993e-07
    """
    eigenvalues, counts = as_modes(eigenvalues, multiplicities)
    floor = np.asarray(_check.non_negative("floor", floor))[..., None]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        ratio = floor / eigenvalues
        # For floors above the variance the logarithm is known better than what is missing.
        log = np.where(ratio < 1e300, np.log1p(ratio), np.log(floor) - np.log(eigenvalues))
        inverse = eigenvalues / floor
        terms = np.where(ratio < 1.0, excess(-ratio / (1.0 + ratio)), log - 1.0 / (1.0 + inverse))
    terms = np.where(floor == 0, 0.0, terms)
    return shaped(0.5 * np.ravel(terms @ counts), floor.shape[:-1])


def alignment_many_samples(
    eigenvalues, n_samples, alpha_bar, *, estimated_mean=False, multiplicities=None
):
    r"""Distance of a fitted from the best denoiser for many samples, without a floor.

    .. math:: \langle\Delta\rangle\to\frac{\sigma^2}{N}\Big[
              \sum_\nu\frac{\lambda_\nu}{\lambda_\nu+\sigma^2}
              \sum_\mu\frac{\lambda_\mu}{(\lambda_\mu+\sigma^2)^2}
              +\sum_\nu\frac{\lambda_\nu^2}{(\lambda_\nu+\sigma^2)^3}\Big]

    Parameters
    ----------
    eigenvalues, n_samples, alpha_bar, multiplicities
        As in `alignment`; `alpha_bar` below 1.
    estimated_mean : bool
        Whether the mean of the training set is subtracted, which adds
        :math:`\frac{\sigma^2}N\sum\lambda_\nu/(\lambda_\nu+\sigma^2)^2`.

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
    large N is; with `one_loop` it has it. Rounding as in `alignment`. Merger and Goldt 2025, MG-X9.

    Examples
    --------
    >>> print(f"{alignment_many_samples([1.0, 1.0], 100, 0.5):.4f}")
    0.0075
    """
    eigenvalues, counts = as_modes(eigenvalues, multiplicities)
    shape, (n, sigma2) = broadcast(
        n_samples=as_samples(n_samples, estimated_mean=estimated_mean),
        alpha_bar=_noisy(alpha_bar),
    )
    with np.errstate(divide="ignore", over="ignore"):
        share = 1.0 / (1.0 + sigma2[:, None] / eigenvalues)
        noise = 1.0 / (1.0 + eigenvalues / sigma2[:, None])
    signals = share @ counts + (1.0 if estimated_mean else 0.0)
    pairs = signals * ((share * noise) @ counts) + (share**2 * noise) @ counts
    return shaped(pairs / n, shape)


def _noisy(alpha_bar):
    sigma2 = noise_levels(alpha_bar)
    if np.any(sigma2 == 0):
        raise ValueError("`alpha_bar` must be below 1 here; without noise there is no limit")
    return sigma2


def gap_small_noise(
    eigenvalues, n_samples, alpha_bar, *, estimated_mean=False, multiplicities=None
):
    r"""Test minus training loss at small noise, without a floor, for fewer samples than rank.

    .. math:: \langle L-R\rangle\to\frac{N}{x\,\sigma^2},\qquad
              \sum_\nu\frac{x\lambda_\nu}{1+x\lambda_\nu}=N,\qquad
              \sigma^2=\frac{1-\bar\alpha}{\bar\alpha}

    Parameters
    ----------
    eigenvalues, n_samples, alpha_bar, multiplicities
        As in `gap`; `alpha_bar` below 1, `n_samples` below the number of positive eigenvalues.
    estimated_mean : bool
        Whether the mean of the training set is subtracted: then x belongs to N - 1, which may
        be below that number, and the result is :math:`(N^2-1)/(Nx\sigma^2)`.

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
    Off by a relative :math:`O(\sigma^4)` from `gap`; with :math:`1-\bar\alpha` for
    :math:`\sigma^2` it would be of first order. For unit eigenvalues it is
    :math:`(d-N)/\sigma^2`. Rounding below 1e-12, for eigenvalues over 300 decades at any scale.
    Merger and Goldt 2025, MG-X7.

    Examples
    --------
    >>> print(f"{gap_small_noise([1.0], 60, 0.5, multiplicities=[100]):.1f}")
    40.0
    """
    eigenvalues, counts = as_modes(eigenvalues, multiplicities)
    shape, (n, sigma2) = broadcast(
        n_samples=as_samples(n_samples, estimated_mean=estimated_mean),
        alpha_bar=_noisy(alpha_bar),
    )
    freedom, _ = degrees(n, estimated_mean)
    spectrum = population(eigenvalues, counts)
    rank = spectrum.masses[spectrum.centres > 0].sum()
    if np.any(freedom >= rank):
        least = f"{rank:.6g} of the population" + (" plus 1" if estimated_mean else "")
        raise ValueError(
            f"`n_samples` must be below the rank {least}; otherwise the gap vanishes with the noise"
        )
    ratio = solve(spectrum, freedom, np.zeros_like(n))[0]
    factor = freedom * ((n + 1.0) / n) if estimated_mean else n
    mantissa, power = np.frexp(sigma2)
    with np.errstate(over="ignore"):
        return shaped(np.ldexp(factor / ratio / mantissa, spectrum.exponent - power), shape)


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
    :math:`O((N/d)^{k-1})`. Rounding of k units, infinite where it overflows.
    Then the gap at small noise is :math:`N/(x\sigma^2)\propto N^{1-k}`. Merger and Goldt
    2025, MG-V2.x.

    Examples
    --------
    >>> print(f"{power_law_scale(10, 2.0):.2f}")
    44.68
    """
    n, amplitude = as_samples(n_samples), np.asarray(_check.positive("amplitude", amplitude))
    k = np.asarray(_check.positive("exponent", exponent))
    if np.any(k <= 1):
        raise ValueError("`exponent` must be above 1; otherwise the scale depends on d")
    # The sine of the smaller one of two angles that add up to pi.
    sine = np.sin(np.pi * np.minimum(1.0 / k, (k - 1.0) / k))
    with np.errstate(over="ignore"):
        value = ((n + 0.5) * (k / np.pi * sine) / amplitude ** (1.0 / k)) ** k
    return float(value) if value.shape == () else value
