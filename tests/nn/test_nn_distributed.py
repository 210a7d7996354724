"""Two processes train one network as one process does."""

import os
import socket
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from lindiff.nn import distributed
from lindiff.nn.build import build
from lindiff.nn.checkpoints import checkpoint_path, load_checkpoint, load_state, read_tensors
from lindiff.nn.images import image_split
from lindiff.nn.trainer import TrainConfig, train

SETTINGS = {
    "arch": "unet-4",
    "data": "toyfaces",
    "n_images": 64,
    "size": 8,
    "images_seen": 320,
    "batch": 16,
    "warmup": 1600,
    "learning_rate": 1e-3,
    "first_checkpoint": 160,
}
SCRIPT = """
import sys
import torch.distributed as dist
from lindiff.nn.checkpoints import write_tensors
from lindiff.nn.distributed import train_distributed
from lindiff.nn.images import image_split
from lindiff.nn.trainer import TrainConfig
config = TrainConfig(**{settings!r})
dist.init_process_group("gloo")
split = image_split(config.data, config.n_images, size=config.size)
options = {"folder": sys.argv[1] + "/run", "device": "cpu"}
train_distributed(config, split, stop_after=100, **options)
calls = []
options["on_checkpoint"] = lambda seen, net: calls.append(seen)
result = train_distributed(config, split, **options)
name = f"{sys.argv[1]}/rank{dist.get_rank()}.safetensors"
write_tensors(name, dict(result.net.state_dict()), {"calls": calls})
dist.destroy_process_group()
"""


def torchrun(*arguments, **variables):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """State and losses of the same training in one process."""
    config = TrainConfig(**SETTINGS)
    folder = tmp_path_factory.mktemp("alone")
    split = image_split(config.data, config.n_images, size=config.size)
    return train(config, split, folder=folder), load_state(folder)[0]


def estimates(tensors):
    """What the network with these weights makes of 32 noisy images.

    The weights themselves may differ: a bias that a normalisation removes has no gradient but
    rounding errors, which Adam makes as large as the learning rate.
    """
    config = TrainConfig(**SETTINGS)
    images = image_split(config.data, config.n_images, size=config.size).train
    net = build(config.arch, size=config.size, sigma_data=images.std, seed=0)
    net.load_state_dict({name.removeprefix("ema/"): tensors[name] for name in tensors})
    noise = torch.randn((32, 64), generator=torch.Generator().manual_seed(0))
    return net.denoise(images.flat()[:32] + 0.5 * noise, 0.5)


def untrained():
    images = image_split("toyfaces", SETTINGS["n_images"], size=SETTINGS["size"]).train
    return build("unet-4", size=SETTINGS["size"], sigma_data=images.std, seed=0).state_dict()


def command_line():
    return [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]


def averaged(tensors):
    return {name: tensor for name, tensor in tensors.items() if name.startswith("ema/")}


@pytest.mark.slow
def test_two_processes_agree_with_one(alone, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("{settings!r}", repr(SETTINGS)))
    torchrun(script, tmp_path)
    (one, meta), (two, meta2) = (read_tensors(tmp_path / f"rank{r}.safetensors") for r in (0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert meta["calls"] == [160, 208, 256, 320] and meta2["calls"] == []
    expected, start = estimates(averaged(alone[1])), estimates(untrained())
    change = float((expected - start).abs().max())
    assert float((estimates(one) - expected).abs().max()) < 1e-3 * change


def test_command_line_with_one_process(alone, tmp_path, monkeypatch, capsys):
    """Alone in its group, a process repeats `train` bit for bit."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in group.items():
        monkeypatch.setenv(name, str(value))
    distributed.main(
        [*command_line(), "--betas", "0.9", "0.99", f"--folder={tmp_path}", "--device=cpu"]
    )
    result, tensors = alone
    assert f"320 images seen, loss {result.losses[-1, 1]:.4g}" in capsys.readouterr().out
    assert load_checkpoint(checkpoint_path(tmp_path, 320))[2] == 320
    found = load_state(tmp_path)[0]
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_without_torchrun(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(SystemExit, match="start this through torchrun"):
        distributed.main([*command_line(), "--folder=x"])


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_every_process_has_its_own_gpu(monkeypatch, name):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert distributed._device(name) == torch.device("cuda", 3) and chosen == [3]
    assert distributed._device("cpu") == torch.device("cpu") and chosen == [3]


def test_batch_must_be_shared_evenly(monkeypatch, tmp_path):
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "get_world_size", lambda: 3)
    config = TrainConfig(**SETTINGS)
    split = image_split(config.data, config.n_images, size=config.size)
    with pytest.raises(ValueError, match="`batch` is 16: it must be a multiple of 3 processes"):
        distributed.train_distributed(config, split, folder=tmp_path, device="cpu")
