"""Disjoint parts of the real image sets."""

import csv
import os

import numpy as np

from lindiff import _download
from lindiff.data import load_images, resize

_FACES = "lfw-faces/lfw_faces_32.npz"
_FACES_SHA256 = "0a48c6f7a1c6a08d1822ef44e723f8cea705a35e1b997ea0c64f0c2aad63c2e1"
_DUPLICATES = "lfw-faces/near_duplicates.csv"
_PACKAGED = 4000
_TEST_FACES = 1200
_MOST_TEST_FACES = 10


def _order(n, seed):
    """Return a permutation that is the same for every version of NumPy."""
    raw = np.random.Philox(np.random.SeedSequence([seed, n])).random_raw(n)
    return np.argsort(raw, kind="stable")


def grey_parts(name, size, seed, source):
    """Return S1, S2 and the test images of MNIST or Fashion-MNIST, uint8."""
    packaged = load_images(name).images
    packaged = packaged[_order(len(packaged), seed)]
    if source == "packaged":
        parts = np.split(packaged, [_PACKAGED, 2 * _PACKAGED])
    else:
        train = _training_images(name)
        parts = [*np.split(train[_order(len(train), seed)], 2), packaged]
    return [_framed(part, size) for part in parts]


def _training_images(name):
    try:
        return load_images(name, split="train").images
    except OSError as error:
        message = f"{error}\nOr pass source='packaged' for the 10,000 images of the package."
        raise OSError(message) from error


def _framed(images, size):
    if size == images.shape[1]:
        return images
    return resize(np.pad(images, ((0, 0), (2, 2), (2, 2))), size)


def face_parts(size, seed):
    """Return S1, S2 and the test images of the faces, uint8; no person is in two parts.

    The test images are of people with few images, so that none of them dominates.
    """
    images, person = _faces()
    parts = _deal(person, seed)
    return [resize(images[rows[_order(len(rows), seed)]], size) for rows in parts]


def _faces():
    path = _download.local_file(_FACES, _FACES_SHA256)
    if path is None:
        where = os.environ.get(_download.FOLDERS) or "is not set"
        raise FileNotFoundError(
            f"there is no {_FACES}: set {_download.FOLDERS} to a folder that has it "
            f"({_download.FOLDERS} {where}); these faces may not be redistributed"
        )
    table = path.parent / _DUPLICATES.split("/")[1]
    if not table.is_file():
        raise FileNotFoundError(f"{table} is missing; it lists the near duplicates to drop")
    with open(table, encoding="utf-8", newline="") as stream:
        dropped = [int(row["j"]) for row in csv.DictReader(stream)]
    with np.load(path, allow_pickle=False) as archive:
        images, person = archive["images"], archive["person"]
    return np.delete(images, dropped, axis=0), np.delete(person, dropped)


def _deal(person, seed):
    """Return the rows of S1, S2 and test, dealing whole people in random order."""
    people, inverse, counts = np.unique(person, return_inverse=True, return_counts=True)
    part = np.empty(len(people), int)
    held = [0, 0, 0]
    for i in _order(len(people), seed):
        for_test = held[2] < _TEST_FACES and counts[i] <= _MOST_TEST_FACES
        part[i] = 2 if for_test else int(held[1] < held[0])
        held[part[i]] += counts[i]
    return [np.flatnonzero(part[inverse] == k) for k in range(3)]
