"""URIs of object stores, whatever they have before and after the path."""

from __future__ import annotations

import pytest

from trainables.address import Address, with_options


@pytest.mark.parametrize(
    ("uri", "path", "shown"),
    [
        ("s3://bucket/a/b?region=eu&scheme=http", "bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket/?region=eu", "bucket", "s3://bucket"),
        ("gs://bucket/a/", "bucket/a", "gs://bucket/a"),
        ("abfs://container@account.dfs.core.windows.net/a", "container/a", None),
        ("abfs://account.dfs.core.windows.net/container/a", "container/a", None),
    ],
)
def test_what_a_uri_has_beside_the_path_stays_with_its_folders(uri: str, path: str, shown: str | None) -> None:
    address = Address.of(uri, path)
    place, mark, settings = uri.partition("?")
    assert address.uri(path) == (shown or place)
    assert address.uri(f"{path}/c") == f"{shown or place}/c"
    assert address.settings == mark + settings


@pytest.mark.parametrize(
    ("uri", "asked"),
    [
        ("s3://bucket/a", "s3://bucket/a?allow_delayed_open=true"),
        ("s3://bucket/a?region=eu", "s3://bucket/a?region=eu&allow_delayed_open=true"),
        ("s3://bucket/a?allow_delayed_open=false", "s3://bucket/a?allow_delayed_open=false"),
        ("gs://bucket/a", "gs://bucket/a"),
    ],
)
def test_small_files_are_written_in_one_request_of_s3(uri: str, asked: str) -> None:
    assert with_options(uri) == asked
