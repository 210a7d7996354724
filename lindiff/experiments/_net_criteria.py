"""What the criteria of the experiments on networks share."""

from contextlib import suppress
from functools import partial

import numpy as np

from lindiff.experiments.rows import MissingRow, judge, named

STD_RATIO = (0.93, 1.1)
GENERALISING = 0.01


class NotJudgeable(MissingRow):
    """The table holds the numbers, but they do not bear on the criterion."""


def verdicts(exp, tests, reader, table, settings):
    """Judge the criteria of an experiment.

    Parameters
    ----------
    exp : str
        Such as "E1".
    tests : sequence of tuple
        Identifier, text, threshold, and a function of a reader as `rows.judge` wants it. The
        text and the threshold may name attributes of the reader in braces.
    reader : callable
        ``reader(table, settings)`` finds values in the table.
    table : Table
    settings : object
        With the attribute `plan`.

    Returns
    -------
    list of Criterion
    """
    found = []
    for name, text, limit, test in tests:
        read = reader(table, settings)
        words = (part.format_map(vars(read)) for part in (text, limit))
        about = {"dataset": settings.plan.data, "table": table}
        found.append(judge(f"{exp}.{name}", *words, partial(test, read), **about))
    return found


def net(table, metric, **conditions):
    """Return a value of a network trained with the first seed in the usual way."""
    return table.value(metric, **{"subset": 1, "seed": 0, **conditions})


def sample_value(table, metric, **conditions):
    """Return a value that rests on samples, if the samples have the right spread.

    Raises
    ------
    NotJudgeable
        If their standard deviation is outside 0.93 to 1.1 times that of the training images.
    """
    value = net(table, metric, **conditions)
    keep = {name: v for name, v in conditions.items() if name not in ("sigma", "split")}
    check_spread(table, **keep)
    return value


def check_spread(table, **conditions):
    """Raise `NotJudgeable` if samples of a network are too narrow or too wide."""
    ratio = net(table, "std_ratio", **conditions)
    if not STD_RATIO[0] <= ratio <= STD_RATIO[1]:
        raise NotJudgeable(
            f"its samples have {ratio:.3f} times the standard deviation of the training images, "
            f"not {STD_RATIO[0]:g} to {STD_RATIO[1]:g} ({named(conditions)})"
        )


def spearman(values, *, decreasing=False):
    """Return the rank correlation of values with their order; equal values count as ordered."""
    values = np.asarray(values, dtype=float)
    if len(values) < 3:
        raise NotJudgeable(f"a rank correlation needs three values, got {len(values)}")
    ranks = np.argsort(np.argsort(-values if decreasing else values, kind="stable"))
    found = np.corrcoef(np.arange(len(values)), ranks)[0, 1]
    return -found if decreasing else found


def crossing(x, y, level):
    """Return the first x, interpolated in log x, at which y rises through `level`."""
    x, y = np.log(np.asarray(x, float)), np.asarray(y, float)
    above = np.flatnonzero((y[1:] >= level) & (y[:-1] < level))
    if y[0] >= level:
        return float(np.exp(x[0]))
    if not len(above):
        raise NotJudgeable(f"the curve never reaches {level:g}; its last value is {y[-1]:.3g}")
    i = above[0]
    share = (level - y[i]) / (y[i + 1] - y[i])
    return float(np.exp(x[i] + share * (x[i + 1] - x[i])))


def sizes_in(table, metric, **conditions):
    """Return the training-set sizes N that have rows of a metric, in order."""
    found = np.unique(table.where(metric, **conditions)["N"])
    if not len(found):
        raise MissingRow(f"there is no row with metric={metric}")
    return [int(n) for n in found]


def generalising_sizes(table):
    """Return the sizes N whose first network copies no sample, f_mem <= 0.01.

    Networks whose samples have not the right spread do not count: they have not learnt yet.
    """
    found = []
    for n in sizes_in(table, "f_mem", seed=0):
        with suppress(NotJudgeable):
            if sample_value(table, "f_mem", N=n) <= GENERALISING:
                found.append(n)
    if not found:
        raise NotJudgeable("no network of the table generalises: f_mem <= 0.01, right spread")
    return found


def between(levels, low, high):
    """Return the measured noise levels in [low, high]; there must be one."""
    found = [s for s in levels if low * (1 - 1e-9) <= s <= high * (1 + 1e-9)]
    if not found:
        raise MissingRow(f"no noise level between {low:g} and {high:g} was measured")
    return found
