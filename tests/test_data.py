"""Image sets: embedded files, a reader's folder, and downloads that go wrong."""

import gzip
import hashlib
import io
import multiprocessing
import os
import shutil
import struct
import threading
import time
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
    with pytest.raises(
        ValueError, match=r"a\.jpg. cannot be read as an image .10 bytes of no known"
    ):
        data.load_folder(tmp_path)


def encoded(kind, pixels, **options):
    """A file of a kind that holds these pixels."""
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def png_of_16_bits(colour, values, size=(2, 2)):
    """A PNG by its specification: Pillow writes 16 bits for grey only."""

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", *size, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = (b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def oriented(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return encoded("PNG", GREY, exif=exif)


def coloured(*colours, mode="RGB", **more):
    """Four pixels of one colour each."""
    picture = Image.new(mode, (2, 2))
    picture.putdata(colours)
    picture.info.update(more)
    return picture


def indexed(**options):
    picture = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 10, 10])
    return encoded("PNG", picture, **options)


def frames(kind, **options):
    more = [Image.fromarray(255 - GREY)]
    return encoded(kind, Image.fromarray(GREY), save_all=True, append_images=more, **options)


def flat(mode, colour):
    return encoded("JPEG", Image.new(mode, (2, 2), colour), quality=100)


GREY = np.array([[0, 40], [130, 255]], np.uint8)
WIDE = np.array([[0, 255], [32768, 65535]], np.uint16)
# Rec. 601: 0.299 R + 0.587 G + 0.114 B.
RED, GREEN, BLUE = 76, 150, 29
JPEG = flat("L", 77)
# File name, content; then the four grey levels worked out by hand, or what is wrong.
FILES = {
    "grey": ("a.png", lambda: encoded("PNG", GREY), GREY),
    "upper case": ("A.PNG", lambda: encoded("PNG", GREY), GREY),
    "png named jpg": ("a.jpg", lambda: encoded("PNG", GREY), GREY),
    "bmp": ("a.bmp", lambda: encoded("BMP", GREY), GREY),
    "one bit": ("a.png", lambda: encoded("PNG", GREY > 100), [[0, 0], [255, 255]]),
    "colour": (
        "a.png",
        lambda: encoded("PNG", coloured((255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9))),
        [[RED, GREEN], [BLUE, 9]],
    ),
    "palette": ("a.png", indexed, [[RED, GREEN], [BLUE, 10]]),
    "clear palette": ("a.png", lambda: indexed(transparency=0), [[255, GREEN], [BLUE, 10]]),
    "clear grey": (
        "a.png",
        lambda: encoded("PNG", coloured((0, 0), (0, 255), (0, 51), (200, 255), mode="LA")),
        [[255, 0], [204, 200]],
    ),
    "clear colour": (
        "a.png",
        lambda: encoded(
            "PNG",
            coloured((0, 0, 0, 0), (0, 0, 0, 255), (0, 0, 0, 51), (255, 0, 0, 255), mode="RGBA"),
        ),
        [[255, 0], [204, RED]],
    ),
    "one clear colour": (
        "a.png",
        lambda: encoded(
            "PNG",
            coloured((1, 2, 3), (0, 0, 0), (255, 0, 0), (9, 9, 9)),
            transparency=(1, 2, 3),
        ),
        [[255, 0], [RED, 9]],
    ),
    "inks": ("a.jpg", lambda: flat("CMYK", (0, 0, 0, 128)), [[127, 127]] * 2),
    "luma": ("a.jpg", lambda: flat("RGB", (255, 0, 0)), [[RED, RED]] * 2),
    "16 bits": ("a.png", lambda: encoded("PNG", WIDE), [[0, 1], [128, 255]]),
    "16 bits, TIFF": ("a.tif", lambda: encoded("TIFF", WIDE), [[0, 1], [128, 255]]),
    "16 bits, other bytes": (
        "a.tiff",
        lambda: encoded("TIFF", Image.frombytes("I;16B", (2, 2), WIDE.astype(">u2").tobytes())),
        [[0, 1], [128, 255]],
    ),
    "16 bits, negative": (
        "a.tif",
        lambda: encoded("TIFF", WIDE, tiffinfo={262: 0}),
        [[255, 254], [127, 0]],
    ),
    "16 bits, colour": (
        "a.png",
        lambda: png_of_16_bits(2, np.repeat(WIDE, 3, axis=1)),
        [[0, 1], [128, 255]],
    ),
    "16 bits, clear": (
        "a.png",
        lambda: png_of_16_bits(4, np.array([[0, 0, 257, 65535], [32768, 65535, 0, 32768]])),
        [[255, 1], [128, 127]],
    ),
    "upside down": ("a.png", lambda: oriented(3), GREY[::-1, ::-1]),
    "mirrored": ("a.png", lambda: oriented(2), GREY[:, ::-1]),
    "on its side": ("a.png", lambda: oriented(6), [[130, 0], [255, 40]]),
    "no such turn": ("a.png", lambda: oriented(9), GREY),
    "moving gif": ("a.gif", lambda: frames("GIF"), GREY),
    "moving webp": ("a.webp", lambda: frames("WEBP", lossless=True), GREY),
    "pages": ("a.tif", lambda: frames("TIFF"), GREY),
    "floats": ("a.tif", lambda: encoded("TIFF", GREY / np.float32(255)), "32 bits have no fixed"),
    "32 bits": ("a.tif", lambda: encoded("TIFF", WIDE.astype(np.int32)), "32 bits have no fixed"),
    "empty": ("a.png", lambda: b"", "cannot be read as an image .0 bytes of no known"),
    "cut": ("a.jpg", lambda: encoded("JPEG", np.zeros((99, 99), np.uint8))[:400], "truncated"),
    "cut png": ("a.png", lambda: encoded("PNG", GREY)[:-30], "'a.png' cannot be read"),
    "pdf": ("a.png", lambda: b"%PDF-1.7\n%%EOF", "14 bytes of no known format.; replace it"),
    "huge": (
        "a.png",
        lambda: png_of_16_bits(0, np.zeros((1, 1)), (40_000, 40_000)),
        "'a.png' cannot be read as an image .Image size .1600000000 pixels",
    ),
}


@pytest.mark.parametrize(("name", "content", "expected"), FILES.values(), ids=FILES)
@pytest.mark.parametrize("packed", [False, True])
def test_files_of_cameras_and_scanners(tmp_path, name, content, expected, packed):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / name).write_bytes(content())
    if packed:
        folder = Path(shutil.make_archive(str(folder), "zip", folder))
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            data.load_folder(folder, size=2)
        return
    found = data.load_folder(folder, size=2).images[0]
    # JPEG rounds; of 16 bits in colour Pillow keeps the upper 8. Bytes 24 and 25 tell in a PNG.
    bound = int(name == "a.jpg" or content()[24:26] in (b"\x10\x02", b"\x10\x04"))
    np.testing.assert_allclose(found.astype(int), expected, rtol=0, atol=bound)


def test_files_that_nobody_put_there(tmp_path):
    folder = tmp_path / ".hidden" / "own"
    junk = (
        *("._1.png", ".DS_Store", "Thumbs.db", "desktop.ini", "notes.txt", "slides.pdf"),
        *("__MACOSX/._a.png", "__MACOSX/a.png", ".ipynb_checkpoints/a-checkpoint.png"),
        *("@eaDir/a.png/SYNOFILE_THUMB_M.jpg", "deep/.thumbnails/a.png", "deep/._b.JPG"),
    )
    for name in (*junk, "a.png", "deep/er/b.JPG"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"no picture")
    (folder / "a.png").write_bytes(encoded("PNG", GREY))
    (folder / "deep/er/b.JPG").write_bytes(JPEG)
    archive = shutil.make_archive(str(tmp_path / "own"), "zip", folder)
    (folder / "deep" / "loop").symlink_to(folder)
    for path in (folder, archive):
        found = data.load_folder(path, size=2).images
        np.testing.assert_array_equal(found, [GREY, np.full((2, 2), 77)])
    # The control: a damaged file of a person's own stops it.
    (folder / "c.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"'c\.png' cannot be read"):
        data.load_folder(folder)


def test_photographs_that_cannot_be_read_are_counted(tmp_path):
    for name in ("1.HEIC", "2.heic", "3.nef"):
        (tmp_path / name).write_bytes(b"raw")
    with pytest.raises(ValueError, match=r"but 3 photographs such as '1\.HEIC': convert them"):
        data.load_folder(tmp_path)
    (tmp_path / "a.png").write_bytes(encoded("PNG", GREY))
    with pytest.warns(UserWarning, match="left out 3 photographs such as"):
        assert len(data.load_folder(tmp_path, size=2)) == 1


def broken_link(folder):
    (folder / "b.png").symlink_to("absent")


def pipe(folder):
    os.mkfifo(folder / "b.png")


def bytes_for_a_name(folder):
    Path(os.fsdecode(bytes(folder) + b"/\xff.png")).write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (broken_link, r"'b\.png' .*broken link or no regular file"),
        (pipe, r"'b\.png' .*broken link or no regular file"),
        (bytes_for_a_name, r"'\\udcff\.png' cannot be read"),
    ],
)
def test_files_that_are_none(tmp_path, spoil, message):
    (tmp_path / "a.png").write_bytes(encoded("PNG", GREY))
    spoil(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        data.load_folder(tmp_path)
    str(error.value).encode()


@pytest.mark.parametrize(
    ("at", "flag", "message"), [("flag", 1, "password required"), ("content", 255, "Bad CRC-32")]
)
def test_archives_that_cannot_be_opened(tmp_path, at, flag, message):
    path = tmp_path / "own.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", encoded("PNG", GREY))
    content = bytearray(path.read_bytes())
    places = [50] if at == "content" else [6, content.index(b"PK\x01\x02") + 8]
    for place in places:
        content[place] ^= flag
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"'a\.png' cannot be read as an image .*{message}"):
        data.load_folder(path)


def test_home_in_the_name_of_a_folder(monkeypatch, tmp_path):
    (tmp_path / "data" / "set").mkdir(parents=True)
    file = tmp_path / "data" / "set" / "file.gz"
    file.write_bytes(CONTENT)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LINDIFF_DATA", "~/data")
    assert fetch([], tmp_path / "cache") == file


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
    with pytest.raises(TypeError, match="`sizes` must be a sequence"):
        data.disjoint_subsets(3, 2, np.random.default_rng(0))
    with pytest.raises(TypeError, match="`rng` must be a numpy Generator"):
        data.disjoint_subsets(3, [2], 0)


SHARED = os.environ.get("LINDIFF_DATA")


@pytest.mark.skipif(not SHARED, reason="LINDIFF_DATA names no folder with the training images")
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_training_images(monkeypatch, name):
    monkeypatch.setenv("LINDIFF_DATA", SHARED)
    assert len(data.load_images(name, split="train")) == 60_000
