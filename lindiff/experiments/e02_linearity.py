"""E2: a network is the more linear, the more images it has been trained on."""

from dataclasses import dataclass

import numpy as np

from lindiff.experiments import _measures, nets
from lindiff.experiments._net_criteria import NotJudgeable, between, near, net, sizes_in
from lindiff.experiments._net_plans import PLANS, Plan
from lindiff.experiments._subjects import network
from lindiff.experiments.rows import judge
from lindiff.experiments.units import Unit

TITLE = "Linearity of networks against the number of training images"
NEEDS_GPU = True
LEAST = {"toyfaces": 0.95}
CLEAN = "clean"


@dataclass(frozen=True)
class Settings:
    """The first networks of E1, and one without preconditioning at the largest N."""

    plan: Plan
    seed: int = 0


PRESETS = {name: Settings(plan) for name, plan in PLANS.items()}


def units(settings):
    """One unit for each N, and the ablation."""
    plan = settings.plan
    ends = [min(plan.sizes), plan.largest]
    sizes = [*ends, *(n for n in plan.sizes if n not in ends)]
    found = [Unit(f"linearity-N{n}", one_size, (plan, plan.config(n))) for n in sizes]
    ablation = plan.config(plan.largest, kind=CLEAN)
    return [*found, Unit("without-preconditioning", one_net, (plan, ablation))]


def one_net(context, plan, config):
    """Return the linearity of one network."""
    subject = network(context, config, n_test=plan.n_test)
    return _measures.linearity_rows(subject, plan.levels, plan.n_pairs)


def one_size(context, plan, config):
    """Return the linearity of a network and of both closed forms on its images."""
    subject = network(context, config, n_test=plan.n_test)
    rows = _measures.linearity_rows(subject, plan.levels, plan.n_pairs)
    for name in ("gaussian", "memoriser"):
        rows += _measures.linearity_rows(subject.closed(name), plan.levels, plan.n_pairs)
    values = nets.population(config.data, config.size, plan.n_population).eigenvalues
    mean = float(subject.gaussian.mean.double().square().sum())
    return [
        *rows,
        subject.row("sigma_collapse", _measures.collapse_level(values, config.n_images)),
        subject.row("sigma_speciation", float(values.max()) ** 0.5),
        subject.row("mean_square_norm", mean),
        subject.row("sum_square_eigenvalues", float(values.double().square().sum())),
    ]


def criteria(table, settings):
    """E2.a to E2.f; the last is the ablation."""
    plan = settings.plan
    arch, data = plan.arch, plan.data

    def curve(n, of=arch, metric="ls_centred"):
        sigma, value, _ = table.curve(metric, "sigma", N=n, arch=of, subset=1)
        return sigma, value

    def at(n, sigma, of=arch):
        return table.value("ls_centred", N=n, arch=of, subset=1, sigma=sigma)

    def sizes():
        return sizes_in(table, "ls_centred", arch=arch)

    def grows():
        dips = np.array([curve(n)[1].min() for n in sizes()])
        if len(dips) < 2:
            raise NotJudgeable("growth needs two sizes N")
        falls = -np.diff(dips)[np.diff(dips) < 0]
        return falls.max(initial=0.0), len(falls) <= 1 and falls.max(initial=0.0) <= 0.01

    def dips():
        levels = between(curve(16)[0], 0.2, 1.0)
        value = min(at(16, s) for s in levels)
        return value, value <= 0.90

    def above_memoriser():
        levels = between(curve(16)[0], 0.2, 1.0)
        value = min(at(16, s) - at(16, s, "memoriser") for s in levels)
        return value, value >= -0.02

    def straight():
        n = max(sizes())
        value = min(at(n, s) for s in between(curve(n)[0], 0.1, 5.0))
        return value, value >= LEAST.get(data, 0.85)

    def beyond_memoriser():
        n = max(sizes())
        [sigma] = near(curve(n)[0], [0.2])
        value = at(n, sigma) - at(n, sigma, "memoriser")
        return value, value >= 0.05

    def place():
        n = min(sizes())
        sigma, value = curve(n)
        where = sigma[value.argmin()]
        low = net(table, "sigma_collapse", N=n) / 4
        high = 2 * net(table, "sigma_speciation", N=n)
        return where, low <= where <= high

    def ablation():
        n = max(sizes())
        levels = between(curve(n)[0], 20.0, 80.0)
        value = min(at(n, s) - at(n, s, f"{arch}+{CLEAN}") for s in levels)
        return value, value >= 0.05

    score = "centred linearity score"
    beyond = "lead of a network over the memoriser in it"
    tests = [
        ("a", f"largest fall of the least {score} from one N to the next", "at most one, <= 0.01", grows),
        ("b.1", f"least {score} for sigma in [0.2, 1], N = 16", "<= 0.90", dips),
        ("b.2", f"{score}: {beyond}, sigma in [0.2, 1], N = 16", ">= -0.02", above_memoriser),
        (
            "c.1",
            f"least {score} for sigma in [0.1, 5], largest N",
            f">= {LEAST.get(data, 0.85)}",
            straight,
        ),
        ("c.2", f"{score}: {beyond} at sigma = 0.2, largest N", ">= 0.05", beyond_memoriser),
        ("d", "sigma of the dip, smallest N", "in [sigma_C / 4, 2 sigma_S]", place),
        ("e.1", "raw score of the Gaussian denoiser, least over sigma", "< 1", lambda: _raw(table)),
        ("e.2", "its relative defect at sigma = 80", "0.29 +- 0.02", lambda: _plateau(table)),
        ("f", f"{score} lost without preconditioning, sigma >= 20", ">= 0.05", ablation),
    ]
    return [judge(f"E2.{i}", text, limit, test, dataset=data) for i, text, limit, test in tests]


def _raw(table):
    n = max(sizes_in(table, "ls_raw", arch="gaussian"))
    value = table.curve("ls_raw", "sigma", N=n, arch="gaussian")[1].min()
    return value, value < 1 - 1e-6


def _plateau(table):
    n = max(sizes_in(table, "nmse_raw", arch="gaussian"))
    value = table.value("nmse_raw", N=n, arch="gaussian", sigma=80.0)
    norm = net(table, "mean_square_norm", N=n)
    rest = net(table, "sum_square_eigenvalues", N=n) / 80.0**2
    if norm < 10 * rest:
        raise NotJudgeable(f"the mean does not dominate at sigma = 80: {norm:.3g} and {rest:.3g}")
    return value, abs(value - 0.29) <= 0.02
