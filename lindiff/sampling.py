r"""Samplers, and the exact law of what an affine denoiser samples.

Sampling runs through the levels of a schedule from the noisiest to the clean one. In the
coordinates :math:`y=u/\sqrt{\bar\alpha}` a step of the DDIM family from noise level
:math:`\sigma_t` to :math:`\sigma_s<\sigma_t` reads

.. math:: y_s=D(y_t)+\rho\,\big(y_t-D(y_t)\big)+\tau\,\xi,\qquad
          \rho=r\sqrt{1-\eta^2(1-r^2)},\quad \tau=\eta\,\sigma_s\sqrt{1-r^2},\quad
          r=\sigma_s/\sigma_t

with :math:`y_T\sim\mathcal N(0,\mathbb 1/\bar\alpha_T)`. This is the rule of Merger and
Goldt 2025 (ledger ids MG-3, MG-4, MG-C.9) divided by the signal; only the noise levels
of the schedule matter. With infinitely many steps there are closed forms for every ratio
of injected noise to :math:`\beta`.
"""

import sys
from dataclasses import dataclass
from functools import partial

import numpy as np

from lindiff import _check
from lindiff._chain import chain, mode_moments, mode_trajectory
from lindiff._continuous import (
    continuous_moments,
    ddim_mean_factor,
    ddim_variance,
    final_bias,
    flow_map,
)
from lindiff._solvers import advance, make_steps
from lindiff.denoisers import AffineDenoiser, Denoiser

__all__ = [
    "SampleLaw",
    "affine_moments",
    "continuous_moments",
    "ddim_mean_factor",
    "ddim_variance",
    "final_bias",
    "flow_map",
    "mode_moments",
    "mode_trajectory",
    "sample",
]


@dataclass(frozen=True, eq=False)
class SampleLaw:
    r"""Gaussian law of samples, in the eigenbasis of the denoiser.

    .. math:: \mathcal N\Big(m,\;\sum_\nu v_\nu u_\nu u_\nu^\top+v_\perp P_\perp\Big)

    Parameters
    ----------
    mean : numpy.ndarray, shape (d,)
    variances : numpy.ndarray, shape (k,)
        Variance along each eigenvector.
    eigenvectors : numpy.ndarray, shape (d, k)
    null_variance : float
        Variance in each of the other d - k directions.
    """

    mean: np.ndarray
    variances: np.ndarray
    eigenvectors: np.ndarray
    null_variance: float

    @property
    def covariance(self):
        """Covariance matrix, shape (d, d)."""
        vectors = self.eigenvectors
        inside = (vectors * (self.variances - self.null_variance)) @ vectors.T
        return inside + self.null_variance * np.eye(self.mean.size)


def sample(
    denoiser,
    schedule,
    n_samples,
    rng,
    *,
    dim=None,
    solver="ddim",
    eta=0.0,
    final_noise=False,
    start=None,
    progress=False,
):
    r"""Draw samples with one of the usual samplers.

    .. math:: u_{t-1}=\sqrt{\bar\alpha_{t-1}}\,\hat x_0+
              \sqrt{1-\bar\alpha_{t-1}-\sigma_t^2}\,\epsilon(u_t)+\sigma_t\xi_t

    Implements eq. (1.12).

    Parameters
    ----------
    denoiser : Denoiser
        Anything with ``denoise(x, sigma)``.
    schedule : NoiseSchedule
        Levels to visit, ordered by increasing noise; the last step goes to noise 0.
    n_samples : int
    rng : numpy.random.Generator
    dim : int, optional
        Number of coordinates; by default ``denoiser.dimension``.
    solver : {"ddim", "ddpm", "ddpm-beta", "euler", "heun"}
        "ddim" is the family above with :math:`\sigma_t=\eta\tilde\sigma_t`, where
        :math:`\tilde\sigma_t^2=\beta_t(1-\bar\alpha_{t-1})/(1-\bar\alpha_t)` is the variance
        of the bridge. "ddpm" is :math:`\eta=1`. "ddpm-beta" has the mean of "ddpm" and
        injects :math:`\beta_t` instead. "euler" and "heun" integrate the probability-flow
        equation :math:`dy/d\sigma=(y-D(y,\sigma))/\sigma`; an Euler step is a step of
        DDIM with :math:`\eta=0`.
    eta : float
        Randomness of "ddim", in [0, 1].
    final_noise : bool
        Whether "ddpm-beta" adds noise in its last step too.
    start : array_like, shape (n_samples, dim), optional
        First points :math:`u_T`; by default standard normal.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    numpy.ndarray, shape (n_samples, dim)

    Raises
    ------
    TypeError, ValueError
        On a bad argument, or a denoiser that changes the shape or returns NaN.

    Notes
    -----
    Merger and Goldt 2025, MG-3, MG-4; Karras et al. 2022 (Heun). The cost is one call of
    the denoiser per level, for "heun" two, except in the last step.
    Range: noise levels from 1e-150 to 1e149, first points over the signal factor up to 1e150.
    A step of "heun" multiplies the rounding of a point by the ratio of its two levels.

    Examples
    --------
    >>> import numpy as np
    >>> from lindiff import schedules
    >>> from lindiff.denoisers import EmpiricalDenoiser
    >>> points = EmpiricalDenoiser([[-1.0], [1.0]])
    >>> drawn = sample(points, schedules.linear_beta(50, 1e-3, 0.3), 4, np.random.default_rng(0))
    >>> np.abs(drawn).round(6).ravel()
    array([1., 1., 1., 1.])
    """
    if not isinstance(denoiser, Denoiser):
        raise TypeError("`denoiser` must have a method denoise(x, sigma)")
    steps = make_steps(schedule, solver, eta, final_noise)
    n_samples, rng = _check.positive_int("n_samples", n_samples), _check.generator(rng)
    x = _first_points(start, (n_samples, _dimension(denoiser, dim)), rng)
    x = _check.as_points("start over the signal", x / np.sqrt(schedule.alpha_bar[-1]))
    order = range(len(schedule) - 1, -1, -1)
    if progress:
        from tqdm import tqdm

        order = tqdm(order, desc="sampling", file=sys.stderr)
    for t in order:
        x = advance(partial(_denoised, denoiser), steps, t, x)
        if steps.fresh[t] > 0:
            x = x + steps.fresh[t] * rng.standard_normal(x.shape)
    return x


def affine_moments(
    denoiser, schedule, *, solver="ddim", eta=0.0, final_noise=False, start="normal"
):
    r"""Return the exact law of the samples of an affine denoiser.

    .. math:: m\leftarrow\mu+A(m-\mu),\qquad v\leftarrow A^2v+\tau^2,\qquad
              A=g+\rho\,(1-g),\quad g=\frac{\lambda+c}{\lambda+c+\sigma_t^2}

    Implements eq. (1.15).

    Parameters
    ----------
    denoiser : AffineDenoiser
        With a floor, a ridge or both.
    schedule : NoiseSchedule
        Levels visited, as in `sample`.
    solver, eta, final_noise
        The sampler, as in `sample`; the formula shows the DDIM family. For "heun" the
        factor of a step from t to s<t is, at equal floors,

        .. math:: A=\frac{2\lambda^2+\lambda(\sigma_t^2+3\sigma_s^2)+2\sigma_t\sigma_s^3}
                  {2(\lambda+\sigma_t^2)(\lambda+\sigma_s^2)}
    start : {"normal", "matched"}
        Law of the first point, as in `mode_moments`.

    Returns
    -------
    SampleLaw
        Mean, variance along each eigenvector, and variance of the other directions.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Notes
    -----
    All steps act on each mode alone; see `mode_moments` for method and accuracy (relative
    error below 1e-12 after 1000 steps; the mean has the rounding of that of the data). Merger
    and Goldt 2025, MG-3, MG-8, at finite step number; Karras et al. 2022 for Heun.
    Range: noise levels from 1e-150 to 1e150, variances with floor and ridge up to 1e304.

    Examples
    --------
    >>> from lindiff import schedules
    >>> law = affine_moments(AffineDenoiser.from_moments([1.0], [[4.0]]), schedules.linear_beta())
    >>> float(law.variances[0].round(2))
    3.99
    """
    if not isinstance(denoiser, AffineDenoiser):
        raise TypeError("`denoiser` must be an AffineDenoiser; other laws are not Gaussian")
    steps = make_steps(schedule, solver, eta, final_noise)
    # The last entry stands for all directions outside the eigenvectors.
    spread = np.append(denoiser.eigenvalues, 0.0) + denoiser.floor
    load = denoiser.penalty(steps.sigma)
    factor, variance = chain(spread, load, steps, schedule, start)
    vectors, mean = denoiser.eigenvectors, denoiser.mean
    centre = factor[-1] * mean + vectors @ ((factor[:-1] - factor[-1]) * (mean @ vectors))
    return SampleLaw(centre, variance[:-1], vectors, float(variance[-1]))


def _denoised(denoiser, x, sigma):
    clean = np.asarray(denoiser.denoise(x, sigma), dtype=np.float64)
    if clean.shape != x.shape or not np.all(np.isfinite(clean)):
        raise ValueError(
            f"`denoiser` must return finite numbers of shape {x.shape}; it returned "
            f"shape {clean.shape} at noise level {sigma:.3g}"
        )
    return clean


def _first_points(start, shape, rng):
    if start is None:
        return rng.standard_normal(shape)
    start = _check.as_points("start", start, ndim=2)
    if start.shape != shape:
        raise ValueError(f"`start` must have shape {shape} = (n_samples, dim), got {start.shape}")
    return start


def _dimension(denoiser, dim):
    known = getattr(denoiser, "dimension", None)
    if dim is None and known is None:
        raise ValueError("`dim` is needed: this denoiser has no attribute dimension")
    dim = known if dim is None else _check.positive_int("dim", dim)
    if known is not None and dim != known:
        raise ValueError(f"`dim` is {dim}, but the denoiser has dimension {known}")
    return dim
