"""A list of checks: one failure never stops the others, and one cause is explained once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trainables import hub
from trainables.redaction import redact

PATIENCE_S = 60.0  # for a check that downloads little; a server that asks to slow down is given this long
NOT_TRIED = "not tried: "


@dataclass(frozen=True)
class Check:
    """What was looked at and found. mend: of a failure; empty where another failure, named in ``found``, has it."""

    name: str
    passed: bool
    found: str
    mend: str = ""


class Problem(Exception):
    """What a check found wrong: the cause, and the mend."""

    def __init__(self, cause: str, mend: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.mend = mend


@dataclass
class Checklist:
    """Checks in the order in which they were made; ``say`` hears of each as soon as it is known."""

    say: Callable[[Check], None] = lambda check: None
    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> int:
        return sum(check.passed for check in self.checks)

    def run(
        self,
        name: str,
        look: Callable[[], str],
        *,
        needs: Sequence[Check] = (),
        otherwise: str = "",
        seconds: float | None = PATIENCE_S,
    ) -> Check:
        """Look, and note what was found, or the error with its mend.

        needs: checks without which this one cannot pass; where one failed it is not tried. otherwise: what else a user
        can do about a failure. seconds: how long it may take, None for as long as it does.
        """
        if failed := next((need for need in needs if not need.passed), None):
            root = failed.found if failed.found.startswith(NOT_TRIED) else f"{NOT_TRIED}{failed.name} failed"
            check = Check(name, False, root)
        else:
            check = _looked(name, look, otherwise, seconds)
        self.checks.append(check)
        self.say(check)
        return check


def _looked(name: str, look: Callable[[], str], otherwise: str, seconds: float | None) -> Check:
    try:
        return Check(name, True, redact(within(seconds, look)))
    except Exception as error:
        cause, mend = explained(error)
        return Check(name, False, redact(cause), redact("; or ".join(part for part in (mend, otherwise) if part)))


def within(seconds: float | None, look: Callable[[], str]) -> str:
    """The answer, or a Problem where there is none in time: some of the clients' waits have no end, as for a name."""
    answers: list[str] = []
    errors: list[Exception] = []

    def answer() -> None:
        try:
            answers.append(look())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise Problem(
            f"no answer within {seconds:g} s",
            "the network is slow, or the server does not answer or asks to slow down: try later, set HF_TOKEN, or "
            "HF_ENDPOINT to a mirror",
        )
    return answers[0]


def explained(error: Exception) -> tuple[str, str]:
    """The cause of an error, and its mend as far as one is known.

    This project's own messages are ValueErrors, and say the mend after a semicolon.
    """
    if isinstance(error, Problem):
        return error.cause, error.mend
    own = isinstance(error, ValueError)
    client = error.__cause__ if own else error
    if client is not None and (reason := hub.explanation(client)):
        return reason
    if own:
        cause, _, mend = str(error).partition("; ")
        return cause, mend
    return f"{type(error).__name__}: {error}", ""
