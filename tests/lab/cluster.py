"""A cluster in the lab, brought up by ``ray up`` from a template of cluster/, and sweeps that are sent to it."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cluster.problem import SET_ME
from tests.lab.hosts import PROJECT, SHARED, Host, Lab

CONFIG = "/root/cluster.yaml"
PATIENCE_S = 300.0
AUTHENTICATED = {"RAY_AUTH_MODE": "token"}
SSH = "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"


def filled(template: Path, values: Mapping[str, str]) -> str:
    """A template as a user would edit it: each SET_ME gets the value of the key that stands before it in its line."""
    lines = []
    for line in template.read_text().splitlines():
        before, mark, after = line.partition(SET_ME)
        if mark and not line.lstrip().startswith("#"):
            key = next(word for word in reversed(re.findall(r"[A-Za-z_]+", before)) if word in values)
            line = before + values[key] + after
        lines.append(line)
    return "\n".join(lines) + "\n"


@dataclass
class Cluster:
    """environment: of the launcher's commands, beside the token's mode."""

    lab: Lab
    head: Host
    environment: dict[str, str] = field(default_factory=lambda: dict(AUTHENTICATED))

    def make_token(self) -> None:
        said = self.lab.launcher.run("umask 077; mkdir -p ~/.ray; ray get-auth-token --generate", env=self.environment)
        assert said.returncode == 0, said.stdout

    def up(self, config: str, machines: int) -> None:
        """``ray up``, and wait until so many machines have joined."""
        (self.lab.launcher.root / "cluster.yaml").write_text(config)
        said = self.ray(f"up -y --no-config-cache {CONFIG}")
        assert said.returncode == 0, said.stdout
        self.wait(lambda: self.machines() == machines, f"{machines} machines", lambda: str(self.status()))
        tunnel = f"{SSH} -f -N -L 8265:127.0.0.1:8265 {self.head.address}"
        assert self.lab.launcher.run(tunnel).returncode == 0

    def ray(self, words: str) -> subprocess.CompletedProcess[str]:
        """A ray command on the launcher, in the project's folder."""
        return self.lab.launcher.run(f"cd {PROJECT} && ray {words}", env=self.environment)

    def status(self) -> str:
        return self.head.run(". ~/.toposweep.sh; ray status").stdout

    def machines(self) -> int:
        """How many are active."""
        active = self.status().partition("Active:")[2].partition("Pending:")[0]
        return sum(int(number) for number in re.findall(r"^ (\d+) ", active, re.M))

    def send(self, *words: str, env: Mapping[str, str] | None = None) -> Sent:
        """Start ``sweep.py run quickstart ... --address job`` on the launcher."""
        line = " ".join(["python", "sweep.py", "run", "quickstart", *words])
        if "--address" not in words:
            line += " --address job"
        output = self.lab.folder / f"sent-{time.monotonic_ns()}"
        process = self.lab.launcher.start(f"cd {PROJECT} && exec {line}", output, {**self.environment, **(env or {})})
        return Sent(process, output)

    @staticmethod
    def wait(shows: Callable[[], bool], what: str, said: Callable[[], str], patience_s: float = PATIENCE_S) -> None:
        until = time.monotonic() + patience_s
        while not shows():
            assert time.monotonic() < until, f"no {what} after {patience_s:.0f} s\n{said()}"
            time.sleep(0.2)


@dataclass
class Sent:
    """A command on the launcher that waits for its job."""

    process: subprocess.Popen[str]
    output: Path

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_for(self, shows: Callable[[], bool], what: str) -> None:
        """Until it comes to that while the job is running."""

        def done() -> bool:
            assert self.process.poll() is None, f"ended before {what}\n{self.said()}"
            return shows()

        Cluster.wait(done, what, self.said)

    def end(self, expected: int = 0) -> str:
        """Its output, once it has ended with that exit code."""
        code = self.process.wait(PATIENCE_S)
        said = self.said()
        assert code == expected, f"exit code {code}\n{said}"
        assert "Traceback" not in said, said
        return said

    @property
    def job(self) -> str:
        found = re.search(r"raysubmit_\w+", self.said())
        assert found, self.said()
        return found[0]


def on_premises(lab: Lab) -> str:
    """cluster/on_premises.yaml for the lab. One CPU each, so that two workers need two machines."""
    head, *others = (host.address for name, host in lab.hosts.items() if name != "launcher")
    values = {"head_ip": head, "worker_ips": ", ".join(others), "ssh_user": "root"}
    values |= {"ssh_private_key": "~/.ssh/id_ed25519", "TOPOSWEEP_RESULTS": f"{SHARED}/results"}
    text = filled(PROJECT / "cluster/on_premises.yaml", values)
    known: dict[str, Any] = yaml.safe_load(text)
    assert known["provider"]["worker_ips"] == others
    return text.replace("ray start ", "ray start --num-cpus=1 ")
