"""A Ray Tune trial: a Ray Train TorchTrainer around the training loop, and its outcome as a file of the store."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import platform
import re
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any

from orchestrator import retention
from orchestrator.keep import Keep
from orchestrator.plan import others
from orchestrator.requests import prescribed_steps
from orchestrator.scratch import scratch_folder
from orchestrator.stop import node_id, watching
from orchestrator.store import Status, Store
from trainables import memory, prefix
from trainables.checkpoint import committed_steps, released_steps, resumable_steps
from trainables.config import PublishedConfig, Trial, TrialConfig
from trainables.published import fetch_checkpoints
from trainables.stopping import StoppedEarlyError, TrainingInterruptedError
from trainables.storage import Folder
from trainables.token_store import TokenStore

POLL_S = 0.2
# What Ray Train calls a worker that died, and workers that found no place in time: where machines come and go there may
# be none for a while, and the trial is not to blame.
WORKER_DIED, NO_ROOM = "WorkerHealthCheckFailedError", "WorkerGroupStartupTimeoutError"
LOST_PEER = re.compile(r"/gloo/|NCCL|Connection (reset|closed|refused)")  # what torch.distributed makes of a dead rank
LONGEST_PAUSE_S = 60.0
DIED = "its process died, or could not write (killed, out of memory, disk away?)"


def train_worker(settings: dict[str, Any]) -> None:
    """What each Ray Train worker runs. settings: {"store": URI, "trial": trial id, "keep": the sweep's, "node": that of
    the trial's own process, without which its workers are lost}."""
    from trainables.pretrain import pretrain

    store = Store.open(settings["store"]).anchored()
    config = store.read_trial(settings["trial"])
    assert isinstance(config, TrialConfig), "published models are not trained"
    tokens = TokenStore.open(store.tokens(config.tokens))
    keep_states = Keep.parse(settings["keep"]).what == "all"
    with watching(store.root, nodes=(settings["node"],)) as stop:
        pretrain(config, store.trial(config.trial_id), tokens, keep_states=keep_states, stop=stop)


def run_trial(settings: dict[str, Any]) -> Status:
    """One attempt at a trial; how it ended, which is in the store, too. settings: as :func:`train_worker`, and "gpu",
    "retries", and "fetch": the steps to fetch of each published model.

    A failed trial is a status, not an exception: its process stays warm for the next trial, and its neighbours never
    notice. What may go better another time is raised, and Tune starts the trial again: a worker that died, a store that
    could not be read or written, SIGTERM, a node that is drained.
    """
    store = Store.open(settings["store"]).anchored()
    config = store.read_trial(settings["trial"])
    began = time.time()
    status = begin(store, config, settings["retries"])
    if status.state == "failed":
        return status
    log = ""
    with watching(store.root) as stop:
        stop.wait(pause_s(status.deaths))
        try:
            if isinstance(config, PublishedConfig):
                _fetch(config, store, settings)
            else:
                prefix.take_over(config, store.trial(config.trial_id), _of_stem(config, store))
                _fit(config, settings)
            status = dataclasses.replace(status, state="done", step=config.steps, reason=None)
        except Exception as error:
            status = _ended(status, error, config, store)
            log = traceback.format_exc()
            if status.state == "running" or (status.state == "interrupted" and not stop.by_driver):
                with contextlib.suppress(OSError):
                    store.write_status(config.trial_id, status)
                raise
    _free_memory()
    status = dataclasses.replace(status, seconds=time.time() - began, device=_device(), host=platform.node())
    store.write_status(config.trial_id, status)  # before the log: on a full disk the smaller file may still fit
    if status.state == "failed":
        with contextlib.suppress(OSError):
            store.write_error(config.trial_id, log)
    return status


def begin(store: Store, config: Trial, retries: int) -> Status:
    """Note that an attempt begins. It is a failed one where the last ``retries`` + 1 died without getting any further.

    The driver takes away the status of earlier runs, so that each run has as many attempts.
    """
    before, there = store.read_status(config.trial_id), _progress(store, config)
    status = Status("running", step=there, seconds=0.0)
    if before is not None and before.state == "running":
        deaths = before.deaths + 1 if there <= before.step else 1
        status = dataclasses.replace(status, deaths=deaths, reason=before.reason or DIED)
        if deaths > retries:
            reason = f"{status.reason}, {deaths} times without getting further than step {there}"
            status = dataclasses.replace(status, state="failed", reason=reason)
            store.write_error(config.trial_id, reason)  # the message at the end names this file
    store.write_status(config.trial_id, status)
    return status


def _progress(store: Store, config: Trial) -> int:
    """Grows as long as attempts get anywhere: the step to go on from, or how many revisions there are."""
    folder = store.trial(config.trial_id)
    if isinstance(config, PublishedConfig):
        return len(committed_steps(folder)) + len(released_steps(folder))
    return max(resumable_steps(folder, prescribed_steps(config)), default=0)


def pause_s(deaths: int) -> float:
    """How long to wait before an attempt, after so many that got nowhere: 2 s, 4 s, 8 s ..."""
    return min(LONGEST_PAUSE_S, 2.0**deaths) if deaths else 0.0


def _ended(status: Status, error: Exception, config: Trial, store: Store) -> Status:
    """The status of an attempt that an exception ended; "running" where another attempt may go better."""
    found = list(roots_of(error))
    roots = [one for one in found if not _is_loss(one)] or found  # where one rank fails, the others lose it
    reason = "; ".join(dict.fromkeys(map(said, roots)))
    first = roots[0]
    if isinstance(first, StoppedEarlyError):
        last = max(committed_steps(store.trial(config.trial_id)))
        return dataclasses.replace(status, state="stopped", step=last, reason=str(first))
    if isinstance(first, TrainingInterruptedError) or type(first).__name__ == NO_ROOM:
        return dataclasses.replace(status, state="interrupted", reason=None)
    if _is_loss(first):
        return dataclasses.replace(status, reason=reason)
    if exhausted := next((one for one in roots if memory.is_exhausted(one)), None):
        reason = f"out of memory: {memory.advice(config, exhausted)} ({reason})"
    step = (
        config.steps
        if isinstance(config, PublishedConfig)
        else max(committed_steps(store.trial(config.trial_id)), default=0)
    )
    return dataclasses.replace(status, state="failed", step=step, reason=reason)


def _is_loss(error: BaseException) -> bool:
    """Whether it comes of a process, machine, connection or disk that was lost, and not of what was computed."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {WORKER_DIED, "RayActorError", "DistError"} or isinstance(error, OSError):
        return True
    return isinstance(error, RuntimeError) and LOST_PEER.search(str(error)) is not None


def _of_stem(config: TrialConfig, store: Store) -> Iterator[tuple[TrialConfig, Folder]]:
    """The other trials of the store that begin as this one does."""
    if config.stem is not None:
        for other in others(store, [config]):
            if isinstance(other, TrialConfig) and other.stem == config.stem:
                yield other, store.trial(other.trial_id)


def _fit(config: TrialConfig, settings: dict[str, Any]) -> None:
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.1"  # 2 s by default, which is a small trial's whole length
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "600"  # a cloud may take longer than Ray's minute
    os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"  # a process more for what orchestrator/stop.py sees earlier
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from orchestrator.workers import HearingTorchConfig

    workers = config.workers if config.workers > 1 else 0  # 0: Train's local mode, in this process
    resources = {"CPU": config.threads} | ({"GPU": 1} if settings["gpu"] else {})
    with scratch_folder() as scratch:
        TorchTrainer(
            train_worker,
            train_loop_config=settings | {"node": node_id()},
            torch_config=HearingTorchConfig(),
            scaling_config=ScalingConfig(
                num_workers=workers, use_gpu=settings["gpu"], resources_per_worker=resources if workers else None
            ),
            run_config=RunConfig(
                name=config.trial_id,
                storage_path=str(scratch),
                failure_config=FailureConfig(  # Tune retries, boundedly
                    max_failures=0, controller_failure_limit=0, max_preemption_failures=0
                ),
            ),
        ).fit()


def _fetch(config: PublishedConfig, store: Store, settings: dict[str, Any]) -> None:
    """Fetch the revisions of a published model, never more than the evaluators have room for."""
    folder, keep = store.trial(config.trial_id), Keep.parse(settings["keep"])

    def wait_for_room() -> None:
        while True:
            there = committed_steps(folder)
            going = set(there) - retention.kept(keep, there, end=config.steps, losses={})
            if len(going) < retention.AHEAD:
                return
            time.sleep(POLL_S)

    fetch_checkpoints(config, folder, settings["fetch"][config.trial_id], wait_for_room)


def roots_of(error: BaseException) -> Iterator[BaseException]:
    """What went wrong at the root, through Ray's wrappers; one for each failed worker."""
    workers = getattr(error, "worker_failures", None)
    if workers:
        for failure in workers.values():
            yield from roots_of(failure)
        return
    inner = getattr(error, "cause", None) or getattr(error, "controller_failure", None) or error.__cause__
    if isinstance(inner, BaseException):
        yield from roots_of(inner)
    else:
        yield error


def said(error: BaseException) -> str:
    """Its type and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def _free_memory() -> None:
    """What a trial held, also one that failed, is not for the next one in this process to do without."""
    gc.collect()
    if torch := sys.modules.get("torch"):
        torch.cuda.empty_cache()


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()})"
