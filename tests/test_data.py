"""Image sets: embedded files, a reader's folder, and downloads that go wrong."""

import gzip
import hashlib
import multiprocessing
import os
import struct
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from lindiff import _download, data

CONTENT = b"the registered content" * 1000
KNOWN = hashlib.sha256(CONTENT).hexdigest()


class Mirror(BaseHTTPRequestHandler):
    """Answers by path: good, html, forbidden, cut, stall."""

    def do_GET(self):
        kind = self.path.strip("/").split("/")[0]
        if kind == "stall":
            time.sleep(3)
        if kind == "forbidden":
            self.send_error(403)
            return
        body = b"<html>quota exceeded</html>" if kind == "html" else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if kind == "cut" else body)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def mirror():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(autouse=True)
def no_folder(monkeypatch):
    monkeypatch.delenv("LINDIFF_DATA", raising=False)


def test_embedded_sets_need_no_network(monkeypatch):
    monkeypatch.setattr(_download, "fetch", None)
    for name in ("fashion-mnist", "mnist"):
        loaded = data.load_images(name)
        assert loaded.images.shape == (10_000, 28, 28)
        assert np.bincount(loaded.labels).size == 10
        assert loaded.licence
    # The class sizes of the MNIST test set, as its authors publish them.
    assert np.bincount(loaded.labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip


def test_vectors_range():
    loaded = data.load_images("mnist", n_images=5)
    rows = loaded.vectors()
    assert rows.shape == (5, 784) and rows.min() == -1.0 and rows.max() <= 1.0
    np.testing.assert_allclose((rows + 1) * 127.5, loaded.images.reshape(5, -1), atol=1e-12)


def test_resize_is_the_mean_of_blocks():
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    blocks = images.reshape(3, 14, 2, 14, 2).mean(axis=(2, 4))
    np.testing.assert_array_equal(data.resize(images, 14), np.rint(blocks).astype(np.uint8))
    flat = np.full((1, 28, 28), 77, np.uint8)
    assert np.all(data.resize(flat, 32) == 77) and np.all(data.resize(flat, 5) == 77)


def test_disjoint_subsets():
    parts = data.disjoint_subsets(100, [30, 20, 50], np.random.default_rng(0))
    assert [len(part) for part in parts] == [30, 20, 50]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(100))


def fetch(urls, folder, **options):
    return _download.fetch("set/file.gz", KNOWN, urls, cache=folder, **options)


def test_first_good_mirror_wins(mirror, tmp_path):
    urls = [f"{mirror}/{kind}/file.gz" for kind in ("html", "forbidden", "cut", "good")]
    assert fetch(urls, tmp_path).read_bytes() == CONTENT


def test_stalling_mirror_is_given_up(mirror, tmp_path):
    start = time.monotonic()
    urls = [f"{mirror}/stall/file.gz", f"{mirror}/good/file.gz"]
    assert fetch(urls, tmp_path, timeout=0.3).read_bytes() == CONTENT
    assert time.monotonic() - start < 3


def test_all_dead_says_everything_and_leaves_nothing(mirror, tmp_path):
    urls = [f"{mirror}/{kind}/file.gz" for kind in ("html", "forbidden", "cut")]
    with pytest.raises(OSError, match="could not be downloaded") as error:
        fetch(urls, tmp_path)
    for expected in (*urls, "LINDIFF_DATA", str(tmp_path / "set" / "file.gz")):
        assert expected in str(error.value)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_corrupt_cache_is_replaced(mirror, tmp_path):
    target = tmp_path / "set" / "file.gz"
    target.parent.mkdir()
    target.write_bytes(b"damaged")
    assert fetch([f"{mirror}/good/file.gz"], tmp_path).read_bytes() == CONTENT


def test_good_cache_asks_nobody(tmp_path):
    target = tmp_path / "set" / "file.gz"
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    assert fetch([], tmp_path) == target


def test_local_folder_comes_first_and_is_verified(monkeypatch, tmp_path):
    (tmp_path / "set").mkdir()
    file = tmp_path / "set" / "file.gz"
    file.write_bytes(CONTENT)
    monkeypatch.setenv("LINDIFF_DATA", os.pathsep.join(["nowhere", str(tmp_path)]))
    assert fetch([], tmp_path / "cache") == file
    file.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="LINDIFF_DATA"):
        fetch([], tmp_path / "cache")


def test_several_processes_at_once(mirror, tmp_path):
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        call = ("set/file.gz", KNOWN, [f"{mirror}/good/file.gz"])
        paths = pool.starmap(_fetch_into, [(*call, str(tmp_path))] * 4)
    assert len(set(paths)) == 1 and Path(paths[0]).read_bytes() == CONTENT


def _fetch_into(relative, known, urls, cache):
    return str(_download.fetch(relative, known, urls, cache=cache))


def write_idx(path, *, magic=2051, shape=(2, 3, 3), size=18, cut=0):
    body = struct.pack(">I", magic) + struct.pack(">3I", *shape) + bytes(size)
    packed = gzip.compress(body)
    path.write_bytes(packed[: len(packed) - cut])
    return path


def test_idx_is_read(tmp_path):
    assert data._read_idx(write_idx(tmp_path / "a.gz"), "images").shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"magic": 2049}, "does not begin"),
        ({"size": 17}, "holds 17 bytes"),
        ({"cut": 6}, "not a complete gzip"),
    ],
)
def test_broken_idx_is_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        data._read_idx(write_idx(tmp_path / "a.gz", **options), "images")


def pictures(folder, count=3):
    from PIL import Image

    folder.mkdir()
    for index in range(count):
        colour = (40 * index, 40 * index, 40 * index)
        Image.new("RGB", (178, 218), colour).save(folder / f"{index:06d}.png")
    return folder


def test_own_images_from_folder_and_zip(tmp_path):
    folder = pictures(tmp_path / "faces")
    loaded = data.load_folder(folder, size=32)
    assert loaded.images.shape == (3, 32, 32)
    assert loaded.images[2].min() == loaded.images[2].max() == 80
    archive = tmp_path / "faces.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for file in folder.iterdir():
            target.write(file, f"img_align_celeba/{file.name}")
    zipped = data.load_folder(archive, size=32, n_images=2)
    np.testing.assert_array_equal(zipped.images, loaded.images[:2])


def test_own_images_bad_input(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing at"):
        data.load_folder(tmp_path / "missing")
    (tmp_path / "text.txt").write_text("no archive")
    with pytest.raises(ValueError, match="neither a folder nor a zip"):
        data.load_folder(tmp_path / "text.txt")
    with pytest.raises(ValueError, match="no JPEG or PNG"):
        data.load_folder(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"a\.jpg cannot be read"):
        data.load_folder(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "cifar"}, "name"),
        ({"split": "validation"}, "split"),
        ({"n_images": 0}, "n_images"),
        ({"n_images": 20_000}, "n_images"),
        ({"size": 0}, "size"),
    ],
)
def test_bad_input_is_named(options, message):
    arguments = {"name": "mnist", **options}
    with pytest.raises(ValueError, match=message):
        data.load_images(arguments.pop("name"), **arguments)
    with pytest.raises(TypeError, match="uint8"):
        data.resize(np.zeros((1, 2, 2)), 2)
    with pytest.raises(ValueError, match="sizes"):
        data.disjoint_subsets(3, [2, 2], np.random.default_rng(0))


SHARED = os.environ.get("LINDIFF_DATA")


@pytest.mark.skipif(not SHARED, reason="LINDIFF_DATA names no folder with the training images")
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_training_images(monkeypatch, name):
    monkeypatch.setenv("LINDIFF_DATA", SHARED)
    assert len(data.load_images(name, split="train")) == 60_000
