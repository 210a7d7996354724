import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats
from sklearn.linear_model import LinearRegression, Ridge

from lindiff import gaussians, losses, schedules, spectra
from lindiff._kernel_sums import loss_sums, trace_sums
from lindiff.denoisers import AffineDenoiser
from lindiff.losses import LossModes, ModelPair

LEVELS = [0.99999, 0.9, 0.5, 1e-3]
TOTALS = [losses.residual_loss, losses.training_loss, losses.test_loss, losses.gap]
SIZES = [(30, 6), (7, 7), (4, 7), (1, 5)]


def problem(n, d, seed=0):
    """Return data, and mean and full covariance of the population behind it."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((d, d)) / np.sqrt(d)
    mean = rng.standard_normal(d)
    return rng.standard_normal((n, d)) @ root.T + mean, mean, root @ root.T


def dense(data, alpha_bar, floor):
    """Return W and b from the normal equations of the penalised problem."""
    d = data.shape[1]
    cov = np.cov(data.T, bias=True).reshape(d, d)
    matrix = alpha_bar * cov + (1 - alpha_bar + alpha_bar * floor) * np.eye(d)
    weights = np.sqrt(1 - alpha_bar) * np.linalg.solve(matrix, np.eye(d))
    return weights, -np.sqrt(alpha_bar) * weights @ data.mean(0)


def dense_loss(weights, bias, mean, cov, alpha_bar):
    """Loss on points of any law with these moments, averaged over points and noise."""
    centre = np.sqrt(alpha_bar) * weights @ mean + bias
    noise = np.eye(len(cov)) - np.sqrt(1 - alpha_bar) * weights
    return alpha_bar * np.trace(weights @ cov @ weights.T) + centre @ centre + np.sum(noise**2)


@pytest.mark.parametrize(("n", "d"), SIZES)
@pytest.mark.parametrize("floor", [0.0, 0.3])
@pytest.mark.parametrize("alpha_bar", LEVELS)
def test_losses_equal_the_dense_route(n, d, floor, alpha_bar):
    data, mean, cov = problem(n, d)
    modes = LossModes.from_data(data, mean, cov)
    weights, bias = dense(data, alpha_bar, floor)
    empirical = np.cov(data.T, bias=True)
    training = dense_loss(weights, bias, data.mean(0), empirical, alpha_bar)
    test = dense_loss(weights, bias, mean, cov, alpha_bar)
    penalty = alpha_bar * floor * np.sum(weights**2)
    expected = training + penalty, training, test, test - training
    for function, value in zip(TOTALS, expected, strict=True):
        found = function(modes, alpha_bar, floor=floor)
        np.testing.assert_allclose(found, value, rtol=1e-9, atol=1e-11)


def test_optimal_weights_are_eigenvalues_of_the_dense_weights():
    data, _, _ = problem(30, 6)
    weights, _ = dense(data, 0.8, 0.1)
    fitted = AffineDenoiser.from_data(data)
    found = losses.optimal_weights(fitted.eigenvalues, 0.8, floor=0.1)
    rebuilt = (fitted.eigenvectors * found) @ fitted.eigenvectors.T
    np.testing.assert_allclose(rebuilt, weights, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_residual_loss_is_the_minimum_that_an_optimiser_finds(floor):
    data, mean, cov = problem(9, 3)
    alpha_bar, empirical = 0.6, np.cov(data.T, bias=True)

    def goal(flat):
        weights, bias = flat[:9].reshape(3, 3), flat[9:]
        penalty = alpha_bar * floor * np.sum(weights**2)
        return dense_loss(weights, bias, data.mean(0), empirical, alpha_bar) + penalty

    best = optimize.minimize(goal, np.zeros(12), method="BFGS", options={"gtol": 1e-9})
    modes = LossModes.from_data(data, mean, cov)
    found = losses.residual_loss(modes, alpha_bar, floor=floor)
    np.testing.assert_allclose(found, best.fun, rtol=1e-10)
    weights = losses.optimal_weights(modes.eigenvalues, alpha_bar, floor=floor)
    eigenvalues = np.linalg.eigvals(best.x[:9].reshape(3, 3)).real
    np.testing.assert_allclose(np.sort(weights), np.sort(eigenvalues), rtol=1e-5)


@pytest.mark.parametrize("floor", [0.0, 0.4])
@pytest.mark.parametrize(("n", "d"), [(30, 6), (4, 7)])
def test_least_squares_of_scikit_learn_finds_the_same_weights(n, d, floor):
    data, mean, cov = problem(n, d)
    alpha_bar, centred = 0.7, data - data.mean(0)
    # The average over noise in closed form: d more rows that carry the noise covariance.
    rows = np.vstack([np.sqrt(alpha_bar / n) * centred, np.sqrt(1 - alpha_bar) * np.eye(d)])
    target = np.vstack([np.zeros((n, d)), np.eye(d)])
    if floor == 0:
        model = LinearRegression(fit_intercept=False)
    else:
        model = Ridge(alpha=alpha_bar * floor, fit_intercept=False, solver="svd")
    weights = model.fit(rows, target).coef_
    np.testing.assert_allclose(weights, dense(data, alpha_bar, floor)[0], rtol=1e-9, atol=1e-12)
    left = target - rows @ weights.T
    modes = LossModes.from_data(data, mean, cov)
    found = losses.training_loss(modes, alpha_bar, floor=floor)
    np.testing.assert_allclose(found, np.sum(left**2), rtol=1e-10)


def test_ridge_of_the_data_on_themselves_is_the_clean_prediction():
    data, mean, cov = problem(30, 6)
    alpha_bar = 0.7
    penalty = len(data) * (1 - alpha_bar) / alpha_bar
    coefficients = Ridge(alpha=penalty, solver="svd").fit(data, data).coef_
    modes = LossModes.from_data(data, mean, cov)
    found = losses.residual_loss(modes, alpha_bar, per_mode=True)
    np.testing.assert_allclose(np.sort(found), np.linalg.eigvalsh(coefficients), rtol=1e-10)


def test_one_dimension_by_quadrature_over_the_noise():
    data = np.array([[-0.4], [1.1], [0.2]])
    alpha_bar, weights, bias = 0.8, *dense(data, 0.8, 0.1)

    def error(noise, point):
        x = np.sqrt(alpha_bar) * point + np.sqrt(1 - alpha_bar) * noise
        return (noise - weights[0, 0] * x - bias[0]) ** 2 * stats.norm.pdf(noise)

    shares = [integrate.quad(error, -12, 12, (y,), epsrel=1e-12)[0] for y in data[:, 0]]
    modes = LossModes.from_data(data, [0.3], [2.0])
    found = losses.training_loss(modes, alpha_bar, floor=0.1)
    np.testing.assert_allclose(found, np.mean(shares), rtol=1e-10)


@pytest.mark.parametrize("law", ["normal", "signs"])
@pytest.mark.parametrize(("n", "d"), [(20, 5), (3, 5)])
def test_loss_and_alignment_on_fresh_points_by_simulation(n, d, law):
    data, mean, cov = problem(n, d)
    other, _, _ = problem(n + 2, d, seed=1)
    rng = np.random.default_rng(2)
    root, size = np.linalg.cholesky(cov), 40_000
    raw = rng.standard_normal((size, d)) if law == "normal" else rng.choice([-1.0, 1.0], (size, d))
    noise = rng.standard_normal((size, d))
    alpha_bar, floor, other_floor = 0.7, 0.1, 0.2
    x = np.sqrt(alpha_bar) * (mean + raw @ root.T) + np.sqrt(1 - alpha_bar) * noise
    models = AffineDenoiser.from_data(data, floor=floor), AffineDenoiser.from_data(other)
    first, second = dense(data, alpha_bar, floor), dense(other, alpha_bar, other_floor)
    predicted = [x @ weights.T + bias for weights, bias in (first, second)]
    error = np.sum((noise - predicted[0]) ** 2, axis=1)
    apart = np.sum((predicted[0] - predicted[1]) ** 2, axis=1)
    modes = LossModes.from_data(data, mean, cov)
    pair = ModelPair.from_denoisers(*models, mean, cov)
    theory = losses.test_loss(modes, alpha_bar, floor=floor)
    distance = losses.alignment(pair, alpha_bar, floor=floor, other_floor=other_floor)
    for draws, value in ((error, theory), (apart, distance)):
        assert abs(draws.mean() - value) < 4 * draws.std() / np.sqrt(size)


def exact_losses(h, m, ratio, floor):
    """Residual, training and test loss at 50 digits, from the expanded textbook form."""
    with mpmath.workdps(50):
        total = [mpmath.mpf(0)] * 3
        a = 1 / (1 + mpmath.mpf(ratio))
        for hi, mi in zip(h, m, strict=True):
            hi, mi = mpmath.mpf(hi), mpmath.mpf(mi)
            inverse = 1 / (a * hi + 1 - a + a * mpmath.mpf(floor))
            w = mpmath.sqrt(1 - a) * inverse
            noise = 1 - 2 * mpmath.sqrt(1 - a) * w + (1 - a) * w**2
            terms = [noise + a * (hi + floor) * w**2, noise + a * hi * w**2, noise + a * mi * w**2]
            total = [sum(pair) for pair in zip(total, terms, strict=True)]
        return [float(value) for value in total]


@pytest.mark.parametrize("floor", [0.0, 1e-8, 0.1])
@pytest.mark.parametrize("alpha_bar", [0.99999, 1 - 2.0**-40, 0.3, 1e-9])
@pytest.mark.parametrize("copies", [1, 100])
def test_twelve_digits_at_the_first_levels(floor, alpha_bar, copies):
    h = np.append(np.logspace(1, -12, 300), 0.0)
    m = h[::-1] + 0.1 * h
    with mpmath.workdps(50):
        ratio = (1 - mpmath.mpf(alpha_bar)) / mpmath.mpf(alpha_bar)
    exact = exact_losses(h, m, ratio, floor)
    # One level sums the spectrum itself, a hundred the compressed one.
    level = np.full(copies, alpha_bar)
    modes = LossModes(h, m)
    for function, value in zip(TOTALS[:3], exact, strict=True):
        np.testing.assert_allclose(function(modes, level, floor=floor), value, rtol=1e-12)


def test_a_schedule_keeps_the_noise_that_alpha_bar_rounds_away():
    beta = 1e-14
    schedule = schedules.linear_beta(3, beta, beta)
    h, m = np.array([1.0, 1e-12, 0.0]), np.array([1.1, 1e-3, 1e-4])
    with mpmath.workdps(50):
        ratio = 1 / (1 - mpmath.mpf(beta)) ** 3 - 1
    for function, value in zip(TOTALS[:3], exact_losses(h, m, ratio, 1e-15), strict=True):
        found = function(LossModes(h, m), schedule, floor=1e-15)
        np.testing.assert_allclose(found[-1], value, rtol=1e-12)


@pytest.mark.parametrize("function", TOTALS)
def test_shares_sum_to_the_total_with_and_without_compression(function):
    data, mean, cov = problem(200, 150)
    modes = LossModes.from_data(data, mean, cov)
    level = np.linspace(0.01, 0.999, 40)[:, None]
    floor = np.array([0.0, 1e-6, 0.3])
    total = function(modes, level, floor=floor)
    shares = function(modes, level, floor=floor, per_mode=True)
    assert total.shape == (40, 3)
    assert shares.shape == (40, 3, 150)
    np.testing.assert_allclose(total, shares.sum(-1), rtol=1e-12)
    single = function(modes, level[7, 0], floor=0.3)
    assert type(single) is float
    np.testing.assert_allclose(single, total[7, 2], rtol=1e-12)


@pytest.mark.parametrize("function", TOTALS[:3])
@pytest.mark.parametrize("spectrum", ["graded", "equal", "few"])
def test_a_large_grid_equals_single_levels(function, spectrum):
    rng = np.random.default_rng(13)
    h = {
        "graded": np.append(np.logspace(1, -12, 400), 0.0),
        "equal": np.ones(300),
        "few": np.array([3.0, 1e-5]),
    }[spectrum]
    modes = LossModes(h, rng.uniform(0, 1, h.size), rng.uniform(0, 1, h.size))
    level, floor = 1 - np.logspace(-10, -1e-6, 800)[:, None], np.logspace(-9, 1, 12)
    grid = function(modes, level, floor=floor)
    for index in rng.integers(0, 800, 20):
        single = [function(modes, level[index, 0], floor=c) for c in floor]
        np.testing.assert_allclose(grid[index], single, rtol=1e-13)
    # A level without noise and floor sends the whole grid on the direct route.
    if spectrum != "graded":
        mixed = function(modes, np.append(level, 1.0)[:, None], floor=np.append(floor, 0.0))
        np.testing.assert_allclose(mixed[:-1, :-1], grid, rtol=1e-13)


@pytest.mark.parametrize("function", TOTALS)
def test_gap_keeps_its_digits_when_the_population_is_the_training_set(function):
    data, _, _ = problem(30, 6)
    modes = LossModes.from_reference(data, data)
    assert abs(losses.gap(modes, 0.9)) < 1e-13
    np.testing.assert_allclose(
        losses.test_loss(modes, 0.9), losses.training_loss(modes, 0.9), rtol=1e-13
    )
    twice = LossModes.from_reference(np.vstack([data, data]), data)
    np.testing.assert_allclose(function(twice, 0.9), function(modes, 0.9), atol=1e-12)


@pytest.mark.parametrize("function", TOTALS)
def test_invariances(function):
    data, mean, cov = problem(4, 7)
    rotation = np.linalg.qr(np.random.default_rng(3).standard_normal((7, 7)))[0]
    value = function(LossModes.from_data(data, mean, cov), 0.8, floor=0.1)
    turned = LossModes.from_data(data @ rotation.T, rotation @ mean, rotation @ cov @ rotation.T)
    np.testing.assert_allclose(function(turned, 0.8, floor=0.1), value, rtol=1e-11)
    # Twice the data at twice the noise is the same problem.
    stretched = LossModes.from_data(2 * data, 2 * mean, 4 * cov)
    level = schedules.sigma_to_alpha_bar(2 * schedules.alpha_bar_to_sigma(0.8))
    np.testing.assert_allclose(function(stretched, level, floor=0.4), value, rtol=1e-11)
    moved = LossModes.from_data(data + 5.0, mean + 5.0, cov)
    np.testing.assert_allclose(function(moved, 0.8, floor=0.1), value, rtol=1e-10)


@pytest.mark.parametrize("function", TOTALS)
def test_a_multiplicity_is_a_repeated_mode(function):
    short = LossModes([2.0, 0.5, 0.0], [1.0, 0.6, 0.2], [0.1, 0.0, 0.3], [1.0, 3.0, 2.0])
    index = np.array([0, 1, 1, 1, 2, 2])[[3, 0, 5, 1, 2, 4]]
    long = LossModes(short.eigenvalues[index], short.variances[index], short.shifts[index])
    assert short.dimension == long.dimension == 6
    np.testing.assert_allclose(function(short, 0.9), function(long, 0.9), rtol=1e-13)


def test_sums_over_no_levels_are_empty():
    one = np.ones(2)
    assert loss_sums(one, one, one, np.zeros((4, 0))).shape == (4, 0, 3)
    assert trace_sums(one, one, np.zeros((4, 0)), 1).shape == (4, 0)


def test_limits():
    data, mean, cov = problem(30, 6)
    modes = LossModes.from_data(data, mean, cov)
    for function in (losses.training_loss, losses.test_loss, losses.residual_loss):
        np.testing.assert_allclose(function(modes, 1.0, floor=0.5), 6.0, rtol=1e-12)
        np.testing.assert_allclose(function(modes, 0.5, floor=1e14), 6.0, rtol=1e-12)
        assert function(modes, 1e-12) < 1e-10
    # Small noise, no floor: each null direction costs its variance over the noise.
    null = LossModes.from_data(data[:3], mean, cov)
    value = losses.test_loss(null, 1 - 1e-9) * 1e-9
    np.testing.assert_allclose(value, null.second_moments[-1] * 4, rtol=1e-6)


def test_null_space_of_graded_variances_keeps_its_digits():
    rng = np.random.default_rng(4)
    variances = np.logspace(0, -12, 6)
    data = rng.standard_normal((4, 6)) * np.sqrt(variances)
    with mpmath.workdps(60):
        rows = mpmath.matrix(data.tolist())
        for j in range(6):
            centre = mpmath.fsum(rows[i, j] for i in range(4)) / 4
            for i in range(4):
                rows[i, j] -= centre
        rows = rows[:3, :]
        spread = mpmath.diag([mpmath.mpf(v) for v in variances])
        inside = (rows * rows.T) ** -1 * (rows * spread * rows.T)
        rest = mpmath.fsum(map(mpmath.mpf, variances)) - sum(inside[i, i] for i in range(3))
    modes = LossModes.from_data(data, np.zeros(6), variances)
    assert modes.multiplicities[-1] == 3
    np.testing.assert_allclose(modes.variances[-1] * 3, float(rest), rtol=1e-7)
    reference = np.sqrt(6) * np.vstack([np.diag(np.sqrt(variances)), -np.diag(np.sqrt(variances))])
    found = LossModes.from_reference(data, reference)
    np.testing.assert_allclose(found.variances[-1] * 3, float(rest), rtol=1e-7)


def test_three_ways_to_state_the_population_agree():
    data, _, _ = problem(4, 6)
    reference = np.random.default_rng(5).standard_normal((50, 6)) * [3.0, 2, 1, 1, 0.5, 0.1]
    by_points = LossModes.from_reference(data, reference)
    by_matrix = LossModes.from_data(data, reference.mean(0), np.cov(reference.T, bias=True))
    fitted = AffineDenoiser.from_data(data, floor=0.3)
    by_model = LossModes.from_denoiser(fitted, reference.mean(0), np.cov(reference.T, bias=True))
    full = AffineDenoiser.from_moments(data.mean(0), np.cov(data.T, bias=True))
    by_moments = LossModes.from_denoiser(full, reference.mean(0), np.cov(reference.T, bias=True))
    for modes in (by_matrix, by_model, by_moments):
        found = losses.test_loss(modes, [0.9, 0.2])
        np.testing.assert_allclose(found, losses.test_loss(by_points, [0.9, 0.2]), rtol=1e-10)
    variances = reference.var(0)
    one = LossModes.from_data(data, reference.mean(0), variances)
    two = LossModes.from_data(data, reference.mean(0), np.diag(variances))
    np.testing.assert_allclose(one.variances, two.variances, rtol=1e-10)


def test_alignment_has_the_shape_of_the_levels():
    denoisers = [AffineDenoiser([0.0], [value], [[1.0]]) for value in (1.0, 3.0)]
    pair = ModelPair.from_denoisers(*denoisers, [0.0], [3.0])
    assert type(losses.alignment(pair, 0.5)) is float
    assert losses.alignment(pair, [[0.5], [0.2]], floor=[0.0, 0.1]).shape == (2, 2)


def dense_alignment(first, second, mean, cov, alpha_bar):
    (w1, b1), (w2, b2) = first, second
    noised = alpha_bar * cov + (1 - alpha_bar) * np.eye(len(cov))
    moved = np.sqrt(alpha_bar) * (w1 - w2) @ mean + b1 - b2
    return np.trace((w1 - w2) @ noised @ (w1 - w2).T) + moved @ moved


@pytest.mark.parametrize(("n", "other_n"), [(30, 25), (4, 5), (4, 30), (30, 4), (1, 3)])
def test_alignment_equals_the_dense_route(n, other_n):
    data, mean, cov = problem(n, 7)
    other, _, _ = problem(other_n, 7, seed=1)
    models = AffineDenoiser.from_data(data), AffineDenoiser.from_data(other)
    pair = ModelPair.from_denoisers(*models, mean, cov)
    swapped = ModelPair.from_denoisers(*models[::-1], mean, cov)
    level, floor, other_floor = np.array(LEVELS)[:, None], np.array([0.0, 0.3, 0.1]), 0.1
    found = losses.alignment(pair, level, floor=floor, other_floor=other_floor)
    back = losses.alignment(swapped, level, floor=other_floor, other_floor=floor)
    expected = [
        [
            dense_alignment(dense(data, a, c), dense(other, a, other_floor), mean, cov, a)
            for c in floor
        ]
        for a in LEVELS
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    np.testing.assert_allclose(found, back, rtol=1e-10)


@pytest.mark.parametrize("n", [30, 4])
def test_alignment_with_the_population_is_the_excess_test_loss(n):
    data, mean, cov = problem(n, 7)
    truth = AffineDenoiser.from_moments(mean, cov)
    pair = ModelPair.from_denoisers(AffineDenoiser.from_data(data), truth, mean, cov)
    floor = np.array([0.0, 0.2])
    excess = losses.test_loss(LossModes.from_data(data, mean, cov), 0.8, floor=floor)
    excess -= losses.test_loss(LossModes.from_denoiser(truth, mean, cov), 0.8)
    np.testing.assert_allclose(losses.alignment(pair, 0.8, floor=floor), excess, rtol=1e-10)


def test_alignment_takes_variances_for_a_diagonal_covariance():
    models = [AffineDenoiser.from_data(problem(n, 7, seed=n)[0]) for n in (4, 30)]
    variances = np.arange(1.0, 8.0)
    short, full = (
        ModelPair.from_denoisers(*models, np.zeros(7), cov)
        for cov in (variances, np.diag(variances))
    )
    np.testing.assert_allclose(
        losses.alignment(short, 0.7, floor=0.1), losses.alignment(full, 0.7, floor=0.1), rtol=1e-12
    )
    with pytest.raises(TypeError):
        losses.alignment(short, 0.7, 0.1)


def test_alignment_of_nearly_equal_models_keeps_its_digits():
    d, step = 5, 2.0**-30
    rotation = np.linalg.qr(np.random.default_rng(6).standard_normal((d, d)))[0]
    h, cov = np.array([2.0, 1.0, 0.5, 0.1, 1e-3]), np.arange(1.0, d + 1)
    near = h * (1 + step)
    models = [AffineDenoiser(np.zeros(d), values, rotation) for values in (h, near)]
    pair = ModelPair.from_denoisers(*models, np.zeros(d), (rotation * cov) @ rotation.T)
    ratio = 0.25
    apart = (near - h) / ((h + ratio) * (near + ratio))
    expected = ratio * np.sum((cov + ratio) * apart**2)
    np.testing.assert_allclose(losses.alignment(pair, 0.8), expected, rtol=1e-10)
    same = ModelPair.from_denoisers(models[0], models[0], np.zeros(d), cov)
    assert losses.alignment(same, 0.8) < 1e-14


def test_alignment_of_turned_models_against_exact_arithmetic():
    rng, d, step = np.random.default_rng(12), 4, 1e-5
    root, noise = rng.standard_normal((2, d, d))
    covs = [root @ root.T, root @ root.T + step * (noise + noise.T)]
    test_cov = np.diag([1.0, 2.0, 3.0, 4.0])
    models = [AffineDenoiser.from_moments(np.zeros(d), cov) for cov in covs]
    pair = ModelPair.from_denoisers(*models, np.zeros(d), test_cov)
    with mpmath.workdps(50):
        a = mpmath.mpf(0.8)
        first, second = (
            (a * mpmath.matrix((0.5 * (c + c.T)).tolist()) + (1 - a) * mpmath.eye(d)) ** -1
            for c in covs
        )
        noised = a * mpmath.matrix(test_cov.tolist()) + (1 - a) * mpmath.eye(d)
        product = (1 - a) * (first - second) * noised * (first - second)
        exact = sum(product[i, i] for i in range(d))
    np.testing.assert_allclose(losses.alignment(pair, 0.8), float(exact), rtol=0, atol=1e-15)


def exact_kl(data, mean, cov, floor):
    with mpmath.workdps(120):
        n, d = data.shape
        rows, centre = mpmath.matrix(data.tolist()), []
        for j in range(d):
            centre.append(mpmath.fsum(rows[i, j] for i in range(n)) / n)
            for i in range(n):
                rows[i, j] -= centre[j]
        fitted = rows.T * rows / n + mpmath.mpf(floor) * mpmath.eye(d)
        truth = mpmath.matrix(cov.tolist())
        inverse = fitted**-1
        product = inverse * truth
        shift = mpmath.matrix([mpmath.mpf(float(mean[j])) - centre[j] for j in range(d)])
        value = sum(product[i, i] for i in range(d)) - d + (shift.T * inverse * shift)[0]
        return (value + mpmath.log(mpmath.det(fitted)) - mpmath.log(mpmath.det(truth))) / 2


KL_CASES = [
    (30, 0.0, 20, False),
    (30, 1e-10, 20, False),
    (30, 1.0, 20, False),
    (6, 1e-14, 2, False),
    (6, 1e-14, 20, False),
    (6, 1e-30, 20, False),
    (11, 0.0, 20, False),
    (10, 1e-20, 2, False),
    (6, 1e-14, 2, True),
    (30, 1e-14, 2, True),
    (30, 1e-6, 6, True),
    (1, 0.1, 2, True),
]


@pytest.mark.parametrize(("n", "floor", "decades", "turned"), KL_CASES)
def test_kl_over_many_decades(n, floor, decades, turned):
    rng, d = np.random.default_rng(7), 10
    variances = rng.permutation(np.logspace(0, -decades, d))
    data = rng.standard_normal((n, d)) * np.sqrt(variances)
    cov = np.diag(variances)
    if turned:
        rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
        data, cov = data @ rotation.T, (rotation * variances) @ rotation.T
        cov = 0.5 * (cov + cov.T)
    mean = 0.1 * np.sqrt(np.diag(cov)) * rng.standard_normal(d)
    exact = exact_kl(data, mean, cov, floor)
    found = losses.kl_fitted(data, mean, cov, floor=floor)
    assert abs(found / exact - 1) < 1e-10
    if not turned:
        found = losses.kl_fitted(data, mean, variances, floor=[floor, floor])
        assert abs(found[1] / exact - 1) < 1e-12


@pytest.mark.parametrize(("step", "rtol"), [(1e-2, 1e-12), (1e-4, 1e-10), (1e-6, 2e-9)])
def test_kl_of_nearly_equal_laws(step, rtol):
    # A relative difference e of the laws is known to 1e-16, hence the error 1e-16 / e.
    rng = np.random.default_rng(8)
    data = rng.standard_normal((40, 6)) * np.logspace(0, -3, 6)
    root = np.linalg.cholesky(np.cov(data.T, bias=True))
    noise = rng.standard_normal((6, 6))
    cov = root @ (np.eye(6) + step * (noise + noise.T)) @ root.T
    cov = 0.5 * (cov + cov.T)
    found, exact = losses.kl_fitted(data, data.mean(0), cov), exact_kl(data, data.mean(0), cov, 0)
    assert abs(found / exact - 1) < rtol


@pytest.mark.parametrize(("n", "floor"), [(30, 0.0), (30, 0.2), (4, 0.2)])
def test_kl_by_simulation_and_by_the_matrix_formula(n, floor):
    data, mean, cov = problem(n, 5)
    fitted = np.cov(data.T, bias=True) + floor * np.eye(5)
    found = losses.kl_fitted(data, mean, cov, floor=floor)
    matrix = gaussians.kl_gaussian(mean, cov, data.mean(0), fitted)
    np.testing.assert_allclose(found, matrix, rtol=1e-10)
    truth, model = (
        stats.multivariate_normal(mean, cov),
        stats.multivariate_normal(data.mean(0), fitted),
    )
    x = truth.rvs(40_000, random_state=np.random.default_rng(9))
    draws = truth.logpdf(x) - model.logpdf(x)
    assert abs(draws.mean() - found) < 4 * draws.std() / np.sqrt(len(x))


def test_kl_is_affine_invariant_without_a_floor_and_infinite_when_degenerate():
    data, mean, cov = problem(30, 5)
    value = losses.kl_fitted(data, mean, cov)
    matrix = np.random.default_rng(10).standard_normal((5, 5))
    moved = losses.kl_fitted(data @ matrix.T + 3, matrix @ mean + 3, matrix @ cov @ matrix.T)
    np.testing.assert_allclose(moved, value, rtol=1e-9)
    assert losses.kl_fitted(data[:5], mean, cov) == np.inf
    assert losses.kl_fitted(np.repeat(data[:3], 5, axis=0), mean, cov) == np.inf
    assert losses.kl_fitted(data[:, [0, 1, 1]], mean[:3], cov[:3, :3]) == np.inf
    assert losses.kl_fitted(data[:, :2], mean[:2], [1.0, 0.0], floor=0.1) == np.inf
    assert losses.kl_fitted(data[:, :2], mean[:2], np.ones((2, 2))) == np.inf
    with pytest.raises(ValueError, match="both singular"):
        losses.kl_fitted(data[:1, :2], mean[:2], [1.0, 0.0])


@pytest.mark.parametrize(("d", "n"), [(50, 100), (50, 50), (99, 100), (100, 50), (300, 100)])
@pytest.mark.parametrize("z", [1.0, 0.01])
def test_isotropic_modes_integrate_the_marchenko_pastur_law(d, n, z):
    modes = LossModes.isotropic(d, n)
    low, high = spectra.marchenko_pastur_edges(d / n)
    # x = middle + radius cos(angle) removes both square-root edges.
    middle, radius = 0.5 * (low + high), 0.5 * (high - low)

    def integrand(angle):
        x = middle + radius * np.cos(angle)
        density = spectra.marchenko_pastur_density(x, d / n)
        return float(density) * radius * np.sin(angle) / (x + z)

    expected = integrate.quad(integrand, 0, np.pi, epsabs=1e-12, epsrel=1e-12, limit=500)[0]
    expected = d * (expected + spectra.marchenko_pastur_atom(d / n) / z)
    np.testing.assert_allclose(modes.multiplicities @ (1 / (modes.eigenvalues + z)), expected, 1e-9)
    assert modes.dimension == pytest.approx(d, rel=1e-12)
    np.testing.assert_allclose(modes.multiplicities @ modes.eigenvalues, d, rtol=1e-12)
    scaled = LossModes.isotropic(d, n, variance=3.0)
    np.testing.assert_allclose(scaled.eigenvalues, 3 * modes.eigenvalues, rtol=1e-12)
    assert np.all(scaled.variances == 3.0)


@pytest.mark.parametrize(("d", "n"), [(60, 120), (60, 30)])
def test_isotropic_modes_are_the_average_training_set(d, n):
    rng = np.random.default_rng(11)
    level, found = np.array([0.9, 0.5]), []
    for _ in range(60):
        data = rng.standard_normal((n, d))
        # The known mean is imposed by adding the mirror images.
        modes = LossModes.from_data(np.vstack([data, -data]), np.zeros(d), np.ones(d))
        found.append([losses.test_loss(modes, level), losses.training_loss(modes, level)])
    limit = LossModes.isotropic(d, n)
    theory = [losses.test_loss(limit, level), losses.training_loss(limit, level)]
    # Beside the noise, the limit leaves out terms of relative order 1 / d.
    np.testing.assert_allclose(np.mean(found, axis=0), theory, rtol=0.5 / d)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 8),
    st.sampled_from([(), (3,), (2, 1), (1, 4)]),
    st.sampled_from([(), (4,), (2, 1)]),
)
def test_shapes_and_order_of_the_losses(n, d, shape, floor_shape):
    try:
        wanted = np.broadcast_shapes(shape, floor_shape)
    except ValueError:
        return
    rng = np.random.default_rng(n + 100 * d)
    modes = LossModes.from_data(rng.standard_normal((n, d)), np.zeros(d), np.ones(d))
    level, floor = rng.uniform(0.1, 0.99, shape), rng.uniform(0.0, 1.0, floor_shape)
    values = [np.asarray(f(modes, level, floor=floor)) for f in TOTALS]
    residual, training, test, gap = values
    assert all(value.shape == wanted for value in values)
    assert np.all(training >= 0)
    assert np.all(residual >= training * (1 - 1e-12))
    np.testing.assert_allclose(test - training, gap, rtol=1e-9, atol=1e-10)
    shares = losses.test_loss(modes, level, floor=floor, per_mode=True)
    assert shares.shape == (*wanted, modes.eigenvalues.size)


def test_inputs_may_be_single_precision_or_whole_numbers():
    data = np.arange(12).reshape(4, 3) ** 2
    value = losses.test_loss(LossModes.from_data(data, [0, 0, 0], np.eye(3, dtype=int)), 0.5)
    single = LossModes.from_data(data.astype(np.float32), np.zeros(3), np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(losses.test_loss(single, np.float32(0.5)), value, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([-1.0], [1.0]), "`eigenvalues` has negative"),
        (([[1.0]], [1.0]), "`eigenvalues` must have 1 axis"),
        (([1.0], [-1.0]), "`variances` must be >= 0"),
        (([1.0], [1.0, 2.0]), "`variances` must be a number or have shape"),
        (([1.0], [1.0], [np.nan]), "`shifts` has NaN"),
        (([1.0], [1.0], 0.0, 0.0), "`multiplicities` must be positive"),
    ],
)
def test_modes_reject_bad_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        LossModes(*arguments)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LossModes.from_data([1.0], [0.0], [1.0]), ValueError, "`data` must have 2"),
        (lambda: LossModes.from_data([[1.0]], [0.0, 1.0], [1.0]), ValueError, "`mean` must have 1"),
        (lambda: LossModes.from_data([[1.0]], [0.0], np.eye(2)), ValueError, "`cov` must have 1"),
        (lambda: LossModes.from_data([[1.0]], [0.0], [-1.0]), ValueError, "`cov` has negative"),
        (
            lambda: LossModes.from_data([[1.0, 0]], [0.0, 0], [[1.0, 2], [0, 1]]),
            ValueError,
            "`cov` must be symmetric",
        ),
        (lambda: LossModes.from_denoiser(None, [0.0], [1.0]), TypeError, "`denoiser`"),
        (
            lambda: LossModes.from_reference([[1.0]], [[1.0, 2.0]]),
            ValueError,
            "`reference` must have 1 columns",
        ),
        (lambda: LossModes.from_reference([[1.0]], np.ones((0, 1))), ValueError, "is empty"),
        (lambda: LossModes.isotropic(0, 3), ValueError, "`dimension` must be at least 1"),
        (lambda: LossModes.isotropic(3, 0), ValueError, "`n_samples` must be at least 1"),
        (
            lambda: LossModes.isotropic(3, 3, variance=0.0),
            ValueError,
            "`variance` must be positive",
        ),
        (lambda: losses.optimal_weights([-1.0], 0.5), ValueError, "`eigenvalues`"),
        (lambda: losses.optimal_weights([1.0], 0.0), ValueError, "`alpha_bar`"),
        (lambda: losses.optimal_weights([1.0], 5e-324), ValueError, "`alpha_bar` is so small"),
        (lambda: losses.kl_fitted(np.ones((0, 1)), [0.0], [1.0]), ValueError, "`data` is empty"),
        (lambda: losses.kl_fitted([[1.0]], [0.0], [1.0], floor=-1), ValueError, "`floor`"),
        (lambda: losses.kl_fitted([[1.0]], [0.0, 0], [1.0]), ValueError, "`mean` must have 1"),
        (lambda: losses.alignment(None, 0.5), TypeError, "`pair` must be a ModelPair"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("function", TOTALS)
def test_losses_reject_bad_input(function):
    modes = LossModes([1.0, 0.0], [1.0, 1.0])
    with pytest.raises(TypeError, match="`modes` must be a LossModes"):
        function([1.0], 0.5)
    for level in (0.0, 1.5, np.nan):
        with pytest.raises(ValueError, match="`alpha_bar`"):
            function(modes, level)
    with pytest.raises(ValueError, match="`floor` must be >= 0"):
        function(modes, 0.5, floor=-1e-9)
    with pytest.raises(ValueError, match="`alpha_bar` must be below 1"):
        function(modes, 1.0)


def test_isotropic_modes_have_512_nodes_of_unit_variance_by_default():
    plain = LossModes.isotropic(4, 8)
    assert plain.eigenvalues.size == 512 and np.all(plain.variances == 1.0)


def test_variances_below_zero_by_rounding_are_zero():
    rng = np.random.default_rng(8)
    for _ in range(20):
        basis = np.linalg.qr(rng.standard_normal((6, 6)))[0]
        denoiser = AffineDenoiser(np.zeros(6), np.ones(5), basis[:, 1:])
        one = LossModes.from_denoiser(denoiser, np.zeros(6), np.outer(basis[:, 0], basis[:, 0]))
        np.testing.assert_allclose(one.variances, [0, 0, 0, 0, 0, 1], atol=1e-15)


def test_fitted_kl_has_the_shape_of_the_floor():
    data = [[-1.0], [1.0]]
    assert type(losses.kl_fitted(data, [0.0], [2.0])) is float
    assert losses.kl_fitted(data, [0.0], [2.0], floor=[[0.0, 1.0]]).shape == (1, 2)


def test_pairs_reject_bad_input():
    one = AffineDenoiser([0.0], [1.0], [[1.0]])
    two = AffineDenoiser.from_moments([0.0, 0.0], np.eye(2))
    with pytest.raises(ValueError, match="`mean` must have 2 rows"):
        ModelPair.from_denoisers(one, two, [0.0], [1.0])
    with pytest.raises(ValueError, match="`mean` must have 1 rows"):
        ModelPair.from_denoisers(two, one, [0.0, 0.0], [1.0, 1.0])
    with pytest.raises(TypeError, match="AffineDenoiser"):
        ModelPair.from_denoisers(one, None, [0.0], [1.0])
    pair = ModelPair.from_denoisers(one, one, [0.0], [1.0])
    with pytest.raises(ValueError, match="`floor` must be >= 0"):
        losses.alignment(pair, 0.5, other_floor=-1.0)
