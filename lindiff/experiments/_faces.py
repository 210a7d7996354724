"""Images as float64 vectors for the closed forms."""

from functools import lru_cache

import numpy as np


def vectors(name, n_images, subset, size, seed):
    """Return training images of S1 or S2 as rows in [-1, 1]."""
    return _flat(_split(name, n_images, subset, size, seed, 1).train)


@lru_cache(maxsize=2)
def population(name, size, seed, n):
    """Return images that no training set holds, as rows in [-1, 1].

    With many of them the moments count as those of the population.
    """
    return _flat(_split(name, 1, 1, size, seed, n).test)


def _split(name, n_images, subset, size, seed, n_test):
    from lindiff.nn.images import image_split

    source = "packaged" if name in ("mnist", "fashion-mnist") else "train"
    return image_split(
        name, n_images, subset=subset, size=size, seed=seed, n_test=n_test, source=source
    )


def _flat(images):
    return images.flat().cpu().numpy().astype(np.float64)
