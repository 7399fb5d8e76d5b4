"""A problem, as people see it behind the file's name."""

from __future__ import annotations

from cluster.problem import Problem


def test_reads_as_editors_do() -> None:
    said = f"my.yaml:{Problem(3, 'provider.region', 'has no value yet', 'us-west-2')}"
    assert said == "my.yaml:3: provider.region: has no value yet; us-west-2"
