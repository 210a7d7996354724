"""One table with the most important diagnostics of a denoiser."""

import warnings
from dataclasses import dataclass, fields

import numpy as np
import torch

from lindiff.nn import _evaluation as ev
from lindiff.nn._device_images import in_scale
from lindiff.nn._distances import audit, errors, output, roots
from lindiff.nn._linearity import linearity
from lindiff.nn.closed_forms import GaussianDenoiser, MemorisingDenoiser

_SIGMAS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_LEGEND = """\
MSE per pixel on the test images: the denoiser, and the closed forms of the training images
  (Gaussian: their mean and covariance; memoriser: the images themselves).
linearity: centred, 1 for an affine map; the memoriser's score is the baseline.
RMSE to: distance of the denoiser from each closed form.
rho: squared distance to the Gaussian over the error it saves; 1 for an optimal denoiser,
  below 0 for one that is worse than the Gaussian."""


@dataclass(frozen=True)
class DiagnosisRow:
    """The diagnostics at one noise level; each an `Estimate` but `sigma`."""

    sigma: float
    mse: ev.Estimate
    mse_gaussian: ev.Estimate
    mse_memoriser: ev.Estimate
    linearity: ev.Estimate
    linearity_memoriser: ev.Estimate
    rmse_gaussian: ev.Estimate
    rmse_memoriser: ev.Estimate
    rho: ev.Estimate


@dataclass(frozen=True)
class Diagnosis:
    """Result of `diagnose`: one row per noise level; `print` shows it as a table.

    Attributes
    ----------
    rows : tuple of DiagnosisRow
        Fields `sigma`, and as `Estimate` (value, se): `mse`, `mse_gaussian`,
        `mse_memoriser`, `linearity`, `linearity_memoriser`, `rmse_gaussian`,
        `rmse_memoriser`, `rho`.
    n_train, n_test, dimension : int
    """

    rows: tuple
    n_train: int
    n_test: int
    dimension: int

    def column(self, name):
        """Return the values of one field at all noise levels, as an array.

        Parameters
        ----------
        name : str
            A field of the rows.
        """
        known = [field.name for field in fields(DiagnosisRow)]
        if name not in known:
            raise ValueError(f"`name` must be one of {', '.join(known)}; got {name!r}")
        values = [getattr(row, name) for row in self.rows]
        return np.array([v.value if isinstance(v, ev.Estimate) else v for v in values])

    def __str__(self):
        lines = [
            f"{self.n_train} training and {self.n_test} test images of {self.dimension} pixels",
            "",
            f"{'':>7} {'---------- MSE ----------':^29} {'-- linearity --':^19}"
            f" {'---- RMSE to ----':^19}",
            f"{'sigma':>7} {'denoiser':>9} {'Gaussian':>9} {'memoriser':>9} "
            f"{'denoiser':>9} {'memoriser':>9} {'Gaussian':>9} {'memoriser':>9} {'rho':>14}",
        ]
        for row in self.rows:
            numbers = (
                *(row.mse, row.mse_gaussian, row.mse_memoriser),
                *(row.linearity, row.linearity_memoriser),
                *(row.rmse_gaussian, row.rmse_memoriser),
            )
            cells = " ".join(f"{number.value:9.4f}" for number in numbers)
            rho = f"{row.rho.value:.2f} +- {row.rho.se:.2f}"
            lines.append(f"{row.sigma:7.3g} {cells} {rho:>14}")
        return "\n".join([*lines, "", _LEGEND])


def diagnose(denoiser, train, test, *, sigmas=None, n_test=1000, n_pairs=500, seed=0):
    r"""Compare a denoiser with the closed forms of its training images.

    .. math:: D_G(x)=\mu+\Sigma(\Sigma+\sigma^2)^{-1}(x-\mu),\qquad
              D_M(x)=\sum_iw_i(x)\,y_i

    Parameters
    ----------
    denoiser : object with ``denoise(x, sigma)``
        Such as ``lindiff.nn.adapters.from_diffusers(model, scheduler, image_shape)``.
    train : torch.Tensor or numpy.ndarray, shape (N, d) or (N, ...)
        Its training images, N >= 2, in [-1, 1]; a warning says if they are in [0, 1].
    test : torch.Tensor or numpy.ndarray, shape (n, d) or (n, ...)
        Held-out images, n >= 2, on the same device.
    sigmas : sequence of float, optional
        Noise levels > 0; eight from 0.05 to 10 by default.
    n_test : int
        At most so many test images are used, from the first on.
    n_pairs : int
        At most so many pairs for the linearity, and n / 2 at most.
    seed : int
        Of the noise, drawn in float32 on the CPU; the same images and noise for all
        denoisers.

    Returns
    -------
    Diagnosis

    Raises
    ------
    ValueError
        If the images have NaN, reach beyond 20 or do not fit together, or a level is not
        positive.

    Notes
    -----
    Li, Dai and Qu 2024, L-8, L-9, L-18, L-20, L-22 to L-24. A generalising denoiser has a
    smaller error than both closed forms, a linearity well above the memoriser's, and rho
    near 1. A denoiser that memorises is near the memoriser, with rho far from 1.
    """
    shape = getattr(denoiser, "image_shape", None)
    train = ev.points("train", _flat("train", train, shape), minimum=2)
    test = ev.points("test", _flat("test", test, shape), minimum=2, dimension=train.shape[1])
    in_scale("train", train)
    if float(train.min()) >= 0 and float(train.max()) <= 1:
        warnings.warn(
            "`train` lies in [0, 1], most networks want [-1, 1]: if this one does, pass "
            "2 * train - 1, and so with `test`",
            stacklevel=2,
        )
    in_scale("test", test)
    if train.device != test.device:
        raise ValueError(f"`train` is on {train.device}, `test` on {test.device}; move one")
    levels = [ev.noise_level(s) for s in (_SIGMAS if sigmas is None else np.ravel(sigmas))]
    if not levels:
        raise ValueError("`sigmas` is empty; pass at least one noise level")
    test = test[: ev.count("n_test", n_test, 2)]
    closed = GaussianDenoiser.from_images(train), MemorisingDenoiser(train)
    pairs = min(ev.count("n_pairs", n_pairs), len(test) // 2)
    rows = [_row(denoiser, closed, test, sigma, pairs, seed) for sigma in levels]
    return Diagnosis(tuple(rows), len(train), len(test), train.shape[1])


def _row(denoiser, closed, test, sigma, n_pairs, seed):
    gaussian, memoriser = closed
    scores = [
        linearity(d, test, sigma, n_pairs=n_pairs, mean=gaussian.mean, seed=seed)
        for d in (denoiser, memoriser)
    ]
    data = ev.noised(test, sigma, seed)
    outs = [output(d, data) for d in (denoiser, *closed)]
    rho = audit(outs[0], outs[1], data, seed)
    return DiagnosisRow(
        sigma,
        *(ev.estimate(errors(out, data)) for out in outs),
        *(ev.Estimate(score.score, score.score_se) for score in scores),
        *(ev.estimate(roots(outs[0], out)) for out in outs[1:]),
        ev.Estimate(rho.rho, rho.rho_se),
    )


def _flat(name, images, shape):
    if not isinstance(images, (torch.Tensor, np.ndarray)) or images.ndim < 3:
        return images
    own = tuple(images.shape[1:])
    if shape is not None and shape not in (own, (1, *own)):
        raise ValueError(
            f"`{name}` has images of shape {own}, the denoiser takes {shape} (channels, height, "
            "width): move the axes, or flatten them"
        )
    return images.reshape(len(images), -1)
