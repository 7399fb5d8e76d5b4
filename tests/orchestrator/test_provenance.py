import json
import platform

import torch

from orchestrator import provenance


def test_says_which_code_and_machine_gave_the_numbers() -> None:
    facts = provenance.collect()
    assert facts["packages"]["torch"] == torch.__version__
    assert facts["python"] == platform.python_version()
    assert facts["host"] == platform.node()
    assert facts["device"]
    assert facts["cpus"] >= 1
    json.dumps(facts, allow_nan=False)


def test_git_revision_is_a_full_hash_where_the_code_is_a_checkout() -> None:
    git = provenance.collect()["git"]
    assert git is None or (len(git["revision"]) == 40 and isinstance(git["dirty"], bool))
