"""Networks: a U-Net and its peers, their training, and diagnostics of any denoiser.

The modules are imported one by one, for example ``from lindiff.nn import diagnostics``.
They need PyTorch, which the theory does not.
"""

try:
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError('lindiff.nn needs PyTorch: pip install "lindiff[torch]"') from error
