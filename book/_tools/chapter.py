"""The chapter tool: edit, run, check, text, renumber.

python -m book._tools.chapter edit 03        write the text view book/.text/03_*.py
python -m book._tools.chapter run 03 [04]    merge the view, execute, normalise, stamp
python -m book._tools.chapter check [FILE]   report pacing and all that is wrong, change nothing
python -m book._tools.chapter text FILE      print a notebook as text (for git diff)
python -m book._tools.chapter renumber 03    number the tags consecutively, follow them everywhere
python -m book._tools.chapter confirm 3.2    store that a printed formula is the checked one, by eye
"""

import argparse
import difflib
import hashlib
import json
import re
import sys
from pathlib import Path

NUMBER = r"(?:\d+|[A-Z])\.\d+"
TAG = re.compile(rf"\\tag\{{({NUMBER})\}}")
_IMPLEMENTS = re.compile(rf"Implements eqs?\.\s+(?:\({NUMBER}\)(?:,\s+| and )?)+")


def plain_text(path):
    """Return the cells of a notebook as text; needs nothing but the standard library."""
    lines = []
    for cell in json.loads(Path(path).read_text(encoding="utf-8"))["cells"]:
        tags = " ".join(cell["metadata"].get("tags", []))
        lines.append(f"--- {cell['cell_type']} {cell.get('id', '')} {tags}".rstrip())
        lines.append("".join(cell["source"]))
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            text = output.get("text", data.get("text/plain", ""))
            lines.append("=== " + "".join(text))
            lines.extend(f"=== [{kind}]" for kind in sorted(data) if kind != "text/plain")
    return "\n".join(lines) + "\n"


def _view_paths(path):
    folder = path.parent / ".text"
    return folder / f"{path.stem}.py", folder / f".{path.stem}.base"


def _write_view(path, notebook):
    from book._tools import notebooks

    view, base = _view_paths(path)
    text = notebooks.to_text(notebook)
    notebooks.write_whole(view, text)
    notebooks.write_whole(base, _hash(text))
    return view


def edit(path):
    """Write the text view, unless it holds changes that are not yet in the notebook."""
    from book._tools import notebooks

    view, _ = _view_paths(path)
    old = notebooks.read(path)
    if view.exists() and not _same(view.read_text(encoding="utf-8"), notebooks.to_text(old)):
        raise notebooks.ChapterError(f"{view.name} has changes of its own: run it, or delete it")
    return _write_view(path, old)


def _canonical(text):
    from book._tools import notebooks

    return notebooks.to_text(notebooks.from_text(text))


def _same(text, other):
    return _canonical(text) == _canonical(other)


def _hash(text):
    return hashlib.sha256(_canonical(text).encode()).hexdigest()


def _merged(path):
    """Return the notebook to execute: the text view if it changed, else the notebook."""
    from book._tools import notebooks

    view, base = _view_paths(path)
    old = notebooks.read(path) if path.exists() else None
    if not view.exists():
        return notebooks.normalise(old)
    text = view.read_text(encoding="utf-8")
    if old is None:
        return notebooks.from_text(text)
    stored = notebooks.to_text(old)
    if _same(text, stored):
        return notebooks.normalise(old)
    known = base.read_text().strip() if base.exists() else None
    hashes = [_hash(item) for item in (text, stored)]
    if known not in hashes and known is not None:
        names = (f"{path.name} (notebook)", f"{view.name} (text view)")
        diff = difflib.unified_diff(stored.splitlines(), text.splitlines(), *names, lineterm="")
        raise notebooks.ChapterError(
            "both the notebook and its text view changed; delete the one you do not want:\n"
            + "\n".join(diff)
        )
    if known == hashes[0]:
        return notebooks.normalise(old)
    return notebooks.from_text(text, old)


def run(path):
    """Merge, execute, normalise and stamp one chapter; write it whole or not at all."""
    from book._tools import notebooks, printed

    done = notebooks.execute(_merged(path), path.parent)
    for line in printed.record_sides(done):
        print(f"{path.name}: {line}", file=sys.stderr)
    normal = notebooks.normalise(done)
    notebooks.write_whole(path, notebooks.dumps(normal))
    _write_view(path, normal)


def renumber(paths):
    """Number the tags of the given chapters in order and follow them in book and package."""
    from book._tools import notebooks

    new = {}
    for path in paths:
        chapter = notebooks.label(path)
        text = "\n".join(map(notebooks.source, notebooks.read(path)["cells"]))
        for index, tag in enumerate(dict.fromkeys(TAG.findall(text)), start=1):
            new[tag] = f"{chapter}.{index}"
    for path in notebooks.chapters(paths[0].parent):
        notebook = notebooks.read(path)
        for cell in notebook["cells"]:
            cell["source"] = _follow(notebooks.source(cell), new)
        notebooks.write_whole(path, notebooks.dumps(notebook))
    root = paths[0].parent.parent
    page = root / "book" / "coverage.md"
    if page.exists():
        notebooks.write_whole(page, _follow(page.read_text(encoding="utf-8"), new))
    for path in sorted((root / "lindiff").rglob("*.py")):
        old = path.read_text(encoding="utf-8")
        text = _IMPLEMENTS.sub(lambda found: _in_brackets(found[0], new), old)
        if text != old:
            notebooks.write_whole(path, text)
    return new


def _in_brackets(text, new):
    return re.sub(rf"\(({NUMBER})\)", lambda found: f"({new.get(found[1], found[1])})", text)


def _follow(text, new):
    def replaced(match):
        tag = match[2]
        return match[1] + new.get(tag, tag) + match[3]

    text = re.sub(rf"(\\tag\{{)({NUMBER})(\}})", replaced, text)
    text = re.sub(rf"(#eq-)({NUMBER})(\b)", replaced, text)
    text = re.sub(rf"(\[\()({NUMBER})(\)\])", replaced, text)
    text = re.sub(r"^# @title .*", lambda line: _in_brackets(line[0], new), text)
    return re.sub(rf'(")({NUMBER})(")', replaced, text)


def main(arguments=None):
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(prog="chapter", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["edit", "run", "check", "text", "renumber", "confirm"])
    parser.add_argument("chapters", nargs="*", help="numbers such as 03, or files; tags to confirm")
    options = parser.parse_args(arguments)
    if options.command == "text":
        for name in options.chapters:
            sys.stdout.write(plain_text(name))
        return 0
    from book._tools import checks, form, notebooks, printed

    try:
        if options.command == "check":
            files = [Path(name) for name in options.chapters] or notebooks.chapters()
            problems = checks.problems(files)
            print("\n".join(form.report(files)))
            print("\n".join(problems) or f"{len(files)} chapters checked, nothing to mend")
            return 1 if problems else 0
        if options.command == "confirm":
            for tag in options.chapters:
                printed.confirm(notebooks.home(tag), tag)
            return 0
        paths = [notebooks.find(name) for name in options.chapters]
        if not paths:
            raise notebooks.ChapterError(f"{options.command}: name a chapter, such as 03")
        if options.command == "renumber":
            print(renumber(paths))
            return 0
        for path in paths:
            (edit if options.command == "edit" else run)(path)
            print(f"{options.command}: {path.name}")
    except notebooks.ChapterError as error:
        print(f"chapter: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
