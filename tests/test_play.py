"""Cells that readers change: try-it cells with other values, story cells with other numbers."""

import ast
import contextlib
import io
import re
import warnings

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from book._tools import notebooks

PARAMETER = re.compile(r"^(\w+) = (\S+)(\s*\n?\s*# @param (.+))$", re.M)
CHAPTERS = [path for path in notebooks.chapters() if notebooks.in_form(notebooks.read(path))]
LABELS = [notebooks.label(path) for path in CHAPTERS]
PIXELS = 784


def parameters(code):
    """Return the parameters of a try-it cell: name, value and what the form may set."""
    return {match[1]: (ast.literal_eval(match[2]), match[4]) for match in PARAMETER.finditer(code)}


def others(value, form):
    """Three other values that the form of a parameter invites."""
    if form.startswith("["):
        choices = [choice for choice in ast.literal_eval(form) if choice != value]
        return [choices[k % len(choices)] for k in range(3)]
    if isinstance(value, bool):
        return [not value] * 3
    if "slider" in form:
        low, high = (float(re.search(rf"{end}: (-?[\d.]+)", form)[1]) for end in ("min", "max"))
        return [low, high, (low + 3 * high) / 4]
    if isinstance(value, int):
        return [max(1, value // 2), 2 * value + 1, value + 1]
    return [value / 2, 2 * value, 1.1 * value]


def replaced(code, values):
    """Return a try-it cell with other values of its parameters."""

    def line(match):
        return f"{match[1]} = {values.get(match[1], ast.literal_eval(match[2]))!r}{match[3]}"

    return PARAMETER.sub(line, code)


class Changed(ast.NodeTransformer):
    """Another seed in each generator, and three fifths of every size from 100 on."""

    def visit_Call(self, node):
        """Move the seed of a generator."""
        if isinstance(node.func, ast.Attribute) and node.func.attr == "default_rng" and node.args:
            node.args = [ast.BinOp(node.args[0], ast.Add(), ast.Constant(1000))]
            return node
        return self.generic_visit(node)

    def visit_Subscript(self, node):
        """Leave an index: it names something that is there."""
        if not isinstance(node.slice, ast.Slice):
            node.value = self.visit(node.value)
            return node
        return self.generic_visit(node)

    def visit_Constant(self, node):
        """Make a size smaller."""
        if type(node.value) is int and node.value >= 100 and node.value != PIXELS:
            return ast.Constant(node.value * 3 // 5)
        return node


def changed(code):
    """Return a story cell with other seeds and sizes."""
    return ast.unparse(ast.fix_missing_locations(Changed().visit(ast.parse(code))))


def run(code, space):
    """Run a cell as a reader would, warnings as errors; return what it prints."""
    text = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(text):
        warnings.simplefilter("error", RuntimeWarning)
        exec(compile(code, "<cell>", "exec"), space)
    plt.close("all")
    return text.getvalue()


def cells(path, *kinds):
    """Return name, kind and code of the cells of some kinds."""
    return [
        (cell["id"], notebooks.kind(cell), notebooks.source(cell))
        for cell in notebooks.code_cells(notebooks.read(path))
        if notebooks.kind(cell) in kinds
    ]


@pytest.fixture(autouse=True)
def quiet():
    """Draw nowhere."""
    matplotlib.use("Agg", force=True)


@pytest.fixture(scope="module", params=CHAPTERS, ids=LABELS)
def chapter(request):
    """One chapter."""
    return request.param


def play(code, space):
    """Try three sets of values, and each parameter alone; return what went wrong."""
    usual = run(code, dict(space))
    choices = {key: others(*pair) for key, pair in parameters(code).items()}
    sets = [{key: three[k] for key, three in choices.items()} for k in range(3)]
    alone = [{key: three[1]} for key, three in choices.items()] if len(choices) > 1 else []
    wrong = []
    for values in sets + alone:
        try:
            fresh = run(replaced(code, values), dict(space))
        except Exception as problem:
            wrong.append((values, repr(problem)))
            continue
        if re.search(r"\bnan\b", fresh) or fresh.strip() == usual.strip():
            wrong.append((values, fresh))
    return wrong


def test_other_values_run_and_each_parameter_counts(chapter):
    """Three sets of values, and each parameter alone, give other numbers and no complaint."""
    tries = cells(chapter, "try")
    if not tries:
        pytest.skip("no try-it cells")
    space = {}
    for _, _, code in cells(chapter, "setup"):
        run(code, space)
    wrong = {name: play(code, space) for name, _, code in tries}
    assert not any(wrong.values()), wrong


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("size = 4  # @param {type: 'integer'}\nprint(1)", "1"),
        ("size = 4  # @param {type: 'integer'}\nprint([0, 1, 2, 3, 4][size])", "IndexError"),
        ("size = 0.5  # @param {type: 'number'}\nprint(np.log(size - 0.3))", "RuntimeWarning"),
        ("size = 4  # @param {type: 'integer'}\nprint(size - size * np.inf)", ""),
        ("a = 1  # @param {type: 'integer'}\nb = 'u'  # @param ['u', 'v']\nprint(a)", "1"),
    ],
)
def test_a_cell_that_does_not_survive_is_found(code, complaint):
    """A value that stops the cell, warns, gives nan or changes nothing."""
    assert any(complaint in text for _, text in play(code, {"np": np}))


def test_a_good_cell_passes_and_its_parameters_are_read():
    """Numbers, sliders, choices and switches."""
    code = (
        "n = 4  # @param {type: 'integer'}\nx = 0.5  # @param {type: 'slider', min: 0, max: 1}\n"
        "law = 'a'\n    # @param ['a', 'b']\nflag = False  # @param {type: 'boolean'}\n"
        "print(n, x, law, flag)"
    )
    assert list(parameters(code)) == ["n", "x", "law", "flag"]
    assert play(code, {}) == []
    assert run(replaced(code, {"law": "b", "n": 7}), {}) == "7 0.5 b False\n"


def test_a_story_is_changed_in_seeds_and_sizes_only():
    """Indices, pixels and small numbers stay."""
    code = "x = np.random.default_rng(3).standard_normal((200, 784))[50:150] * 5 + y[100]"
    new = "x = np.random.default_rng(3 + 1000).standard_normal((120, 784))[50:90] * 5 + y[100]"
    assert changed(code) == new


def test_story_runs_with_other_seeds_and_sizes(chapter):
    """A reader's change in a story cell stops neither it nor what follows."""
    space, altered = {}, 0
    for name, kind, code in cells(chapter, "setup", "story", "figure", "try"):
        fresh = changed(code) if kind == "story" else code
        altered += kind == "story" and fresh != ast.unparse(ast.parse(code))
        try:
            run(fresh, space)
        except Exception as problem:
            raise AssertionError(f"{name} after a change of the story: {problem!r}") from problem
    assert altered or not cells(chapter, "story")
