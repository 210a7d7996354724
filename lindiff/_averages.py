r"""Losses and divergences averaged over training sets; see `lindiff.equivalents`.

In units of :math:`\bar\alpha` the fitted denoiser is :math:`\sigma Q` with
:math:`Q=(\Sigma_0+z)^{-1}`, :math:`\sigma^2=(1-\bar\alpha)/\bar\alpha`, :math:`z=\sigma^2+c`.
All formulas are sums of positive terms in the signal and noise parts of `Modes`, in
:math:`s=\sigma^2/z` and :math:`r=c/z=1-s`.
"""

import numpy as np

from lindiff import _check, _one_loop
from lindiff._divergences import excess
from lindiff._kappa import as_modes, as_samples, broadcast, population
from lindiff._modes import (
    POPULATION,
    add_floor,
    average,
    corrected,
    degrees,
    evaluate,
    shaped,
    weakened,
)
from lindiff._traces import excess_of_kappa

_NARROW = 1e-8


def residual_loss(
    eigenvalues,
    n_samples,
    alpha_bar,
    *,
    floor=0.0,
    penalty=True,
    estimated_mean=False,
    multiplicities=None,
    one_loop=False,
):
    r"""Average loss that the fitted denoiser leaves on its own training set.

    .. math:: \langle R\rangle\simeq d-\sigma^2\sum_\nu\frac1{E_\nu},\qquad
              \langle R'\rangle=\langle R\rangle-c\sigma^2\langle\mathrm{Tr}\,Q^2\rangle

    with :math:`E=\kappa\lambda+z`, :math:`\sigma^2=(1-\bar\alpha)/\bar\alpha`,
    :math:`z=\sigma^2+c`.

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        Population eigenvalues :math:`\lambda_\nu\ge0`.
    n_samples, alpha_bar, floor : array_like
        Number of samples N >= 1, squared signal coefficient in (0, 1], variance floor
        :math:`c\ge0` of the denoiser. They broadcast.
    penalty : bool
        Whether the ridge penalty :math:`\bar\alpha c\lVert W\rVert^2` is part of the loss:
        R with it, R' without. `training_loss` is R'.
    estimated_mean : bool
        Whether the mean of the training set is subtracted. That leaves N - 1 degrees of
        freedom, while :math:`\Sigma_0` stays normalised by N >= 2.
    multiplicities : array_like, shape (d,), optional
        How often each eigenvalue occurs; ones by default.
    one_loop : bool
        Whether to add the first finite-size correction.

    Returns
    -------
    float or numpy.ndarray
        Total over dimensions, of the shape to which N, `alpha_bar` and `floor` broadcast.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    Rounding error below 1e-12 relative at every level, since no terms of opposite sign are
    added: :math:`R=\sum f+r\sum h` and
    :math:`R'=\sum f+r^2\sum h^2+r\,(\frac\kappa P+rk)\sum fh`, with
    :math:`k=\sum fh/(NP)`. The theory's own error is
    :math:`O(1/N)` relative, :math:`O(1/N^2)` with the correction. At :math:`\bar\alpha=1`
    without a floor the limit is min(N, rank). Holds for eigenvalues over 300 decades at any
    scale, every N >= 1 and every floor; totals below 1e-290 lose digits. Merger and Goldt
    2025, MG-9, MG-D.18, MG-X1.

    Examples
    --------
    >>> print(f"{residual_loss([1.0, 1.0], 4, 0.5):.4f}")
    0.8769
    """

    def formula(modes, noise, ridge, _):
        if not penalty:
            return _training(modes, noise, ridge, one_loop)
        value = modes.moment(1, 0) + ridge * modes.moment(0, 1)
        if not one_loop:
            return value
        return corrected(value, -noise * _one_loop.first(modes), modes.kappa > 0)

    setting = eigenvalues, n_samples, alpha_bar, floor, multiplicities
    return average(formula, *setting, estimated_mean)


def _training(modes, noise, ridge, one_loop):
    response = modes.response()
    kept = np.divide(modes.kappa, modes.stiffness, out=np.ones_like(response), where=ridge > 0)
    value = modes.moment(1, 0) + ridge**2 * modes.moment(0, 2)
    value += ridge * modes.mixed * (kept + ridge * response)
    if not one_loop:
        return value
    change = -noise * (_one_loop.first(modes) + ridge * _one_loop.second(modes))
    return corrected(value, change, modes.kappa > 0)


def training_loss(
    eigenvalues,
    n_samples,
    alpha_bar,
    *,
    floor=0.0,
    estimated_mean=False,
    multiplicities=None,
    one_loop=False,
):
    r"""Average denoising error on the training set, without the ridge penalty.

    .. math:: \langle R'\rangle=\big\langle\lVert\mathbb 1-\sigma^2Q\rVert_F^2
              +\sigma^2\,\mathrm{Tr}\,\Sigma_0Q^2\big\rangle

    Parameters
    ----------
    eigenvalues, n_samples, alpha_bar, floor, estimated_mean, multiplicities, one_loop
        As in `residual_loss`.

    Returns
    -------
    float or numpy.ndarray
        ``residual_loss(..., penalty=False)``; equal to the residual loss without a floor.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    The loss that the test loss is to be compared with. Accurate where `residual_loss` is.
    Merger and Goldt 2025, MG-9, MG-D.18.

    Examples
    --------
    >>> print(f"{training_loss([1.0, 1.0], 4, 0.5, floor=0.5):.4f}")
    0.9413
    """
    return residual_loss(
        eigenvalues,
        n_samples,
        alpha_bar,
        floor=floor,
        penalty=False,
        estimated_mean=estimated_mean,
        multiplicities=multiplicities,
        one_loop=one_loop,
    )


def test_loss(
    eigenvalues,
    n_samples,
    alpha_bar,
    *,
    floor=0.0,
    estimated_mean=False,
    multiplicities=None,
    one_loop=False,
):
    r"""Average denoising error on new points.

    .. math:: \langle L\rangle=d-2\sigma^2\langle\mathrm{Tr}\,Q\rangle
              +\sigma^2\langle\mathrm{Tr}\,(\Sigma+\sigma^2)Q^2\rangle
              \simeq\sum_\nu(f_\nu+rh_\nu)^2+s^2k\sum_\nu f_\nu h_\nu
              +\frac{s}{\kappa P}\sum_\nu f_\nu h_\nu

    with :math:`f=\kappa\lambda/E`, :math:`h=z/E`, :math:`E=\kappa\lambda+z`,
    :math:`s=\sigma^2/z`, :math:`r=c/z`, :math:`P=\kappa+\frac1N\sum fh`, :math:`k=\sum fh/(NP)`.

    Implements eq. (7.18).

    Parameters
    ----------
    eigenvalues, n_samples, alpha_bar, floor, estimated_mean, multiplicities, one_loop
        As in `residual_loss`.

    Returns
    -------
    float or numpy.ndarray
        Total over dimensions, of the shape to which N, `alpha_bar` and `floor` broadcast.
        Infinite at :math:`\bar\alpha=1` without a floor if N is not above the rank.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    With an estimated mean :math:`\Sigma` becomes :math:`(1+\frac1N)\Sigma`, since that mean
    varies by :math:`\Sigma/N`. Accuracy as in `residual_loss`. Where few modes carry the
    signal the leading order misses a share of the excess that does not vanish with N; see
    `alignment_many_samples`, or use `one_loop`. Merger and Goldt 2025, MG-13, MG-X1.

    Examples
    --------
    >>> print(f"{test_loss([1.0, 1.0], 4, 0.5):.4f}")
    1.1493
    """

    def formula(modes, noise, ridge, _):
        seen = 1.0 + _of_mean(modes, estimated_mean)
        value = modes.total((modes.signal + ridge[:, None] * modes.noise) ** 2)
        value += noise**2 * modes.response() * modes.mixed
        value += seen * unseen(modes, noise)
        if not one_loop:
            return value
        change = noise * _one_loop.second(modes) - 2.0 * _one_loop.first(modes)
        change = change + seen * _one_loop.second(modes, POPULATION)
        return corrected(value, noise * change, modes.kappa > 0)

    setting = eigenvalues, n_samples, alpha_bar, floor, multiplicities
    return average(formula, *setting, estimated_mean)


# The name must not make test runners collect it.
test_loss.__test__ = False


def unseen(modes, noise):
    r"""sigma^2 times the trace of Sigma Q^2."""
    return weakened(noise * modes.mixed / modes.stiffness, noise, modes.kappa)


def _of_mean(modes, estimated_mean):
    r"""What the mean adds to this trace: :math:`(1+\frac1N)/a=1+\frac2{N-1}`, without the 1."""
    return 2.0 / modes.n if estimated_mean else 0.0


def gap(
    eigenvalues,
    n_samples,
    alpha_bar,
    *,
    floor=0.0,
    penalty=False,
    estimated_mean=False,
    multiplicities=None,
    one_loop=False,
):
    r"""Average difference between test and training loss.

    .. math:: \langle L-R'\rangle=\sigma^2\langle\mathrm{Tr}\,(\Sigma-\Sigma_0)Q^2\rangle
              \simeq s\,\frac{1+\kappa}{\kappa P}\;\frac1N\sum_\nu f_\nu\sum_\mu f_\mu h_\mu

    Parameters
    ----------
    eigenvalues, n_samples, alpha_bar, floor, estimated_mean, multiplicities, one_loop
        As in `residual_loss`; symbols as in `test_loss`.
    penalty : bool
        Whether to subtract the residual loss that counts the ridge penalty, R instead of
        R'; this difference can be negative.

    Returns
    -------
    float or numpy.ndarray
        Total over dimensions, of the shape to which N, `alpha_bar` and `floor` broadcast.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    Not a difference of two losses, so it keeps 12 digits when N is large; the range is that of
    `residual_loss`. The formula holds with any floor; the mean enters as in `test_loss`.
    Merger and Goldt 2025, MG-10, MG-13, MG-X1.

    Examples
    --------
    >>> print(f"{gap([1.0, 1.0], 4, 0.5):.4f}")
    0.2724
    """

    def formula(modes, noise, ridge, _):
        mean = _of_mean(modes, estimated_mean)
        value = (mean + (1.0 + modes.kappa) * modes.loss) * unseen(modes, noise)
        if penalty:
            squares = modes.moment(0, 2) + modes.response() * modes.mixed
            value = value - noise * ridge * squares
        if not one_loop:
            return value
        change = (1.0 + mean) * _one_loop.second(modes, POPULATION) - _one_loop.first(modes)
        change = change + _one_loop.second(modes) * (1.0 - ridge if penalty else 1.0)
        return corrected(value, noise * change, modes.kappa > 0)

    setting = eigenvalues, n_samples, alpha_bar, floor, multiplicities
    return average(formula, *setting, estimated_mean)


def kl(
    eigenvalues,
    n_samples,
    *,
    floor=0.0,
    reverse=False,
    estimated_mean=False,
    multiplicities=None,
    one_loop=False,
):
    r"""Average divergence of the model's law from the truth, or of the truth from the model's.

    .. math:: \langle\mathrm{KL}(\rho\,\|\,\rho_N)\rangle
              \simeq\tfrac12\Big\{\frac{N(1-\kappa)}{\kappa}-d
              +\sum_\nu\ln\Big(\kappa+\frac{c}{\lambda_\nu}\Big)-N\ln\kappa-N(1-\kappa)\Big\}

    .. math:: \langle\mathrm{KL}(\rho_N\,\|\,\rho)\rangle
              \simeq\tfrac12\Big\{\sum_\nu\frac c{\lambda_\nu}
              -\sum_\nu\ln\Big(\kappa+\frac{c}{\lambda_\nu}\Big)+N\ln\kappa+N(1-\kappa)\Big\}

    where :math:`\rho=\mathcal N(0,\Sigma)`, :math:`\rho_N=\mathcal N(0,\Sigma_0+c)` and
    :math:`\kappa` belongs to :math:`z=c`.

    Parameters
    ----------
    eigenvalues, n_samples, floor, multiplicities, one_loop
        As in `residual_loss`.
    reverse : bool
        Whether the average over points is the model's: :math:`\mathrm{KL}(\rho_N\,\|\,\rho)`.
    estimated_mean : bool
        Whether the model's mean is that of the training set. Then :math:`\Sigma_0` has N - 1
        degrees of freedom, and the distance of the means adds
        :math:`\frac1{2N}\langle\mathrm{Tr}\,\Sigma(\Sigma_0+c)^{-1}\rangle`, or
        :math:`\frac d{2N}` with the model first, as much as :math:`\Sigma_0` then lacks.

    Returns
    -------
    float or numpy.ndarray
        Total over dimensions in nats, of the shape to which `n_samples` and `floor` broadcast.
        Infinite if an eigenvalue is 0 and the floor is not, and without a floor if the degrees
        of freedom are not above the rank (with the model first: below the rank).

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    Computed as :math:`\frac12\{\sum e(y_\nu)+N\,e(\kappa-1)\}` with
    :math:`y=((1-\kappa)\lambda-c)/E` and :math:`e(x)=x-\ln(1+x)\ge0`, and
    :math:`\frac12\{\sum e(w_\nu)+d(1-\kappa)-N\,e(\kappa-1)\}` with
    :math:`w=\kappa-1+c/\lambda`, which keeps 12 digits however small the divergence is, for
    eigenvalues over 300 decades at any scale, every N >= 1 and every floor. For N > d + 1 and
    no floor `kl_wishart` is exact. Merger and Goldt 2025, MG-15, MG-D.20, MG-X1.

    Examples
    --------
    >>> print(f"{kl([1.0], 400, multiplicities=[100]):.3f}")
    9.819
    >>> print(f"{kl([1.0], 400, multiplicities=[100], reverse=True):.3f}")
    6.848
    """
    eigenvalues, counts = as_modes(eigenvalues, multiplicities)
    shape, (n, floor) = broadcast(
        n_samples=as_samples(n_samples, estimated_mean=estimated_mean),
        floor=_check.non_negative("floor", floor),
    )
    # Directions without variance are outside both laws without a floor, else they decide.
    used = eigenvalues > 0
    values = np.zeros(n.shape)
    if used.any():
        spectrum = population(eigenvalues[used], counts[used])
        freedom, kept = degrees(n, estimated_mean)
        route = _reversed if reverse else _truth_first

        def formula(modes, n, kept):
            return 0.5 * route(modes, n, kept, estimated_mean, one_loop)

        z = add_floor(0.0, floor, kept)
        values = evaluate(formula, spectrum, freedom, z, n, kept)
    if not used.all():
        values = np.where(floor > 0, np.inf, values)
    return shaped(values, shape)


def _truth_first(modes, n, kept, estimated_mean, one_loop):
    lost = modes.n * modes.loss / (kept * modes.kappa)
    shrunk, log = _shrunk(modes, n, kept), _log_model(modes, kept)
    shift = (shrunk / (kept * modes.kappa))[:, None] * modes.signal - modes.noise
    # Where the model is far too narrow the terms overflow before their sum, which is known.
    far = modes.kappa < _NARROW
    value = modes.total(np.where(far[:, None], log, _excess(shift, -log)))
    value += np.where(far, lost - modes.weights[0].sum(), 0.0) + modes.n * excess_of_kappa(modes)
    share = 1.0 / n if estimated_mean else np.zeros_like(n)
    value += np.where(share > 0, share * lost, 0.0)
    value = np.where(modes.kappa > 0, value, np.inf)
    if not one_loop:
        return value
    softness = modes.moment(2, 0) / modes.n
    bend = modes.moment(3, 0) - modes.moment(2, 1) * softness / modes.stiffness
    bend = bend / (modes.n * kept * modes.kappa * modes.stiffness)
    return corrected(value, (1.0 + share) * bend + 0.5 * modes.log_stiffness)


def _reversed(modes, n, kept, _, one_loop):
    rank, log = modes.weights[0].sum(), _log_model(modes, kept)
    floor = kept[:, None] * (modes.scaled_z[:, None] / modes.nodes)
    shrunk = _shrunk(modes, n, kept)
    # Where the floor is far above a variance the sum of the terms is known.
    far = floor.max(axis=1) > 1.0 / _NARROW
    kernel = np.where(far[:, None], -log, _excess(floor - shrunk[:, None], log))
    whole = np.ldexp(*_inverse_sum(modes)) * kept
    value = modes.total(kernel) + np.where(far, whole, rank * shrunk)
    value -= modes.n * excess_of_kappa(modes)
    least = np.where(modes.n < rank, np.inf, modes.n - rank * np.log(kept))
    value = np.where(modes.log_kappa > -np.inf, value, least)
    return corrected(value, -0.5 * modes.log_stiffness) if one_loop else value


def _inverse_sum(modes):
    """The floor times the sum of all inverse variances, as mantissas and exponents."""
    mantissa, power = np.frexp(modes.z)
    return mantissa * modes.total(1.0 / modes.nodes), power - modes.exponent


def _shrunk(modes, n, kept):
    r"""The part :math:`1-a\kappa` that a variance loses, without cancellation."""
    return kept * modes.loss + (n - modes.n) / n


def _log_model(modes, kept):
    r"""Logarithm of modelled over true variance, :math:`\ln(aE/\lambda)`."""
    noisy = modes.log_z[:, None] - np.log(modes.nodes) + np.log1p(modes.scaled)
    seen = modes.log_kappa[:, None] - np.log(modes.signal)
    return np.log(kept)[:, None] + np.where(modes.scaled < 1.0, noisy, seen)


def _excess(x, log):
    """x - log(1 + x), where the logarithm is known better than x far from zero."""
    return np.where(np.abs(x) < 0.5, excess(np.clip(x, -0.5, 0.5)), x - log)
