"""The report as a server of this machine alone, which shows a sweep while it runs.

The page is made anew when the store has changed since, at most every few seconds, and asks with HEAD whether it was.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from orchestrator import results
from orchestrator.analysis import analyse
from orchestrator.comparison import Beside
from orchestrator.report import findings, markdown, page
from orchestrator.store import FIGURES, MARKDOWN, MEASUREMENTS, RESULTS, STATUS, TABLES, TRIALS, Store
from trainables.storage import sha256

HOST = "127.0.0.1"
EVERY_S = 2.0  # at most so often is the store looked at
SHARE = 4.0  # and a page that takes long to make is made at most this many times as rarely
NAMES = ("127.0.0.1", "localhost")  # a page of elsewhere whose name is made to mean this machine is refused
TYPES = {"html": "text/html; charset=utf-8", "md": "text/markdown; charset=utf-8", "csv": "text/csv; charset=utf-8"}
TYPES |= {"parquet": "application/vnd.apache.parquet", "svg": "image/svg+xml", "png": "image/png"}


@dataclass
class Live:
    """The newest page of a store."""

    store: Store
    beside: Beside | None
    page: bytes = b""
    tag: str = ""
    _state: str = ""
    _next: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def current(self) -> tuple[bytes, str]:
        """The page and its tag, made anew where the store has changed; the one before as long as another makes it."""
        if self._lock.acquire(blocking=not self.page):
            try:
                if not self.page or time.monotonic() >= self._next:
                    self._refresh()
            finally:
                self._lock.release()
        return self.page, self.tag

    def _refresh(self) -> None:
        began = time.monotonic()
        state = fingerprint(self.store)
        if state != self._state:
            self.page, self._state = self._render(), state
            self.tag = _tag(self.page)
        self._next = time.monotonic() + max(EVERY_S, SHARE * (time.monotonic() - began))

    def _render(self) -> bytes:
        """The page, and what it links to, in the store."""
        frame = results.collect(self.store)
        found = findings.gather(self.store, frame, analyse(frame, results.ends(self.store)), self.beside)
        results.write(self.store, frame)
        markdown.write(self.store, found)
        return page.render(found, live=True)


def _tag(data: bytes) -> str:
    return f'"{sha256(data)[:32]}"'


def fingerprint(store: Store) -> str:
    """Another one when a trial began or ended, or a checkpoint was measured."""
    folder = store.root / TRIALS
    found = []
    for name in folder.names():
        trial = folder / name
        found.append((name, trial.sizes().get(STATUS, 0), *(trial / MEASUREMENTS).sizes().items()))
    return sha256(repr(found).encode())


def serve(store: Store, port: int, beside: Beside | None, say: Callable[[str], None]) -> None:
    """Serve until an interrupt. port: 0 for any that is free; say: hears the address. Raises OSError where it is
    taken."""
    server = ThreadingHTTPServer((HOST, port), _handler(Live(store, beside)))
    server.daemon_threads = True
    with contextlib.suppress(KeyboardInterrupt), server:
        say(f"http://{HOST}:{server.server_address[1]}/")
        server.serve_forever(poll_interval=0.2)


def _handler(live: Live) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """GET and HEAD of the report and the files beside it; anything else is refused."""

        server_version, sys_version = "Toposweep", ""

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def _answer(self) -> None:
            if self.headers.get("Host", "").rpartition(":")[0] not in NAMES:
                self.send_error(HTTPStatus.FORBIDDEN, "another Host")
                return
            path = self.path.partition("?")[0]
            if path in ("/", "/report.html"):
                page, tag = live.current()
                self._send(page, TYPES["html"], tag)
                return
            data = of_report(live.store, path)
            if data is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            self._send(data, TYPES[path.rpartition(".")[2]], _tag(data))

        def _send(self, data: bytes, kind: str, tag: str) -> None:
            unchanged = self.headers.get("If-None-Match") == tag
            self.send_response(HTTPStatus.NOT_MODIFIED if unchanged else HTTPStatus.OK)
            headers = {"ETag": tag, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
            for name, value in headers.items():
                self.send_header(name, value)
            if not unchanged:
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET" and not unchanged:
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is said of requests."""

    return Handler


def of_report(store: Store, path: str) -> bytes | None:
    """A file that the report links to, by the path of a request; None for every other."""
    folder, _, name = path.removeprefix("/").rpartition("/")
    if folder == "" and name in (RESULTS, MARKDOWN):
        place = store.root
    elif folder in (TABLES, FIGURES) and name in (store.root / folder).names() and name.rpartition(".")[2] in TYPES:
        place = store.root / folder
    else:
        return None
    try:
        return place.read(name)
    except FileNotFoundError:
        return None
