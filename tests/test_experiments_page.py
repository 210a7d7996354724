"""The page of the experiments shows what is stored, and nothing that is damaged or out of date."""

import json
import re
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from book._tools import experiments_text
from book._tools.experiments_page import PageError, collect, main, same_text
from lindiff.experiments import _registry, provenance, results, runner
from lindiff.experiments._net_plans import PLANS
from lindiff.experiments.rows import Criterion, Row, judge
from lindiff.experiments.units import Unit

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Settings:
    factor: float = 2.0
    seed: int = 5


def double(context, settings, number):
    return [Row("double", settings.factor * number, step=number, images_seen=1000 * number)]


def broken(context, settings):
    raise RuntimeError("no <luck> | at all")


def units(settings):
    return [Unit(f"u{n}", double, (settings, n)) for n in (1, 2)]


def criteria(table, settings):
    return [
        judge("E99.a", "doubles of |W|^2", ">= 4", lambda: (table.value(step=2), True, 0.0123)),
        judge("E99.b", "D_M at sqrt(lambda_1)", "> 9", lambda: (table.value(step=1), False)),
        judge("E99.c", "absent", "> 0", lambda: (table.value("other"), True), dataset="toyfaces"),
        Criterion("E99.d", "later", "> 1 s.e.", None, None, reason="needs *other* networks"),
    ]


@pytest.fixture
def fake(monkeypatch):
    """An experiment of this test, known to the registry."""
    module = types.SimpleNamespace(
        TITLE="Fake | title",
        VERSION=1,
        PRESETS={"cpu": Settings(), "h100-slice": Settings(3.0), "h200": Settings(3.0)},
        units=units,
        criteria=criteria,
        NEEDS_GPU=True,
    )
    other = types.SimpleNamespace(TITLE="Other", VERSION=1, PRESETS={"cpu": Settings()})
    modules = {"e98_other": other, "e99_fake": module}
    monkeypatch.setattr(_registry, "names", lambda: list(modules))
    monkeypatch.setattr(_registry, "load", modules.__getitem__)
    monkeypatch.setattr(provenance, "commit", lambda: ("0123456789abcdef", True))
    return module


@pytest.fixture
def root(tmp_path):
    (tmp_path / "book" / "results").mkdir(parents=True)
    return tmp_path


def store(root, preset="cpu"):
    folder = root / "book" / "results"
    return runner.run("e99_fake", preset, out=root / "store", folder=folder, device="cpu")


def write(root):
    assert main(["--root", str(root)]) == 0
    return (root / "book" / "experiments.md").read_text(encoding="utf-8")


def rows_of(page):
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in page.splitlines() if line[:2] == "| "]


def row(page, first, width=6):
    found = [[cell.strip() for cell in cells] for cells in rows_of(page)]
    return next(cells for cells in found if cells[0] == first and len(cells) == width)


def test_rows_show_value_threshold_and_verdict(fake, root):
    store(root)
    page = write(root)
    assert row(page, "E99.a")[1:] == ["passed", "4 ± 0.012", "≥\u00a04", "doubles of \\|W\\|²", ""]
    failed = row(page, "E99.b")[1:]
    assert failed == ["**failed**", "2", "\\> 9", "D<sub>M</sub> at √(λ<sub>1</sub>)", ""]
    missing = "not judged: other was not measured"
    assert row(page, "E99.c")[1:] == [missing, "", "\\> 0", "absent", "toyfaces"]
    assert row(page, "E99.d")[1] == "not judged: needs \\*other\\* networks"


def test_overview_and_provenance(fake, root):
    store(root)
    page = write(root)
    found = row(page, "[E99](#experiment-e99)", 10)
    assert found[1:4] == ["Fake \\| title", "cpu", "cpu (" + found[3][5:]]
    assert found[5:] == ["2,000", "1", "1", "2", "2 of 2, complete"]
    assert row(page, "[E98](#experiment-e98)", 10)[2] == "no result"
    assert "1 of 2 experiments have a result. Criteria: 1 passed, 1 failed, 2 not judged." in page
    assert "Version 1. Commit `0123456789ab`, with uncommitted changes." in page
    assert "Seed: 5." in page and f"NumPy {np.__version__}." in page
    assert "run e99_fake --preset cpu --device cpu\n" in page
    assert "No result is stored. Presets: cpu." in page and "run e98_other --preset cpu\n" in page
    assert "(experiment-e99)=\n## E99. Fake | title" in page


def test_small_scale_is_named(fake, root):
    store(root, "h200")
    assert experiments_text.SCALE["cpu"] not in write(root)
    store(root, "cpu")
    store(root, "h100-slice")
    page = write(root)
    heads = re.findall(r"^### (.*)$", page, re.M)
    assert heads == [f"E99 at preset {preset}" for preset in ("cpu", "h100-slice", "h200")]
    assert page.count(experiments_text.SCALE["cpu"]) == 1
    after = page.split("### E99 at preset cpu\n\n")[1]
    assert after.startswith(experiments_text.SCALE["cpu"])


def test_partial_result_with_a_failed_unit(fake, root):
    fake.units = lambda settings: [*units(settings), Unit("bad", broken, (settings,))]
    store(root)
    page = write(root)
    assert "**Partial result: 2 of 3 units.**" in page and "Partial results: 1." in page
    assert "- bad: RuntimeError: no \\<luck\\> \\| at all" in page
    assert row(page, "[E99](#experiment-e99)", 10)[-1] == "2 of 3, partial"
    fake.units = units
    store(root)
    assert "**Partial result" not in write(root)


def test_without_results(fake, root):
    (root / "book" / "results").rmdir()
    page = write(root)
    assert "No result is stored yet. `make experiments` makes those" in page
    assert "Criteria:" not in page and page.count("No result is stored. Presets:") == 2
    assert main(["--root", str(root), "--check"]) == 0


def test_check_wants_the_page_that_the_tool_writes(fake, root, capsys):
    check = ["--root", str(root), "--check"]
    page = root / "book" / "experiments.md"
    assert main(check) == 1 and not page.exists()
    write(root)
    assert main(check) == 0
    store(root)
    assert main(check) == 1
    assert "is out of date: run python -m book._tools.experiments_page" in capsys.readouterr().err
    write(root)
    page.write_text(page.read_text(encoding="utf-8").replace("**failed**", "passed"))
    assert main(check) == 1


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_a_result_of_another_version_or_of_other_settings(fake, root, capsys, arguments):
    store(root)
    before = write(root)
    command = ["--root", str(root), *arguments]
    assert main(command) == 0
    fake.VERSION = 2
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "by version 1 of the experiment, the installed one is 2; run `python -m" in said
    assert "run e99_fake --preset cpu --device cpu`" in said
    fake.VERSION, fake.PRESETS["cpu"] = 1, Settings(7.0)
    assert main(command) == 1
    assert "made with other settings; run `python" in capsys.readouterr().err
    assert (root / "book" / "experiments.md").read_text(encoding="utf-8") == before


def mark(root, preset, made=(), **entries):
    path = root / "book" / "results" / f"e99_fake-{preset}.json"
    record = json.loads(path.read_text()) | entries
    record["provenance"] |= dict(made)
    path.write_text(json.dumps(record))


GPU = {"device": "cuda", "device_name": "NVIDIA T9000"}


def test_a_gpu_result_of_an_earlier_version_is_shown_with_its_age(fake, root):
    store(root, "h200")
    mark(root, "h200", GPU)
    assert "Out of date" not in write(root)
    fake.VERSION = 2
    page = write(root)
    said = (
        "**Out of date.** It was made by version 1 of the experiment, which is now at 2; chapters "
    )
    assert f"{said}do not load it. Run the command" in page
    assert row(page, "[E99](#experiment-e99)", 10)[-1] == "2 of 2, complete, out of date"
    mark(root, "h200", reason="too *few* draws")
    assert f"{said}do not load it. too \\*few\\* draws Run the command" in write(root)
    fake.VERSION, fake.PRESETS["h200"] = 1, Settings(7.0)
    page = write(root)
    assert "**Out of date.** It was made with other settings; chapters" in page
    assert "No criterion is judged." in page


@pytest.mark.parametrize("made", [{}, GPU])
def test_a_result_that_stands_says_why(fake, root, made):
    store(root, "h200")
    mark(root, "h200", made, reason="Other words.", stands_at=2)
    assert "It stands" not in write(root)
    fake.VERSION = 2
    page = write(root)
    assert (
        "**Made by version 1 of the experiment, which is now at 2.** It stands all the same. Other "
        "words.\n" in page
    )
    assert "Out of date" not in page and row(page, "E99.a")[1] == "passed"


def test_a_cpu_result_with_a_reason_is_shown_out_of_date(fake, root):
    store(root)
    mark(root, "cpu", reason="The run takes a week.")
    fake.VERSION = 2
    assert "do not load it. The run takes a week. Run the command" in write(root)


def test_an_earlier_result_that_lacks_an_entry_is_refused(fake, root):
    store(root, "h200")
    mark(root, "h200", GPU)
    path = root / "book" / "results" / "e99_fake-h200.json"
    record = json.loads(path.read_text())
    del record["provenance"]["versions"]
    path.write_text(json.dumps(record))
    fake.VERSION = 2
    with pytest.raises(PageError, match="json lacks versions; run"):
        collect(root / "book" / "results")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("| 0.1234 |", "| 0.1235 |", True),
        ("| 0.1234 |", "| 0.1236 |", False),
        ("0.9999", "1", True),
        ("1.5 ± 0.12", "1.5 ± 0.13", True),
        ("1.234e-05", "1.235e-05", True),
        ("| 0 |", "| 1.11e-16 |", True),
        ("| -2.2e-16 |", "| 1.11e-16 |", True),
        ("1e-07", "2e-08", False),
        ("3 passed", "4 passed", False),
        ("16,384 images", "16,385 images", False),
        ("passed 0.1", "failed 0.1", False),
        ("NumPy 2.4.6", "NumPy 2.4.7", False),
        ("`ed8ac04862b3`", "`ed8ac04862b4`", False),
        ("2026-11-27", "2026-11-28", False),
        ("a 0.5 b", "a 0.5", False),
    ],
)
def test_pages_may_differ_in_the_last_place_of_a_decimal(one, other, same):
    assert same_text(one, other) == same and same_text(other, one) == same


def test_another_last_digit_leaves_the_page_as_it_is(fake, root):
    store(root)
    page = write(root)
    assert "4 ± 0.012" in page
    path = root / "book" / "experiments.md"
    path.write_text(page.replace("4 ± 0.012", "4 ± 0.013"), encoding="utf-8")
    assert main(["--root", str(root), "--check"]) == 0
    assert "4 ± 0.013" in write(root)
    path.write_text(page.replace("4 ± 0.012", "4 ± 0.014"), encoding="utf-8")
    assert main(["--root", str(root), "--check"]) == 1
    assert write(root) == page


@pytest.mark.parametrize("suffix", ["json", "npz"])
@pytest.mark.parametrize("damage", [b"", b"{}", b"PK\x03\x04 no archive", None])
def test_damaged_files(fake, root, capsys, suffix, damage):
    store(root)
    path = root / "book" / "results" / f"e99_fake-cpu.{suffix}"
    path.unlink() if damage is None else path.write_bytes(damage)
    assert main(["--root", str(root), "--check"]) == 1
    said = capsys.readouterr().err
    words = "there is no result" if damage is None else "damaged"
    assert words in said and "run `python -m lindiff.experiments run e99_fake" in said
    assert said.count("\n") == 1


def test_provenance_that_lacks_what_is_printed(fake, root):
    store(root)
    path = root / "book" / "results" / "e99_fake-cpu.json"
    record = json.loads(path.read_text())
    del record["provenance"]["seconds"]
    path.write_text(json.dumps(record))
    with pytest.raises(PageError, match="lacks seconds; run `python"):
        collect(path.parent)


@pytest.mark.parametrize("name", ["e97_gone-cpu.json", "e99_fake-big.npz"])
def test_results_of_nothing_known(fake, root, name):
    (root / "book" / "results" / name).write_bytes(b"")
    with pytest.raises(PageError, match="no known experiment and preset: remove it"):
        collect(root / "book" / "results")


def test_other_files_are_left_alone(fake, root):
    (root / "book" / "results" / "figure-2.npz").write_bytes(b"")
    assert not any(e.results for e in collect(root / "book" / "results"))


def test_all_problems_are_named_at_once(fake, root):
    for preset in ("cpu", "h200"):
        store(root, preset)
        (root / "book" / "results" / f"e99_fake-{preset}.json").write_text("{")
    with pytest.raises(PageError) as raised:
        collect(root / "book" / "results")
    assert str(raised.value).count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.3, "0 s"), (119.4, "119 s"), (180, "3 min"), (9000, "2.5 h")]
)
def test_times(seconds, said):
    assert experiments_text._time(seconds) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sigma <= sigma_C", "σ ≤\u00a0σ<sub>C</sub>"),
        ("f_mem of *all* <b>", "f<sub>mem</sub> of \\*all\\* \\<b\\>"),
        ("metric=median_path_error", "metric=median\\_path\\_error"),
        ("N^(2/d), x^25, measure", "N^(2/d), x^25, measure"),
        ("[a](b) `c` $d$ \\e\nf", "\\[a\\](b) \\`c\\` \\$d\\$ \\\\e f"),
    ],
)
def test_plain_texts_become_markdown(text, said):
    assert experiments_text._plain(text) == said


def test_tables_have_as_many_cells_as_columns(fake, root):
    store(root)
    page = write(root)
    for table in re.findall(r"(?:^\|.*\n)+", page, re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


def test_the_experiments_of_the_book_without_results(tmp_path):
    experiments = collect(tmp_path)
    page = experiments_text.render_page(experiments, PLANS)
    assert [e.label for e in experiments] == [f"E{i}" for i in range(16)]
    for e in experiments:
        assert set(e.presets) <= set(PLANS)
        assert f"## {e.label}. {e.title}\n" in page
        assert results.command(e.name, "cpu") in page
    assert set(experiments_text.PURPOSE) == set(PLANS)


def test_torch_is_not_imported(tmp_path):
    code = "import sys; from book._tools.experiments_page import main; main(sys.argv[1:])"
    code += "; sys.exit('torch' in sys.modules)"
    (tmp_path / "book").mkdir()
    command = [sys.executable, "-c", code, "--root", str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    assert "## E15" in (tmp_path / "book" / "experiments.md").read_text(encoding="utf-8")
