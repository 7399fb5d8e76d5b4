"""The Ray that a sweep runs on: one of its own, or a cluster that it joins."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from orchestrator import authentication, ray_watch
from orchestrator.alarm import Alarm
from orchestrator.evaluators import EVALUATOR_RESOURCE, EVALUATORS_AT_MOST
from orchestrator.provenance import usable_cpus
from orchestrator.tuning import DRIVER_RESOURCE
from orchestrator.words import SpecError


@contextlib.contextmanager
def ray_running(address: str | None, *, evaluators: int, distributed: bool, alarm: Alarm) -> Iterator[None]:
    """A Ray of our own or the cluster at ``address``, until the end; a Ray this process already runs is used.

    An alarm with RayDiedError goes off where it dies.
    """
    if address is not None and address.startswith("ray://"):
        raise SpecError(f"--address {address}: a driver does not run through Ray Client; cluster.jobs sends it there")
    # Tune's TensorBoard logger imports torch in the driver (2.5 s) and writes what our own writer writes better.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C is the driver's: it has the trials save
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine unless the user says so
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # with verbose=0 the old output is silent, the new one prints tables
    if address is None and "ray" not in sys.modules:  # Ray reads it while it is imported
        # A Ray of our own then listens on 127.0.0.1 alone, as it always does on the systems of that name. On Linux its
        # control store, scheduler and every worker would listen on all interfaces, with only the token before them.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    evaluators = evaluators or min(EVALUATORS_AT_MOST, usable_cpus())
    on_sigterm = signal.getsignal(signal.SIGTERM)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            authentication.require_token()
            ray.init(
                address="local",  # plain ray.init() would join whatever cluster runs on this machine
                num_cpus=usable_cpus(),
                resources={EVALUATOR_RESOURCE: evaluators, DRIVER_RESOURCE: 1},
                include_dashboard=distributed,  # frees the placement groups of stopped distributed trials
                **quiet,
            )
        else:
            _join(address, quiet)
    except SystemExit as error:  # SIGTERM while it starts: Ray has put its own handler there, which exits with 15
        raise KeyboardInterrupt from error
    signal.signal(signal.SIGTERM, on_sigterm)  # ray.init() puts its own there, which ends the driver with 1
    with ray_watch.watching(alarm):
        yield


def _join(address: str, settings: dict[str, Any]) -> None:
    import ray

    authentication.use_token()
    try:
        ray.init(address=address, **settings)
    except (ConnectionError, RuntimeError) as error:  # Ray says the same where nobody answers and for a wrong token
        last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise OSError(
            f"--address {address}: no Ray cluster lets this machine in ({last}). Does it run (ray status), and is the "
            f"token here, {authentication.source()}, the cluster's?"
        ) from error
