"""Exact theory of diffusion models with linear denoisers.

The modules are imported one by one, for example ``from lindiff import gaussians, onestep``.
"""

__version__ = "0.1.0"
