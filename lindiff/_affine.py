"""The optimal affine denoiser at every noise level, from one eigendecomposition."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lindiff import _check
from lindiff._empirical import points_and_levels
from lindiff._fit import moments_of_data, spectrum_of_covariance


@dataclass(frozen=True, eq=False)
class AffineDenoiser:
    r"""The best affine denoiser of data with given mean and covariance.

    .. math:: D(x,\sigma)=\mu+\Sigma_c(\Sigma_c+\sigma^2)^{-1}(x-\mu),\qquad
              \Sigma_c=\Sigma+c\,\mathbb 1

    Implements eq. (1.6), (1.10), (7.6), (7.25), (F.2), (F.3).

    Parameters
    ----------
    mean : array_like, shape (d,)
        Mean :math:`\mu` of the data.
    eigenvalues : array_like, shape (k,), k <= d
        Variances :math:`\lambda_\nu\ge0` of the data, without the floor. The other
        :math:`d-k` directions have variance 0.
    eigenvectors : array_like, shape (d, k)
        Their orthonormal directions, in columns.
    floor : float
        :math:`c\ge0`, added to every variance. It is the effect of the ridge penalty
        :math:`\gamma_t\lVert W_t\rVert^2` with :math:`\gamma_t=\bar\alpha_tc`.
    ridge : float or callable
        :math:`\gamma_t\ge0` itself, one number for all levels or a function of
        :math:`\bar\alpha_t`; it adds :math:`\gamma_t/\bar\alpha_t` to the floor.

    Raises
    ------
    ValueError
        If shapes disagree, a variance is negative, or the directions are not orthonormal.

    Notes
    -----
    Directions of variance 0 are handled in closed form: a call costs :math:`O(dk)` per
    point and no :math:`d\times d` matrix is formed except by `weights` and `covariance`.
    Merger and Goldt 2025, MG-4, MG-5, MG-7, MG-8.
    Range: points up to 1e150, variances and floor up to 1e304, noise levels of any size; those
    up to 1e150 have gains good to 1e-12.

    Examples
    --------
    >>> denoiser = AffineDenoiser.from_moments([0.0, 0.0], [[3.0, 0.0], [0.0, 1.0]])
    >>> denoiser.denoise([[4.0, 4.0]], 1.0)
    array([[3., 2.]])
    """

    mean: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    floor: float = 0.0
    ridge: float | Callable = 0.0

    def __post_init__(self):
        mean = _check.as_points("mean", self.mean, ndim=1)
        if mean.size == 0:
            raise ValueError("`mean` is empty; pass one number for each coordinate")
        values = _check.as_array("eigenvalues", self.eigenvalues, ndim=1)
        if values.size > 0:
            values = _check.as_spectrum("eigenvalues", self.eigenvalues)
        vectors = _check.as_array("eigenvectors", self.eigenvectors, ndim=2)
        if vectors.shape != (mean.size, values.size):
            raise ValueError(
                f"`eigenvectors` must have shape {(mean.size, values.size)} = (d, k), "
                f"got {vectors.shape}"
            )
        floor = _check.within(
            "floor", self.floor, least=0.0, most=_check.LARGEST_VARIANCE, zero=True
        )
        if np.ndim(floor) != 0:
            raise ValueError("`floor` must be one number")
        # Two fixed vectors show at O(dk) what the product of both matrices would at O(dk^2).
        probes = np.cos(np.arange(values.size)[:, None] ** 2 * [1.0, np.sqrt(2.0)])
        rounded = max(1e-8, 4.0 * _check.precision(self.eigenvectors) * np.sqrt(mean.size))
        if not np.allclose(vectors.T @ (vectors @ probes), probes, rtol=0, atol=rounded):
            raise ValueError("`eigenvectors` must have orthonormal columns")
        for name, value in zip(
            ("mean", "eigenvalues", "eigenvectors"), (mean, values, vectors), strict=True
        ):
            object.__setattr__(self, name, _frozen(value))
        object.__setattr__(self, "floor", floor)
        if not callable(self.ridge):
            ridge = _check.as_array("ridge", _check.non_negative("ridge", self.ridge), ndim=0)
            object.__setattr__(self, "ridge", float(ridge))

    @classmethod
    def from_moments(cls, mean, cov, *, floor=0.0, ridge=0.0):
        r"""Build the denoiser from a mean and a covariance matrix.

        .. math:: \Sigma=V\,\mathrm{diag}(\lambda)\,V^\top

        Parameters
        ----------
        mean : array_like, shape (d,)
        cov : array_like, shape (d, d)
            Symmetric, positive semi-definite; singular is allowed.
        floor, ridge
            Regularisation, as in the class.

        Raises
        ------
        ValueError
            If `cov` is not symmetric or has a negative eigenvalue beyond rounding.

        Examples
        --------
        >>> AffineDenoiser.from_moments([0.0], [[2.0]]).eigenvalues
        array([2.])
        """
        mean = _check.as_array("mean", mean, ndim=1)
        return cls(mean, *spectrum_of_covariance(cov, mean.size), floor, ridge)

    @classmethod
    def from_data(cls, data, *, floor=0.0, ridge=0.0):
        r"""Fit the denoiser to a training set.

        .. math:: \mu_0=\frac1N\sum_ix_i,\qquad
                  \Sigma_0=\frac1N\sum_i(x_i-\mu_0)(x_i-\mu_0)^\top

        Parameters
        ----------
        data : array_like, shape (N, d)
        floor, ridge
            Regularisation, as in the class.

        Notes
        -----
        Singular values of the centred data, so small variances keep their accuracy;
        :math:`O(Nd\min(N,d))`. Variances that vanish up to rounding are left out.

        Examples
        --------
        >>> AffineDenoiser.from_data([[0.0, 1.0], [2.0, 1.0]]).eigenvalues
        array([1.])
        """
        return cls(*moments_of_data(data), floor, ridge)

    @property
    def dimension(self):
        """Number of coordinates d."""
        return self.mean.size

    @property
    def covariance(self):
        r"""Covariance :math:`\Sigma+c\,\mathbb 1` behind the denoiser, shape (d, d)."""
        scaled = self.eigenvectors * self.eigenvalues
        return scaled @ self.eigenvectors.T + self.floor * np.eye(self.dimension)

    def denoise(self, x, sigma):
        r"""Return the estimate of the clean points.

        .. math:: D(x,\sigma)=\mu+\Sigma_c(\Sigma_c+\sigma^2)^{-1}(x-\mu)

        Implements eq. (1.10).

        Parameters
        ----------
        x : array_like, shape (..., d)
            Points :math:`y+\sigma z`.
        sigma : float or array_like
            Noise level :math:`\ge0`, one number or one for each point, broadcast against
            the shape of `x` without its last axis.

        Returns
        -------
        numpy.ndarray, shape (..., d)
            At ``sigma = 0``, directions without variance are set to the mean: the limit
            of small `sigma`.
        """
        x, sigma = points_and_levels(x, sigma, self.dimension)
        gain, null = self.gains(sigma)
        return self.mean + self._apply(x - self.mean, gain, null[..., None])

    def gains(self, sigma):
        r"""Return the factor of each direction in the clean estimate, at many levels at once.

        .. math:: g_\nu=\frac{\lambda_\nu+c}{\lambda_\nu+c+\sigma^2}

        Parameters
        ----------
        sigma : float or array_like, shape (...)
            Noise levels >= 0, such as ``schedule.sigma``.

        Returns
        -------
        gain : numpy.ndarray, shape (..., k)
            Along the eigenvectors; c includes :math:`\gamma_t/\bar\alpha_t`.
        null : numpy.ndarray, shape (...)
            In the other directions.
        """
        level = np.asarray(_check.non_negative("sigma", sigma))[..., None]
        power = np.square(1.0 / np.hypot(1.0, level))
        noise = np.square(level / np.hypot(1.0, level))
        penalty = self._ridge_at(power)
        signal = power * (self.eigenvalues + self.floor) + penalty
        null = power * self.floor + penalty
        return _ratio(signal, signal + noise), _ratio(null, null + noise)[..., 0]

    def noise_gains(self, alpha_bar):
        r"""Return the factor of each direction in the noise estimate, at many levels at once.

        .. math:: w_\nu=\frac{\sqrt{1-\bar\alpha}}
                  {\bar\alpha(\lambda_\nu+c)+1-\bar\alpha+\gamma}

        Parameters
        ----------
        alpha_bar : float or array_like, shape (...)
            As in `weights`, whose eigenvalues these are.

        Returns
        -------
        gain : numpy.ndarray, shape (..., k)
        null : numpy.ndarray, shape (...)
            In the directions outside the eigenvectors; 0 if there are none.
        """
        level = np.asarray(_check.alpha_bar(alpha_bar))[..., None]
        penalty = self._ridge_at(level)
        variances = self.eigenvalues + self.floor
        lowest = self.floor if variances.size < self.dimension else variances.min()
        if lowest == 0 and np.any((level == 1) & (penalty == 0)):
            raise ValueError(
                "`alpha_bar` must be below 1 where a variance is 0; pass a smaller one or a floor"
            )
        noise = 1.0 - level
        null = np.zeros_like(noise)
        if variances.size < self.dimension:
            null = np.sqrt(noise) / (noise + level * self.floor + penalty)
        return np.sqrt(noise) / (noise + level * variances + penalty), null[..., 0]

    def penalty(self, sigma):
        r"""Return what the ridge adds to the variances at each noise level.

        .. math:: \gamma_t/\bar\alpha_t=\gamma_t\,(1+\sigma_t^2)

        Parameters
        ----------
        sigma : float or array_like, shape (...)
            Noise levels >= 0.

        Returns
        -------
        numpy.ndarray, shape (...)
        """
        scale = np.hypot(1.0, np.asarray(_check.non_negative("sigma", sigma)))
        ridge = self._ridge_at(np.square(1.0 / scale))
        with np.errstate(over="ignore", invalid="ignore"):
            added = np.where(ridge == 0, 0.0, ridge * np.square(scale))
        if np.any(added > _check.LARGEST_VARIANCE):
            raise ValueError("`ridge` over alpha_bar overflows; leave out the noisiest levels")
        return added

    def _ridge_at(self, alpha_bar):
        if not callable(self.ridge):
            return np.full(np.shape(alpha_bar), self.ridge)
        values = np.asarray(_check.non_negative("ridge(alpha_bar)", self.ridge(alpha_bar)))
        if values.shape not in ((), np.shape(alpha_bar)):
            raise ValueError("`ridge` must return one number for each `alpha_bar` it is given")
        return np.broadcast_to(values, np.shape(alpha_bar))

    def predict_noise(self, x, alpha_bar):
        r"""Return the estimate of the noise in variance-preserving form.

        .. math:: \epsilon(x)=W x+b

        Implements eq. (1.4), (1.6).

        Parameters
        ----------
        x : array_like, shape (..., d)
            Points :math:`\sqrt{\bar\alpha}\,y+\sqrt{1-\bar\alpha}\,\epsilon`.
        alpha_bar : float or array_like
            In (0, 1], below 1 if a direction has variance 0; broadcast as in `denoise`.

        Returns
        -------
        numpy.ndarray, shape (..., d)
        """
        x, alpha_bar = points_and_levels(x, alpha_bar, self.dimension, name="alpha_bar")
        gain, null = self.noise_gains(alpha_bar)
        centred = x - np.sqrt(alpha_bar)[..., None] * self.mean
        return self._apply(centred, gain, null[..., None])

    def weights(self, alpha_bar):
        r"""Return the weights and the bias of the noise predictor.

        .. math:: W=\sqrt{1-\bar\alpha}\,
                  [\bar\alpha\Sigma+(1-\bar\alpha+\bar\alpha c+\gamma)\mathbb 1]^{-1},\qquad
                  b=-\sqrt{\bar\alpha}\,W\mu

        Implements eq. (1.6), (1.7), (7.3), (7.5), (7.6).

        Parameters
        ----------
        alpha_bar : float or array_like, shape (...)
            Noise levels in (0, 1], below 1 if a direction has variance 0.

        Returns
        -------
        weights : numpy.ndarray, shape (..., d, d)
        bias : numpy.ndarray, shape (..., d)
        """
        gain, null = self.noise_gains(alpha_bar)
        vectors = self.eigenvectors
        matrix = (vectors * (gain - null[..., None])[..., None, :]) @ vectors.T
        matrix = matrix + null[..., None, None] * np.eye(self.dimension)
        return matrix, -np.sqrt(alpha_bar)[..., None] * (matrix @ self.mean)

    def _apply(self, centred, gain, null):
        coefficients = (centred @ self.eigenvectors) * (gain - null)
        return coefficients @ self.eigenvectors.T + null * centred


def _frozen(array):
    array = array.copy()
    array.setflags(write=False)
    return array


def _ratio(part, whole):
    """Quotient of non-negative numbers, 0 where the numerator is 0."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.zeros(whole.shape), where=part > 0)
