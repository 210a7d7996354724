r"""Sums over modes that every deterministic equivalent is made of.

With :math:`E_\nu=\kappa\lambda_\nu+z` each mode has a signal part
:math:`f_\nu=\kappa\lambda_\nu/E_\nu` and a noise part :math:`h_\nu=z/E_\nu=1-f_\nu`. All
averages are sums of :math:`g_\nu f_\nu^ph_\nu^q`, positive for positive :math:`g`.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lindiff import _check
from lindiff._kappa import as_modes, as_samples, broadcast, population, solve

_BLOCK = 65536
# Where 1/E is stored relative to about its largest value, two of them can be multiplied.
_RESOLVENT = 400
POPULATION = "population"


@dataclass(frozen=True, eq=False)
class Modes:
    r"""Signal and noise parts of m atoms at B settings (N, z).

    Parameters
    ----------
    nodes : numpy.ndarray, shape (m,)
        In units of 2 ** `exponent`, like 1 / `ratio`.
    weights : numpy.ndarray, shape (k, m)
        Row 0 counts the modes; other rows are weights of the caller.
    exponent : int
    n, z, ratio, kappa : numpy.ndarray, shape (B,)
        N, or the degrees of freedom; z in the units of the caller.
    """

    nodes: np.ndarray
    weights: np.ndarray
    exponent: int
    n: np.ndarray
    z: np.ndarray
    ratio: np.ndarray
    kappa: np.ndarray

    @cached_property
    def scaled(self):
        """Signal over noise, x lambda, shape (B, m)."""
        ratio = self.ratio[:, None]
        with np.errstate(over="ignore"):
            if np.all(np.isfinite(ratio)):
                return ratio * self.nodes
            shape = self.ratio.size, self.nodes.size
            return np.multiply(ratio, self.nodes, out=np.zeros(shape), where=self.nodes > 0)

    @cached_property
    def noise(self):
        return 1.0 / (1.0 + self.scaled)

    @cached_property
    def signal(self):
        finite = np.isfinite(self.scaled)
        if finite.all():
            return self.scaled * self.noise
        return np.multiply(self.scaled, self.noise, out=np.ones(finite.shape), where=finite)

    @cached_property
    def _resolvent(self):
        r"""The values :math:`1/E`, shape (B, m), and their binary exponents, shape (B,)."""
        mantissa, power = np.frexp(self.z)
        power = power - self.exponent
        # All nodes are positive; a kappa too small for a double is below the noise.
        lowest, least = np.frexp(self.kappa * self.nodes.min())
        unit = np.where(lowest > 0, np.maximum(power, least), power)
        # A product of two grows as the inverse of the stiffness.
        unit = unit + _RESOLVENT + np.frexp(self.stiffness)[1] // 2
        power = power - unit
        finite = np.isfinite(self.ratio)
        # Where kappa is too small for a double its product with a power of two is not.
        x = np.where(finite, self.ratio, 0.0)
        weakened = np.ldexp(mantissa * x, power)
        weakened = np.where(finite, weakened, np.ldexp(self.kappa, -unit))
        model = weakened[:, None] * self.nodes + np.ldexp(mantissa, power)[:, None]
        return 1.0 / model, -unit - self.exponent

    @property
    def resolvent(self):
        return self._resolvent[0]

    def unscaled(self, value, count, exponent=0):
        """Give a sum of products of `count` resolvents the units of the caller."""
        return np.ldexp(value, count * self._resolvent[1] + exponent)

    @cached_property
    def scaled_z(self):
        with np.errstate(over="ignore"):
            return np.ldexp(self.z, -self.exponent)

    @cached_property
    def log_z(self):
        """Logarithm of z in the units of the nodes."""
        mantissa, power = np.frexp(self.z)
        return np.log(mantissa) + (power - self.exponent) * np.log(2.0)

    @cached_property
    def log_kappa(self):
        near = self.kappa > np.finfo(float).tiny
        return np.where(near, np.log(self.kappa), np.log(self.ratio) + self.log_z)

    def total(self, kernel, row=0):
        """Sum of a kernel of shape (B, m) over the modes, shape (B,)."""
        return kernel @ self.weights[row]

    def moment(self, p, q, source=None, resolvents=0):
        r"""Sum of :math:`g f^p h^q`, shape (B,).

        The source g is 1, a row number of `weights`, an array of shape (B, m), or
        `POPULATION` for :math:`\lambda_\nu/z=f_\nu/(\kappa h_\nu)`. In as many factors h
        as `resolvents` says, z is left out, which leaves 1 / E.
        """
        if source is POPULATION:
            return self.moment(p + 1, q - 1) / self.kappa
        kernel = None
        parts = [self.signal] * p + [self.noise] * (q - resolvents)
        for factor in parts + [self.resolvent] * resolvents if resolvents else parts:
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

    def response(self, source=None, resolvents=0):
        r""":math:`k_g=\frac z\kappa\frac{\partial\kappa}{\partial j_g}=\frac{\sum gfh}{NP}`."""
        if source is None and resolvents == 0:
            mixed = self.mixed
        else:
            mixed = self.moment(1, 1, source, resolvents)
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
        settings = [value[part] for value in (n, z, ratio, kappa)]
        modes = Modes(spectrum.nodes, weights, spectrum.exponent, *settings)
        # Where kappa = 0 or numbers overflow the averages are infinite or limits.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
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


def degrees(n, estimated_mean):
    r"""Degrees of freedom of :math:`\Sigma_0`, and its average over the population."""
    return (n - 1.0, 1.0 - 1.0 / n) if estimated_mean else (n, np.ones_like(n))


def as_resolvent(n_samples, z, estimated_mean):
    """Check N and z; return the shape, the degrees of freedom, z / a and a."""
    samples = as_samples(n_samples, estimated_mean=estimated_mean)
    shape, (n, z) = broadcast(n_samples=samples, z=np.asarray(_check.positive("z", z)))
    freedom, kept = degrees(n, estimated_mean)
    return shape, freedom, add_floor(0.0, z, kept, "z"), kept


def noise_levels(alpha_bar):
    r"""Check levels; return :math:`\sigma^2=(1-\bar\alpha)/\bar\alpha`."""
    level = np.asarray(_check.alpha_bar(alpha_bar))
    with np.errstate(over="ignore"):
        sigma2 = (1.0 - level) / level
    if not np.all(np.isfinite(sigma2)):
        raise ValueError("`alpha_bar` is so small that 1 / alpha_bar overflows; use a larger one")
    return sigma2


def add_floor(sigma2, floor, kept, name="floor"):
    r"""Return :math:`(\sigma^2+c)/a`."""
    with np.errstate(over="ignore"):
        z = (sigma2 + floor) / kept
    if not np.all(np.isfinite(z)):
        raise ValueError(f"the noise and `{name}` together overflow; use smaller ones")
    return z


def shares(sigma2, floor):
    """Parts of z that are noise and floor; without both, the limit is floor -> 0 first."""
    z = sigma2 + floor
    safe = np.where(z > 0, z, 1.0)
    return np.where(z > 0, sigma2 / safe, 1.0), floor / safe


def average(formula, eigenvalues, n_samples, alpha_bar, floor, multiplicities, estimated_mean):
    r"""Apply `formula(modes, noise share, floor share, a)` on a grid of losses.

    With a the average of :math:`\Sigma_0` over the population, the modes are those of
    :math:`\Sigma_0/a` and z / a: of a sample covariance normalised by its degrees of freedom.
    """
    spectrum = population(*as_modes(eigenvalues, multiplicities))
    shape, (n, sigma2, floor) = broadcast(
        n_samples=as_samples(n_samples, estimated_mean=estimated_mean),
        alpha_bar=noise_levels(alpha_bar),
        floor=_check.non_negative("floor", floor),
    )
    freedom, kept = degrees(n, estimated_mean)
    z = add_floor(sigma2, floor, kept)
    parameters = *shares(sigma2, floor), kept
    return shaped(evaluate(formula, spectrum, freedom, z, *parameters), shape)


def corrected(value, correction, applies=True):
    """Add a finite-size correction where it `applies` and the leading order is finite."""
    applies = np.isfinite(value) & applies
    if np.any(applies & ~np.isfinite(correction)):
        raise ValueError(
            "`one_loop` does not hold for so little noise with N = rank; leave it out there"
        )
    return np.where(applies, value + correction, value)


def weakened(value, noise, kappa):
    """Divide by kappa; infinite at kappa = 0, but nothing is left where there is no noise."""
    return np.where(noise > 0, np.where(kappa > 0, value / kappa, np.inf), 0.0)
