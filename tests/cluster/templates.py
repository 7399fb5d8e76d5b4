"""The files of cluster/ for ``ray up``, as a user would fill them."""

from __future__ import annotations

from cluster import jobs
from cluster.problem import SET_ME

FOLDER = jobs.PROJECT / "cluster"
TEMPLATES = ("on_premises", "aws", "gcp", "azure")
RESULTS = {"aws": "s3://b/r", "gcp": "gs://b/r", "azure": "abfs://c@a.dfs.core.windows.net/r", "on_premises": "/mnt/r"}


def filled(name: str) -> str:
    text = (FOLDER / f"{name}.yaml").read_text()
    return text.replace(f"TOPOSWEEP_RESULTS={SET_ME}", f"TOPOSWEEP_RESULTS={RESULTS[name]}").replace(SET_ME, "10.0.0.9")
