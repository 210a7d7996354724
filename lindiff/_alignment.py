r"""Distances between denoisers that saw different data; see `lindiff.equivalents`."""

import numpy as np

from lindiff import _check, _one_loop
from lindiff._compressed import compress
from lindiff._kappa import as_modes, as_samples, broadcast, solve
from lindiff._modes import POPULATION, Modes, corrected, evaluate, shaped, shares


def alignment(
    eigenvalues,
    n_samples,
    alpha_bar,
    *,
    floor=0.0,
    reference_floor=0.0,
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
    +sk\,\big(\frac1\kappa\sum f^2+s\sum fh\big)`, symbols as in `test_loss`; no cancellation.
    With :math:`c_0=0` it differs from the test loss by a number that does not depend on N.
    Merger and Goldt 2025, MG-14, MG-X1.

    Examples
    --------
    >>> print(f"{alignment([1.0, 1.0], 4, 0.5):.4f}")
    0.1493
    """
    eigenvalues, counts = as_modes(eigenvalues, multiplicities)
    shape, (n, level, floor, reference) = broadcast(
        n_samples=as_samples(n_samples),
        alpha_bar=_check.alpha_bar(alpha_bar),
        floor=_check.non_negative("floor", floor),
        reference_floor=_check.non_negative("reference_floor", reference_floor),
    )
    sigma2 = (1.0 - level) / level

    def formula(modes, noise, sigma2, floor, reference):
        sigma2, shift = sigma2[:, None], (reference - floor)[:, None]
        known = modes.nodes + sigma2 + reference[:, None]
        safe = np.where(known > 0, known, 1.0)
        bias = (modes.loss[:, None] * modes.nodes + shift) / safe
        value = _bias(modes, noise, bias) + _variance(modes, noise)
        if not one_loop:
            return value
        cross = _one_loop.first(modes, (modes.nodes + sigma2) / safe)
        return corrected(modes, value, noise * (_fluctuation(modes, noise) - 2.0 * cross))

    noise = shares(sigma2, floor)[0]
    parameters = noise, sigma2, floor, reference
    spectrum = compress(eigenvalues, counts)
    return shaped(evaluate(formula, spectrum, n, sigma2 + floor, *parameters), shape)


def alignment_pair(
    eigenvalues,
    n_samples,
    n_samples_other,
    alpha_bar,
    *,
    floor=0.0,
    floor_other=None,
    multiplicities=None,
    one_loop=False,
):
    r"""Average squared distance between denoisers fitted on two disjoint training sets.

    .. math:: \langle\Delta\rangle=\sigma^2\big\langle\mathrm{Tr}\,(\Sigma+\sigma^2)(Q-Q')^2
              \big\rangle

    Parameters
    ----------
    eigenvalues, n_samples, alpha_bar, floor, multiplicities, one_loop
        As in `alignment`.
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
    measures on images, where no population optimum is known. Merger and Goldt 2025,
    MG-14d, MG-X1.

    Examples
    --------
    >>> print(f"{alignment_pair([1.0, 1.0], 4, 4, 0.5):.4f}")
    0.2683
    """
    eigenvalues, counts = as_modes(eigenvalues, multiplicities)
    other = floor if floor_other is None else floor_other
    shape, (n, n_other, level, floor, other) = broadcast(
        n_samples=as_samples(n_samples),
        n_samples_other=as_samples(n_samples_other, "n_samples_other"),
        alpha_bar=_check.alpha_bar(alpha_bar),
        floor=_check.non_negative("floor", floor),
        floor_other=_check.non_negative("floor_other", other),
    )
    sigma2 = (1.0 - level) / level
    spectrum, z_other = compress(eigenvalues, counts), sigma2 + other

    def formula(modes, noise, noise_other, sigma2, *second):
        twin = Modes(modes.nodes, modes.weights, *second)
        model, twin_model = _modelled(modes), _modelled(twin)
        shift = (modes.loss - twin.loss)[:, None] * modes.nodes + (twin.z - modes.z)[:, None]
        value = _bias(modes, noise, shift / twin_model)
        value += _variance(modes, noise) + _variance(twin, noise_other)
        if not one_loop:
            return value
        noised = modes.nodes + sigma2[:, None]
        change = _fluctuation(modes, noise) - 2.0 * _one_loop.first(modes, noised / twin_model)
        twin_change = _fluctuation(twin, noise_other)
        twin_change = twin_change - 2.0 * _one_loop.first(twin, noised / model)
        value = corrected(modes, value, noise * change)
        return corrected(twin, value, noise_other * twin_change)

    parameters = shares(sigma2, floor)[0], shares(sigma2, other)[0], sigma2
    second = n_other, z_other, *solve(spectrum, n_other, z_other)
    values = evaluate(formula, spectrum, n, sigma2 + floor, *parameters, *second)
    return shaped(values, shape)


def _modelled(modes):
    """E of each mode, with 1 where it vanishes."""
    model = modes.kappa[:, None] * modes.nodes + modes.z[:, None]
    return np.where(model > 0, model, 1.0)


def _bias(modes, noise, difference):
    r"""Sum of :math:`\sigma^2(\lambda+\sigma^2)(D/E)^2` for a difference D of shape (B, m)."""
    signal, share = modes.signal, noise[:, None]
    scale = np.where(modes.kappa > 0, modes.kappa, np.inf)[:, None]
    return modes.total(share * modes.noise * (signal / scale + share * modes.noise) * difference**2)


def _variance(modes, noise):
    r"""Part of the distance that comes from the draw of the training set."""
    weighted = modes.moment(2, 0) / modes.kappa + noise * modes.mixed
    return noise * modes.response() * weighted


def _fluctuation(modes, noise):
    r"""Correction of the trace of (Sigma + sigma^2) Q^2, in units of :math:`\sigma^2`."""
    return _one_loop.second(modes, POPULATION) + noise * _one_loop.second(modes)
