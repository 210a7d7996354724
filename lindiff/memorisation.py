r"""Do the samples belong to the training set or to the law behind it?

The paper's criterion compares two squared distances of the samples' law :math:`p_G`, one to
a kernel density of the training points and one to a stand-in for the truth,

.. math:: \Delta_n=\int(p_G-p_{\rm train})^2-\int(p_G-p_{\rm ref})^2,

and speaks of no memorisation where :math:`\Delta_n>0` almost surely. Overlaps are kept as
logarithms, in units of :math:`(4\pi\sigma^2)^{-d/2}`. Smoother measures stand beside it.
Source: Halder 2024 (arXiv 2411.17807), ledger ids H-41, H-42, E-1 to E-6, E-9.
"""

from lindiff._memorisation_criteria import (
    copy_rate,
    kl_gap,
    likelihood_gap,
    pixel_distance,
    pixel_distance_mean,
)
from lindiff._memorisation_kernels import (
    GaussianReference,
    KernelDensity,
    gaussian_reference,
    kernel_density,
    log_l2_distance,
    memorisation_gap,
)
from lindiff._memorisation_runs import GapStudy, simulate_gap
from lindiff._memorisation_theory import gap_probability

__all__ = [
    "GapStudy",
    "GaussianReference",
    "KernelDensity",
    "copy_rate",
    "gap_probability",
    "gaussian_reference",
    "kernel_density",
    "kl_gap",
    "likelihood_gap",
    "log_l2_distance",
    "memorisation_gap",
    "pixel_distance",
    "pixel_distance_mean",
    "simulate_gap",
]
