"""What the machines of a ``ray up`` cluster have when all of them are up: Ray's autoscaler tells nobody.

``python -m cluster.most FILE`` prints it as TOPOSWEEP_MOST, for the head's environment; FILE is what ``ray up`` leaves
on the head, with the resources of its machines filled in.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def most(config: Mapping[str, Any]) -> dict[str, float]:
    """The sum over the head and all machines of each type, without those whose resources Ray finds out itself."""
    total: Counter[str] = Counter()
    for name, kind in (config.get("available_node_types") or {}).items():
        count = 1 if name == config.get("head_node_type") else kind.get("max_workers", config.get("max_workers", 0))
        for resource, amount in (kind.get("resources") or {}).items():
            total[resource] += amount * count
    return dict(total)


if __name__ == "__main__":
    print(json.dumps(most(yaml.safe_load(Path(sys.argv[1]).read_text()))))
