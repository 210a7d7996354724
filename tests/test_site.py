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
