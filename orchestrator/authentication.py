"""The token without which nobody may use a Ray that this program starts, and keys that Ray need not be told."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

from orchestrator.words import SpecError

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


def require_token() -> None:
    """Make Ray ask for a token in every cluster that this process starts from here on, whatever the environment says.

    The user's own token is used, or else one is made. Raises OSError where it can be neither read nor written.
    """
    os.environ[MODE] = "token"  # a user's `disabled` would let anyone who reaches a port run code as this user
    import ray

    ray._raylet.Config.initialize("")  # Ray reads its mode only while it is imported, which may have been long ago
    if not os.environ.get(TOKEN):
        _make_private(token_file())


def use_token() -> None:
    """Show this user's token to the clusters that this process asks from here on. Raises SpecError where there is none:
    one without a token lets anybody run code on its machines."""
    if not os.environ.get(TOKEN) and not (token_file().is_file() and token_file().stat().st_size):
        raise SpecError(
            f"there is no token in {token_file()}, and clusters are used with one: copy the one that the "
            "cluster was started with (mode 0600). `(umask 077; ray get-auth-token --generate)` makes one"
        )
    os.environ[MODE] = "token"
    import ray

    ray._raylet.Config.initialize("")


def source() -> str:
    """Where the token is taken from, for people."""
    return f"in {TOKEN}" if os.environ.get(TOKEN) else f"in {token_file()}"


def withhold_keys() -> None:
    """Keep Ray Tune from handing the environment's AWS keys to its trials, whose processes inherit them anyway.

    Ray 2.60 would write them into a log that everybody on the machine may read (/tmp/ray/*/logs/runtime_env_agent.log).
    """
    from ray.tune.execution import class_cache

    keys = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(keys)


def token_file() -> Path:
    """Where Ray looks for the token, if the environment does not hold it."""
    given = os.environ.get(TOKEN_PATH)
    return Path(given) if given else Path.home() / ".ray" / "auth_token"


def _make_private(path: Path) -> None:
    """The file with a token in it, from its first moment on only the user's to read: Ray 2.60 would write it 0644."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        if not os.access(path, os.R_OK):
            raise
        return  # a secret that a cluster mounts read-only, and whose mode is not ours to change
    with open(descriptor, "r+") as stream:
        with contextlib.suppress(PermissionError):  # another's, which we may write
            os.fchmod(descriptor, 0o600)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # of two sweeps that start at once, the second takes the first's
        if not stream.read().strip():
            stream.write(secrets.token_hex(32))
