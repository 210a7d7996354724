"""The closed forms in PyTorch against those of the theory in NumPy."""

import numpy as np
import pytest
import torch

from lindiff import denoisers
from lindiff.nn import _mixtures, closed_forms

D, N = 6, 20
SIGMAS = [0.02, 0.3, 2.0, 50.0]


def data(n=N, d=D, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ np.diag(np.linspace(1, 0.1, d)) + 0.3


def pairs():
    """A closed form in float64 beside its counterpart."""
    points = data()
    rng = np.random.default_rng(1)
    roots = rng.standard_normal((3, D, 2)) * 0.5
    covs = roots @ roots.transpose(0, 2, 1) + 0.01 * np.eye(D)
    mixture = denoisers.GaussianMixtureDenoiser(data(3, seed=2), covs, [0.5, 0.2, 0.3])
    tensor = torch.tensor(points)
    return {
        "gaussian": (
            closed_forms.GaussianDenoiser.from_images(tensor),
            denoisers.AffineDenoiser.from_data(points),
        ),
        "memorising": (
            closed_forms.MemorisingDenoiser(tensor),
            denoisers.EmpiricalDenoiser(points),
        ),
        "mixture": (
            closed_forms.MixtureDenoiser.from_numpy(mixture, dtype=torch.float64),
            mixture,
        ),
    }


@pytest.mark.parametrize("name", ["gaussian", "memorising", "mixture"])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_closed_forms_agree_with_the_theory(name, sigma):
    ours, theirs = pairs()[name]
    assert isinstance(ours, denoisers.Denoiser)
    x = data(9, seed=3) + sigma * np.random.default_rng(4).standard_normal((9, D))
    expected = theirs.denoise(x, sigma)
    assert np.abs(ours.denoise(x, sigma) - expected).max() < 1e-9
    assert np.abs(ours.float().denoise(x, sigma) - expected).max() < 1e-3
    # The control: another level is another denoiser.
    assert np.abs(ours.denoise(x, sigma) - theirs.denoise(x, 3 * sigma)).max() > 1e-4


@pytest.mark.parametrize("name", ["gaussian", "memorising", "mixture"])
def test_one_level_per_point_and_kinds_of_input(name):
    ours, theirs = pairs()[name]
    x, sigma = data(4, seed=3), np.array(SIGMAS)
    array = ours.denoise(x, sigma)
    assert array.dtype == np.float64
    np.testing.assert_allclose(array, theirs.denoise(x, sigma), rtol=0, atol=1e-9)
    tensor = ours.denoise(torch.tensor(x, dtype=torch.float32), torch.tensor(sigma))
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor.numpy(), array, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(
        ours.denoise(x.reshape(2, 2, D), sigma.reshape(2, 2))[1], array[2:]
    )


@pytest.mark.parametrize("name", ["gaussian", "memorising", "mixture"])
def test_pieces_do_not_change_the_answer(name):
    ours, _ = pairs()[name]
    assert pairs()["mixture"][0].chunk * 3 * D <= 2**22
    x = torch.tensor(data(50, seed=3))
    whole = ours.denoise(x, 0.5)
    ours.chunk = 7
    torch.testing.assert_close(ours.denoise(x, 0.5), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["gaussian", "memorising", "mixture"])
def test_bad_input_fails(name):
    ours, _ = pairs()[name]
    with pytest.raises(ValueError, match=r"`x` must have shape \(n, 6\), got \(2, 5\)"):
        ours.denoise(torch.zeros(2, 5), 0.5)
    for bad in (-0.1, float("nan"), torch.tensor([0.1, float("nan")]), np.array([0.1, -1.0])):
        with pytest.raises(ValueError, match="`sigma`"):
            ours.denoise(torch.zeros(2, D), bad)


def test_gaussian_of_images():
    points = data()
    ours = closed_forms.GaussianDenoiser.from_images(torch.tensor(points))
    values = ours.eigenvalues.numpy()
    assert np.all(np.diff(values) <= 0)
    vectors = ours.eigenvectors.numpy()
    covariance = np.cov(points.T, bias=True)
    np.testing.assert_allclose((vectors * values) @ vectors.T, covariance, rtol=0, atol=1e-12)
    single = closed_forms.GaussianDenoiser.from_images(torch.tensor(points, dtype=torch.float32))
    assert single.mean.dtype == torch.float32
    np.testing.assert_allclose(single.eigenvalues.numpy(), values, rtol=1e-5)


def test_fewer_images_than_pixels_and_no_noise():
    points = data(3, 8)
    ours = closed_forms.GaussianDenoiser.from_images(torch.tensor(points))
    x = data(5, 8, seed=3)
    theirs = denoisers.AffineDenoiser.from_data(points)
    np.testing.assert_allclose(ours.denoise(x, 0.1), theirs.denoise(x, 0.1), rtol=0, atol=1e-9)
    known = closed_forms.GaussianDenoiser([0.0, 0.0], [1.0], [[1.0], [0.0]])
    np.testing.assert_array_equal(known.denoise([[3.0, 4.0]], 0.0), [[3.0, 0.0]])


def test_gains_and_the_map_at_one_level():
    ours, theirs = pairs()["gaussian"]
    gains = ours.gains(np.array(SIGMAS))
    assert gains.shape == (4, D)
    lam = ours.eigenvalues
    torch.testing.assert_close(gains[1], lam / (lam + 0.09))
    zero = closed_forms.GaussianDenoiser([0.0, 0.0], [1.0, 0.0], np.eye(2)).gains(0.0)
    assert zero.tolist() == [1.0, 0.0]
    linear, x = ours.at(0.3), data(4, seed=5)
    np.testing.assert_allclose(linear.denoise(x, 0.3), theirs.denoise(x, 0.3), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(linear.denoise(x, 0.3), linear.denoise(x, 7.0))


def test_memoriser_needs_float64_exponents_at_low_noise(monkeypatch):
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (64, 1024))
    points[1] = points[0] + 2e-4 * rng.standard_normal(1024)
    ours = closed_forms.MemorisingDenoiser(torch.tensor(points, dtype=torch.float32))
    stored = (ours.points + ours.centre).double().numpy()
    x = 0.5 * (stored[0] + stored[1]) + 0.002 * rng.standard_normal((8, 1024))
    expected = denoisers.EmpiricalDenoiser(stored).denoise(x, 0.002)
    exact = np.abs(ours.denoise(x, 0.002) - expected).max()
    monkeypatch.setattr(_mixtures, "_LOW_SIGMA", 0.0)
    assert exact < 2e-5 < np.abs(ours.denoise(x, 0.002) - expected).max()


def test_memoriser_returns_its_points_and_bounds_its_table():
    points = data()
    ours = closed_forms.MemorisingDenoiser(torch.tensor(points), chunk=5)
    assert ours.chunk == 5
    np.testing.assert_allclose(ours.denoise(points + 1e-3, 0.0), points, rtol=0, atol=1e-12)
    assert closed_forms.MemorisingDenoiser(torch.zeros(2**15, 1)).chunk == 512


def test_memoriser_centres_its_points():
    """The exponents of float32 would drown in the common part of distant points."""
    points = data() + 1000.0
    stored = torch.tensor(points, dtype=torch.float32)
    x = stored[:5] + 0.25
    expected = denoisers.EmpiricalDenoiser(stored.double().numpy()).denoise(x.double().numpy(), 0.5)
    ours = closed_forms.MemorisingDenoiser(stored).denoise(x, 0.5)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=2e-3)


def test_memoriser_far_away_is_the_gaussian():
    """L-16: both see only mean and covariance at high noise; L-8 keeps them apart below."""
    memory, gauss = pairs()["memorising"][0], pairs()["gaussian"][0]
    z = np.random.default_rng(6).standard_normal((200, D))
    gap = [np.abs(memory.denoise(s * z, s) - gauss.denoise(s * z, s)).max() for s in (0.5, 50)]
    assert gap[1] < 0.05 * gap[0]


def test_linear_and_autocast():
    rng = np.random.default_rng(0)
    weight, bias, x = rng.standard_normal((D, D)), rng.standard_normal(D), data(4)
    ours = closed_forms.LinearDenoiser(weight, bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = ours.denoise(x, 0.1)
    np.testing.assert_allclose(out, x @ weight.T + bias, rtol=0, atol=1e-5)


def test_closed_forms_can_be_differentiated():
    ours, _ = pairs()["mixture"]
    x = torch.tensor(data(1), requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(lambda p: ours.denoise(p, 0.5)[0], x)[:, 0]
    # K-3: the Jacobian of an optimal denoiser is symmetric.
    torch.testing.assert_close(jacobian, jacobian.T, rtol=0, atol=1e-10)
    assert jacobian.abs().max() > 0.1


def test_mixture_with_a_singular_component_needs_noise():
    ours = closed_forms.MixtureDenoiser(
        [[0.0], [1.0]], [[0.0], [1.0]], np.ones((2, 1, 1)), [0.5, 0.5]
    )
    with pytest.raises(ValueError, match="`sigma` must be positive"):
        ours.denoise([[0.2]], 0.0)
    assert np.isfinite(ours.denoise([[0.2]], 0.1)).all()


def test_bad_moments_fail():
    eye = np.eye(2)
    with pytest.raises(ValueError, match=r"`eigenvectors` must have shape \(2, 1\)"):
        closed_forms.GaussianDenoiser([0.0, 0.0], [1.0], eye)
    with pytest.raises(ValueError, match="`eigenvalues` has negative"):
        closed_forms.GaussianDenoiser([0.0, 0.0], [1.0, -1.0], eye)
    with pytest.raises(ValueError, match="orthonormal"):
        closed_forms.GaussianDenoiser([0.0, 0.0], [1.0, 1.0], 2 * eye)
    with pytest.raises(ValueError, match="NaN"):
        closed_forms.GaussianDenoiser(torch.tensor([0.0, np.nan]), [1.0, 1.0], eye)
    with pytest.raises(ValueError, match="`pixels` is empty"):
        closed_forms.GaussianDenoiser.from_images(torch.zeros(0, 4))
    with pytest.raises(ValueError, match="`pixels` must be floating point"):
        closed_forms.GaussianDenoiser.from_images(torch.zeros(3, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match="`points` is empty"):
        closed_forms.MemorisingDenoiser(torch.zeros(0, 4))
    with pytest.raises(ValueError, match="`weight` must have shape"):
        closed_forms.LinearDenoiser(np.ones((2, 3)), np.ones(2))
    with pytest.raises(ValueError, match="must have shapes"):
        closed_forms.MixtureDenoiser(
            np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 3, 2)), [0.5, 0.5]
        )
    vectors = np.stack([eye, eye])
    with pytest.raises(ValueError, match="sum to 1"):
        closed_forms.MixtureDenoiser(np.ones((2, 2)), np.ones((2, 2)), vectors, [0.5, 0.6])
    with pytest.raises(ValueError, match="must be >= 0 and `weights` positive"):
        closed_forms.MixtureDenoiser(np.ones((2, 2)), np.ones((2, 2)), vectors, [1.5, -0.5])
