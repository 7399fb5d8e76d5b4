"""YAML whose fields know their line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import yaml

from cluster.problem import Problem


def read(text: str) -> tuple[list[Any], Callable[[Sequence[str | int]], int]]:
    """The documents of a YAML text, and the line (from 1) of a path: the document's index, then keys and indices.

    A path that is not there has the line of what would hold it. Raises yaml.MarkedYAMLError, also for a key that a
    mapping has twice, of which YAML readers silently drop one.
    """
    roots = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    for root in roots:
        _refuse_duplicates(root)

    def line(path: Sequence[str | int]) -> int:
        node: yaml.Node | None = roots[int(path[0])]
        found = node.start_mark.line if node else 0
        for key in path[1:]:
            inside = _children(node)
            if key not in inside:
                break
            found, node = inside[key]
        return int(found) + 1

    return list(yaml.safe_load_all(text)), line


def broken(error: yaml.MarkedYAMLError) -> Problem:
    where = error.problem_mark.line + 1 if error.problem_mark else 1
    return Problem(where, "", f"this is not YAML: {error.problem}", "mend the line, or the one before it")


def _children(node: yaml.Node | None) -> dict[str | int, tuple[int, yaml.Node]]:
    """By key or index: the line, from 0, and the node."""
    if isinstance(node, yaml.MappingNode):
        return {key.value: (key.start_mark.line, value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return {index: (value.start_mark.line, value) for index, value in enumerate(node.value)}
    return {}


def _refuse_duplicates(node: yaml.Node) -> None:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
    for _, child in _children(node).values():
        _refuse_duplicates(child)
