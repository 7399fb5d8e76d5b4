"""What goes wrong: each scenario runs sweeps, disturbs them at random moments, and says how often it did."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.runs import Place, Run, copy, flip_bit, require, states, statuses

SETTINGS = (
    *("seeds=0,1", "budgets=150steps,300steps", "batch_size=2", "checkpoint_every=25", "evaluators=1", "retries=5"),
    *("metrics=held_out,persistent_homology,linear_cka,weight_trajectory_dimension", "probe_sequences=8"),
    "probe_points=32",
)
SHORT = ("seeds=0,1", "budgets=60steps,120steps", *SETTINGS[2:])
LONG = ("seeds=0,1", "budgets=600steps", "batch_size=2", "checkpoint_every=100", *SETTINGS[4:])  # 15 s a trial
DISTRIBUTED = ("seeds=0", "budgets=120steps", "workers=2", *SETTINGS[2:])
TRIAL, EVALUATOR, WORKER = "ray::ToposweepTrial", "ray::Evaluator", "RayTrainWorker"
GCS, RAYLET = "gcs/gcs_server", "raylet/raylet"
# of a finished sweep, by kind; those of tokens lie beside the store
WEIGHTS = "store/trials/*/checkpoints/*/model.safetensors"
FILES = {
    "weights": WEIGHTS,
    "manifest": "store/trials/*/checkpoints/*/manifest.json",
    "training state": "store/trials/*/training_state/*/state.safetensors",
    "measurements": "store/trials/*/measurements/*.json",
    "persistence diagrams": "store/trials/*/diagrams/*/*.parquet",
    "trace": "store/trials/*/traces/*/*.safetensors",
    "token block": "tokens/*/*-*.parquet",
    "tokenizer": "tokens/*/tokenizer.json",
    "shard": "tokens/embedded*/*.jsonl.zst",
    "trial.json": "store/trials/*/trial.json",
    "status.json": "store/trials/*/status.json",
}


@dataclass(frozen=True)
class Context:
    place: Place
    rng: random.Random
    finished: Path  # the results folder of an undisturbed sweep of the same settings

    def pause(self, most_s: float = 1.0) -> None:
        time.sleep(self.rng.uniform(0, most_s))


@dataclass(frozen=True)
class Scenario:
    """kind: the fault; disturb: injects it and gives how many times; quick: so many times in the short selection."""

    kind: str
    disturb: Callable[[Context, int], int]
    faults: int
    quick: int = 0
    settings: tuple[str, ...] = SETTINGS
    root: bool = False


def kill_processes(words: tuple[str, ...], signals: tuple[signal.Signals, ...]) -> Callable[[Context, int], int]:
    """Of a running sweep, one after the other; the sweep goes on; what was hit too often is named."""

    def disturb(context: Context, count: int) -> int:
        run, killed = context.place.start(), 0
        for _ in range(count):
            if not run.wait_for_checkpoints(context.rng.randint(1, 4)):
                break
            context.pause()
            word, signum = context.rng.choice(words), context.rng.choice(signals)
            if not run.wait_until(lambda word=word: bool(run.find(word))):  # type: ignore[misc]
                break
            for pid in run.find(word)[:1]:
                os.kill(pid, signum)
                killed += 1
        run.end(0, 1)
        return killed

    return disturb


def _under_way(context: Context, count: int) -> Iterator[Run]:
    """The same sweep so many times, each time further on, or until it is done before it can be disturbed."""
    for _ in range(count):
        run = context.place.start()
        if not run.wait_for_checkpoints(context.rng.randint(1, 8)):
            run.end(0)
            return
        yield run


def end_driver(signum: signal.Signals, code: int) -> Callable[[Context, int], int]:
    def disturb(context: Context, count: int) -> int:
        done = 0
        for run in _under_way(context, count):
            context.pause()
            os.kill(run.process.pid, signum)
            run.end(code)
            saved = "interrupted" in states(context.place)
            require(saved or code < 0, f"no trial saved in the grace period\n{run.said()}")
            done += 1
        return done

    return disturb


def kill_ray(word: str) -> Callable[[Context, int], int]:
    """What the driver cannot do without: it ends with 1, and says so."""

    def disturb(context: Context, count: int) -> int:
        done = 0
        for run in _under_way(context, count):
            (pid,) = run.find(word)
            os.kill(pid, signal.SIGKILL)
            run.end(1)
            require("what was written is kept" in run.said(), f"no word to the user\n{run.said()}")
            done += 1
        return done

    return disturb


def damage_finished(kinds: tuple[str, ...], verify: bool) -> Callable[[Context, int], int]:
    """Bits flipped in files of a finished sweep. ``verify`` names each; a run alone makes anew what it reads."""

    def disturb(context: Context, count: int) -> int:
        copy(context.finished, context.place)
        files = []
        for index in range(count):
            there = [path for path in context.place.files(FILES[kinds[index % len(kinds)]]) if path not in files]
            if there:
                files.append(context.rng.choice(there))
                flip_bit(files[-1], context.rng)
        if verify:
            run = context.place.start(command="verify")
            run.end(1)
            said = run.said()
            require(f"{_folders(files)} damaged files are set aside" in said, f"{len(files)} were damaged\n{said}")
        return len(files)

    return disturb


def _folders(files: list[Path]) -> int:
    """Files that are hashed together count as one."""
    together = (".safetensors", "manifest.json", ".jsonl.zst")
    return len({path.parent if path.name.endswith(together) else path for path in files})


def damage_running(context: Context, count: int) -> int:
    """Bits of checkpoints, some of them before they are measured; then the run says so, and ends with 1."""
    run, flipped = context.place.start(), 0
    for _ in range(count):
        if not run.wait_for_checkpoints(context.rng.randint(1, 3)):
            break
        flip_bit(max(context.place.files(WEIGHTS), key=lambda path: path.stat().st_mtime_ns), context.rng)
        flipped += 1
    run.end(0, 1)
    context.place.start(command="verify").end(0, 1)
    return flipped


def tear(context: Context, count: int) -> int:
    """Checkpoints cut off while they are written: short files, no manifest, half a temporary file."""
    run = context.place.start()
    run.wait_for_checkpoints(max(10, 2 * count))
    os.kill(run.process.pid, signal.SIGKILL)
    run.end(-signal.SIGKILL)
    newest = sorted(context.place.files(WEIGHTS), key=lambda path: path.stat().st_mtime_ns)[-count:]
    for index, path in enumerate(newest):
        data = path.read_bytes()[: context.rng.randrange(path.stat().st_size)]
        if index % 3 == 0:
            path.write_bytes(data)
        elif index % 3 == 1:
            path.with_name(f"{path.name}.tmp-{index:08x}").write_bytes(data)
            path.unlink()
        else:
            path.write_bytes(data)
            (path.parent / "manifest.json").unlink()
    context.place.start(command="verify").end(0, 1)
    return len(newest)


def fill_disk(context: Context, count: int) -> int:
    """A disk that is full before the sweep is done, and then larger, several times."""
    place, size = context.place, _bytes(context.finished)
    for index in range(count):
        megabytes = int(size * (0.3 + 0.5 * (index + context.rng.random()) / count) / 1e6)
        subprocess.run(["mount", "-o", f"remount,size={megabytes}M", str(place.results)], check=True)
        run = place.start("retries=0")
        run.end(1)
        require("No space left on device" in run.said(), f"the full disk is not named\n{run.said()}")
    subprocess.run(["mount", "-o", f"remount,size={4 * size}", str(place.results)], check=True)
    return count


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def _read_only(place: Place) -> Iterator[None]:
    """Over what is open for writing, such as TensorBoard's files, a mount of its own can still be read-only; it is made
    so elsewhere, where nobody writes."""
    folder, aside = str(place.store), place.folder / "read-only"
    aside.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", folder, str(aside)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(aside)], check=True)
    subprocess.run(["mount", "--bind", str(aside), folder], check=True)
    try:
        require(not os.access(place.store, os.W_OK), "is not read-only")
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        subprocess.run(["umount", "-l", str(aside)], check=True)


@contextmanager
def _hidden(place: Place) -> Iterator[None]:
    """As where a disk was taken away from its mount point."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place.store)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place.store)], check=True)


@contextmanager
def _moved(place: Place) -> Iterator[None]:
    away = place.store.with_name("away")
    place.store.rename(away)
    try:
        yield
    finally:
        stray = [str(path) for path in place.store.rglob("*")] if place.store.exists() else []
        shutil.rmtree(place.store, ignore_errors=True)
        away.rename(place.store)
        require(not any("checkpoints" in path for path in stray), f"written where no store was: {stray[:5]}")


def take_store_away(how: Callable[..., object]) -> Callable[[Context, int], int]:
    """For a few seconds; the run goes on, or ends with 1."""

    def disturb(context: Context, count: int) -> int:
        done = 0
        while done < count:
            run = context.place.start()
            while done < count and run.wait_for_checkpoints(context.rng.randint(1, 8)):
                with how(context.place):  # type: ignore[attr-defined]
                    time.sleep(context.rng.uniform(1, 5))
                done += 1
            if run.end(0, 1) == 0:
                break
        return done

    return disturb


def start_two_drivers(context: Context, count: int) -> int:
    """The second is refused as long as the first lives; one that stands still is followed, and gives way."""
    run = context.place.start()
    for _ in range(count - 1):
        run.wait_for_checkpoints(context.rng.randint(1, 5))
        second = context.place.start()
        second.end(2)
        require("is working on it" in second.said(), second.said())
    os.kill(run.process.pid, signal.SIGSTOP)
    second = context.place.start()
    second.wait_until(lambda: "trials:" in second.said() or "to train" in second.said())
    os.kill(run.process.pid, signal.SIGCONT)
    run.end(1)
    require("has taken it over" in run.said(), run.said())
    second.end(0)
    return count


def kill_nodes(context: Context, count: int) -> int:
    """The raylet of a cluster's second node, which comes back each time."""
    from tests.chaos.cluster import Nodes

    with Nodes(context.place) as nodes:
        run, killed = context.place.start(), 0
        for _ in range(count):
            if not run.wait_for_checkpoints(context.rng.randint(2, 6)):
                break
            context.pause()
            nodes.kill_second()
            killed += 1
            nodes.add_second()
        run.end(0)
        nodes.require_nothing_left()
    context.place.address = None
    return killed


def take_nodes_away(context: Context, count: int) -> int:
    """A cluster's second node, with notice: trials on it save, and go on from there; another node comes each time."""
    from tests.chaos.cluster import Nodes

    with Nodes(context.place) as nodes:
        run, done = context.place.start(), 0
        saved: set[Path] = set()
        while done < count and run.wait_until(lambda: nodes.second_runs(TRIAL, WORKER)):
            with nodes.second_to_be_taken_away() as notice:
                if not run.wait_for_checkpoints(context.rng.randint(1, 3)):
                    break
                notice(
                    30
                )  # acted upon 2 to 4 s later: a trial may have ended by then, and then it is the next one's turn
                run.wait_until(lambda: bool(_saved(context.place) - saved) or not nodes.second_runs(TRIAL, WORKER))  # noqa: B023
                done += bool(_saved(context.place) - saved)
                saved |= _saved(context.place)
            nodes.add_second()
        run.end(0)
        nodes.require_nothing_left()
    context.place.address = None
    lost = [str(path) for path in saved if not path.exists()]
    require(not lost, f"no attempt went on from what was saved: {lost}")
    require(not any(one["deaths"] for one in statuses(context.place)), f"attempts died: {statuses(context.place)}")
    return done


def _saved(place: Place) -> set[Path]:
    """What interrupted trials have saved between checkpoints: of each the segment of its log that begins there, if it
    goes on. One whose status is not yet written would count as a death, once its node is gone."""
    manifests = place.store.glob("trials/*/interim/step-*/manifest.json")
    ended = [path for path in manifests if _state(path.parents[2]) == "interrupted"]
    return {path.parents[2] / "log" / f"{path.parent.name.removeprefix('step-')}.json" for path in ended}


def _state(trial: Path) -> str:
    return json.loads((trial / "status.json").read_text())["state"]


def nothing(context: Context, count: int) -> int:
    """Twice the same sweep, or the same in other circumstances."""
    return 0


def on_one_core(context: Context, count: int) -> int:
    """One trial at a time, instead of two."""
    core = str(min(os.sched_getaffinity(0)))
    context.place.start(wrapper=("taskset", "-c", core)).end(0)
    return 0


def without_evaluators(context: Context, count: int) -> int:
    """Training alone; everything is measured afterwards."""
    context.place.start("metrics=none").end(0)
    return 0


KILL = (signal.SIGKILL,)
SCENARIOS = (
    Scenario("none, a second time", nothing, 0),
    Scenario("none, one trial at a time", on_one_core, 0),
    Scenario("none, evaluators after training", without_evaluators, 0),
    Scenario("mixed kills of processes", kill_processes((TRIAL, EVALUATOR), (*KILL, signal.SIGTERM)), 8),
    Scenario("trial process killed", kill_processes((TRIAL,), KILL), 8),
    Scenario("trial process gets SIGTERM", kill_processes((TRIAL,), (signal.SIGTERM,)), 8),
    Scenario("evaluator killed", kill_processes((EVALUATOR,), KILL), 8),
    Scenario("Train worker killed", kill_processes((WORKER,), KILL), 3, settings=DISTRIBUTED),
    Scenario("second node's raylet killed", kill_nodes, 2),
    Scenario("second node taken away with notice", take_nodes_away, 2, settings=LONG, quick=1),
    Scenario("node of a Train worker taken away with notice", take_nodes_away, 2, settings=DISTRIBUTED),
    Scenario("Train worker gets SIGTERM", kill_processes((WORKER,), (signal.SIGTERM,)), 3, settings=DISTRIBUTED),
    Scenario("driver killed", end_driver(signal.SIGKILL, -signal.SIGKILL), 3, quick=1),
    Scenario("driver gets SIGTERM", end_driver(signal.SIGTERM, 130), 3),
    Scenario("driver gets SIGINT", end_driver(signal.SIGINT, 130), 3),
    Scenario("GCS killed", kill_ray(GCS), 3),
    Scenario("raylet killed", kill_ray(RAYLET), 3),
    Scenario("checkpoint torn", tear, 6),
    Scenario("bit of a checkpoint flipped while it runs", damage_running, 6),
    *(
        Scenario(f"bits flipped: {', '.join(kinds)}", damage_finished(kinds, verify=True), 4 * len(kinds))
        for kinds in (tuple(FILES)[first : first + 3] for first in range(0, len(FILES), 3))
    ),
    Scenario("bits flipped in all kinds", damage_finished(tuple(FILES), verify=True), 2 * len(FILES), quick=len(FILES)),
    Scenario("bits flipped, not verified", damage_finished(("measurements", "status.json"), verify=False), 6),
    Scenario("disk full", fill_disk, 3, root=True),
    Scenario("store read-only for a while", take_store_away(_read_only), 3, root=True),
    Scenario("store's disk away for a while", take_store_away(_hidden), 3, root=True),
    Scenario("store moved away for a while", take_store_away(_moved), 3),
    Scenario("two drivers on one store", start_two_drivers, 4),
)
