"""E14: controls: shuffled pixels, Gaussian data, another architecture."""

from dataclasses import dataclass

from lindiff.experiments._net_criteria import NotJudgeable, verdicts
from lindiff.experiments._net_plans import PLANS, Plan
from lindiff.experiments.units import Unit

TITLE = "Controls: shuffled pixels, Gaussian data, another architecture"
VERSION = 1
NEEDS_GPU = True
SIGMA = 0.5
LEVELS = (0.2, 0.5, 1.0)
LARGE = 16384


@dataclass(frozen=True)
class Settings:
    """Networks at the largest N of `plan`.

    Parameters
    ----------
    plan : Plan
    mlp : str
    mlp_images : int
        Images that the multilayer perceptron sees: it learns slowly and is cheap.
    """

    plan: Plan
    mlp: str = "mlp-384"
    mlp_images: int = 4_000_000
    seed: int = 0

    def mlp_config(self, **changes):
        """Return the training of the multilayer perceptron."""
        plan = self.plan
        rate = {"learning_rate": 1e-3, "images_seen": self.mlp_images}
        return plan.config(plan.largest, arch=self.mlp, **rate, **changes)


PRESETS = {
    "smoke": Settings(PLANS["smoke"], "mlp-16", 1_600),
    "cpu": Settings(PLANS["cpu"], mlp_images=128_000),
    "t4": Settings(PLANS["t4"], mlp_images=1_000_000),
    "h100-slice": Settings(PLANS["h100-slice"], mlp_images=1_000_000),
    "h200": Settings(PLANS["h200"]),
}


def units(settings):
    """Both architectures on plain and on shuffled images; the U-Net on Gaussian data."""
    plan = settings.plan
    shuffled, gaussian = f"{plan.data}+shuffled", f"{plan.data}+gaussian"
    n = plan.largest
    configs = {
        "unet": plan.config(n),
        "unet-shuffled": plan.config(n, data=shuffled),
        "mlp": settings.mlp_config(),
        "mlp-shuffled": settings.mlp_config(data=shuffled),
    }
    found = [Unit(key, one_net, (plan, config)) for key, config in configs.items()]
    return [*found, Unit("unet-gaussian", on_gaussian, (plan, plan.config(n, data=gaussian)))]


def one_net(context, plan, config):
    """Return the errors of a network and its distance from the Gaussian denoiser."""
    from lindiff.experiments import _measures
    from lindiff.experiments._subjects import network

    subject = network(context, config, plan)
    return _measures.distance_rows(subject, LEVELS, plan.n_test, closed=("gaussian",))


def on_gaussian(context, plan, config):
    """Return linearity and bands of a network on data whose optimal denoiser is affine."""
    from lindiff.experiments import _measures, nets
    from lindiff.experiments._subjects import network

    subject = network(context, config, plan)
    base = config.data.partition("+")[0]
    law = nets.population(base, config.size, nets.GAUSSIAN_IMAGES, context.device)
    rows, arrays = _measures.direction_rows(subject, law, LEVELS)
    rows += _measures.linearity_rows(subject, LEVELS, plan.n_pairs)
    rows += _measures.distance_rows(subject, LEVELS, plan.n_test, closed=("gaussian",))
    return rows, arrays


class _Reader:
    """Values of E14 by architecture and data."""

    def __init__(self, table, settings):
        plan = settings.plan
        self.table, self.data, self.largest = table, plan.data, plan.largest
        self.unet, self.mlp = plan.arch, settings.mlp

    def _rise(self, arch):
        plain, shuffled = (
            self.table.value("mse", arch=arch, dataset=name, sigma=SIGMA)
            for name in (self.data, f"{self.data}+shuffled")
        )
        return shuffled / plain - 1

    def unet_suffers(self):
        value = self._rise(self.unet)
        return value, value >= 0.2

    def mlp_same(self):
        value = self._rise(self.mlp)
        return value, abs(value) <= 0.03

    def _on_gaussian(self):
        if self.largest < LARGE:
            n = self.largest
            raise NotJudgeable(f"it is meant at N = {LARGE}, the networks have N = {n}")
        return {"dataset": f"{self.data}+gaussian", "arch": self.unet}

    def straight(self):
        value = self.table.curve("ls_centred", "sigma", **self._on_gaussian())[1].min()
        return value, value >= 0.98

    def near_gaussian(self):
        value = self.table.curve("delta_band", "sigma", step=0, **self._on_gaussian())[1].max()
        return value, value <= 0.15

    def architectures(self):
        def ratio(metric):
            unet, mlp = (
                self.table.curve(metric, "sigma", arch=arch, dataset=self.data)[1]
                for arch in (self.unet, self.mlp)
            )
            return mlp / unet

        errors = ratio("mse")
        if abs(errors - 1).max() > 0.05:
            worst = max(errors, key=lambda ratio: abs(ratio - 1))
            raise NotJudgeable(
                f"their held-out errors differ by a factor of {worst:.2f}, more than 5 %"
            )
        distances = ratio("rmse_to_gaussian")
        worst = distances[abs(distances - 1).argmax()]
        return worst, abs(worst - 1) <= 0.35


TESTS = (
    (
        "a.1",
        "rise of the U-Net's held-out error by shuffled pixels, sigma = 0.5",
        ">= 0.2",
        _Reader.unet_suffers,
    ),
    ("a.2", "the same of the multilayer perceptron", "within 0.03", _Reader.mlp_same),
    ("b.1", "least centred linearity score on Gaussian data", ">= 0.98", _Reader.straight),
    ("b.2", "delta in modes 1 to 5 on Gaussian data", "<= 0.15", _Reader.near_gaussian),
    (
        "c",
        "distance from the Gaussian denoiser, perceptron over U-Net, sigma in [0.2, 1]",
        "within 0.35 of 1",
        _Reader.architectures,
    ),
)


def criteria(table, settings):
    """E14.a to E14.c."""
    return verdicts("E14", TESTS, _Reader, table, settings)
