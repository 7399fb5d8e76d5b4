"""URIs of places on object stores, of which ``pyarrow.fs`` gives only a path."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Address:
    """How a URI names the place of a path: what it has before it, with the bucket, and its settings after it, of which
    the path knows nothing: ``s3://bucket`` and ``?endpoint_override=host:9000&scheme=http``."""

    start: str
    settings: str

    @classmethod
    def of(cls, uri: str, path: str) -> Address:
        place, mark, settings = uri.partition("?")
        deep = path.strip("/").count("/")
        return cls(place.rstrip("/").rsplit("/", deep)[0] if deep else place.rstrip("/"), mark + settings)

    def uri(self, path: str) -> str:
        """Without the settings."""
        return "/".join([self.start, *path.strip("/").split("/")[1:]])


def with_options(uri: str) -> str:
    """An S3 URI by which a small file is written in one request: pyarrow's own way, as an upload in parts, takes 3."""
    if not uri.startswith("s3://") or "allow_delayed_open=" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true"
