"""Draw the dependencies of the equations as a static SVG."""

from html import escape

from book._tools.coverage_page import LOOK, look_of

NODE_WIDTH, NODE_HEIGHT = 54, 24
STEP_X, STEP_Y = 70, 62
PER_ROW = 9
LEFT, TOP, GAP = 104, 16, 18
HEAT = 1.7


def render_graph(equations):
    """Return the SVG: one band for each chapter, parents above their children."""
    places, bands, height = _layout(equations)
    width = LEFT + PER_ROW * STEP_X + 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-family="sans-serif" font-size="12">',
        "<title>Dependencies of the numbered equations</title>",
        f"<desc>{escape(_description(equations))}</desc>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
        'markerHeight="6" orient="auto"><path d="M0 0 8 4 0 8z" fill="#595959"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#FFFFFF"/>',
    ]
    for chapter, (top, bottom) in bands.items():
        lines.append(
            f'<rect x="6" y="{top}" width="{width - 12}" height="{bottom - top}" rx="6" '
            'fill="#F4F4F4"/>'
        )
        lines.append(f'<text x="16" y="{top + 22}" fill="#333333">{_band_name(chapter)}</text>')
    for equation in equations:
        for parent in equation.record.uses:
            lines.append(_arrow(places[parent], places[equation.tag]))
    lines += [_node(equation, *places[equation.tag]) for equation in equations]
    return "\n".join([*lines, "</svg>", ""])


def _layout(equations):
    chapters = {}
    for equation in equations:
        chapters.setdefault(equation.tag.split(".")[0], []).append(equation)
    places, bands, y, heat = {}, {}, TOP, [0.0] * PER_ROW
    for chapter, members in chapters.items():
        top = y
        y += 18
        for row in _rows(members, places):
            for column, equation in zip(_columns(row, places, heat), row, strict=True):
                x = LEFT + column * STEP_X + NODE_WIDTH / 2
                places[equation.tag] = (x, y + NODE_HEIGHT / 2)
            y += STEP_Y
        y += NODE_HEIGHT + 14 - STEP_Y
        bands[chapter] = (top, y)
        y += GAP
    return places, bands, max(y, TOP + 40)


def _rows(members, places):
    own = {equation.tag for equation in members}
    uses = {e.tag: [tag for tag in e.record.uses if tag in own] for e in members}
    depth = {}

    def level(tag):
        if tag not in depth:
            depth[tag] = 1 + max((level(parent) for parent in uses[tag]), default=-1)
        return depth[tag]

    layers = {}
    for equation in members:
        layers.setdefault(level(equation.tag), []).append(equation)
    for _, layer in sorted(layers.items()):
        layer.sort(key=lambda e: _centre(e, places))
        parts = -(-len(layer) // PER_ROW)
        size = -(-len(layer) // parts)
        # The caller fills `places` before it asks for the next row.
        for start in range(0, len(layer), size):
            yield layer[start : start + size]


def _columns(row, places, heat):
    # Near the parents, but not below a recent node: an arrow would pass behind it.
    free, chosen = list(range(PER_ROW)), []
    for equation in row:
        want = (_centre(equation, places) - LEFT - NODE_WIDTH / 2) / STEP_X
        best = min(free, key=lambda c: (round(abs(c - want) + HEAT * heat[c], 6), c))
        free.remove(best)
        chosen.append(best)
    for column in range(PER_ROW):
        heat[column] = 0.6 * heat[column] + (column in chosen)
    return chosen


def _centre(equation, places):
    known = [places[tag][0] for tag in equation.record.uses if tag in places]
    return sum(known) / len(known) if known else LEFT + (PER_ROW - 1) * STEP_X / 2 + NODE_WIDTH / 2


def _arrow(start, end):
    x0, y0 = start[0], start[1] + NODE_HEIGHT / 2
    x1, y1 = end[0], end[1] - NODE_HEIGHT / 2
    bend = max(20, (y1 - y0) / 2)
    path = f"M{x0:.1f} {y0:.1f}C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {y1 - bend:.1f} {x1:.1f} {y1:.1f}"
    return f'<path d="{path}" fill="none" stroke="#7F7F7F" marker-end="url(#tip)"/>'


def _node(equation, x, y):
    look = look_of(equation)
    back, front, sign = LOOK[look]
    return (
        f"<g><title>{escape(f'({equation.tag}) {equation.section}: {look}')}</title>"
        f'<rect x="{x - NODE_WIDTH / 2:.1f}" y="{y - NODE_HEIGHT / 2:.1f}" width="{NODE_WIDTH}" '
        f'height="{NODE_HEIGHT}" rx="4" fill="{back}" stroke="#595959"/>'
        f'<text x="{x:.1f}" y="{y + 4:.1f}" fill="{front}" text-anchor="middle">'
        f"{equation.tag} {sign}</text></g>"
    )


def _band_name(chapter):
    return f"Chapter {chapter}" if chapter.isdigit() else f"Appendix {chapter}"


def _description(equations):
    used = [
        f"({equation.tag}) uses " + ", ".join(f"({tag})" for tag in equation.record.uses)
        for equation in equations
        if equation.record.uses
    ]
    return "; ".join(used) or "No equation uses another one."
