r"""Averages over training sets: deterministic equivalents of everything a fit depends on.

A training set of N centred Gaussian points with population eigenvalues :math:`\lambda_\nu`
has the sample covariance :math:`\Sigma_0=\frac1N\sum xx^\top`. The affine denoiser fitted to
it at noise level :math:`\bar\alpha` with variance floor c depends on
:math:`Q=(\Sigma_0+z)^{-1}`, :math:`z=\sigma^2+c`, :math:`\sigma^2=(1-\bar\alpha)/\bar\alpha`.
For many dimensions and samples averages over training sets become sums over population
modes in which each eigenvalue is multiplied by one number, the root of

.. math:: \kappa=1-\frac1N\sum_\nu\frac{\kappa\lambda_\nu}{\kappa\lambda_\nu+z}.

Every spectrum may carry `multiplicities`. Numbers of samples, noise levels and floors
broadcast and give the shape of the result. Losses, traces and divergences are totals over
dimensions. With ``one_loop=True`` the first finite-size correction is added, after which the
error is of second order in 1/N; single results without a floor are exact (`kl_wishart`,
`trace_inverse_wishart`). With ``estimated_mean=True`` the denoiser subtracts the mean of its
training set, which leaves N - 1 degrees of freedom and an error of the mean. Every result is
that of its formula over 300 decades of eigenvalues, at every scale, N, level and floor: a
number, ``inf`` where it is infinite or overflows, or an error.
Source: Merger and Goldt 2025 (arXiv 2505.24769), ledger ids MG-9 to MG-15, MG-D and MG-X.
"""

from lindiff._alignment import alignment, alignment_pair
from lindiff._asymptotics import (
    alignment_many_samples,
    gap_small_noise,
    kl_floor,
    kl_isotropic_limit,
    kl_wishart,
    log_det_wishart,
    power_law_scale,
    trace_inverse_wishart,
)
from lindiff._averages import gap, kl, residual_loss, test_loss, training_loss
from lindiff._density import density_support, spectral_density
from lindiff._kappa import solve_kappa
from lindiff._traces import (
    log_det,
    log_det_variance,
    resolvent_squared_elements,
    trace_resolvent,
    trace_resolvent_squared,
)

__all__ = [
    "alignment",
    "alignment_many_samples",
    "alignment_pair",
    "density_support",
    "gap",
    "gap_small_noise",
    "kl",
    "kl_floor",
    "kl_isotropic_limit",
    "kl_wishart",
    "log_det",
    "log_det_variance",
    "log_det_wishart",
    "power_law_scale",
    "residual_loss",
    "resolvent_squared_elements",
    "solve_kappa",
    "spectral_density",
    "test_loss",
    "trace_inverse_wishart",
    "trace_resolvent",
    "trace_resolvent_squared",
    "training_loss",
]
