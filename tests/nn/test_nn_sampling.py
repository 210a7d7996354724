"""The samplers against exact laws and closed trajectories."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lindiff.sampling  # noqa: E402
from lindiff import schedules  # noqa: E402
from lindiff.denoisers import (  # noqa: E402
    AffineDenoiser,
    EmpiricalDenoiser,
    GaussianMixtureDenoiser,
)
from lindiff.nn import sampling  # noqa: E402


class Counted:
    """A denoiser on tensors that counts calls and notes the levels."""

    def __init__(self, denoiser):
        self.denoiser, self.levels = denoiser, []

    def denoise(self, x, sigma):
        self.levels.append(sigma)
        clean = self.denoiser.denoise(x.double().numpy(), sigma)
        return torch.from_numpy(clean).to(x)


@pytest.fixture(scope="module")
def gaussian():
    rng = np.random.default_rng(0)
    variances = np.arange(1, 65) ** -1.5
    vectors = np.linalg.qr(rng.standard_normal((64, 64)))[0]
    return AffineDenoiser.from_moments(rng.standard_normal(64), (vectors * variances) @ vectors.T)


@pytest.fixture(scope="module")
def bank():
    return sampling.noise_bank(200, 64, seed=1).double().numpy()


@pytest.mark.parametrize("method", ["heun", "euler"])
@pytest.mark.parametrize("n_steps", [1, 2, 18])
def test_samples_are_those_of_the_theory(gaussian, bank, method, n_steps):
    schedule = schedules.karras(n_steps)
    # The theory divides its first points by the signal of the noisiest level.
    start = bank * 80 * np.sqrt(schedule.alpha_bar[-1])
    exact = lindiff.sampling.sample(
        gaussian, schedule, len(bank), np.random.default_rng(0), solver=method, start=start
    )
    ours = sampling.heun_samples(gaussian, bank, n_steps=n_steps, method=method)
    assert np.allclose(ours, exact, rtol=0, atol=1e-11)
    longer = sampling.heun_samples(gaussian, bank, n_steps=n_steps + 1, method=method)
    assert np.abs(longer - exact).max() > 1e-3


@pytest.mark.parametrize("method", ["heun", "euler"])
def test_samples_have_the_exact_affine_moments(gaussian, method):
    law = lindiff.sampling.affine_moments(gaussian, schedules.karras(18), solver=method)
    # First points of variance 1 / alpha_bar = 1 + sigma^2; the map is affine in them.
    scale = np.sqrt(1 + 80.0**2) / 80
    points = np.concatenate([np.zeros((1, 64)), scale * np.eye(64)])
    centre, *columns = sampling.heun_samples(gaussian, points, method=method)
    away = np.stack(columns) - centre
    assert np.allclose(centre, law.mean, atol=1e-11)
    assert np.allclose(away.T @ away, law.covariance, atol=1e-11)


def trajectory_error(gaussian, bank, n_steps, method, **grid):
    exact = sampling.gaussian_flow(gaussian, 80 * bank, 80.0, 0.0)
    ours = sampling.heun_samples(gaussian, bank, n_steps=n_steps, method=method, **grid)
    return np.linalg.norm(ours - exact) / np.linalg.norm(exact - gaussian.mean)


@pytest.mark.parametrize(("method", "order"), [("heun", 2), ("euler", 1)])
def test_order_of_convergence_to_the_closed_trajectory(gaussian, bank, method, order):
    # The last step, to noise 0, has a fixed length: it must not limit the accuracy.
    errors = [trajectory_error(gaussian, bank, n, method, sigma_min=2e-4) for n in (80, 160, 320)]
    observed = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.all(np.abs(observed - order) < 0.06)


def test_errors_of_heun_are_those_of_the_ledger(gaussian, bank):
    errors = [trajectory_error(gaussian, bank, n, "heun") for n in (10, 18, 40, 100, 500)]
    assert errors == pytest.approx([0.24, 0.061, 0.0106, 0.0015, 1.3e-4], rel=0.05)


def test_gaussian_flow_composes_and_solves_the_equation(gaussian, bank):
    halfway = sampling.gaussian_flow(gaussian, bank, 3.0, 0.7)
    assert np.allclose(
        sampling.gaussian_flow(gaussian, halfway, 0.7, 0.1),
        sampling.gaussian_flow(gaussian, bank, 3.0, 0.1),
        atol=1e-12,
    )
    step = 1e-5
    slope = (
        sampling.gaussian_flow(gaussian, bank, 3.0, 3.0 + step)
        - sampling.gaussian_flow(gaussian, bank, 3.0, 3.0 - step)
    ) / (2 * step)
    assert np.allclose(slope, (bank - gaussian.denoise(bank, 3.0)) / 3.0, atol=1e-8)


def test_gaussian_flow_shrinks_directions_without_variance():
    flat = AffineDenoiser(np.zeros(2), np.array([3.0]), np.array([[1.0], [0.0]]))
    moved = sampling.gaussian_flow(flat, torch.tensor([[2.0, 2.0]]), 1.0, 0.5)
    assert moved[0].tolist() == pytest.approx([2 * np.sqrt(3.25 / 4), 1.0])


@pytest.mark.parametrize(("method", "calls"), [("heun", 35), ("euler", 18)])
def test_calls_are_counted(gaussian, bank, method, calls):
    counted = Counted(gaussian)
    sampling.heun_samples(counted, torch.from_numpy(bank), method=method)
    assert len(counted.levels) == calls == sampling.n_evaluations(18, method=method)
    assert counted.levels[0] == 80 and min(counted.levels) == 0.002


def test_start_leaves_out_the_levels_above(gaussian, bank):
    whole, counted = sampling.noise_levels(18), Counted(gaussian)
    noise = torch.from_numpy(bank)
    samples = sampling.heun_samples(counted, noise, start=5.0)
    kept = whole[whole <= 5.0]
    assert counted.levels[0] == kept[0] and whole[len(whole) - len(kept) - 1] > 5
    assert len(counted.levels) == sampling.n_evaluations(18, start=5.0)
    # A grid level itself is kept, and the first point is noise times the first level.
    short = sampling.heun_samples(gaussian, bank, start=kept[0])
    assert np.allclose(short, samples.numpy(), atol=1e-12)
    one = sampling.heun_samples(gaussian, bank, start=0.002)
    assert np.allclose(one, gaussian.denoise(0.002 * bank, 0.002), atol=1e-12)


def test_teleportation_replaces_the_first_steps(gaussian, bank):
    options = {"n_steps": 60, "start": 4.0}
    teleported = sampling.heun_samples(gaussian, bank, gaussian=gaussian, **options)
    exact = sampling.gaussian_flow(gaussian, 80 * bank, 80.0, 0.0)
    whole = sampling.heun_samples(gaussian, bank, n_steps=60)
    cold = sampling.heun_samples(gaussian, bank, **options)

    def error(samples):
        return np.linalg.norm(samples - exact) / np.linalg.norm(exact - gaussian.mean)

    assert error(teleported) < error(whole) < 0.01 < error(cold)


def test_teleportation_of_a_mixture_changes_little():
    rng = np.random.default_rng(3)
    means = rng.standard_normal((4, 8))
    mixture = GaussianMixtureDenoiser(means, np.stack([0.05 * np.eye(8)] * 4), np.full(4, 0.25))
    gaussian = AffineDenoiser.from_moments(mixture.mean, mixture.covariance)
    noise = sampling.noise_bank(400, 8, seed=0).double().numpy()
    widest = np.sqrt(np.linalg.eigvalsh(mixture.covariance)[-1])
    whole = sampling.heun_samples(mixture, noise, n_steps=60)

    def change(times):
        moved = sampling.heun_samples(
            mixture, noise, n_steps=60, start=times * widest, gaussian=gaussian
        )
        return np.linalg.norm(moved - whole) / np.linalg.norm(whole)

    assert change(5) < 0.02 < 0.05 < change(0.5)


def test_single_precision_agrees_with_double(gaussian, bank):
    double = sampling.heun_samples(Counted(gaussian), torch.from_numpy(bank))
    single = sampling.heun_samples(Counted(gaussian), torch.from_numpy(bank).float())
    assert double.dtype == torch.float64 and single.dtype == torch.float32
    assert torch.allclose(single.double(), double, atol=2e-4)
    assert not torch.equal(single.double(), double)


def test_samples_of_a_training_set_are_training_points():
    points = np.random.default_rng(0).standard_normal((5, 3))
    noise = sampling.noise_bank(50, 3, seed=2).double().numpy()
    samples = sampling.heun_samples(EmpiricalDenoiser(points), noise)
    distance = np.linalg.norm(samples[:, None] - points, axis=2).min(axis=1)
    assert np.mean(distance < 0.01 * np.linalg.norm(points, axis=1).mean()) >= 0.98


def test_bank_is_standard_normal_and_nested():
    bank = sampling.noise_bank(400, 50, seed=7)
    assert bank.dtype == torch.float32 and bank.shape == (400, 50)
    assert abs(bank.mean()) < 4 / 20000**0.5 and abs(bank.var() - 1) < 4 * (2 / 20000) ** 0.5
    assert torch.equal(sampling.noise_bank(100, 50, seed=7), bank[:100])
    assert not torch.equal(sampling.noise_bank(400, 50, seed=8), bank)


class Wrong:
    """A denoiser that returns what it is told to."""

    def __init__(self, answer):
        self.answer = answer

    def denoise(self, x, sigma):
        return self.answer(x)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"denoiser": object()}, TypeError, "denoise"),
        ({"denoiser": Wrong(lambda x: x[:, :1])}, ValueError, "return shape"),
        ({"denoiser": Wrong(lambda x: x * np.nan)}, ValueError, "NaN"),
        ({"method": "rk4"}, ValueError, "heun, euler"),
        ({"n_steps": 0}, ValueError, "n_steps"),
        ({"start": 0.001}, ValueError, "start"),
        ({"start": -1.0}, ValueError, "start"),
        ({"noise": np.zeros(64)}, ValueError, "noise"),
        ({"noise": torch.zeros(2, 64, dtype=torch.long)}, ValueError, "noise"),
        ({"gaussian": object()}, TypeError, "gaussian"),
    ],
)
def test_bad_arguments(gaussian, bank, options, error, said):
    arguments = {"denoiser": gaussian, "noise": bank, **options}
    with pytest.raises(error, match=said):
        sampling.heun_samples(arguments.pop("denoiser"), arguments.pop("noise"), **arguments)


def test_flow_refuses_a_floor():
    floored = AffineDenoiser.from_moments([0.0], [[1.0]], floor=0.1)
    with pytest.raises(ValueError, match="floor"):
        sampling.gaussian_flow(floored, np.ones((1, 1)), 2.0, 1.0)
