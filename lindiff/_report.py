"""What one check of a chapter found: a badge for the reader, a record for the tools."""

import ast
import html
import re
import sys
from dataclasses import asdict, dataclass, replace

import numpy as np

MIME = "application/vnd.lindiff.check+json"
VERSION = 1
CHECKED = ("symbolic", "numeric", "asymptotic", "simulation", "empirical")
DECLARED = ("definition", "cited", "heuristic", "open")
KINDS = CHECKED + DECLARED
BASES = ("heuristic", "cited")
NUMBER = r"(?:\d+|[A-Z])\.\d+"
TAG = re.compile(NUMBER)
PAPER_ID = re.compile(r"[A-Z]{1,3}[-:][-:.A-Za-z0-9]+")
DIGITS = 12
MOST_NUMBERS = 2000
_BASED = ("numeric", "asymptotic", "simulation")


class CheckError(AssertionError):
    """A formula disagrees with what it was compared with."""


class ControlError(AssertionError):
    """A check would also have accepted a formula that is known to be wrong."""


@dataclass(frozen=True)
class Record:
    """The equation, how it was checked, what it rests on, and where it can be evaluated."""

    tag: str
    kind: str
    basis: str | None = None
    details: tuple = ()
    uses: tuple = ()
    covers: tuple = ()
    points: tuple = ()

    def __str__(self):
        if self.basis:
            return f"≈ ({self.tag}) {self.basis}, numbers agree"
        if self.kind in DECLARED:
            return f"({self.tag}) {self.kind}"
        # The first detail of a simulation says how many standard errors were allowed.
        errors = f", {self.details[0]}" if self.kind == "simulation" else ""
        return f"✓ ({self.tag}) {self.kind}{errors}"

    def as_json(self):
        """Return the record as a dict of JSON types only."""
        lists = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {"version": VERSION, **lists}

    @classmethod
    def from_json(cls, data):
        """Return the record stored in a notebook, or raise ValueError."""
        data = dict(data)
        if data.pop("version", None) != VERSION:
            raise ValueError(f"a check's record must have version {VERSION}; run the chapter")
        names = set(cls.__dataclass_fields__)
        if set(data) != names:
            raise ValueError(f"a check's record must hold {sorted(names)}, got {sorted(data)}")
        record = new_record(data["tag"], data["kind"], data["uses"], data["covers"], data["basis"])
        return replace(record, details=tuple(data["details"]), points=tuple(data["points"]))

    def as_html(self):
        """Return one folded line; the build of the site completes its links."""
        fields = [f"equation {_link(self.tag)}: {self.kind}", *map(html.escape, self.details)]
        if self.uses:
            fields.append("uses " + " ".join(map(_link, self.uses)))
        if self.covers:
            fields.append("covers " + " ".join(map(html.escape, self.covers)))
        look = "check declared" if self.kind in DECLARED else "check"
        return (
            f'<details class="{look}"><summary>{html.escape(str(self))}</summary>'
            f"{' · '.join(fields)}</details>"
        )

    def show(self):
        """Show the badge once: as an output of the cell in a notebook, else as a printed line."""
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if not hasattr(shell, "kernel"):
            print(self)
            return
        from IPython.display import display

        bundle = {"text/plain": str(self), "text/html": self.as_html(), MIME: self.as_json()}
        display(bundle, raw=True)


def _link(tag):
    return f'<a href="#eq-{tag}">({tag})</a>'


def new_record(tag, kind, uses, covers, basis=None):
    """Check the names an author gives and return a `Record` without details."""
    if not isinstance(tag, str) or not TAG.fullmatch(tag):
        raise ValueError(f"tag must look like '2.7' (chapter.index), got {tag!r}")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    uses = _names("uses", uses, TAG, "equation tags such as '2.1'")
    covers = _names("covers", covers, PAPER_ID, "paper entries such as 'H-1' or 'MG-D.16'")
    if tag in uses:
        raise ValueError(f"uses must not contain the equation ({tag}) itself")
    if basis is not None and basis not in BASES:
        raise ValueError(f"basis must be one of {', '.join(BASES)}, or None; got {basis!r}")
    if basis is not None and kind not in _BASED:
        raise ValueError(f"a {kind} check has no basis, got {basis!r}")
    return Record(tag, kind, basis, (), uses, covers)


def finish(record, *details, points=()):
    """Show a record with its details and points filled in."""
    replace(record, details=details, points=tuple(points)).show()


def one_line(name, text):
    """Return `text` if it fits in one field of a badge, else raise."""
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, got {type(text).__name__}")
    if not text.strip() or text != text.strip() or "\n" in text or "·" in text:
        raise ValueError(f"{name} must be one non-empty line without '·', got {text!r}")
    return text


def _names(name, values, pattern, what):
    if isinstance(values, str):
        raise TypeError(f"{name} must be a tuple of {what}; write ({values!r},)")
    values = tuple(values)
    for value in values:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"{name} must hold {what}, got {value!r}")
    if len(set(values)) != len(values):
        raise ValueError(f"{name} names an entry twice: {values}")
    return values


def count(number):
    """Return "1 value" or "12 values"."""
    return "1 value" if number == 1 else f"{number} values"


def control_text(noun, wrong):
    """Say whether the author's mistake or the default one was rejected."""
    return f"{'perturbed' if wrong is None else 'wrong'} {noun} rejected"


def points(at, value):
    """Return the points at which the printed formula has the checked values.

    Parameters
    ----------
    at : None, dict or list of dict
        One dict binds names for the whole of `value`; a list holds one dict for each entry
        of `value` along its first axis.
    value : array_like
        What was checked.
    """
    if at is None:
        return ()
    if isinstance(at, dict):
        return (point(at, value),)
    at = list(at)
    if np.ndim(value) == 0 or len(at) != len(value):
        wanted = "one dict" if np.ndim(value) == 0 else f"{len(value)} dicts, one a value,"
        raise ValueError(f"at must hold {wanted} got a list of {len(at)}")
    return tuple(point(names, entry) for names, entry in zip(at, value, strict=True))


def point(names, value):
    """Return one point: the bound names and the value, as JSON types."""
    if not isinstance(names, dict):
        raise TypeError(f"at must be a dict or a list of dicts, got {type(names).__name__}")
    sizes = [np.size(what) for what in names.values() if not isinstance(what, dict)]
    if sum(sizes) + np.size(value) > MOST_NUMBERS:
        raise ValueError(f"at: a point holds more than {MOST_NUMBERS} numbers; take a smaller case")
    bound = {}
    for name, what in names.items():
        if not isinstance(name, str) or not name.strip() or "\\" in name:
            raise ValueError(f"at: write names as LaTeX without backslashes, got {name!r}")
        bound[name] = _function(name, what) if isinstance(what, dict) else _plain(name, what)
    return {"bind": bound, "value": _plain("value", value)}


def rounded(number):
    """Return an int as it is, another number with 12 digits, a complex one marked as such."""
    if isinstance(number, (int, np.integer)):
        return int(number)
    real, imaginary = (float(f"{part:.{DIGITS}g}") for part in (number.real, number.imag))
    if not np.isfinite([real, imaginary]).all():
        raise ValueError(f"at: numbers must be finite, got {number}")
    # An imaginary part that is rounding would differ on another machine.
    if abs(imaginary) <= 10.0**-DIGITS * abs(real):
        return real
    return {"re": real, "im": imaginary}


def _plain(name, values):
    array = np.asarray(values)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"at: {name} must hold numbers, got {array.dtype}; call float() on them")
    if array.ndim == 0:
        return rounded(array[()] if array.dtype.kind != "b" else int(array))
    return [_plain(name, entry) for entry in array]


def _function(name, what):
    if set(what) != {"args", "expr"} or not all(map(str.isidentifier, what["args"])):
        raise ValueError(f"at: {name} must be a number, an array or {{'args': ..., 'expr': ...}}")
    try:
        ast.parse(what["expr"], mode="eval")
    except SyntaxError as error:
        raise ValueError(f"at: {name}: {what['expr']!r} is no expression") from error
    return {"args": list(what["args"]), "expr": what["expr"]}
