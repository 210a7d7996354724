"""The networks: size and price by hand, the first step, precision, bad input."""

import copy
import math

import numpy as np
import pytest
import torch

from lindiff import denoisers, schedules
from lindiff.nn import affine, build, cost, mlp, preconditioning, unet

S = 0.4


def block_parameters(a, b, e):
    """Two norms, two 3 x 3 convolutions, the embedding, and a shortcut where widths differ."""
    shortcut = a * b + b if a != b else 0
    return 2 * a + (9 * a * b + b) + (e * b + b) + 2 * b + (9 * b * b + b) + shortcut


def blocks(c):
    """Widths (in, out) of all residual blocks, and the level they work at."""
    down = [(c, c, 0), (c, 2 * c, 1), (2 * c, 2 * c, 2)]
    middle = [(2 * c, 2 * c, 2)] * 2
    up = [(4 * c, 2 * c, 2)] * 2 + [(4 * c, 2 * c, 1), (3 * c, 2 * c, 1)]
    return down + middle + [*up, (3 * c, c, 0), (2 * c, c, 0)]


def unet_parameters(c):
    e = 4 * c
    embedding = (16 * e + e) + (e * e + e)
    ends = (9 * c + c) + 2 * c + (9 * c + 1)
    resampling = (9 * c * c + c) + 3 * (9 * 4 * c * c + 2 * c)
    return embedding + ends + resampling + sum(block_parameters(a, b, e) for a, b, _ in blocks(c))


def unet_flops(c, size):
    e, pixels = 4 * c, [size**2, size**2 // 4, size**2 // 16]
    products = 16 * e + e * e + 2 * 9 * c * pixels[0]
    for a, b, level in blocks(c):
        shortcut = a * b if a != b else 0
        products += e * b + (9 * a * b + 9 * b * b + shortcut) * pixels[level]
    # Down to levels 1 and 2, up to levels 1 and 0.
    products += 9 * c * c * pixels[1] + 36 * c * c * (pixels[2] + pixels[1] + pixels[0])
    return 2 * products


@pytest.mark.parametrize(
    ("c", "count", "planned", "gflop"),
    [
        (8, 66_809, "67 k", "0.031"),
        (16, 263_025, "263 k", "0.121"),
        (32, 1_043_681, "1.04 M", "0.485"),
        (48, 2_341_969, "2.34 M", "1.09"),
        (64, 4_157_889, "4.16 M", "1.94"),
    ],
)
def test_unet_has_the_planned_size_and_price(c, count, planned, gflop):
    net = unet.UNet(c)
    assert cost.n_parameters(net) == count == unet_parameters(c)
    assert f"{count / 1e6:.2f} M" == planned or f"{count / 1e3:.0f} k" == planned
    assert cost.n_flops(net, 32) == unet_flops(c, 32)
    assert f"{unet_flops(c, 32) / 1e9:.{len(gflop) - 2}f}" == gflop
    assert cost.n_flops(preconditioning.Preconditioned(net, S), 16) == unet_flops(c, 16)
    assert net.conv_in.weight.device.type == "cpu"


def test_mlp_has_the_planned_size_and_price():
    net, d, h = mlp.ResidualMLP(16), 256, 384
    ends = (d * h + h) + (h * d + d) + (16 * 128 + 128)
    layer = 2 * h + 2 * (h * h + h) + (128 * h + h)
    assert cost.n_parameters(net) == ends + 3 * layer == 1_237_376
    products = 2 * d * h + 16 * 128 + 3 * (2 * h * h + 128 * h)
    assert cost.n_flops(net, 16) == 2 * products
    assert f"{2 * products / 1e9:.4f}" == "0.0025"


def test_frozen_parameters_are_not_counted():
    net = unet.UNet(8)
    net.conv_in.requires_grad_(False)
    assert cost.n_parameters(net) == 66_809 - 80


def loud(arch="unet-8", size=8, kind="edm", seed=0):
    """A denoiser whose last layer is not zero."""
    net = build.build(arch, size=size, sigma_data=S, seed=seed, kind=kind)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return net


def noisy(n, size, seed=0):
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("arch", ["unet-8", "mlp-32", "affine", "affine-3"])
@pytest.mark.parametrize("sigma", [0.002, 0.3, 80.0])
def test_first_step_is_the_isotropic_gaussian_denoiser(arch, sigma):
    net = build.build(arch, size=8, sigma_data=S, seed=3)
    clean = noisy(16, 8).clamp(-1, 1)
    m2 = clean.square().mean().item()
    signs = noisy(16, 8, seed=1).sign()
    level, losses = torch.full((16,), sigma), []
    # Noise of unit size and both signs has exactly the two moments that the loss depends on.
    for z in (signs, -signs):
        x = clean + sigma * z
        out = net(x, level)
        torch.testing.assert_close(out, S**2 / (sigma**2 + S**2) * x)
        losses.append(net.weight(level)[0] * (out - clean).square().mean())
    expected = (sigma**2 * m2 + S**4) / (S**2 * (sigma**2 + S**2))
    assert sum(losses).item() / 2 == pytest.approx(expected, rel=2e-3 if sigma < 0.01 else 1e-5)


def test_first_step_differs_once_the_output_is_not_zero():
    x = noisy(4, 8)
    assert (loud()(x, 0.3) - S**2 / (0.3**2 + S**2) * x).abs().max() > 0.01


def test_combination_stays_float32_under_autocast():
    net, sigma = loud(), 0.002
    x = noisy(8, 8).clamp(-1, 1)
    with torch.no_grad():
        exact = net(x, sigma)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = net(x, sigma)
            half = x.bfloat16() + (out - x).bfloat16()
    assert out.dtype == torch.float32
    assert not torch.equal(out, exact), "the network itself did not run in bfloat16"
    # What is left is the rounding of the network, 2^-8, times c_out = sigma.
    assert (out - exact).abs().max() < 1e-4
    assert (out - x).abs().max() < sigma * 5
    assert (half.float() - exact).abs().max() > 1e-3


def test_images_of_half_precision_are_combined_in_float32():
    net, x = loud(), noisy(2, 8).bfloat16()
    out = net(x, torch.full((2,), 0.3, dtype=torch.bfloat16))
    torch.testing.assert_close(out, net(x.float(), torch.full((2,), 0.3).bfloat16().float()))


@pytest.mark.parametrize("kind", preconditioning.KINDS)
def test_kinds_combine_input_and_network_as_documented(kind):
    net, sigma = loud(kind=kind), torch.tensor([0.05, 2.0])
    x = noisy(2, 8)
    s = sigma[:, None, None, None]
    f = net.network(x / torch.sqrt(s**2 + S**2), sigma.log() / 4)
    expected = {
        "edm": S**2 / (s**2 + S**2) * x + s * S / torch.sqrt(s**2 + S**2) * f,
        "noise": x - s * f,
        "clean": f,
    }
    torch.testing.assert_close(net(x, sigma), expected[kind])


@pytest.mark.parametrize("kind", preconditioning.KINDS)
def test_noise_prediction_agrees_with_the_theory(kind):
    net, level = loud(kind=kind), 0.3
    x = noisy(5, 8).flatten(1)
    ours, theirs = net.predict_noise(x, level), denoisers.predict_noise(net, x.numpy(), level)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=2e-5)
    sigma = schedules.alpha_bar_to_sigma(level)
    np.testing.assert_allclose(
        net.denoise(x / math.sqrt(level), sigma),
        (x - math.sqrt(1 - level) * ours) / math.sqrt(level),
        rtol=0,
        atol=1e-5,
    )
    for bad in (1.0, [0.2, 0.3]):
        with pytest.raises(ValueError, match="one number below 1"):
            net.predict_noise(x, bad)


def test_noise_label_reaches_every_residual_block():
    for width in (4, 8, 16):
        net = loud(f"unet-{width}").network
        x, zero = noisy(1, 8), torch.zeros(1)
        for module in net.modules():
            if isinstance(module, unet.ResidualBlock):
                silent = copy.deepcopy(net)
                index = list(net.modules()).index(module)
                other = list(silent.modules())[index]
                torch.nn.init.zeros_(other.embed.weight)
                assert (silent(x, zero) - net(x, zero)).abs().max() > 1e-5


def test_every_parameter_of_the_unet_learns():
    net = loud("unet-16")
    net(noisy(4, 8), torch.tensor([0.1, 0.5, 2.0, 20.0])).square().sum().backward()
    silent = [name for name, p in net.named_parameters() if not p.grad.abs().max() > 1e-7]
    assert silent == []


@pytest.mark.parametrize("size", [8, 16, 28, 32])
def test_unet_works_for_sizes_and_memory_formats(size):
    net, x = loud().network, noisy(2, size)
    label = torch.zeros(2)
    out = net(x, label)
    assert out.shape == x.shape
    wide = copy.deepcopy(net).to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        wide(x.to(memory_format=torch.channels_last), label), out, rtol=1e-4, atol=1e-4
    )


def test_unet_is_one_graph_for_the_compiler():
    net = loud()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    x, sigma = noisy(2, 8), torch.tensor([0.1, 3.0])
    torch.testing.assert_close(compiled(x, sigma), net(x, sigma))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_unet_can_be_captured_in_a_cuda_graph():
    net = loud("unet-16", 16).cuda().to(memory_format=torch.channels_last)
    x, sigma = noisy(4, 16).cuda(), torch.full((4,), 0.5, device="cuda")
    stream = torch.cuda.Stream()
    with torch.no_grad(), torch.cuda.stream(stream):
        for _ in range(3):
            net(x, sigma)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        out = net(x, sigma)
    sigma.fill_(2.0)
    graph.replay()
    with torch.no_grad():
        torch.testing.assert_close(out, net(x, sigma), rtol=1e-3, atol=1e-3)


def test_embedding_tells_neighbouring_levels_apart():
    sigma = np.geomspace(0.002, 80, 60)
    features = preconditioning.sigma_embedding(torch.tensor(np.log(sigma) / 4), 16)
    assert features.shape == (60, 16) and features.dtype == torch.float32
    assert torch.cdist(features, features).fill_diagonal_(9).min() > 0.3
    with pytest.raises(ValueError, match="`dim` must be even"):
        preconditioning.sigma_embedding(torch.zeros(1), 3)


@pytest.mark.parametrize("arch", ["unet-8", "mlp-32", "affine-2"])
def test_denoise_takes_tensors_and_arrays(arch):
    net = loud(arch)
    assert isinstance(net, denoisers.Denoiser)
    x, sigma = noisy(6, 8).flatten(1), torch.linspace(0.01, 5, 6)
    out = net.denoise(x, sigma)
    assert out.dtype == torch.float32 and not out.requires_grad
    torch.testing.assert_close(out, net(x.reshape(6, 1, 8, 8), sigma).detach().flatten(1))
    array = net.denoise(x.numpy(), sigma.numpy())
    assert array.dtype == np.float64
    np.testing.assert_allclose(array, out.numpy(), rtol=0, atol=1e-6)
    torch.testing.assert_close(net.denoise(x[:1], 0.01), out[:1])
    torch.testing.assert_close(net.denoise(x.reshape(2, 3, 64), sigma.reshape(2, 3))[1, 2], out[5])
    assert net.denoise(x[:0], 0.5).shape == (0, 64)


def test_denoise_runs_in_pieces():
    net, sizes = loud("affine"), []
    net.network.register_forward_hook(lambda module, args, out: sizes.append(len(out)))
    x = noisy(5000, 8).flatten(1)
    sigma = torch.rand(5000, generator=torch.Generator().manual_seed(0))
    out = net.denoise(x, sigma)
    assert sizes == [2048, 2048, 904]
    torch.testing.assert_close(out[4990:], net.denoise(x[4990:], sigma[4990:]))


def precision():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


def test_denoise_ignores_autocast_and_reduced_precision():
    net, x, inside = loud(), noisy(3, 8).flatten(1), []
    net.network.register_forward_hook(lambda *_: inside.append(precision()))
    before = precision()
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = net.denoise(x, 1.0)
        assert inside == [("highest", False)]
        assert precision() == ("medium", True)
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
    assert torch.equal(out, net.denoise(x, 1.0))


def test_without_noise_the_edm_denoiser_returns_its_input():
    x = noisy(2, 8).flatten(1)
    assert torch.equal(loud().denoise(x, 0.0), x)


@pytest.mark.parametrize("sigma", [-1.0, float("nan"), float("inf")])
def test_bad_levels_fail(sigma):
    net, x = loud(), torch.zeros(2, 64)
    for bad in (sigma, torch.tensor([0.5, sigma])):
        with pytest.raises(ValueError, match="`sigma`"):
            net.denoise(x, bad)
    with pytest.raises(ValueError, match="`sigma`"):
        net(x.reshape(2, 1, 8, 8), sigma)


def test_bad_points_fail():
    net = loud()
    with pytest.raises(ValueError, match=r"shape \(n, 64\), got \(2, 256\)"):
        net.denoise(torch.zeros(2, 256), 0.5)
    with pytest.raises(ValueError, match="does not fit points"):
        net.denoise(torch.zeros(2, 64), [0.1, 0.2, 0.3])
    with pytest.raises(TypeError, match="floating point"):
        net.denoise(torch.zeros(2, 64, dtype=torch.uint8), 0.5)
    with pytest.raises(ValueError, match="NaN"):
        net.denoise(np.full((2, 64), np.nan), 0.5)
    free = preconditioning.Preconditioned(unet.UNet(8), S)
    with pytest.raises(ValueError, match="no square image"):
        free.denoise(torch.zeros(2, 60), 0.5)
    with pytest.raises(ValueError, match="divisible by 4, got 6 x 6"):
        free.denoise(torch.zeros(2, 36), 0.5)
    with pytest.raises(ValueError, match=r"\(n, 1, height, width\)"):
        unet.UNet(8)(torch.zeros(1, 3, 8, 8), torch.zeros(1))
    for net in (mlp.ResidualMLP(8), affine.AffineNet(8)):
        with pytest.raises(ValueError, match=r"\(n, 1, 8, 8\), got \(1, 1, 4, 4\)"):
            net(torch.zeros(1, 1, 4, 4), torch.zeros(1))


def test_bad_settings_fail():
    with pytest.raises(ValueError, match="`kind` must be one of edm, noise, clean"):
        preconditioning.Preconditioned(unet.UNet(8), S, kind="v")
    with pytest.raises(ValueError, match="`sigma_data` must be positive"):
        preconditioning.Preconditioned(unet.UNet(8), 0.0)
    with pytest.raises(ValueError, match="`multipliers` is empty"):
        unet.UNet(8, multipliers=())
    for arch in ("unet", "unet-0", "mlp-", "affine-", "dit-8", "unet-8x"):
        with pytest.raises(ValueError, match=f"'{arch}' is unknown; the known ones.*unet-C"):
            build.build(arch, size=8, sigma_data=S, seed=0)
    with pytest.raises(ValueError, match="`size` must be divisible by 4, got 10"):
        build.build("unet-8", size=10, sigma_data=S, seed=0)


@pytest.mark.parametrize("arch", ["unet-8", "mlp-32"])
def test_weights_depend_on_the_seed_alone(arch):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build.build(arch, size=8, sigma_data=S, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = build.build(arch, size=8, sigma_data=S, seed=5).state_dict()
    other = build.build(arch, size=8, sigma_data=S, seed=6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_affine_network_can_be_the_best_affine_denoiser():
    rng = np.random.default_rng(0)
    best = denoisers.AffineDenoiser.from_data(rng.standard_normal((50, 16)) * 0.3 + 0.1)
    net, sigma = build.build("affine", size=4, sigma_data=S, seed=0), 0.7
    bias = best.denoise(np.zeros(16), sigma)
    weight = (best.denoise(np.eye(16), sigma) - bias).T
    c_skip, c_out, c_in = (float(c) for c in net.coefficients(torch.tensor(sigma)))
    with torch.no_grad():
        raw = (weight - c_skip * np.eye(16)) / (c_out * c_in)
        net.network.weights.copy_(torch.tensor(raw))
        net.network.biases.copy_(torch.tensor(bias / c_out))
    x = rng.standard_normal((5, 16))
    np.testing.assert_allclose(net.denoise(x, sigma), best.denoise(x, sigma), rtol=0, atol=1e-5)
    assert np.abs(net.denoise(x, 0.2) - best.denoise(x, 0.2)).max() > 0.01


def test_affine_network_interpolates_between_its_levels():
    net = loud("affine-3", 4).network
    low, high = math.log(0.002) / 4, math.log(80.0) / 4
    x = noisy(1, 4)
    ends = [w @ x.flatten() + b for w, b in zip(net.weights, net.biases, strict=True)]
    for place, expected in [
        (low - 1, ends[0]),
        ((low + high) / 2, ends[1]),
        (high, ends[2]),
        (0.75 * low + 0.25 * high, (ends[0] + ends[1]) / 2),
    ]:
        torch.testing.assert_close(net(x, torch.tensor([place])).flatten(), expected)
