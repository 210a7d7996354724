import mpmath
import numpy as np
import pytest

from lindiff import schedules
from lindiff.denoisers import (
    AffineDenoiser,
    EmpiricalDenoiser,
    GaussianMixtureDenoiser,
    nearest_neighbours,
)
from lindiff.sampling import affine_moments, ddim_mean_factor, ddim_variance, sample
from lindiff.schedules import NoiseSchedule

MEAN = np.array([1.0, -2.0, 0.5])
COV = np.array([[2.0, 0.6, 0.0], [0.6, 1.0, 0.2], [0.0, 0.2, 0.3]])


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


def test_mixture_denoiser_returns_the_mixture():
    covs = np.array([[[0.05]], [[0.2]]])
    model = GaussianMixtureDenoiser([[-2.0], [1.0]], covs, [0.3, 0.7])
    schedule = schedules.linear_beta(400, 1e-4, 0.05)
    n = 20_000
    drawn = sample(model, schedule, n, np.random.default_rng(5))[:, 0]
    share = np.mean(drawn < -0.8)
    assert abs(share - 0.3) < 0.02
    assert abs(drawn[drawn < -0.8].var() - 0.05) < 0.01


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
        ({"eta": np.nan}, ValueError, "eta"),
        ({"rng": 0}, TypeError, "rng"),
        ({"n_samples": 0}, ValueError, "n_samples"),
        ({"schedule": [0.5]}, TypeError, "schedule"),
        ({"dim": 2}, ValueError, "dim"),
        ({"denoiser": lambda x: x}, TypeError, "denoise"),
        ({"denoiser": Plain(lambda x: x)}, ValueError, "dim"),
        ({"denoiser": Plain(lambda x: x[0]), "dim": 3}, ValueError, "shape"),
        ({"denoiser": Plain(lambda x: x * np.nan), "dim": 3}, ValueError, "finite"),
        ({"schedule": NoiseSchedule([1.0, 1.0], [0.0, 1.0])}, ValueError, "clean"),
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


def test_bad_arguments_of_the_laws():
    with pytest.raises(TypeError, match="AffineDenoiser"):
        affine_moments(EmpiricalDenoiser([[0.0]]), _short())
    for end in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="alpha_bar_end"):
            ddim_variance([1.0], end)
    with pytest.raises(ValueError, match="negative"):
        ddim_mean_factor([-1.0], 0.5)
