r"""Tie each formula that a reader sees to the one that was checked.

A check leaves a record in its cell output: the numbers at which the printed formula is to be
evaluated, and the value that was checked there. `compare` reads the LaTeX of the display,
evaluates its sides at these numbers and compares them with each other and with that value.

What is compared
    Sides joined by ``=`` agree with each other to 1e-6, relative to the size of their terms.
    A relation such as ``\approx``, ``\simeq``, ``\sim`` or ``\to`` starts anew, and a side with an
    order ``O(.)`` stands alone, without the order: such a side is compared with the stored value
    only. So an asymptotic, simulated or heuristic check stores the value of the *formula* (its
    limit, leading term or theory), and the print agrees with that to 1e-6; how well the draws
    agree with it is the business of the check. Inequalities hold. Of a normal law, mean and
    covariance are two sides.

    The stored value agrees with the sides of one statement; a list holds one value for each of
    several statements, or the values of one statement at bound arrays. A statement with a bracketed
    condition counts where the condition holds; a name that a statement of the display defines
    serves in the others. Names without a value, expectations, laws and gradients are not compared.

What cannot be evaluated is tied by eye: the author confirms the display, and a later edit needs a
new confirmation. A notebook keeps both in its metadata: ``lindiff.sides`` and
``lindiff.confirmed``.
"""

import hashlib
import itertools
import re
from dataclasses import dataclass

import numpy as np

from book._tools import notebooks, texmath, texvalue
from book._tools.texmath import EQUAL, ORDER, Name, NotEvaluable
from book._tools.texvalue import Law

MIME = "application/vnd.lindiff.check+json"
RTOL, ROUNDING = 1e-6, 1e-12
DISPLAY = re.compile(r"\$\$(.*?)\$\$", re.S)
TAG = re.compile(r"\\tag\{([^{}]+)\}")


@dataclass(frozen=True)
class Tie:
    """How a display and the record of its check agree.

    `sides` counts the printed sides that were compared with another number, `tied` says whether
    the stored value was met, and `unread` why the other sides were not compared.
    """

    tag: str
    sides: int = 0
    tied: bool = False
    problems: tuple = ()
    unread: tuple = ()


@dataclass(frozen=True)
class _Value:
    """A printed side at one point."""

    key: tuple
    text: str
    value: object
    size: float
    named: bool


@dataclass
class _Group:
    """Sides that must be equal; `bounded` if an inequality joins them to others."""

    values: list
    bounded: bool = False

    @property
    def named(self):
        return any(item.named for item in self.values)


def compare(latex, record):
    """Return the `Tie` between a display and the record of its check."""
    tag, statements = record["tag"], texmath.statements(latex)
    found, unread, tied = set(), {}, False
    problems = [
        f"({tag}) prints `{_short(side.text)}`, which cannot be read: {side.unread}"
        for statement in statements
        for part in (statement, *statement.conditions)
        for side in part.sides
        if side.malformed
    ]
    for point in record.get("points", ()):
        try:
            scope = texvalue.Scope.of(point["bind"])
            stored = _values(point["value"])
        except (NotEvaluable, KeyError, TypeError, SyntaxError) as error:
            problems.append(f"({tag}) has a point that cannot be read: {error}")
            continue
        where = _where(point["bind"])
        reading = _Reading(statements, scope)
        compared, wrong = reading.inner()
        matched, mismatch = _match(reading.groups, stored)
        problems += [f"({tag}) {text}{where}" for text in wrong]
        if not wrong:
            problems += [f"({tag}) {text}{where}" for text in mismatch]
        found |= compared | matched
        unread.update(reading.unread)
        tied = tied or bool(matched)
    unread = tuple(dict.fromkeys(text for key, text in unread.items() if key not in found))
    return Tie(tag, len(found), tied and not problems, tuple(dict.fromkeys(problems)), unread)


class _Reading:
    """The sides of a display at one point, in groups that must be equal."""

    def __init__(self, statements, scope):
        self.groups, self.orders, self.unread = [], [], {}
        applying = [(i, s) for i, s in enumerate(statements) if self._applies(s, scope)]
        scope, defined = _definitions(applying, scope)
        for index, statement in applying:
            self._read(index, statement, scope, index in defined)

    @staticmethod
    def _applies(statement, scope):
        return all(texvalue.holds(c, scope) is not False for c in statement.conditions)

    def _read(self, index, statement, scope, defines):
        group, before = None, None
        for place, side in enumerate(statement.sides):
            relation = statement.relations[place - 1] if place else ""
            item = None
            if not (defines and place == 0):
                item = self._side((index, place), side, statement, scope)
            if relation not in EQUAL or side.order or group is None:
                if relation in ORDER:
                    self.orders.append((before, relation, item))
                    if group is not None:
                        group.bounded = True
                group = _Group([], relation in ORDER)
                self.groups.append(group)
            group.values += [item] if item else []
            before = item
            if side.order:
                group = None

    def _side(self, key, side, statement, scope):
        named = side.tree is not None and _has_names(side.tree)
        try:
            value, size = _evaluate(side, statement, scope)
        except NotEvaluable as error:
            self.unread[key] = f"{_short(side.text)}: {error}"
            return None
        if isinstance(value, Law):
            parts = (value.mean, value.covariance) if named else ()
            for number, part in enumerate(parts):
                law = _Value((*key, number), side.text, part, _largest(part), True)
                self.groups.append(_Group([law]))
            return None
        return _Value(key, side.text, value, size, named)

    def inner(self):
        """Compare the sides with each other; return the keys compared, and what is wrong."""
        keys, wrong = set(), []
        for group in (group for group in self.groups if group.values):
            first, *others = group.values
            for other in others:
                keys |= {first.key, other.key}
                if not _agree(first.value, other.value, first.size + other.size):
                    a, b = _worst(first.value, other.value)
                    texts = f"`{_short(first.text)}` and `{_short(other.text)}`"
                    wrong.append(f"prints {texts} as equal, but they are {a} and {b}")
        for left, relation, right in self.orders:
            if left and right:
                keys |= {left.key, right.key}
                if not np.all(ORDER[relation](left.value, right.value)):
                    a, b = _worst(left.value, right.value)
                    texts = f"`{_short(left.text)} {relation} {_short(right.text)}`"
                    wrong.append(f"prints {texts}, but the sides are {a} and {b}")
        return keys, wrong


def _definitions(applying, scope):
    """Bind the names that statements of the display define by what can be evaluated."""
    defined, before = set(), -1
    while len(defined) > before:
        before = len(defined)
        for index, statement in applying:
            certain = all(texvalue.holds(c, scope) for c in statement.conditions)
            if index not in defined and certain:
                bound = _defined(statement, scope)
                if bound is not None:
                    scope = scope.plus(*bound)
                    defined.add(index)
    return scope, defined


def _defined(statement, scope):
    """Return the value of a name without one, and where an array of its values starts."""
    name = statement.sides[0].tree
    if not isinstance(name, Name) or name.sup not in ("", "2"):
        return None
    taken = scope.values.get(name.base)
    if (
        name.plain in scope
        or callable(taken)
        or np.ndim(taken)
        or (taken is not None and not name.sub)
    ):
        return None
    for relation, side in zip(statement.relations, statement.sides[1:], strict=True):
        if relation not in EQUAL:
            return None
        try:
            value, _ = _evaluate(side, statement, scope)
            free = texvalue.free_indices(side.tree, scope)
            start = _ranges(statement, free, scope)[0].start if free else 1
        except NotEvaluable:
            continue
        if isinstance(value, Law) or free not in ([], [name.sub]) or (free and taken is not None):
            continue
        value = np.emath.sqrt(value) if name.sup else value
        return {name.base if free else name.plain: value}, {name.base: start}
    return None


def _ranges(statement, free, scope):
    """Return the range of each free index: where all sides that use it have an entry."""
    ranges = []
    for name in free:
        using = []
        for side in statement.sides:
            if side.tree is not None and name in texvalue.free_indices(side.tree, scope):
                using.append(texvalue.indices(side.tree, name, scope))
        if not using:
            raise NotEvaluable(f"the range of {name}")
        low, high = max(r.start for r in using), min(r.stop for r in using)
        if low >= high:
            raise NotEvaluable(f"the range of {name} is empty")
        ranges.append(range(low, high))
    return ranges


def _evaluate(side, statement, scope):
    """Return the value of a side, at all values of its free indices, and the size of its terms."""
    free = [] if side.tree is None else texvalue.free_indices(side.tree, scope)
    if not free:
        value = texvalue.side_value(side, scope)
        if isinstance(value, tuple):
            raise NotEvaluable("a list")
        return value, 0.0 if isinstance(value, Law) else texvalue.magnitude(side.tree, scope)
    ranges = _ranges(statement, free, scope)
    values = []
    for at in itertools.product(*ranges):
        local = scope.plus({name: float(i) for name, i in zip(free, at, strict=True)})
        values.append(texvalue.side_value(side, local))
    if any(isinstance(value, tuple | Law) for value in values):
        raise NotEvaluable("a list for each index")
    return np.array(values), _largest(values)


def _has_names(tree):
    return any(isinstance(n, Name) and n.plain not in ("e", "pi", "I") for n in tree.walk())


def _values(stored):
    """A stored value as an array, or as a list where statements have several shapes."""
    try:
        return texvalue.number(stored)
    except NotEvaluable:
        if not isinstance(stored, list):
            raise
        return [texvalue.number(item) for item in stored]


def _match(groups, stored):
    """Compare the stored value with the groups; return the keys matched, and what is wrong."""
    groups = [group for group in groups if group.values]
    # A constant such as V_0 = 0 beside the formula may meet a value by accident.
    stating = [group for group in groups if group.named and not group.bounded]
    groups = stating or groups
    if isinstance(stored, list):
        entries = stored
    else:
        for group in groups:
            if _meets(group, stored):
                return {item.key for item in group.values}, []
        row = np.ndim(stored) == 2 and len(stored) == 1
        entries = list(stored[0] if row else np.atleast_1d(stored))
    left, keys, missed = list(groups), set(), []
    for entry in entries:
        hit = next((group for group in left if _meets(group, entry)), None)
        if hit is None:
            missed.append(entry)
        else:
            left.remove(hit)
            keys |= {item.key for item in hit.values}
    open_groups = left if stating else []
    if not missed or not open_groups:
        return keys, []
    size = 0 if isinstance(stored, list) else np.size(stored)
    whole = [g for g in open_groups if np.size(g.values[-1].value) == size]
    target = stored if whole else missed[0]
    closest = min(whole or open_groups, key=lambda g: _distance(g.values[-1].value, target))
    a, b = _worst(closest.values[-1].value, target)
    text = f"prints `{_short(closest.values[-1].text)}`, which is {a}, but the check has {b}"
    return keys, [text]


def _meets(group, target):
    return any(_agree(item.value, target, item.size) for item in group.values)


def _agree(left, right, size):
    pair = _paired(left, right)
    if pair is None:
        return False
    left, right = pair
    allowed = RTOL * np.maximum(np.abs(left), np.abs(right))
    return bool(np.all(np.abs(left - right) <= allowed + ROUNDING * size))


def _paired(left, right):
    """Both as flat arrays of one size, or None where they have no common size."""
    left, right = np.ravel(left), np.ravel(right)
    if left.size != right.size and 1 not in (left.size, right.size):
        return None
    return np.broadcast_arrays(left, right)


def _distance(left, right):
    pair = _paired(left, right)
    if pair is None:
        return np.inf
    size = max(np.max(np.abs(pair[0])), np.max(np.abs(pair[1])), 1e-300)
    return float(np.max(np.abs(pair[0] - pair[1])) / size)


def _worst(left, right):
    """The two entries that differ most, as text."""
    pair = _paired(left, right)
    if pair is None:
        return f"of shape {np.shape(left)}", f"shape {np.shape(right)}"
    at = int(np.argmax(np.abs(pair[0] - pair[1])))
    return tuple(f"{np.real_if_close(item[at])[()]:.9g}" for item in pair)


def _largest(value):
    return float(np.max(np.abs(value))) if np.size(value) else 0.0


def _short(text, length=60):
    text = re.sub(r"(?<=[{(^_]) | (?=[})^_{])", "", text)
    return text if len(text) <= length else text[: length - 2] + " …"


def _where(bind):
    numbers = [f"{k} = {v:.6g}" for k, v in bind.items() if isinstance(v, int | float)]
    return f" (at {', '.join(numbers[:6])})" if numbers else ""


# ---- notebooks


def displays(notebook):
    """Return the tagged displays of a chapter: tag -> LaTeX."""
    found = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            for display in DISPLAY.findall(notebooks.source(cell)):
                found.update(dict.fromkeys(TAG.findall(display), display))
    return found


def records(notebook):
    """Return the records that the checks of a chapter left in their outputs: tag -> record."""
    found = {}
    for cell in notebooks.code_cells(notebook):
        for output in cell.get("outputs", []):
            record = output.get("data", {}).get(MIME)
            if record is not None:
                found[record["tag"]] = record
    return found


def display_hash(latex):
    """Return the hash of a display; white space, quotation marks and its number do not count."""
    text = TAG.sub(" ", re.sub(r"^\s*>", " ", latex, flags=re.M))
    tokens = re.findall(r"\\[A-Za-z]+|\S", text)
    return hashlib.sha256(" ".join(tokens).encode()).hexdigest()[:16]


def _stored(notebook, key):
    return notebook["metadata"].get("lindiff", {}).get(key, {})


def _compared(notebook):
    known = records(notebook)
    return {
        tag: compare(tex, known[tag]) for tag, tex in displays(notebook).items() if tag in known
    }


def record_sides(notebook):
    """Store how many sides of each display were compared; return a line for each that fell."""
    old = _stored(notebook, "sides")
    new = {tag: tie.sides for tag, tie in _compared(notebook).items() if tie.tied}
    notebook["metadata"].setdefault("lindiff", {})["sides"] = new
    fell = [tag for tag, count in old.items() if new.get(tag, 0) < count]
    return [f"({tag}): {new.get(tag, 0)} sides compared, {old[tag]} before" for tag in fell]


def confirm(path, tag):
    """Store that the author compared a display with its check by eye."""
    notebook = notebooks.read(path)
    latex = displays(notebook).get(tag)
    if latex is None:
        raise notebooks.ChapterError(f"no display of {path} carries the number ({tag})")
    metadata = notebook["metadata"].setdefault("lindiff", {})
    metadata["confirmed"] = {**metadata.get("confirmed", {}), tag: display_hash(latex)}
    notebooks.write_whole(path, notebooks.dumps(notebook))


def ties(notebook):
    """Return how each numbered display is tied: evaluated, by eye, untied or definition."""
    known, compared = records(notebook), _compared(notebook)
    confirmed = _stored(notebook, "confirmed")
    found = {}
    for tag, latex in displays(notebook).items():
        if tag in compared and compared[tag].tied:
            found[tag] = "evaluated"
        elif confirmed.get(tag) == display_hash(latex):
            found[tag] = "by eye"
        else:
            definition = known.get(tag, {}).get("kind") == "definition"
            found[tag] = "definition" if definition else "untied"
    return found


def share(notebook):
    """Return how many equations that state something are tied by evaluation, and how many are."""
    known = records(notebook)
    stating = [
        how for tag, how in ties(notebook).items() if known.get(tag, {}).get("kind") != "definition"
    ]
    return stating.count("evaluated"), len(stating)


def problems(notebook):
    """Return a line for each display that is not, or no longer, tied to its check."""
    found, compared, how = [], _compared(notebook), ties(notebook)
    printed, confirmed = displays(notebook), _stored(notebook, "confirmed")
    for tie in compared.values():
        found += tie.problems
    for tag, count in _stored(notebook, "sides").items():
        sides = compared[tag].sides if tag in compared else 0
        if sides < count and not (tag in compared and compared[tag].problems):
            why = "; ".join(compared[tag].unread[:2]) if tag in compared else "no check"
            found.append(f"({tag}) compares {sides} sides, {count} when it was run ({why})")
    for tag, known in confirmed.items():
        if tag not in printed:
            found.append(f"({tag}) was confirmed, but no display carries this number")
        elif known != display_hash(printed[tag]):
            found.append(
                f"({tag}) was edited after it was confirmed; read it, and confirm it again"
            )
    if notebook["metadata"].get("lindiff", {}).get("form") == 1:
        for tag, kind in how.items():
            edited = tag in confirmed
            wrong = tag in compared and compared[tag].problems
            if kind == "untied" and not edited and not wrong:
                why = "; ".join(compared[tag].unread[:2]) if tag in compared else ""
                hint = f" ({why})" if why else ""
                found.append(
                    f"({tag}) is not tied to its check{hint}: "
                    f"give the check the values of its names, or confirm it"
                )
    return found
