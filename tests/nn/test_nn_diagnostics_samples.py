"""Copies, novelty, agreement and distances of samples, and the table of all diagnostics."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

torch = pytest.importorskip("torch")

from lindiff.denoisers import AffineDenoiser, GaussianMixtureDenoiser  # noqa: E402
from lindiff.gaussians import wasserstein2_squared  # noqa: E402
from lindiff.nn import _similarity as similarity  # noqa: E402
from lindiff.nn import adapters  # noqa: E402
from lindiff.nn import diagnostics as dg  # noqa: E402
from lindiff.nn._device_images import DeviceImages  # noqa: E402
from lindiff.nn.closed_forms import GaussianDenoiser, MemorisingDenoiser  # noqa: E402

D = 12


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


class TestNearest:
    def test_against_scipy(self, monkeypatch):
        monkeypatch.setattr(similarity, "_BLOCK", 7)
        monkeypatch.setattr(similarity, "_SAMPLES", 11)
        samples, train = normal(30, D), normal(40, D, seed=1) + 5
        found = dg.nearest(samples, train)
        table = cdist(samples.numpy(), train.numpy())
        order = np.argsort(table, axis=1)
        np.testing.assert_array_equal(found.index, order[:, 0])
        np.testing.assert_array_equal(found.second_index, order[:, 1])
        np.testing.assert_allclose(found.distance, np.sort(table, axis=1)[:, 0], rtol=1e-13)
        np.testing.assert_allclose(found.second_distance, np.sort(table, axis=1)[:, 1])

    def test_blocks_of_one_image_and_no_cancellation(self, monkeypatch):
        monkeypatch.setattr(similarity, "_BLOCK", 1)
        train = normal(5, D) + 1000
        samples = train[[3, 1]].clone()
        samples[0, 0] += 1e-9
        found = dg.nearest(samples, train)
        assert found.index.tolist() == [3, 1]
        assert found.distance.tolist() == [float(samples[0, 0] - train[3, 0]), 0]


class TestMemorisation:
    def test_copies_and_fresh_images(self):
        train, fresh = normal(50, D), normal(300, D, seed=1)
        copies = train[torch.arange(300) % 50] + 0.05 * normal(300, D, seed=2)
        assert dg.memorised_fraction(copies, train).value == 1
        none = dg.memorised_fraction(fresh, train)
        assert (none.value, none.se, none.low, none.high, none.n) == (0, 0, 0, 0, 300)
        mixed = dg.memorised_fraction(torch.cat([copies[:100], fresh]), train)
        assert mixed.value == 0.25 and mixed.se == pytest.approx(np.sqrt(0.1875 / 400))

    def test_against_the_definition_and_the_threshold(self):
        train, samples = normal(6, 3), normal(200, 3, seed=1)
        table = np.sort(cdist(samples.numpy(), train.numpy()), axis=1)
        for k in (1 / 4, 1 / 3, 0.8):
            want = np.mean(table[:, 0] < k * table[:, 1])
            assert dg.memorised_fraction(samples, train, k).value == pytest.approx(want)
            assert 0 < want < 1

    def test_interval_covers(self):
        rng, hits = np.random.default_rng(0), 0
        train = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
        for seed in range(200):
            copied = torch.from_numpy(rng.random(200) < 0.3)
            samples = torch.where(copied[:, None], train[0], torch.tensor([0.5, 0.0])).double()
            found = dg.memorised_fraction(samples, train, seed=seed)
            assert found.value == pytest.approx(copied.double().mean().item())
            hits += found.low <= 0.3 <= found.high
        assert 180 <= hits <= 199

    def test_repeated_training_images(self):
        """Copies of images that are in the training set twice are copies."""
        once = normal(4, D)
        train, near = torch.cat([once, once[:1], once]), once + 0.01 * normal(4, D, seed=1)
        for samples in (once.clone(), near, normal(30, D, seed=2)):
            assert dg.memorised_fraction(samples, train) == dg.memorised_fraction(samples, once)
        assert dg.memorised_fraction(near, train).value == 1
        table = np.sort(cdist(near.numpy(), once.numpy()), axis=1)
        found = dg.nearest(near, train)
        np.testing.assert_allclose(found.second_distance, table[:, 1], rtol=1e-12)
        assert found.index.tolist() == [0, 1, 2, 3] and max(found.second_index) < 4
        with pytest.raises(ValueError, match="`train` is one image again and again"):
            dg.nearest(once, once[[0, 0, 0]])

    def test_one_training_image_is_refused(self):
        with pytest.raises(ValueError, match="one image"):
            dg.memorised_fraction(normal(5, D), normal(1, D))
        for k in (0, 1.5):
            with pytest.raises(ValueError, match="`k`"):
                dg.memorised_fraction(normal(5, D), normal(4, D), k)

    def test_generalisation_score(self):
        train, real = normal(20, D), normal(150, D, seed=1)
        samples = normal(100, D, seed=2)
        found = dg.generalisation_score(samples, train, real)
        brute = [
            min(np.linalg.norm(x - y) for y in train.numpy()) / np.linalg.norm(x)
            for x in samples.numpy()
        ]
        assert found.value == pytest.approx(np.mean(brute), rel=1e-12)
        assert found.se == pytest.approx(np.std(brute) / 10, rel=1e-9)
        assert abs(found.ratio - 1) < 4 * found.ratio_se < 0.2
        relative = np.hypot(found.se / found.value, found.real_se / found.real)
        assert found.ratio_se == pytest.approx(found.ratio * relative, rel=0.2)
        copies = dg.generalisation_score(train + 0.01, train, real)
        assert copies.ratio < 0.05


class TestCosines:
    def test_agreement_against_all_pairs(self):
        mean = np.linspace(1, 3, D)
        first = mean + normal(60, D).numpy()
        second = mean + 0.8 * (first - mean) + 0.6 * normal(60, D, seed=1).numpy()
        found = dg.agreement(torch.from_numpy(first), torch.from_numpy(second), mean)
        table = 1 - cdist(first - mean, second - mean, "cosine")
        off = table[~np.eye(60, dtype=bool)]
        np.testing.assert_allclose(found.cosines, np.diag(table), rtol=1e-12)
        assert found.cosine == pytest.approx(np.diag(table).mean(), rel=1e-12)
        assert found.shuffled == pytest.approx(off.mean(), abs=1e-12)
        assert found.shuffled_rms == pytest.approx(np.sqrt((off**2).mean()), rel=1e-12)
        assert found.cosine > 0.7 and abs(found.shuffled) < 4 * found.shuffled_se < 0.15
        raw = dg.agreement(torch.from_numpy(first), torch.from_numpy(second), np.zeros(D))
        assert raw.shuffled > 0.7
        order = np.random.default_rng(2).permutation(60)
        mixed = dg.agreement(torch.from_numpy(first), torch.from_numpy(second[order]), mean)
        assert mixed.cosine < 0.3

    @pytest.mark.parametrize("shared", [0.0, 0.9])
    def test_standard_error_of_the_control(self, shared):
        shift = torch.full((D,), 0.7, dtype=torch.float64)
        runs = []
        for seed in range(150):
            first, own = normal(50, D, seed=seed), normal(50, D, seed=500 + seed)
            second = shared * first + np.sqrt(1 - shared**2) * own
            runs.append(dg.agreement(first, second, -shift))
        spread = np.std([run.shuffled for run in runs])
        assert np.mean([run.shuffled_se for run in runs]) == pytest.approx(spread, rel=0.25)

    def test_agreement_needs_matching_sets(self):
        with pytest.raises(ValueError, match="samples2"):
            dg.agreement(normal(5, D), normal(6, D), np.zeros(D))
        with pytest.raises(ValueError, match="mean"):
            dg.agreement(normal(5, D), normal(5, D), np.zeros(3))

    @pytest.mark.parametrize("dropped", [0, 3, 10])
    def test_chance_level_of_details(self, dropped):
        values = 1 / np.arange(1, 37)
        rng = np.random.default_rng(dropped)
        draws = np.sqrt(values) * rng.standard_normal((2, 20000, 36))
        details = draws[:, :, dropped:]
        cosine = (details[0] * details[1]).sum(1) / np.prod(np.linalg.norm(details, axis=2), axis=0)
        square = cosine**2
        want = dg.unrelated_cosine(values[dropped:]) ** 2
        assert abs(square.mean() - want) < 4 * square.std() / np.sqrt(20000)
        participation = values[dropped:].sum() ** 2 / (values[dropped:] ** 2).sum()
        assert want == pytest.approx(1 / participation, rel=0.35)
        train = torch.from_numpy(draws[0])
        found = dg.detail_similarity(
            torch.from_numpy(draws[1, :50]), train, np.eye(36), dropped, mean=np.zeros(36)
        )
        assert found.unrelated**2 == pytest.approx(1 / participation, rel=0.1)

    def test_ledger_values_of_the_chance_level(self):
        values = 1 / np.arange(1, 1025)
        found = [dg.unrelated_cosine(values[k:]) for k in (0, 10, 50)]
        np.testing.assert_allclose(found, [0.153, 0.066, 0.045], atol=5e-4)
        with pytest.raises(ValueError, match="eigenvalues"):
            dg.unrelated_cosine([1.0, 0.0])

    def test_details_against_brute_force(self):
        rng = np.random.default_rng(0)
        basis = np.linalg.qr(rng.standard_normal((D, D)))[0]
        train, samples = normal(30, D) + 1, normal(8, D, seed=1) + 1
        found = dg.detail_similarity(samples, train, basis[:, :5], 3)
        project = np.eye(D) - basis[:, :3] @ basis[:, :3].T
        mean = train.numpy().mean(axis=0)
        table = 1 - cdist(
            (samples.numpy() - mean) @ project, (train.numpy() - mean) @ project, "cosine"
        )
        np.testing.assert_allclose(found.cosine, table.max(axis=1), rtol=1e-12)
        np.testing.assert_array_equal(found.index, table.argmax(axis=1))
        assert found.value == pytest.approx(table.max(axis=1).mean())

    def test_details_tell_copies_from_images_with_one_coarse_mode(self):
        coarse = torch.zeros(D, dtype=torch.float64)
        coarse[0] = 20.0
        train = normal(20, D) * 0.5 + coarse * normal(20, 1, seed=1)
        fresh = normal(20, D, seed=2) * 0.5 + coarse * normal(20, 1, seed=3)
        copies = train + 0.05 * normal(20, D, seed=4)
        plain = [dg.detail_similarity(s, train, np.eye(D), 0).value for s in (fresh, copies)]
        details = [dg.detail_similarity(s, train, np.eye(D), 1).value for s in (fresh, copies)]
        assert plain[0] > 0.9 and plain[1] > 0.95
        assert details[0] < 0.8 and details[1] > 0.95
        for n_leading in (-1, D):
            with pytest.raises(ValueError, match="n_leading"):
                dg.detail_similarity(fresh, train, np.eye(D), n_leading)


class TestSampleDistances:
    def test_one_dimension_against_scipy(self):
        a = normal(300, 1)
        found = dg.sliced_w2(a, a + 0.7, 3, n_bootstrap=0)
        assert found.value == pytest.approx(0.7, rel=1e-12) and np.isnan(found.se)
        flat = a.numpy().ravel()
        assert found.value == pytest.approx(stats.wasserstein_distance(flat, flat + 0.7))

    @pytest.mark.parametrize(("n", "m"), [(12, 12), (12, 8), (5, 7), (6, 2)])
    def test_one_dimension_against_optimal_assignment(self, n, m):
        a, b = normal(n, 1), 2 * normal(m, 1, seed=1) + 1
        cost = (np.repeat(a.numpy(), m, axis=0) - np.repeat(b.numpy(), n, axis=0).T) ** 2
        rows, columns = linear_sum_assignment(cost)
        want = np.sqrt(cost[rows, columns].mean())
        assert dg.sliced_w2(a, b, 1, n_bootstrap=0).value == pytest.approx(want, rel=1e-10)

    def test_isotropic_gaussians(self):
        shift = np.full(D, 0.5)
        a, b = normal(4000, D), 2 * normal(3000, D, seed=1) + torch.from_numpy(shift)
        want = np.sqrt(shift @ shift / D + 1)
        found = dg.sliced_w2(a, b, 400, n_bootstrap=0)
        assert found.value == pytest.approx(want, rel=0.03)
        assert dg.sliced_w2(a[:2000], a[2000:], 100, n_bootstrap=0).value < 0.1

    def test_bootstrap_error_of_the_sliced_distance(self):
        runs = [
            dg.sliced_w2(normal(200, 3, seed=s), 1 + normal(200, 3, seed=s + 99), 20)
            for s in range(80)
        ]
        spread = np.std([run.value for run in runs])
        assert np.mean([run.se for run in runs]) == pytest.approx(spread, rel=0.3)

    @pytest.mark.parametrize("k", [3, D, 64])
    def test_frechet_against_the_closed_form(self, k):
        root = normal(D, D, seed=5) / 3
        a, b = normal(500, D) @ root + 0.3, normal(400, D, seed=1)
        b = b * torch.linspace(0.5, 2, D, dtype=torch.float64)
        used = min(k, D)
        away = b.numpy() - b.numpy().mean(axis=0)
        basis = np.linalg.svd(away, full_matrices=False)[2][:used].T
        moments = []
        for points in (a.numpy() @ basis, b.numpy() @ basis):
            moments += [points.mean(axis=0), np.cov(points.T, bias=True).reshape(used, used)]
        want = wasserstein2_squared(*moments)
        assert dg.frechet_pca(a, b, k).value == pytest.approx(want, rel=1e-8)
        assert dg.frechet_pca(b, b, k).value == pytest.approx(0, abs=1e-10)
        assert want > 0.3

    def test_bootstrap_error_of_frechet(self):
        runs = [
            dg.frechet_pca(normal(200, 3, seed=s), 1 + normal(200, 3, seed=s + 99))
            for s in range(80)
        ]
        spread = np.std([run.value for run in runs])
        assert np.mean([run.se for run in runs]) == pytest.approx(spread, rel=0.3)

    def test_bad_input(self):
        bad = normal(5, D)
        bad[0, 0] = float("nan")
        for call in (dg.sliced_w2, dg.frechet_pca, dg.nearest):
            with pytest.raises(ValueError, match="NaN"):
                call(bad, normal(5, D))
            with pytest.raises(ValueError, match="columns"):
                call(normal(5, 3), normal(5, 4))
        with pytest.raises(ValueError, match="n_projections"):
            dg.sliced_w2(normal(5, 3), normal(5, 3), 0)
        with pytest.raises(ValueError, match="`a`"):
            dg.sliced_w2(normal(1, 3), normal(5, 3))


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    means, roots = rng.standard_normal((3, 9)), 0.2 * rng.standard_normal((3, 9, 9))
    covs = roots @ roots.transpose(0, 2, 1) + 0.01 * np.eye(9)
    mixture = GaussianMixtureDenoiser(means, covs, np.full(3, 1 / 3))
    k = rng.integers(3, size=1500)
    points = rng.standard_normal((1500, 9, 1))
    points = means[k] + (np.linalg.cholesky(covs)[k] @ points)[:, :, 0]
    return mixture, points[:200], points[200:]


class TestDiagnose:
    def test_rows_are_the_single_diagnostics(self, case):
        mixture, train, test = (torch.from_numpy(c) if i else c for i, c in enumerate(case))
        found = dg.diagnose(mixture, train, test, sigmas=[0.3, 1.0], seed=3)
        gaussian, memoriser = GaussianDenoiser.from_images(train), MemorisingDenoiser(train)
        used, row = test[:1000], found.rows[1]
        assert row.sigma == 1.0 and found.n_test == 1000
        assert row.mse_memoriser == dg.mse(memoriser, used, 1.0, 3)
        assert row.mse_gaussian == dg.mse(gaussian, used, 1.0, 3)
        assert row.rmse_memoriser == dg.rmse_between(mixture, memoriser, used, 1.0, 3)
        audit = dg.pythagoras(mixture, gaussian, used, 1.0, 3)
        assert row.rho == (audit.rho, audit.rho_se)
        score = dg.linearity(memoriser, used, 1.0, mean=gaussian.mean, seed=3)
        assert row.linearity_memoriser == (score.score, score.score_se)
        np.testing.assert_array_equal(
            found.column("mse"), [dg.mse(mixture, used, s, 3).value for s in (0.3, 1.0)]
        )

    def test_tells_the_optimum_from_the_two_closed_forms(self, case):
        mixture, train, test = case
        affine = AffineDenoiser.from_data(train)
        memoriser = MemorisingDenoiser(train)
        best, flat, copying = (
            dg.diagnose(d, train, test, sigmas=[0.5]).rows[0] for d in (mixture, affine, memoriser)
        )
        assert best.mse.value < best.mse_gaussian.value < best.mse_memoriser.value
        assert abs(best.rho.value - 1) < 4 * best.rho.se
        assert flat.linearity.value > 1 - 1e-6 and flat.rmse_gaussian.value < 1e-6
        assert copying.rmse_memoriser.value < 1e-6 and copying.rho.value < 0

    def test_table_and_arrays_of_images(self, case):
        mixture, train, test = case
        images = (train.reshape(-1, 3, 3), test.reshape(-1, 1, 3, 3))
        found = dg.diagnose(mixture, *images, n_test=50, n_pairs=500)
        lines = str(found).splitlines()
        assert lines[0] == "200 training and 50 test images of 9 pixels"
        assert len(found.rows) == 8
        table = np.array([line.split()[:8] for line in lines[4:12]], dtype=float)
        for column, name in enumerate(
            ["sigma", "mse", "mse_gaussian", "mse_memoriser", "linearity", "linearity_memoriser"]
        ):
            np.testing.assert_allclose(table[:, column], found.column(name), atol=6e-5)
        assert lines[4].split()[-3:] == [
            f"{found.rows[0].rho.value:.2f}",
            "+-",
            f"{found.rows[0].rho.se:.2f}",
        ]
        assert max(map(len, lines)) <= 100
        same = dg.diagnose(mixture, torch.from_numpy(train).float(), test[:50].astype(np.float32))
        np.testing.assert_allclose(same.column("mse"), found.column("mse"), rtol=1e-6)
        with pytest.raises(ValueError, match="name"):
            found.column("other")

    def test_bad_input(self, case):
        mixture, train, test = case
        with pytest.raises(ValueError, match="`test` must have 9 columns"):
            dg.diagnose(mixture, train, test[:, :4])
        with pytest.raises(TypeError, match=r"`train`.*127\.5"):
            dg.diagnose(mixture, (train * 9).astype(np.uint8), test)
        for sigmas in ([], [0.0]):
            with pytest.raises(ValueError, match="sigma"):
                dg.diagnose(mixture, train, test, sigmas=sigmas)

    def test_axes_must_fit_those_of_the_denoiser(self):
        images = torch.randn(6, 4, 5, 3)
        rgb = adapters.from_function(lambda x, sigma: x, (3, 4, 5))
        with pytest.raises(ValueError, match=r"`train` has images of shape \(4, 5, 3\).*move the"):
            dg.diagnose(rgb, images, images, sigmas=[0.5])
        moved = images.movedim(-1, 1)
        found = dg.diagnose(rgb, moved, moved, sigmas=[0.5])
        flat = dg.diagnose(rgb, moved.reshape(6, -1), moved.reshape(6, -1), sigmas=[0.5])
        assert found.rows == flat.rows
        grey = adapters.from_function(lambda x, sigma: x, (1, 4, 5))
        one = images[..., 0].contiguous()
        assert dg.diagnose(grey, one, one, sigmas=[0.5]).dimension == 20

    def test_messages_name_the_remedy(self):
        images = DeviceImages(np.zeros((4, 3, 3), np.uint8))
        with pytest.raises(TypeError, match=r"`train` must be .* DeviceImages; pass its rows"):
            dg.diagnose(None, images, images)
        with pytest.raises(TypeError, match=r"got list; convert it by numpy\.asarray"):
            dg.diagnose(None, [[0.1]], [[0.1]])
        x = torch.randn(4, 3)
        with pytest.raises(TypeError, match=r"lindiff\.nn\.adapters makes one"):
            dg.diagnose(lambda x, sigma: x, x, x)
        with pytest.raises(ValueError, match="`n_pairs` must be an integer >= 1, got 'x'"):
            dg.diagnose(adapters.from_function(lambda x, s: x), x, x, n_pairs="x")


def test_public_names_have_docstrings():
    assert sorted(dg.__all__) == dg.__all__
    assert [name for name in dg.__all__ if not getattr(dg, name).__doc__] == []
