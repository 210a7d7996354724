"""E11: learning curves and spectrum of random features.

Bonnaire et al. 2025, D-6 to D-8; George, Veiga and Macris 2025, G-2, G-3.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from lindiff.experiments import _random_features as random_features
from lindiff.experiments.rows import MissingRow, Row, judge
from lindiff.experiments.units import Unit

TITLE = "Random features: interpolation peak, memorisation, two bulks"
VERSION = 1
RATIOS = (0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1, 1.25, 1.6, 2.0, 3.0, 6.0)
LEVELS = (-0.5, -0.05)


@dataclass(frozen=True)
class Settings:
    """Size of the experiment."""

    dimension: int
    psi_n: int = 5
    time: float = 0.05
    ridge: float = 1e-3
    n_noises: tuple = (1, 30)
    ratios: tuple = RATIOS
    n_draws: int = 1
    n_test: int = 6000
    bulk_dimension: int = 60
    bulk_psi_p: int = 24
    bulk_psi_n: int = 6
    bulk_time: float = 0.01
    n_spectra: int = 1
    seed: int = 0


PRESETS = {
    "smoke": Settings(dimension=20, ratios=(0.2, 0.5, 1.0, 2.0, 4.0), n_test=2000),
    "cpu": Settings(dimension=60, n_draws=2, n_spectra=3),
    "t4": Settings(dimension=60, n_draws=10, n_spectra=5),
    "h200": Settings(dimension=100, n_draws=10, n_spectra=5),
}


def units(settings):
    """One unit for each point of a learning curve, and one for each spectrum."""
    curves = [
        Unit(f"loss-m{m}-p{ratio}-{draw}", losses, (settings, m, ratio, draw))
        for m in settings.n_noises
        for ratio in settings.ratios
        for draw in range(settings.n_draws)
    ]
    return curves + [
        Unit(f"spectrum-{draw}", spectrum, (settings, draw)) for draw in range(settings.n_spectra)
    ]


def losses(context, settings, n_noises, ratio, draw):
    """Test loss and distance to the empirical score."""
    n_points = settings.psi_n * settings.dimension
    case = random_features.Case(
        settings.dimension, n_points, round(ratio * n_points), settings.time, settings.seed + draw
    )
    features, noise = random_features.training_batch(case, n_noises)
    matrix = random_features.solve(features, noise, case.delta, settings.ridge)
    test, error, distance = random_features.losses(case, matrix, settings.n_test)
    shared = {"arch": f"m={n_noises}", "N": n_points, "C": case.n_features, "seed": case.seed}
    shared |= {"n_eval": settings.n_test}
    return [
        Row("test_loss", test, stderr=error, **shared),
        Row("distance_to_empirical_score", distance, **shared),
    ]


def spectrum(context, settings, draw):
    """Edges of the middle bulk and the resolvent of U, found and predicted."""
    psi_p, psi_n, d = settings.bulk_psi_p, settings.bulk_psi_n, settings.bulk_dimension
    case = random_features.Case(d, psi_n * d, psi_p * d, settings.bulk_time, settings.seed + draw)
    values = np.linalg.eigvalsh(random_features.averaged_second_moment(case))
    bulk = values[(psi_p - psi_n) * d : (psi_p - 1) * d]
    _, _, v2, s2 = random_features.constants(settings.bulk_time)
    edges = s2 + v2 * (1 + np.array([-1, 1]) * np.sqrt(psi_p / psi_n)) ** 2
    shared = {"N": psi_n * d, "C": psi_p * d, "seed": case.seed}
    rows = [
        Row("bulk_edge", found, split=side, **shared)
        for side, found in (("low", bulk[0]), ("high", bulk[-1]))
    ]
    rows += [
        Row("bulk_edge_predicted", found, split=side, **shared)
        for side, found in zip(("low", "high"), edges, strict=True)
    ]
    for z in LEVELS:
        rows.append(Row("resolvent", np.mean(1 / (values - z)), split=f"z={z}", **shared))
        for form, last in (("psi_n", None), ("psi_p", psi_p)):
            q = random_features.stieltjes(z, psi_p, psi_n, settings.bulk_time, last=last)
            rows.append(Row("resolvent_predicted", q, split=f"z={z}", arch=form, **shared))
    return rows, {"eigenvalues": values}


def _curve(table, metric, n_noises):
    """Ratios p/n, mean values over the draws and their standard errors."""
    found = table.where(metric, arch=f"m={n_noises}")
    if len(found) == 0:
        raise MissingRow(f"there is no row with metric={metric}, m={n_noises}")
    counts = np.unique(found["C"])
    groups = [found["value"][found["C"] == count] for count in counts]
    errors = [group.std() / np.sqrt(max(1, len(group) - 1)) for group in groups]
    return counts / found["N"][0], np.array([g.mean() for g in groups]), np.array(errors)


def _mean(table, metric, **conditions):
    found = table.where(metric, **conditions)["value"]
    if len(found) == 0:
        raise MissingRow(f"there is no row with metric={metric}")
    return found.mean()


def _peak(table):
    ratios, values, _ = _curve(table, "test_loss", 1)
    where = ratios[np.argmax(values)]
    return where, 0.8 <= where <= 1.25


def _least_step(table, metric, sign, n_noises):
    ratios, values, _ = _curve(table, metric, n_noises)
    least = (sign * np.diff(values[ratios >= 1])).min()
    return least, least > 0


def _edges(table):
    found, predicted = "bulk_edge", "bulk_edge_predicted"
    worst = max(
        abs(_mean(table, found, split=side) / _mean(table, predicted, split=side) - 1)
        for side in ("low", "high")
    )
    return worst, worst <= 0.15


def _equations(table):
    gaps = {"psi_n": [], "psi_p": []}
    for form, found in gaps.items():
        for z in LEVELS:
            said = _mean(table, "resolvent_predicted", split=f"z={z}", arch=form)
            found.append(abs(said / _mean(table, "resolvent", split=f"z={z}") - 1))
    worst = max(gaps["psi_n"])
    return worst, worst <= 0.01 < max(gaps["psi_p"])


def criteria(table, settings):
    """Criteria E11.a to E11.d of the plan; values are means over the draws."""
    many = max(settings.n_noises)
    rises = partial(_least_step, table, "test_loss", 1, many)
    falls = partial(_least_step, table, "distance_to_empirical_score", -1, many)
    peak, edges, equations = (partial(test, table) for test in (_peak, _edges, _equations))
    forms = "<= 0.01, psi_p form above"
    entries = [
        ("E11.a", "interpolation peak of the test loss with one noise: p/n", "0.8 to 1.25", peak),
        ("E11.b1", "test loss with many noises increases for p > n: least step", "> 0", rises),
        ("E11.b2", "distance to the empirical score falls for p > n: least step", "> 0", falls),
        ("E11.c", "edges of the middle bulk: relative deviation", "<= 0.15", edges),
        ("E11.d", "resolvent, psi_n form: relative deviation", forms, equations),
    ]
    return [judge(*entry, dataset="normal data", table=table) for entry in entries]
