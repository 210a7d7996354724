"""A status may become weaker only with a reason in the changelog."""

import re

from book._tools.coverage_page import LOOK, look_of
from lindiff._report import NUMBER

_ORDER = tuple(LOOK)
_ROW = re.compile(
    rf"^\| \[\(({NUMBER})\)\]\(#eq-{NUMBER}\) \|.*?\| \w+ \| ({'|'.join(_ORDER)}) \|", re.M
)
_UNRELEASED = re.compile(r"^## Unreleased$(.*?)(?=^## |\Z)", re.M | re.S)


def stored_status(page):
    """Return {tag: status} of a coverage page."""
    table = page.partition("\n## Equations\n")[2].partition("\n## ")[0]
    return dict(_ROW.findall(table))


def problems(page, equations, changelog):
    """Name each equation that lost its status, or is gone, without a word in the changelog.

    Parameters
    ----------
    page : str
        The coverage page as it stands; empty if there is none yet.
    equations : list of Equation
        The equations as the chapters have them now.
    changelog : str
        A reason is any line under *Unreleased* with the number of the equation in brackets.
    """
    unreleased = _UNRELEASED.search(changelog)
    reasons = unreleased[1] if unreleased else ""
    new = {equation.tag: look_of(equation) for equation in equations}
    found = []
    for tag, old in stored_status(page).items():
        if tag not in new:
            change = f"was {old} and is gone"
        elif _ORDER.index(new[tag]) > _ORDER.index(old):
            change = f"was {old} and is now {new[tag]}"
        else:
            continue
        if f"({tag})" not in reasons:
            found.append(f"({tag}) {change}: name it with the reason in CHANGELOG.md, Unreleased")
    return found
