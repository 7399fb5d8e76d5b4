"""Which machines see the store. tests/lab asks real ones, one of which has a folder that the others have not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray

from orchestrator import probe
from orchestrator.store import Store
from orchestrator.words import SpecError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def test_one_machine_is_not_asked(ray_session: None, store: Store, tmp_path: Path) -> None:
    probe.require_seen(store)
    assert list(tmp_path.iterdir()) == []


def test_each_machine_says_what_it_cannot_do(store: Store) -> None:
    assert probe._answer(store.uri, "q", "n1") == f"does not see what was written at {store.root}"
    store.root.write("q", b"another")
    assert probe._answer(store.uri, "q", "n1") == f"reads something else at {store.root}"
    store.root.write("q", b"q")
    assert probe._answer(store.uri, "q", "n1") == f"does not see what was written at {store.token_stores}"
    store.token_stores.write("q", b"q")
    assert probe._answer(store.uri, "q", "n1") is None
    assert store.root.read("q-n1") == store.token_stores.read("q-n1") == b"n1"


def test_machines_that_cannot_are_named_and_nothing_is_left(
    ray_session: None, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = next(node for node in ray.nodes() if node["Alive"])
    known = {name: f"host-{name}" for name in ("blind", "other disk", "gone")}
    ghosts = [
        {"NodeID": name, "NodeManagerHostname": host, "NodeManagerAddress": "10.0.0.1"} for name, host in known.items()
    ]
    ask = probe._ask

    def asked(node: str, uri: str, name: str) -> Any:
        if node == real["NodeID"]:
            return ask(node, uri, name)
        if node == "gone":
            return ask("0" * 56, uri, name)
        return ray.put("does not see what was written" if node == "blind" else None)

    monkeypatch.setattr(probe, "_ask", asked)
    alive = iter([[real, *ghosts]])
    monkeypatch.setattr(probe, "_alive", lambda: next(alive, [real, *ghosts[:2]]))
    with pytest.raises(SpecError) as refused:
        probe.require_seen(store)
    lines = str(refused.value).splitlines()
    assert lines[0] == f"--store {store.uri}: not every machine of the cluster can use it:"
    assert lines[1] == "  host-blind (10.0.0.1): does not see what was written"
    assert lines[2] == f"  host-other disk (10.0.0.1): what it wrote at {store.root} is not seen here"
    assert lines[3].startswith("Give a folder")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
