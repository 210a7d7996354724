"""Simulated averages: explicit matrices, honest errors, the same numbers on every backend."""

import inspect

import joblib
import numpy as np
import pytest
from scipy import special

from lindiff import _jobs, _training_jobs, _training_sets, _wishart, schedules, simulation, spectra
from lindiff._control_variates import Moments, controlled_estimate, plain_estimate
from lindiff.simulation import QUANTITIES, average

VALUES = np.array([3.0, 1.0, 0.5, 0.2])
LEVELS = np.array([[0.999], [0.5], [0.05]])
FLOORS = np.array([0.02, 0.3])
SINGLE = tuple(name for name in QUANTITIES if name != "pair_alignment")


def trace(matrices):
    return np.trace(matrices, axis1=-2, axis2=-1)


def dense(sample, mean, cov, alpha_bar, floor):
    """All quantities of training sets, whose means are off by `mean`, from explicit matrices."""
    d, noise = len(cov), 1.0 - alpha_bar
    eye, inv = np.eye(d), np.linalg.inv
    w = np.sqrt(noise) * inv(alpha_bar * sample + (noise + alpha_bar * floor) * eye)
    outer = mean[..., :, None] * mean[..., None, :]

    def loss(second):
        rest = np.sum((eye - np.sqrt(noise) * w) ** 2, axis=(-2, -1))
        return alpha_bar * trace(w @ second @ w) + rest

    best = np.sqrt(noise) * inv(alpha_bar * cov + noise * eye)
    training, test = loss(sample), loss(cov + outer)
    z = noise / alpha_bar + floor
    q, model = inv(sample + z * eye), sample + floor * eye
    distance = trace((w - best) @ (alpha_bar * cov + noise * eye) @ (w - best))
    kl = trace(inv(model) @ (cov + outer)) - d
    ratio = np.linalg.slogdet(model)[1] - np.linalg.slogdet(cov)[1]
    reverse = trace(inv(cov) @ (model + outer)) - d - ratio
    return {
        "residual_loss": training + alpha_bar * floor * np.sum(w**2, axis=(-2, -1)),
        "training_loss": training,
        "test_loss": test,
        "gap": test - training,
        "alignment": distance + alpha_bar * trace(w @ outer @ w),
        "kl": 0.5 * (kl + ratio),
        "reverse_kl": 0.5 * reverse,
        "log_det": np.linalg.slogdet(sample + z * eye)[1],
        "trace_inverse": trace(q),
        "trace_inverse_squared": trace(q @ q),
        "population_trace": trace(cov @ q),
        "population_trace_squared": trace(cov @ q @ q),
        "weights": w,
    }


def training_sets(n_samples, estimated_mean, n_draws, rng):
    """Sample covariances and errors of the means of many training sets."""
    x = rng.standard_normal((n_draws, n_samples, 4)) * np.sqrt(VALUES)
    mean = x.mean(axis=1) if estimated_mean else np.zeros((n_draws, 4))
    away = x - mean[:, None]
    return np.swapaxes(away, 1, 2) @ away / n_samples, mean


def explicit(n_samples, estimated_mean, n_draws, rng):
    """Means and standard errors of all quantities, with data, covariances and weights explicit."""
    cov = np.diag(VALUES)
    (sample, mean), (other_sample, other_mean) = (
        training_sets(n_samples, estimated_mean, n_draws, rng) for _ in range(2)
    )
    draws = {name: np.zeros((n_draws, 3, 2)) for name in QUANTITIES}
    for i, j in np.ndindex(3, 2):
        a, c = LEVELS[i, 0], FLOORS[j]
        found = dense(sample, mean, cov, a, c)
        w, v = found["weights"], dense(other_sample, other_mean, cov, a, c)["weights"]
        spread = trace((w - v) @ (a * cov + (1 - a) * np.eye(4)) @ (w - v))
        apart = np.einsum("nij,nj->ni", w, mean) - np.einsum("nij,nj->ni", v, other_mean)
        found["pair_alignment"] = spread + a * np.sum(apart**2, axis=1)
        for name in QUANTITIES:
            draws[name][:, i, j] = found[name]
    return {
        name: (rows.mean(axis=0), rows.std(axis=0, ddof=1) / np.sqrt(n_draws))
        for name, rows in draws.items()
    }


@pytest.mark.parametrize("degrees", [2, 9])
@pytest.mark.parametrize("estimated_mean", [False, True])
def test_one_draw_is_that_of_its_matrix(degrees, estimated_mean):
    n = degrees + estimated_mean
    setting = _training_sets.Setting(VALUES, n, 0.7, np.array(0.1), estimated_mean, SINGLE)
    row, _ = _training_sets.one_draw(setting, np.random.default_rng(3))
    root = _wishart.factor(VALUES, degrees, np.random.default_rng(3))
    sample = root @ root.T / n
    plain = dense(sample, np.zeros(4), np.diag(VALUES), 0.7, 0.1)
    # The square of the error of the mean at its expectation: four errors with this covariance.
    errors = np.sqrt(VALUES / n) * np.eye(4) * estimated_mean
    shifted = [dense(sample, error, np.diag(VALUES), 0.7, 0.1) for error in errors]
    for name, value in zip(SINGLE, row, strict=True):
        wanted = plain[name] + sum(one[name] - plain[name] for one in shifted)
        if name == "reverse_kl":
            # So does the trace that needs the inverse of the population covariance.
            wanted += 0.5 * (4 * degrees / n - np.trace(sample / VALUES[:, None]))
        assert value == pytest.approx(wanted, rel=1e-11), name


def wishart_kl(n, d, estimated_mean):
    """Exact mean of the divergence without floor: digamma and inverse-Wishart moments."""
    f = n - estimated_mean
    trace = n * d / (f - d - 1)
    log_det = special.digamma(0.5 * (f - np.arange(d))).sum() + d * np.log(2 / n)
    return 0.5 * (trace * (1 + estimated_mean / n) - d + log_det)


def test_divergence_is_infinite_for_a_singular_fit():
    found = average(
        VALUES, 3, 0.5, np.random.default_rng(6), floor=[0.0, 0.1], quantities=["kl"], n_draws=120
    )["kl"]
    assert found.mean[0] == np.inf and np.isnan(found.standard_error[0])
    assert np.isfinite(found.mean[1]) and found.standard_error[1] > 0


def test_merged_moments_are_those_of_all_draws():
    rng = np.random.default_rng(9)
    outputs, controls = rng.standard_normal((60, 3)), rng.standard_normal((60, 2))
    outputs += controls @ rng.standard_normal((2, 3)) + 1e6
    whole = Moments.of(outputs, controls)
    parts = Moments.of(outputs[:7], controls[:7]).merged(Moments.of(outputs[7:], controls[7:]))
    for name in ("output_mean", "output_norm", "control_mean", "control_square", "cross"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-8, atol=1e-9)
    mean, error = plain_estimate(parts)
    np.testing.assert_allclose(mean, outputs.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(error, outputs.std(axis=0, ddof=1) / np.sqrt(60), rtol=1e-8)


def test_regression_against_least_squares():
    rng = np.random.default_rng(10)
    controls = rng.standard_normal((50, 2)) * [1.0, 1e4]
    outputs = (controls @ [2.0, 3e-4] + rng.standard_normal(50))[:, None]
    expected = np.array([0.3, -2e3])
    design = np.column_stack([np.ones(50), controls - expected])
    beta, rest, *_ = np.linalg.lstsq(design, outputs[:, 0])
    error = np.sqrt(rest[0] / 47 * np.linalg.inv(design.T @ design)[0, 0])
    mean, found = controlled_estimate(Moments.of(outputs, controls), expected)
    assert mean[0] == pytest.approx(beta[0], rel=1e-12)
    assert found[0] == pytest.approx(error, rel=1e-12)
    # A control that repeats another, or never varies, changes nothing.
    more = np.column_stack([controls, controls[:, 0] * 5, np.full(50, 7.0)])
    again = controlled_estimate(Moments.of(outputs, more), np.append(expected, [1.5, 7.0]))
    np.testing.assert_allclose(np.ravel(again), [beta[0], error], rtol=1e-8)


def call(n_samples=(5, 9), n_draws=60, **options):
    """A small sweep; equal arguments give equal numbers."""
    options = {"floor": 0.1, "quantities": ["test_loss", "kl"], "draws_per_job": 20, **options}
    return average(
        VALUES, n_samples, [0.9, 0.3], np.random.default_rng(11), n_draws=n_draws, **options
    )


def same(one, other, index=...):
    for name in one.estimates:
        np.testing.assert_array_equal(one[name].mean, other[name].mean[index])
        np.testing.assert_array_equal(one[name].standard_error, other[name].standard_error[index])


def test_seeds_belong_to_sizes_and_draws():
    same(call(n_samples=9), call(), index=1)
    generator = np.random.default_rng(11)
    first, second = (average(VALUES, 9, 0.9, generator, floor=0.1, n_draws=50) for _ in range(2))
    assert first["gap"].mean != second["gap"].mean
    many = call(quantities=["gap", "test_loss", "kl"])
    np.testing.assert_allclose(many["kl"].mean, call()["kl"].mean, rtol=1e-12)
    np.testing.assert_allclose(call(draws_per_job=7)["kl"].mean, many["kl"].mean, rtol=1e-12)


def test_levels_may_be_a_schedule():
    schedule = schedules.linear_beta(4)
    options = {"floor": 0.1, "n_draws": 50}
    one = average(VALUES, 9, schedule, np.random.default_rng(12), **options)
    two = average(VALUES, 9, schedule.alpha_bar, np.random.default_rng(12), **options)
    np.testing.assert_allclose(one["gap"].mean, two["gap"].mean, rtol=1e-11)


def test_many_levels_are_those_of_single_calls():
    values, levels = spectra.power_law(200, 1.0), np.linspace(0.02, 0.999, 90)
    options = {"floor": 1e-3, "quantities": SINGLE, "n_draws": 50}
    whole = average(values, 40, levels, np.random.default_rng(14), **options)
    for i in (0, 44, 89):
        one = average(values, 40, levels[i], np.random.default_rng(14), **options)
        for name in SINGLE:
            np.testing.assert_allclose(one[name].mean, whole[name].mean[i], rtol=1e-9)
            np.testing.assert_allclose(
                one[name].standard_error, whole[name].standard_error[i], rtol=1e-6
            )


WORK = _training_jobs._moments


class Interrupted:
    """Stands in for the work of a job and stops the sweep after some calls."""

    def __init__(self, calls):
        self.left = calls

    def __call__(self, *arguments):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return WORK(*arguments)


def test_interrupted_sweep_keeps_what_is_done(tmp_path, monkeypatch):
    whole = call()
    monkeypatch.setattr(_training_jobs, "_moments", Interrupted(4))
    with pytest.raises(KeyboardInterrupt):
        call(store=tmp_path)
    done = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(done) == 4 and {path.suffix for path in done} == {".npz"}
    monkeypatch.setattr(_training_jobs, "_moments", Interrupted(2))
    same(whole, call(store=tmp_path))
    assert len(list(tmp_path.iterdir())) == 6
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in done.items())
    # Nothing is left to do; more draws and another size only add jobs.
    monkeypatch.setattr(_training_jobs, "_moments", Interrupted(0))
    same(whole, call(store=tmp_path))
    monkeypatch.setattr(_training_jobs, "_moments", Interrupted(2 + 4))
    more = call(store=tmp_path, n_samples=(5, 9, 12), n_draws=80)
    monkeypatch.undo()
    same(more, call(n_samples=(5, 9, 12), n_draws=80))


def test_half_written_files_do_not_count(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        call(store=tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    (tmp_path / "left.part").write_bytes(b"half")
    same(call(), call(store=tmp_path))


def test_damaged_and_foreign_files_are_named(tmp_path):
    call(store=tmp_path)
    path = sorted(tmp_path.glob("*.npz"))[0]
    content = dict(np.load(path))
    for key in ("another", "~", ""):
        np.savez(path, **{**content, "key": np.array(key)})
        with pytest.raises(ValueError, match=f"`store` has a file .*{path.name} of another"):
            call(store=tmp_path)
    path.write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=f"`store` has an unreadable file .*{path.name}"):
        call(store=tmp_path)
    path.unlink()
    same(call(), call(store=tmp_path))


def test_backends_without_a_generator_return_all_at_the_end():
    with joblib.parallel_config(backend="multiprocessing", n_jobs=2):
        assert not _jobs._parallel().return_generator
    assert _jobs._parallel().return_generator


def test_a_store_is_made_with_its_parents(tmp_path):
    same(call(), call(store=tmp_path / "a" / "b"))
    assert len(list((tmp_path / "a" / "b").iterdir())) == 6


def test_options_by_default():
    defaults = {name: each.default for name, each in inspect.signature(average).parameters.items()}
    assert defaults["estimated_mean"] is defaults["control_variates"] is True
    assert defaults["progress"] is False and defaults["store"] is None
    assert inspect.signature(_jobs.run).parameters["progress"].default is False
    assert (defaults["floor"], defaults["n_draws"], defaults["draws_per_job"]) == (0.0, 1000, 50)
    one = average([1.0], 3, 0.5, np.random.default_rng(0), quantities="gap", n_draws=50)
    two = average([1.0], 3, 0.5, np.random.default_rng(0), quantities=["gap"], n_draws=50)
    assert one["gap"].mean == two["gap"].mean and one["gap"].n_draws == 50


def test_stored_pickles_are_refused(tmp_path):
    job = _jobs.Job("k", None, ())
    np.savez(job.path(tmp_path), key=np.array("k"), bad=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="unreadable"):
        _jobs.run([job], store=tmp_path)


def test_changed_configuration_is_another_job(tmp_path):
    call(store=tmp_path)
    count = len(list(tmp_path.iterdir()))
    for change in ({"floor": 0.2}, {"estimated_mean": False}, {"quantities": ["kl"]}):
        call(store=tmp_path, **change)
        count += 6
        assert len(list(tmp_path.iterdir())) == count


def test_progress_goes_to_standard_error(capsys):
    call()
    assert capsys.readouterr() == ("", "")
    call(progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "6/6" in err


def test_a_level_without_a_limit_is_refused_before_the_jobs(monkeypatch):
    monkeypatch.setattr(_jobs, "run", None)
    for values, n_samples in (([1.0, 0.0], 20), ([1.0, 2.0], 2)):
        with pytest.raises(ValueError, match="`alpha_bar` must be below 1"):
            average(values, n_samples, 1.0, np.random.default_rng(0), n_draws=50)


RNG = np.random.default_rng(13)


@pytest.mark.parametrize(
    ("change", "error", "name"),
    [
        ({"eigenvalues": [[1.0]]}, ValueError, "eigenvalues"),
        ({"eigenvalues": [1.0, -1.0]}, ValueError, "eigenvalues"),
        ({"eigenvalues": [1.0, np.nan]}, ValueError, "eigenvalues"),
        ({"eigenvalues": [1.0, 0.0], "quantities": "kl"}, ValueError, "eigenvalues"),
        ({"n_samples": 0}, ValueError, "n_samples"),
        ({"n_samples": [3, 2.5]}, TypeError, "n_samples"),
        ({"n_samples": True}, TypeError, "n_samples"),
        ({"n_samples": [True, 5]}, TypeError, "n_samples"),
        ({"n_samples": 10**400}, TypeError, "n_samples"),
        ({"eigenvalues": [1.0, 0.0], "quantities": "reverse_kl"}, ValueError, "eigenvalues"),
        ({"n_samples": []}, ValueError, "n_samples"),
        ({"alpha_bar": 0.0}, ValueError, "alpha_bar"),
        ({"alpha_bar": 1.5}, ValueError, "alpha_bar"),
        ({"alpha_bar": 1.0, "n_samples": 2}, ValueError, "alpha_bar"),
        ({"rng": 3}, TypeError, "rng"),
        ({"floor": -1.0}, ValueError, "floor"),
        ({"quantities": ["loss"]}, ValueError, "quantities"),
        ({"quantities": []}, ValueError, "quantities"),
        ({"n_draws": 49}, ValueError, "n_draws"),
        ({"n_draws": 60.0}, TypeError, "n_draws"),
        ({"draws_per_job": 0}, ValueError, "draws_per_job"),
    ],
)
def test_bad_input_is_named(change, error, name):
    arguments = {"eigenvalues": VALUES, "n_samples": 9, "alpha_bar": 0.5, "rng": RNG, **change}
    with pytest.raises(error, match=f"`{name}`"):
        average(**arguments)


def test_unknown_quantity_of_a_result():
    found = call()
    with pytest.raises(KeyError, match="'gap' was not simulated"):
        found["gap"]
    assert found.n_draws == found["kl"].n_draws == 60
    np.testing.assert_array_equal(found.n_samples, [5, 9])
    assert simulation.Estimate(np.array(3.0), np.array(0.5), 9).deviation(2.0) == 2.0


def test_controls_reduce_the_variance():
    options = {"floor": 0.01, "quantities": SINGLE, "n_draws": 150}
    plain, controlled = (
        average(VALUES, 40, 0.9, np.random.default_rng(7), control_variates=flag, **options)
        for flag in (False, True)
    )
    ratio = {
        name: float((plain[name].standard_error / controlled[name].standard_error) ** 2)
        for name in SINGLE
    }
    assert ratio["log_det"] > 30 and ratio["kl"] > 100 and ratio["test_loss"] > 5
    assert min(ratio.values()) > 3
    for name in SINGLE:
        assert abs(plain[name].deviation(controlled[name].mean)) < 4


@pytest.mark.parametrize("values", [VALUES, np.array([2.0, 0.0, 0.5, 0.0]), np.full(5, 1.5)])
@pytest.mark.parametrize(("n_samples", "estimated_mean"), [(1, True), (2, False), (40, True)])
def test_controls_have_the_stated_expectation(values, n_samples, estimated_mean):
    setting = _training_sets.Setting(
        values, n_samples, 0.5, np.array(0.0), estimated_mean, ("log_det",)
    )
    known = _training_sets.expected_controls(setting)
    rng = np.random.default_rng(4)
    drawn = np.array([_training_sets.one_draw(setting, rng)[1] for _ in range(1000)])
    assert drawn.shape[1] == known.size == (5 if n_samples == 40 and values.all() else 3)
    error = drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
    assert np.all(np.abs(drawn.mean(axis=0) - known) <= 4 * error + 1e-14)


@pytest.mark.parametrize("estimated_mean", [False, True])
@pytest.mark.parametrize("values", [VALUES, np.full(4, 0.3)])
def test_divergence_without_floor_is_the_exact_wishart_mean(values, estimated_mean):
    wanted = wishart_kl(12, 4, estimated_mean)
    found = average(
        values,
        12,
        1.0,
        np.random.default_rng(5),
        quantities="kl",
        n_draws=800,
        estimated_mean=estimated_mean,
        control_variates=False,
    )["kl"]
    assert abs(found.deviation(wanted)) < 4
    assert found.standard_error < 0.05 * wanted
    # With the controls of a larger set the value is exact: it is a combination of them.
    exact = average(values, 24, 1.0, np.random.default_rng(5), quantities=["kl"], n_draws=50)["kl"]
    assert exact.mean == pytest.approx(wishart_kl(24, 4, True), rel=1e-10)
    assert exact.standard_error < 1e-7


@pytest.mark.parametrize("estimated_mean", [False, True])
def test_reverse_divergence_without_floor_is_the_exact_wishart_mean(estimated_mean):
    n, d = 24, 4
    halves = 0.5 * (n - estimated_mean - np.arange(d))
    wanted = -0.5 * (special.digamma(halves).sum() + d * np.log(2 / n))
    options = {"quantities": "reverse_kl", "estimated_mean": estimated_mean}
    plain, exact = (
        average(
            VALUES, n, 1.0, np.random.default_rng(5), n_draws=m, control_variates=flag, **options
        )
        for m, flag in ((800, False), (50, True))
    )
    assert abs(plain["reverse_kl"].deviation(wanted)) < 4
    assert plain["reverse_kl"].standard_error < 0.05 * wanted
    assert exact["reverse_kl"].mean == pytest.approx(wanted, rel=1e-10)
    # Where the fit is singular the divergence of either direction is infinite.
    rng = np.random.default_rng(6)
    singular = average(VALUES, 3, 0.5, rng, quantities="reverse_kl", n_draws=50)
    assert singular["reverse_kl"].mean == np.inf


@pytest.mark.parametrize(("n_samples", "estimated_mean"), [(3, True), (3, False), (20, True)])
def test_against_explicit_matrices(n_samples, estimated_mean):
    slow = explicit(n_samples, estimated_mean, 4000, np.random.default_rng(1))
    fast = average(
        VALUES,
        n_samples,
        LEVELS,
        np.random.default_rng(2),
        floor=FLOORS,
        quantities=QUANTITIES,
        n_draws=150,
        estimated_mean=estimated_mean,
    )
    for name in QUANTITIES:
        mean, error = slow[name]
        assert fast[name].mean.shape == (3, 2)
        both = np.hypot(error, fast[name].standard_error)
        assert np.all(np.abs(mean - fast[name].mean) < 4 * both), name


def test_standard_errors_are_honest():
    names, groups, size = ["test_loss", "kl", "log_det"], 400, 60
    setting = _training_sets.Setting(VALUES, 8, 0.8, np.array(0.05), True, tuple(names))
    sample, mean = training_sets(8, True, groups * size + 100_000, np.random.default_rng(8))
    cov = np.diag(VALUES)
    found = dense(sample, mean, cov, 0.8, 0.05)
    outputs = np.stack([found[name] for name in names], axis=1)
    scaled, cov = sample / VALUES.max(), cov / VALUES.max()
    controls = np.stack([trace(scaled), trace(cov @ scaled), trace(scaled @ scaled)], axis=1)
    truth, known = outputs[groups * size :].mean(axis=0), _training_sets.expected_controls(setting)
    pieces = np.split(outputs[: groups * size], groups), np.split(controls[: groups * size], groups)
    moments = [Moments.of(*piece) for piece in zip(*pieces, strict=True)]
    for pairs in (
        [plain_estimate(each) for each in moments],
        [controlled_estimate(each, known) for each in moments],
    ):
        scores = np.array([(value - truth) / error for value, error in pairs])
        # The mean of 400 scores at 4 standard deviations. Few draws of a skewed law spread more.
        assert np.all(np.abs(scores.mean(axis=0)) < 0.25)
        assert np.all(np.abs(scores.std(axis=0) - 1.0) < 0.28)
        assert np.all(np.mean(np.abs(scores) < 1.96, axis=0) > 0.86)
