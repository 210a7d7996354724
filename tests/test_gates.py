"""Every gate turns red on its fixture, for the stated reason, and is green on a good chapter."""

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from book._tools import chapter, checks, notebooks
from lindiff._report import MIME

ROOT = Path(__file__).resolve().parents[1]
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/solvable-diffusion/solvable-diffusion"
    "/blob/main/book/09_try.ipynb)"
)
FIGURE = (
    'mystnb={"image": {"alt": "A line that rises from zero to two"}, '
    '"figure": {"caption": "Rise.", "name": "fig-a"}}'
)
TEXT = f"""# %% [markdown]
# # Chapter 9. Try
#
# {BADGE}
#
# $$
# (x+1)^2 = x^2 + 2x + 1 \\tag{{9.1}}
# $$
#
# See [(9.1)](#eq-9.1).

# %% id="check-9-1"
import sympy

from lindiff.verify import check_symbolic

x = sympy.Symbol("x", real=True)
check_symbolic("9.1", (x + 1) ** 2, x**2 + 2 * x + 1)

# %% id="fig-a" {FIGURE}
import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(2, 2))
ax.plot([0, 1, 2])
plt.show()
"""


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    (folder / ".text").mkdir()
    (folder / ".text" / "09_try.py").write_text(TEXT)
    path = folder / "09_try.ipynb"
    chapter.run(path)
    return path


@pytest.fixture
def altered(good, tmp_path):
    """Write a changed copy of the good chapter; `change` gets its cells by id."""

    def write(change):
        notebook = json.loads(good.read_text())
        change(notebook, {cell["id"]: cell for cell in notebook["cells"]})
        path = tmp_path / "09_try.ipynb"
        path.write_text(notebooks.dumps(notebook))
        return path

    return write


def nbval(path):
    options = ["--nbval", "--nbval-current-env", "-q", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), *options]
    command += [f"--rootdir={ROOT}", f"--confcutdir={ROOT}", "-p", "conftest", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def found(path):
    return "\n".join(checks.problems([path]))


def test_good_chapter_is_green(good):
    assert found(good) == ""
    done = nbval(good)
    assert done.returncode == 0, done.stdout


def test_rerun_is_byte_identical(good):
    before = good.read_bytes()
    chapter.run(good)
    assert good.read_bytes() == before


def bundle(cells):
    """The data of the badge of the good chapter."""
    return cells["check-9-1"]["outputs"][0]["data"]


def set_html(_, cells):
    bundle(cells)["text/html"] = "".join(bundle(cells)["text/html"]).replace(" points", "6 points")


def set_text(_, cells):
    bundle(cells)["text/plain"] = "✓ (9.2) symbolic"


def set_detail(_, cells):
    details = bundle(cells)[MIME]["details"]
    details[0] = details[0].replace(" points", "6 points")


def set_number(_, cells):
    bundle(cells)[MIME]["points"][1]["value"] *= 1 + 1e-5


def drop_point(_, cells):
    bundle(cells)[MIME]["points"].pop()


def drop_record(_, cells):
    del bundle(cells)[MIME]


def drop_badge(_, cells):
    del cells["check-9-1"]["outputs"][0]


def double_badge(_, cells):
    cells["check-9-1"]["outputs"].append(cells["check-9-1"]["outputs"][0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_html, "6 points"),
        (set_text, "(9.2) symbolic"),
        (set_detail, "6 points"),
        (set_number, "(9.1) was checked at"),
        (drop_point, '"points": 1'),
        (drop_record, MIME),
        (drop_badge, MIME),
        (double_badge, "dissimilar number of outputs"),
    ],
)
def test_altered_badge(altered, change, reason):
    done = nbval(altered(change))
    assert done.returncode == 1 and reason in done.stdout
    assert "plugin exception" not in done.stdout


def test_last_digits_of_a_record_may_differ(altered):
    def change(_, cells):
        for place in bundle(cells)[MIME]["points"]:
            place["value"] *= 1 + 1e-9
            place["bind"]["x"] *= 1 - 1e-9

    done = nbval(altered(change))
    assert done.returncode == 0, done.stdout


def test_swapped_figure(altered):
    picture = io.BytesIO()

    def change(_, cells):
        data = cells["fig-a"]["outputs"][0]["data"]
        with Image.open(io.BytesIO(base64.b64decode("".join(data["image/png"])))) as old:
            Image.new("RGB", old.size, "black").save(picture, format="png")
        data["image/png"] = base64.b64encode(picture.getvalue()).decode()

    done = nbval(altered(change))
    assert done.returncode == 1 and "the stored figure differs" in done.stdout


def test_flipped_sign_fails_in_nbval(altered):
    def change(_, cells):
        cell = cells["check-9-1"]
        cell["source"] = "".join(cell["source"]).replace("+ 2 * x", "- 2 * x")

    done = nbval(altered(change))
    assert done.returncode == 1 and "CheckError" in done.stdout and "(9.1) fails" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("+ 2 * x", "- 2 * x", "(9.1) fails"),
        ("x = sympy", "raise RuntimeError('staged')\nx = sympy", "staged"),
        ("x = sympy", "import sys; print('noise', file=sys.stderr)\nx = sympy", "stderr"),
    ],
)
def test_run_refuses(tmp_path, old, new, reason):
    (tmp_path / ".text").mkdir()
    (tmp_path / ".text" / "09_try.py").write_text(TEXT.replace(old, new))
    with pytest.raises(notebooks.ChapterError, match="nothing was written") as error:
        chapter.run(tmp_path / "09_try.ipynb")
    assert reason in str(error.value)
    assert not (tmp_path / "09_try.ipynb").exists()


def strip_counts(_, cells):
    cells["check-9-1"]["execution_count"] = None


def change_code(_, cells):
    cells["check-9-1"]["source"] += "\n# changed"


def add_error(_, cells):
    cells["check-9-1"]["outputs"].append(
        {"output_type": "error", "ename": "E", "evalue": "e", "traceback": []}
    )


def add_path(_, cells):
    cells["check-9-1"]["outputs"][0]["data"]["text/plain"] += " /home/someone/file"


def add_hidden_path(_, cells):
    bundle(cells)[MIME]["details"].append("/home/someone/file")


def add_type(_, cells):
    bundle(cells)["application/vnd.plotly.v1+json"] = {}


def drop_alt(_, cells):
    del cells["fig-a"]["metadata"]["mystnb"]["image"]


def markdown(old, new):
    def change(notebook, _):
        cell = notebook["cells"][0]
        text = "".join(cell["source"])
        assert old in text
        cell["source"] = text.replace(old, new)

    return change


def boxed(word, kind, basis, limits=""):
    """Put the equation in a statement, and change the kind of its check."""

    def change(notebook, cells):
        text = "".join(notebook["cells"][0]["source"])
        start, end = text.index("$$\n"), text.index("$$\n\nSee") + 2
        box = [f"**{word} 9.1 (square).**", "", *text[start:end].splitlines()]
        box = "\n".join(f"> {line}".rstrip() for line in box)
        notebook["cells"][0]["source"] = text[:start] + box + text[end:] + limits
        bundle(cells)[MIME] |= {"kind": kind, "basis": basis}

    return change


def caption(text):
    def change(_, cells):
        cells["fig-a"]["metadata"]["mystnb"]["figure"]["caption"] = text

    return change


NAMED = "\n\n- **Heuristic.** A step of (9.1) is not proved."


@pytest.mark.parametrize(
    ("word", "kind", "basis", "limits", "reason"),
    [
        ("Result", "symbolic", None, "", ""),
        ("Heuristic", "numeric", "heuristic", NAMED, ""),
        ("Heuristic", "numeric", "heuristic", NAMED.replace("(9.1)", "(9.1) to (9.1)"), ""),
        ("Result", "numeric", "cited", NAMED.replace("Heuristic", "Cited"), ""),
        ("Heuristic", "numeric", None, "", "in a Heuristic, but its check says numeric"),
        ("Result", "numeric", "heuristic", NAMED, "in a Result, but its check says heuristic"),
        ("Heuristic", "numeric", "heuristic", "", "(9.1) is heuristic by the check, not by both"),
        ("Result", "numeric", "cited", "", "(9.1) is cited by the check, not by both"),
        ("Result", "symbolic", None, NAMED, "heuristic by the section on limits, not by both"),
    ],
)
def test_a_heuristic_is_called_one_in_three_places(altered, word, kind, basis, limits, reason):
    text = found(altered(boxed(word, kind, basis, limits)))
    assert reason in text if reason else text == ""


SECOND = "$$\n\n$$\ny \\tag{9.1}\n$$\n\nSee"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (strip_counts, "execution counts are not 1..n"),
        (change_code, "stale"),
        (add_error, "an error is stored"),
        (add_path, "path or address"),
        (add_hidden_path, "path or address"),
        (add_type, "an output of type application/vnd.plotly.v1+json"),
        (drop_badge, "(9.1) has 0 checks"),
        (drop_record, "(9.1) has 0 checks"),
        (double_badge, "(9.1) has 2 checks"),
        (drop_alt, "alt text"),
        (markdown("#eq-9.1", "#eq-9.7"), "reference to equation (9.7)"),
        (markdown("[(9.1)](#eq-9.1)", "[(9.2)](#eq-9.1)"), "shows (9.2) and leads to (9.1)"),
        (markdown("See", "| [a](#eq-9.8) |\n|---|\n\nSee"), "reference to equation (9.8)"),
        (caption("Rise, as [(9.9)](#eq-9.9)."), "fig-a: reference to equation (9.9)"),
        (markdown("See", "<details>\n\nSee"), "a <details> is not closed"),
        (markdown("See", "</details>\n\nSee"), "closes a fold that is not open"),
        (markdown("See", "<details>\n\n## A\n\n</details>\n\nSee"), "a heading stands inside"),
        (markdown("$$\n\nSee", SECOND), "(9.1) is tagged twice"),
        (markdown("\\tag{9.1}", "\\tag{9.2}"), "tags are not 9.1"),
        (markdown("See [(9.1)](#eq-9.1).", "See {eq}`9.1`."), "a MyST role"),
        (markdown("See", ":::{note}\nSee"), "a colon fence"),
        (markdown("See", "```{note}\n```\nSee"), "a MyST directive"),
        (markdown("09_try.ipynb", "08_try.ipynb"), "badge"),
        (markdown("$$\n\nSee", "$$\nSee"), "blank lines"),
        (markdown("See", "### Exercise 9.1\n\nSee"), "no folded solution"),
        (markdown("See", "Coming soon: see"), "unfinished text"),
    ],
)
def test_check_turns_red(altered, change, reason):
    assert reason in found(altered(change))


def test_renumber_follows_tags_in_book_and_package(good, tmp_path):
    book = tmp_path / "book"
    book.mkdir()
    (tmp_path / "lindiff").mkdir()
    law = tmp_path / "lindiff" / "law.py"
    law.write_text(
        'def f():\n    """Implements eq. (9.4),\n    (2.1). The number (9.4) is left."""\n'
    )
    (book / "coverage.md").write_text("| [(9.4)](#eq-9.4) | Try | symbolic | fully verified |\n")
    path = book / "09_try.ipynb"
    path.write_text(good.read_text().replace("9.1", "9.4"))
    assert chapter.renumber([path]) == {"9.4": "9.1"}
    text = path.read_text()
    assert "\\tag{9.1}" in text and "[(9.1)](#eq-9.1)" in text
    assert 'check_symbolic(\\"9.1\\"' in text
    assert "[(9.1)](#eq-9.1)" in (book / "coverage.md").read_text()
    assert law.read_text().count("(9.1)") == 1
    assert "(9.1),\n    (2.1). The number (9.4) is left." in law.read_text()
