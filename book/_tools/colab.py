"""Run the chapters as a reader in Colab does: one notebook file, no repository around it.

``python -m book._tools.colab`` makes a fresh environment from
``tests/colab-requirements.txt``, installs the built wheel into it without
letting pip fetch or replace anything, and runs each chapter alone in an empty
folder. Every text output must equal the stored one and no file may be left
behind. ``--in-place`` skips the environment: the current Python runs the
chapters, and their own install cell fetches the package. That is the weekly
run inside Colab's image.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from book._tools import notebooks

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "tests" / "colab-requirements.txt"
WHEEL_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT", "lindiff")
WHEEL_SOURCES += ("book/results",)
FOREIGN = ("PIP_", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LINDIFF_", "JUPYTER_")


class ColabError(Exception):
    """The chapters would not work for a reader in Colab."""


def clean_environment(home):
    """The variables a reader has: nothing of this machine's Python, an empty home."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    backend = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    quiet = {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "PYTHONHASHSEED": "0"}
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(Path(home) / "cache")}
    return kept | single | backend | quiet | places


def call(*command, env=None, cwd=None):
    """Run a command; return what it printed, or raise ColabError with it."""
    words = [str(word) for word in command]
    done = subprocess.run(words, env=env, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ColabError(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def build_wheel(root, folder):
    """Build the wheel from a copy, so that no build folder is left in the tree."""
    source = Path(folder) / "source"
    source.mkdir()
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in WHEEL_SOURCES:
        place = Path(root) / name
        if place.is_dir():
            shutil.copytree(place, source / name, ignore=skip, dirs_exist_ok=True)
        else:
            shutil.copy(place, source / name)
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", folder)
    call(sys.executable, "-m", "pip", "wheel", *options, source)
    (wheel,) = Path(folder).glob("*.whl")
    return wheel


def install_wheel(python, wheel, env):
    """Install the wheel; pip may neither fetch nor replace a package."""
    closed = env | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    before = set(call(python, "-m", "pip", "freeze", "--all", env=closed).splitlines())
    call(python, "-m", "pip", "install", "--quiet", "--no-index", wheel, env=closed)
    after = set(call(python, "-m", "pip", "freeze", "--all", env=closed).splitlines())
    call(python, "-m", "pip", "check", env=closed)
    added = after - before
    if before - after or not all(line.startswith("lindiff ") for line in added):
        raise ColabError(f"pip changed more than lindiff: {sorted(before ^ after)}")


def make_environment(folder, root, requirements, base_python, env):
    """A fresh environment with Colab's packages and the wheel; return its Python."""
    call(base_python, "-m", "venv", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    # The fetch itself may use this machine's settings for pip; the later steps may not.
    fetch = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    call(python, "-m", "pip", "install", "--quiet", "-r", requirements, env=fetch)
    install_wheel(python, build_wheel(root, folder), env)
    place = call(python, "-c", "import lindiff; print(lindiff.__file__)", env=env, cwd=folder)
    if not Path(place.strip()).is_relative_to(folder / "venv"):
        raise ColabError(f"lindiff came from {place.strip()}, not from the wheel")
    return python


def kernel_manager(python, folder):
    """A manager whose only kernel runs the given Python."""
    spec = folder / "kernels" / "colab"
    spec.mkdir(parents=True, exist_ok=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    text = json.dumps({"argv": argv, "display_name": "colab", "language": "python"})
    (spec / "kernel.json").write_text(text)
    specs = KernelSpecManager(kernel_dirs=[str(spec.parent)], ensure_native_kernel=False)
    return KernelManager(kernel_name="colab", kernel_spec_manager=specs)


def _joined(text):
    return "".join(text) if isinstance(text, list) else text


def readable(outputs):
    """The outputs of a cell as text: neighbouring streams joined, images as their type."""
    seen = []
    for output in outputs:
        kind = output["output_type"]
        if kind == "stream":
            text = _joined(output["text"])
            if seen and seen[-1][0] == output["name"]:
                text = seen.pop()[1] + text
            seen.append((output["name"], text))
        elif kind == "error":
            seen.append(("error", f"{output['ename']}: {output['evalue']}"))
        else:
            for mime, data in sorted(output["data"].items()):
                is_text = mime.startswith("text/") or mime == "application/json"
                seen.append((mime, _joined(data) if is_text else "present"))
    return seen


def differences(stored, fresh):
    """Where the text of two runs of one notebook differs, a line per cell."""
    found = []
    for old, new in zip(stored.cells, fresh.cells, strict=True):
        if old.cell_type != "code":
            continue
        expected, got = readable(old.outputs), readable(new.outputs)
        if expected != got:
            found.append(f"cell {old.get('id')}:\n  stored {expected}\n  now    {got}")
    return found


def run_alone(chapter, manager, work, env, timeout=600):
    """Run one chapter in an empty folder; return the list of what is wrong."""
    folder = Path(work) / Path(chapter).stem
    folder.mkdir()
    copy = Path(shutil.copy(chapter, folder))
    stored = nbformat.read(copy, as_version=4)
    fresh = nbformat.from_dict(stored)
    if not any(cell.cell_type == "code" and cell.outputs for cell in stored.cells):
        return ["no stored output to compare with; run the chapter first"]
    client = NotebookClient(
        fresh, km=manager, timeout=timeout, record_timing=False, coalesce_streams=True
    )
    try:
        client.execute(cwd=str(folder), env=env)
    except CellExecutionError as error:
        return [str(error)]
    finally:
        if manager.has_kernel:
            manager.shutdown_kernel(now=True)
    wrong = differences(stored, fresh)
    left = sorted(p.name for p in folder.iterdir() if p != copy)
    if left:
        wrong.append(f"left behind: {left}")
    return wrong


def run_all(chapters, python, work, env):
    """Run every chapter; print a line for each; return how many failed."""
    failed = 0
    for chapter in chapters:
        wrong = run_alone(chapter, kernel_manager(python, work), work, env)
        failed += bool(wrong)
        print(f"{chapter.name}: {'FAILED' if wrong else 'text outputs equal, no files left'}")
        for line in wrong:
            print(line)
    return failed


def check(root=ROOT, *, requirements=REQUIREMENTS, python=sys.executable, in_place=False):
    """Run all chapters below ``root/book``; return how many failed."""
    chapters = notebooks.chapters(Path(root) / "book")
    if not chapters:
        raise ColabError("there are no chapters in book/")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        home, work = folder / "home", folder / "work"
        home.mkdir()
        work.mkdir()
        env = clean_environment(home)
        if not in_place:
            python = make_environment(folder, root, requirements, python, env)
        return run_all(chapters, python, work, env)


def main(arguments=None):
    """Command line; the exit status is 1 if a chapter fails."""
    parser = argparse.ArgumentParser(prog="python -m book._tools.colab", description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter to build upon")
    parser.add_argument("--in-place", action="store_true", help="use this Python as it is")
    options = parser.parse_args(arguments)
    try:
        failed = check(python=options.python, in_place=options.in_place)
    except ColabError as error:
        print(f"colab: {error}", file=sys.stderr)
        return 1
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
