"""What a type says is what is read, and anything else is named with its place."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from trainables.config import TrialConfig
from trainables.typed import FormError, read


class Entry(TypedDict):
    name: str
    size: NotRequired[int]


@dataclass(frozen=True)
class Record:
    count: int
    share: float
    kind: Literal["a", "b"] = "a"
    pair: tuple[str, int] | None = None
    entries: tuple[Entry, ...] = ()
    more: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count must not be negative")


def test_a_record_is_built_with_what_it_holds() -> None:
    body = {"count": 1, "share": 2, "pair": ["x", 3], "entries": [{"name": "y", "else": 1}], "more": {"z": [1, 0.5]}}
    expected = Record(1, 2, pair=("x", 3), entries=({"name": "y", "else": 1},), more={"z": [1, 0.5]})  # type: ignore[typeddict-unknown-key]
    assert read(Record, body) == expected


def test_a_trial_survives_json(tiny_config: TrialConfig) -> None:
    assert read(TrialConfig, json.loads(json.dumps(tiny_config.to_json()))) == tiny_config


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": "1"}, "count: must be a whole number of less than 2**63, not '1'"),
        ({"count": True}, "count: must be a whole number"),
        ({"count": 1.0}, "count: must be a whole number"),
        ({"count": 2**63}, "count: must be a whole number"),
        ({"count": -1}, "it: count must not be negative"),
        ({"share": None}, "share: must be a number, not None"),
        ({"share": 10**400}, "share: must be a number"),
        ({"kind": "c"}, "kind: must be a or b, not 'c'"),
        ({"kind": ["a"]}, "kind: must be a or b"),
        ({"pair": ["x"]}, "pair: must be a list of 2, not ['x']"),
        ({"pair": "xy"}, "pair: must be a list"),
        ({"pair": [1, 2]}, "pair.0: must be text, not 1"),
        ({"entries": [{}]}, "entries.0: name is missing"),
        ({"entries": [{"name": "y", "size": "1"}]}, "entries.0.size: must be a whole number"),
        ({"entries": [3]}, "entries.0: must be an object, not 3"),
        ({"more": {"z": [1, "x"]}}, "more.z.1: must be a number, not 'x'"),
        ({"more": [1]}, "more: must be an object"),
        ({"else": 1}, "it: else is none of count, share, kind, pair, entries, more"),
    ],
)
def test_another_form_is_named_with_its_place(change: dict[str, Any], said: str) -> None:
    with pytest.raises(FormError) as caught:
        read(Record, {"count": 1, "share": 0.5} | change)
    assert str(caught.value).startswith(said)


def test_what_is_missing_and_what_is_no_record_are_named() -> None:
    with pytest.raises(FormError, match="one: count is missing"):
        read(Record, {"share": 1}, "one")
    with pytest.raises(FormError, match="it: must be a Record, not 3"):
        read(Record, 3)


def test_a_value_nested_without_end_is_shown_in_short() -> None:
    value: list[Any] = []
    for _ in range(900):
        value = [value]
    with pytest.raises(FormError) as caught:
        read(int, value, "x")
    assert len(str(caught.value)) < 200


Rows = list[tuple[str, int | None, float | None]]


def test_rows_of_a_table_are_read_as_one_by_one() -> None:
    rows = [["a", 1, 0.5], ["b", None, None]]
    assert read(Rows, rows) == [("a", 1, 0.5), ("b", None, None)]
    assert read(Rows, [*rows, ["c", 2, 3]]) == [("a", 1, 0.5), ("b", None, None), ("c", 2, 3)]
    assert read(Rows, []) == []


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (["c", True, 1.0], "1.1: must be a whole number"),
        (["c", 2**63, 1.0], "1.1: must be a whole number"),
        (["c", 1.0, 1.0], "1.1: must be a whole number"),
        (["c", 1, 10**400], "1.2: must be a number"),
        ([None, 1, 1.0], "1.0: must be text"),
        (["c", 1], "1: must be a list of 3"),
        ("abc", "1: must be a list"),
    ],
)
def test_a_row_of_another_form_is_named_with_its_place(row: object, said: str) -> None:
    with pytest.raises(FormError) as caught:
        read(Rows, [["a", 1, 0.5], row])
    assert str(caught.value).startswith(said)
