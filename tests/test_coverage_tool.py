import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from book._tools import printed
from book._tools.coverage import CoverageError, collect, main, outputs, read_papers
from book._tools.coverage_page import order
from lindiff._report import MIME, PAPER_ID, Record

ROOT = Path(__file__).resolve().parents[1]

PAPERS = """
[H]
title = "Halder 2024"
url = "https://arxiv.org/abs/2411.17807"
[H.entries]
"H-1" = "process"
"H-2" = { title = "flow", caveat = "one dimension only" }
"H-3" = "law | width"
"H-4" = "not treated"
"""

LAWS = '''
def law():
    """Give the law.

    Implements eq. (1.2),
    (2.1).
    """


class Model:
    @property
    def width(self):
        """Give the width. Implements eq. (1.2)."""


def _hidden():
    """Help. Implements eq. (1.1)."""
'''


def record(tag, kind="numeric", uses=(), covers=()):
    return Record(tag, kind, None, ("detail",), tuple(uses), tuple(covers)).as_json()


def notebook(*pieces):
    """Each piece is (markdown, record)."""
    cells = []
    for markdown, found in pieces:
        cells.append({"cell_type": "markdown", "source": markdown.splitlines(keepends=True)})
        stream = {"output_type": "stream", "name": "stdout", "text": ["✓ (9.9) numeric\n"]}
        shown = {"output_type": "display_data", "data": {"text/plain": ["(9.9) numeric"]}}
        badge = {"output_type": "display_data", "data": {"text/plain": ["badge"], MIME: found}}
        cells.append({"cell_type": "code", "source": [], "outputs": [stream, shown, badge]})
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def root(tmp_path):
    (tmp_path / "lindiff").mkdir()
    (tmp_path / "lindiff" / "laws.py").write_text(LAWS)
    (tmp_path / "book" / "_tools").mkdir(parents=True)
    (tmp_path / "book" / "_tools" / "papers.toml").write_text(PAPERS)
    first = notebook(
        ("# Chapter 1\n## Start\n$$ a \\tag{1.1} $$\n`\\tag{1.9}`", record("1.1", "definition")),
        ("### The law\n$$ b \\tag{1.2} $$", record("1.2", uses=["1.1"])),
        ("$$ c \\tag{1.3} $$", record("1.3", "cited")),
    )
    second = notebook(
        ("## Width | x\n$$ d \\tag{2.1} $$", record("2.1", uses=["1.2"], covers=["H-1", "H-2"])),
        ("$$ e \\tag{2.2} $$", record("2.2", "symbolic", ["2.1", "1.3"], ["H-3"])),
        ("$$ f \\tag{2.3} $$", record("2.3", "simulation", ["2.2"])),
        ("$$ g \\tag{2.10} $$", record("2.10", "empirical")),
    )
    (tmp_path / "book" / "01_first.ipynb").write_text(first)
    (tmp_path / "book" / "02_second.ipynb").write_text(second)
    return tmp_path


def edit(root, name, old, new):
    path = root / "book" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def change(root, tag, /, **fields):
    """Change fields of the record of an equation of the second chapter."""
    path = root / "book" / "02_second.ipynb"
    book = json.loads(path.read_text())
    outputs = [output for cell in book["cells"] for output in cell.get("outputs", ())]
    (found,) = (o["data"] for o in outputs if o.get("data", {}).get(MIME, {}).get("tag") == tag)
    if fields:
        found[MIME] |= fields
    else:
        del found[MIME]
    path.write_text(json.dumps(book))


def test_status_is_inherited(root):
    equations = {e.tag: e for e in collect(root)[0]}
    assert list(equations) == ["1.1", "1.2", "1.3", "2.1", "2.2", "2.3", "2.10"]
    assert [tag for tag, e in equations.items() if e.fully_verified] == ["1.1", "1.2", "2.1"]
    assert equations["2.3"].weak == ("1.3",)
    assert equations["2.3"].status == "verified"
    assert equations["1.2"].section == "The law"
    assert equations["1.2"].code == ("lindiff.laws.law", "lindiff.laws.Model.width")


def test_page_says_what_the_notebooks_say(root):
    texts = {path.name: text for path, text in outputs(root).items()}
    page, bar = texts["coverage.md"], texts["coverage_bar.md"]
    assert "7 numbered equations: 4 verified by computation, 1 definition, 1 measured" in page
    assert "Of the verified ones, 2 rest on nothing but" in page
    assert "| [(1.2)](#eq-1.2) | The law | numeric | fully verified | [(1.1)](#eq-1.1) |" in page
    assert "{py:obj}`laws.Model.width <lindiff.laws.Model.width>`" in page
    assert "`laws._hidden`" in page and "{py:obj}`laws._hidden" not in page
    assert "| H-1 | process | verified | [(2.1)](#eq-2.1) |  |" in page
    assert "| H-2 | flow | verified with caveat | [(2.1)](#eq-2.1) | one dimension only |" in page
    rests = "verified with caveat | [(2.2)](#eq-2.2) | rests on [(1.3)](#eq-1.3) |"
    assert f"| H-3 | law \\| width | {rests}" in page
    assert "| H-4 | not treated | not yet |  |  |" in page
    assert bar.count("<a href") == 7
    assert 'href="02_second.html#eq-2.10" title="(2.10) Width | x: measured"' in bar
    assert "\n\n" not in bar
    assert "| asymptotic | the error falls with the claimed power, fitted |" in page
    for row in re.findall(r"^\| .*$", page.partition("## Equations")[2], re.M):
        assert len(re.findall(r"(?<!\\)\|", row)) in (6, 7)


def test_what_is_not_proved_is_not_called_verified(root):
    change(root, "2.1", basis="heuristic")
    change(root, "2.3", basis="cited")
    equations = {e.tag: e for e in collect(root)[0]}
    assert equations["2.1"].status == "heuristic, checked by numbers"
    assert equations["2.3"].status == "cited, checked by numbers"
    assert not equations["2.1"].fully_verified
    assert equations["2.2"].weak == ("1.3", "2.1")
    texts = {path.name: text for path, text in outputs(root).items()}
    page, bar = texts["coverage.md"], texts["coverage_bar.md"]
    assert "2 verified by computation, 1 cited and checked by numbers, 1 heuristic and" in page
    assert "| numeric | heuristic, checked by numbers | [(1.2)](#eq-1.2) |" in page
    assert "| H-1 | process | heuristic, checked by numbers | [(2.1)](#eq-2.1) |  |" in page
    assert "- **cited, checked by numbers**: taken from the literature" in page
    assert "(2.1) Width | x: heuristic, checked by numbers" in bar


def test_the_page_counts_how_the_print_is_tied(root):
    page = outputs(root)[root / "book" / "coverage.md"]
    assert "| 1 | 0 (0 %) | 0 | 2 |" in page and "| 2 | 0 (0 %) | 0 | 4 |" in page
    change(root, "2.1", points=[{"bind": {"d": 2.5}, "value": 2.5}])
    page = outputs(root)[root / "book" / "coverage.md"]
    assert "| 2 | 1 (25 %) | 0 | 3 |" in page
    path = root / "book" / "02_second.ipynb"
    book = json.loads(path.read_text())
    formula = printed.displays(book)["2.2"]
    book["metadata"]["lindiff"] = {"confirmed": {"2.2": printed.display_hash(formula)}}
    path.write_text(json.dumps(book))
    assert "| 2 | 1 (25 %) | 1 | 2 |" in outputs(root)[root / "book" / "coverage.md"]


def test_a_heuristic_may_not_replace_a_proof_in_silence(root, capsys):
    assert main(["--root", str(root)]) == 0
    change(root, "2.1", basis="cited")
    assert main(["--root", str(root)]) == 1
    assert "(2.1) was fully verified and is now cited, checked" in capsys.readouterr().err
    (root / "CHANGELOG.md").write_text("## Unreleased\n\n- (2.1) and (2.2) rest on a theorem.\n")
    assert main(["--root", str(root)]) == 0
    change(root, "2.1", basis="heuristic")
    (root / "CHANGELOG.md").write_text("## Unreleased\n")
    assert main(["--root", str(root)]) == 1
    assert "was cited, checked by numbers and is now heuristic" in capsys.readouterr().err


def test_graph_is_valid_and_children_are_below_their_parents(root):
    svg = next(text for path, text in outputs(root).items() if path.suffix == ".svg")
    tree = ET.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    nodes = {}
    for group in tree.iter(f"{space}g"):
        text = group.find(f"{space}text")
        nodes[text.text.split()[0]] = (float(text.get("x")), float(text.get("y")))
    assert len(set(nodes.values())) == 7
    for parent, child in (("1.1", "1.2"), ("1.2", "2.1"), ("1.3", "2.2"), ("2.1", "2.2")):
        assert nodes[parent][1] < nodes[child][1]
    width, height = (float(tree.get(k)) for k in ("width", "height"))
    assert all(27 < x < width - 27 and 12 < y < height - 12 for x, y in nodes.values())
    arrows = [p for p in tree.iter(f"{space}path") if p.get("marker-end")]
    assert len(arrows) == 5
    assert "(2.2) uses (2.1), (1.3)" in tree.find(f"{space}desc").text


def test_write_check_and_staleness(root, capsys):
    assert main(["--check", "--root", str(root)]) == 1
    assert main(["--root", str(root)]) == 0
    first = {path: path.read_bytes() for path in outputs(root)}
    assert main(["--check", "--root", str(root)]) == 0
    assert main(["--root", str(root)]) == 0
    assert first == {path: path.read_bytes() for path in outputs(root)}
    capsys.readouterr()
    change(root, "2.10", kind="numeric")
    assert main(["--check", "--root", str(root)]) == 1
    errors = capsys.readouterr().err
    assert "book/coverage.md is out of date" in errors
    assert first == {path: path.read_bytes() for path in first}


@pytest.mark.parametrize("name", ["coverage.md", "_generated/coverage_bar.md"])
def test_an_edited_page_is_found(root, name):
    main(["--root", str(root)])
    with (root / "book" / name).open("a") as file:
        file.write("all is proved\n")
    assert main(["--check", "--root", str(root)]) == 1


@pytest.mark.parametrize(
    ("tag", "fields", "message"),
    [
        ("2.3", {}, r"\(2.3\) has no check"),
        ("2.3", {"kind": "proved"}, "kind must be one of"),
        ("2.3", {"version": 0}, "must have version 1; run the chapter"),
        ("2.3", {"tag": "2.4"}, r"names \(2.4\), which has no"),
        ("2.3", {"tag": "2.2", "uses": []}, r"\(2.2\) has more than one"),
        ("2.3", {"uses": ["2.9"]}, r"\(2.3\) uses \(2.9\), which does not exist"),
        ("2.2", {"covers": ["H-99"]}, r"\(2.2\) covers H-99, which is not in papers.toml"),
        ("2.1", {"uses": ["2.3"]}, r"circular reasoning: \(2.1\) uses \(2.3\) uses \(2.2\)"),
        ("2.3", "tag{2.2}", r"\(2.2\) is used twice"),
        ("2.3", "tag{3.1}", r"\(3.1\) carries the number of another chapter"),
        ("2.3", "tag{A.1}", r"\(A.1\) carries the number of another chapter"),
        ("2.3", "tag{*}", r"must look like"),
    ],
)
def test_contradictions_in_a_chapter(root, tag, fields, message, capsys):
    if isinstance(fields, str):
        edit(root, "02_second.ipynb", f"tag{{{tag}}}", fields)
    else:
        change(root, tag, **fields)
    with pytest.raises(CoverageError, match=message):
        collect(root)
    assert main(["--root", str(root)]) == 1
    assert not (root / "book" / "coverage.md").exists()
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("doc", "message"),
    [
        ("Implements eq. (7.7).", r"lindiff.more.f implements \(7.7\), which does not exist"),
        ("Implements eq. 1.1.", "lindiff.more.f: write"),
        ("Implements eq. (1.1)", "lindiff.more.f: write"),
    ],
)
def test_contradictions_in_the_package(root, doc, message):
    (root / "lindiff" / "more.py").write_text(f'def f():\n    """{doc}"""\n')
    with pytest.raises(CoverageError, match=message):
        collect(root)


def test_a_private_function_is_named_where_it_is_public(root):
    (root / "lindiff" / "_core.py").write_text('def f():\n    """Implements eq. (1.3)."""\n')
    (root / "lindiff" / "open.py").write_text("from lindiff._core import f\n")
    equations = {e.tag: e for e in collect(root)[0]}
    assert equations["1.3"].code == ("lindiff.open.f",)


def test_an_appendix_stands_behind_the_chapters(root, capsys):
    proof = notebook(
        ("# Appendix A\n## Proof\n$$ a \\tag{A.1} $$", record("A.1", uses=["2.1"])),
        ("$$ b \\tag{A.2} $$", record("A.2", "cited")),
    )
    (root / "book" / "A_proofs.ipynb").write_text(proof)
    change(root, "2.3", uses=["A.1"])
    (root / "lindiff" / "proofs.py").write_text('def f():\n    """Implements eq. (A.1)."""\n')
    equations = collect(root)[0]
    assert [e.tag for e in equations][-3:] == ["2.10", "A.1", "A.2"]
    assert equations[-2].code == ("lindiff.proofs.f",) and equations[-2].fully_verified
    texts = {path.name: text for path, text in outputs(root).items()}
    assert 'href="A_proofs.html#eq-A.1"' in texts["coverage_bar.md"]
    assert "Appendix A</text>" in texts["dependencies.svg"]
    assert main(["--root", str(root)]) == 0
    edit(root, "A_proofs.ipynb", '"numeric"', '"open"')
    assert main(["--root", str(root)]) == 1
    assert "(A.1) was fully verified and is now open" in capsys.readouterr().err


def test_chapters_stand_in_the_order_of_their_numbers():
    tags = ["A.2", "10.1", "2.10", "2.9", "B.1"]
    assert sorted(tags, key=order) == ["2.9", "2.10", "10.1", "A.2", "B.1"]


def test_a_book_without_chapters(tmp_path):
    (tmp_path / "lindiff").mkdir()
    (tmp_path / "book" / "_tools").mkdir(parents=True)
    (tmp_path / "book" / "_tools" / "papers.toml").write_text(PAPERS)
    assert main(["--root", str(tmp_path)]) == 0
    assert "0 numbered equations." in (tmp_path / "book" / "coverage.md").read_text()


@pytest.mark.parametrize(
    ("tag", "fields", "message"),
    [
        ("2.3", {"kind": "heuristic"}, r"\(2.3\) was verified and is now heuristic"),
        ("2.1", {"kind": "empirical"}, r"\(2.1\) was fully verified and is now measured"),
        ("2.1", {"uses": ["1.2", "1.3"]}, r"\(2.1\) was fully verified and is now verified"),
    ],
)
def test_a_weaker_status_needs_a_reason(root, tag, fields, message, capsys):
    assert main(["--root", str(root)]) == 0
    page = (root / "book" / "coverage.md").read_text()
    change(root, tag, **fields)
    for arguments in (["--root", str(root)], ["--check", "--root", str(root)]):
        capsys.readouterr()
        assert main(arguments) == 1
        assert re.search(message, capsys.readouterr().err)
        assert (root / "book" / "coverage.md").read_text() == page
    released = f"# Changelog\n\n## Unreleased\n\n## 1.0\n\n- ({tag}) is weaker.\n"
    (root / "CHANGELOG.md").write_text(released)
    assert main(["--root", str(root)]) == 1
    (root / "CHANGELOG.md").write_text(
        f"# Changelog\n\n## Unreleased\n\n- ({tag}) rests on a heuristic, as found by a reader.\n"
        "\n## 1.0\n"
    )
    assert main(["--root", str(root)]) == 0


def test_an_equation_that_disappears_needs_a_reason(root, capsys):
    assert main(["--root", str(root)]) == 0
    change(root, "2.10")
    edit(root, "02_second.ipynb", "tag{2.10}", "quad")
    assert main(["--root", str(root)]) == 1
    assert "(2.10) was measured and is gone" in capsys.readouterr().err


def test_papers_list_is_well_formed():
    papers = read_papers(ROOT / "book" / "_tools" / "papers.toml")
    names = [name for paper in papers.values() for name in paper["entries"]]
    assert len(names) == len(set(names)) > 200
    assert all(PAPER_ID.fullmatch(name) for name in names)
    assert {f"H-{i}" for i in range(1, 47)} <= set(names)
    assert {f"MG-{i}" for i in range(17)} <= set(names)
    assert {f"X:E{i}" for i in range(15)} <= set(names)
    titles = [entry["title"] for paper in papers.values() for entry in paper["entries"].values()]
    assert all(1 <= len(title.split()) <= 9 for title in titles)
    assert {k for p in papers.values() for e in p["entries"].values() for k in e} <= {
        "title",
        "caveat",
    }
