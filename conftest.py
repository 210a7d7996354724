"""Compare figures and records of the chapters too: nbval knows neither images nor numbers."""

import base64
import io
import json
import os
from importlib.metadata import version

import numpy as np

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("PYTHONHASHSEED", "0")

# Scripts that need another library's own environment; their stored results are tested.
collect_ignore_glob = ["tests/oracles/*.py"]
MEAN_DIFFERENCE = 1.0
RECORD_ERROR = 1e-6


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
    """Whether two JSON values agree: all but floats exactly, those to a relative 1e-6."""
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


def plain(value):
    """Return what nbval can compare and report: it cannot show a dict, and numbers come later."""
    if not isinstance(value, dict):
        return value
    counted = {key: len(item) if key == "points" else item for key, item in value.items()}
    return json.dumps(counted, sort_keys=True, ensure_ascii=False)


def pinned_matplotlib(root):
    """Whether the installed matplotlib is the one that drew the stored figures."""
    with open(os.path.join(root, "requirements.txt"), encoding="utf-8") as stream:
        return f"matplotlib=={version('matplotlib')}" in stream.read().split()


def pytest_configure(config):
    """Extend nbval's comparison when notebooks are validated."""
    if not config.getoption("--nbval", default=False):
        return
    from nbval.plugin import IPyNbCell

    same = pinned_matplotlib(os.path.dirname(os.path.abspath(__file__)))
    sanitize, compare_text = IPyNbCell.sanitize, IPyNbCell.compare_outputs

    def compare_outputs(self, test, ref, skip_compare=None):
        if not compare_text(self, test, ref, skip_compare):
            return False
        problem = record_problem(ref, test) or figure_problem(ref, test, same)
        if problem:
            self.comparison_traceback.append(problem)
        return problem is None

    IPyNbCell.compare_outputs = compare_outputs
    IPyNbCell.sanitize = lambda cell, value: sanitize(cell, plain(value))
    # A busy machine may hold an output back for longer than nbval's five seconds.
    IPyNbCell.output_timeout = property(lambda cell: 60, lambda cell, seconds: None)
