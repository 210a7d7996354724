"""E4: the linear map nearest to a network, against the Gaussian denoiser of the population."""

from dataclasses import dataclass, replace

from lindiff.experiments._net_criteria import (
    GENERALISING,
    NotJudgeable,
    between,
    sample_value,
    sizes_in,
    verdicts,
)
from lindiff.experiments._net_plans import PLANS, Plan
from lindiff.experiments.units import Unit

TITLE = "Linear distillation of networks"
VERSION = 2
NEEDS_GPU = True
LEVELS = (0.2, 0.5, 1.0, 2.0)
POOL, POOL_SEED = 24_000, 2
MIXTURE = 20_000


@dataclass(frozen=True)
class Settings:
    """Networks of E1 at the smallest and the largest N, and two controls."""

    plan: Plan
    levels: tuple = LEVELS
    seed: int = 0


PRESETS = {name: Settings(plan) for name, plan in PLANS.items()}


def units(settings):
    """Two networks, the memoriser of the smallest set and a mixture's optimal denoiser."""
    plan, levels = settings.plan, settings.levels
    few, many = plan.config(min(plan.sizes)), plan.config(plan.largest)
    return [
        Unit(f"net-N{many.n_images}", one_net, (plan, many, levels)),
        Unit(f"net-N{few.n_images}", one_net, (plan, few, levels)),
        Unit(f"memoriser-N{few.n_images}", memoriser, (plan, few, levels)),
        Unit("mixture", mixture, (plan, levels)),
    ]


def one_net(context, plan, config, levels):
    """Distil a network on held-out and on training images."""
    from lindiff.experiments import _measures, nets
    from lindiff.experiments._subjects import network

    subject = network(context, config, plan)
    samples = nets.samples_of(context, config, plan)
    law = _population(context, plan)
    rows = _measures.sample_rows(subject, samples)
    return rows + _distil(plan, _with_pool(context, plan, subject), law, levels)


def memoriser(context, plan, config, levels):
    """Distil the memorising denoiser of a training set in the same way."""
    from lindiff.experiments import nets
    from lindiff.experiments._subjects import Subject

    split = nets.split_of(config, n_test=plan.n_test, device=context.device)
    stamp = {"dataset": plan.data, "N": config.n_images, "subset": config.subset}
    closed = Subject(None, split.train.flat(), split.test.flat(), stamp).closed("memoriser")
    closed = _with_pool(context, plan, closed)
    return _distil(plan, closed, _population(context, plan), levels)


def _with_pool(context, plan, subject):
    """The subject with enough different held-out images: noise alone is no replacement."""
    from lindiff.experiments import nets

    n = min(plan.n_distil, POOL)
    pool = nets.fresh_images(plan.data, plan.size, n, seed=POOL_SEED).to(context.device)
    return replace(subject, test=pool)


def mixture(context, plan, levels):
    """Distil the optimal denoiser of a mixture, whose mean and covariance are exact."""
    plan = replace(plan, n_distil=min(plan.n_distil, MIXTURE))
    subject, law = exact_mixture(plan.size, plan.n_distil, context.device)
    return _distil(plan, subject, law, levels, splits=("test",))


def exact_mixture(size, n, device):
    """Return a mixture's optimal denoiser with `n` images as a subject, and its Gaussian."""
    import torch

    from lindiff.experiments._subjects import Subject
    from lindiff.nn.closed_forms import MixtureDenoiser
    from lindiff.nn.images import draw_mixture, mixture_images

    model = mixture_images(size, seed=0)
    images = torch.from_numpy(draw_mixture(model, n, seed=0)).float().to(device)
    best = MixtureDenoiser.from_numpy(model).to(device)
    subject = Subject(best, images, images, {"dataset": "gmm", "arch": "mixture"})
    return subject, _moments(model).to(device)


def _moments(model):
    import torch

    from lindiff.nn.closed_forms import GaussianDenoiser

    parts = (model.weights, model.means, model.covs)
    weights, means, covs = (torch.tensor(part) for part in parts)
    mean = weights @ means
    away = means - mean
    cov = torch.einsum("k,kij->ij", weights, covs) + (away.T * weights) @ away
    values, vectors = torch.linalg.eigh(cov)
    parts = (mean, values.clamp_min(0).flip(0), vectors.flip(1))
    return GaussianDenoiser(*(part.float() for part in parts))


def _population(context, plan):
    from lindiff.experiments import nets

    return nets.population(plan.data, plan.size, plan.n_population, context.device)


def _distil(plan, subject, law, levels, *, splits=("test", "train")):
    """Rows of the distillation against `law`, and on the training images against their own."""
    from lindiff.nn import diagnostics as dg

    rows = []
    for split in splits:
        pool = subject.test if split == "test" else subject.train
        reference = law if split == "test" else subject.gaussian
        for sigma in levels:
            found = dg.distil_linear(
                subject.denoiser, pool, sigma, reference=reference, n=plan.n_distil
            )
            about = {"sigma": sigma, "split": split, "n_eval": plan.n_distil}
            values = {
                "weight_nmse": found.weight_nmse,
                "weight_noise": found.noise_nmse,
                "weight_nmse_net": found.weight_nmse - found.noise_nmse,
                **{f"overlap_{k}": value for k, value in found.overlap.items()},
            }
            rows += [subject.row(name, value, **about) for name, value in values.items()]
            for name, other in (("linear", found.linear), ("net", subject.denoiser)):
                gap = dg.rmse_between(other, law, subject.test[: plan.n_test], sigma, seed=1)
                metric = f"rmse_{name}_to_gaussian"
                rows.append(subject.row(metric, gap.value, stderr=gap.se, **about))
    return rows


class _Reader:
    """Values of E4 by N and noise level."""

    def __init__(self, table, settings):
        self.table, self.levels, self.arch = table, settings.levels, settings.plan.arch

    def at(self, metric, n, sigma, of=None, split="test"):
        arch = self.arch if of is None else of
        return self.table.value(metric, N=n, arch=arch, sigma=sigma, split=split)

    def generalising(self):
        n = max(sizes_in(self.table, "weight_nmse", arch=self.arch))
        copies = sample_value(self.table, "f_mem", N=n)
        if copies > GENERALISING:
            raise NotJudgeable(f"the network at N = {n} copies: f_mem = {copies:.2f}")
        return n

    def copying(self):
        n = min(sizes_in(self.table, "weight_nmse", arch=self.arch))
        if sample_value(self.table, "f_mem", N=n) <= GENERALISING:
            raise NotJudgeable(f"the network at N = {n} does not copy")
        return n

    def weights(self):
        n = self.generalising()
        value = max(self.at("weight_nmse_net", n, s) for s in self.levels)
        return value, value <= 0.1

    def function(self):
        n, metrics = self.generalising(), ("rmse_linear_to_gaussian", "rmse_net_to_gaussian")
        pairs = [[self.at(metric, n, s) for metric in metrics] for s in self.levels]
        value = max(linear / whole for linear, whole in pairs)
        return value, value <= 0.5

    def overlap(self):
        n = self.generalising()
        value = min(self.at("overlap_20", n, s) for s in between(self.levels, 0.0, 1.0))
        return value, value >= 0.85

    def far(self):
        sizes, metric = (self.copying(), self.generalising()), "rmse_linear_to_gaussian"
        pairs = [[self.at(metric, n, s) for n in sizes] for s in self.levels]
        value = min(few / many for few, many in pairs)
        return value, value >= 2

    def trap(self):
        n = min(sizes_in(self.table, "weight_nmse", arch="memoriser"))
        value = max(self.at("weight_nmse_net", n, s, "memoriser", "train") for s in self.levels)
        return value, value <= 0.01

    def exact(self):
        metrics = ("weight_nmse", "weight_noise")
        pairs = [[self.at(m, None, s, "mixture") for m in metrics] for s in self.levels]
        value = max(whole / noise for whole, noise in pairs)
        return value, value <= 2


_WEIGHT = "relative squared distance of the distilled weights from the Gaussian ones"
_MAP = "distance of the distilled map from the Gaussian one"
TESTS = (
    (
        "a",
        f"{_WEIGHT}, generalising net, largest over sigma, noise subtracted",
        "<= 0.1",
        _Reader.weights,
    ),
    ("b", f"{_MAP} over that of the net, same net", "<= 0.5", _Reader.function),
    (
        "c",
        "overlap of the 20 leading left directions, sigma <= 1, same net",
        ">= 0.85",
        _Reader.overlap,
    ),
    ("d", f"{_MAP}, copying over generalising net", ">= 2", _Reader.far),
    ("e", f"{_WEIGHT}, memoriser on its own images, noise subtracted", "<= 0.01", _Reader.trap),
    ("f", f"{_WEIGHT}, optimal denoiser of a mixture, over its noise", "<= 2", _Reader.exact),
)


def criteria(table, settings):
    """E4.a to E4.f."""
    return verdicts("E4", TESTS, _Reader, table, settings)
