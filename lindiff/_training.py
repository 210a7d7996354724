"""Weights of one noise level along training, in the eigenbasis of the training set."""

from dataclasses import dataclass

import numpy as np

from lindiff import _check


@dataclass(frozen=True, eq=False)
class Level:
    """Signal, noise, optimum and curvature of each mode, with an axis for the modes last."""

    signal: np.ndarray
    noise: np.ndarray
    curvature: np.ndarray
    optimum: np.ndarray
    misfit: np.ndarray

    @classmethod
    def build(cls, eigenvalues, ratio, floor):
        ratio, floor = ratio[..., None], floor[..., None]
        whole = eigenvalues + (ratio + floor)
        return cls(
            1.0 / (1.0 + ratio),
            np.sqrt(ratio / (1.0 + ratio)),
            whole / (1.0 + ratio),
            np.sqrt(ratio) * np.sqrt(1.0 + ratio) / whole,
            (eigenvalues + floor) / whole,
        )

    def state(self, left, done, start):
        """Weights w and misfits 1 - s w when the share `left` of the way is ahead."""
        weights = done * self.optimum + left * start
        return weights, done * self.misfit + left * (1.0 - self.noise * start)

    def loss(self, left, done, start, second):
        """Loss of each direction on points of second moment `second` along it."""
        weights, misfit = self.state(left, done, start)
        return misfit**2 + self.signal * second * weights**2


def flow(curvature, time):
    """Shares of the way that gradient flow has ahead and behind it."""
    exponent = -2.0 * curvature * time
    return np.exp(exponent), -np.expm1(exponent)


def descent(curvature, n_steps, learning_rate):
    """The same for gradient descent; both grow without bound if the rate is too large."""
    step = 2.0 * learning_rate * curvature
    # |1 - step| = 1 - small on both sides of step = 1, where nothing cancels.
    small = np.where(step <= 2.0, np.minimum(step, 2.0 - step), 0.0)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        size = np.where(step <= 2.0, np.log1p(-small), np.log(np.maximum(step, 2.0) - 1.0))
        exponent = np.where(n_steps == 0, 0.0, n_steps * size)
        flips = (step > 1.0) & (np.mod(n_steps, 2) == 1)
        left = np.where(flips, -1.0, 1.0) * np.exp(exponent)
        done = np.where(flips, 1.0 - left, -np.expm1(exponent))
    return left, done


def progress(curvature, time, learning_rate):
    """Shares ahead and behind after training time `time`, by flow or by whole steps."""
    if learning_rate is None:
        return flow(curvature, time)
    n_steps = np.rint(time / learning_rate)
    if np.any(np.abs(time / learning_rate - n_steps) > 1e-6):
        raise ValueError(
            "`time` must be a whole number of steps of `learning_rate`; pass learning_rate * steps"
        )
    return descent(curvature, n_steps, learning_rate)


def rate(learning_rate):
    """Check a learning rate; None stands for gradient flow."""
    if learning_rate is None:
        return None
    value = _check.positive("learning_rate", learning_rate)
    return float(_check.as_array("learning_rate", value, ndim=0))


def start_of(start, size):
    """Return the diagonal start as a number or a vector, one weight for each mode."""
    start = _check.as_array("start", start)
    if start.shape not in ((), (size,)):
        raise ValueError(f"`start` must be a number or have shape ({size},), got {start.shape}")
    return start
