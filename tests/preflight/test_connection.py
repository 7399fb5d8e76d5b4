"""The way to the Hub, through the genuine client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import constants

from preflight import connection
from preflight.check import Problem, explained
from tests.hub import TOKEN, Hub, Status


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)


def test_any_answer_of_the_hub_will_do(hub: Hub) -> None:
    assert hub.endpoint in connection.connection()
    assert [request.path for request in hub.requests] == ["/api/whoami-v2"]
    hub.fail("whoami", Status(429))
    assert "no token" in connection.connection()


@pytest.mark.parametrize(("token", "said"), [(TOKEN, "token of tester"), ("hf_unknown", None)])
def test_a_token_is_verified(hub: Hub, token: str, said: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    if said:
        assert said in connection.connection()
    else:
        with pytest.raises(Problem, match="refuses your token") as refused:
            connection.connection()
        assert "unset HF_TOKEN" in refused.value.mend
        assert token not in str(refused.value)
    hub.fail("whoami", Status(429))
    assert "token set, not verified (status 429)" in connection.connection()


def test_a_server_that_fails_is_no_connection(hub: Hub) -> None:
    hub.fail("whoami", Status(503))
    with pytest.raises(httpx2.HTTPStatusError, match="503") as failed:
        connection.connection()
    assert "set HF_ENDPOINT to a mirror" in explained(failed.value)[1]


@pytest.fixture
def portal() -> Iterator[str]:
    """What answers everything with a page, as the network of a hotel does."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>Welcome</html>")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_page_to_log_in_is_not_the_hub(portal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", portal)
    with pytest.raises(Problem, match="not as the Hub does") as page:
        connection.connection()
    assert "browser" in page.value.mend


def test_proxies_are_named_without_their_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connection.proxies() == "no proxy"
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy.example:3128")
    monkeypatch.setenv("HTTP_PROXY", "proxy.example:80")
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert connection.proxies() == (
        "proxies: HTTPS_PROXY proxy.example:3128, HTTP_PROXY proxy.example:80, NO_PROXY localhost"
    )


def test_the_cache_says_where_it_is_and_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "huggingface" / "hub"))
    blob = tmp_path / "huggingface" / "hub" / "models--a--b" / "blobs" / "c"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(bytes(1500))
    for environment, why in (
        ({}, "in the home folder; HF_HOME or SCRATCH move it"),
        ({"HF_HOME": "/elsewhere"}, "of HF_HOME"),
        ({"HF_HOME": f"{tmp_path}/huggingface", "SCRATCH": str(tmp_path)}, "of SCRATCH"),
        ({"HF_HUB_CACHE": "/elsewhere"}, "of HF_HUB_CACHE"),
    ):
        for name in ("HF_HOME", "SCRATCH", "HF_HUB_CACHE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert f"({why}) holds 1.5 kB" in connection.cache()


def test_a_cache_that_cannot_be_written_to_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/proc/nothing/here")
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(Problem, match="cannot be written to") as refused:
        connection.cache()
    assert "HF_HOME=$SCRATCH" in refused.value.mend
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "holds 0 B" in connection.cache()
