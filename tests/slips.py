r"""Plant slips in the printed formulas of chapters, one at a time, and count those noticed.

python -m tests.slips book/03_*.ipynb    print the slips that escape, and the share noticed

A slip is what a tired hand does to LaTeX: a sign, a digit, a square, a root, a function, a symbol
or an index changed for another, a factor dropped. Nothing is executed: the display is read again
and compared with the stored record. Only displays that are tied by evaluation are tried; those
tied by eye notice every edit by their hash.
"""

import argparse
import re
import sys
from collections import Counter
from dataclasses import dataclass

from book._tools import notebooks, printed

REQUIRED = 0.8
_TOKEN = re.compile(r"\\[A-Za-z]+|\d|[A-Za-z]|\^2|\S")
_OTHER = {
    "+": "-",
    "-": "+",
    r"\log": r"\exp",
    r"\exp": r"\log",
    r"\cos": r"\sin",
    r"\sin": r"\cos",
    r"\sum": r"\prod",
    r"\prod": r"\sum",
    r"\sqrt": "",
}
_KINDS = {r"\sqrt": "root", "+": "sign", "-": "sign"}
_GREEK = (
    r"alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|kappa|lambda|mu|nu|rho|sigma|tau"
    r"|phi|varphi|chi|omega|Gamma|Delta|Theta|Lambda|Sigma|Phi|Omega|ell"
)
_SYMBOL = re.compile(rf"[A-Za-z]|\\(?:{_GREEK})(?![A-Za-z])")
_OPAQUE = re.compile(
    r"\\tag\{[^}]*\}|\\text\{[^}]*\}|\\(?:begin|end)\{[^}]*\}|\\(?:mathrm|operatorname)\{[^}]*\}"
    r"|\{\\rm[^}]*\}|\\math[a-z]+\{?[A-Z]\}?|\\(?!sqrt|log|exp|cos|sin|sum|prod|frac|tfrac)"
    rf"(?!(?:{_GREEK})(?![A-Za-z]))[A-Za-z]+"
)


@dataclass(frozen=True)
class Slip:
    """One change of a display."""

    kind: str
    place: int
    old: str
    new: str
    latex: str


def slips(latex):
    """Return the slips of a display, each once, in order of their places."""
    hidden = {i for found in _OPAQUE.finditer(latex) for i in range(*found.span())}
    shown = [m[0] for m in _TOKEN.finditer(latex) if m.start() not in hidden]
    symbols = list(dict.fromkeys(token for token in shown if _SYMBOL.fullmatch(token)))
    found = {}
    for match in _TOKEN.finditer(latex):
        if match.start() in hidden:
            continue
        for kind, end, new in _changes(latex, match, symbols):
            slip = latex[: match.start()] + new + latex[end:]
            old = latex[match.start() : end]
            found.setdefault(slip, Slip(kind, match.start(), old, new, slip))
    found.pop(latex, None)
    return list(found.values())


def _changes(latex, match, symbols):
    token, start, end = match[0], match.start(), match.end()
    index = latex[:start].rstrip().endswith(("_", "_{"))
    if token == "^2":
        yield "square", end, "^3"
        yield "square", end, ""
    elif token.isdigit():
        yield "index" if index else "digit", end, str((int(token) + 1) % 10)
    elif token in _OTHER:
        yield _KINDS.get(token, "function"), end, _spaced(_OTHER[token], latex, end)
    elif _SYMBOL.fullmatch(token) and len(symbols) > 1:
        other = symbols[(symbols.index(token) + 1) % len(symbols)]
        yield "index" if index else "symbol", end, _spaced(other, latex, end)
        factor = not index and latex[end : end + 1] not in ("_", "^", "(", "'", "}")
        if factor and latex[start - 1 : start] not in ("_", "^", "{") and start:
            yield "factor", end, ""
    if token == r"\frac" or token == r"\tfrac":
        half = re.match(
            r"\\t?frac\s*(?:\{[^{}]*\}|\d|\\?[A-Za-z]+\s?)\s*(?:\{[^{}]*\}|\w)", latex[start:]
        )
        if half:
            yield "factor", start + half.end(), ""


def _spaced(new, latex, end):
    joined = re.search(r"\\[A-Za-z]+$", new) and re.match(r"[A-Za-z]", latex[end : end + 1])
    return new + " " if joined else new


def noticed(slip, record, sides):
    """Whether the display with a slip is no longer tied to its record as it was."""
    tie = printed.compare(slip.latex, record)
    return bool(tie.problems) or not tie.tied or tie.sides < sides


def sweep(pairs):
    """Return the slips planted in (latex, record) pairs, with whether each was noticed."""
    found = []
    for latex, record in pairs:
        tie = printed.compare(latex, record)
        if tie.tied:
            found += [
                (record["tag"], slip, noticed(slip, record, tie.sides)) for slip in slips(latex)
            ]
    return found


def chapter(path):
    """Return the sweep over one chapter."""
    notebook = notebooks.read(path)
    known = printed.records(notebook)
    shown = printed.displays(notebook).items()
    return sweep((latex, known[tag]) for tag, latex in shown if tag in known)


def summary(found):
    """Return the share noticed, and one line with the counts of each kind."""
    planted = Counter(slip.kind for _, slip, _ in found)
    seen = Counter(slip.kind for _, slip, hit in found if hit)
    share = sum(seen.values()) / max(1, len(found))
    kinds = ", ".join(f"{kind} {seen[kind]} of {planted[kind]}" for kind in sorted(planted))
    return share, f"{sum(seen.values())} of {len(found)} slips noticed ({share:.0%}): {kinds}"


def main(arguments=None):
    """Sweep the given chapters; fail if one has too many slips that nobody would notice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="+")
    failed = False
    for path in parser.parse_args(arguments).chapters:
        found = chapter(path)
        for tag, slip, hit in found:
            if not hit:
                print(f"({tag}) {slip.kind}: {slip.old!r} -> {slip.new!r} at {slip.place} escapes")
        share, line = summary(found)
        print(f"{path}: {line}")
        failed |= share < REQUIRED
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
