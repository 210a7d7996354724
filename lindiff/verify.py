r"""Check the numbered equations of a chapter, and print one stable line for each.

Every check compares a formula with something computed by another route. It then
repeats the comparison with a formula that is known to be wrong, and raises
`ControlError` if the wrong one passes as well: a check that cannot fail is no check.
"""

import sys

import numpy as np
import sympy

from lindiff import _symbolic
from lindiff._report import DECLARED, CheckError, ControlError, new_line, one_line

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
    tag, lhs, rhs, *, uses=(), covers=(), domain=None, wrong=None, simplify=True, show=True
):
    r"""Verify a symbolic identity by algebra and at random points.

    Both sides are evaluated at 5 random points with 50 digits and must agree to
    :math:`10^{-30}`. A short list of simplifications then tries to reduce their
    difference to zero; the line says ``simplified`` only if one of them succeeds.

    Parameters
    ----------
    tag : str
        Equation number, such as ``"2.7"``.
    lhs, rhs : sympy.Expr, sympy.Matrix, number or nested list
        The two sides. Integrals, derivatives and sums may be left unevaluated.
    uses : tuple of str
        Tags of the equations this one was derived from.
    covers : tuple of str
        Entries of the papers that this equation establishes.
    domain : dict, optional
        Range ``{symbol: (low, high)}`` of the points. Without it, the assumptions of
        the symbol decide: (0.1, 3) if positive, small integers if integer, else (-2, 2).
    wrong : same type as `rhs`, optional
        A plausible mistake that must be rejected, besides the default ones.
    simplify : bool
        False skips the algebra, for expressions on which it is slow.
    show : bool
        Display the equation when run in a notebook.

    Raises
    ------
    CheckError
        If the two sides differ at a point.
    ControlError
        If a wrong right-hand side is accepted.

    Examples
    --------
    >>> import sympy
    >>> x = sympy.Symbol("x")
    >>> check_symbolic("1.2", (x + 1) ** 2, x**2 + 2 * x + 1, wrong=x**2 + 1)
    (1.2) symbolic · simplified, 5 points at 50 digits · wrong form rejected
    """
    line = new_line(tag, "symbolic", uses, covers)
    lhs, rhs = _symbolic.as_expression("lhs", lhs), _symbolic.as_expression("rhs", rhs)
    sides = [lhs, rhs]
    if wrong is not None:
        sides.append(_symbolic.as_expression("wrong", wrong))
    if len({_symbolic.shape(side) for side in sides}) > 1:
        raise ValueError(f"lhs, rhs and wrong must have one shape in ({tag})")
    ready = [_symbolic.differentiated(side) for side in sides]
    symbols = set().union(*(side.free_symbols for side in ready))
    places = _symbolic.points(tag, symbols, dict(domain or {}))
    _compare_at_points(tag, ready, places)
    proved = simplify and _symbolic.simplifies(ready[0] - ready[1])
    where = f"{len(places)} points" if symbols else "one evaluation"
    how = f"{'simplified, ' if proved else ''}{where} at {_symbolic.DIGITS} digits"
    _print(line, how, _control_text("form", wrong))
    if show:
        _display(lhs, rhs)


def check_numeric(tag, lhs, rhs, *, rtol=1e-10, atol=0.0, uses=(), covers=(), wrong=None):
    r"""Verify that two arrays computed by different routes agree.

    The condition is :math:`\max|l - r| \le \mathrm{rtol}\,\max|r| + \mathrm{atol}`.

    Parameters
    ----------
    tag : str
        Equation number.
    lhs, rhs : array_like
        The two sides, of one shape (nothing is broadcast), real or complex.
    rtol : float
        Allowed error relative to the largest entry of `rhs`.
    atol : float
        Allowed absolute error; needed only when `rhs` is zero.
    uses, covers : tuple of str
        As in `check_symbolic`.
    wrong : array_like, optional
        A plausible mistake that must be rejected. By default `rhs` times
        ``1 + max(1e-3, 1e3 * rtol)``.

    Raises
    ------
    CheckError
        If the sides differ, or hold NaN or infinity.
    ControlError
        If the wrong right-hand side is accepted.

    Examples
    --------
    >>> check_numeric("2.8", [1.0, 4.0], [1.0, 2.0**2], uses=("2.1",))
    (2.8) numeric · 2 values within 1e-10 · perturbed value rejected · uses (2.1)
    """
    line = new_line(tag, "numeric", uses, covers)
    rtol, atol = _tolerance("rtol", rtol), _tolerance("atol", atol)
    lhs, rhs = _numbers("lhs", lhs), _numbers("rhs", rhs)
    size = np.abs(rhs).max()
    bound = rtol * size + atol
    if bound == 0:
        raise ValueError(f"rhs is zero or both tolerances are in ({tag}): give atol > 0")
    error = _largest_error(tag, lhs, rhs)
    if error > bound:
        raise CheckError(f"({tag}) fails: error {error:.3g} exceeds {bound:.3g}")
    if wrong is None:
        step = max(1e-3, 1e3 * rtol)
        control = rhs * (1 + step) if size > 0 else rhs + 1e3 * atol
    else:
        control = _numbers("wrong", wrong)
    if _largest_error(tag, lhs, control) <= bound:
        raise ControlError(f"({tag}) also accepts a wrong value: lower rtol or atol")
    within = f"{rtol:g}" if size > 0 else f"{atol:g} of zero"
    if size > 0 and atol > 0:
        within += f" (relative) + {atol:g}"
    _print(line, f"{_count(rhs.size)} within {within}", _control_text("value", wrong))


def check_asymptotic(
    tag, sizes, values, limit, *, rate, tolerance=0.1, uses=(), covers=(), wrong=None
):
    r"""Verify that values approach a limit at a given rate.

    The slope of :math:`\log|v_n - v_\infty|` against :math:`\log n` must equal `rate`
    within `tolerance`.

    Parameters
    ----------
    tag : str
        Equation number.
    sizes : array_like, shape (n,)
        At least 3 different positive sizes, the largest 4 times the smallest.
        A small parameter works too, with a positive rate.
    values : array_like, shape (n,)
        The exact quantity at each size.
    limit : float or array_like, shape (n,)
        The claimed limit, or leading term at each size.
    rate : float
        Exponent of the error, not zero: -1 for an error of order ``1/size``.
    tolerance : float
        Allowed distance of the fitted slope from `rate`.
    uses, covers : tuple of str
        As in `check_symbolic`.
    wrong : like `limit`, optional
        A wrong limit that must be rejected; by default 5 % off.

    Raises
    ------
    CheckError
        If the fitted rate is another one, or the limit is attained exactly.
    ControlError
        If the wrong limit gives the same rate.

    Examples
    --------
    >>> check_asymptotic("3.9", [10, 20, 40], [1.1, 1.05, 1.025], 1.0, rate=-1)
    (3.9) asymptotic · 3 sizes, rate -1 ± 0.1, fitted -1.00 · wrong limit rejected
    """
    line = new_line(tag, "asymptotic", uses, covers)
    sizes, values, limit = _sizes_values_limit(sizes, values, limit)
    if not np.isfinite(rate) or rate == 0:
        raise ValueError(f"rate must be a finite number other than zero, got {rate}")
    if not 0 < tolerance < abs(rate):
        raise ValueError(f"tolerance must lie between 0 and |rate|, got {tolerance}")
    slope = _slope(sizes, values - limit)
    if slope is None:
        raise CheckError(f"({tag}) attains its limit exactly: use check_numeric")
    if abs(slope - rate) > tolerance:
        raise CheckError(f"({tag}) fails: fitted rate {slope:.3f}, required {rate} ± {tolerance}")
    if wrong is None:
        control = limit * 1.05 if np.any(limit) else limit + 0.05 * np.abs(values).max()
    else:
        control = _numbers("wrong", wrong)
    off = _slope(sizes, values - control)
    if off is not None and abs(off - rate) <= tolerance:
        raise ControlError(f"({tag}) also accepts a wrong limit: use sizes closer to the limit")
    fitted = f"{sizes.size} sizes, rate {rate:g} ± {tolerance:g}, fitted {slope:.2f}"
    _print(line, fitted, "wrong limit rejected")


def check_simulation(tag, draws, theory, *, k=4, perturbation=0.1, uses=(), covers=(), wrong=None):
    r"""Verify a predicted mean by independent random draws.

    Each component of the theory must lie within `k` standard errors of the mean of the
    draws, and theory :math:`\times\,(1 + \mathrm{perturbation})` must not.

    Parameters
    ----------
    tag : str
        Equation number.
    draws : array_like, shape (n_draws, ...)
        Independent draws, at least 100.
    theory : array_like, shape ``draws.shape[1:]``
        Predicted means.
    k : float
        Number of standard errors.
    perturbation : float
        Relative change of the theory that the draws must be able to reject.
    uses, covers : tuple of str
        As in `check_symbolic`.
    wrong : like `theory`, optional
        A wrong prediction to reject instead; needed when the theory is zero.

    Raises
    ------
    CheckError
        If a component is further away, or the draws do not vary.
    ControlError
        If the draws are too few to reject the wrong prediction.

    Examples
    --------
    >>> import numpy as np
    >>> draws = np.random.default_rng(0).normal(2.0, 1.0, size=(2000, 3))
    >>> check_simulation("2.9", draws, [2.0, 2.0, 2.0])
    (2.9) simulation · 3 values within 4 s.e. · 2000 draws · resolves 10 %
    """
    line = new_line(tag, "simulation", uses, covers)
    draws, theory = _numbers("draws", draws), _numbers("theory", theory)
    if draws.ndim == 0 or draws.shape[0] < 100:
        raise ValueError("draws must hold at least 100 draws along its first axis")
    if not (k > 0 and perturbation > 0):
        raise ValueError(f"k and perturbation must be positive, got {k} and {perturbation}")
    if wrong is None and not np.any(theory):
        raise ValueError(f"theory is zero in ({tag}): give a wrong value to reject")
    mean, error = draws.mean(axis=0), draws.std(axis=0, ddof=1) / np.sqrt(draws.shape[0])
    if np.any(error <= 1e-14 * np.abs(mean)):
        raise CheckError(f"draws of ({tag}) do not vary: use check_numeric")
    worst = np.max(_difference(tag, mean, theory) / error)
    if worst > k:
        raise CheckError(f"({tag}) fails: theory is {worst:.1f} standard errors away, k = {k:g}")
    control = theory * (1 + perturbation) if wrong is None else _numbers("wrong", wrong)
    if np.max(_difference(tag, mean, control) / error) <= k:
        raise ControlError(f"({tag}) also accepts a wrong value: use more draws")
    power = "wrong value rejected" if wrong is not None else f"resolves {100 * perturbation:g} %"
    _print(line, f"{_count(theory.size)} within {k:g} s.e.", f"{draws.shape[0]} draws", power)


def check_empirical(tag, measured, *, low, high, control, claim, uses=(), covers=()):
    r"""Record that a measured quantity lies in a band that a control does not reach.

    Parameters
    ----------
    tag : str
        Equation number.
    measured : float or array_like
        What was measured; every entry must lie in [`low`, `high`].
    low, high : float
        The band, fixed before the measurement.
    control : float or array_like
        The same quantity where the claim should not hold; every entry must lie outside.
    claim : str
        What is measured, in a few words on one line.
    uses, covers : tuple of str
        As in `check_symbolic`.

    Raises
    ------
    CheckError
        If a measured value is outside the band.
    ControlError
        If a control value is inside.

    Examples
    --------
    >>> check_empirical("1.9", 0.93, low=0.9, high=1, control=0.4, claim="cosine similarity")
    (1.9) empirical · cosine similarity · 1 value in [0.9, 1] · control outside
    """
    line = new_line(tag, "empirical", uses, covers)
    claim = one_line("claim", claim)
    measured, control = _numbers("measured", measured), _numbers("control", control)
    if np.isnan(low) or np.isnan(high) or not low < high:
        raise ValueError(f"low must be smaller than high, got {low} and {high}")
    if np.any((measured < low) | (measured > high)):
        raise CheckError(f"({tag}) fails: {claim} outside [{low:g}, {high:g}]: {measured}")
    if np.any((control >= low) & (control <= high)):
        raise ControlError(f"({tag}): the control lies inside [{low:g}, {high:g}]: {control}")
    band = f"{_count(measured.size)} in [{low:g}, {high:g}]"
    _print(line, claim, band, "control outside")


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
    uses, covers : tuple of str
        As in `check_symbolic`.

    Examples
    --------
    >>> declare("2.1", "definition", note="forward process")
    (2.1) definition · forward process
    """
    if kind not in DECLARED:
        raise ValueError(f"kind must be one of {', '.join(DECLARED)}, got {kind!r}")
    line = new_line(tag, kind, uses, covers)
    if note is None and kind != "definition":
        raise ValueError(f"note must say why ({tag}) is {kind}")
    _print(line, *([] if note is None else [one_line("note", note)]))


def _compare_at_points(tag, sides, places):
    lhs, rhs = sides[:2]
    literal_zero = all(entry == 0 for entry in _symbolic.entries(rhs))
    accepted = {}
    for place in places:
        left = _symbolic.evaluate(f"lhs of ({tag})", lhs, place)
        right = _symbolic.evaluate(f"rhs of ({tag})", rhs, place)
        floor = 0
        if max(map(abs, left)) < 1e-25 and max(map(abs, right)) < 1e-25:
            floor = max(_symbolic.scale_of_terms(lhs, place), 1 if literal_zero else 0)
        if not _symbolic.agree(left, right, floor):
            raise CheckError(f"({tag}) fails at {place}: {_short(left)} against {_short(right)}")
        controls = _perturbed(right, floor)
        if len(sides) == 3:
            controls["the wrong form"] = _symbolic.evaluate("wrong", sides[2], place)
        for name, control in controls.items():
            passes = _symbolic.agree(left, control, floor)
            accepted[name] = accepted.get(name, True) and passes
    for name, passes in accepted.items():
        if passes:
            raise ControlError(f"({tag}) also accepts {name}: change the formula or the domain")


def _perturbed(values, floor):
    controls = {"rhs + 1/89": [value + sympy.Rational(1, 89) for value in values]}
    if max(map(abs, values)) > _symbolic.TOLERANCE * floor:
        controls["rhs * (1 + 1/97)"] = [value * sympy.Rational(98, 97) for value in values]
        controls["-rhs"] = [-value for value in values]
    if len(values) > 1:
        controls["one changed entry"] = [*values[:-1], values[-1] + sympy.Rational(1, 89)]
    return controls


def _short(values):
    return ", ".join(str(value.evalf(8)) for value in values)


def _numbers(name, values):
    array = np.asarray(values)
    if array.dtype == object or array.dtype.kind not in "biufc":
        raise TypeError(f"{name} must hold numbers, got {array.dtype}; call float() on them")
    array = array.astype(complex if array.dtype.kind == "c" else float)
    if array.size == 0:
        raise ValueError(f"{name} must not be empty")
    if not np.all(np.isfinite(array)):
        raise CheckError(f"{name} holds NaN or infinity")
    return array


def _tolerance(name, value):
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and not negative, got {value}")
    return float(value)


def _difference(tag, left, right):
    if left.shape != right.shape:
        raise ValueError(f"shapes {left.shape} and {right.shape} in ({tag}) must be equal")
    return np.abs(left - right)


def _largest_error(tag, left, right):
    return _difference(tag, left, right).max()


def _sizes_values_limit(sizes, values, limit):
    sizes, values = _numbers("sizes", sizes), _numbers("values", values)
    limit = _numbers("limit", limit)
    if sizes.ndim != 1 or np.unique(sizes).size < 3:
        raise ValueError("sizes must be a list of at least 3 different sizes")
    if sizes.min() <= 0 or sizes.max() < 4 * sizes.min():
        raise ValueError("sizes must be positive and span a factor of at least 4")
    if values.shape != sizes.shape:
        raise ValueError(f"values must have shape {sizes.shape}, got {values.shape}")
    if limit.shape not in ((), sizes.shape):
        raise ValueError(f"limit must be a number or have shape {sizes.shape}")
    return sizes, values, limit


def _slope(sizes, errors):
    errors = np.abs(errors)
    if errors.min() == 0:
        return None
    return np.polyfit(np.log(sizes), np.log(errors), 1)[0]


def _count(number):
    return "1 value" if number == 1 else f"{number} values"


def _control_text(noun, wrong):
    return f"wrong {noun} rejected" if wrong is not None else f"perturbed {noun} rejected"


def _print(line, *details):
    print(type(line)(line.tag, line.kind, details, line.uses, line.covers))


def _display(lhs, rhs):
    interactive = "IPython" in sys.modules and sys.modules["IPython"].get_ipython()
    if interactive:
        sys.modules["IPython"].display.display(sympy.Eq(lhs, rhs, evaluate=False))
