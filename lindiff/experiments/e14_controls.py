"""E14: controls: shuffled pixels, Gaussian data, another architecture."""

from dataclasses import dataclass

from lindiff.experiments import _measures, nets
from lindiff.experiments._net_criteria import NotJudgeable, between
from lindiff.experiments._net_plans import PLANS, Plan
from lindiff.experiments._subjects import network
from lindiff.experiments.rows import judge
from lindiff.experiments.units import Unit

TITLE = "Controls: shuffled pixels, Gaussian data, another architecture"
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
    "cpu": Settings(PLANS["cpu"], mlp_images=256_000),
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
    subject = network(context, config, n_test=plan.n_test)
    return _measures.distance_rows(subject, LEVELS, plan.n_test, closed=("gaussian",))


def on_gaussian(context, plan, config):
    """Return linearity and bands of a network on data whose optimal denoiser is affine."""
    subject = network(context, config, n_test=plan.n_test)
    base = config.data.partition("+")[0]
    law = nets.population(base, config.size, nets.GAUSSIAN_IMAGES).to(context.device)
    rows, arrays = _measures.direction_rows(subject, law, LEVELS)
    rows += _measures.linearity_rows(subject, LEVELS, plan.n_pairs)
    rows += _measures.distance_rows(subject, LEVELS, plan.n_test, closed=("gaussian",))
    return rows, arrays


def criteria(table, settings):
    """E14.a to E14.d."""
    plan = settings.plan
    unet, mlp, data = plan.arch, settings.mlp, plan.data

    def shuffling(arch):
        error = {
            name: table.value("mse", arch=arch, dataset=name, sigma=SIGMA)
            for name in (data, f"{data}+shuffled")
        }
        return error[f"{data}+shuffled"] / error[data] - 1

    def unet_suffers():
        value = shuffling(unet)
        return value, value >= 0.2

    def mlp_same():
        value = shuffling(mlp)
        return value, abs(value) <= 0.03

    def large():
        if plan.largest < LARGE:
            raise NotJudgeable(f"it is meant at N = {LARGE}, the networks have N = {plan.largest}")

    def straight():
        large()
        scores = table.curve("ls_centred", "sigma", dataset=f"{data}+gaussian", arch=unet)[1]
        return scores.min(), scores.min() >= 0.98

    def near_gaussian():
        large()
        value = max(
            table.value("delta_band", dataset=f"{data}+gaussian", arch=unet, sigma=s, step=0)
            for s in LEVELS
        )
        return value, value <= 0.15

    def architectures():
        def of(metric, arch):
            sigma, value, _ = table.curve(metric, "sigma", arch=arch, dataset=data)
            between(sigma, 0.2, 1.0)
            return value

        errors = of("mse", mlp) / of("mse", unet)
        if abs(errors - 1).max() > 0.05:
            raise NotJudgeable(f"their held-out errors differ by a factor up to {errors.max():.2f}")
        ratios = of("rmse_to_gaussian", mlp) / of("rmse_to_gaussian", unet)
        worst = ratios[abs(ratios - 1).argmax()]
        return worst, abs(worst - 1) <= 0.35

    tests = [
        ("a.1", "rise of the U-Net's held-out error by shuffled pixels, sigma = 0.5", ">= 0.2", unet_suffers),
        ("a.2", "the same of the multilayer perceptron", "within 0.03", mlp_same),
        ("b.1", "least centred linearity score on Gaussian data", ">= 0.98", straight),
        ("b.2", "delta in modes 1 to 5 on Gaussian data", "<= 0.15", near_gaussian),
        (
            "c",
            "distance from the Gaussian denoiser, perceptron over U-Net, sigma in [0.2, 1]",
            "within 0.35 of 1",
            architectures,
        ),
    ]
    return [judge(f"E14.{i}", text, limit, test, dataset=data) for i, text, limit, test in tests]
