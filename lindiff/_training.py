"""Weights of one noise level along training, in the eigenbasis of the training set."""

from dataclasses import dataclass

import numpy as np

from lindiff import _check

_MOST_STEPS = 2.0**53


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
        grows = np.abs(left) > 1.0
        near, past = np.where(grows, 0.0, left), np.where(grows, left, 0.0)
        behind = np.where(grows, 1.0, done)
        # A way that has grown is not added to its opposite, which would make inf - inf.
        away = product(past, start - self.optimum)
        weights = behind * self.optimum + near * start + away
        misfit = behind * self.misfit + near * (1.0 - self.noise * start)
        return weights, misfit - product(self.noise, away)

    def loss(self, left, done, start, second):
        """Loss of each direction on points of second moment `second` along it."""
        weights, misfit = self.state(left, done, start)
        with np.errstate(over="ignore"):
            return misfit**2 + product(np.sqrt(self.signal * second), weights) ** 2


def product(left, right):
    """Return the product, 0 where one factor is 0, also if the other has grown to infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where((left == 0) | (right == 0), 0.0, left * right)


def flow(curvature, time):
    """Shares of the way that gradient flow has ahead and behind it."""
    with np.errstate(over="ignore"):
        exponent = -2.0 * curvature * time
    return np.exp(exponent), -np.expm1(exponent)


def descent(curvature, n_steps, learning_rate):
    """The same for gradient descent; both grow without bound if the rate is too large."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        step = 2.0 * learning_rate * curvature
        # |1 - step| = 1 - small on both sides of step = 1, where nothing cancels.
        small = np.where(step <= 2.0, np.minimum(step, 2.0 - step), 0.0)
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
    with np.errstate(over="ignore"):
        steps = np.asarray(time / learning_rate)
    if np.any(steps > _MOST_STEPS):
        raise ValueError(
            "`time` is more than 2**53 steps of `learning_rate`, too many to tell odd from even; "
            "leave `learning_rate` out for gradient flow"
        )
    n_steps = np.rint(steps)
    if np.any(np.abs(steps - n_steps) > 1e-6 + 4.0 * np.finfo(float).eps * n_steps):
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
