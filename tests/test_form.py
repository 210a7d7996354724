"""The rules of the form turn red on their fixtures, and are green on a chapter in form."""

import json

import nbformat
import pytest

from book._tools import chapter, checks, form, notebooks, printed

BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/solvable-diffusion/solvable-diffusion"
    "/blob/main/book/{name}.ipynb)"
)
MYSTNB = (
    'mystnb={{"image": {{"alt": "A white square full of grey noise", "classes": "photo"}}, '
    '"figure": {{"caption": "Figure {label}.1. Noise, see [({label}.2)](#eq-{label}.2).", '
    '"name": "fig-{low}-1"}}}}'
)
TEXT = """# ---
# jupyter:
#   lindiff:
#     form: 1
# ---

# %% [markdown]
# # {kind} {label}. Try
#
# {badge}

# %% id="imports" kind="setup"
import matplotlib.pyplot as plt
import numpy as np

from lindiff.verify import check_numeric, declare

SIZE = 100

# %% id="fig-first" kind="figure" {mystnb}
# @title Figure {label}.1
_rng = np.random.default_rng(0)
plt.imshow(_rng.standard_normal((4, 4)))
plt.show()

# %% [markdown]
# *Figure {label}.1. Noise, see [({label}.2)](#eq-{label}.2).*
#
# ## {label}.1 Squares
#
# What does [Figure {label}.1](#fig-{low}-1) show? A number $x$ from $1.5$ to $2$.
#
# $$
# y = x^2 \\tag{{{label}.1}}
# $$
#
# $$
# (x+1)^2 = x^2 + 2x + 1 \\tag{{{label}.2}}
# $$

# %% id="squares" kind="story"
x = np.linspace(0, 1, SIZE)
print(f"{{(x**2).mean():.2f}}")

# %% id="check-squares" kind="check"
# @title Check ({label}.1) to ({label}.2)
_x = np.linspace(-1, 2, 7)
_sides = [(_v + 1) ** 2 for _v in _x]


def _right(v):
    return v**2 + 2 * v + 1


declare("{label}.1", "definition")
check_numeric("{label}.2", _sides, [_right(v) for v in _x], uses=("{label}.1",), at={{"x": _x}})

# %% id="try-it" kind="try"
number = 3.0  # @param {{type: "slider", min: 0, max: 9}}
print(number**2)

# %% [markdown]
# ## Exercises
#
# ### Exercise {label}.1
#
# What is the square of one half?
#
# <details><summary>Solution</summary>
#
# A quarter, by ({label}.1).

# %% id="solution-1" kind="solution"
# @title Solution of Exercise {label}.1
print(0.5**2)

# %% [markdown]
# </details>
"""


def make(folder, name, label, kind):
    words = {"label": label, "low": label.lower()}
    parts = {"badge": BADGE.format(name=name), "mystnb": MYSTNB.format(**words)}
    text = TEXT.format(kind=kind, **parts, **words)
    (folder / ".text").mkdir()
    (folder / ".text" / f"{name}.py").write_text(text)
    path = folder / f"{name}.ipynb"
    chapter.run(path)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return make(tmp_path_factory.mktemp("book"), "09_try", "9", "Chapter")


@pytest.fixture(scope="module")
def appendix(tmp_path_factory):
    return make(tmp_path_factory.mktemp("book"), "B_try", "B", "Appendix")


@pytest.fixture
def altered(good, tmp_path):
    def write(change):
        notebook = json.loads(good.read_text())
        change(notebook, {cell["id"]: cell for cell in notebook["cells"]})
        notebook = notebooks.normalise(nbformat.from_dict(notebook))
        path = tmp_path / "09_try.ipynb"
        path.write_text(notebooks.dumps(notebook))
        return path

    return write


def lengthen(notebook, count):
    first = notebook["cells"][0]
    first["source"] = "".join(first["source"]) + "\n\n" + "word " * count


def found(path):
    return "\n".join(checks.problems([path]))


def test_good_chapter_and_appendix_are_green(good, appendix):
    assert found(good) == ""
    assert found(appendix) == ""
    assert notebooks.chapters(appendix.parent) == [appendix]
    assert notebooks.find("B", appendix.parent) == appendix


def test_a_kind_implies_tags_view_and_labels(good):
    cells = {cell["id"]: cell["metadata"] for cell in notebooks.read(good)["cells"]}
    assert cells["check-squares"] == {
        "lindiff": {"kind": "check"},
        "tags": ["hide-input"],
        "cellView": "form",
        "mystnb": {"code_prompt_show": "Show the check", "code_prompt_hide": "Hide the check"},
    }
    assert cells["imports"]["tags"] == ["hide-cell"]
    assert cells["squares"] == {"lindiff": {"kind": "story"}}
    assert cells["fig-first"]["mystnb"]["figure"]["name"] == "fig-9-1"
    assert cells["fig-first"]["mystnb"]["code_prompt_show"] == "Show the code"
    assert cells["solution-1"]["cellView"] == "form"


def test_the_text_view_names_kind_and_form_and_comes_back(good):
    before, view = good.read_bytes(), good.parent / ".text" / "09_try.py"
    text = view.read_text()
    assert '# %% id="check-squares" kind="check"\n' in text
    assert "#   lindiff:\n#     form: 1\n" in text
    assert "cellView" not in text and "code_prompt" not in text
    chapter.run(good)
    assert good.read_bytes() == before and view.read_text() == text


def test_a_kind_that_changes_leaves_nothing_behind():
    folded = notebooks.folded({"lindiff": {"kind": "check"}, "tags": ["keep"]})
    assert folded["tags"] == ["hide-input", "keep"]
    story = notebooks.folded({**folded, "lindiff": {"kind": "story"}})
    assert story == {"lindiff": {"kind": "story"}, "tags": ["keep"]}


def test_a_confirmation_stays_with_the_chapter_until_its_formula_changes(good, tmp_path, capsys):
    (tmp_path / "09_try.ipynb").write_text(good.read_text())
    path = notebooks.home("9.1", tmp_path)
    printed.confirm(path, "9.1")
    assert found(path) == ""
    view = chapter.edit(path)
    view.write_text(view.read_text().replace("y = x^2", "y = x^3"))
    chapter.run(path)
    assert "(9.1) was edited after it was confirmed" in found(path)
    assert capsys.readouterr().err == ""
    assert notebooks.read(path)["metadata"]["lindiff"]["sides"] == {"9.2": 2}
    with pytest.raises(notebooks.ChapterError, match=r"equations like \(7.1\)"):
        notebooks.home("7.1", tmp_path)


def test_a_run_says_that_fewer_sides_are_compared(good, tmp_path, capsys):
    path = tmp_path / "09_try.ipynb"
    path.write_text(good.read_text())
    view = chapter.edit(path)
    view.write_text(view.read_text().replace("(x+1)^2 = x^2", "q = x^2"))
    chapter.run(path)
    assert "(9.2): 1 sides compared, 2 before" in capsys.readouterr().err


def test_a_printed_slip_turns_the_check_red(altered):
    assert "(9.2)" in found(altered(source(3, "2x + 1", "2x - 1")))


def test_pacing_counts_what_is_seen(good):
    pace = form.pace(notebooks.read(good))
    assert (pace.cells, pace.lines, pace.longest, pace.equations) == (2, 4, 2, 2)
    # Title and badge, caption, section and exercise; no code, no display, nothing folded.
    read = [
        "Chapter 9. Try Open in Colab",
        "Figure 9.1. Noise, see (9.2). 9.1 Squares",
        "What does Figure 9.1 show? A number x from x to x.",
        "Exercises Exercise 9.1 What is the square of one half?",
    ]
    assert (pace.start, pace.words) == (len(read[0].split()), len(" ".join(read).split()))


def test_report_marks_what_misses_a_target(good, altered):
    first = form.report([good])
    assert first[1].split() == ["09_try", *map(str, (35, 2, 4, 2, 2, 6))]
    assert len(first) == 3

    def change(notebook, cells):
        del notebook["metadata"]["lindiff"]["form"]
        lengthen(notebook, 3600)
        cells["squares"]["source"] += "\nx" * 15

    lines = form.report([altered(change)])
    assert "3635!" in lines[1] and "17!" in lines[1] and "3606!" in lines[1]
    assert lines[3] == "not yet in form: 09_try"


def test_the_command_prints_the_pacing_and_fails_outside_the_budget(good, altered, capsys):
    assert chapter.main(["check", str(good)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("chapter  words") and "1 chapters checked, nothing to mend" in shown
    assert chapter.main(["check", str(altered(more_cells))]) == 1
    assert "21 visible code cells are more than 20" in capsys.readouterr().out


def source(name, old, new):
    """Replace text in a cell, named by id or place."""

    def change(notebook, cells):
        cell = cells[name] if isinstance(name, str) else notebook["cells"][name]
        assert old in "".join(cell["source"])
        cell["source"] = "".join(cell["source"]).replace(old, new)

    return change


def kind(name, new):
    def change(_, cells):
        cells[name]["metadata"]["lindiff"]["kind"] = new

    return change


def figure(key, value):
    def change(_, cells):
        cells["fig-first"]["metadata"]["mystnb"]["figure"][key] = value

    return change


def drop_photo(_, cells):
    del cells["fig-first"]["metadata"]["mystnb"]["image"]["classes"]


def drop_kind(_, cells):
    del cells["squares"]["metadata"]["lindiff"]


def more_words(notebook, _):
    lengthen(notebook, 4500)


def more_cells(notebook, cells):
    notebook["cells"] += [
        {**cells["squares"], "id": f"squares-{index}", "source": "pass"} for index in range(19)
    ]


def second_try(notebook, cells):
    place = notebook["cells"].index(cells["try-it"]) + 1
    notebook["cells"].insert(place, {**cells["try-it"], "id": "try-again"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (more_words, "words are more than 4500"),
        (more_cells, "21 visible code cells are more than 20"),
        (drop_kind, "squares: the kind of the cell must be one of setup, story"),
        (kind("check-squares", "story"), "check-squares: a check is visible unfolded"),
        (kind("check-squares", "try"), "check-squares: a check is visible unfolded"),
        (kind("squares", "solution"), "squares: a solution must stand between <details>"),
        (kind("solution-1", "story"), "solution-1: a solution must stand between <details>"),
        (source("check-squares", "# @title", "# "), "begin with '# @title Check ("),
        (source("solution-1", "# @title", "# "), "begin with '# @title Solution'"),
        (source("check-squares", " to (9.2)", ""), "the title must name what the cell checks"),
        (source("check-squares", "(9.2)", "(9.3)"), "the title must name what the cell checks"),
        (drop_photo, "images turn negative in dark mode"),
        (figure("caption", "Noise."), "the caption must begin with 'Figure 9.1. '"),
        (figure("caption", "Figure 9.2. Noise."), "the caption must begin with 'Figure 9.1. '"),
        (figure("name", "fig-noise"), "the figure must have the name fig-9-1"),
        (source("fig-first", "Figure 9.1", "Figure 9.2"), "must be '# @title Figure 9.1'"),
        (source(3, "[Figure 9.1](#fig-9-1)", "the figure"), "the text does not cite the figure"),
        (source(3, "*Figure 9.1. Noise", "*Figure 9.1. The noise"), "repeat the caption"),
        (source(3, "A number", "By (9.1) a number"), "(9.1) is no link"),
        (source(3, "## 9.1 Sq", "## 8.1 Sq"), "section 8.1 must have the number 9.1"),
        (source(3, "## 9.1 Sq", "## 9.2 Sq"), "section 9.2 must have the number 9.1"),
        (source("check-squares", "_sides", "sides"), "a check binds sides"),
        (source("check-squares", "7)", "len(x))"), "check-squares: a check reads x,"),
        (source("check-squares", "7)", "len(_rng))"), "check-squares: a check reads _rng,"),
        (source("check-squares", "return v", "return number * v"), "a check reads number,"),
        (source("squares", "x = np", "SIZE = 7\nx = np"), ""),
        (source("squares", "SIZE", "len(_sides)"), "squares: _sides belongs to a check"),
        (source("try-it", "number**2", "x**2"), "try-it: a try-it cell reads x of another"),
        (source("try-it", "print(", "assert number\nprint("), "try-it cell must not assert"),
        (source("try-it", "  # @param", "  #"), "has one to four lines 'name = value"),
        (second_try, "try-again: a section has one try-it cell at most"),
        (source("squares", "x = np", "%time x = np"), "write no magics"),
    ],
)
def test_form_turns_red(altered, change, reason):
    text = "\n".join(line for line in found(altered(change)).splitlines() if "stale" not in line)
    assert reason in text if reason else text == ""


def test_a_set_up_that_the_story_changes_is_no_ground_for_a_check(altered):
    def change(notebook, cells):
        source("squares", "x = np", "SIZE = 7\nx = np")(notebook, cells)
        source("check-squares", "7)", "SIZE)")(notebook, cells)

    assert "a check reads SIZE, which a reader may change" in found(altered(change))


def test_an_appendix_may_be_long_and_other_chapters_keep_their_shape(appendix, good, tmp_path):
    def longer(path, name):
        notebook = json.loads(path.read_text())
        lengthen(notebook, 4500)
        target = tmp_path / name
        target.write_text(notebooks.dumps(notebooks.normalise(nbformat.from_dict(notebook))))
        return notebook, target

    assert found(longer(appendix, "B_try.ipynb")[1]) == ""
    notebook, target = longer(good, "09_try.ipynb")
    assert "more than 4500" in found(target)
    del notebook["metadata"]["lindiff"]["form"]
    target.write_text(notebooks.dumps(notebooks.normalise(nbformat.from_dict(notebook))))
    assert found(target) == ""


@pytest.mark.parametrize(
    ("code", "bound", "read"),
    [
        ("a = b", {"a"}, {"b"}),
        ("import a\nfrom b import c as d", set(), set()),
        ("def f(x, y=k):\n    return x + z", {"f"}, {"k", "z"}),
        ("[i + j for i in range(3)]", set(), {"j", "range"}),
        ("for i, j in k: pass", {"i", "j"}, {"k"}),
        ("with f() as g: pass", {"g"}, {"f"}),
        ("a.b = 1\na[c] = 2\na += 1", {"a"}, {"a", "c"}),
        ("f = lambda x: x + y", {"f"}, {"y"}),
        ("if (n := m) > 1: pass", {"n"}, {"m"}),
        ("class A:\n    b = c", {"A"}, {"c"}),
    ],
)
def test_names_of_a_cell(code, bound, read):
    found = form.names(code)
    assert found[0] == bound and found[2] == read
