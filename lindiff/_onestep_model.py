"""Parameters of the one-step model and its brute-force run on many points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lindiff import _check
from lindiff._onestep_kl import kl_population, noise_to_signal


@dataclass(frozen=True, kw_only=True)
class OneStepModel:
    r"""Parameters of the one-step model and everything that follows from them.

    .. math:: X = e^{-T}Y + \sqrt{\lambda(1-e^{-2T})}\,Z,\qquad
              D(x) = m + \beta\,(x-e^{-T}m)

    Implements eq. (3.1), (3.5), (3.6), (3.10).

    Parameters
    ----------
    time : float
        Diffusion time :math:`T\ge0`.
    noise_scale : float
        Stationary variance :math:`\lambda\ge0` of the noising process.
    variance : float
        Data variance :math:`\sigma^2>0` per coordinate.
    dimension : int
        Number of coordinates :math:`d\ge1`.

    Notes
    -----
    The data mean :math:`m` is no parameter: it shifts data and samples alike.
    Halder 2024, H-1, H-3, H-5, H-6.
    Range: `variance` from 1e-300 to 1e300 and every ratio; relative error 1e-12.

    Examples
    --------
    >>> model = OneStepModel(time=0.5, noise_scale=1.0, variance=1.0, dimension=8)
    >>> print(f"{model.slope:.4f} {model.generated_variance:.4f} {model.kl:.4f}")
    0.6065 0.3679 1.4715
    """

    time: float
    noise_scale: float
    variance: float = 1.0
    dimension: int = 1

    def __post_init__(self):
        for name in ("time", "noise_scale", "variance"):
            _check.as_array(name, getattr(self, name), ndim=0)
        _check.positive_int("dimension", self.dimension)
        _check.within("variance", self.variance, least=1e-300, most=1e300)
        noise_to_signal(self.time, self.noise_scale, self.variance)

    @classmethod
    def with_ratio(cls, noise_to_signal, dimension=1):
        r"""Return the model with a given :math:`\Lambda`, time 1/2 and unit data variance.

        Parameters
        ----------
        noise_to_signal : float
            :math:`\Lambda\ge0`.
        dimension : int
            Number of coordinates d.

        Returns
        -------
        OneStepModel

        Examples
        --------
        >>> round(OneStepModel.with_ratio(3.0, 8).rho, 6)
        0.25
        """
        ratio = _check.as_array("noise_to_signal", noise_to_signal, ndim=0)
        scale = float(_check.non_negative("noise_to_signal", ratio)) / np.expm1(1.0)
        return cls(time=0.5, noise_scale=scale, dimension=dimension)

    @property
    def signal(self):
        r"""Signal factor :math:`a=e^{-T}`."""
        return float(np.exp(-self.time))

    @property
    def noise(self):
        r"""Noise standard deviation :math:`b=\sqrt{\lambda(1-e^{-2T})}`."""
        return float(np.sqrt(self.noise_scale * -np.expm1(-2.0 * self.time)))

    @property
    def noised_variance(self):
        r"""Variance :math:`\sigma_x^2=a^2\sigma^2+b^2` of a noised coordinate."""
        return self.signal**2 * self.variance + self.noise**2

    @property
    def noise_to_signal(self):
        r"""Ratio :math:`\Lambda=b^2/(a^2\sigma^2)`."""
        return float(noise_to_signal(self.time, self.noise_scale, self.variance))

    @property
    def rho(self):
        r"""Squared correlation :math:`\rho=1/(1+\Lambda)`."""
        return 1.0 / (1.0 + self.noise_to_signal)

    @property
    def slope(self):
        r"""Slope :math:`\beta=a\sigma^2/\sigma_x^2=e^T\rho` of the best denoiser."""
        return self.rho / self.signal

    @property
    def residual_variance(self):
        r"""Error :math:`\tau^2=\sigma^2(1-\rho)` per coordinate of the best denoiser."""
        ratio = self.noise / self.signal
        return ratio * (ratio * self.rho)

    @property
    def generated_variance(self):
        r"""Variance :math:`\rho\sigma^2` of a generated coordinate."""
        return self.variance * self.rho

    @property
    def kl(self):
        r"""Divergence :math:`\mathrm{KL}(p_G\|p_\star)`, see `kl_population`."""
        return float(kl_population(self.noise_to_signal, self.dimension))

    def denoise(self, x, *, mean=0.0):
        r"""Apply the best denoiser, :math:`D(x)=m+\beta(x-am)`.

        Parameters
        ----------
        x : array_like, shape (..., d)
            Noised points.
        mean : float or array_like, shape (d,)
            Data mean :math:`m`.

        Returns
        -------
        ndarray, shape (..., d)
            Estimates of the clean points.
        """
        x, mean = self._points("x", x), self._mean(mean)
        return mean + self.slope * (x - self.signal * mean)

    def _points(self, name, value):
        value = _check.as_array(name, value)
        if value.ndim == 0 or value.shape[-1] != self.dimension:
            raise ValueError(f"{name} must have shape (..., {self.dimension}), got {value.shape}")
        return value

    def _mean(self, mean):
        mean = _check.as_array("mean", mean)
        if mean.shape not in ((), (self.dimension,)):
            raise ValueError(f"mean must be a number or have shape ({self.dimension},)")
        return np.broadcast_to(mean, (self.dimension,))


@dataclass(frozen=True, eq=False)
class Simulation:
    r"""What one brute-force run of the one-step model measured.

    Attributes
    ----------
    weights : ndarray, shape (d, d)
        Fitted matrix; its population value is :math:`\beta I`.
    intercept : ndarray, shape (d,)
        Fitted intercept.
    residual_variance : float
        Mean squared residual per coordinate; population value :math:`\tau^2`.
    mean : ndarray, shape (d,)
        Mean of the generated points.
    variance : float
        Their variance, averaged over coordinates; population value :math:`\rho\sigma^2`.
    kl : float
        Plug-in divergence of the isotropic Gaussian with these moments.
    """

    weights: np.ndarray
    intercept: np.ndarray
    residual_variance: float
    mean: np.ndarray
    variance: float
    kl: float


def simulate_population(model, n_samples, rng, *, mean=0.0, add_residual=False):
    r"""Train and sample the one-step model by brute force on many points.

    Draws pairs :math:`(X,Y)`, fits a full affine map by least squares, feeds it
    fresh points :math:`X\sim\mathcal N(am,\sigma_x^2I)` and measures the output:

    .. math:: \widehat{\mathrm{KL}}
              = \frac{\|\hat m-m\|^2-d\hat v/n}{2\sigma^2}
              + \frac d2\Big(\frac{\hat v}{\sigma^2}-1-\log\frac{\hat v}{\sigma^2}\Big)

    Parameters
    ----------
    model : OneStepModel
        The model.
    n_samples : int
        Number :math:`n\ge d+3` of training pairs and of generated points.
    rng : numpy.random.Generator
        Source of randomness.
    mean : float or array_like, shape (d,)
        Data mean :math:`m`.
    add_residual : bool
        Whether to add Gaussian noise of the fitted residual variance to the output.

    Returns
    -------
    Simulation
        Fitted map and measured moments.

    Raises
    ------
    TypeError
        If `model` or `rng` is of another kind.
    ValueError
        If `n_samples` is too small or `mean` has the wrong shape.

    Notes
    -----
    The fit overestimates the variance by about :math:`(1-\rho)\sigma^2d/n`. The term
    :math:`d\hat v/n` removes what sampling error adds to the mean. Memory and time are
    :math:`O(nd)` and :math:`O(nd^2)`.
    Range: every ratio, data variances from 1e-290 to 1e290, means up to 1e6 standard
    deviations.

    Examples
    --------
    >>> model = OneStepModel(time=0.5, noise_scale=1.0, dimension=2)
    >>> run = simulate_population(model, 20_000, np.random.default_rng(0))
    >>> abs(run.variance - model.generated_variance) < 0.02
    True
    """
    if not isinstance(model, OneStepModel):
        raise TypeError("model must be a OneStepModel")
    if not isinstance(rng, np.random.Generator):
        raise TypeError("rng must be a numpy.random.Generator, see numpy.random.default_rng")
    n_samples = _check.positive_int("n_samples", n_samples)
    if n_samples < model.dimension + 3:
        raise ValueError(f"n_samples must be at least dimension + 3 = {model.dimension + 3}")
    mean = model._mean(mean)
    weights, intercept, residual_variance = _fit(model, n_samples, rng, mean)
    shape = (n_samples, model.dimension)
    x = model.signal * mean + _noised_deviation(model) * rng.standard_normal(shape)
    y = intercept + x @ weights.T
    if add_residual:
        y += np.sqrt(residual_variance) * rng.standard_normal(shape)
    measured_mean, measured_variance = y.mean(axis=0), float(y.var(axis=0, ddof=1).mean())
    shift = np.sum((measured_mean - mean) ** 2) - model.dimension * measured_variance / n_samples
    excess = measured_variance / model.variance - 1.0
    kl = 0.5 * (shift / model.variance + model.dimension * (excess - np.log1p(excess)))
    return Simulation(
        weights, intercept, residual_variance, measured_mean, measured_variance, float(kl)
    )


def _fit(model, n_samples, rng, mean):
    """Least squares with intercept of clean on noised points."""
    shape = (n_samples, model.dimension)
    y = mean + np.sqrt(model.variance) * rng.standard_normal(shape)
    x = model.signal * y + model.noise * rng.standard_normal(shape)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    # In units of the noised data, whose squares may leave the range of floats.
    unit = _noised_deviation(model)
    x, y = (x - x_mean) / unit, y - y_mean
    weights = np.linalg.solve(x.T @ x, x.T @ y).T
    residual = y - x @ weights.T
    degrees = n_samples - 1 - model.dimension
    residual_variance = float(np.sum(residual**2) / (degrees * model.dimension))
    return weights / unit, y_mean - weights @ (x_mean / unit), residual_variance


def _noised_deviation(model):
    return np.hypot(model.signal * np.sqrt(model.variance), model.noise)
