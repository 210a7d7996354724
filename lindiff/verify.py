r"""Check the numbered equations of a chapter, and show one badge for each.

Every check compares a formula with something computed by another route. It then
repeats the comparison with a formula that is known to be wrong, and raises
`ControlError` if the wrong one passes as well: a check that cannot fail is no check.

A badge is one short line. Behind it stands a record: what was compared, what the equation
rests on, and points (values of the symbols, value of the formula) at which the printed
formula is evaluated and compared with what was checked here.
"""

import numpy as np
import sympy

from lindiff import _arrays, _report, _symbolic
from lindiff._report import CheckError, ControlError

__all__ = [
    "CheckError",
    "ControlError",
    "check_asymptotic",
    "check_empirical",
    "check_numeric",
    "check_simulation",
    "check_symbolic",
    "declare",
]


def check_symbolic(
    tag,
    lhs,
    rhs,
    *,
    uses=(),
    covers=(),
    domain=None,
    wrong=None,
    simplify=True,
    show=True,
    names=None,
    at=None,
):
    r"""Verify a symbolic identity by algebra and at random points.

    Both sides must agree to :math:`10^{-30}` with 50 digits at 5 random points, at 20 where
    a symbol has no fixed sign. A point is complex unless its symbol is declared real, or
    positive, integer and the like, so that an identity of the real line only is refused.
    The record says ``simplified`` only if SymPy also reduces the difference to zero, and
    holds two points with the values of all symbols.

    Parameters
    ----------
    tag : str
        Equation number, such as ``"2.7"``.
    lhs, rhs : sympy.Expr, sympy.Matrix, number or nested list
        The two sides. Integrals, derivatives and sums may be left unevaluated.
    uses, covers : tuple of str
        Tags of the equations it was derived from; entries of the papers it establishes.
    domain : dict, optional
        Ranges ``{symbol: (low, high)}`` of symbols that are declared real. Without: (0.1, 3)
        for positive symbols, small integers for integers, else (-2, 2), in the real and the
        imaginary part of a complex symbol.
    wrong : same type as `rhs`, optional
        A plausible mistake that must be rejected, besides the default ones.
    simplify, show : bool
        False skips the algebra where it is slow; False does not display the equation.
    names : dict, optional
        How the printed formula writes a symbol, ``{symbol: "bar alpha"}``: LaTeX without
        backslashes. A key may be an expression, ``{sqrt(v): "sigma"}``. Without: the
        symbol's own name.
    at : (), optional
        Give ``()`` where the printed formula cannot be evaluated at the symbols, such as a
        law whose density was checked: the record then holds no points.

    Raises
    ------
    CheckError, ControlError
        If the two sides differ at a point; if a wrong right-hand side is accepted.

    Examples
    --------
    >>> import sympy
    >>> x = sympy.Symbol("x", positive=True)
    >>> check_symbolic("1.2", (x + 1) ** 2, x**2 + 2 * x + 1, wrong=x**2 + 1)
    ✓ (1.2) symbolic
    """
    record = _report.new_record(tag, "symbolic", uses, covers)
    if at not in (None, ()):
        raise ValueError("at of a symbolic check is () or left out: names says what is printed")
    lhs, rhs = _symbolic.as_expression("lhs", lhs), _symbolic.as_expression("rhs", rhs)
    sides = [lhs, rhs]
    if wrong is not None:
        sides.append(_symbolic.as_expression("wrong", wrong))
    if len({_symbolic.shape(side) for side in sides}) > 1:
        raise ValueError(f"lhs, rhs and wrong must have one shape in ({tag})")
    ready = [_symbolic.differentiated(side) for side in sides]
    symbols = set().union(*(side.free_symbols for side in ready))
    places = _symbolic.points(tag, symbols, dict(domain or {}))
    _symbolic.compare_at_points(tag, ready, places)
    proved = simplify and _symbolic.simplifies(ready[0] - ready[1])
    where = f"{len(places)} points" if symbols else "one evaluation"
    how = f"{'simplified, ' if proved else ''}{where} at {_symbolic.DIGITS} digits"
    tied = _symbolic_points(places, ready[1], names or {}) if at is None else ()
    _report.finish(record, how, _report.control_text("form", wrong), points=tied)
    if show:
        _symbolic.display(lhs, rhs)


def check_numeric(
    tag, lhs, rhs, *, rtol=1e-10, atol=0.0, uses=(), covers=(), wrong=None, basis=None, at=None
):
    r"""Verify that two arrays computed by different routes agree.

    The condition is :math:`\max|l - r| \le \mathrm{rtol}\,\max|r| + \mathrm{atol}`.

    Parameters
    ----------
    tag : str
        Equation number.
    lhs, rhs : array_like
        The two sides, of one shape (nothing is broadcast), real or complex.
    rtol, atol : float
        Allowed errors; `atol` is needed only when `rhs` is zero.
    uses, covers : tuple of str, as in `check_symbolic`
    wrong : array_like, optional
        A plausible mistake to reject; by default `rhs * (1 + max(1e-3, 1e3 * rtol))`.
    basis : {"heuristic", "cited"}, optional
        What the formula rests on where the book does not prove it: an argument with an
        unproved step, or the literature. The badge and the coverage page say so, and the
        check confirms numbers only.
    at : dict or list of dict, optional
        Values of the symbols of the printed formula, ``{"rho": 0.8, "bar alpha": 0.3}``:
        names are LaTeX without backslashes, values numbers, arrays or functions
        ``{"args": ["x"], "expr": "exp(-x**2)"}``. A list holds one dict for each entry of
        `rhs`. The build evaluates the formula there and compares it with `rhs`.

    Raises
    ------
    CheckError, ControlError
        If the sides differ, or hold NaN or infinity; if the wrong right-hand side is accepted.

    Examples
    --------
    >>> check_numeric("2.8", [1.0, 4.0], [1.0, 2.0**2], uses=("2.1",))
    ✓ (2.8) numeric
    """
    record = _report.new_record(tag, "numeric", uses, covers, basis)
    rtol, atol = _arrays.tolerance("rtol", rtol), _arrays.tolerance("atol", atol)
    lhs, rhs = _arrays.numbers("lhs", lhs), _arrays.numbers("rhs", rhs)
    size = np.abs(rhs).max()
    bound = rtol * size + atol
    if bound == 0:
        raise ValueError(f"rhs is zero or both tolerances are in ({tag}): give atol > 0")
    error = _arrays.largest_error(tag, lhs, rhs)
    if error > bound:
        raise CheckError(f"({tag}) fails: error {error:.3g} exceeds {bound:.3g}")
    if wrong is None:
        step = max(1e-3, 1e3 * rtol)
        control = rhs * (1 + step) if size > 0 else rhs + 1e3 * atol
    else:
        control = _arrays.numbers("wrong", wrong)
    if _arrays.largest_error(tag, lhs, control) <= bound:
        raise ControlError(f"({tag}) also accepts a wrong value: lower rtol or atol")
    within = f"{rtol:g}" if size > 0 else f"{atol:g} of zero"
    if size > 0 and atol > 0:
        within += f" (relative) + {atol:g}"
    within = f"{_report.count(rhs.size)} within {within}"
    rejected = _report.control_text("value", wrong)
    _report.finish(record, within, rejected, points=_report.points(at, rhs))


def check_asymptotic(
    tag,
    sizes,
    values,
    limit,
    *,
    rate,
    tolerance=0.1,
    uses=(),
    covers=(),
    wrong=None,
    basis=None,
    at=None,
):
    r"""Verify that values approach a limit at a given rate.

    The slope of :math:`\log|v_n - v_\infty|` against :math:`\log n` must equal `rate`
    within `tolerance`, in every column of its own if there are several.

    Parameters
    ----------
    tag : str
        Equation number.
    sizes : array_like, shape (n,)
        At least 3 positive sizes, or values of a small parameter, over a factor of 4.
    values, limit : array_like, shape (n,) or (n, k)
        The exact quantities at each size, and their limits, shape () or (k,), or leading
        terms.
    rate, tolerance : float
        Exponent of the error, -1 for order ``1/size``, and its allowed deviation.
    uses, covers : tuple of str, as in `check_symbolic`
    wrong : like `limit`, optional
        A wrong limit to reject, in every column; by default 5 % off, or half the closest
        value if zero.
    basis, at : optional, as in `check_numeric`, with the entries of `limit`

    Raises
    ------
    CheckError, ControlError
        If the fitted rate is another one; if the wrong limit gives the same rate.

    Examples
    --------
    >>> check_asymptotic("3.9", [10, 20, 40], [1.1, 1.05, 1.025], 1.0, rate=-1)
    ✓ (3.9) asymptotic
    """
    record = _report.new_record(tag, "asymptotic", uses, covers, basis)
    sizes, values, limit = _arrays.sizes_values_limit(sizes, values, limit)
    if not np.isfinite(rate) or rate == 0:
        raise ValueError(f"rate must be a finite number other than zero, got {rate}")
    if not 0 < tolerance < abs(rate):
        raise ValueError(f"tolerance must lie between 0 and |rate|, got {tolerance}")
    slopes = _arrays.slopes(sizes, values - limit)
    if None in slopes:
        raise CheckError(f"({tag}) attains its limit exactly: use check_numeric")
    worst = max(slopes, key=lambda slope: abs(slope - rate))
    if abs(worst - rate) > tolerance:
        raise CheckError(f"({tag}) fails: fitted rate {worst:.3f}, required {rate} ± {tolerance}")
    control = (
        _arrays.wrong_limit(values, limit) if wrong is None else _arrays.numbers("wrong", wrong)
    )
    off = _arrays.slopes(sizes, values - control)
    if any(slope is not None and abs(slope - rate) <= tolerance for slope in off):
        raise ControlError(f"({tag}) also accepts a wrong limit: use sizes closer to the limit")
    several = f", {len(slopes)} values" if len(slopes) > 1 else ""
    seen = " to ".join(dict.fromkeys(f"{slope:.2f}" for slope in (min(slopes), max(slopes))))
    fitted = f"{sizes.size} sizes{several}, rate {rate:g} ± {tolerance:g}, fitted {seen}"
    tied = _report.points(at, limit)
    _report.finish(record, fitted, "wrong limit rejected", points=tied)


def check_simulation(
    tag,
    draws,
    theory,
    *,
    k=4,
    perturbation=0.1,
    uses=(),
    covers=(),
    wrong=None,
    basis=None,
    at=None,
):
    r"""Verify a predicted mean by independent random draws.

    Every component must lie within `k` standard errors of the mean of the draws, and
    theory :math:`\times\,(1 + \mathrm{perturbation})` must not.

    Parameters
    ----------
    tag : str
        Equation number.
    draws, theory : array_like, shapes (n_draws, ...) and (...)
        At least 100 independent draws, and their predicted means.
    k, perturbation : float
        Standard errors allowed; relative change that the draws must be able to reject.
    uses, covers : tuple of str, as in `check_symbolic`
    wrong : like `theory`, optional
        A wrong prediction to reject instead; needed when the theory is zero.
    basis, at : optional, as in `check_numeric`, with the entries of `theory`

    Raises
    ------
    CheckError, ControlError
        If a component is further away; if the draws cannot reject the wrong prediction.

    Examples
    --------
    >>> import numpy as np
    >>> draws = np.random.default_rng(0).normal(2.0, 1.0, size=(2000, 3))
    >>> check_simulation("2.9", draws, [2.0, 2.0, 2.0])
    ✓ (2.9) simulation, 4 s.e.
    """
    record = _report.new_record(tag, "simulation", uses, covers, basis)
    draws, theory = _arrays.numbers("draws", draws), _arrays.numbers("theory", theory)
    if draws.ndim == 0 or draws.shape[0] < 100:
        raise ValueError("draws must hold at least 100 draws along its first axis")
    if not (k > 0 and perturbation > 0):
        raise ValueError(f"k and perturbation must be positive, got {k} and {perturbation}")
    if wrong is None and not np.any(theory):
        raise ValueError(f"theory is zero in ({tag}): give a wrong value to reject")
    mean, error = draws.mean(axis=0), draws.std(axis=0, ddof=1) / np.sqrt(draws.shape[0])
    if np.any(error <= 1e-14 * np.abs(mean)):
        raise CheckError(f"draws of ({tag}) do not vary: use check_numeric")
    worst = np.max(_arrays.difference(tag, mean, theory) / error)
    if worst > k:
        raise CheckError(f"({tag}) fails: theory is {worst:.1f} standard errors away, k = {k:g}")
    control = theory * (1 + perturbation) if wrong is None else _arrays.numbers("wrong", wrong)
    if np.max(_arrays.difference(tag, mean, control) / error) <= k:
        raise ControlError(f"({tag}) also accepts a wrong value: use more draws")
    power = "wrong value rejected" if wrong is not None else f"resolves {100 * perturbation:g} %"
    details = (f"{k:g} s.e.", _report.count(theory.size), f"{draws.shape[0]} draws", power)
    _report.finish(record, *details, points=_report.points(at, theory))


def check_empirical(tag, measured, *, low, high, control, claim, uses=(), covers=(), at=None):
    r"""Record that a measured quantity lies in a band that a control does not reach.

    Parameters
    ----------
    tag : str
        Equation number.
    measured, control : float or array_like
        What was measured, and the same where the claim should not hold.
    low, high : float
        The band, fixed before the measurement: `measured` inside, `control` outside.
    claim : str
        What is measured, in a few words on one line.
    uses, covers : tuple of str, as in `check_symbolic`
    at : dict or list of dict, optional, as in `check_numeric`, with the entries of `measured`

    Raises
    ------
    CheckError, ControlError
        If a measured value is outside the band; if a control value is inside.

    Examples
    --------
    >>> check_empirical("1.9", 0.93, low=0.9, high=1, control=0.4, claim="cosine similarity")
    ✓ (1.9) empirical
    """
    record = _report.new_record(tag, "empirical", uses, covers)
    claim = _report.one_line("claim", claim)
    measured, control = _arrays.numbers("measured", measured), _arrays.numbers("control", control)
    if np.isnan(low) or np.isnan(high) or not low < high:
        raise ValueError(f"low must be smaller than high, got {low} and {high}")
    if np.any((measured < low) | (measured > high)):
        raise CheckError(f"({tag}) fails: {claim} outside [{low:g}, {high:g}]: {measured}")
    if np.any((control >= low) & (control <= high)):
        raise ControlError(f"({tag}): the control lies inside [{low:g}, {high:g}]: {control}")
    band = f"{_report.count(measured.size)} in [{low:g}, {high:g}]"
    tied = _report.points(at, measured)
    _report.finish(record, claim, band, "control outside", points=tied)


def declare(tag, kind, *, note=None, uses=(), covers=()):
    r"""State what an equation is when it is not checked by computation.

    Parameters
    ----------
    tag : str
        Equation number.
    kind : {"definition", "cited", "heuristic", "open"}
        What the equation is.
    note : str, optional
        A few words on one line; required unless `kind` is ``"definition"``.
    uses, covers : tuple of str, as in `check_symbolic`

    Examples
    --------
    >>> declare("2.1", "definition", note="forward process")
    (2.1) definition
    """
    if kind not in _report.DECLARED:
        raise ValueError(f"kind must be one of {', '.join(_report.DECLARED)}, got {kind!r}")
    record = _report.new_record(tag, kind, uses, covers)
    if note is None and kind != "definition":
        raise ValueError(f"note must say why ({tag}) is {kind}")
    _report.finish(record, *([] if note is None else [_report.one_line("note", note)]))


def _symbolic_points(places, side, names):
    """Return two points: the symbols by name, rounded, and the value of a side there."""
    symbols = set(places[0])
    named = {symbol: " ".join(symbol.name.replace("\\", " ").split()) for symbol in symbols}
    for key, name in names.items():
        if not sympy.sympify(key).free_symbols <= symbols:
            raise ValueError(f"names has {key}, which is not made of symbols of the formula")
        named[key] = name
    if len(set(named.values())) < len(named):
        raise ValueError(f"two symbols have one name: {sorted(named.values())}; give names")
    found = []
    for place in places[:2]:
        near = {symbol: _near(value) for symbol, value in place.items()}
        bound = {name: _number(sympy.sympify(key).subs(near)) for key, name in named.items()}
        value = [_number(entry) for entry in _symbolic.evaluate("rhs", side, near)]
        # 50 digits reach further than the floats of the printed formula's evaluation.
        if np.isfinite([*bound.values(), *value]).all():
            found.append(_report.point(bound, np.reshape(value, _symbolic.shape(side))))
    return found


def _near(value):
    # The value of the formula then belongs to exactly the numbers that are stored.
    if value.is_Integer:
        return value
    parts = (sympy.Rational(str(_report.rounded(float(p)))) for p in value.as_real_imag())
    real, imaginary = parts
    return real + sympy.I * imaginary


def _number(value):
    value = sympy.sympify(value)
    return int(value) if value.is_Integer else complex(value)
