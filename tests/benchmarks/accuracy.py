"""How far theory is from Monte Carlo, in standard errors."""

from dataclasses import dataclass

import numpy as np

from lindiff import equivalents, spectra

D = 64
DRAWS = 60_000
FLOORS = np.array([1.0 / D, 0.1, 1.0])


@dataclass(frozen=True)
class Deviation:
    """Median over all settings of the distance to the simulated mean, in standard errors."""

    name: str
    leading: float
    one_loop: float
    settings: int


def white():
    """log det, Tr Q and Tr Q^2 of white data."""
    eigenvalues, rng = spectra.isotropic(D), np.random.default_rng(0)
    found = []
    for n in (D // 2, D, 2 * D, 4 * D):
        draws = spectra.isotropic_traces(D, n, FLOORS, rng, size=DRAWS, order=2)
        samples = draws.log_det, draws.inverse, draws.inverse_squared
        found.append(_deviations(samples, eigenvalues, n, None))
    return _summary("white data, N = d/2 to 4d", found)


def power_law():
    """log det, Tr Q and Tr Q Sigma Q of a spectrum that falls like 1 / rank."""
    eigenvalues, rng = spectra.power_law(D, 1.0), np.random.default_rng(1)
    found = []
    for n in (D // 2, 2 * D):
        draws = spectra.sample_spectra(eigenvalues, n, rng, size=DRAWS, projected=True)
        whole = draws.eigenvalues[..., None] + FLOORS
        seen = draws.projected_variances[..., None]
        samples = np.log(whole).sum(1), (1 / whole).sum(1), (seen / whole**2).sum(1)
        found.append(_deviations(samples, eigenvalues, n, eigenvalues))
    return _summary("power law, N = d/2 and 2d", found)


def _deviations(samples, eigenvalues, n, weights):
    def theory(one_loop):
        options = {"one_loop": one_loop}
        return (
            equivalents.log_det(eigenvalues, n, FLOORS, **options),
            equivalents.trace_resolvent(eigenvalues, n, FLOORS, **options),
            equivalents.trace_resolvent_squared(eigenvalues, n, FLOORS, weights=weights, **options),
        )

    mean = np.array([draws.mean(axis=0) for draws in samples])
    error = np.array([draws.std(axis=0) for draws in samples]) / np.sqrt(DRAWS)
    return [np.abs(np.array(theory(flag)) - mean) / error for flag in (False, True)]


def _summary(name, found):
    leading, one_loop = np.moveaxis(np.array(found), 1, 0)
    return Deviation(name, float(np.median(leading)), float(np.median(one_loop)), leading.size)


ALL = (white, power_law)
