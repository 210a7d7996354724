"""The rows of the benchmark: each function prepares its data and returns a Row."""

import numpy as np
from scipy import optimize

from lindiff import dynamics, losses, sampling, schedules, spectra
from lindiff.denoisers import AffineDenoiser
from lindiff.losses import LossModes
from tests.benchmarks.measure import Missing, Rival, Row

D = 1024
STEPS = 1000


def slides():
    return schedules.linear_beta(STEPS, 1.099e-4, 1e-2)


def training_set(n):
    """Points of a power-law population, and the population's covariance."""
    rng = np.random.default_rng(0)
    variances = spectra.power_law(D, 1.0)
    rotation = np.linalg.qr(rng.standard_normal((D, D)))[0]
    data = (rng.standard_normal((n, D)) * np.sqrt(variances)) @ rotation.T
    return data, (rotation * variances) @ rotation.T


def by_inverses(empirical, cov, levels):
    identity = np.eye(D)
    for a in levels:
        weights = np.sqrt(1 - a) * np.linalg.inv(a * empirical + (1 - a) * identity)
        noise = np.sum((identity - np.sqrt(1 - a) * weights) ** 2)
        noise + a * np.sum((weights @ empirical) * weights)
        noise + a * np.sum((weights @ cov) * weights)


def all_levels(modes, schedule):
    losses.optimal_weights(modes.eigenvalues, schedule)
    losses.training_loss(modes, schedule)
    losses.test_loss(modes, schedule)


def levels_from_moments():
    data, cov = training_set(4096)
    cov = 0.5 * (cov + cov.T)
    mean, empirical, schedule = np.zeros(D), np.cov(data.T, bias=True), slides()

    def ours():
        denoiser = AffineDenoiser.from_moments(mean, empirical)
        all_levels(LossModes.from_denoiser(denoiser, mean, cov), schedule)

    def inverses():
        by_inverses(empirical, cov, schedule.alpha_bar[::200])

    return Row(
        "weights, training and test loss at 1000 levels, d = 1024, N = 4096",
        ours,
        (Rival("1000 dense inverses", inverses, 700, 5, STEPS),),
        "from both covariance matrices; our weights are the eigenvalues of W. One "
        "eigendecomposition and one product of matrices are nearly all of our time, so the ratio "
        "moves by a tenth or two with the processor",
    )


def levels_from_few_points():
    data, cov = training_set(256)
    cov = 0.5 * (cov + cov.T)
    mean, schedule = np.zeros(D), slides()

    def ours():
        all_levels(LossModes.from_data(data, mean, cov), schedule)

    def inverses():
        by_inverses(np.cov(data.T, bias=True), cov, schedule.alpha_bar[::200])

    return Row(
        "the same from 256 points",
        ours,
        (Rival("1000 dense inverses", inverses, 5000, 5, STEPS),),
        "from the points; smaller side, null space in closed form. A singular value "
        "decomposition of the points keeps the digits of small variances; an eigendecomposition "
        "of the Gram matrix would be faster and lose half of them",
    )


def grid_of_losses():
    data, cov = training_set(2048)
    modes = LossModes.from_data(data, np.zeros(D), cov)
    level, floor = slides().alpha_bar[:, None], np.logspace(-4, 0, 50)
    h, m = modes.eigenvalues, modes.second_moments

    def ours():
        losses.training_loss(modes, level, floor=floor)
        losses.test_loss(modes, level, floor=floor)

    def pairs():
        for a in level[::50, 0]:
            for c in floor:
                weights = np.sqrt(1 - a) / (a * h + 1 - a + a * c)
                noise = (1 - np.sqrt(1 - a) * weights) ** 2
                np.sum(noise + a * h * weights**2)
                np.sum(noise + a * m * weights**2)

    return Row(
        "training and test loss on 1000 levels x 50 floors, d = 1024",
        ours,
        (Rival("loop over pairs", pairs, 60, 20, STEPS),),
        "eigenvalues known",
    )


def long_learning_curve():
    data, cov = training_set(512)
    alpha_bar, eta, steps = slides().alpha_bar[99], 2e-3, 20_000
    modes = LossModes.from_data(data, np.zeros(D), cov)
    empirical = np.cov(data.T, bias=True)
    curvature = alpha_bar * empirical + (1 - alpha_bar) * np.eye(D)

    def ours():
        dynamics.learning_curve(modes, steps, alpha_bar, learning_rate=eta)

    def descent():
        weights = np.zeros((D, D))
        for _ in range(10):
            weights -= 2 * eta * (weights @ curvature - np.sqrt(1 - alpha_bar) * np.eye(D))

    return Row(
        "learning curve of 20,000 steps, d = 1024",
        ours,
        (Rival("gradient descent on the matrix", descent, 100_000, 10, steps),),
        "eigenvalues known; ours gives both losses after every step, the rival none",
    )


def law_of_samples():
    _, cov = training_set(1)
    mean, schedule = np.ones(D), slides()
    denoiser = AffineDenoiser.from_moments(mean, 0.5 * (cov + cov.T))
    level = np.append(1.0, schedule.alpha_bar)

    def ours():
        sampling.affine_moments(denoiser, schedule, eta=1.0)

    def dense():
        law, centre = np.eye(D), np.zeros(D)
        for t in range(STEPS, 0, -200):
            now, then = level[t], level[t - 1]
            weights = np.sqrt(1 - now) * np.linalg.inv(now * cov + (1 - now) * np.eye(D))
            bias = -np.sqrt(now) * weights @ mean
            fresh = (1 - then) / (1 - now) * (1 - now / then)
            factor = np.sqrt(then / now)
            ahead = np.sqrt(1 - then - fresh) - factor * np.sqrt(1 - now)
            matrix = factor * np.eye(D) + ahead * weights
            centre = matrix @ centre + ahead * bias
            law = matrix @ law @ matrix.T + fresh * np.eye(D)

    return Row(
        "mean and variances of the samples after 1000 steps, d = 1024",
        ours,
        (
            Rival("dense covariance recursion", dense, 50_000, 5, STEPS),
            Rival("1024 samples, diffusers", diffusers_samples(denoiser), 20_000, 5, STEPS),
        ),
        "DDPM, eigenvectors known",
    )


def diffusers_samples(denoiser):
    try:
        import torch
        from diffusers import DDPMScheduler
    except ImportError as error:
        raise Missing(f"{error.name} is not installed") from error
    schedule = slides()
    scheduler = DDPMScheduler(
        STEPS, trained_betas=schedule.beta, clip_sample=False, variance_type="fixed_small"
    )
    scheduler.set_timesteps(STEPS)
    begin = torch.from_numpy(np.random.default_rng(0).standard_normal((1024, D)))

    def samples():
        x = begin
        for t in range(STEPS - 1, 0, -200):
            noise = denoiser.predict_noise(x.numpy(), schedule.alpha_bar[t])
            x = scheduler.step(torch.from_numpy(noise), t, x).prev_sample

    return samples


def kappa_equation(kappa, z, n, eigenvalues):
    scaled = kappa[..., None] * eigenvalues
    return kappa - 1 + np.sum(scaled / (scaled + z[..., None]), axis=-1) / n


def many_kappas():
    from scipy.optimize.elementwise import find_root

    from lindiff import equivalents

    eigenvalues = spectra.power_law(D, 1.0)
    z, n = np.meshgrid(np.logspace(-4, 3, 100), np.geomspace(D / 10, 10 * D, 100))

    def ours():
        equivalents.solve_kappa(eigenvalues, n, z)

    def scipy_roots():
        find_root(
            lambda k, z, n: kappa_equation(k, z, n, eigenvalues),
            (np.zeros(1000), np.ones(1000)),
            args=(z.ravel()[::10], n.ravel()[::10]),
        )

    return Row(
        "10,000 kappa, d = 1024",
        ours,
        (Rival("scipy.optimize.elementwise.find_root", scipy_roots, 15, 1000, 10_000),),
    )


def kappas_of_a_million_eigenvalues():
    from lindiff import equivalents

    d = 1_000_000
    eigenvalues = spectra.power_law(d, 1.0)
    z, n = np.meshgrid(np.logspace(-4, 3, 100), np.geomspace(d / 10, 10 * d, 100))

    def ours():
        equivalents.solve_kappa(eigenvalues, n, z)

    def loop():
        for noise, count in zip(z.ravel()[::2500], n.ravel()[::2500], strict=True):
            optimize.brentq(
                lambda k, noise=noise, count=count: (
                    k - 1 + np.sum(k * eigenvalues / (k * eigenvalues + noise)) / count
                ),
                0.0,
                1.0,
            )

    return Row(
        "10,000 kappa, d = 1,000,000",
        ours,
        (Rival("brentq in a loop", loop, 800, 4, 10_000),),
        "ours also has a limit of 0.2 CPU s",
        0.2,
    )


def density():
    from lindiff import equivalents

    eigenvalues, n = spectra.power_law(D, 1.0), 2 * D
    bulk = equivalents.density_support(eigenvalues, n)[0]
    x = np.geomspace(*bulk, 1002)[1:-1]

    def ours():
        equivalents.spectral_density(x, eigenvalues, n)

    def fixed_point():
        # Stieltjes transform of the Gram matrix slightly above the axis.
        points = x[50::100] * (1 + 1e-5j)
        value, change = -1.0 / points, 1.0
        while change > 1e-9:
            sums = np.sum(eigenvalues / (1 + value[:, None] * eigenvalues), axis=1) / n
            step = 1.0 / (sums - points)
            change = np.max(np.abs(step - value) / np.abs(step))
            value = step
        return value.imag * n / (np.pi * D)

    worst = np.max(
        np.abs(fixed_point() / equivalents.spectral_density(x[50::100], eigenvalues, n) - 1)
    )
    return Row(
        "Marcenko-Pastur density of a general spectrum, 1000 points, d = 1024",
        ours,
        (Rival("classic fixed point", fixed_point, 300, 10, 1000),),
        f"the rival iterates 1e-5 above the axis and is off by up to {worst:.0e}. Ours "
        "inverts the map for given points; the target came from a prototype that chose its own",
    )


def density_of_few_atoms():
    from lindiff import equivalents

    try:
        from freealg.distributions import CompoundFreePoisson
    except ImportError as error:
        raise Missing(f"{error.name} is not installed") from error
    atoms, n = np.geomspace(0.1, 4.0, 16), 32
    low, high = np.ravel(equivalents.density_support(atoms, n))[[0, -1]]
    x = np.linspace(low, high, 1002)[1:-1]
    peer = CompoundFreePoisson(t=list(atoms), w=[1 / 16] * 16, lam=0.5)

    def ours():
        equivalents.spectral_density(x, atoms, n)

    return Row(
        "the same for 16 atoms, the most that freealg does",
        ours,
        (Rival("freealg", lambda: peer.density(x, eta=1e-10), 100),),
        "freealg raises LinAlgError for 256 atoms and more, so the target, set for 1024, cannot be "
        "tried; with 16 atoms our time is a millisecond of set-up",
    )


def white_traces(d, draws, target):
    rng = np.random.default_rng(0)

    def ours():
        spectra.isotropic_traces(d, d, 0.1, rng, size=draws)

    def gram():
        data = rng.standard_normal((d, d))
        values = np.linalg.eigvalsh(data.T @ data / d)
        np.sum(np.log(values + 0.1)), np.sum(1 / (values + 0.1))

    return Row(
        f"log det and trace of the resolvent of {draws} white sample covariances, d = N = {d}",
        ours,
        (Rival("Gram matrix and eigvalsh", gram, target, 1, draws),),
        "z = 0.1",
    )


def white_traces_1024():
    return white_traces(1024, 64, 500)


def white_traces_4096():
    return white_traces(4096, 16, 10_000)


ROWS = (
    levels_from_moments,
    levels_from_few_points,
    grid_of_losses,
    long_learning_curve,
    law_of_samples,
    many_kappas,
    kappas_of_a_million_eigenvalues,
    density,
    density_of_few_atoms,
    white_traces_1024,
    white_traces_4096,
)
