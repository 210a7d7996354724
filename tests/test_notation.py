"""The notation table names things that exist."""

import json
import re
from pathlib import Path

from book._tools import notebooks

ROOT = Path(__file__).resolve().parents[1]


def rows(text):
    """Return the code names of the table."""
    return re.findall(r"^\|[^|]+\|[^|]+\| `(\w+)` \| \[\([A-Z\d.]+\)\]", text, re.M)


def first_equations(text):
    """Return (symbols, tag) of each row of the table."""
    row = r"^\|([^|]+)\|[^|]+\| `\w+` \| \[\(([A-Z\d.]+)\)\]\(#eq-([A-Z\d.]+)\)"
    found = re.findall(row, text, re.M)
    assert all(shown == target for _, shown, target in found)
    return [(re.findall(r"\$([^$]+)\$", symbols), tag) for symbols, tag, _ in found]


def formulas():
    """Return {tag: formula} of all chapters."""
    found = {}
    for path in notebooks.chapters(ROOT / "book"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                for body in re.findall(r"\$\$(.*?)\$\$", "".join(cell["source"]), re.S):
                    found.update((tag, body) for tag in re.findall(r"\\tag\{([A-Z\d.]+)\}", body))
    return found


def without(symbols, formula):
    """Return the symbols that do not stand in the formula, their index t or nu aside."""
    bare = {s: re.sub(r"_(t|\\nu|\\theta)$|\^2$|\(x\)$", "", s) for s in symbols}
    return [symbol for symbol, core in bare.items() if not _has(core, formula)]


def _has(core, formula):
    """A letter must not be part of a command; a command must not go on."""
    before, after = ("", r"(?![A-Za-z])") if core.startswith("\\") else (r"(?<![\\A-Za-z])", "")
    return re.search(before + re.escape(core) + after, formula) is not None


def missing(names, sources):
    """Return the names that no source defines as parameter, attribute or function."""
    return [n for n in names if not re.search(rf"\b{n}\b\s*[,:=(\[)]", sources)]


def test_code_names_exist():
    names = rows((ROOT / "book" / "notation.md").read_text(encoding="utf-8"))
    sources = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "lindiff").glob("*.py"))
    assert len(names) > 15
    assert missing(names, sources) == []
    assert missing(["no_such_symbol"], sources) == ["no_such_symbol"]


def test_symbols_stand_in_their_first_equation():
    known = formulas()
    table = first_equations((ROOT / "book" / "notation.md").read_text(encoding="utf-8"))
    assert len(table) > 15
    wrong = [
        (symbols, tag)
        for symbols, tag in table
        if tag not in known or len(without(symbols, known[tag])) == len(symbols)
    ]
    assert wrong == []
    assert without([r"\kappa", "d"], r"\frac d2 \kappa_1") == []
    assert without([r"\kappa", "N"], r"\frac d2 \bar N") == [r"\kappa"]
