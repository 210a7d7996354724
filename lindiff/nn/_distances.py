"""Distances of denoisers from the clean images and from one another."""

from dataclasses import dataclass

from lindiff.nn import _evaluation as ev


def mse(denoiser, clean, sigma, seed=0):
    r"""Return the mean square error of a denoiser per pixel.

    .. math:: \mathrm{MSE}=\frac1d\,\mathbb E\lVert D(x+\sigma z,\sigma)-x\rVert^2

    Parameters
    ----------
    denoiser : object with ``denoise(x, sigma)``
    clean : torch.Tensor or numpy.ndarray, shape (n, d), n >= 2
    sigma : float
        Noise level > 0.
    seed : int
        Of the noise, drawn in float32 on the CPU: the same for every denoiser and device.

    Returns
    -------
    Estimate
        Value and standard error over images.

    Raises
    ------
    ValueError
        If `clean` has NaN, a wrong shape, grey levels or fewer than two images, or
        `sigma` <= 0.

    Notes
    -----
    Li, Dai and Qu 2024, L-3. Comparing two denoisers, use `mse_difference`: the error
    varies much more over images than the difference does.
    """
    data = ev.noised(clean, sigma, seed)
    return ev.estimate(errors(output(denoiser, data), data))


def mse_difference(d1, d2, clean, sigma, seed=0):
    r"""Return the difference of two mean square errors on the same noisy images.

    .. math:: \mathrm{MSE}(D_1)-\mathrm{MSE}(D_2)

    Parameters
    ----------
    d1, d2 : objects with ``denoise(x, sigma)``
    clean, sigma, seed
        As in `mse`.

    Returns
    -------
    Estimate
        Difference per pixel and its paired bootstrap standard error.

    Raises
    ------
    ValueError
        As in `mse`.

    Notes
    -----
    Li, Dai and Qu 2024, L-18.
    """
    data = ev.noised(clean, sigma, seed)
    first, second = (errors(output(d, data, name), data) for d, name in ((d1, "d1"), (d2, "d2")))
    return ev.estimate(first - second)


def rmse_between(d1, d2, clean, sigma, seed=0):
    r"""Return the mean root distance of two denoisers per pixel.

    .. math:: \mathbb E\,\sqrt{\lVert D_1(x_\sigma)-D_2(x_\sigma)\rVert^2/d}

    Parameters
    ----------
    d1, d2 : objects with ``denoise(x, sigma)``
    clean, sigma, seed
        As in `mse`.

    Returns
    -------
    Estimate
        The mean of the roots of the single images, and its standard error.

    Raises
    ------
    ValueError
        As in `mse`.

    Notes
    -----
    The scores differ by this over :math:`\sigma^2`. Li, Dai and Qu 2024, L-24.
    """
    data = ev.noised(clean, sigma, seed)
    return ev.estimate(roots(output(d1, data, "d1"), output(d2, data, "d2")))


@dataclass(frozen=True)
class Pythagoras:
    """Result of `pythagoras`.

    Attributes
    ----------
    rho, rho_se : float
        The ratio and its bootstrap standard error.
    distance, distance_se : float
        Its numerator, mean square distance of the two denoisers per pixel.
    gain, gain_se : float
        Its denominator, by how much the closed form's error is larger, per pixel.
    """

    rho: float
    rho_se: float
    distance: float
    distance_se: float
    gain: float
    gain_se: float


def pythagoras(denoiser, closed, clean, sigma, seed=0):
    r"""Compare the distance of two denoisers with the difference of their errors.

    .. math:: \rho=\frac{\mathbb E\lVert D-A\rVert^2}{\mathrm{MSE}(A)-\mathrm{MSE}(D)}

    Parameters
    ----------
    denoiser : object with ``denoise(x, sigma)``
        The denoiser D that may be optimal.
    closed : object with ``denoise(x, sigma)``
        Any other denoiser A, such as the Gaussian one.
    clean, sigma, seed
        As in `mse`; held-out images.

    Returns
    -------
    Pythagoras

    Raises
    ------
    ValueError
        As in `mse`.

    Notes
    -----
    If D is optimal, :math:`\rho=1` for every A. A ratio far above 1, or negative, means
    that D is under-trained or has memorised; it is NaN where D is A itself. The standard
    error says nothing where `gain` is within a few of its own standard errors of zero. Li,
    Dai and Qu 2024, L-18.
    """
    data = ev.noised(clean, sigma, seed)
    return audit(output(denoiser, data), output(closed, data, "closed"), data, seed)


def output(denoiser, data, name="denoiser"):
    """Return the denoised points of `Noised` data in float64."""
    return ev.apply(denoiser, data.noisy, data.sigma, name)


def errors(out, data):
    """Return the squared error per pixel of each image."""
    return ev.squared(out - data.clean) / out.shape[1]


def roots(first, second):
    """Return the root mean square distance per pixel of each image."""
    return (ev.squared(first - second) / first.shape[1]).sqrt()


def audit(out, other, data, seed):
    """Return `Pythagoras` of the outputs of two denoisers."""
    distance = ev.squared(out - other) / out.shape[1]
    gain = errors(other, data) - errors(out, data)
    rho = ev.ratio(distance, gain, seed)
    return Pythagoras(*rho, *ev.estimate(distance), *ev.estimate(gain))
