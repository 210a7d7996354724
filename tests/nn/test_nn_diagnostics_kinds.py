"""Arrays of every kind and degenerate samples in the diagnostics: right, or refused by name."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lindiff.denoisers import AffineDenoiser  # noqa: E402
from lindiff.nn import diagnostics as dg  # noqa: E402
from lindiff.nn.closed_forms import GaussianDenoiser, MemorisingDenoiser  # noqa: E402

D, N, SIGMA = 5, 40, 0.5
CLEAN = np.random.default_rng(0).uniform(-1, 1, (N, D)).astype(np.float32)
GREY = (127.5 * (CLEAN + 1)).round()


class Half:
    def denoise(self, x, sigma):
        return x / 2


class Constant:
    def denoise(self, x, sigma):
        return torch.full_like(x, 0.25)


class Array:
    """A denoiser that answers with an array that may not be written."""

    def denoise(self, x, sigma):
        return np.broadcast_to(np.float32(0.25), x.shape)


def mapped(tmp_path):
    np.save(tmp_path / "clean.npy", CLEAN)
    return np.load(tmp_path / "clean.npy", mmap_mode="r")


def halves_error(clean):
    """The error of D(x) = x / 2 by its definition."""
    noise = torch.randn((N, D), generator=torch.Generator().manual_seed(0)).numpy()
    return float((((clean + SIGMA * noise) / 2 - clean) ** 2).mean())


# Name, clean images; None if they are those of CLEAN, or the message.
ARRAYS = [
    ("mapped", mapped, None),
    ("reversed twice", lambda _: CLEAN[::-1].copy()[::-1], None),
    ("columns first", lambda _: np.asfortranarray(CLEAN), None),
    ("other bytes", lambda _: CLEAN.astype(">f4"), None),
    ("doubles", lambda _: CLEAN.astype(float), None),
    ("long doubles", lambda _: CLEAN.astype(np.longdouble), None),
    ("gradient", lambda _: torch.tensor(CLEAN, requires_grad=True), None),
    ("stride", lambda _: torch.tensor(CLEAN.T.copy()).T, None),
    ("mask without entries", lambda _: np.ma.masked_greater(CLEAN, 2), None),
    ("grey floats", lambda _: GREY, r"`{}` (holds grey levels up to|reaches) 25\d.*127\.5 - 1"),
    ("16 bits", lambda _: torch.tensor(257 * GREY), r"`{}` (holds grey|reaches) .*127\.5 - 1"),
    ("grey integers", lambda _: GREY.astype(np.uint8), r"`{}` must be .* uint8.*127\.5 - 1"),
    ("masked", lambda _: np.ma.masked_less(CLEAN, 0), "`{}` has masked entries"),
    ("NaN", lambda _: np.where(CLEAN > 0.9, np.nan, CLEAN), "`{}` has NaN"),
    ("too large for float32", lambda _: np.full((N, D), 1e60), "`{}` has NaN or infinite"),
    ("sparse", lambda _: torch.tensor(CLEAN).to_sparse(), r"`{}` must be .* pass \.to_dense"),
    ("complex", lambda _: torch.tensor(CLEAN) + 1j, "`{}` must be a floating-point tensor"),
    ("list", lambda _: CLEAN.tolist(), r"`{}` must be .* got list"),
    ("empty", lambda _: CLEAN[:0], r"`{}` must have at least [12] rows"),
    ("no pixels", lambda _: CLEAN[:, :0], r"`{}` must have shape \(n, d\)"),
]


@pytest.mark.parametrize(
    ("make", "message"), [case[1:] for case in ARRAYS], ids=[case[0] for case in ARRAYS]
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_arrays(tmp_path, make, message):
    clean = make(tmp_path)
    if message is not None:
        reference = GaussianDenoiser.from_images(CLEAN)
        for name, call in (
            ("clean", lambda: dg.mse(Half(), clean, SIGMA)),
            ("clean", lambda: dg.linearity(Half(), clean, SIGMA)),
            ("clean", lambda: dg.distil_linear(Half(), clean, SIGMA, reference=reference)),
            ("clean", lambda: dg.direction_wise(Half(), reference, clean, SIGMA)),
            ("clean", lambda: dg.jacobian_checks(Half(), CLEAN, SIGMA, clean=clean)),
            ("train", lambda: dg.diagnose(Half(), clean, CLEAN)),
            ("test", lambda: dg.diagnose(Half(), CLEAN, clean)),
            ("train", lambda: dg.memorised_fraction(CLEAN, clean)),
            ("real", lambda: dg.generalisation_score(CLEAN + 0.01, CLEAN, clean)),
            ("b", lambda: dg.sliced_w2(CLEAN, clean)),
        ):
            with pytest.raises((TypeError, ValueError), match=message.format(name)):
                call()
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = dg.mse(Half(), clean, SIGMA).value
    assert found == pytest.approx(halves_error(CLEAN), rel=1e-5)
    # The control: other pixels have another error.
    assert abs(found - halves_error(CLEAN[::-1])) > 1e-4


def test_large_data_that_are_no_grey_levels_stay():
    """Points of any law, and samples of a network that ran away."""
    points = 300 * CLEAN
    found = dg.mse(AffineDenoiser.from_data(points), points, 30.0).value
    spread = np.linalg.eigvalsh(np.cov(points.T, bias=True))
    assert found == pytest.approx((spread * 900 / (spread + 900)).mean(), rel=0.1)
    assert dg.memorised_fraction(points, CLEAN).value == 0
    assert dg.sliced_w2(points, CLEAN).value > 50
    assert dg.memorised_fraction(GREY, GREY).value == 1


def test_scores_of_samples_without_a_norm():
    rng = np.random.default_rng(1)
    samples, real = (rng.uniform(-1, 1, (30, D)) for _ in range(2))
    samples[7] = 0
    with pytest.raises(ValueError, match="`samples` has an image that is zero everywhere, row 7"):
        dg.generalisation_score(samples, CLEAN, real)
    with pytest.raises(ValueError, match="`real` has an image that is zero everywhere, row 7"):
        dg.generalisation_score(real, CLEAN, samples)
    with pytest.raises(ValueError, match="`real` are images of `train`"):
        dg.generalisation_score(real, CLEAN, CLEAN[:9])
    # One of two held-out images is a copy: a quarter of the resamples has no score at all.
    found = dg.generalisation_score(real, CLEAN, np.stack([CLEAN[0], real[0]]))
    assert np.isfinite(found.ratio) and found.ratio_se == np.inf


def test_constant_denoisers_are_affine():
    mean = np.full(D, 0.25)
    for denoiser in (Constant(), Array()):
        found = dg.linearity(denoiser, CLEAN, SIGMA, mean=mean)
        assert (found.score, found.score_se, found.nmse, found.nmse_se) == (1, 0, 0, 0)
    assert dg.jacobian_checks(Constant(), CLEAN, SIGMA).asymmetry == 0
    # The memoriser of one image, again and again, is constant as well.
    same = MemorisingDenoiser(torch.full((3, D), 0.25))
    assert dg.linearity(same, CLEAN, SIGMA, mean=mean).score == 1


def test_laws_that_are_none():
    none = GaussianDenoiser(np.zeros(D), np.zeros(D), np.eye(D))
    with pytest.raises(ValueError, match="`reference` has no variance"):
        dg.distil_linear(Half(), CLEAN, SIGMA, reference=none)
    with pytest.raises(TypeError, match=r"`reference` needs mean, eigenvalues .* got Half"):
        dg.distil_linear(Half(), CLEAN, SIGMA, reference=Half())
    with pytest.raises(TypeError, match=r"`gaussian` needs mean, eigenvalues .* got Half"):
        dg.direction_wise(Half(), Half(), CLEAN, SIGMA)
    with pytest.raises(TypeError, match="`mean` must hold real numbers"):
        dg.agreement(CLEAN, CLEAN, ["a"] * D)


def test_images_between_0_and_1_are_warned_of():
    unit = (CLEAN + 1) / 2
    with pytest.warns(UserWarning, match=r"`train` lies in \[0, 1\].*2 \* train - 1"):
        dg.diagnose(Half(), unit, unit, sigmas=[1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dg.diagnose(Half(), CLEAN, unit, sigmas=[1.0])
