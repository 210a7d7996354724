"""Distances of denoisers along single directions of the pixel space."""

from dataclasses import dataclass

import numpy as np

from lindiff.nn import _evaluation as ev

_EDGES = (0, 5, 20, 60, 150)


@dataclass(frozen=True)
class Band:
    """Averages over the modes `first` to `last` (counted from 1, both included)."""

    first: int
    last: int
    delta: float
    gain_error: float
    relative_mse: float


@dataclass(frozen=True)
class DirectionWise:
    r"""Result of `direction_wise`: arrays of shape (k,), leading mode first.

    Attributes
    ----------
    eigenvalues : numpy.ndarray
        :math:`\lambda_i` of the Gaussian denoiser.
    residual : numpy.ndarray
        Error :math:`\lambda_i\sigma^2/(\lambda_i+\sigma^2)` that it leaves in mode i.
    delta, delta_se : numpy.ndarray
        Squared distance to the Gaussian denoiser over `residual`; NaN where that is zero.
    gain, gain_se : numpy.ndarray
        Slope of the denoised coefficient on the noisy one.
    wiener : numpy.ndarray
        Gain :math:`\lambda_i/(\lambda_i+\sigma^2)` of the Gaussian denoiser.
    mse, mse_se : numpy.ndarray
        Squared error of the denoiser along mode i.
    """

    eigenvalues: np.ndarray
    residual: np.ndarray
    delta: np.ndarray
    delta_se: np.ndarray
    gain: np.ndarray
    gain_se: np.ndarray
    wiener: np.ndarray
    mse: np.ndarray
    mse_se: np.ndarray

    def bands(self, edges=_EDGES):
        """Average over bands of modes.

        Parameters
        ----------
        edges : sequence of int
            Increasing, from 0: mode ``edges[j] + 1`` to ``edges[j + 1]`` form a band, and
            the last band takes the rest. Bands beyond the last mode are left out.

        Returns
        -------
        list of Band
            Means over the modes of delta, of gain minus the Wiener gain, and of the error
            over the linear residual; modes without variance do not count.

        Raises
        ------
        ValueError
            If the edges do not increase from 0.

        Notes
        -----
        Li, Dai and Qu 2024, L-30.
        """
        edges = [int(edge) for edge in edges]
        if not edges or edges[0] != 0 or np.any(np.diff(edges) <= 0):
            raise ValueError("`edges` must increase, starting from 0")
        k = len(self.eigenvalues)
        inner = [edge for edge in edges if edge < k]
        found = []
        for first, last in zip(inner, [*inner[1:], k], strict=True):
            kept = np.arange(first, last)[self.residual[first:last] > 0]
            if kept.size:
                relative = self.mse[kept] / self.residual[kept]
                error = self.gain[kept] - self.wiener[kept]
                means = (self.delta[kept].mean(), error.mean(), relative.mean())
                found.append(Band(first + 1, last, *map(float, means)))
        return found


def direction_wise(denoiser, gaussian, clean, sigma, seed=0):
    r"""Compare a denoiser with the Gaussian one along each eigenvector of the covariance.

    .. math:: \delta_i=\frac{\mathbb E[(u_i^\top(D-D_G))^2]}
              {\lambda_i\sigma^2/(\lambda_i+\sigma^2)},\qquad
              \hat g_i=\frac{\mathrm{Cov}(u_i^\top D,u_i^\top x_\sigma)}
              {\mathrm{Var}(u_i^\top x_\sigma)}

    Parameters
    ----------
    denoiser : object with ``denoise(x, sigma)``
    gaussian : GaussianDenoiser or lindiff.denoisers.AffineDenoiser
        With `mean`, `eigenvalues` and `eigenvectors` (d, k).
    clean : torch.Tensor or numpy.ndarray, shape (n, d), n >= 2
        Held-out images.
    sigma : float
        Noise level > 0.
    seed : int
        Of the noise, drawn in float32 on the CPU.

    Returns
    -------
    DirectionWise

    Raises
    ------
    ValueError
        If shapes disagree, `clean` has NaN or fewer than two images, or `sigma` <= 0.

    Notes
    -----
    For the optimal denoiser of any law, and the Gaussian denoiser with its moments,
    :math:`\delta_i=1-\mathrm{MSE}_i(D)/\mathrm{MSE}_i(D_G)\in[0,1]`, the share of the
    linear residual that nonlinearity removes, and :math:`\hat g_i=\lambda_i/(\lambda_i+
    \sigma^2)`. Li, Dai and Qu 2024, L-30.
    """
    data = ev.noised(clean, sigma, seed)
    _, values, basis = ev.gaussian("gaussian", gaussian)
    basis = ev.directions("gaussian.eigenvectors", basis, data.clean)
    values = ev.as_numpy(values)
    out = ev.apply(denoiser, data.noisy, data.sigma)
    gap = out - ev.apply(gaussian, data.noisy, data.sigma, "gaussian")
    # The leading mode first, whichever order the denoiser keeps.
    order = np.argsort(-values, kind="stable")
    basis, values = basis[:, order.tolist()], values[order]
    residual = values * data.sigma**2 / (values + data.sigma**2)
    residual[values <= 1e-12 * values.max(initial=0.0)] = 0.0
    distance, distance_se = ev.mean_and_se(ev.as_numpy((gap @ basis).square()))
    error, error_se = ev.mean_and_se(ev.as_numpy(((out - data.clean) @ basis).square()))
    gain, gain_se = _slopes(ev.as_numpy(out @ basis), ev.as_numpy(data.noisy.double() @ basis))
    with np.errstate(divide="ignore", invalid="ignore"):
        delta = np.where(residual > 0, distance / residual, np.nan)
        delta_se = np.where(residual > 0, distance_se / residual, np.nan)
    wiener = values / (values + data.sigma**2)
    return DirectionWise(values, residual, delta, delta_se, gain, gain_se, wiener, error, error_se)


def relative_distance(d1, d2, clean, sigma, eigenvectors, *, floor=0.0, seed=0):
    r"""Return the distance of two models along directions, relative to the second.

    .. math:: \mathcal D_\nu=\frac{\big\langle[v_\nu^\top(\epsilon_1-\epsilon_2)]^2\big\rangle}
              {\big\langle[v_\nu^\top\epsilon_2]^2\big\rangle+\delta},\qquad
              \epsilon_j=\frac{x_\sigma-D_j(x_\sigma,\sigma)}\sigma

    Parameters
    ----------
    d1 : object with ``denoise(x, sigma)``
        Such as a network.
    d2 : object with ``denoise(x, sigma)``
        The reference, such as the regularised linear model of a large data set.
    clean : torch.Tensor or numpy.ndarray, shape (n, d), n >= 2
        Test images.
    sigma : float
        Noise level > 0; :math:`\sigma^2=(1-\bar\alpha_t)/\bar\alpha_t` for a time t.
    eigenvectors : array_like, shape (d, k)
        Directions :math:`v_\nu` in columns.
    floor : float
        Constant :math:`\delta\ge0` against division by zero.
    seed : int
        Of the noise, drawn in float32 on the CPU.

    Returns
    -------
    value, se : numpy.ndarray, shape (k,)
        Ratio of the two means and its standard error over images.

    Raises
    ------
    ValueError
        If shapes disagree, `clean` has NaN or fewer than two images, or `sigma` <= 0.

    Notes
    -----
    The estimated noises at :math:`x_t=\sqrt{\bar\alpha_t}\,x_\sigma` are those of the
    variance-preserving model. The source leaves open whether it takes the ratio of means or
    the mean of ratios; this is the ratio of means. Merger and Goldt 2025, MG-16.
    """
    if not 0 <= floor < np.inf:
        raise ValueError(f"`floor` must be non-negative and finite, got {floor}")
    data = ev.noised(clean, sigma, seed)
    basis = ev.directions("eigenvectors", eigenvectors, data.clean)
    first = ev.apply(d1, data.noisy, data.sigma, "d1")
    second = ev.apply(d2, data.noisy, data.sigma, "d2")
    top = ev.as_numpy(((first - second) @ basis).square()) / data.sigma**2
    bottom = ev.as_numpy(((data.noisy - second) @ basis).square()) / data.sigma**2 + floor
    with np.errstate(divide="ignore", invalid="ignore"):
        value = top.mean(axis=0) / bottom.mean(axis=0)
        influence = (top - value * bottom) / bottom.mean(axis=0)
        return value, influence.std(axis=0) / np.sqrt(len(top))


def _slopes(out, noisy):
    """Return the regression slope of each column and its standard error."""
    out, noisy = out - out.mean(axis=0), noisy - noisy.mean(axis=0)
    variance = (noisy**2).mean(axis=0)
    gain = (out * noisy).mean(axis=0) / variance
    influence = (out * noisy - gain * noisy**2) / variance
    return gain, influence.std(axis=0) / np.sqrt(len(out))
