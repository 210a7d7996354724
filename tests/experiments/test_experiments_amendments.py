"""Amendments: what a change of code leaves valid, what refutes one, and judging anew."""

import json
import shutil
import types
from dataclasses import dataclass, replace

import numpy as np
import pytest

from lindiff.experiments import _registry, amend, amendments, provenance, results, runner
from lindiff.experiments.__main__ import main
from lindiff.experiments.amendments import Amendment
from lindiff.experiments.rows import Row, Table, judge
from lindiff.experiments.units import Unit

WHY = "clearer messages"


@dataclass(frozen=True)
class Settings:
    factor: float = 2.0
    seed: int = 5


def double(context, settings, number):
    rows = [Row("double", settings.factor * number, step=number, split="s"), Row("none", np.nan)]
    return rows, {"squares": np.arange(number) / 7, "names": np.array(["a", "b"])}


def units(settings):
    return [Unit(f"u{n}", double, (settings, n)) for n in (1, 2)]


def criteria(table, settings):
    return [judge("E99.a", "doubles", ">= 4", lambda: (table.value("double", step=2), True))]


@pytest.fixture
def code(monkeypatch):
    """The hash of the installed code, to be changed by a test."""
    found = {"e99_fake": "old"}
    monkeypatch.setattr(provenance, "code_hash", lambda exp: found.get(exp, "nets"))
    return found


@pytest.fixture
def fake(monkeypatch, code):
    module = types.SimpleNamespace(
        TITLE="Fake",
        PRESETS={"cpu": Settings(), "h200": Settings(3.0)},
        units=units,
        criteria=criteria,
    )
    monkeypatch.setattr(_registry, "names", lambda: ["e99_fake"])
    monkeypatch.setattr(_registry, "load", lambda name: module)
    return module


class Shelf:
    """Results before and after a change of the code."""

    def __init__(self, root, code):
        self.root, self.code = root, code
        self.now, self.before = root / "now", root / "before"

    def run(self, preset="cpu"):
        place = self.root / f"store-{self.code['e99_fake']}"
        return runner.run("e99", preset, out=place, folder=self.now)

    def change(self, code="new"):
        """Other code: the earlier results are kept, that of the CPU is made anew."""
        shutil.rmtree(self.before, ignore_errors=True)
        shutil.copytree(self.now, self.before)
        self.code["e99_fake"] = code
        self.run()

    def declare(self, **options):
        return amend.declare(self.now, self.before, WHY, **options)

    def load(self, preset="h200"):
        return results.load("e99", preset, folder=self.now)


@pytest.fixture
def shelf(fake, code, tmp_path):
    shelf = Shelf(tmp_path, code)
    shelf.run("cpu")
    shelf.run("h200")
    return shelf


def refused(shelf):
    with pytest.raises(results.ResultMismatch, match="other code; run `python -m lindiff"):
        shelf.load()
    return True


def test_equal_numbers_keep_the_results_of_other_presets(shelf):
    shelf.change()
    assert refused(shelf)
    lines, equal = shelf.declare()
    assert equal and lines == ["e99_fake: amended, 4 numbers are equal"]
    found = shelf.load()
    assert found.amended == (WHY,) and found.table.value("double", step=2) == 6.0
    assert shelf.load("cpu").amended == ()
    assert amend.problems(shelf.now) == []


def test_nothing_new_writes_nothing(shelf):
    shutil.copytree(shelf.now, shelf.before)
    assert shelf.declare() == (["the code behind no result has changed"], True)
    assert not (shelf.now / amendments.FILE).exists()
    shelf.change()
    shelf.declare()
    stamp = (shelf.now / amendments.FILE).stat().st_mtime_ns
    shelf.declare()
    assert (shelf.now / amendments.FILE).stat().st_mtime_ns == stamp


def test_amendments_follow_one_another(shelf):
    for code in ("new", "newer"):
        shelf.change(code)
        assert refused(shelf)
        assert shelf.declare()[1]
    assert shelf.load().amended == (WHY, WHY)
    # Back to the first code: the way there is not declared.
    shelf.code["e99_fake"] = "other"
    assert refused(shelf)


def moved(context, settings, number):
    rows, arrays = double(context, settings, number)
    return [replace(rows[0], value=rows[0].value * (1 + 1e-15)), rows[1]], arrays


def other_array(context, settings, number):
    rows, arrays = double(context, settings, number)
    return rows, arrays | {"squares": arrays["squares"] + 1e-16}


def zeros(context, zero):
    return [Row("zero", zero)], {"zeros": np.array([zero, zero])}


def other_row(context, settings, number):
    rows, arrays = double(context, settings, number)
    return rows[:1], arrays


def other_text(context, settings, number):
    rows, arrays = double(context, settings, number)
    return [replace(rows[0], split="t"), rows[1]], arrays


def not_nan(context, settings, number):
    rows, arrays = double(context, settings, number)
    return [rows[0], replace(rows[1], value=0.0)], arrays


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (moved, "value of double of u1 was 2.0, now 2.000000000000002"),
        (other_array, "the array u1/squares differs"),
        (other_row, "there were 4 numbers, now 2"),
        (other_text, "split of double of u1 was s, now t"),
        (not_nan, "value of none of u1 was nan, now 0.0"),
    ],
)
def test_a_number_that_moved_is_named_and_nothing_amended(fake, shelf, function, said):
    fake.units = lambda settings: [Unit(f"u{n}", function, (settings, n)) for n in (1, 2)]
    shelf.change()
    lines, equal = shelf.declare()
    assert not equal and lines == [f"e99_fake: not amended, {said}"]
    assert refused(shelf) and not (shelf.now / amendments.FILE).exists()


def test_the_sign_of_zero_is_no_change(fake, shelf):
    fake.units = lambda settings: [Unit("u", zeros, (0.0,))]
    fake.criteria = lambda table, settings: []
    shelf.change("zero")
    fake.units = lambda settings: [Unit("u", zeros, (-0.0,))]
    shelf.change("minus")
    assert np.signbit(shelf.load("cpu").table["value"]).all()
    assert shelf.declare() == (["e99_fake: amended, 1 numbers are equal"], True)


def test_texts_are_kept_apart():
    def one(*texts):
        table = Table([Row(text, 1.0) for text in texts])
        return amendments.digest(results.Result(table, [], {}, {}))

    assert one("a\nb", "c") != one("a", "b\nc")


def test_time_commit_and_device_are_no_numbers(fake, shelf, monkeypatch):
    monkeypatch.setattr(provenance, "commit", lambda: ("another", False))
    monkeypatch.setattr(provenance, "device_name", lambda device: "another")
    shelf.change()
    assert set(shelf.load("cpu").table["git"]) == {"another"}
    assert shelf.declare()[1]


def test_what_cannot_be_compared_is_not_amended(fake, shelf):
    shelf.change()
    shelf.code["e99_fake"] = "newest"
    assert "is not of the installed code: run it first" in shelf.declare()[0][0]
    shelf.code["e99_fake"] = "new"
    fake.units = lambda settings: [*units(settings), Unit("bad", None)]
    (shelf.now / "e99_fake-cpu.json").unlink()
    shelf.run()
    assert "a result is not complete" in shelf.declare()[0][0]
    fake.units = units
    fake.PRESETS["cpu"] = Settings(4.0)
    shelf.run()
    assert "its settings have changed" in shelf.declare()[0][0]


def test_left_out_experiments_stay_refused(shelf):
    shelf.change()
    assert shelf.declare(leave_out=["e99"]) == (["e99_fake: left out"], True)
    assert refused(shelf)


def test_other_settings_are_refused_in_spite_of_an_amendment(fake, shelf):
    shelf.change()
    shelf.declare()
    fake.PRESETS["h200"] = Settings(5.0)
    with pytest.raises(results.ResultMismatch, match="other settings"):
        shelf.load()


def test_problems_find_what_the_cpu_result_does_not_bear_out(fake, shelf):
    shelf.change()
    shelf.declare()
    path = shelf.now / amendments.FILE
    [entry] = json.loads(path.read_text())
    # A forged digest.
    path.write_text(json.dumps([entry | {"digest": "0" * 64}]))
    assert "are false" in amend.problems(shelf.now)[0]
    # A number of the CPU result that is another since.
    path.write_text(json.dumps([entry]))
    cpu = shelf.load("cpu")
    shown = cpu.arrays["u1/squares"]
    results.save(
        shelf.now, "e99_fake", "cpu", replace(cpu, arrays={**cpu.arrays, "u1/squares": shown + 1})
    )
    assert "are false" in amend.problems(shelf.now)[0]
    results.save(shelf.now, "e99_fake", "cpu", cpu)
    assert amend.problems(shelf.now) == []
    # An amendment of an experiment that is not there.
    path.write_text(json.dumps([entry | {"exp": "e98_other"}]))
    assert "no experiment" in amend.problems(shelf.now)[0]
    # One that leads nowhere binds nobody.
    path.write_text(json.dumps([entry | {"after": "elsewhere"}]))
    assert amend.problems(shelf.now) == [] and refused(shelf)
    path.write_text(json.dumps([entry]))
    # A CPU result that is not complete, one of other code, and none.
    record = json.loads((shelf.now / "e99_fake-cpu.json").read_text())
    record["provenance"]["complete"] = False
    (shelf.now / "e99_fake-cpu.json").write_text(json.dumps(record))
    assert "rest on a cpu result of other code" in amend.problems(shelf.now)[0]
    shelf.code["e99_fake"] = "newer"
    path.write_text(json.dumps([entry | {"after": "newer"}]))
    assert "of other code: run `python -m" in amend.problems(shelf.now)[0]
    (shelf.now / "e99_fake-cpu.json").unlink()
    assert "there is no result e99_fake-cpu" in amend.problems(shelf.now)[0]


@pytest.mark.parametrize("content", ["{", "[3]", '[{"exp": "e99_fake"}]', '{"a": 1}'])
def test_damaged_file_is_refused(shelf, content):
    shelf.change()
    (shelf.now / amendments.FILE).write_text(content)
    with pytest.raises(ValueError, match="damaged: it must be a list"):
        shelf.load()
    assert "damaged" in amend.problems(shelf.now)[0]


def test_a_circle_ends():
    around = [Amendment("e99", *pair, "w", "d") for pair in (("a", "b"), ("b", "a"))]
    assert amendments.chain(around, "e99", "a", "c") is None
    assert amendments.chain(around, "e98", "a", "b") is None
    assert [e.after for e in amendments.chain(around, "e99", "a", "b")] == ["b"]
    assert amendments.chain(around, "e99", "a", "a") == []
    branch = [Amendment("e99", *p, "w", "d") for p in (("a", "b"), ("a", "c"), ("c", "d"))]
    assert [e.after for e in amendments.chain(branch, "e99", "a", "d")] == ["c", "d"]
    assert [e.after for e in amendments.chain(branch, "e99", "a", "b")] == ["b"]


def test_an_amendment_waits_for_results_that_are_to_come(shelf, fake):
    # The code has changed, and nothing was made anew.
    shutil.copytree(shelf.now, shelf.before)
    shelf.code["e99_fake"] = "new"
    lines, equal = shelf.declare()
    assert not equal and "run it first" in lines[0]
    shelf.code["e99_fake"] = "old"
    shelf.change()
    shelf.declare()
    # The code changes again, and the CPU result of this experiment is not made anew yet.
    shelf.code["e99_fake"] = "newer"
    assert "run it first" in shelf.declare()[0][0]
    shelf.code["e99_fake"] = "new"
    shelf.change("newer")
    shelf.declare()
    assert shelf.load().amended == (WHY, WHY)


def command(shelf, *arguments):
    return main([*arguments, "--results", str(shelf.now)])


def test_command_line(shelf, capsys):
    shelf.change()
    before = ["--before", str(shelf.before)]
    assert command(shelf, "amend", *before, "--why", " ") == 2
    assert "--why is empty" in capsys.readouterr().err
    assert command(shelf, "amend", "--before", str(shelf.root / "no"), "--why", WHY) == 2
    assert "is no folder" in capsys.readouterr().err
    assert command(shelf, "amend", *before, "--why", WHY, "--except", "e99") == 0
    assert "left out" in capsys.readouterr().out
    assert command(shelf, "amend", *before, "--why", WHY) == 0
    assert "e99_fake: amended, 4 numbers" in capsys.readouterr().out
    assert command(shelf, "status") == 0
    said = capsys.readouterr().out
    assert "cpu: 2/2 units; criteria 1 passed, 0 failed, 0 not judged; current; cpu" in said
    assert (
        "h200: 2/2 units; criteria 1 passed, 0 failed, 0 not judged; current by amendment" in said
    )


def test_command_line_of_moved_numbers(fake, shelf, capsys):
    fake.units = lambda settings: [Unit(f"u{n}", moved, (settings, n)) for n in (1, 2)]
    shelf.change()
    assert command(shelf, "amend", "--before", str(shelf.before), "--why", WHY) == 1
    assert "not amended" in capsys.readouterr().out
    assert command(shelf, "status") == 0
    said = capsys.readouterr().out
    assert "h200: 2/2 units; criteria 1 passed, 0 failed, 0 not judged; stale" in said
    assert "stale: other code or settings than the installed ones made these numbers" in said


def harder(table, settings):
    return [
        judge("E99.a", "doubles", ">= 9", lambda: (table.value("double", step=2), False)),
        judge("E99.b", "new", "> 0", lambda: (table.value("double", step=1), True)),
    ]


def test_stored_numbers_are_judged_by_the_installed_criteria(fake, shelf, capsys):
    assert command(shelf, "judge", "all") == 0
    assert capsys.readouterr().out.count("the same verdicts") == 2
    numbers = (shelf.now / "e99_fake-h200.npz").read_bytes()
    fake.criteria = harder
    assert command(shelf, "judge", "e99", "--preset", "h200") == 0
    said = capsys.readouterr().out
    assert said == "e99_fake h200: E99.a passed -> failed; E99.b absent -> passed\n"
    found = shelf.load()
    assert [c.verdict for c in found.criteria] == ["failed", "passed"]
    assert found.provenance["judged"] >= found.provenance["written"]
    assert (shelf.now / "e99_fake-h200.npz").read_bytes() == numbers
    assert [c.verdict for c in shelf.load("cpu").criteria] == ["passed"]
    assert command(shelf, "judge", "e99", "--preset", "t4") == 2
    assert "there is no such result" in capsys.readouterr().out


def test_results_of_other_code_are_not_judged(fake, shelf, capsys):
    shelf.code["e99_fake"] = "new"
    fake.criteria = harder
    content = (shelf.now / "e99_fake-h200.json").read_bytes()
    assert command(shelf, "judge", "e99", "--preset", "h200") == 1
    assert "not judged, the result e99_fake-h200 was made by other code" in capsys.readouterr().out
    (shelf.now / "e99_fake-h200.npz").write_bytes(b"half")
    assert command(shelf, "judge", "all") == 1
    said = capsys.readouterr().out
    assert "h200: not judged, e99_fake-h200.npz is damaged" in said and "cpu: not judged" in said
    assert (shelf.now / "e99_fake-h200.json").read_bytes() == content


def test_an_amended_result_gives_way_to_the_finished_units(shelf):
    old = shelf.load("cpu")
    shelf.change()
    shelf.declare()
    results.save(shelf.now, "e99_fake", "cpu", old)
    assert shelf.load("cpu").amended == (WHY,)
    assert "of other code: run `python -m" in amend.problems(shelf.now)[0]
    # All units of the new code lie in the store: the command that was named must help.
    shelf.run("cpu")
    assert shelf.load("cpu").amended == () and amend.problems(shelf.now) == []


class Calls:
    """Calls of one run at several commits and on several devices."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.monkeypatch = folder, monkeypatch

    def __call__(self, commit, device="cpu (x)", dirty=False):
        self.monkeypatch.setattr(provenance, "commit", lambda: (commit, dirty))
        self.monkeypatch.setattr(provenance, "device_name", lambda _: device)
        runner.run("e99", "cpu", out=self.folder)
        return results.load("e99", "cpu", folder=self.folder / "results").provenance


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


def test_a_call_that_ran_no_unit_does_not_name_itself(fake, call):
    call("a" * 40, "NVIDIA T9000")
    fake.criteria = harder
    found = call("b" * 40, "cpu (x)", dirty=True)
    assert [entry in found for entry in ("note", "judged")] == [False, False]
    assert (found["commit"], found["dirty"]) == ("a" * 12, None)
    assert (found["device"], found["device_name"]) == ("cuda", "NVIDIA T9000")
    assert found["command"].endswith("--device cuda")


def test_the_amendments_of_the_book_hold():
    assert amend.problems(results.default_folder()) == []
