"""What a cluster has, and what its autoscaler may still bring."""

from __future__ import annotations

from collections.abc import Mapping


def capacity() -> Mapping[str, float]:
    """The most there can be of each resource, by its name: on machines that are up, or that may be started.

    Needs a running Ray. A cluster that starts its machines on demand has none of them before somebody asks.
    """
    import ray

    there: dict[str, float] = ray.cluster_resources()
    may_come = ray._private.state.state.get_max_resources_from_cluster_config() or {}
    return {name: max(there.get(name, 0.0), float(may_come.get(name, 0))) for name in {*there, *may_come}}


def awaited() -> str | None:
    """For people: that work waits for machines, where there are none yet with CPUs or GPUs; else None."""
    import ray

    there, most = ray.cluster_resources(), capacity()
    lacking = [name for name in ("CPU", "GPU") if most.get(name) and not there.get(name)]
    if not lacking:
        return None
    return "waiting for machines: " + ", ".join(f"no {name} yet, of up to {most[name]:g}" for name in lacking)
