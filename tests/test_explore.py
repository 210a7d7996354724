"""The moving figure: what the page holds is what was computed, and a browser moves it."""

import base64
import json
import re
import shutil
import subprocess
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from lindiff import _explore, figures

SPEC = spec_from_file_location("root_conftest", Path(__file__).resolve().parents[1] / "conftest.py")
conftest = module_from_spec(SPEC)
SPEC.loader.exec_module(conftest)
TIME = np.linspace(0.1, 2.0, 30)
RATIO = np.array([0.5, 1.0, 2.0])
SCALE = np.array([1.0, 10.0])
LABELS = {"xlabel": "time (s)", "ylabel": "variance", "alt": "Two falling <curves>"}
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def curves():
    left = SCALE[:, None, None] * np.exp(-RATIO[:, None] * TIME)
    return {"left": left, "lost": SCALE[:, None, None] - left}


def moving(**changes):
    options = LABELS | {"start": (1, 2)} | changes
    return figures.explore(TIME, curves(), {"scale": SCALE, "ratio": RATIO}, **options)


def page():
    return moving()._repr_mimebundle_()["text/html"]


def test_the_page_holds_the_numbers_in_the_order_of_the_sliders():
    text = re.search(r'<script type="application/json">(.*?)</script>', page())[1]
    data = json.loads(text)
    held = _explore.decode(data["y"]).reshape(2, 3, 2, 30)
    np.testing.assert_allclose(_explore.decode(data["x"]), TIME, rtol=1e-6)
    np.testing.assert_allclose(held[:, :, 0], curves()["left"], rtol=1e-6)
    np.testing.assert_allclose(held[:, :, 1], curves()["lost"], rtol=1e-6)
    assert [s["start"] for s in data["sliders"]] == [1, 2]


def test_settings_are_written_without_exponents_of_a_machine():
    counts = [0.0001, 0.01234, 3.0, 1000.0]
    shown = figures.explore(TIME, {"left": np.ones((4, 30))}, {"levels": counts}, **LABELS)
    assert shown.data["sliders"][0]["texts"] == ["10⁻⁴", "0.0123", "3", "1000"]


def test_one_output_serves_every_reader():
    bundle = moving()._repr_mimebundle_()
    assert bundle["text/plain"] == (
        "moving figure of left, lost against time (s): scale = 1 to 10 (2), ratio = 0.5 to 2 (3)"
    )
    assert base64.b64decode(bundle["image/png"])[1:4] == b"PNG"
    # The picture stands in the page too: a viewer that strips scripts shows it.
    assert f'src="data:image/png;base64,{bundle["image/png"]}"' in bundle["text/html"]
    assert 'alt="Two falling &lt;curves&gt;"' in bundle["text/html"]
    assert bundle == moving()._repr_mimebundle_()


def test_the_script_is_small_and_asks_no_other_host():
    text = page()
    rest = text.replace("http://www.w3.org/2000/svg", "")
    assert "http" not in rest
    assert len(re.sub(r"base64,[^\"]+", "", text)) < 20_000


@pytest.mark.parametrize(
    ("top", "marks"),
    [(60.0, ["1", "2", "5", "10", "20", "50"]), (1e4, ["1", "10", "100", "1000", "10000"])],
)
def test_a_short_logarithmic_axis_has_more_marks_than_its_decades(top, marks):
    x = np.geomspace(1, top, 30)
    drawn = figures.explore(x, curves(), {"scale": SCALE, "ratio": RATIO}, xscale="log", **LABELS)
    assert [text for _, text in drawn.data["xaxis"]["ticks"]] == marks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": TIME[::-1]}, "x must hold"),
        ({"curves": {}}, "one to 4"),
        ({"curves": {"left": curves()["left"][0]}}, "left must have shape"),
        ({"curves": {"left": np.full((2, 3, 30), np.nan)}}, "no finite value"),
        ({"curves": {"left": np.ones((2, 3, 30_000))}, "x": np.arange(30_000)}, "more than"),
        ({"sliders": {}}, "one or two"),
        ({"sliders": {"scale": SCALE, "ratio": [1.0]}}, "ratio must hold"),
        ({"start": (2, 0)}, "start must name"),
        ({"start": (-1, 0)}, "start must name"),
        ({"yscale": "log", "curves": {"left": -curves()["left"]}}, "log scale"),
    ],
)
def test_bad_input_is_named(changes, message):
    given = {"x": TIME, "curves": curves(), "sliders": {"scale": SCALE, "ratio": RATIO}}
    given |= LABELS | changes
    x, lines, sliders = (given.pop(name) for name in ("x", "curves", "sliders"))
    with pytest.raises(ValueError, match=message):
        figures.explore(x, lines, sliders, **given)


MOVE = """
<script>
const root = document.querySelector(".lindiff-explore");
const [scale, ratio, reader] = root.querySelectorAll("input");
const seen = () => [...root.querySelectorAll("b")].map((b) => b.textContent);
const paths = () => [...root.querySelectorAll("path")].map((p) => p.getAttribute("d")).join();
const say = {first: seen(), images: root.querySelectorAll("img").length};
const before = paths();
scale.value = 0; ratio.value = 1; scale.dispatchEvent(new Event("input"));
say.moved = seen(); say.drawn = before !== paths();
reader.value = 0; reader.dispatchEvent(new Event("input"));
say.read = seen(); say.text = reader.getAttribute("aria-valuetext");
const plot = root.querySelector(":scope > svg"), box = plot.getBoundingClientRect();
const spot = {clientX: box.right - 24, clientY: box.top + 50};
plot.dispatchEvent(new PointerEvent("pointerdown", spot));
say.pointed = [+reader.value, ...seen()];
document.title = JSON.stringify(say);
</script>
"""


@pytest.mark.page
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_a_browser_moves_it(tmp_path):
    file = tmp_path / "page.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><body>{page()}{MOVE}", encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--window-size=800,900"]
    done = subprocess.run(
        [BROWSER, *options, file.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    said = json.loads(re.search(r"<title>(.*?)</title>", done.stdout)[1])

    def shown(values):
        return [f"{float(f'{value:.3g}'):g}" for value in values]

    left = 10 * np.exp(-2 * TIME[15])
    assert said["images"] == 0 and said["drawn"]
    assert said["first"] == shown([left, 10 - left])
    assert said["moved"] == shown([np.exp(-TIME[15]), 1 - np.exp(-TIME[15])])
    assert said["read"] == shown([np.exp(-0.1), 1 - np.exp(-0.1)])
    assert said["text"] == "read at time 0.1"
    assert said["pointed"] == [29, *shown([np.exp(-2.0), 1 - np.exp(-2.0)])]


def outputs(shift=0.0, label="left"):
    x, lines = TIME, {label: curves()["left"]}
    lines[label] = lines[label].copy()
    lines[label][0, 1, 7] *= 1 + shift
    shown = figures.explore(x, lines, {"scale": SCALE, "ratio": RATIO}, **LABELS)
    return [{"data": shown._repr_mimebundle_()}]


def test_a_rerun_compares_curves_as_numbers():
    problem = conftest.moving_problem
    assert problem(outputs(), outputs(1e-6)) is None
    assert "differ by up to" in problem(outputs(), outputs(0.01))
    assert "has now" in problem(outputs(), outputs(label="lost"))
    pages = [conftest.plain(each[0]["data"]["text/html"]) for each in (outputs(), outputs(1e-6))]
    assert pages[0] == pages[1] and "base64," not in pages[0]


def test_numbers_in_a_formula_are_compared_as_numbers():
    assert conftest.near("x**2 + 0.1234567891", "x**2 + 0.1234567892", 1.0)
    assert not conftest.near("x**2 + 0.1234567891", "x**2 + 0.1244567891", 1.0)
    assert not conftest.near("x**2 + 0.1", "x**3 + 0.1", 1.0)
    assert not conftest.near("x + 0.1", "y + 0.1", 1.0)


@pytest.mark.parametrize("low", [0.1, 0.1 * (1 + 1e-15)])
@pytest.mark.parametrize("high", [10.0, 10.0 * (1 - 1e-15)])
def test_the_last_digit_of_an_end_does_not_decide_whether_it_is_marked(low, high):
    x = np.array([low, 1.0, high])
    shown = figures.explore(x, {"left": np.ones((2, 3))}, {"c": [1.0, 2.0]}, xscale="log", **LABELS)
    marks = [text for _, text in shown.data["xaxis"]["ticks"]]
    assert marks == ["0.1", "0.2", "0.5", "1", "2", "5", "10"]
