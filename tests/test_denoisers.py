import tracemalloc

import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from lindiff import _empirical
from lindiff.denoisers import (
    AffineDenoiser,
    Denoiser,
    EmpiricalDenoiser,
    GaussianMixtureDenoiser,
    nearest_neighbours,
    predict_noise,
    stream_denoise,
)
from lindiff.schedules import linear_beta


def _rng(seed=0):
    return np.random.default_rng(seed)


def _covariance(d, rng):
    root = rng.standard_normal((d, d))
    return root @ root.T / d + 0.1 * np.eye(d)


def _moments(data):
    away = data - data.mean(axis=0)
    return data.mean(axis=0), away.T @ away / len(data)


def _dense(mean, cov, x, sigma):
    d = mean.size
    return mean + (x - mean) @ np.linalg.solve(cov + sigma**2 * np.eye(d), cov)


class TestAffine:
    def test_no_floor_and_no_ridge_by_default(self):
        plain = AffineDenoiser([0.0], [3.0], [[1.0]])
        assert (plain.floor, plain.ridge) == (0.0, 0.0)
        assert plain.denoise([4.0], 1.0) == pytest.approx(3.0, rel=1e-14)

    @pytest.mark.parametrize(("n", "d"), [(4, 9), (9, 4), (5, 5), (1, 3), (30, 1)])
    @pytest.mark.parametrize("floor", [0.0, 0.3])
    def test_from_data_equals_dense_formula(self, n, d, floor):
        rng = _rng()
        data = rng.standard_normal((n, d)) + 2.0
        mean, cov = _moments(data)
        cov = cov + floor * np.eye(d)
        denoiser = AffineDenoiser.from_data(data, floor=floor)
        assert denoiser.eigenvalues.size == min(n - 1, d)
        np.testing.assert_allclose(denoiser.covariance, cov, atol=1e-13)
        x = rng.standard_normal((7, d))
        for sigma in (1e-3, 0.7, 30.0):
            want = _dense(mean, cov, x, sigma)
            np.testing.assert_allclose(denoiser.denoise(x, sigma), want, rtol=1e-9, atol=1e-9)

    def test_from_data_equals_from_moments(self):
        data = _rng(1).standard_normal((6, 10))
        first = AffineDenoiser.from_data(data, floor=0.1)
        second = AffineDenoiser.from_moments(*_moments(data), floor=0.1)
        x = _rng(2).standard_normal((3, 10))
        np.testing.assert_allclose(first.denoise(x, 0.4), second.denoise(x, 0.4), atol=1e-12)
        for got, want in zip(first.weights(0.3), second.weights(0.3), strict=True):
            np.testing.assert_allclose(got, want, atol=1e-12)

    @pytest.mark.parametrize("gamma", [0.0, 0.2])
    def test_weights_equal_least_squares_on_augmented_data(self, gamma):
        rng = _rng(3)
        n, d, a = 20, 4, 0.35
        data = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + 1.5
        rows = [np.sqrt(a / n) * data, np.sqrt(1 - a) * np.eye(d), np.sqrt(gamma) * np.eye(d)]
        bias = np.concatenate([np.full(n, np.sqrt(1 / n)), np.zeros(2 * d)])
        target = np.concatenate([np.zeros((n, d)), np.eye(d), np.zeros((d, d))])
        design = np.column_stack([np.concatenate(rows), bias])
        fit = LinearRegression(fit_intercept=False).fit(design, target)
        weights, offset = AffineDenoiser.from_data(data, floor=gamma / a).weights(a)
        np.testing.assert_allclose(weights, fit.coef_[:, :d], atol=1e-12)
        np.testing.assert_allclose(offset, fit.coef_[:, d], atol=1e-12)

    def test_weights_equal_ridge_on_centred_data(self):
        rng = _rng(4)
        n, d, a, gamma = 5, 8, 0.6, 0.15
        data = rng.standard_normal((n, d))
        data -= data.mean(axis=0)
        design = np.concatenate([np.sqrt(a / n) * data, np.sqrt(1 - a) * np.eye(d)])
        target = np.concatenate([np.zeros((n, d)), np.eye(d)])
        fit = Ridge(alpha=gamma, fit_intercept=False, solver="svd").fit(design, target)
        weights, offset = AffineDenoiser.from_data(data, floor=gamma / a).weights(a)
        np.testing.assert_allclose(weights, fit.coef_, atol=1e-12)
        np.testing.assert_allclose(offset, 0.0, atol=1e-12)

    def test_weights_minimise_the_noise_averaged_loss(self):
        rng = _rng(5)
        d, a, gamma = 3, 0.4, 0.1
        data = rng.standard_normal((6, d)) + 1.0

        def loss(flat):
            weights, bias = flat[: d * d].reshape(d, d), flat[d * d :]
            fit = np.mean(np.sum((np.sqrt(a) * data @ weights.T + bias) ** 2, axis=1))
            noise = np.sum((np.eye(d) - np.sqrt(1 - a) * weights) ** 2)
            return fit + noise + gamma * np.sum(weights**2)

        best = minimize(loss, np.zeros(d * d + d), method="BFGS", options={"gtol": 1e-9}).x
        weights, bias = AffineDenoiser.from_data(data, floor=gamma / a).weights(a)
        np.testing.assert_allclose(weights.ravel(), best[: d * d], atol=1e-5)
        np.testing.assert_allclose(bias, best[d * d :], atol=1e-5)

    @pytest.mark.parametrize("constant", [True, False])
    def test_ridge_equals_ridge_regression_at_every_level(self, constant):
        rng = _rng(14)
        n, d = 5, 8
        data = rng.standard_normal((n, d))
        data -= data.mean(axis=0)
        denoiser = AffineDenoiser.from_data(data, ridge=0.15 if constant else lambda a: 0.2 * a**2)
        for a in (0.05, 0.6, 0.999):
            design = np.concatenate([np.sqrt(a / n) * data, np.sqrt(1 - a) * np.eye(d)])
            target = np.concatenate([np.zeros((n, d)), np.eye(d)])
            gamma = 0.15 if constant else 0.2 * a**2
            fit = Ridge(alpha=gamma, fit_intercept=False, solver="svd").fit(design, target)
            np.testing.assert_allclose(denoiser.weights(a)[0], fit.coef_, atol=1e-12)
            x = rng.standard_normal((3, d))
            got = predict_noise(denoiser, x, a)
            np.testing.assert_allclose(got, denoiser.predict_noise(x, a), atol=1e-12)
            np.testing.assert_allclose(got, x @ fit.coef_.T, atol=1e-12)

    def test_ridge_and_floor_are_one_at_each_level(self):
        data, x = _rng(15).standard_normal((4, 6)), _rng(16).standard_normal((3, 6))
        floor = AffineDenoiser.from_data(data, floor=0.3)
        ridge = AffineDenoiser.from_data(data, ridge=lambda a: 0.3 * a)
        both = AffineDenoiser.from_data(data, floor=0.2, ridge=lambda a: 0.1 * a)
        for sigma in (0.0, 1e-3, 2.0, 1e6):
            want = floor.denoise(x, sigma)
            np.testing.assert_allclose(ridge.denoise(x, sigma), want, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(both.denoise(x, sigma), want, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(ridge.noise_gains(1.0)[0], 0.0)
        full = AffineDenoiser([0.0], [3.0], [[1.0]])
        assert [value.tolist() for value in full.noise_gains(1.0)] == [[0.0], 0.0]
        assert full.noise_gains(0.5)[1] == 0.0
        with pytest.raises(ValueError, match="below 1"):
            AffineDenoiser.from_data(data).noise_gains(1.0)
        np.testing.assert_allclose(ridge.penalty([0.0, 3.0]), 0.3)
        np.testing.assert_allclose(AffineDenoiser.from_data(data, ridge=0.1).penalty(3.0), 1.0)

    @pytest.mark.parametrize("regular", [{}, {"floor": 0.2}, {"ridge": 0.1}])
    @pytest.mark.parametrize("n", [4, 30])
    def test_gains_are_the_spectra_of_the_maps_at_all_levels(self, n, regular):
        rng = _rng(17)
        denoiser = AffineDenoiser.from_data(rng.standard_normal((n, 6)), **regular)
        schedule = linear_beta(1000)
        gain, null = denoiser.gains(schedule.sigma)
        noise_gain, noise_null = denoiser.noise_gains(schedule.alpha_bar)
        k = denoiser.eigenvalues.size
        assert gain.shape == noise_gain.shape == (1000, k)
        assert null.shape == noise_null.shape == (1000,)
        for t in (0, 300, 999):
            sigma, a = schedule.sigma[t], schedule.alpha_bar[t]
            x = rng.standard_normal((5, 6))
            clean = (denoiser.denoise(x, sigma) - denoiser.mean) @ denoiser.eigenvectors
            want = (x - denoiser.mean) @ denoiser.eigenvectors * gain[t]
            np.testing.assert_allclose(clean, want, rtol=1e-9, atol=1e-12)
            spectrum = np.concatenate([noise_gain[t], np.full(6 - k, noise_null[t])])
            values = np.linalg.eigvalsh(denoiser.weights(a)[0])
            np.testing.assert_allclose(values, np.sort(spectrum), rtol=1e-10)
        # sqrt(1 - alpha_bar) w = 1 - g, in numbers that do not cancel.
        np.testing.assert_allclose(
            np.sqrt(schedule.noise_var)[:, None] * noise_gain, 1 - gain, rtol=1e-9
        )

    def test_gains_against_50_digits(self):
        sigma = np.array([1e-9, 0.3, 80.0, 1e9])
        gain, null = AffineDenoiser([0.0, 0.0], [1e-12], [[1.0], [0.0]], 1e-15, 1e-3).gains(sigma)
        with mpmath.workdps(50):
            for i, s in enumerate(map(mpmath.mpf, sigma)):
                load = mpmath.mpf(1e-15) + mpmath.mpf(1e-3) * (1 + s**2)
                for got, lam in ((gain[i, 0], load + mpmath.mpf(1e-12)), (null[i], load)):
                    np.testing.assert_allclose(got, float(lam / (lam + s**2)), rtol=1e-14)

    def test_denoise_is_the_regression_of_clean_on_noisy(self):
        """Least squares on simulated pairs, of data that are not Gaussian."""
        rng = _rng(18)
        n, sigma = 400_000, 0.8
        clean = rng.exponential(size=(n, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0.2], [0, 0, 0.3]])
        noisy = clean + sigma * rng.standard_normal(clean.shape)
        fit = LinearRegression().fit(noisy, clean)
        x = rng.standard_normal((4, 3))
        want = AffineDenoiser.from_data(clean).denoise(x, sigma)
        error = np.std(clean - fit.predict(noisy), axis=0) / np.sqrt(n)
        scale = np.sqrt(1 + np.sum((x - clean.mean(axis=0)) ** 2, axis=1) / sigma**2)
        assert np.all(np.abs(fit.predict(x) - want) < 4 * error * scale[:, None])

    def test_denoise_follows_the_score_of_scipys_normal(self):
        rng = _rng(19)
        mean, cov, sigma, step = rng.standard_normal(3), _covariance(3, rng), 0.6, 1e-5
        law = multivariate_normal(mean, cov + sigma**2 * np.eye(3))
        x = rng.standard_normal((4, 3))
        slopes = [(law.logpdf(x + e) - law.logpdf(x - e)) / (2 * step) for e in step * np.eye(3)]
        want = x + sigma**2 * np.stack(slopes, axis=-1)
        got = AffineDenoiser.from_moments(mean, cov).denoise(x, sigma)
        np.testing.assert_allclose(got, want, atol=1e-9)

    def test_weights_for_many_levels(self):
        rng = _rng(6)
        denoiser = AffineDenoiser.from_data(rng.standard_normal((3, 5)))
        levels = np.array([[0.1, 0.5], [0.9, 0.99]])
        weights, bias = denoiser.weights(levels)
        assert weights.shape == (2, 2, 5, 5)
        assert bias.shape == (2, 2, 5)
        one = denoiser.weights(0.9)
        np.testing.assert_allclose(weights[1, 0], one[0])
        np.testing.assert_allclose(bias[1, 0], one[1])

    def test_noise_prediction_and_clean_estimate_agree(self):
        rng = _rng(7)
        denoiser = AffineDenoiser.from_data(rng.standard_normal((4, 6)) + 1, floor=0.05)
        x, a = rng.standard_normal((5, 6)), 0.3
        weights, bias = denoiser.weights(a)
        got = denoiser.predict_noise(x, a)
        np.testing.assert_allclose(got, x @ weights.T + bias, atol=1e-13)
        np.testing.assert_allclose(got, predict_noise(denoiser, x, a), atol=1e-13)
        clean = (x - np.sqrt(1 - a) * got) / np.sqrt(a)
        sigma = np.sqrt((1 - a) / a)
        np.testing.assert_allclose(denoiser.denoise(x / np.sqrt(a), sigma), clean, atol=1e-13)

    def test_one_level_for_each_point(self):
        rng = _rng(8)
        denoiser = AffineDenoiser.from_data(rng.standard_normal((4, 6)), floor=0.1)
        x, sigma = rng.standard_normal((2, 3, 6)), rng.uniform(0.1, 3, (2, 3))
        got = denoiser.denoise(x, sigma)
        noise = denoiser.predict_noise(x, 1 / (1 + sigma**2))
        for i in np.ndindex(2, 3):
            np.testing.assert_allclose(got[i], denoiser.denoise(x[i], sigma[i]))
            level = 1 / (1 + sigma[i] ** 2)
            np.testing.assert_allclose(noise[i], denoiser.predict_noise(x[i], level))

    def test_limits_of_the_noise_level(self):
        rng = _rng(9)
        mean, x = rng.standard_normal(4), rng.standard_normal((3, 4))
        full = AffineDenoiser.from_moments(mean, _covariance(4, rng))
        np.testing.assert_allclose(full.denoise(x, 0.0), x, atol=1e-14)
        np.testing.assert_allclose(full.denoise(x, 1e200), np.tile(mean, (3, 1)))
        data = rng.standard_normal((2, 4))
        line = AffineDenoiser.from_data(data)
        at_zero = line.denoise(x, 0.0)
        np.testing.assert_allclose(at_zero, line.denoise(x, 1e-9), atol=1e-12)
        direction = np.diff(data, axis=0)[0]
        off = at_zero - data[0]
        along = np.outer(off @ direction / (direction @ direction), direction)
        np.testing.assert_allclose(off, along, atol=1e-12)

    def test_rotation_carries_over(self):
        rng = _rng(10)
        data, x = rng.standard_normal((5, 7)), rng.standard_normal((3, 7))
        turn = np.linalg.qr(rng.standard_normal((7, 7)))[0]
        plain = AffineDenoiser.from_data(data).denoise(x, 0.8)
        turned = AffineDenoiser.from_data(data @ turn).denoise(x @ turn, 0.8)
        np.testing.assert_allclose(turned, plain @ turn, atol=1e-12)

    def test_small_variances_keep_their_digits(self):
        rng = _rng(11)
        scales = np.array([1.0, 1e-4, 1e-7])
        data = rng.standard_normal((50, 3)) * scales
        got = AffineDenoiser.from_data(data).eigenvalues
        with mpmath.workdps(50):
            exact = mpmath.matrix(data.tolist())
            mean = [mpmath.fsum(exact[:, j]) / 50 for j in range(3)]
            away = mpmath.matrix(50, 3)
            for i in range(50):
                for j in range(3):
                    away[i, j] = exact[i, j] - mean[j]
            want = sorted(mpmath.eigsy(away.T * away / 50, eigvals_only=True), reverse=True)
        np.testing.assert_allclose(got, [float(v) for v in want], rtol=1e-8)

    def test_beats_every_perturbation_by_monte_carlo(self):
        rng = _rng(12)
        mean, cov, a = np.array([1.0, -1.0]), np.array([[2.0, 0.5], [0.5, 1.0]]), 0.5
        weights, bias = AffineDenoiser.from_moments(mean, cov).weights(a)
        noise = rng.standard_normal((40_000, 2))
        clean = rng.multivariate_normal(mean, cov, len(noise))
        x = np.sqrt(a) * clean + np.sqrt(1 - a) * noise
        best = np.sum((noise - x @ weights.T - bias) ** 2, axis=1)
        for step in (0.1 * np.eye(2), -0.1 * np.eye(2), np.array([[0, 0.1], [0, 0]])):
            gap = np.sum((noise - x @ (weights + step).T - bias) ** 2, axis=1) - best
            assert gap.mean() > 4 * gap.std() / np.sqrt(len(gap))

    @pytest.mark.parametrize("d", [2, 30, 300])
    def test_single_precision_eigenvectors_are_orthonormal(self, d):
        points = _rng(48).standard_normal((2 * d, d)).astype(np.float32)
        values, vectors = np.linalg.eigh(points.T @ points)
        assert vectors.dtype == np.float32
        denoiser = AffineDenoiser(np.zeros(d), values, vectors)
        x = _rng(49).standard_normal((3, d))
        exact = AffineDenoiser.from_moments(np.zeros(d), points.T.astype(float) @ points)
        np.testing.assert_allclose(denoiser.denoise(x, 3.0), exact.denoise(x, 3.0), atol=1e-4)

    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda: AffineDenoiser([0.0], [-1.0], [[1.0]]), "negative"),
            (lambda: AffineDenoiser([0.0], [1.0], [[2.0]]), "orthonormal"),
            (lambda: AffineDenoiser([0.0], [1.0], [[1.000001]]), "orthonormal"),
            (lambda: AffineDenoiser([0.0], [1.0], np.float32([[1.001]])), "orthonormal"),
            (lambda: AffineDenoiser([], [], np.zeros((0, 0))), "`mean` is empty"),
            (lambda: AffineDenoiser([0.0], [1.0], [[1.0], [0.0]]), "shape"),
            (lambda: AffineDenoiser([0.0, 0.0], [1.0], [[1.0]]), "shape"),
            (lambda: AffineDenoiser([0.0], [1.0], [[1.0]], floor=-1.0), "floor"),
            (lambda: AffineDenoiser([0.0], [1.0], [[1.0]], floor=[1.0]), "one number"),
            (lambda: AffineDenoiser([0.0], [1.0], [[1.0]], ridge=-1.0), "`ridge`"),
            (lambda: AffineDenoiser([0.0], [1.0], [[1.0]], ridge=[0.1]), "`ridge`"),
            (lambda: AffineDenoiser([np.nan], [1.0], [[1.0]]), "NaN"),
            (lambda: AffineDenoiser.from_moments([0.0], [[1.0, 0.0], [0.0, 1.0]]), "shape"),
            (lambda: AffineDenoiser.from_moments([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), "negative"),
            (lambda: AffineDenoiser.from_data(np.zeros((0, 3))), "empty"),
            (lambda: AffineDenoiser.from_data([1.0, 2.0]), "axes"),
        ],
    )
    def test_bad_construction(self, build, message):
        with pytest.raises(ValueError, match=message):
            build()

    def test_bad_calls(self):
        denoiser = AffineDenoiser.from_data([[0.0, 0.0], [1.0, 1.0]])
        for bad in ([1.0], 1.0):
            with pytest.raises(ValueError, match="shape"):
                denoiser.denoise(bad, 1.0)
        with pytest.raises(ValueError, match="sigma"):
            denoiser.denoise([1.0, 1.0], -1.0)
        with pytest.raises(ValueError, match="does not fit"):
            denoiser.denoise(np.zeros((3, 2)), np.ones(4))
        with pytest.raises(ValueError, match="below 1"):
            denoiser.predict_noise([1.0, 1.0], 1.0)
        with pytest.raises(ValueError, match="alpha_bar"):
            denoiser.weights(0.0)
        for bad in (1.0, [0.5, 0.5]):
            with pytest.raises(ValueError, match="one number below 1"):
                predict_noise(denoiser, [1.0, 1.0], bad)
        with pytest.raises(TypeError, match="denoise"):
            predict_noise(None, [1.0, 1.0], 0.5)
        with pytest.raises(ValueError, match="sigma"):
            denoiser.gains([-1.0])
        with pytest.raises(ValueError, match="sigma"):
            denoiser.penalty(np.nan)
        with pytest.raises(ValueError, match="alpha_bar"):
            denoiser.noise_gains(1.5)
        for ridge in (lambda a: -a, lambda a: np.ones(7)):
            bad = AffineDenoiser.from_data([[0.0, 0.0], [1.0, 1.0]], ridge=ridge)
            with pytest.raises(ValueError, match="ridge"):
                bad.denoise([1.0, 1.0], 1.0)
        with pytest.raises(ValueError, match="read-only"):
            denoiser.mean[0] = 1.0


class TestEmpirical:
    def _direct(self, data, x, sigma):
        distance = np.sum((x[:, None] - data) ** 2, axis=2)
        weights = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / (2 * sigma**2))
        return (weights / weights.sum(axis=1, keepdims=True)) @ data

    @pytest.mark.parametrize("sigma", [0.05, 0.7, 20.0])
    def test_equals_direct_sum_whatever_the_blocks(self, sigma, monkeypatch):
        rng = _rng(20)
        data, x = rng.standard_normal((23, 4)) + 5, rng.standard_normal((11, 4)) + 5
        want = self._direct(data, x, sigma)
        denoiser = EmpiricalDenoiser(data)
        np.testing.assert_allclose(denoiser.denoise(x, sigma), want, rtol=1e-11)
        monkeypatch.setattr(_empirical, "_BLOCK", 5)
        monkeypatch.setattr(_empirical, "_QUERIES", 3)
        np.testing.assert_allclose(denoiser.denoise(x, sigma), want, rtol=1e-11)

    def test_denoise_follows_the_slope_of_the_kernel_density(self):
        rng = _rng(24)
        data, x, sigma, step = rng.standard_normal((40, 3)), rng.standard_normal((5, 3)), 0.5, 1e-5
        log = KernelDensity(bandwidth=sigma).fit(data).score_samples
        slopes = [(log(x + e) - log(x - e)) / (2 * step) for e in step * np.eye(3)]
        want = x + sigma**2 * np.stack(slopes, axis=-1)
        np.testing.assert_allclose(EmpiricalDenoiser(data).denoise(x, sigma), want, atol=1e-8)

    @pytest.mark.parametrize("sigma", [0.0, 1e-3, 0.6, 50.0])
    def test_stream_equals_the_whole_set(self, sigma):
        rng = _rng(25)
        data, x = rng.standard_normal((50, 4)) + 3, rng.standard_normal((2, 3, 4)) + 3
        want = EmpiricalDenoiser(data).denoise(x, sigma)
        for size in (1, 7, 50):
            blocks = (data[i : i + size] for i in range(0, 50, size))
            np.testing.assert_allclose(stream_denoise(blocks, x, sigma), want, rtol=1e-12)

    def test_stored_points_are_read_in_bounded_memory(self, tmp_path, monkeypatch):
        rng = _rng(26)
        monkeypatch.setattr(_empirical, "_BLOCK", 64)
        data = rng.standard_normal((20_000, 30)).astype(np.float32)
        stored = np.memmap(tmp_path / "data", np.float32, "w+", shape=data.shape)
        stored[:] = data
        x = rng.standard_normal((5, 30))
        tracemalloc.start()
        denoiser = EmpiricalDenoiser(stored)
        got = denoiser.denoise(x, 2.0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < data.nbytes / 10
        index, distance = nearest_neighbours(x, stored)
        np.testing.assert_array_equal(index, nearest_neighbours(x, data)[0])
        np.testing.assert_allclose(distance, np.linalg.norm(x - data[index], axis=1), rtol=1e-6)
        assert denoiser.dimension == 30
        np.testing.assert_allclose(got, EmpiricalDenoiser(data).denoise(x, 2.0), rtol=1e-12)
        for place in (0, -1):
            stored[:] = data
            stored[place, 0] = np.nan
            with pytest.raises(ValueError, match="`data` has NaN"):
                EmpiricalDenoiser(stored)
        none = stored[:0].view(np.memmap)
        for bad in (stored.reshape(-1), none, stored[None]):
            with pytest.raises(ValueError, match=r"`data` must have shape \(N, d\)"):
                EmpiricalDenoiser(bad)

    def test_a_single_point_is_the_neighbour_of_all(self):
        index, distance = nearest_neighbours([[2.0], [-1.0]], [[1.0]])
        assert index.tolist() == [0, 0] and distance.tolist() == [1.0, 2.0]

    def test_bad_streams(self):
        with pytest.raises(ValueError, match="`blocks` is empty"):
            stream_denoise(iter([]), [0.0], 1.0)
        with pytest.raises(ValueError, match="`blocks` is empty"):
            stream_denoise([np.zeros((0, 1))], [0.0], 1.0)
        with pytest.raises(ValueError, match="`blocks` must all have 1 columns, got 2"):
            stream_denoise([[[0.0]], [[0.0, 1.0]]], [0.0], 1.0)
        with pytest.raises(ValueError, match="`blocks` must all have 2 columns"):
            stream_denoise([[[0.0, 1.0]], [[0.0]]], [0.0, 0.0], 1.0)
        with pytest.raises(ValueError, match="`blocks` has NaN"):
            stream_denoise([[[0.0]], [[np.nan]]], [0.0], 1.0)
        with pytest.raises(ValueError, match="`x`"):
            stream_denoise([[[0.0]]], [0.0, 1.0], 1.0)
        with pytest.raises(ValueError, match="`sigma`"):
            stream_denoise([[[0.0]]], [0.0], -1.0)

    def test_weights_against_50_digits(self):
        data, x, sigma = np.array([[-1.0], [0.3], [1.1]]), 0.4, 0.07
        with mpmath.workdps(50):
            weights = [
                mpmath.exp(-((mpmath.mpf(x) - mpmath.mpf(v)) ** 2) / (2 * mpmath.mpf(sigma) ** 2))
                for v in data[:, 0]
            ]
            total = mpmath.fsum(weights)
            want = mpmath.fsum(w * mpmath.mpf(v) for w, v in zip(weights, data[:, 0], strict=True))
            want = float(want / total)
        got = EmpiricalDenoiser(data).denoise([x], sigma)[0]
        assert abs(got - want) < 1e-13

    def test_limits_of_the_noise_level(self):
        rng = _rng(21)
        data, x = rng.standard_normal((40, 3)), rng.standard_normal((9, 3))
        denoiser = EmpiricalDenoiser(data)
        index, _ = nearest_neighbours(x, data)
        for sigma in (0.0, 1e-200, 1e-9):
            np.testing.assert_allclose(denoiser.denoise(x, sigma), data[index], rtol=1e-12)
        for sigma in (1e9, 1e200):
            want = np.tile(data.mean(axis=0), (9, 1))
            np.testing.assert_allclose(denoiser.denoise(x, sigma), want, atol=1e-8)
        far = denoiser.denoise(1e8 * x, 0.5)
        assert np.all(np.isfinite(far))
        both = EmpiricalDenoiser([[-1.0], [1.0]]).denoise([[0.0]], 0.0)
        np.testing.assert_allclose(both, 0.0, atol=1e-15)

    def test_shapes_and_levels(self):
        rng = _rng(22)
        data, x = rng.standard_normal((6, 2)), rng.standard_normal((3, 4, 2))
        sigma = rng.uniform(0.1, 2, (3, 4))
        denoiser = EmpiricalDenoiser(data)
        got = denoiser.denoise(x, sigma)
        assert got.shape == x.shape
        np.testing.assert_allclose(got[1, 2], denoiser.denoise(x[1, 2], sigma[1, 2]))
        assert isinstance(denoiser, Denoiser)
        assert denoiser.dimension == 2

    def test_lowest_training_loss_of_all(self):
        rng = _rng(23)
        data, sigma = rng.standard_normal((10, 2)), 0.6
        clean = data[rng.integers(10, size=20_000)]
        x = clean + sigma * rng.standard_normal(clean.shape)
        losses = [
            np.sum((model.denoise(x, sigma) - clean) ** 2, axis=1)
            for model in (EmpiricalDenoiser(data), AffineDenoiser.from_data(data))
        ]
        gap = losses[1] - losses[0]
        assert gap.mean() > 4 * gap.std() / np.sqrt(len(gap))

    def test_bad_input(self):
        with pytest.raises(ValueError, match="read-only"):
            EmpiricalDenoiser([[0.0]]).data[0] = 1.0
        with pytest.raises(ValueError, match="empty"):
            EmpiricalDenoiser(np.zeros((0, 2)))
        with pytest.raises(ValueError, match="NaN"):
            EmpiricalDenoiser([[np.inf]])
        with pytest.raises(ValueError, match="shape"):
            EmpiricalDenoiser([[0.0]]).denoise([[1.0, 2.0]], 1.0)


class TestNearestNeighbours:
    def test_equals_all_pairs(self, monkeypatch):
        rng = _rng(30)
        data, x = rng.standard_normal((29, 3)), rng.standard_normal((2, 7, 3))
        pairs = np.linalg.norm(x[..., None, :] - data, axis=-1)
        monkeypatch.setattr(_empirical, "_BLOCK", 4)
        monkeypatch.setattr(_empirical, "_QUERIES", 3)
        index, distance = nearest_neighbours(x, data)
        np.testing.assert_array_equal(index, pairs.argmin(axis=-1))
        np.testing.assert_allclose(distance, pairs.min(axis=-1), rtol=1e-13)

    def test_training_point_is_at_distance_zero(self):
        data = _rng(31).standard_normal((8, 3)) + 1e3
        index, distance = nearest_neighbours(data, data)
        np.testing.assert_array_equal(index, np.arange(8))
        np.testing.assert_array_equal(distance, 0.0)

    @pytest.mark.parametrize("block", [1, 2, 4096])
    def test_the_middle_of_all_and_ties_in_any_blocks(self, block, monkeypatch):
        monkeypatch.setattr(_empirical, "_BLOCK", block)
        data = [[3.0], [-1.0], [-1.0], [-1.0]]
        index, distance = nearest_neighbours([[0.0], [4.0]], data)
        assert index.tolist() == [1, 0] and distance.tolist() == [1.0, 1.0]

    def test_bad_input(self):
        with pytest.raises(ValueError, match="shape"):
            nearest_neighbours([[1.0]], [[1.0, 2.0]])


class TestMixture:
    def _model(self, rng, k=3, d=2):
        covs = np.stack([_covariance(d, rng) for _ in range(k)])
        weights = rng.uniform(0.2, 1, k)
        return GaussianMixtureDenoiser(rng.normal(0, 2, (k, d)), covs, weights / weights.sum())

    def test_one_component_is_the_affine_denoiser(self):
        rng = _rng(40)
        mean, cov, x = rng.standard_normal(3), _covariance(3, rng), rng.standard_normal((5, 3))
        mixture = GaussianMixtureDenoiser([mean], [cov], [1.0])
        affine = AffineDenoiser.from_moments(mean, cov)
        for sigma in (0.0, 0.3, 8.0):
            got = mixture.denoise(x, sigma)
            np.testing.assert_allclose(got, affine.denoise(x, sigma), atol=1e-13)

    def test_point_components_are_the_empirical_denoiser(self):
        rng = _rng(41)
        data, x = rng.standard_normal((7, 3)), rng.standard_normal((5, 3))
        mixture = GaussianMixtureDenoiser(data, np.zeros((7, 3, 3)), np.full(7, 1 / 7))
        empirical = EmpiricalDenoiser(data)
        for sigma in (1e-3, 0.4, 5.0):
            got = mixture.denoise(x, sigma)
            np.testing.assert_allclose(got, empirical.denoise(x, sigma), atol=1e-9)
        with pytest.raises(ValueError, match="singular"):
            mixture.denoise(x, 0.0)

    def test_responsibilities_against_scipy(self):
        rng = _rng(42)
        model, x, sigma = self._model(rng), rng.standard_normal((6, 2)), 0.5
        parts = np.stack(
            [
                w * multivariate_normal(m, c + sigma**2 * np.eye(2)).pdf(x)
                for w, m, c in zip(model.weights, model.means, model.covs, strict=True)
            ],
            axis=-1,
        )
        got = model.responsibilities(x, sigma)
        np.testing.assert_allclose(got, parts / parts.sum(axis=-1, keepdims=True), rtol=1e-10)

    def test_responsibilities_against_scikit_learn(self):
        rng = _rng(46)
        model, x, sigma = self._model(rng), rng.standard_normal((6, 2)), 0.5
        other = GaussianMixture(3, covariance_type="full")
        other.weights_, other.means_ = model.weights, model.means
        inverse = np.linalg.inv(model.covs + sigma**2 * np.eye(2))
        other.precisions_cholesky_ = np.linalg.cholesky(inverse)
        got = model.responsibilities(x, sigma)
        np.testing.assert_allclose(got, other.predict_proba(x), rtol=1e-10)

    def test_denoise_follows_the_score(self):
        rng = _rng(43)
        model, x, sigma, step = self._model(rng), rng.standard_normal((4, 2)), 0.8, 1e-5

        def log_density(points):
            parts = [
                w * multivariate_normal(m, c + sigma**2 * np.eye(2)).pdf(points)
                for w, m, c in zip(model.weights, model.means, model.covs, strict=True)
            ]
            return np.log(sum(parts))

        score = np.stack(
            [(log_density(x + e) - log_density(x - e)) / (2 * step) for e in step * np.eye(2)],
            axis=-1,
        )
        np.testing.assert_allclose(model.denoise(x, sigma), x + sigma**2 * score, atol=1e-7)

    def test_far_away_stays_finite(self):
        model = self._model(_rng(44))
        far = model.denoise([[1e150, -1e150], [1e6, 1e6]], 0.1)
        assert np.all(np.isfinite(far))
        np.testing.assert_allclose(model.responsibilities([1e6, 1e6], 0.1).sum(), 1.0)

    def test_moments_and_shapes(self):
        rng = _rng(45)
        model = self._model(rng)
        drawn = model.sample(200_000, rng)
        error = np.sqrt(np.diag(model.covariance) / len(drawn))
        assert np.all(np.abs(drawn.mean(axis=0) - model.mean) < 4 * error)
        away = drawn - model.mean
        products = away[:, :, None] * away[:, None, :]
        error = products.std(axis=0) / np.sqrt(len(drawn))
        assert np.all(np.abs(products.mean(axis=0) - model.covariance) < 4 * error)
        x, sigma = rng.standard_normal((2, 3, 2)), rng.uniform(0.1, 1, (2, 3))
        got = model.denoise(x, sigma)
        np.testing.assert_allclose(got[1, 2], model.denoise(x[1, 2], sigma[1, 2]))

    @pytest.mark.parametrize(
        ("covs", "weights", "message"),
        [
            ([[[1.0]]], [0.5, 0.5], "shapes"),
            ([[[1.0]], [[1.0]]], [0.3, 0.3, 0.4], "shapes"),
            ([[[1.0]], [[1.0]]], [1.0], "shapes"),
            ([[[1.0]], [[1.0]]], [0.5, 0.6], "sum to 1"),
            ([[[1.0]], [[-1.0]]], [0.5, 0.5], "negative"),
            ([[[1.0]], [[1.0]]], [1.0, 0.0], "positive"),
        ],
    )
    def test_bad_input(self, covs, weights, message):
        with pytest.raises(ValueError, match=message):
            GaussianMixtureDenoiser([[0.0], [1.0]], covs, weights)

    @pytest.mark.parametrize(("k", "d"), [(0, 2), (2, 0)])
    def test_empty_input(self, k, d):
        with pytest.raises(ValueError, match="empty"):
            GaussianMixtureDenoiser(np.zeros((k, d)), np.zeros((k, d, d)), np.full(k, 0.5))

    def test_an_eigenvalue_below_zero_by_rounding_is_zero(self):
        def build(scale, below):
            # Eigenvalues 2 + below and -below, in the direction (1, -1).
            cov = scale * np.array([[1.0, 1.0 + below], [1.0 + below, 1.0]])
            return GaussianMixtureDenoiser([[0.0, 0.0]], [cov], [1.0])

        got = build(1.0, 1.3e-15).denoise([1.0, -1.0], 3.6e-8)
        np.testing.assert_allclose(got, 0.0, atol=1e-12)
        for scale, below in ((1.0, 3e-15), (1.0, 3.0), (1e-6, 1e-6)):
            with pytest.raises(ValueError, match="negative eigenvalue"):
                build(scale, below)

    def test_parts_are_read_only(self):
        model = self._model(_rng(47))
        with pytest.raises(ValueError, match="read-only"):
            model.means[0] = 1.0
