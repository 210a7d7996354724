"""Figures: the same bytes every time, few colours, readable by all."""

import io
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from lindiff import figures


def drawing():
    figures.use_style()
    figure = Figure()
    ax = figure.add_subplot()
    ax.plot([0, 1], [0, 1])
    figures.errorbar(ax, [0, 1], [0, 1], [0.1, 0.2])
    return figure


def test_png_is_stable_opaque_and_has_a_palette():
    first, second = figures.png(drawing()), figures.png(drawing())
    assert first == second
    with Image.open(io.BytesIO(first)) as picture:
        assert picture.mode == "P"
        assert picture.size == (int(6.4 * 144), int(3.4 * 144))
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert "transparency" not in picture.info
        assert not {"Software", "Creation Time"} & set(picture.info)


def test_colours_can_be_told_apart():
    luminance = {n: np.dot(to_rgb(c), (0.21, 0.72, 0.07)) for n, c in figures.COLOURS.items()}
    for one, other in combinations(figures.COLOURS.values(), 2):
        assert np.linalg.norm(np.subtract(to_rgb(one), to_rgb(other))) > 0.2
    assert abs(luminance["theory"] - luminance["simulation"]) > 0.05


def test_image_row_places_images_side_by_side():
    ax = Figure().add_subplot()
    figures.image_row(ax, np.stack([np.zeros((2, 2)), np.ones((2, 2))]))
    shown = ax.images[0].get_array()
    np.testing.assert_array_equal(shown, [[0, 0, 1, 1, 1], [0, 0, 1, 1, 1]])


def test_bad_input_is_named():
    ax = Figure().add_subplot()
    with pytest.raises(ValueError, match="one shape"):
        figures.errorbar(ax, [1, 2], [1, 2], [1])
    with pytest.raises(ValueError, match="standard_error"):
        figures.errorbar(ax, [1], [1], [-1])
    with pytest.raises(ValueError, match="role"):
        figures.errorbar(ax, [1], [1], [1], role="mauve")
    with pytest.raises(ValueError, match="images"):
        figures.image_row(ax, np.zeros((2, 2)))


def test_style_is_complete():
    figures.use_style()
    assert mpl.rcParams["savefig.facecolor"] == "white"
    assert mpl.rcParams["font.size"] >= 9
