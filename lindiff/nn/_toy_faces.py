"""Procedural faces, drawn with exactly rounded arithmetic only."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from lindiff import _check

# One random stream serves a block of images, so that any slice costs little.
_BLOCK = 64
_NOISE = 0.02
_SOFT = 0.06

# Uniform ranges. Lengths are in units of half the image's side, grey levels lie in [0, 1].
_RANGES = {
    "background": (0.26, 0.78),
    "background_x": (-0.13, 0.13),
    "background_y": (-0.13, 0.13),
    "centre_x": (-0.12, 0.12),
    "centre_y": (0.0, 0.16),
    "width": (0.50, 0.66),
    "aspect": (1.14, 1.36),
    "tilt": (-0.09, 0.09),
    "skin": (0.38, 0.80),
    "hair": (0.06, 0.52),
    "hair_volume": (1.06, 1.32),
    "hair_length": (-0.35, 0.85),
    "hairline": (-0.72, -0.42),
    "parting": (-0.30, 0.30),
    "eye_height": (-0.20, -0.06),
    "eye_spacing": (0.36, 0.48),
    "eye_size": (0.13, 0.19),
    "eye_opening": (0.45, 0.80),
    "iris": (0.02, 0.25),
    "brow_gap": (0.17, 0.26),
    "brow_weight": (0.20, 0.75),
    "nose_length": (0.26, 0.38),
    "nose_shade": (0.08, 0.22),
    "mouth_height": (0.46, 0.58),
    "mouth_width": (0.24, 0.44),
    "mouth_opening": (0.05, 0.12),
    "smile": (-0.25, 0.75),
    "light_x": (-0.28, 0.28),
    "light_y": (-0.22, 0.14),
}


def toy_faces(n, size=32, *, seed, start=0):
    r"""Draw procedural grey faces.

    An elliptic head with hair, eyes, brows, a nose and a mouth stands before a background
    with a gradient, under light from one side; 29 numbers, each uniform in its range, fix
    a face. The picture is sampled twice per pixel along each axis, averaged, and gets noise
    of 2 % of the range of grey levels.

    Parameters
    ----------
    n : int
        Number of images.
    size : int
        Height and width, at least 8.
    seed : int
        At least 0.
    start : int
        Index of the first image, at least 0.

    Returns
    -------
    numpy.ndarray of uint8, shape (n, size, size)
        Image ``start + i`` depends on `seed`, its index and `size` only. The face is the
        same at every size; its noise is not.

    Raises
    ------
    TypeError, ValueError
        If an argument is not an integer or is out of range.

    Notes
    -----
    Only sums, products, quotients, roots and raw random integers are used. All of these
    are rounded in the same way on every machine, so the images are too.

    Examples
    --------
    >>> import numpy as np
    >>> faces = toy_faces(100, 16, seed=0)
    >>> bool(np.array_equal(faces[70:], toy_faces(30, 16, seed=0, start=70)))
    True
    """
    n, size = _check.positive_int("n", n), _check.positive_int("size", size)
    seed = _check.natural("seed", seed)
    start = _check.natural("start", start)
    if size < 8:
        raise ValueError(f"`size` must be at least 8 for a face to show, got {size}")
    first, last = start // _BLOCK, (start + n - 1) // _BLOCK
    images = np.empty(((last - first + 1) * _BLOCK, size, size), np.uint8)
    blocks = range(first, last + 1)
    # NumPy works outside the interpreter's lock, so threads share the work.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        found = pool.map(lambda block: _block(block, size, seed), blocks)
        for at, drawn in zip(range(0, len(images), _BLOCK), found, strict=True):
            images[at : at + _BLOCK] = drawn
    skip = start - first * _BLOCK
    return images[skip : skip + n]


def _block(block, size, seed):
    parameters = _parameters(block, seed)
    fine = _render(parameters, 2 * size)
    grey = fine[:, ::2, ::2] + fine[:, 1::2, ::2] + fine[:, ::2, 1::2] + fine[:, 1::2, 1::2]
    grey *= np.float32(255 / 4)
    grey += np.float32(255 * _NOISE) * _noise(block, size, seed)
    return np.rint(np.clip(grey, 0, 255)).astype(np.uint8)


def _raw(n, *entropy):
    return np.random.Philox(np.random.SeedSequence(entropy)).random_raw(n)


def _parameters(block, seed):
    """Return the parameters of a block, each of shape (block, 1, 1)."""
    uniform = (_raw(_BLOCK * len(_RANGES), seed, block, 0) >> np.uint64(11)) * 2.0**-53
    uniform = uniform.reshape(_BLOCK, len(_RANGES))
    return {
        name: (low + (high - low) * uniform[:, i, None, None]).astype(np.float32)
        for i, (name, (low, high)) in enumerate(_RANGES.items())
    }


def _noise(block, size, seed):
    """Return unit noise: sums of four uniform numbers, one 64-bit integer each."""
    raw = _raw(_BLOCK * size * size, seed, block, size)
    total = raw.view(np.uint16).reshape(-1, 4).sum(axis=1, dtype=np.int64)
    scale = np.sqrt(12 / (4 * (2.0**32 - 1)))
    unit = (total - 2 * (2**16 - 1)) * scale
    return unit.astype(np.float32).reshape(_BLOCK, size, size)


def _cover(distance, softness=_SOFT):
    """Return how much a shape covers: 1 inside (negative distance), 0 outside, smooth."""
    t = np.clip(distance * np.float32(-0.5 / softness) + np.float32(0.5), 0, 1)
    return t * t * (3 - 2 * t)


def _ellipse(x, y, a, b):
    """Return a signed distance to an ellipse, exact where it is a circle."""
    u, v = x / a, y / b
    return (np.sqrt(u * u + v * v) - 1) * np.minimum(a, b)


def _paint(picture, cover, grey):
    picture += cover * (grey - picture)


def _render(p, side):
    """Return the pictures (block, side, side) of a block of parameters, in float32."""
    axis = ((2 * np.arange(side) + 1) / np.float32(side) - 1).astype(np.float32)
    x, y = axis[None, None, :], axis[None, :, None]
    picture = p["background"] + p["background_x"] * x + p["background_y"] * y
    # A turn by the angle whose half has the tangent `tilt`.
    square = p["tilt"] * p["tilt"]
    cosine, sine = (1 - square) / (1 + square), 2 * p["tilt"] / (1 + square)
    across, down = x - p["centre_x"], y - p["centre_y"]
    # In these coordinates the head is the unit circle.
    u = (cosine * across + sine * down) / p["width"]
    v = (cosine * down - sine * across) / (p["width"] * p["aspect"])
    cap = _cover(_ellipse(u, v + 0.06, p["hair_volume"], p["hair_volume"]), 0.10)
    # Long hair falls beside the head down to `hair_length`.
    sides = _cover(np.abs(u) - p["hair_volume"], 0.10) * _cover(-v - 0.1, 0.2)
    behind = np.maximum(cap, sides) * _cover(v - p["hair_length"], 0.15)
    _paint(picture, behind, p["hair"])
    light = 1 + p["light_x"] * u + p["light_y"] * v
    _paint(picture, _cover(_ellipse(u, v, 1, 1), 0.10), p["skin"] * light)
    _features(picture, p, u, v)
    fringe = v - p["hairline"] - p["parting"] * u - 0.35 * u * u
    _paint(picture, cap * _cover(fringe, 0.12), p["hair"])
    return picture


def _features(picture, p, u, v):
    """Paint brows, eyes, nose and mouth; the two sides mirror each other."""
    side = np.abs(u) - p["eye_spacing"]
    from_eye = v - p["eye_height"]
    brow = _cover(_ellipse(side, from_eye + p["brow_gap"], 1.35 * p["eye_size"], 0.05), 0.08)
    _paint(picture, brow * p["brow_weight"], p["hair"])
    opening = p["eye_size"] * p["eye_opening"]
    _paint(
        picture, _cover(_ellipse(side, from_eye, p["eye_size"], opening)), 0.92 * p["skin"] + 0.14
    )
    pupil = 0.55 * p["eye_size"]
    _paint(picture, _cover(_ellipse(side, from_eye, pupil, np.minimum(pupil, opening))), p["iris"])
    _nose(picture, p, u, v)
    bow = v - p["mouth_height"] + p["smile"] * (u * u - 0.02)
    mouth = _cover(_ellipse(u, bow, p["mouth_width"], p["mouth_opening"]), 0.08)
    _paint(picture, mouth * 0.85, 0.35 * p["skin"])


def _nose(picture, p, u, v):
    tip = p["eye_height"] + p["nose_length"]
    ridge = _cover(_ellipse(u, v - tip + 0.18, 0.06, 0.24), 0.10)
    _paint(picture, ridge * p["nose_shade"], np.float32(1))
    shade = _cover(_ellipse(u, v - tip - 0.05, 0.15, 0.06), 0.08)
    _paint(picture, shade * 2 * p["nose_shade"], 0.4 * p["skin"])
