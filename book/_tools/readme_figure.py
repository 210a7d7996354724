"""Draw the picture of the README: ``python -m book._tools.readme_figure``.

Theory of the one-step model against training and sampling it by brute force.
The same seed gives the same file.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lindiff import figures, onestep

PATH = Path(__file__).resolve().parents[1] / "_static" / "readme.png"
DIMENSION = 4
SCALES = (0.1, 1.0)
LARGEST_BYTES = 60_000


def simulate(*, time, noise_scale, rng, n_runs=10, n_samples=40_000):
    """Mean and standard error of the measured KL per dimension over independent runs."""
    model = onestep.OneStepModel(time=time, noise_scale=noise_scale, dimension=DIMENSION)
    runs = [onestep.simulate_population(model, n_samples, rng).kl for _ in range(n_runs)]
    values = np.array(runs) / DIMENSION
    return values.mean(), values.std(ddof=1) / np.sqrt(n_runs)


def draw(rng):
    """Return the figure."""
    figures.use_style()
    figure = Figure(figsize=figures.SIZE, layout="constrained")
    ax = figure.add_subplot()
    fine, coarse = np.linspace(0.05, 2.1, 200), np.linspace(0.25, 2.0, 8)
    for scale, role in zip(SCALES, ("theory", "third"), strict=True):
        ratio = onestep.noise_to_signal(fine, scale, 1.0)
        line = onestep.kl_population(ratio, 1)
        ax.plot(fine, line, color=figures.COLOURS[role], label=rf"theory, $\lambda={scale}$")
        points = [simulate(time=float(t), noise_scale=scale, rng=rng) for t in coarse]
        mean, error = np.transpose(points)
        marker = "o" if role == "theory" else "s"
        label = rf"simulation, $\lambda={scale}$"
        figures.errorbar(ax, coarse, mean, error, label=label, marker=marker)
    ax.set(xlabel="diffusion time $T$", ylabel="KL divergence per dimension", yscale="log")
    ax.legend()
    return figure


def main(path=PATH):
    """Write the picture; return its size in bytes."""
    data = figures.png(draw(np.random.default_rng(0)))
    if len(data) > LARGEST_BYTES:
        raise ValueError(f"the picture has {len(data)} bytes, more than {LARGEST_BYTES}")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data)
    return len(data)


if __name__ == "__main__":
    print(f"{PATH.name}: {main()} bytes")
    sys.exit(0)
