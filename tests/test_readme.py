"""What the README says runs: its example, its commands, its links, its picture."""

import doctest
import re
from pathlib import Path

import pytest

from book._tools import readme_figure

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


def examples(text):
    """The examples in the ``pycon`` blocks of a page."""
    blocks = re.findall(r"^```pycon\n(.*?)^```$", text, flags=re.M | re.S)
    return doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "README", "README.md", 0)


def failures(text):
    found = examples(text)
    assert found.examples, "the page has no example"
    return doctest.DocTestRunner(verbose=False).run(found, out=lambda _: None).failed


def test_example_runs():
    assert failures(README) == 0


def test_example_with_another_result_fails():
    assert failures(README.replace("simulation 1.5", "simulation 1.6")) == 1


def test_diagnosis_of_a_diffusers_model_prints_its_table(capsys):
    pytest.importorskip("diffusers")
    pytest.importorskip("torch").manual_seed(0)
    (program,) = re.findall(r"^```python\n(.*?)^```$", README, flags=re.M | re.S)
    names = {}
    exec(program, names)
    printed = capsys.readouterr().out
    rows = re.findall(r"^ +(0\.2|1|5) +([0-9.]+) +([0-9.]+) ", printed, flags=re.M)
    assert [float(sigma) for sigma, *_ in rows] == [0.2, 1.0, 5.0]
    # A network that has learnt nothing returns about its input: an error of sigma squared.
    for sigma, error, gaussian in rows:
        assert 0.7 < float(error) / float(sigma) ** 2 < 1.4
        assert float(gaussian) < float(error)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_make_target_exists(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.M))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(encoding="utf-8"), flags=re.M))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_local_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    missing = [link for link in local if not (ROOT / link).exists()]
    assert not missing


def test_picture_is_what_the_command_draws(tmp_path):
    size = readme_figure.main(tmp_path / "again.png")
    assert size < readme_figure.LARGEST_BYTES
    assert (tmp_path / "again.png").stat().st_size == size
    stored = readme_figure.PATH.read_bytes()
    assert stored[:8] == b"\x89PNG\r\n\x1a\n"
    assert pixels_differ(stored, (tmp_path / "again.png").read_bytes()) < 1.0


def test_comparison_of_pictures_can_fail():
    assert pixels_differ(readme_figure.PATH.read_bytes(), b"", shift=10) > 1.0


def pixels_differ(old, new, *, shift=0):
    """Mean difference of two pictures, of 255; an empty second one is the first, moved."""
    import io

    import numpy as np
    from PIL import Image

    def load(data):
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture.convert("L"), dtype=float)

    first = load(old)
    second = load(new) if new else np.roll(first, shift, axis=1)
    assert first.shape == second.shape
    return np.abs(first - second).mean()


def test_theory_and_simulation_of_the_picture_agree():
    import numpy as np

    from lindiff import onestep

    rng = np.random.default_rng(1)
    mean, error = readme_figure.simulate(time=1.0, noise_scale=1.0, rng=rng)
    theory = onestep.kl_population(onestep.noise_to_signal(1.0, 1.0, 1.0), 1)
    assert abs(mean - theory) < 4 * error
    assert abs(mean - 1.1 * theory) > 4 * error
