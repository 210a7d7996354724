"""The notation table names things that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def rows(text):
    """Return the code names of the table."""
    return re.findall(r"^\|[^|]+\|[^|]+\| `(\w+)` \|", text, re.M)


def missing(names, sources):
    """Return the names that no source defines as parameter, attribute or function."""
    return [n for n in names if not re.search(rf"\b{n}\b\s*[,:=(\[)]", sources)]


def test_code_names_exist():
    names = rows((ROOT / "book" / "notation.md").read_text(encoding="utf-8"))
    sources = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "lindiff").glob("*.py"))
    assert len(names) > 15
    assert missing(names, sources) == []
    assert missing(["no_such_symbol"], sources) == ["no_such_symbol"]
