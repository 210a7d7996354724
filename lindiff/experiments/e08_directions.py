"""E8: where in the eigenbasis of the covariance a network leaves the Gaussian denoiser."""

from dataclasses import dataclass

import numpy as np

from lindiff.experiments._net_criteria import (
    GENERALISING,
    NotJudgeable,
    check_spread,
    net,
    sample_value,
    sizes_in,
    verdicts,
)
from lindiff.experiments._net_plans import PLANS, Plan
from lindiff.experiments.e04_distillation import exact_mixture
from lindiff.experiments.units import Unit

TITLE = "Networks along the eigenvectors of the covariance"
VERSION = 1
NEEDS_GPU = True
LEVELS = (0.2, 0.5, 1.0)
MODES = 10


@dataclass(frozen=True)
class Settings:
    """Networks of E1 at the smallest and the largest N, memorisers and a mixture."""

    plan: Plan
    levels: tuple = LEVELS
    seed: int = 0


PRESETS = {name: Settings(plan) for name, plan in PLANS.items()}


def units(settings):
    """Two networks, their memorisers and the control."""
    plan, levels = settings.plan, settings.levels
    few, many = plan.config(min(plan.sizes)), plan.config(plan.largest)
    found = [Unit(f"net-N{c.n_images}", one_net, (plan, c, levels)) for c in (many, few)]
    found += [Unit(f"memoriser-N{c.n_images}", memoriser, (plan, c, levels)) for c in (few, many)]
    return [*found, Unit("mixture", mixture, (plan, levels))]


def one_net(context, plan, config, levels):
    """Return the bands of a network, and where its samples' modes emerge."""
    from lindiff.experiments import _measures, nets
    from lindiff.experiments._subjects import network

    subject = network(context, config, plan)
    law = nets.population(plan.data, plan.size, plan.n_population, context.device)
    rows, arrays = _measures.direction_rows(subject, law, levels)
    rows += _measures.sample_rows(subject, nets.samples_of(context, config, plan))
    return rows + _emergence(subject, law, plan, context.device), arrays


def memoriser(context, plan, config, levels):
    """Return the bands of the memorising denoiser."""
    from lindiff.experiments import _measures, nets
    from lindiff.experiments._subjects import Subject

    split = nets.split_of(config, n_test=plan.n_test, device=context.device)
    law = nets.population(plan.data, plan.size, plan.n_population, context.device)
    stamp = {"dataset": plan.data, "N": config.n_images, "subset": config.subset}
    bare = Subject(None, split.train.flat(), split.test.flat(), stamp)
    return _measures.direction_rows(bare.closed("memoriser"), law, levels)


def mixture(context, plan, levels):
    """Return the bands of a mixture's optimal denoiser: gains are exact, delta in [0, 1]."""
    from lindiff.experiments import _measures

    subject, law = exact_mixture(plan.size, plan.n_test, context.device)
    return _measures.direction_rows(subject, law, levels)


class _Recorder:
    """A denoiser that notes the power of its output along some directions."""

    def __init__(self, denoiser, law, modes):
        self.denoiser, self.mean = denoiser, law.mean
        self.vectors, self.powers = law.eigenvectors[:, :modes], {}

    def denoise(self, x, sigma):
        """Return the denoised points."""
        import torch

        out = self.denoiser.denoise(x, sigma)
        level = float(torch.as_tensor(sigma).reshape(-1)[0])
        self.powers[level] = ((out - self.mean) @ self.vectors).double().square().mean(0).cpu()
        return out


def _emergence(subject, law, plan, device):
    """Level at which each leading mode of the denoised image has half of its final power."""
    import torch

    from lindiff.nn.sampling import heun_samples, noise_bank

    recorder = _Recorder(subject.denoiser, law, MODES)
    noise = noise_bank(plan.n_samples, plan.size**2, seed=0, device=device)
    heun_samples(recorder, noise, n_steps=plan.n_steps)
    levels = np.array(sorted(recorder.powers))
    powers = torch.stack([recorder.powers[level] for level in levels]).numpy()
    rows = []
    for mode, power in enumerate(powers.T):
        below = np.flatnonzero((power[:-1] >= power[0] / 2) & (power[1:] < power[0] / 2))
        if not len(below):
            continue
        i = below[0]
        share = (power[i] - power[0] / 2) / (power[i] - power[i + 1])
        half = levels[i] * (levels[i + 1] / levels[i]) ** share
        root = float(law.eigenvalues[mode]) ** 0.5
        rows.append(subject.row("emergence_ratio", half / root, step=mode, n_eval=plan.n_samples))
    return rows


class _Reader:
    """Values of E8 by N and noise level."""

    def __init__(self, table, settings):
        self.table, self.arch, self.levels = table, settings.plan.arch, settings.levels
        self.low = [sigma for sigma in self.levels if sigma <= 0.5]

    def _sizes(self):
        return sizes_in(self.table, "gain_error_max", arch=self.arch)

    def generalising(self):
        n = max(self._sizes())
        if sample_value(self.table, "f_mem", N=n) > GENERALISING:
            raise NotJudgeable(f"the network at N = {n} copies")
        return n

    def copying(self):
        n = min(self._sizes())
        if sample_value(self.table, "f_mem", N=n) <= GENERALISING:
            raise NotJudgeable(f"the network at N = {n} does not copy")
        return n

    def band(self, metric, n, sigma, band, of=None):
        arch = self.arch if of is None else of
        return self.table.value(f"{metric}_band", N=n, sigma=sigma, step=band, arch=arch)

    def gains(self):
        n, metric = self.generalising(), "gain_error_max"
        value = max(net(self.table, metric, N=n, arch=self.arch, sigma=s) for s in self.levels)
        return value, value <= 0.07

    def leading(self):
        n = self.generalising()
        value = max(self.band("delta", n, s, 0) for s in self.levels)
        return value, value <= 0.15

    def middle(self):
        n, holds, found = self.generalising(), True, []
        for sigma in self.levels:
            first, *values = (self.band("delta", n, sigma, band) for band in (0, 1, 2))
            holds &= all(0.05 <= value <= 0.7 and value > first for value in values)
            found += values
        return max(found, key=lambda value: max(0.05 - value, value - 0.7)), holds

    def damaged(self):
        n = self.copying()
        value = max(self.band("gain_error", n, s, 0) for s in self.low)
        return value, value <= -0.15

    def far(self):
        n = self.copying()
        value = min(self.band("delta", n, s, 0) for s in self.low)
        return value, value >= 1

    def stronger(self):
        n, ratios, same = self.copying(), [], True
        for metric, sign in (("delta", 1), ("gain_error", -1)):
            own = [self.band(metric, n, s, 0) for s in self.low]
            memoriser = [self.band(metric, n, s, 0, "memoriser") for s in self.low]
            ratios += [a / b for a, b in zip(memoriser, own, strict=True)]
            # A gain error above zero is no damage, of whatever size.
            same &= all(sign * value > 0 for value in own + memoriser)
        return min(ratios), min(ratios) >= 1 and same

    def emergence(self):
        n = self.generalising()
        check_spread(self.table, N=n, arch=self.arch)
        ratios = self.table.curve("emergence_ratio", "step", N=n, arch=self.arch)[1]
        worst = float(np.exp(abs(np.log(ratios)).max()))
        return worst, worst <= 1.5 and len(ratios) == MODES


TESTS = (
    (
        "a",
        "largest gain error, lambda >= sigma^2 / 10, generalising net",
        "<= 0.07",
        _Reader.gains,
    ),
    ("b.1", "delta in modes 1 to 5, largest over sigma, same net", "<= 0.15", _Reader.leading),
    (
        "b.2",
        "delta in modes 6 to 20 and 21 to 60, the value nearest to a limit; all must exceed "
        "delta in modes 1 to 5",
        "in [0.05, 0.7]",
        _Reader.middle,
    ),
    ("c.1", "gain error in modes 1 to 5, sigma <= 0.5, copying net", "<= -0.15", _Reader.damaged),
    ("c.2", "delta in modes 1 to 5, sigma <= 0.5, copying net", ">= 1", _Reader.far),
    (
        "c.3",
        "both measures, the memoriser's over the net's, least; all damage: delta > 0 > gain error",
        ">= 1",
        _Reader.stronger,
    ),
    (
        "d",
        "sigma of half power of the ten leading modes over the root of their variance",
        "within a factor 1.5",
        _Reader.emergence,
    ),
)


def criteria(table, settings):
    """E8.a to E8.d."""
    return verdicts("E8", TESTS, _Reader, table, settings)
