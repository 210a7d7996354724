r"""The one-step linear denoiser with infinitely many and with n training data.

Clean data :math:`Y\sim\mathcal N(m,\sigma^2I_d)` are noised once,
:math:`X=aY+bZ` with :math:`a=e^{-T}` and :math:`b^2=\lambda(1-e^{-2T})`.
The best denoiser :math:`D` is affine. Feeding fresh noised points to it gives
samples whose law differs from the data only through the noise-to-signal ratio
:math:`\Lambda=b^2/(a^2\sigma^2)`, or :math:`\rho=1/(1+\Lambda)`.

All functions of :math:`\Lambda` are vectorised and keep their relative
accuracy down to :math:`\Lambda=0`.

With n training pairs the map is fitted by least squares and the divergence depends on
:math:`\Lambda`, d and n. Functions named ``expected_...`` are exact averages over training
sets for every d and n and return totals; those named ``..._limit``, ``regularised_...`` and
the like hold in high dimension at fixed d/n and return values per dimension.

Source of the model: Halder 2024 (arXiv 2411.17807), ledger ids H-1 to H-30, H-44 and H-45.
"""

from lindiff._onestep_distances import (
    hellinger_squared,
    kl_anisotropic,
    kl_modes,
    kl_reverse,
    required_noise_scale,
    required_noise_to_signal,
    wasserstein2_squared,
)
from lindiff._onestep_exact import (
    expected_kl,
    expected_log_det,
    expected_mean_term,
    expected_trace,
    kl_lower_bound,
)
from lindiff._onestep_finite import OneStepFit, fit_one_step, generated_law
from lindiff._onestep_free import (
    hellinger_exponent,
    kl_regularised,
    regularised_log_det,
    singular_value_density,
)
from lindiff._onestep_kl import (
    correlation_squared,
    kl_large_noise,
    kl_population,
    kl_slope,
    kl_small_noise,
    noise_to_signal,
)
from lindiff._onestep_limits import (
    Threshold,
    kl_limit,
    kl_reverse_limit,
    log_det_asymptotic,
    log_det_limit,
    monotone_threshold,
    trace_limit,
)
from lindiff._onestep_model import OneStepModel, Simulation, simulate_population
from lindiff._onestep_ridge import (
    expected_trace_modes,
    kl_modes_finite,
    kl_regularised_few_samples,
    ridge_variances,
    wasserstein2_few_samples,
)
from lindiff._onestep_runs import FiniteRuns, sample_maps, simulate_finite, simulate_sizes
from lindiff._onestep_studies import ModeRuns, fit_maps, simulate_modes
from lindiff._random_features import FeatureCurve, random_features, simulate_random_features

__all__ = [
    "FeatureCurve",
    "FiniteRuns",
    "ModeRuns",
    "OneStepFit",
    "OneStepModel",
    "Simulation",
    "Threshold",
    "correlation_squared",
    "expected_kl",
    "expected_log_det",
    "expected_mean_term",
    "expected_trace",
    "expected_trace_modes",
    "fit_maps",
    "fit_one_step",
    "generated_law",
    "hellinger_exponent",
    "hellinger_squared",
    "kl_anisotropic",
    "kl_large_noise",
    "kl_limit",
    "kl_lower_bound",
    "kl_modes",
    "kl_modes_finite",
    "kl_population",
    "kl_regularised",
    "kl_regularised_few_samples",
    "kl_reverse",
    "kl_reverse_limit",
    "kl_slope",
    "kl_small_noise",
    "log_det_asymptotic",
    "log_det_limit",
    "monotone_threshold",
    "noise_to_signal",
    "random_features",
    "regularised_log_det",
    "required_noise_scale",
    "required_noise_to_signal",
    "ridge_variances",
    "sample_maps",
    "simulate_finite",
    "simulate_modes",
    "simulate_population",
    "simulate_random_features",
    "simulate_sizes",
    "singular_value_density",
    "trace_limit",
    "wasserstein2_few_samples",
    "wasserstein2_squared",
]
