"""The address tool moves every place or none, and sees a place that is missing or differs."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from book._tools import address, notebooks

ROOT = Path(__file__).resolve().parents[1]
OLD, NEW = "first-owner/some.book", "Second/other_book"

INSTALL = (
    "import importlib.util\n\n"
    'if importlib.util.find_spec("lindiff") is None:\n'
    '    source = "git+https://github.com/{0}@main"\n'
)
BADGE = (
    "# Chapter 1. A title\n\n"
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{0}/blob/main/book/01_title.ipynb)\n"
)
FILES = {
    "_config.yml": "repository:\n  url: https://github.com/{0}\n  branch: main\n",
    "pyproject.toml": 'Source = "https://github.com/{0}"\nDocumentation = "https://{1}/"\n',
    "CITATION.cff": 'repository-code: "https://github.com/{0}"\nurl: "https://{1}/"\n',
    "README.md": (
        "[![tests](https://github.com/{0}/actions/workflows/pages.yml/badge.svg)](https://{1})\n"
        "git clone https://github.com/{0}.git\n"
        'pip install "git+https://github.com/{0}@main"\n'
        "Not ours: https://github.com/{0}-fork, https://github.com/jupyter/nbclient.\n"
        "Ask at https://github.com/{0}.\n"
    ),
    "paper/paper.md": "The source is at <https://github.com/{0}/tree/main/book>.\n",
    "_build/html/page.html": "https://github.com/{0}",
}


def make_notebook(where):
    cells = [
        {"cell_type": "markdown", "id": "header", "metadata": {}, "source": BADGE.format(where)},
        {
            "cell_type": "code",
            "id": "install",
            "metadata": {"tags": ["hide-cell"]},
            "execution_count": 1,
            "outputs": [],
            "source": INSTALL.format(where),
        },
    ]
    raw = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return notebooks.normalise(raw)


@pytest.fixture
def tree(tmp_path):
    site = address.Address.parse(OLD).site
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(OLD, site))
    book = tmp_path / "book"
    (book / ".text").mkdir(parents=True)
    chapter = make_notebook(OLD)
    (book / "01_title.ipynb").write_text(notebooks.dumps(chapter))
    view = notebooks.to_text(chapter)
    (book / ".text" / "01_title.py").write_text(view)
    (book / ".text" / ".01_title.base").write_text(hashlib.sha256(view.encode()).hexdigest())
    return tmp_path


def snapshot(tree):
    return {p: p.read_bytes() for p in sorted(tree.rglob("*")) if p.is_file()}


def run(tree, *words):
    return address.main(["--root", str(tree), *words])


def test_sets_every_place(tree, capsys):
    assert run(tree, NEW) == 0
    assert run(tree, "--check") == 0
    assert f"all places name {NEW}" in capsys.readouterr().out
    readme = (tree / "README.md").read_text()
    assert f"git clone https://github.com/{NEW}.git\n" in readme
    assert f"Ask at https://github.com/{NEW}.\n" in readme
    assert f"https://github.com/{OLD}-fork, https://github.com/jupyter/nbclient." in readme
    assert "https://second.github.io/other_book" in readme
    assert f"{NEW}/tree/main" in (tree / "paper" / "paper.md").read_text()
    assert OLD in (tree / "_build" / "html" / "page.html").read_text()
    left = [p.name for p in tree.rglob("*") if p.is_file() and OLD in p.read_text()]
    assert sorted(left) == ["README.md", "page.html"]


def test_chapter_stays_valid(tree):
    run(tree, NEW)
    path = tree / "book" / "01_title.ipynb"
    chapter = notebooks.read(path)
    assert chapter["metadata"]["lindiff"]["stamp"] == notebooks.stamp(chapter)
    assert path.read_text() == notebooks.dumps(make_notebook(NEW))
    text = notebooks.to_text(chapter)
    assert (tree / "book" / ".text" / "01_title.py").read_text() == text
    base = (tree / "book" / ".text" / ".01_title.base").read_text()
    assert base == hashlib.sha256(text.encode()).hexdigest()


def test_stale_stamp_is_not_blessed(tree):
    path = tree / "book" / "01_title.ipynb"
    chapter = json.loads(path.read_text())
    chapter["metadata"]["lindiff"]["stamp"] = "0" * 64
    path.write_text(notebooks.dumps(chapter))
    run(tree, NEW)
    assert notebooks.read(path)["metadata"]["lindiff"]["stamp"] == "0" * 64


def test_twice_is_once_and_back_is_the_same(tree):
    before = snapshot(tree)
    run(tree, NEW)
    once = snapshot(tree)
    run(tree, NEW)
    assert snapshot(tree) == once != before
    run(tree, OLD)
    assert snapshot(tree) == before


@pytest.mark.parametrize(
    ("name", "text", "label"),
    [
        ("_config.yml", "url: https://github.com/", "repository.url"),
        ("CITATION.cff", "repository-code:", "repository-code"),
        ("README.md", "git clone ", "clone line"),
        ("pyproject.toml", "https://first-owner.github.io/", "address of the site"),
        ("book/01_title.ipynb", "colab.research.google.com/github/", "badge"),
        ("book/01_title.ipynb", "git+", "install cell"),
    ],
)
def test_missing_place_changes_nothing(tree, capsys, name, text, label):
    path = tree / name
    path.write_text(path.read_text().replace(text, "gone "))
    before = snapshot(tree)
    assert run(tree, NEW) == 1
    assert run(tree, "--check") == 1
    assert label in "".join(capsys.readouterr())
    assert snapshot(tree) == before


@pytest.mark.parametrize("name", ["CITATION.cff", "book/01_title.ipynb", "README.md"])
def test_place_that_differs_is_named_and_mended(tree, capsys, name):
    path = tree / name
    path.write_text(path.read_text().replace(f"/{OLD}", "/fork/some.book", 1))
    assert run(tree, "--check") == 1
    out = capsys.readouterr().out
    assert name in out and "names fork/some.book" in out
    assert run(tree, OLD) == 0
    assert run(tree, "--check") == 0


def test_missing_file_is_an_error(tree, capsys):
    (tree / "book" / "01_title.ipynb").unlink()
    assert run(tree, NEW) == 1
    assert "is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "bad",
    ["owner", "a/b/c", "-a/b", "a b/c", "a/b.git", "a/", "https://github.com/a/b", "a/a.github.io"],
)
def test_bad_address(tree, capsys, bad):
    before = snapshot(tree)
    assert address.main(["--root", str(tree), "--", bad]) == 1
    assert bad in capsys.readouterr().err
    assert snapshot(tree) == before


def test_needs_one_of_two(tree):
    with pytest.raises(SystemExit):
        run(tree)
    with pytest.raises(SystemExit):
        run(tree, NEW, "--check")


def test_this_repository_agrees():
    command = [sys.executable, "-m", "book._tools.address", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
