"""Every field of a YAML text has its line."""

import pytest
import yaml

from cluster import lines

TEXT = """\
a: 1
list:
  - name: x
    deep: {b: 2}
  - name: y
---
other: &anchor
  c: 3
again: *anchor
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((0,), 1),
        ((0, "a"), 1),
        ((0, "list"), 2),
        ((0, "list", 0, "name"), 3),
        ((0, "list", 0, "deep", "b"), 4),
        ((0, "list", 1), 5),
        ((1, "other", "c"), 8),
        ((1, "again"), 9),
        ((1, "again", "c"), 8),  # where the user has to change it
        ((0, "list", 1, "missing", "deeper"), 5),
        ((0, "missing"), 1),
    ],
)
def test_a_path_has_its_line_and_a_missing_one_that_of_its_holder(path: tuple[str | int, ...], line: int) -> None:
    documents, line_of = lines.read(TEXT)
    assert documents[0]["list"][1] == {"name": "y"}
    assert line_of(path) == line


@pytest.mark.parametrize(("text", "line"), [("a: 1\nb: 2\na: 3", 3), ("a:\n  - b: 1\n    b: 2", 3), ("a: 1\nb: [", 2)])
def test_what_is_no_yaml_or_says_a_key_twice_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(yaml.MarkedYAMLError) as error:
        lines.read(text)
    assert error.value.problem_mark is not None
    assert error.value.problem_mark.line + 1 == line
