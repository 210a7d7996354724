"""Set the repository's address everywhere, or check that all places agree.

``python -m book._tools.address OWNER/REPO`` writes the address into the
configuration, the badges and install cells of the chapters, the citation and
the README. ``python -m book._tools.address --check`` says whether all agree.
The address in force is the one in ``_config.yml``.
"""

import argparse
import hashlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat

from book._tools import notebooks

ROOT = Path(__file__).resolve().parents[2]

OWNER = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
REPO = r"[A-Za-z0-9_.-]*?[A-Za-z0-9_-]"
# A full stop after the address ends a sentence; ".git" is no part of the name.
END = r"(?=(?:\.git)?\.?(?![A-Za-z0-9_.-]))"
ADDRESS = rf"(?P<owner>{OWNER})/(?P<repo>{REPO}){END}"
SITE = rf"(?P<owner>{OWNER})\.github\.io/(?P<repo>{REPO}){END}"
CODE = r"https://github\.com/"

# Where the address must stand: files, what the place is, and its text around {address} or {site}.
PLACES = (
    ("_config.yml", "repository.url", rf"url:\s*[\"']?{CODE}{{address}}"),
    ("pyproject.toml", "project.urls", rf"{CODE}{{address}}"),
    ("pyproject.toml", "address of the site", r"https://{site}"),
    ("CITATION.cff", "repository-code", rf"repository-code:\s*[\"']?{CODE}{{address}}"),
    ("CITATION.cff", "address of the site", r"https://{site}"),
    ("README.md", "badge", rf"{CODE}{{address}}/actions/workflows/"),
    ("README.md", "clone line", rf"git clone {CODE}{{address}}"),
    ("README.md", "install line", rf"git\+{CODE}{{address}}@"),
    ("README.md", "address of the site", r"https://{site}"),
    ("book/[0-9A-Z]*_*.ipynb", "badge", r"colab\.research\.google\.com/github/{address}/blob/"),
    ("book/[0-9A-Z]*_*.ipynb", "install cell", rf"git\+{CODE}{{address}}@"),
)

# Every other mention of the address in force moves with it, in files with these endings.
SUFFIXES = {".md", ".ipynb", ".py", ".toml", ".yml", ".yaml", ".cff", ".bib", ".html", ""}
SHOWN = {".github", ".text", ".ci"}
HIDDEN = {"_build", "build", "dist", "node_modules", "__pycache__"}


class AddressError(Exception):
    """A place lacks the address, or names another one."""


@dataclass(frozen=True)
class Address:
    """A repository on GitHub."""

    owner: str
    repo: str

    @classmethod
    def parse(cls, text):
        """Read ``OWNER/REPO``."""
        match = re.fullmatch(ADDRESS, text)
        if match is None or text.endswith(".git"):
            raise AddressError(f"{text!r} is not of the form OWNER/REPO, such as solver/book")
        if match["repo"].lower() == f"{match['owner'].lower()}.github.io":
            raise AddressError(
                f"{text!r} is a user's own site; the book needs a project repository"
            )
        return cls(match["owner"], match["repo"])

    def __str__(self):
        return f"{self.owner}/{self.repo}"

    @property
    def site(self):
        """Address of the site; the host's part is in lower case."""
        return f"{self.owner.lower()}.github.io/{self.repo}"

    def same(self, match):
        """Whether a match of ADDRESS or SITE names this repository."""
        return (match["owner"].lower(), match["repo"]) == (self.owner.lower(), self.repo)


def texts(root):
    """All text files that may hold the address, as path -> text."""
    found = {}
    for path in sorted(Path(root).rglob("*")):
        parts = path.relative_to(root).parts
        hidden = any(p in HIDDEN or (p[0] == "." and p not in SHOWN) for p in parts[:-1])
        if hidden or path.suffix not in SUFFIXES or not path.is_file():
            continue
        try:
            found[path] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def _places(root, files):
    """Each place with its file, name and pattern; a file that is missing is an error."""
    for glob, name, pattern in PLACES:
        expression = re.compile(pattern.replace("{address}", ADDRESS).replace("{site}", SITE))
        matched = [path for path in sorted(Path(root).glob(glob)) if path in files]
        if not matched:
            raise AddressError(f"{glob} is missing: it must hold the address ({name})")
        for path in matched:
            yield path, name, expression


def current(root, files):
    """The address in force, from ``_config.yml``."""
    for path, name, expression in _places(root, files):
        if path.name == "_config.yml":
            match = expression.search(files[path])
            if match is None:
                raise AddressError(f"_config.yml: {name} is missing")
            return Address(match["owner"], match["repo"])
    raise AddressError("_config.yml is missing")


def problems(root, files, address):
    """One line for every place that lacks the address or names another one."""
    found = []
    for path, name, expression in _places(root, files):
        label = f"{path.relative_to(root)}: {name}"
        matches = list(expression.finditer(files[path]))
        if not matches:
            found.append(f"{label} is missing")
        for match in matches:
            if not address.same(match):
                found.append(f"{label} names {match['owner']}/{match['repo']}, not {address}")
    return found


def _write_into(match, address):
    """The text of a match with the new address in place of the old one."""
    start, end = match.start("owner") - match.start(), match.end("repo") - match.start()
    is_site = f"{match['owner']}.github.io/" in match[0]
    return match[0][:start] + (address.site if is_site else str(address)) + match[0][end:]


def _sweep(text, old, new):
    """Replace every other mention of the old address."""
    hosts = r"(github\.com/|githubusercontent\.com/|colab\.research\.google\.com/github/)"
    text = re.sub(hosts + re.escape(str(old)) + END, lambda m: m[1] + str(new), text)
    return re.sub(r"(?<![\w.-])" + re.escape(old.site) + END, lambda m: new.site, text)


def _restamp(before, after):
    """Keep the stamp of a chapter valid; a stamp that was stale stays stale."""
    old, new = json.loads(before), json.loads(after)
    mark = old["metadata"].get("lindiff", {}).get("stamp")
    if mark is None or mark != notebooks.stamp(old):
        return after
    return after.replace(mark, notebooks.stamp(new))


def _digest(text):
    notebook = nbformat.reads(text, as_version=4)
    return hashlib.sha256(notebooks.to_text(notebook).encode()).hexdigest()


def _move_base(path, before, after):
    """Tell the text view that the notebook's change is its own change too."""
    base = path.parent / ".text" / f".{path.stem}.base"
    if base.exists() and base.read_text(encoding="utf-8").strip() == _digest(before):
        notebooks.write_whole(base, _digest(after))


def set_address(root, address):
    """Write the address into all places, or into none; return the files that changed."""
    files = texts(root)
    old = current(root, files)
    changed = dict(files)
    for path, _, expression in _places(root, files):
        changed[path] = expression.sub(lambda m: _write_into(m, address), changed[path])
    for path, text in changed.items():
        text = _sweep(text, old, address)
        is_chapter = path.suffix == ".ipynb" and text != files[path]
        changed[path] = _restamp(files[path], text) if is_chapter else text
    wrong = problems(root, changed, address)
    if wrong:
        raise AddressError("nothing was changed:\n" + "\n".join(wrong))
    touched = [path for path in files if changed[path] != files[path]]
    for path in touched:
        if path.suffix == ".ipynb":
            _move_base(path, files[path], changed[path])
        mode = path.stat().st_mode & 0o777
        notebooks.write_whole(path, changed[path])
        path.chmod(mode)
    return touched


def main(arguments=None):
    """Command line; the exit status is 1 if a place is missing or differs."""
    parser = argparse.ArgumentParser(prog="address", description=__doc__.splitlines()[0])
    parser.add_argument("address", nargs="?", metavar="OWNER/REPO")
    parser.add_argument("--check", action="store_true", help="only say whether all places agree")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.check == (options.address is not None):
        parser.error("give OWNER/REPO to set the address, or --check")
    try:
        if options.check:
            files = texts(options.root)
            address = current(options.root, files)
            wrong = problems(options.root, files, address)
            print("\n".join(wrong) or f"all places name {address}")
            return int(bool(wrong))
        touched = set_address(options.root, Address.parse(options.address))
    except AddressError as error:
        print(f"address: {error}", file=sys.stderr)
        return 1
    for path in touched:
        print(path.relative_to(options.root))
    print(f"{len(touched)} files changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
