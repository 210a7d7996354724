"""The notes on the papers quote numbers that the chapters print, and entries that exist."""

import json
import re
from pathlib import Path

from book._tools import notebooks
from book._tools.coverage import read_papers

BOOK = Path(__file__).resolve().parents[1] / "book"
LINK = re.compile(r"\[\([A-Z\d.]+\)\]\(#eq-[A-Z\d.]+\)")


def printed():
    """Return all that the cells of the chapters print."""
    texts = []
    for path in notebooks.chapters(BOOK):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            texts += ["".join(output.get("text", "")) for output in cell.get("outputs", [])]
    return "\n".join(texts)


def missing(page, outputs):
    """Return the decimal numbers of the tables that no cell prints."""
    rows = [LINK.sub("", line) for line in page.splitlines() if line.startswith("| ")]
    numbers = {
        n for row in rows for n in re.findall(r"(?<![\w.-])\d+\.\d{2,}|\d+\.\d(?!\d|\\,d)", row)
    }
    return sorted(n for n in numbers if not re.search(rf"(?<!\d){re.escape(n)}(?!\d)", outputs))


def test_numbers_are_printed_by_a_chapter():
    page = (BOOK / "notes_on_papers.md").read_text(encoding="utf-8")
    outputs = printed()
    assert missing(page, outputs) == []
    assert missing("| H-1 | says 0.12345 | it is [(1.1)](#eq-1.1) |", outputs) == ["0.12345"]


def test_entries_exist():
    page = (BOOK / "notes_on_papers.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| ((?:H|MG|L|X)[:-]\S+) \|", page, re.M)
    papers = read_papers(BOOK / "_tools" / "papers.toml")
    known = {name for paper in papers.values() for name in paper["entries"]}
    assert len(named) > 10
    assert [name for name in named if name not in known] == []
