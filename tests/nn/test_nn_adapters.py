"""Networks of other libraries as denoisers, checked by the algebra of their conventions."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lindiff import denoisers
from lindiff.nn import adapters, build

SHAPE = (1, 8, 8)
KINDS = ("epsilon", "sample", "v_prediction")


def noisy(n=3, seed=0):
    return torch.randn(n, 64, generator=torch.Generator().manual_seed(seed))


def scheduler(prediction="epsilon"):
    diffusers = pytest.importorskip("diffusers")
    return diffusers.DDPMScheduler(num_train_timesteps=100, prediction_type=prediction)


def level_of(noise_scheduler, t):
    power = noise_scheduler.alphas_cumprod[t].double().item()
    return power, math.sqrt((1 - power) / power)


def unet():
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    ).eval()


@pytest.mark.parametrize("timesteps", ["interpolated", "nearest"])
@pytest.mark.parametrize("prediction", KINDS)
@pytest.mark.parametrize("t", [0, 40, 99])
def test_diffusers_model_by_the_algebra(prediction, t, timesteps):
    model, noise_scheduler = unet(), scheduler(prediction)
    ours = adapters.from_diffusers(model, noise_scheduler, SHAPE, timesteps=timesteps)
    assert isinstance(ours, denoisers.Denoiser)
    power, sigma = level_of(noise_scheduler, t)
    x = noisy() * sigma
    with torch.no_grad():
        seen = math.sqrt(power) * x
        out = model(seen.reshape(-1, *SHAPE), t).sample.flatten(1)
    expected = {
        "epsilon": (seen - math.sqrt(1 - power) * out) / math.sqrt(power),
        "sample": out,
        "v_prediction": math.sqrt(power) * seen - math.sqrt(1 - power) * out,
    }
    torch.testing.assert_close(ours.denoise(x, sigma), expected[prediction], rtol=0, atol=2e-5)
    # The control. At the lowest level epsilon and v are the same up to sigma squared.
    for other in set(KINDS) - {prediction}:
        if t > 0 or "sample" in (prediction, other):
            assert (ours.denoise(x, sigma) - expected[other]).abs().max() > 1e-3


def optimal_model(best, noise_scheduler, prediction):
    """The model of a Gaussian law that answers exactly what it is trained to predict."""

    def model(x, t):
        power = noise_scheduler.alphas_cumprod[t.long()[0]].double().item()
        seen = x.flatten(1).double().numpy()
        noise = best.predict_noise(seen, power)
        clean = (seen - math.sqrt(1 - power) * noise) / math.sqrt(power)
        answer = {
            "epsilon": noise,
            "sample": clean,
            "v_prediction": math.sqrt(power) * noise - math.sqrt(1 - power) * clean,
        }[prediction]
        return (torch.tensor(answer, dtype=torch.float32).reshape(x.shape),)

    return model


@pytest.mark.parametrize("prediction", KINDS)
def test_optimal_predictions_give_back_the_affine_denoiser(prediction):
    data = 0.5 * np.random.default_rng(0).standard_normal((80, 64)) + 0.2
    best = denoisers.AffineDenoiser.from_data(data)
    noise_scheduler = scheduler(prediction)
    model = optimal_model(best, noise_scheduler, prediction)
    ours = adapters.from_diffusers(model, noise_scheduler, SHAPE, timesteps="nearest")
    for t in (0, 30, 70):
        _, sigma = level_of(noise_scheduler, t)
        x = data[:5] + sigma * np.random.default_rng(t).standard_normal((5, 64))
        expected = best.denoise(x, sigma)
        np.testing.assert_allclose(ours.denoise(x, sigma), expected, rtol=0, atol=5e-6)
    # The control: read with another convention, the same answers are wrong.
    wrong = scheduler(KINDS[KINDS.index(prediction) - 1])
    other = adapters.from_diffusers(model, wrong, SHAPE, timesteps="nearest")
    assert np.abs(other.denoise(x, sigma) - expected).max() > 0.1


def test_timestep_is_interpolated_in_log_sigma():
    noise_scheduler, seen = scheduler(), []

    def model(x, t):
        seen.append(t)
        return SimpleNamespace(sample=torch.zeros_like(x))

    sigmas = [level_of(noise_scheduler, t)[1] for t in (10, 11)]
    between = math.sqrt(sigmas[0] * sigmas[1]) * 1.001
    levels = torch.tensor([sigmas[0], between])
    adapters.from_diffusers(model, noise_scheduler, SHAPE).denoise(noisy(2), levels)
    adapters.from_diffusers(model, noise_scheduler, SHAPE, timesteps="nearest").denoise(
        noisy(2), levels
    )
    assert seen[0].dtype == torch.float32 and seen[1].dtype == torch.int64
    np.testing.assert_allclose(seen[0].numpy(), [10.0, 10.5], atol=0.02)
    assert seen[1].tolist() == [10, 11]


def test_levels_outside_the_scheduler_fail():
    ours = adapters.from_diffusers(unet(), scheduler(), SHAPE)
    for sigma in (0.0, 0.005, 500.0):
        with pytest.raises(ValueError, match=r"`sigma` must lie between 0\.01.* and "):
            ours.denoise(noisy(), sigma)
    for sigma in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="`sigma`"):
            ours.denoise(noisy(), sigma)


def test_last_level_without_signal_is_left_out():
    power = torch.tensor([0.9, 0.5, 0.0])
    fake = SimpleNamespace(
        alphas_cumprod=power, config=SimpleNamespace(prediction_type="v_prediction")
    )
    ours = adapters.from_diffusers(lambda x, t: x, fake, SHAPE)
    assert torch.isfinite(ours.denoise(noisy(), 1.0)).all()
    with pytest.raises(ValueError, match=r"between 0\.333333\d and 1, .* got 2: "):
        ours.denoise(noisy(), 2.0)


def test_bad_schedulers_and_models_fail():
    with pytest.raises(ValueError, match="training mode"):
        adapters.from_diffusers(unet().train(), scheduler(), SHAPE)
    fake = SimpleNamespace(
        alphas_cumprod=[0.9, 0.5], config=SimpleNamespace(prediction_type="flow_prediction")
    )
    with pytest.raises(ValueError, match="epsilon, sample, v_prediction; got 'flow_prediction'"):
        adapters.from_diffusers(unet(), fake, SHAPE)
    fake = SimpleNamespace(
        alphas_cumprod=[0.5, 0.9], config=SimpleNamespace(prediction_type="epsilon")
    )
    with pytest.raises(ValueError, match="must decrease"):
        adapters.from_diffusers(unet(), fake, SHAPE)
    with pytest.raises(ValueError, match="`timesteps` must be one of interpolated, nearest"):
        adapters.from_diffusers(unet(), scheduler(), SHAPE, timesteps="floor")


@pytest.mark.parametrize("adapter", [adapters.from_edm, adapters.from_k_diffusion])
def test_denoisers_with_the_call_of_edm(adapter):
    net = build.build("unet-8", size=8, sigma_data=0.5, seed=0).eval()
    torch.nn.init.ones_(net.network.conv_out.weight)
    ours = adapter(net, SHAPE)
    x, sigma = noisy(4), torch.tensor([0.01, 0.1, 1.0, 10.0])
    torch.testing.assert_close(ours.denoise(x, sigma), net.denoise(x, sigma))
    array = ours.denoise(x.numpy(), sigma.numpy())
    assert array.dtype == np.float64
    np.testing.assert_allclose(array, net.denoise(x, sigma).numpy(), rtol=0, atol=1e-5)
    with pytest.raises(
        ValueError, match=r"`x` has 49 pixels in a row, but `image_shape` \(1, 8, 8\) has 64"
    ):
        ours.denoise(torch.zeros(2, 49), 0.5)
    with pytest.raises(ValueError, match="training mode"):
        adapter(net.train(), SHAPE)
    with pytest.raises(ValueError, match=r"`image_shape` must be a tuple of sizes"):
        adapter(net.eval(), 64)
    with pytest.raises(TypeError, match="must be a network or a function of"):
        adapter(3, SHAPE)


def test_functions_see_images_and_run_in_pieces():
    sizes = []

    def shrink(x, sigma):
        sizes.append(tuple(x.shape))
        return x / (1 + sigma.square().reshape(-1, *[1] * (x.ndim - 1)))

    rgb = adapters.from_function(shrink, (3, 32, 32))
    x = torch.ones(200, 3072)
    torch.testing.assert_close(rgb.denoise(x, 1.0), x / 2)
    assert sizes == [(170, 3, 32, 32), (30, 3, 32, 32)]
    flat = adapters.from_function(shrink)
    torch.testing.assert_close(flat.denoise(x[:, :5], 1.0), x[:, :5] / 2)
    assert sizes[-1] == (200, 5)


def test_answers_of_another_shape_fail():
    with pytest.raises(ValueError, match=r"must return a tensor of shape \(3, 1, 8, 8\)"):
        adapters.from_function(lambda x, sigma: x[:, :, :4], SHAPE).denoise(noisy(), 0.5)
    with pytest.raises(ValueError, match="got float"):
        adapters.from_function(lambda x, sigma: 0.0, SHAPE).denoise(noisy(), 0.5)
    with pytest.raises(TypeError, match="`f` must be a network or a function"):
        adapters.from_function(None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_in_other_precisions(dtype):
    x, sigma = noisy(4), 0.7
    single = adapters.from_diffusers(unet(), scheduler(), SHAPE).denoise(x, sigma)
    found = adapters.from_diffusers(unet().to(dtype), scheduler(), SHAPE).denoise(x, sigma)
    assert found.dtype == torch.float32
    bound = {torch.float16: 2e-2, torch.bfloat16: 1e-1, torch.float64: 1e-4}[dtype]
    assert 0 < (found - single).abs().max() < bound


def test_networks_that_store_and_compute_in_different_precisions():
    x, sigma, net = noisy(4), 0.7, unet()
    single = adapters.from_diffusers(net, scheduler(), SHAPE).denoise(x, sigma)
    net.enable_layerwise_casting(torch.float8_e4m3fn, torch.bfloat16)
    assert any(p.dtype == torch.float8_e4m3fn for p in net.parameters())
    found = adapters.from_diffusers(net, scheduler(), SHAPE).denoise(x, sigma)
    assert 0 < (found - single).abs().max() < 0.2


class Layer(torch.nn.Module):
    """A convolution in the precision of its weights, behind a skip that is not rounded."""

    def __init__(self, *, converts):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.converts = torch.nn.Conv2d(1, 1, 1), converts

    def forward(self, x, sigma):
        sigma = sigma.reshape(-1, 1, 1, 1)
        dtype = self.layer.weight.dtype if self.converts else x.dtype
        return x + sigma * self.layer(x.to(dtype)).to(x.dtype)


@pytest.mark.parametrize("sigma", [0.002, 0.7, 80.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_networks_that_convert_keep_their_skip(dtype, sigma):
    x = noisy(4)
    single = adapters.from_edm(Layer(converts=True).eval(), SHAPE).denoise(x, sigma)
    found = adapters.from_edm(Layer(converts=True).eval().to(dtype), SHAPE).denoise(x, sigma)
    bound = {torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype] * sigma
    assert 0 < (found - single).abs().max() < bound


@pytest.mark.parametrize("adapter", [adapters.from_edm, adapters.from_k_diffusion])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_that_do_not_convert_name_their_precision(adapter, dtype):
    x, net = noisy(4), Layer(converts=False).eval()
    single = adapter(net, SHAPE).denoise(x, 0.7)
    net = net.to(dtype)
    with pytest.raises(RuntimeError, match=r"failed on float32 .* pass `dtype`"):
        adapter(net, SHAPE).denoise(x, 0.7)
    found = adapter(net, SHAPE, dtype=dtype).denoise(x, 0.7)
    assert found.dtype == torch.float32
    assert (found - single).abs().max() < 5e-2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_devices_are_refused_at_once():
    with pytest.raises(ValueError, match="sees no CUDA device: pass device='cpu'"):
        adapters.from_function(lambda x, sigma: x, device="cuda")
    with pytest.raises(ValueError, match=r"must be 'auto', 'cpu', 'cuda' or a number .*'gpu'"):
        adapters.from_k_diffusion(lambda x, sigma: x, SHAPE, device="gpu")
    ours = adapters.from_function(lambda x, sigma: x, device="auto")
    assert ours.device == torch.device("cpu")
