"""The experiments on networks from end to end at smoke size, and the networks they share."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lindiff.experiments import (
    _measures,
    _registry,
    e01_memorisation,
    e02_linearity,
    e04_distillation,
    nets,
    runner,
)
from lindiff.experiments._net_plans import PLANS
from lindiff.experiments._subjects import Subject, network, stamp_of
from lindiff.experiments.units import Context, OutOfTime
from lindiff.nn import checkpoints
from lindiff.nn import diagnostics as dg
from lindiff.nn.closed_forms import GaussianDenoiser, MemorisingDenoiser
from lindiff.nn.trainer import TrainingDiverged
from tests.experiments.runs import first_units, killed_run, trainings

NAMES = ("e01", "e02", "e03", "e04", "e05", "e06", "e07", "e08", "e10", "e14")
PLAN = replace(PLANS["smoke"], images_seen=256, images_seen_small=256)


@pytest.fixture
def context(tmp_path):
    return Context("e01", "smoke", "cpu", tmp_path)


@pytest.fixture
def trained_now(monkeypatch):
    """The configurations that are trained during a test."""
    return trainings(monkeypatch)


@pytest.mark.parametrize("exp", NAMES)
@pytest.mark.parametrize("preset", PLANS)
def test_units_of_all_presets_have_their_own_keys(exp, preset):
    module = _registry.load(exp)
    keys = [unit.key for unit in module.units(module.PRESETS[preset])]
    assert len(keys) == len(set(keys)) > 0


def test_extremes_of_n_are_trained_first():
    settings = e01_memorisation.PRESETS["h200"]
    configs = [u.arguments[1] for u in e01_memorisation.units(settings) if u.key[:3] == "net"]
    assert [c.n_images for c in configs][:4] == [16, 16, 16384, 16384]
    assert {c.n_images for c in configs} == set(settings.plan.sizes)
    groups = {u.arguments[2] for u in e01_memorisation.units(settings) if u.key[:3] == "net"}
    assert all(len(group) <= settings.plan.together for group in groups)


def test_twins_differ_in_their_images_only():
    first, second = (PLAN.config(16, subset) for subset in (1, 2))
    assert replace(second, subset=1) == first
    mine, other = (nets.split_of(c, n_test=8).train.flat() for c in (first, second))
    assert not (mine[:, None] == other).all(2).any()


def test_run_goes_on_after_a_kill(tmp_path, monkeypatch):
    assert killed_run("e01", 4, 1, tmp_path) == -signal.SIGKILL
    units = tmp_path / "e01_memorisation" / "smoke" / "units"
    before = {path: path.read_bytes() for path in units.glob("*.json")}
    networks = tmp_path.glob("networks-*/nets/*/net-*.safetensors")
    weights = {path: path.read_bytes() for path in networks}
    assert len(before) == 1 and weights
    first_units(monkeypatch, "e01", 4)
    outcome = runner.run("e01", "smoke", out=tmp_path, device="cpu")
    assert outcome.complete and outcome.total == 4
    for path, content in (before | weights).items():
        assert path.read_bytes() == content


def test_network_is_trained_once(context, trained_now):
    config = PLAN.config(16)
    first = nets.trained(context, config, PLAN)
    again = nets.trained(context, config, PLAN)
    assert trained_now == [config]
    assert first.images_seen == again.images_seen == 256
    x = torch.randn(4, 64)
    assert torch.equal(first.net.denoise(x, 0.5), again.net.denoise(x, 0.5))
    other = replace(config, seed_weights=1)
    assert not torch.equal(
        first.net.denoise(x, 0.5), nets.trained(context, other, PLAN).net.denoise(x, 0.5)
    )
    assert trained_now == [config, other]


def test_deadline_ends_a_training_and_the_next_call_goes_on(context):
    config = PLAN.config(16)
    with pytest.raises(OutOfTime, match="16 images"):
        nets.trained(replace(context, ends_at=time.time() - 1), config, PLAN)
    assert not nets.is_trained(context, config)
    assert nets.trained(context, config, PLAN).images_seen == 256


def test_diverged_training_says_so(context):
    config = replace(PLAN.config(16), learning_rate=1e30, warmup=0)
    with pytest.raises(TrainingDiverged, match="in another folder with a lower learning rate"):
        nets.trained(context, config, PLAN)


def test_checkpoints_lead_to_the_network(context):
    config = replace(PLAN.config(16), first_checkpoint=64, checkpoints_per_decade=2)
    found = list(nets.at_checkpoints(context, config, PLAN))
    assert [each.images_seen for each in found] == nets.counts(config) == [64, 256]
    last = nets.trained(context, config, PLAN)
    x = torch.randn(4, 64)
    outputs = [each.net.denoise(x, 0.5) for each in (*found, last)]
    assert torch.equal(outputs[1], outputs[2])
    assert not torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"half")])
def test_a_lost_or_damaged_last_network_is_written_again(damage, context, trained_now):
    config = PLAN.config(16)
    found = nets.trained(context, config, PLAN)
    [path] = nets.folder_of(context, config).glob("net-*.safetensors")
    damage(path)
    again = nets.trained(context, config, PLAN)
    assert trained_now == [config, config]
    x = torch.randn(4, 64)
    assert torch.equal(found.net.denoise(x, 0.5), again.net.denoise(x, 0.5))


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"half")])
def test_a_lost_or_damaged_earlier_network_names_what_to_delete(damage, context):
    config = replace(PLAN.config(16), first_checkpoint=64, checkpoints_per_decade=2)
    whole = list(nets.at_checkpoints(context, config, PLAN))
    folder = nets.folder_of(context, config)
    damage(checkpoints.checkpoint_path(folder, 64))
    assert nets.trained(context, config, PLAN).images_seen == 256
    with pytest.raises(checkpoints.CorruptFile, match=f"delete the folder {folder.name} in"):
        list(nets.at_checkpoints(context, config, PLAN))
    shutil.rmtree(folder)
    assert len(list(nets.at_checkpoints(context, config, PLAN))) == len(whole)


def test_company_of_a_training_on_a_gpu(context, monkeypatch):
    asked = []

    def never(configs, *arguments, compile, **options):
        asked.append((set(configs), compile))
        return [TimeoutError()] * len(configs)

    monkeypatch.setattr(nets.trainer, "train_many", never)
    plan = replace(PLAN, compile=True, together=2)
    one, two, three = (plan.config(16, seed_weights=seed) for seed in range(3))
    plain = plan.config(16, kind="clean")
    for first, beside in ((one, (plain, two, three)), (plain, (one, two))):
        with pytest.raises(OutOfTime):
            nets.trained(replace(context, device="cuda"), first, plan, beside=beside)
    # At most `together` of them, all compiled or none.
    assert asked == [({one, two}, True), ({plain}, False)]


def test_samples_are_drawn_once(context, monkeypatch):
    config = PLAN.config(16)
    nets.trained(context, config, PLAN)
    drawn = nets.samples_of(context, config, PLAN, n_samples=5)
    monkeypatch.setattr(nets, "heun_samples", None)
    assert torch.equal(nets.samples_of(context, config, PLAN, n_samples=5), drawn)
    with pytest.raises(TypeError):
        nets.samples_of(context, config, PLAN, n_samples=6)


def test_damaged_samples_are_drawn_again(context):
    config = PLAN.config(16)
    nets.trained(context, config, PLAN)
    drawn = nets.samples_of(context, config, PLAN, n_samples=5)
    [path] = nets.folder_of(context, config).glob("samples-*.npz")
    path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(nets.samples_of(context, config, PLAN, n_samples=5), drawn)


def test_shuffled_images_keep_their_pixels():
    plain, shuffled = (
        nets.split_of(PLAN.config(16, data=name), n_test=8)
        for name in ("toyfaces", "toyfaces+shuffled")
    )
    for part in ("train", "test"):
        one, other = (getattr(split, part).flat() for split in (plain, shuffled))
        assert torch.equal(one.sort(1)[0], other.sort(1)[0])
        assert not torch.equal(one, other)
    order = [
        int((plain.train.flat()[:, [i]] == shuffled.train.flat()).all(0).nonzero()[0])
        for i in (3, 9)
    ]
    moved = [shuffled.test.flat()[:, i] for i in order]
    assert torch.equal(torch.stack(moved), plain.test.flat()[:, [3, 9]].T)


def test_gaussian_images_have_the_moments_of_the_set():
    config = PLAN.config(4000, data="toyfaces+gaussian")
    split = nets.split_of(config, n_test=8)
    law = nets.population("toyfaces", 8, nets.GAUSSIAN_IMAGES)
    found = GaussianDenoiser.from_images(split.train.flat())
    assert torch.allclose(found.mean, law.mean, atol=0.03)
    assert torch.allclose(found.eigenvalues[:5], law.eigenvalues[:5], rtol=0.1)
    other = nets.split_of(replace(config, subset=2), n_test=8)
    assert other.fingerprint != split.fingerprint


def test_cached_population_is_not_moved():
    moved = nets.population("toyfaces", 8, 500, "meta")
    assert moved.mean.device.type == "meta"
    assert nets.population("toyfaces", 8, 500).mean.device.type == "cpu"


def test_unknown_change_of_the_data_is_refused():
    with pytest.raises(ValueError, match=r"\+shuffled"):
        nets.split_of(PLAN.config(16, data="toyfaces+blurred"), n_test=8)


def test_stamp_tells_variants_apart():
    plain = stamp_of(PLAN.config(16))
    assert (plain["arch"], plain["C"], plain["seed"]) == ("unet-4", 4, 0)
    assert stamp_of(PLAN.config(16, kind="clean"))["arch"] == "unet-4+clean"
    assert stamp_of(PLAN.config(16, sigma_law="edm"))["arch"] == "unet-4+edm"


def test_wide_networks_learn_at_half_the_rate():
    assert PLAN.config(16, width=64).learning_rate == PLAN.config(16).learning_rate / 2


def subject(denoiser, n=40, d=16, seed=0):
    source = torch.Generator().manual_seed(seed)
    train, test = (torch.randn(k, d, generator=source) for k in (n, 60))
    return Subject(denoiser, train, test, {"N": n, "arch": "x"})


def values(rows, metric):
    return [row.value for row in rows if row.metric == metric]


def test_distances_agree_with_the_single_diagnostics():
    of = subject(None)
    of = replace(of, denoiser=of.memoriser)
    rows = _measures.distance_rows(of, [0.5], 60)
    expected = dg.rmse_between(of.memoriser, of.gaussian, of.test, 0.5).value
    assert values(rows, "rmse_to_gaussian") == [pytest.approx(expected)]
    assert values(rows, "rmse_to_memoriser") == [0.0]
    assert values(rows, "mse") == [pytest.approx(dg.mse(of.memoriser, of.test, 0.5).value)]


def test_each_level_is_evaluated_once():
    class Counting(MemorisingDenoiser):
        calls = 0

        def denoise(self, x, sigma):
            Counting.calls += 1
            return super().denoise(x, sigma)

    of = subject(Counting(torch.randn(8, 16)))
    _measures.distance_rows(of, [0.5, 1.0], 60)
    assert Counting.calls == 2


def test_training_images_repeat_to_the_number_asked_for():
    of = subject(None, n=4)
    assert torch.equal(of.images("train", 10), of.train[[0, 1, 2, 3, 0, 1, 2, 3, 0, 1]])
    assert len(of.images("test", 10)) == 10


def test_copies_and_new_images_are_told_apart():
    of = subject(None)
    copies = of.train + 1e-3
    rows = _measures.sample_rows(of, copies)
    assert values(rows, "f_mem") == [1.0]
    assert values(rows, "nn_cosine")[0] > 0.99
    assert values(rows, "std_ratio")[0] == pytest.approx(1, abs=0.01)
    rows = _measures.sample_rows(of, of.test)
    assert values(rows, "f_mem") == [0.0]
    assert values(rows, "gl_ratio")[0] == pytest.approx(1)
    assert values(_measures.sample_rows(of, 2 * of.test), "std_ratio")[0] > 1.7


def test_collapse_level_of_isotropic_data():
    # B-4: sigma_C^2 = s^2 / (N^(2/d) - 1).
    d, n, s2 = 32, 1024, 0.7
    found = _measures.collapse_level(torch.full((d,), s2), n)
    assert found**2 == pytest.approx(s2 / (n ** (2 / d) - 1), rel=1e-6)


def test_low_noise_limit_is_the_part_off_the_span():
    of = subject(None, n=5)
    found = _measures.off_span(of.train, of.test)
    gap = dg.rmse_between(of.gaussian, Identity(), of.test, 1e-3).value
    assert found == pytest.approx(gap, rel=1e-3)
    assert found > 0.5
    many = subject(None, n=60)
    assert _measures.off_span(many.train, many.test) == pytest.approx(0, abs=1e-6)


class Identity:
    def denoise(self, x, sigma):
        return x


def test_exact_mixture_has_the_moments_of_its_images():
    of, law = e04_distillation.exact_mixture(8, 20_000, "cpu")
    found = GaussianDenoiser.from_images(of.test)
    assert torch.allclose(found.mean, law.mean, atol=0.02)
    assert torch.allclose(found.eigenvalues[:5], law.eigenvalues[:5], rtol=0.06)


def test_ablation_has_no_skip_path(context):
    unit = e02_linearity.units(e02_linearity.PRESETS["smoke"])[-1]
    config = replace(unit.arguments[1], images_seen=64)
    of = network(context, config, PLAN)
    assert of.denoiser.kind == "clean"
    assert of.stamp["arch"].endswith("+clean")


def test_second_worker_takes_what_the_first_has_trained(tmp_path):
    code = (
        "import sys, pathlib\n"
        "from dataclasses import replace\n"
        "from lindiff.experiments import nets\n"
        "from lindiff.experiments._net_plans import PLANS\n"
        "from lindiff.experiments.units import Context\n"
        "context = Context('e01', 'smoke', 'cpu', pathlib.Path(sys.argv[1]))\n"
        "found = nets.trained(context, PLANS['smoke'].config(16), PLANS['smoke'])\n"
        "print(float(sum(p.sum() for p in found.net.parameters())))\n"
    )
    command = [sys.executable, "-c", code, os.fspath(tmp_path)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert said[0] == said[1] != ""


def test_checkpoint_of_another_training_is_not_taken(context):
    config = PLAN.config(16)
    nets.trained(context, config, PLAN)
    path = checkpoints.checkpoint_path(nets.folder_of(context, config), nets.counts(config)[-1])
    assert checkpoints.load_checkpoint(path)[1] == config
    assert nets.folder_of(context, replace(config, subset=2)) != path.parent
