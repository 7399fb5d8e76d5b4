"""The token is private from its first moment; what the user gave is used. tests/test_security.py: Ray asks for it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import authentication
from orchestrator.authentication import require_token, token_file

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh home folder, and nothing of the user's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(authentication.MODE, "disabled")
    for name in (authentication.TOKEN, authentication.TOKEN_PATH):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_token_is_made_for_the_user_alone(home: Path) -> None:
    require_token()
    path = home / ".ray" / "auth_token"
    assert token_file() == path
    assert len(path.read_text()) == 64
    assert (mode_of(path), mode_of(path.parent)) == (0o600, 0o700)
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_a_token_is_never_readable_by_others_whatever_the_umask() -> None:
    """Every call that could make the file is seen by an audit hook, with the mode that it asks for."""
    script = (
        "import os, sys; os.umask(0); made = []\n"
        "sys.addaudithook(lambda event, a: event == 'open' and 'auth_token' in str(a[0]) and made.append(a[2]))\n"
        "import pathlib; real = os.open; modes = []\n"
        "os.open = lambda path, flags, mode=0o777: modes.append(mode) or real(path, flags, mode)\n"
        "from orchestrator.authentication import require_token; require_token()\n"
        "assert len(made) == 1 and made[0] & os.O_CREAT and 0o600 in modes and set(modes) == {0o600}, (made, modes)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
    assert mode_of(token_file()) == 0o600


def test_a_token_that_others_could_read_is_kept_and_made_private(home: Path) -> None:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("a" * 64)
    path.chmod(0o644)  # as Ray 2.60 writes it
    require_token()
    assert (path.read_text(), mode_of(path)) == ("a" * 64, 0o600)


def test_an_empty_token_file_gets_a_token(home: Path) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").touch()
    require_token()
    assert len(token_file().read_text()) == 64


def test_the_users_own_path_is_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(authentication.TOKEN_PATH, str(home / "own" / "token"))
    require_token()
    assert mode_of(home / "own" / "token") == 0o600
    assert not (home / ".ray").exists()


def test_the_users_own_token_is_used_and_written_nowhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(authentication.TOKEN, "b" * 64)
    require_token()
    assert list(home.iterdir()) == []
    assert os.environ[authentication.TOKEN] == "b" * 64


def test_of_sweeps_that_start_at_once_all_have_one_token(home: Path) -> None:
    script = "from orchestrator.authentication import require_token, token_file; require_token(); "
    command = [sys.executable, "-c", f"{script}print(token_file().read_text())"]
    started = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert {process.communicate()[0].strip() for process in started} == {token_file().read_text()}


def test_ray_asks_for_it_also_where_it_was_imported_before_with_authentication_off(home: Path) -> None:
    script = (
        "import os; os.environ['RAY_AUTH_MODE'] = 'disabled'\n"
        "from ray._raylet import AuthenticationMode as Mode, get_authentication_mode as mode\n"
        "from orchestrator.authentication import require_token\n"
        "assert mode() == Mode.DISABLED; require_token(); assert mode() == Mode.TOKEN\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_a_secret_that_is_mounted_read_only_is_left_as_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "mounted"
    path.write_text("c" * 64)
    path.chmod(0o440)
    monkeypatch.setenv(authentication.TOKEN_PATH, str(path))

    def read_only(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", read_only)  # root may write whatever the mode, but not on such a mount
    require_token()
    assert mode_of(path) == 0o440
    path.unlink()
    with pytest.raises(OSError, match="Read-only"):
        require_token()
