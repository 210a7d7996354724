"""Kernel distances and memorisation criteria against quadrature, mpmath and brute force."""

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import dblquad, quad
from scipy.spatial.distance import pdist
from scipy.stats import multivariate_normal, norm, special_ortho_group

from lindiff import _memorisation_runs, gaussians, memorisation, multistep, onestep
from lindiff.memorisation import (
    copy_rate,
    gaussian_reference,
    kernel_density,
    kl_gap,
    likelihood_gap,
    log_l2_distance,
    memorisation_gap,
    pixel_distance,
    pixel_distance_mean,
    simulate_gap,
)

COV = np.array([[1.3, 0.4], [0.4, 0.6]])


def test_distance_in_one_dimension_against_quadrature():
    points = np.array([[-0.7], [0.1], [1.4]])
    for bandwidth in (None, 0.4):
        density = kernel_density(points, variance=1.7, bandwidth=bandwidth)

        def gap(x, width=density.bandwidth):
            kernels = norm.pdf(x, points[:, 0], width).mean()
            return (norm.pdf(x, 0.3, np.sqrt(0.8)) - kernels) ** 2

        value = quad(gap, -12, 12, epsabs=1e-13, limit=300)[0]
        assert_allclose(np.exp(log_l2_distance([0.3], [[0.8]], density)), value, rtol=1e-10)


def test_distance_in_two_dimensions_against_quadrature():
    points = np.random.default_rng(0).standard_normal((4, 2))
    density = kernel_density(points)
    law = multivariate_normal([0.2, -0.1], COV)
    kernels = [multivariate_normal(p, density.bandwidth**2 * np.eye(2)) for p in points]

    def gap(y, x):
        return (law.pdf([x, y]) - np.mean([k.pdf([x, y]) for k in kernels])) ** 2

    grid = np.linspace(-7, 7, 281)
    xy = np.stack(np.meshgrid(grid, grid), axis=-1)
    field = (law.pdf(xy) - np.mean([k.pdf(xy) for k in kernels], axis=0)) ** 2
    value = field.sum() * (grid[1] - grid[0]) ** 2
    coarse = dblquad(gap, -1, 1, -1, 1, epsabs=1e-4)[0]
    assert 0 < coarse < value
    assert_allclose(np.exp(log_l2_distance([0.2, -0.1], COV, density)), value, rtol=1e-9)


def high_precision(mean, variances, points, bandwidth):
    """All three terms with many digits for a diagonal covariance."""
    d, n = len(variances), len(points)
    eps2 = mpmath.mpf(float(bandwidth)) ** 2
    pairs = mpmath.fsum(
        mpmath.exp(-sum(mpmath.mpf(float(x)) ** 2 for x in p - q) / (4 * eps2))
        for p in points
        for q in points
    )
    own = pairs / n**2 / (4 * mpmath.pi * eps2) ** (mpmath.mpf(d) / 2)
    cross = mpmath.fsum(
        mpmath.fprod(
            mpmath.exp(-(mpmath.mpf(float(x)) ** 2) / (2 * (v + eps2)))
            / mpmath.sqrt(2 * mpmath.pi * (v + eps2))
            for x, v in zip(p - mean, map(float, variances), strict=True)
        )
        for p in points
    )
    model = 1 / (4 * mpmath.pi) ** (mpmath.mpf(d) / 2)
    model /= mpmath.sqrt(mpmath.fprod(map(float, variances)))
    return own, cross / n, model


def test_gap_is_the_difference_of_the_distances():
    rng = np.random.default_rng(0)
    for reference in (
        kernel_density(rng.standard_normal((9, 2)), bandwidth=0.7),
        kernel_density(rng.standard_normal((9, 2))),
        gaussian_reference(np.zeros(2), 1.0),
    ):
        train = kernel_density(rng.standard_normal((5, 2)))
        direct = np.exp(log_l2_distance([0.2, 0.0], COV, train))
        direct -= np.exp(log_l2_distance([0.2, 0.0], COV, reference))
        sign, size = memorisation_gap([0.2, 0.0], COV, train, reference)
        assert_allclose(sign * np.exp(size) / (4 * np.pi), direct, rtol=1e-10)


def test_distance_to_the_exact_law_against_quadrature():
    def gap(x):
        return (norm.pdf(x, 0.3, np.sqrt(0.5)) - norm.pdf(x, -0.2, 1.2)) ** 2

    value = quad(gap, -12, 12, epsabs=1e-13)[0]
    exact = gaussian_reference([-0.2], 1.44)
    assert_allclose(np.exp(log_l2_distance([0.3], [[0.5]], exact)), value, rtol=1e-10)


def test_singular_law_has_infinite_distance_but_a_finite_gap():
    rng = np.random.default_rng(0)
    flat = np.diag([1.0, 0.0])
    train, fresh = (kernel_density(rng.standard_normal((5, 2))) for _ in range(2))
    assert log_l2_distance([0.0, 0.0], flat, train) == np.inf
    near = memorisation_gap([0.0, 0.0], np.diag([1.0, 1e-13]), train, fresh)
    assert_allclose(memorisation_gap([0.0, 0.0], flat, train, fresh), near, rtol=1e-9)


def test_default_bandwidth_gives_every_set_the_same_diagonal():
    rng = np.random.default_rng(0)
    for n in (3, 50):
        density = kernel_density(rng.standard_normal((n, 7)), variance=2.3)
        explicit = kernel_density(density.points, variance=2.3, bandwidth=density.bandwidth)
        assert density.log_diagonal == 0.0
        assert_allclose(explicit.log_diagonal, 0.0, atol=1e-13)
        assert_allclose(explicit.log_pairs, density.log_pairs, rtol=1e-12)
    single = kernel_density([[1.0, 2.0]])
    assert single.log_pairs == -np.inf and single.bandwidth == 1.0


def test_verdict_does_not_depend_on_rotation_shift_scale_or_order():
    rng = np.random.default_rng(3)
    d = 6
    train, fresh = rng.standard_normal((2, 15, d))
    cov = 0.5 * np.cov(rng.standard_normal((20, d)).T)
    base = memorisation_gap(np.zeros(d), cov, kernel_density(train), kernel_density(fresh))
    turn = special_ortho_group.rvs(d, random_state=0)
    moved = [3.0 * x @ turn.T + 5.0 for x in (train[::-1], fresh)]
    other = memorisation_gap(
        np.full(d, 5.0),
        9.0 * turn @ cov @ turn.T,
        *(kernel_density(x, variance=9.0) for x in moved),
    )
    assert_allclose(other, base, rtol=1e-9)


def test_single_precision_rounds_the_overlaps_and_nothing_else():
    rng = np.random.default_rng(0)
    train, fresh = (kernel_density(rng.standard_normal((n, 100))) for n in (100, 700))
    mean, cov = np.zeros(100), np.eye(100)
    exact, single = (
        sign * np.exp(size)
        for sign, size in (
            memorisation_gap(mean, cov, train, fresh, precision=kind)
            for kind in (np.float64, np.float32)
        )
    )
    # Prefactors by the script's arithmetic: eps in single precision, to the power of d.
    overlaps = []
    for n in (100, 700):
        # Arrays of one entry stay in single precision in every NumPy.
        eps, count = np.float32([(1 / n) ** (1 / 100)]), np.float32([n])
        overlaps.append(float((count / ((eps * eps) ** np.float32([50]) * count * count))[0]))
    assert abs(overlaps[0] - overlaps[1]) > 1e-7
    # One unit in the last place of single precision at 1, for each overlap.
    assert_allclose(single - exact, overlaps[0] - overlaps[1], atol=1.2e-7)
    assert abs(exact) < 0.1 * abs(single)


def test_kl_gap_is_the_difference_of_two_divergences():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((9, 2))
    fitted = np.cov(points.T, bias=True)
    expected = gaussians.kl_gaussian([0.1, 0.0], COV, points.mean(axis=0), fitted)
    expected -= gaussians.kl_gaussian([0.1, 0.0], COV, np.zeros(2), np.eye(2))
    gap = kl_gap([0.1, 0.0], COV, points, np.zeros(2), np.eye(2))
    assert_allclose(gap, expected, rtol=1e-12)


def test_likelihood_gap_against_log_densities():
    rng = np.random.default_rng(0)
    points, law = rng.standard_normal((9, 2)), multivariate_normal([0.1, -0.2], COV)
    truth, true_cov = np.array([0.3, 0.7]), np.array([[2.0, -0.5], [-0.5, 0.8]])
    # Four points with the mean and covariance of the truth average a quadratic exactly.
    root = np.sqrt(2) * np.linalg.cholesky(true_cov).T
    fresh = law.logpdf(np.concatenate([truth + root, truth - root]))
    value = likelihood_gap([0.1, -0.2], COV, points, truth, true_cov)
    assert_allclose(value, law.logpdf(points).mean() - fresh.mean(), rtol=1e-12)


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("size", [1, 3])
def test_likelihood_gap_takes_one_dimension(place, size):
    good = [np.zeros(2), COV, np.ones((4, 2)), np.zeros(2), COV]
    wrong = [np.zeros(size), np.eye(size), np.ones((4, size)), np.zeros(size), np.eye(size)]
    with pytest.raises(ValueError, match="must have one dimension"):
        likelihood_gap(*good[:place], wrong[place], *good[place + 1 :])


@pytest.mark.parametrize("cut", range(1, 5))
@pytest.mark.parametrize("size", [1, 3])
def test_likelihood_gap_refuses_two_dimensions(cut, size):
    parts = {
        name: np.ones((4, n)) if name == "points" else (np.eye(n) if "cov" in name else np.zeros(n))
        for i, name in enumerate(["mean", "true_mean", "points", "cov", "true_cov"])
        for n in [size if i < cut else 2]
    }
    with pytest.raises(ValueError, match="must have one dimension"):
        likelihood_gap(**parts)


def test_copy_rate_counts_no_ties():
    assert copy_rate([[0.5], [0.1]], [[0.0]], [[1.0]]) == 0.5


def test_copy_rate_is_one_for_copies_and_one_half_without_memory():
    rng = np.random.default_rng(0)
    points, fresh = rng.standard_normal((2, 40, 3))
    assert copy_rate(points + 1e-6, points, fresh) == 1.0
    assert copy_rate(fresh, points, fresh) == 0.0
    rates = [
        copy_rate(rng.standard_normal((50, 3)), *rng.standard_normal((2, 40, 3)))
        for _ in range(200)
    ]
    assert abs(np.mean(rates) - 0.5) < 4 * np.std(rates) / np.sqrt(200)


def test_pixel_distance_against_quadrature():
    rng = np.random.default_rng(0)
    first, second, std = rng.standard_normal((4, 2)), rng.standard_normal((3, 2)), [0.8, 1.3]
    total = 0.0
    for j in range(2):

        def gap(x, j=j):
            p = norm.pdf(x, first[:, j], std[j] / 4).mean()
            return (p - norm.pdf(x, second[:, j], std[j] / 3).mean()) ** 2

        total += std[j] * quad(gap, -8, 8, limit=500, epsabs=1e-12)[0] / 2
    assert_allclose(pixel_distance(first, second, std), total, rtol=1e-8)


def test_mean_pixel_distance_reference_value_of_the_script_units():
    script = np.sqrt(2 * np.pi) / 0.1 * pixel_distance_mean(10, 10_000)
    assert_allclose(script, 13.44, atol=0.005)
    bias = [pixel_distance_mean(10, n) - pixel_distance_mean(10, 10**8) for n in (45, 225, 945)]
    assert_allclose(np.sqrt(2 * np.pi) / 0.1 * np.array(bias), [-0.16, -0.03, 0], atol=0.01)


@pytest.mark.parametrize("variance", [1.0, 3.0])
def test_single_precision_agrees_where_no_digit_is_lost(variance):
    rng = np.random.default_rng(1)
    mean, cov = np.zeros(2), np.array([[1.3, 0.4], [0.4, 0.6]])
    train, fresh = (
        kernel_density(rng.standard_normal((n, 2)), bandwidth=0.7, variance=variance)
        for n in (9, 12)
    )
    for reference in (fresh, gaussian_reference(mean, variance)):
        exact, single = (
            memorisation_gap(mean, cov, train, reference, precision=kind)
            for kind in (np.float64, np.float32)
        )
        assert exact[0] == single[0]
        assert_allclose(single[1], exact[1], atol=1e-4)


def test_bandwidth_factor_scales_the_width_that_shrinks_with_the_number_of_points():
    settings = {"variance": 2.0, "bandwidth_factor": 1.7}
    study = simulate_gap([1.0], 2, 12, 1, np.random.default_rng(5), reference=9, **settings)
    plain = simulate_gap([1.0], 2, 12, 1, np.random.default_rng(5), reference=9, variance=2.0)
    first, noising, second = np.random.default_rng(5).spawn(3)
    points = np.sqrt(2.0) * first.standard_normal((12, 2))
    chain = multistep.train_steps(points, [1.0], noising)
    fresh = np.sqrt(2.0) * second.standard_normal((9, 2))
    near, truth = (
        kernel_density(x, variance=2.0, bandwidth=1.7 * np.sqrt(2.0) * len(x) ** -0.5)
        for x in (points, fresh)
    )
    gap = memorisation_gap(*chain.law(), near, truth)
    assert_allclose([study.sign[0], study.log_size[0]], gap, rtol=1e-10)
    assert abs(plain.log_size[0] - gap[1]) > 0.1


def test_simulated_gap_uses_the_law_of_the_samples():
    ratio, d = np.expm1(4) * np.exp(-4), 10
    grid = [onestep.noise_to_signal(2.0, np.exp(-4), 1.0)]
    assert_allclose(grid, ratio)
    study = simulate_gap(grid, d, 20, 3, np.random.default_rng(5), reference=30)
    first, noising, second = np.random.default_rng(5).spawn(3)
    for run in range(3):
        y = first.standard_normal((20, d))
        x = y + np.sqrt(ratio) * noising.standard_normal((1, 20, d))[0]
        dx, dy = x - x.mean(axis=0), y - y.mean(axis=0)
        w = np.linalg.lstsq(dx, dy, rcond=None)[0].T
        spread = y.var(axis=0, ddof=1).mean() + ratio
        mean = y.mean(axis=0) + w @ (y.mean(axis=0) - x.mean(axis=0))
        fresh = kernel_density(second.standard_normal((30, d)))
        gap = memorisation_gap(mean, spread * w @ w.T, kernel_density(y), fresh)
        assert_allclose([study.sign[run], study.log_size[run]], gap, rtol=1e-8)


def test_swapped_factors_in_the_law_of_one_step():
    study = simulate_gap([0.6], 3, 8, 1, np.random.default_rng(5), reference=9, swapped=True)
    first, noising, second = np.random.default_rng(5).spawn(3)
    points = first.standard_normal((8, 3))
    chain = multistep.train_steps(points, [0.6], noising)
    mean, cov = chain.law()
    (w,), scale = chain.weights, chain.variance + 0.6
    assert_allclose(scale * w @ w.T, cov, rtol=1e-12)
    fresh = kernel_density(second.standard_normal((9, 3)))
    gap = memorisation_gap(mean, scale * w.T @ w, kernel_density(points), fresh)
    assert_allclose([study.sign[0], study.log_size[0]], gap, rtol=1e-10)


RNG, DENSITY = np.random.default_rng(0), kernel_density([[0.0, 0.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: kernel_density([1.0]), "points"),
        (lambda: kernel_density(np.ones((0, 2))), "points"),
        (lambda: kernel_density([[np.nan]]), "points"),
        (lambda: kernel_density([[1.0]], bandwidth=0.0), "bandwidth"),
        (lambda: kernel_density([[1.0]], variance=-1.0), "variance"),
        (lambda: gaussian_reference([[0.0]], 1.0), "mean"),
        (lambda: gaussian_reference([0.0], 0.0), "variance"),
        (lambda: log_l2_distance([0.0], [[1.0]], DENSITY), "mean"),
        (lambda: log_l2_distance([0.0, 0.0], [[1.0, 2.0], [0.0, 1.0]], DENSITY), "cov"),
        (lambda: memorisation_gap([0.0], [[1.0]], DENSITY, DENSITY), "mean"),
        (lambda: memorisation_gap([0.0], COV, DENSITY, DENSITY), "mean"),
        (
            lambda: memorisation_gap(np.zeros(2), COV, DENSITY, gaussian_reference([0.0], 1.0)),
            "mean",
        ),
        (
            lambda: memorisation_gap(np.zeros(2), COV, DENSITY, gaussian_reference([0, 0], 2.0)),
            "reference",
        ),
        (lambda: kl_gap([0.0], [[1.0]], [[1.0]], [0.0], [[1.0]]), "points"),
        (lambda: kl_gap([0, 0], COV, [[1, 0], [0, 1]], [0, 0], COV), "points"),
        (lambda: kl_gap([0] * 3, np.eye(3), np.eye(3)[:2], [0] * 3, np.eye(3)), "points"),
        (lambda: likelihood_gap([0.0], [[0.0]], [[1.0], [2.0]], [0.0], [[1.0]]), "cov"),
        (lambda: likelihood_gap([0.0], [[1.0]], [[1, 1], [2, 2]], [0.0], [[1.0]]), "mean"),
        (lambda: likelihood_gap([0.0], [[1.0]], [[1.0]], [0.0], [[1.0]]), "points"),
        (lambda: copy_rate([[0.0]], [[0.0]], [[0.0], [1.0]]), "points"),
        (lambda: pixel_distance([[0.0]], [[0.0, 1.0]], 1.0), "first"),
        (lambda: pixel_distance(np.ones((0, 1)), [[0.0]], 1.0), "first"),
        (lambda: pixel_distance([[0.0]], [[0.0]], 0.0), "std"),
        (lambda: pixel_distance_mean(0, 3), "n_first"),
        (lambda: simulate_gap([1.0], 2, 5, 2, 0, reference=5), "rng"),
        (lambda: simulate_gap([1.0], 0, 5, 2, RNG, reference=5), "dimension"),
        (lambda: simulate_gap([1.0], 2, 5, 2, RNG, reference=0), "reference"),
        (lambda: simulate_gap([0.5, 1.0], 2, 5, 2, RNG, reference=5, swapped=True), "swapped"),
        (
            lambda: simulate_gap([1.0], 2, 5, 2, RNG, reference=5, bandwidth_factor=0),
            "bandwidth_factor",
        ),
    ],
)
def test_bad_input_names_the_argument(call, name):
    with pytest.raises((ValueError, TypeError), match=f"`{name}`"):
        call()


def test_studies_with_one_seed_share_their_training_points(monkeypatch):
    seen = []

    def spy(points, grid, rng, **options):
        seen.append(points)
        return multistep.train_steps(points, grid, rng, **options)

    monkeypatch.setattr(_memorisation_runs, "train_steps", spy)
    for grid in ([1.0], [0.2, 0.5, 1.0]):
        simulate_gap(grid, 3, 8, 4, np.random.default_rng(0), reference=5)
    assert_allclose(seen[:4], seen[4:])
    assert not np.allclose(seen[0], seen[1])


def test_several_precisions_share_their_runs():
    kinds, rng = (np.float64, np.float32), np.random.default_rng
    together = simulate_gap([1.0], 6, 9, 5, rng(0), reference=20, precision=kinds)
    for kind, study in zip(kinds, together, strict=True):
        alone = simulate_gap([1.0], 6, 9, 5, rng(0), reference=20, precision=kind)
        assert_allclose([study.sign, study.log_size], [alone.sign, alone.log_size])
    assert not np.allclose(together[0].log_size, together[1].log_size, rtol=1e-12)


def test_several_references_are_taken_in_turn():
    rng = np.random.default_rng
    near, far = (kernel_density(c + 1e-3 * rng(1).standard_normal((9, 3))) for c in (0.0, 50.0))
    study = simulate_gap([1.0], 3, 30, 6, rng(0), reference=[near, far])
    alone = [simulate_gap([1.0], 3, 30, 6, rng(0), reference=r) for r in (near, far)]
    assert_allclose(study.log_size[::2], alone[0].log_size[::2])
    assert_allclose(study.log_size[1::2], alone[1].log_size[1::2])
    assert abs(study.log_size[0] - alone[1].log_size[0]) > 0.1
    with pytest.raises(TypeError, match="`reference`"):
        simulate_gap([1.0], 3, 30, 2, rng(0), reference=[])


def test_study_error_never_vanishes():
    study = memorisation.GapStudy(np.ones(8), np.zeros(8))
    assert study.probability == 1.0 and study.standard_error > 0.05
    part = memorisation.GapStudy(np.array([1.0, 0.0, 0.0, -1.0]), np.zeros(4))
    assert_allclose([part.probability, part.standard_error], [0.25, np.sqrt(2 / 9 / 6)], rtol=1e-14)


@pytest.mark.parametrize("d", [3, 60, 900])
def test_distance_and_gap_in_high_dimension_against_many_digits(d):
    rng = np.random.default_rng(1)
    variances, mean = rng.uniform(0.4, 1.5, d), 0.1 * rng.standard_normal(d)
    train, fresh = rng.standard_normal((2, 6, d))
    one, two = kernel_density(train), kernel_density(fresh[:5])
    with mpmath.workdps(500):
        own, cross, model = high_precision(mean, variances, train, one.bandwidth)
        distance = model - 2 * cross + own
        other = high_precision(mean, variances, fresh[:5], two.bandwidth)
        unit = (4 * mpmath.pi) ** (mpmath.mpf(-d) / 2)
        # The default bandwidth makes the diagonals equal; its rounding must not count.
        pairs = [
            x - unit * (1 / (mpmath.mpf(w.bandwidth) ** d * len(w.points)))
            for x, w in ((own, one), (other[0], two))
        ]
        gap = (pairs[0] - pairs[1] - 2 * (cross - other[1])) / unit
        expected = float(mpmath.log(distance)), float(mpmath.log(abs(gap))), float(mpmath.sign(gap))
    assert_allclose(log_l2_distance(mean, np.diag(variances), one), expected[0], rtol=1e-10)
    sign, size = memorisation_gap(mean, np.diag(variances), one, two)
    assert_allclose([size, sign], expected[1:], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n, m", [(1, 1), (3, 8), (10, 40)])
def test_mean_pixel_distance_of_a_perfect_generator_by_sampling(n, m):
    rng = np.random.default_rng(0)
    draws = [
        pixel_distance(rng.normal(0, 0.3, (n, 50)), rng.normal(0, 0.3, (m, 50)), 0.3)
        for _ in range(2000)
    ]
    error = np.std(draws) / np.sqrt(len(draws))
    assert abs(np.mean(draws) - pixel_distance_mean(n, m)) < 4 * error
    assert abs(np.mean(draws) - 1.1 * pixel_distance_mean(n, m)) > 4 * error


def test_exact_reference_and_swapped_factors_change_the_verdict():
    kw = {"grid": [0.98], "dimension": 50, "n_samples": 25, "n_runs": 40}
    rng = np.random.default_rng
    assert simulate_gap(**kw, rng=rng(0), reference=500).probability == 0.0
    exact = gaussian_reference(np.zeros(50), 1.0)
    assert simulate_gap(**kw, rng=rng(0), reference=exact).probability > 0.9
    assert simulate_gap(**kw, rng=rng(0), reference=500, swapped=True).probability > 0.05
    scaled = simulate_gap([4 * 0.98], 50, 25, 40, rng(0), reference=500, variance=4.0, swapped=True)
    assert_allclose(scaled.sign, simulate_gap(**kw, rng=rng(0), reference=500, swapped=True).sign)


def test_criterion_is_fair_only_with_a_reference_of_the_same_size():
    kw = {"grid": [1.0], "dimension": 20, "n_samples": 100, "n_runs": 60}
    rng = np.random.default_rng
    fair = simulate_gap(**kw, rng=rng(0), reference=100, placebo=True)
    large = simulate_gap(**kw, rng=rng(0), reference=1000, placebo=True)
    real = simulate_gap(**kw, rng=rng(0), reference=100)
    assert abs(fair.probability - 0.5) < 4 * fair.standard_error
    assert large.probability > 0.9
    assert real.probability < 0.4


def test_rounding_of_equal_diagonals_does_not_decide():
    """Half the default widths: both diagonals are 2^d, and cancel but for rounding."""
    d, sizes = 50, (100, 10_000)
    rng = np.random.default_rng(3)
    sets = [rng.standard_normal((n, d)) for n in sizes]
    widths = [0.5 * n ** (-1 / d) for n in sizes]
    law = rng.standard_normal(d) / 3, np.diag(rng.uniform(0.5, 1.2, d))
    unit = (4 * np.pi) ** (d / 2)
    crosses, pairs = [], []
    for y, width in zip(sets, widths, strict=True):
        blurred = multivariate_normal(law[0], law[1] + width**2 * np.eye(d))
        crosses.append(unit * blurred.pdf(y).mean())
        powers = np.exp(-pdist(y, "sqeuclidean") / (4 * width**2))
        pairs.append(2 * powers.sum() / len(y) ** 2 / width**d)
    wanted = pairs[0] - pairs[1] - 2 * (crosses[0] - crosses[1])
    densities = [kernel_density(y, bandwidth=width) for y, width in zip(sets, widths, strict=True)]
    sign, log_size = memorisation_gap(*law, *densities)
    assert sign * np.exp(log_size) == pytest.approx(wanted, rel=1e-8)
    assert abs(wanted) < 4
