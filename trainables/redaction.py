"""Secrets in texts that others will read: logs, records and error messages keep the text and lose the secret."""

from __future__ import annotations

import argparse
import os
import re
from typing import NoReturn

HIDDEN = "***"
SHORTEST = 8  # a shorter value of the environment would be found in words, too
_VARIABLE = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|KEY|CONNECTION_STRING)$", re.IGNORECASE)
# scheme://name:password@ and scheme://token@; what follows the colon may be a port, and AWS keys have slashes in them.
# abfs://container@account names no secret, abfs://container:key@account does.
_USER = re.compile(
    r"(?<=://)(?:(?<!abfs://)(?<!abfss://)[^\s/:@]*|[^\s/:@]*(?=:))"
    r"(?::(?!\d+(?:[/?#\s]|$))[^\s@]*(?:@[^\s/@]*)*)?@"
)
_SETTING = re.compile(r"(?<=[?&])([\w.-]*(?:secret|passw|token|key|signature)[\w.-]*|sig)=[^\s&#'\"]*", re.IGNORECASE)
_HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}")


def redact(text: str) -> str:
    """``text`` without the passwords of its URLs, the Hub's tokens, and the values of the environment's secrets.

    A variable holds a secret if its name ends as such names do: HF_TOKEN, AWS_SECRET_ACCESS_KEY, WANDB_API_KEY.
    """
    values = {value.strip() for name, value in os.environ.items() if _VARIABLE.search(name)}
    for value in sorted(values, key=len, reverse=True):  # one may be a part of another
        if len(value) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    text = _USER.sub(f"{HIDDEN}@", text)
    text = _SETTING.sub(rf"\1={HIDDEN}", text)
    return _HUB_TOKEN.sub(HIDDEN, text)


def holds_keys(uri: str) -> bool:
    """Whether a URI has a user, a password or a secret setting in it."""
    return "://" in uri and bool(_USER.search(uri) or _SETTING.search(uri))


class Parser(argparse.ArgumentParser):
    """One whose complaints about the command line repeat no secret of it."""

    def error(self, message: str) -> NoReturn:
        super().error(redact(message))
