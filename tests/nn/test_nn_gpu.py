"""Training on a CUDA device: graphs, streams, resume, arithmetic."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from lindiff.nn.checkpoints import checkpoint_path, load_state
from lindiff.nn.images import image_split
from lindiff.nn.trainer import TrainConfig, TrainingDiverged, train, train_many

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

CONFIG = TrainConfig(
    "unet-8",
    "toyfaces",
    64,
    6400,
    size=16,
    batch=64,
    warmup=1000,
    first_checkpoint=800,
    checkpoints_per_decade=4,
)


def split_of(config):
    return image_split(config.data, config.n_images, subset=config.subset, size=config.size)


def run(folder, config=CONFIG, **options):
    options = {"device": "cuda", **options}
    return train(config, split_of(config), folder=folder, **options)


def weights(net):
    return torch.cat([parameter.detach().reshape(-1).cpu() for parameter in net.parameters()])


def estimates(result):
    images = split_of(CONFIG).train
    noise = torch.randn((64, 256), generator=torch.Generator().manual_seed(0))
    device = next(result.net.parameters()).device
    return result.net.denoise((images.flat() + 0.5 * noise).to(device), 0.5).cpu()


@pytest.fixture(scope="module")
def graphed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("graphed"))


def test_images_lie_on_the_device(graphed):
    assert next(graphed.net.parameters()).is_cuda
    assert graphed.finished and graphed.losses[-1, 1] < 0.8 * graphed.losses[0, 1]


def test_repeats_bit_for_bit(graphed, tmp_path):
    assert torch.equal(weights(run(tmp_path).net), weights(graphed.net))


def test_graph_equals_eager(graphed, tmp_path):
    eager = run(tmp_path, graph="off")
    print("bit for bit:", torch.equal(weights(eager.net), weights(graphed.net)))
    np.testing.assert_allclose(eager.losses, graphed.losses, rtol=2e-3)
    assert (estimates(eager) - estimates(graphed)).abs().max() < 0.02
    other = run(tmp_path / "other", replace(CONFIG, seed_noise=1))
    assert not np.allclose(other.losses, graphed.losses, rtol=2e-3)


def test_one_step_of_graph_equals_eager(tmp_path):
    """Same images, levels and noise: the loss of the first steps is that of the eager step."""
    config = replace(CONFIG, images_seen=192, precision="fp32")
    graph, eager = run(tmp_path / "g", config), run(tmp_path / "e", config, graph="off")
    np.testing.assert_allclose(graph.losses, eager.losses, rtol=1e-5)
    states = [load_state(tmp_path / name)[0] for name in "ge"]
    for name in states[0]:
        if name.startswith("generator") or name in ("steps", "finite", "adam_step"):
            assert torch.equal(states[0][name], states[1][name]), name


@pytest.mark.parametrize("graph", ["auto", "off"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_slices_end_bit_for_bit(graph, precision, tmp_path):
    config = replace(CONFIG, precision=precision, images_seen=3200)
    whole = run(tmp_path / "whole", config, graph=graph)
    for stop in (64, 1000, 2111):
        run(tmp_path / "parts", config, graph=graph, stop_after=stop)
    parts = run(tmp_path / "parts", config, graph=graph)
    assert torch.equal(weights(parts.net), weights(whole.net))
    states = [load_state(tmp_path / name)[0] for name in ("whole", "parts")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_and_resumed(seed, graphed, tmp_path):
    from test_nn_resume import run_and_kill

    delay = np.random.default_rng(seed).uniform(0, 0.05)
    first = checkpoint_path(tmp_path, 832)
    run_and_kill(CONFIG, tmp_path, delay, device="cuda", after=first)
    assert first.exists()
    assert torch.equal(weights(run(tmp_path).net), weights(graphed.net))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_agrees_with_fp32(precision, tmp_path):
    exact = run(tmp_path / "fp32", replace(CONFIG, precision="fp32"))
    rounded = run(tmp_path / precision, replace(CONFIG, precision=precision))
    np.testing.assert_allclose(rounded.losses, exact.losses, rtol=0.05)
    assert (estimates(rounded) - estimates(exact)).abs().mean() < 0.02
    assert not np.array_equal(rounded.losses, exact.losses)


def test_cuda_agrees_with_cpu_in_law(graphed, tmp_path):
    """Other random numbers, hence other losses, of the same mean."""
    cpu = run(tmp_path, device="cpu")
    late = slice(-2, None)
    assert graphed.losses[late, 1].mean() == pytest.approx(cpu.losses[late, 1].mean(), rel=0.15)


def test_train_many_equals_train(graphed, tmp_path):
    configs = [CONFIG, replace(CONFIG, subset=2), replace(CONFIG, n_images=256, images_seen=3000)]
    together = train_many(configs, split_of, folder=tmp_path / "many", device="cuda")
    assert torch.equal(weights(together[0].net), weights(graphed.net))
    for index in (1, 2):
        alone = run(tmp_path / f"alone{index}", configs[index])
        assert torch.equal(weights(together[index].net), weights(alone.net))
        assert np.array_equal(together[index].losses, alone.losses)


def test_one_failure_keeps_the_others(graphed, tmp_path):
    configs = [CONFIG, replace(CONFIG, learning_rate=1e30, warmup=0)]
    results = train_many(configs, split_of, folder=tmp_path, device="cuda", errors="return")
    assert torch.equal(weights(results[0].net), weights(graphed.net))
    assert isinstance(results[1], TrainingDiverged)


def test_callbacks_see_the_state_of_their_checkpoint(graphed, tmp_path):
    """Work that a callback queues and does not wait for is done before the next step."""
    calls = []

    def queue(seen, net):
        torch.cuda._sleep(20_000_000)
        calls.append((seen, [parameter.detach().clone() for parameter in net.parameters()]))

    run(tmp_path / "a", on_checkpoint=queue)
    for seen, found in calls[:2]:
        stopped = run(tmp_path / f"s{seen}", stop_after=seen)
        flat = torch.cat([parameter.reshape(-1).cpu() for parameter in found])
        assert torch.equal(flat, weights(stopped.net))


def test_callbacks_run_in_full_precision(tmp_path):
    """TF32 is for the steps, not for what is measured between them."""
    found = []
    run(tmp_path, on_checkpoint=lambda *_: found.append(torch.get_float32_matmul_precision()))
    assert set(found) == {torch.get_float32_matmul_precision()} == {"highest"}


def test_finished_network_is_read_on_the_cpu(tmp_path):
    result = run(tmp_path)
    read = run(tmp_path, device="cpu")
    assert torch.equal(weights(read.net), weights(result.net))
    assert (estimates(read) - estimates(result)).abs().max() < 1e-4


def test_layouts_agree(graphed, tmp_path):
    other = run(tmp_path, channels_last=True)
    np.testing.assert_allclose(other.losses, graphed.losses, rtol=0.05)


@pytest.mark.slow
def test_compiled_agrees(graphed, tmp_path):
    compiled = run(tmp_path, compile=True)
    np.testing.assert_allclose(compiled.losses, graphed.losses, rtol=0.05)
