"""A cluster of three machines, by a genuine ``ray up``: what runs there equals one machine's, whatever is cut off.

The tests build on one another's cluster, in their order; the last takes it down.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.runs import Outcome, Place, states
from tests.chaos.scenarios import DISTRIBUTED, SHORT
from tests.lab import cloud
from tests.lab.cluster import CONFIG, Cluster, Sent, on_premises
from tests.lab.hosts import PROJECT, SHARED, Host, Lab, lacking

pytestmark = [pytest.mark.lab, pytest.mark.skipif(lacking() is not None, reason=f"a lab of hosts {lacking()}")]
NAMES = ("head", "worker1", "worker2")
A_TRIAL_EACH = ("seeds=0,1,2", "budgets=60steps", *SHORT[2:])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(NAMES, environment=cloud.ENVIRONMENT) as built:
        yield built


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Cluster:
    made = Cluster(lab, lab.hosts["head"])
    made.make_token()
    made.up(on_premises(lab), machines=len(NAMES))
    return made


@pytest.fixture(scope="module")
def alone() -> Iterator[Callable[[tuple[str, ...]], Outcome]]:
    """The same sweep on this machine, without a cluster; run once."""
    base = Path(tempfile.mkdtemp(prefix="la-"))  # short: Ray's sockets lie in it, whose paths have at most 107 bytes
    known: dict[tuple[str, ...], Outcome] = {}

    def run(settings: tuple[str, ...]) -> Outcome:
        if settings not in known:
            place = Place(base / str(len(known)), settings)
            place.start().end(0)
            known[settings] = Outcome.of(place.store)
        return known[settings]

    yield run
    shutil.rmtree(base)


def send(cluster: Cluster, name: str, settings: tuple[str, ...]) -> tuple[Place, Sent]:
    """Have the cluster run a sweep with its store in the shared folder."""
    place = Place(cluster.lab.shared / name, settings)
    return place, cluster.send(*settings, "--store", f"{SHARED}/{name}/results/store")


def require_equal(place: Place, reference: Outcome) -> None:
    Outcome.of(place.store).require_equal(reference)
    assert set(states(place)) == {"done"}
    assert place.leftovers() == []


def hosts(place: Place) -> set[str]:
    return {json.loads(path.read_text())["host"] for path in place.store.glob("trials/*/status.json")}


def from_a_worker(cluster: Cluster, address: str, variables: str = "") -> subprocess.CompletedProcess[str]:
    """A small sweep by ``--address``, started on a machine of the cluster."""
    settings = f"seeds=0 budgets=6steps metrics=held_out --store {SHARED}/joined --address {address}"
    return cluster.lab.hosts["worker1"].run(f"cd {PROJECT}; {variables} python sweep.py run quickstart {settings}")


def running(host: Host, word: str) -> list[str]:
    return [line for line in host.processes() if word in line]


@pytest.fixture
def wrong_token(cluster: Cluster) -> Iterator[Path]:
    """The launcher's token is another than the cluster's."""
    token = cluster.lab.launcher.root / ".ray" / "auth_token"
    kept = token.rename(token.with_name("kept"))
    token.write_text("0" * 64)
    yield token
    kept.rename(token)


@pytest.mark.quick
def test_no_job_is_let_in_without_the_token(cluster: Cluster, wrong_token: Path) -> None:
    assert "does not let this machine in" in cluster.send("seeds=0").end(2)
    wrong_token.unlink()
    assert "there is no token in /root/.ray/auth_token" in cluster.send("seeds=0").end(2)
    for host in cluster.lab.hosts.values():
        if host is not cluster.lab.launcher:
            assert (host.root / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600


def test_ray_itself_lets_nobody_in_without_the_token(cluster: Cluster, wrong_token: Path) -> None:
    client = f"ray://{cluster.head.address}:10001"
    assert f"no cluster answers at {client}" in cluster.send("seeds=0", "--address", client).end(1)
    refused = from_a_worker(cluster, f"{cluster.head.address}:6379", f"RAY_AUTH_TOKEN={'0' * 64}")
    assert (refused.returncode, "no Ray cluster lets this machine in" in refused.stdout) == (1, True), refused.stdout
    joined = from_a_worker(cluster, "auto")
    assert joined.returncode == 0, joined.stdout
    for without in ("RAY_AUTH_MODE=disabled", f"RAY_AUTH_TOKEN={'0' * 64}"):
        said = cluster.lab.hosts["worker1"].run(f"{without} timeout 60 ray status")
        assert said.returncode != 0, said.stdout


@pytest.mark.quick
def test_a_host_that_is_powered_off_changes_nothing(
    cluster: Cluster, alone: Callable[[tuple[str, ...]], Outcome]
) -> None:
    place, sent = send(cluster, "off", A_TRIAL_EACH)
    victim = cluster.lab.hosts["worker1"]
    sent.wait_for(lambda: bool(running(victim, "ray::ToposweepTrial")), "a trial on the victim")
    sent.wait_for(lambda: place.committed() >= 5, "5 checkpoints")
    victim.power_off()
    sent.end()
    require_equal(place, alone(A_TRIAL_EACH))
    assert len(hosts(place)) >= 2
    cluster.lab.power_on(victim)
    cluster.wait(lambda: cluster.machines() == len(NAMES), "third machine again", cluster.status)


def test_a_sweep_that_nothing_disturbs(cluster: Cluster, alone: Callable[[tuple[str, ...]], Outcome]) -> None:
    place, sent = send(cluster, "calm", SHORT)
    sent.end()
    require_equal(place, alone(SHORT))
    assert len(hosts(place)) >= 2
    client = ["--address", f"ray://{cluster.head.address}:10001"]
    again = cluster.send(*SHORT, "--store", f"{SHARED}/calm/results/store", *client)
    assert "nothing to do: all 4 trials" in again.end()


def test_a_host_whose_link_is_down_for_a_while(cluster: Cluster, alone: Callable[[tuple[str, ...]], Outcome]) -> None:
    place, sent = send(cluster, "link", SHORT)
    victim = cluster.lab.hosts["worker2"]
    sent.wait_for(lambda: bool(running(victim, "ray::ToposweepTrial")), "a trial on the victim")
    sent.wait_for(lambda: place.committed() >= 8, "8 checkpoints")
    cluster.lab.cut(victim)
    try:
        cluster.wait(lambda: cluster.machines() < len(NAMES), "notice of the cut", cluster.status, 60)
        sent.end()
    finally:
        cluster.lab.mend(victim)
    require_equal(place, alone(SHORT))
    cluster.wait(lambda: cluster.machines() == len(NAMES), "third machine again", cluster.status)


def test_a_distributed_trial_across_hosts(cluster: Cluster, alone: Callable[[tuple[str, ...]], Outcome]) -> None:
    place, sent = send(cluster, "across", DISTRIBUTED)

    def with_workers() -> list[Host]:
        return [host for host in cluster.lab.hosts.values() if host.init and running(host, "RayTrainWorker")]

    sent.wait_for(lambda: len(with_workers()) == 2, "workers on two hosts")
    sent.wait_for(lambda: place.committed() >= 3, "3 checkpoints")
    victim = next(host for host in with_workers() if host is not cluster.head)
    victim.power_off()
    sent.end()
    require_equal(place, alone(DISTRIBUTED))
    cluster.lab.power_on(victim)
    cluster.wait(lambda: cluster.machines() == len(NAMES), "third machine again", cluster.status)


def test_a_store_on_a_slow_and_failing_object_store(
    cluster: Cluster, alone: Callable[[tuple[str, ...]], Outcome]
) -> None:
    place = Place(cluster.lab.shared / "fetched", SHORT)
    with cloud.running(cluster.lab):
        cloud.ask(cluster.lab, "s3.create_bucket(Bucket='lab')")
        faults = '{"slow_s": 0.02, "failing": 0.03, "cut": 0.01}'
        disturbed = cluster.lab.launcher.run(f"curl -sf -d '{faults}' http://{cloud.ADDRESS}:{cloud.PORT}/-/faults")
        assert disturbed.returncode == 0
        cluster.send(*SHORT, "--store", "s3://lab/results/store").end()
        fetch = f"from pyarrow import fs; fs.copy_files('s3://lab/results', '{SHARED}/fetched/results')"
        fetched = cluster.lab.launcher.run(["python", "-c", fetch])
        assert fetched.returncode == 0, fetched.stdout
    require_equal(place, alone(SHORT))


def test_a_store_that_one_host_alone_sees_is_refused(cluster: Cluster) -> None:
    said = cluster.send("seeds=0", "budgets=6steps", "--store", "/root/mine").end(2)
    assert "worker1 (10.77.0.12): does not see what was written at /root/mine" in said
    assert "--store results/mine: for a job" in cluster.send("--store", "results/mine").end(2)


def test_a_job_outlives_its_launcher_and_saves_when_it_is_stopped(
    cluster: Cluster, alone: Callable[[tuple[str, ...]], Outcome]
) -> None:
    place, sent = send(cluster, "stopped", SHORT)
    sent.wait_for(lambda: place.committed() >= 4, "4 checkpoints")
    sent.process.kill()
    _, again = send(cluster, "stopped", SHORT)
    again.wait_for(lambda: "this runs already" in again.said(), "the job is joined")
    assert again.job == sent.job
    again.wait_for(lambda: place.committed() >= 6, "6 checkpoints")
    assert cluster.ray(f"job stop --address http://127.0.0.1:8265 {again.job}").returncode == 0
    assert "running trials save where they are" in again.end(130)
    assert "interrupted" in states(place)
    send(cluster, "stopped", SHORT)[1].end()
    require_equal(place, alone(SHORT))


def test_ray_down_leaves_nothing(cluster: Cluster) -> None:
    said = cluster.ray(f"down -y {CONFIG}")
    assert said.returncode == 0, said.stdout
    named = [cluster.lab.hosts[name] for name in NAMES]

    def left() -> list[str]:
        return [f"{host.name}: {line}" for host in named for line in host.processes() if "sshd" not in line]

    cluster.wait(lambda: not left(), "end of all processes", lambda: "\n".join(left()), 120)
