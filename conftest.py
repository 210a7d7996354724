"""Compare figures and records of the chapters, which nbval cannot; test the package alone."""

import base64
import io
import json
import os
import re
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("PYTHONHASHSEED", "0")

# Scripts that need another library's own environment; their stored results are tested.
collect_ignore_glob = ["tests/oracles/*.py"]
MEAN_DIFFERENCE = 1.0
RECORD_ERROR = 1e-6
NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
MOVING = re.compile(r'<script type="application/json">(.*?)</script>', re.S)
PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")
HAS_TORCH = find_spec("torch") is not None

# What needs the tools, the pinned versions or the pages of the book. All else is the package's.
BOOK_TESTS = {
    f"test_{name}.py"
    for name in (
        *("address", "captions", "colab", "coverage_tool", "environment", "experiments_page"),
        *(
            "form",
            "gates",
            "lean",
            "notation",
            "notes",
            "play",
            "printed",
            "readme",
            "site",
            "workflows",
        ),
    )
}


def pytest_addoption(parser):
    """Let the package be tested without the tools of the book."""
    parser.addoption("--package", action="store_true", help="leave out the tests of the book")


def pytest_ignore_collect(collection_path, config):
    """Leave out the tests of the book where the package is tested alone, and of networks."""
    if config.getoption("--package") and collection_path.name in BOOK_TESTS:
        return True
    return True if needs_missing_torch(collection_path) else None


def needs_missing_torch(path):
    """Whether a test file or a chapter imports PyTorch where there is none."""
    if HAS_TORCH or not re.fullmatch(r"test_\w+\.py|\w+\.ipynb", path.name):
        return False
    # A line of a notebook is a string in JSON.
    wanted = r'^(?: *")?(import torch|from torch|from lindiff\.nn)\b'
    return re.search(wanted, path.read_text(encoding="utf-8"), flags=re.M) is not None


def pytest_report_header():
    """Say what is left out."""
    return None if HAS_TORCH else "PyTorch is not installed: what imports it is left out"


def images(outputs):
    """Return the PNG images of a cell's outputs as text in base64."""
    found = [output.get("data", {}).get("image/png") for output in outputs]
    return ["".join(image) for image in found if image]


def pixels(image):
    """Return the grey-free pixel array (height, width, 3) of a base64 PNG."""
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(image))) as picture:
        return np.asarray(picture.convert("RGB"), dtype=float)


def difference(stored, fresh):
    """Say how two pictures differ, or return None if they are the same to the eye."""
    old, new = pixels(stored), pixels(fresh)
    if old.shape != new.shape:
        return f"the stored figure has shape {old.shape}, the new one {new.shape}"
    mean = np.abs(old - new).mean()
    if mean > MEAN_DIFFERENCE:
        return f"the stored figure differs from the new one by {mean:.1f} of 255 per pixel"
    return None


def figure_problem(stored, fresh, same_matplotlib):
    """Compare the images of a cell; pixels only where they were drawn by one matplotlib."""
    old, new = images(stored), images(fresh)
    if len(old) != len(new):
        return f"{len(old)} figures are stored, {len(new)} were drawn"
    if not same_matplotlib:
        return None
    return next(filter(None, map(difference, old, new)), None)


def is_record(kind):
    """Whether an output of this type is the record of a check."""
    return kind == "application/vnd.lindiff.check+json"


def records(outputs):
    """Return the records of the checks among the outputs of a cell."""
    return [v for out in outputs for k, v in out.get("data", {}).items() if is_record(k)]


def size(value):
    """Return the largest number in a JSON value, at least 1."""
    if isinstance(value, dict | list):
        return max(map(size, value.values() if isinstance(value, dict) else value), default=1.0)
    return max(1.0, abs(value)) if isinstance(value, float) else 1.0


def near(old, new, scale):
    """Whether two JSON values agree: all but floats exactly, those to a relative 1e-6.

    A text is a formula with numbers in it: these are floats too.
    """
    if isinstance(old, str) and isinstance(new, str):
        same = NUMBER.split(old) == NUMBER.split(new)
        pairs = zip(NUMBER.findall(old), NUMBER.findall(new), strict=True) if same else ()
        return same and all(near(float(a), float(b), scale) for a, b in pairs)
    if isinstance(old, dict) and isinstance(new, dict):
        return set(old) == set(new) and all(near(old[key], new[key], scale) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(near, old, new, [scale] * len(old)))
    if type(old) is not type(new):
        return False
    # A zero that is computed has other digits on another machine.
    close = isinstance(old, float) and abs(old - new) <= max(
        RECORD_ERROR * max(abs(old), abs(new)), 1e-12 * scale
    )
    return close or old == new


def record_problem(stored, fresh):
    """Say how the records of a cell differ, or return None."""
    for old, new in zip(records(stored), records(fresh), strict=True):
        for before, now in zip(old["points"], new["points"], strict=True):
            if not near(before, now, size(before)):
                return f"({new['tag']}) was checked at {before}, and is now at {now}"
    return None


def moving(outputs):
    """Return what the scripts of the moving figures of a cell read, curves as arrays."""
    pages = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
    found = [json.loads(text) for page in pages for text in MOVING.findall(page)]
    for data in found:
        data["curves"] = [np.frombuffer(base64.b64decode(data.pop(k)), "<f4") for k in "xy"]
    return found


def moving_problem(stored, fresh):
    """Say how the moving figures of a cell differ, or return None; curves to a relative 1e-4."""
    for old, new in zip(moving(stored), moving(fresh), strict=True):
        pairs = list(zip(old.pop("curves"), new.pop("curves"), strict=True))
        if [a.shape for a, _ in pairs] != [b.shape for _, b in pairs]:
            return "the curves of the moving figure have another number of points"
        for before, now in pairs:
            tiny = 1e-6 * np.nanmax(np.abs(before))
            if not np.allclose(before, now, rtol=1e-4, atol=tiny, equal_nan=True):
                worst = np.nanmax(np.abs(before - now))
                return f"the curves of the moving figure differ by up to {worst:.3g}"
        if not near(old, new, 1.0):
            return f"the moving figure had {old}, and has now {new}"
    return None


def plain(value):
    """Return what nbval can compare and report: it cannot show a dict, and numbers come later."""
    if isinstance(value, str) and "lindiff-explore" in value:
        return PICTURE.sub("PICTURE", MOVING.sub("NUMBERS", value))
    if not isinstance(value, dict):
        return value
    counted = {key: len(item) if key == "points" else item for key, item in value.items()}
    return json.dumps(counted, sort_keys=True, ensure_ascii=False)


def pinned(name):
    """Whether the installed version of a library is the one that made the stored outputs."""
    root = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(root, "requirements.txt"), encoding="utf-8") as stream:
        return f"{name}=={version(name)}" in stream.read().split()


def pytest_configure(config):
    """Extend nbval's comparison when notebooks are validated."""
    if not config.getoption("--nbval", default=False):
        return
    from nbval.plugin import IPyNbCell

    same_matplotlib = pinned("matplotlib")
    # Each version of SymPy typesets a formula in its own way; the check below it is compared.
    skipped = () if pinned("sympy") else ("text/latex",)
    sanitize, compare_text = IPyNbCell.sanitize, IPyNbCell.compare_outputs

    def compare_outputs(self, test, ref, skip_compare=None):
        left_out = (*(skip_compare or self.parent.skip_compare), *skipped)
        if not compare_text(self, test, ref, left_out):
            return False
        problem = (
            record_problem(ref, test)
            or moving_problem(ref, test)
            or figure_problem(ref, test, same_matplotlib)
        )
        if problem:
            self.comparison_traceback.append(problem)
        return problem is None

    IPyNbCell.compare_outputs = compare_outputs
    IPyNbCell.sanitize = lambda cell, value: sanitize(cell, plain(value))
    # A busy machine may hold an output back for longer than nbval's five seconds.
    IPyNbCell.output_timeout = property(lambda cell: 60, lambda cell, seconds: None)
