"""Secrets go, everything else of a text stays."""

from __future__ import annotations

import pytest

from trainables.redaction import Parser, holds_keys, redact


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("http://user:pass@proxy:3128/x is down", "http://***@proxy:3128/x is down"),
        ("s3://AKIA:abc/def+gh@bucket/pile", "s3://***@bucket/pile"),  # AWS's keys, as users paste them
        ("http://u:p@ss@host/x, https://token@host", "http://***@host/x, https://***@host"),
        ("URL('http://u:secret@[::1]:80')", "URL('http://***@[::1]:80')"),
        ("s3://bucket/x?secret_key=abc&region=eu", "s3://bucket/x?secret_key=***&region=eu"),
        ("https://h/x?X-Amz-Security-Token=a%2Fb&sig=c", "https://h/x?X-Amz-Security-Token=***&sig=***"),
        ("abfs://c/x?client_secret=abc", "abfs://c/x?client_secret=***"),
        ("abfs://c:key+/=@a.dfs.core.windows.net/x", "abfs://***@a.dfs.core.windows.net/x"),
        ("abfss://:key@a.blob.core.windows.net", "abfss://***@a.blob.core.windows.net"),
        ("Bearer hf_abcdefghijklmnopqrstuvwxyz", "Bearer ***"),
    ],
)
def test_keys_in_a_text_are_hidden(text: str, left: str) -> None:
    assert redact(text) == left
    assert holds_keys(text) == ("://" in text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/pile?endpoint_override=host:9000&scheme=http",
        "http://127.0.0.1:8265/a@b and http://host:80?x=1@2",
        "abfs://c/x?credential_kind=anonymous",
        "abfs://container@account.dfs.core.windows.net/x and abfss://c@a/x",
        "a@b: seeds=0,1 model=hf_small key=value learning_rate was None",
        "hf://datasets/owner/name@main/train.parquet",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text
    assert not holds_keys(text)


def test_values_of_secret_variables_are_hidden_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "12345678-abcd")
    monkeypatch.setenv("SOME_PASSWORD", "12345678")  # the beginning of another one
    monkeypatch.setenv("OTHER_TOKEN", "short")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/home/someone/token")
    assert redact("x=12345678-abcd; 12345678; a short /home/someone/token") == "x=***; ***; a short /home/someone/token"


def test_a_parser_repeats_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Parser(prog="x").parse_args(["--nope=s3://key:secret@bucket"])
    assert "--nope=s3://***@bucket" in capsys.readouterr().err
