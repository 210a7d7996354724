"""Look at a page as a phone shows it: nothing cut off for good, each picture in its own shape."""

import json
import re
from html import unescape
from pathlib import Path

PREFIX = "/phone-view/"
WIDTH = 390
# Chromium's own window cannot be this narrow, so the page stands in a frame.
_FRAME = (Path(__file__).parent / "phone.html").read_text(encoding="utf-8")
_REPORT = re.compile(r'data-report="([^"]*)"')


def frame(path):
    """Return the page that holds the page at `path` in a frame of a phone's width."""
    return _FRAME.replace("PAGE", path).replace("WIDTH", str(WIDTH))


def problems(name, shown):
    """Report what the frame's script found in the page `name`."""
    report = _REPORT.search(shown)
    if report is None:
        yield f"{name}: the phone view did not finish"
        return
    found = json.loads(unescape(report[1]))
    for formula in found["cut"]:
        yield f"{name}: on a phone the start of a formula cannot be reached: {formula}"
    for picture in found["squeezed"]:
        yield f"{name}: on a phone a picture is squeezed: {picture}"
    for picture in found["narrow"]:
        yield f"{name}: on a phone a figure does not fill the column: {picture}"
    if found["overflow"] > 0:
        places = ", ".join(repr(text) for text in found["wide"])
        yield f"{name}: on a phone the page is {found['overflow']} px too wide, at {places}"
