r"""The denoisers of the theory as PyTorch modules: Gaussian, memorising, linear, mixture.

They follow ``.to(device)`` and compute in the floating type of the tensors they are made
of (arrays and lists become float32; ``.double()`` for float64), without autocast or TF32.
`lindiff.denoisers` has the same formulas in float64 NumPy. Source: Li, Dai and Qu
2024 (arXiv 2410.24060), L-8, L-9, L-15.
"""

from lindiff.nn._gaussian import GaussianDenoiser, LinearDenoiser
from lindiff.nn._mixtures import MemorisingDenoiser, MixtureDenoiser

__all__ = ["GaussianDenoiser", "LinearDenoiser", "MemorisingDenoiser", "MixtureDenoiser"]
