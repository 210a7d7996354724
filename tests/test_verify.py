import numpy as np
import pytest
import sympy
from sympy import Rational, Symbol, exp, oo, pi, sqrt

from lindiff import _symbolic
from lindiff._report import Line, parse_line
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
def test_symbolic_accepts_the_truth(lhs, rhs, capsys):
    check_symbolic("2.7", lhs, rhs)
    line = parse_line(capsys.readouterr().out)
    assert line.kind == "symbolic"
    assert "simplified" in line.details[0]


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


def test_symbolic_says_points_only_when_the_algebra_fails(capsys, monkeypatch):
    lhs, rhs = sympy.besselj(Rational(1, 2), x), sqrt(2 / (pi * x)) * sympy.sin(x)
    monkeypatch.setattr(_symbolic, "_is_zero", lambda entry: False)
    check_symbolic("2.7", lhs, rhs)
    assert " · 5 points at 50 digits · " in capsys.readouterr().out
    check_symbolic("2.7", x + x, 2 * x, simplify=False)
    assert "simplified" not in capsys.readouterr().out


def test_a_formula_that_simplifies_but_fails_at_points_is_refused(monkeypatch):
    monkeypatch.setattr(_symbolic, "_is_zero", lambda entry: True)
    with pytest.raises(CheckError, match="fails at"):
        check_symbolic("2.7", x, x + 1)


def test_symbolic_line_in_full(capsys):
    check_symbolic("2.7", x * y, y * x, wrong=x + y, uses=("2.1", "2.3"), covers=("H-1", "MG-1"))
    assert capsys.readouterr().out == (
        "(2.7) symbolic · simplified, 5 points at 50 digits · wrong form rejected"
        " · uses (2.1) (2.3) · covers H-1 MG-1\n"
    )


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


def test_equation_is_displayed_only_inside_ipython(monkeypatch):
    IPython = pytest.importorskip("IPython")
    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    check_symbolic("2.7", x + x, 2 * x)
    assert shown == []
    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    check_symbolic("2.7", x * y + 1, 1 + y * x)
    check_symbolic("2.7", x, x, show=False)
    assert shown == [sympy.Eq(x * y + 1, x * y + 1, evaluate=False)]


def test_numeric_accepts_the_truth(capsys):
    matrix = np.random.default_rng(0).normal(size=(3, 4))
    check_numeric("2.8", matrix, matrix * (1 + 1e-12))
    assert parse_line(capsys.readouterr().out).details[0] == "12 values within 1e-10"
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


def test_asymptotic_small_parameter(capsys):
    eps = np.array([0.01, 0.02, 0.04])
    check_asymptotic("3.9", eps, np.cos(eps), 1.0, rate=2, tolerance=0.05)
    assert "3 sizes, rate 2 ± 0.05, fitted 2.00 · wrong limit rejected" in capsys.readouterr().out


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


def test_asymptotic_tests_every_column(capsys):
    columns = np.array([2.0, 3.0]) + np.array([1.0, -5.0]) / SIZES[:, None]
    check_asymptotic("3.9", SIZES, columns, [2.0, 3.0], rate=-1)
    assert "4 sizes, 2 values, rate -1 ± 0.1, fitted -1.00 ·" in capsys.readouterr().out
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


def test_empirical(capsys):
    check_empirical("1.9", [0.91, 0.95], low=0.9, high=1.0, control=[0.3, 1.2], claim="cosine")
    assert "empirical · cosine · 2 values in [0.9, 1] · control outside" in capsys.readouterr().out
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


def test_declare(capsys):
    declare("A.1", "cited", note="Wishart mean", covers=["MG-D.16"])
    assert capsys.readouterr().out == "(A.1) cited · Wishart mean · covers MG-D.16\n"
    with pytest.raises(ValueError, match="kind"):
        declare("2.1", "symbolic")
    with pytest.raises(ValueError, match="note"):
        declare("2.1", "open")
    with pytest.raises(ValueError, match="note"):
        declare("2.1", "definition", note="covers H-1")
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
        ("2.1", {"covers": ("Q-1",)}, ValueError),
        ("2.1", {"covers": ("H-1 H-2",)}, ValueError),
    ],
)
def test_names_are_checked(tag, names, error):
    with pytest.raises(error):
        declare(tag, "definition", **names)


@pytest.mark.parametrize(
    "line",
    [
        Line("2.7", "symbolic", ("simplified, 5 points at 50 digits",), ("2.1",), ("H-1", "L:C-5")),
        Line("2.7", "definition"),
        Line("2.7", "open", ("why",), (), ("MG-V2.x",)),
        Line("10.12", "numeric", ("3 values within 1e-10",), ("A.1",)),
        Line("4.24", "numeric", ("1 value within 0.01",), ("4.3",), ("H-21",), "heuristic"),
        Line("4.12", "simulation", (), (), (), "cited"),
    ],
)
def test_lines_can_be_read_back(line):
    assert parse_line(str(line)) == line


def test_basis_stands_in_the_line(capsys):
    draws = np.random.default_rng(0).normal(2.0, 1.0, 2000)
    check_numeric("2.8", 4.0, 2.0**2, basis="heuristic")
    check_simulation("2.9", draws, 2.0, basis="cited")
    check_asymptotic("3.9", [10, 20, 40], [1.1, 1.05, 1.025], 1.0, rate=-1, basis="heuristic")
    heads = [line.split(" · ")[0] for line in capsys.readouterr().out.splitlines()]
    assert heads == ["(2.8) numeric, heuristic", "(2.9) simulation, cited", heads[2]]
    assert heads[2] == "(3.9) asymptotic, heuristic"
    with pytest.raises(ValueError, match="basis"):
        check_numeric("2.8", 4.0, 4.0, basis="guessed")
    with pytest.raises(CheckError):
        check_numeric("2.8", 4.0, 4.1, basis="heuristic")
    with pytest.raises(ControlError):
        check_numeric("2.8", 4.0, 4.0, wrong=4.0, basis="heuristic")


@pytest.mark.parametrize("head", ["symbolic, cited", "definition, heuristic", "numeric, open"])
def test_only_numbers_can_confirm_what_is_not_proved(head):
    assert parse_line(f"(2.7) {head}") is None


@pytest.mark.parametrize("text", ["", "(2.7)", "(2.7) proved", "x (2.7) numeric", "loss 0.3 · a"])
def test_other_output_is_not_a_line(text):
    assert parse_line(text) is None
