"""Losses and divergences at the edges of float64, against fifty digits and more."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lindiff import losses
from lindiff.denoisers import AffineDenoiser
from lindiff.losses import LossModes, ModelPair

EDGES = settings(derandomize=True, deadline=None, max_examples=70)
FEW = settings(derandomize=True, deadline=None, max_examples=40)
LEVELS = st.sampled_from([1.0, 1 - 2.0**-53, 0.99999, 0.5, 1e-3, 1e-150, 1e-300])
FLOORS = st.sampled_from([0.0, 5e-324, 1e-300, 1e-14, 1.0, 1e160, 1e300, 1e308])
SIZES = st.one_of(st.just(0.0), st.integers(-150, 150).map(lambda e: 10.0**e * 1.25))
COUNTS = st.sampled_from([0.3, 1.0, 7.5, 1e9])
MODES = st.lists(st.tuples(SIZES, SIZES, SIZES, COUNTS), min_size=1, max_size=4)
TOTALS = [losses.residual_loss, losses.training_loss, losses.test_loss, losses.gap]


def close(found, exact, rtol=1e-12, size=None):
    """Whether a float is the exact number, or infinite where that is too large for a float."""
    size = abs(exact) if size is None else size
    if abs(exact) > mpmath.mpf(np.finfo(float).max):
        return found == np.inf
    return abs(mpmath.mpf(found) - exact) <= rtol * size + mpmath.mpf(10) ** -300


def exact_losses(rows, alpha_bar, floor):
    """The four losses, and the sum of the sizes of the terms of the last."""
    ratio = (1 - mpmath.mpf(alpha_bar)) / mpmath.mpf(alpha_bar)
    sums = [mpmath.mpf(0)] * 5
    for row in rows:
        e, m, shift, count = map(mpmath.mpf, row)
        whole, second = e + ratio + mpmath.mpf(floor), m + shift
        kept, share = (e + mpmath.mpf(floor)) / whole, ratio / whole**2
        terms = [kept, kept**2 + share * e, kept**2 + share * second, share * (second - e)]
        terms.append(share * (second + e))
        sums = [total + count * term for total, term in zip(sums, terms, strict=True)]
    return sums


@pytest.mark.parametrize("copies", [1, 70])
@EDGES
@given(MODES, LEVELS, FLOORS)
def test_losses_of_any_size(copies, rows, alpha_bar, floor):
    modes = LossModes(*np.transpose(rows))
    level = np.full(copies, alpha_bar)
    if alpha_bar == 1 and floor == 0 and min(row[0] for row in rows) == 0:
        with pytest.raises(ValueError, match="`alpha_bar` must be below 1"):
            losses.test_loss(modes, level)
        return
    with mpmath.workdps(50):
        *exact, size = exact_losses(rows, alpha_bar, floor)
        sizes = [None, None, None, size]
        for function, value, whole in zip(TOTALS, exact, sizes, strict=True):
            total = function(modes, level, floor=floor)
            shares = function(modes, alpha_bar, floor=floor, per_mode=True)
            assert close(total[-1], value, size=whole), function.__name__
            assert close(np.sum(shares), value, size=whole), function.__name__


@EDGES
@given(MODES, st.lists(st.integers(-300, 300), min_size=1, max_size=3), FLOORS)
def test_many_levels_of_any_size_equal_single_ones(rows, exponents, floor):
    modes = LossModes(*np.transpose(rows))
    level = np.minimum(np.repeat(10.0 ** -np.abs(np.array(exponents, float)), 90), 1 - 2.0**-53)
    for function in TOTALS:
        grid = function(modes, level, floor=floor)
        single = [function(modes, a, floor=floor) for a in level[::90]]
        size = losses.test_loss(modes, level[::90], floor=floor)
        np.testing.assert_allclose(grid[::90], single, rtol=1e-12, atol=1e-300)
        assert not np.any(np.isnan(size))


@EDGES
@given(st.lists(SIZES, min_size=1, max_size=3), LEVELS, FLOORS)
def test_optimal_weights_of_any_size(values, alpha_bar, floor):
    if alpha_bar == 1 and floor == 0 and min(values) == 0:
        return
    found = losses.optimal_weights(values, alpha_bar, floor=floor)
    with mpmath.workdps(50):
        a = mpmath.mpf(alpha_bar)
        for value, weight in zip(values, found, strict=True):
            whole = a * (mpmath.mpf(value) + mpmath.mpf(floor)) + (1 - a)
            assert close(weight, mpmath.sqrt(1 - a) / whole)


@pytest.mark.parametrize("floor", [1e160, 1e300])
def test_a_huge_floor_keeps_the_whole_loss(floor):
    modes = LossModes([1.0, 0.5, 0.0], [1.0, 1.0, 1.0])
    for function in TOTALS[:3]:
        assert function(modes, 0.5, floor=floor) == 3.0


@FEW
@given(st.integers(-490, 490), st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_modes_of_data_in_any_unit(power, n, d, diagonal):
    rng, unit = np.random.default_rng(n + 10 * d), 2.0**power
    data, mean = rng.standard_normal((n, d)), rng.standard_normal(d)
    root, other = rng.standard_normal((d, d)), rng.standard_normal((6, d))
    cov = np.arange(1.0, d + 1) if diagonal else root @ root.T
    here = LossModes.from_data(data, mean, cov), LossModes.from_reference(data, other)
    away = (
        LossModes.from_data(data * unit, mean * unit, cov * unit * unit),
        LossModes.from_reference(data * unit, other * unit),
    )
    for one, two in zip(here, away, strict=True):
        for name in ("eigenvalues", "variances", "shifts"):
            wanted = getattr(one, name) * unit * unit
            np.testing.assert_allclose(getattr(two, name), wanted, rtol=1e-9, atol=0)
        np.testing.assert_array_equal(one.multiplicities, two.multiplicities)


EXPONENTS = st.integers(-150, 150)


@EDGES
@given(EXPONENTS, EXPONENTS, EXPONENTS, LEVELS, FLOORS, st.sampled_from([0.0, 1.0, 1e70]))
def test_alignment_of_any_size(first, second, truth, alpha_bar, floor, away):
    e, f, cov = 10.0**first, 1.5 * 10.0**second, 10.0**truth
    models = AffineDenoiser([0.0], [e], [[1.0]]), AffineDenoiser([away], [f], [[1.0]])
    pair = ModelPair.from_denoisers(*models, [0.5 * away], [cov])
    with mpmath.workdps(60):
        ratio, c = (1 - mpmath.mpf(alpha_bar)) / mpmath.mpf(alpha_bar), mpmath.mpf(floor)
        if ratio > 0 and ratio + c < mpmath.mpf(max(e, f)) * mpmath.mpf("1.0000001e-150"):
            with pytest.raises(ValueError, match="`alpha_bar` leaves noise below 1e-150"):
                losses.alignment(pair, alpha_bar, floor=floor, other_floor=floor)
            return
        one, two = e + ratio + c, f + ratio + c
        spread = (cov + ratio) * ratio * ((mpmath.mpf(f) - mpmath.mpf(e)) / (one * two)) ** 2
        moved = 0.5 * mpmath.mpf(away) * (1 / one + 1 / two)
        exact = spread + ratio * moved**2
    found = losses.alignment(pair, alpha_bar, floor=floor, other_floor=floor)
    assert close(found, exact, rtol=1e-11)


def exact_kl(data, mean, variances, floor):
    """Divergences of the truth from the fit and of the fit from the truth."""
    with mpmath.workdps(1500):
        n, d = np.shape(data)
        rows = mpmath.matrix([[mpmath.mpf(float(x)) for x in row] for row in data])
        centre = [mpmath.fsum(rows[i, j] for i in range(n)) / n for j in range(d)]
        for i in range(n):
            for j in range(d):
                rows[i, j] -= centre[j]
        fitted = rows.T * rows / n + mpmath.mpf(floor) * mpmath.eye(d)
        shift = mpmath.matrix([mpmath.mpf(float(mean[j])) - centre[j] for j in range(d)])
        truth = [mpmath.mpf(float(v)) for v in variances]
        inverse = fitted**-1
        ratio = mpmath.log(mpmath.det(fitted)) - mpmath.fsum(map(mpmath.log, truth))
        moved = (shift.T * inverse * shift)[0]
        first = mpmath.fsum(inverse[j, j] * truth[j] for j in range(d)) + moved - d + ratio
        second = mpmath.fsum((fitted[j, j] + shift[j] ** 2) / truth[j] for j in range(d))
        return first / 2, (second - d - ratio) / 2


@pytest.mark.parametrize("reverse", [False, True])
@FEW
@given(
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(-150, 150),
    st.sampled_from([0.0, -30.0, -100.0]),
    st.sampled_from([0.0, 5e-324, 1e-300, 1e-14, 1.0, 1e300]),
)
def test_divergences_of_a_fit_in_any_unit(reverse, n, d, exponent, graded, floor):
    rng, unit = np.random.default_rng(n + 10 * d), 10.0**exponent
    scales = unit * np.logspace(0, graded, d)
    data, mean = rng.standard_normal((n, d)) * scales, rng.standard_normal(d) * scales
    variances = scales * scales
    if np.any(variances < 1e-307):
        return
    found = losses.kl_fitted(data, mean, variances, floor=floor, reverse=reverse)
    if floor == 0 and n <= d:
        assert found == np.inf
        return
    # As stated: a floor that is smaller still counts as none.
    if np.sqrt(floor) / scales.max() < 1e-300:
        assert n > d or found == np.inf or close(found, exact_kl(data, mean, variances, floor)[1])
        return
    assert close(found, exact_kl(data, mean, variances, floor)[int(reverse)], 1e-10)


@pytest.mark.parametrize(("n", "d"), [(4, 8), (30, 8), (8, 8)])
def test_reverse_divergence_of_a_fit_through_its_factor(n, d):
    rng = np.random.default_rng(20)
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    cov = (rotation * np.logspace(0, -2, d)) @ rotation.T
    cov = 0.5 * (cov + cov.T)
    data = rng.standard_normal((n, d)) @ np.linalg.cholesky(cov).T
    with mpmath.workdps(60):
        rows = mpmath.matrix(data.tolist())
        centre = [mpmath.fsum(rows[i, j] for i in range(n)) / n for j in range(d)]
        for i in range(n):
            for j in range(d):
                rows[i, j] -= centre[j]
        shift = mpmath.matrix([-c for c in centre])
        fitted = rows.T * rows / n + mpmath.mpf(1e-14) * mpmath.eye(d)
        truth = mpmath.matrix(cov.tolist())
        inverse = truth**-1
        trace = mpmath.fsum((inverse * fitted)[i, i] for i in range(d))
        value = trace - d + (shift.T * inverse * shift)[0]
        value += mpmath.log(mpmath.det(truth)) - mpmath.log(mpmath.det(fitted))
        exact = float(value / 2)
    found = losses.kl_fitted(data, np.zeros(d), cov, floor=1e-14, reverse=True)
    assert abs(found / exact - 1) < 1e-13
    # Through the explicit covariance the floor of the missing directions drowns in rounding.
    explicit = np.cov(data.T, bias=True) + 1e-14 * np.eye(d)
    root = np.linalg.cholesky(cov)
    whitened = np.linalg.solve(root, np.linalg.solve(root, explicit).T)
    naive = np.trace(whitened) - d - np.sum(np.log(np.abs(np.linalg.eigvalsh(whitened))))
    naive = 0.5 * (naive + np.sum(np.linalg.solve(root, data.mean(0)) ** 2))
    assert n > d or abs(naive / exact - 1) > 1e-5


def test_reverse_divergence_by_simulation():
    rng = np.random.default_rng(21)
    mean, cov = np.array([0.3, -0.2]), np.array([[1.0, 0.4], [0.4, 0.7]])
    data = rng.standard_normal((6, 2)) * [2.0, 1.0]
    truth = stats.multivariate_normal(mean, cov)
    fit = stats.multivariate_normal(data.mean(0), np.cov(data.T, bias=True) + 0.1 * np.eye(2))
    x = fit.rvs(40_000, random_state=rng)
    draws = fit.logpdf(x) - truth.logpdf(x)
    found = losses.kl_fitted(data, mean, cov, floor=[0.1, 0.1], reverse=True)
    assert abs(draws.mean() - found[0]) < 4 * draws.std() / np.sqrt(len(x))
    assert losses.kl_fitted(data, mean, np.ones((2, 2)), reverse=True) == np.inf


def test_sums_beyond_the_largest_float_are_refused_by_name():
    with pytest.raises(ValueError, match="`eigenvalues` has entries above 1e\\+304"):
        LossModes([1e308], [1e308])
    with pytest.raises(ValueError, match="measure the data in a larger unit"):
        LossModes([1e300], [1.0], 0.0, [1e9])
    modes = LossModes([1e304], [0.0])
    for call in (losses.test_loss, losses.gap, losses.residual_loss):
        with pytest.raises(ValueError, match="`floor`, 1 / alpha_bar and the variances add up"):
            call(modes, 0.5, floor=1.7976e308)
