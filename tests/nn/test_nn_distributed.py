"""Two processes train one network as one process does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lindiff.nn import distributed
from lindiff.nn.checkpoints import load_state, read_tensors
from lindiff.nn.images import image_split
from lindiff.nn.trainer import TrainConfig, train

SETTINGS = {
    "arch": "unet-4",
    "data": "toyfaces",
    "n_images": 64,
    "size": 8,
    "images_seen": 320,
    "batch": 16,
    "warmup": 0,
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
train_distributed(config, split, folder=sys.argv[1] + "/run", device="cpu", stop_after=100)
calls = []
result = train_distributed(
    config, split, folder=sys.argv[1] + "/run", device="cpu", on_checkpoint=lambda n, _: calls.append(n)
)
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


def distance(tensors, reference, prefix="ema/"):
    """Largest difference of a weight, in units of the largest change of any in training."""
    names = [name for name in reference if name.startswith(prefix)]
    differences = [
        (tensors[name.removeprefix(prefix)] - reference[name]).abs().max() for name in names
    ]
    return float(max(differences))


@pytest.mark.slow
def test_two_processes_agree_with_one(alone, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("{settings!r}", repr(SETTINGS)))
    torchrun(script, tmp_path)
    (one, meta), (two, meta2) = (read_tensors(tmp_path / f"rank{r}.safetensors") for r in (0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert meta["calls"] == [208, 256, 320] and meta2["calls"] == []
    print(distance(one, alone[1]))
    assert 0 < distance(one, alone[1]) < 1e-4


@pytest.mark.slow
def test_command_line(alone, tmp_path):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    done = torchrun(
        "-m", "lindiff.nn.distributed", *options, f"--folder={tmp_path}", "--device=cpu"
    )
    assert f"320 images seen, loss {alone[0].losses[-1, 1]:.4g}" in done.stdout
    tensors, meta = load_state(tmp_path)
    assert meta["images_seen"] == 320
    weights = {name.removeprefix("ema/"): tensor for name, tensor in tensors.items()}
    print(distance(weights, alone[1]))
    assert distance(weights, alone[1]) < 1e-4


def test_without_torchrun(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    with pytest.raises(SystemExit, match="start this through torchrun"):
        distributed.main([*options, "--folder=x"])
