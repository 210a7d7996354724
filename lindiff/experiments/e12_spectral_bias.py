"""E12: the order in which directions of large and small variance are learnt.

Wang and Pehlevan 2025, S-1 to S-4.
"""

from dataclasses import dataclass

import numpy as np

from lindiff.experiments import _faces, _mode_times
from lindiff.experiments._training_identities import trained_variance
from lindiff.experiments.rows import MissingRow, Row, judge
from lindiff.experiments.units import Unit

TITLE = "Spectral bias: which directions are learnt first"
VERSION = 1
NEEDS_GPU = True
SIGMA = 0.5
DIRECTIONS = ("rising", "falling")


@dataclass(frozen=True)
class Network:
    """One training: its network, images and budget."""

    label: str
    arch: str
    data: str
    size: int
    images_seen: int
    learning_rate: float
    n_images: int = 16384


@dataclass(frozen=True)
class Settings:
    """Size of the experiment."""

    networks: tuple
    n_samples: int
    n_eval: int
    checkpoints_per_decade: int = 8
    first_checkpoint: int = 256
    batch: int = 64
    linear_dimension: int = 32
    n_steps: int = 20_000
    seed: int = 0


def _networks(mlp, unet, size, small, seen, few):
    return (
        Network("mlp-gaussian", mlp, "decades", 8, seen, 3e-4),
        Network("mlp-faces", mlp, "toyfaces", size, seen, 3e-4),
        Network("unet-faces", unet, "toyfaces", small, few, 1e-3),
    )


PRESETS = {
    "smoke": Settings(
        networks=_networks("mlp-32", "unet-4", 8, 8, 10_000, 1_000),
        n_samples=64,
        n_eval=256,
        checkpoints_per_decade=4,
        n_steps=4000,
    ),
    "cpu": Settings(_networks("mlp-384", "unet-8", 16, 8, 60_000, 16_000), 256, 2000),
    "t4": Settings(
        _networks("mlp-384", "unet-16", 32, 32, 2_000_000, 1_000_000), 1024, 4000, batch=256
    ),
    "h200": Settings(
        _networks("mlp-384", "unet-32", 32, 32, 4_000_000, 2_000_000), 1024, 4000, batch=256
    ),
}


def units(settings):
    """One unit for the linear denoiser and one for each network."""
    networks = [Unit(net.label, network, (settings, net)) for net in settings.networks]
    return [Unit("linear", linear, (settings,)), *networks]


def linear(context, settings):
    """Full-batch gradient descent of an affine denoiser against the closed form S-1."""
    rng = np.random.default_rng([settings.seed, 0])
    d = settings.linear_dimension
    images = rng.standard_normal((4 * d, d)) * np.arange(1, d + 1) ** -0.75
    images -= images.mean(axis=0)
    cov = images.T @ images / len(images)
    total = cov + SIGMA**2 * np.eye(d)
    values, vectors = np.linalg.eigh(cov)
    rate = 4.0 / settings.n_steps
    start = rng.standard_normal((d, d)) / np.sqrt(d), rng.standard_normal(d)
    best = np.linalg.solve(total, cov)
    weights, bias = start[0].copy(), start[1].copy()
    marks = np.unique(np.geomspace(10, settings.n_steps, 12).astype(int))
    rows = []
    for step in range(1, settings.n_steps + 1):
        weights -= 2 * rate * (weights @ total - cov)
        bias -= 2 * rate * bias
        if step not in marks:
            continue
        gaps = []
        for noise in (SIGMA**2, 0.0):
            decay = vectors * np.exp(-2 * rate * step * (noise + values)) @ vectors.T
            expected = best + (start[0] - best) @ decay
            gap = np.linalg.norm(weights - expected) / np.linalg.norm(best)
            gaps.append(gap)
        shift = np.abs(bias - start[1] * np.exp(-2 * rate * step)).max()
        rows.append(Row("linear_error", max(gaps[0], shift), step=step, sigma=SIGMA))
        rows.append(Row("linear_error_control", gaps[1], step=step, sigma=SIGMA))
    return [*rows, *_linear_law(settings)]


def _linear_law(settings):
    """Exponent of the first passages of the generated variances in theory (S-2)."""
    times = np.geomspace(1e-2, 1e5, 300)
    targets = np.geomspace(10, 1e-2, 40)
    variances = np.array(
        [[trained_variance(target, time, 0.0, 0.002, 80.0) for target in targets] for time in times]
    )
    # Zero weights shrink the start in proportion to the noise: variance sigma_min squared.
    halfway = np.sqrt(0.002**2 * targets)
    passed = times[np.argmax(variances >= halfway, axis=0)]
    alpha, error, quality = _mode_times.exponent(targets, passed)
    return [
        Row("exponent", alpha, arch="linear", split="rising", stderr=error),
        Row("r_squared", quality, arch="linear", split="rising"),
    ]


def _images(net, settings):
    """Training images, evaluation images and the principal directions, leading first."""
    from lindiff.nn.images import DeviceImages, Split, image_split

    if net.data == "toyfaces":
        split = image_split("toyfaces", net.n_images, size=net.size, n_test=settings.n_eval)
        clean = _faces.vectors("toyfaces", settings.n_eval, 2, net.size, 0)
        return split, clean, np.linalg.svd(clean - clean.mean(axis=0), full_matrices=False)[2].T
    rng = np.random.default_rng([settings.seed, 1])
    d = net.size**2
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    variances = np.geomspace(1, 1e-3, d)
    variances *= 0.25 / variances.mean()
    drawn = rng.standard_normal((net.n_images + settings.n_eval, d)) * np.sqrt(variances) @ basis.T
    parts = [
        DeviceImages(part.reshape(-1, net.size, net.size).astype(np.float32))
        for part in (drawn[: net.n_images], drawn[net.n_images :])
    ]
    split = Split(*parts, net.data, parts[0].fingerprint)
    return split, drawn[net.n_images :], basis


def network(context, settings, net):
    """Exponents of the first passages of a trained network, by generated variances."""
    from lindiff.nn.trainer import TrainConfig

    split, clean, basis = _images(net, settings)
    config = TrainConfig(
        arch=net.arch,
        data=net.data,
        n_images=net.n_images,
        images_seen=net.images_seen,
        size=net.size,
        batch=settings.batch,
        learning_rate=net.learning_rate,
        warmup=0,
        checkpoints_per_decade=settings.checkpoints_per_decade,
        first_checkpoint=settings.first_checkpoint,
        seed_weights=settings.seed,
        seed_noise=settings.seed,
    )
    files = _mode_times.train(context, config, split)
    curves = _mode_times.measure(files, clean, basis, SIGMA, settings.n_samples, context.device)
    times = _mode_times.passages(curves)
    shared = {"dataset": net.data, "arch": net.arch, "N": net.n_images}
    shared |= {"images_seen": config.n_steps * config.batch, "seed": settings.seed}
    rows = []
    for direction, side in zip(DIRECTIONS, (1, -1), strict=True):
        chosen = np.where(side * np.log(curves.targets / curves.start) > 0, times, np.nan)
        alpha, error, quality = _mode_times.exponent(curves.targets, chosen)
        found = {"exponent": alpha, "r_squared": quality, "modes": np.isfinite(chosen).sum()}
        for metric, value in found.items():
            stderr = error if metric == "exponent" else None
            rows.append(Row(metric, value, split=direction, stderr=stderr, **shared))
    arrays = {**vars(curves), "start": np.array(curves.start), "passages": times}
    return rows, arrays


def criteria(table, settings):
    """Criteria E12.a to E12.d of the plan; rising and falling directions apart."""

    def exact():
        _, values, _ = table.curve("linear_error", "step")
        _, wrong, _ = table.curve("linear_error_control", "step")
        return values.max(), values.max() <= 1e-3 < wrong.max()

    def law(label, direction, holds):
        def found():
            run = {"run_id": label, "split": direction}
            row, quality = table.one("exponent", **run), table.value("r_squared", **run)
            modes = table.value("modes", **run)
            if modes < 4:
                raise MissingRow(f"{modes:.0f} modes passed half way; a fit needs 4")
            passed = holds(row["value"], quality)
            return row["value"], passed, row["stderr"], f"R2 = {quality:.2f}"

        return found

    kinds = {
        "b": ("mlp-gaussian", "0.8 to 1.3", lambda a, r: 0.8 <= a <= 1.3),
        "c": ("mlp-faces", "0.3 to 1.1 and R2 >= 0.8", lambda a, r: 0.3 <= a <= 1.1 and r >= 0.8),
        "d": (
            "unet-faces",
            "at most 0.3 in size, or R2 < 0.5",
            lambda a, r: abs(a) <= 0.3 or r < 0.5,
        ),
    }
    text = "gradient descent of the linear denoiser: largest distance to the closed form"
    entries = [judge("E12.a", text, "<= 1e-3, control above", exact, run_ids=("linear",))]
    for letter, (label, bound, holds) in kinds.items():
        for number, direction in enumerate(DIRECTIONS, 1):
            text = f"exponent of the first passages, {direction} variances"
            test = law(label, direction, holds)
            entry = judge(
                f"E12.{letter}{number}", text, bound, test, dataset=label, run_ids=(label,)
            )
            entries.append(entry)
    return entries
