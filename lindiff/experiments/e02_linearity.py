"""E2: a network is the more linear, the more images it has been trained on."""

from dataclasses import dataclass

import numpy as np

from lindiff.experiments._net_criteria import NotJudgeable, between, net, sizes_in, verdicts
from lindiff.experiments._net_plans import PLANS, Plan
from lindiff.experiments.units import Unit

TITLE = "Linearity of networks against the number of training images"
VERSION = 1
NEEDS_GPU = True
LEAST = {"toyfaces": 0.95}
CLEAN = "clean"


@dataclass(frozen=True)
class Settings:
    """The first networks of E1, and one without skip connection or weights at the largest N."""

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
    from lindiff.experiments import _measures
    from lindiff.experiments._subjects import network

    subject = network(context, config, plan)
    return _measures.linearity_rows(subject, plan.levels, plan.n_pairs)


def one_size(context, plan, config):
    """Return the linearity of a network and of both closed forms on its images."""
    from lindiff.experiments import _measures, nets
    from lindiff.experiments._subjects import network

    subject = network(context, config, plan)
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


class _Reader:
    """Centred linearity scores by N; `least` is the bound of criterion c."""

    def __init__(self, table, settings):
        self.table, self.arch = table, settings.plan.arch
        self.least = LEAST.get(settings.plan.data, 0.85)

    def sizes(self):
        return sizes_in(self.table, "ls_centred", arch=self.arch)

    def levels(self, n, low, high):
        return between(self._curve(n)[0], low, high)

    def _curve(self, n):
        return self.table.curve("ls_centred", "sigma", N=n, arch=self.arch, subset=1)

    def at(self, n, sigma, of=None):
        arch = self.arch if of is None else of
        return self.table.value("ls_centred", N=n, arch=arch, subset=1, sigma=sigma)

    def lead(self, n, sigma):
        """Lead of a network over the memoriser of its training images."""
        return self.at(n, sigma) - self.at(n, sigma, "memoriser")

    def grows(self):
        dips = np.array([self._curve(n)[1].min() for n in self.sizes()])
        if len(dips) < 2:
            raise NotJudgeable("growth needs two sizes N")
        falls = -np.diff(dips)[np.diff(dips) < 0]
        return falls.max(initial=0.0), len(falls) <= 1 and falls.max(initial=0.0) <= 0.01

    def dips(self):
        value = min(self.at(16, s) for s in self.levels(16, 0.2, 1.0))
        return value, value <= 0.90

    def above_memoriser(self):
        value = min(self.lead(16, s) for s in self.levels(16, 0.2, 1.0))
        return value, value >= -0.02

    def straight(self):
        n = max(self.sizes())
        value = min(self.at(n, s) for s in self.levels(n, 0.1, 5.0))
        return value, value >= self.least

    def beyond_memoriser(self):
        value = self.lead(max(self.sizes()), 0.2)
        return value, value >= 0.05

    def place(self):
        n = min(self.sizes())
        sigma, value, _ = self._curve(n)
        where = sigma[value.argmin()]
        low = net(self.table, "sigma_collapse", N=n) / 4
        high = 2 * net(self.table, "sigma_speciation", N=n)
        return where, low <= where <= high

    def raw(self):
        n = max(sizes_in(self.table, "ls_raw", arch="gaussian"))
        value = self.table.curve("ls_raw", "sigma", N=n, arch="gaussian")[1].min()
        return value, value < 1 - 1e-6

    def plateau(self):
        n = max(sizes_in(self.table, "nmse_raw", arch="gaussian"))
        value = self.table.value("nmse_raw", N=n, arch="gaussian", sigma=80.0)
        norm = net(self.table, "mean_square_norm", N=n)
        rest = net(self.table, "sum_square_eigenvalues", N=n) / 80.0**2
        if norm < 10 * rest:
            raise NotJudgeable(f"the mean does not dominate at sigma 80: {norm:.3g}, {rest:.3g}")
        return value, abs(value - 0.29) <= 0.02

    def ablation(self):
        n, other = max(self.sizes()), f"{self.arch}+{CLEAN}"
        value = min(self.at(n, s) - self.at(n, s, other) for s in self.levels(n, 20.0, 80.0))
        return value, value >= 0.05


_SCORE = "centred linearity score"
_LEAD = f"lead of a network over the memoriser in {_SCORE}"
TESTS = (
    (
        "a",
        f"the least {_SCORE} over sigma grows with N, but for one fall at most; the largest fall",
        "<= 0.01",
        _Reader.grows,
    ),
    ("b.1", f"least {_SCORE} for sigma in [0.2, 1], N = 16", "<= 0.90", _Reader.dips),
    ("b.2", f"{_LEAD}, sigma in [0.2, 1], N = 16", ">= -0.02", _Reader.above_memoriser),
    ("c.1", f"least {_SCORE} for sigma in [0.1, 5], largest N", ">= {least}", _Reader.straight),
    ("c.2", f"{_LEAD}, sigma = 0.2, largest N", ">= 0.05", _Reader.beyond_memoriser),
    ("d", "sigma of the dip, smallest N", "in [sigma_C / 4, 2 sigma_S]", _Reader.place),
    (
        "e.1",
        "score of the Gaussian denoiser without subtracting the mean, least over sigma: the mean "
        "alone makes an affine map look non-linear",
        "< 1",
        _Reader.raw,
    ),
    ("e.2", "its relative defect at sigma = 80", "0.29 +- 0.02", _Reader.plateau),
    (
        "f",
        f"{_SCORE} lost where the network gives the clean image itself, its input still scaled, "
        "sigma >= 20",
        ">= 0.05",
        _Reader.ablation,
    ),
)


def criteria(table, settings):
    """E2.a to E2.f; the last is the ablation."""
    return verdicts("E2", TESTS, _Reader, table, settings)
