"""Whether every machine of a cluster sees the store: each reads a file that the driver wrote, and writes another."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from orchestrator.store import Store
from orchestrator.words import SpecError
from trainables.storage import Folder

PATIENCE_S = 120.0  # a machine that has just started takes a while to run its first task


def require_seen(store: Store) -> None:
    """Needs a running Ray; with one machine there is nothing to ask.

    Raises SpecError naming the machines that cannot read and write the store, or the token stores beside it. Machines
    that are started later are not asked: a trial there fails with the path that it does not find.
    """
    import ray

    nodes = {node["NodeID"]: f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})" for node in _alive()}
    if len(nodes) < 2:
        return
    name = f".probe-{uuid.uuid4().hex[:12]}"
    places = [store.root, store.token_stores]
    with _written(places, name):
        answers = {node: _ask(node, store.uri, name) for node in nodes}
        found, _ = ray.wait(list(answers.values()), num_returns=len(answers), timeout=PATIENCE_S)
        wrong = {
            nodes[node]: problem
            for node, answer in answers.items()
            if (problem := _problem(answer, answer in found, places, name, node))
        }
    if wrong:
        listed = "".join(f"\n  {host}: {problem}" for host, problem in wrong.items())
        raise SpecError(
            f"--store {store.uri}: not every machine of the cluster can use it:{listed}\n"
            "Give a folder on a file system that all of them share, under the same path, or a URI such as "
            "s3://BUCKET/results, with keys in their environments"
        )


def _alive() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


@contextlib.contextmanager
def _written(places: list[Folder], name: str) -> Iterator[None]:
    try:
        for place in places:
            place.write(name, name.encode())
        yield
    finally:
        for place in places:
            for one in [one for one in place.names() if one.startswith(name)]:
                place.delete(one)


def _ask(node: str, uri: str, name: str) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node, soft=False)
    answer: Callable[..., Any] = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(_answer).remote
    return answer(uri, name, node)


def _answer(uri: str, name: str, node: str) -> str | None:
    """What a machine cannot do, or None; its answer lies beside the question."""
    store = Store.open(uri)
    for place in (store.root, store.token_stores):
        try:
            if place.read(name) != name.encode():
                return f"reads something else at {place}"
            place.write(f"{name}-{node}", node.encode())
        except FileNotFoundError:
            return f"does not see what was written at {place}"
        except Exception as error:  # of whatever file system it is: keys, permission, network
            return f"{place}: {type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return None


def _problem(answer: Any, done: bool, places: list[Folder], name: str, node: str) -> str | None:
    import ray

    if not done:
        return f"does not answer within {PATIENCE_S:.0f} s"
    try:
        problem: str | None = ray.get(answer)
    except ray.exceptions.RayError as error:  # it has gone meanwhile: then nothing will run there
        return None if node not in {one["NodeID"] for one in _alive()} else str(error).strip().splitlines()[0]
    if problem is None:
        unseen = [str(place) for place in places if not place.exists(f"{name}-{node}")]
        problem = f"what it wrote at {unseen[0]} is not seen here" if unseen else None
    return problem
