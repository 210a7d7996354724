"""E0: identities of denoisers, training and collapse, each with a negative control."""

from dataclasses import dataclass

from lindiff.experiments import _denoiser_identities as denoisers
from lindiff.experiments import _training_identities as training
from lindiff.experiments.rows import Row, judge
from lindiff.experiments.units import Unit

TITLE = "Closed-form identities"
VERSION = 1

IDENTITIES = {
    "L-2": denoisers.score,
    "L-9": denoisers.minimum_loss,
    "L-10": denoisers.flow,
    "L-12": denoisers.affine_optimum,
    "L-14": denoisers.ridge_view,
    "L-15": denoisers.mixture_denoiser,
    "L-16": denoisers.high_noise,
    "L-17": denoisers.distillation,
    "L-18": denoisers.pythagoras,
    "L-22": denoisers.affine_defect,
    "B-5": training.collapse_level,
    "S-1": training.one_layer,
    "S-2": training.generated_variance,
    "S-3": training.two_layers,
    "G-2": training.random_features,
}


@dataclass(frozen=True)
class Settings:
    """Size of the experiment: points of a Monte Carlo average."""

    n_draws: int
    seed: int = 0


PRESETS = {
    "smoke": Settings(n_draws=20_000),
    "cpu": Settings(n_draws=200_000),
    "t4": Settings(n_draws=1_000_000),
    "h200": Settings(n_draws=1_000_000),
}


def units(settings):
    """One unit for each identity."""
    return [Unit(name, check, (settings, name)) for name in IDENTITIES]


def check(context, settings, name):
    """Error of one identity, its tolerance, and the error of its wrong version."""
    error, tolerance, control = IDENTITIES[name](settings.n_draws, settings.seed)
    shared = {"split": name, "n_eval": settings.n_draws}
    return [
        Row("error", error, **shared),
        Row("tolerance", tolerance, **shared),
        Row("control", control, **shared),
    ]


def criteria(table, settings):
    """One criterion for each identity: the error is within its tolerance, the control is not."""
    return [_criterion(table, name) for name in IDENTITIES]


def _criterion(table, name):
    def test():
        error, tolerance, control = (
            table.value(metric, split=name) for metric in ("error", "tolerance", "control")
        )
        return error, error <= tolerance < control

    found = table.where("tolerance", split=name)["value"]
    bound = f"<= {found[0]:.3g}, control above" if len(found) else "its tolerance"
    text = IDENTITIES[name].__doc__.strip().splitlines()[0].removeprefix(f"{name}: ").rstrip(".")
    return judge(f"E0.{name}", text, bound, test, run_ids=(name,))
