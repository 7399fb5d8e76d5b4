"""Plain data against type hints: what fits is read, what does not is named with its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from trainables.typed import FormError, read


@dataclass(frozen=True)
class Leaf:
    name: str
    size: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("size must not be negative")


@dataclass(frozen=True)
class Tree:
    kind: Literal["oak", "elm"]
    leaves: tuple[Leaf, ...]
    age: int | None = None


class Record(TypedDict):
    count: int
    note: NotRequired[str]


def test_lists_become_tuples_and_objects_dataclasses() -> None:
    body = {"kind": "elm", "leaves": [{"name": "a"}, {"name": "b", "size": 2}], "age": None}
    assert read(Tree, body) == Tree("elm", (Leaf("a"), Leaf("b", 2)))


def test_an_object_of_a_typed_dict_may_have_further_keys_and_lack_some() -> None:
    assert read(Record, {"count": 3, "of another version": [1]}) == {"count": 3, "of another version": [1]}
    assert read(dict[str, Record], {"a": {"count": 3, "note": "x"}}) == {"a": {"count": 3, "note": "x"}}


@pytest.mark.parametrize(
    ("hint", "value", "said"),
    [
        (int, "1", "it: must be a whole number"),
        (int, 1.0, "it: must be a whole number"),
        (int, True, "it: must be a whole number"),
        (int, 2**63, "it: must be a whole number of less than 2"),
        (float, None, "it: must be a number"),
        (str, 3, "it: must be text, not 3"),
        (bool, 1, "it: must be true or false"),
        (tuple[int, str], [1], "it: must be a list of 2"),
        (tuple[int, ...], [1, "x"], "1: must be a whole number"),
        (tuple[int, ...], "12", "it: must be a list"),
        (Literal["a", "b"], "c", "it: must be a or b"),
        (Tree, [], "it: must be a Tree"),
        (Tree, {"kind": "elm"}, "it: leaves is missing"),
        (Tree, {"kind": "elm", "leaves": [], "roots": 3}, "it: roots is none of kind, leaves, age"),
        (Tree, {"kind": "fir", "leaves": []}, "kind: must be oak or elm"),
        (Tree, {"kind": "elm", "leaves": [{"name": 3}]}, "leaves.0.name: must be text"),
        (Tree, {"kind": "elm", "leaves": [{"name": "a", "size": -1}]}, "leaves.0: size must not be negative"),
        (Tree, {"kind": "elm", "leaves": [], "age": "old"}, "age: must be a whole number"),
        (Record, {}, "it: count is missing"),
        (Record, {"count": 3, "note": 4}, "note: must be text"),
        (dict[str, Record], {"a": {"count": "x"}}, "a.count: must be a whole number"),
        (dict[str, Record], [], "it: must be an object"),
    ],
)
def test_what_is_of_another_form_is_named_with_its_place(hint: Any, value: Any, said: str) -> None:
    with pytest.raises(FormError) as error:
        read(hint, value)
    assert str(error.value).startswith(said)
