"""One training on several devices of a machine, for example on two::

    torchrun --nproc_per_node=2 -m lindiff.nn.distributed --arch unet-16 --data toyfaces \\
        --n-images 4096 --images-seen 1000000 --folder runs/unet-16

The networks of its checkpoints lie in the folder, for `lindiff.nn.checkpoints.load_checkpoint`.
The same command goes on with a training that was stopped. `train_distributed` takes images of
one's own.

Every process draws the whole batch from the same random streams and takes its share of it;
`torch.nn.parallel.DistributedDataParallel` averages the gradients. The result is that of one
process with the same batch, up to the order of summation. Process 0 writes the files.
"""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from lindiff.nn._config import TrainConfig
from lindiff.nn._device import resolve_device
from lindiff.nn._run import Options, Run
from lindiff.nn.trainer import carry_out

__all__ = ["main", "train_distributed"]


def train_distributed(config, split, *, folder, device="auto", progress=False, **options):
    """Train with all processes of the default group, which must exist.

    Parameters
    ----------
    config, split, folder, progress
        As for `lindiff.nn.trainer.train`; `config.batch` is the batch of all processes together
        and a multiple of their number. All processes must see `folder`.
    device : str
        ``"cuda"``: the device of this process's number on its machine; ``"auto"``: the same,
        or the CPU where there is none.
    **options
        `stop_after`, `on_checkpoint` and `keep_checkpoints` of `train`; the last two act in
        process 0.

    Returns
    -------
    TrainResult, in every process
    """
    allowed = {"stop_after", "on_checkpoint", "keep_checkpoints"}
    if not set(options) <= allowed:
        raise TypeError(f"unknown options {sorted(set(options) - allowed)}")
    rank, world = dist.get_rank(), dist.get_world_size()
    own = Options(graph="off", rank=rank, world=world, **options)
    run = Run(config, split, Path(folder).expanduser(), _device(device), own)
    dist.barrier()  # All have read the old state before process 0 writes a new one.
    result = carry_out(run, progress and rank == 0)
    dist.barrier()
    return result


def _device(name):
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = resolve_device(name)
    if name != "cuda":
        return device
    local = int(os.environ.get("LOCAL_RANK", 0))
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def main(arguments=None):
    """Train the configuration given on the command line; ``--help`` lists its options."""
    from lindiff.nn.images import image_split

    options = vars(_parser().parse_args(arguments))
    if "RANK" not in os.environ:
        sys.exit(
            "start this through torchrun: torchrun --nproc_per_node=2 -m lindiff.nn.distributed"
        )
    folder, device = options.pop("folder"), options.pop("device")
    config = TrainConfig(**options)
    backend = "nccl" if device != "cpu" and torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend)
    try:
        split = image_split(config.data, config.n_images, subset=config.subset, size=config.size)
        result = train_distributed(
            config, split, folder=folder, device=device, progress=True, keep_checkpoints=True
        )
        if dist.get_rank() == 0:
            print(f"{result.images_seen} images seen, loss {result.losses[-1, 1]:.4g}")
    finally:
        dist.destroy_process_group()


def _parser():
    parser = argparse.ArgumentParser(
        prog="torchrun --nproc_per_node=2 -m lindiff.nn.distributed", description=__doc__
    )
    for field in dataclasses.fields(TrainConfig):
        name, required = "--" + field.name.replace("_", "-"), field.default is dataclasses.MISSING
        pair = {"nargs": 2, "type": float} if field.type is tuple else {"type": field.type}
        default = {} if required else {"default": field.default}
        parser.add_argument(name, required=required, **pair, **default)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    return parser


if __name__ == "__main__":
    main()
