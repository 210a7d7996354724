"""Serve MathJax from the site itself, so that no page asks another host for anything."""

import shutil
from pathlib import Path

from sphinx.errors import ExtensionError

PARTS = ("tex-chtml.js", "output/chtml", "input/tex")


def find_wheel():
    """Return the folder of MathJax files that the wheel sphinx-mathjax-offline installs."""
    import sphinx

    # The wheel's folder has hyphens in its name, so it cannot be imported.
    folder = Path(sphinx.__file__).parents[1] / "sphinx-mathjax-offline" / "static" / "mathjax"
    if not (folder / PARTS[0]).is_file():
        raise ExtensionError("MathJax is missing: pip install sphinx-mathjax-offline")
    return folder


def configure(app, config):
    """Point the pages at the local copy."""
    config.mathjax_path = "mathjax/tex-chtml.js"
    config.mathjax_options = {"defer": "defer"}


def copy(app, error):
    """Copy the files after the build; files under html_static_path would be loaded at once."""
    if error is not None or app.builder.format != "html":
        return
    source, target = find_wheel(), Path(app.outdir) / "_static" / "mathjax"
    for part in PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / part, target / part)


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("config-inited", configure, priority=900)
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
