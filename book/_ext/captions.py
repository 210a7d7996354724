"""Drop the italic line below a figure where the figure has the same words as its caption.

Colab and GitHub show no caption, so chapters repeat it as text; the HTML book needs it once.
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


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("doctree-read", drop_repeated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
