"""How fast a network learns each principal direction: gains, variances, first passages."""

from dataclasses import dataclass

import numpy as np

from lindiff.experiments.units import OutOfTime


@dataclass(frozen=True)
class ModeCurves:
    """Variance that the samples have, and gain of the denoiser, per checkpoint and mode.

    Parameters
    ----------
    images_seen : numpy.ndarray, shape (n,)
    variances, gains : numpy.ndarray, shape (n, k)
    targets : numpy.ndarray, shape (k,)
        Variances of the data, in decreasing order.
    start : float
        Variance per pixel that the untrained network generates: sigma_data squared.
    """

    images_seen: np.ndarray
    variances: np.ndarray
    gains: np.ndarray
    targets: np.ndarray
    start: float


def train(context, config, split):
    """Train with all checkpoints kept; return their files in order.

    Raises
    ------
    OutOfTime
        If the budget ended first; the state is saved.
    """
    from lindiff.nn import checkpoints, trainer

    folder = context.folder / "nets" / config.key_with(split.fingerprint)
    try:
        result = trainer.train(
            config,
            split,
            folder=folder,
            device=context.device,
            deadline=context.deadline,
            keep_checkpoints=True,
        )
    except TimeoutError as error:  # Another worker held the folder all the time.
        raise OutOfTime from error
    if not result.finished:
        raise OutOfTime
    counts = [step * config.batch for step in config.checkpoint_steps()]
    return [checkpoints.checkpoint_path(folder, count) for count in counts]


def measure(files, clean, basis, sigma, n_samples, device):
    """Return the `ModeCurves` of a training.

    Parameters
    ----------
    files : list of path
        Checkpoints in order.
    clean : numpy.ndarray, shape (n, d)
        Images for the gains; their moments in `basis` are the targets.
    basis : numpy.ndarray, shape (d, k)
        Principal directions, leading first.
    sigma : float
        Noise level of the gains.
    n_samples : int
        Samples behind the variances; 18 steps of Heun's method.
    device : str
    """
    import torch

    from lindiff.nn.checkpoints import load_checkpoint
    from lindiff.nn.sampling import heun_samples, noise_bank

    noisy = clean + sigma * np.random.default_rng(0).standard_normal(clean.shape)
    inputs = torch.tensor(noisy, dtype=torch.float32, device=device)
    modes = (noisy - noisy.mean(axis=0)) @ basis
    noise = noise_bank(n_samples, clean.shape[1], 1, device)
    seen, gains, variances, start = [], [], [], 0.0
    for path in files:
        net, _, images_seen = load_checkpoint(path, device)
        out = net.denoise(inputs, sigma).double().cpu().numpy() @ basis
        gains.append(np.mean((out - out.mean(axis=0)) * modes, axis=0) / np.mean(modes**2, axis=0))
        made = heun_samples(net, noise).double().cpu().numpy()
        variances.append(np.var(made @ basis, axis=0))
        seen.append(images_seen)
        start = float(net.sigma_data) ** 2
    targets = np.var(clean @ basis, axis=0)
    return ModeCurves(np.array(seen), np.array(variances), np.array(gains), targets, start)


def passages(curves):
    """Return the images seen when each variance passes the geometric mean of start and target.

    NaN for modes whose start lies within a factor 2 of the target, and for those that do not
    pass or have passed before the first checkpoint.
    """
    halfway = 0.5 * (np.log(curves.start) + np.log(curves.targets))
    sign = np.sign(np.log(curves.targets / curves.start))
    found = np.full(len(curves.targets), np.nan)
    counts = np.log(curves.images_seen)
    for k in np.flatnonzero(np.abs(np.log(curves.targets / curves.start)) > np.log(2)):
        height = sign[k] * (np.log(curves.variances[:, k]) - halfway[k])
        passed = np.flatnonzero(height >= 0)
        if len(passed) == 0 or passed[0] == 0:
            continue
        after = passed[0]
        share = -height[after - 1] / (height[after] - height[after - 1])
        found[k] = np.exp(counts[after - 1] + share * (counts[after] - counts[after - 1]))
    return found


def exponent(targets, times):
    r"""Fit :math:`\tau\propto\lambda^{-\alpha}`; return alpha, its standard error and R squared.

    All are NaN with fewer than four modes.
    """
    from scipy.stats import linregress

    keep = np.isfinite(times)
    if keep.sum() < 4:
        return np.nan, np.nan, np.nan
    line = linregress(-np.log(targets[keep]), np.log(times[keep]))
    # A constant has no correlation.
    error, correlation = np.nan_to_num([line.stderr, line.rvalue])
    return float(line.slope), float(error), float(correlation**2)
