"""Show code without Colab's form comments: the site has labels of its own and no sliders."""

import re

from docutils import nodes

FORM = re.compile(r"\A# @title.*\n+|[ \t]*# @param\b.*$", re.M)


def plain(app, doctree):
    """Drop the comments from the code cells of a page."""
    for block in doctree.findall(nodes.literal_block):
        text = FORM.sub("", block.astext())
        if text != block.astext():
            block.rawsource, block.children = text, [nodes.Text(text)]


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("doctree-read", plain)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
