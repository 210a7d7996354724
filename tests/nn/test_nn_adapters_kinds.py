"""Everything that a user of diffusers may hand to an adapter: right, or refused by a sentence."""

import inspect
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lindiff import denoisers, schedules
from lindiff.nn import adapters, diagnostics, sampling
from lindiff.sampling import sample

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning:(diffusers|numpy)")
T, SHAPE = 50, (1, 4, 4)
CLEAN, NOISE, OUT = torch.randn(3, 2, *SHAPE, generator=torch.Generator().manual_seed(0))
OPTIONS = {
    "epsilon": {},
    "v": {"prediction_type": "v_prediction"},
    "clean": {"prediction_type": "sample"},
    "scaled": {"beta_schedule": "scaled_linear"},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "betas": {"trained_betas": np.linspace(1e-3, 0.3, T)},
    "no signal": {"rescale_betas_zero_snr": True},
}


def schedulers():
    """Every scheduler class that is installed, with all settings that it takes."""
    found = {}
    for name in dir(diffusers):
        if not name.endswith("Scheduler") or name.startswith("Flax"):
            continue
        kind = getattr(diffusers, name)
        takes = inspect.signature(kind.__init__).parameters
        plain = {"num_train_timesteps": T, "clip_sample": False, "prediction_type": "epsilon"}
        for label, options in OPTIONS.items():
            if not options.keys() <= takes.keys():
                continue
            kept = {key: value for key, value in plain.items() if key in takes} | options
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found[f"{name} {label}"] = kind(**kept)
            except (TypeError, ImportError, NotImplementedError, ValueError):
                continue  # More arguments, packages or settings than it is asked for here.
    return found


SCHEDULERS = schedulers()
TABLES = [
    name
    for name, scheduler in SCHEDULERS.items()
    if hasattr(scheduler, "alphas_cumprod") and "prediction_type" in scheduler.config
]


def level_of(scheduler, t):
    power = scheduler.alphas_cumprod[t].double().item()
    return math.sqrt((1 - power) / power)


def their_clean(scheduler, out, place, noisy, seen):
    """The clean images that a scheduler makes of an answer, by its own formula, or None."""
    if scheduler.config.get("algorithm_type") == "deis":
        return None  # It goes on with the noise.
    try:
        if hasattr(scheduler, "convert_model_output"):
            scheduler._step_index = int((scheduler.timesteps == place).nonzero()[0])
            return scheduler.convert_model_output(out, sample=seen)
        return scheduler.step(out, place, noisy).pred_original_sample
    except (AttributeError, ValueError, TypeError, NotImplementedError):
        return None


def test_every_scheduler_with_a_table_by_its_own_steps():
    """The model sees what the scheduler shows it, and its answer means what it means there."""
    checked = set()
    for name in TABLES:
        scheduler = SCHEDULERS[name]
        if "Inverse" in name:
            continue  # They step upwards and do not count their levels as the others do.
        for t in (1, 20, T - 2):
            scheduler.set_timesteps(T)
            places = scheduler.timesteps[(scheduler.timesteps - t).abs() < 1e-4]
            if len(places) == 0:
                continue
            place, asked = places[0], []

            def model(x, at, asked=asked):
                asked.append((x, at))
                return OUT

            ours = adapters.from_diffusers(model, scheduler, SHAPE)
            sigma = level_of(scheduler, t)
            found = ours.denoise((CLEAN + sigma * NOISE).flatten(1), sigma).reshape(CLEAN.shape)
            noisy = scheduler.add_noise(CLEAN, NOISE, places[:1])
            seen = scheduler.scale_model_input(noisy, place)
            torch.testing.assert_close(asked[0][0], seen, rtol=0, atol=5e-6)
            torch.testing.assert_close(asked[0][1], torch.full((2,), float(t)), rtol=0, atol=1e-4)
            expected = their_clean(scheduler, OUT, place, noisy, seen)
            if expected is not None:
                checked.add(name)
                torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-6 * (1 + sigma))
    assert len({name.split()[0] for name in checked}) >= 13
    assert {"EulerDiscreteScheduler no signal", "DPMSolverMultistepScheduler v"} <= checked


def test_schedulers_without_a_table_are_refused_by_name():
    refused = [name for name in SCHEDULERS if name not in TABLES]
    assert len(refused) >= 12
    for name in refused:
        with pytest.raises(ValueError, match=r"`scheduler` must have .* from_function"):
            adapters.from_diffusers(lambda x, t: x, SCHEDULERS[name], SHAPE)
    kinds = (
        diffusers.UniPCMultistepScheduler(use_flow_sigmas=True),
        diffusers.EulerDiscreteScheduler(
            timestep_type="continuous", prediction_type="v_prediction"
        ),
    )
    for scheduler, reason in zip(kinds, ("use_flow_sigmas", "continuous"), strict=True):
        with pytest.raises(ValueError, match=f"`scheduler` .* {reason}.* from_function"):
            adapters.from_diffusers(lambda x, t: x, scheduler, SHAPE)


def weight(x, level):
    return torch.tanh(x) * torch.cos(level).reshape(-1, 1, 1, 1)


def test_the_remedy_for_sigmas_and_flows_is_their_own_step():
    x = CLEAN + 0.7 * NOISE
    edm = diffusers.EDMEulerScheduler()
    edm.set_timesteps(10)
    sigma = float(edm.sigmas[4])

    def preconditioned(x, sigma):
        """Karras et al. 2022, table 1, with sigma_data = 0.5."""
        s = sigma.reshape(-1, 1, 1, 1)
        total = s**2 + 0.25
        inner = weight(x / total.sqrt(), sigma.log() / 4)
        return 0.25 / total * x + 0.5 * s / total.sqrt() * inner

    seen = edm.scale_model_input(x, edm.timesteps[4])
    theirs = edm.step(weight(seen, edm.timesteps[4]), edm.timesteps[4], x).pred_original_sample
    ours = adapters.from_function(preconditioned, SHAPE).denoise(x.flatten(1), sigma)
    torch.testing.assert_close(ours, theirs.flatten(1), rtol=1e-5, atol=1e-5)

    flow = diffusers.FlowMatchEulerDiscreteScheduler()
    flow.set_timesteps(10)
    s, at = float(flow.sigmas[9]), flow.timesteps[9]
    assert flow.sigmas[10] == 0
    noisy = (1 - s) * CLEAN + s * NOISE
    theirs = flow.step(weight(noisy, at[None]), at, noisy).prev_sample

    def velocity(x, sigma):
        s = (sigma / (1 + sigma)).reshape(-1, 1, 1, 1)
        return (1 - s) * x - s * weight((1 - s) * x, 1000 * s.flatten())

    ours = adapters.from_function(velocity, SHAPE).denoise(noisy.flatten(1) / (1 - s), s / (1 - s))
    torch.testing.assert_close(ours, theirs.flatten(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "ours"),
    [
        ({}, schedules.linear_beta(1000)),
        ({"beta_start": 1e-6}, schedules.linear_beta(1000, 1e-6)),
        ({"beta_schedule": "squaredcos_cap_v2"}, schedules.cosine(1000)),
    ],
)
def test_levels_of_ones_own_reach_both_ends(options, ours):
    """The table of the scheduler has float32 rounding: 7e-3 of the first sigma at the worst."""
    law = denoisers.AffineDenoiser.from_moments([0.1] * 16, np.diag(np.linspace(0.2, 2.0, 16)))
    scheduler = diffusers.DDPMScheduler(1000, **options)

    def model(x, t):
        power = scheduler.alphas_cumprod[t[0]].double().item()
        noise = law.predict_noise(x.flatten(1).double().numpy(), power)
        return torch.from_numpy(noise).reshape(x.shape)

    network = adapters.from_diffusers(model, scheduler, SHAPE, timesteps="nearest")
    # All 1,000 levels, down to the first.
    theirs = sample(network, ours, 2, np.random.default_rng(0), dim=16)
    np.testing.assert_allclose(
        theirs, sample(law, ours, 2, np.random.default_rng(0), dim=16), atol=2e-3
    )
    for sigma in (0.9 * ours.sigma[0], 1.001 * ours.sigma[-1]):
        with pytest.raises(ValueError, match=r"`sigma` must lie between 0\.0\d{6,} and .* got"):
            network.denoise(np.zeros((1, 16)), sigma)


@pytest.mark.parametrize(
    "name",
    [
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "UniPCMultistepScheduler",
        "DDIMScheduler",
    ],
)
@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_tables_without_signal_at_the_end(name, betas):
    scheduler = getattr(diffusers, name)(
        beta_schedule=betas, rescale_betas_zero_snr=True, prediction_type="v_prediction"
    )
    asked, scheduler.alphas_cumprod = [], scheduler.alphas_cumprod.double()
    table = scheduler.alphas_cumprod.clone()
    ours = adapters.from_diffusers(
        lambda x, t: (asked.append(float(t[0])), OUT)[1], scheduler, SHAPE, timesteps="nearest"
    )
    assert torch.equal(scheduler.alphas_cumprod, table)
    ours.denoise(CLEAN.flatten(1), level_of(scheduler, 998))
    ours.denoise(CLEAN.flatten(1), level_of(scheduler, 0))
    assert asked == [998.0, 0.0]
    with pytest.raises(ValueError, match="`sigma` must lie between"):
        ours.denoise(CLEAN.flatten(1), 1e6)


def test_first_levels_without_noise_are_left_out():
    """betas of 1e-8 vanish in float32; the timesteps of the others stay."""
    scheduler = diffusers.DDPMScheduler(trained_betas=[1e-8, 1e-8, 0.1, 0.2])
    asked = []
    ours = adapters.from_diffusers(lambda x, t: (asked.append(t), OUT)[1], scheduler, SHAPE)
    ours.denoise(CLEAN.flatten(1), level_of(scheduler, 3))
    assert asked[0].tolist() == [3.0, 3.0]


class Net(torch.nn.Module):
    """A convolution with whatever else a network may have."""

    def __init__(self, channels=1, out=None, layer=torch.nn.Conv2d, classes=0, text=0):
        super().__init__()
        torch.manual_seed(0)
        self.layer = layer(channels, out or channels, 3, padding=1)
        self.classes = torch.nn.Embedding(classes, 1) if classes else None
        self.text = torch.nn.Linear(text, 1) if text else None

    def forward(self, x, t, class_labels=None, **conditions):
        out = self.layer(x)
        if self.classes is not None:
            if class_labels is None:
                raise ValueError("class_labels should be provided")
            out = out + self.classes(class_labels).reshape(-1, *[1] * (x.ndim - 1))
        if self.text is not None:
            text = conditions["encoder_hidden_states"].mean(1)
            out = out + self.text(text).reshape(-1, *[1] * (x.ndim - 1))
        return SimpleNamespace(sample=out)


def half(net):
    net = net.half().eval()
    return lambda x, t: net(x, t).sample


SIGMA = 0.7
SINGLE, CLASSES, TEXT = Net().eval(), Net(classes=5).eval(), Net(text=8).eval()
LABELS, WORDS = torch.tensor([3]), torch.randn(1, 5, 8)
# Name, model, image shape, options; then the noise that it predicts, or the message.
KINDS = [
    ("tensor", lambda x, t: SINGLE(x, t).sample, SHAPE, {}, lambda x: SINGLE(x, 0).sample),
    ("object", SINGLE, SHAPE, {}, lambda x: SINGLE(x, 0).sample),
    ("tuple", lambda x, t: (x, None), SHAPE, {}, lambda x: x),
    ("list", lambda x, t: [x], SHAPE, {}, lambda x: x),
    ("dict", lambda x, t: {"sample": x}, SHAPE, {}, lambda x: x),
    ("integers", lambda x, t: torch.ones_like(x).int(), SHAPE, {}, torch.ones_like),
    ("doubles", lambda x, t: x.double(), SHAPE, {}, lambda x: x),
    ("half module", Net().half().eval(), SHAPE, {}, lambda x: SINGLE(x, 0).sample),
    ("half function", half(Net()), SHAPE, {"dtype": torch.float16}, lambda x: SINGLE(x, 0).sample),
    ("variance, grey", Net(1, 2).eval(), SHAPE, {}, lambda x: Net(1, 2)(x, 0).sample[:, :1]),
    ("variance, colour", Net(3, 6).eval(), (3, 4, 4), {}, lambda x: Net(3, 6)(x, 0).sample[:, :3]),
    (
        "class",
        lambda x, t: CLASSES(x, t, LABELS.expand(len(x))),
        SHAPE,
        {},
        lambda x: SINGLE(x, 0).sample + float(CLASSES.classes.weight[3]),
    ),
    (
        "text",
        lambda x, t: TEXT(x, t, encoder_hidden_states=WORDS.expand(len(x), -1, -1)),
        SHAPE,
        {},
        lambda x: SINGLE(x, 0).sample + float(TEXT.text(WORDS.mean(1))),
    ),
    (
        "video",
        Net(2, layer=torch.nn.Conv3d).eval(),
        (2, 3, 4, 4),
        {},
        lambda x: Net(2, layer=torch.nn.Conv3d)(x, 0).sample,
    ),
    (
        "rows",
        Net(2, layer=torch.nn.Conv1d).eval(),
        (2, 64),
        {},
        lambda x: Net(2, layer=torch.nn.Conv1d)(x, 0).sample,
    ),
    ("vectors", lambda x, t: x, (5,), {}, lambda x: x),
    ("nothing", lambda x, t: None, SHAPE, {}, "`model` must return a tensor .* got NoneType"),
    ("empty tuple", lambda x, t: (), SHAPE, {}, "`model` must return a tensor .* got NoneType"),
    ("other dict", lambda x, t: {"x": x}, SHAPE, {}, "`model` must return a tensor .* or have it"),
    ("array", lambda x, t: x.numpy(), SHAPE, {}, "`model` must return a tensor .* got ndarray"),
    ("complex", lambda x, t: x + 1j, SHAPE, {}, "`model` must return a tensor .* got .*complex64"),
    ("one for all", lambda x, t: x[:1], SHAPE, {}, r"shape \(2, 1, 4, 4\), .* got \(1, 1, 4, 4\)"),
    ("grey of colour", lambda x, t: x[:, :1], (3, 4, 4), {}, r"`model` must .* got \(2, 1, 4, 4\)"),
    ("NaN", lambda x, t: x / 0, SHAPE, {}, "`model` returned NaN"),
    ("half, no type", half(Net()), SHAPE, {}, "`model` failed on float32 .* pass `dtype`"),
    ("no class", CLASSES, SHAPE, {}, "`model` failed on .* class, a text .* wrap"),
    ("no text", TEXT, SHAPE, {}, "`model` failed on .* class, a text .* wrap"),
    ("one argument", lambda x: x, SHAPE, {}, "`model` failed on .* wrap it by a function"),
    ("axis missing", Net(3).eval(), (3, 16), {}, r"`model` failed on float32 of shape \(2, 3, 16"),
    ("training", Net().train(), SHAPE, {}, "`model` is in training mode"),
    ("no type", SINGLE, SHAPE, {"dtype": "float16"}, "`dtype` must be a floating-point torch"),
    ("whole type", SINGLE, SHAPE, {"dtype": torch.int8}, "`dtype` must be a floating-point torch"),
    ("no weights", Net().to("meta").eval(), SHAPE, {}, "`model` has no weights yet"),
    ("no model", 3, SHAPE, {}, "`model` must be a network or a function"),
    ("no shape", SINGLE, 16, {}, "`image_shape` must be a tuple"),
    ("empty shape", SINGLE, (), {}, "`image_shape` must be a tuple"),
    ("zero side", SINGLE, (1, 0, 4), {}, "`image_shape` must be at least 1"),
    ("fractions", SINGLE, (1, 4.0, 4), {}, "`image_shape` must be an integer"),
]


@pytest.mark.parametrize(
    ("model", "shape", "options", "expected"), [k[1:] for k in KINDS], ids=[k[0] for k in KINDS]
)
def test_kinds_of_models(model, shape, options, expected):
    sides = shape if isinstance(shape, tuple) and shape and 0 not in shape else SHAPE
    x = torch.randn(2, *map(int, sides), generator=torch.Generator().manual_seed(1))

    def found():
        ours = adapters.from_diffusers(model, diffusers.DDPMScheduler(), shape, **options)
        return ours.denoise(x.flatten(1), SIGMA)

    if isinstance(expected, str):
        with pytest.raises((ValueError, TypeError, RuntimeError), match=expected):
            found()
        return
    with torch.no_grad():
        noise = expected(x / math.sqrt(1 + SIGMA**2))
    torch.testing.assert_close(found(), (x - SIGMA * noise).flatten(1), rtol=2e-3, atol=2e-3)


POINTS = np.random.default_rng(0).normal(size=(4, 16))


def read_only(points):
    points = points.astype(np.float32)
    points.flags.writeable = False
    return points


# Name, x, sigma; then the clean answer x / (1 + sigma^2) of these, or the message.
ASKED = [
    ("double", POINTS, 1.0, POINTS / 2),
    ("list", POINTS.tolist(), 1.0, POINTS / 2),
    ("integers", [[2] * 16], 1.0, np.ones((1, 16))),
    ("read only", read_only(POINTS), 1.0, POINTS / 2),
    ("reversed", POINTS[::-1], 1.0, POINTS[::-1] / 2),
    ("columns first", np.asfortranarray(POINTS), 1.0, POINTS / 2),
    ("other bytes", POINTS.astype(">f8"), 1.0, POINTS / 2),
    ("half", POINTS.astype(np.float16), 1.0, POINTS / 2),
    ("gradient", torch.tensor(POINTS, requires_grad=True), 1.0, POINTS / 2),
    ("stride", torch.tensor(POINTS.T.copy()).T, 1.0, POINTS / 2),
    ("bfloat16", torch.tensor(POINTS).bfloat16(), 1.0, POINTS / 2),
    ("one point", POINTS[0], 1.0, POINTS[0] / 2),
    ("no points", np.zeros((0, 16)), 1.0, np.zeros((0, 16))),
    ("no points, tensor", torch.zeros(0, 16), 1.0, np.zeros((0, 16))),
    ("levels", POINTS, [0.0, 1.0, 2.0, 3.0], POINTS / np.array([[1], [2], [5], [10]])),
    ("NaN", np.full((1, 16), np.nan), 1.0, "`x` has NaN"),
    ("NaN, tensor", torch.full((1, 16), torch.nan), 1.0, "`x` has NaN"),
    ("integer tensor", torch.ones(2, 16, dtype=torch.int64), 1.0, "`x` must hold floating"),
    ("images", torch.ones(2, 1, 4, 4), 1.0, r"`x` .* got \(2, 1, 4, 4\); flatten"),
    ("sparse", torch.ones(2, 16).to_sparse(), 1.0, "`x` must hold .* in a dense tensor"),
    ("text", [["a"] * 16], 1.0, "`x` must hold real numbers"),
    ("complex", POINTS + 1j, 1.0, "`x` must hold real numbers"),
    ("another size", POINTS[:, :9], 1.0, "`x` has 9 pixels in a row"),
    ("levels too many", POINTS, [1.0, 2.0], "`sigma` of shape .* does not fit"),
    ("negative level", POINTS, -1.0, "`sigma` must be >= 0"),
]


@pytest.mark.parametrize(
    ("x", "sigma", "expected"), [a[1:] for a in ASKED], ids=[a[0] for a in ASKED]
)
def test_kinds_of_points(x, sigma, expected):
    ours = adapters.from_function(lambda x, sigma: x / (1 + sigma.reshape(-1, 1, 1, 1) ** 2), SHAPE)
    if isinstance(expected, str):
        with pytest.raises((ValueError, TypeError), match=expected):
            ours.denoise(x, sigma)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ours.denoise(x, sigma)
    assert isinstance(found, torch.Tensor if isinstance(x, torch.Tensor) else np.ndarray)
    bound = 1e-2 if isinstance(x, torch.Tensor) and x.dtype == torch.bfloat16 else 1e-3
    assert tuple(found.shape) == expected.shape
    np.testing.assert_allclose(found.tolist(), expected.tolist(), rtol=0, atol=bound)


class Returns:
    def __init__(self, value):
        self.value = value

    def denoise(self, x, sigma):
        return self.value


@pytest.mark.parametrize("value", [None, 1.0, "x", [0.0], (torch.zeros(4, 16),)])
def test_denoisers_that_return_no_points_are_named(value):
    clean = torch.tensor(POINTS)
    for call in (
        lambda: diagnostics.mse(Returns(value), clean, 1.0),
        lambda: sampling.heun_samples(Returns(value), clean),
    ):
        with pytest.raises(TypeError, match=r"`denoiser` must return .* got"):
            call()
    with pytest.raises(TypeError, match=r"`denoiser` must return real points .* got .*complex"):
        diagnostics.mse(Returns(clean + 1j), clean, 1.0)
