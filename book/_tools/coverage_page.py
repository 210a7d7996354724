"""Render the coverage page and the clickable bar as Markdown."""

from collections import Counter
from html import escape
from itertools import groupby

# Okabe-Ito colours; the text of a cell repeats what its colour says.
LOOK = {
    "fully verified": ("#0072B2", "#FFFFFF", "✓"),
    "verified": ("#56B4E9", "#000000", "~"),
    "cited, checked by numbers": ("#F0E442", "#000000", "c✓"),
    "heuristic, checked by numbers": ("#CC79A7", "#000000", "h✓"),
    "measured": ("#E69F00", "#000000", "m"),
    "definition": ("#D9D9D9", "#000000", "="),
    "cited": ("#F0E442", "#000000", "c"),
    "heuristic": ("#CC79A7", "#000000", "h"),
    "open": ("#D55E00", "#000000", "?"),
}
MEANING = {
    "fully verified": "verified, and so is everything that it rests on (or it is a definition)",
    "verified": "verified, but resting on an equation that is not",
    "cited, checked by numbers": "taken from the literature, or derived from it in outline; "
    "the check confirms numbers, not the proof",
    "heuristic, checked by numbers": "found by an argument with a step that is not proved; "
    "the check confirms numbers, not the step",
    "measured": "measured, on data or on a trained model",
    "definition": "a definition",
    "cited": "taken from the literature",
    "heuristic": "a heuristic argument",
    "open": "open",
}
TIES = ("evaluated", "by eye", "untied")
CHECKS = """\
## How to read a badge

Below a formula stands the badge of its check, such as ✓ (2.10) symbolic. Open it to see what was
compared, which control was rejected, what the equation rests on, and which entries of the papers it
covers. The kinds are:

| badge | what was done |
|---|---|
| symbolic | both sides agree at random points to 50 digits; *simplified*: by algebra, too |
| numeric | two computations by different routes agree to the tolerance inside |
| asymptotic | the error falls with the claimed power, fitted |
| simulation, 4 s.e. | random draws lie within so many standard errors |
| empirical | a measured value lies in a band fixed before, and a control does not |
| ≈ heuristic, ≈ cited | numbers agree with a formula that the book does not prove |
| definition, cited, heuristic, open | not checked by computation, and said so |

A check also tries a wrong formula:

| words inside | what was tried |
|---|---|
| wrong form, value or limit rejected | a mistake that one could make, such as a missing factor 2 |
| perturbed form or value rejected | the right-hand side, slightly changed |
| resolves 10 % | a prediction 10 % off is rejected by the same draws |
| control outside | the same measurement where the claim should not hold |

With several values, one that differs rejects the control of a symbolic, numeric or simulation
check; in the others all must. Where a chapter needs more, it asserts it in the same cell. A control
shows that a check can fail, not that it notices every mistake."""
ENTRY_STATUS = {"definition": "defined"}
RANK = tuple(LOOK)[1:]
_STYLE = (
    "<style>"
    ".eq-bar,.eq-key{display:flex;flex-wrap:wrap;gap:3px;margin:.6rem 0}"
    ".eq-key{gap:.3rem 1rem;font-size:.85rem}"
    ".eq-key i{display:inline-block;width:1.3em;margin-right:.35em;text-align:center;"
    "font-style:normal;border:1px solid #595959}"
    ".eq-bar a{min-width:2.9rem;padding:.15rem .2rem;text-align:center;font-size:.8rem;"
    "line-height:1.5;text-decoration:none;border:1px solid #595959;border-radius:2px}"
    ".eq-bar a:hover,.eq-bar a:focus{outline:2px solid currentColor;outline-offset:-3px}"
    "</style>"
)


def look_of(equation):
    """Return the key of `LOOK` for an equation."""
    if equation.status == "verified" and equation.fully_verified:
        return "fully verified"
    return equation.status


def render_bar(equations):
    """Return the bar: one linked cell for each equation, and its key."""
    cells = []
    for equation in equations:
        look = look_of(equation)
        back, front, sign = LOOK[look]
        title = escape(f"({equation.tag}) {equation.section}: {look}", quote=True)
        cells.append(
            f'<a href="{equation.page}.html#eq-{equation.tag}" title="{title}" '
            f'aria-label="{title}" style="background:{back};color:{front}">'
            f"{equation.tag}&nbsp;{sign}</a>"
        )
    counts = Counter(look_of(equation) for equation in equations)
    keys = [
        f'<span><i style="background:{back};color:{front}">{sign}</i>{look}: {counts[look]}</span>'
        for look, (back, front, sign) in LOOK.items()
        if counts[look]
    ]
    bar = '<div class="eq-bar" role="group" aria-label="Status of every numbered equation">'
    return "\n".join([_STYLE, bar, *cells, "</div>", '<div class="eq-key">', *keys, "</div>", ""])


def render_page(equations, papers):
    """Return the text of ``coverage.md``."""
    parts = [
        "# What is verified",
        "<!-- Written by python -m book._tools.coverage: edit the chapters, not this page. -->",
        _summary(equations),
        "```{include} _generated/coverage_bar.md\n```",
        _vocabulary(equations),
        *_ties(equations),
        CHECKS,
        "## Equations",
        _equation_table(equations) if equations else "There is no numbered equation yet.",
        "## What rests on what",
        "An arrow leads from an equation to one that uses it.",
        f"![{_graph_alt(equations)}](_static/dependencies.svg)",
        "## The papers, entry by entry",
        "The entries are our own numbering of what each paper states. A status is that of the "
        "equation of the book that establishes the entry; *with caveat* means that the "
        "last column restricts it.",
    ]
    for paper in papers.values():
        parts += _paper(paper, equations)
    return "\n\n".join(parts) + "\n"


def entry_status(entry, covering):
    """Return the status of a paper's entry and its caveat."""
    if not covering:
        return "not yet", ""
    status = min((equation.status for equation in covering), key=RANK.index)
    best = [equation for equation in covering if equation.status == status]
    caveats = [entry["caveat"]] if "caveat" in entry else []
    if status == "verified" and not any(equation.fully_verified for equation in best):
        weak = sorted({tag for equation in best for tag in equation.weak}, key=order)
        caveats.append("rests on " + " ".join(_link(tag) for tag in weak))
    if status == "verified" and caveats:
        return "verified with caveat", "; ".join(caveats)
    return ENTRY_STATUS.get(status, status), "; ".join(caveats)


def _summary(equations):
    counts = Counter(equation.status for equation in equations)
    full = sum(look_of(equation) == "fully verified" for equation in equations)
    named = [
        f"{counts[status]} {_plural(text, counts[status])}"
        for status, text in (
            ("verified", "verified by computation"),
            ("cited, checked by numbers", "cited and checked by numbers"),
            ("heuristic, checked by numbers", "heuristic and checked by numbers"),
            ("definition", "definition|definitions"),
            ("measured", "measured"),
            ("cited", "cited"),
            ("heuristic", "heuristic"),
            ("open", "open"),
        )
        if counts[status]
    ]
    total = f"{len(equations)} numbered {_plural('equation|equations', len(equations))}"
    listed = f": {', '.join(named)}" if named else ""
    return (
        f"The book has {total}{listed}. Of the verified ones, {full} rest on nothing but "
        "definitions and other verified equations. Every status is printed by a cell next to "
        "its equation, and computed again on every change. A check also tries a wrong version "
        "of its formula, and fails unless it rejects it."
    )


def _vocabulary(equations):
    present = {look_of(equation) for equation in equations}
    lines = [f"- **{look}**: {MEANING[look]}" for look in LOOK if look in present]
    return "\n".join(lines)


def _ties(equations):
    """Say how many printed formulas are tied to what was checked, chapter by chapter."""
    if not equations:
        return
    rows = ["| chapter | evaluated | by eye | untied |", "|---|---|---|---|"]
    stating = [equation for equation in equations if equation.status != "definition"]
    for chapter, group in groupby(stating, key=lambda equation: equation.tag.split(".")[0]):
        counts = Counter(equation.tie for equation in group)
        numbers = [f"{counts[tie]}" for tie in TIES]
        share = f"{numbers[0]} ({100 * counts[TIES[0]] // counts.total()} %)"
        rows.append("| " + " | ".join([chapter, share, *numbers[1:]]) + " |")
    yield (
        "## Is the printed formula the one that was checked?\n\nThe formula on the page is read, "
        "evaluated at the numbers of its check, and compared with the value that was checked. What "
        "cannot be evaluated is compared by eye, and again after each change of the formula. "
        "Definitions are not counted."
    )
    yield "\n".join(rows)


def _equation_table(equations):
    rows = ["| equation | section | check | status | uses | code |", "|---|---|---|---|---|---|"]
    for e in equations:
        uses = " ".join(_link(tag) for tag in e.record.uses)
        code = ", ".join(_code(name) for name in e.code)
        cells = (_link(e.tag), _cell(e.section), e.record.kind, look_of(e), uses, code)
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _paper(paper, equations):
    covering = {}
    for equation in equations:
        for name in equation.record.covers:
            covering.setdefault(name, []).append(equation)
    rows, counts = [], Counter()
    for name, entry in paper["entries"].items():
        status, caveat = entry_status(entry, covering.get(name, ()))
        counts[status] += 1
        links = " ".join(_link(equation.tag) for equation in covering.get(name, ()))
        title = _cell(entry["title"])
        rows.append(f"| {name} | {title} | {status} | {links} | {caveat} |")
    known = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    name = f"[{paper['title']}]({paper['url']})" if "url" in paper else paper["title"]
    head = "| entry | what it states | status | equations | caveat |\n|---|---|---|---|---|"
    text = f"{name}: {len(rows)} {_plural('entry|entries', len(rows))} ({known})."
    return [f"### {paper['title']}", text, "\n".join([head, *rows])]


def _graph_alt(equations):
    edges = sum(len(equation.record.uses) for equation in equations)
    return (
        f"Graph of {len(equations)} equations and {edges} dependencies, one band for each "
        "chapter; the table above lists the same dependencies"
    )


def _link(tag):
    return f"[({tag})](#eq-{tag})"


def _code(name):
    short = name.removeprefix("lindiff.")
    private = any(part.startswith("_") for part in name.split("."))
    return f"`{short}`" if private else f"{{py:obj}}`{short} <{name}>`"


def _cell(text):
    return text.replace("|", "\\|")


def _plural(forms, number):
    one, _, many = forms.partition("|")
    return one if number == 1 or not many else many


def order(tag):
    """Return the key that sorts tags: chapters by number, then appendices by letter."""
    chapter, index = tag.split(".")
    return len(chapter) if chapter.isdigit() else 99, chapter, int(index)
