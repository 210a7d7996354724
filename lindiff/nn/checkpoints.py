"""Files of a training: its state, written whole or not at all, and the networks on the way.

A file holds named tensors and a JSON text in the safetensors format; nothing in it is code.
"""

import contextlib
import errno
import hashlib
import json
import os
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lindiff.nn._config import TrainConfig

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = [
    "CorruptFile",
    "FolderLock",
    "checkpoint_path",
    "load_checkpoint",
    "load_state",
    "read_tensors",
    "save_checkpoint",
    "save_state",
    "write_tensors",
]

NEWEST, PREVIOUS = "state.safetensors", "state.previous.safetensors"


class CorruptFile(RuntimeError):
    """A file is cut off, or its content is not what was written."""


def write_tensors(path, tensors, meta):
    """Write tensors and the JSON-able dict `meta` to `path` atomically.

    The bytes go to a temporary file of the same folder, reach the disk, and are then renamed.
    A checksum of the tensors and of `meta` travels in the file.

    Raises
    ------
    OSError
        If the file cannot be written, for example for lack of space; an older file at `path`
        is then untouched.
    """
    path = Path(path).expanduser()
    tensors = {name: _own_copy(tensor) for name, tensor in tensors.items()}
    text = json.dumps(meta, sort_keys=True)
    content = save(tensors, {"meta": text, "sha256": _checksum(tensors, text)})
    # A fixed name: what a killed process leaves is overwritten by the next one.
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise _explained(error, path, len(content)) from error
        raise


def _own_copy(tensor):
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _explained(error, path, n_bytes):
    remedy = "make the folder writable or choose another, then call again"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = f"free at least {n_bytes / 1e6:.1f} MB there, then call again"
    reason = os.strerror(error.errno) if error.errno else str(error)
    message = f"cannot write {path.name} in {path.parent}: {reason}; {remedy}"
    return OSError(error.errno, f"{message}. What was saved before is intact")


def read_tensors(path, device="cpu"):
    """Return (tensors, meta) of a file of `write_tensors`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CorruptFile
        If it is cut off, or its checksum is wrong.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text, expected = header["meta"], header["sha256"]
        meta = json.loads(text)
    except (SafetensorError, KeyError, ValueError) as error:
        raise CorruptFile(f"{path} is cut off or no file of lindiff.nn") from error
    if _checksum(tensors, text) != expected:
        raise CorruptFile(f"{path} is damaged: its checksum is wrong")
    return {name: tensor.to(device) for name, tensor in tensors.items()}, meta


def _checksum(tensors, text):
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def save_state(folder, tensors, meta):
    """Write the newest state of a training and keep the one before it."""
    folder = Path(folder).expanduser()
    fresh = folder / "state.fresh.safetensors"
    write_tensors(fresh, tensors, meta)
    if (folder / NEWEST).exists():
        os.replace(folder / NEWEST, folder / PREVIOUS)
    os.replace(fresh, folder / NEWEST)


def load_state(folder):
    """Return (tensors, meta) of the newest whole state in `folder`, or None if there is none.

    Warns if the newest state is damaged and the one before it is taken.

    Raises
    ------
    CorruptFile
        If no state is whole.
    """
    damaged = None
    for name in (NEWEST, PREVIOUS):
        try:
            state = read_tensors(Path(folder).expanduser() / name)
        except FileNotFoundError:
            continue
        except CorruptFile as error:
            damaged = damaged or error
            continue
        if damaged is not None:
            seen = state[1].get("images_seen")
            message = f"{damaged}; training goes on from the state before it, {seen} images seen"
            warnings.warn(message, RuntimeWarning, stacklevel=3)
        return state
    if damaged is not None:
        raise CorruptFile(
            f"{damaged}, and no earlier state is whole: delete the folder"
        ) from damaged
    return None


class FolderLock:
    """Held by the one process that trains in a folder; the system frees it if that is killed.

    Waits while another process holds it, at most until `deadline` on the monotonic clock.

    Raises
    ------
    TimeoutError
        If the folder is still taken at the deadline.
    """

    def __init__(self, folder, deadline=None):
        self.stream = None
        if fcntl is None:
            return
        folder, announced = Path(folder).expanduser(), False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.stream = (folder / "lock").open("a")
        except OSError as error:
            if folder.is_dir():  # It can be read, which is all that a finished training needs.
                return
            raise _explained(error, folder / "lock", 0) from error
        while not self._taken():
            if not announced:
                print(f"waiting for another process that trains in {folder}", file=sys.stderr)
                announced = True
            if deadline is not None and time.monotonic() >= deadline:
                self.release()
                raise TimeoutError(f"another process trains in {folder}: wait for it or stop it")
            time.sleep(0.1)

    def _taken(self):
        try:
            fcntl.flock(self.stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # Some network drives have no locks.
            return True
        return True

    def release(self):
        """Let other processes train in the folder."""
        if self.stream is not None:
            self.stream.close()
            self.stream = None


def checkpoint_path(folder, images_seen):
    """Where the network after `images_seen` images lies in the folder of a training."""
    return Path(folder).expanduser() / f"net-{images_seen:010d}.safetensors"


def save_checkpoint(path, net, config, images_seen, *, sigma_data, fingerprint=None):
    """Write the weights of a `Preconditioned` network in float32, with how they arose."""
    tensors = {name: tensor.float() for name, tensor in net.state_dict().items()}
    meta = {
        "config": asdict(config),
        "images_seen": images_seen,
        "sigma_data": sigma_data,
        "fingerprint": fingerprint,
    }
    write_tensors(path, tensors, meta)


def load_checkpoint(path, device="cpu"):
    """Return (net, config, images_seen) of a file of `save_checkpoint`; `net` in eval mode.

    Raises
    ------
    FileNotFoundError, CorruptFile
        As `read_tensors`.
    ValueError
        If the file holds the state of a training and not a network.
    """
    from lindiff.nn.build import build

    tensors, meta = read_tensors(path)
    if "sigma_data" not in meta:
        raise ValueError(
            f"{Path(path).name} holds the state of a training, not a network: networks lie in "
            "net-*.safetensors of a training with keep_checkpoints=True"
        )
    config = TrainConfig(**meta["config"])
    net = build(
        config.arch,
        size=config.size,
        sigma_data=meta["sigma_data"],
        seed=config.seed_weights,
        kind=config.kind,
    )
    net.load_state_dict(tensors)
    return net.to(device).eval(), config, meta["images_seen"]
