r"""Read the displayed formulas of the book: LaTeX -> statements -> sides -> trees.

`statements(latex)` splits a display into statements, each a chain of sides joined by relations;
`texvalue.value` evaluates the tree of a side.

What is read
    sums and products over ``i=1``..``n``, ``k\ge1``, ``k_1\ge k_2\ge1``, ``i<j``, ``i\ne j``, or
    over the whole of the arrays that the index picks from; integrals; fractions, roots, powers;
    matrices (``^\top``, ``^{-1}``, ``^+``, ``\det``, ``\mathrm{tr}``, norms), ``pmatrix``,
    ``cases``; elementary functions, digamma, Gamma, Lambert W, Pochhammer symbols, factorials;
    Iverson brackets ``[t>1]``; the density ``\mathcal N(x;\mu,\Sigma)``; averages over the
    entries of an array (``\langle.\rangle``); functions and derivatives that are bound by name.

How it is read
    Juxtaposition binds tighter than a slash, ``1/2x`` is ``1/(2x)``, and a function without
    brackets takes the names beside it, ``\log2\pi``; a thin space ends both.

A name is written as in LaTeX without backslashes, see `canonical`. A side that cannot be read
carries the reason; a broken one is marked as malformed.
"""

import operator
import re
from dataclasses import dataclass, field

EQUAL = {"=", ":=", r"\equiv"}
ORDER = {
    "<": operator.lt,
    ">": operator.gt,
    r"\lt": operator.lt,
    r"\gt": operator.gt,
    r"\le": operator.le,
    r"\ge": operator.ge,
    r"\leq": operator.le,
    r"\geq": operator.ge,
}
_LOOSE = r"approx|simeq|sim|to|rightarrow|longrightarrow|propto|asymp|in|perp|lesssim|gtrsim|ll|gg"
RELATIONS = EQUAL | set(ORDER) | {f"\\{name}" for name in f"{_LOOSE}|ne|neq|mapsto".split("|")}
_ELEMENTARY = "log|ln|exp|cos|sin|tan|cosh|sinh|tanh|arccos|arcsin|arctan"
FUNCTIONS = {f"\\{name}" for name in _ELEMENTARY.split("|")}
BIG = {r"\sum", r"\prod", r"\max", r"\min"}

_ACCENTS = {
    **{name: name for name in ("bar", "hat", "tilde", "dot", "vec", "mathcal", "mathbb", "mathbf")},
    **{"overline": "bar", "widehat": "hat", "widetilde": "tilde", "check": "check"},
}
_OPENING = {"(": ")", "[": "]", "{": "}", r"\{": r"\}", r"\langle": r"\rangle"}
_OPENING |= {r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"}
_CLOSING = set(_OPENING.values())
_JOINING = {"+", "-", "/", r"\cdot", r"\times", r"\pm"} | RELATIONS
_UNREADABLE = {
    r"\nabla": "a gradient",
    r"\partial": "a partial derivative",
    r"\Pr": "a probability",
    r"\lim": "a limit",
    r"\pm": "two signs at once",
    r"\mathbb E": "an expectation",
    r"\cdots": "dots",
    r"\dots": "dots",
    r"\ldots": "dots",
    r"\mid": "a condition behind a bar",
}
_MATRIX = re.compile(r"\\begin\{[pbvBV]?matrix\}")


class NotEvaluable(Exception):
    """A formula cannot be evaluated, or a name in it has no value; the message says which."""


class Malformed(NotEvaluable):
    """A formula is broken: something is missing, or stands where nothing can stand."""


# ---- names


def canonical(name):
    r"""Return the one form of a name: accent, base, subscript, superscript, primes with the base.

    ``\bar\alpha_{t-1}``, ``bar{alpha}_{t-1}`` and ``alpha_bar_t-1`` are all ``bar alpha_t-1``;
    ``V_0^{\rm means}`` is ``V_0^means``. Names of SymPy symbols are understood as far as they
    mean one thing: ``alpha_bar``, ``bar_alpha``, ``lamda``, ``lambda_`` and ``a2`` (for ``a_2``).

    Examples
    --------
    >>> canonical(r"\hat{\Sigma}_{\rm train}"), canonical("sigma_hat_0"), canonical("a2")
    ('hat Sigma_train', 'hat sigma_0', 'a_2')
    """
    parts = _words(name)
    parts = [{"lamda": "lambda", "Lamda": "Lambda"}.get(p, p) for p in parts]
    accents = set(_ACCENTS.values())
    while len(parts) > 1 and parts[-1] == "_":
        parts.pop()
    if len(parts) > 2 and parts[0] in accents and parts[1] == "_":
        del parts[1]
    for index in range(len(parts) - 1, 0, -1):
        ends = parts[index + 1 : index + 2] in ([], ["_"])
        if parts[index] in accents and parts[index - 1] == "_" and ends:
            parts[:] = [parts[index], *parts[: index - 1], *parts[index + 1 :]]
            break
    if len(parts) == 2 and parts[0].isalpha() and parts[1].isdigit():
        parts.insert(1, "_")
    text = _joined(parts)
    swapped = re.fullmatch(r"([^_^]+)\^([^_^]+)_(.+)", text)
    return f"{swapped[1]}_{swapped[3]}^{swapped[2]}" if swapped else text


def _words(latex):
    text = re.sub(r"\\(?:mathrm|text|operatorname|rm|mathsf)(?![A-Za-z])|[\\{}$]", " ", latex)
    parts = [_ACCENTS.get(p, p) for p in re.findall(r"[A-Za-z]+|\d+|\S", text)]
    return ["'" if p == "prime" else p for p in parts]


def _joined(parts):
    accents = set(_ACCENTS.values())
    return "".join(p + " " if p in accents else p for p in parts).strip()


def _flat(items):
    """The text of a printed name or script, as `canonical` writes it."""
    return _joined(_words(" ".join(i for i in items if i != r"\,")))


# ---- tokens and statements

_TOKEN = re.compile(
    r"\\begin\{\w+\*?\}|\\end\{\w+\*?\}|\\text\{[^{}]*\}|\\(?:mathrm|operatorname)\{[^{}]*\}"
    r"|\\[A-Za-z]+|\\\\|\\[,|{}]|:=|\.\d|\S"
)


def tokens(latex):
    """Return the tokens of a display, without tag, quotation marks and sizes."""
    text = re.sub(r"^\s*>[ \t]?", "", latex, flags=re.M).replace("$$", " ")
    text = re.sub(r"\\(?:tag|label)\{[^}]*\}", " ", text)
    text = re.sub(r"\\(?:begin|end)\{(?:aligned|gathered|split)\}", " ", text)
    text = re.sub(r"\\(?:[Bb]igg?[lrm]?|left|right|middle)(?![A-Za-z])", " ", text)
    text = re.sub(r"\\(?:displaystyle|limits|nolimits|!)(?![A-Za-z])|\{\}", " ", text)
    text = re.sub(r"\{\\rm\s*(\w+)\}", r"{\\mathrm{\1}}", text)
    text = re.sub(r"\\[td]frac(?![A-Za-z])", r"\\frac", text)
    text = re.sub(r"\\underbrace(?![A-Za-z])", " ", text)
    text = re.sub(r"\}\s*_\s*\{\s*\\text\{[^{}]*\}\s*\}", "}", text)
    text = re.sub(r"\\overset\s*\{?\w+\}?\s*\{?(=|\\to)\}?", r"\\sim ", text)
    text = re.sub(r"\\[lr]?Vert(?![A-Za-z])", r"\\|", text)
    text = re.sub(r"\\[lr]?vert(?![A-Za-z])", "|", text)
    text = re.sub(r"\\\\\s*\[[^\]]*\]", r"\\\\", text)
    text = re.sub(r"(?<!\\)\\[;:\s]|~", r"\\,", text)
    text = re.sub(r"\\q?quad(?![A-Za-z])", r"\\quad ", text)
    return _layout(_TOKEN.findall(text))


def _layout(items):
    """Turn line breaks and wide spaces into separators where a new statement begins."""
    kept, depth, inside = [], 0, 0
    for index, item in enumerate(items):
        inside += item.startswith(r"\begin") - item.startswith(r"\end")
        if inside or item not in (r"\\", r"\quad", "&"):
            depth += (item in _OPENING) - (item in _CLOSING)
            kept.append(item)
        elif item != "&" and depth == 0:
            after = (i for i in items[index + 1 :] if i not in (r"\\", r"\quad", "&", r"\,"))
            before = next((k for k in reversed(kept) if k != r"\,"), None)
            if next(after, None) not in _JOINING and before not in _JOINING:
                kept.append(";")
    return kept


@dataclass(frozen=True)
class Side:
    """One side of a relation: its tree or why it has none, and its text."""

    tree: object
    text: str
    unread: str = ""
    malformed: bool = False
    order: bool = False


@dataclass
class Statement:
    """Sides joined by relations, and the statements that must hold for it."""

    sides: list
    relations: list
    conditions: list = field(default_factory=list)


def statements(latex):
    """Return the statements of a display; sides that cannot be read carry the reason."""
    done, pending = [], []
    for part, role in _parts(tokens(latex)):
        part, conditions = _conditions(part)
        statement = _statement(part) if part else None
        if statement is None or role == "condition":
            extra = conditions + ([statement] if statement else [])
            if done:
                done[-1].conditions += extra
            continue
        statement.conditions += conditions
        if role == "before":
            pending.append(statement)
            continue
        statement.conditions += pending
        pending = []
        done.append(statement)
    return done


def _parts(items):
    """Cut tokens at top-level separators; a text such as `for` makes the next a condition."""
    part, depth, role = [], 0, "statement"
    for item in [*items, ";"]:
        text = item.startswith(r"\text{")
        words = item[6:-1].split() if text else []
        if depth == 0 and text and part and part[-1] in ("+", "-"):
            part.append(item)
        elif depth == 0 and (text or item in ",;.:" or item in (r"\Longrightarrow", r"\iff")):
            if any(p != r"\," for p in part):
                yield part, "before" if item == ":" else role
                role = "statement"
            if words and words[0] in ("for", "if", "when", "at"):
                role = "condition"
            part = []
        else:
            depth += (item in _OPENING or item.startswith(r"\begin")) - (
                item in _CLOSING or item.startswith(r"\end")
            )
            part.append(item)
    if part[:-1]:
        yield part[:-1], role


def _conditions(part):
    """Take the bracketed conditions such as (c > rho) out of a statement."""
    rest, conditions, index = [], [], 0
    depth = 0
    while index < len(part):
        end = _closing(part, index) if depth == 0 and part[index] == "(" else None
        if end is not None and _has_relation(part[index + 1 : end]):
            inner = part[index + 1 : end]
            conditions += [_statement(p) for p, _ in _parts(inner) if _has_relation(p)]
            index = end + 1
            continue
        depth += (part[index] in _OPENING) - (part[index] in _CLOSING)
        rest.append(part[index])
        index += 1
    return (rest if any(r != r"\," for r in rest) else []), conditions


def _closing(items, start):
    depth = 0
    for index in range(start, len(items)):
        depth += (items[index] in _OPENING) - (items[index] in _CLOSING)
        if depth == 0:
            return index
    return None


def _separators(items):
    depth = count = 0
    for item in items:
        depth += (item in _OPENING) - (item in _CLOSING)
        count += depth == 0 and item in (",", ";")
    return count


def _has_relation(items):
    depth = 0
    for item in items:
        depth += (item in _OPENING) - (item in _CLOSING)
        if depth == 0 and item in RELATIONS:
            return True
    return False


def _statement(part):
    sides, relations, current, depth = [], [], [], 0
    for item in part:
        depth += (item in _OPENING or item.startswith(r"\begin")) - (
            item in _CLOSING or item.startswith(r"\end")
        )
        if depth == 0 and item in RELATIONS:
            sides.append(_side(current))
            relations.append(item)
            current = []
        else:
            current.append(item)
    return Statement([*sides, _side(current)], relations)


def _side(items):
    text = re.sub(r"\\, ?", "", " ".join(items))
    parser = _Parser(items)
    try:
        tree = parser.whole()
    except NotEvaluable as error:
        return Side(None, text, str(error), isinstance(error, Malformed))
    return Side(tree, text, order=parser.order)


# ---- trees


@dataclass(frozen=True)
class Node:
    """An operation and its operands."""

    op: str
    args: tuple

    def walk(self):
        """Yield this node and all nodes and names below it."""
        yield self
        for arg in self.args:
            for item in arg if isinstance(arg, tuple | list) else (arg,):
                if isinstance(item, Node | Name):
                    yield from item.walk()


@dataclass(frozen=True)
class Name:
    """A printed name; subscript and superscript as text and, if they can be read, as trees."""

    base: str
    sub: str = ""
    indices: tuple = ()
    sup: str = ""
    power: object = None

    def walk(self):
        """Yield this name and what its subscript and superscript hold."""
        yield self
        for item in (*self.indices, self.power):
            if item is not None:
                yield from item.walk()

    @property
    def plain(self):
        """The canonical name without superscript."""
        return f"{self.base}_{self.sub}" if self.sub else self.base


def constant(value):
    return Node("number", (float(value),))


def _times(left, right):
    return Node("*", (left, right))


class _Parser:
    def __init__(self, items):
        self.items, self.at, self.order = list(items), 0, False

    def whole(self):
        self._thin()
        if self._next() is None:
            raise Malformed("nothing stands here")
        tree = self.expression()
        if self._next() is not None:
            if self._next() in ("|", r"\|"):
                raise NotEvaluable("a bar inside a bracket")
            raise Malformed(f"stopped at {self._next()}")
        return tree

    def _thin(self):
        while self.at < len(self.items) and self.items[self.at] == r"\,":
            self.at += 1

    def _next(self, thin=False):
        at = self.at
        while not thin and at < len(self.items) and self.items[at] == r"\,":
            at += 1
        return self.items[at] if at < len(self.items) else None

    def _take(self, wanted=None):
        self._thin()
        item = self._next()
        if item is None or (wanted is not None and item != wanted):
            raise Malformed(f"expected {wanted or 'more'}, found {item or 'the end'}")
        self.at += 1
        return item

    def expression(self):
        sign = self._take() if self._next() in ("+", "-") else "+"
        tree = self.term()
        if sign == "-":
            tree = Node("neg", (tree,))
        while self._next() in ("+", "-"):
            op = self._take()
            if self._order_term():
                continue
            tree = Node(op, (tree, self.term()))
        return tree

    def _order_term(self):
        self._thin()
        item = self._next() or ""
        if item.startswith(r"\text{"):
            self.at += 1
        elif item in ("O", "o") and self.items[self.at + 1 : self.at + 2] == ["("]:
            self.at += 1
            self._bracketed()
        elif item == r"\dots":
            raise NotEvaluable("dots")
        else:
            return False
        self.order = True
        return True

    def term(self):
        tree = self.factor()
        while not self._ends():
            if self._next() in (r"\cdot", r"\times"):
                self._take()
                tree = _times(tree, self.factor())
            elif self._next() == "/":
                self._take()
                tree = Node("/", (tree, self._tight()))
            else:
                tree = _times(tree, self.factor())
        return tree

    def _ends(self):
        item = self._next()
        stops = item in ("+", "-", ",", ";", "|", r"\|", "&", r"\\") or item in RELATIONS
        return item is None or stops or item in _CLOSING or item.startswith(r"\end")

    def _tight(self):
        """A product up to the next thin space: what a slash divides by."""
        tree = self.factor()
        while self._next(thin=True) != r"\," and not self._ends():
            if self._next() in ("/", r"\cdot", r"\times"):
                break
            tree = _times(tree, self.factor())
        return tree

    def factor(self):
        if self._next() in ("(", "["):
            return self._postfix(self._bracket())
        return self._postfix(self.atom())

    def _postfix(self, tree):
        while self._next() in ("^", "_", "!"):
            op = self._take()
            if op == "!":
                tree = Node("factorial", (tree,))
            elif op == "_":
                tree = Node("under", (tree, self._indices()[1]))
            else:
                tree = self._powered(tree, *self._script())
        return tree

    def _powered(self, tree, text, power):
        if text in ("top", "T"):
            return Node("transpose", (tree,))
        if text == "+":
            return Node("pinv", (tree,))
        if text == "-top":
            return Node("transpose", (Node("^", (tree, constant(-1))),))
        if power is None:
            raise NotEvaluable(f"the superscript {text}")
        return Node("^", (tree, power))

    def _script(self):
        """Return the text of a sub- or superscript, and its tree or None."""
        inner = self._braced()
        text = _flat(inner)
        try:
            return text, _Parser(inner).whole()
        except NotEvaluable:
            return text, None

    def _braced(self):
        if self._next() == "{":
            return self._bracketed()
        return [self._take()] + (self._accented() if self._is_accent(-1) else [])

    def _is_accent(self, back=0):
        item = self.items[self.at + back]
        return item.startswith("\\") and item[1:] in _ACCENTS

    def _accented(self):
        inner = self._braced()
        return ["{", *inner, "}"]

    def _indices(self):
        """Return the text of a subscript, and the trees of its indices."""
        inner = self._braced()
        text = _flat(inner)
        pieces = [p for p in inner if p != r"\,"]
        if len(pieces) > 1 and all(re.fullmatch(r"[A-Za-z]|\d", p) for p in pieces):
            groups = [[p] for p in pieces]
            if all(p.isdigit() for p in pieces):
                groups = [pieces]
        else:
            groups = [p for p, _ in _parts(inner)]
        trees = []
        for group in groups:
            try:
                trees.append(_Parser(group).whole())
            except NotEvaluable:
                return text, ()
        return text, tuple(trees)

    def _argument(self):
        """A braced argument or one token, as TeX reads it."""
        if self._next() == "{":
            return _Parser(self._braced()).whole()
        item = self._take()
        if item.isdigit():
            return constant(item)
        inner = [item, *(self._accented() if self._is_accent(-1) else [])]
        return _Parser(inner).whole()

    def _bracketed(self):
        """The tokens inside a bracket, which is skipped."""
        self._thin()
        if self.at == len(self.items):
            raise Malformed("an argument is missing")
        opening, end = self.items[self.at], _closing(self.items, self.at)
        if end is None:
            raise Malformed(f"{opening} is not closed")
        inner = self.items[self.at + 1 : end]
        self.at = end + 1
        return inner

    def _bracket(self):
        inner = self._bracketed()
        if _has_relation(inner):
            return Node("truth", (_statement(inner),))
        parts = [part for part, _ in _parts(inner)]
        if len(parts) != 1 + _separators(inner):
            raise Malformed("an argument is missing")
        trees = [_Parser(part).whole() for part in parts]
        return trees[0] if len(trees) == 1 else Node("list", tuple(trees))

    def atom(self):
        item = self._take()
        if item.isdigit() or re.fullmatch(r"\.\d", item):
            while (following := self._next(thin=True)) and re.fullmatch(r"\.?\d", following):
                item += self._take()
            return constant(item)
        if item in ("{", r"\{", r"\langle", r"\lfloor", r"\lceil"):
            self.at -= 1
            tree = self._bracket()
            op = {r"\langle": "mean", r"\lfloor": "floor", r"\lceil": "ceil"}.get(item)
            return Node(op, (tree,)) if op else tree
        if item in (r"\|", "|"):
            return self._bars(item)
        if item.startswith(r"\begin"):
            return self._environment(item)
        if item in (r"\frac", r"\binom"):
            return self._fraction() if item == r"\frac" else self._pair("binom")
        if item == r"\sqrt":
            return self._root()
        if item in BIG and (item in (r"\sum", r"\prod") or self._next() == "_"):
            return self._reduce(item)
        if item in (r"\max", r"\min"):
            return Node(item[1:], (self._bracket(),))
        if item == r"\int":
            return self._integral()
        if item in (r"\det", r"\mathrm{tr}", r"\operatorname{tr}", r"\mathrm{Tr}"):
            return self._of_matrix(item)
        if item in FUNCTIONS:
            return self._function(item)
        following = self._next()
        if item in _UNREADABLE or f"{item} {following}" in _UNREADABLE:
            raise NotEvaluable(_UNREADABLE.get(item) or _UNREADABLE[f"{item} {following}"])
        return self._name(item)

    def _bars(self, bar):
        inner = []
        while self._next() != bar:
            inner.append(self._take())
        self._take(bar)
        tree, kind = _Parser(inner).whole(), ""
        if bar == r"\|" and self._next() == "_":
            self._take()
            kind = self._script()[0]
        return Node("norm" if bar == r"\|" else "abs", (tree, kind))

    def _pair(self, op):
        return Node(op, (self._argument(), self._argument()))

    def _fraction(self):
        start = self.at
        above = self._braced()
        below = self._braced()
        if above[:1] in (["d"], [r"\partial"]) and below[:1] == above[:1] and len(below) > 1:
            rest = [b for b in below[1:] if b != r"\,"]
            if above[0] == r"\partial" or self._one_name(rest):
                tail = above[1:] or ["?"]
                return Name(f"d{_flat(tail)}/d{_flat(rest)}")
        self.at = start
        return self._pair("/")

    @staticmethod
    def _one_name(items):
        try:
            return isinstance(_Parser(items).whole(), Name)
        except NotEvaluable:
            return False

    def _root(self):
        degree = constant(2)
        if self._next() == "[":
            degree = self._bracket()
        tree = self._argument()
        return Node("root", (tree, degree))

    def _of_matrix(self, item):
        if item == r"\det":
            bare = self._next() in _OPENING
            return Node("det", (self._bracket() if bare else self.factor(),))
        tree = self.factor()
        while not self._ends() and self._next() != "/":
            tree = _times(tree, self.factor())
        return Node("trace", (tree,))

    def _function(self, item):
        power = None
        if self._next() == "^":
            self._take()
            power = self._script()[1]
            if power is None or power == Node("neg", (constant(1),)):
                raise NotEvaluable(f"the superscript of {item}")
        if self._next() in _OPENING:
            argument = self._bracket()
            if self._next() == "^":
                raise NotEvaluable(f"{item}(...)^n is ambiguous: write {item}^n(...)")
        else:
            argument = self.factor()
            if isinstance(argument, Name) or argument.op in ("number", "^"):
                argument = self._beside(argument)
        tree = Node("function", (item, argument))
        return tree if power is None else Node("^", (tree, power))

    def _beside(self, argument):
        """Names and numbers that follow without a space belong to a function's argument."""
        while (item := self._next(thin=True)) and item != r"\,":
            simple = re.fullmatch(r"[A-Za-z0-9]|\\[A-Za-z]+", item)
            if not simple or item in FUNCTIONS or item in BIG or item in RELATIONS:
                break
            if item[1:] not in _ACCENTS and item in (
                *_JOINING,
                *_CLOSING,
                *_OPENING,
                *_UNREADABLE,
                r"\frac",
                r"\sqrt",
                r"\det",
                r"\int",
            ):
                break
            argument = _times(argument, self.factor())
        return argument

    def _reduce(self, item):
        upper = None
        self._take("_")
        index = self._braced()
        if self._next() == "^":
            self._take()
            upper = self._argument()
        body = self.term()
        return Node("reduce", (item, *_range(index, upper), body))

    def _integral(self):
        low, high = constant("-inf"), constant("inf")
        if self._next() == "_":
            self._take()
            low = self._argument()
            self._take("^")
            high = self._argument()
        end, depth = self.at, 0
        while end < len(self.items):
            item = self.items[end]
            depth += (item in _OPENING) - (item in _CLOSING)
            if depth == 0 and item == "d":
                break
            end += 1
        if end == len(self.items):
            raise NotEvaluable("an integral whose differential does not stand at its end")
        inner = _Parser(self.items[self.at : end] or ["1"]).whole()
        self.at = end + 1
        variable = self._name(self._take())
        if not isinstance(variable, Name) or variable.sup:
            raise NotEvaluable("an integral over something that is no name")
        return Node("integral", (variable.plain, low, high, inner))

    def _environment(self, item):
        end, depth = self.at, 1
        while depth:
            if end == len(self.items):
                raise Malformed(f"{item} is not closed")
            depth += self.items[end].startswith(r"\begin") - self.items[end].startswith(r"\end")
            end += 1
        rows = _rows(self.items[self.at : end - 1])
        self.at = end
        if item == r"\begin{cases}":
            return Node("cases", tuple((_Parser(r[0]).whole(), _case(r[1:])) for r in rows))
        if not _MATRIX.fullmatch(item):
            raise NotEvaluable(f"the environment {item}")
        tree = Node("matrix", tuple(tuple(_Parser(c).whole() for c in row) for row in rows))
        return Node("det", (tree,)) if item == r"\begin{vmatrix}" else tree

    def _name(self, item):
        if item.startswith("\\") and item[1:] in _ACCENTS:
            inner = self._braced()
            if inner == ["N"] and item == r"\mathcal" and self._next() == "(":
                return Node("normal", (self._normal(),))
            item = f"{item} {' '.join(inner)}"
        word = re.fullmatch(r"\\(?:mathrm|operatorname)\{(.*)\}", item)
        item = word[1] if word else item
        if not re.match(r"\\?[A-Za-z]", item):
            raise Malformed(f"the symbol {item}")
        while self._next() in ("'", r"\prime"):
            self._take()
            item += "'"
        name = {"base": _flat([item])}
        while (script := self._next()) in ("_", "^"):
            if script == "_" and "sub" not in name:
                self._take()
                name["sub"], name["indices"] = self._indices()
            elif script == "^" and "sup" not in name:
                self._take()
                name["sup"], name["power"] = self._superscript()
                while self._next() == "'":
                    name["base"] += self._take()
            else:
                break
        name = Name(**name)
        return self._applied(name) if self._next() in ("(", "[") else name

    def _superscript(self):
        """As `_script`; an index in brackets, as in x^{(k)}, keeps them in its text."""
        start = self.at
        inner = [i for i in self._braced() if i != r"\,"]
        if len(inner) > 2 and inner[0] == "(" and _closing(inner, 0) == len(inner) - 1:
            return f"({_flat(inner[1:-1])})", _Parser(inner[1:-1]).whole()
        self.at = start
        return self._script()

    def _normal(self):
        self._take("(")
        self.at -= 1
        tree = self._bracket()
        return tree

    def _applied(self, name):
        """f(x) if f turns out to be a function, else the product of f and (x)."""
        start = self.at
        group = self._bracket()
        if isinstance(group, Node) and group.op == "truth":
            return _times(name, group)
        bare = Name(name.base, name.sub, name.indices)
        called = Node("call", (bare, group))
        if name.sup:
            called = self._powered(called, name.sup, name.power)
        here = self.at
        called = self._postfix(called)
        end = self.at
        self.at = here
        product = _times(name, self._postfix(group))
        assert self.at == end > start
        return Node("apply", (name, group, called, product))


def _rows(items):
    rows, depth = [[[]]], 0
    for item in items:
        depth += (item in _OPENING) - (item in _CLOSING)
        if depth == 0 and item == r"\\":
            rows.append([[]])
        elif depth == 0 and item == "&":
            rows[-1].append([])
        else:
            rows[-1][-1].append(item)
    return [row for row in rows if any(row)]


def _case(columns):
    """The condition of a row of cases: statements, the word of a flag, or nothing."""
    items = [i for column in columns for i in column if i not in (r"\,", r"\quad", ",", ".")]
    words = [i[6:-1].strip(" ,.") for i in items if i.startswith(r"\text{")]
    rest = [i for i in items if not i.startswith(r"\text{")]
    if rest:
        return [_statement(part) for part, _ in _parts(rest)]
    word = re.sub(r"^(?:if|for|when)\s+", "", " ".join(words))
    return "" if word in ("", "otherwise", "else") else _flat([word])


def _range(index, upper):
    """Return the index names, the tree or None of both ends, and the relations among them."""
    index = [i for i in index if i not in (r"\,", ",")]
    chain, relations = [[]], []
    for item in index:
        if item in RELATIONS:
            relations.append(item)
            chain.append([])
        else:
            chain[-1].append(item)
    if not relations:
        names = [_flat([i]) for i in chain[0]]
        if not all(re.fullmatch(r"\\?[A-Za-z]+", i) for i in chain[0]) or "" in names:
            raise NotEvaluable(f"a sum over {' '.join(index)}")
        if upper is not None and len(names) == 1:
            return (tuple(names), constant(1), upper, ())
        return (tuple(names), None, None, ())
    names = [_flat(part) for part in chain]
    if relations == ["="] and upper is not None:
        return ((names[0],), _Parser(chain[1]).whole(), upper, ())
    if set(relations) <= {r"\ge", r"\geq"} and chain[-1] and chain[-1][0].isdigit():
        return (tuple(names[:-1]), _Parser(chain[-1]).whole(), upper, ())
    if len(names) == 2 and relations[0] in ("<", r"\lt", r"\ne", r"\neq", r"\le", r"\leq"):
        return (tuple(names), None, None, (relations[0],))
    raise NotEvaluable(f"a sum over {' '.join(index)}")
