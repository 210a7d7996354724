"""Leave out what pages load and never use: thebe, and Font Awesome's script."""

import re
from pathlib import Path

FONT_SCRIPT = re.compile(r'\s*<script src="[^"]*fontawesome[^"]*\.js[^"]*"></script>')
FONT_PRELOAD = re.compile(r'\s*<link rel="preload" as="font"[^>]*>')


def drop(app, pagename, templatename, context, doctree):
    """Drop thebe from the files of a page; its extension has no switch."""
    for kind in ("script_files", "css_files"):
        context[kind] = [asset for asset in context.get(kind, ()) if not _is_thebe(asset)]


def _is_thebe(asset):
    return "thebe" in f"{getattr(asset, 'filename', asset)} {getattr(asset, 'attributes', '')}"


def rewrite(app, error):
    """Drop the script that the theme's template hard-codes; the icons come from the font."""
    if error is not None or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        lean = FONT_PRELOAD.sub("", FONT_SCRIPT.sub("", text))
        if lean != text:
            page.write_text(lean, encoding="utf-8")
    for script in Path(app.outdir, "_static", "vendor").glob("fontawesome/*/js/*"):
        script.unlink()


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("html-page-context", drop, priority=900)
    app.connect("build-finished", rewrite)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
