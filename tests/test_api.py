"""Every public module stands on an API page, and its public names have docstrings."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("api.md", "api_networks.md")


def modules(folder):
    """Dotted names of the public modules of a package, those of single experiments left out."""
    package = ".".join(folder.relative_to(ROOT).parts)
    names = (path.stem for path in sorted(folder.glob("[a-z]*.py")))
    return [f"{package}.{name}" for name in names if not name[1:3].isdigit()]


THEORY = modules(ROOT / "lindiff")
NETWORKS = modules(ROOT / "lindiff" / "nn")


@pytest.mark.parametrize("module", [*THEORY, *NETWORKS, "lindiff.experiments.results"])
def test_module_stands_on_an_api_page(module):
    pages = "".join((ROOT / "book" / page).read_text(encoding="utf-8") for page in PAGES)
    assert f"automodule:: {module}\n" in pages


@pytest.mark.parametrize("module", [*THEORY, *NETWORKS, "lindiff.experiments.results"])
def test_public_names_are_documented(module):
    if module in NETWORKS:
        pytest.importorskip("torch")
    loaded = importlib.import_module(module)
    for name in loaded.__all__:
        if callable(getattr(loaded, name)):
            assert getattr(loaded, name).__doc__, f"{module}.{name} has no docstring"


def test_the_lists_are_not_empty():
    assert "lindiff.verify" in THEORY and "lindiff.nn.unet" in NETWORKS
