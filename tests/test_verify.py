import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import sympy
from sympy import Rational, Symbol, exp, oo, pi, sqrt

from lindiff import _report, _symbolic
from lindiff._report import MIME, Record
from lindiff.verify import (
    CheckError,
    ControlError,
    check_asymptotic,
    check_empirical,
    check_numeric,
    check_simulation,
    check_symbolic,
    declare,
)

x, y, s = sympy.symbols("x y s", positive=True)
z = Symbol("z", real=True)
n, k = sympy.symbols("n k", integer=True, positive=True)
a, b, c, d = sympy.symbols("a b c d")
A = sympy.Matrix([[a, b], [c, d]])


@pytest.fixture
def records(monkeypatch):
    """The records of the checks of a test, each after a way to JSON and back."""
    seen = []

    def show(record):
        seen.append(Record.from_json(json.loads(json.dumps(record.as_json(), allow_nan=False))))
        assert seen[-1].as_json() == record.as_json()

    monkeypatch.setattr(Record, "show", show)
    return seen


@pytest.fixture
def notebook(monkeypatch):
    """What a notebook would be asked to display."""
    IPython = pytest.importorskip("IPython")
    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda what, **options: shown.append(what))
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=None))
    return shown


TRUE_IDENTITIES = [
    ((x + y) ** 2, x**2 + 2 * x * y + y**2),
    (sympy.sin(z) ** 2 + sympy.cos(z) ** 2 - 1, 0),
    (sympy.Integral(exp(-(z**2) / (2 * s**2)), (z, -oo, oo)), sqrt(2 * pi) * s),
    (sympy.Derivative(sympy.log(1 + x * y), x), y / (1 + x * y)),
    (sympy.Sum(k**2, (k, 1, n)), n * (n + 1) * (2 * n + 1) / 6),
    (sympy.Sum(x**k / sympy.factorial(k), (k, 0, oo)), exp(x)),
    (A * A.inv(), sympy.eye(2)),
    ((A * A).T, A.T * A.T),
    (sqrt(2) * sqrt(3), sqrt(6)),
    ([x + x, y], [2 * x, y]),
    (sympy.log(x * y), sympy.log(x) + sympy.log(y)),
    (exp(-200 * x), exp(-100 * x) ** 2),
    (Symbol("h") ** 2, Symbol("h") ** 2),
    (exp(a + b), exp(a) * exp(b)),
    (sympy.conjugate(Symbol("f", imaginary=True)), -Symbol("f", imaginary=True)),
]

FALSE_AWAY_FROM_THE_REAL_LINE = {
    "conjugate": (sympy.conjugate, lambda v: v),
    "Abs": (lambda v: sympy.Abs(v) ** 2, lambda v: v**2),
    "log exp": (lambda v: sympy.log(exp(3 * v)), lambda v: 3 * v),
    "re": (sympy.re, lambda v: v),
    "im": (sympy.im, lambda v: 0),
    "root": (lambda v: sqrt(v**4), lambda v: v**2),
}

MISTAKES = [
    ((x + y) ** 2, x**2 + y**2),
    (sympy.Integral(exp(-(z**2) / (2 * s**2)), (z, -oo, oo)), sqrt(pi) * s),
    (sympy.Derivative(sympy.log(1 + x * y), x), 1 / (1 + x * y)),
    (sympy.Sum(k**2, (k, 1, n)), n * (n + 1) * (2 * n - 1) / 6),
    (A * A.inv(), sympy.Matrix([[1, 0], [0, -1]])),
    ((A * A.T), A.T * A),
    (sqrt(z**2), z),
    (x + y, x + y + Rational(1, 10**20)),
    (x * (1 + Rational(1, 10**25)), x),
    (sympy.sin(z) ** 2 + sympy.cos(z) ** 2 - 1, Rational(1, 10**28)),
    (exp(-200 * x), exp(-201 * x)),
    ((-1) ** n, 1),
    (Rational(1, 3), Rational(333333333, 10**9)),
]


@pytest.mark.parametrize(("lhs", "rhs"), TRUE_IDENTITIES)
def test_symbolic_accepts_the_truth(lhs, rhs, records):
    check_symbolic("2.7", lhs, rhs)
    assert records[0].kind == "symbolic"
    assert "simplified" in records[0].details[0]


@pytest.mark.parametrize(("lhs", "rhs"), MISTAKES)
def test_symbolic_rejects_mistakes(lhs, rhs):
    with pytest.raises(CheckError):
        check_symbolic("2.7", lhs, rhs)


@pytest.mark.parametrize("tag", ["9.1", "9.2", "9.3"])
@pytest.mark.parametrize("name", FALSE_AWAY_FROM_THE_REAL_LINE)
def test_an_undeclared_symbol_is_complex(name, tag):
    left, right = FALSE_AWAY_FROM_THE_REAL_LINE[name]
    real = Symbol("v", real=True)
    check_symbolic(tag, left(real), right(real))
    for free in (Symbol("v"), Symbol("v", complex=True), Symbol("v", commutative=True)):
        with pytest.raises(CheckError, match="fails at"):
            check_symbolic(tag, left(free), right(free))


@pytest.mark.parametrize(
    "assumption",
    [
        "real",
        "positive",
        "negative",
        "nonnegative",
        "nonpositive",
        "nonzero",
        "integer",
        "even",
        "prime",
        "rational",
    ],
)
def test_what_implies_real_is_real(assumption):
    symbol = Symbol("v", **{assumption: True})
    check_symbolic("9.1", sympy.conjugate(symbol), symbol)


@pytest.mark.parametrize("kind", [{"real": True}, {}])
def test_an_identity_of_one_quadrant_is_refused(kind):
    u, v = sympy.symbols("u v", **kind)
    refused = 0
    for index in range(1, 21):
        try:
            check_symbolic(f"9.{index}", sqrt(u * v), sqrt(u) * sqrt(v))
        except CheckError:
            refused += 1
    assert refused == 20


def test_what_holds_in_the_whole_plane_passes():
    check_symbolic("9.1", sympy.re(a), (a + sympy.conjugate(a)) / 2, wrong=a)
    check_symbolic("9.1", sympy.Abs(a) ** 2, a * sympy.conjugate(a), wrong=a**2)


@pytest.mark.parametrize("lhs", [sympy.Heaviside(a), sympy.Piecewise((a, a > 0), (-a, True))])
def test_an_order_needs_a_symbol_declared_real(lhs):
    with pytest.raises(CheckError, match="real=True"):
        check_symbolic("9.1", lhs, lhs)


def test_domain_needs_a_symbol_declared_real():
    with pytest.raises(ValueError, match="real=True"):
        check_symbolic("9.1", a + 1, 1 + a, domain={a: (0, 1)})


def test_symbolic_says_points_only_when_the_algebra_fails(records, monkeypatch):
    lhs, rhs = sympy.besselj(Rational(1, 2), x), sqrt(2 / (pi * x)) * sympy.sin(x)
    monkeypatch.setattr(_symbolic, "_is_zero", lambda entry: False)
    check_symbolic("2.7", lhs, rhs)
    check_symbolic("2.7", x + x, 2 * x, simplify=False)
    assert [r.details[0] for r in records] == ["5 points at 50 digits"] * 2


def test_a_formula_that_simplifies_but_fails_at_points_is_refused(monkeypatch):
    monkeypatch.setattr(_symbolic, "_is_zero", lambda entry: True)
    with pytest.raises(CheckError, match="fails at"):
        check_symbolic("2.7", x, x + 1)


def test_symbolic_record_in_full(records):
    check_symbolic("2.7", x * y, y * x, wrong=x + y, uses=("2.1", "2.3"), covers=("H-1", "MG-1"))
    found = records[0].as_json()
    for place in found.pop("points"):
        assert set(place["bind"]) == {"x", "y"}
        assert place["value"] == pytest.approx(place["bind"]["x"] * place["bind"]["y"], rel=1e-11)
    assert found == {
        "version": 1,
        "tag": "2.7",
        "kind": "symbolic",
        "basis": None,
        "details": ["simplified, 5 points at 50 digits", "wrong form rejected"],
        "uses": ["2.1", "2.3"],
        "covers": ["H-1", "MG-1"],
    }


@pytest.mark.parametrize("wrong", [y * x, (x + y) ** 2 - x**2 - x * y - y**2])
def test_symbolic_control(wrong):
    with pytest.raises(ControlError, match="the wrong form"):
        check_symbolic("2.7", x * y, x * y, wrong=wrong)


def test_symbolic_control_fires_when_the_comparison_is_blind(monkeypatch):
    monkeypatch.setattr(_symbolic, "agree", lambda *args: True)
    with pytest.raises(ControlError):
        check_symbolic("2.7", x, x)


def test_points_respect_domain_assumptions_and_tag():
    even = Symbol("e", even=True)
    drawn = _symbolic.points("2.7", {x, even, n, z}, {z: (5, 6)})
    assert len(drawn) == 20
    assert len(_symbolic.points("2.7", {x, n}, {})) == 5
    for point in drawn:
        assert point[x] > 0
        assert point[even] % 2 == 0
        assert point[n] >= 1 and point[n].is_integer
        assert 5 < point[z] < 6
    assert drawn == _symbolic.points("2.7", {x, even, n, z}, {z: (5, 6)})
    assert drawn != _symbolic.points("2.8", {x, even, n, z}, {z: (5, 6)})


def test_domain_decides_whether_an_identity_holds():
    check_symbolic("2.7", sqrt(z**2), z, domain={z: (1, 2)}, simplify=False)
    with pytest.raises(CheckError):
        check_symbolic("2.7", sqrt(z**2), z, domain={z: (-2, -1)})


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"domain": {z: (2, 1)}}, ValueError),
        ({"domain": {z: (0, oo)}}, ValueError),
        ({"domain": {"z": (0, 1)}}, TypeError),
        ({"domain": {Symbol("z"): (0, 1)}}, ValueError),
        ({"wrong": sympy.eye(2)}, ValueError),
        ({"rhs": sympy.eye(2)}, ValueError),
        ({"rhs": sympy.MatrixSymbol("M", 2, 2)}, TypeError),
        ({"rhs": sympy.Eq(z, 1)}, TypeError),
        ({"rhs": sympy.nan}, ValueError),
        ({"rhs": sympy.Function("f")(z)}, CheckError),
        ({"lhs": 1 / sympy.Heaviside(z - 9)}, CheckError),
    ],
)
def test_symbolic_bad_input(change, error):
    arguments = {"lhs": z + 1, "rhs": 1 + z} | change
    with pytest.raises(error):
        check_symbolic("2.7", arguments.pop("lhs"), arguments.pop("rhs"), **arguments)


def test_slow_algebra_is_an_error_not_a_weaker_line(monkeypatch):
    monkeypatch.setattr(_symbolic, "_MAX_SECONDS", 0.05)

    def endless(entry):
        while True:
            pass

    monkeypatch.setattr(_symbolic, "_is_zero", endless)
    with pytest.raises(CheckError, match="simplify=False"):
        check_symbolic("2.7", x, x)


def test_a_badge_is_one_bundle_in_a_notebook_and_a_line_elsewhere(notebook, capsys, monkeypatch):
    check_numeric("2.8", 4.0, 4.0, uses=("2.1", "1.3"), covers=("H-1",), at={"rho": 4})
    (bundle,) = notebook
    assert list(bundle) == ["text/plain", "text/html", MIME]
    assert bundle["text/plain"] == "✓ (2.8) numeric"
    assert bundle["text/html"] == (
        '<details class="check"><summary>✓ (2.8) numeric</summary>equation '
        '<a href="#eq-2.8">(2.8)</a>: numeric · 1 value within 1e-10 · perturbed value rejected'
        ' · uses <a href="#eq-2.1">(2.1)</a> <a href="#eq-1.3">(1.3)</a> · covers H-1</details>'
    )
    assert bundle[MIME]["points"] == [{"bind": {"rho": 4}, "value": 4.0}]
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    assert check_numeric("2.8", 4.0, 4.0) is None
    assert capsys.readouterr().out == "✓ (2.8) numeric\n"
    assert len(notebook) == 1


def test_what_a_claim_says_is_no_html(notebook):
    declare("A.1", "open", note="a < b & c")
    assert 'class="check declared"><summary>(A.1) open<' in notebook[0]["text/html"]
    assert "open · a &lt; b &amp; c</details>" in notebook[0]["text/html"]


def test_equation_is_displayed_only_inside_ipython(notebook, monkeypatch):
    check_symbolic("2.7", x * y + 1, 1 + y * x)
    check_symbolic("2.7", x, x, show=False)
    equation = sympy.Eq(x * y + 1, x * y + 1, evaluate=False)
    assert [what for what in notebook if not isinstance(what, dict)] == [equation]
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    check_symbolic("2.7", x + x, 2 * x)
    assert len(notebook) == 3


def test_numeric_accepts_the_truth(records):
    matrix = np.random.default_rng(0).normal(size=(3, 4))
    check_numeric("2.8", matrix, matrix * (1 + 1e-12))
    assert records[0].details == ("12 values within 1e-10", "perturbed value rejected")
    assert records[0].points == ()
    check_numeric("2.8", 2.0, 2)
    check_numeric("2.8", [1e-13, 0], np.zeros(2), atol=1e-12)
    check_numeric("2.8", [1j, 2], [1j, 2.0])
    check_numeric("2.8", [1.0, 2.0], [1.0, 2.0], wrong=[2.0, 1.0])


@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [
        ([1.0, 2.0], [2.0, 1.0]),
        ([1.0, 2.0], [1.0, 2.0 + 1e-9]),
        ([1.0, 2.0], [-1.0, -2.0]),
        ([1e-5, 1.0], [1.1e-5, 1.0]),
        ([1.0, np.nan], [1.0, np.nan]),
        ([1.0, np.inf], [1.0, np.inf]),
        ([1j], [-1j]),
    ],
)
def test_numeric_rejects_mistakes(lhs, rhs):
    with pytest.raises(CheckError):
        check_numeric("2.8", lhs, rhs)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"rhs": [[1.0, 2.0]]}, ValueError),
        ({"rhs": 1.0}, ValueError),
        ({"lhs": [], "rhs": []}, ValueError),
        ({"lhs": [0.0, 0.0], "rhs": [0.0, 0.0]}, ValueError),
        ({"rtol": -1}, ValueError),
        ({"rtol": np.nan}, ValueError),
        ({"wrong": [1.0]}, ValueError),
        ({"rhs": ["1", "2"]}, TypeError),
        ({"rhs": [sympy.Integer(1), sympy.Integer(2)]}, TypeError),
        ({"wrong": [1.0, 2.0]}, ControlError),
        ({"atol": 1.0}, ControlError),
    ],
)
def test_numeric_bad_input(change, error):
    arguments = {"lhs": [1.0, 2.0], "rhs": [1.0, 2.0]} | change
    with pytest.raises(error):
        check_numeric("2.8", arguments.pop("lhs"), arguments.pop("rhs"), **arguments)


SIZES = np.array([50.0, 100.0, 200.0, 400.0])


@pytest.mark.parametrize("limit", [0.0, 1.0, -3.0, np.sqrt(SIZES)])
@pytest.mark.parametrize("rate", [-0.5, -1, -2])
def test_asymptotic_accepts_the_truth(limit, rate):
    check_asymptotic("3.9", SIZES, limit + 2.0 * SIZES**rate, limit, rate=rate)


def test_asymptotic_small_parameter(records):
    eps = np.array([0.01, 0.02, 0.04])
    check_asymptotic("3.9", eps, np.cos(eps), 1.0, rate=2, tolerance=0.05)
    fitted = "3 sizes, rate 2 ± 0.05, fitted 2.00"
    assert records[0].details == (fitted, "wrong limit rejected")


@pytest.mark.parametrize(
    ("values", "limit", "rate"),
    [
        (1 + 1 / SIZES, 1.0, -2),
        (1 + 1 / SIZES, 1.0, 1),
        (1 + 1 / SIZES, 1.01, -1),
        (1 + 1 / np.sqrt(SIZES), 1.0, -1),
        (np.ones(4), 1.0, -1),
        (np.ones(4), 2.0, -1),
    ],
)
def test_asymptotic_rejects_mistakes(values, limit, rate):
    with pytest.raises(CheckError):
        check_asymptotic("3.9", SIZES, values, limit, rate=rate)


def test_asymptotic_control():
    # So far from the limit that 5 % more on it leaves the slope within the tolerance.
    with pytest.raises(ControlError):
        check_asymptotic("3.9", SIZES, 1 + 1e4 / SIZES, 1.0, rate=-1)
    with pytest.raises(ControlError):
        check_asymptotic("3.9", SIZES, 1 + 1 / SIZES, 1.0, rate=-1, wrong=1.0)


def test_asymptotic_tests_every_column(records):
    columns = np.array([2.0, 3.0]) + np.array([1.0, -5.0]) / SIZES[:, None]
    check_asymptotic("3.9", SIZES, columns, [2.0, 3.0], rate=-1)
    assert records[0].details[0] == "4 sizes, 2 values, rate -1 ± 0.1, fitted -1.00"
    check_asymptotic("3.9", SIZES, np.array([1.0, 0.0]) + 1 / SIZES[:, None], [1.0, 0.0], rate=-1)
    # Errors that cancel in the sum of the columns do not hide.
    shifted = columns + np.array([0.1, -0.1])
    check_asymptotic("3.9", SIZES, shifted.sum(axis=1), 5.0, rate=-1)
    with pytest.raises(CheckError):
        check_asymptotic("3.9", SIZES, shifted, [2.0, 3.0], rate=-1)
    for wrong in ([2.1, 3.0], [2.0, 3.1]):
        with pytest.raises(CheckError):
            check_asymptotic("3.9", SIZES, columns, wrong, rate=-1)
        with pytest.raises(ControlError):
            check_asymptotic("3.9", SIZES, columns, [2.0, 3.0], rate=-1, wrong=wrong)
    with pytest.raises(ValueError, match="limit"):
        check_asymptotic("3.9", SIZES, columns, [1.0, 2.0, 3.0], rate=-1)


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": [10, 20]},
        {"sizes": [10, 20, 30]},
        {"sizes": [0, 20, 30]},
        {"sizes": [10, 10, 40]},
        {"values": [1.1, 1.05]},
        {"limit": [1.0, 1.0]},
        {"rate": 0},
        {"rate": np.nan},
        {"tolerance": 0},
        {"tolerance": 1.0},
    ],
)
def test_asymptotic_bad_input(change):
    arguments = {"sizes": [10, 20, 40], "values": [1.1, 1.05, 1.025], "limit": 1.0, "rate": -1}
    arguments |= change
    with pytest.raises(ValueError):
        check_asymptotic("3.9", **arguments)


def test_simulation_accepts_the_truth_and_rejects_mistakes():
    draws = np.random.default_rng(1).normal([1.0, 2.0], 1.0, size=(2000, 2))
    check_simulation("2.9", draws, [1.0, 2.0])
    check_simulation("2.9", draws[:, 0], 1.0)
    for theory in ([1.0, 2.2], [2.0, 1.0], [-1.0, -2.0], [1.0, 0.0]):
        with pytest.raises(CheckError):
            check_simulation("2.9", draws, theory)


def test_simulation_false_alarms_are_rare():
    rng = np.random.default_rng(2)
    for _ in range(200):
        check_simulation("2.9", rng.exponential(size=500), 1.0, perturbation=0.5)


def test_simulation_control():
    draws = np.random.default_rng(3).normal(1.0, 1.0, size=150)
    with pytest.raises(ControlError, match="more draws"):
        check_simulation("2.9", draws, 1.0)
    check_simulation("2.9", draws, 1.0, perturbation=0.8)
    check_simulation("2.9", draws - 1.0, 0.0, wrong=0.8)
    with pytest.raises(ControlError):
        check_simulation("2.9", draws, 1.0, wrong=1.0)


@pytest.mark.parametrize(
    ("draws", "theory", "error"),
    [
        (np.ones(200), 1.0, CheckError),
        (np.append(np.zeros(199), np.nan), 1.0, CheckError),
        (np.arange(99.0), 49.0, ValueError),
        (np.arange(200.0), [99.5, 99.5], ValueError),
        (np.arange(200.0).reshape(100, 2), 99.5, ValueError),
        (np.arange(200.0) - 99.5, 0.0, ValueError),
    ],
)
def test_simulation_bad_input(draws, theory, error):
    with pytest.raises(error):
        check_simulation("2.9", draws, theory)


def test_empirical(records):
    check_empirical("1.9", [0.91, 0.95], low=0.9, high=1.0, control=[0.3, 1.2], claim="cosine")
    assert records[0].details == ("cosine", "2 values in [0.9, 1]", "control outside")
    with pytest.raises(CheckError):
        check_empirical("1.9", [0.91, 0.85], low=0.9, high=1.0, control=0.3, claim="cosine")
    with pytest.raises(CheckError):
        check_empirical("1.9", np.nan, low=0.9, high=1.0, control=0.3, claim="cosine")
    with pytest.raises(ControlError):
        check_empirical("1.9", 0.91, low=0.9, high=1.0, control=[0.3, 0.99], claim="cosine")
    with pytest.raises(ValueError, match="low"):
        check_empirical("1.9", 0.91, low=1.0, high=0.9, control=0.3, claim="cosine")
    with pytest.raises(ValueError, match="claim"):
        check_empirical("1.9", 0.91, low=0.9, high=1.0, control=0.3, claim="two · fields")


def test_declare(records):
    declare("A.1", "cited", note="Wishart mean", covers=["MG-D.16"])
    assert records == [Record("A.1", "cited", None, ("Wishart mean",), (), ("MG-D.16",))]
    with pytest.raises(ValueError, match="kind"):
        declare("2.1", "symbolic")
    with pytest.raises(ValueError, match="note"):
        declare("2.1", "open")
    with pytest.raises(TypeError, match="note"):
        declare("2.1", "definition", note=3)


@pytest.mark.parametrize(
    ("tag", "names", "error"),
    [
        ("2", {}, ValueError),
        ("(2.1)", {}, ValueError),
        (2.1, {}, ValueError),
        ("2.1", {"uses": "1.1"}, TypeError),
        ("2.1", {"uses": ("2.1",)}, ValueError),
        ("2.1", {"uses": ("1.1", "1.1")}, ValueError),
        ("2.1", {"uses": ("eq 1",)}, ValueError),
        ("2.1", {"covers": "H-1"}, TypeError),
        ("2.1", {"covers": ("q-1",)}, ValueError),
        ("2.1", {"covers": ("H-1 H-2",)}, ValueError),
    ],
)
def test_names_are_checked(tag, names, error):
    with pytest.raises(error):
        declare(tag, "definition", **names)


@pytest.mark.parametrize(
    "name",
    [
        "H-1",
        "MG-D.16",
        "MG-V2.x",
        "L:C-5",
        "X:E4",
        "CR-5",
        "CR-X2",
        "GA-1",
        "K-2",
        "W-1",
        "S-1",
        "C-3",
    ],
)
def test_entries_of_all_ledgers_can_be_named(name):
    declare("B.1", "definition", covers=(name,))


@pytest.mark.parametrize(
    ("record", "badge"),
    [
        (Record("2.7", "symbolic", None, ("5 points",)), "✓ (2.7) symbolic"),
        (Record("A.12", "asymptotic", None, ("a",)), "✓ (A.12) asymptotic"),
        (Record("4.8", "simulation", None, ("2 s.e.", "3 values")), "✓ (4.8) simulation, 2 s.e."),
        (Record("4.9", "simulation", "cited", ("2 s.e.",)), "≈ (4.9) cited, numbers agree"),
        (Record("4.16", "numeric", "heuristic", ("a",)), "≈ (4.16) heuristic, numbers agree"),
        (Record("1.9", "empirical", None, ("a",)), "✓ (1.9) empirical"),
        (Record("2.1", "definition"), "(2.1) definition"),
        (Record("2.1", "open", None, ("why",)), "(2.1) open"),
    ],
)
def test_badges(record, badge):
    assert str(record) == badge
    assert Record.from_json(record.as_json()) == record


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": None},
        {"kind": "proved"},
        {"tag": "2"},
        {"uses": ["2.7"]},
        {"covers": ["1"]},
        {"basis": "guessed"},
        {"kind": "symbolic", "basis": "cited"},
        {"kind": "definition", "basis": "heuristic"},
        {"extra": 1},
    ],
)
def test_a_record_of_another_form_is_refused(change):
    good = Record("2.7", "numeric", "cited", ("1 value within 1e-10",)).as_json()
    assert Record.from_json(good).basis == "cited"
    with pytest.raises(ValueError):
        Record.from_json(good | change)
    with pytest.raises(ValueError):
        Record.from_json({k: v for k, v in good.items() if k != "points"})


def test_basis_stands_in_the_record(records):
    draws = np.random.default_rng(0).normal(2.0, 1.0, 2000)
    check_numeric("2.8", 4.0, 2.0**2, basis="heuristic")
    check_simulation("2.9", draws, 2.0, k=3, basis="cited")
    check_asymptotic("3.9", [10, 20, 40], [1.1, 1.05, 1.025], 1.0, rate=-1, basis="heuristic")
    assert [record.basis for record in records] == ["heuristic", "cited", "heuristic"]
    assert records[1].details == ("3 s.e.", "1 value", "2000 draws", "resolves 10 %")
    with pytest.raises(ValueError, match="basis"):
        check_numeric("2.8", 4.0, 4.0, basis="guessed")
    with pytest.raises(CheckError):
        check_numeric("2.8", 4.0, 4.1, basis="heuristic")
    with pytest.raises(ControlError):
        check_numeric("2.8", 4.0, 4.0, wrong=4.0, basis="heuristic")


def test_points_hold_what_was_checked(records):
    spectrum, gauss = np.array([2.0, 1.0]), {"args": ["x"], "expr": "exp(-x**2)"}
    check_numeric("2.8", 1 / 3, 1 / 3, at={"lambda": spectrum, "n": np.int64(3), "f": gauss})
    check_numeric("2.8", [4.0, 9.0], [4.0, 9.0], at={"x": np.array([2.0, 3.0])})
    check_numeric("2.8", [4.0, 9.0], [4.0, 9.0], at=[{"x": 2.0}, {"x": -3.0}])
    check_numeric("2.8", [[1, 2j]], [[1, 2j]], at={})
    draws = np.random.default_rng(0).normal([1.0, 2.0], 1.0, (2000, 2))
    check_simulation("2.9", draws, [1.0, 2.0], at=[{"hat s": 1}, {"hat s": 2}])
    values = 2.0 + 1 / SIZES
    check_asymptotic("3.9", SIZES, values, 2.0, rate=-1, at={"bar alpha": 0.25})
    check_empirical("1.9", 0.93, low=0.9, high=1, control=0.4, claim="cosine", at={"N": 7})
    assert [list(record.points) for record in records] == [
        [{"bind": {"lambda": [2.0, 1.0], "n": 3, "f": gauss}, "value": 0.333333333333}],
        [{"bind": {"x": [2.0, 3.0]}, "value": [4.0, 9.0]}],
        [{"bind": {"x": 2.0}, "value": 4.0}, {"bind": {"x": -3.0}, "value": 9.0}],
        [{"bind": {}, "value": [[1.0, {"re": 0.0, "im": 2.0}]]}],
        [{"bind": {"hat s": 1}, "value": 1.0}, {"bind": {"hat s": 2}, "value": 2.0}],
        [{"bind": {"bar alpha": 0.25}, "value": 2.0}],
        [{"bind": {"N": 7}, "value": 0.93}],
    ]
    assert isinstance(records[0].points[0]["bind"]["n"], int)


@pytest.mark.parametrize(
    ("at", "error", "reason"),
    [
        ({"\\rho": 1.0}, ValueError, "without backslashes"),
        ({"": 1.0}, ValueError, "without backslashes"),
        ({"rho": "1"}, TypeError, "rho must hold numbers"),
        ({"rho": x}, TypeError, "rho must hold numbers"),
        ({"rho": np.nan}, ValueError, "finite"),
        ({"rho": np.ones(3000)}, ValueError, "more than 2000"),
        ({"rho": {"args": ["x"], "expr": "x +"}}, ValueError, "no expression"),
        ({"rho": {"expr": "x"}}, ValueError, "'args'"),
        ([{"rho": 1.0}], ValueError, "2 dicts"),
        ([1.0, 2.0], TypeError, "list of dicts"),
    ],
)
def test_points_bad_input(at, error, reason):
    with pytest.raises(error, match=reason):
        check_numeric("2.8", [1.0, 2.0], [1.0, 2.0], at=at)


def test_a_number_has_one_dict():
    with pytest.raises(ValueError, match="one dict"):
        check_numeric("2.8", 1.0, 1.0, at=[{"x": 1.0}])


def test_rounding_of_a_record_is_small_and_stable():
    assert _report.rounded(np.pi * 1e-30) == 3.14159265359e-30
    assert _report.rounded(1.0 + 1e-15) == 1.0
    assert _report.rounded(2.0 + 1e-17j) == 2.0
    assert _report.rounded(2.0 - 1e-3j) == {"re": 2.0, "im": -0.001}
    assert _report.rounded(np.int32(10**9)) == 10**9


def test_symbolic_points_bind_names_and_belong_to_them(records):
    bar, v = Symbol(r"\bar\alpha", positive=True), Symbol("v", positive=True)
    check_symbolic(
        "2.7", exp(sympy.log(bar) + sympy.log(v) * n), bar * v**n, names={sqrt(v): "sigma", n: "K"}
    )
    assert len(records[0].points) == 2
    for place in records[0].points:
        bound = place["bind"]
        assert set(bound) == {"bar alpha", "v", "K", "sigma"}
        assert isinstance(bound["K"], int)
        assert bound["sigma"] ** 2 == pytest.approx(bound["v"], rel=1e-11)
        truth = bound["bar alpha"] * bound["v"] ** bound["K"]
        assert place["value"] == pytest.approx(truth, rel=2e-12)
    check_symbolic("2.7", [[x, 0]], [[x, 0]])
    assert records[1].points[0]["value"] == [[records[1].points[0]["bind"]["x"], 0.0]]
    check_symbolic("2.7", sqrt(2) * sqrt(2), 2)
    assert records[2].points == ({"bind": {}, "value": 2},)
    check_symbolic("2.7", exp(900 * (x + 1)), exp(900 * x) * exp(900))
    check_symbolic("2.7", x, x, at=())
    assert records[3].points == records[4].points == ()


def test_complex_symbols_have_marked_values(records, monkeypatch):
    place = {a: sympy.Rational(1, 3) + 2 * sympy.I}
    monkeypatch.setattr(_symbolic, "points", lambda tag, symbols, domain: [place])
    check_symbolic("2.7", a * a, a**2)
    (found,) = records[0].points
    assert found["bind"] == {"a": {"re": 0.333333333333, "im": 2.0}}
    square = complex(found["value"]["re"], found["value"]["im"])
    assert square == pytest.approx((1 / 3 + 2j) ** 2, rel=1e-11)


def test_names_belong_to_symbols_and_are_different():
    with pytest.raises(ValueError, match="not made of symbols"):
        check_symbolic("2.7", x, x, names={y: "y"})
    with pytest.raises(ValueError, match="one name"):
        check_symbolic("2.7", x * y, y * x, names={x: "y"})
    with pytest.raises(ValueError, match="without backslashes"):
        check_symbolic("2.7", x, x, names={x: "\\rho"})
    with pytest.raises(ValueError, match="names says"):
        check_symbolic("2.7", x, x, at={"x": 2.0})
