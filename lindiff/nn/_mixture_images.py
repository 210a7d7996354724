"""Mixtures of Gaussians that look like blurred pictures."""

import numpy as np

from lindiff import _check
from lindiff.denoisers import GaussianMixtureDenoiser

_BLOCK = 1024
_FREQUENCIES = 4
_MEAN_STD = 0.25
_LEADING_STD = 0.17
_PIXEL_STD = 0.03


def mixture_images(size, *, n_components=8, rank=6, seed):
    r"""Build a mixture of Gaussians whose means and factors are smooth pictures.

    .. math:: x=\mu_k+\sum_{j=1}^{r}2^{-(j-1)/2}\,s\,f_{kj}z_j+\epsilon,\qquad
              z_j\sim\mathcal N(0,1),\quad\epsilon\sim\mathcal N(0,\delta^2\mathbb 1)

    with equal weights. The pictures :math:`\mu_k` and :math:`f_{kj}` are random sums of the
    lowest 4 x 4 cosine waves, the amplitude falling as one over one plus the squared
    frequency. The root mean square of a pixel is 0.25 in the means and one in the factors;
    :math:`s=0.17` and :math:`\delta=0.03`.

    Parameters
    ----------
    size : int
        Height and width, at least 4; the same pictures are drawn at every size.
    n_components, rank : int
        Number of Gaussians, and of factors of each, at most 16.
    seed : int

    Returns
    -------
    lindiff.denoisers.GaussianMixtureDenoiser
        On flat images, shape (..., size * size). Its `denoise` is the optimal denoiser;
        `draw_mixture` draws images.

    Raises
    ------
    TypeError, ValueError
        If an argument is not an integer or is out of range.

    Notes
    -----
    A mixture with known optimal denoiser: ledger id L-15.

    Examples
    --------
    >>> mixture_images(8, n_components=3, seed=0).means.shape
    (3, 64)
    """
    size, rank = _check.positive_int("size", size), _check.positive_int("rank", rank)
    n_components = _check.positive_int("n_components", n_components)
    waves = _FREQUENCIES**2
    if size < _FREQUENCIES:
        raise ValueError(f"`size` must be at least {_FREQUENCIES}, got {size}")
    if rank > waves:
        raise ValueError(f"`rank` must be at most {waves}, the number of waves; got {rank}")
    rng = np.random.default_rng([_check.natural("seed", seed), 0])
    means = _MEAN_STD * _pictures(rng, n_components, size)
    factors = _pictures(rng, n_components * rank, size).reshape(n_components, rank, -1)
    factors *= _LEADING_STD * 2.0 ** (-0.5 * np.arange(rank))[:, None]
    covs = np.einsum("krd,kre->kde", factors, factors, optimize=True)
    covs += _PIXEL_STD**2 * np.eye(size * size)
    return GaussianMixtureDenoiser(means, covs, np.full(n_components, 1 / n_components))


def _pictures(rng, n, size):
    """Return random smooth pictures of unit mean square, shape (n, size * size)."""
    place = (np.arange(size) + 0.5) / size
    frequency = np.arange(_FREQUENCIES)
    waves = np.cos(np.pi * frequency[:, None] * place)
    fall = 1 / (1 + frequency[:, None] ** 2 + frequency**2)
    amplitude = rng.standard_normal((n, _FREQUENCIES, _FREQUENCIES)) * fall
    # The mean square of the whole scene, not of its pixels, so that sizes agree.
    share = np.where(frequency == 0, 1.0, 0.5)
    power = np.einsum("nij,i,j->n", amplitude**2, share, share)
    pictures = np.einsum("nij,ix,jy->nxy", amplitude, waves, waves, optimize=True)
    return (pictures / np.sqrt(power)[:, None, None]).reshape(n, -1)


def draw_mixture(model, n, *, seed, start=0):
    """Draw points of a mixture so that each depends on the seed and its index only.

    Parameters
    ----------
    model : lindiff.denoisers.GaussianMixtureDenoiser
    n : int
    seed : int
    start : int
        Index of the first point.

    Returns
    -------
    numpy.ndarray of float64, shape (n, d)

    Raises
    ------
    TypeError, ValueError
        If an argument is not an integer or is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> model = mixture_images(8, seed=0)
    >>> drawn = draw_mixture(model, 20, seed=1)
    >>> bool(np.array_equal(drawn[5:], draw_mixture(model, 15, seed=1, start=5)))
    True
    """
    n = _check.positive_int("n", n)
    start = _check.natural("start", start)
    seed = _check.natural("seed", seed)
    first, last = start // _BLOCK, (start + n - 1) // _BLOCK
    drawn = [_draw_block(model, seed, block) for block in range(first, last + 1)]
    skip = start - first * _BLOCK
    return np.concatenate(drawn)[skip : skip + n]


def _draw_block(model, seed, block):
    rng = np.random.default_rng([seed, block, 1])
    which = rng.choice(len(model.weights), size=_BLOCK, p=model.weights)
    normal = rng.standard_normal((_BLOCK, model.dimension))
    points = model.means[which]
    for k in range(len(model.weights)):
        mine = which == k
        values, vectors = model._values[k], model._vectors[k]
        # The symmetric root: unlike the eigenvectors, it is the same on every machine.
        points[mine] += normal[mine] @ (vectors * np.sqrt(values)) @ vectors.T
    return points
