"""Long-format tables: one row is one number; one criterion is one row with a verdict."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace

import numpy as np

__all__ = ["COLUMNS", "Criterion", "MissingRow", "Row", "Table", "judge", "named"]


class MissingRow(LookupError):
    """A row that was asked for is not in the table."""


@dataclass(frozen=True)
class Row:
    """One measured number.

    Parameters
    ----------
    metric : str
        What was measured.
    value : float
        The number; NaN is allowed, infinity is not.
    run_id, exp, dataset, arch, split, git, device : str
        Where it comes from. The runner fills `run_id` (the unit's key), `exp`, `git` and
        `device` where they are empty.
    N, subset, C, params, seed, images_seen, step, n_eval : int, optional
        Training images, their subset, base width, parameters, seed, images seen in training,
        index of a step or curve point, images behind the number.
    sigma, stderr, wall_s : float, optional
        Noise level, standard error of `value`, seconds of the unit (filled by the runner).
    """

    metric: str
    value: float
    run_id: str = ""
    exp: str = ""
    dataset: str = ""
    N: int | None = None
    subset: int | None = None
    arch: str = ""
    C: int | None = None
    params: int | None = None
    seed: int | None = None
    images_seen: int | None = None
    step: int | None = None
    sigma: float | None = None
    split: str = ""
    n_eval: int | None = None
    stderr: float | None = None
    git: str = ""
    wall_s: float | None = None
    device: str = ""

    def __post_init__(self):
        if not self.metric:
            raise ValueError("`metric` is empty; say what the number measures")
        for name in NUMBERS:
            number = getattr(self, name)
            if number is None:
                continue
            number = float(number)
            if np.isinf(number):
                raise ValueError(f"`{name}` of the row {self.metric!r} is infinite")
            object.__setattr__(self, name, None if np.isnan(number) else number)

    def filled(self, **defaults):
        """Return the row with `defaults` where its own entry is empty."""
        empty = {k: v for k, v in defaults.items() if getattr(self, k) in ("", None)}
        return replace(self, **empty) if empty else self


COLUMNS = tuple(field.name for field in fields(Row))
TEXTS = ("metric", "run_id", "exp", "dataset", "arch", "split", "git", "device")
NUMBERS = tuple(name for name in COLUMNS if name not in TEXTS)


class Table:
    """Rows in columns: texts as unicode arrays, numbers as float64 with NaN for "none".

    Parameters
    ----------
    rows : iterable of Row

    Examples
    --------
    >>> table = Table([Row("mse", 0.5, N=16, sigma=1.0), Row("mse", 0.25, N=64, sigma=1.0)])
    >>> table.value("mse", N=64)
    0.25
    >>> table.curve("mse", "N")[1]
    array([0.5 , 0.25])

    Attributes
    ----------
    asked : set of str
        Keys of the units whose rows were asked for so far.
    """

    def __init__(self, rows: Iterable[Row] = ()):
        rows, self.asked = list(rows), set()
        self.columns = {
            name: np.array([getattr(row, name) for row in rows], dtype=str)
            if name in TEXTS
            else np.array([getattr(row, name) for row in rows], dtype=float)
            for name in COLUMNS
        }

    @classmethod
    def from_columns(cls, columns):
        """Build a table from its `columns`: a dict of equally long arrays, one per name."""
        missing = [name for name in COLUMNS if name not in columns]
        if missing:
            raise ValueError(f"`columns` lacks {', '.join(missing)}")
        table = cls()
        table.columns = {name: np.asarray(columns[name]) for name in COLUMNS}
        if len({len(column) for column in table.columns.values()}) != 1:
            raise ValueError("`columns` have different lengths")
        return table

    def __len__(self):
        return len(self.columns["value"])

    def __getitem__(self, name):
        return self.columns[name]

    def where(self, metric=None, **conditions):
        """Return the rows that meet all `conditions`, such as ``N=64`` or ``split="test"``.

        A tuple or list means "any of these"; a number is met within a relative 1e-9; None
        means that the entry is empty.
        """
        if metric is not None:
            conditions["metric"] = metric
        keep = np.ones(len(self), dtype=bool)
        for name, wanted in conditions.items():
            if name not in self.columns:
                raise ValueError(f"no column {name!r}; there are {', '.join(COLUMNS)}")
            options = wanted if isinstance(wanted, tuple | list) else (wanted,)
            keep &= np.any([_equal(self.columns[name], option) for option in options], axis=0)
        self.asked.update(self.columns["run_id"][keep].tolist())
        return Table.from_columns({name: column[keep] for name, column in self.columns.items()})

    def one(self, metric=None, **conditions):
        """Return the one row that meets the conditions as a dict.

        Raises
        ------
        MissingRow
            If there is none.
        ValueError
            If there are several.
        """
        found = self.where(metric, **conditions)
        if len(found) == 0:
            raise MissingRow(_absent(metric, conditions))
        if len(found) > 1:
            said = named({"metric": metric, **conditions})
            raise ValueError(f"{len(found)} rows have {said}; add a condition")
        return {name: column[0].item() for name, column in found.columns.items()}

    def value(self, metric=None, **conditions):
        """Return the value of the one row that meets the conditions; errors as `one`."""
        return self.one(metric, **conditions)["value"]

    def curve(self, metric, along, **conditions):
        """Return `along`, the values and their standard errors, sorted by `along`.

        Raises
        ------
        MissingRow
            If no row meets the conditions.
        """
        found = self.where(metric, **conditions)
        if len(found) == 0:
            raise MissingRow(_absent(metric, conditions))
        order = np.argsort(found[along], kind="stable")
        return found[along][order], found["value"][order], found["stderr"][order]


def named(conditions):
    """Return conditions as words, such as "N 64, arch unet-16"."""
    numbers = {k: f"{v:g}" if isinstance(v, int | float) else str(v) for k, v in conditions.items()}
    return ", ".join(f"{name} {value}" for name, value in numbers.items())


def _absent(metric, conditions):
    what = metric or "such a row"
    return f"{what} was not measured" + (f" at {named(conditions)}" if conditions else "")


def _equal(column, wanted):
    if wanted is None:
        return column == "" if column.dtype.kind == "U" else np.isnan(column)
    if isinstance(wanted, str):
        return column == wanted
    return np.isclose(column, float(wanted), rtol=1e-9, atol=0)


@dataclass(frozen=True)
class Criterion:
    """One acceptance criterion and its verdict.

    Parameters
    ----------
    id : str
        Such as "E1.a".
    text : str
        What must hold.
    threshold : str
        The number or range fixed beforehand, as text.
    value : float or None
        What was found.
    passed : bool or None
        None if it cannot be judged; `reason` then says why.
    dataset : str
    reason : str
        Why it is not judged, or what else the verdict rests on.
    stderr : float or None
    run_ids : tuple of str
        Keys of the units behind the value.
    """

    id: str
    text: str
    threshold: str
    value: float | None
    passed: bool | None
    dataset: str = ""
    reason: str = ""
    stderr: float | None = None
    run_ids: tuple = ()

    def __post_init__(self):
        for name in ("value", "stderr"):
            number = getattr(self, name)
            if number is not None:
                number = float(number) if np.isfinite(number) else None
                object.__setattr__(self, name, number)
        if self.passed is None and not self.reason:
            raise ValueError(f"criterion {self.id} is not judged; `reason` must say why")
        if self.passed is not None:
            object.__setattr__(self, "passed", bool(self.passed))
        object.__setattr__(self, "run_ids", tuple(self.run_ids))

    @property
    def verdict(self):
        """One of "passed", "failed" and "not judged"."""
        return {True: "passed", False: "failed", None: "not judged"}[self.passed]


def judge(id, text, threshold, test: Callable, *, dataset="", run_ids=(), table=None):
    """Evaluate one criterion; a missing row makes it "not judged", not an error.

    Parameters
    ----------
    id, text, threshold, dataset, run_ids
        As in `Criterion`.
    test : callable
        Called without arguments; returns ``(value, passed)``, then if there are any the
        standard error and, as `reason`, what else the verdict rests on. It raises
        `MissingRow` where the table does not hold what it needs.
    table : Table, optional
        The one that `test` asks: `run_ids` are then the units whose rows it asked for.

    Returns
    -------
    Criterion

    Examples
    --------
    >>> table = Table([Row("f_mem", 0.95, N=16)])
    >>> def copies():
    ...     value = table.value("f_mem", N=16)
    ...     return value, value >= 0.9
    >>> judge("E1.a", "copies at N=16", ">= 0.9", copies).verdict
    'passed'
    """
    if table is not None:
        table.asked.clear()
    value, passed, reason, rest = None, None, "no finite value", []
    try:
        value, passed, *rest = test()
    except MissingRow as error:
        reason = str(error)
    if table is not None:
        run_ids = sorted(table.asked)
    if value is None or not np.isfinite(value):
        return Criterion(id, text, threshold, None, None, dataset, reason, None, run_ids)
    stderr, reason = (*rest, *(None, "")[len(rest) :])
    return Criterion(id, text, threshold, value, passed, dataset, reason, stderr, run_ids)
