"""The device a training runs on, and its arithmetic."""

import contextlib

import torch


def resolve_precision(precision, device):
    """The arithmetic that "auto" stands for on this device."""
    cuda = device.type == "cuda"
    if precision == "auto":
        if not cuda:
            return "fp32"
        # Emulated bf16 is slower than fp16 on devices before Ampere.
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    if precision == "fp16" and not cuda:
        raise ValueError("`precision` 'fp16' needs a CUDA device; take 'fp32' or 'bf16' on the CPU")
    return precision


def resolve_device(device):
    """The torch.device of a name, with its number; says what to do if there is none.

    "auto" is the CUDA device, or the CPU where there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"`device` must be 'auto', 'cpu', 'cuda' or a number such as 'cuda:1', not {device!r}"
        ) from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(
                f"`device` is {str(device)!r}, but PyTorch sees no CUDA device: pass device='cpu', "
                "choose the preset 'cpu', or install a PyTorch with CUDA on a machine with a GPU"
            )
        return torch.device(
            "cuda", torch.cuda.current_device() if device.index is None else device.index
        )
    return device


@contextlib.contextmanager
def numerics(device):
    """On CUDA: reproducible convolutions, TF32 for float32 products; as before on leaving."""
    if device.type != "cuda":
        yield
        return
    precision = torch.get_float32_matmul_precision()
    flags = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=True
    )
    torch.set_float32_matmul_precision("high")
    try:
        with flags:
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
