"""Show the caption of a figure once, and with the one number that the text gives it.

Colab and GitHub show no caption, so chapters repeat it as an italic line; the HTML book drops
the line where the figure has the same words. The number "Figure 3.1" stands in the caption, so
Sphinx must not count as well.
"""

from docutils import nodes


def _words(node):
    return " ".join(node.astext().split())


def drop_repeated(app, doctree):
    """Remove each paragraph that repeats the caption of the figure before it."""
    for cell in list(doctree.findall(nodes.container)):
        captions = [_words(caption) for caption in cell.findall(nodes.caption)]
        if not captions or "cell" not in cell["classes"]:
            continue
        place = cell.parent.index(cell) + 1
        following = cell.parent.children[place : place + 1]
        if following and isinstance(following[0], nodes.paragraph):
            line = following[0]
            italic = len(line) == 1 and isinstance(line[0], nodes.emphasis)
            if italic and _words(line) in captions:
                cell.parent.remove(line)


def leave_numbers(app, config):
    """Switch off Sphinx's own numbers; Jupyter Book's LaTeX extension switches them on."""
    config.numfig = False


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("config-inited", leave_numbers, priority=900)
    app.connect("doctree-read", drop_repeated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
