"""The benchmark of training: its rows, its file, and what it does when a way fails."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from lindiff.nn.images import image_split  # noqa: E402
from tests.benchmarks import (  # noqa: E402
    training,
    training_page,
    training_plan,
    training_report,
    training_steps,
)
from tests.benchmarks.measure import Missing  # noqa: E402
from tests.benchmarks.training_plan import PRESETS, Task  # noqa: E402
from tests.benchmarks.training_report import Report, Row, compare  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture
def report(tmp_path):
    return Report(tmp_path / "rows.json", {"preset": "smoke"})


def stored(report):
    return json.loads(report.path.read_text())


@pytest.fixture
def sleeper(monkeypatch):
    """Ways whose steps take a known time, by a clock that nothing else moves."""
    now = [0.0]
    monkeypatch.setattr(training_report, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def way(seconds):
        def step():
            now[0] += seconds

        return lambda: training_steps.repeated(step)

    return way


@pytest.mark.slow
def test_smoke_measures_every_comparison(tmp_path):
    out = tmp_path / "training.json"
    rows = training.main(["--device", "cpu", "--budget", "300", "--out", str(out)])
    content = json.loads(out.read_text())
    assert content["complete"] and len(content["rows"]) == len(rows)
    assert list(tmp_path.iterdir()) == [out]
    found = {row["way"]: row for row in content["rows"]}
    measured = [
        "naive: eager, fp32, DataLoader",
        "eager, fp32",
        "eager, bf16",
        "one sweep of eight",
        "eight runs in a row",
        "stacked, eager: 2",
        "processes: 2",
    ]
    assert [way for way in measured if not found[way]["images_per_second"] > 0] == []
    assert found["eager, fp32"]["tflops"] > 0 and found["eager, fp32"]["peak_share"] > 0
    assert found["processes: 2"]["ratio"] > 0
    assert "needs a CUDA device" in found["graph, bf16"]["note"]
    assert not any("failed" in row["note"] for row in content["rows"])
    try:
        import diffusers  # noqa: F401
    except ImportError:
        return
    widths = [way for way in found if way.startswith("ours, C=52")]
    assert len(widths) == 1 and found[widths[0]]["ratio"] > 0
    assert found["diffusers, fp32"]["ratio"] == 1


def test_a_comparison_gives_the_ratio_of_known_rates(report, sleeper):
    builders = [("slow", sleeper(0.05), 4, 0.0), ("fast", sleeper(0.01), 4, 1.0)]
    report.peak = 1.0
    compare(report, PRESETS["smoke"], CPU, "naps", builders)
    slow, fast = report.rows
    assert slow.images_per_second == pytest.approx(80) and slow.ratio == 1
    assert [fast.ratio_low, fast.ratio, fast.ratio_high] == pytest.approx([5, 5, 5])
    assert fast.tflops == pytest.approx(3 * fast.images_per_second / 1e3)
    assert fast.peak_share == pytest.approx(fast.tflops)
    assert "| naps | fast |" in training_report.line(fast)


def test_ways_that_fail_leave_the_others(report, sleeper):
    def missing():
        raise Missing("no such library")

    def broken():
        return training_steps.repeated(lambda: 1 / 0)

    builders = [
        ("rival", missing, 1, 0.0),
        ("broken", broken, 1, 0.0),
        ("ours", sleeper(0.001), 1, 0.0),
    ]
    compare(report, PRESETS["smoke"], CPU, "three", builders)
    notes = {row.way: row.note for row in report.rows}
    assert notes["rival"] == "left out: no such library"
    assert notes["broken"].startswith("failed: ZeroDivisionError")
    ours = report.rows[-1]
    assert ours.images_per_second > 0 and ours.ratio is None and "rival" in ours.note


def test_rows_are_saved_at_once_and_survive_a_kill(report, monkeypatch):
    def first(report, settings, device):
        report.add(Row("first", "way", 1.0))
        raise RuntimeError("the device is gone")

    def killed(report, settings, device):
        raise KeyboardInterrupt

    tasks = [Task("first", first, 0), Task("second", killed, 0)]
    monkeypatch.setattr(training, "plan", lambda settings: tasks)
    with pytest.raises(KeyboardInterrupt):
        training.carry_out(report, PRESETS["smoke"], CPU, time.monotonic() + 100)
    content = stored(report)
    assert not content["complete"] and content["preset"] == "smoke"
    assert [row["note"] for row in content["rows"]] == [
        "",
        "failed: RuntimeError: the device is gone",
    ]


def test_what_does_not_fit_the_budget_is_named(tmp_path):
    out = tmp_path / "none.json"
    rows = training.main(["--device", "cpu", "--budget", "0", "--out", str(out)])
    assert len(rows) == len(training_plan.plan(PRESETS["smoke"]))
    assert all("budget" in row.note for row in rows)
    assert not json.loads(out.read_text())["complete"]


def test_the_plan_of_a_device_covers_the_grid():
    names = [task.name for task in training_plan.plan(PRESETS["h200"])]
    assert len(names) == len(set(names))
    for width in (16, 32, 64):
        for batch in (64, 256, 512):
            assert f"step, C={width}, batch {batch}" in names
    assert [f"several models at once, {n} processes" in names for n in (1, 2, 4, 8)] == [True] * 4


def test_without_diffusers_its_row_says_so(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    tasks = [Task("against diffusers", training_plan.against_diffusers, 0)]
    monkeypatch.setattr(training, "plan", lambda settings: tasks)
    assert training.carry_out(report, PRESETS["smoke"], CPU, time.monotonic() + 100)
    assert [row.note for row in report.rows] == ["left out: diffusers is not installed"]


def test_stacked_gradients_are_those_of_each_model():
    images = image_split("toyfaces", 32, size=8, n_test=1).train
    stacked = training_steps.StackedStepper(images, "mlp-16", 4, 3)
    torch.manual_seed(0)
    for value in stacked.weights.values():
        value.add_(0.1 * torch.randn_like(value))
    clean = images.take(torch.arange(12)).unflatten(0, (3, 4))
    sigma, noise = torch.rand(3, 4) + 0.1, torch.randn_like(clean)
    found = stacked.gradient(stacked.weights, clean, sigma, noise)
    for model in range(3):
        weights = {
            name: value[model].clone().requires_grad_() for name, value in stacked.weights.items()
        }
        loss = stacked._loss(weights, clean[model], sigma[model], noise[model])
        alone = torch.autograd.grad(loss, list(weights.values()))
        for name, gradient in zip(weights, alone, strict=True):
            assert torch.allclose(found[name][model], gradient, atol=1e-5, rtol=1e-4)
            assert not torch.allclose(found[name][model - 1], gradient, atol=1e-5, rtol=1e-4)


def test_a_stacked_step_moves_every_model_its_own_way():
    images = image_split("toyfaces", 32, size=8, n_test=1).train
    stacked = training_steps.StackedStepper(images, "unet-8", 4, 2)
    before = {name: value.clone() for name, value in stacked.weights.items()}
    stacked.step()
    stacked.step()
    moved = [
        sum(
            float((value[m] - before[name][m]).abs().sum())
            for name, value in stacked.weights.items()
        )
        for m in range(2)
    ]
    assert min(moved) > 0 and moved[0] != moved[1]


def test_the_status_page_shows_the_stored_rates():
    page = (Path(__file__).parents[2] / "book" / "status.md").read_text(encoding="utf-8")
    assert page.endswith(training_page.section())


def test_rows_that_a_device_could_not_measure_are_no_rates():
    _, rows, left = training_page.stored("h200")
    assert "against diffusers" in left and all(row.comparison not in left for row in rows)
    _, rows, left = training_page.stored("cpu")
    shown = training_page.section().split("on a CPU")[1]
    assert left == [] and "left out:" not in shown and "| graph, bf16 |" not in shown
    assert sum("left out: a CUDA graph needs" in row.note for row in rows) == 5
