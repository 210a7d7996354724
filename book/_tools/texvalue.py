r"""Evaluate the formulas of the book with NumPy: trees of `texmath` -> numbers.

`value(tree, scope)` and `side_value(side, scope)` take the names that a `Scope` binds. Numbers
are float64 or complex. Arrays of one axis are indexed by subscripts from 1, as printed, and stand
for all their entries where no subscript is printed; a name bound as ``"V[0]"`` starts at 0. Arrays
of two axes are matrices. Without a binding ``I`` has the size of the bound matrices, and ``psi``,
``Gamma``, ``W_0``, ``W_-1``, ``erf``, ``e`` and ``pi`` mean what they usually mean.

What has no value raises `NotEvaluable`, whose message says why.
"""

import ast
import itertools
import math
import operator
import warnings
from dataclasses import dataclass, field

import numpy as np
from scipy import integrate, special, stats

from book._tools.texmath import EQUAL, ORDER, Name, Node, NotEvaluable, canonical, constant

_FUNCTIONS = {
    r"\log": np.emath.log,
    r"\ln": np.emath.log,
    r"\arccos": np.emath.arccos,
    r"\arcsin": np.emath.arcsin,
    **{
        rf"\{name}": getattr(np, name)
        for name in ("exp", "cos", "sin", "tan", "cosh", "sinh", "tanh", "arctan")
    },
}
_KNOWN = {
    "psi": special.digamma,
    "Gamma": special.gamma,
    "W_0": lambda x: np.real_if_close(special.lambertw(x)),
    "W_-1": lambda x: np.real_if_close(special.lambertw(x, -1)),
    "erf": special.erf,
    "erfc": special.erfc,
}
_REDUCE = {r"\sum": np.sum, r"\prod": np.prod, r"\max": np.max, r"\min": np.min}
_TERMS, _STALLED, _TINY = 20_000, 5, 1e-17
_INTEGRAL_RTOL = 1e-9


@dataclass(frozen=True)
class Scope:
    """Names with their values: numbers, arrays, matrices and callables, and where arrays start."""

    values: dict
    first: dict = field(default_factory=dict)

    @classmethod
    def of(cls, bind):
        """Return the scope of the bindings of a record (plain JSON)."""
        values, first = {}, {}
        for name, stored in bind.items():
            short = name.strip()
            start = 0 if short.endswith("[0]") else 1
            key = canonical(short.removesuffix("[0]"))
            value = number(stored)
            for ending in ("_squared", "squared"):
                if key.endswith(ending) and key != ending and not callable(value):
                    key, value = key.removesuffix(ending), np.emath.sqrt(value)
            if key in values:
                raise NotEvaluable(f"{name} is bound twice, both times as {key}")
            values[key], first[key] = value, start
        return cls(values, first)

    def plus(self, values, first=None):
        """Return a scope with more names, which hide those outside."""
        return Scope({**self.values, **values}, {**self.first, **(first or {})})

    def __contains__(self, key):
        return key in self.values

    def is_array(self, key):
        """Whether a name is bound to something that subscripts pick from."""
        value = self.values.get(key)
        return value is not None and not callable(value) and np.ndim(value) > 0


def number(stored):
    """Return what a record stores as a number, array or callable."""
    if isinstance(stored, dict) and "expr" in stored:
        return _function(stored["args"], stored["expr"])
    try:
        value = np.asarray(_complex(stored))
    except ValueError as error:
        raise NotEvaluable("rows of different lengths") from error
    if value.dtype.kind not in "biufc":
        raise NotEvaluable(f"{stored!r} is no number")
    value = value.astype(complex if value.dtype.kind == "c" else float)
    return value[()]


def _complex(stored):
    if isinstance(stored, dict):
        return complex(stored["re"], stored["im"])
    return [_complex(item) for item in stored] if isinstance(stored, list) else stored


_PYTHON = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: np.emath.power,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_CALLS = {name[1:]: function for name, function in _FUNCTIONS.items()}
_CALLS |= {"sqrt": np.emath.sqrt, "digamma": special.digamma, "gamma": special.gamma}
_CALLS |= {"erf": special.erf, "Abs": np.abs, "abs": np.abs, "log1p": np.log1p, "expm1": np.expm1}
_CALLS |= {"expi": special.expi, "Max": np.maximum, "Min": np.minimum, "LambertW": _KNOWN["W_0"]}


def _function(names, text):
    """Return the callable of a Python expression; only arithmetic and known functions."""
    tree = ast.parse(text, mode="eval").body

    def run(node, values):
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return node.value
        if isinstance(node, ast.Name) and node.id in values:
            return values[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in _PYTHON:
            return _PYTHON[type(node.op)](run(node.left, values), run(node.right, values))
        if isinstance(node, ast.UnaryOp) and type(node.op) in _PYTHON:
            return _PYTHON[type(node.op)](run(node.operand, values))
        if isinstance(node, ast.Call) and not node.keywords:
            function = _CALLS.get(getattr(node.func, "id", None))
            if function is not None:
                return function(*(run(item, values) for item in node.args))
        raise NotEvaluable(f"the bound function {text!r} has more than arithmetic in it")

    def call(*arguments):
        if len(arguments) != len(names):
            raise NotEvaluable(f"the bound function {text!r} takes {len(names)} arguments")
        constants = {"pi": np.pi, "E": np.e}
        return run(tree, constants | dict(zip(names, arguments, strict=True)))

    return call


def value(tree, scope):
    """Return the number or array of a tree; raise `NotEvaluable` with the reason."""
    try:
        with np.errstate(all="ignore"):
            result = _value(tree, scope)
    except (TypeError, ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        raise NotEvaluable(f"operands that do not fit ({error})") from error
    if callable(result):
        raise NotEvaluable("a function without its argument")
    if isinstance(result, Law | tuple):
        return result
    if not np.all(np.isfinite(result)):
        raise NotEvaluable("the value is not finite")
    return result


@dataclass(frozen=True)
class Law:
    """Mean and covariance of a normal law."""

    mean: object
    covariance: object


def magnitude(tree, scope):
    """Return the size of the largest term of a tree: what its rounding is relative to."""
    op = tree.op if isinstance(tree, Node) else ""
    if op in ("+", "-", "neg"):
        return max(magnitude(arg, scope) for arg in tree.args)
    if op == "*":
        return math.prod(magnitude(arg, scope) for arg in tree.args)
    result = value(tree, scope)
    return float(np.max(np.abs(result))) if np.size(result) else 0.0


def holds(statement, scope):
    """Whether all order relations of a statement hold; None if it cannot be evaluated."""
    try:
        values = [side_value(side, scope) for side in statement.sides]
    except NotEvaluable:
        return None
    if any(isinstance(item, Law | tuple) for item in values):
        return None
    truth = []
    for relation, left, right in zip(statement.relations, values, values[1:], strict=False):
        if relation in ORDER:
            truth.append(bool(np.all(ORDER[relation](left, right))))
        elif relation in EQUAL:
            truth.append(bool(np.allclose(left, right, rtol=1e-9, atol=0)))
        elif relation in (r"\ne", r"\neq"):
            truth.append(bool(np.all(np.not_equal(left, right))))
        else:
            return None
    return all(truth) if truth else None


def side_value(side, scope):
    """Return the value of a side; Lambda(eps) is Lambda where that is bound to a number."""
    if side.tree is None:
        raise NotEvaluable(side.unread)
    tree = side.tree
    if isinstance(tree, Node) and tree.op == "apply":
        name, group = tree.args[:2]
        inside = group.args if isinstance(group, Node) and group.op == "list" else (group,)
        bare = Name(name.base, name.sub, name.indices)
        if all(isinstance(item, Name) for item in inside) and not callable(_lookup(bare, scope)):
            tree = name
    return value(tree, scope)


def _value(tree, scope):
    if isinstance(tree, Name):
        return _lookup(tree, scope)
    return _OPERATIONS[tree.op](scope, *tree.args)


def _lookup(name, scope):
    base, sub, sup = name.base, name.sub, name.sup
    if sup:
        for key in (f"{name.plain}^{sup}", f"{base}^{sup}"):
            if key in scope:
                found = scope.values[key]
                return found if key != f"{base}^{sup}" or not sub else _pick(name, key, scope)
        bare = Name(base, sub, name.indices)
        if sup.startswith("("):
            if not scope.is_array(base):
                raise NotEvaluable(f"no value for {base}^{sup}")
            return _index(scope.values[base], (name.power,), scope.first.get(base, 1), scope)
        return _raised(_lookup(bare, scope), sup, name.power, scope)
    if name.plain in scope:
        return scope.values[name.plain]
    if sub and base in scope:
        return _pick(name, base, scope)
    if name.plain in _KNOWN:
        return _KNOWN[name.plain]
    if name.plain == "I":
        return _identity(scope)
    if not sub and base in _CONSTANTS:
        return _CONSTANTS[base]
    raise NotEvaluable(f"no value for {name.plain}")


_CONSTANTS = {"e": np.e, "pi": np.pi, "infty": np.inf}


def _identity(scope):
    sizes = {
        v.shape[0] for v in scope.values.values() if np.ndim(v) == 2 and v.shape[0] == v.shape[1]
    }
    if len(sizes) > 1:
        raise NotEvaluable(f"the size of I, among {sorted(sizes)}; bind it")
    return np.eye(sizes.pop()) if sizes else 1.0


def _pick(name, key, scope):
    """Index the value of `key` by the subscript of a name."""
    found = scope.values[key]
    if not name.indices:
        raise NotEvaluable(f"no value for {name.plain}")
    try:
        if callable(found):
            return found(*(_value(item, scope) for item in name.indices))
        if np.ndim(found) == 0:
            raise NotEvaluable("it is bound to one number")
        return _index(found, name.indices, scope.first.get(key, 1), scope)
    except NotEvaluable as error:
        raise NotEvaluable(f"no value for {name.plain} ({error})") from error


def _index(array, indices, first, scope):
    digits = [i.args[0] for i in indices if isinstance(i, Node) and i.op == "number"]
    if np.ndim(array) == 2 and len(indices) == len(digits) == 1 and 10 < digits[0] < 100:
        indices = [constant(digit) for digit in divmod(digits[0], 10)]
    if len(indices) > np.ndim(array):
        raise NotEvaluable("more indices than axes")
    for tree, size in zip(indices, np.shape(array), strict=False):
        at = _value(tree, scope)
        if np.ndim(at) or at != round(float(np.real(at))):
            raise NotEvaluable(f"the index {at} is no integer")
        at = round(float(np.real(at))) - first
        if not 0 <= at < size:
            raise NotEvaluable(
                f"the index {at + first} is outside of {first} to {first + size - 1}"
            )
        array = array[at]
    return array


def _raised(base, sup, power, scope):
    if sup in ("top", "T") and np.ndim(base) and "T" not in scope:
        return _transpose(base)
    if sup == "-top":
        return _transpose(_power(base, -1.0))
    if sup == "+" and np.ndim(base) == 2:
        return np.linalg.pinv(base)
    if power is None:
        raise NotEvaluable(f"the superscript {sup}")
    if callable(base):
        raise NotEvaluable("a power of a function without its argument")
    return _power(base, _value(power, scope))


def _transpose(base):
    return base[None, :] if np.ndim(base) == 1 else np.transpose(base)


def _power(base, power):
    if np.ndim(power):
        if np.ndim(base) == 2 or np.ndim(power) == 2:
            raise NotEvaluable("a matrix in a power")
        return np.emath.power(base, power)
    if np.ndim(base) == 2:
        if base.shape[0] != base.shape[1]:
            raise NotEvaluable("a power of a matrix that is not square")
        if power == round(float(np.real(power))):
            return np.linalg.matrix_power(base, round(float(power)))
        if not np.allclose(base, base.T):
            raise NotEvaluable("a broken power of a matrix that is not symmetric")
        size, vectors = np.linalg.eigh(base)
        return (vectors * np.emath.power(size, power)) @ vectors.T
    if np.all(np.isreal(power)) and power == round(float(np.real(power))):
        return np.power(np.asarray(base, dtype=np.result_type(base, float)), float(power))[()]
    return np.emath.power(base, power)


def _multiply(left, right):
    if callable(left) or callable(right):
        raise NotEvaluable("a function without its argument")
    if (
        max(np.ndim(left), np.ndim(right)) > 2
        or isinstance(left, tuple)
        or isinstance(right, tuple)
    ):
        raise NotEvaluable("a product of something that is no number or matrix")
    if np.ndim(left) == 1 and np.ndim(right) == 2 and right.shape[0] == 1 != len(left):
        return np.outer(left, right[0])
    if np.ndim(left) and np.ndim(right) and 2 in (np.ndim(left), np.ndim(right)):
        result = left @ right
        return result[0] if result.shape == (1,) else result
    return left * right


def _combine(sign):
    def run(scope, left, right):
        a, b = _value(left, scope), _value(right, scope)
        if {np.ndim(a), np.ndim(b)} in ({0, 2}, {1, 2}) and np.any(a != 0) and np.any(b != 0):
            raise NotEvaluable("a number or vector added to a matrix")
        return a + sign * b

    return run


def _divide(scope, above, below):
    a, b = _value(above, scope), _value(below, scope)
    if np.ndim(b) == 2:
        raise NotEvaluable("division by a matrix")
    return a / b


def _of(function):
    """An operation on numbers, elementwise on vectors, that no matrix may enter."""

    def run(scope, *args):
        values = [_value(arg, scope) for arg in args]
        if any(np.ndim(v) == 2 or isinstance(v, tuple) or callable(v) for v in values):
            raise NotEvaluable("a function of something that is no number")
        return function(*values)

    return run


def _square(function, name):
    def run(scope, tree):
        matrix = _value(tree, scope)
        if np.ndim(matrix) == 0:
            return matrix
        if np.ndim(matrix) != 2 or matrix.shape[0] != matrix.shape[1]:
            raise NotEvaluable(f"{name} of something that is no square matrix")
        return function(matrix)

    return run


def _norm(scope, tree, kind):
    inner = _value(tree, scope)
    if kind not in ("", "F", "2") or ((np.ndim(inner) == 2) != (kind == "F") and np.ndim(inner)):
        raise NotEvaluable(f"the norm {kind or 'without a name'} of {np.ndim(inner)} axes")
    return np.linalg.norm(inner) if np.ndim(inner) else np.abs(inner)


def _mean(scope, tree):
    inner = _value(tree, scope)
    if np.ndim(inner) != 1:
        raise NotEvaluable("an average over something that is no array")
    return np.average(inner, weights=scope.values.get("weights"))


def _under(scope, tree, indices):
    inner = _value(tree, scope)
    if not indices:
        raise NotEvaluable("the subscript of a bracket")
    if np.ndim(inner):
        return _index(inner, indices, 1, scope)
    if len(indices) > 1:
        raise NotEvaluable("two indices of a number")
    return special.poch(inner, _value(indices[0], scope))


def _extreme(function):
    def run(scope, tree):
        inner = _value(tree, scope)
        return function(inner) if isinstance(inner, tuple) or np.ndim(inner) else inner

    return run


def _truth(scope, statement):
    truth = holds(statement, scope)
    if truth is None:
        raise NotEvaluable("a relation in a bracket")
    return float(truth)


def _call(scope, name, group):
    function = _lookup(name, scope)
    if not callable(function):
        raise NotEvaluable(f"{name.plain} is bound, but to no function")
    arguments = _value(group, scope)
    arguments = arguments if isinstance(arguments, tuple) else (arguments,)
    return function(*arguments)


def _apply(scope, name, group, called, product):
    bare = Name(name.base, name.sub, name.indices)
    try:
        function = callable(_lookup(bare, scope))
    except NotEvaluable:
        _lookup(name, scope)
        function = False
    return _value(called if function else product, scope)


def _normal(scope, group):
    values = _value(group, scope)
    if not isinstance(values, tuple) or len(values) not in (2, 3):
        raise NotEvaluable("a normal law needs a mean and a covariance")
    if len(values) == 2:
        return Law(*values)
    point, mean, covariance = values
    centred = np.atleast_1d(point - mean)
    if np.ndim(covariance) == 0:
        return np.prod(stats.norm.pdf(centred, scale=np.sqrt(covariance)))
    return stats.multivariate_normal.pdf(centred, cov=covariance)


def _cases(scope, *rows):
    for tree, condition in rows:
        if condition == "":
            return _value(tree, scope)
        if isinstance(condition, str):
            if condition not in scope:
                raise NotEvaluable(f"which case holds; bind {condition} to 1 or 0")
            truth = bool(scope.values[condition])
        else:
            found = [holds(statement, scope) for statement in condition]
            if None in found:
                raise NotEvaluable("which case holds")
            truth = all(found)
        if truth:
            return _value(tree, scope)
    raise NotEvaluable("no case holds")


def _matrix(scope, *rows):
    entries = [[_value(tree, scope) for tree in row] for row in rows]
    if len({len(row) for row in entries}) > 1 or any(np.ndim(e) for r in entries for e in r):
        raise NotEvaluable("a matrix whose entries are no numbers, or with rows of several lengths")
    matrix = np.array(entries)
    return matrix[:, 0] if matrix.shape[1] == 1 < matrix.shape[0] else matrix


def _integrate(scope, variable, low, high, tree):
    ends = [_value(end, scope) for end in (low, high)]
    if any(np.ndim(end) or np.iscomplexobj(end) for end in ends):
        raise NotEvaluable("an integral between ends that are no real numbers")

    def integrand(x):
        inside = np.real_if_close(_value(tree, scope.plus({variable: x})))
        if np.iscomplexobj(inside):
            raise NotEvaluable("an integral of complex values")
        return float(inside)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", integrate.IntegrationWarning)
        result, error = integrate.quad(integrand, *ends, epsrel=1e-11, epsabs=0, limit=200)[:2]
    if error > _INTEGRAL_RTOL * abs(result):
        raise NotEvaluable("an integral that quadrature does not resolve")
    return result


def _reduce(scope, op, names, low, high, relations, tree):
    if low is not None and high is None:
        return _series(scope, op, names, _value(low, scope), tree)
    if low is not None:
        ends = [_value(end, scope) for end in (low, high)]
        if any(np.ndim(e) or e != round(float(np.real(e))) for e in ends):
            raise NotEvaluable("a sum between ends that are no integers")
        ranges = [range(round(float(ends[0])), round(float(ends[1])) + 1)] * len(names)
        keep = [operator.ge] * (len(names) - 1)
    else:
        ranges = [indices(tree, name, scope) for name in names]
        keep = [{"<": operator.lt, r"\lt": operator.lt}.get(r) for r in relations]
        keep = [
            k or {r"\le": operator.le, r"\leq": operator.le}.get(r, operator.ne)
            for k, r in zip(keep, relations, strict=True)
        ]
    values = []
    for at in itertools.product(*ranges):
        if all(ok(a, b) for ok, a, b in zip(keep, at, at[1:], strict=False)):
            local = {name: float(i) for name, i in zip(names, at, strict=True)}
            values.append(_value(tree, scope.plus(local)))
    if not values and op in (r"\max", r"\min"):
        raise NotEvaluable("the largest of nothing")
    return _REDUCE[op](np.array(values), axis=0) if values else float(op == r"\prod")


def _series(scope, op, names, low, tree):
    """Add terms from k = low, or with k_1 >= k_2 >= low, until they no longer count."""
    if op != r"\sum":
        raise NotEvaluable("an infinite product")
    total, stalled = 0.0, 0
    for first in itertools.count(round(float(low))):
        scopes = scope.plus({names[0]: float(first)})
        if len(names) > 1:
            inner = (op, names[1:], constant(low), constant(first), (), tree)
            term = _reduce(scopes, *inner)
        else:
            term = _value(tree, scopes)
        total = total + term
        stalled = stalled + 1 if np.all(np.abs(term) <= _TINY * np.abs(total)) else 0
        if stalled == _STALLED:
            return total
        if first > low + _TERMS or not np.all(np.isfinite(total)):
            raise NotEvaluable("a series that does not converge quickly")
    return total


def indices(tree, name, scope):
    """Return the range of an index: where all arrays that it picks from have an entry."""
    low, high = -math.inf, math.inf
    inner = scope.plus({name: 0.0})
    for node in tree.walk():
        if not isinstance(node, Name):
            continue
        trees = node.indices
        key = node.base
        if node.sup and f"{node.base}^{node.sup}" in scope:
            key = f"{node.base}^{node.sup}"
        elif node.sup.startswith("("):
            trees = (node.power,)
        if node.plain in scope or not scope.is_array(key):
            continue
        for axis, index in enumerate(trees[: np.ndim(scope.values[key])]):
            if not any(isinstance(n, Name) and n.plain == name for n in index.walk()):
                continue
            try:
                shift = _value(index, inner)
                step = _value(index, scope.plus({name: 1.0})) - shift
            except NotEvaluable:
                continue
            if step == 1:
                start = scope.first.get(key, 1)
                low = max(low, start - shift)
                high = min(high, start + scope.values[key].shape[axis] - 1 - shift)
    if not math.isfinite(low):
        raise NotEvaluable(f"the range of {name}; bind an array that it picks from")
    return range(round(low), round(high) + 1)


def free_indices(tree, scope):
    """Return the unbound names that pick from bound arrays, in order of their appearance."""
    hidden = {
        n
        for node in tree.walk()
        if isinstance(node, Node) and node.op == "reduce"
        for n in node.args[1]
    }
    found = {}
    for node in tree.walk():
        if not isinstance(node, Name) or node.plain in scope:
            continue
        trees = (node.power,) if node.sup.startswith("(") else node.indices
        if not (scope.is_array(node.base) or scope.is_array(f"{node.base}^{node.sup}")):
            continue
        for index in trees:
            for name in index.walk():
                if isinstance(name, Name) and name.plain not in scope:
                    found[name.plain] = None
    return [name for name in found if name not in hidden]


_OPERATIONS = {
    "number": lambda scope, x: x,
    "+": _combine(1),
    "-": _combine(-1),
    "neg": lambda scope, tree: _multiply(-1.0, _value(tree, scope)),
    "*": lambda scope, a, b: _multiply(_value(a, scope), _value(b, scope)),
    "/": _divide,
    "^": lambda scope, a, b: _power(_value(a, scope), _value(b, scope)),
    "transpose": lambda scope, a: _transpose(_value(a, scope)),
    "pinv": lambda scope, a: np.linalg.pinv(np.atleast_2d(_value(a, scope))),
    "factorial": _of(lambda x: special.gamma(x + 1)),
    "binom": _of(special.binom),
    "root": _of(lambda x, n: np.emath.sqrt(x) if n == 2 else np.emath.power(x, 1 / n)),
    "function": lambda scope, name, tree: _of(_FUNCTIONS[name])(scope, tree),
    "floor": _of(np.floor),
    "ceil": _of(np.ceil),
    "abs": lambda scope, tree, kind: _of(np.abs)(scope, tree),
    "norm": _norm,
    "mean": _mean,
    "det": _square(np.linalg.det, "the determinant"),
    "trace": _square(np.trace, "the trace"),
    "under": _under,
    "list": lambda scope, *trees: tuple(_value(tree, scope) for tree in trees),
    "max": _extreme(np.max),
    "min": _extreme(np.min),
    "truth": _truth,
    "call": _call,
    "apply": _apply,
    "normal": _normal,
    "cases": _cases,
    "matrix": _matrix,
    "integral": _integrate,
    "reduce": _reduce,
}
