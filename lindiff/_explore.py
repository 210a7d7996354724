"""The moving figure: its numbers as text, its page, its first frame."""

import base64
import html
import json
from importlib.resources import files

import numpy as np

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (4.5, 1.5, 1, 1.5)))
_SHORT = 999  # A logarithmic axis of less than three decades is marked at 1, 2 and 5.
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MAX_CURVES = len(_COLOURS)
MAX_NUMBERS = 40_000


class Moving:
    """A figure with sliders: a picture everywhere, curves that move where scripts run.

    One output holds all three forms, since each reader takes another one: the text for
    terminals, the page for notebooks and the site, the picture for GitHub and print.
    """

    def __init__(self, picture, data):
        self.picture, self.data = picture, data

    def __repr__(self):
        grid = ", ".join(
            f"{s['label']} = {s['texts'][0]} to {s['texts'][-1]} ({len(s['texts'])})"
            for s in self.data["sliders"]
        )
        names = ", ".join(self.data["labels"])
        return f"moving figure of {names} against {self.data['xaxis']['label']}: {grid}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        image = base64.b64encode(self.picture).decode()
        return {"text/plain": repr(self), "text/html": self._page(image), "image/png": image}

    def _page(self, image):
        text = json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))
        text = text.replace("<", "\\u003c")
        style, script = (
            (files("lindiff") / "_data" / f"explore.{kind}").read_text(encoding="utf-8")
            for kind in ("css", "js")
        )
        # A viewer that strips scripts keeps the picture.
        return (
            '<div class="lindiff-explore">'
            f'<img src="data:image/png;base64,{image}" alt="{html.escape(self.data["alt"])}">'
            f'<script type="application/json">{text}</script></div>\n'
            f"<style>{style}</style>\n<script>\n{script}</script>"
        )


def encode(values):
    """Return an array as text: single precision in base64, half the size of decimal digits."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def decode(text):
    """Return the numbers of an encoded array, as the script reads them."""
    return np.frombuffer(base64.b64decode(text), dtype="<f4")


def checked(x, curves, sliders, start):
    """Return `x`, curves, sliders and the first position as arrays whose shapes fit."""
    if not 1 <= len(sliders) <= 2:
        raise ValueError(f"sliders must hold one or two parameters, got {len(sliders)}")
    if not 1 <= len(curves) <= MAX_CURVES:
        raise ValueError(f"curves must hold one to {MAX_CURVES} entries, got {len(curves)}")
    x = np.asarray(x, dtype=float)
    if x.ndim != 1 or len(x) < 2 or not np.all(np.isfinite(x)) or np.any(np.diff(x) <= 0):
        raise ValueError("x must hold at least two finite numbers that increase")
    sliders = {label: np.asarray(values, dtype=float) for label, values in sliders.items()}
    for label, values in sliders.items():
        if values.ndim != 1 or len(values) < 2 or not np.all(np.isfinite(values)):
            raise ValueError(f"sliders: {label} must hold at least two finite numbers")
    shape = tuple(len(values) for values in sliders.values())
    curves = {label: np.asarray(values, dtype=float) for label, values in curves.items()}
    for label, values in curves.items():
        if values.shape != (*shape, len(x)):
            raise ValueError(
                f"curves: {label} must have shape {(*shape, len(x))}, got {values.shape}"
            )
        if not np.any(np.isfinite(values)):
            raise ValueError(f"curves: {label} has no finite value")
    total = sum(values.size for values in curves.values())
    if total > MAX_NUMBERS:
        raise ValueError(
            f"curves hold {total} numbers, more than {MAX_NUMBERS}: take fewer positions or points"
        )
    start = np.broadcast_to(start, len(shape))
    if np.any(start < 0) or np.any(start >= shape):
        raise ValueError(f"start must name positions below {shape}, got {start.tolist()}")
    return x, curves, sliders, tuple(int(position) for position in start)


def first_frame(x, curves, start, *, xlabel, ylabel, xscale, yscale):
    """Return the figure of the first frame, with limits that hold for every frame."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    from lindiff import figures

    figure = Figure(figsize=figures.SIZE, layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale=yscale)
    every = np.concatenate([values.ravel() for values in curves.values()])
    finite = every[np.isfinite(every)]
    if (yscale == "log" and np.any(finite <= 0)) or (xscale == "log" and x[0] <= 0):
        raise ValueError("a log scale needs positive numbers; use NaN to leave a gap")
    axes.plot([x[0], x[-1]], [finite.min(), finite.max()], alpha=0)
    # Last digits differ between machines, and must not decide whether an end is marked.
    axes.set_xlim(float(f"{x[0]:.12g}"), float(f"{x[-1]:.12g}"))
    for (label, values), colour, dash in zip(curves.items(), _COLOURS, _DASHES, strict=False):
        axes.plot(x, values[start], color=colour, linestyle=dash, label=label)
    axes.legend()
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        if axis.get_scale() == "log" and high < _SHORT * low:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks="auto"))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(lambda value, _: _tick(value))
    return figure


def contents(x, curves, sliders, start, axes, alt):
    """Return what the script reads, from the first frame as it was drawn."""
    return {
        "labels": list(curves),
        "sliders": [
            {
                "label": label,
                "texts": [_tick(float(f"{value:.3g}")) for value in values],
                "start": position,
            }
            for (label, values), position in zip(sliders.items(), start, strict=True)
        ],
        "xaxis": _axis(axes.xaxis, axes.get_xlim(), axes.get_xlabel(), axes.get_xscale()),
        "yaxis": _axis(axes.yaxis, axes.get_ylim(), axes.get_ylabel(), axes.get_yscale()),
        "alt": alt,
        "read": len(x) // 2,
        "x": encode(x),
        # Positions, then curves, then points: the order in which the script counts.
        "y": encode(np.stack(list(curves.values()), axis=-2)),
    }


def _axis(axis, limits, label, scale):
    low, high = (float(value) for value in limits)
    first, last = low - 1e-12 * abs(low), high + 1e-12 * abs(high)
    ticks = [float(t) for t in axis.get_majorticklocs() if first <= t <= last]
    return {
        "label": label,
        "name": label.split(" (")[0],
        "log": scale == "log",
        "low": float(f"{low:.9g}"),
        "high": float(f"{high:.9g}"),
        "ticks": [[float(f"{t:.9g}"), _tick(t)] for t in ticks],
    }


def _tick(value):
    if value and not 1e-3 <= abs(value) < 1e5:
        mantissa, power = f"{value:.3e}".split("e")
        front = "" if float(mantissa) == 1 else f"{float(mantissa):g}·"
        return f"{front}10{str(int(power)).translate(_SUPERSCRIPT)}"
    return f"{value:.6g}".replace("-", "−")
