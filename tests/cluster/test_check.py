"""``sweep.py cluster check``: templates lack their values and nothing else, and the token is private."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sweep
from cluster import check
from cluster.problem import SET_ME
from orchestrator.words import SpecError
from tests.cluster.templates import FOLDER, TEMPLATES, filled


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine's token."""
    place = tmp_path / "auth_token"
    place.touch(mode=0o600)
    place.write_text("0" * 64)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(place))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    return place


@pytest.mark.parametrize("name", [*(f"{one}.yaml" for one in TEMPLATES), "kuberay.yaml", "slurm.sbatch"])
def test_a_template_lacks_its_values_and_nothing_else(
    name: str, token: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = FOLDER / name
    assert sweep.main(["cluster", "check", str(path)]) == 2
    said = capsys.readouterr().out.splitlines()
    lines = path.read_text().splitlines()
    unset = [n for n, line in enumerate(lines, 1) if SET_ME in line and not re.match(r"\s*#(?!SBATCH)", line)]
    found = [re.match(rf"{path}:(\d+): \S+: has no value yet; .", one) for one in said]
    assert [int(one[1]) if one else said for one in found] == unset


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_filled_template_has_nothing_wrong(
    name: str, token: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(filled(name))
    assert sweep.main(["cluster", "check", str(path)]) == 0, capsys.readouterr().out
    token.chmod(0o644)
    assert sweep.main(["cluster", "check", str(path)]) == 2
    assert f"chmod 600 {token}" in capsys.readouterr().out
    token.unlink()
    assert sweep.main(["cluster", "check", str(path)]) == 2
    assert "ray get-auth-token --generate" in capsys.readouterr().out


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        check.check(tmp_path / "nothing.yaml")
