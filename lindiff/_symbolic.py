"""Evaluate and simplify SymPy expressions for `lindiff.verify.check_symbolic`."""

import random
import signal
import sys
import threading
import zlib
from contextlib import contextmanager

import sympy

from lindiff._report import CheckError, ControlError

DIGITS = 50
POINTS = 5
# Where a sign or an argument can change, an identity may fail in one orthant only.
POINTS_OF_ANY_SIGN = 20
TOLERANCE = sympy.Float("1e-30", 15)
_GUARD_DIGITS = 10
_MAX_OPERATIONS = 600
_MAX_SECONDS = 60


def as_expression(name, value):
    """Turn a number, expression, matrix or (nested) list into a SymPy object."""
    if isinstance(value, (list, tuple)):
        value = sympy.Matrix(value)
    value = sympy.sympify(value)
    if isinstance(value, sympy.MatrixBase):
        value = value.as_immutable()
    elif isinstance(value, sympy.MatrixExpr) or not isinstance(value, sympy.Expr):
        raise TypeError(
            f"{name} must be a SymPy expression or an explicit Matrix, "
            f"got {type(value).__name__}; write matrix symbols out entry by entry"
        )
    if value.has(sympy.nan, sympy.zoo):
        raise ValueError(f"{name} contains nan or complex infinity: {value}")
    return value


def entries(expression):
    """Return the list of scalar entries, of length one for a scalar."""
    if isinstance(expression, sympy.MatrixBase):
        return list(expression)
    return [expression]


def shape(expression):
    """Return the matrix shape, or the empty tuple for a scalar."""
    return tuple(getattr(expression, "shape", ()))


def differentiated(expression):
    """Carry out derivatives and finite sums, and leave integrals as they stand."""
    if isinstance(expression, sympy.MatrixBase):
        return expression.applyfunc(differentiated)
    return expression.doit(integrals=False)


def points(tag, symbols, domain):
    """Draw the evaluation points: the same ones for the same tag and symbols.

    A point is complex unless its symbol is declared real, or something that implies it.
    """
    symbols = sorted(symbols, key=lambda s: (s.name, str(s.assumptions0)))
    _check_domain(symbols, domain)
    ranges = {symbol: domain.get(symbol, default_range(symbol)) for symbol in symbols}
    signed = any(low < 0 < high for low, high in ranges.values())
    count = (POINTS_OF_ANY_SIGN if signed else POINTS) if symbols else 1
    drawn = {}
    for symbol, (low, high) in ranges.items():
        rng = random.Random(zlib.crc32(f"{tag} {symbol.name}".encode()))
        drawn[symbol] = [_draw(symbol, low, high, rng) for _ in range(count)]
    return [{s: values[i] for s, values in drawn.items()} for i in range(count)]


def default_range(symbol):
    """Choose a range for a symbol from its assumptions."""
    if symbol.is_integer:
        low, high = (1, 6) if symbol.is_positive else (-4, 4)
        if symbol.is_nonnegative and not symbol.is_positive:
            low, high = 0, 6
        return (-6, -1) if symbol.is_negative else (low, high)
    if symbol.is_nonnegative:
        return sympy.Rational(1, 10), 3
    if symbol.is_nonpositive:
        return -3, sympy.Rational(-1, 10)
    return -2, 2


def _check_domain(symbols, domain):
    names = {symbol.name for symbol in symbols}
    for symbol, bounds in domain.items():
        if not isinstance(symbol, sympy.Symbol):
            raise TypeError(f"domain must map symbols to (low, high), got the key {symbol!r}")
        if symbol not in symbols and symbol.name in names:
            raise ValueError(
                f"domain has a symbol {symbol} whose assumptions differ from the formula's"
            )
        if symbol in symbols and not symbol.is_extended_real:
            raise ValueError(
                f"domain of {symbol} is a real interval and {symbol} is not declared real: "
                f"write Symbol({symbol.name!r}, real=True)"
            )
        low, high = (sympy.sympify(bound) for bound in bounds)
        if not (low.is_finite and high.is_finite and low < high):
            raise ValueError(f"domain of {symbol} must be finite with low < high, got {bounds}")


def _draw(symbol, low, high, rng):
    low, high = sympy.nsimplify(low, rational=True), sympy.nsimplify(high, rational=True)

    def inside():
        # A rational point is exact, so that 50 digits of the value are 50 digits.
        return low + (high - low) * sympy.Rational(rng.randint(1, 9972), 9973)

    for _ in range(200):
        if symbol.is_integer:
            value = sympy.Integer(rng.randint(int(sympy.ceiling(low)), int(sympy.floor(high))))
        elif symbol.is_extended_real:
            value = inside()
        else:
            value = (0 if symbol.is_imaginary else inside()) + sympy.I * inside()
        if all(getattr(value, f"is_{k}") == v for k, v in symbol._assumptions_orig.items()):
            return value
    raise ValueError(f"domain of {symbol} holds no value that its assumptions allow")


def evaluate(name, expression, point):
    """Return the entries of an expression at a point, with 50 digits to spare."""
    values = []
    for entry in entries(expression):
        try:
            value = entry.subs(point, simultaneous=True).evalf(DIGITS + _GUARD_DIGITS, maxn=400)
        except (TypeError, ValueError) as error:
            # An order such as x > 0 means nothing off the real line.
            raise CheckError(
                f"{name} has no value at {point} ({error}); declare what is real with real=True"
            ) from error
        if not value.is_number or not value.is_finite or value.has(sympy.nan):
            raise CheckError(f"{name} has no finite value at {point}: {value}; give a domain")
        real, imaginary = value.as_real_imag()
        if not (real.is_Number and imaginary.is_Number):
            raise CheckError(f"{name} does not evaluate to a number at {point}: {value}")
        values.append(value)
    return values


def scale_of_terms(expression, point):
    """Size of the largest term of an expression: what rounding is relative to."""
    terms = [t for entry in entries(expression) for t in sympy.Add.make_args(entry)]
    return max(abs(value) for value in evaluate("a term", sympy.Matrix(terms), point))


def agree(left, right, floor=0):
    """Whether two lists of values agree to 1e-30 of the largest value."""
    scale = max([abs(value) for value in (*left, *right)] + [sympy.sympify(floor)])
    worst = max(abs(a - b) for a, b in zip(left, right, strict=True))
    return bool(worst <= TOLERANCE * scale)


def simplifies(difference):
    """Whether a short list of simplifications reduces the difference to zero."""
    todo = entries(difference)
    if sum(sympy.count_ops(entry) for entry in todo) > _MAX_OPERATIONS:
        return False
    with _time_limit(_MAX_SECONDS):
        return all(_is_zero(entry) for entry in todo)


def _is_zero(expression):
    if expression == 0:
        return True
    done = expression.doit() if expression.has(sympy.Integral, sympy.Sum) else expression
    routes = (
        sympy.expand,
        lambda e: sympy.cancel(sympy.together(e)),
        sympy.simplify,
        lambda e: sympy.trigsimp(sympy.expand(e, trig=True)),
        lambda e: sympy.powsimp(sympy.expand(sympy.expand_log(e, force=False)), deep=True),
    )
    for route in routes:
        try:
            if route(done) == 0:
                return True
        except (sympy.PolynomialError, NotImplementedError, RecursionError):
            continue
    return False


@contextmanager
def _time_limit(seconds):
    # An error rather than "not simplified": the line must not depend on the machine. The
    # limit is time of the processor, so that other work beside it does no harm.
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(signum, frame):
        raise CheckError(f"simplification took more than {seconds} s; pass simplify=False")

    handler = signal.signal(signal.SIGVTALRM, stop)
    previous = signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, handler)
        if previous[0] > 0:
            signal.setitimer(signal.ITIMER_VIRTUAL, *previous)


def compare_at_points(tag, sides, places):
    lhs, rhs = sides[:2]
    literal_zero = all(entry == 0 for entry in entries(rhs))
    accepted = {}
    for place in places:
        left = evaluate(f"lhs of ({tag})", lhs, place)
        right = evaluate(f"rhs of ({tag})", rhs, place)
        floor = 0
        if max(map(abs, left)) < 1e-25 and max(map(abs, right)) < 1e-25:
            floor = max(scale_of_terms(lhs, place), 1 if literal_zero else 0)
        if not agree(left, right, floor):
            raise CheckError(f"({tag}) fails at {place}: {_short(left)} against {_short(right)}")
        controls = _perturbed(right, floor)
        if len(sides) == 3:
            controls["the wrong form"] = evaluate("wrong", sides[2], place)
        for name, control in controls.items():
            passes = agree(left, control, floor)
            accepted[name] = accepted.get(name, True) and passes
    for name, passes in accepted.items():
        if passes:
            raise ControlError(f"({tag}) also accepts {name}: change the formula or the domain")


def _perturbed(values, floor):
    step = max([sympy.Integer(1), *map(abs, values)]) / 89
    controls = {"rhs + 1/89": [value + step for value in values]}
    if max(map(abs, values)) > TOLERANCE * floor:
        controls["rhs * (1 + 1/97)"] = [value * sympy.Rational(98, 97) for value in values]
        controls["-rhs"] = [-value for value in values]
    if len(values) > 1:
        controls["one changed entry"] = [*values[:-1], values[-1] + step]
    return controls


def _short(values):
    return ", ".join(str(value.evalf(8)) for value in values)


def display(lhs, rhs):
    """Typeset the equation in a notebook; do nothing elsewhere."""
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        ipython.display.display(sympy.Eq(lhs, rhs, evaluate=False))
