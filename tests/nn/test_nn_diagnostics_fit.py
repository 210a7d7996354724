"""Linear distillation and the Jacobian, against NumPy and closed forms."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lindiff.denoisers import AffineDenoiser  # noqa: E402
from lindiff.nn import diagnostics as dg  # noqa: E402
from lindiff.nn.adapters import from_function  # noqa: E402
from lindiff.nn.closed_forms import (  # noqa: E402
    GaussianDenoiser,
    LinearDenoiser,
    MemorisingDenoiser,
)
from lindiff.nn.preconditioning import Preconditioned  # noqa: E402

D = 8


def draw(mixture, n, seed=1):
    return torch.from_numpy(mixture.sample(n, np.random.default_rng(seed)))


class Recorder:
    """Passes points on and remembers them with the answers."""

    def __init__(self, denoiser):
        self.denoiser, self.x, self.y = denoiser, [], []

    def denoise(self, x, sigma):
        y = self.denoiser.denoise(x, sigma)
        self.x.append(x.numpy())
        self.y.append(y.numpy())
        return y


class TestDistillation:
    def test_the_gaussian_denoiser_distils_to_itself(self, mixture, gaussian):
        found = dg.distil_linear(gaussian, draw(mixture, 100), 0.002, reference=gaussian)
        assert found.weight_distance < 1e-6 and found.residual < 1e-7
        x = draw(mixture, 50, 2)
        gap = found.linear.denoise(x, 0.002) - gaussian.denoise(x, 0.002)
        assert gap.abs().max() < 1e-9
        doubled = GaussianDenoiser(gaussian.mean, 2 * gaussian.eigenvalues, gaussian.eigenvectors)
        other = dg.distil_linear(doubled, draw(mixture, 100), 1.0, reference=gaussian)
        assert other.weight_distance > 0.05 and other.noise_nmse < 1e-12

    def test_residual_form_is_plain_least_squares(self, mixture, gaussian, optimal):
        record = Recorder(optimal)
        found = dg.distil_linear(record, draw(mixture, 300), 0.5, reference=gaussian, n=700)
        x, y = np.concatenate(record.x), np.concatenate(record.y)
        assert len(x) == 700 == found.n
        ones = np.hstack([x, np.ones((700, 1))])
        solution, rest, *_ = np.linalg.lstsq(ones, y, rcond=None)
        np.testing.assert_allclose(found.linear.weight.numpy(), solution[:D].T, atol=1e-10)
        np.testing.assert_allclose(found.linear.bias.numpy(), solution[D], atol=1e-10)
        assert found.residual**2 == pytest.approx(rest.sum() / D / (700 - D - 1), rel=1e-9)
        halves = [
            np.linalg.lstsq(ones[part], y[part], rcond=None)[0][:D]
            for part in (slice(0, 350), slice(350, 700))
        ]
        w = gaussian.at(0.5).weight.numpy()
        split = np.sum((halves[0] - halves[1]) ** 2) / np.sum(w**2)
        assert found.split_half == pytest.approx(split, rel=1e-5)
        assert found.noise_nmse == found.split_half / 4
        assert found.weight_nmse == pytest.approx(
            np.sum((solution[:D].T - w) ** 2) / np.sum(w**2), rel=1e-5
        )

    @pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
    def test_the_optimum_of_any_law_distils_to_the_gaussian(
        self, mixture, gaussian, optimal, sigma
    ):
        clean = draw(mixture, 100_000)
        found = dg.distil_linear(optimal, clean, sigma, reference=gaussian)
        assert found.residual > 0.05
        assert found.weight_nmse < 4 * found.noise_nmse < 2e-4
        assert 0.4 < found.predicted_noise_nmse / found.noise_nmse < 2.5

    def test_a_biased_denoiser_does_not(self, mixture, gaussian, optimal):
        worse = from_function(lambda x, s: 0.9 * optimal.denoise(x, s))
        found = dg.distil_linear(worse, draw(mixture, 50_000), 1.0, reference=gaussian)
        assert found.weight_nmse > 20 * found.noise_nmse
        assert found.weight_nmse == pytest.approx(0.01, rel=0.2)

    def test_predicted_noise_is_that_of_repetitions(self, mixture, gaussian, optimal):
        runs = [
            dg.distil_linear(optimal, draw(mixture, 400, s), 0.5, reference=gaussian, seed=s)
            for s in range(60)
        ]
        measured = np.mean([run.weight_nmse for run in runs])
        predicted = np.mean([run.predicted_noise_nmse for run in runs])
        assert 0.5 < predicted / measured < 2
        assert 0.7 < np.mean([run.noise_nmse for run in runs]) / measured < 1.4

    def test_noise_of_few_images_that_are_used_often(self, mixture, gaussian, optimal):
        # The error of the optimum is noise alone. Images common to both halves would hide theirs.
        runs = [
            dg.distil_linear(
                optimal, draw(mixture, 60, s), 0.3, reference=gaussian, n=6_000, seed=s
            )
            for s in range(60)
        ]
        measured = np.mean([run.weight_nmse for run in runs])
        assert 0.7 < np.mean([run.noise_nmse for run in runs]) / measured < 1.4
        assert np.mean([run.predicted_noise_nmse for run in runs]) < 0.3 * measured

    @pytest.mark.parametrize(("sigma", "apart"), [(0.3, 0.2), (1.0, 0.08)])
    def test_memoriser_is_a_gaussian_on_its_own_images_only(self, mixture, sigma, apart):
        train = draw(mixture, 50, 3)
        memoriser, gaussian = MemorisingDenoiser(train), GaussianDenoiser.from_images(train)
        own = dg.distil_linear(memoriser, train, sigma, reference=gaussian, n=50_000)
        assert own.weight_distance < 0.02
        fresh = dg.distil_linear(memoriser, draw(mixture, 20_000, 4), sigma, reference=gaussian)
        assert fresh.weight_distance > apart

    def test_overlap_of_subspaces(self, gaussian):
        clean = torch.from_numpy(np.random.default_rng(0).standard_normal((5000, D)))
        vectors = gaussian.eigenvectors
        order = [4, 1, 2, 3, 0, 5, 6, 7]
        swapped = GaussianDenoiser(gaussian.mean, gaussian.eigenvalues, vectors[:, order])
        found = dg.distil_linear(swapped, clean, 1.0, reference=gaussian, ranks=(1, 2, 5, 99))
        assert found.overlap == pytest.approx({1: 0.0, 2: 0.5, 5: 1.0}, abs=1e-9)
        assert found.chance == {1: 1 / D, 2: 2 / D, 5: 5 / D}

    def test_numpy_images_and_numpy_reference(self, mixture, optimal, gaussian):
        affine = AffineDenoiser.from_moments(mixture.mean, mixture.covariance)
        clean = draw(mixture, 500)
        found = dg.distil_linear(mixture, clean.numpy(), 1.0, reference=affine)
        want = dg.distil_linear(optimal, clean, 1.0, reference=gaussian)
        assert found.weight_nmse == pytest.approx(want.weight_nmse, rel=1e-4)

    def test_bad_input(self, gaussian):
        clean = torch.ones((50, D), dtype=torch.float64)
        for options, name in (({"n": 2 * D}, "n"), ({"n": 30.5}, "n")):
            with pytest.raises(ValueError, match=f"`{name}`"):
                dg.distil_linear(gaussian, clean, 1.0, reference=gaussian, **options)
        with pytest.raises(ValueError, match=r"reference\.eigenvectors"):
            dg.distil_linear(gaussian, clean[:, :4], 1.0, reference=gaussian)
        with pytest.raises(ValueError, match="sigma"):
            dg.distil_linear(gaussian, clean, -1.0, reference=gaussian)


def posterior_variance(mixture, x, sigma):
    """Return the trace of Cov[y | x] by Bayes' rule, component by component."""
    density, means, traces = [], [], []
    for mean, cov, weight in zip(mixture.means, mixture.covs, mixture.weights, strict=True):
        total = cov + sigma**2 * np.eye(D)
        gain = cov @ np.linalg.inv(total)
        away = x - mean
        quadratic = np.einsum("ni,ij,nj->n", away, np.linalg.inv(total), away)
        density.append(weight * np.exp(-quadratic / 2) / np.sqrt(np.linalg.det(total)))
        means.append(mean + away @ gain.T)
        traces.append(np.trace(cov - gain @ cov))
    share = np.array(density) / np.sum(density, axis=0)
    means = np.array(means)
    overall = np.einsum("kn,kni->ni", share, means)
    second = np.einsum("kn,kni->n", share, means**2) + np.array(traces) @ share
    return second - (overall**2).sum(1)


def noisy(mixture, n, sigma, seed=1):
    clean = draw(mixture, n, seed)
    return clean, clean + sigma * torch.from_numpy(
        np.random.default_rng(seed + 100).standard_normal(clean.shape)
    )


class Convolution(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 1, 3, padding=1, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.arange(9.0).reshape(1, 1, 3, 3) / 10)

    def forward(self, x, label):
        return self.layer(x)


class TestJacobian:
    def test_gaussian_denoiser_exactly(self, mixture, gaussian):
        sigma = 0.7
        clean, x = noisy(mixture, 3000, sigma)
        found = dg.jacobian_checks(gaussian, x, sigma, clean=clean)
        values = gaussian.eigenvalues.numpy()
        want = sigma**2 * (values / (values + sigma**2)).mean()
        assert found.method == "autograd"
        assert found.trace_mse == pytest.approx(want, rel=1e-10) and found.trace_mse_se < 1e-12
        assert found.asymmetry < 1e-12
        for value, se in ((found.sure, found.sure_se), (found.mse, found.mse_se)):
            assert abs(value - want) < 4 * se < 0.15 * want
        assert abs(found.trace_ratio - 1) < 4 * found.trace_ratio_se

    @pytest.mark.parametrize("method", ["autograd", "differences"])
    def test_mixture_has_its_posterior_covariance(self, mixture, optimal, method):
        sigma = 0.8
        clean, x = noisy(mixture, 300, sigma)
        found = dg.jacobian_checks(optimal, x, sigma, clean=clean, method=method)
        want = posterior_variance(mixture, x.numpy(), sigma).mean() / D
        assert found.trace_mse == pytest.approx(want, rel=1e-8)
        assert found.asymmetry < 1e-7 and found.method == method
        alone = dg.jacobian_checks(mixture, x, sigma)
        assert alone.method == "differences" and np.isnan(alone.mse)
        assert alone.trace_mse == pytest.approx(want, rel=1e-7)
        assert alone.sure == pytest.approx(found.sure, rel=1e-6)
        assert alone.trace_ratio == pytest.approx(alone.trace_mse / alone.sure)

    def test_only_the_optimum_has_the_trace_identity(self, mixture, optimal):
        sigma = 0.8
        clean, x = noisy(mixture, 4000, sigma)
        good = dg.jacobian_checks(optimal, x, sigma, clean=clean)
        assert abs(good.trace_ratio - 1) < 4 * good.trace_ratio_se < 0.2

        class Worse:
            def denoise(self, x, sigma):
                return 0.8 * optimal.denoise(x, sigma)

        bad = dg.jacobian_checks(Worse(), x, sigma, clean=clean)
        assert abs(bad.trace_ratio - 1) > 8 * bad.trace_ratio_se
        # The unbiased estimate needs no optimality.
        assert abs(bad.sure - bad.mse) < 4 * np.hypot(bad.sure_se, bad.mse_se)
        assert abs(bad.sure - bad.trace_mse) > 4 * bad.sure_se

    def test_asymmetry_of_a_matrix(self):
        weight = np.random.default_rng(0).standard_normal((D, D))
        linear = LinearDenoiser(torch.from_numpy(weight), torch.zeros(D, dtype=torch.float64))
        x = torch.from_numpy(np.random.default_rng(1).standard_normal((5, D)))
        found = dg.jacobian_checks(linear, x, 0.5)
        want = np.linalg.norm(weight - weight.T) / np.linalg.norm(weight)
        assert found.asymmetry == pytest.approx(want, rel=1e-12) and want > 0.5
        assert found.trace_mse == pytest.approx(0.25 * np.trace(weight) / D, rel=1e-12)

    def test_network_without_gradients_in_denoise(self):
        net = Preconditioned(Convolution(), 0.5, size=4).eval()
        x = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 16))).float()
        found = dg.jacobian_checks(net, x, 0.3)
        assert found.method == "autograd"
        inputs = torch.eye(16).reshape(16, 1, 4, 4)
        matrix = net(inputs, 0.3).reshape(16, 16).T.detach().double().numpy()
        want = np.linalg.norm(matrix - matrix.T) / np.linalg.norm(matrix)
        assert found.asymmetry == pytest.approx(want, rel=1e-5) and want > 0.1
        assert found.trace_mse == pytest.approx(0.09 * np.trace(matrix) / 16, rel=1e-5)
        slow = dg.jacobian_checks(net, x, 0.3, method="differences")
        assert slow.asymmetry == pytest.approx(want, rel=1e-3)
        adapted = from_function(net, (1, 4, 4))
        other = dg.jacobian_checks(adapted, x, 0.3)
        assert other.method == "autograd" and other.asymmetry == pytest.approx(want, rel=1e-5)

    def test_dimension_beyond_one_block(self):
        weight = torch.diag(torch.linspace(0, 1, 1100))
        weight[0, 1] = 0.5
        linear = LinearDenoiser(weight, torch.zeros(1100))
        found = dg.jacobian_checks(linear, torch.zeros((2, 1100)), 1.0)
        assert found.trace_mse == pytest.approx(0.5, rel=1e-5)
        assert found.asymmetry == pytest.approx(np.sqrt(0.5) / weight.norm().item(), rel=1e-5)

    def test_bad_input(self, gaussian):
        x = torch.zeros((4, D), dtype=torch.float64)
        with pytest.raises(ValueError, match="clean"):
            dg.jacobian_checks(gaussian, x, 1.0, clean=x[:3])
        with pytest.raises(ValueError, match="method"):
            dg.jacobian_checks(gaussian, x, 1.0, method="other")

        class Constant:
            def denoise(self, x, sigma):
                return torch.ones_like(x)

        with pytest.raises(ValueError, match="differences"):
            dg.jacobian_checks(Constant(), x, 1.0, method="autograd")
