"""How far a denoiser is from a linear map."""

from dataclasses import dataclass
from math import sqrt

import torch

from lindiff.nn import _evaluation as ev

_HALF = sqrt(0.5)


@dataclass(frozen=True)
class Linearity:
    r"""Result of `linearity`: the score, the relative defect and their standard errors.

    Attributes
    ----------
    score, score_se : float
        Mean absolute cosine :math:`\in[0,1]`; 1 for a linear map.
    nmse, nmse_se : float
        Mean relative norm of the defect; 0 for a linear map.
    n_pairs : int
    centred : bool
        Whether the training mean was subtracted.
    """

    score: float
    score_se: float
    nmse: float
    nmse_se: float
    n_pairs: int
    centred: bool


def linearity(
    denoiser, clean, sigma, *, n_pairs=500, mean=None, alpha=_HALF, denominator="sum", seed=0
):
    r"""Compare a denoised sum of two noisy images with the sum of the denoised ones.

    .. math:: \mathrm{LS}=\mathbb E\,\big|\cos\angle\big(D(\alpha x_1+\beta x_2),\,
              \alpha D(x_1)+\beta D(x_2)\big)\big|,\qquad
              \mathrm{NMSE}=\mathbb E\,\frac{\lVert D(\alpha x_1+\beta x_2)-\alpha D(x_1)
              -\beta D(x_2)\rVert}{\lVert\alpha D(x_1)+\beta D(x_2)\rVert}

    with :math:`\alpha^2+\beta^2=1`, which keeps the noise at its level.

    Parameters
    ----------
    denoiser : object with ``denoise(x, sigma)``
    clean : torch.Tensor or numpy.ndarray, shape (n, d), n >= 2
        Held-out images.
    sigma : float
        Noise level > 0.
    n_pairs : int
        Pairs of different images. Up to n / 2 pairs share no image, and the standard error
        is exact; beyond that images return with new noise and it is a little too small.
    mean : array_like, shape (d,), optional
        Mean :math:`\mu` of the training images. If given, the centred map
        :math:`\tilde D(z)=D(z+\mu)-\mu` is examined at :math:`z=x-\mu`. An affine denoiser
        then has score 1 and defect 0; without it, it has not.
    alpha : float
        In (0, 1).
    denominator : {"sum", "joint"}
        Norm under the defect: of :math:`\alpha D(x_1)+\beta D(x_2)`, as in the authors'
        code, or of :math:`D(\alpha x_1+\beta x_2)`, as in their paper.
    seed : int
        Of the pairs and of the noise, drawn in float32 on the CPU.

    Returns
    -------
    Linearity

    Raises
    ------
    ValueError
        If there are fewer than two images, no pairs, a level that is not positive, or grey
        levels.

    Notes
    -----
    In spite of its name the NMSE is a ratio of norms, not squared. Li, Dai and Qu 2024,
    L-20, L-21, L-22.
    """
    clean, sigma = ev.clean_points("clean", clean, minimum=2), ev.noise_level(sigma)
    n_pairs = ev.count("n_pairs", n_pairs)
    if not 0 < alpha < 1:
        raise ValueError(f"`alpha` must lie strictly between 0 and 1, got {alpha}")
    if denominator not in ("sum", "joint"):
        raise ValueError(f'`denominator` must be "sum" or "joint", got {denominator!r}')
    beta, source = sqrt(1 - alpha**2), ev.generator(seed)
    shift = 0 if mean is None else ev.vector("mean", mean, clean)
    first, second = (
        clean[index.to(clean.device)]
        + sigma * ev.normal((n_pairs, clean.shape[1]), source, clean)
        - shift
        for index in _pairs(len(clean), n_pairs, source)
    )

    def centred_map(z):
        return ev.apply(denoiser, z + shift, sigma) - shift

    joint = centred_map(alpha * first + beta * second)
    total = alpha * centred_map(first) + beta * centred_map(second)
    cosine = torch.nn.functional.cosine_similarity(joint, total, dim=1, eps=1e-300).abs()
    below = total if denominator == "sum" else joint
    defect = (joint - total).norm(dim=1) / below.norm(dim=1)
    # A map that gives its mean always is affine, too.
    nothing = (joint == 0).all(1) & (total == 0).all(1)
    cosine, defect = cosine.masked_fill(nothing, 1.0), defect.masked_fill(nothing, 0.0)
    score, nmse = ev.estimate(cosine), ev.estimate(defect)
    return Linearity(*score, *nmse, n_pairs, mean is not None)


def _pairs(n, n_pairs, source):
    """Return indices of pairs of different images; each image once before any returns."""
    per_round = n // 2
    rounds = -(-n_pairs // per_round)
    orders = torch.stack([torch.randperm(n, generator=source) for _ in range(rounds)])
    first, second = orders[:, :per_round], orders[:, per_round : 2 * per_round]
    return first.reshape(-1)[:n_pairs], second.reshape(-1)[:n_pairs]
