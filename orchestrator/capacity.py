"""What a cluster has, and what its autoscaler may still bring."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from orchestrator.words import SpecError

MOST = "TOPOSWEEP_MOST"  # JSON of resources by name, when all machines are up: Ray 2.60's autoscaler does not say


def capacity() -> Mapping[str, float]:
    """The most there can be of each resource, by its name: on machines that are up, or that may be started.

    Needs a running Ray. A cluster that starts its machines on demand has none of them before somebody asks. Raises
    SpecError for a variable that is no JSON of numbers.
    """
    import ray

    there: dict[str, float] = ray.cluster_resources()
    may_be = _announced()
    return {name: max(there.get(name, 0.0), may_be.get(name, 0.0)) for name in {*there, *may_be}}


def _announced() -> dict[str, float]:
    text = os.environ.get(MOST) or "{}"
    try:
        return {str(name): float(amount) for name, amount in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        example = json.dumps({"CPU": 32, "GPU": 4})
        raise SpecError(f"{MOST}={text}: what all machines have together is JSON, such as {example}") from error


def awaited() -> str | None:
    """For people: that work waits for machines, where there are none yet with CPUs or GPUs; else None."""
    import ray

    there, most = ray.cluster_resources(), capacity()
    lacking = [name for name in ("CPU", "GPU") if most.get(name) and not there.get(name)]
    if not lacking:
        return None
    return "waiting for machines: " + ", ".join(f"no {name} yet, of up to {most[name]:g}" for name in lacking)
