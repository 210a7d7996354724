"""Interrupted trainings end as undisturbed ones; damaged files are noticed."""

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from lindiff.nn import _run, checkpoints
from lindiff.nn.checkpoints import (
    CorruptFile,
    FolderLock,
    checkpoint_path,
    load_checkpoint,
    load_state,
    read_tensors,
    save_state,
    write_tensors,
)
from lindiff.nn.images import image_split
from lindiff.nn.trainer import TrainConfig, train, train_many

CONFIG = TrainConfig(
    "mlp-16",
    "toyfaces",
    32,
    640,
    size=8,
    batch=16,
    warmup=200,
    first_checkpoint=64,
    checkpoints_per_decade=4,
)
UNET = replace(CONFIG, arch="unet-8", images_seen=480)
SCRIPT = """
import sys
from lindiff.nn import _run
from lindiff.nn.images import image_split
from lindiff.nn.trainer import TrainConfig, train
_run.SECONDS_BETWEEN_STATES = 0.02
config = TrainConfig(**{settings!r})
split = image_split(config.data, config.n_images, size=config.size)
print("ready", flush=True)
train(config, split, folder=sys.argv[1], device=sys.argv[2], keep_checkpoints=True)
"""


def split_of(config):
    return image_split(config.data, config.n_images, subset=config.subset, size=config.size)


def weights(net):
    return torch.cat([parameter.detach().reshape(-1).cpu() for parameter in net.parameters()])


def recorded(config, folder, **options):
    """Train and return (result, list of the calls at checkpoints)."""
    calls = []
    result = train(
        config,
        split_of(config),
        folder=folder,
        on_checkpoint=lambda seen, net: calls.append((seen, weights(net))),
        **options,
    )
    return result, calls


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """An undisturbed training: (tensors of its state, result, calls)."""
    folder = tmp_path_factory.mktemp("straight")
    result, calls = recorded(CONFIG, folder)
    return load_state(folder)[0], result, calls


def assert_same_state(folder, tensors):
    found, _ = load_state(folder)
    assert found.keys() == tensors.keys()
    for name in tensors:
        assert torch.equal(found[name], tensors[name]), name


# Interruptions.


def run_and_kill(config, folder, delay, device="cpu", after=None):
    """Start a training in a process of its own and kill it; return whether it had ended.

    The delay counts from the start of the training, or from when the file `after` exists.
    """
    settings = {field: getattr(config, field) for field in config.__dataclass_fields__}
    command = [
        sys.executable,
        "-c",
        SCRIPT.replace("{settings!r}", repr(settings)),
        str(folder),
        device,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        while after is not None and not after.exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(delay)
        ended = process.poll() is not None
        process.send_signal(signal.SIGKILL)
    return ended


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(("config", "seed"), [(CONFIG, 0), (CONFIG, 1), (UNET, 2)])
def test_killed_at_random_moments(config, seed, tmp_path):
    begin = time.monotonic()
    whole = train(config, split_of(config), folder=tmp_path / "whole", keep_checkpoints=True)
    seconds = time.monotonic() - begin
    draw, folder, seen = random.Random(seed), tmp_path / "killed", []
    for _ in range(2):
        ended = run_and_kill(config, folder, draw.uniform(0.2, 0.8) * seconds)
        state = load_state(folder)
        seen.append(0 if state is None else state[1]["images_seen"])
        if ended:
            break
    assert seen == sorted(seen)
    result = train(config, split_of(config), folder=folder, keep_checkpoints=True)
    assert torch.equal(weights(result.net), weights(whole.net))
    assert np.array_equal(result.losses, whole.losses)
    assert_same_state(folder, load_state(tmp_path / "whole")[0])
    for n in whole.losses[:, 0].astype(int):
        nets = [load_checkpoint(checkpoint_path(p, n))[0] for p in (folder, tmp_path / "whole")]
        assert torch.equal(weights(nets[0]), weights(nets[1]))


class Interrupted(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("before", [True, False])
def test_interrupted_at_every_write(function, before, straight, tmp_path, monkeypatch):
    """Stop before or after every seventh call of a system function, and go on."""
    tensors, result, calls = straight
    real, count = getattr(os, function), [0]

    def stopping(*arguments, **keywords):
        count[0] += 1
        if before and count[0] % 7 == 0:
            raise Interrupted
        value = real(*arguments, **keywords)
        if not before and count[0] % 7 == 0:
            raise Interrupted
        return value

    monkeypatch.setattr(checkpoints.os, function, stopping)
    monkeypatch.setattr(_run, "SECONDS_BETWEEN_STATES", 0.0)
    seen, again, interruptions = [], None, 0
    while again is None:
        try:
            again = train(
                CONFIG,
                split_of(CONFIG),
                folder=tmp_path,
                on_checkpoint=lambda n, net: seen.append((n, weights(net))),
            )
        except Interrupted:
            interruptions += 1
            assert interruptions < 200
    assert interruptions > 4
    assert torch.equal(weights(again.net), weights(result.net))
    assert np.array_equal(again.losses, result.losses)
    assert_same_state(tmp_path, tensors)
    expected = dict(calls)
    assert list(dict(seen)) == list(expected)
    assert all(torch.equal(net, expected[n]) for n, net in seen)


def test_states_between_checkpoints_change_nothing(straight, tmp_path, monkeypatch):
    saved, save = [], checkpoints.save_state
    monkeypatch.setattr(_run, "SECONDS_BETWEEN_STATES", 0.0)
    monkeypatch.setattr(
        _run, "save_state", lambda *a: (saved.append(a[2]["images_seen"]), save(*a))
    )
    result, calls = recorded(CONFIG, tmp_path)
    assert saved == list(range(16, 641, 16))
    assert torch.equal(weights(result.net), weights(straight[1].net))
    assert [n for n, _ in calls] == [n for n, _ in straight[2]]


def test_failing_callback_is_called_again(straight, tmp_path):
    def failing(seen, net):
        if seen > 200:
            raise KeyError("no")

    with pytest.raises(KeyError):
        train(CONFIG, split_of(CONFIG), folder=tmp_path, on_checkpoint=failing)
    _, calls = recorded(CONFIG, tmp_path)
    expected = [call for call in straight[2] if call[0] > 200]
    assert [n for n, _ in calls] == [n for n, _ in expected]
    assert all(torch.equal(a[1], b[1]) for a, b in zip(calls, expected, strict=True))


def test_larger_budget_goes_on(straight, tmp_path):
    train(replace(CONFIG, images_seen=500), split_of(CONFIG), folder=tmp_path)
    longer = train(CONFIG, split_of(CONFIG), folder=tmp_path)
    assert torch.equal(weights(longer.net), weights(straight[1].net))
    with pytest.raises(ValueError, match="more than the budget of 500"):
        train(replace(CONFIG, images_seen=500), split_of(CONFIG), folder=tmp_path)


def test_lost_network_of_a_finished_training_is_written_again(straight, tmp_path):
    def networks():
        found = {path.name: read_tensors(path) for path in tmp_path.glob("net-*")}
        return {
            name: ({key: value.tolist() for key, value in net.items()}, meta)
            for name, (net, meta) in found.items()
        }

    train(CONFIG, split_of(CONFIG), folder=tmp_path, keep_checkpoints=True)
    before = networks()
    damage(checkpoint_path(tmp_path, 640), "cut")
    train(CONFIG, split_of(CONFIG), folder=tmp_path, keep_checkpoints=True)
    assert networks() == before
    checkpoint_path(tmp_path, 640).unlink()
    train(CONFIG, split_of(CONFIG), folder=tmp_path)
    assert networks().keys() == before.keys() - {checkpoint_path(tmp_path, 640).name}
    again = train(CONFIG, split_of(CONFIG), folder=tmp_path, keep_checkpoints=True)
    assert networks() == before
    assert torch.equal(weights(again.net), weights(straight[1].net))


def test_other_seed_ends_elsewhere(straight, tmp_path):
    """The control: equality above is no accident of a training that does nothing."""
    other = train(replace(CONFIG, seed_noise=1), split_of(CONFIG), folder=tmp_path)
    assert not torch.allclose(weights(other.net), weights(straight[1].net), atol=1e-4)


def test_train_many_resumes(straight, tmp_path):
    configs = [CONFIG, replace(CONFIG, subset=2)]
    train_many(configs, split_of, folder=tmp_path, stop_after=300)
    results = train_many(configs, split_of, folder=tmp_path)
    assert torch.equal(weights(results[0].net), weights(straight[1].net))


# Damaged and foreign files.


@pytest.fixture
def stopped(tmp_path):
    """A folder with two states of an unfinished training, at 240 and 480 images."""
    for stop in (240, 480):
        train(CONFIG, split_of(CONFIG), folder=tmp_path, stop_after=stop)
    return tmp_path


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    elif how == "empty":
        content = b""
    elif how == "flipped":
        content[-5] ^= 1
    elif how == "meta":
        at = content.index(b"images_seen")
        content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "meta"])
def test_damaged_newest_state(how, stopped, straight):
    damage(stopped / checkpoints.NEWEST, how)
    message = r"state.safetensors is .*; training goes on from the state before it, \d+ images"
    with pytest.warns(RuntimeWarning, match=message):
        result = train(CONFIG, split_of(CONFIG), folder=stopped)
    assert torch.equal(weights(result.net), weights(straight[1].net))


def test_both_states_damaged(stopped):
    for name in (checkpoints.NEWEST, checkpoints.PREVIOUS):
        damage(stopped / name, "flipped")
    with pytest.raises(CorruptFile, match="no earlier state is whole: delete the folder"):
        train(CONFIG, split_of(CONFIG), folder=stopped)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"learning_rate": 2e-3}, "learning_rate 0.001 there, 0.002 here"),
        ({"subset": 2}, "subset 1 there, 2 here"),
        ({"precision": "bf16"}, "precision"),
    ],
)
def test_state_of_another_configuration(changes, difference, stopped):
    config = replace(CONFIG, **changes)
    with pytest.raises(ValueError, match="holds a training of another configuration") as caught:
        train(config, split_of(config), folder=stopped)
    assert str(stopped) in str(caught.value) and difference in str(caught.value)
    assert load_state(stopped)[1]["images_seen"] == 480


def test_other_pixels_are_noticed(stopped):
    split = image_split("toyfaces", 32, size=8, seed=5)
    with pytest.raises(ValueError, match=r"other images: their fingerprint is [0-9a-f]{8} there,"):
        train(CONFIG, split, folder=stopped)


def rewritten(folder, **changes):
    tensors, meta = load_state(folder)
    save_state(folder, tensors, {**meta, **changes})


def test_state_of_another_device(stopped, straight, tmp_path):
    rewritten(stopped, device="cuda")
    with pytest.raises(ValueError, match="device 'cuda' there, 'cpu' here"):
        train(CONFIG, split_of(CONFIG), folder=stopped)


def test_finished_network_of_another_device_is_read(straight, tmp_path):
    train(CONFIG, split_of(CONFIG), folder=tmp_path)
    tensors, meta = load_state(tmp_path)
    for index in (0, 1):
        tensors[f"generator/{index}"] = torch.zeros(16, dtype=torch.uint8)
    tensors["scaler"] = torch.ones(2)
    save_state(tmp_path, tensors, {**meta, "device": "cuda", "precision": "fp16"})
    result = train(CONFIG, split_of(CONFIG), folder=tmp_path)
    assert torch.equal(weights(result.net), weights(straight[1].net))


# One process per folder.


@pytest.mark.skipif(checkpoints.fcntl is None, reason="there are no file locks")
def test_folder_of_another_process(straight, tmp_path, capsys):
    lock = FolderLock(tmp_path)
    with pytest.raises(TimeoutError, match="another process trains in"):
        train(CONFIG, split_of(CONFIG), folder=tmp_path, deadline=time.monotonic() + 0.2)
    assert "waiting for another process" in capsys.readouterr().err
    threading.Timer(0.3, lock.release).start()
    result = train(CONFIG, split_of(CONFIG), folder=tmp_path)
    assert torch.equal(weights(result.net), weights(straight[1].net))
    FolderLock(tmp_path, deadline=time.monotonic()).release()


def test_same_folder_twice(tmp_path):
    with pytest.raises(ValueError, match="two of them have the same one"):
        train_many([CONFIG, CONFIG], split_of, folder=tmp_path)


# Files.


def test_round_trip_and_names(tmp_path):
    tensors = {
        "a": torch.arange(6.0).reshape(2, 3).T,
        "b": torch.tensor(7),
        "c": torch.zeros(0, dtype=torch.uint8),
    }
    write_tensors(tmp_path / "new" / "x.safetensors", tensors, {"n": [1, None, "é"]})
    found, meta = read_tensors(tmp_path / "new" / "x.safetensors")
    assert meta == {"n": [1, None, "é"]}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_tensors(tmp_path / "y.safetensors")


def test_foreign_file(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(CorruptFile, match="cut off or no file"):
        read_tensors(tmp_path / "x.safetensors")


def full_disk(stream):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk(stopped, straight, monkeypatch):
    before = {path.name: path.read_bytes() for path in stopped.iterdir()}
    monkeypatch.setattr(checkpoints.os, "fsync", full_disk)
    with pytest.raises(OSError, match=r"No space left on device; free at least .* MB") as caught:
        train(CONFIG, split_of(CONFIG), folder=stopped)
    assert caught.value.errno == errno.ENOSPC
    assert {path.name: path.read_bytes() for path in stopped.iterdir()} == before
    monkeypatch.undo()
    result = train(CONFIG, split_of(CONFIG), folder=stopped)
    assert torch.equal(weights(result.net), weights(straight[1].net))


def test_a_lost_network_on_a_full_disk(straight, tmp_path, monkeypatch):
    train(CONFIG, split_of(CONFIG), folder=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.os, "fsync", full_disk)
        with pytest.raises(OSError, match=r"cannot write net-0000000640\.safetensors .* free at"):
            train(CONFIG, split_of(CONFIG), folder=tmp_path, keep_checkpoints=True)
        found = train(CONFIG, split_of(CONFIG), folder=tmp_path)
        assert torch.equal(weights(found.net), weights(straight[1].net))
    train(CONFIG, split_of(CONFIG), folder=tmp_path, keep_checkpoints=True)
    assert len(list(tmp_path.glob("net-*"))) == 1


def test_a_state_is_no_network(stopped):
    with pytest.raises(ValueError, match="holds the state of a training, not a network"):
        load_checkpoint(stopped / checkpoints.NEWEST)


def test_really_full_disk(tmp_path, straight):
    """The same on a file system of 1 MB, where one may be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "lindiff", str(tmp_path)]
    try:
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("mounting is not allowed here")
    except OSError:
        pytest.skip("there is no mount")
    try:
        train(CONFIG, split_of(CONFIG), folder=tmp_path, stop_after=240)
        filler = tmp_path / "filler"
        with pytest.raises(OSError), filler.open("wb") as stream:
            while True:
                stream.write(bytes(4096))
                stream.flush()
        with pytest.raises(OSError, match="free at least"):
            train(CONFIG, split_of(CONFIG), folder=tmp_path)
        filler.unlink()
        assert load_state(tmp_path)[1]["images_seen"] == 240
        assert not list(tmp_path.glob("*.part"))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="make the folder writable or choose another"):
        train(CONFIG, split_of(CONFIG), folder=tmp_path / "file" / "below", stop_after=16)


def test_home_in_the_name_of_a_folder(monkeypatch, tmp_path):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    config = replace(CONFIG, images_seen=64)
    train(config, split_of(config), folder="~/runs", device="cpu", keep_checkpoints=True)
    train_many([config], split_of, folder="~/many", device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert (tmp_path / "home" / "many" / config.key).is_dir()
    _, meta = load_state("~/runs")
    _, own, images_seen = load_checkpoint(checkpoint_path("~/runs", 64))
    assert (meta["images_seen"], own, images_seen) == (64, config, 64)
    assert read_tensors("~/runs/net-0000000064.safetensors")[1]["images_seen"] == 64
