r"""Distances between denoisers that saw different data; see `lindiff.equivalents`."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lindiff import _check, _one_loop
from lindiff._averages import unseen
from lindiff._kappa import as_modes, as_samples, broadcast, population, solve
from lindiff._modes import (
    POPULATION,
    Modes,
    add_floor,
    corrected,
    degrees,
    evaluate,
    noise_levels,
    shaped,
    shares,
    weakened,
)


def alignment(
    eigenvalues,
    n_samples,
    alpha_bar,
    *,
    floor=0.0,
    reference_floor=0.0,
    estimated_mean=False,
    multiplicities=None,
    one_loop=False,
):
    r"""Average squared distance between the noise seen by a fitted and by the best denoiser.

    .. math:: \langle\Delta\rangle=\sigma^2\big\langle\mathrm{Tr}\,(\Sigma+\sigma^2)(Q-Q_0)^2
              \big\rangle,\qquad Q_0=(\Sigma+\sigma^2+c_0)^{-1}

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        Population eigenvalues :math:`\lambda_\nu\ge0`.
    n_samples, alpha_bar, floor : array_like
        Number of samples N >= 1, squared signal coefficient in (0, 1], variance floor
        :math:`c\ge0` of the fitted denoiser.
    reference_floor : array_like
        Variance floor :math:`c_0\ge0` of the reference, which knows the population. All four
        broadcast.
    estimated_mean : bool
        Whether the mean of the training set is subtracted. That leaves N - 1 degrees of
        freedom, while :math:`\Sigma_0` stays normalised by N >= 2, and the error of the mean
        adds :math:`\frac{\sigma^2}N\langle\mathrm{Tr}\,\Sigma Q^2\rangle`.
    multiplicities : array_like, shape (d,), optional
        How often each eigenvalue occurs; ones by default.
    one_loop : bool
        Whether to add the first finite-size correction.

    Returns
    -------
    float or numpy.ndarray
        Total over dimensions, averaged over noised test points and training sets, of the
        shape to which N, `alpha_bar` and the floors broadcast.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    Bias plus variance,
    :math:`\sigma^2\sum(\lambda+\sigma^2)\big(\frac1E-\frac1{\lambda+\sigma^2+c_0}\big)^2
    +sk\,\big(\frac1\kappa\sum f^2+s\sum fh\big)`, symbols as in `test_loss`; no cancellation,
    in the range of `residual_loss`.
    With :math:`c_0=0` it differs from the test loss by a number that does not depend on N.
    Merger and Goldt 2025, MG-14, MG-X1.

    Examples
    --------
    >>> print(f"{alignment([1.0, 1.0], 4, 0.5):.4f}")
    0.1493
    """
    spectrum = population(*as_modes(eigenvalues, multiplicities))
    shape, (n, sigma2, floor, reference) = broadcast(
        n_samples=as_samples(n_samples, estimated_mean=estimated_mean),
        alpha_bar=noise_levels(alpha_bar),
        floor=_check.non_negative("floor", floor),
        reference_floor=_check.non_negative("reference_floor", reference_floor),
    )
    freedom, kept = degrees(n, estimated_mean)
    # The best denoiser is that of infinitely many samples, whose kappa is 1.
    known, one = add_floor(sigma2, reference, 1.0, "reference_floor"), np.ones(n.shape)
    with np.errstate(divide="ignore", over="ignore"):
        ratio = np.ldexp(1.0 / known, spectrum.exponent)
    second = np.full(n.shape, np.inf), known, ratio, one
    fits = n, kept, sigma2, floor, np.full(n.shape, np.inf), one, sigma2, reference

    def formula(modes, *arrays):
        fit, best = _fits(modes, arrays)
        value = fit.infinite(_bias(fit, best) + _variance(fit, estimated_mean))
        if not one_loop:
            return value
        change = _correction(fit, best, estimated_mean)
        return corrected(value, change, fit.modes.kappa > 0)

    z = add_floor(sigma2, floor, kept)
    return shaped(evaluate(formula, spectrum, freedom, z, *second, *fits), shape)


def alignment_pair(
    eigenvalues,
    n_samples,
    n_samples_other,
    alpha_bar,
    *,
    floor=0.0,
    floor_other=None,
    estimated_mean=False,
    multiplicities=None,
    one_loop=False,
):
    r"""Average squared distance between denoisers fitted on two disjoint training sets.

    .. math:: \langle\Delta\rangle=\sigma^2\big\langle\mathrm{Tr}\,(\Sigma+\sigma^2)(Q-Q')^2
              \big\rangle

    Parameters
    ----------
    eigenvalues, n_samples, alpha_bar, floor, estimated_mean, multiplicities, one_loop
        As in `alignment`; each set has its own mean.
    n_samples_other : array_like
        Number of samples N' >= 1 of the second set.
    floor_other : array_like, optional
        Variance floor of the second denoiser; `floor` by default.

    Returns
    -------
    float or numpy.ndarray
        Total over dimensions, of the shape to which the numbers of samples, `alpha_bar`
        and the floors broadcast.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    The variances of both denoisers and the squared distance of their averages. What one
    measures on images, where no population optimum is known. Accurate where `alignment` is.
    Merger and Goldt 2025, MG-14d, MG-X1.

    Examples
    --------
    >>> print(f"{alignment_pair([1.0, 1.0], 4, 4, 0.5):.4f}")
    0.2683
    """
    spectrum = population(*as_modes(eigenvalues, multiplicities))
    other = floor if floor_other is None else floor_other
    shape, (n, n_other, sigma2, floor, other) = broadcast(
        n_samples=as_samples(n_samples, estimated_mean=estimated_mean),
        n_samples_other=as_samples(
            n_samples_other, "n_samples_other", estimated_mean=estimated_mean
        ),
        alpha_bar=noise_levels(alpha_bar),
        floor=_check.non_negative("floor", floor),
        floor_other=_check.non_negative("floor_other", other),
    )
    (freedom, kept), (freedom_other, kept_other) = (
        degrees(count, estimated_mean) for count in (n, n_other)
    )
    z_other = add_floor(sigma2, other, kept_other, "floor_other")
    second = freedom_other, z_other, *solve(spectrum, freedom_other, z_other)
    fits = n, kept, sigma2, floor, n_other, kept_other, sigma2, other

    def formula(modes, *arrays):
        fit, twin = _fits(modes, arrays)
        value = _bias(fit, twin) + _variance(fit, estimated_mean)
        value = twin.infinite(fit.infinite(value + _variance(twin, estimated_mean)))
        if not one_loop:
            return value
        change = _correction(fit, twin, estimated_mean) + _correction(twin, fit, estimated_mean)
        return corrected(value, change, (fit.modes.kappa > 0) & (twin.modes.kappa > 0))

    z = add_floor(sigma2, floor, kept)
    return shaped(evaluate(formula, spectrum, freedom, z, *second, *fits), shape)


@dataclass(frozen=True, eq=False)
class _Fit:
    r"""One denoiser: its modes, N, a (see `average`), the noise and its floor."""

    modes: Modes
    n: np.ndarray
    kept: np.ndarray
    sigma2: np.ndarray
    floor: np.ndarray

    @cached_property
    def share(self):
        return shares(self.sigma2, self.floor)[0]

    @cached_property
    def noise(self):
        r""":math:`\sigma^2/E`, shape (B, m)."""
        return self.share[:, None] * self.modes.noise

    @cached_property
    def kappa(self):
        return self.kept * self.modes.kappa

    @cached_property
    def shrunk(self):
        r"""The part :math:`1-a\kappa` that a variance loses, without cancellation."""
        lost = np.where(self.n > self.modes.n, 1.0 / self.n, 0.0)
        return self.kept * self.modes.loss + lost

    def infinite(self, value):
        return np.where((self.modes.kappa > 0) | (self.share == 0), value, np.inf)


def _fits(modes, arrays):
    """The denoiser of `modes` and a second one of the same population."""
    second, first, other = arrays[:4], arrays[4:8], arrays[8:]
    twin = Modes(modes.nodes, modes.weights, modes.exponent, *second)
    return _Fit(modes, *first), _Fit(twin, *other)


def _difference(fit, twin):
    r""":math:`(E'-E)/E'` for E of the first and E' of the second fit, shape (B, m)."""
    near = twin.kappa > 0.5
    signal = np.where(near, fit.shrunk - twin.shrunk, twin.kappa - fit.kappa) / twin.kappa
    floor = twin.floor - fit.floor
    noise = np.where(floor == 0, 0.0, floor / (twin.sigma2 + twin.floor))
    noise = np.where(twin.modes.noise > 0, noise[:, None] * twin.modes.noise, 0.0)
    return np.where(twin.modes.signal > 0, signal[:, None] * twin.modes.signal, 0.0) + noise


def _bias(fit, twin):
    r"""Squared distance of the averages, :math:`\sum\sigma^2(\lambda+\sigma^2)(1/E-1/E')^2`."""
    difference = _difference(fit, twin)
    near = np.abs(difference) <= 1.0
    square = np.where(near, difference, 0.0) ** 2
    # In units of the smaller kappa nothing overflows before the sum.
    unit = np.minimum(fit.kappa, twin.kappa)
    own, other = (
        np.where(x.kappa > 0, unit / x.kappa, 1.0)[:, None] * x.modes.signal for x in (fit, twin)
    )
    apart = fit.noise - twin.noise
    signal = np.where(near, fit.noise * own * square, apart * (own - other))
    noise = np.where(near, fit.noise**2 * square, apart**2)
    signal, noise = fit.modes.total(signal), fit.modes.total(noise)
    return noise + np.where(signal == 0, 0.0, signal / unit)


def _variance(fit, estimated_mean):
    r"""Part of the distance that comes from the draw of the training set."""
    modes, share = fit.modes, fit.share
    weighted = weakened(share * modes.moment(2, 0), share, fit.kappa) + share**2 * modes.mixed
    value = modes.response() * weighted
    return value + unseen(modes, share) / modes.n if estimated_mean else value


def _correction(fit, twin, estimated_mean):
    r"""First finite-size correction of the draw of the training set of `fit`."""
    modes = fit.modes
    weight = 1.0 / fit.kept + (1.0 / modes.n if estimated_mean else 0.0)
    change = weight * _one_loop.second(modes, POPULATION) + fit.share * _one_loop.second(modes)
    other = twin.modes.signal / twin.kappa[:, None] + twin.noise
    change = change - 2.0 * _one_loop.first(modes, other)
    return np.where(fit.share > 0, fit.share * change, 0.0)
