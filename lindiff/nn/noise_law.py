"""Noise levels seen in training, the loss, and its value before the first step."""

import math

import torch

__all__ = ["SIGMA_LAWS", "draw_sigma", "initial_loss", "weighted_loss"]

LOG_MEAN, LOG_STD = -1.2, 1.2
TAIL_SHARE = 0.2
TAIL_LOW, TAIL_HIGH = 0.02, 80.0
SIGMA_LAWS = ("edm+tail", "edm")


def draw_sigma(law, n, *, generator, device="cpu"):
    r"""Draw n noise levels.

    ``"edm"``: :math:`\ln\sigma\sim\mathcal N(-1.2,\,1.2^2)` (Karras et al. 2022, Table 1).
    ``"edm+tail"``: that law with weight 0.8 and :math:`\ln\sigma\sim\mathcal U[\ln 0.02,\ln 80]`
    with weight 0.2, since the first law draws :math:`\sigma>40` once in 40 000 images.

    Parameters
    ----------
    law : {"edm+tail", "edm"}
    n : int
    generator : torch.Generator on `device`
        The same numbers are taken from it whatever the law.

    Returns
    -------
    torch.Tensor, shape (n,), float32, positive
    """
    if law not in SIGMA_LAWS:
        raise ValueError(f"`law` must be one of {', '.join(SIGMA_LAWS)}, not {law!r}")
    normal = torch.randn(n, generator=generator, device=device)
    position, choice = torch.rand((2, n), generator=generator, device=device)
    log_sigma = LOG_MEAN + LOG_STD * normal
    if law == "edm+tail":
        low, high = math.log(TAIL_LOW), math.log(TAIL_HIGH)
        log_sigma = torch.where(choice < TAIL_SHARE, low + (high - low) * position, log_sigma)
    return log_sigma.exp()


def weighted_loss(denoised, clean, weight):
    r"""Mean over images and pixels of :math:`w(\sigma)(D-y)^2`, in float32.

    Parameters
    ----------
    denoised, clean : torch.Tensor, shape (n, ...)
    weight : torch.Tensor, shape (n,)
        `Preconditioned.weight` of the noise levels, :math:`(\sigma^2+s^2)/(\sigma s)^2` for the
        EDM preconditioning (L-7).
    """
    error = (denoised.float() - clean.float()).square().flatten(1).mean(1)
    return (weight * error).mean()


def initial_loss(sigma, second_moment, sigma_data):
    r"""Expected EDM loss of a network that returns zero (L-7).

    .. math:: \frac{\sigma^2 m_2+s^4}{s^2(\sigma^2+s^2)},

    with :math:`m_2` the mean squared pixel. A network whose last layer starts at zero has this
    loss before its first step: 1 at low noise, :math:`m_2/s^2` at high noise.
    """
    s2 = sigma_data**2
    return (sigma**2 * second_moment + s2**2) / (s2 * (sigma**2 + s2))
