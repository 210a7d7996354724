"""Images for training: what they look like, what they depend on, and their splits."""

import os
import types
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lindiff.data import load_images, resize  # noqa: E402
from lindiff.denoisers import AffineDenoiser  # noqa: E402
from lindiff.nn import _real_images, _toy_faces, images  # noqa: E402
from lindiff.nn.images import DeviceImages, image_split  # noqa: E402

needs_data = pytest.mark.skipif(
    not os.environ.get("LINDIFF_DATA"), reason="LINDIFF_DATA names no folder of images"
)


def rows(pixels):
    """Return images as float rows in [-1, 1]."""
    return pixels.reshape(len(pixels), -1) / 127.5 - 1


@pytest.fixture(scope="module")
def faces():
    return images.toy_faces(3000, 16, seed=0)


def test_faces_have_the_statistics_of_the_pilot(faces):
    variances = np.linalg.eigvalsh(np.cov(rows(faces).T))
    assert rows(faces).std() == pytest.approx(0.34, abs=0.02)
    assert variances.sum() == pytest.approx(25, rel=0.1)
    assert variances[-1] == pytest.approx(12, rel=0.15)
    # The smallest variances are those of the noise, 2 % of a range of 2, which a finite
    # sample spreads down to (1 - sqrt(d / n))^2 of their value.
    assert 0.5 < variances[:5].mean() / 0.04**2 < 1


def test_faces_have_two_dark_eyes_and_a_mouth():
    mean = images.toy_faces(2000, 32, seed=1).mean(axis=0)
    assert np.abs(mean - mean[:, ::-1]).max() < 6
    face = mean[12:28, 8:24]
    eyes, cheeks, mouth = mean[14:17], mean[18:21], mean[23:27]
    left, right = eyes[:, 10:13].min(), eyes[:, 19:22].min()
    between = eyes[:, 15:17].mean()
    assert max(left, right) < between - 5
    assert mouth[:, 14:18].min() < cheeks[:, 10:13].mean() - 10
    assert face.mean() > mean[:6, 8:24].mean()


@pytest.mark.parametrize("size", [8, 16])
def test_a_face_depends_on_its_index_only(size):
    whole = images.toy_faces(200, size, seed=5)
    for start, n in ((0, 1), (63, 2), (64, 64), (150, 50)):
        part = images.toy_faces(n, size, seed=5, start=start)
        assert np.array_equal(part, whole[start : start + n])
    assert len(np.unique(whole.reshape(200, -1), axis=0)) == 200
    assert not np.array_equal(whole, images.toy_faces(200, size, seed=6))


def test_a_face_is_the_same_at_every_size():
    large, small = images.toy_faces(300, 32, seed=2), images.toy_faces(300, 16, seed=2)
    difference = rows(resize(large, 16)) - rows(small)
    other = rows(resize(large, 16)) - np.roll(rows(small), 1, axis=0)
    # The noise of both, 0.04 and 0.02, and what finer sampling changes.
    assert difference.std() < 0.07 < 0.3 < other.std()


def test_faces_are_the_same_on_every_machine():
    drawn = DeviceImages(images.toy_faces(130, 16, seed=0)).fingerprint
    assert drawn == "a17554b8da6ac63a6c1ab5c63c63e2b09d8d61b9dd857d7e0b21c4feac7bfdb7"


def test_noise_of_faces_is_standard():
    noise = _toy_faces._noise(3, 32, 0).ravel()
    n = noise.size
    assert abs(noise.mean()) < 4 / n**0.5
    assert abs(noise.var() - 1) < 4 * (2 / n) ** 0.5
    assert np.abs(noise).max() <= 12**0.5


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"n": 0}, ValueError, "n"),
        ({"n": 2.5}, TypeError, "n"),
        ({"n": 1, "size": 4}, ValueError, "size"),
        ({"n": 1, "seed": -1}, ValueError, "seed"),
        ({"n": 1, "start": -1}, ValueError, "start"),
    ],
)
def test_bad_arguments_of_faces(arguments, error, named):
    with pytest.raises(error, match=f"`{named}` must"):
        images.toy_faces(**{"seed": 0, **arguments})


@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.0])
def test_mixture_denoiser_is_optimal(sigma):
    model = images.mixture_images(8, seed=3)
    n, rng = 4000, np.random.default_rng(1)
    clean = images.draw_mixture(model, n, seed=3)
    noised = clean + sigma * rng.standard_normal(clean.shape)
    error = np.square(model.denoise(noised, sigma) - clean).mean(axis=1)
    # The posterior covariance is sigma^2 times the Jacobian (ledger id K-3).
    probe, step = rng.choice([-1.0, 1.0], clean.shape), 1e-4
    change = model.denoise(noised + step * probe, sigma) - model.denoise(
        noised - step * probe, sigma
    )
    trace = sigma**2 * (probe * change).mean(axis=1) / (2 * step)
    gap = error - trace
    assert abs(gap.mean()) < 4 * gap.std() / n**0.5
    gaussian = AffineDenoiser.from_moments(model.mean, model.covariance)
    excess = np.square(gaussian.denoise(noised, sigma) - clean).mean(axis=1) - error
    assert excess.mean() > 10 * excess.std() / n**0.5


def test_mixture_is_drawn_with_its_moments():
    model = images.mixture_images(8, n_components=3, rank=2, seed=0)
    n = 20000
    drawn = images.draw_mixture(model, n, seed=1)
    scale = np.sqrt(np.diag(model.covariance))
    assert np.abs((drawn.mean(axis=0) - model.mean) / scale).max() < 4.5 / n**0.5
    error = np.cov(drawn.T) - model.covariance
    assert np.abs(error / np.outer(scale, scale)).max() < 8 / n**0.5
    # Rank 2 within a component: everything else is the noise of a pixel.
    variances = np.linalg.eigvalsh(model.covs)
    assert np.allclose(variances[:, :-2], 0.03**2) and np.all(variances[:, -2:] > 0.1)


def test_mixture_is_the_same_scene_at_every_size():
    small, large = (images.mixture_images(size, seed=4).means for size in (8, 32))
    blocks = large.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)).reshape(len(large), -1)
    assert np.allclose(blocks, small, atol=0.05)
    assert not np.allclose(blocks, images.mixture_images(8, seed=5).means, atol=0.3)
    assert small.std() == pytest.approx(0.25, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "named"), [({"size": 3}, "size"), ({"size": 8, "rank": 17}, "rank")]
)
def test_bad_arguments_of_mixtures(arguments, named):
    with pytest.raises(ValueError, match=f"`{named}`"):
        images.mixture_images(**arguments, seed=0)


def test_device_images_agree_with_numpy():
    stored = load_images("mnist", n_images=50)
    held = DeviceImages(stored.images)
    assert (held.n, len(held), held.size, held.dimension) == (50, 50, 28, 784)
    assert np.allclose(held.flat().numpy(), stored.vectors(), atol=1e-6)
    assert held.flat().dtype == torch.float32
    assert held.std == pytest.approx(stored.vectors().std(), rel=1e-12)
    assert held.second_moment == pytest.approx(np.square(stored.vectors()).mean(), rel=1e-12)
    chosen = held.take([7, 3])
    assert chosen.shape == (2, 1, 28, 28)
    assert torch.equal(chosen.reshape(2, -1), held.flat()[[7, 3]])
    assert torch.equal(chosen.reshape(2, -1), held.flat(torch.tensor([7, 3])))
    assert held.to("cpu") is held and held.device.type == "cpu"


def test_float_images_are_used_as_they_are():
    drawn = np.random.default_rng(0).standard_normal((20, 4, 4))
    held = DeviceImages(drawn)
    assert np.array_equal(held.flat().numpy(), drawn.reshape(20, 16).astype(np.float32))
    assert held.std == pytest.approx(drawn.std(), rel=1e-6)
    assert held.second_moment == pytest.approx(np.square(drawn).mean(), rel=1e-6)


def test_fingerprint_tells_content_shape_and_type_apart():
    pixels = np.arange(64, dtype=np.uint8)
    held = [
        DeviceImages(pixels.reshape(4, 4, 4)),
        DeviceImages(pixels.reshape(1, 8, 8)),
        DeviceImages(pixels[::-1].copy().reshape(4, 4, 4)),
        DeviceImages(pixels.reshape(4, 4, 4) / np.float32(64)),
    ]
    assert len({images.fingerprint for images in held}) == 4
    assert held[0].fingerprint == DeviceImages(pixels.reshape(4, 4, 4).copy()).fingerprint


@pytest.mark.parametrize(
    ("pixels", "error", "said"),
    [
        (np.zeros((2, 3, 3), np.int64), TypeError, r"uint8 or floats .* 2 \* pixels / white - 1"),
        (np.zeros((2, 3, 3), np.uint16), TypeError, r"uint8 or floats .* 2 \* pixels / white - 1"),
        (np.zeros((2, 3, 3), bool), TypeError, r"uint8 or floats .* 2 \* pixels / white - 1"),
        (np.zeros((2, 3, 3), complex), TypeError, "uint8 or floats"),
        (np.array(["a"]), TypeError, "uint8 or floats"),
        (torch.zeros(2, 3, 3).to_sparse(), TypeError, "dense"),
        (np.ma.masked_less(np.eye(3)[None], 0.5), TypeError, "masked"),
        (np.zeros((2, 3, 4), np.uint8), ValueError, "shape"),
        (np.zeros((2, 3, 3, 3), np.uint8), ValueError, "shape .* grey squares"),
        ([np.zeros((3, 3)), np.zeros((4, 4))], ValueError, "several sizes"),
        (np.zeros((0, 3, 3), np.uint8), ValueError, "shape"),
        (np.zeros((3, 3), np.uint8), ValueError, "shape"),
        (np.full((1, 3, 3), np.nan), ValueError, "NaN"),
        (np.full((1, 3, 3), 255.0), ValueError, r"far beyond \[-1, 1\]"),
        (np.full((1, 3, 3), -1000.0), ValueError, r"far beyond \[-1, 1\]"),
        (np.eye(3, dtype=np.uint8)[None], ValueError, r"0 and 1 .* 255 \* pixels"),
    ],
)
def test_bad_pixels(pixels, error, said):
    with pytest.raises(error, match=f"`pixels` .*{said}"):
        DeviceImages(pixels)


def test_pixels_of_every_order_and_precision(tmp_path):
    plain = np.random.default_rng(0).uniform(-1, 1, (3, 4, 4)).astype(np.float32)
    np.save(tmp_path / "pixels.npy", plain)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for pixels in (
            *(mapped, plain.astype(">f4"), plain.astype(np.longdouble), np.asfortranarray(plain)),
            *(plain[::-1][::-1], plain.tolist(), torch.tensor(plain, requires_grad=True)),
        ):
            held = DeviceImages(pixels)
            assert held.fingerprint == DeviceImages(plain).fingerprint
            assert not held.pixels.requires_grad


def disjoint(*sets):
    """Whether no image is in two of the sets."""
    keys = [{row.tobytes() for row in part.pixels.numpy()} for part in sets]
    return len(set.union(*keys)) == sum(map(len, keys))


@pytest.mark.parametrize(
    "kind", [{"name": "toyfaces"}, {"name": "gmm"}, {"name": "mnist", "source": "packaged"}]
)
def test_training_sets_are_disjoint_and_nested(kind):
    first, second = (image_split(**kind, n_images=80, subset=s, size=16, n_test=40) for s in (1, 2))
    assert disjoint(first.train, second.train, first.test)
    assert torch.equal(first.test.pixels, second.test.pixels) and first.test.n == 40
    small = image_split(**kind, n_images=30, subset=2, size=16, n_test=20)
    assert torch.equal(small.train.pixels, second.train.pixels[:30])
    assert torch.equal(small.test.pixels, second.test.pixels[:20])
    assert first.fingerprint == first.train.fingerprint != second.fingerprint
    other = image_split(**kind, n_images=80, size=16, seed=1, n_test=40)
    assert other.fingerprint != first.fingerprint


def test_split_of_the_mixture_carries_its_law():
    split = image_split("gmm", 2000, size=8, seed=2)
    assert np.array_equal(split.model.means, images.mixture_images(8, seed=2).means)
    error = split.test.flat().numpy().mean(axis=0) - split.model.mean
    assert np.abs(error).max() < 5 * np.sqrt(np.diag(split.model.covariance) / 2000).max()
    assert split.train.std == pytest.approx(0.35, abs=0.08)
    assert image_split("toyfaces", 1, size=8, n_test=1).model is None


def test_packaged_digits_are_framed_before_they_are_averaged():
    large, stored, small = (
        image_split("mnist", 50, size=size, source="packaged") for size in (32, 28, 16)
    )
    assert large.name == "mnist-packaged" and large.test.n == 2000
    inner = large.train.pixels[:, 2:-2, 2:-2]
    assert torch.equal(inner, stored.train.pixels)
    assert large.train.pixels.sum() == inner.sum()
    averaged = torch.from_numpy(resize(large.train.pixels.numpy(), 16))
    assert torch.equal(small.train.pixels, averaged)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "cats", "n_images": 1}, "toyfaces.*gmm.*mnist.*faces"),
        ({"name": "toyfaces", "n_images": 1, "subset": 3}, "subset must be 1 or 2"),
        ({"name": "toyfaces", "n_images": 2_000_000}, "has 1048576"),
        ({"name": "mnist", "n_images": 4001, "source": "packaged"}, "has 4000"),
        ({"name": "mnist", "n_images": 1, "source": "web"}, "source"),
        ({"name": "gmm", "n_images": 1, "source": "packaged"}, "source"),
        ({"name": "toyfaces", "n_images": 0}, "n_images"),
        ({"name": "toyfaces", "n_images": 1, "seed": -1}, "`seed` must be at least 0"),
        ({"name": "toyfaces", "n_images": 1, "n_test": 0}, "n_test"),
    ],
)
def test_bad_splits(arguments, said):
    with pytest.raises(ValueError, match=said):
        image_split(**{"size": 8, **arguments})


def test_missing_faces_name_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("LINDIFF_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="set LINDIFF_DATA"):
        image_split("faces", 10)


def test_missing_digits_name_the_packaged_ones(monkeypatch):
    def nowhere(name, *, split="test"):
        if split == "train":
            raise OSError("nothing answers")
        return load_images(name)

    monkeypatch.setattr(_real_images, "load_images", nowhere)
    with pytest.raises(OSError, match=r"nothing answers\n.*source='packaged'"):
        image_split("mnist", 10)
    assert image_split("mnist", 10, source="packaged").train.n == 10


@pytest.mark.parametrize("source", ["train", "packaged"])
def test_test_digits_do_not_come_in_the_order_of_their_file(source, monkeypatch):
    numbered = np.zeros((10_000, 28, 28), np.uint8)
    numbered[:, 14, 14], numbered[:, 14, 15] = np.divmod(np.arange(10_000), 256)
    fake = types.SimpleNamespace(images=numbered)
    monkeypatch.setattr(_real_images, "load_images", lambda name, split="test": fake)
    parts = _real_images.grey_parts("mnist", 28, 0, source)
    test = parts[2][:2000, 14, 14] * 256.0 + parts[2][:2000, 14, 15]
    # The first half of the file comes from other writers than the second.
    assert 0.4 < np.mean(test < 5000) < 0.6


@needs_data
def test_training_digits_are_dealt_in_halves():
    first, second = (image_split("mnist", 30000, subset=s, size=28) for s in (1, 2))
    dealt = np.concatenate([part.train.flat().numpy().sum(axis=1) for part in (first, second)])
    stored = load_images("mnist", split="train").vectors().sum(axis=1)
    assert np.allclose(np.sort(dealt), np.sort(stored), atol=1e-3)
    assert first.test.n == 2000 and disjoint(first.test, first.train)
    with pytest.raises(ValueError, match="has 30000"):
        image_split("mnist", 30001)


@needs_data
def test_no_person_is_in_two_parts_of_the_faces():
    stored, person = _real_images._faces()
    assert len(stored) == 12794 - 11
    parts = [set(person[rows]) for rows in _real_images._deal(person, 0)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == len(np.unique(person))
    first, second, test = _real_images.face_parts(32, 0)
    assert len(first) + len(second) + len(test) == len(stored)
    assert abs(len(first) - len(second)) < 30 and len(test) >= 1200
    split = image_split("faces", 100, subset=2)
    assert np.array_equal(split.train.pixels.numpy(), second[:100])
    assert disjoint(DeviceImages(first), DeviceImages(second), DeviceImages(test))


def test_images_of_ones_own():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    split = images.split_from(pixels[:20], torch.from_numpy(pixels[20:]), "mine")
    assert (split.name, split.train.n, split.test.n) == ("mine", 20, 10)
    assert split.fingerprint == split.train.fingerprint
    unit = images.split_from(pixels[:20] / 127.5 - 1, pixels[20:])
    assert torch.allclose(unit.train.flat(), split.train.flat(), atol=1e-6)
    for train, test, said in (
        (pixels.astype(float), pixels, "`train` reaches 255, far beyond .* pixels / 127.5 - 1"),
        (pixels, pixels[:, :4, :4], "`test` has images of side 4, `train` of side 8"),
        (pixels[0], pixels, "`train` must have shape"),
        (pixels, np.full((2, 8, 8), np.nan), "`test` has NaN"),
    ):
        with pytest.raises(ValueError, match=said):
            images.split_from(train, test)
    with pytest.raises(TypeError, match="`train` must be uint8 or floats"):
        images.split_from(pixels.astype(int), pixels)


def test_shuffling_moves_whole_pixels():
    held = DeviceImages(images.toy_faces(40, 8, seed=0))
    moved = images.shuffled_pixels(held, 3)
    assert isinstance(moved, DeviceImages) and moved.std == held.std
    assert np.array_equal(moved.pixels.numpy(), images.shuffled_pixels(held.pixels.numpy(), 3))
    assert not torch.equal(moved.pixels, images.shuffled_pixels(held, 4).pixels)
    before, after = (np.linalg.eigvalsh(np.cov(part.flat().numpy().T)) for part in (held, moved))
    assert np.allclose(before, after, atol=1e-6)
    steps = [np.abs(np.diff(p.pixels.float().numpy(), axis=2)).mean() for p in (held, moved)]
    assert steps[1] > 1.5 * steps[0]
    for pixels in (np.zeros((2, 4)), [[[0.0]]], None):
        with pytest.raises(ValueError, match="`images` must be an array of shape"):
            images.shuffled_pixels(pixels, 0)
