r"""Images for training: drawn ones with a known law, real ones, and their splits.

Pixels are grey and live in :math:`[-1,1]`. `image_split` gives two disjoint training sets
S1 and S2 and a test set of any named kind of image, so that two networks can be trained
on different samples of one law (Kadkhodaie et al. 2024; Li, Dai and Qu 2024).
"""

from dataclasses import dataclass

import numpy as np
import torch

from lindiff import _check
from lindiff.denoisers import GaussianMixtureDenoiser
from lindiff.nn._device_images import DeviceImages
from lindiff.nn._mixture_images import draw_mixture, mixture_images
from lindiff.nn._real_images import face_parts, grey_parts
from lindiff.nn._toy_faces import toy_faces

__all__ = [
    "DeviceImages",
    "Split",
    "draw_mixture",
    "image_split",
    "mixture_images",
    "shuffled_pixels",
    "split_from",
    "toy_faces",
]

# The drawn sets take S1, S2 and the test images from three far ranges of indices.
_RANGE = 1 << 20


@dataclass(frozen=True)
class Split:
    """Training and test images that share no image.

    Parameters
    ----------
    train, test : DeviceImages
    name : str
    fingerprint : str
        That of `train`: it identifies what a network was trained on.
    model : lindiff.denoisers.GaussianMixtureDenoiser, optional
        The law of the images where it is known, on flat images.
    """

    train: DeviceImages
    test: DeviceImages
    name: str
    fingerprint: str
    model: GaussianMixtureDenoiser | None = None


def split_from(train, test, name="own"):
    """Return images of one's own as a split, for `lindiff.nn.trainer.train`.

    Parameters
    ----------
    train, test : array_like or torch.Tensor, shapes (n, size, size)
        Grey images, uint8 or floats in [-1, 1]. Keep them apart: no test image among the
        training images.
    name : str
        Goes with ``data`` of the training's configuration.

    Returns
    -------
    Split

    Raises
    ------
    TypeError, ValueError
        As `DeviceImages`; also if the sizes differ.

    Examples
    --------
    >>> import numpy as np
    >>> pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    >>> split = split_from(pixels[:32], pixels[32:])
    >>> split.train.n, split.test.n, split.train.size
    (32, 8, 8)
    """
    train, test = (_own(label, pixels) for label, pixels in (("train", train), ("test", test)))
    if train.size != test.size:
        raise ValueError(f"`test` has images of side {test.size}, `train` of side {train.size}")
    return Split(train, test, name, train.fingerprint)


def _own(label, pixels):
    try:
        return pixels if isinstance(pixels, DeviceImages) else DeviceImages(pixels)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("`pixels`", f"`{label}`")) from error


def image_split(name, n_images, *, subset=1, size=32, seed=0, n_test=2000, source="train"):
    """Return the first images of one of two disjoint training sets, and test images.

    Parameters
    ----------
    name : {"toyfaces", "gmm", "mnist", "fashion-mnist", "faces"}
        "toyfaces" and "gmm" are drawn, see `toy_faces` and `mixture_images`. "faces" are
        the grey Labeled Faces in the Wild of a folder in ``LINDIFF_DATA``, split by person,
        without near duplicates.
    n_images : int
        Number N of training images: the first N of the set, so the sets are nested.
    subset : {1, 2}
        Which training set, S1 or S2; they are disjoint.
    size : int
        Height and width. The digits and clothes are framed with background to 32 x 32
        before other sizes are averaged; at 28 they are as stored.
    seed : int
        Of the drawn images, or of the permutation that deals the real ones out.
    n_test : int
        Number of test images; if a real set has fewer, all of them are taken.
    source : {"train", "packaged"}
        For "mnist" and "fashion-mnist": "packaged" deals the 10,000 images that come with
        the package into S1, S2 (4,000 each) and 2,000 test images.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        Unknown name, subset or source, or more images asked for than there are.
    OSError
        If the files of a real set are nowhere to be had; the message names the remedy.

    Examples
    --------
    >>> split = image_split("toyfaces", 20, size=8, n_test=5)
    >>> split.train.n, split.test.dimension
    (20, 64)
    """
    n_images = _check.positive_int("n_images", n_images)
    n_test = _check.positive_int("n_test", n_test)
    size = _check.positive_int("size", size)
    seed = _check.natural("seed", seed)
    if name not in _MAKERS:
        raise ValueError(f"name must be one of {', '.join(_MAKERS)}, got {name!r}")
    if subset not in (1, 2):
        raise ValueError(f"subset must be 1 or 2, got {subset!r}")
    if source not in ("train", "packaged"):
        raise ValueError(f"source must be 'train' or 'packaged', got {source!r}")
    if source == "packaged" and name not in ("mnist", "fashion-mnist"):
        raise ValueError(f"source='packaged' is for mnist and fashion-mnist, not {name}")
    train, test, model = _MAKERS[name](name, n_images, subset, size, seed, n_test, source)
    train, test = DeviceImages(train), DeviceImages(test)
    name = f"{name}-packaged" if source == "packaged" else name
    return Split(train, test, name, train.fingerprint, model)


def _toy_parts(name, n_images, subset, size, seed, n_test, source):
    _enough(name, n_images, _RANGE)
    train = toy_faces(n_images, size, seed=seed, start=(subset - 1) * _RANGE)
    return train, toy_faces(n_test, size, seed=seed, start=2 * _RANGE), None


def _mixture_parts(name, n_images, subset, size, seed, n_test, source):
    _enough(name, n_images, _RANGE)
    model = mixture_images(size, seed=seed)
    train, test = (
        draw_mixture(model, n, seed=seed, start=part * _RANGE)
        .reshape(n, size, size)
        .astype(np.float32)
        for n, part in ((n_images, subset - 1), (n_test, 2))
    )
    return train, test, model


def _grey_parts(name, n_images, subset, size, seed, n_test, source):
    *parts, test = grey_parts(name, size, seed, source)
    return _first(name, parts[subset - 1], n_images), test[:n_test], None


def _face_parts(name, n_images, subset, size, seed, n_test, source):
    *parts, test = face_parts(size, seed)
    return _first(name, parts[subset - 1], n_images), test[:n_test], None


_MAKERS = {
    "toyfaces": _toy_parts,
    "gmm": _mixture_parts,
    "mnist": _grey_parts,
    "fashion-mnist": _grey_parts,
    "faces": _face_parts,
}


def _first(name, images, n_images):
    _enough(name, n_images, len(images))
    return images[:n_images]


def _enough(name, n_images, available):
    if n_images > available:
        raise ValueError(
            f"n_images is {n_images}, but each training set of {name} has {available} images"
        )


def shuffled_pixels(images, seed):
    """Move the pixels of every image by one and the same random permutation.

    The law of the images keeps its covariance spectrum and loses its geometry: networks
    that use the neighbourhood of a pixel suffer, closed forms do not.

    Parameters
    ----------
    images : DeviceImages, torch.Tensor or numpy.ndarray, shape (n, height, width)
    seed : int
        The same seed gives the same permutation, so shuffle training and test alike.

    Returns
    -------
    Of the type of `images`, with the same shape.

    Notes
    -----
    The control of Kadkhodaie et al. 2024; ledger id K-6.

    Examples
    --------
    >>> import numpy as np
    >>> pixels = np.arange(9).reshape(1, 3, 3)
    >>> bool((np.sort(shuffled_pixels(pixels, 0).ravel()) == np.arange(9)).all())
    True
    """
    if isinstance(images, DeviceImages):
        return DeviceImages(shuffled_pixels(images.pixels, seed))
    if not isinstance(images, (torch.Tensor, np.ndarray)) or images.ndim != 3:
        kind = getattr(images, "shape", type(images).__name__)
        raise ValueError(f"`images` must be an array of shape (n, height, width), got {kind}")
    order = np.random.default_rng(_check.natural("seed", seed)).permutation(
        images.shape[1] * images.shape[2]
    )
    if isinstance(images, torch.Tensor):
        order = torch.from_numpy(order).to(images.device)
    return images.reshape(len(images), -1)[:, order].reshape(images.shape)
