"""A Ray Tune trial: a Ray Train TorchTrainer around the training loop, and its outcome as a file of the store."""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
import time
import traceback
from collections.abc import Iterator
from typing import Any

from orchestrator import retention
from orchestrator.spec import Keep
from orchestrator.store import Status, Store
from trainables.checkpoint import committed_steps
from trainables.config import PublishedConfig, TrialConfig
from trainables.published import fetch_checkpoints
from trainables.token_store import TokenStore

POLL_S = 0.2
WORKER_DIED = "WorkerHealthCheckFailedError"  # what Ray Train calls it
DRIVER_RESOURCE = "trial_driver"  # the driver of a distributed trial waits on it, never on the workers' CPUs


def train_worker(settings: dict[str, Any]) -> None:
    """What each Ray Train worker runs. settings: {"store": URI, "trial": trial id, "keep": the sweep's}."""
    from trainables.pretrain import pretrain

    store = Store.open(settings["store"])
    config = store.read_trial(settings["trial"])
    assert isinstance(config, TrialConfig), "published models are not trained"
    tokens = TokenStore.open(store.tokens(config.tokens))
    pretrain(config, store.trial(config.trial_id), tokens, keep_states=Keep.parse(settings["keep"]).what == "all")


def run_trial(settings: dict[str, Any]) -> None:
    """The Tune trainable. settings as :func:`train_worker`, and "gpu", and "fetch": the steps to fetch of each
    published model. A failed trial is a status, not an exception:

    its process stays warm for the next trial, and its neighbours never notice.
    """
    from ray import tune

    store = Store.open(settings["store"])
    config = store.read_trial(settings["trial"])
    began = time.time()
    store.write_status(config.trial_id, Status("running", step=0, seconds=0.0))
    reason, log = None, ""
    try:
        if isinstance(config, PublishedConfig):
            _fetch(config, store, settings)
        else:
            _fit(config, settings)
    except Exception as error:
        causes = dict.fromkeys(_causes(error))
        if any(cause.startswith(WORKER_DIED) for cause in causes):
            raise  # as when this process dies: Tune starts the trial again, ``retries`` times
        reason = "; ".join(causes)
        log = traceback.format_exc()
    steps = committed_steps(store.trial(config.trial_id))
    status = Status(
        state="failed" if reason else "done",
        step=max(steps, default=0) if reason and isinstance(config, TrialConfig) else config.steps,
        seconds=time.time() - began,
        reason=reason,
        device=_device(),
    )
    store.write_status(config.trial_id, status)  # before the log: on a full disk the smaller file may still fit
    if reason:
        with contextlib.suppress(OSError):
            store.write_error(config.trial_id, log)
    tune.report({"state": status.state, "step": status.step})


def _fit(config: TrialConfig, settings: dict[str, Any]) -> None:
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.1"  # 2 s by default, which is a small trial's whole length
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    workers = config.workers if config.workers > 1 else 0  # 0: Train's local mode, in this process
    resources = {"CPU": config.threads} | ({"GPU": 1} if settings["gpu"] else {})
    with tempfile.TemporaryDirectory(prefix="toposweep-train-") as scratch:
        TorchTrainer(
            train_worker,
            train_loop_config=settings,
            scaling_config=ScalingConfig(
                num_workers=workers, use_gpu=settings["gpu"], resources_per_worker=resources if workers else None
            ),
            run_config=RunConfig(
                name=config.trial_id,
                storage_path=scratch,
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),  # Tune retries, boundedly
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


def _causes(error: BaseException) -> Iterator[str]:
    """What went wrong at the root, through Ray's wrappers; one line for each failed worker."""
    workers = getattr(error, "worker_failures", None)
    if workers:
        for failure in workers.values():
            yield from _causes(failure)
        return
    inner = getattr(error, "cause", None) or error.__cause__
    if isinstance(inner, BaseException):
        yield from _causes(inner)
    else:
        yield f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()})"
