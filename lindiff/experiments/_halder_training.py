r"""Training and sampling of Halder's network experiment.

The schedule is that of `lindiff.multistep.network_schedule_variance`:
:math:`\beta_t=10^{-4}+0.0199\,t/K` and :math:`\bar\alpha_t=\prod_{j<t}(1-\beta_j)` for every K.
Halder 2024, H-40; the index of the public code (E-5) is kept: times 0 to K - 1 are trained,
times K to 1 are sampled, and the step from t uses :math:`\beta_t`.
"""

from dataclasses import dataclass

import numpy as np
import torch

from lindiff.experiments._halder_unet import HalderUNet

__all__ = ["Schedule", "Training", "sample", "train"]


@dataclass(frozen=True)
class Schedule:
    """Linear schedule of the public code over `n_steps` steps; arrays have K + 1 entries."""

    n_steps: int

    def __post_init__(self):
        if self.n_steps < 1:
            raise ValueError(f"`n_steps` must be at least 1, got {self.n_steps}")

    @property
    def beta(self):
        r"""Variances :math:`\beta_0,\dots,\beta_K`."""
        return 1e-4 + np.arange(self.n_steps + 1) / self.n_steps * (0.02 - 1e-4)

    @property
    def kept(self):
        r"""Shares :math:`\bar\alpha_0=1,\dots,\bar\alpha_K` of the variance of the image."""
        return np.concatenate([[1.0], np.cumprod(1.0 - self.beta[:-1])])


@dataclass(frozen=True)
class Training:
    """How a network is trained: Adam on the mean squared error of the noise."""

    widths: tuple = (64, 128, 256, 256)
    code: int = 256
    batch: int = 128
    learning_rate: float = 2e-4


def train(images, schedule, training, n_epochs, rng, device="cpu"):
    """Train a network from new weights.

    Parameters
    ----------
    images : array_like, shape (N, S, S)
        In network units; not empty.
    schedule : Schedule
    training : Training
    n_epochs : int
        Passes over the images, each in a new order; the last batch may be smaller.
    rng : numpy.random.Generator
        Draws everything, on the CPU, so that devices differ by rounding alone.
    device : str

    Returns
    -------
    net : HalderUNet
        In evaluation mode.
    loss : float
        Mean over the batches of the last epoch, weighted with their sizes.
    n_steps : int
        Gradient steps.
    """
    images = torch.as_tensor(np.asarray(images), dtype=torch.float32)[:, None]
    if not len(images) or n_epochs < 1:
        raise ValueError("`images` is empty or `n_epochs` below 1: there is nothing to train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        net = HalderUNet(training.widths, training.code).to(device)
    optimiser = torch.optim.Adam(net.parameters(), lr=training.learning_rate)
    kept, n_steps = schedule.kept, 0
    for _ in range(n_epochs):
        order, losses = rng.permutation(len(images)), []
        for start in range(0, len(order), training.batch):
            clean = images[order[start : start + training.batch]]
            times = rng.integers(schedule.n_steps, size=len(clean))
            share = torch.as_tensor(kept[times], dtype=torch.float32)[:, None, None, None]
            noise = _normal(rng, clean.shape)
            noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
            found = net(noisy.to(device), torch.as_tensor(times, device=device))
            loss = torch.mean((found - noise.to(device)) ** 2)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            losses.append(loss.detach() * len(clean))
            n_steps += 1
    return net.eval(), float(torch.stack(losses).sum()) / len(images), n_steps


@torch.no_grad()
def sample(predict, schedule, n_samples, side, rng, device="cpu"):
    r"""Sample by the ancestral rule of the public code, without the final clamp.

    .. math::

       x_{t-1}=\frac{x_t-\beta_t\,\epsilon(x_t,t)/\sqrt{1-\bar\alpha_t}}{\sqrt{1-\beta_t}}
       +\sqrt{\beta_t}\,z_t\,[t>1],\qquad x_K\sim\mathcal N(0,I)

    Parameters
    ----------
    predict : callable
        Noise in images (B, 1, S, S) at integer times (B,).
    schedule : Schedule
    n_samples, side : int
    rng : numpy.random.Generator
    device : str

    Returns
    -------
    numpy.ndarray, shape (n_samples, side, side)
        In network units.
    """
    beta, kept = schedule.beta, schedule.kept
    shape = n_samples, 1, side, side
    x = _normal(rng, shape).to(device)
    for t in range(schedule.n_steps, 0, -1):
        times = torch.full((n_samples,), t, device=device)
        x = x - float(beta[t] / np.sqrt(1 - kept[t])) * predict(x, times)
        x = x / float(np.sqrt(1 - beta[t]))
        if t > 1:
            x = x + float(np.sqrt(beta[t])) * _normal(rng, shape).to(device)
    return x[:, 0].double().cpu().numpy()


def _normal(rng, shape):
    return torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32))
