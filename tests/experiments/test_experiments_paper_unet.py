"""E15: the network of Halder 2024, its chain against the exact one, and the criteria."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lindiff.experiments import _halder_training
from lindiff.experiments import e15_paper_unet as e15
from lindiff.experiments._halder_training import Schedule, Training, sample, train
from lindiff.experiments._halder_unet import HalderUNet, time_code
from lindiff.experiments.rows import Row, Table
from lindiff.experiments.units import Context
from lindiff.memorisation import pixel_distance_mean
from lindiff.multistep import network_schedule_variance

SMOKE, FULL = e15.PRESETS["smoke"], e15.PRESETS["h200"]
CONTEXT = Context("e15_paper_unet", "smoke")
WHERE = {"arch": e15.ARCH, "dataset": e15.DATASET}


# ---- the network


def counted_by_hand(a, b, c, d, code):
    """Convolutions without bias, two numbers per normalised channel, linear maps with bias."""

    def double(i, m, o):
        return 9 * i * m + 2 * m + 9 * m * o + 2 * o

    def level(i, m, o):
        return double(i, i, i) + double(i, m, o) + (code + 1) * o

    def attention(w):  # Two layer norms; inputs 3 w by w, output and two more maps w by w.
        return 2 * 2 * w + 6 * w * w + 6 * w

    found = double(1, a, a) + level(a, b, b) + level(b, c, c) + level(c, d, d)
    found += attention(c) + attention(d) + attention(b) + 2 * double(d, d, d)
    found += level(d + c, (d + c) // 2, b) + level(2 * b, b, a) + level(2 * a, a, a)
    return found + a + 1


@pytest.mark.parametrize(
    ("widths", "code", "count"),
    [((64, 128, 256, 256), 256, 15_510_657), ((3, 4, 8, 12), 6, None)],
)
def test_number_of_parameters(widths, code, count):
    found = sum(p.numel() for p in HalderUNet(widths, code).parameters())
    assert found == counted_by_hand(*widths, code)
    assert count is None or found == count


def test_shape_time_and_skips_matter():
    torch.manual_seed(0)
    net = HalderUNet((4, 4, 8, 8), 8).eval()
    x, times = torch.randn(3, 1, 16, 16), torch.tensor([1, 2, 3])
    with torch.no_grad():
        found = net(x, times)
        assert found.shape == x.shape
        assert not torch.allclose(found, net(x, times + 5))
        # An image's output is its own: neither batch nor order enters.
        torch.testing.assert_close(net(x[[2]], times[[2]]), found[[2]])
        shifted = x.clone()
        shifted[:, :, ::2] += 1e-2  # Rows of one sign survive only through the finest skip.
        shifted[:, :, 1::2] -= 1e-2
        assert not torch.allclose(net(shifted, times), found, atol=1e-4)


def test_time_code():
    found = time_code(torch.tensor([0, 7]), 4)
    wanted = [[0, 0, 1, 1], [np.sin(7), np.sin(0.07), np.cos(7), np.cos(0.07)]]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("widths", [(4, 4, 8), (4, 4, 6, 8), (0, 4, 8, 8)])
def test_widths_that_do_not_fit(widths):
    with pytest.raises(ValueError, match="`widths` must be four"):
        HalderUNet(widths, 8)


def test_other_bad_input():
    with pytest.raises(ValueError, match="`code` must be even"):
        HalderUNet((4, 4, 8, 8), 7)
    with pytest.raises(ValueError, match="8 divides S"):
        HalderUNet((4, 4, 8, 8), 8)(torch.zeros(1, 1, 12, 12), torch.zeros(1))
    with pytest.raises(ValueError, match="`n_steps` must be"):
        Schedule(0)
    rng = np.random.default_rng(0)
    for images, epochs in ((np.zeros((0, 8, 8)), 1), (np.zeros((2, 8, 8)), 0)):
        with pytest.raises(ValueError, match="nothing to train"):
            train(images, Schedule(2), Training(), epochs, rng)


# ---- the chain and the training


def ideal(schedule, shift=0):
    """The linear predictor of the noise for pixels of variance `e15.VARIANCE`."""
    kept = torch.tensor(schedule.kept)

    def predict(x, times):
        share = kept[times + shift].float()[:, None, None, None]
        return (1 - share).sqrt() / (share * e15.VARIANCE + 1 - share) * x

    return predict


def scores(made, variance):
    """Mean and variance in standard errors from 0 and `variance`."""
    size = made.size
    return (
        abs(made.mean()) / np.sqrt(variance / size),
        abs(made.var() - variance) / (variance * np.sqrt(2 / size)),
    )


@pytest.mark.parametrize("n_steps", [1, 10, 50, 200])
def test_sampler_against_the_exact_chain(n_steps):
    schedule = Schedule(n_steps)
    made = sample(ideal(schedule), schedule, 2000, 8, np.random.default_rng(1))
    exact = network_schedule_variance(e15.VARIANCE, n_steps, index="coded")
    assert max(scores(made, exact)) < 4
    other = network_schedule_variance(e15.VARIANCE, n_steps, index="consistent")
    assert scores(made, other)[1] > 4
    late = sample(ideal(schedule, -1), schedule, 2000, 8, np.random.default_rng(1))
    assert scores(late, exact)[1] > 4


class _Fixed(torch.nn.Module):
    """The ideal predictor, scaled by one weight that starts at 1."""

    def __init__(self, schedule):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.predict = ideal(schedule)

    def forward(self, x, times):
        return self.scale * self.predict(x, times)


@pytest.mark.parametrize(("first", "near"), [(0, True), (1, False)])
def test_training_noises_images_as_the_schedule_says(monkeypatch, first, near):
    schedule, rng = Schedule(10), np.random.default_rng(2)
    monkeypatch.setattr(_halder_training, "HalderUNet", lambda *arguments: _Fixed(schedule))
    images = np.sqrt(e15.VARIANCE) * rng.standard_normal((6000, 8, 8))
    loss = train(images, schedule, Training(learning_rate=0.0), 1, rng)[1]
    kept = schedule.kept[first : first + 10]  # Times 0 to K - 1, all equally likely.
    errors = kept * e15.VARIANCE / (kept * e15.VARIANCE + 1 - kept)
    # Between images the error per pixel varies by its time; within them, by 2 / 64.
    error = np.sqrt((errors.var() + np.mean(errors**2) * 2 / 64) / len(images))
    assert (abs(loss - errors.mean()) < 4 * error) == near


def test_training_lowers_the_loss():
    images = 0.2 * np.random.default_rng(0).standard_normal((20, 8, 8))
    short, long = (
        train(
            images, Schedule(50), Training((8, 8, 8, 8), 8, 10, 2e-3), n, np.random.default_rng(0)
        )
        for n in (1, 40)
    )
    assert (short[2], long[2]) == (2, 80)
    assert long[1] < 0.8 * short[1]


# ---- the units


def numbers(rows):
    return [(row.metric, row.seed, row.value) for row in rows]


def test_cells_are_reproducible_and_do_not_depend_on_the_block():
    arguments = SMOKE, 4, 20, e15.EPOCHS
    both = numbers(e15.cell(CONTEXT, *arguments, (0, 2)))
    assert both == numbers(e15.cell(CONTEXT, *arguments, (0, 2)))
    apart = [numbers(e15.cell(CONTEXT, *arguments, (i, i + 1))) for i in range(2)]
    assert both == apart[0] + apart[1]
    assert [v for *_, v in apart[0]] != [v for *_, v in apart[1]]


@pytest.mark.parametrize("preset", e15.PRESETS)
def test_the_control_has_as_many_steps_as_the_largest_set(preset):
    settings = e15.PRESETS[preset]
    assert settings.epochs(settings.sizes[-1], e15.EPOCHS) == settings.n_epochs
    small, large = settings.sizes[0], settings.sizes[-1]
    steps = settings.epochs(small, e15.STEPS) * settings._batches(small)
    assert steps == settings.n_epochs * settings._batches(large)
    assert steps > settings.n_epochs * settings._batches(small)


def test_gradient_steps_of_the_paper():
    found = [FULL.n_epochs * FULL._batches(n) for n in FULL.sizes]
    assert found == [10, 20, 40, 80]


@pytest.mark.parametrize("preset", e15.PRESETS)
def test_units_cover_every_repetition_once(preset):
    settings = e15.PRESETS[preset]
    found = [
        (*unit.arguments[1:4], repetition)
        for unit in e15.units(settings)[1:]
        for repetition in range(*unit.arguments[4])
    ]
    assert len(found) == len(set(found)) == len(settings.cells) * settings.n_repetitions


def test_theory_agrees_with_the_literature():
    table = Table(e15.theory(CONTEXT, replace(FULL, n_reference=10_000)))
    for index, wanted in (
        ("coded", (0.122, 0.0, 0.00019)),
        ("consistent", (0.514, 0.00405, 0.00015)),
    ):
        found = table.curve("kl", "step", split=index)[1]
        np.testing.assert_allclose(found, wanted, atol=5e-4)
    assert table.value("floor") == pytest.approx(13.44, abs=0.005)
    # The criterion of a perfect generator is biased: -0.16 at 45 training images (E-6).
    bias = e15._scaled(pixel_distance_mean(10, 45)) - table.value("floor")
    assert bias == pytest.approx(-0.16, abs=0.01)


@pytest.mark.parametrize(("shift", "near"), [(0.0, True), (0.1, False)])
def test_distances_of_a_perfect_generator_reach_the_floor(shift, near):
    rng = np.random.default_rng(3)

    def draw(size):
        return e15.MEAN + e15.STD * rng.standard_normal((size, 8, 8))

    found = [
        {
            r.metric: r.value
            for r in e15._distances(2 * draw(10) - 1 + shift, draw(20), draw(50), {})
        }
        for _ in range(30)
    ]
    for metric, size in (("e_og", 50), ("e_tg", 20)):
        values = np.array([each[metric] for each in found])
        wanted = e15._scaled(pixel_distance_mean(10, size))
        assert (abs(values.mean() - wanted) < 4 * e15._error(values)) == near
    for each in found:
        assert each["gap"] == each["e_tg"] - each["e_og"]
        assert each["tg_above_og"] == (each["gap"] > 0)


def test_distances_see_clamped_and_moments_unclamped_pixels():
    made = np.random.default_rng(4).standard_normal((10, 8, 8)) * 3
    images = np.full((20, 8, 8), 0.5)
    clamped = e15._distances(np.clip(made, -1, 1), images, images, {})
    assert numbers(e15._distances(made, images, images, {})) == numbers(clamped)
    found = {row.metric: row.value for row in e15._moments(made, {})}
    assert found["pixel_std"] == pytest.approx(made.std() / 2)
    assert found["pixel_mean"] == pytest.approx(0.5 + made.mean() / 2)
    ratio = made.var() / 0.04
    wanted = 0.5 * (ratio - 1 - np.log(ratio) + made.mean() ** 2 / 0.04)
    assert found["kl"] == pytest.approx(wanted)


# ---- the criteria

BEST = {50: 10, 250: 50, 550: 200, 1050: 200}
SPREAD = (-0.2, 0.0, 0.2)


def expected():
    """A table as the paper says: the best K grows with n, and only with training time."""
    rows = [Row("floor", 13.42, **{**WHERE, "arch": ""})]
    for k, n, kind in FULL.cells:
        best = BEST[1050 if kind == e15.STEPS else n]
        distance = 15.0 + abs(np.log(k / best))
        std = 0.5 if n == 50 else 0.17
        for seed, noise in enumerate(SPREAD):
            at = {**WHERE, "step": k, "N": n, "split": kind, "seed": seed}
            rows += [
                Row("e_og", distance + noise, **at),
                Row("gap", noise, **at),
                Row("pixel_std", std + 0.01 * noise, **at),
            ]
    linear = {**WHERE, "arch": "linear"}
    return rows + [Row("pixel_std", 0.1, step=k, split="coded", **linear) for k in FULL.steps]


def judged(rows):
    return {c.id: c for c in e15.criteria(Table(rows), FULL)}


def changed(metric, change, **conditions):
    found = [
        replace(row, value=change(row.value))
        if row.metric == metric and all(getattr(row, k) == v for k, v in conditions.items())
        else row
        for row in expected()
    ]
    assert found != expected()
    return found


def test_the_table_as_expected_passes():
    found = judged(expected())
    assert {c.id: c.verdict for c in found.values() if not c.passed} == {}
    assert len(found) == 7
    assert found["E15.a.2"].value == 20
    assert "n = 1050" in found["E15.a.2"].text


PLAIN = {"split": e15.EPOCHS}


@pytest.mark.parametrize(
    ("name", "metric", "change", "where"),
    [
        ("a.1", "e_og", lambda v: v - 9, {"N": 550, "step": 10, **PLAIN}),
        ("a.2", "e_og", lambda v: v - 9, {"N": 1050, "step": 10, **PLAIN}),
        ("b", "e_og", lambda v: v - 9, {"N": 50, "step": 50, "split": e15.STEPS}),
        ("c", "e_og", lambda v: v - 9, {"N": 50, "step": 200, "split": e15.STEPS}),
        ("d", "gap", lambda v: v + 0.3, {"N": 250, "step": 50}),
        ("d", "gap", lambda v: v - 0.3, {"N": 50, "split": e15.STEPS}),
        ("e.1", "pixel_std", lambda v: v + 0.5, {"N": 1050, "step": 200}),
        ("e.2", "pixel_std", lambda v: v + 0.05, {"N": 1050, "step": 200}),
        ("e.2", "pixel_std", lambda v: v - 0.15, {"N": 1050, "step": 200}),
    ],
)
def test_each_criterion_can_fail(name, metric, change, where):
    assert judged(changed(metric, change, **where))[f"E15.{name}"].verdict == "failed"


def test_single_repetitions_are_not_judged():
    found = judged([row for row in expected() if row.seed in (None, 0)])
    assert all(c.verdict == "not judged" for c in found.values())
    assert "fewer than two" in found["E15.a.1"].reason
