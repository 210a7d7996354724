"""Open every page of the built site in headless Chromium and report what a reader would meet.

python -m book._tools.sitelint _build/html

A page fails if a formula is not typeset or typesets to an error, if it asks another host for
anything, if raw markup is visible, if one of its links leads nowhere, or if a phone cuts it off.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from book._tools import phone

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--virtual-time-budget=30000",
    "--dump-dom",
]
# The browser itself reports each request that this policy would forbid.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; report-uri /csp-report"
RAW = re.compile(r"\$\$|\\tag\{|\{(?:eq|ref|doc|cite|numref)\}|:::")
SKIPPED = {"genindex.html", "search.html", "py-modindex.html"}


class Page(HTMLParser):
    """Collect the ids, links and visible text of a page."""

    def __init__(self):
        super().__init__()
        self.ids, self.links, self.text, self._hidden = set(), [], [], 0

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids |= {values[k] for k in ("id", "name") if values.get(k)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        self._hidden += tag in ("script", "style", "pre", "mjx-container", "code")

    def handle_endtag(self, tag):
        self._hidden -= tag in ("script", "style", "pre", "mjx-container", "code")

    def handle_data(self, data):
        if not self._hidden:
            self.text.append(data)


def browser():
    """Return the path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def parse(path):
    """Return the parsed form of a stored page."""
    page = Page()
    page.feed(Path(path).read_text(encoding="utf-8"))
    return page


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder):
        self.foreign = []
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))


class _Handler(SimpleHTTPRequestHandler):
    def end_headers(self):
        self.send_header("Content-Security-Policy-Report-Only", POLICY)
        super().end_headers()

    def do_GET(self):
        if not self.path.startswith(phone.PREFIX):
            super().do_GET()
            return
        body = phone.frame("/" + self.path.removeprefix(phone.PREFIX)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        report = json.loads(body).get("csp-report", {})
        self.server.foreign.append((report.get("document-uri"), report.get("blocked-uri")))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments):
        pass


def _dump(program, url):
    with tempfile.TemporaryDirectory() as profile:
        closed = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"
        command = [program, *FLAGS, f"--user-data-dir={profile}", closed, url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    if "</html>" not in done.stdout:
        raise RuntimeError(f"{program} did not render {url}: {done.stderr[-400:]}")
    return done.stdout


def _formulas(name, stored, shown):
    wanted = len(re.findall(r'class="[^"]*\bmath\b[^"]*notranslate', stored))
    typeset = shown.count("<mjx-container")
    if typeset < wanted:
        yield f"{name}: {wanted - typeset} of {wanted} formulas were not typeset"
    for error in re.findall(r'<mjx-merror[^>]*?data-mjx-error="([^"]*)"', shown):
        yield f"{name}: a formula does not typeset: {error}"
    if re.search(r"<mjx-mtext[^>]*color: ?red", shown):
        yield f"{name}: a formula uses an undefined command"
    if "<mjx-merror" in shown and "data-mjx-error" not in shown:
        yield f"{name}: a formula does not typeset"


def _markup(name, shown):
    page = Page()
    page.feed(re.sub(r"<mjx-container.*?</mjx-container>", "", shown, flags=re.S))
    for found in sorted(set(RAW.findall("".join(page.text)))):
        yield f"{name}: raw markup {found!r} is visible"


def _links(root, name, pages):
    for link in pages[name].links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
            continue
        target = (root / name).parent / unquote(parts.path) if parts.path else root / name
        target = target.resolve()
        key = (
            str(target.relative_to(root.resolve())) if target.is_relative_to(root.resolve()) else ""
        )
        if not target.exists():
            yield f"{name}: dead link {link}"
        elif parts.fragment and key in pages and unquote(parts.fragment) not in pages[key].ids:
            yield f"{name}: dead anchor {link}"


def problems(folder, program):
    """Return one line per problem of the pages below a folder."""
    root = Path(folder)
    names = sorted(str(p.relative_to(root)) for p in root.rglob("*.html"))
    names = [n for n in names if not n.startswith("_") and Path(n).name not in SKIPPED]
    if not names:
        raise FileNotFoundError(f"{root} holds no pages; build the book first")
    pages = {name: parse(root / name) for name in names}
    server = _Server(root)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}/"
    with ThreadPoolExecutor(2) as pool:
        shown = dict(zip(names, pool.map(lambda n: _dump(program, base + n), names), strict=True))
        narrow = pool.map(lambda n: _dump(program, base + phone.PREFIX[1:] + n), names)
        small = dict(zip(names, narrow, strict=True))
    server.shutdown()
    found = [f"{urlsplit(p or '').path[1:]}: asks another host: {u}" for p, u in server.foreign]
    for name in names:
        found += _formulas(name, (root / name).read_text(encoding="utf-8"), shown[name])
        found += _markup(name, shown[name])
        found += phone.problems(name, small[name])
        found += _links(root, name, pages)
    return list(dict.fromkeys(found)), len(names)


def main(arguments=None):
    """Check the site and return the exit status."""
    folder = (arguments or sys.argv[1:] or ["_build/html"])[0]
    program = browser()
    if program is None:
        print("sitelint needs Chromium (Debian, Ubuntu: apt install chromium)", file=sys.stderr)
        return 1
    found, count = problems(folder, program)
    print("\n".join(found) or f"{count} pages typeset, linked and self-contained")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
