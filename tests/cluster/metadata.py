"""Stand-ins of the clouds' metadata services, on 127.0.0.1."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

# method, path with its query, headers -> status and text
Answer = Callable[[str, str, dict[str, str]], tuple[int, str]]


class Metadata:
    """Answers as ``answer`` says, which may be changed meanwhile; what it was asked is in ``asked``."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[str] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked.append(f"{self.command} {self.path}")
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, text = service.answer(self.command, self.path, headers)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            do_PUT = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Metadata:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()


class Ec2:
    """``action``: the body of a notice. A token is valid until another is asked for, and is asked for with PUT."""

    action: str | None = None
    tokens = 0

    def __call__(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        if path == "/latest/api/token":
            if method != "PUT" or not 0 < int(headers.get("x-aws-ec2-metadata-token-ttl-seconds", "0")) <= 21600:
                return 400, ""
            self.tokens += 1
            return 200, f"token-{self.tokens}"
        if headers.get("x-aws-ec2-metadata-token") != f"token-{self.tokens}":
            return 401, ""
        if path == "/latest/meta-data/spot/instance-action" and self.action is not None:
            return 200, self.action
        return 404, ""
