"""One look for every figure: colours that all readers can tell apart, small stable images."""

import io
import sys

import matplotlib as mpl
import numpy as np

from lindiff import _explore

__all__ = ["COLOURS", "SIZE", "WIDE", "errorbar", "explore", "image_row", "png", "use_style"]

#: Okabe-Ito colours by role.
COLOURS = {
    "theory": "#0072B2",
    "simulation": "#D55E00",
    "third": "#009E73",
    "fourth": "#CC79A7",
    "fifth": "#E69F00",
    "light": "#56B4E9",
    "truth": "#000000",
    "guide": "#999999",
}
#: Size in inches of a figure with one panel.
SIZE = (6.4, 3.4)
#: Size in inches of a figure with two panels side by side.
WIDE = (6.4, 2.8)
DPI = 144

_STYLE = {
    "figure.figsize": SIZE,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "axes.titlesize": 9.5,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "errorbar.capsize": 2.0,
    "image.cmap": "cividis",
    "mathtext.fontset": "cm",
}


def use_style():
    """Set the book's look, and in a notebook draw each figure as a small, stable PNG.

    Examples
    --------
    >>> use_style()
    >>> mpl.rcParams["figure.facecolor"]
    'white'
    """
    mpl.rcParams.update(_STYLE)
    cycle = [COLOURS[name] for name in COLOURS if name not in ("truth", "guide")]
    mpl.rcParams["axes.prop_cycle"] = mpl.cycler(color=cycle)
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and hasattr(shell, "kernel"):
        from matplotlib.figure import Figure
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("png")
        # The inline backend installs its own drawing of figures; this one replaces it.
        formatter = shell.display_formatter.formatters["image/png"]
        formatter.for_type(Figure, _notebook_png)


def png(figure):
    """Return a figure as PNG bytes with at most 256 colours, the same bytes every time.

    Parameters
    ----------
    figure : matplotlib.figure.Figure

    Returns
    -------
    bytes
        The image at 144 dots per inch, without date or software version.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> png(Figure(figsize=(1, 1)))[1:4]
    b'PNG'
    """
    return _palette(figure)[0]


def _palette(figure):
    from PIL import Image

    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=DPI, metadata={"Software": None})
    with Image.open(raw) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    out = io.BytesIO()
    small.save(out, format="png", optimize=True)
    return out.getvalue(), small.size


def _notebook_png(figure):
    data, (width, height) = _palette(figure)
    return data, {"width": width // 2, "height": height // 2}


def errorbar(ax, x, mean, standard_error, *, label=None, role="simulation", marker="o"):
    """Draw simulation results as markers with error bars of one standard error.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x, mean, standard_error : array_like, shape (n,)
    label : str, optional
    role : str
        A key of `COLOURS`.
    marker : str

    Returns
    -------
    matplotlib.container.ErrorbarContainer

    Raises
    ------
    ValueError
        If the shapes differ, a standard error is negative, or `role` is unknown.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> ax = Figure().add_subplot()
    >>> bars = errorbar(ax, [1, 2], [0.5, 0.7], [0.1, 0.1])
    """
    x, mean, error = (np.asarray(v, dtype=float) for v in (x, mean, standard_error))
    if not x.shape == mean.shape == error.shape:
        raise ValueError(
            f"x, mean and standard_error must have one shape, got {x.shape}, {mean.shape}, "
            f"{error.shape}"
        )
    if np.any(error < 0):
        raise ValueError("standard_error must not be negative")
    if role not in COLOURS:
        raise ValueError(f"role must be one of {', '.join(COLOURS)}, got {role!r}")
    return ax.errorbar(
        x, mean, yerr=error, fmt=marker, color=COLOURS[role], label=label, linestyle="none"
    )


def image_row(ax, images, *, low=-1.0, high=1.0):
    """Show images side by side in one axes, in grey.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    images : array_like, shape (n, height, width)
    low, high : float
        Values drawn black and white.

    Raises
    ------
    ValueError
        If `images` has another number of axes.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> image_row(Figure().add_subplot(), np.zeros((3, 4, 4)))
    """
    images = np.asarray(images, dtype=float)
    if images.ndim != 3 or images.shape[0] == 0:
        raise ValueError(f"images must have shape (n, height, width), got {images.shape}")
    padded = np.pad(images, ((0, 0), (0, 0), (0, 1)), constant_values=high)
    row = np.concatenate(list(padded), axis=1)[:, :-1]
    ax.imshow(row, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    ax.set_axis_off()


def explore(x, curves, sliders, *, xlabel, ylabel, alt, xscale="linear", yscale="linear", start=0):
    """Return a figure of curves that follow one or two sliders, without a kernel.

    The curves are computed beforehand and kept as they are in the output of the cell. Where
    scripts run a reader moves them, by pointer or keyboard, and reads values off; elsewhere
    the first frame stands as a picture.

    Parameters
    ----------
    x : array_like, shape (n,)
        Increasing.
    curves : dict of str to array_like
        Label and values of one to four curves, each of shape ``(positions, n)``, or
        ``(first, second, n)`` with two sliders. NaN leaves a gap. They are kept in single
        precision, at most 40,000 numbers together.
    sliders : dict of str to array_like, shape (positions,)
        Label and values of one or two parameters.
    xlabel, ylabel : str
        Labels of the axes. Labels are plain text, such as ``"σ"``: the script draws no LaTeX.
    alt : str
        What the picture shows, for a reader who does not see it.
    xscale, yscale : {"linear", "log"}
    start : int or tuple of int
        Positions of the sliders in the first frame.

    Returns
    -------
    object
        Shown when it is the last expression of a cell.

    Raises
    ------
    ValueError
        If a shape does not fit, a number that sets a place is not finite, there are too many
        numbers, or a log scale meets one that is not positive.

    Examples
    --------
    >>> ratio = np.array([0.5, 1.0, 2.0])
    >>> time = np.linspace(0.1, 1, 5)
    >>> explore(time, {"left": np.exp(-np.outer(ratio, time))}, {"ratio": ratio},
    ...         xlabel="time", ylabel="variance left", alt="Curves that fall faster with the ratio")
    moving figure of left against time: ratio = 0.5 to 2 (3)
    """
    x, curves, sliders, start = _explore.checked(x, curves, sliders, start)
    figure = _explore.first_frame(
        x, curves, start, xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale=yscale
    )
    picture = png(figure)  # Drawing sets the ticks that the page shows.
    return _explore.Moving(
        picture, _explore.contents(x, curves, sliders, start, figure.axes[0], alt)
    )
