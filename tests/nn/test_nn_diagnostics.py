"""Linearity, distances, directions: each against another route, and where it must fail."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lindiff.denoisers import AffineDenoiser, EmpiricalDenoiser  # noqa: E402
from lindiff.nn import diagnostics as dg  # noqa: E402
from lindiff.nn.closed_forms import (  # noqa: E402
    GaussianDenoiser,
    LinearDenoiser,
    MemorisingDenoiser,
)

D = 8


class Function:
    """A denoiser of any function, for controls."""

    def __init__(self, function):
        self.function = function

    def denoise(self, x, sigma):
        return self.function(x)


def draw(mixture, n, seed=1):
    return torch.from_numpy(mixture.sample(n, np.random.default_rng(seed)))


def noisy_numpy(mixture, n, sigma, seed):
    clean = draw(mixture, n, seed).numpy()
    return clean, clean + sigma * np.random.default_rng(seed + 1).standard_normal(clean.shape)


class TestLinearity:
    def test_linear_map_is_linear_and_an_elementwise_square_is_not(self):
        rng = np.random.default_rng(0)
        clean = torch.from_numpy(rng.standard_normal((40, D)))
        weight = torch.from_numpy(rng.standard_normal((D, D)))
        linear = LinearDenoiser(weight, torch.zeros(D, dtype=torch.float64))
        found = dg.linearity(linear, clean, 0.5, n_pairs=20)
        assert found.score == pytest.approx(1, abs=1e-14) and found.nmse < 1e-14
        bent = dg.linearity(Function(torch.square), clean, 0.5, n_pairs=20)
        assert bent.score < 0.9 and bent.nmse > 0.3

    def test_affine_map_is_linear_only_when_centred(self):
        rng = np.random.default_rng(1)
        values = np.arange(1, D + 1) ** -1.5
        mean = np.full(D, 0.8)
        clean = torch.from_numpy(mean + np.sqrt(values) * rng.standard_normal((4000, D)))
        affine = AffineDenoiser(mean, values, np.eye(D))
        raw = dg.linearity(affine, clean, 0.5, n_pairs=2000)
        assert 1 - raw.score > 50 * raw.score_se
        plateau = (np.sqrt(2) - 1) / np.sqrt(2)
        code = dg.linearity(affine, clean, 80.0, n_pairs=2000)
        paper = dg.linearity(affine, clean, 80.0, n_pairs=2000, denominator="joint")
        assert code.nmse == pytest.approx(plateau, abs=0.003)
        assert paper.nmse == pytest.approx(np.sqrt(2) - 1, abs=0.005)
        centred = dg.linearity(affine, clean, 0.5, n_pairs=2000, mean=mean)
        assert centred.centred and not raw.centred
        assert centred.score == pytest.approx(1, abs=1e-13) and centred.nmse < 1e-13
        assert dg.linearity(affine, clean, 0.5, mean=mean + 0.3).nmse > 0.01

    def test_against_a_simulation_of_its_own(self, mixture, optimal):
        mean, sigma, alpha = mixture.mean, 1.0, 0.6
        found = dg.linearity(
            optimal, draw(mixture, 8000), sigma, n_pairs=4000, mean=mean, alpha=alpha
        )
        first = noisy_numpy(mixture, 4000, sigma, 10)[1] - mean
        second = noisy_numpy(mixture, 4000, sigma, 20)[1] - mean
        beta = np.sqrt(1 - alpha**2)

        def centred(z):
            return mixture.denoise(z + mean, sigma) - mean

        joint, total = (
            centred(alpha * first + beta * second),
            alpha * centred(first) + beta * centred(second),
        )
        norms = np.linalg.norm(joint, axis=1), np.linalg.norm(total, axis=1)
        cosine = np.abs((joint * total).sum(1)) / (norms[0] * norms[1])
        defect = np.linalg.norm(joint - total, axis=1) / norms[1]
        for value, se, other in (
            (found.score, found.score_se, cosine),
            (found.nmse, found.nmse_se, defect),
        ):
            spread = np.hypot(se, other.std() / np.sqrt(len(other)))
            assert abs(value - other.mean()) < 4 * spread
            assert se == pytest.approx(other.std() / np.sqrt(4000), rel=0.25)
        assert found.score < 0.97

    def test_memoriser_is_far_from_linear(self, mixture, gaussian):
        train, clean = draw(mixture, 16), draw(mixture, 1000, 2)
        scores = [
            dg.linearity(denoiser, clean, 0.5, mean=mixture.mean).score
            for denoiser in (MemorisingDenoiser(train), EmpiricalDenoiser(train.numpy()), gaussian)
        ]
        assert scores[0] == pytest.approx(scores[1], abs=1e-12)
        assert scores[0] < 0.9 < scores[2]

    def test_pairs_are_never_an_image_with_itself(self):
        clean = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
        seen = []

        def record(x):
            seen.append(x)
            return x

        dg.linearity(Function(record), clean, 1e-9, n_pairs=50)
        first, second = seen[1], seen[2]
        assert len(first) == 50 and (first - second).norm(dim=1).min() > 1


class TestDistances:
    @pytest.mark.parametrize("sigma", [0.3, 2.0])
    def test_error_of_the_gaussian_denoiser_has_a_closed_form(self, mixture, gaussian, sigma):
        values = gaussian.eigenvalues.numpy()
        want = (values * sigma**2 / (values + sigma**2)).mean()
        found = dg.mse(gaussian, draw(mixture, 20000), sigma)
        assert abs(found.value - want) < 4 * found.se < 0.05 * want
        other = dg.mse(gaussian, draw(mixture, 20000), 1.2 * sigma)
        assert abs(other.value - want) > 4 * other.se

    def test_rmse_is_the_mean_of_the_single_roots(self, mixture, gaussian, optimal):
        clean = draw(mixture, 4000)
        found = dg.rmse_between(optimal, gaussian, clean, 1.0)
        x = noisy_numpy(mixture, 4000, 1.0, 5)[1]
        affine = AffineDenoiser.from_moments(mixture.mean, mixture.covariance)
        gap = mixture.denoise(x, 1.0) - affine.denoise(x, 1.0)
        single = np.sqrt((gap**2).mean(axis=1))
        se = single.std() / np.sqrt(4000)
        assert abs(found.value - single.mean()) < 4 * np.hypot(se, found.se)
        root_of_mean = np.sqrt((gap**2).mean())
        assert abs(found.value - root_of_mean) > 10 * found.se

    def test_equal_noise_makes_the_difference_sharp(self, mixture, gaussian, optimal):
        clean = draw(mixture, 2000)
        scaled = Function(lambda x: gaussian.denoise(x, 1.0) + 1e-3)
        found = dg.mse_difference(scaled, gaussian, clean, 1.0)
        single = dg.mse(gaussian, clean, 1.0)
        assert found.se < 0.01 * single.se
        apart = dg.mse(scaled, clean, 1.0).value - single.value
        assert found.value == pytest.approx(apart, abs=1e-12)
        gap = dg.rmse_between(gaussian, gaussian, clean, 1.0)
        assert gap == (0, 0)
        assert dg.mse(gaussian, clean, 1.0, seed=1) != single

    def test_standard_error_is_that_of_the_bootstrap(self, mixture, gaussian):
        clean = draw(mixture, 300)
        found = dg.mse(gaussian, clean, 0.5)
        repeats = [dg.mse(gaussian, draw(mixture, 300, s), 0.5, s).value for s in range(200)]
        assert found.se == pytest.approx(np.std(repeats), rel=0.25)

    def test_float32_gives_the_same_as_float64(self, mixture, gaussian, optimal):
        clean = draw(mixture, 500)
        want = dg.pythagoras(optimal, gaussian, clean, 1.0)
        found = dg.pythagoras(optimal, gaussian, clean.float(), 1.0)
        array = dg.pythagoras(optimal, gaussian, clean.numpy(), 1.0)
        assert found.rho == pytest.approx(want.rho, abs=1e-4)
        assert array == found
        half = dg.mse(gaussian, clean.half(), 1e-4)
        assert half == dg.mse(gaussian, clean.half().float(), 1e-4)

    @pytest.mark.parametrize("sigma", [0.3, 1.0])
    def test_pythagoras_holds_for_the_optimum_only(self, mixture, gaussian, optimal, sigma):
        clean = draw(mixture, 20000)
        found = dg.pythagoras(optimal, gaussian, clean, sigma)
        assert abs(found.rho - 1) < 4 * found.rho_se < 0.2
        assert found.rho == pytest.approx(found.distance / found.gain)
        other = dg.pythagoras(optimal, MemorisingDenoiser(clean[:30]), draw(mixture, 9000), sigma)
        assert abs(other.rho - 1) < 4 * other.rho_se
        worse = Function(lambda x: 0.9 * optimal.denoise(x, sigma))
        audit = dg.pythagoras(worse, gaussian, clean, sigma)
        assert abs(audit.rho - 1) > 10 * audit.rho_se

    def test_standard_error_of_the_ratio(self, mixture, gaussian, optimal):
        found = dg.pythagoras(optimal, gaussian, draw(mixture, 400), 1.0)
        repeats = [
            dg.pythagoras(optimal, gaussian, draw(mixture, 400, s), 1.0, s).rho for s in range(150)
        ]
        assert found.rho_se == pytest.approx(np.std(repeats), rel=0.35)


class TestDirections:
    @pytest.mark.parametrize("sigma", [0.3, 1.0])
    def test_identities_of_the_optimum(self, mixture, gaussian, optimal, sigma):
        clean = draw(mixture, 40000)
        found = dg.direction_wise(optimal, gaussian, clean, sigma)
        values = np.linalg.eigvalsh(mixture.covariance)[::-1]
        np.testing.assert_allclose(found.eigenvalues, values, rtol=1e-9)
        np.testing.assert_allclose(found.wiener, values / (values + sigma**2), rtol=1e-9)
        share = 1 - found.mse / found.residual
        se = np.hypot(found.delta_se, found.mse_se / found.residual)
        assert np.all(abs(found.delta - share) < 4 * se)
        assert np.all(se < 0.02)
        assert np.all(abs(found.gain - values / (values + sigma**2)) < 5 * found.gain_se)
        assert found.delta.max() > 0.3
        worse = Function(lambda x: 0.9 * optimal.denoise(x, sigma))
        wrong = dg.direction_wise(worse, gaussian, clean, sigma)
        assert np.any(abs(wrong.gain - found.wiener) > 20 * wrong.gain_se)
        assert np.all(abs(wrong.gain - 0.9 * found.gain) < 1e-9)

    def test_against_numpy_covariances(self, mixture, optimal):
        affine = AffineDenoiser.from_moments(mixture.mean, mixture.covariance)
        found = dg.direction_wise(optimal, affine, draw(mixture, 4000), 1.0)
        clean, x = noisy_numpy(mixture, 40000, 1.0, 3)
        out = mixture.denoise(x, 1.0)
        vectors = affine.eigenvectors[:, np.argsort(-affine.eigenvalues)]
        a, b = out @ vectors, x @ vectors
        gain = [np.cov(a[:, i], b[:, i])[0, 1] / b[:, i].var() for i in range(D)]
        assert np.all(abs(found.gain - gain) < 5 * found.gain_se)
        error = (((out - clean) @ vectors) ** 2).mean(axis=0)
        assert np.all(abs(found.mse - error) < 5 * found.mse_se)

    def test_gain_error_is_that_of_repetitions(self, mixture, gaussian, optimal):
        runs = [
            dg.direction_wise(optimal, gaussian, draw(mixture, 500, s), 1.0, s) for s in range(100)
        ]
        for name in ("gain", "delta"):
            spread = np.std([getattr(run, name) for run in runs], axis=0)
            se = np.mean([getattr(run, name + "_se") for run in runs], axis=0)
            np.testing.assert_allclose(se, spread, rtol=0.35)

    def test_bands_average_the_modes(self, mixture, gaussian, optimal):
        found = dg.direction_wise(optimal, gaussian, draw(mixture, 500), 1.0)
        bands = found.bands((0, 2, 5, 90))
        assert [(b.first, b.last) for b in bands] == [(1, 2), (3, 5), (6, D)]
        assert bands[1].delta == pytest.approx(found.delta[2:5].mean())
        assert bands[2].gain_error == pytest.approx((found.gain - found.wiener)[5:].mean())
        assert bands[0].relative_mse == pytest.approx((found.mse / found.residual)[:2].mean())
        with pytest.raises(ValueError, match="edges"):
            found.bands((0, 5, 5))

    def test_directions_without_variance_do_not_count(self):
        rng = np.random.default_rng(0)
        clean = torch.from_numpy(np.pad(rng.standard_normal((100, 3)), ((0, 0), (0, 2))))
        flat = GaussianDenoiser.from_images(clean)
        found = dg.direction_wise(flat, flat, clean, 0.5)
        assert np.isnan(found.delta[3:]).all() and np.all(found.delta[:3] == 0)
        assert len(found.bands((0, 3))) == 1

    def test_relative_distance_of_two_affine_models(self, mixture, gaussian):
        values, sigma = gaussian.eigenvalues.numpy(), 0.7
        other = GaussianDenoiser(
            gaussian.mean, 2 * gaussian.eigenvalues + 0.1, gaussian.eigenvectors
        )
        found, se = dg.relative_distance(
            other, gaussian, draw(mixture, 20000), sigma, gaussian.eigenvectors
        )
        first, second = (v / (v + sigma**2) for v in (2 * values + 0.1, values))
        # The same coefficient stands in both means, so the ratio has no noise at all.
        np.testing.assert_allclose(found, ((first - second) / (1 - second)) ** 2, rtol=0.05)
        assert np.all(se < 0.02 * found.max())
        floored, _ = dg.relative_distance(
            other, gaussian, draw(mixture, 20000), sigma, gaussian.eigenvectors, floor=0.5
        )
        noise = (1 - second) ** 2 * (values + sigma**2) / sigma**2
        want = ((first - second) / (1 - second)) ** 2 * noise / (noise + 0.5)
        np.testing.assert_allclose(floored, want, rtol=0.08)
        assert np.all(floored < found)

    def test_relative_distance_error_is_that_of_repetitions(self, mixture, gaussian, optimal):
        runs = [
            dg.relative_distance(
                optimal, gaussian, draw(mixture, 500, s), 1.0, gaussian.eigenvectors, seed=s
            )
            for s in range(100)
        ]
        spread = np.std([run[0] for run in runs], axis=0)
        np.testing.assert_allclose(np.mean([run[1] for run in runs], axis=0), spread, rtol=0.35)


BAD = torch.full((6, D), float("nan"), dtype=torch.float64)
GOOD = torch.zeros((6, D), dtype=torch.float64)


class TestBadInput:
    @pytest.mark.parametrize(
        ("clean", "sigma", "error", "name"),
        [
            (BAD, 1.0, ValueError, "clean"),
            (GOOD[0], 1.0, ValueError, "clean"),
            (GOOD[:1], 1.0, ValueError, "clean"),
            (GOOD.to(torch.uint8), 1.0, TypeError, "clean.*127.5"),
            ([[1.0]], 1.0, TypeError, "clean"),
            (GOOD, 0.0, ValueError, "sigma"),
            (GOOD, float("nan"), ValueError, "sigma"),
            (GOOD, [1.0, 2.0], TypeError, "sigma"),
        ],
    )
    def test_clean_images_and_levels(self, clean, sigma, error, name):
        identity = Function(lambda x: x)
        basis = torch.eye(D)
        for call in (
            lambda: dg.mse(identity, clean, sigma),
            lambda: dg.linearity(identity, clean, sigma),
            lambda: dg.rmse_between(identity, identity, clean, sigma),
            lambda: dg.pythagoras(identity, identity, clean, sigma),
            lambda: dg.relative_distance(identity, identity, clean, sigma, basis),
        ):
            with pytest.raises(error, match=name):
                call()

    def test_options(self, gaussian):
        clean = torch.ones((6, D), dtype=torch.float64)
        for options in (
            {"n_pairs": 0},
            {"alpha": 1.0},
            {"denominator": "other"},
            {"mean": torch.zeros(3)},
        ):
            with pytest.raises(ValueError, match=next(iter(options))):
                dg.linearity(gaussian, clean, 1.0, **options)
        with pytest.raises(ValueError, match="eigenvectors"):
            dg.relative_distance(gaussian, gaussian, clean, 1.0, torch.ones((D, 2)))
        with pytest.raises(ValueError, match="floor"):
            dg.relative_distance(gaussian, gaussian, clean, 1.0, torch.eye(D), floor=-1.0)

    def test_denoisers(self):
        with pytest.raises(TypeError, match="denoise"):
            dg.mse(lambda x, sigma: x, GOOD, 1.0)
        with pytest.raises(ValueError, match="`d2` returned shape"):
            dg.mse_difference(Function(lambda x: x), Function(lambda x: x[:, :2]), GOOD, 1.0)
        with pytest.raises(ValueError, match="returned NaN"):
            dg.mse(Function(lambda x: x / 0), GOOD, 1.0)
