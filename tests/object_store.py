"""A stand-in of S3: moto's, in a process of its own; its requests are counted, and can be slow, fail, or be cut."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from urllib.request import Request, urlopen

BUCKET = "bucket"
CONTROL = "/-/"  # no name of a bucket
KEYS = {  # it asks nobody who he is; short, so that no message is redacted for them
    "AWS_ACCESS_KEY_ID": "anyone",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_EC2_METADATA_DISABLED": "true",
}
# moto takes what has urllib's own type for a form, and hangs where it is no text.
BINARY = {"Content-Type": "application/octet-stream"}
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass(frozen=True)
class Faults:
    """slow_s: before each answer; failing, cut: shares of the requests that end with 503, or with no answer, half of
    these after they were done; away: all of them."""

    slow_s: float = 0.0
    failing: float = 0.0
    cut: float = 0.0
    away: bool = False


@dataclass(frozen=True)
class ObjectStore:
    """A running service with an empty bucket."""

    port: int

    @property
    def settings(self) -> str:
        """What makes an ``s3://`` URI ask here."""
        return f"?endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process ask here for every ``s3://`` URI."""
        return {**KEYS, "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}

    def uri(self, path: str) -> str:
        return f"s3://{BUCKET}/{path}{self.settings}"

    def disturb(self, **faults: Any) -> None:
        """From here on; without any, no more."""
        self._control("faults", asdict(Faults(**faults)))

    def counts(self) -> Counter[str]:
        """Requests so far, by kind."""
        return Counter(self._control("counts"))

    def put(self, objects: Mapping[str, bytes]) -> None:
        """Objects by key."""
        for key, data in objects.items():
            address = f"http://127.0.0.1:{self.port}/{BUCKET}/{key}"
            urlopen(Request(address, data, BINARY, method="PUT")).close()

    def _control(self, what: str, body: Any = None) -> Any:
        with urlopen(f"http://127.0.0.1:{self.port}{CONTROL}{what}", json.dumps(body).encode()) as answer:
            return json.load(answer)


@contextmanager
def serving(seed: int = 0) -> Iterator[ObjectStore]:
    command = [sys.executable, "-m", "tests.object_store", str(seed)]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            store = ObjectStore(int(process.stdout.readline()))
            urlopen(Request(f"http://127.0.0.1:{store.port}/{BUCKET}", b"", method="PUT")).close()
            yield store
        finally:
            process.kill()


class _Disturbed:
    """The service as a WSGI application, and what is done to its requests."""

    def __init__(self, application: Callable[..., Iterable[bytes]], seed: int) -> None:
        self.application = application
        self.faults = Faults()
        self.counted: Counter[str] = Counter()
        self.rng = random.Random(seed)
        self.lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith(CONTROL):
            return self._control(environ, start_response)
        with self.lock:
            self.counted[_kind(environ)] += 1
            chance, late, faults = self.rng.random(), self.rng.random() < 0.5, self.faults
        time.sleep(faults.slow_s)
        if chance < faults.failing:
            start_response("503 Slow Down", [("Connection", "close"), ("Content-Length", str(len(SLOW_DOWN)))])
            return [SLOW_DOWN]
        cut = chance < faults.failing + faults.cut
        if faults.away or (cut and not late):
            raise ConnectionError  # the server closes the connection without a word
        answer = self.application(environ, start_response)
        if cut:
            raise ConnectionError
        return answer

    def _control(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        with self.lock:
            if body is not None:
                self.faults = Faults(**body)
            answer = json.dumps(self.counted).encode()
        start_response("200 OK", [("Content-Length", str(len(answer)))])
        return [answer]


def _kind(environ: Mapping[str, Any]) -> str:
    """As a bill names it."""
    method, query = environ["REQUEST_METHOD"], parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
    return "LIST" if method == "GET" and ("list-type" in query or "prefix" in query) else str(method)


def _serve(seed: int, host: str = "127.0.0.1", port: str = "0") -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # connections stay open, as S3's do

        def connection_dropped(self, *_: Any) -> None:
            self.close_connection = True  # or the client waits for an answer

        def log(self, *_: Any) -> None: ...

    application = _Disturbed(DomainDispatcherApplication(create_backend_app), seed)
    server = make_server(host, int(port), application, threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()  # until who started it is gone


if __name__ == "__main__":
    _serve(int(sys.argv[1]), *sys.argv[2:])
