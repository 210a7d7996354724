"""The denoiser that knows only its training points, and the search for the nearest one."""

import itertools
from dataclasses import dataclass

import numpy as np

from lindiff import _check

_QUERIES = 1024
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class EmpiricalDenoiser:
    r"""The best of all denoisers on a training set: it knows the points by heart.

    .. math:: D(x,\sigma)=\sum_iw_i(x)\,x_i,\qquad
              w_i(x)\propto\exp\!\Big(-\frac{\lVert x-x_i\rVert^2}{2\sigma^2}\Big)

    Implements eq. (1.19).

    Parameters
    ----------
    data : array_like, shape (N, d)
        Training points. A ``numpy.memmap`` is not copied but read block by block, of any
        real type, and may be larger than the memory.

    Raises
    ------
    ValueError
        If `data` is empty, not a matrix, or has a NaN.

    Notes
    -----
    Points are visited in blocks with a running maximum of the exponents, so nothing
    overflows and memory stays bounded; the cost is :math:`O(Nd)` for each point. At
    ``sigma = 0`` the answer is the nearest training point, or the mean of those at the
    same distance. `stream_denoise` takes the points from an iterator.
    Range: points up to 1e150, any noise level.

    Examples
    --------
    >>> EmpiricalDenoiser([[-1.0], [1.0]]).denoise([[0.1]], 0.01)
    array([[1.]])
    """

    data: np.ndarray

    def __post_init__(self):
        data = self.data
        if isinstance(data, np.memmap):
            object.__setattr__(self, "_centre", _mean_of_blocks(data))
            return
        data = training_set(data).copy()
        data.setflags(write=False)
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "_centre", data.mean(axis=0))

    @property
    def dimension(self):
        """Number of coordinates d."""
        return self.data.shape[1]

    def denoise(self, x, sigma):
        r"""Return the mean of the training points, weighted by how well they explain `x`.

        .. math:: D(x,\sigma)=\sum_iw_i(x)\,x_i

        Implements eq. (1.19).

        Parameters
        ----------
        x : array_like, shape (..., d)
            Points :math:`y+\sigma z`.
        sigma : float or array_like
            Noise level :math:`\ge0`, broadcast against the shape of `x` without its last
            axis.

        Returns
        -------
        numpy.ndarray, shape (..., d)
        """
        x, sigma = points_and_levels(x, sigma, self.dimension)
        flat, levels = (x - self._centre).reshape(-1, self.dimension), sigma.reshape(-1)
        out = np.empty_like(flat)
        for start in range(0, len(flat), _QUERIES):
            part = slice(start, start + _QUERIES)
            blocks = (block - self._centre for block in _blocks(self.data))
            out[part] = _weighted_mean(blocks, flat[part], levels[part])
        return (self._centre + out).reshape(x.shape)


def stream_denoise(blocks, x, sigma):
    r"""Denoise with all training points of a stream, which is read once.

    .. math:: D(x,\sigma)=\sum_iw_i(x)\,x_i,\qquad
              w_i(x)\propto\exp\!\Big(-\frac{\lVert x-x_i\rVert^2}{2\sigma^2}\Big)

    Parameters
    ----------
    blocks : iterable of array_like, shape (n, d)
        Training points in pieces of any size, such as the batches of a data loader.
    x : array_like, shape (..., d)
        Points :math:`y+\sigma z`.
    sigma : float or array_like
        Noise level :math:`\ge0`, broadcast against the shape of `x` without its last axis.

    Returns
    -------
    numpy.ndarray, shape (..., d)
        What `EmpiricalDenoiser` returns for the same points.

    Raises
    ------
    ValueError
        If the stream is empty, or a block is bad or does not fit `x`.

    Notes
    -----
    Memory: all of `x`, one block, and one weight for each pair of the two. Li, Dai and Qu
    2024, L-8.
    Range: as `EmpiricalDenoiser`.

    Examples
    --------
    >>> stream_denoise(([[float(i)]] for i in range(3)), [[0.9]], 0.01)
    array([[1.]])
    """
    blocks = (training_set(block, "blocks") for block in blocks)
    first = next(blocks, None)
    if first is None:
        raise ValueError("`blocks` is empty; pass at least one block of training points")
    x, sigma = points_and_levels(x, sigma, first.shape[1])
    centre = first.mean(axis=0)

    def centred():
        for block in itertools.chain([first], blocks):
            if block.shape[1] != centre.size:
                raise ValueError(
                    f"`blocks` must all have {centre.size} columns, got {block.shape[1]}"
                )
            yield block - centre

    flat = (x - centre).reshape(-1, centre.size)
    return (centre + _weighted_mean(centred(), flat, sigma.reshape(-1))).reshape(x.shape)


def _weighted_mean(blocks, x, sigma):
    total, mass = np.zeros_like(x), np.zeros(len(x))
    highest = np.full(len(x), -np.inf)
    for block in blocks:
        # |x|^2 is the same for all training points and drops out.
        score = x @ block.T - 0.5 * np.einsum("ij,ij->i", block, block)
        new = np.maximum(highest, score.max(axis=1))
        keep = np.exp(_scaled(highest - new, sigma))
        weight = np.exp(_scaled(score - new[:, None], sigma[:, None]))
        total = keep[:, None] * total + weight @ block
        mass = keep * mass + weight.sum(axis=1)
        highest = new
    return total / mass[:, None]


def _blocks(data):
    for start in range(0, len(data), _BLOCK):
        yield np.asarray(data[start : start + _BLOCK], dtype=np.float64)


def _mean_of_blocks(data):
    """Check stored points block by block and return their mean."""
    if data.ndim != 2 or 0 in data.shape:
        raise ValueError(f"`data` must have shape (N, d) with N, d >= 1, got {data.shape}")
    total = np.zeros(data.shape[1])
    for start in range(0, len(data), _BLOCK):
        total += _check.as_points("data", data[start : start + _BLOCK], ndim=2).sum(axis=0)
    return total / len(data)


def _scaled(gap, sigma):
    """Return gap / sigma^2 for gap <= 0, with 0 for gap = 0 even at sigma = 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        return np.where(gap == 0, 0.0, gap / sigma / sigma)


def nearest_neighbours(x, data):
    r"""Find the nearest training point of each query.

    .. math:: i(x)=\arg\min_i\lVert x-x_i\rVert

    Parameters
    ----------
    x : array_like, shape (..., d)
    data : array_like, shape (N, d)
        A ``numpy.memmap`` is read block by block.

    Returns
    -------
    index : numpy.ndarray of int, shape (...)
        The first one if several are equally near up to rounding.
    distance : numpy.ndarray, shape (...)
        Computed from the difference of the two points, without cancellation.

    Raises
    ------
    ValueError
        If the dimensions differ or `data` is empty.

    Notes
    -----
    Range: points up to 1e150.

    Examples
    --------
    >>> index, distance = nearest_neighbours([[0.9]], [[-1.0], [1.0]])
    >>> int(index[0]), round(float(distance[0]), 3)
    (1, 0.1)
    """
    if not isinstance(data, np.memmap):
        data = training_set(data)
    centre = _mean_of_blocks(data)
    x, _ = points_and_levels(x, 0.0, centre.size)
    flat = x.reshape(-1, data.shape[1])
    index = np.zeros(len(flat), dtype=np.intp)
    for part in (slice(i, i + _QUERIES) for i in range(0, len(flat), _QUERIES)):
        best = np.full(len(flat[part]), -np.inf)
        for start, block in zip(itertools.count(0, _BLOCK), _blocks(data), strict=False):
            block = block - centre
            score = (flat[part] - centre) @ block.T - 0.5 * np.einsum("ij,ij->i", block, block)
            top = score.argmax(axis=1)
            value = score[np.arange(len(top)), top]
            index[part] = np.where(value > best, start + top, index[part])
            best = np.maximum(best, value)
    distance = np.linalg.norm(flat - data[index], axis=1)
    return index.reshape(x.shape[:-1]), distance.reshape(x.shape[:-1])


def points_and_levels(x, sigma, dimension, *, name="sigma"):
    """Check points (..., d) and noise levels; return the levels with one per point."""
    x = _check.as_points("x", x)
    if x.ndim == 0 or x.shape[-1] != dimension:
        raise ValueError(f"`x` must have shape (..., {dimension}), got {x.shape}")
    sigma = np.asarray(_check.non_negative(name, sigma))
    try:
        shape = np.broadcast_shapes(x.shape[:-1], sigma.shape)
    except ValueError as error:
        raise ValueError(
            f"`{name}` of shape {sigma.shape} does not fit points of shape {x.shape}; "
            "pass one number or one for each point"
        ) from error
    x = np.broadcast_to(x, (*shape, dimension))
    return x, np.broadcast_to(sigma, shape)


def training_set(data, name="data"):
    """Return checked points of shape (N, d)."""
    data = _check.as_points(name, data, ndim=2)
    if 0 in data.shape:
        raise ValueError(f"`{name}` is empty, shape {data.shape}; pass (N, d) with N, d >= 1")
    return data
