"""Every public module stands on the API page, and its public names have docstrings."""

import importlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(p.stem for p in (ROOT / "lindiff").glob("[a-z]*.py"))


def test_api_page_names_every_module():
    page = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    assert "verify" in MODULES
    assert [m for m in MODULES if f"automodule:: lindiff.{m}\n" not in page] == []


def test_public_names_are_documented():
    for module in MODULES:
        loaded = importlib.import_module(f"lindiff.{module}")
        for name in loaded.__all__:
            if callable(getattr(loaded, name)):
                assert getattr(loaded, name).__doc__, f"{module}.{name} has no docstring"
