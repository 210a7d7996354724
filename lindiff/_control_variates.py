"""Means with standard errors, from moments of draws that are merged piece by piece."""

from dataclasses import dataclass

import numpy as np

_RANK_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Moments:
    """Means, norms and products of the deviations of n draws of outputs (m,) and controls (p,).

    The spread of the outputs is kept as a root, since their squares may overflow.
    """

    count: int
    output_mean: np.ndarray
    output_norm: np.ndarray
    control_mean: np.ndarray
    control_square: np.ndarray
    cross: np.ndarray

    @classmethod
    def of(cls, outputs, controls):
        """Moments of the rows of outputs (n, m) and controls (n, p)."""
        output_mean, control_mean = outputs.mean(axis=0), controls.mean(axis=0)
        # Infinite outputs are legitimate; their spread is then undefined.
        with np.errstate(invalid="ignore"):
            y, x = outputs - output_mean, controls - control_mean
            unit = np.abs(y).max(axis=0)
            norm = unit * np.sqrt(np.sum((y / np.where(unit == 0, 1.0, unit)) ** 2, axis=0))
            cross = np.einsum("np,nm->pm", x, y)
        return cls(len(outputs), output_mean, norm, control_mean, x.T @ x, cross)

    def merged(self, other):
        """Moments of both sets of draws together."""
        count = self.count + other.count
        share = self.count * other.count / count
        with np.errstate(invalid="ignore"):
            y = other.output_mean - self.output_mean
            x = other.control_mean - self.control_mean
            return Moments(
                count,
                # Not as a step from one mean to the other, which would turn infinite means to nan.
                self.output_mean * (self.count / count) + other.output_mean * (other.count / count),
                np.hypot(np.hypot(self.output_norm, other.output_norm), np.sqrt(share) * np.abs(y)),
                self.control_mean + x * (other.count / count),
                self.control_square + other.control_square + share * np.outer(x, x),
                self.cross + other.cross + share * np.outer(x, y),
            )


def plain_estimate(moments):
    """Mean and standard error of every output, shapes (m,)."""
    error = moments.output_norm / np.sqrt(moments.count * (moments.count - 1.0))
    return moments.output_mean, np.where(np.isinf(moments.output_mean), np.nan, error)


def controlled_estimate(moments, expected):
    """Mean and standard error after regression on controls of known expectation (p,).

    The standard error is that of the regression line at the expected controls; it counts the
    fitted slopes. Controls that repeat others are dropped through a pseudo-inverse.
    """
    scale = np.sqrt(np.diag(moments.control_square))
    scale[scale == 0] = 1.0
    strength, axes = np.linalg.eigh(moments.control_square / np.outer(scale, scale))
    used = strength > _RANK_TOLERANCE * max(strength.max(initial=0.0), 1.0)
    directions = axes[:, used] / np.sqrt(strength[used])
    slopes = directions.T @ (moments.cross / scale[:, None])
    offset = directions.T @ ((expected - moments.control_mean) / scale)
    norm = moments.output_norm
    with np.errstate(invalid="ignore"):
        explained = np.sum((slopes / np.where(norm == 0, 1.0, norm)) ** 2, axis=0)
        rest = np.maximum(1.0 - explained, 0.0) / (moments.count - 1 - np.count_nonzero(used))
        mean = moments.output_mean + offset @ slopes
    infinite = np.isinf(moments.output_mean)
    error = norm * np.sqrt(rest * (1.0 / moments.count + offset @ offset))
    return np.where(infinite, moments.output_mean, mean), np.where(infinite, np.nan, error)
