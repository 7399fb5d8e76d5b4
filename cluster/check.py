"""``sweep.py cluster check``: what is wrong in a file that describes a cluster, before machines cost money."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

from cluster import kubernetes, ray_up, slurm
from cluster.problem import SET_ME, Problem
from orchestrator import authentication
from orchestrator.words import SpecError


def check(path: Path) -> list[Problem]:
    """In the order of lines. Raises SpecError where the file cannot be read."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read ({error})") from error
    found = [*_unset(text), *_rules(path, text)]
    return sorted(found, key=lambda one: one.line)


def token_problem(path: Path) -> str | None:
    """What keeps this machine from having a token to hand out, or None; also where none is wanted: KubeRay makes one of
    its own."""
    if ray_up.TOKEN not in path.read_text():
        return None
    place = authentication.token_file()
    if not place.is_file() or not place.stat().st_size:
        return f"{place}: there is no token; make one: (umask 077; ray get-auth-token --generate)"
    mode = stat.S_IMODE(place.stat().st_mode)
    return f"{place}: others may read the token (mode {mode:o}); chmod 600 {place}" if mode & 0o077 else None


def _unset(text: str) -> Iterator[Problem]:
    above = ""
    for number, line in enumerate(text.splitlines(), start=1):
        before, mark, after = line.partition(SET_ME)
        is_comment = re.match(r"\s*#(?!SBATCH)", line) is not None
        if mark and not is_comment:
            names = re.findall(r"([\w-]+)[:=]", before)
            hint = after.partition("#")[2].strip() or above or "put one there"
            yield Problem(number, names[-1] if names else SET_ME, "has no value yet", hint)
        above = line.strip("# ") if is_comment else ""


def _rules(path: Path, text: str) -> Iterator[Problem]:
    if path.suffix == ".sbatch" or text.startswith("#!"):
        return slurm.problems(text)
    if re.search(r"^apiVersion:", text, re.M):
        return kubernetes.problems(text)
    return ray_up.problems(text)
