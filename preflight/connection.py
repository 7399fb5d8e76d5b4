"""The way to the Hub: endpoint, token, proxies, and the cache."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.disk import human
from preflight.check import Problem
from trainables import hub

PATIENCE_S = 4.0  # to connect, and then for an answer
AT_MOST_S = 9.0  # also where the name server is what does not answer
FAITHFUL = "check HF_ENDPOINT, whose server may not mirror the Hub faithfully"
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def connection() -> str:
    """One question to the Hub, whose it is that asks: any answer of its own will do, but one that refuses a token."""
    from huggingface_hub import constants, get_session, get_token

    if hub.is_offline():
        return "offline mode is on: nothing is asked of the network, the cache must do"
    token = get_token()
    if token and not (token.isascii() and token.isprintable()):  # the client's error would show it
        raise Problem("the token holds characters that none has", "set HF_TOKEN anew, or: hf auth login")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    began = time.perf_counter()
    answer = get_session().get(f"{constants.ENDPOINT}/api/whoami-v2", headers=headers, timeout=PATIENCE_S)
    latency = time.perf_counter() - began
    if answer.status_code >= 500 or answer.status_code == 407:
        answer.raise_for_status()
    if not answer.headers.get("content-type", "").startswith("application/json"):
        raise Problem(
            f"{constants.ENDPOINT} answers, but not as the Hub does (status {answer.status_code}): a page to log in to "
            "this network, a proxy's, or a mirror that lacks the Hub's API",
            "open it in a browser, or set HTTPS_PROXY, or HF_ENDPOINT to another mirror",
        )
    whose = _whose(answer.status_code, answer.json()) if token else "no token (HF_TOKEN), public repositories need none"
    return f"{constants.ENDPOINT} answers in {1000 * latency:.0f} ms; {whose}; {proxies()}"


def _whose(status: int, said: dict[str, object]) -> str:
    if status in (401, 403):
        raise Problem(
            f"the Hub refuses your token ({status}), and with it all that is asked",
            "make a new one at https://huggingface.co/settings/tokens and set HF_TOKEN to it (or: hf auth login); or "
            "do without: unset HF_TOKEN, hf auth logout",
        )
    return f"token of {said.get('name')}" if status == 200 else f"token set, not verified (status {status})"


def proxies() -> str:
    """Which proxy variables are set, and to which host; names and passwords in them are not shown."""
    found = []
    for name in PROXIES:
        value = os.environ.get(name) or os.environ.get(name.lower())
        if value:
            place = urlsplit(value if "://" in value else f"//{value}")
            found.append(f"{name} {place.hostname}{f':{place.port}' if place.port else ''}")
    if found and (around := os.environ.get("NO_PROXY") or os.environ.get("no_proxy")):
        found.append(f"NO_PROXY {around}")
    return f"proxies: {', '.join(found)}" if found else "no proxy"


def cache() -> str:
    """Where downloads go, what is there, and whether more can be written."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    there = existing(folder)
    if not hub.is_offline() and not os.access(there, os.W_OK | os.X_OK):
        raise Problem(f"{folder} cannot be written to", "set HF_HOME to a folder of yours, as HF_HOME=$SCRATCH/hf")
    held = sum(blob.stat().st_size for blob in folder.glob("*/blobs/*") if blob.is_file())
    free = shutil.disk_usage(there).free
    return f"{folder} ({_why(folder)}) holds {human(held)}; {human(free)} free on its disk"


def _why(folder: Path) -> str:
    scratch, home = os.environ.get("SCRATCH"), os.environ.get("HF_HOME")
    if os.environ.get("HF_HUB_CACHE"):
        return "of HF_HUB_CACHE"
    if home and scratch and Path(home) == Path(scratch) / "huggingface":
        return "of SCRATCH"
    return "of HF_HOME" if home else "in the home folder; HF_HOME or SCRATCH move it"


def existing(path: Path) -> Path:
    """The path, or of its parents the nearest one that exists."""
    return next(one for one in (path, *path.parents) if one.exists())
