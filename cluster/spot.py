"""Watches whether the cloud is about to take this machine away, and has Ray move what runs on it in time.

Run it on each spot machine, beside Ray: it asks the cloud's metadata service every few seconds, and on notice drains
the machine's Ray node. Running trials then save where they are, and go on elsewhere. It ends with Ray, or with SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import email.utils
import functools
import http.client
import json
import math
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

METADATA = "http://169.254.169.254"  # of all three
POLL_S = 5.0  # what AWS advises; of Azure's and Google's 30 s it leaves 25
ANSWER_S = 2.0  # a metadata service answers within milliseconds
SILENT_S = 60.0  # that it does not answer before this is said, once
DRAIN_S = 20.0  # `ray drain-node` takes 1.5 s
TOKEN_TTL_S = 21600
NEVER_RUN_S = 300.0  # for Ray to be started beside this


class SilentError(Exception):
    """The metadata service did not answer, or not what it promises."""


@dataclass(frozen=True)
class Notice:
    """seconds: until the machine may be gone."""

    what: str
    seconds: float


@dataclass(frozen=True)
class Node:
    """A Ray node of this machine: its name in Ray, and the address of Ray's control store."""

    node_id: str
    address: str


def ask(url: str, headers: dict[str, str], *, method: str = "GET", expected: tuple[int, ...] = ()) -> tuple[int, str]:
    """Status and text of an answer. Raises SilentError for an error that is not among the ``expected``."""
    request = urllib.request.Request(url, headers=headers, method=method)
    # a proxy of the environment must not be asked for what only this machine is told
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=ANSWER_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in expected:
            return error.code, ""
        raise SilentError(f"{url}: HTTP {error.code}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise SilentError(f"{url}: {getattr(error, 'reason', error)}") from error


class Aws:
    """EC2's instance metadata service, version 2: a token is fetched first. A notice comes 2 minutes before."""

    def __init__(self, metadata: str) -> None:
        self.base = f"{metadata}/latest"
        self.token = ""

    def notice(self) -> Notice | None:
        status, text = self._ask((401, 404)) if self.token else (401, "")
        if status == 401:  # none yet, or it has run out
            ttl = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_TTL_S)}
            self.token = ask(f"{self.base}/api/token", ttl, method="PUT")[1]
            status, text = self._ask((404,))
        if status == 404:  # as long as there is no notice
            return None
        action = json.loads(text)
        return Notice(f"EC2 will {action['action']} it at {action['time']}", _until(action["time"], 120.0))

    def _ask(self, expected: tuple[int, ...]) -> tuple[int, str]:
        header = {"X-aws-ec2-metadata-token": self.token}
        return ask(f"{self.base}/meta-data/spot/instance-action", header, expected=expected)


class Gcp:
    """Compute Engine: a spot machine is told 30 s before, one that cannot be migrated at least 60 s."""

    def __init__(self, metadata: str) -> None:
        self.base = f"{metadata}/computeMetadata/v1/instance"

    def notice(self) -> Notice | None:
        if self._ask("preempted") == "TRUE":
            return Notice("Compute Engine preempts it", 30.0)
        if self._ask("maintenance-event") == "TERMINATE_ON_HOST_MAINTENANCE":
            return Notice("Compute Engine ends it for maintenance", 60.0)
        return None

    def _ask(self, key: str) -> str:
        return ask(f"{self.base}/{key}", {"Metadata-Flavor": "Google"})[1].strip()


class Azure:
    """Scheduled Events: a spot machine is told at least 30 s before. Each machine of a scale set sees those of all."""

    def __init__(self, metadata: str) -> None:
        self.base = f"{metadata}/metadata"

    @functools.cached_property
    def name(self) -> str:
        return self._ask("instance/compute/name?api-version=2021-02-01&format=text").strip()

    def notice(self) -> Notice | None:
        for event in json.loads(self._ask("scheduledevents?api-version=2020-07-01"))["Events"]:
            if event["EventType"] in ("Preempt", "Terminate") and self.name in event["Resources"]:
                return Notice(f"Azure's event {event['EventType']}", _until(event.get("NotBefore") or "", 30.0))
        return None

    def _ask(self, path: str) -> str:
        return ask(f"{self.base}/{path}", {"Metadata": "true"})[1]


PROVIDERS: dict[str, type[Aws] | type[Gcp] | type[Azure]] = {"aws": Aws, "gcp": Gcp, "azure": Azure}


def _until(moment: str, otherwise: float) -> float:
    """Seconds until a moment, in ISO 8601 or as e-mails have it; otherwise, where it is neither."""
    for parse in (datetime.fromisoformat, email.utils.parsedate_to_datetime):
        with contextlib.suppress(ValueError):
            when = parse(moment)
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time()
    return otherwise


def nodes_here() -> Iterator[Node]:
    """The Ray nodes of this machine, by the command lines of their raylets."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended while we looked
            command, *words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            given = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
            if Path(command).name == "raylet" and "--node_id" in given and "--gcs-address" in given:
                yield Node(given["--node_id"], given["--gcs-address"])


def find_node(node_id: str | None) -> Node | None:
    """That node, or the only one of this machine; None where there is none. Raises ValueError for several."""
    found = [node for node in nodes_here() if node_id in (None, node.node_id)]
    if len(found) > 1:
        raise ValueError(f"{len(found)} Ray nodes run here: give --node-id, one of {[one.node_id for one in found]}")
    return found[0] if found else None


def drain(node: Node, notice: Notice, until: float) -> str | None:
    """Tell Ray that the node goes; why that failed, or None. until: by :func:`time.monotonic`."""
    seconds = max(1, math.floor(until - time.monotonic()))
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", node.address]
    command += ["--node-id", node.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    command += ["--reason-message", notice.what, "--deadline-remaining-seconds", str(seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DRAIN_S)
    except subprocess.TimeoutExpired:
        return f"no answer from {node.address} within {DRAIN_S:g} s"
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return None if done.returncode == 0 else (said or [f"exit code {done.returncode}"])[-1]


def say(what: str) -> None:
    print(f"spot: {what}", file=sys.stderr, flush=True)


@dataclass
class Watch:
    """What is known of this machine so far."""

    provider: Aws | Gcp | Azure
    node: Node
    notice: Notice | None = None
    until: float = math.inf
    drained: bool = False
    _silent_since: float | None = None

    def look(self) -> None:
        """Ask the cloud until it gives notice; then drain the node, and again where that fails, but never twice."""
        if self.notice is None:
            self.notice = self._ask()
            if self.notice is not None:
                self.until = time.monotonic() + self.notice.seconds
                say(f"{self.notice.what}, in {self.notice.seconds:.0f} s; draining Ray node {self.node.node_id}")
        if self.notice is not None and not self.drained:
            failed = drain(self.node, self.notice, self.until)
            self.drained = failed is None
            say(f"could not drain: {failed}" if failed else "drained: running trials save, and go on elsewhere")

    def _ask(self) -> Notice | None:
        try:
            notice = self.provider.notice()
        except (SilentError, KeyError, TypeError, ValueError) as error:
            now = time.monotonic()
            if self._silent_since is None:
                self._silent_since = now
            if now - self._silent_since >= SILENT_S:
                self._silent_since = math.inf  # said once
                say(f"the metadata service does not answer, asking on: {type(error).__name__}: {error}")
            return None
        self._silent_since = None
        return notice


def watch(provider: Aws | Gcp | Azure, node_id: str | None, every_s: float, ended: threading.Event) -> int:
    """Until the node has ended, or ``ended``; the exit code."""
    began = time.monotonic()
    while (node := find_node(node_id)) is None:
        if time.monotonic() - began > NEVER_RUN_S:
            say(f"no Ray node was started here within {NEVER_RUN_S:g} s; run it beside `ray start`")
            return 1
        if ended.wait(every_s):
            return 0
    say(f"watching over Ray node {node.node_id}")
    watched = Watch(provider, node)
    while find_node(node.node_id) is not None:
        watched.look()
        if ended.wait(1.0 if watched.notice else every_s):
            return 0
    say("the Ray node has ended")
    return 0 if watched.notice is None or watched.drained else 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m cluster.spot",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit code 0 once Ray has ended or with SIGTERM, 1 where there is none or no drain, 2 usage.\n"
        "Where Ray asks for tokens, RAY_AUTH_MODE=token and the token must be there, as for `ray start`.",
    )
    parser.add_argument("provider", choices=PROVIDERS, help="whose machine this is")
    parser.add_argument("--metadata", metavar="URL", default=METADATA, help=f"of its metadata service [{METADATA}]")
    parser.add_argument("--node-id", metavar="ID", help="of the Ray node to drain [the only one on this machine]")
    parser.add_argument("--every", metavar="SECONDS", type=float, default=POLL_S, help=f"how often to ask [{POLL_S:g}]")
    options = parser.parse_args(arguments)
    if not options.every > 0:
        parser.error("--every must be above 0")
    if not options.metadata.startswith("http://"):
        parser.error("--metadata must begin with http://")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda signum, frame: ended.set())
    try:
        return watch(PROVIDERS[options.provider](options.metadata.rstrip("/")), options.node_id, options.every, ended)
    except ValueError as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
