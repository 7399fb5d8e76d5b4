"""A sweep as a job of a cluster elsewhere: the same command runs on its head, and what it prints is shown here.

Uses Ray's job submission: the project's code travels with the job, so that what runs is what lies here.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator import authentication, provenance
from orchestrator.words import SpecError
from trainables.redaction import holds_keys, redact

PROJECT = Path(__file__).parent.parent
LEFT_HERE = ("/.git", "/.ci", "/results", "/tests", "/benchmarks", "/docs")  # and what .gitignore names
PYTHON = "python"  # the cluster's
LOCAL = "http://127.0.0.1:8265"  # the near end of the tunnel of `ray dashboard`
CLIENT_S = 60.0  # Ray Client itself gives up after 30
AGENT_S, AGENT_POLL_S = 120.0, 1.0  # for a head that has just started to take a job
NO_AGENT = "No available agent"  # Ray's answer until then
STOP_WAIT_S = 90  # that a stopped job may take to save its trials, before it is killed; Ray allows 3


def is_elsewhere(address: str | None) -> bool:
    """Whether an ``--address`` names a cluster to send a job to, not one to join."""
    return address == "job" or (address or "").startswith(("http://", "https://", "ray://"))


def run(command: str, space: str, overrides: Sequence[str], store: str | None, address: str) -> int:
    """Run ``sweep.py COMMAND SPACE`` on the head of a cluster, and print what it prints; its exit code.

    A job that does the same already is joined. address: ``job`` (RAY_API_SERVER_ADDRESS, or the local end of a tunnel),
    the http address of the cluster's dashboard, or ``ray://HOST:PORT``, which is asked for it. Ctrl-C leaves the job
    running. Raises SpecError for what cannot run there or is not let in, OSError where nobody answers.
    """
    import asyncio

    from aiohttp import ClientError
    from ray.job_submission import JobStatus

    if holds_keys(address):
        raise SpecError(
            f"--address {redact(address)}: leave user and password out; the token is taken {authentication.source()}"
        )
    line = entrypoint(command, space, overrides, store)
    client = _client(address)
    job = _running(client, line)
    if job is None:
        job = _submit(client, line)
    else:
        print(f"this runs already, as job {job}")
    print(
        f"job {job}: Ctrl-C leaves it running, the same command shows it again, ray job stop {job} saves and stops it"
    )
    try:
        asyncio.run(_show(client, job))
    except (RuntimeError, ClientError) as error:
        raise OSError(
            f"the connection was lost ({error}); job {job} goes on, the same command shows it again"
        ) from error
    info = client.get_job_info(job)
    if info.status == JobStatus.STOPPED:
        return 130
    if info.status == JobStatus.FAILED and info.driver_exit_code is None:
        raise OSError(f"job {job} could not run: {info.message}")
    return int(info.driver_exit_code or 0)


def entrypoint(command: str, space: str, overrides: Sequence[str], store: str | None) -> str:
    """The job's command line, for a shell on the cluster's head. Raises SpecError for a store that would lie in the
    job's own folder, which goes with the job."""
    words = shlex.join([PYTHON, "sweep.py", command, space, *overrides, "--address", "auto"])
    if store is None:
        unset = "the cluster does not say where results go, give --store"
        return f'{words} --store "${{TOPOSWEEP_RESULTS:?{unset}}}/{space}"'
    if "://" not in store and not store.startswith("/"):
        raise SpecError(
            f"--store {store}: for a job this is a path on the cluster that all its machines see: write it from / on, "
            "or a URI such as s3://BUCKET/results"
        )
    return f"{words} --store {shlex.quote(store)}"


def _client(address: str) -> Any:
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for name in ("ray._private", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
        logging.getLogger(name).setLevel(logging.ERROR)  # else they tell of each file that is left here
    authentication.use_token()
    url = os.environ.get("RAY_API_SERVER_ADDRESS", LOCAL) if address == "job" else address
    if address.startswith("ray://"):
        url = _dashboard_of(address)
    try:
        return JobSubmissionClient(url)
    except (AuthenticationError, RuntimeError) as error:
        raise SpecError(
            f"--address {address}: the cluster at {url} does not let this machine in. Is the token "
            f"{authentication.source()} the cluster's? ({str(error).strip().splitlines()[0]})"
        ) from error
    except (ConnectionError, TimeoutError) as error:
        raise OSError(_silent(address, url)) from error


def _silent(address: str, url: str) -> str:
    return (
        f"--address {address}: no cluster answers at {url}. Is it up, the tunnel to it (ray dashboard "
        f"cluster/YOURS.yaml, in a second terminal), and the token {authentication.source()} the cluster's?"
    )


def _dashboard_of(address: str) -> str:
    """What a cluster says of itself through Ray Client. In a process of its own: it would take this one over."""
    ask = "import sys; from ray.dashboard.utils import get_address_for_submission_client as of; print(of(sys.argv[1]))"
    try:
        said = subprocess.run(
            [sys.executable, "-c", ask, address], capture_output=True, text=True, timeout=CLIENT_S, check=True
        )
    except subprocess.SubprocessError as error:  # also where the token is wrong
        raise OSError(_silent(address, address)) from error
    return said.stdout.split()[-1]


def _running(client: Any, line: str) -> str | None:
    """The job that runs this command line already. Raises OSError where the cluster does not say."""
    try:
        known = client.list_jobs()
    except RuntimeError as error:
        raise OSError(f"the cluster does not list its jobs ({_first_line(error)}); nothing was sent") from error
    return next((one.submission_id for one in known if _is_running(one) and one.entrypoint == line), None)


def _is_running(job: Any) -> bool:
    return job.submission_id is not None and not job.status.is_terminal()


def _submit(client: Any, line: str) -> str:
    """Send the job; its id. The process that takes jobs on the head starts after the dashboard answers, later still on
    a busy machine, and Ray itself waits 10 s for it. Raises OSError where the cluster takes none."""
    environment, until = _environment(), time.monotonic() + AGENT_S
    while True:
        try:
            return str(client.submit_job(entrypoint=line, runtime_env=environment, metadata={"program": "toposweep"}))
        except RuntimeError as error:
            if NO_AGENT not in str(error) or time.monotonic() > until:
                raise OSError(f"the cluster did not take the job ({_first_line(error)}); nothing was sent") from error
            time.sleep(AGENT_POLL_S)


def _first_line(error: RuntimeError) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _environment() -> dict[str, Any]:
    if not (PROJECT / "setup.cfg").is_file():
        raise SpecError(
            f"{PROJECT}: is no clone of the project, and its code travels with a job; start it from a clone"
        )
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S), "PYTHONUNBUFFERED": "1"}
    if git := provenance.git():
        variables[provenance.GIT] = json.dumps(git)
    return {"working_dir": str(PROJECT), "excludes": list(LEFT_HERE), "env_vars": variables}


async def _show(client: Any, job: str) -> None:
    async for text in client.tail_job_logs(job):
        sys.stdout.write(text)
        sys.stdout.flush()
