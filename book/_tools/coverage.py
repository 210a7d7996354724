"""Collect the status of every numbered equation and write the coverage page.

Usage: ``python -m book._tools.coverage [--check]``. Without an option the page, the bar
and the graph are written; with ``--check`` they are compared with the committed ones.
Nothing is written where a status became weaker without a reason in the changelog.
"""

import argparse
import ast
import json
import re
import sys
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from book._tools import notebooks, printed, weaker
from book._tools.coverage_page import order, render_bar, render_page
from book._tools.graph import render_graph
from lindiff._report import TAG, Record

STATUS = {
    "symbolic": "verified",
    "numeric": "verified",
    "asymptotic": "verified",
    "simulation": "verified",
    "empirical": "measured",
    "definition": "definition",
    "cited": "cited",
    "heuristic": "heuristic",
    "open": "open",
}
SOUND = ("verified", "definition")
_TAG_IN_TEXT = re.compile(r"\\tag\{([^}]*)\}")
_HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*\s*$")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.M | re.S)
_IMPLEMENTS = re.compile(rf"Implements eqs?\. ((?:\({TAG.pattern}\)(?:, | and )?)+)\.(?!\S)")


class CoverageError(Exception):
    """The chapters, the package and the list of papers contradict each other."""


@dataclass(frozen=True)
class Equation:
    """A numbered equation of the book with the record of its check."""

    record: Record
    page: str
    section: str
    code: tuple = ()
    weak: tuple = ()
    tie: str = "untied"

    @property
    def tag(self):
        return self.record.tag

    @property
    def status(self):
        if self.record.basis:
            return f"{self.record.basis}, checked by numbers"
        return STATUS[self.record.kind]

    @property
    def fully_verified(self):
        return self.status in SOUND and not self.weak


def read_chapter(path):
    """Return {tag: section}, the records of the checks of a notebook, and problems."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    tags, records, section, problems = {}, [], "", []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            for text in _CODE.sub("", "".join(cell["source"])).splitlines():
                heading = _HEADING.match(text)
                section = heading[1] if heading else section
                for tag in _TAG_IN_TEXT.findall(text):
                    problems += _tag_problems(path, tag, tags)
                    tags[tag] = section
        elif cell["cell_type"] == "code":
            try:
                records += notebooks.records(cell)
            except notebooks.ChapterError as error:
                problems.append(f"{path.name}: {error}")
    return tags, records, problems


def read_package(folder):
    """Return {tag: [dotted names]} from the ``Implements eq.`` lines of the docstrings."""
    implemented, problems = {}, []
    trees = {
        ".".join(path.relative_to(folder.parent).with_suffix("").parts): ast.parse(
            path.read_text(encoding="utf-8")
        )
        for path in sorted(folder.rglob("*.py"))
    }
    public = _public_names(trees)
    for module, tree in trees.items():
        for name, doc in _docstrings(tree, module, public):
            text = " ".join(doc.split())
            found = _IMPLEMENTS.findall(text)
            if len(found) != len(re.findall(r"Implements eqs?\b", text)):
                problems.append(f"{name}: write 'Implements eq. (2.7), (2.8).'")
            for tag in (tag for group in found for tag in TAG.findall(group)):
                implemented.setdefault(tag, []).append(name)
    return implemented, problems


def read_papers(path):
    """Return the papers in order, each with ``title``, ``url`` and ``entries``."""
    papers = tomllib.loads(path.read_text(encoding="utf-8"))
    for paper in papers.values():
        paper["entries"] = {
            name: {"title": entry} if isinstance(entry, str) else entry
            for name, entry in paper["entries"].items()
        }
    return papers


def collect(root):
    """Return the equations in the order of the book and the papers, or raise."""
    book = root / "book"
    implemented, problems = read_package(root / "lindiff")
    papers = read_papers(book / "_tools" / "papers.toml")
    found = {}
    for path in notebooks.chapters(book):
        tags, records, wrong = read_chapter(path)
        tied = printed.ties(json.loads(_text(path)))
        problems += wrong + _record_problems(path, tags, records)
        for record in records:
            if record.tag in tags:
                code = tuple(implemented.get(record.tag, ()))
                found[record.tag] = Equation(
                    record, path.stem, tags[record.tag], code, tie=tied.get(record.tag, "untied")
                )
    problems += _reference_problems(found, implemented, papers)
    if not problems:
        problems += _cycle_problems(found)
    if problems:
        raise CoverageError("\n".join(problems))
    ordered = sorted(found.values(), key=lambda equation: order(equation.tag))
    weak = _weak_ancestors(found)
    ordered = [
        replace(equation, weak=tuple(sorted(weak[equation.tag], key=order))) for equation in ordered
    ]
    return ordered, papers


def outputs(root):
    """Return {path: text} of everything that this tool writes."""
    equations, papers = collect(root)
    book = root / "book"
    page, changelog = book / "coverage.md", root / "CHANGELOG.md"
    weakened = weaker.problems(_text(page), equations, _text(changelog))
    if weakened:
        raise CoverageError("\n".join(weakened))
    return {
        page: render_page(equations, papers),
        book / "_generated" / "coverage_bar.md": render_bar(equations),
        book / "_static" / "dependencies.svg": render_graph(equations),
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    options = parser.parse_args(arguments)
    try:
        written = outputs(options.root)
    except CoverageError as error:
        print(error, file=sys.stderr)
        return 1
    stale = [p for p, text in written.items() if not p.exists() or p.read_text("utf-8") != text]
    for path in stale:
        name = path.relative_to(options.root).as_posix()
        if options.check:
            print(f"{name} is out of date: run python -m book._tools.coverage", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(written[path], encoding="utf-8", newline="\n")
            print(f"wrote {name}")
    return 1 if options.check and stale else 0


def _text(path):
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _docstrings(node, prefix, public):
    doc = ast.get_docstring(node)
    prefix = public.get(prefix, prefix)
    if doc:
        yield prefix, doc
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _docstrings(child, f"{prefix}.{child.name}", public)


def _public_names(trees):
    # A function of a private module is documented where a public module imports it.
    names = {}
    for module, tree in trees.items():
        if "._" in module:
            continue
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and "._" in (node.module or ""):
                for alias in node.names:
                    target = f"{module}.{alias.asname or alias.name}"
                    names.setdefault(f"{node.module}.{alias.name}", target)
    return names


def _tag_problems(path, tag, earlier):
    if not TAG.fullmatch(tag):
        return [f"{path.name}: \\tag{{{tag}}} must look like \\tag{{2.7}}"]
    if tag.split(".")[0] != notebooks.label(path):
        return [f"{path.name}: ({tag}) carries the number of another chapter"]
    return [f"{path.name}: ({tag}) is used twice"] if tag in earlier else []


def _record_problems(path, tags, records):
    problems, seen = [], set()
    for record in records:
        if record.tag not in tags:
            problems.append(f"{path.name}: a check names ({record.tag}), which has no \\tag")
        if record.tag in seen:
            problems.append(f"{path.name}: ({record.tag}) has more than one check")
        seen.add(record.tag)
    missing = [tag for tag in tags if tag not in seen]
    return problems + [f"{path.name}: ({tag}) has no check" for tag in missing]


def _reference_problems(found, implemented, papers):
    known = {name for paper in papers.values() for name in paper["entries"]}
    problems = []
    for tag, names in implemented.items():
        if tag not in found:
            problems.append(f"{names[0]} implements ({tag}), which does not exist")
    for equation in found.values():
        record = equation.record
        problems += [
            f"({record.tag}) uses ({tag}), which does not exist"
            for tag in record.uses
            if tag not in found
        ]
        problems += [
            f"({record.tag}) covers {name}, which is not in papers.toml"
            for name in record.covers
            if name not in known
        ]
    return problems


def _cycle_problems(found):
    done, path = set(), []

    def visit(tag):
        if tag in path:
            circle = [*path[path.index(tag) :], tag]
            return ["circular reasoning: " + " uses ".join(f"({t})" for t in circle)]
        if tag in done:
            return []
        path.append(tag)
        problems = [problem for parent in found[tag].record.uses for problem in visit(parent)]
        path.pop()
        done.add(tag)
        return problems

    return [problem for tag in found for problem in visit(tag)]


def _weak_ancestors(found):
    known = {}

    def weak(tag):
        if tag not in known:
            parents = found[tag].record.uses
            direct = {parent for parent in parents if found[parent].status not in SOUND}
            known[tag] = direct.union(*(weak(parent) for parent in parents))
        return known[tag]

    return {tag: weak(tag) for tag in found}


if __name__ == "__main__":
    sys.exit(main())
