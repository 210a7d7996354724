"""Complete the badges of the checks: links to equations of any chapter, and to functions.

In a notebook a badge links ``#eq-2.1``, which leads nowhere from another page. The functions
that compute an equation stand in the docstrings of the package, so only the build knows them.
"""

import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
EQUATION = re.compile(r'href="#eq-([\w.]+)"')
BADGE = re.compile(r'(<details class="check[^"]*"><summary>[^<]*\((\w+\.\d+)\).*?)(</details>)')


def load(app):
    """Read the 'Implements eq.' lines once a build."""
    # Sphinx runs as a command of its own, which does not see the folder of the book.
    sys.path.append(str(app.confdir))
    from book._tools.coverage import read_package

    app.env.implemented = read_package(Path(app.confdir, "lindiff"))[0]


def resolve(app, doctree, docname):
    """Rewrite the HTML of the outputs of a page, after Sphinx has resolved its own references."""
    labels = app.env.get_domain("std").anonlabels
    objects = app.env.get_domain("py").objects

    def address(page, anchor):
        path = "" if page == docname else app.builder.get_relative_uri(docname, page)
        return f"{path}#{anchor}"

    def equation(match):
        target = f"eq-{match[1]}"
        if target not in labels:
            LOGGER.warning("an output links %s, which no page has", target, location=docname)
            return match[0]
        return f'href="{address(*labels[target][:2])}"'

    def functions(match):
        names = [name for name in app.env.implemented.get(match[2], ()) if name in objects]
        links = [
            f'<a href="{address(objects[name].docname, objects[name].node_id)}">'
            f"<code>{name.removeprefix('lindiff.')}</code></a>"
            for name in names
        ]
        return f"{match[1]}{' · computed by ' if links else ''}{', '.join(links)}{match[3]}"

    for raw in list(doctree.findall(nodes.raw)):
        if "html" in raw.get("format", "") and 'href="#eq-' in raw.astext():
            text = EQUATION.sub(equation, BADGE.sub(functions, raw.astext()))
            raw.children = [nodes.Text(text)]
            raw.rawsource = text


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("builder-inited", load)
    app.connect("doctree-resolved", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
