"""A Ray cluster of two nodes on this machine, whose second node can be killed."""

from __future__ import annotations

import os
import secrets
import signal
from types import TracebackType
from typing import Any

from tests.chaos.runs import Place, require

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
