"""The one-line format shared by the checks of a chapter and the coverage page."""

import re
from dataclasses import dataclass, replace

SEPARATOR = " · "
CHECKED = ("symbolic", "numeric", "asymptotic", "simulation", "empirical")
DECLARED = ("definition", "cited", "heuristic", "open")
KINDS = CHECKED + DECLARED
BASES = ("heuristic", "cited")
TAG = re.compile(r"(?:\d+|[A-Z])\.\d+")
PAPER_ID = re.compile(r"(?:MG|H|L|X)[-:.A-Za-z0-9]+")
_BASED = ("numeric", "asymptotic", "simulation")
_HEAD = re.compile(
    rf"\(({TAG.pattern})\) (?:({'|'.join(_BASED)}), ({'|'.join(BASES)})|({'|'.join(KINDS)}))"
)


class CheckError(AssertionError):
    """A formula disagrees with what it was compared with."""


class ControlError(AssertionError):
    """A check would also have accepted a formula that is known to be wrong."""


@dataclass(frozen=True)
class Line:
    """One status line: the equation, how it was checked, and what it rests on."""

    tag: str
    kind: str
    details: tuple = ()
    uses: tuple = ()
    covers: tuple = ()
    basis: str = ""

    def __str__(self):
        basis = f", {self.basis}" if self.basis else ""
        fields = [f"({self.tag}) {self.kind}{basis}", *self.details]
        if self.uses:
            fields.append("uses " + " ".join(f"({tag})" for tag in self.uses))
        if self.covers:
            fields.append("covers " + " ".join(self.covers))
        return SEPARATOR.join(fields)


def parse_line(text):
    """Return the `Line` printed as `text`, or None when `text` is something else.

    Examples
    --------
    >>> parse_line("(2.7) numeric · 3 values within 1e-10 · uses (2.1)").uses
    ('2.1',)
    >>> parse_line("a loss of (2.7)") is None
    True
    """
    head, *fields = text.strip().split(SEPARATOR)
    match = _HEAD.fullmatch(head)
    if match is None:
        return None
    covers = uses = ()
    if fields and fields[-1].startswith("covers "):
        covers = tuple(fields.pop().split()[1:])
    if fields and fields[-1].startswith("uses ("):
        uses = tuple(tag.strip("()") for tag in fields.pop().split()[1:])
    return Line(match[1], match[2] or match[4], tuple(fields), uses, covers, match[3] or "")


def new_line(tag, kind, uses, covers, basis=None):
    """Check the names an author gives and return a `Line` without details."""
    if not isinstance(tag, str) or not TAG.fullmatch(tag):
        raise ValueError(f"tag must look like '2.7' (chapter.index), got {tag!r}")
    uses = _names("uses", uses, TAG, "equation tags such as '2.1'")
    covers = _names("covers", covers, PAPER_ID, "paper entries such as 'H-1' or 'MG-D.16'")
    if tag in uses:
        raise ValueError(f"uses must not contain the equation ({tag}) itself")
    if basis is not None and basis not in BASES:
        raise ValueError(f"basis must be one of {', '.join(BASES)}, or None; got {basis!r}")
    return Line(tag, kind, (), uses, covers, basis or "")


def one_line(name, text):
    """Return `text` if it fits in one field of a line, else raise."""
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, got {type(text).__name__}")
    if not text.strip() or text != text.strip() or "\n" in text or "·" in text:
        raise ValueError(f"{name} must be one non-empty line without '·', got {text!r}")
    if text.startswith(("uses (", "covers ")):
        raise ValueError(f"{name} must not start with 'uses (' or 'covers ', got {text!r}")
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


def print_line(line, *details):
    """Print a line with its details filled in."""
    print(replace(line, details=details))


def count(number):
    """Return "1 value" or "12 values"."""
    return "1 value" if number == 1 else f"{number} values"


def control_text(noun, wrong):
    """Say whether the author's mistake or the default one was rejected."""
    return f"{'perturbed' if wrong is None else 'wrong'} {noun} rejected"
