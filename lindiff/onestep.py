r"""The one-step linear denoiser with infinitely many training data.

Clean data :math:`Y\sim\mathcal N(m,\sigma^2I_d)` are noised once,
:math:`X=aY+bZ` with :math:`a=e^{-T}` and :math:`b^2=\lambda(1-e^{-2T})`.
The best denoiser :math:`D` is affine. Feeding fresh noised points to it gives
samples whose law differs from the data only through the noise-to-signal ratio
:math:`\Lambda=b^2/(a^2\sigma^2)`, or :math:`\rho=1/(1+\Lambda)`.

All functions of :math:`\Lambda` are vectorised and keep their relative
accuracy down to :math:`\Lambda=0`. Source of the model: Halder 2024
(arXiv 2411.17807), ledger ids H-1 to H-8 and the population part of H-28.
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
from lindiff._onestep_kl import (
    correlation_squared,
    kl_large_noise,
    kl_population,
    kl_slope,
    kl_small_noise,
    noise_to_signal,
)
from lindiff._onestep_model import OneStepModel, Simulation, simulate_population

__all__ = [
    "OneStepModel",
    "Simulation",
    "correlation_squared",
    "hellinger_squared",
    "kl_anisotropic",
    "kl_large_noise",
    "kl_modes",
    "kl_population",
    "kl_reverse",
    "kl_slope",
    "kl_small_noise",
    "noise_to_signal",
    "required_noise_scale",
    "required_noise_to_signal",
    "simulate_population",
    "wasserstein2_squared",
]
