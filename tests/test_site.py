"""The gates of the built site turn red on their fixtures, for the stated reason."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from book._tools import sitelint

ROOT = Path(__file__).resolve().parents[1]
CONF = f"""
import sys
sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
extensions = ["sphinx.ext.autodoc", "myst_parser", "eqtags", "mathjax_local", "badges"]
extensions += ["outputlinks", "forms", "captions"]
myst_enable_extensions = ["dollarmath"]
html_theme = "basic"
project = "fixture"
"""
GOOD = """# Page

$$
\\begin{aligned}
a &= b \\\\
c &= d
\\end{aligned} \\tag{1.1}
$$

See [(1.1)](#eq-1.1) and $x^2$.
"""
pytestmark = pytest.mark.page


@pytest.fixture(scope="module")
def program():
    found = sitelint.browser()
    if found is None and not os.environ.get("CI"):
        pytest.skip("no Chromium (Debian, Ubuntu: apt install chromium)")
    assert found, "CI needs Chromium for the page tests"
    return found


PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAAAAADRSSBWAAAAC0lEQVR4nGNsYAAAAQYAgiXEWDgAAAAASUVORK5CYII="
)
BADGE = (
    '<details class="check"><summary>✓ (A.1) numeric</summary>equation <a href="#eq-A.1">(A.1)</a>'
    ': numeric · uses <a href="#eq-1.1">(1.1)</a> <a href="#eq-2.1">(2.1)</a></details>'
)
BADGES = f"""---
orphan: true
---

# Appendix

$$
b = c \\tag{{A.1}}
$$

See [(A.1)](#eq-A.1), [(2.1)](#eq-2.1).

{BADGE}

```python
# @title Check (A.1)
number = 3.0  # @param {{type: "slider"}}
```

```{{eval-rst}}
.. py:function:: lindiff.laws.law()

   Law of :ref:`(A.1) <eq-A.1>`.
```
"""


def build(folder, text):
    (folder / "conf.py").write_text(CONF)
    (folder / "index.md").write_text(text)
    out = folder / "html"
    command = [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going"]
    command += ["-b", "html", str(folder), str(out)]
    return subprocess.run(command, capture_output=True, text=True), out


def test_good_page_is_green(tmp_path, program):
    done, out = build(tmp_path, GOOD)
    assert done.returncode == 0, done.stderr
    assert sitelint.problems(out, program) == ([], 1)
    assert 'id="eq-1.1"' in (out / "index.html").read_text()


def add_pages(folder, badges=BADGES):
    (folder / "a.md").write_text(badges)
    (folder / "b.md").write_text("---\norphan: true\n---\n\n# B\n\n$$\nd \\tag{2.1}\n$$\n")
    (folder / "lindiff").mkdir()
    laws = "".join(f'def {n}():\n    """Implements eq. (A.1)."""\n' for n in ("law", "other"))
    (folder / "lindiff" / "laws.py").write_text(laws)


def test_badges_of_a_page_are_completed(tmp_path, program):
    add_pages(tmp_path)
    done, out = build(tmp_path, GOOD)
    assert done.returncode == 0, done.stderr
    text = (out / "a.html").read_text()
    assert (
        'equation <a href="#eq-A.1">(A.1)</a>: numeric · uses '
        '<a href="index.html#eq-1.1">(1.1)</a> <a href="b.html#eq-2.1">(2.1)</a> · computed by '
        '<a href="#lindiff.laws.law"><code>laws.law</code></a></details>' in text
    )
    assert "@title" not in text and "@param" not in text
    assert 'id="eq-A.1"' in text and 'href="#eq-A.1">(A.1)</a>' in text
    assert sitelint.problems(out, program) == ([], 3)


def test_a_badge_that_links_no_equation_turns_the_build_red(tmp_path):
    add_pages(tmp_path, BADGES.replace('<a href="#eq-2.1">', '<a href="#eq-2.9">'))
    done, _ = build(tmp_path, GOOD)
    assert done.returncode != 0
    assert "an output links eq-2.9, which no page has" in done.stderr


@pytest.mark.parametrize(
    ("style", "reasons"),
    [
        ("width: 200px; height: 100px", ["does not fill the column"]),
        ("width: 100%", []),
        ("width: 100%; height: 50px", ["a picture is squeezed"]),
    ],
)
def test_figures_keep_their_shape_and_fill_the_column(tmp_path, program, style, reasons):
    picture = f'<img alt="grey" style="{style}" src="data:image/png;base64,{PICTURE}">'
    cell = f'<div class="cell_output">{picture}</div>'
    done, out = build(tmp_path, GOOD.replace("$x^2$", f"$x^2$.\n\n{cell}\n"))
    assert done.returncode == 0, done.stderr
    found, _ = sitelint.problems(out, program)
    assert len(found) == len(reasons)
    assert all(reason in line for reason, line in zip(reasons, found, strict=True))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("#eq-1.1", "#eq-9.9", "eq-9.9"),
        ("See", "$$\nz \\tag{1.1}\n$$\n\nSee", "tagged twice"),
    ],
)
def test_build_turns_red(tmp_path, old, new, reason):
    done, _ = build(tmp_path, GOOD.replace(old, new))
    assert done.returncode != 0
    assert reason in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("$x^2$", "$\\frac{x$", "not typeset"),
        ("$x^2$", "$\\left( x$", "does not typeset"),
        ("$x^2$", "$\\nosuchmacro{x}$", "undefined command"),
        ("$x^2$", '<script src="https://example.org/a.js"></script>', "asks another host"),
        ("$x^2$", '<a href="#nowhere">x</a>', "dead anchor"),
        ("$x^2$", '<a href="missing.html">x</a>', "dead link"),
        ("$x^2$", "{eq}\\`1.1\\`", "raw markup"),
        ("$x^2$", '<div style="width: 900px">x</div>', "px too wide"),
        (
            "See",
            "<style>div.math {display: flex; flex-direction: row-reverse}</style>"
            "\n\n$$\nx=" + "+".join(f"y_{{{n}}}" for n in range(40)) + " \\tag{1.2}\n$$\n\nSee",
            "on a phone",
        ),
    ],
)
def test_lint_turns_red(tmp_path, program, old, new, reason):
    done, out = build(tmp_path, GOOD.replace(old, new))
    assert done.returncode == 0, done.stderr
    found, _ = sitelint.problems(out, program)
    assert len(found) >= 1 and all(reason in line for line in found)
