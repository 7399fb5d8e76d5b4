"""Hosts of a network of their own on this machine: each a set of namespaces with its own address, processes and sshd.

Needs root, and ip, nsenter, unshare, mount and sshd. The machine's own network is not touched, and nothing leaves the
lab: its switch is a bridge in a namespace without a way out.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

PROJECT = Path(__file__).parents[2]
PROGRAMS = ("ip", "nsenter", "setpriv", "unshare", "mount", "sshd", "ssh", "ssh-keygen", "rsync")
SHARED = "/srv"  # in every host one and the same folder, as a network file system would be
OWN = ("/root", "/var/tmp", "/tmp")  # in every host its own; /tmp last: the others come out of it
FILES = {"names": "hosts", "users": "passwd"}  # of /etc, in every host its own
SSHD = """Port 22
ListenAddress {address}
HostKey /root/.ssh/host_key
PidFile none
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
StrictModes no
MaxStartups 100:30:200
"""


def lacking() -> str | None:
    """Why no lab can be built here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    if missing:
        return f"needs {', '.join(missing)}"
    probe = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True)
    return f"needs namespaces ({probe.stderr.strip()})" if probe.returncode else None


def _run(*words: str, check: bool = True) -> None:
    subprocess.run(words, check=check, capture_output=not check)


@dataclass
class Host:
    """folder: holds what is the host's own. init: the process whose end powers it off."""

    name: str
    address: str
    namespace: str
    folder: Path
    init: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> Path:
        """Its /root."""
        return self.folder / "root"

    def run(
        self, command: str | Sequence[str], *, timeout: float = 300, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the host, with the environment of its profile; what it printed, errors among it."""
        return subprocess.run(
            self.words(command, env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout
        )

    def start(
        self, command: str | Sequence[str], output: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a command in the host, in a session of its own."""
        with output.open("ab") as stream:
            return subprocess.Popen(
                self.words(command, env), stdout=stream, stderr=stream, text=True, start_new_session=True
            )

    def words(self, command: str | Sequence[str], env: Mapping[str, str] | None = None) -> list[str]:
        text = command if isinstance(command, str) else shlex.join(command)
        inside = [f"{name}={value}" for name, value in {"HOME": "/root", "PATH": _path(), **(env or {})}.items()]
        enter = ["nsenter", "-t", str(self._first_process()), "-m", "-p", "-u", "-i", "-n", "-w/root"]
        return [*enter, "env", "-i", *inside, "bash", "-c", f". /root/.profile; {text}"]

    def _first_process(self) -> int:
        assert self.init is not None, f"{self.name} is off"
        children = Path(f"/proc/{self.init.pid}/task/{self.init.pid}/children").read_text().split()
        return int(children[0])

    def power_off(self) -> None:
        """All its processes end at once."""
        if self.init is not None:
            with contextlib.suppress(OSError, IndexError):
                os.kill(self._first_process(), signal.SIGKILL)
            self.init.wait()
            self.init = None

    def processes(self) -> list[str]:
        """Command lines of what runs in it."""
        lines = self.run("ps -eo args --no-headers").stdout.splitlines()
        return [line for line in lines if line.split()[0] not in ("ps", "bash") and "[" not in line[:1]]


def _path() -> str:
    return f"{sys.prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Lab:
    """A launcher, which is the user's own machine, and hosts that it reaches by ssh."""

    def __init__(self, names: Sequence[str], extra: str = "", environment: Mapping[str, str] | None = None) -> None:
        """extra: what setup_machine.sh is told to install for, and finds installed: nothing can be downloaded here.
        environment: of every shell on every host."""
        self.extra, self.environment = extra, dict(environment or {})
        self.folder = Path(tempfile.mkdtemp(prefix="lab-"))
        self.shared = self.folder / "shared"
        self.shared.mkdir()
        self.mark = f"lab{os.getpid()}"
        self.switch = f"{self.mark}-switch"
        names = ["launcher", *names]
        self.hosts = {
            name: Host(name, f"10.77.0.{10 + i}", f"{self.mark}-{name}", self.folder / "hosts" / name)
            for i, name in enumerate(names)
        }
        self.launcher = self.hosts["launcher"]

    def __enter__(self) -> Lab:
        try:
            _run("ip", "netns", "add", self.switch)
            _run("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge")
            _run("ip", "-n", self.switch, "link", "set", "br0", "up")
            self._make_key()
            for number, host in enumerate(self.hosts.values()):
                self._connect(host, number)
                self._furnish(host)
                self.power_on(host)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self.hosts.values():
            host.power_off()
            _run("ip", "netns", "del", host.namespace, check=False)
        _run("ip", "netns", "del", self.switch, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make_key(self) -> None:
        key = self.folder / "key"
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(key))

    def _connect(self, host: Host, number: int) -> None:
        port = f"p{number}"
        _run("ip", "netns", "add", host.namespace)
        _run("ip", "-n", host.namespace, "link", "set", "lo", "up")
        peer = ["peer", "name", "e0", "netns", host.namespace]
        _run("ip", "-n", self.switch, "link", "add", port, "type", "veth", *peer)
        _run("ip", "-n", self.switch, "link", "set", port, "master", "br0", "up")
        _run("ip", "-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "e0")
        _run("ip", "-n", host.namespace, "link", "set", "e0", "up")

    def cut(self, host: Host) -> None:
        """Take its link down; :meth:`mend` brings it up again."""
        self._link(host, "down")

    def mend(self, host: Host) -> None:
        self._link(host, "up")

    def _link(self, host: Host, state: str) -> None:
        number = list(self.hosts).index(host.name)
        _run("ip", "-n", self.switch, "link", "set", f"p{number}", state)

    def _furnish(self, host: Host) -> None:
        """Its own folders, keys, environment and names."""
        ssh = host.root / ".ssh"
        for name in OWN:
            (host.folder / name.strip("/")).mkdir(parents=True, exist_ok=True)
        ssh.mkdir(mode=0o700)
        shutil.copy(self.folder / "key", ssh / "host_key")
        shutil.copy(self.folder / "key.pub", ssh / "authorized_keys")
        if host is self.launcher:
            shutil.copy(self.folder / "key", ssh / "id_ed25519")
        (ssh / "sshd_config").write_text(SSHD.format(address=host.address))
        names = "".join(f"{one.address} {one.name}\n" for one in self.hosts.values())
        (host.folder / "names").write_text(f"127.0.0.1 localhost\n{names}")
        users = Path("/etc/passwd").read_text() + "ubuntu:x:0:0::/root:/bin/bash\n"  # as clouds have it
        (host.folder / "users").write_text(users)
        exports = (f"export {name}={value}\n" for name, value in self.environment.items())
        (host.root / ".bashrc").write_text("".join(exports))
        (host.root / ".profile").write_text(". ~/.bashrc\n")
        environment = host.root / "venv"
        environment.mkdir()
        for name in ("bin", "lib", "pyvenv.cfg"):
            (environment / name).symlink_to(f"{sys.prefix}/{name}")
        hashes = subprocess.run(
            ["sha256sum", "setup.cfg", "constraints.txt"], cwd=PROJECT, capture_output=True, text=True
        )
        (environment / "installed").write_text(f"{hashes.stdout.strip()} {self.extra}")

    def power_on(self, host: Host) -> None:
        """Start it, with what is left on its disk from before."""
        script = self.folder / f"init-{host.name}"
        script.write_text(self._init(host))
        enter = [
            "setpriv",
            "--pdeathsig=KILL",
            "nsenter",
            f"--net=/run/netns/{host.namespace}",
            "env",
            "-i",
            "HOME=/root",
            "USER=root",
        ]
        enter += ["SHELL=/bin/bash", f"PATH={_path()}"]
        share = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        log = (host.folder / "log").open("ab")
        host.init = subprocess.Popen(
            [*enter, *share, "--propagation", "private", "bash", str(script)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        log.close()
        self._wait_until_up(host)

    def _init(self, host: Host) -> str:
        """What the first process of a host runs: its own folders over the machine's, then sshd in its place."""
        lines = ["set -e", f"hostname {host.name}"]
        seen = {Path(sys.base_prefix).resolve(), Path(sys.prefix), PROJECT, Path(sys.executable).resolve().parents[1]}
        for path in sorted(seen):
            if inside := next((own for own in OWN if path.is_relative_to(own)), None):
                place = host.folder / inside.strip("/") / path.relative_to(inside)
                lines += [f"mkdir -p {place}", f"mount --bind {path} {place}", f"mount -o remount,ro,bind {place}"]
        lines += [f"mount --bind {host.folder / own} /etc/{name}" for own, name in FILES.items()]
        lines += [f"mount --bind {self.shared} {SHARED}"]
        lines += ["mount -t tmpfs -o size=8g tmpfs /dev/shm", "mount -t tmpfs tmpfs /run", "mkdir -p /run/sshd"]
        lines += [f"mount --rbind {host.folder / own.strip('/')} {own}" for own in OWN]
        lines += ["chmod 1777 /tmp /var/tmp /dev/shm", "exec /usr/sbin/sshd -D -e -f /root/.ssh/sshd_config"]
        return "\n".join(lines) + "\n"

    def _wait_until_up(self, host: Host) -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            assert host.init is not None
            if host.init.poll() is not None:
                break
            with contextlib.suppress(OSError, IndexError, subprocess.TimeoutExpired):
                if host.run(f"exec 3<>/dev/tcp/{host.address}/22", timeout=5).returncode == 0:
                    return
            time.sleep(0.1)
        raise OSError(f"{host.name} does not start: {(host.folder / 'log').read_text()}")
