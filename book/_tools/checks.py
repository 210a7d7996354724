"""Everything a stored chapter must satisfy before anybody reads it."""

import json
import re
from itertools import pairwise
from pathlib import Path

from book._tools import form, notebooks
from book._tools.chapter import TAG
from lindiff._report import BASES, MIME

MAX_CHAPTER, MAX_IMAGE, MAX_LINES, MIN_ALT = 500_000, 120_000, 20, 30
# A folded cell may be longer: nobody has to read it.
MAX_FOLDED = 60
REFERENCE = re.compile(r"(?:\[\((?P<shown>[^\s)]+)\)\])?[(\"]#eq-(?P<target>[\w.]+)")
KNOWN_TYPES = {"text/plain", "text/html", "text/latex", "image/png", MIME}
BADGE = re.compile(
    r"colab\.research\.google\.com/github/[\w.-]+/[\w.-]+/blob/[\w.-]+/(book/\S+?)\)"
)
PRIVATE = re.compile(r"(?<![\w.])/(?:home|root|tmp|usr|opt|work|Users|content)/|0x[0-9a-f]{6,}")
UNFINISHED = re.compile(r"\b(todo|fixme|tbd|xxx|coming soon|lorem ipsum)\b", re.I)
FORBIDDEN = {
    r"\{[a-z:]+\}`": "a MyST role, which Colab and GitHub print raw; use a plain link",
    r"^\s*(```|~~~)\s*\{": "a MyST directive, which Colab shows as code; use plain Markdown",
    r"^\s*:::": "a colon fence, which Colab prints raw; use a blockquote",
    r"\[\^\w+\]": "a footnote, which GitHub does not render; write a sentence",
    r"\\(label|eqref|newcommand|def|require)\b": "a LaTeX command that Colab or GitHub ignores",
    r"^\\begin\{(align|equation|gather)\*?\}": "a bare environment; use $$ and aligned",
    r"^> \[!": "a GitHub alert, which notebooks print raw",
}


def problems(files):
    """Return one line per problem of the given chapters, each with its remedy."""
    loaded = {Path(path): notebooks.read(path) for path in files}
    siblings = {p for path in loaded for p in notebooks.chapters(path.parent)}
    every = {**{p: notebooks.read(p) for p in siblings}, **loaded}
    tags = {tag for book in every.values() for tag in TAG.findall(markdown(book))}
    setups = {_install(book) for book in every.values()}
    found = []
    for path, notebook in loaded.items():
        found += [f"{path.name}: {text}" for text in _chapter(path, notebook, tags)]
        found += [f"{path.name}: {text}" for text in form.problems(path, notebook, tags)]
        if len(setups) > 1:
            found.append(f"{path.name}: install cells differ between chapters; make them equal")
    return found


def markdown(notebook):
    """Return the Markdown of a chapter."""
    cells = [c for c in notebook["cells"] if c["cell_type"] == "markdown"]
    return "\n\n".join(map(notebooks.source, cells))


def _install(notebook):
    cells = notebooks.code_cells(notebook)
    return notebooks.source(cells[0]) if cells else ""


def _chapter(path, notebook, tags):
    yield from _stored(path, notebook)
    yield from _equations(path, notebook, tags)
    yield from _honest(notebook)
    for cell in notebook["cells"]:
        found = _code(cell) if cell["cell_type"] == "code" else _prose(cell)
        yield from (f"{cell.get('id', '?')}: {text}" for text in (*found, *_links(cell, tags)))
    yield from _header(path, notebook)
    yield from _exercises(notebook)


def _stored(path, notebook):
    counts = [cell.get("execution_count") for cell in notebooks.code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield "not stored from one clean run (execution counts are not 1..n); run the chapter"
    known = notebook["metadata"].get("lindiff", {}).get("stamp")
    if known != notebooks.stamp(notebook):
        yield "stale: the code changed after the outputs were made; run the chapter"
    text = path.read_text(encoding="utf-8")
    if notebooks.dumps(notebooks.normalise(notebook)) != text:
        yield "not in normal form; run the chapter"
    if len(text) > MAX_CHAPTER:
        yield f"{len(text) // 1000} kB is more than {MAX_CHAPTER // 1000} kB; shrink the figures"


def _equations(path, notebook, tags):
    own = TAG.findall(markdown(notebook))
    for tag in sorted({tag for tag in own if own.count(tag) > 1}):
        yield f"equation ({tag}) is tagged twice; renumber the chapter"
    chapter = notebooks.label(path)
    unique = list(dict.fromkeys(own))
    if unique != [f"{chapter}.{i}" for i in range(1, len(unique) + 1)]:
        yield f"tags are not {chapter}.1, {chapter}.2, ... in order: {unique}; renumber the chapter"
    checked = [record.tag for record in records(notebook)]
    for tag in unique:
        if checked.count(tag) != 1:
            yield f"equation ({tag}) has {checked.count(tag)} checks instead of one"
    for tag in sorted(set(checked) - set(unique)):
        yield f"a check names ({tag}), which no equation of the chapter carries"


def _links(cell, tags):
    """Every link to an equation of a text or a caption must lead to the number it shows."""
    figure = cell["metadata"].get("mystnb", {}).get("figure", {})
    prose = notebooks.source(cell) if cell["cell_type"] == "markdown" else ""
    for match in REFERENCE.finditer(f"{prose}\n{figure.get('caption', '')}"):
        if match["target"] not in tags:
            yield f"reference to equation ({match['target']}), which no chapter has"
        elif match["shown"] and match["shown"] != match["target"]:
            yield f"a link shows ({match['shown']}) and leads to ({match['target']})"


def records(notebook):
    """Return the records of all checks among the stored outputs."""
    return [r for cell in notebooks.code_cells(notebook) for r in notebooks.records(cell)]


def _honest(notebook):
    """The word of a statement and the section on limits must say what the checks say."""
    text, found = markdown(notebook), {record.tag: record for record in records(notebook)}
    basis = {tag: record.basis or record.kind for tag, record in found.items()}
    for statement in re.findall(r"^> \*\*\w.*(?:\n>.*)*", text, re.M):
        word = statement[4:].split()[0]
        for tag in TAG.findall(statement):
            if (word == "Heuristic") != (basis.get(tag) == "heuristic"):
                yield f"({tag}) stands in a {word}, but its check says {basis.get(tag)}"
    for name in BASES:
        used = {tag for tag, record in found.items() if record.basis == name}
        bullets = re.findall(rf"^- \*\*{name.title()}\.\*\*(.*)$", text, re.M)
        named = {tag for bullet in bullets for tag in form.named(bullet)}
        for tag in sorted(used ^ named):
            where = "the check, not" if tag in used else "the section on limits, not"
            yield f"({tag}) is {name} by {where} by both: the two lists must agree"


def _code(cell):
    lines = notebooks.source(cell).splitlines()
    most = MAX_FOLDED if notebooks.kind(cell) in form.FOLDED else MAX_LINES
    if len(lines) > most:
        yield f"{len(lines)} lines of code, more than {most}; split it or move it to lindiff"
    for output in cell.get("outputs", []):
        if output["output_type"] == "error":
            yield "an error is stored; mend the cell and run the chapter"
        if output.get("name") == "stderr":
            yield "stderr output is stored; silence its cause and run the chapter"
        data = output.get("data", {})
        for kind in sorted(set(data) - KNOWN_TYPES):
            yield f"an output of type {kind}, which not all readers can see"
        for kind, value in [("text/plain", output.get("text", "")), *data.items()]:
            text = json.dumps(value) if isinstance(value, dict) else "".join(value)
            if not kind.startswith("image/png") and PRIVATE.search(text):
                yield "a path or address of one machine stands in the output"
        if any(kind.startswith("image/") for kind in data):
            yield from _image(cell, data)


def _image(cell, data):
    figure = cell["metadata"].get("mystnb", {})
    alt = figure.get("image", {}).get("alt", "")
    caption = figure.get("figure", {}).get("caption", "")
    if len(alt) < MIN_ALT:
        yield f"the alt text of the image is missing or shorter than {MIN_ALT} characters"
    if not caption:
        yield "the figure has no caption (metadata mystnb.figure.caption)"
    if alt and alt == caption:
        yield "the alt text repeats the caption; say what the image looks like"
    for kind, value in data.items():
        if kind.startswith("image/") and len("".join(value)) > MAX_IMAGE * 4 // 3:
            yield f"the image is larger than {MAX_IMAGE // 1000} kB; simplify it"


def _prose(cell):
    text = notebooks.source(cell)
    for pattern, why in FORBIDDEN.items():
        if re.search(pattern, text, re.M):
            yield why
    if UNFINISHED.search(text):
        yield "unfinished text"
    yield from _displays(text)


def _displays(text):
    lines = [re.sub(r"^>\s?", "", line) for line in text.splitlines()]
    inside = False
    for index, line in enumerate(lines):
        if "$$" not in line:
            continue
        if line.strip() != "$$":
            yield f"$$ must stand alone on its line: {line.strip()[:40]!r}"
            return
        beside = lines[index + 1 : index + 2] if inside else lines[max(index - 1, 0) : index]
        if any(neighbour.strip() for neighbour in beside):
            yield "a $$ block needs blank lines around it, or GitHub does not typeset it"
            return
        inside = not inside
    if inside:
        yield "a $$ block is not closed"


def _header(path, notebook):
    first = notebook["cells"][0] if notebook["cells"] else {"cell_type": "", "source": ""}
    text = notebooks.source(first)
    label = notebooks.label(path)
    title = f"# {'Chapter' if label.isdigit() else 'Appendix'} {label}."
    if first["cell_type"] != "markdown" or not text.startswith(title):
        yield f"the first cell must begin with '{title} Title'"
    badge = BADGE.search(text)
    if badge is None or badge[1] != f"book/{path.name}":
        yield f"the Colab badge of the first cell must open book/{path.name}"


def _exercises(notebook):
    cells = notebook["cells"]
    starts = [
        i
        for i, cell in enumerate(cells)
        if re.search(r"^#{2,4} Exercise ", notebooks.source(cell), re.M)
    ]
    for start, end in pairwise([*starts, len(cells)]):
        rest = cells[start:end]
        if not any("<details>" in notebooks.source(cell) for cell in rest):
            yield f"{cells[start].get('id')}: the exercise has no folded solution"
