"""Pages load nothing that they never use, and keep the rest."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

PATH = Path(__file__).resolve().parents[1] / "book" / "_ext" / "lean.py"
SPEC = importlib.util.spec_from_file_location("lean", PATH)
lean = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(lean)
PAGE = """<head>
<link rel="preload" as="font" href="_static/vendor/fontawesome/6/fa-solid.woff2">
<script src="_static/vendor/fontawesome/6/js/all.min.js?digest=ab"></script>
<script src="_static/scripts/pydata-sphinx-theme.js?digest=ab"></script>
<link href="_static/vendor/fontawesome/6/css/all.min.css" rel="stylesheet" />
</head>"""


def test_scripts_that_no_page_uses_go(tmp_path):
    page, scripts = tmp_path / "a.html", tmp_path / "_static/vendor/fontawesome/6/js"
    scripts.mkdir(parents=True)
    (scripts / "all.min.js").write_text("")
    page.write_text(PAGE)
    html = SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(format="html"))
    lean.rewrite(html, ValueError("the build failed"))
    assert page.read_text() == PAGE
    lean.rewrite(html, None)
    assert page.read_text() == "\n".join(PAGE.splitlines()[k] for k in (0, 3, 4, 5))
    assert list(scripts.iterdir()) == []


def test_thebe_goes_and_the_search_stays():
    files = ["thebe.js", SimpleNamespace(filename=None, attributes={"body": "const thebe = 1"})]
    kept = [SimpleNamespace(filename="searchtools.js", attributes={}), "book.js"]
    context = {"script_files": files + kept, "css_files": ["thebe.css", "book.css"]}
    lean.drop(None, "page", "page.html", context, None)
    assert context == {"script_files": kept, "css_files": ["book.css"]}
