r"""Image sets as arrays.

The 10,000 test images of Fashion-MNIST and of MNIST come with the package and need no
network. The 60,000 training images are looked for in the folders named by the environment
variable ``LINDIFF_DATA``, then in the user's cache, then downloaded; their content is
verified every time. Other images, such as a copy of CelebA, are read from a path.
"""

import gzip
import os
import struct
import warnings
import zipfile
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np

from lindiff import _check, _download

__all__ = ["ImageSet", "disjoint_subsets", "load_folder", "load_images", "resize"]

_FASHION = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
    "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/"
)
_SETS = {
    "fashion-mnist": {
        "mirrors": (
            _FASHION,
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
        "licence": "MIT, Copyright 2017 Zalando SE",
        "sha256": {
            "train-images-idx3-ubyte.gz": (
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
            ),
            "train-labels-idx1-ubyte.gz": (
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
            ),
        },
    },
    "mnist": {
        "mirrors": (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        "licence": "CC BY-SA 3.0, Copyright Yann LeCun and Corinna Cortes",
        "sha256": {
            "train-images-idx3-ubyte.gz": (
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
            ),
            "train-labels-idx1-ubyte.gz": (
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
            ),
        },
    },
}
_PREFIX = {"train": "train", "test": "t10k"}
_PICTURES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"),
    *(".gif", ".bmp", ".tif", ".tiff"),
)
_PHOTOGRAPHS = (
    *(".heic", ".heif", ".avif", ".dng", ".cr2", ".cr3"),
    *(".nef", ".arw", ".raf", ".orf", ".rw2"),
)
_SYSTEM = ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found")
_PHOTOMETRIC = 262
_KINDS = {"images": ("images-idx3", 2051, 3), "labels": ("labels-idx1", 2049, 1)}


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Grey images with their labels and their licence.

    Parameters
    ----------
    name, split : str
    images : numpy.ndarray of uint8, shape (n, height, width)
    labels : numpy.ndarray of int64, shape (n,)
    licence : str
    """

    name: str
    split: str
    images: np.ndarray
    labels: np.ndarray
    licence: str

    def __len__(self):
        return len(self.images)

    def vectors(self):
        """Return the images as rows of float64 numbers in [-1, 1], shape (n, height * width)."""
        return self.images.reshape(len(self.images), -1) / 127.5 - 1.0


def load_images(name, *, split="test", n_images=None, size=None):
    """Load an image set by name.

    Parameters
    ----------
    name : {"fashion-mnist", "mnist"}
    split : {"test", "train"}
        The test images come with the package; the training images may be downloaded.
    n_images : int, optional
        Take only the first images.
    size : int, optional
        Resize to ``(size, size)`` by area averaging, see `resize`.

    Returns
    -------
    ImageSet

    Raises
    ------
    ValueError
        Unknown name or split, more images asked for than there are, or a corrupt file.
    OSError
        If the training images are nowhere to be had; the message says what was tried.

    Examples
    --------
    >>> load_images("fashion-mnist", n_images=3).vectors().shape
    (3, 784)
    """
    if name not in _SETS:
        raise ValueError(f"name must be one of {', '.join(_SETS)}, got {name!r}")
    if split not in _PREFIX:
        raise ValueError(f"split must be 'test' or 'train', got {split!r}")
    images, labels = (_read_idx(_locate(name, split, kind), kind) for kind in _KINDS)
    if len(images) != len(labels):
        raise ValueError(f"{name} has {len(images)} images but {len(labels)} labels")
    if n_images is not None:
        n_images = _check.positive_int("n_images", n_images)
        if n_images > len(images):
            raise ValueError(f"n_images is {n_images}, but {name} {split} has {len(images)}")
        images, labels = images[:n_images], labels[:n_images]
    loaded = ImageSet(name, split, images, labels.astype(np.int64), _SETS[name]["licence"])
    return loaded if size is None else replace(loaded, images=resize(images, size))


def _locate(name, split, kind):
    filename = f"{_PREFIX[split]}-{_KINDS[kind][0]}-ubyte.gz"
    known = _SETS[name]["sha256"][filename]
    if split == "test":
        with resources.as_file(resources.files("lindiff") / "_data") as folder:
            return _download.verified(folder / f"{name}-{filename}", known, "embedded")
    urls = [mirror + filename for mirror in _SETS[name]["mirrors"]]
    return _download.fetch(f"{name}/{filename}", known, urls)


def _read_idx(path, kind):
    _, magic, n_axes = _KINDS[kind]
    try:
        with gzip.open(path, "rb") as stream:
            content = stream.read()
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} is not a complete gzip file: {error}") from error
    start = 4 + 4 * n_axes
    if len(content) < start or struct.unpack(">I", content[:4])[0] != magic:
        raise ValueError(f"{path} does not begin like an idx file of {kind}")
    shape = struct.unpack(f">{n_axes}I", content[4:start])
    values = np.frombuffer(content, np.uint8, offset=start)
    if values.size != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{path} holds {values.size} bytes where its header says {shape}")
    return values.reshape(shape)


def _area_weights(old, new):
    """Overlap of each new pixel with each old one, rows summing to one, shape (new, old)."""
    edges = np.linspace(0.0, old, new + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(old)
    overlap = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0.0, None)
    return overlap * (new / old)


def resize(images, size):
    r"""Resize grey images by area averaging.

    Each new pixel is the mean of the old image over the square it covers, so a constant
    image stays constant and the mean brightness is kept up to rounding to 8 bits.

    Parameters
    ----------
    images : numpy.ndarray of uint8, shape (n, height, width)
    size : int
        New height and width.

    Returns
    -------
    numpy.ndarray of uint8, shape (n, size, size)

    Raises
    ------
    TypeError
        If `images` is not uint8.
    ValueError
        If `images` has another number of axes or `size` is below one.

    Examples
    --------
    >>> float(resize(np.full((1, 28, 28), 7, np.uint8), 14).mean())
    7.0
    """
    images, size = np.asarray(images), _check.positive_int("size", size)
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, got {images.dtype}")
    if images.ndim != 3:
        raise ValueError(f"images must have shape (n, height, width), got {images.shape}")
    if images.shape[1:] == (size, size):
        return images
    rows, columns = (_area_weights(old, size) for old in images.shape[1:])
    averaged = rows @ images.astype(float) @ columns.T
    return np.rint(averaged).astype(np.uint8)


def disjoint_subsets(n_total, sizes, rng):
    """Draw disjoint sets of indices.

    Parameters
    ----------
    n_total : int
    sizes : sequence of int
        Their sum must not exceed `n_total`.
    rng : numpy.random.Generator

    Returns
    -------
    list of numpy.ndarray of int

    Raises
    ------
    TypeError
        If a size is no integer, or `rng` no generator.
    ValueError
        If a size is below one, or they add up to more than `n_total`.

    Examples
    --------
    >>> first, second = disjoint_subsets(10, [4, 6], np.random.default_rng(0))
    >>> sorted([*first, *second]) == list(range(10))
    True
    """
    n_total, rng = _check.positive_int("n_total", n_total), _check.generator(rng)
    if not np.iterable(sizes):
        raise TypeError(f"`sizes` must be a sequence of integers, got {sizes!r}")
    sizes = [_check.positive_int("sizes", size) for size in sizes]
    if sum(sizes) > n_total:
        raise ValueError(f"sizes add up to {sum(sizes)}, more than n_total = {n_total}")
    order = rng.permutation(n_total)
    return [order[sum(sizes[:i]) : sum(sizes[: i + 1])] for i in range(len(sizes))]


def load_folder(path, *, size=32, n_images=None):
    """Load the reader's own images from a folder or a zip archive.

    Each image is turned grey, cropped to its central square and resized, so that a copy of
    ``img_align_celeba.zip`` (178 x 218 pixels in colour) gives grey squares.

    Parameters
    ----------
    path : path
        Folder of JPEG, PNG, WebP, GIF, BMP or TIFF files (searched below it too; links to other
        folders are not followed), or a zip archive of them. Other files are left out, with a
        warning for photographs in HEIC, AVIF or raw formats. Hidden files and folders, and those
        that systems add (``__MACOSX``, ``@eaDir``, ...), do not count.
    size : int
        Height and width of the result.
    n_images : int, optional
        Take only the first files in alphabetical order.

    Returns
    -------
    ImageSet
        With labels 0 and the licence left to the reader's copy.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    ValueError
        If it holds no images, or one of them cannot be read: damaged or empty files, broken
        links, encrypted archives, and pixels without a fixed white (floats, 32-bit integers).
    OSError
        If a folder below `path` may not be listed.

    Notes
    -----
    Photographs are turned as their camera says (EXIF). Transparent parts lie on white. Pixels of
    16 bits are divided by 257. Of several pictures in a file (animations, pages) the first counts.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"there is nothing at {path}; pass a folder or a zip archive")
    if path.is_dir():
        return _squares(path, _names(path), lambda name: _content(path / name), size, n_images)
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is neither a folder nor a zip archive")
    with zipfile.ZipFile(path) as archive:
        names = {n for n in archive.namelist() if all(map(_own, n.split("/")))}
        return _squares(path, names, archive.read, size, n_images)


def _own(part):
    """Whether a file or folder was put there by a person."""
    return not part.startswith(".") and part not in _SYSTEM


def _names(folder):
    def stop(error):
        raise error

    for where, below, files in os.walk(folder, onerror=stop):
        below[:] = filter(_own, below)
        for file in filter(_own, files):
            yield os.path.relpath(os.path.join(where, file), folder)


def _content(file):
    if not file.is_file():
        raise OSError("it is a broken link or no regular file")
    return file.read_bytes()


def _squares(path, names, read, size, n_images):
    names = sorted(names)
    pictures = [name for name in names if name.lower().endswith(_PICTURES)]
    others = [name for name in names if name.lower().endswith(_PHOTOGRAPHS)]
    left = f"{len(others)} photographs such as {others[0]!r}" if others else ""
    if not pictures:
        raise ValueError(
            f"{path} holds no JPEG or PNG images, nor WebP, GIF, BMP or TIFF"
            + (f", but {left}: convert them" if left else "")
        )
    if left:
        warnings.warn(f"{path}: left out {left}; convert them to JPEG or PNG", stacklevel=3)
    pictures = pictures[: None if n_images is None else _check.positive_int("n_images", n_images)]
    images = np.concatenate([resize(_grey_square(n, read)[None], size) for n in pictures])
    labels = np.zeros(len(images), np.int64)
    return ImageSet(path.stem, "all", images, labels, "as the owner of these images says")


def _grey_square(name, read):
    import io

    from PIL import Image, UnidentifiedImageError

    try:
        content = read(name)
        with Image.open(io.BytesIO(content)) as picture:
            grey = _grey(picture)
    except Exception as error:  # Decoders raise whatever they meet.
        reason = error
        if isinstance(error, UnidentifiedImageError):
            reason = f"{len(content)} bytes of no known format"
        raise ValueError(
            f"{name!r} cannot be read as an image ({reason}); replace it or take it out"
        ) from error
    side = min(grey.shape)
    top, left = ((length - side) // 2 for length in grey.shape)
    return grey[top : top + side, left : left + side]


def _grey(picture):
    from PIL import Image, ImageOps

    of_16_bits = picture.mode.startswith("I;16") or (picture.mode, picture.format) == ("I", "PNG")
    negative = getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == 0
    picture = ImageOps.exif_transpose(picture)
    if of_16_bits:
        grey = np.rint(np.asarray(picture) / 257).astype(np.uint8)
        # Pillow turns the negatives of scanners in 8 bits only.
        return 255 - grey if negative else grey
    if picture.mode in ("I", "F"):
        raise ValueError("its pixels of 32 bits have no fixed white; save it with 8 or 16 bits")
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return np.asarray(picture.convert("L"))
