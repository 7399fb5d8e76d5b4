"""What is wrong in a file that describes a cluster."""

from __future__ import annotations

from dataclasses import dataclass

SET_ME = "SET_ME"  # stands where a user has to put a value of their own


@dataclass(frozen=True)
class Problem:
    """line: counted from 1; field: its path in the file, such as ``provider.region``; mend: what to do."""

    line: int
    field: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.line}: {self.field}: {self.what}; {self.mend}"
