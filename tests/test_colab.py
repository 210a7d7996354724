"""The Colab run sees an output that differs, a cell that fails, and a file left behind."""

import subprocess
import sys

import nbformat
import pytest

from book._tools import colab


def write_chapter(folder, code, output):
    """A chapter of one code cell with a stored output."""
    cell = nbformat.v4.new_code_cell(code, id="only", execution_count=1)
    if output is not None:
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=output)]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    path = folder / "01_sample.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.mark.parametrize(
    ("code", "output", "reason"),
    [
        ("print(1 + 1)", "2\n", None),
        ("print(1 + 1)", "3\n", "stored"),
        ("print(1 + 1)\nopen('left.txt', 'w').close()", "2\n", "left behind: ['left.txt']"),
        ("print(1 / 0)", "2\n", "ZeroDivisionError"),
        ("1 + 1;", None, "no stored output"),
    ],
)
def test_run_alone(tmp_path, code, output, reason):
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    chapter = write_chapter(tmp_path, code, output)
    manager = colab.kernel_manager(sys.executable, work)
    env = colab.clean_environment(home)
    wrong = colab.run_alone(chapter, manager, work, env, timeout=60)
    assert wrong == [] if reason is None else any(reason in line for line in wrong)


def test_readable_joins_streams_and_hides_images():
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["a", "b"]},
        {"output_type": "stream", "name": "stdout", "text": "c"},
        {"output_type": "display_data", "data": {"image/png": "xyz", "text/plain": "<Figure>"}},
        {"output_type": "error", "ename": "E", "evalue": "why"},
    ]
    expected = [("stdout", "abc"), ("image/png", "present"), ("text/plain", "<Figure>")]
    assert colab.readable(outputs) == [*expected, ("error", "E: why")]


def test_environment_is_a_readers(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    monkeypatch.setenv("PIP_FIND_LINKS", "somewhere")
    monkeypatch.setenv("LINDIFF_DATA", "somewhere")
    env = colab.clean_environment(tmp_path)
    assert not {"PYTHONPATH", "PIP_FIND_LINKS", "LINDIFF_DATA"} & set(env)
    assert env["HOME"] == str(tmp_path) and "PATH" in env


def test_failed_command_is_an_error():
    with pytest.raises(colab.ColabError, match="broken"):
        colab.call(sys.executable, "-c", "raise SystemExit('broken')")


def fake_pip(freezes):
    """Stand-in for ``call``: pip lists these packages before and after."""
    answers = iter(freezes)

    def call(python, dash, pip, command, *words, env=None):
        assert env["PIP_CONFIG_FILE"] and "--find-links" not in words
        assert command != "install" or "--no-index" in words
        return next(answers) if command == "freeze" else ""

    return call


@pytest.mark.parametrize(
    ("after", "fine"),
    [
        ("numpy==1\nlindiff @ file", True),
        ("numpy==2\nlindiff @ file", False),
        ("numpy==1\nscipy==1\nlindiff @ file", False),
    ],
)
def test_nothing_may_be_replaced(monkeypatch, after, fine):
    monkeypatch.setattr(colab, "call", fake_pip(["numpy==1", after]))
    if fine:
        colab.install_wheel("python", "wheel", {})
    else:
        with pytest.raises(colab.ColabError, match="pip changed more than lindiff"):
            colab.install_wheel("python", "wheel", {})


def test_no_chapters_is_an_error(tmp_path):
    with pytest.raises(colab.ColabError, match="no chapters"):
        colab.check(tmp_path)


def test_exit_status(monkeypatch):
    for failed, status in ((0, 0), (2, 1)):
        monkeypatch.setattr(colab, "check", lambda failed=failed, **_: failed)
        assert colab.main([]) == status


def test_wheel_holds_the_data_and_no_tests(tmp_path):
    wheel = colab.build_wheel(colab.ROOT, tmp_path)
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(wheel)], capture_output=True, text=True
    ).stdout
    assert "lindiff/_data/mnist-t10k-images-idx3-ubyte.gz" in listed
    assert "lindiff/_data/mnist-LICENSE.txt" in listed
    assert "tests/" not in listed and "book/" not in listed
