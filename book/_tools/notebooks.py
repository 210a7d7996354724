"""Read, execute, normalise and stamp the chapters of the book."""

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path

from lindiff._report import MIME, Record

BOOK = Path(__file__).resolve().parents[1]
TEXT = BOOK / ".text"
OWN = ("form", "confirmed", "sides")
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
KEPT = ("accelerator", "colab")
# How a cell of each kind is folded: on the site by a tag, in Colab by the view as a form.
KINDS = {
    "setup": {"tag": "hide-cell", "prompt": "the set-up"},
    "story": {},
    "check": {"tag": "hide-input", "prompt": "the check", "form": True},
    "figure": {"tag": "hide-input", "prompt": "the code", "form": True},
    "try": {"tag": "try"},
    "solution": {"tag": "solution", "form": True},
}
_FOLDS = {look["tag"] for look in KINDS.values() if "tag" in look}
_PROMPTS = {"code_prompt_show": "Show {}", "code_prompt_hide": "Hide {}"}
GLOBS = ("[0-9][0-9]_*.ipynb", "[A-Z]_*.ipynb")


class ChapterError(Exception):
    """A chapter cannot be used as it is; the message says what to do."""


def chapters(book=BOOK):
    """Return the files of chapters, then of appendices, in order."""
    return [path for glob in GLOBS for path in sorted(Path(book).glob(glob))]


def label(path):
    """Return what stands before the point in the tags of a file: "3" or "A"."""
    head = Path(path).name.partition("_")[0]
    return str(int(head)) if head.isdigit() else head


def find(number, book=BOOK):
    """Return the notebook path of a chapter given by number, name or path."""
    path = Path(number)
    if path.suffix == ".ipynb":
        return path
    for folder, suffix in ((Path(book), ".ipynb"), (Path(book) / ".text", ".py")):
        for found in sorted(folder.glob(f"{number}*{suffix}")):
            return Path(book) / f"{found.stem}.ipynb"
    raise ChapterError(f"no chapter starts with {number!r} in {Path(book).name}/")


def home(tag, book=BOOK):
    """Return the file whose equations carry numbers like this one."""
    for path in chapters(book):
        if label(path) == tag.partition(".")[0]:
            return path
    raise ChapterError(f"no chapter or appendix has equations like ({tag})")


def read(path):
    """Return a notebook as nbformat reads it."""
    import nbformat

    try:
        return nbformat.reads(Path(path).read_text(encoding="utf-8"), as_version=4)
    except (OSError, ValueError) as error:
        raise ChapterError(f"{path} cannot be read as a notebook: {error}") from error


def source(cell):
    """Return the text of a cell, which a notebook stores as a string or a list of lines."""
    text = cell["source"]
    return text if isinstance(text, str) else "".join(text)


def code_cells(notebook):
    """Return the code cells of a notebook."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def records(cell):
    """Return the records of the checks among the outputs of a cell; a bad one is an error."""
    found = [output.get("data", {}).get(MIME) for output in cell.get("outputs", ())]
    try:
        return [Record.from_json(data) for data in found if data is not None]
    except ValueError as error:
        raise ChapterError(f"cell {cell.get('id')}: {error}") from error


def kind(cell):
    """Return the kind of a code cell that its author names, or None."""
    return cell["metadata"].get("lindiff", {}).get("kind")


def in_form(notebook):
    """Whether a chapter declares that it follows the form of a chapter."""
    return notebook["metadata"].get("lindiff", {}).get("form") == 1


def unfold(metadata):
    """Return the metadata of a cell without what its kind implies."""
    left = {key: value for key, value in metadata.items() if key != "cellView"}
    tags = [tag for tag in left.pop("tags", ()) if tag not in _FOLDS]
    mystnb = {k: v for k, v in left.pop("mystnb", {}).items() if k not in _PROMPTS}
    return {**left, **({"tags": tags} if tags else {}), **({"mystnb": mystnb} if mystnb else {})}


def folded(metadata):
    """Return the metadata of a cell with what its kind implies: tags, view, labels of the fold."""
    look = KINDS[metadata["lindiff"]["kind"]]
    full = unfold(metadata)
    if "tag" in look:
        full["tags"] = [look["tag"], *full.get("tags", ())]
    if "prompt" in look:
        words = {key: text.format(look["prompt"]) for key, text in _PROMPTS.items()}
        full["mystnb"] = {**full.get("mystnb", {}), **words}
    if look.get("form"):
        full["cellView"] = "form"
    return full


def stamp(notebook):
    """Hash of all code, in order: stored outputs belong to exactly this code."""
    code = "\0".join(source(cell) for cell in code_cells(notebook))
    return hashlib.sha256(code.encode()).hexdigest()


def slug(text, fallback):
    """Return a cell id made of the characters that nbformat allows."""
    words = re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-").lower()
    return words[:60] or fallback


def give_ids(cells):
    """Give every cell a readable, unique id, keeping those that authors chose."""
    used = set()
    for index, cell in enumerate(cells):
        wanted = cell["metadata"].pop("id", None) or cell.get("id") or _default_id(cell, index)
        name = slug(wanted, f"cell-{index}")
        while name in used:
            name = f"{name[:55]}-{index}"
        used.add(name)
        cell["id"] = name


def _default_id(cell, index):
    heading = re.match(r"#+ +(.+)", source(cell))
    if cell["cell_type"] == "markdown" and heading:
        return heading[1]
    return f"{'text' if cell['cell_type'] == 'markdown' else 'code'}-{index}"


def normalise(notebook):
    """Return the notebook with only what readers need, in one fixed form."""
    import nbformat

    clean = nbformat.from_dict(json.loads(json.dumps(notebook)))
    own = clean.metadata.get("lindiff", {})
    kept = {key: clean.metadata[key] for key in KEPT if key in clean.metadata}
    clean.metadata = nbformat.from_dict(
        {
            **kept,
            "kernelspec": dict(KERNEL),
            "language_info": {"name": "python"},
            "lindiff": {
                **{key: own[key] for key in OWN if key in own},
                "stamp": stamp(notebook),
            },
        }
    )
    clean.nbformat, clean.nbformat_minor = 4, 5
    for cell in clean.cells:
        cell.metadata.pop("execution", None)
        if kind(cell) in KINDS:
            cell.metadata = nbformat.from_dict(folded(cell.metadata))
        cell.pop("attachments", None)
        for output in cell.get("outputs", []):
            output.pop("transient", None)
    give_ids(clean.cells)
    return clean


def dumps(notebook):
    """Return the one text form in which a chapter is stored."""
    import nbformat

    normal = nbformat.writes(nbformat.from_dict(notebook), version=nbformat.NO_CONVERT)
    return normal if normal.endswith("\n") else normal + "\n"


def write_whole(path, text):
    """Write a file completely or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def to_text(notebook):
    """Return the py:percent view of a notebook; ids and kinds stand in the cell headers."""
    import jupytext
    import nbformat

    view = nbformat.from_dict(json.loads(json.dumps(notebook)))
    head = {"kernelspec": dict(KERNEL)}
    if in_form(notebook):
        head |= {"lindiff": {"form": 1}, "jupytext": {"notebook_metadata_filter": "lindiff"}}
    view.metadata = nbformat.from_dict(head)
    for cell in view.cells:
        ordered = json.loads(json.dumps(cell.metadata, sort_keys=True))
        named = {"id": cell.get("id", "")}
        if kind(cell) is not None:
            named["kind"] = ordered.pop("lindiff")["kind"]
            ordered = unfold(ordered)
        cell.metadata = nbformat.from_dict({**named, **ordered})
    # No version of jupytext in the view: it would change with the tool.
    text = jupytext.writes(view, fmt="py:percent")
    return re.sub(r"^#       jupytext_version: .*\n", "", text, flags=re.M)


def from_text(text, old=None):
    """Return the notebook that a py:percent view describes."""
    import jupytext

    notebook = jupytext.reads(text, fmt="py:percent")
    if old is not None:
        notebook.metadata.update({k: v for k, v in old["metadata"].items() if k in KEPT})
        # The view says whether the chapter is in form; the rest of its own data stay.
        stored = {k: v for k, v in old["metadata"].get("lindiff", {}).items() if k in OWN[1:]}
        if stored:
            notebook.metadata["lindiff"] = {**notebook.metadata.get("lindiff", {}), **stored}
    for cell in notebook.cells:
        cell.pop("id", None)
        if "kind" in cell.metadata:
            cell.metadata["lindiff"] = {"kind": cell.metadata.pop("kind")}
    give_ids(notebook.cells)
    return notebook


def execute(notebook, folder, timeout=300):
    """Run all cells in a fresh kernel; raise if a cell raises or writes to stderr."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    environment = {**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONHASHSEED": "0"}
    environment["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    for cell in code_cells(notebook):
        cell["outputs"], cell["execution_count"] = [], None
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        raise ChapterError(f"a cell raised, nothing was written:\n{error}") from error
    for cell in code_cells(notebook):
        for output in cell["outputs"]:
            if output.get("name") == "stderr":
                raise ChapterError(
                    f"cell {cell['id']} wrote to stderr, nothing was written: {output['text']}"
                )
    return notebook
