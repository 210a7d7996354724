"""The affine map that is closest to a denoiser."""

from dataclasses import dataclass

import torch

from lindiff.nn import _evaluation as ev
from lindiff.nn.closed_forms import LinearDenoiser

_ROWS = 4096


@dataclass(frozen=True)
class Distillation:
    r"""Result of `distil_linear`.

    Attributes
    ----------
    linear : LinearDenoiser
        The fitted map :math:`D_L(x)=Wx+b`, for this noise level only.
    weight_nmse : float
        :math:`\lVert W-W_G\rVert_F^2/\lVert W_G\rVert_F^2`, noise included.
    weight_distance : float
        Its root, the relative Frobenius distance.
    split_half : float
        Squared distance of the weights of the two halves, over
        :math:`\lVert W_G\rVert_F^2`.
    noise_nmse : float
        A quarter of it: the part of `weight_nmse` that is estimation noise. No image is in
        both halves.
    predicted_noise_nmse : float
        The same from the theory of least squares, for noisy images that are independent: too
        small with `n` above the number of images.
    residual : float
        Root mean square of :math:`D-D_L` per pixel.
    overlap : dict of int to float
        Overlap of the k leading left singular vectors of W with the k leading eigenvectors
        of the reference, in [0, 1].
    chance : dict of int to float
        Overlap k / d of random subspaces.
    n : int
        Noisy images used.
    """

    linear: LinearDenoiser
    weight_nmse: float
    weight_distance: float
    split_half: float
    noise_nmse: float
    predicted_noise_nmse: float
    residual: float
    overlap: dict
    chance: dict
    n: int


def distil_linear(denoiser, clean, sigma, *, reference, n=None, ranks=(5, 20, 100), seed=0):
    r"""Fit the affine map that is closest to a denoiser in the mean square.

    .. math:: \min_{W,b}\ \mathbb E\lVert W(x+\sigma z)+b-D(x+\sigma z,\sigma)\rVert^2

    Parameters
    ----------
    denoiser : object with ``denoise(x, sigma)``
    clean : torch.Tensor or numpy.ndarray, shape (m, d), m >= 2
        Images to distil on. Held-out ones: on its own training set even a denoiser that
        only knows that set distils to the Gaussian denoiser.
    sigma : float
        Noise level > 0.
    reference : GaussianDenoiser or lindiff.denoisers.AffineDenoiser
        The Gaussian denoiser to compare with; `mean`, `eigenvalues`, `eigenvectors`.
    n : int, optional
        Noisy images, at least 2 (d + 2); m by default. The first min(n, m) images are split
        into two halves; n / 2 noisy images come from each, again and again with new noise.
    ranks : sequence of int
        Subspace dimensions of the overlap; those above d, or above the number of
        eigenvectors of the reference, are left out.
    seed : int
        Of the noise, drawn in float32 on the CPU.

    Returns
    -------
    Distillation

    Raises
    ------
    ValueError
        If `n` is too small, shapes disagree, `clean` has NaN or grey levels, the
        reference has no variance, or `sigma` <= 0.

    Notes
    -----
    The difference :math:`D-D_G` is fitted and :math:`W_G` added back: the estimator is the
    one of plain least squares, the rounding smaller. The noise of the estimate is
    :math:`\mathbb E\lVert\delta W\rVert_F^2=d\,r^2\,\mathrm{tr}\,G^{-1}\approx
    d\,r^2\sum_i(\lambda_i+\sigma^2)^{-1}/n`, with the Gram matrix G of the centred noisy
    images and the residual r per pixel. Li, Dai and Qu 2024, L-17, L-26, L-27, L-40, L-42.
    """
    clean, sigma = ev.clean_points("clean", clean, minimum=2), ev.noise_level(sigma)
    d = clean.shape[1]
    n = ev.count("n", len(clean) if n is None else n, 2 * (d + 2))
    mean, values, basis = ev.gaussian("reference", reference)
    basis = ev.directions("reference.eigenvectors", basis, clean)
    values = ev.double(values, clean)
    if not bool((values > 0).any()):
        raise ValueError("`reference` has no variance; pass the Gaussian of different images")
    order = torch.argsort(values, descending=True)
    basis, values = basis[:, order], values[order]
    centre = ev.double(mean, clean)
    gaussian = (basis * (values / (values + sigma**2))) @ basis.T
    source, halves = ev.generator(seed), []
    clean = clean[:n]
    middle = len(clean) // 2
    for images, number in ((clean[:middle], n // 2), (clean[middle:], n - n // 2)):
        halves.append(_Moments.collect(denoiser, images, sigma, (centre, gaussian), number, source))
    both = halves[0] + halves[1]
    first, second = (half.solve()[0] for half in halves)
    correction, offset, residual, trace = both.solve()
    weight, size = gaussian + correction, gaussian.square().sum()
    nmse = float(correction.square().sum() / size)
    split = float((first - second).square().sum() / size)
    kept = [k for k in map(int, ranks) if 1 <= k <= basis.shape[1]]
    left = torch.linalg.svd(weight)[0]
    overlap = {k: float((left[:, :k].T @ basis[:, :k]).square().sum() / k) for k in kept}
    bias = centre + offset - weight @ centre
    return Distillation(
        LinearDenoiser(weight.to(clean.dtype), bias.to(clean.dtype)),
        nmse,
        nmse**0.5,
        split,
        split / 4,
        float(d * residual**2 * trace / size),
        float(residual),
        overlap,
        {k: k / d for k in kept},
        n,
    )


@dataclass
class _Moments:
    """Sums over noisy images z, mean of the reference subtracted, and residuals y = D - D_G."""

    n: int
    z: torch.Tensor
    y: torch.Tensor
    zz: torch.Tensor
    zy: torch.Tensor
    yy: torch.Tensor

    @classmethod
    def collect(cls, denoiser, clean, sigma, reference, n, source):
        d, (centre, gaussian) = clean.shape[1], reference
        sums = [torch.zeros(s, dtype=torch.float64, device=clean.device) for s in _shapes(d)]
        for start in range(0, n, _ROWS):
            index = torch.arange(start, min(start + _ROWS, n), device=clean.device)
            noisy = clean[index % len(clean)]
            noisy = noisy + sigma * ev.normal(noisy.shape, source, noisy)
            z = noisy - centre
            y = ev.apply(denoiser, noisy, sigma) - centre - z @ gaussian.T
            for total, part in zip(
                sums, (z.sum(0), y.sum(0), z.T @ z, z.T @ y, y.square().sum()), strict=True
            ):
                total += part
        return cls(n, *sums)

    def __add__(self, other):
        mine, theirs = vars(self).values(), vars(other).values()
        return _Moments(*(a + b for a, b in zip(mine, theirs, strict=True)))

    def solve(self):
        """Return weight, offset, residual per pixel, and the trace of the inverse Gram."""
        n, d = self.n, len(self.z)
        cross = self.zy - torch.outer(self.z, self.y) / n
        factor = torch.linalg.cholesky(self.zz - torch.outer(self.z, self.z) / n)
        weight = torch.cholesky_solve(cross, factor).T
        offset = (self.y - weight @ self.z) / n
        left = self.yy - self.y @ self.y / n - (weight.T * cross).sum()
        residual = (left.clamp_min(0) / (n - d - 1) / d).sqrt()
        return weight, offset, residual, torch.cholesky_inverse(factor).trace()


def _shapes(d):
    return (d,), (d,), (d, d), (d, d), ()
