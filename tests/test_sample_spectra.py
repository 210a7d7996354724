"""Random sample covariances: drawn data, matrix identities, 50-digit arithmetic."""

import mpmath
import numpy as np
import pytest
from scipy import linalg, special, stats

from lindiff import _bidiagonal, _wishart, spectra

SPECTRUM = spectra.power_law(6, 1.2)
ROUTES = {
    "isotropic": np.full(6, 0.7),
    "anisotropic": SPECTRUM,
    "with zeros": np.array([2.0, 0.0, 1.0, 0.3, 0.0, 0.1]),
}


def dense(eigenvalues, n_samples, size, estimated_mean, rng):
    """Spectra and projected variances from explicit data."""
    found = np.zeros((2, size, eigenvalues.size))
    for i in range(size):
        x = rng.standard_normal((n_samples, eigenvalues.size)) * np.sqrt(eigenvalues)
        x = x - x.mean(axis=0) if estimated_mean else x
        values, vectors = linalg.eigh(x.T @ x / n_samples)
        found[0, i], found[1, i] = values[::-1], (eigenvalues @ vectors**2)[::-1]
    return found


@pytest.mark.parametrize("degrees", [3, 6, 11])
def test_decomposition_rebuilds_the_drawn_factor(degrees):
    root = _wishart.factor(SPECTRUM, degrees, np.random.default_rng(4))
    values, vectors = _wishart.decompose(
        SPECTRUM, 5, degrees, np.random.default_rng(4), vectors=True
    )
    plain, none = _wishart.decompose(SPECTRUM, 5, degrees, np.random.default_rng(4), vectors=False)
    assert none is None
    np.testing.assert_allclose(values, plain, rtol=1e-12)
    np.testing.assert_allclose((vectors * values) @ vectors.T, root @ root.T / 5, atol=1e-13)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(values.size), atol=1e-13)


@pytest.mark.parametrize("degrees", [4, 8, 12])
def test_twenty_decades_keep_their_digits(degrees):
    values = np.geomspace(1.0, 1e-20, 8)
    found, vectors = _wishart.decompose(values, 5, degrees, np.random.default_rng(17), vectors=True)
    root = _wishart.factor(values, degrees, np.random.default_rng(17)) / np.sqrt(5)
    with mpmath.workdps(80):
        factor = mpmath.matrix(root.tolist())
        exact, basis = mpmath.eigsy(factor * factor.T)
        wanted = np.array([float(x) for x in exact])[::-1][: found.size]
        along = [
            float(sum(mpmath.mpf(v) * basis[i, k] ** 2 for i, v in enumerate(values)))
            for k in range(8)
        ][::-1][: found.size]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    np.testing.assert_allclose(values @ vectors**2, along, rtol=1e-5)
    plain, _ = _wishart.decompose(values, 5, degrees, np.random.default_rng(17), vectors=False)
    np.testing.assert_array_equal(plain, found)


def test_a_draw_does_not_depend_on_how_many_follow():
    for values in ROUTES.values():
        one, many = (
            spectra.sample_spectra(values, 4, np.random.default_rng(8), size=size)
            for size in (1, 3)
        )
        np.testing.assert_array_equal(one.eigenvalues[0], many.eigenvalues[0])
    one = spectra.isotropic_traces(9, 4, 0.3, np.random.default_rng(8), size=1)
    many = spectra.isotropic_traces(9, 4, [0.1, 0.3], np.random.default_rng(8), size=300)
    np.testing.assert_allclose(one.log_det[0], many.log_det[0, 1], rtol=1e-14)
    assert spectra.sample_spectra(SPECTRUM, 4, np.random.default_rng(8)).projected_variances is None


def tridiagonal(a, b):
    matrix = np.diag(a + np.append(0.0, b[:-1]))
    off = np.sqrt(a * b)[:-1]
    return matrix + np.diag(off, 1) + np.diag(off, -1)


@pytest.mark.parametrize("m", [1, 2, 3, 7, 64, 100])
@pytest.mark.parametrize("z", [1e-3, 0.3, 40.0])
def test_recurrence_equals_sums_over_eigenvalues(m, z):
    a, b = _bidiagonal.draw(m + 2, m, 5, np.random.default_rng(m))
    values = _bidiagonal.eigenvalues(a, b)
    for row in range(5):
        dense_values = linalg.eigvalsh(tridiagonal(a[row], b[row]))
        np.testing.assert_allclose(values[row, ::-1], dense_values, atol=1e-12 * values[row, 0])
    series = _bidiagonal.log_det_series(a, b, np.array([z]), 2)[..., 0]
    terms = np.log(values + z)
    scale = np.abs(terms).sum(axis=1)
    assert np.all(np.abs(series[0] - terms.sum(axis=1)) < 1e-12 * scale)
    np.testing.assert_allclose(series[1], (1 / (values + z)).sum(axis=1), rtol=1e-10)
    np.testing.assert_allclose(-2 * series[2], (1 / (values + z) ** 2).sum(axis=1), rtol=1e-10)


def exact(a, b, z):
    """Log-determinant and both traces from the pivots in 60 digits."""
    with mpmath.workdps(60):
        a, b, z = [mpmath.mpf(x) for x in a], [mpmath.mpf(x) for x in b], mpmath.mpf(z)
        shift, slope, curve = z, mpmath.mpf(1), mpmath.mpf(0)
        total = [mpmath.mpf(0)] * 3
        for x, y in zip(a, b, strict=True):
            pivot = x + shift
            total[0] += mpmath.log(pivot)
            total[1] += slope / pivot
            total[2] += (slope / pivot) ** 2 - curve / pivot
            curve = y * x * (curve / pivot**2 - 2 * slope**2 / pivot**3)
            shift, slope = z + y * shift / pivot, 1 + y * x * slope / pivot**2
        return [float(x) for x in total]


@pytest.mark.parametrize("z", [0.0, 1e-20, 1e-9, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("degrees", [200, 201, 900])
def test_recurrence_keeps_tiny_eigenvalues(degrees, z):
    a, b = _bidiagonal.draw(degrees, 200, 1, np.random.default_rng(degrees))
    a, b = a / degrees, b / degrees
    found = _bidiagonal.log_det_series(a, b, np.array([z]), 2)[:, 0, 0]
    wanted = exact(a[0], b[0], z)
    assert abs(found[0] - wanted[0]) < 1e-14 * np.abs(np.log(a + z)).sum()
    np.testing.assert_allclose(found[1], wanted[1], rtol=2e-14)
    np.testing.assert_allclose(-2 * found[2], wanted[2], rtol=4e-14)


def test_small_eigenvalues_of_the_bidiagonal_model():
    a, b = _bidiagonal.draw(40, 40, 1, np.random.default_rng(9))
    with mpmath.workdps(50):
        matrix = mpmath.matrix(40, 40)
        for i in range(40):
            matrix[i, i] = mpmath.mpf(a[0, i]) + (mpmath.mpf(b[0, i - 1]) if i else 0)
        for i in range(39):
            matrix[i, i + 1] = mpmath.sqrt(mpmath.mpf(a[0, i]) * mpmath.mpf(b[0, i]))
            matrix[i + 1, i] = matrix[i, i + 1]
        wanted = np.array([float(x) for x in mpmath.eigsy(matrix, eigvals_only=True)])[::-1]
    found = _bidiagonal.eigenvalues(a, b)[0]
    assert wanted[-1] / wanted[0] < 1e-3
    np.testing.assert_allclose(found, wanted, atol=40 * np.finfo(float).eps * wanted[0])


@pytest.mark.parametrize(
    ("dimension", "n_samples", "estimated_mean"),
    [(5, 9, False), (5, 3, False), (5, 3, True), (4, 1, True), (300, 2000, False)],
)
def test_isotropic_traces_are_those_of_the_spectrum(dimension, n_samples, estimated_mean):
    z = np.array([[0.2, 1.0], [3.0, 10.0]])
    options = {"size": 3, "estimated_mean": estimated_mean}
    traces = spectra.isotropic_traces(
        dimension, n_samples, z, np.random.default_rng(10), variance=2.5, order=2, **options
    )
    values = spectra.sample_spectra(
        np.full(dimension, 2.5), n_samples, np.random.default_rng(10), **options
    ).eigenvalues
    shifted = values[:, None, None, :] + z[..., None]
    assert traces.log_det.shape == (3, 2, 2)
    np.testing.assert_allclose(traces.log_det, np.log(shifted).sum(axis=-1), rtol=1e-12)
    np.testing.assert_allclose(traces.inverse, (1 / shifted).sum(axis=-1), rtol=1e-12)
    np.testing.assert_allclose(traces.inverse_squared, (1 / shifted**2).sum(axis=-1), rtol=1e-12)


def test_isotropic_traces_without_noise():
    full = spectra.isotropic_traces(4, 7, 0.0, np.random.default_rng(11), size=2, order=2)
    values = spectra.sample_spectra(np.ones(4), 7, np.random.default_rng(11), size=2).eigenvalues
    np.testing.assert_allclose(full.log_det, np.log(values).sum(axis=1), rtol=1e-11)
    np.testing.assert_allclose(full.inverse, (1 / values).sum(axis=1), rtol=1e-11)
    np.testing.assert_allclose(full.inverse_squared, (1 / values**2).sum(axis=1), rtol=1e-11)
    singular = spectra.isotropic_traces(4, 3, 0.0, np.random.default_rng(11), order=2)
    assert singular.log_det[0] == -np.inf
    assert singular.inverse[0] == singular.inverse_squared[0] == np.inf
    short = spectra.isotropic_traces(4, 3, 1.0, np.random.default_rng(11), order=0)
    assert short.inverse is None and short.inverse_squared is None


def test_many_levels_and_draws_in_pieces(monkeypatch):
    z = np.geomspace(1e-3, 10, 11)
    whole = spectra.isotropic_traces(30, 40, z, np.random.default_rng(12), size=7, order=2)
    monkeypatch.setattr(_bidiagonal, "_CHUNK", 150)
    pieces = spectra.isotropic_traces(30, 40, z, np.random.default_rng(12), size=7, order=2)
    np.testing.assert_allclose(whole.log_det, pieces.log_det, rtol=1e-13)
    np.testing.assert_allclose(whole.inverse_squared, pieces.inverse_squared, rtol=1e-13)


@pytest.mark.parametrize("estimated_mean", [False, True])
def test_log_det_against_data_and_digamma(estimated_mean):
    n_samples, degrees = 9, 9 - estimated_mean
    draws = spectra.sample_log_det(
        SPECTRUM, n_samples, np.random.default_rng(13), size=40_000, estimated_mean=estimated_mean
    )
    halves = 0.5 * (degrees - np.arange(6))
    mean = special.digamma(halves).sum() + np.log(2 * SPECTRUM / n_samples).sum()
    variance = special.polygamma(1, halves).sum()
    assert abs(draws.mean() - mean) < 4 * np.sqrt(variance / draws.size)
    assert draws.var() == pytest.approx(variance, rel=0.05)
    slow = dense(SPECTRUM, n_samples, 3000, estimated_mean, np.random.default_rng(14))[0]
    assert stats.ks_2samp(draws[:5000], np.log(slow).sum(axis=1)).pvalue > 1e-4


@pytest.mark.parametrize("power", [-60, 60])
def test_units_do_not_choose_the_route(power):
    # A power of two changes no digit, unless it leads to the slower method for graded spectra.
    one, other = (
        _wishart.decompose(scale * SPECTRUM, 5, 8, np.random.default_rng(18), vectors=True)
        for scale in (1.0, 4.0**power)
    )
    np.testing.assert_array_equal(4.0**power * one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


def test_one_draw_by_default():
    assert spectra.sample_spectra([2.0, 1.0], 3, RNG).eigenvalues.shape == (1, 2)
    assert spectra.sample_log_det([2.0, 1.0], 3, RNG).shape == (1,)
    drawn = spectra.isotropic_traces(2, 3, 0.5, np.random.default_rng(1))
    same = spectra.isotropic_traces(2, 3, 0.5, np.random.default_rng(1), size=1, variance=1.0)
    assert drawn.inverse == same.inverse and drawn.inverse_squared is None


def test_the_average_over_the_null_space_is_not_negative():
    # What the drawn directions leave is below the rounding of what they take.
    values, rng = np.array([1.0, 0.7, 0.3, 1e-18]), np.random.default_rng(19)
    for _ in range(30):
        along = spectra.sample_spectra(values, 3, rng, projected=True).projected_variances
        assert np.all(along >= 0.0)


def test_log_det_of_singular_matrices():
    rng = np.random.default_rng(15)
    assert np.all(spectra.sample_log_det([1.0, 0.0], 9, rng, size=2) == [-np.inf, -np.inf])
    assert spectra.sample_log_det([1.0, 1.0], 2, rng, estimated_mean=True)[0] == -np.inf
    assert np.isfinite(spectra.sample_log_det([1.0, 1.0], 2, rng)[0])


RNG = np.random.default_rng(16)


@pytest.mark.parametrize(
    ("call", "error", "name"),
    [
        (lambda: spectra.sample_spectra([[1.0]], 3, RNG), ValueError, "eigenvalues"),
        (lambda: spectra.sample_spectra([1.0, -1.0], 3, RNG), ValueError, "eigenvalues"),
        (lambda: spectra.sample_spectra([1.0, np.nan], 3, RNG), ValueError, "eigenvalues"),
        (lambda: spectra.sample_spectra([1.0], 0, RNG), ValueError, "n_samples"),
        (lambda: spectra.sample_spectra([1.0], 2.0, RNG), TypeError, "n_samples"),
        (lambda: spectra.sample_spectra([1.0], 2, RNG, size=0), ValueError, "size"),
        (lambda: spectra.sample_spectra([1.0], 2, 0), TypeError, "rng"),
        (lambda: spectra.isotropic_traces(0, 2, 1.0, RNG), ValueError, "dimension"),
        (lambda: spectra.isotropic_traces(2, 0, 1.0, RNG), ValueError, "n_samples"),
        (lambda: spectra.isotropic_traces(2, 2, -1.0, RNG), ValueError, "z"),
        (lambda: spectra.isotropic_traces(2, 2, 1.0, 3), TypeError, "rng"),
        (lambda: spectra.isotropic_traces(2, 2, 1.0, RNG, size=0), ValueError, "size"),
        (lambda: spectra.isotropic_traces(2, 2, 1.0, RNG, variance=0.0), ValueError, "variance"),
        (lambda: spectra.isotropic_traces(2, 2, 1.0, RNG, variance=[1.0]), ValueError, "variance"),
        (lambda: spectra.isotropic_traces(2, 2, 1.0, RNG, order=3), ValueError, "order"),
        (lambda: spectra.sample_log_det([[1.0]], 2, RNG), ValueError, "eigenvalues"),
        (lambda: spectra.sample_log_det([1.0], 0, RNG), ValueError, "n_samples"),
        (lambda: spectra.sample_log_det([1.0], 2, RNG, size=0), ValueError, "size"),
        (lambda: spectra.sample_log_det([1.0], 2, None), TypeError, "rng"),
    ],
)
def test_bad_input_is_named(call, error, name):
    with pytest.raises(error, match=f"`{name}`"):
        call()


def test_scale_and_order_of_the_population():
    draws = [
        spectra.sample_spectra(
            scale * SPECTRUM, n, np.random.default_rng(5), size=3, projected=True
        )
        for scale in (1.0, 1e6)
        for n in (4, 9)
    ]
    for one, other in zip(draws[:2], draws[2:], strict=True):
        np.testing.assert_allclose(1e6 * one.eigenvalues, other.eigenvalues, rtol=1e-9)
        np.testing.assert_allclose(
            1e6 * one.projected_variances, other.projected_variances, rtol=1e-9
        )
    turned = spectra.sample_spectra(SPECTRUM[::-1], 9, np.random.default_rng(6), size=4000)
    straight = spectra.sample_spectra(SPECTRUM, 9, np.random.default_rng(7), size=4000)
    for k in range(6):
        pair = turned.eigenvalues[:, k], straight.eigenvalues[:, k]
        assert stats.ks_2samp(*pair).pvalue > 1e-4


@pytest.mark.parametrize("n_samples", [1, 4, 6, 7, 15])
@pytest.mark.parametrize("estimated_mean", [False, True])
@pytest.mark.parametrize("name", ROUTES)
def test_law_of_the_eigenvalues(name, n_samples, estimated_mean):
    size, values = 2500, ROUTES[name]
    drawn = spectra.sample_spectra(
        values,
        n_samples,
        np.random.default_rng(1),
        size=size,
        estimated_mean=estimated_mean,
        projected=True,
    )
    slow = dense(values, n_samples, size, estimated_mean, np.random.default_rng(2))
    rank = min(n_samples - estimated_mean, np.count_nonzero(values))
    assert np.all(drawn.eigenvalues[:, rank:] == 0)
    assert np.all(drawn.eigenvalues[:, :rank] > 0)
    assert np.all(np.diff(drawn.eigenvalues, axis=1) <= 0)
    for k in range(rank):
        assert stats.ks_2samp(drawn.eigenvalues[:, k], slow[0, :, k]).pvalue > 1e-4
        if name != "isotropic":
            along = drawn.projected_variances[:, k]
            assert stats.ks_2samp(along, slow[1, :, k]).pvalue > 1e-4
    null_fast = drawn.projected_variances[:, rank:].sum(axis=1)
    null_slow = slow[1, :, rank:].sum(axis=1)
    if 0 < rank < np.count_nonzero(values) and name != "isotropic":
        assert stats.ks_2samp(null_fast, null_slow).pvalue > 1e-4
    np.testing.assert_allclose(drawn.projected_variances.sum(axis=1), values.sum(), rtol=1e-12)


@pytest.mark.parametrize(("n_samples", "estimated_mean"), [(3, False), (9, False), (9, True)])
@pytest.mark.parametrize("name", ["isotropic", "anisotropic"])
def test_moments_of_the_sample_covariance(name, n_samples, estimated_mean):
    values, degrees = ROUTES[name], n_samples - estimated_mean
    drawn = spectra.sample_spectra(
        values,
        n_samples,
        np.random.default_rng(3),
        size=6000,
        estimated_mean=estimated_mean,
        projected=True,
    )
    first, second = values.sum(), (values**2).sum()
    share = degrees / n_samples
    expected = {
        "tr": share * first,
        "tr2": (degrees * (degrees + 1) * second + degrees * first**2) / n_samples**2,
        "tr sigma": share * second,
    }
    found = {
        "tr": drawn.eigenvalues.sum(axis=1),
        "tr2": (drawn.eigenvalues**2).sum(axis=1),
        "tr sigma": (drawn.eigenvalues * drawn.projected_variances).sum(axis=1),
    }
    for key, draws in found.items():
        error = draws.std(ddof=1) / np.sqrt(draws.size)
        assert abs(draws.mean() - expected[key]) < 4 * error, key
