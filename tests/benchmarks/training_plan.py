"""What the benchmark of training measures, the most important first."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lindiff.nn.build import build
from lindiff.nn.cost import n_flops, n_parameters
from lindiff.nn.images import image_split
from lindiff.nn.trainer import TrainConfig, train, train_many
from tests.benchmarks import training_steps as steps
from tests.benchmarks.training_processes import processes_rate
from tests.benchmarks.training_report import Row, compare, spread, synchronize

WAYS = ("eager, fp32", "eager, bf16", "graph, bf16", "compile and graph, bf16")
ONE_MODEL = "eager, bf16: 1"


@dataclass(frozen=True)
class Settings:
    """Sizes of one preset; `seconds` is the time for each way, over all rounds."""

    size: int
    widths: tuple
    batches: tuple
    n_images: int
    seconds: float
    rounds: int
    warm_up: int
    models: tuple
    sweep_images: int
    matrix: int
    copied: int
    budget: float
    pace: float


# `pace` scales the seconds that a task is expected to take.
PRESETS = {
    "smoke": Settings(8, (8,), (8,), 64, 0.1, 2, 1, (1, 2), 32, 256, 2**20, 60.0, 0.05),
    "h200": Settings(
        32,
        (32, 16, 64),
        (256, 64, 512),
        4096,
        1.5,
        5,
        10,
        (1, 2, 4, 8),
        100_000,
        8192,
        2**30,
        420.0,
        1.0,
    ),
}
# What a computer without a GPU shows in some minutes.
PRESETS["cpu"] = Settings(16, (8,), (32,), 1024, 6.0, 3, 1, (2, 4), 3_200, 1024, 2**27, 900.0, 1.0)
# The most telling rows in two minutes and a half.
PRESETS["h100-slice"] = replace(
    PRESETS["h200"],
    batches=(256, 64),
    seconds=0.8,
    rounds=3,
    models=(2, 4, 8),
    sweep_images=50_000,
    pace=0.45,
)


@dataclass(frozen=True)
class Task:
    """Some rows, and the seconds they are expected to take."""

    name: str
    run: Callable
    seconds: float


def plan(settings):
    """Return the tasks in the order in which they are measured."""
    width, batch = settings.widths[0], settings.batches[0]
    several = partial(several_models, width=settings.widths[1 % len(settings.widths)])
    first = partial(step, width=width, batch=batch, ways=WAYS[:3], naive=True)
    tasks = [
        Task("peak of the device", peak, 5),
        Task(f"step, C={width}, batch {batch}", first, 25),
    ]
    # Small batches first: there the launches of kernels cost most.
    for other in sorted(settings.batches):
        for wide in settings.widths:
            if (wide, other) == (width, batch):
                continue
            ways = WAYS[1:] if wide == width else WAYS[1:3]
            part = partial(step, width=wide, batch=other, ways=ways)
            tasks.append(Task(f"step, C={wide}, batch {other}", part, 75 if wide == width else 12))
    tasks[3:3] = [
        Task("against diffusers", against_diffusers, 85),
        Task("sweep of eight N", sweep, 45),
        Task("several models at once", several, 40),
    ]
    tasks += [
        Task(f"several models at once, {n} processes", partial(several_processes, n=n), 35)
        for n in settings.models
    ]
    tasks += [
        Task(
            f"compiled step, C={wide}, batch {batch}",
            partial(step, width=wide, batch=batch, ways=WAYS[2:]),
            75,
        )
        for wide in settings.widths
    ]
    return [replace(task, seconds=task.seconds * settings.pace) for task in tasks]


def training_images(settings, device):
    """The images of every comparison."""
    split = image_split("toyfaces", settings.n_images, size=settings.size, n_test=1)
    return split.train.to(device)


def price(arch, size):
    """GFLOP of one image forward."""
    return n_flops(build(arch, size=size, sigma_data=0.5, seed=0), size) / 1e9


def peak(report, settings, device):
    """The largest rate of a matrix product and of a copy, over blocks of work."""
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    a, b = (torch.randn(settings.matrix, settings.matrix, device=device).to(kind) for _ in "ab")
    source = torch.zeros(settings.copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product = fastest(lambda: torch.matmul(a, b), device)
    copy = fastest(lambda: target.copy_(source), device)
    report.peak = 2 * settings.matrix**3 / product / 1e12
    name = f"matrix product, {settings.matrix}, {str(kind).removeprefix('torch.')}"
    report.add(Row("peak of the device", name, tflops=report.peak, peak_share=1.0))
    speed = 2 * settings.copied / copy / 1e9
    report.add(Row("peak of the device", "copy", note=f"{speed:,.0f} GB/s read and written"))


def fastest(call, device, repeats=20, rounds=5):
    """Seconds of one of several calls in a row, in the fastest round."""
    taken = []
    for _ in range(rounds + 1):
        synchronize(device)
        begin = time.perf_counter()
        for _ in range(repeats):
            call()
        synchronize(device)
        taken.append((time.perf_counter() - begin) / repeats)
    return min(taken[1:])


def step(report, settings, device, *, width, batch, ways, naive=False):
    """Our step in several ways, after the naive one if that is asked for."""
    images, arch = training_images(settings, device), f"unet-{width}"
    flops = price(arch, settings.size)
    builders = []
    if naive:
        make = partial(steps.naive, images, arch, batch)
        builders = [("naive: eager, fp32, DataLoader", make, batch, flops)]
    builders += [(w, partial(steps.ours, images, arch, batch, w), batch, flops) for w in ways]
    compare(report, settings, device, f"step, C={width}, batch {batch}", builders)


def nearest_width(n, size):
    """Base width of our U-Net with the number of parameters closest to n."""
    counts = {
        width: n_parameters(build(f"unet-{width}", size=size, sigma_data=0.5, seed=0))
        for width in range(40, 64)
    }
    return min(counts, key=lambda width: abs(counts[width] - n))


def against_diffusers(report, settings, device):
    """A plain loop around the U-Net of diffusers, and ours with as many parameters."""
    size, batch = settings.size, settings.batches[0]
    images = training_images(settings, device)
    rival = steps.diffusers_network(size)
    n, flops = n_parameters(rival), n_flops(rival, size) / 1e9
    equal = nearest_width(n, size)
    builders = [
        (f"diffusers, {kind}", partial(steps.diffusers_loop, images, batch, kind), batch, flops)
        for kind in ("fp32", "bf16")
    ]
    # A multiple of 8 suits the tensor cores and has more parameters than the rival.
    for width in (equal, -(-equal // 8) * 8):
        arch = f"unet-{width}"
        ways = WAYS[2:] if width % 8 == 0 else WAYS[2:3]  # Compiling takes long.
        for way in ways if device.type == "cuda" else WAYS[:1]:
            make = partial(steps.ours, images, arch, batch, way)
            builders.append((f"ours, C={width}: {way}", make, batch, price(arch, size)))
    compare(report, settings, device, f"U-Nets of {n:,} parameters, batch {batch}", builders)


def several_models(report, settings, device, *, width):
    """Several models in one process: graphs on streams, and stacked weights."""
    batch, arch = settings.batches[0], f"unet-{width}"
    images, flops = training_images(settings, device), price(arch, settings.size)
    builders = [(ONE_MODEL, partial(steps.ours, images, arch, batch, WAYS[1]), batch, flops)]
    for n in settings.models:
        on_streams = partial(steps.streams, images, arch, batch, n)
        builders.append((f"graphs on streams: {n}", on_streams, n * batch, flops))
    for n in settings.models:
        for graphed in (False, True):
            name = f"stacked, {'graph' if graphed else 'eager'}: {n}"
            make = partial(steps.stacked, images, arch, batch, n, graphed)
            builders.append((name, make, n * batch, flops))
    compare(report, settings, device, f"several models, C={width}, batch {batch}", builders)


def several_processes(report, settings, device, *, n):
    """Several processes that share the device, each with one model."""
    width, batch = settings.widths[1 % len(settings.widths)], settings.batches[0]
    total = processes_rate(n, f"unet-{width}", batch, settings, device)
    flops = price(f"unet-{width}", settings.size)
    tflops = 3 * flops * total / 1e3
    share = tflops / report.peak if report.peak else None
    name = f"several models, C={width}, batch {batch}"
    ratios = [total / row.images_per_second for row in report.of(name) if row.way == ONE_MODEL]
    ratios = spread(np.array(ratios)) if ratios else (None,) * 3
    row = Row(name, f"processes: {n}", total, *ratios, tflops=tflops, peak_share=share)
    report.add(row)


def sweep(report, settings, device):
    """Eight trainings with N = 8 to 1024 images: together, and one after the other."""
    width = settings.widths[1 % len(settings.widths)]
    largest = image_split("toyfaces", 1024, size=settings.size, n_test=1)
    configs, splits = [], {}
    for n in (8, 16, 32, 64, 128, 256, 512, 1024):
        config = TrainConfig(
            arch=f"unet-{width}",
            data="toyfaces",
            n_images=n,
            images_seen=settings.sweep_images,
            size=settings.size,
            batch=settings.batches[0],
            first_checkpoint=settings.sweep_images,
        )
        configs.append(config)
        splits[n] = replace(largest, train=type(largest.train)(largest.train.pixels[:n]))
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        for config in configs:
            train(config, splits[config.n_images], folder=Path(folder, config.key), device=device)
        seconds["eight runs in a row"] = time.perf_counter() - begin
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        train_many(configs, lambda c: splits[c.n_images], folder=Path(folder), device=device)
        seconds["one sweep of eight"] = time.perf_counter() - begin
    seen = sum(config.n_steps * config.batch for config in configs)
    slowest = seconds["eight runs in a row"]
    for name, taken in seconds.items():
        ratio = slowest / taken
        note = f"{taken:.1f} s with set-up and saving"
        row = Row(f"sweep, C={width}", name, seen / taken, ratio, ratio, ratio, note=note)
        report.add(row)
