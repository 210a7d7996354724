"""The machinery of the experiments: resuming, failures, versions, stored results, command line."""

import json
import os
import signal
import subprocess
import sys
import time
import types
from dataclasses import dataclass, replace

import joblib
import numpy as np
import pytest

from lindiff.experiments import _registry, provenance, results, runner
from lindiff.experiments.__main__ import _result_folder, main, parser
from lindiff.experiments.rows import Criterion, MissingRow, Row, Table, judge
from lindiff.experiments.store import UnitStore
from lindiff.experiments.units import Context, OutOfTime, Unit
from tests.experiments import smoke as rows
from tests.experiments.runs import first_units, killed_run

CALLS = []


class Clock:
    """A wall clock that a test moves, in place of the one of the machine."""

    now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(time, "time", found)
    monkeypatch.setattr(time, "monotonic", found)
    return found


@dataclass(frozen=True)
class Settings:
    factor: float = 2.0
    seed: int = 5


def double(context, settings, number):
    CALLS.append(number)
    rows = [Row("double", settings.factor * number, step=number), Row("undefined", np.nan)]
    return rows, {"squares": np.arange(number) ** 2}


def broken(context, settings):
    CALLS.append("broken")
    raise RuntimeError(f"no luck in {os.getcwd()}/file\nsecond line")


def slow(context, settings):
    CALLS.append("slow")
    if context.deadline is not None and context.deadline - time.monotonic() < 100:
        raise OutOfTime
    return [Row("slow", 1.0)]


def units(settings):
    return [Unit(f"u{n}", double, (settings, n)) for n in (1, 2, 3)]


def criteria(table, settings):
    return [
        judge("E99.a", "doubles", "== 4", lambda: (table.value("double", step=2), True)),
        judge("E99.b", "absent", "> 0", lambda: (table.value("other"), True)),
        judge("E99.c", "fails", "> 9", lambda: (table.value("double", step=3), False)),
    ]


@pytest.fixture
def fake(monkeypatch):
    """An experiment of this test, known to the registry."""
    module = types.SimpleNamespace(
        TITLE="Fake",
        VERSION=1,
        PRESETS={"smoke": Settings(), "h200": Settings(3.0)},
        units=units,
        criteria=criteria,
    )
    monkeypatch.setattr(_registry, "names", lambda: ["e99_fake"])
    monkeypatch.setattr(_registry, "load", lambda name: module)
    CALLS.clear()
    return module


def test_run_stores_rows_arrays_and_criteria(fake, tmp_path):
    outcome = runner.run("e99", "smoke", out=tmp_path)
    assert (outcome.done, outcome.total, outcome.failures) == (3, 3, {})
    assert [c.passed for c in outcome.criteria] == [True, None, False]
    result = results.load("e99", "smoke", folder=tmp_path / "results")
    assert result.complete and result.table.value("double", step=3) == 6.0
    assert result.arrays["u3/squares"].tolist() == [0, 1, 4]
    assert [c.verdict for c in result.criteria] == ["passed", "not judged", "failed"]
    assert result.criteria[1].reason == "other was not measured"
    row = result.table.one("double", step=1)
    assert (row["run_id"], row["exp"], row["device"][:3]) == ("u1", "e99_fake", "cpu")
    assert row["wall_s"] >= 0 and np.isnan(row["N"])


def test_finished_units_do_not_run_again(fake, tmp_path):
    runner.run("e99", "smoke", out=tmp_path)
    runner.run("e99", "smoke", out=tmp_path)
    assert CALLS == [1, 2, 3]
    os.unlink(UnitStore(tmp_path, "e99_fake", "smoke").path("u2"))
    runner.run("e99", "smoke", out=tmp_path)
    assert CALLS == [1, 2, 3, 2]


def test_a_result_that_is_up_to_date_stays_as_it_is(fake, tmp_path):
    path = tmp_path / "results" / "e99_fake-smoke.json"
    runner.run("e99", "smoke", out=tmp_path)
    before = path.stat().st_mtime_ns
    runner.run("e99", "smoke", out=tmp_path)
    assert path.stat().st_mtime_ns == before
    path.unlink()
    runner.run("e99", "smoke", out=tmp_path)
    assert path.is_file() and CALLS == [1, 2, 3]


def harder(table, settings):
    return [judge("E99.a", "doubles", "> 9", lambda: (table.value("double", step=2), False))]


def test_criteria_are_those_of_the_installed_experiment(fake, tmp_path):
    folder = runner.run("e99", "smoke", out=tmp_path).folder
    content = {path: path.read_bytes() for path in folder.iterdir()}
    assert b"E99" not in content[folder / "e99_fake-smoke.json"]
    fake.criteria = harder
    found = results.load("e99", "smoke", folder=folder).criteria
    assert [(c.id, c.verdict) for c in found] == [("E99.a", "failed")]
    runner.run("e99", "smoke", out=tmp_path)
    assert {path: path.read_bytes() for path in folder.iterdir()} == content
    # Criteria of other settings say nothing about these numbers.
    fake.PRESETS["smoke"] = Settings(7.0)
    assert results.read("e99", "smoke", folder=folder).criteria == []


def test_interruption_keeps_what_is_finished(fake, tmp_path, capsys):
    def interrupted(context):
        raise KeyboardInterrupt

    command = ["run", "e99", "--preset", "smoke", "--out", str(tmp_path), "--quiet"]
    fake.units = lambda s: [*units(s), Unit("stop", interrupted)]
    assert main(command) == 130
    assert "finished units are kept" in capsys.readouterr().err
    fake.units = units
    assert main(command) == 0 and CALLS == [1, 2, 3]


def test_full_disk_ends_with_one_sentence(fake, tmp_path, capsys, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lindiff.experiments.store.write_bytes", full)
    assert main(["run", "e99", "--preset", "smoke", "--out", str(tmp_path), "--quiet"]) == 1
    assert "No space left on device; finished units are kept" in capsys.readouterr().err


@pytest.mark.parametrize("damage", [b"", b"{", b'{"fingerprint": 3}'])
def test_damaged_unit_runs_again(fake, tmp_path, damage):
    runner.run("e99", "smoke", out=tmp_path)
    UnitStore(tmp_path, "e99_fake", "smoke").path("u1").write_bytes(damage)
    assert runner.run("e99", "smoke", out=tmp_path).complete
    assert CALLS == [1, 2, 3, 1]


def test_damaged_arrays_run_again(fake, tmp_path):
    runner.run("e99", "smoke", out=tmp_path)
    path = UnitStore(tmp_path, "e99_fake", "smoke").folder / "u3.npz"
    path.write_bytes(path.read_bytes()[:40])
    assert runner.run("e99", "smoke", out=tmp_path).complete
    assert CALLS == [1, 2, 3, 3]


def test_other_settings_run_again(fake, tmp_path):
    runner.run("e99", "smoke", out=tmp_path)
    fake.PRESETS["smoke"] = Settings(10.0)
    with pytest.raises(results.ResultMismatch, match="other settings; run `python -m lindiff"):
        results.load("e99", "smoke", folder=tmp_path / "results")
    runner.run("e99", "smoke", out=tmp_path)
    assert results.load("e99", "smoke", folder=tmp_path / "results").table.value(step=3) == 30.0


def test_a_failed_unit_leaves_the_others(fake, tmp_path, capsys):
    fake.units = lambda s: [Unit("bad", broken, (s,)), *units(s)]
    code = main(["run", "e99", "--preset", "smoke", "--out", str(tmp_path), "--quiet"])
    said = capsys.readouterr().out
    assert code == 1
    assert "3/4 units, not complete" in said and "unit bad failed: RuntimeError: no luck in" in said
    record = json.loads(UnitStore(tmp_path, "e99_fake", "smoke").path("bad").read_text())
    assert os.getcwd() not in record["error"] and "second" not in record["error"]
    result = results.load("e99", "smoke", folder=tmp_path / "results")
    assert not result.complete and list(result.provenance["failures"]) == ["bad"]
    fake.units = lambda s: [Unit("bad", double, (s, 9)), *units(s)]
    assert main(["run", "e99", "--preset", "smoke", "--out", str(tmp_path), "--quiet"]) == 0
    assert CALLS == ["broken", 1, 2, 3, 9]


def test_all_units_failed_writes_no_result(fake, tmp_path):
    fake.units = lambda s: [Unit("bad", broken, (s,))]
    assert runner.run("e99", "smoke", out=tmp_path).done == 0
    with pytest.raises(FileNotFoundError, match="--preset smoke"):
        results.load("e99", "smoke", folder=tmp_path / "results")


def test_budget_stops_and_goes_on(fake, tmp_path, capsys, clock):
    fake.units = lambda s: [*units(s), Unit("slow", slow, (s,))]
    command = ["run", "e99", "--preset", "smoke", "--out", str(tmp_path), "--quiet"]
    assert main([*command, "--budget", "50"]) == 3
    said = capsys.readouterr().out
    assert "3/4 units, not complete" in said and "go on with `python -m lindiff" in said
    assert runner.run("e99", "smoke", out=tmp_path, ends_at=clock.now - 1).done == 3
    assert main(command) == 0
    assert CALLS == [1, 2, 3, "slow", "slow"]


def test_a_part_does_not_replace_the_whole(fake, tmp_path):
    whole = runner.run("e99", "smoke", out=tmp_path / "a", folder=tmp_path / "results")
    assert whole.complete
    fake.units = lambda s: [*units(s), Unit("bad", broken, (s,))]
    part = runner.run("e99", "smoke", out=tmp_path / "b", folder=tmp_path / "results")
    assert part.done == 3 and not part.complete
    assert results.load("e99", "smoke", folder=tmp_path / "results").complete
    again = runner.run("e99", "smoke", out=tmp_path / "b", folder=tmp_path / "other")
    assert not again.complete
    assert not results.load("e99", "smoke", folder=tmp_path / "other").complete


def test_a_part_of_a_new_version_does_not_replace_the_whole_of_an_old_one(
    fake, tmp_path, clock, capsys
):
    folder, store = tmp_path / "results", tmp_path / "store"
    runner.run("e99", "smoke", out=store, folder=folder)
    content = {path: path.read_bytes() for path in folder.iterdir()}
    fake.VERSION = 2
    fake.units = lambda s: [*units(s), Unit("slow", slow, (s,))]
    command = ["run", "e99", "--preset", "smoke", "--out", str(store), "--results", str(folder)]
    assert main([*command, "--quiet", "--budget", "50"]) == 3
    assert {path: path.read_bytes() for path in folder.iterdir()} == content
    assert f"result in {store / 'results'}" in capsys.readouterr().out
    assert results.read("e99", "smoke", folder=store / "results").provenance["units_done"] == 3
    assert main([*command, "--quiet"]) == 0
    found = results.read("e99", "smoke", folder=folder)
    assert found.complete and found.provenance["version"] == 2


def test_a_part_is_not_written_beside_a_whole_in_the_store(fake, tmp_path, capsys):
    assert runner.run("e99", "smoke", out=tmp_path).complete
    fake.VERSION = 2
    fake.units = lambda s: [*units(s), Unit("bad", broken, (s,))]
    command = ["run", "e99", "--preset", "smoke", "--out", str(tmp_path), "--quiet"]
    assert main(command) == 1
    assert (
        "no result written: a complete one, perhaps of another version" in capsys.readouterr().out
    )
    assert results.read("e99", "smoke", folder=tmp_path / "results").complete


def test_a_failed_unit_does_not_end_a_run_in_slices(fake, tmp_path, clock):
    fake.units = lambda s: [Unit("bad", broken, (s,)), *units(s), Unit("slow", slow, (s,))]
    command = ["run", "e99", "--preset", "smoke", "--out", str(tmp_path), "--quiet"]
    assert main([*command, "--budget", "50"]) == 3
    # What failed is tried again, after all that was not.
    assert main(command) == 1
    assert CALLS == ["broken", 1, 2, 3, "slow", "slow", "broken"]


def test_an_experiment_that_failed_before_comes_last(fake, tmp_path, monkeypatch, clock):
    other = types.SimpleNamespace(**{**vars(fake), "units": lambda s: [Unit("good", slow, (s,))]})

    def late(context, settings):
        CALLS.append("late")
        clock.now += 60
        raise RuntimeError("no luck")

    fake.units = lambda s: [Unit("bad", late, (s,))]
    modules = {"e98_late": fake, "e99_fake": other}
    monkeypatch.setattr(_registry, "names", lambda: list(modules))
    monkeypatch.setattr(_registry, "load", modules.__getitem__)
    command = ["run", "all", "--preset", "smoke", "--out", str(tmp_path), "--quiet"]
    # Without this order the unit that fails takes every slice for itself.
    assert main([*command, "--budget", "50"]) == 3
    assert main([*command, "--budget", "300"]) == 1
    assert CALLS == ["late", "slow", "late"]


def fails_then_waits(context, settings):
    CALLS.append("fails" if "fails" not in CALLS else "waits")
    raise RuntimeError("transient") if CALLS[-1] == "fails" else OutOfTime


def test_a_unit_that_goes_on_after_a_failure_is_no_failure(fake, tmp_path, capsys):
    fake.units = lambda s: [*units(s), Unit("x", fails_then_waits, (s,))]
    command = ["run", "e99", "--preset", "smoke", "--out", str(tmp_path), "--quiet"]
    assert main(command) == 1
    assert main(command) == 3
    assert "transient" not in capsys.readouterr().out.split("3/4")[-1]


def test_paths_below_the_current_folder_can_be_pasted():
    said = provenance.scrub(f"delete {os.getcwd()}/store/nets/3f, not {os.getcwd()}")
    assert said in ("delete store/nets/3f, not <here>", "delete store/nets/3f, not <package>")


def test_a_reader_that_has_seen_enough():
    command = f"{sys.executable} -m lindiff.experiments list | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")


def where(context, settings):
    return [Row(context.folder.name, 1.0)]


def test_networks_belong_to_the_versions_of_the_experiments(fake, tmp_path):
    fake.units = lambda s: [Unit("where", where, (s,))]
    found = set()
    for fake.VERSION in (1, 2, 2):
        runner.run("e99", "smoke", out=tmp_path)
        found.update(results.read("e99", "smoke", folder=tmp_path / "results").table["metric"])
    assert len(found) == 2 and all(name.startswith("networks-") for name in found)


def test_two_units_of_one_key(fake, tmp_path):
    fake.units = lambda s: units(s) + units(s)
    with pytest.raises(ValueError, match="one key"):
        runner.plan("e99", "smoke", tmp_path)


@pytest.mark.parametrize("key", ["", "../up", "a b", ".hidden", "a/b"])
def test_unit_keys_are_file_names(key):
    with pytest.raises(ValueError, match="no file name"):
        Unit(key, double)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "e98"], "no experiment 'e98'; there are e99_fake"),
        (["run", "e99", "--preset", "big"], "no preset 'big'; there are smoke, h200"),
        (["run", "e99", "--preset", "smoke", "--budget", "0"], "--budget must be positive"),
        (["run", "e99", "--preset", "smoke", "--jobs", "-2"], "--jobs must be positive"),
    ],
)
def test_wrong_arguments_end_with_one_sentence(fake, tmp_path, capsys, arguments, words):
    extra = ["--out", str(tmp_path)]
    assert main([*arguments, *extra]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert CALLS == []


def test_a_store_that_is_a_file(fake, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    command = ["run", "e99", "--preset", "smoke", "--out", str(tmp_path / "file")]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "is no folder: name another one" in said and said.count("\n") == 1


def test_no_gpu(fake, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runner, "_has_cuda", lambda: False)
    command = ["run", "e99", "--preset", "h200", "--out", str(tmp_path), "--quiet"]
    assert main([*command, "--device", "cuda"]) == 0
    fake.NEEDS_GPU = True
    assert main([*command, "--device", "cuda"]) == 2
    said = capsys.readouterr().err
    assert "--device cuda needs a GPU" in said and said.count("\n") == 1
    assert main(command) == 2
    assert "--preset h200 needs a GPU" in capsys.readouterr().err
    assert main([*command, "--device", "cpu"]) == 0
    monkeypatch.setattr(runner, "_has_cuda", lambda: True)
    assert runner.resolve_device("auto", "h200", types.SimpleNamespace()) == "cpu"
    assert runner.resolve_device("auto", "h200", fake) == "cuda"


def test_list_and_status(fake, tmp_path, capsys):
    place = ["--out", str(tmp_path), "--results", str(tmp_path / "results")]
    assert main(["status", *place]) == 0
    assert "no experiment has run yet" in capsys.readouterr().out
    runner.run("e99", "smoke", out=tmp_path)
    main(["list", *place[2:]])
    assert "presets smoke, h200; results smoke" in capsys.readouterr().out
    main(["status", *place])
    said = capsys.readouterr().out
    assert "smoke: 3/3 units; criteria 1 passed, 1 failed, 1 not judged; current; cpu" in said
    fake.PRESETS["smoke"] = Settings(7.0)
    main(["status", *place])
    said = capsys.readouterr().out
    assert "; out of date, run `python -m lindiff.experiments run e99_fake --preset smoke" in said


def test_all_are_those_with_the_preset(fake, tmp_path, capsys, monkeypatch):
    other = types.SimpleNamespace(**vars(fake) | {"PRESETS": {"cpu": Settings()}})
    modules = {"e98_other": other, "e99_fake": fake}
    monkeypatch.setattr(_registry, "names", lambda: list(modules))
    monkeypatch.setattr(_registry, "load", modules.__getitem__)
    place = ["--out", str(tmp_path), "--quiet"]
    assert main(["run", "all", "--preset", "smoke", *place]) == 0
    said = capsys.readouterr().out
    assert "without preset smoke, left out: e98_other\n" in said and "e98_other smoke" not in said
    assert "e99_fake smoke: 3/3 units, complete" in said
    assert f"  result in {tmp_path / 'results'}\n" in said
    assert main(["run", "all", "--preset", "big", *place]) == 2
    assert "no preset 'big'; there are cpu, smoke, h200" in capsys.readouterr().err
    assert main(["run", "e98", "--preset", "smoke", *place]) == 2


def test_a_run_without_a_finished_unit_says_so(fake, tmp_path, capsys):
    fake.units = lambda s: [Unit("bad", broken, (s,))]
    assert main(["run", "e99", "--preset", "smoke", "--out", str(tmp_path), "--quiet"]) == 1
    said = capsys.readouterr().out
    assert "no unit is finished: no criterion is judged" in said and "E99.a" not in said


@pytest.fixture
def earlier(fake, tmp_path):
    """Return ``mark(**record)``: a result of version 1, now 2, with entries in its record."""
    folder = runner.run("e99", "smoke", out=tmp_path / "old").folder
    fake.VERSION = 2

    def mark(**entries):
        path = folder / "e99_fake-smoke.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | entries))
        return folder

    return mark


def test_result_of_an_earlier_version(earlier):
    folder = earlier()
    with pytest.raises(results.ResultMismatch, match=r"by version 1 .* one is 2; run `python -m"):
        results.load("e99", "smoke", folder=folder)
    assert len(results.read("e99", "smoke", folder=folder).table) == 6
    earlier(reason="too few draws")
    with pytest.raises(results.ResultMismatch, match=r"one is 2 \(too few draws\); run `python"):
        results.load("e99", "smoke", folder=folder)


def test_a_written_reason_lets_a_result_stand_at_one_version(fake, earlier, capsys):
    folder = earlier(reason="other words", stands_at=2)
    assert results.load("e99", "smoke", folder=folder).table.value("double", step=2) == 4.0
    main(["status", "--results", str(folder), "--out", str(folder)])
    assert "; made by version 1, stands; cpu" in capsys.readouterr().out
    fake.VERSION = 3
    with pytest.raises(results.ResultMismatch, match="the installed one is 3"):
        results.load("e99", "smoke", folder=folder)
    fake.VERSION, fake.PRESETS["smoke"] = 2, Settings(7.0)
    with pytest.raises(results.ResultMismatch, match="other settings"):
        results.load("e99", "smoke", folder=folder)


@pytest.mark.parametrize("entries", [{"stands_at": 2}, {"stands_at": 2, "reason": " "}])
def test_nothing_stands_without_a_reason(earlier, entries):
    with pytest.raises(ValueError, match="`stands_at` and no `reason`: write why it stands"):
        results.load("e99", "smoke", folder=earlier(**entries))


def test_a_result_that_stands_gives_way_to_finished_units(earlier, tmp_path):
    folder = earlier(reason="other words", stands_at=2)
    # All units of version 2 lie in the store already.
    runner.run("e99", "smoke", out=tmp_path / "new")
    runner.run("e99", "smoke", out=tmp_path / "new", folder=folder)
    found = results.load("e99", "smoke", folder=folder)
    assert (found.provenance["version"], found.reason, found.stands_at) == (2, "", None)


def test_a_record_of_another_result_is_refused(fake, tmp_path):
    folder = runner.run("e99", "smoke", out=tmp_path).folder
    for suffix in ("json", "npz"):
        (folder / f"e99_fake-smoke.{suffix}").rename(folder / f"e99_fake-h200.{suffix}")
    with pytest.raises(ValueError, match="json is damaged"):
        results.read("e99", "h200", folder=folder)


class Calls:
    """Calls of one run at several commits and on several devices."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.monkeypatch = folder, monkeypatch

    def __call__(self, commit, device="cpu (x)", dirty=False):
        self.monkeypatch.setattr(provenance, "commit", lambda: (commit, dirty))
        self.monkeypatch.setattr(provenance, "device_name", lambda _: device)
        runner.run("e99", "smoke", out=self.folder)
        return results.load("e99", "smoke", folder=self.folder / "results").provenance


@pytest.fixture
def call(fake, tmp_path, monkeypatch):
    fake.units = lambda settings: units(settings)[:1]
    return Calls(tmp_path, monkeypatch)


def test_a_run_of_several_commits_names_them(fake, call):
    first = call("a" * 40)
    assert first["commit"] == "a" * 40 and "note" not in first
    fake.units = units
    found = call("b" * 40, "NVIDIA T9000")
    assert found["commit"] == "b" * 40
    assert found["note"] == (
        "units of commits aaaaaaaaaaaa, bbbbbbbbbbbb and devices cpu (x), NVIDIA T9000"
    )
    # A GPU has made a part of it: it cannot be made anew without one.
    assert found["device"] == "cuda" and found["command"].endswith("--device cuda")


def test_a_call_that_ran_no_unit_does_not_name_itself(fake, call, tmp_path):
    call("a" * 40, "NVIDIA T9000")
    (tmp_path / "results" / "e99_fake-smoke.json").unlink()
    found = call("b" * 40, "cpu (x)", dirty=True)
    assert (found["commit"], found["dirty"], "note" in found) == ("a" * 12, None, False)
    assert (found["device"], found["device_name"]) == ("cuda", "NVIDIA T9000")
    assert found["command"].endswith("--device cuda")


def test_where_results_go(fake, tmp_path, monkeypatch):
    def folder(*arguments):
        return _result_folder(parser().parse_args(["run", "e99", *arguments]))

    book = tmp_path / "book" / "results"
    monkeypatch.setattr(results, "default_folder", lambda: book)
    assert folder() == book
    assert folder("--preset", "smoke") == runner.DEFAULT_STORE / "results"
    assert folder("--out", str(tmp_path)) == tmp_path / "results"
    assert folder("--preset", "smoke", "--results", str(tmp_path)) == tmp_path
    monkeypatch.setattr(results, "default_folder", lambda: tmp_path)
    assert folder() == runner.DEFAULT_STORE / "results"


def test_results_without_a_repository(tmp_path, monkeypatch):
    assert results.default_folder().parts[-2:] == ("book", "results")
    package = tmp_path / "site-packages" / "lindiff"
    monkeypatch.setattr(provenance, "PACKAGE", package)
    monkeypatch.chdir(tmp_path)
    assert results.default_folder() == package / "_results"
    (tmp_path / "results").mkdir()
    assert results.default_folder() == tmp_path / "results"


def test_commit_outside_a_repository(tmp_path, monkeypatch):
    monkeypatch.delenv("LINDIFF_COMMIT", raising=False)
    if (provenance.PACKAGE.parent / ".git").exists():
        assert len(provenance.commit()[0]) == 40 and provenance.commit()[1] in (True, False)
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    assert provenance.commit() == ("unknown", None)
    monkeypatch.undo()
    monkeypatch.setenv("LINDIFF_COMMIT", "abc")
    assert provenance.commit() == ("abc", None)


@pytest.mark.parametrize("suffix", ["npz", "json"])
@pytest.mark.parametrize("damage", [b"", b"not a file"])
def test_corrupt_results(fake, tmp_path, suffix, damage):
    runner.run("e99", "smoke", out=tmp_path)
    (tmp_path / "results" / f"e99_fake-smoke.{suffix}").write_bytes(damage)
    with pytest.raises(
        ValueError, match=r"damaged.*run `python -m lindiff.experiments run e99_fake"
    ):
        results.load("e99", "smoke", folder=tmp_path / "results")


def test_result_names_no_machine(fake, tmp_path):
    runner.run("e99", "smoke", out=tmp_path)
    text = (tmp_path / "results" / "e99_fake-smoke.json").read_text()
    found = json.loads(text)["provenance"]
    assert str(tmp_path) not in text and os.path.expanduser("~") + "/" not in text
    assert os.uname().nodename not in text
    assert found["command"].endswith("run e99_fake --preset smoke --device cpu")
    assert found["seed"] == 5 and found["settings"] == {"factor": 2.0, "seed": 5}
    assert set(found["versions"]) >= {"python", "numpy", "scipy", "torch"}


def test_results_hold_no_pickle(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([{}], dtype=object))
    from lindiff.experiments.store import read_arrays

    with pytest.raises(ValueError, match="no readable npz"):
        read_arrays(tmp_path / "x.npz")


def test_table():
    table = Table([Row("m", 1.0, N=4, sigma=0.1), Row("m", 3.0, N=2), Row("k", np.nan, split="a")])
    assert table.where("m", N=(2, 4))["value"].tolist() == [1.0, 3.0]
    assert table.curve("m", "N")[1].tolist() == [3.0, 1.0]
    assert len(table.where(sigma=None)) == 2
    assert len(table.where(split=None)) == len(table.where(split="")) > 0
    assert table.value("m", sigma=0.1 + 1e-12) == 1.0
    assert np.isnan(table.value("k"))
    with pytest.raises(MissingRow):
        table.value("m", N=5)
    with pytest.raises(ValueError, match="2 rows"):
        table.value("m")
    with pytest.raises(ValueError, match="no column"):
        table.where(n=3)
    with pytest.raises(ValueError, match="infinite"):
        Row("m", np.inf)
    assert len(Table()) == 0 and len(Table().where("m")) == 0


def test_criterion_names_the_units_it_asked_for():
    table = Table([Row("m", float(n), N=n, run_id=f"unit-{n}") for n in (1, 2, 3)])

    def low():
        return table.value("m", N=1) + table.value("m", N=2), True

    def absent():
        return table.value("m", N=3) + table.value("m", N=4), True

    assert judge("E1.a", "t", "> 0", low, table=table).run_ids == ("unit-1", "unit-2")
    found = judge("E1.b", "t", "> 0", absent, table=table)
    assert (found.passed, found.run_ids) == (None, ("unit-3",))


def test_criterion_says_why_it_is_not_judged():
    with pytest.raises(ValueError, match="must say why"):
        Criterion("E1.a", "t", "> 0", None, None)
    assert judge("E1.a", "t", "> 0", lambda: (np.nan, False)).reason == "no finite value"
    assert replace(judge("E1.a", "t", "> 0", lambda: (1.0, True, 0.1))).stderr == 0.1
    found = judge("E1.a", "t", "> 0", lambda: (1.0, False, 0.1, "R2 = 0.3"))
    assert (found.verdict, found.stderr, found.reason) == ("failed", 0.1, "R2 = 0.3")


def test_context_clock(clock):
    context = Context("e", "p", ends_at=clock.now + 100)
    assert context.deadline == clock.now + 100 and not context.expired
    clock.now += 100
    assert context.expired
    assert Context("e", "p").deadline is None and not Context("e", "p").expired


@pytest.fixture
def few(monkeypatch):
    """The number of units that an experiment has now."""
    pytest.importorskip("torch")
    first_units(monkeypatch, "e09", 6)
    return 6


def same_as_stored(folder):
    fresh = results.load("e09", "smoke", folder=folder / "results")
    assert fresh.complete and rows.differences(rows.stored("e09"), fresh) == []


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_parallel_backends(few, tmp_path, backend):
    with joblib.parallel_config(backend=backend, n_jobs=2):
        assert runner.run("e09", "smoke", out=tmp_path).total == few
    same_as_stored(tmp_path)


@pytest.mark.slow
def test_real_dask_cluster(few, tmp_path, dask_client):
    assert runner.run("e09", "smoke", out=tmp_path).total == few
    tasks = dask_client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.task_prefixes))
    assert tasks > 0
    same_as_stored(tmp_path)


def test_killed_run_goes_on(few, tmp_path):
    assert killed_run("e09", few, 3, tmp_path) == -signal.SIGKILL
    units = tmp_path / "e09_steps" / "smoke" / "units"
    before = {path.name: path.stat().st_mtime_ns for path in units.glob("*.json")}
    assert len(before) == 3
    assert runner.run("e09", "smoke", out=tmp_path).complete
    assert all((units / name).stat().st_mtime_ns == when for name, when in before.items())
    same_as_stored(tmp_path)


WITHOUT_TORCH = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from lindiff.experiments.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("exp", ["e01", "e09", "e12", "e15"])
def test_without_torch_one_sentence_says_so(exp, tmp_path):
    command = [sys.executable, "-c", WITHOUT_TORCH, "run", exp, "--preset", "smoke", "--quiet"]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True)
    said = 'error: this needs PyTorch: pip install "lindiff[torch]"\n'
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def lacking(context, settings, name):
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(("name", "code"), [("torch", 2), ("other", 1)])
def test_a_worker_without_torch(fake, tmp_path, capsys, name, code):
    fake.units = lambda s: [*units(s), Unit("bad", lacking, (s, name))]
    command = ["run", "e99", "--preset", "smoke", "--out", str(tmp_path), "--quiet"]
    assert main([*command, "--jobs", "2"]) == code
    said = capsys.readouterr()
    assert ("this needs PyTorch" in said.err) == (name == "torch")
    assert ("No module named 'other'" in said.out) == (name == "other")


def test_the_list_loads_nothing_heavy():
    heavy = "torch", "matplotlib", "sympy", "scipy.stats", "scipy.optimize", "scipy.integrate"
    code = (
        "import sys; from lindiff.experiments.__main__ import main; main(['list']); "
        f"print(sorted(set(sys.modules) & set({(*heavy, 'joblib')})), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert "e15_paper_unet" in done.stdout
