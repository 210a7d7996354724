"""The form of a chapter: kinds of cells, folds, figures, and a pace that a reader can keep.

A chapter whose metadata say ``lindiff: form: 1`` follows all rules here. The pacing of the
others is printed, and their balance of folds is looked at.
"""

import builtins
import re
import symtable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from book._tools import notebooks, printed
from book._tools.chapter import NUMBER, TAG

MAX_WORDS, MAX_CELLS = 4500, 20
TARGETS = {"words": 3500, "cells": 14, "longest": 15, "start": 150}
PARAMETERS = range(1, 5)
FOLDED = ("setup", "check", "figure", "solution")
TITLED = {
    "check": "# @title Check (",
    "figure": "# @title Figure ",
    "solution": "# @title Solution",
}
IMAGES = re.compile(r"\b(?:image_row|imshow)\(")
_FENCE = re.compile(r"^```.*?^```|`[^`\n]*`", re.M | re.S)
_DISPLAY = re.compile(r"\$\$.*?\$\$", re.S)
_MATHS = re.compile(r"\$[^$]+\$")
_LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\([^)]*\)")
_MARKUP = re.compile(r"<[^>]+>|[*_>#|]|^\s*[-:| ]+$", re.M)
_HEADING = re.compile(r"^#{1,6} ", re.M)
_SECTION = re.compile(r"^## (\w+\.\d+) ", re.M)


@dataclass(frozen=True)
class Pace:
    """What a reader has to get through: words, and code cells that are not folded."""

    words: int
    cells: int
    lines: int
    longest: int
    equations: int
    start: int | None

    def row(self):
        """Return the numbers as text, with a mark at those that miss a target."""
        numbers = (self.words, self.cells, self.lines, self.longest, self.equations, self.start)
        names = ("words", "cells", "lines", "longest", "equations", "start")
        return [_marked(*pair) for pair in zip(names, numbers, strict=True)]


def _marked(name, number):
    if number is None:
        return "none!"
    return f"{number}{'!' if number > TARGETS.get(name, number) else ''}"


def spans(notebook):
    """Yield each cell with the text of it that is not folded, and whether it starts folded."""
    depth = 0
    for cell in notebook["cells"]:
        inside = depth > 0
        if cell["cell_type"] != "markdown":
            yield cell, "", inside
            continue
        shown = []
        for piece in re.split(r"(</?details\b[^>]*>)", _FENCE.sub("", notebooks.source(cell))):
            if piece.startswith("<details"):
                depth += 1
            elif piece.startswith("</details"):
                depth -= 1
            elif depth == 0:
                shown.append(piece)
        yield cell, "".join(shown), inside


def words(text):
    """Count the words of a text; a formula within a line counts as one, a display as none."""
    text = _MATHS.sub(" x ", _DISPLAY.sub(" ", text))
    text = _MARKUP.sub(" ", _LINK.sub(lambda link: link[1], _LINK.sub(lambda link: link[1], text)))
    return sum(any(letter.isalnum() for letter in word) for word in text.split())


def is_visible(cell, inside):
    """Whether a reader of the page sees the code of a cell."""
    hidden = {"hide-input", "hide-cell"} & set(cell["metadata"].get("tags", ()))
    return cell["cell_type"] == "code" and not inside and not hidden


def has_image(cell):
    """Whether a cell shows a picture."""
    outputs = cell.get("outputs", ())
    return any(kind.startswith("image/") for out in outputs for kind in out.get("data", ()))


def pace(notebook):
    """Return the `Pace` of a chapter."""
    total, start, lengths, tags = 0, None, [], []
    for cell, text, inside in spans(notebook):
        if start is None and has_image(cell):
            start = total
        total += words(text)
        if cell["cell_type"] == "markdown":
            tags += TAG.findall(notebooks.source(cell))
        if is_visible(cell, inside):
            lengths.append(len(notebooks.source(cell).splitlines()))
    return Pace(
        total, len(lengths), sum(lengths), max(lengths, default=0), len(dict.fromkeys(tags)), start
    )


def report(files):
    """Return the table of the pacing, and the chapters that are not in form yet."""
    head = ["chapter", "words", "cells", "lines", "longest", "equations", "to figure"]
    aim = ["target", "3500", "14", "", "15", "15-25", "150"]
    rows, missing = [head], []
    for path in map(Path, files):
        notebook = notebooks.read(path)
        rows.append([path.stem, *pace(notebook).row()])
        missing += [] if notebooks.in_form(notebook) else [path.stem]
    rows.append(aim)
    wide = [max(len(row[k]) for row in rows) for k in range(len(head))]
    table = [
        "  ".join([row[0].ljust(wide[0]), *(row[k].rjust(wide[k]) for k in range(1, len(head)))])
        for row in rows
    ]
    return [*table, *([f"not yet in form: {', '.join(missing)}"] if missing else [])]


def problems(path, notebook, tags):
    """Yield one line for each rule of the form that a chapter breaks."""
    yield from _balance(notebook)
    if not notebooks.in_form(notebook):
        return
    yield from printed.problems(notebook)
    if notebooks.label(path).isdigit():
        yield from _budget(pace(notebook))
    for cell, text, inside in spans(notebook):
        found = _prose(text, tags) if cell["cell_type"] == "markdown" else _code(cell, inside)
        yield from (f"{cell.get('id', '?')}: {line}" for line in found)
    yield from _sections(notebooks.label(path), notebook)
    yield from _figures(notebooks.label(path), notebook)
    yield from _sharing(notebook)
    yield from _tries(notebook)


def named(text):
    """Tags named in a sentence, with the ranges written out."""
    for first, last in re.findall(rf"\(({NUMBER})\)(?: to \(({NUMBER})\))?", text):
        chapter, low = first.split(".")
        high = last.split(".")[1] if last else low
        yield from (f"{chapter}.{index}" for index in range(int(low), int(high) + 1))


def _balance(notebook):
    depth = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "markdown":
            continue
        text = _FENCE.sub("", notebooks.source(cell))
        for piece in re.split(r"(</?details\b[^>]*>)", text):
            depth += piece.startswith("<details")
            depth -= piece.startswith("</details")
            if depth < 0:
                yield f"{cell.get('id', '?')}: </details> closes a fold that is not open"
                return
            if depth > 0 and _HEADING.search(piece):
                yield f"{cell.get('id', '?')}: a heading stands inside a fold; close it before"
                return
    if depth:
        yield "a <details> is not closed"


def _budget(found):
    if found.words > MAX_WORDS:
        yield f"{found.words} words are more than {MAX_WORDS}; move detail to an appendix"
    if found.cells > MAX_CELLS:
        yield f"{found.cells} visible code cells are more than {MAX_CELLS}; fold or drop some"


def _prose(text, tags):
    bare = _LINK.sub(" ", _MATHS.sub(" ", _DISPLAY.sub(" ", text)))
    for tag in dict.fromkeys(re.findall(rf"\(({NUMBER})\)", bare)):
        if tag in tags:
            yield f"({tag}) is no link; write [({tag})](#eq-{tag})"


def _code(cell, inside):
    kind, text = notebooks.kind(cell), notebooks.source(cell)
    if kind not in notebooks.KINDS:
        yield f"the kind of the cell must be one of {', '.join(notebooks.KINDS)}, got {kind!r}"
        return
    checked = [record.tag for record in notebooks.records(cell)]
    if checked and is_visible(cell, inside):
        yield "a check is visible unfolded; give the cell the kind check"
    if (kind == "solution") != inside:
        yield "a solution must stand between <details> and </details>, and nothing else may"
    if kind in TITLED and not text.startswith(TITLED[kind]):
        yield f"the first line must begin with {TITLED[kind]!r}, which Colab shows"
    elif kind == "check" and set(named(text.splitlines()[0])) != set(checked):
        yield f"the title must name what the cell checks: {', '.join(f'({t})' for t in checked)}"
    if IMAGES.search(text) and has_image(cell):
        classes = cell["metadata"].get("mystnb", {}).get("image", {}).get("classes", "")
        if "photo" not in classes.split():
            yield 'images turn negative in dark mode; add mystnb={"image": {"classes": "photo"}}'


def _sections(label, notebook):
    cells = (c for c in notebook["cells"] if c["cell_type"] == "markdown")
    numbers = (n for c in cells for n in _SECTION.findall(_FENCE.sub("", notebooks.source(c))))
    for index, number in enumerate(numbers, start=1):
        if number != f"{label}.{index}":
            yield f"section {number} must have the number {label}.{index}"


def _figures(label, notebook):
    cells = notebook["cells"]
    text = "\n".join(notebooks.source(c) for c in cells if c["cell_type"] == "markdown")
    drawn = [(place, cell) for place, cell in enumerate(cells) if has_image(cell)]
    for index, (place, cell) in enumerate(drawn, start=1):
        number, name = f"Figure {label}.{index}", f"fig-{label.lower()}-{index}"
        figure = cell["metadata"].get("mystnb", {}).get("figure", {})
        caption, where = figure.get("caption", ""), cell.get("id", "?")
        if not caption.startswith(f"{number}. "):
            yield f"{where}: the caption must begin with '{number}. '"
        if figure.get("name") != name:
            yield f"{where}: the figure must have the name {name} (metadata mystnb.figure.name)"
        if notebooks.kind(cell) == "figure" and notebooks.source(cell).split("\n")[0] != (
            f"# @title {number}"
        ):
            yield f"{where}: the first line must be '# @title {number}'"
        if f"](#{name})" not in text:
            yield f"{where}: the text does not cite the figure; write [{number}](#{name})"
        following = cells[place + 1 : place + 2]
        line = "".join(notebooks.source(c) for c in following if c["cell_type"] == "markdown")
        if " ".join(line.split("\n\n")[0].split()) != f"*{' '.join(caption.split())}*":
            yield f"{where}: repeat the caption in italics below; Colab and GitHub show no other"


def _scopes(table):
    yield table
    for child in table.get_children():
        yield from _scopes(child)


def names(code):
    """Return the names that a cell binds, those that it imports, and those that it reads."""
    top = symtable.symtable(code, "cell", "exec")
    symbols = [symbol for symbol in top.get_symbols() if symbol.is_assigned()]
    imported = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_imported()}
    bound = {symbol.get_name() for symbol in symbols} - imported
    read = {
        symbol.get_name()
        for table in _scopes(top)
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table is top or symbol.is_global())
    }
    return bound, imported, read


def _sharing(notebook):
    """What a reader may change must not reach a check, nor a try-it cell."""
    cells = [c for c in notebooks.code_cells(notebook) if notebooks.kind(c) in notebooks.KINDS]
    try:
        found = [(cell, *names(notebooks.source(cell))) for cell in cells]
    except SyntaxError:
        yield "the code is no Python that can be read without running; write no magics"
        return
    imports, owned = set(dir(builtins)), {kind: set() for kind in notebooks.KINDS}
    for cell, bound, imported, _ in found:
        imports |= imported
        owned[notebooks.kind(cell)] |= bound
    changing = owned["story"] | owned["try"] | owned["figure"] | owned["solution"]
    fixed = (owned["setup"] | owned["check"] | imports) - changing
    for cell, bound, _, read in found:
        kind, where, foreign = notebooks.kind(cell), cell.get("id", "?"), read - bound
        if kind == "check":
            for name in sorted(n for n in bound if not n.startswith("_")):
                yield f"{where}: a check binds {name}; its names begin with _"
            for name in sorted(foreign - fixed):
                yield f"{where}: a check reads {name}, which a reader may change"
            continue
        for name in sorted(foreign & owned["check"] - owned[kind]):
            yield f"{where}: {name} belongs to a check"
        if kind == "try":
            for name in sorted(foreign & changing):
                yield f"{where}: a try-it cell reads {name} of another cell; define it here"


def _tries(notebook):
    def section(cell):
        return cell["cell_type"] == "markdown" and re.search(r"^## ", notebooks.source(cell), re.M)

    for _, cells in groupby(_numbered(notebook["cells"], section), key=lambda pair: pair[0]):
        tries = [cell for _, cell in cells if notebooks.kind(cell) == "try"]
        if len(tries) > 1:
            yield f"{tries[1].get('id', '?')}: a section has one try-it cell at most"
        for cell in tries:
            text, where = notebooks.source(cell), cell.get("id", "?")
            if re.search(r"\bassert\b|\bverify\b|\bcheck_\w+\(", text):
                yield f"{where}: a try-it cell must not assert: any sensible value works"
            if len(re.findall(r"^\w+ = .*# @param\b", text, re.M)) not in PARAMETERS:
                yield f"{where}: a try-it cell has one to four lines 'name = value  # @param ...'"


def _numbered(cells, starts):
    index = 0
    for cell in cells:
        index += bool(starts(cell))
        yield index, cell
