r"""Losses and divergences averaged over training sets; see `lindiff.equivalents`.

In units of :math:`\bar\alpha` the fitted denoiser is :math:`\sigma Q` with
:math:`Q=(\Sigma_0+z)^{-1}`, :math:`\sigma^2=(1-\bar\alpha)/\bar\alpha`, :math:`z=\sigma^2+c`.
All formulas are sums of positive terms in the signal and noise parts of `Modes`, in
:math:`s=\sigma^2/z` and :math:`r=c/z=1-s`.
"""

import numpy as np

from lindiff import _one_loop
from lindiff._divergences import excess
from lindiff._modes import POPULATION, average, corrected
from lindiff._traces import excess_of_kappa


def residual_loss(
    eigenvalues,
    n_samples,
    alpha_bar,
    *,
    floor=0.0,
    penalty=True,
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
    without a floor the limit is min(N, rank). Merger and Goldt 2025, MG-9, MG-D.18, MG-X1.

    Examples
    --------
    >>> print(f"{residual_loss([1.0, 1.0], 4, 0.5):.4f}")
    0.8769
    """

    def formula(modes, noise, ridge):
        if not penalty:
            return _training(modes, noise, ridge, one_loop)
        value = modes.moment(1, 0) + ridge * modes.moment(0, 1)
        return corrected(modes, value, -noise * _one_loop.first(modes)) if one_loop else value

    return average(formula, eigenvalues, n_samples, alpha_bar, floor, multiplicities)


def _training(modes, noise, ridge, one_loop):
    response = modes.response()
    kept = np.divide(modes.kappa, modes.stiffness, out=np.ones_like(response), where=ridge > 0)
    value = modes.moment(1, 0) + ridge**2 * modes.moment(0, 2)
    value += ridge * modes.mixed * (kept + ridge * response)
    if not one_loop:
        return value
    change = -noise * (_one_loop.first(modes) + ridge * _one_loop.second(modes))
    return corrected(modes, value, change)


def training_loss(
    eigenvalues, n_samples, alpha_bar, *, floor=0.0, multiplicities=None, one_loop=False
):
    r"""Average denoising error on the training set, without the ridge penalty.

    .. math:: \langle R'\rangle=\big\langle\lVert\mathbb 1-\sigma^2Q\rVert_F^2
              +\sigma^2\,\mathrm{Tr}\,\Sigma_0Q^2\big\rangle

    Parameters
    ----------
    eigenvalues, n_samples, alpha_bar, floor, multiplicities, one_loop
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
    The loss that the test loss is to be compared with. Merger and Goldt 2025, MG-9, MG-D.18.

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
        multiplicities=multiplicities,
        one_loop=one_loop,
    )


def test_loss(eigenvalues, n_samples, alpha_bar, *, floor=0.0, multiplicities=None, one_loop=False):
    r"""Average denoising error on new points.

    .. math:: \langle L\rangle=d-2\sigma^2\langle\mathrm{Tr}\,Q\rangle
              +\sigma^2\langle\mathrm{Tr}\,(\Sigma+\sigma^2)Q^2\rangle
              \simeq\sum_\nu(f_\nu+rh_\nu)^2+s^2k\sum_\nu f_\nu h_\nu
              +\frac{s}{\kappa P}\sum_\nu f_\nu h_\nu

    with :math:`f=\kappa\lambda/E`, :math:`h=z/E`, :math:`E=\kappa\lambda+z`,
    :math:`s=\sigma^2/z`, :math:`r=c/z`, :math:`P=\kappa+\frac1N\sum fh`, :math:`k=\sum fh/(NP)`.

    Parameters
    ----------
    eigenvalues, n_samples, alpha_bar, floor, multiplicities, one_loop
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
    Accuracy as in `residual_loss`. Where few modes carry the signal the leading order misses
    a share of the excess that does not vanish with N; see `alignment_many_samples`, or
    use `one_loop`. Merger and Goldt 2025, MG-13, MG-X1.

    Examples
    --------
    >>> print(f"{test_loss([1.0, 1.0], 4, 0.5):.4f}")
    1.1493
    """

    def formula(modes, noise, ridge):
        value = modes.total((modes.signal + ridge[:, None] * modes.noise) ** 2)
        value += noise**2 * modes.response() * modes.mixed
        value += noise * _unseen(modes)
        if not one_loop:
            return value
        change = _one_loop.second(modes, POPULATION) + noise * _one_loop.second(modes)
        return corrected(modes, value, noise * (change - 2.0 * _one_loop.first(modes)))

    return average(formula, eigenvalues, n_samples, alpha_bar, floor, multiplicities)


# The name must not make test runners collect it.
test_loss.__test__ = False


def _unseen(modes):
    r"""z times the trace of Sigma Q^2."""
    return np.where(modes.kappa > 0, modes.mixed / (modes.kappa * modes.stiffness), np.inf)


def gap(
    eigenvalues,
    n_samples,
    alpha_bar,
    *,
    floor=0.0,
    penalty=False,
    multiplicities=None,
    one_loop=False,
):
    r"""Average difference between test and training loss.

    .. math:: \langle L-R'\rangle=\sigma^2\langle\mathrm{Tr}\,(\Sigma-\Sigma_0)Q^2\rangle
              \simeq s\,\frac{1+\kappa}{\kappa P}\;\frac1N\sum_\nu f_\nu\sum_\mu f_\mu h_\mu

    Parameters
    ----------
    eigenvalues, n_samples, alpha_bar, floor, multiplicities, one_loop
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
    Not a difference of two losses, so it keeps 12 digits when N is large. The formula holds
    with any floor. Merger and Goldt 2025, MG-10, MG-13, MG-X1.

    Examples
    --------
    >>> print(f"{gap([1.0, 1.0], 4, 0.5):.4f}")
    0.2724
    """

    def formula(modes, noise, ridge):
        value = noise * (1.0 + modes.kappa) * _unseen(modes) * modes.loss
        change = _one_loop.second(modes, POPULATION) - _one_loop.first(modes)
        change = change + _one_loop.second(modes)
        if penalty:
            squares = modes.moment(0, 2) + modes.response() * modes.mixed
            value = value - noise * ridge * squares
            change = change - ridge * _one_loop.second(modes)
        return corrected(modes, value, noise * change) if one_loop else value

    return average(formula, eigenvalues, n_samples, alpha_bar, floor, multiplicities)


def kl(
    eigenvalues,
    n_samples,
    *,
    floor=0.0,
    estimated_mean=False,
    multiplicities=None,
    one_loop=False,
):
    r"""Average divergence of the model's law from the truth, truth first.

    .. math:: \langle\mathrm{KL}(\rho\,\|\,\rho_N)\rangle
              \simeq\tfrac12\Big\{\frac{N(1-\kappa)}{\kappa}-d
              +\sum_\nu\ln\Big(\kappa+\frac{c}{\lambda_\nu}\Big)-N\ln\kappa-N(1-\kappa)\Big\}

    where :math:`\rho=\mathcal N(0,\Sigma)`, :math:`\rho_N=\mathcal N(0,\Sigma_0+c)` and
    :math:`\kappa` belongs to :math:`z=c`.

    Parameters
    ----------
    eigenvalues, n_samples, floor, multiplicities, one_loop
        As in `residual_loss`.
    estimated_mean : bool
        Whether the model's mean is that of the training set. Adds
        :math:`\frac1{2N}\langle\mathrm{Tr}\,\Sigma(\Sigma_0+c)^{-1}\rangle`; that the fitted
        covariance then has N - 1 degrees of freedom is left out.

    Returns
    -------
    float or numpy.ndarray
        Total over dimensions in nats, of the shape to which `n_samples` and `floor` broadcast.
        Infinite if an eigenvalue is 0 and the floor is not, and without a floor if N is not
        above the rank.

    Raises
    ------
    ValueError
        If an argument is out of range or shapes do not fit.

    Notes
    -----
    Computed as :math:`\frac12\{\sum e(y_\nu)+N\,e(\kappa-1)\}` with
    :math:`y=((1-\kappa)\lambda-c)/E` and :math:`e(x)=x-\ln(1+x)\ge0`, which keeps 12
    digits however small the divergence is. For N > d + 1 and no floor `kl_wishart` is
    exact. Merger and Goldt 2025, MG-15, MG-D.20, MG-X1.

    Examples
    --------
    >>> print(f"{kl([1.0], 400, multiplicities=[100]):.3f}")
    9.819
    """

    def formula(modes, noise, ridge):
        value = 0.5 * (modes.total(_misfit(modes)) + modes.n * excess_of_kappa(modes))
        lost = modes.n * modes.loss / modes.kappa
        if one_loop:
            softness = modes.moment(2, 0) / modes.n
            bend = modes.moment(3, 0) - modes.moment(2, 1) * softness / modes.stiffness
            bend = bend / (modes.n * modes.kappa * modes.stiffness)
            lost = lost + bend
            value = value + 0.5 * (bend + 0.5 * modes.log_stiffness)
        if estimated_mean:
            value = value + 0.5 * lost / modes.n
        return np.where(modes.kappa > 0, value, np.inf)

    return average(formula, eigenvalues, n_samples, 1.0, floor, multiplicities)


def _misfit(modes):
    r"""e(y) per mode for the ratio 1 + y of true to modelled variance."""
    modelled = modes.kappa[:, None] * modes.nodes + modes.z[:, None]
    safe = np.where(modelled > 0, modelled, 1.0)
    shift = (modes.loss[:, None] * modes.nodes - modes.z[:, None]) / safe
    # Where the model is far too wide 1 + y is known better than y.
    direct = shift - np.log(modes.nodes / safe)
    return np.where(np.abs(shift) < 0.5, excess(np.clip(shift, -0.5, 0.5)), direct)
