r"""Turn every ``\tag{2.7}`` into a link target ``#eq-2.7`` of the whole book.

Plain Markdown then serves all readers: Colab and GitHub show the number, the HTML book
links it, and a reference to a missing number is a warning, so it fails the build.
"""

import re

from docutils import nodes
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
TAG = re.compile(r"\\tag\{([^}]+)\}")
IMPLEMENTS = re.compile(r"(Implements eq\. )(\(.+?\))\.?$")
OWNERS = "equation_tags"


def register(app, doctree):
    """Give each tagged equation of a page an anchor and make it known to all pages."""
    domain = app.env.get_domain("std")
    owners = app.env.__dict__.setdefault(OWNERS, {})
    for block in list(doctree.findall(nodes.math_block)):
        tags = TAG.findall(block.astext())
        if not tags:
            continue
        _typeset_whole(block)
        for tag in tags:
            target, page = f"eq-{tag}", app.env.docname
            if owners.get(tag, page) != page or target in doctree.get("tagged", ()):
                LOGGER.warning("equation (%s) is tagged twice", tag, location=block)
            doctree["tagged"] = [*doctree.get("tagged", ()), target]
            owners[tag] = page
            # References are looked up in lower case; an appendix has a capital in its tags.
            for name in {target, target.lower()}:
                domain.anonlabels[name] = page, target
                domain.labels[name] = page, target, f"({tag})"
            anchor = nodes.target("", "", ids=[target], classes=["equation-anchor"])
            block.parent.insert(block.parent.index(block), anchor)


def _typeset_whole(block):
    # Sphinx wraps rows in `split`, where MathJax refuses \tag: hand it a finished equation.
    body = block.astext().strip()
    if not body.startswith((r"\begin{align}", r"\begin{equation}")):
        body = "\\begin{equation}\n" + body + "\n\\end{equation}"
    block["nowrap"] = True
    block.children = [nodes.Text(body)]
    block.rawsource = body


def forget(app, env, docname):
    """Drop the tags of a page that is read again."""
    owners = env.__dict__.setdefault(OWNERS, {})
    for tag in [tag for tag, page in owners.items() if page == docname]:
        del owners[tag]


def link_docstrings(app, what, name, obj, options, lines):
    """Link the machine line 'Implements eq. (2.7).' of a docstring to its equation."""
    for index, line in enumerate(lines):
        match = IMPLEMENTS.match(line.strip())
        if match:
            links = re.sub(r"\(((?:\d+|[A-Z])\.\d+)\)", r":ref:`(\1) <eq-\1>`", match[2])
            lines[index] = f"*{match[1].strip()}* {links}"


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("doctree-read", register)
    app.connect("env-purge-doc", forget)
    app.connect("autodoc-process-docstring", link_docstrings)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
