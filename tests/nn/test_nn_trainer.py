"""One step of training, its random streams, its options and its errors."""

import math
import weakref

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lindiff.nn import _run, trainer
from lindiff.nn._device import numerics, resolve_device, resolve_precision
from lindiff.nn._step import Stepper
from lindiff.nn.build import build
from lindiff.nn.checkpoints import FolderLock, checkpoint_path, load_checkpoint
from lindiff.nn.images import image_split, split_from
from lindiff.nn.noise_law import draw_sigma, initial_loss, weighted_loss
from lindiff.nn.trainer import TrainConfig, TrainingDiverged, train, train_many

CPU = torch.device("cpu")
BASE = {
    "arch": "mlp-16",
    "data": "toyfaces",
    "n_images": 32,
    "size": 8,
    "images_seen": 640,
    "batch": 16,
    "warmup": 200,
    "first_checkpoint": 64,
    "checkpoints_per_decade": 3,
}


def config_of(**changes):
    return TrainConfig(**{**BASE, **changes})


def split_of(config):
    return image_split(config.data, config.n_images, subset=config.subset, size=config.size)


def stepper_of(config, **options):
    images = split_of(config).train
    net = build(
        config.arch,
        size=config.size,
        sigma_data=images.std,
        seed=config.seed_weights,
        kind=config.kind,
    )
    options = {"device": CPU, "precision": "fp32", **options}
    return Stepper(config, images, net, sigma_data=images.std, **options)


def weights(net):
    return torch.cat([parameter.detach().reshape(-1).cpu() for parameter in net.parameters()])


# The law of the noise levels and the loss.


@pytest.mark.parametrize("law", ["edm", "edm+tail"])
def test_sigma_law(law):
    n = 200_000
    log_sigma = draw_sigma(law, n, generator=torch.Generator().manual_seed(1)).log()
    tail = 0.2 if law == "edm+tail" else 0.0
    low, high = math.log(0.02), math.log(80)
    mean = (1 - tail) * -1.2 + tail * (low + high) / 2
    assert float(log_sigma.mean()) == pytest.approx(mean, abs=0.02)
    beyond = 0.5 * math.erfc((math.log(40) + 1.2) / (1.2 * math.sqrt(2)))
    expected = (1 - tail) * beyond + tail * math.log(2) / (high - low)
    error = math.sqrt(expected / n)
    assert float((log_sigma > math.log(40)).float().mean()) == pytest.approx(
        expected, abs=5 * error
    )


def test_unknown_law():
    with pytest.raises(ValueError, match="`law` must be one of"):
        draw_sigma("vp", 3, generator=torch.Generator())


@pytest.mark.parametrize("sigma", [0.01, 0.5, 20.0])
def test_loss_before_the_first_step(sigma):
    """The step-0 assertion of L-7, on the trainer's own batch and network."""
    config = config_of(arch="unet-8", n_images=512, batch=4096)
    stepper = stepper_of(config)
    clean, _, noise = stepper.draw()
    levels = torch.full((config.batch,), sigma)
    with torch.no_grad():
        denoised = stepper.net(clean + sigma * noise, levels)
    loss = float(weighted_loss(denoised, clean, stepper.net.weight(levels)))
    second_moment = float(clean.square().mean())
    expected = initial_loss(sigma, second_moment, stepper.sigma_data)
    assert loss == pytest.approx(expected, rel=0.01)
    # A network that does not start at zero is found out at every level.
    shifted = denoised + 0.3 * stepper.net.weight(levels[:1]).rsqrt()
    loss = float(weighted_loss(shifted, clean, stepper.net.weight(levels)))
    assert loss != pytest.approx(expected, rel=0.01)


def test_first_recorded_loss():
    """The mean of the formula over the drawn levels is what the first step records."""
    stepper = stepper_of(config_of(n_images=512, batch=8192))
    twin = stepper_of(config_of(n_images=512, batch=8192))
    sigma = twin.draw()[1]
    stepper.step()
    second_moment = stepper.images.second_moment
    expected = float(initial_loss(sigma, second_moment, stepper.sigma_data).mean())
    assert float(stepper.loss_sum) == pytest.approx(expected, rel=0.02)


# One step, against a plain loop with PyTorch's own parts.


def test_step_is_adam_with_warm_up_and_average():
    config = config_of(warmup=80)
    stepper, twin = stepper_of(config), stepper_of(config)
    net = build(config.arch, size=8, sigma_data=twin.sigma_data, seed=0)
    average = weights(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=1.0, betas=(0.9, 0.99))
    for step in range(1, 9):
        stepper.step()
        clean, sigma, noise = twin.draw()
        denoised = net(clean + sigma[:, None, None, None] * noise, sigma)
        s = twin.sigma_data
        weight = (sigma**2 + s**2) / (sigma * s) ** 2
        loss = (weight[:, None, None, None] * (denoised - clean) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1, step * 16 / 80)
        optimizer.step()
        decay = 0.5 ** (16 / (0.05 * step * 16))
        average = decay * average + (1 - decay) * weights(net)
    torch.testing.assert_close(weights(stepper.net), weights(net), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(weights(stepper.ema_net), average, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(weights(stepper.net), average, rtol=1e-4, atol=1e-6)


def test_channels_last_views_hold_the_same_weights():
    stepper = stepper_of(config_of(arch="unet-4"))
    before = {name: tensor.clone() for name, tensor in stepper.tensors().items()}
    stepper = stepper_of(config_of(arch="unet-4"), channels_last=True)
    after = stepper.tensors()
    for name in before:
        assert torch.equal(before[name], after[name]), name
    assert any(p.dim() == 4 and not p.is_contiguous() for p in stepper.net.parameters())
    first = stepper_of(config_of(arch="unet-4"))
    first.step(), stepper.step()
    torch.testing.assert_close(weights(stepper.net), weights(first.net), rtol=1e-3, atol=1e-5)


class HostReads(TorchDispatchMode):
    """Count the numbers that are brought to the host, which a CUDA graph cannot do."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.count += function in (
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.nonzero.default,
            torch.ops.aten.equal.default,
        )
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("arch", ["unet-4", "mlp-16", "affine"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_step_reads_nothing_back(arch, precision):
    stepper = stepper_of(config_of(arch=arch), precision=precision)
    stepper.step()
    with HostReads() as reads:
        stepper.step()
    assert reads.count == 0
    with HostReads() as reads:
        float(stepper.loss_sum)
    assert reads.count == 1


def test_overflow_in_fp16_skips_the_step():
    stepper = stepper_of(config_of(), precision="fp16")
    for _ in range(3):
        stepper.step()
    state = {name: tensor.clone() for name, tensor in stepper.tensors().items()}
    stepper.load({**state, "scaler": torch.tensor([1e38, 0.0])})
    stepper.step()
    after = stepper.tensors()
    names = [name for name in state if name.startswith(("weights/", "exp_avg"))]
    assert all(torch.equal(state[name], after[name]) for name in [*names, "adam_step"])
    assert after["scaler"].tolist() == pytest.approx([5e37, 0])
    assert int(after["steps"]) == 4
    stepper.load(state)
    stepper.step()
    twin = stepper_of(config_of(), precision="fp16")
    for _ in range(4):
        twin.step()
    assert torch.equal(stepper.weights, twin.weights)
    exact = stepper_of(config_of())
    for _ in range(4):
        exact.step()
    assert float(twin.loss_sum) == pytest.approx(float(exact.loss_sum), rel=0.01)


# Twins.


def test_twins_share_noise_and_initial_weights():
    one, two = stepper_of(config_of(subset=1)), stepper_of(config_of(subset=2))
    other = stepper_of(config_of(subset=2, seed_noise=1))
    assert torch.equal(one.weights, two.weights)
    for _ in range(3):
        draws = [stepper.draw() for stepper in (one, two, other)]
        for part in (1, 2):
            assert torch.equal(draws[0][part], draws[1][part])
            assert not torch.equal(draws[0][part], draws[2][part])
        assert not torch.equal(draws[0][0], draws[1][0])


def test_number_of_images_does_not_change_the_noise():
    few, many = stepper_of(config_of(n_images=8)), stepper_of(config_of(n_images=300))
    for _ in range(3):
        _, sigma, noise = few.draw()
        _, sigma2, noise2 = many.draw()
        assert torch.equal(sigma, sigma2)
        assert torch.equal(noise, noise2)


# train and its options.


def test_checkpoints_and_result(tmp_path):
    config, calls = config_of(), []
    split = split_of(config)
    result = train(
        config,
        split,
        folder=tmp_path,
        keep_checkpoints=True,
        on_checkpoint=lambda seen, net: calls.append((seen, weights(net))),
    )
    assert [seen for seen, _ in calls] == [64, 144, 304, 640]
    assert result.finished and result.images_seen == 640 and not result.net.training
    assert result.losses[:, 0].tolist() == [64, 144, 304, 640]
    assert torch.equal(calls[-1][1], weights(result.net))
    for seen, expected in calls:
        net, stored, n = load_checkpoint(checkpoint_path(tmp_path, seen))
        assert (stored, n) == (config, seen)
        assert torch.equal(weights(net), expected)
    again = train(config, split, folder=tmp_path, on_checkpoint=lambda *_: pytest.fail("called"))
    assert torch.equal(weights(again.net), weights(result.net))
    assert np.array_equal(again.losses, result.losses)


def test_training_lowers_the_loss(tmp_path):
    config = config_of(images_seen=20_000, batch=64, learning_rate=3e-3)
    losses = train(config, split_of(config), folder=tmp_path).losses[:, 1]
    assert losses[-1] < 0.8 * losses[0]


def test_checkpoint_counts():
    config = TrainConfig("mlp-16", "toyfaces", 16, 1_000_000)
    counts = np.array(config.checkpoint_steps()) * config.batch
    exact = 5000 * 10 ** (np.arange(len(counts) - 1) / 10)
    assert np.all((counts[:-1] >= np.round(exact)) & (counts[:-1] < np.round(exact) + 256))
    assert counts[-1] == config.n_steps * 256 >= 1_000_000


def test_bf16_agrees_with_fp32(tmp_path):
    results = [
        train(config, split_of(config), folder=tmp_path / config.precision)
        for config in (config_of(precision=p, arch="unet-4") for p in ("fp32", "bf16"))
    ]
    exact, rounded = (result.losses[:, 1] for result in results)
    assert np.allclose(exact, rounded, rtol=0.03)
    assert not np.array_equal(exact, rounded)


def test_train_many_equals_train(tmp_path):
    configs = [config_of(subset=subset) for subset in (1, 2)]
    seen = []
    together = train_many(
        configs,
        split_of,
        folder=tmp_path / "many",
        on_checkpoint=lambda config, n, net: seen.append((config.subset, n)),
    )
    assert seen == [(s, n) for s in (1, 2) for n in (64, 144, 304, 640)]
    for config, result in zip(configs, together, strict=True):
        alone = train(config, split_of(config), folder=tmp_path / f"alone{config.subset}")
        assert torch.equal(weights(result.net), weights(alone.net))
    assert not torch.equal(weights(together[0].net), weights(together[1].net))


def test_what_is_finished_leaves_a_group_at_once(tmp_path):
    short, long = config_of(images_seen=64), config_of(seed_weights=1)
    free = []

    def start(index):
        config = (short, long)[index]
        folder = tmp_path / config.key
        noted = (lambda seen, net: free.append((seen, is_free()))) if index else None
        options = _run.Options(on_checkpoint=noted)
        return _run.Run(config, split_of(config), folder, CPU, options)

    def is_free():
        try:
            FolderLock(tmp_path / short.key, deadline=0).release()
        except TimeoutError:
            return False
        return True

    results = {}
    trainer._run_group(range(2), start, results, False)
    assert [results[i].finished for i in (0, 1)] == [True, True]
    assert free == [(64, False), (144, True), (304, True), (640, True)]


def test_interruption_of_a_group_frees_all_folders(tmp_path):
    configs = [config_of(seed_weights=seed) for seed in range(3)]
    folders = [tmp_path / config.key for config in configs]

    def stop(seen, net):
        raise KeyboardInterrupt

    runs = []  # What nobody refers to would be freed in any case.

    def start(index):
        options = _run.Options(on_checkpoint=stop if index == 1 else None)
        config = configs[index]
        runs.append(_run.Run(config, split_of(config), folders[index], CPU, options))
        return runs[-1]

    with pytest.raises(KeyboardInterrupt):
        trainer._run_group(range(3), start, {}, False)
    for folder in folders:
        FolderLock(folder, deadline=0).release()


def test_what_is_finished_frees_its_memory(tmp_path):
    alive, noted = [], []

    def start(index):
        config = config_of(seed_weights=index, images_seen=(64, 640)[index])
        look = (lambda seen, net: noted.append(alive[0]() is None)) if index else None
        options = _run.Options(on_checkpoint=look)
        run = _run.Run(config, split_of(config), tmp_path / str(index), CPU, options)
        alive.append(weakref.ref(run))
        return run

    trainer._run_group(range(2), start, {}, False)
    assert noted == [False, True, True, True]


def test_one_failure_keeps_the_others(tmp_path):
    configs = [config_of(), config_of(learning_rate=1e30, warmup=0), config_of(seed_weights=1)]
    with pytest.raises(ExceptionGroup, match="1 of 3 trainings failed") as caught:
        train_many(configs, split_of, folder=tmp_path)
    assert isinstance(caught.value.exceptions[0], TrainingDiverged)
    results = train_many(configs, split_of, folder=tmp_path, errors="return")
    assert [isinstance(result, TrainingDiverged) for result in results] == [False, True, False]
    assert results[2].finished


def test_divergence_names_the_step_and_keeps_checkpoints(tmp_path, monkeypatch):
    config, step = config_of(), Stepper.step

    def poisoned(stepper):
        if int(stepper.steps) == 12:
            stepper.weights.data[0] = math.nan
        step(stepper)

    monkeypatch.setattr(Stepper, "step", poisoned)
    with pytest.raises(TrainingDiverged, match=r"'mlp-16' .* 0\.001 .*at step 13 \(208 images"):
        train(config, split_of(config), folder=tmp_path, keep_checkpoints=True)
    assert issubclass(TrainingDiverged, RuntimeError)
    monkeypatch.undo()
    assert load_checkpoint(checkpoint_path(tmp_path, 144))[2] == 144
    assert not checkpoint_path(tmp_path, 304).exists()
    resumed = train(config, split_of(config), folder=tmp_path)
    clean = train(config, split_of(config), folder=tmp_path / "clean")
    assert torch.equal(weights(resumed.net), weights(clean.net))


def test_split_must_be_one(tmp_path):
    pixels = np.zeros((32, 8, 8), np.uint8)
    with pytest.raises(TypeError, match=r"got ndarray; split_from\(train, test\) makes one"):
        train(config_of(), pixels, folder=tmp_path)
    with pytest.raises(ValueError, match="one constant grey"):
        train(config_of(), split_from(pixels, pixels), folder=tmp_path)
    with pytest.raises(ValueError, match="`learning_rate` must be a positive number, not '1e-3'"):
        config_of(learning_rate="1e-3")


def test_progress_goes_to_standard_error(tmp_path, capsys):
    config = config_of()
    train(config, split_of(config), folder=tmp_path, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "640/640" in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_cuda_is_said_plainly(tmp_path):
    config = config_of()
    with pytest.raises(ValueError, match="PyTorch sees no CUDA device: pass device='cpu'"):
        train(config, split_of(config), folder=tmp_path, device="cuda")
    assert list(tmp_path.iterdir()) == []


def test_fp16_needs_cuda(tmp_path):
    with pytest.raises(ValueError, match="`precision` 'fp16' needs a CUDA device"):
        train(config_of(precision="fp16"), split_of(config_of()), folder=tmp_path)


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), "fp16"), ((9, 0), "bf16")])
def test_auto_precision(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_precision("auto", torch.device("cuda", 0)) == expected
    assert resolve_precision("auto", CPU) == "fp32"
    assert resolve_device("cpu") == CPU


def test_numerics_are_restored():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.deterministic
    with numerics(CPU):
        assert torch.get_float32_matmul_precision() == before[0]
    with numerics(torch.device("cuda")):
        assert torch.backends.cudnn.deterministic
        assert torch.get_float32_matmul_precision() == "high"
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.deterministic) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, "`batch` must be an integer of at least 1"),
        ({"images_seen": 1e6}, "`images_seen` must be an integer"),
        ({"learning_rate": 0.0}, "`learning_rate` must be a positive number"),
        ({"learning_rate": math.nan}, "`learning_rate` must be a positive number"),
        ({"betas": (0.9, 1.0)}, "`betas` must be two numbers"),
        ({"subset": 3}, "`subset` must be one of"),
        ({"precision": "tf32"}, "`precision` must be one of"),
        ({"sigma_law": "vp"}, "`sigma_law` must be one of"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        config_of(**changes)


def test_bad_options(tmp_path):
    config = config_of()
    for options, message in (
        ({"graph": "on"}, "`graph` must be"),
        ({"stop_after": 0}, "`stop_after` must be"),
    ):
        with pytest.raises(ValueError, match=message):
            train(config, split_of(config), folder=tmp_path, **options)
    with pytest.raises(ValueError, match="n_images=33"):
        train(config_of(n_images=33), split_of(config), folder=tmp_path)


def test_keys():
    keys = {config_of(**change).key for change in ({}, {"subset": 2}, {"images_seen": 641})}
    assert len(keys) == 3
    assert config_of().key == config_of().key != config_of().key_with("abc")
    assert config_of(betas=[0.9, 0.99]).key == config_of().key


def test_slices(tmp_path):
    """`stop_after` counts from the start, and slices end where one call does."""
    config = config_of()
    part = train(config, split_of(config), folder=tmp_path / "a", stop_after=100)
    assert part.images_seen == 112 and not part.finished
    past = train(config, split_of(config), folder=tmp_path / "a", deadline=_run.time.monotonic())
    assert past.images_seen == 112
    whole = train(config, split_of(config), folder=tmp_path / "a")
    straight = train(config, split_of(config), folder=tmp_path / "b")
    assert torch.equal(weights(whole.net), weights(straight.net))
    assert np.array_equal(whole.losses, straight.losses)
