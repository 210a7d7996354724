r"""Sums over modes that every deterministic equivalent is made of.

With :math:`E_\nu=\kappa\lambda_\nu+z` each mode has a signal part
:math:`f_\nu=\kappa\lambda_\nu/E_\nu` and a noise part :math:`h_\nu=z/E_\nu=1-f_\nu`. All
averages are sums of :math:`g_\nu f_\nu^ph_\nu^q`, positive for positive :math:`g`.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lindiff import _check
from lindiff._compressed import compress
from lindiff._kappa import as_modes, as_samples, broadcast, solve

_BLOCK = 65536
POPULATION = "population"


@dataclass(frozen=True, eq=False)
class Modes:
    r"""Signal and noise parts of m atoms at B settings (N, z).

    Parameters
    ----------
    nodes : numpy.ndarray, shape (m,)
    weights : numpy.ndarray, shape (k, m)
        Row 0 counts the modes; other rows are weights of the caller.
    n, z, ratio, kappa : numpy.ndarray, shape (B,)
    """

    nodes: np.ndarray
    weights: np.ndarray
    n: np.ndarray
    z: np.ndarray
    ratio: np.ndarray
    kappa: np.ndarray

    @cached_property
    def scaled(self):
        """Signal over noise, x lambda, shape (B, m)."""
        ratio = self.ratio[:, None]
        if np.all(np.isfinite(ratio)):
            return ratio * self.nodes
        return np.multiply(ratio, self.nodes, out=np.zeros(self._shape), where=self.nodes > 0)

    @property
    def _shape(self):
        return self.ratio.size, self.nodes.size

    @cached_property
    def noise(self):
        return 1.0 / (1.0 + self.scaled)

    @cached_property
    def signal(self):
        if np.all(np.isfinite(self.ratio)):
            return self.scaled * self.noise
        signal = np.ones(self._shape)
        return np.multiply(self.scaled, self.noise, out=signal, where=np.isfinite(self.scaled))

    def total(self, kernel, row=0):
        """Sum of a kernel of shape (B, m) over the modes, shape (B,)."""
        return kernel @ self.weights[row]

    def moment(self, p, q, source=None):
        r"""Sum of :math:`g f^p h^q`, shape (B,).

        The source g is 1, a row number of `weights`, an array of shape (B, m), or
        `POPULATION` for :math:`\lambda_\nu/z=f_\nu/(\kappa h_\nu)`.
        """
        if source is POPULATION:
            return self.moment(p + 1, q - 1) / self.kappa
        kernel = None
        for factor in [self.signal] * p + [self.noise] * q:
            kernel = factor if kernel is None else kernel * factor
        if isinstance(source, np.ndarray):
            return self.total(kernel * source)
        return self.total(kernel, 0 if source is None else source)

    @cached_property
    def mixed(self):
        return self.moment(1, 1)

    @cached_property
    def loss(self):
        r"""The part :math:`1-\kappa` taken away, without cancellation."""
        return self.moment(1, 0) / self.n

    @cached_property
    def stiffness(self):
        r""":math:`P=1-\frac1N\sum f^2=\kappa+\frac1N\sum fh`, the curvature at the saddle."""
        return self.kappa + self.mixed / self.n

    @cached_property
    def log_stiffness(self):
        softness = self.moment(2, 0) / self.n
        near_one = np.log1p(-np.minimum(softness, 0.5))
        return np.where(softness < 0.5, near_one, np.log(self.stiffness))

    def response(self, source=None):
        r""":math:`k_g=\frac z\kappa\frac{\partial\kappa}{\partial j_g}=\frac{\sum gfh}{NP}`."""
        mixed = self.mixed if source is None else self.moment(1, 1, source)
        weight = self.n * self.stiffness
        # At z = 0 and N = rank both vanish; the limit for g = 1 is one half.
        return np.divide(mixed, weight, out=np.full(mixed.shape, 0.5), where=weight > 0)


def evaluate(formula, spectrum, n, z, *parameters):
    """Apply `formula(modes, *parameters)` to settings of shape (M,), block by block."""
    ratio, kappa = solve(_counted(spectrum), n, z)
    weights = np.atleast_2d(spectrum.weights)
    rows = max(1, _BLOCK // spectrum.nodes.size)
    result = np.empty(n.shape)
    for start in range(0, n.size, rows):
        part = slice(start, start + rows)
        modes = Modes(spectrum.nodes, weights, n[part], z[part], ratio[part], kappa[part])
        # Where kappa = 0 the averages are infinite or limits; no warning is due.
        with np.errstate(divide="ignore", invalid="ignore"):
            result[part] = formula(modes, *(value[part] for value in parameters))
    return result


def _counted(spectrum):
    """The spectrum with its first row of weights, which counts the modes."""
    if spectrum.weights.ndim == 1:
        return spectrum
    return replace(spectrum, weights=spectrum.weights[0], masses=spectrum.masses[0])


def shaped(values, shape):
    """Give flat results their shape; a single number is a float."""
    return float(values[0]) if shape == () else values.reshape(shape)


def positive_z(z):
    """Check the argument of a resolvent."""
    return np.asarray(_check.positive("z", z))


def loss_grid(eigenvalues, n_samples, alpha_bar, floor, multiplicities):
    r"""Check the arguments of a loss; return spectrum, shape, N, sigma^2 and the floor."""
    eigenvalues, counts = as_modes(eigenvalues, multiplicities)
    shape, (n, level, floor) = broadcast(
        n_samples=as_samples(n_samples),
        alpha_bar=_check.alpha_bar(alpha_bar),
        floor=_check.non_negative("floor", floor),
    )
    return compress(eigenvalues, counts), shape, n, (1.0 - level) / level, floor


def shares(sigma2, floor):
    """Parts of z that are noise and floor; without both, the limit is floor -> 0 first."""
    z = sigma2 + floor
    safe = np.where(z > 0, z, 1.0)
    return np.where(z > 0, sigma2 / safe, 1.0), floor / safe


def average(formula, eigenvalues, n_samples, alpha_bar, floor, multiplicities):
    """Apply `formula(modes, noise share, floor share)` on a grid of losses."""
    grid = loss_grid(eigenvalues, n_samples, alpha_bar, floor, multiplicities)
    spectrum, shape, n, sigma2, floor = grid
    values = evaluate(formula, spectrum, n, sigma2 + floor, *shares(sigma2, floor))
    return shaped(values, shape)


def corrected(modes, value, correction):
    """Add a finite-size correction where the leading order is finite."""
    return np.where(modes.kappa > 0, value + correction, value)
