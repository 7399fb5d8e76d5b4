"""Words of the command line and their types."""

from __future__ import annotations

import typing

from orchestrator.spec import Sweep
from orchestrator.words import type_name


def test_types_are_named_as_users_write_them() -> None:
    hints = typing.get_type_hints(Sweep)
    assert type_name(hints["seeds"]) == "int,..."
    assert type_name(hints["limit"]) == "int|none"
    assert type_name(hints["schedule"]) == "cosine|wsd"
    assert type_name(hints["log_samples"]) == "bool"
