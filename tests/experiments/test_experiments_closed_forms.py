"""The closed-form experiments: their pieces against independent values, and stored results."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lindiff.denoisers import EmpiricalDenoiser
from lindiff.experiments import (
    _collapse,
    _mode_times,
    _random_features,
    _registry,
    _speciation,
    e13_speciation,
    results,
    runner,
)
from lindiff.experiments import _exact_mixture as exact
from lindiff.experiments.rows import MissingRow, Row, Table
from lindiff.nn.closed_forms import GaussianDenoiser


@pytest.mark.parametrize("name", _registry.names())
def test_every_experiment_is_well_formed(name):
    module = _registry.load(name)
    assert {"smoke", "cpu", "t4", "h200"} <= set(module.PRESETS)
    for preset in module.PRESETS:
        planned = runner.plan(name, preset)
        assert len(planned.units) > 0
    entries = module.criteria(Table(), module.PRESETS["smoke"])
    assert entries and all(entry.passed is None for entry in entries)
    assert all(entry.id.startswith(f"E{int(name[1:3])}.") for entry in entries)


def stored():
    folder = results.default_folder()
    return sorted(path.stem.split("-", 1) for path in folder.glob("e*-*.json"))


@pytest.mark.parametrize(("name", "preset"), stored())
def test_stored_results(name, preset):
    result = results.read(name, preset)
    assert result.criteria, "made with other settings"
    text = json.dumps(result.provenance)
    assert "/root" not in text and "/home" not in text and "/tmp" not in text
    for suffix in ("npz", "json"):
        assert (results.default_folder() / f"{name}-{preset}.{suffix}").stat().st_size < 1 << 20


@pytest.mark.parametrize(("name", "preset"), [pair for pair in stored() if pair[1] == "cpu"])
def test_stored_results_are_up_to_date(name, preset):
    assert results.load(name, preset).complete


def test_own_weights_are_those_of_the_memoriser():
    rng = np.random.default_rng(0)
    data, noisy = rng.standard_normal((40, 6)), rng.standard_normal((7, 6))
    weights = _collapse.posterior_weights(noisy, data, 0.8)
    assert np.allclose(weights @ data, EmpiricalDenoiser(data).denoise(noisy, 0.8), atol=1e-12)
    assert _collapse.own_weights(data, 0.01, 40, rng).min() > 0.99
    assert _collapse.own_weights(data, 100.0, 40, rng).max() < 0.03


@pytest.mark.parametrize("n_points", [16, 1024])
def test_collapse_level_solves_its_equation(n_points):
    variances = np.array([4.0, 1.0, 0.3, 0.0])
    sigma = _collapse.collapse_sigma(variances, n_points)
    assert np.isclose(0.5 * np.log1p(variances / sigma**2).sum(), np.log(n_points), rtol=1e-12)
    assert _collapse.collapse_sigma(9 * variances, n_points) == pytest.approx(3 * sigma)


def test_crossing():
    sigmas = np.array([1.0, 2.0, 4.0])
    found = e13_speciation._crossing(sigmas, np.array([1.0, 0.8, 0.4]), 0.6)
    assert found == pytest.approx(2 * np.sqrt(2))
    with pytest.raises(MissingRow):
        e13_speciation._crossing(sigmas, np.array([1.0, 0.9, 0.8]), 0.6)


def test_cloning_probability_has_its_limits():
    pair = _speciation.TwoClasses(dimension=2, separation=3.0, variance=0.1)
    assert pair.cloning(0.01) == pytest.approx(1, abs=1e-9)
    assert pair.cloning(300.0) == pytest.approx(0.5, abs=1e-3)
    rng = np.random.default_rng(1)
    x = 3 + np.sqrt(0.1 + 2.0**2) * rng.standard_normal(400_000)
    share = pair.denoiser().responsibilities(np.stack([x, 0 * x], axis=1), 2.0)
    draws = np.sum(share**2, axis=1)
    error = draws.std() / np.sqrt(len(draws))
    assert abs(draws.mean() - pair.cloning(2.0)) < 4 * error
    assert abs(draws.mean() - pair.cloning(2.2)) > 4 * error


def test_nearest_points_along_paths():
    data = np.array([[3.0, 0.0], [-3.0, 0.0]])
    noise = np.array([[1.0, 0.2], [-1.0, 0.1], [2.0, 0.0]])
    sigmas, nearest = _speciation.nearest_along_paths(data, noise, 12)
    assert sigmas.shape == (12,) and np.all(np.diff(sigmas) < 0)
    assert nearest[-1].tolist() == [0, 1, 0]


def test_second_moment_of_features_is_the_sampled_one():
    case = _random_features.Case(dimension=6, n_points=9, n_features=12, time=0.3, seed=1)
    found = _random_features.averaged_second_moment(case)
    points, _ = _random_features.noised(case, case.data(), 40_000, 5)
    features = case.features(points)
    draws = features[:, :1] * features
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert np.abs((found[0] - draws.mean(axis=0)) / error).max() < 4.5
    wrong = _random_features.averaged_second_moment(case, n_terms=1)
    assert np.abs((wrong[0] - draws.mean(axis=0)) / error).max() > 10


def test_spectrum_follows_the_stieltjes_equations():
    case = _random_features.Case(dimension=40, n_points=240, n_features=960, time=0.01, seed=2)
    values = np.linalg.eigvalsh(_random_features.averaged_second_moment(case))
    found = np.mean(1 / (values + 0.5))
    assert _random_features.stieltjes(-0.5, 24, 6, 0.01) == pytest.approx(found, rel=0.01)
    assert abs(_random_features.stieltjes(-0.5, 24, 6, 0.01, last=24) / found - 1) > 0.01


def test_constants_of_the_features():
    rng = np.random.default_rng(3)
    u, v = rng.standard_normal((2, 1_000_000))
    a, b, v2, s2 = _random_features.constants(0.2)
    signal, delta = np.exp(-0.4), -np.expm1(-0.4)
    values = np.tanh(np.sqrt(signal) * u + np.sqrt(delta) * v)
    assert np.mean(u * values) / np.sqrt(signal) == pytest.approx(a, rel=0.005)
    assert np.mean(v * values) == pytest.approx(b, rel=0.01)
    total = a**2 * signal + v2 + b**2 + s2
    assert np.mean(values**2) == pytest.approx(total, rel=0.005)


def test_sliced_distance_of_a_shift():
    points = np.random.default_rng(4).standard_normal((500, 20))
    assert exact.sliced_w2(points, points, 50, 0) == 0
    shifted = exact.sliced_w2(points, points + 2.0, 4000, 0)
    assert shifted == pytest.approx(2.0, rel=0.05)


def test_calls_of_a_solver():
    class Counting:
        dimension, calls = 2, 0

        def denoise(self, x, sigma):
            self.calls += 1
            return 0.0 * x

    for solver in ("euler", "heun"):
        denoiser = Counting()
        exact.solve(denoiser, np.ones((1, 2)), solver, 9)
        assert denoiser.calls == exact.evaluations(solver, 9)


@pytest.mark.parametrize("alpha", [0.5, 1.1])
def test_exponent_of_known_curves(alpha):
    targets = np.geomspace(10, 1e-2, 30)
    seen, start = np.geomspace(1, 1e6, 60), 0.3
    times = 1e3 * targets**-alpha
    # In the logarithm each variance goes from start to target, halfway at its time.
    share = seen[:, None] / (seen[:, None] + times)
    variances = np.exp((1 - share) * np.log(start) + share * np.log(targets))
    curves = _mode_times.ModeCurves(seen, variances, variances, targets, start)
    found = _mode_times.passages(curves)
    near = np.abs(np.log(targets / start)) < np.log(2)
    assert np.isnan(found[near]).all() and np.isfinite(found[~near]).all()
    fitted, error, quality = _mode_times.exponent(targets, found)
    assert fitted == pytest.approx(alpha, abs=0.01) and quality > 0.999 and error < 0.01


def test_variances_of_samples_are_about_their_own_mean(monkeypatch):
    values, shift = np.array([4.0, 1.0, 0.25]), np.array([3.0, 0.0, 0.0])

    def denoiser(path, device):
        found = GaussianDenoiser(
            torch.tensor(shift), torch.tensor(values), torch.eye(3, dtype=torch.float64)
        )
        found.sigma_data = 1.0
        return found, None, path

    monkeypatch.setattr("lindiff.nn.checkpoints.load_checkpoint", denoiser)
    clean = np.random.default_rng(0).standard_normal((5000, 3)) * np.sqrt(values)
    curves = _mode_times.measure([7], clean, np.eye(3), 0.5, 4000, "cpu")
    assert curves.images_seen.tolist() == [7]
    # The few steps of the solver leave up to a fifth too much; the shift would add 9 to 4.
    assert np.all(np.abs(curves.variances[0] / values - 1) < 0.25)
    assert np.abs(curves.gains[0] - values / (values + 0.25)).max() < 0.03


def test_a_simulated_certainty_is_judged():
    sigmas = (0.3, 1.0)
    rows = [Row("cloning_expected", v, sigma=s) for v, s in zip((0.9, 0.7), sigmas, strict=True)]

    def verdict(*values):
        simulated = [
            Row("cloning_simulated", v, sigma=s, n_eval=400, run_id="speciation")
            for v, s in zip(values, sigmas, strict=True)
        ]
        settings = e13_speciation.PRESETS["smoke"]
        found = e13_speciation.criteria(Table([*rows, *simulated]), settings)
        return next(c for c in found if c.id == "E13.a2")

    one = verdict(1.0, 0.7)
    assert one.passed is False and one.value == pytest.approx(0.1 / 0.015)
    assert verdict(0.9, 0.72).passed is True


@pytest.mark.parametrize("name", ["e09", "e10"])
def test_error_of_a_distance_covers_noise_and_reference(name, monkeypatch):
    module = _registry.load(name)
    small = {"dimension": 16, "n_projections": 20, "datasets": ("vectors",)}
    small |= {"n_steps": 8} if name == "e10" else {}
    settings = replace(module.PRESETS["smoke"], n_samples=100, **small)
    plain, found = np.random.default_rng, []
    for seed in range(40):
        # The mixture and its projections stay, noise and draws are new.
        monkeypatch.setattr(
            np.random,
            "default_rng",
            lambda key, seed=seed: plain([*key, seed] if key and key[-1] == 1 else key),
        )
        if name == "e09":
            rows = module.quality(None, settings, "vectors", "euler", 6)
        else:
            module._setting.cache_clear()
            rows = module.full(None, settings, "vectors")
        found.append(next(r for r in rows if r.metric == "sw2"))
    monkeypatch.undo()
    spread = np.std([row.value for row in found], ddof=1)
    said = np.sqrt(np.mean([row.stderr**2 for row in found]))
    assert 0.75 < said / spread < 1.35


def test_exponent_needs_modes():
    assert np.isnan(_mode_times.exponent(np.arange(1.0, 4.0), np.ones(3))[0])
    alpha, _, quality = _mode_times.exponent(np.geomspace(1, 9, 9), np.ones(9))
    assert alpha == 0 and quality == 0


def test_a_control_that_holds_fails_the_criterion():
    module = _registry.load("e00")
    rows = [Row("error", 0.1, split="L-9"), Row("tolerance", 4.0, split="L-9")]
    good, bad = Row("control", 9.0, split="L-9"), Row("control", 3.0, split="L-9")
    settings = module.PRESETS["smoke"]
    verdict = {
        row.value: next(
            c for c in module.criteria(Table([*rows, row]), settings) if c.id == "E0.L-9"
        )
        for row in (good, bad)
    }
    assert verdict[9.0].passed is True and verdict[3.0].passed is False
