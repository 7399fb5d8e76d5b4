"""A Ray cluster of two nodes on this machine, whose second node can be killed, or taken away as a cloud does it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from tests.chaos.runs import ROOT, Place, living, require
from tests.cluster.metadata import Ec2, Metadata

OURS = ("ToposweepTrial", "Evaluator")


class Nodes:
    """A head with one CPU and the drivers' and evaluators' resources, and a second node with one CPU."""

    def __init__(self, place: Place) -> None:
        token = os.environ.get("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        self.place = place

    def __enter__(self) -> Nodes:
        from ray.cluster_utils import Cluster

        resources = {"evaluator": 1, "trial_driver": 1}
        head = {"num_cpus": 1, "resources": resources, "include_dashboard": False}
        self.cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self.add_second()
        self.place.address = self.cluster.address
        return self

    def add_second(self) -> None:
        self.second = self.cluster.add_node(num_cpus=1)

    def kill_second(self) -> None:
        (raylet,) = self.second.all_processes["raylet"]
        os.kill(raylet.process.pid, signal.SIGKILL)
        raylet.process.wait()

    def second_runs(self, *words: str) -> bool:
        """Whether a process with one of the words in its title is on the second node."""
        (raylet,) = self.second.all_processes["raylet"]
        titles = [one.title for one in living() if one.parent == raylet.process.pid]
        return any(word in title for word in words for title in titles)

    @contextlib.contextmanager
    def second_to_be_taken_away(self) -> Iterator[Callable[[float], None]]:
        """Yields what tells the second node's machine that it has so many seconds left; in the end it is taken away.

        Its watch is there before: it takes seconds to start, and trials last no longer.
        """
        ec2 = Ec2()
        with Metadata(ec2) as metadata:
            words = ["aws", "--metadata", metadata.url, "--every", "0.5", "--node-id", self.second.node_id]
            watcher = subprocess.Popen([sys.executable, "-m", "cluster.spot", *words], cwd=ROOT)

            def notice(seconds: float) -> None:
                when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
                ec2.action = json.dumps({"action": "terminate", "time": when})

            try:
                yield notice
                self.kill_second()
                require(not ec2.action or watcher.wait(20) == 0, f"cluster.spot ended with {watcher.returncode}")
            finally:
                watcher.kill()
                watcher.wait()

    def require_nothing_left(self) -> None:
        """No placement group, and no actor of the sweep's: what a job leaves is cleaned up once it has ended."""
        import ray

        ray.init(address=self.cluster.address, log_to_driver=False)
        try:
            groups = [one for one in ray.util.placement_group_table().values() if one["state"] != "REMOVED"]
            known = [one for one in ray._private.state.actors().values() if one["ActorClassName"] in OURS]
            actors = [one for one in known if one["State"] != "DEAD"]
        finally:
            ray.shutdown()
        require(len(known) > 1, f"no actor of the sweep is known: {known}")
        require(not groups, f"placement groups are left: {groups}")
        require(not actors, f"actors are left: {actors}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.place.kill_all()
        self.cluster.shutdown()
