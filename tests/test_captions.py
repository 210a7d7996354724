"""A caption that a chapter repeats below its figure is shown once."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes

PATH = Path(__file__).resolve().parents[1] / "book" / "_ext" / "captions.py"
SPEC = importlib.util.spec_from_file_location("captions", PATH)
captions = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(captions)


def page(line, *, between=()):
    """Return a section with a figure cell whose caption is 'Noise grows.' and a line below."""
    caption = nodes.caption("", "Noise grows.")
    cell = nodes.container("", nodes.figure("", nodes.image(), caption), classes=["cell"])
    return nodes.section("", cell, *between, line, nodes.paragraph("", "It shows noise."))


def italic(text):
    return nodes.paragraph("", "", nodes.emphasis("", text))


def shown(section):
    captions.drop_repeated(None, section)
    return [node.astext() for node in section.findall(nodes.paragraph)]


def test_the_repeated_line_goes():
    assert shown(page(italic("Noise\ngrows."))) == ["It shows noise."]


@pytest.mark.parametrize(
    "line",
    [
        italic("Noise falls."),
        nodes.paragraph("", "Noise grows."),
        nodes.paragraph("", "", nodes.emphasis("", "Noise grows."), nodes.Text(" And more.")),
    ],
)
def test_other_lines_stay(line):
    assert len(shown(page(line))) == 2


def test_a_line_further_down_stays():
    between = (nodes.paragraph("", "First this."),)
    assert len(shown(page(italic("Noise grows."), between=between))) == 3


def test_sphinx_counts_no_figures():
    config = SimpleNamespace(numfig=True)
    captions.leave_numbers(None, config)
    assert config.numfig is False
