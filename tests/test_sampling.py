import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lindiff import schedules
from lindiff.denoisers import (
    AffineDenoiser,
    EmpiricalDenoiser,
    GaussianMixtureDenoiser,
    nearest_neighbours,
)
from lindiff.sampling import (
    affine_moments,
    ddim_mean_factor,
    ddim_variance,
    mode_moments,
    mode_trajectory,
    sample,
)
from lindiff.schedules import NoiseSchedule

MEAN = np.array([1.0, -2.0, 0.5])
COV = np.array([[2.0, 0.6, 0.0], [0.6, 1.0, 0.2], [0.0, 0.2, 0.3]])


METHODS = [
    {"eta": 0.4},
    {"solver": "ddpm"},
    {"solver": "ddpm-beta"},
    {"solver": "ddpm-beta", "final_noise": True},
    {"solver": "euler"},
    {"solver": "heun"},
]


def _name(method):
    return "-".join(map(str, method.values()))


def _short(n_steps=12):
    return schedules.linear_beta(n_steps, 1e-3, 0.6)


def _arc(n_steps, end=0.05):
    """Levels with equal steps of the angle whose squared cosine is alpha_bar."""
    angle = np.arccos(np.sqrt(end)) * np.arange(1, n_steps + 1) / n_steps
    return NoiseSchedule(np.cos(angle), np.sin(angle))


def _dense_law(denoiser, schedule, eta):
    """Matrix recursion of the rule in its variance-preserving form."""
    d = denoiser.dimension
    level = np.append(1.0, schedule.alpha_bar)
    mean, cov = np.zeros(d), np.eye(d)
    for now, then in zip(level[:0:-1], level[-2::-1], strict=True):
        weights, bias = denoiser.weights(now)
        variance = eta**2 * (1 - then) / (1 - now) * (1 - now / then)
        ahead = np.sqrt(max(1 - then - variance, 0.0))
        factor = np.sqrt(then / now)
        matrix = factor * (np.eye(d) - np.sqrt(1 - now) * weights) + ahead * weights
        mean = matrix @ mean + (ahead - factor * np.sqrt(1 - now)) * bias
        cov = matrix @ cov @ matrix.T + variance * np.eye(d)
    return mean, cov


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_moments_equal_dense_recursion(eta, floor):
    full = AffineDenoiser.from_moments(MEAN, COV, floor=floor)
    rng = np.random.default_rng(0)
    thin = AffineDenoiser.from_data(rng.standard_normal((3, 6)) + 1, floor=floor)
    for denoiser in (full, thin):
        law = affine_moments(denoiser, _short(), eta=eta)
        mean, cov = _dense_law(denoiser, _short(), eta)
        np.testing.assert_allclose(law.mean, mean, atol=1e-12)
        np.testing.assert_allclose(law.covariance, cov, atol=1e-12)


def _dense_step(solver, now, then, matrix, clean):
    """Affine map (matrix, offset) and variance of one VP step; clean(level) = (matrix, offset)."""
    eye = np.eye(len(matrix))
    beta = 1 - now / then
    if solver == "heun":
        # One step of dy/dsigma = (y - D) / sigma for y = u / sqrt(alpha_bar).
        t, s = np.sqrt(1 / now - 1), np.sqrt(1 / then - 1)
        slope, shift = (eye - clean(now)[0]) / t, -clean(now)[1] / t
        map_, offset = eye + (s - t) * slope, (s - t) * shift
        if s > 0:
            late, late_shift = (eye - clean(then)[0]) / s, -clean(then)[1] / s
            slope, shift = slope + late @ map_, shift + late @ offset + late_shift
            map_, offset = eye + (s - t) / 2 * slope, (s - t) / 2 * shift
        return np.sqrt(then / now) * map_, np.sqrt(then) * offset, 0.0
    # Posterior mean of the bridge between the clean estimate and the noisy point.
    on_clean, on_noisy = np.sqrt(then) * beta, np.sqrt(1 - beta) * (1 - then)
    whole = 1 - now
    map_ = (on_clean / np.sqrt(now) * clean(now)[0] + on_noisy * eye) / whole
    return map_, on_clean / whole * clean(now)[1], beta


@pytest.mark.parametrize("solver", ["heun", "ddpm-beta"])
@pytest.mark.parametrize("regular", [{}, {"floor": 0.2}, {"ridge": 0.1}, {"ridge": np.square}])
def test_moments_equal_dense_recursion_of_other_solvers(solver, regular):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((3, 6)) + 1
    denoiser = AffineDenoiser.from_data(data, **regular)
    d, away = 6, data - data.mean(axis=0)
    ridge = regular.get("ridge", 0.0)

    def clean(level):
        penalty = ridge(level) if callable(ridge) else ridge
        cov = away.T @ away / 3 + (regular.get("floor", 0.0) + penalty / level) * np.eye(d)
        gain = np.linalg.solve(cov + (1 / level - 1) * np.eye(d), cov)
        return gain, (np.eye(d) - gain) @ data.mean(axis=0)

    level = np.append(1.0, _short().alpha_bar)
    for final in (False, True):
        mean, cov = np.zeros(d), np.eye(d)
        for now, then in zip(level[:0:-1], level[-2::-1], strict=True):
            matrix, offset, variance = _dense_step(solver, now, then, np.eye(d), clean)
            mean, cov = matrix @ mean + offset, matrix @ cov @ matrix.T
            cov += variance * (then < 1 or final) * np.eye(d)
        noise = {"final_noise": True} if final and solver == "ddpm-beta" else {}
        law = affine_moments(denoiser, _short(), solver=solver, **noise)
        np.testing.assert_allclose(law.mean, mean, atol=1e-12)
        np.testing.assert_allclose(law.covariance, cov, atol=1e-12)


@pytest.mark.parametrize("method", METHODS, ids=_name)
@pytest.mark.parametrize("eigenvalue", [0.0, 1e-8, 1.0, 1e6])
def test_every_solver_keeps_twelve_digits(method, eigenvalue):
    schedule = schedules.linear_beta(1000)
    factor, variance = mode_moments([eigenvalue], schedule, **method)
    with mpmath.workdps(40):
        lam, sigma = mpmath.mpf(eigenvalue), [mpmath.mpf(0), *map(mpmath.mpf, schedule.sigma)]
        v, left, eta = 1 + sigma[-1] ** 2, mpmath.mpf(1), mpmath.mpf(method.get("eta", 0))
        solver = method.get("solver", "ddim")
        for s, t in zip(sigma[-2::-1], sigma[:0:-1], strict=True):
            noise = mpmath.mpf(0)
            if solver == "ddpm-beta" and (s > 0 or "final_noise" in method):
                noise = (1 + s**2) * (1 - (1 + s**2) / (1 + t**2))
            if solver in ("euler", "heun"):
                slope = t / (lam + t**2)
                if solver == "heun" and s > 0:
                    slope = (slope + s / (lam + s**2) * (1 + (s - t) * slope)) / 2
                shrink = 1 + (s - t) * slope
            else:
                eta = mpmath.mpf(1) if solver.startswith("ddpm") else eta
                bridge = (eta * s / t) ** 2 * (t**2 - s**2)
                noise = bridge if solver in ("ddim", "ddpm") else noise
                shrink = (lam + mpmath.sqrt(s**2 - bridge) * t) / (lam + t**2)
            v, left = shrink**2 * v + noise, left * shrink
        want = float(1 - left), float(v)
    np.testing.assert_allclose([factor[0], variance[0]], want, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS, ids=_name)
def test_many_modes_agree_with_few(method):
    eigenvalues = np.append(np.geomspace(1e-9, 1e4, 2999), 0.0)
    schedule = schedules.linear_beta(300)
    many = mode_moments(eigenvalues.reshape(3, -1), schedule, **method)
    pieces = [mode_moments(part, schedule, **method) for part in np.split(eigenvalues, 30)]
    for got, few in zip(many, zip(*pieces, strict=True), strict=True):
        np.testing.assert_allclose(got.ravel(), np.concatenate(few), rtol=3e-13)
    order = np.random.default_rng(0).permutation(3000)
    shuffled = mode_moments(eigenvalues[order], schedule, **method)
    np.testing.assert_array_equal(shuffled[1], many[1].ravel()[order])


def test_eigenvalues_on_the_nodes_of_the_interpolation():
    nodes = np.cos(np.pi * (np.arange(24) + 0.5) / 24)
    eigenvalues = np.concatenate([[1.0], np.exp(1.0 + nodes), np.linspace(1.0, 7.0, 50)])
    schedule = _short(20)
    many = mode_moments(eigenvalues, schedule, eta=0.5)
    few = mode_moments(eigenvalues[:25], schedule, eta=0.5)
    np.testing.assert_allclose([part[:25] for part in many], few, rtol=1e-13)


@pytest.mark.parametrize("method", METHODS, ids=_name)
@pytest.mark.parametrize("start", ["normal", "matched"])
def test_trajectory_is_the_textbook_recursion(method, start):
    schedule, lam = _short(40), np.array([0.0, 0.3, 7.0])
    means, variances = mode_trajectory(lam, schedule, start=start, **method)
    level, solver = np.append(1.0, schedule.alpha_bar), method.get("solver", "ddim")
    ratio = 1.0 if solver.startswith("ddpm") else method.get("eta", 0.0) ** 2
    m, v = np.zeros(3), np.ones(3)
    if start == "matched":
        m, v = np.sqrt(level[-1]) * np.ones(3), level[-1] * lam + 1 - level[-1]
    np.testing.assert_allclose([means[-1], variances[-1]], [m, v], rtol=1e-14)
    if solver != "heun":
        for t in range(40, 0, -1):
            now, then, beta = level[t], level[t - 1], 1 - level[t] / level[t - 1]
            weight = np.sqrt(1 - now) / (now * lam + 1 - now)
            noise = ratio * beta * (1 - then) / (1 - now)
            ahead = np.sqrt(max(1 - then - noise, 0.0)) - np.sqrt(then * (1 - now) / now)
            shrink, shift = np.sqrt(then / now) + ahead * weight, -ahead * weight * np.sqrt(now)
            if solver == "ddpm-beta":
                noise = beta * (t > 1 or "final_noise" in method)
            m, v = shrink * m + shift, shrink**2 * v + noise
            np.testing.assert_allclose(means[t - 1], m, rtol=1e-9)
            np.testing.assert_allclose(variances[t - 1], v, rtol=1e-9, atol=1e-14)
    ends = mode_moments(lam, schedule, start=start, **method)
    np.testing.assert_allclose(ends, [means[0], variances[0]], rtol=1e-13)


@settings(deadline=None, max_examples=40)
@given(
    eigenvalues=arrays(
        st.sampled_from([np.float64, np.float32, np.int64]),
        array_shapes(min_dims=1, max_dims=3, max_side=6),
        elements=st.integers(0, 1000),
    ),
    n_steps=st.integers(1, 40),
    method=st.sampled_from(METHODS),
    start=st.sampled_from(["normal", "matched"]),
)
def test_any_shape_and_type(eigenvalues, n_steps, method, start):
    schedule = schedules.karras(n_steps, 0.01, 30.0)
    factor, variances = mode_moments(eigenvalues, schedule, start=start, **method)
    assert factor.shape == variances.shape == eigenvalues.shape
    assert factor.dtype == variances.dtype == np.float64
    assert np.all((factor >= 0) & (factor <= 1 + 1e-14)) and np.all(variances >= 0)
    # A mode knows nothing of the others: equal eigenvalues, equal laws.
    values, inverse = np.unique(eigenvalues, return_inverse=True)
    alone = mode_moments(values, schedule, start=start, **method)
    for got, want in zip((factor, variances), alone, strict=True):
        np.testing.assert_allclose(got.ravel(), want[inverse.ravel()], rtol=1e-12)


def test_floor_of_the_last_injected_noise():
    """Merger and Goldt's appendix C: where the data do not vary, the last noise stays."""
    schedule = schedules.linear_beta(1000, 1.099e-4, 1e-2)
    for method in METHODS:
        variance = mode_moments([0.0], schedule, **method)[1][0]
        want = 1.099e-4 if "final_noise" in method else 0.0
        np.testing.assert_allclose(variance, want, rtol=1e-12)


def test_euler_is_deterministic_ddim_and_ddpm_is_eta_one():
    denoiser = AffineDenoiser.from_moments(MEAN, COV)
    for one, other in (({"solver": "euler"}, {}), ({"solver": "ddpm"}, {"eta": 1.0})):
        first = sample(denoiser, _short(), 4, np.random.default_rng(0), **one)
        second = sample(denoiser, _short(), 4, np.random.default_rng(0), **other)
        np.testing.assert_array_equal(first, second)
        laws = [affine_moments(denoiser, _short(), **method) for method in (one, other)]
        np.testing.assert_array_equal(laws[0].variances, laws[1].variances)


@pytest.mark.parametrize("method", METHODS[2:4] + METHODS[5:], ids=_name)
def test_moments_equal_simulation_of_other_solvers(method):
    rng = np.random.default_rng(7)
    denoiser = AffineDenoiser.from_moments(MEAN, COV, ridge=0.05)
    n = 50_000
    drawn = sample(denoiser, _short(), n, rng, **method)
    law = affine_moments(denoiser, _short(), **method)
    away = drawn - law.mean
    assert np.all(np.abs(away.mean(axis=0)) < 4 * drawn.std(axis=0) / np.sqrt(n))
    products = away[:, :, None] * away[:, None, :]
    error = products.std(axis=0) / np.sqrt(n)
    assert np.all(np.abs(products.mean(axis=0) - law.covariance) < 4 * error)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_start_decides_a_deterministic_sample(solver):
    """The samples are an affine function of the start, with the factors of the law."""
    denoiser, schedule = AffineDenoiser.from_moments(MEAN, COV), _short()
    u = np.random.default_rng(8).standard_normal((5, 3))
    drawn = sample(denoiser, schedule, 5, np.random.default_rng(0), solver=solver, start=u)
    law = affine_moments(denoiser, schedule, solver=solver)
    want = law.mean + (u @ law.eigenvectors * np.sqrt(law.variances)) @ law.eigenvectors.T
    np.testing.assert_allclose(drawn, want, rtol=1e-10)
    with pytest.raises(ValueError, match="start"):
        sample(denoiser, schedule, 4, np.random.default_rng(0), start=u)


def test_heun_takes_one_call_less_than_two_per_level():
    class Counter:
        dimension, calls = 1, ()

        def denoise(self, x, sigma):
            self.calls += (float(sigma),)
            return 0.5 * x

    counter = Counter()
    schedule = schedules.karras(3)
    sample(counter, schedule, 2, np.random.default_rng(0), solver="heun")
    s = schedule.sigma
    np.testing.assert_allclose(counter.calls, [s[2], s[1], s[1], s[0], s[0]])


def test_matched_start_keeps_the_mean_and_helps_the_variance():
    schedule = schedules.linear_beta(500, 1e-4, 1e-2)
    lam = np.array([0.5, 20.0, 300.0])
    factor, matched = mode_moments(lam, schedule, solver="heun", start="matched")
    normal = mode_moments(lam, schedule, solver="heun")[1]
    np.testing.assert_allclose(factor, 1.0, rtol=1e-14)
    assert np.all(np.abs(matched - lam) < 0.01 * lam)
    assert normal[2] < 0.2 * lam[2]


def test_rotation_carries_over():
    turn = np.linalg.qr(np.random.default_rng(9).standard_normal((3, 3)))[0]
    for method in METHODS:
        plain = affine_moments(AffineDenoiser.from_moments(MEAN, COV), _short(), **method)
        moved = AffineDenoiser.from_moments(turn @ MEAN, turn @ COV @ turn.T)
        turned = affine_moments(moved, _short(), **method)
        np.testing.assert_allclose(turned.mean, turn @ plain.mean, atol=1e-12)
        np.testing.assert_allclose(turned.covariance, turn @ plain.covariance @ turn.T, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("variance", [0.0, 1e-8, 1.0, 1e6])
def test_a_thousand_steps_keep_twelve_digits(eta, variance):
    schedule = schedules.linear_beta(1000)
    denoiser = AffineDenoiser([3.0], [variance], [[1.0]])
    law = affine_moments(denoiser, schedule, eta=eta)
    with mpmath.workdps(40):
        lam, sigma = mpmath.mpf(variance), [mpmath.mpf(0), *map(mpmath.mpf, schedule.sigma)]
        v, left, h = 1 + sigma[-1] ** 2, mpmath.mpf(1), mpmath.mpf(eta)
        for s, t in zip(sigma[-2::-1], sigma[:0:-1], strict=True):
            noise = (h * s / t) ** 2 * (t**2 - s**2)
            keep = mpmath.sqrt(s**2 - noise) / t
            shrink = (lam + keep * t**2) / (lam + t**2)
            v, left = shrink**2 * v + noise, left * shrink
        want = float(v), float(3 * (1 - left))
    np.testing.assert_allclose([law.variances[0], law.mean[0]], want, rtol=1e-12)


def test_ddim_approaches_its_closed_form_at_rate_one():
    eigenvalues, end = np.array([0.2, 1.0, 5.0]), 0.05
    denoiser = AffineDenoiser(np.ones(3), eigenvalues, np.eye(3))
    counts = np.array([100, 200, 400, 800])
    laws = [affine_moments(denoiser, _arc(n, end)) for n in counts]
    for values, limit in (
        (np.array([law.variances for law in laws]), ddim_variance(eigenvalues, end)),
        (np.array([law.mean for law in laws]), ddim_mean_factor(eigenvalues, end)),
    ):
        error = np.abs(values - limit).max(axis=1)
        slope = np.polyfit(np.log(counts), np.log(error), 1)[0]
        assert abs(slope + 1) < 0.05
        assert error[-1] < 0.01


def test_unit_variance_shrinks_by_the_cosine_of_each_step():
    n, end = 7, 0.02
    law = affine_moments(AffineDenoiser([0.0], [1.0], [[1.0]]), _arc(n, end))
    step = np.arccos(np.sqrt(end)) / n
    np.testing.assert_allclose(law.variances, np.cos(step) ** (2 * n), rtol=1e-13)
    np.testing.assert_allclose(ddim_variance([1.0], end), 1.0, rtol=1e-15)


def test_ddim_closed_forms_in_limits():
    np.testing.assert_allclose(ddim_variance([0.0, 2.0, 1e9], 1e-12), [0, 2, 1e9], rtol=2e-3)
    np.testing.assert_allclose(ddim_mean_factor([0.0], 0.5), 1.0)
    with mpmath.workdps(40):
        lam, end = mpmath.mpf(10) ** 12, mpmath.mpf(0.5)
        want = float(1 - mpmath.sqrt(end * lam / (1 + end * (lam - 1))))
    np.testing.assert_allclose(ddim_mean_factor([1e12], 0.5), want, rtol=1e-13)


def test_only_the_ratio_of_noise_to_signal_matters():
    denoiser = AffineDenoiser.from_moments(MEAN, COV)
    vp = _short()
    drawn = sample(denoiser, vp, 5, np.random.default_rng(2), eta=0.5)
    other = sample(denoiser, vp.as_ve(), 5, np.random.default_rng(2), eta=0.5)
    np.testing.assert_allclose(drawn, other, rtol=1e-10)


def test_equals_the_ancestral_rule():
    """At eta = 1 the family is the DDPM sampler."""
    denoiser, schedule = AffineDenoiser.from_moments(MEAN, COV), _short()
    rng = np.random.default_rng(3)
    u = rng.standard_normal((4, 3))
    level, beta = np.append(1.0, schedule.alpha_bar), schedule.beta
    for t in range(len(schedule) - 1, -1, -1):
        noise = denoiser.predict_noise(u, level[t + 1])
        u = (u - beta[t] / np.sqrt(1 - level[t + 1]) * noise) / np.sqrt(1 - beta[t])
        if t > 0:
            spread = np.sqrt(beta[t] * (1 - level[t]) / (1 - level[t + 1]))
            u = u + spread * rng.standard_normal(u.shape)
    drawn = sample(denoiser, schedule, 4, np.random.default_rng(3), eta=1.0)
    np.testing.assert_allclose(drawn, u, rtol=1e-9)


def test_empirical_denoiser_returns_training_points():
    rng = np.random.default_rng(4)
    data = rng.standard_normal((10, 2))
    drawn = sample(EmpiricalDenoiser(data), schedules.linear_beta(200, 1e-5, 0.1), 300, rng)
    index, distance = nearest_neighbours(drawn, data)
    assert np.mean(distance < 1e-3) > 0.97
    assert len(set(index.tolist())) == 10


def test_seed_decides_everything_and_progress_goes_to_stderr(capsys):
    denoiser = AffineDenoiser.from_moments(MEAN, COV)
    first = sample(denoiser, _short(), 3, np.random.default_rng(6), eta=1.0)
    assert capsys.readouterr() == ("", "")
    again = sample(denoiser, _short(), 3, np.random.default_rng(6), eta=1.0, progress=True)
    np.testing.assert_array_equal(first, again)
    out, err = capsys.readouterr()
    assert out == ""
    assert "sampling" in err


class Plain:
    def __init__(self, answer):
        self.answer = answer

    def denoise(self, x, sigma):
        return self.answer(x)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"eta": 1.5}, ValueError, "eta"),
        ({"eta": -0.5}, ValueError, "eta"),
        ({"eta": np.nan}, ValueError, "eta"),
        ({"eta": 0.5, "solver": "euler"}, ValueError, "eta"),
        ({"eta": 0.5, "solver": "heun"}, ValueError, "eta"),
        ({"solver": "rk4"}, ValueError, "solver"),
        ({"solver": None}, ValueError, "solver"),
        ({"final_noise": True}, ValueError, "final_noise"),
        ({"final_noise": 1, "solver": "ddpm-beta"}, TypeError, "final_noise"),
        ({"rng": 0}, TypeError, "rng"),
        ({"n_samples": 0}, ValueError, "n_samples"),
        ({"schedule": [0.5]}, TypeError, "schedule"),
        ({"dim": 2}, ValueError, "dim"),
        ({"denoiser": lambda x: x}, TypeError, "denoise"),
        ({"denoiser": Plain(lambda x: x)}, ValueError, "dim"),
        ({"denoiser": Plain(lambda x: x[0]), "dim": 3}, ValueError, "shape"),
        ({"denoiser": Plain(lambda x: x * np.nan), "dim": 3}, ValueError, "finite"),
        ({"denoiser": Plain(lambda x: x / [1.0, np.inf, np.nan]), "dim": 3}, ValueError, "finite"),
        ({"dim": 4}, ValueError, "`dim` is 4"),
        ({"schedule": NoiseSchedule([1.0, 1.0], [0.0, 1.0])}, ValueError, "clean"),
        ({"schedule": NoiseSchedule([1.0, 1.0], [1e-160, 1.0])}, ValueError, "1e-150"),
        ({"schedule": NoiseSchedule([1.0, 1.0], [1.0, 1e160])}, ValueError, "1e150"),
    ],
)
def test_bad_arguments_of_sample(change, error, message):
    arguments = {
        "denoiser": AffineDenoiser.from_moments(MEAN, COV),
        "schedule": _short(),
        "n_samples": 2,
        "rng": np.random.default_rng(0),
    }
    with pytest.raises(error, match=message):
        sample(**(arguments | change))


def test_levels_at_both_limits_are_taken():
    mean, variance = mode_moments([1.0], NoiseSchedule([1.0, 1.0], [1e-150, 1e150]))
    assert np.isfinite(mean[0]) and np.isfinite(variance[0])


def test_bad_arguments_of_the_laws():
    with pytest.raises(TypeError, match="AffineDenoiser"):
        affine_moments(EmpiricalDenoiser([[0.0]]), _short())
    for function in (mode_moments, mode_trajectory):
        with pytest.raises(ValueError, match="eigenvalues"):
            function([-1.0], _short())
        with pytest.raises(ValueError, match="NaN"):
            function([np.nan], _short())
        with pytest.raises(TypeError, match="schedule"):
            function([1.0], [0.5])
        with pytest.raises(ValueError, match="start"):
            function([1.0], _short(), start="zero")
    with pytest.raises(ValueError, match="axes"):
        mode_trajectory([[1.0]], _short())
    for end in (0.0, 1.0, -1.0, 1.5):
        with pytest.raises(ValueError, match="alpha_bar_end"):
            ddim_variance([1.0], end)
    with pytest.raises(ValueError, match="negative"):
        ddim_mean_factor([-1.0], 0.5)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_moments_equal_simulation(eta):
    rng = np.random.default_rng(1)
    denoiser = AffineDenoiser.from_moments(MEAN, COV)
    n = 100_000
    drawn = sample(denoiser, _short(), n, rng, eta=eta)
    law = affine_moments(denoiser, _short(), eta=eta)
    error = drawn.std(axis=0) / np.sqrt(n)
    assert np.all(np.abs(drawn.mean(axis=0) - law.mean) < 4 * error)
    away = drawn - law.mean
    products = away[:, :, None] * away[:, None, :]
    error = products.std(axis=0) / np.sqrt(n)
    assert np.all(np.abs(products.mean(axis=0) - law.covariance) < 4 * error)


def test_mixture_denoiser_returns_the_mixture():
    covs = np.array([[[0.05]], [[0.2]]])
    model = GaussianMixtureDenoiser([[-2.0], [1.0]], covs, [0.3, 0.7])
    schedule = schedules.linear_beta(400, 1e-4, 0.05)
    n = 20_000
    drawn = sample(model, schedule, n, np.random.default_rng(5))[:, 0]
    share = np.mean(drawn < -0.8)
    assert abs(share - 0.3) < 0.02
    assert abs(drawn[drawn < -0.8].var() - 0.05) < 0.01
