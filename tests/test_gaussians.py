import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, linalg, stats

from lindiff import gaussians


def random_cov(rng, dim, extra=3):
    root = rng.standard_normal((dim, dim + extra))
    return root @ root.T / dim


def random_pair(seed, dim):
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((2, dim))
    return means[0], random_cov(rng, dim), means[1], random_cov(rng, dim)


def rotation(rng, dim):
    return np.linalg.qr(rng.standard_normal((dim, dim)))[0]


def kl_mp(var_p, var_q, shift=0):
    with mpmath.workdps(60):
        r = mpmath.mpf(var_p) / mpmath.mpf(var_q)
        return float((r - 1 - mpmath.log(r) + mpmath.mpf(shift) ** 2 / mpmath.mpf(var_q)) / 2)


@pytest.mark.parametrize("dim", [1, 3, 12])
def test_kl_against_monte_carlo(dim):
    mean_p, cov_p, mean_q, cov_q = random_pair(dim, dim)
    p, q = stats.multivariate_normal(mean_p, cov_p), stats.multivariate_normal(mean_q, cov_q)
    x = p.rvs(40000, random_state=np.random.default_rng(7)).reshape(-1, dim)
    draws = p.logpdf(x) - q.logpdf(x)
    error = draws.std() / np.sqrt(draws.size)
    value = gaussians.kl_gaussian(mean_p, cov_p, mean_q, cov_q)
    assert abs(draws.mean() - value) < 4 * error
    assert abs(draws.mean() - gaussians.kl_gaussian(mean_q, cov_q, mean_p, cov_p)) > 4 * error


@pytest.mark.parametrize(("mp", "vp", "mq", "vq"), [(0.3, 2.0, -0.5, 0.7), (0, 0.2, 1, 1.5)])
def test_one_dimension_against_quadrature(mp, vp, mq, vq):
    p, q = stats.norm(mp, np.sqrt(vp)), stats.norm(mq, np.sqrt(vq))
    args = ([mp], [[vp]], [mq], [[vq]])

    def quad(f):
        return integrate.quad(f, -20, 20, epsabs=1e-13, epsrel=1e-13, limit=400)[0]

    kl = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)))
    assert_allclose(gaussians.kl_gaussian(*args), kl, rtol=1e-10)
    assert_allclose(gaussians.kl_spectral([vp], [vq], shift=mp - mq), kl, rtol=1e-10)
    hellinger = 1 - quad(lambda x: np.sqrt(p.pdf(x) * q.pdf(x)))
    assert_allclose(gaussians.hellinger_squared(*args), hellinger, rtol=1e-10)
    entropy = -quad(lambda x: p.pdf(x) * p.logpdf(x))
    assert_allclose(gaussians.entropy([[vp]]), entropy, rtol=1e-10)
    # W2 in one dimension: the integral over quantiles.
    level = (np.arange(200000) + 0.5) / 200000
    w2 = np.mean((p.ppf(level) - q.ppf(level)) ** 2)
    assert_allclose(gaussians.wasserstein2_squared(*args), w2, rtol=1e-3)


def test_kl_against_the_dense_formula():
    mean_p, cov_p, mean_q, cov_q = random_pair(0, 8)
    precision, delta = np.linalg.inv(cov_q), mean_p - mean_q
    ratio = precision @ cov_p
    dense = 0.5 * (np.trace(ratio) - 8 - np.log(np.linalg.det(ratio)) + delta @ precision @ delta)
    assert_allclose(gaussians.kl_gaussian(mean_p, cov_p, mean_q, cov_q), dense, rtol=1e-10)


def test_w2_against_the_matrix_root_formula():
    mean_p, cov_p, mean_q, cov_q = random_pair(1, 6)
    root = linalg.sqrtm(cov_p)
    cross = np.trace(linalg.sqrtm(root @ cov_q @ root)).real
    dense = np.sum((mean_p - mean_q) ** 2) + np.trace(cov_p + cov_q) - 2 * cross
    assert_allclose(gaussians.wasserstein2_squared(mean_p, cov_p, mean_q, cov_q), dense, rtol=1e-10)


def test_hellinger_against_the_determinant_formula():
    mean_p, cov_p, mean_q, cov_q = random_pair(2, 5)
    mid, delta = (cov_p + cov_q) / 2, mean_p - mean_q
    det = np.linalg.det
    overlap = (det(cov_p) * det(cov_q)) ** 0.25 / np.sqrt(det(mid))
    dense = 1 - overlap * np.exp(-delta @ np.linalg.solve(mid, delta) / 8)
    assert_allclose(gaussians.hellinger_squared(mean_p, cov_p, mean_q, cov_q), dense, rtol=1e-10)


def test_spectral_forms_equal_matrix_forms():
    rng = np.random.default_rng(3)
    basis = rotation(rng, 7)
    var_p, var_q, shift = rng.uniform(0.1, 3, (3, 7))
    cov_p, cov_q = basis * var_p @ basis.T, basis * var_q @ basis.T
    args = (basis @ shift, cov_p, np.zeros(7), cov_q)
    kl = gaussians.kl_spectral(var_p, var_q, shift=shift)
    w2 = gaussians.wasserstein2_squared_spectral(var_p, var_q, shift=shift)
    assert_allclose(gaussians.kl_gaussian(*args), kl, rtol=1e-11)
    assert_allclose(gaussians.wasserstein2_squared(*args), w2, rtol=1e-11)


@pytest.mark.parametrize("function", [gaussians.kl_gaussian, gaussians.hellinger_squared])
def test_affine_invariance(function):
    mean_p, cov_p, mean_q, cov_q = random_pair(4, 5)
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((5, 5)), rng.standard_normal(5)
    moved = function(a @ mean_p + b, a @ cov_p @ a.T, a @ mean_q + b, a @ cov_q @ a.T)
    assert_allclose(moved, function(mean_p, cov_p, mean_q, cov_q), rtol=1e-9)


def test_w2_is_invariant_under_rotations_and_scales():
    mean_p, cov_p, mean_q, cov_q = random_pair(6, 5)
    q = 3.0 * rotation(np.random.default_rng(5), 5)
    moved = gaussians.wasserstein2_squared(q @ mean_p, q @ cov_p @ q.T, q @ mean_q, q @ cov_q @ q.T)
    value = gaussians.wasserstein2_squared(mean_p, cov_p, mean_q, cov_q)
    assert_allclose(moved, 9.0 * value, rtol=1e-11)


def test_units_of_single_coordinates_do_not_matter():
    mean_p, cov_p, mean_q, cov_q = random_pair(8, 4)
    scale = np.array([1e-10, 1.0, 1e10, 1e5])
    both = np.outer(scale, scale)
    moved = gaussians.kl_gaussian(mean_p * scale, cov_p * both, mean_q * scale, cov_q * both)
    assert_allclose(moved, gaussians.kl_gaussian(mean_p, cov_p, mean_q, cov_q), rtol=1e-11)


@pytest.mark.parametrize("gap", [1e-1, 1e-4, 1e-8, -1e-8, -1e-3, 0.5, -0.5, 0.3, 4.0])
def test_kl_of_nearly_equal_laws_has_full_accuracy(gap):
    var = 1.0 + gap
    assert_allclose(gaussians.kl_spectral([var], [1.0]), kl_mp(var, 1), rtol=5e-15)
    value = gaussians.kl_gaussian([0.0], [[var]], [0.0], [[1.0]])
    assert_allclose(value, kl_mp(var, 1), rtol=5e-15)


def test_kl_of_nearly_equal_matrices():
    rng = np.random.default_rng(9)
    cov, change = random_cov(rng, 6), random_cov(rng, 6)
    eps = 1e-7
    moved = cov + eps * change
    relative = np.linalg.solve(cov, moved - cov)
    leading = np.trace(relative @ relative) / 4
    value = gaussians.kl_gaussian(np.zeros(6), moved, np.zeros(6), cov)
    assert_allclose(value, leading, rtol=1e-5)
    assert gaussians.kl_gaussian(np.ones(6), cov, np.ones(6), cov) == 0.0
    leading /= 4
    value = gaussians.hellinger_squared(np.zeros(6), moved, np.zeros(6), cov)
    assert_allclose(value, leading, rtol=1e-5)
    assert gaussians.wasserstein2_squared(np.ones(6), cov, np.ones(6), cov) < 1e-28
    assert gaussians.hellinger_squared(np.ones(6), cov, np.ones(6), cov) == 0.0


@pytest.mark.parametrize("power", [-300, -30, -20, -10, 10, 20, 300])
def test_kl_over_many_decades(power):
    var = 10.0**power
    assert_allclose(gaussians.kl_spectral([var], [1.0]), kl_mp(var, 1), rtol=5e-15)
    assert_allclose(gaussians.kl_spectral([1.0], [var]), kl_mp(1, var), rtol=5e-15)


def test_kl_at_both_ends_of_the_numbers():
    for p, q in ((1e-200, 1e200), (1e-300, 1e-299), (1e-299, 1e-300), (1e300, 1e299)):
        assert_allclose(gaussians.kl_spectral([p], [q]), kl_mp(p, q), rtol=5e-15)
    assert gaussians.kl_spectral([1e200], [1e-200]) == np.inf


def test_matrix_kl_over_twenty_decades():
    var_p, var_q = np.array([1e-20, 1.0, 1e6]), np.array([1.0, 1.0, 1.0])
    expected = sum(kl_mp(p, q) for p, q in zip(var_p, var_q, strict=True))
    zero = np.zeros(3)
    assert_allclose(
        gaussians.kl_gaussian(zero, np.diag(var_p), zero, np.diag(var_q)), expected, rtol=1e-13
    )
    assert_allclose(
        gaussians.kl_gaussian(zero, np.diag(var_q), zero, np.diag(var_p)),
        gaussians.kl_spectral(var_q, var_p),
        rtol=1e-13,
    )


def test_hellinger_of_distant_scales():
    with mpmath.workdps(40):
        r = mpmath.mpf("1e-20")
        expected = float(1 - mpmath.sqrt(2 * mpmath.sqrt(r) / (1 + r)))
    value = gaussians.hellinger_squared([0.0], [[1e-20]], [0.0], [[1.0]])
    assert_allclose(value, expected, rtol=1e-14)


def test_singular_laws():
    zero, flat, full = np.zeros(2), np.diag([1.0, 0.0]), np.eye(2)
    tilted = np.array([[1.0, 1.0], [1.0, 1.0]])
    for singular in (flat, tilted, tilted + 6e-16 * (1 - full), 0 * full):
        assert gaussians.kl_gaussian(zero, singular, zero, full) == np.inf
        assert gaussians.kl_gaussian(zero, full, zero, singular) == np.inf
        assert gaussians.hellinger_squared(zero, singular, zero, full) == 1.0
        assert gaussians.entropy(singular) == -np.inf
        for function in (gaussians.kl_gaussian, gaussians.hellinger_squared):
            with pytest.raises(ValueError, match="both singular"):
                function(zero, singular, zero, singular)
        assert_allclose(
            gaussians.wasserstein2_squared(zero, singular, zero, singular), 0, atol=1e-29
        )
    assert_allclose(gaussians.wasserstein2_squared(zero, flat, zero, full), 1.0, rtol=1e-14)


def test_sample_covariance_of_few_points_is_seen_as_singular():
    rng = np.random.default_rng(11)
    for dim in (5, 40):
        data = rng.standard_normal((dim // 2, dim)) * 1e3
        cov = np.cov(data.T, bias=True)
        assert gaussians.kl_gaussian(np.zeros(dim), np.eye(dim), np.zeros(dim), cov) == np.inf


def test_spectral_limits_and_broadcasting():
    assert gaussians.kl_spectral([0.0], [1.0]) == np.inf
    assert gaussians.kl_spectral([1.0], [0.0]) == np.inf
    assert gaussians.kl_spectral([0.0, 1.0], [0.0, 1.0]) == 0.0
    for shift in (1.0, -1.0):
        assert gaussians.kl_spectral([0.0], [0.0], shift=shift) == np.inf
    assert gaussians.wasserstein2_squared_spectral([0.0], [0.0]) == 0.0
    values = gaussians.kl_spectral(np.ones((4, 1, 3)), np.full((2, 3), 2.0))
    assert values.shape == (4, 2)
    assert_allclose(values, 3 * kl_mp(1, 2))
    assert type(gaussians.kl_spectral([1.0], [2.0])) is float
    assert_allclose(gaussians.kl_spectral([1.0, 1.0], [1.0, 1.0], shift=3.0), 9.0)


def test_symmetric_distances_and_pinsker_order():
    args = random_pair(12, 4)
    swapped = args[2:] + args[:2]
    for function in (gaussians.wasserstein2_squared, gaussians.hellinger_squared):
        assert_allclose(function(*args), function(*swapped), rtol=1e-11)
    # 2 H^2 <= KL in either direction.
    assert 2 * gaussians.hellinger_squared(*args) <= gaussians.kl_gaussian(*args)


def test_condition_against_the_precision_matrix():
    rng = np.random.default_rng(13)
    mean, cov = rng.standard_normal(6), random_cov(rng, 6)
    seen, value = [4, 1], rng.standard_normal((7, 2))
    rest = [0, 2, 3, 5]
    precision = np.linalg.inv(cov)
    block = precision[np.ix_(rest, rest)]
    expected_cov = np.linalg.inv(block)
    cross = precision[np.ix_(rest, seen)]
    expected = mean[rest] - (value - mean[seen]) @ (expected_cov @ cross).T
    got_mean, got_cov = gaussians.condition(mean, cov, seen, value)
    assert_allclose(got_mean, expected, rtol=1e-10)
    assert_allclose(got_cov, expected_cov, rtol=1e-10)
    assert_allclose(gaussians.condition(mean, cov, [-2, 1], value)[0], expected, rtol=1e-10)
    stacked = value[:6].reshape(2, 3, 2)
    table = expected[:6].reshape(2, 3, 4)
    assert_allclose(gaussians.condition(mean, cov, seen, stacked)[0], table, rtol=1e-10)
    assert_allclose(gaussians.condition(mean, cov, seen, value[0])[0], expected[0], rtol=1e-10)


def test_posterior_mean_is_conditioning_of_the_joint_law():
    rng = np.random.default_rng(14)
    mean, cov, x = rng.standard_normal(3), random_cov(rng, 3), rng.standard_normal((5, 3))
    a, b = 0.4, 0.7
    joint_mean = np.concatenate([mean, a * mean])
    joint = np.block([[cov, a * cov], [a * cov, a**2 * cov + b**2 * np.eye(3)]])
    expected, _ = gaussians.condition(joint_mean, joint, [3, 4, 5], x)
    got = gaussians.posterior_mean(mean, cov, x, signal=a, noise=b)
    assert_allclose(got, expected, rtol=1e-10)


def test_posterior_mean_limits():
    mean, cov, x = np.array([1.0, -1.0]), np.diag([2.0, 0.0]), np.array([3.0, 5.0])
    clean = gaussians.posterior_mean(mean, cov, x, signal=0.5, noise=0.0)
    assert_allclose(clean, [6.0, -1.0])
    lost = gaussians.posterior_mean(mean, cov, x, signal=0.5, noise=1e9)
    assert_allclose(lost, mean, atol=1e-15)


def test_posterior_mean_takes_an_eigenvalue_below_zero_for_rounding():
    # It has the eigenvalue -6.7e-16 in the direction of x, which the noise would cancel.
    cov = np.array([[1.0, 1.0 + 6e-16], [1.0 + 6e-16, 1.0]])
    got = gaussians.posterior_mean([0.0, 0.0], cov, [1.0, -1.0], signal=1.0, noise=2.6e-8)
    assert_allclose(got, 0.0, atol=1e-12)


def test_sample_is_the_mean_plus_the_symmetric_root_of_the_noise():
    mean, cov = np.array([1.0, -2.0, 0.5]), random_cov(np.random.default_rng(16), 3)
    drawn = np.random.default_rng(17).standard_normal((4, 3))
    x = gaussians.sample(mean, cov, 4, np.random.default_rng(17))
    assert_allclose(x, mean + drawn @ linalg.sqrtm(cov).real, rtol=1e-10)


@pytest.mark.parametrize("singular", [False, True])
def test_sample_moments(singular):
    rng = np.random.default_rng(15)
    mean, cov = np.array([1.0, -2.0, 0.5]), random_cov(rng, 3)
    if singular:
        cov = np.outer([1.0, 2.0, -1.0], [1.0, 2.0, -1.0])
    x = gaussians.sample(mean, cov, 40000, rng)
    centred = x - mean
    draws = np.concatenate([centred, np.einsum("ni,nj->nij", centred, centred).reshape(-1, 9)], 1)
    error = draws.std(axis=0) / np.sqrt(len(x))
    expected = np.concatenate([np.zeros(3), cov.ravel()])
    assert np.all(np.abs(draws.mean(axis=0) - expected) < 4 * error)
    if singular:
        assert_allclose(centred[:, 1], 2 * centred[:, 0], atol=1e-12)
        assert_allclose(centred[:, 2], -centred[:, 0], atol=1e-12)


EYE = np.eye(2)
BAD = [
    (lambda: gaussians.kl_gaussian([0.0], EYE, [0.0, 0.0], EYE), "`mean_p`"),
    (lambda: gaussians.kl_gaussian([0.0, 0.0, 0.0], EYE, [0.0, 0.0], EYE), "`mean_p`"),
    (lambda: gaussians.kl_gaussian([0.0, 0.0], EYE, [0.0], [[1.0]]), "dimension 2"),
    (lambda: gaussians.kl_gaussian([0.0], [[1.0]], [0.0, 0.0], EYE), "dimension 1"),
    (lambda: gaussians.kl_gaussian([0.0, np.nan], EYE, [0.0, 0.0], EYE), "`mean_p`"),
    (lambda: gaussians.kl_gaussian([0, 0], EYE, [0, 0], [[1, 2], [2, 1]]), "`cov_q` has negative"),
    (lambda: gaussians.kl_gaussian([0, 0], EYE, [0, 0], [[1, 2], [0, 1]]), "symmetric"),
    (lambda: gaussians.wasserstein2_squared([0, 0], -EYE, [0, 0], EYE), "`cov_p` has negative"),
    (lambda: gaussians.entropy([[0.0, 1.0], [1.0, 1.0]]), "`cov` has negative"),
    (lambda: gaussians.entropy([[0.0, -1.0], [-1.0, 1.0]]), "`cov` has negative"),
    (lambda: gaussians.entropy([[1.0, 1.0 + 3e-15], [1.0 + 3e-15, 1.0]]), "`cov` has negative"),
    (lambda: gaussians.kl_spectral([-1.0], [1.0]), "`var_p`"),
    (lambda: gaussians.kl_spectral([1.0, 1.0], [1.0, 1.0, 1.0]), "broadcast"),
    (lambda: gaussians.condition([0, 0], EYE, [0, 0], [1.0, 1.0]), "1 to 1"),
    (lambda: gaussians.condition([0, 0], EYE, [0, 1, 1], [1.0] * 3), "1 to 1"),
    (lambda: gaussians.condition([0, 0], EYE, [], [[]]), "1 to 1"),
    (lambda: gaussians.condition([0] * 3, np.eye(3), [0, -3], [1.0, 1.0]), "repeats"),
    (lambda: gaussians.condition([0, 0], EYE, [2], [1.0]), "observed_index.* 0 .. 1$"),
    (lambda: gaussians.condition([0, 0], EYE, [3], [1.0]), "observed_index.* 0 .. 1$"),
    (lambda: gaussians.condition([0, 0], EYE, [-3], [1.0]), "observed_index.* 0 .. 1$"),
    (lambda: gaussians.condition([0, 0], EYE, [0], [1.0, 2.0]), "observed_value"),
    (lambda: gaussians.condition([0] * 3, np.eye(3), [0, 1], [1.0]), "observed_value"),
    (lambda: gaussians.condition([0] * 3, np.ones((3, 3)), [0, 1], [1, 1]), "redundant"),
    (lambda: gaussians.posterior_mean([0, 0], EYE, [1.0], signal=1, noise=1), "`x`"),
    (lambda: gaussians.posterior_mean([0], [[1]], 1.0, signal=1, noise=1), "`x`"),
    (lambda: gaussians.posterior_mean([0], [[1]], [1.0, 2.0], signal=1, noise=1), "`x`"),
    (lambda: gaussians.posterior_mean([0], [[1]], [1.0], signal=0, noise=1), "signal"),
    (lambda: gaussians.sample([0, 0], EYE, 0, np.random.default_rng(0)), "n_samples"),
]


@pytest.mark.parametrize(("call", "word"), BAD)
def test_bad_input(call, word):
    with pytest.raises(ValueError, match=word):
        call()


def test_wrong_types():
    with pytest.raises(TypeError, match="rng"):
        gaussians.sample([0.0], [[1.0]], 3, 0)
    with pytest.raises(TypeError, match="observed_index"):
        gaussians.condition([0.0, 0.0], EYE, [0.5], [1.0])
