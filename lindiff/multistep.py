r"""Chains of K linear denoising steps, with infinitely many and with finitely many data.

A grid lists the noise variances :math:`\omega_1<\dots<\omega_K` of the levels in units of
clean data, :math:`\omega_k=b_k^2/a_k^2`; for the Ornstein-Uhlenbeck process at time t it is
:math:`\lambda(e^{2t}-1)`, ``onestep.noise_to_signal(t, noise_scale, 1.0)``. One step is the
model of :mod:`lindiff.onestep`. In the coordinates :math:`y=x/a` a step down from level k with
the denoiser :math:`D_k` reads

.. math:: y_{k-1}=r_ky_k+(1-r_k)D_k(y_k)+\tilde\sigma_k\xi

with :math:`r_k=\omega_{k-1}/\omega_k`, :math:`\tilde\sigma_k^2=\omega_{k-1}(1-r_k)` for DDPM
and :math:`r_k=\sqrt{\omega_{k-1}/\omega_k}`, :math:`\tilde\sigma_k=0` for DDIM. Source: Halder
2024 (arXiv 2411.17807), ledger ids H-31 to H-40, H-43, H-46.
"""

from lindiff._multistep_chains import step_kl, step_variance
from lindiff._multistep_finite import averaged_noise_kl, fresh_sets_trace
from lindiff._multistep_grids import (
    best_grid,
    best_grid_kl,
    continuum_grid,
    continuum_kl,
    ddpm_deficits,
    optimise_grid,
)
from lindiff._multistep_sums import network_schedule_variance, teacher_forced_kl
from lindiff._multistep_training import LinearChain, StepsStudy, simulate_step_kl, train_steps

__all__ = [
    "LinearChain",
    "StepsStudy",
    "averaged_noise_kl",
    "best_grid",
    "best_grid_kl",
    "continuum_grid",
    "continuum_kl",
    "ddpm_deficits",
    "fresh_sets_trace",
    "network_schedule_variance",
    "optimise_grid",
    "simulate_step_kl",
    "step_kl",
    "step_variance",
    "teacher_forced_kl",
    "train_steps",
]
