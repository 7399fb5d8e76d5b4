"""A stand-in of an S3 service: lists and serves what it is given, to any client and without asking who it is."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

DATE = "Mon, 01 Jan 2024 00:00:00 GMT"


@contextmanager
def serving(objects: Mapping[str, bytes]) -> Iterator[str]:
    """Serve objects by ``bucket/key``; gives the settings that make an ``s3://`` URI ask here."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            path, query = unquote(url.path).strip("/"), parse_qs(url.query, keep_blank_values=True)
            if "list-type" in query or "prefix" in query:
                prefix = f"{path}/{query.get('prefix', [''])[0]}"
                self._answer(200, listing(objects, path, prefix, query.get("delimiter", [""])[0]).encode())
            elif path not in objects:
                self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            elif span := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                first, last = int(span[1]), min(int(span[2]), len(objects[path]) - 1)
                place = f"bytes {first}-{last}/{len(objects[path])}"
                self._answer(206, objects[path][first : last + 1], {"Content-Range": place})
            else:
                self._answer(200, objects[path])

        do_HEAD = do_GET

        def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            known = {"Content-Length": str(len(body)), "Last-Modified": DATE, "ETag": '"0"'}
            for name, value in (known | dict(headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"?endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=us-east-1"
    finally:
        server.shutdown()
        server.server_close()


def listing(objects: Mapping[str, bytes], bucket: str, prefix: str, delimiter: str) -> str:
    """ListObjectsV2's answer: keys that begin with ``prefix``, those beyond a delimiter as common prefixes."""
    contents, folders = [], dict[str, None]()
    for path in sorted(name for name in objects if name.startswith(prefix)):
        key, rest = path[len(bucket) + 1 :], path[len(prefix) :]
        if delimiter and delimiter in rest:
            folders[key[: len(key) - len(rest)] + rest.partition(delimiter)[0] + delimiter] = None
        else:
            size = len(objects[path])
            contents.append(f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size></Contents>")
    common = "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders)
    count = len(contents) + len(folders)
    return (
        f"<ListBucketResult><Name>{bucket}</Name><KeyCount>{count}</KeyCount><IsTruncated>false</IsTruncated>"
        f"{''.join(contents)}{common}</ListBucketResult>"
    )
