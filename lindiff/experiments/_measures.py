"""What is measured on a denoiser, as rows."""

import math

import torch
from scipy.optimize import brentq

from lindiff.nn import diagnostics as dg


def sample_rows(subject, samples, **more):
    """Return copies, novelty and spread of samples against the training images."""
    found = dg.memorised_fraction(samples, subject.train)
    novelty = dg.generalisation_score(samples, subject.train, subject.test)
    cosine = nearest_cosines(subject, samples)
    n = len(samples)
    half = math.sqrt(n)
    values = [
        ("f_mem", found.value, found.se),
        ("gl", novelty.value, novelty.se),
        ("gl_real", novelty.real, novelty.real_se),
        ("gl_ratio", novelty.ratio, novelty.ratio_se),
        ("nn_cosine", float(cosine.mean()), float(cosine.std()) / half),
        ("std_ratio", spread(samples, subject.train), None),
    ]
    return [subject.row(m, v, stderr=se, n_eval=n, **more) for m, v, se in values]


def spread(samples, reference):
    """Return the standard deviation of samples over that of a set, about the set's mean."""
    centre = reference.mean(0)
    powers = [(part - centre).double().square().mean() for part in (samples, reference)]
    return float((powers[0] / powers[1]).sqrt())


def nearest_cosines(subject, samples):
    """Return the cosine of each sample with its nearest training image, mean subtracted."""
    near = subject.train[dg.nearest(samples, subject.train).index]
    return cosines(samples, near, subject.test.mean(0))


def cosines(first, second, centre):
    """Return the cosine of each pair of rows about a common centre."""
    return torch.nn.functional.cosine_similarity(first - centre, second - centre, dim=1)


def linearity_rows(subject, levels, n_pairs):
    """Return raw and centred linearity at each level on held-out images."""
    rows, centre = [], subject.gaussian.mean
    for sigma in levels:
        for name, mean in (("raw", None), ("centred", centre)):
            found = dg.linearity(subject.denoiser, subject.test, sigma, n_pairs=n_pairs, mean=mean)
            about = {"sigma": sigma, "split": "test", "n_eval": n_pairs}
            rows += [
                subject.row(f"ls_{name}", found.score, stderr=found.score_se, **about),
                subject.row(f"nmse_{name}", found.nmse, stderr=found.nmse_se, **about),
            ]
    return rows


class _Once:
    """A denoiser that remembers: the measures of one level share their noisy images."""

    def __init__(self, denoiser):
        self.denoiser, self.known = denoiser, []

    def denoise(self, x, sigma):
        """Return the denoised points."""
        for points, level, out in self.known:
            if level == sigma and points.shape == x.shape and torch.equal(points, x):
                return out
        out = self.denoiser.denoise(x, sigma)
        self.known.append((x, sigma, out))
        return out


def distance_rows(subject, levels, n, *, split="test", closed=("gaussian", "memoriser")):
    """Return the error of a denoiser and its distance from closed forms."""
    rows, images = [], subject.images(split, n)
    for sigma in levels:
        about = {"sigma": sigma, "split": split, "n_eval": n}
        denoiser = _Once(subject.denoiser)
        error = dg.mse(denoiser, images, sigma)
        rows.append(subject.row("mse", error.value, stderr=error.se, **about))
        for name in closed:
            other = _Once(getattr(subject, name))
            audit = dg.pythagoras(denoiser, other, images, sigma)
            distance = dg.rmse_between(denoiser, other, images, sigma)
            rows += [
                subject.row(f"rmse_to_{name}", distance.value, stderr=distance.se, **about),
                subject.row(f"mse_gap_{name}", audit.gain, stderr=audit.gain_se, **about),
                subject.row(f"rho_{name}", audit.rho, stderr=audit.rho_se, **about),
            ]
    return rows


def error_rows(subject, levels, n, *, split="test"):
    """Return the error of a denoiser alone."""
    return distance_rows(subject, levels, n, split=split, closed=())


def direction_rows(subject, reference, levels, **more):
    """Return the band averages of L-30 and the worst gain error, and all modes as arrays.

    Modes count towards the worst gain error where lambda >= sigma^2 / 10.
    """
    rows, arrays = [], {}
    for sigma in levels:
        found = dg.direction_wise(subject.denoiser, reference, subject.test, sigma)
        about = {"sigma": sigma, "split": "test", "n_eval": len(subject.test), **more}
        strong = found.eigenvalues >= sigma**2 / 10
        worst = abs(found.gain - found.wiener)[strong].max(initial=0.0)
        rows.append(subject.row("gain_error_max", worst, **about))
        for step, band in enumerate(found.bands()):
            for metric in ("delta", "gain_error", "relative_mse"):
                value = getattr(band, metric)
                rows.append(subject.row(f"{metric}_band", value, step=step, **about))
        for name in ("delta", "gain", "wiener", "mse"):
            arrays[f"{name}-sigma{sigma:g}"] = getattr(found, name)
        arrays["eigenvalues"] = found.eigenvalues
    return rows, arrays


def collapse_level(eigenvalues, n_images):
    r"""Return the noise level at which a memoriser starts to own its neighbourhood.

    .. math:: \tfrac12\sum_i\log(1+\lambda_i/\sigma^2)=\log N

    Source: ledger id B-5, after Biroli et al. 2024.
    """
    values = eigenvalues[eigenvalues > 0].double()

    def nats(log_sigma):
        return 0.5 * float(torch.log1p(values / math.exp(2 * log_sigma)).sum()) - math.log(n_images)

    return math.exp(brentq(nats, -15.0, 15.0))


def off_span(train, test):
    r"""Return :math:`\sqrt{\mathbb E\lVert(1-P)(x-\mu)\rVert^2/d}`, P on the training images.

    The low-noise limit of the distance of a network from the Gaussian denoiser; C-11.
    """
    centre = train.double().mean(0)
    centred, away = train.double() - centre, test.double() - centre
    _, scale, basis = torch.linalg.svd(centred, full_matrices=False)
    basis = basis[scale > 1e-9 * scale[0]]
    rest = away - (away @ basis.T) @ basis
    return float((rest.square().sum(1) / rest.shape[1]).sqrt().mean())
