"""Which checkpoints hold the tensors of others, against planted faults of every known kind."""

import itertools

import pytest
import torch

from trainables import models, tensor_identity
from trainables.config import ModelConfig, PublishedConfig, Revision
from trainables.storage import Folder
from trainables.tensor_identity import FROZEN_AT, Fault, compared

NAMES = ("embed", "a", "b", "c")
FRESH = map(str, itertools.count())


def matrices(**same: str) -> dict[str, str]:
    """Hashes of a checkpoint's matrices: of its own, but for those given."""
    return {name: next(FRESH) for name in NAMES} | same


def test_different_checkpoints_have_no_fault() -> None:
    assert compared({step: matrices() for step in (0, 1, 2, 1000)}) == {}


def test_alike_first_steps_are_both_flagged() -> None:
    first = matrices()
    found = compared({0: first, 1: dict(first), 2: matrices(), 3: matrices()})
    assert found == {
        0: Fault("identical", "all 4 matrices are those of step 1"),
        1: Fault("identical", "all 4 matrices are those of step 0"),
    }


def test_branches_with_the_final_weights_are_flagged_and_the_final_one_is_not() -> None:
    final = matrices()
    steps = [1000, 2000, 3000, 4000, 5000]
    found = compared({0: matrices(), **{step: dict(final) for step in steps}, 143_000: final})
    assert list(found) == steps
    assert found[1000].kind == "identical"
    assert found[1000].reason == "all 4 matrices are those of steps 143000, 5000, 4000 and 2 more"


def test_a_shard_of_the_final_model_in_earlier_steps_is_mixed() -> None:
    final = matrices()
    shard = {name: final[name] for name in ("embed", "a")}
    found = compared({1: matrices(), 50: matrices(**shard), 58: matrices(**shard), 99: matrices(), 143: final})
    assert set(found) == {50, 58}
    assert found[50] == Fault("mixed", "2 of 4 matrices are those of steps 143, 58")


def test_a_matrix_that_was_frozen_in_training_tells_nothing() -> None:
    steps = range(FROZEN_AT)
    assert compared({step: matrices(embed="positions") for step in steps}) == {}
    first = matrices(embed="positions")
    found = compared({step: dict(first) if step < 2 else matrices(embed="positions") for step in steps})
    assert {step: fault.kind for step, fault in found.items()} == {0: "identical", 1: "identical"}


def test_few_steps_that_all_share_a_shard_are_mixed() -> None:
    """Those that one would choose to look at pythia-12b's."""
    found = compared({step: matrices(embed="final") for step in (50_000, 58_000, 143_000)})
    assert {step: fault.kind for step, fault in found.items()} == {50_000: "mixed", 58_000: "mixed"}


@pytest.fixture
def config(tiny_model: ModelConfig) -> PublishedConfig:
    revisions = tuple(Revision(step, f"step{step}", None if step == 4 else "c" * 40) for step in (0, 1, 2, 4))
    return PublishedConfig(tiny_model, "tiny", 0, None, None, revisions, "tokens", 16, None)


def test_recorded_hashes_tell_what_was_planted_in_real_weights(config: PublishedConfig, folder: Folder) -> None:
    for step, seed in ((0, 5), (1, 5), (2, 6)):
        model = models.build(config.model, init_seed=seed)
        for name, weight in model.named_parameters():
            if name.endswith("bias"):  # vectors do not count, whether they have changed or not
                torch.nn.init.constant_(weight, step)
        assert step not in tensor_identity.recorded_steps(folder)
        tensor_identity.record(folder, step, config.at(step), model)
        assert step in tensor_identity.recorded_steps(folder)
    found = tensor_identity.faults(folder, config)
    assert {step: fault.kind for step, fault in found.items()} == {0: "identical", 1: "identical", 4: "missing"}
    assert "step4" in found[4].reason
    record = (folder / tensor_identity.TENSORS).read_json("step-00000002.json")
    assert record["revision"] == "step2"
    assert record["commit"] == "c" * 40
    assert record["dtype"] == "float32"


def test_precision_and_shape_are_part_of_a_matrix(config: PublishedConfig, folder: Folder) -> None:
    model = models.build(config.model, init_seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    tensor_identity.record(folder, 0, config.at(0), model)
    tensor_identity.record(folder, 1, config.at(1), model.half())
    assert tensor_identity.faults(folder, config).keys() == {4}


def test_a_damaged_record_counts_as_none(config: PublishedConfig, folder: Folder) -> None:
    for step in (0, 1):
        tensor_identity.record(folder, step, config.at(step), models.build(config.model, init_seed=0))
    (folder / tensor_identity.TENSORS).write("step-00000001.json", b"{")
    assert tensor_identity.faults(folder, config).keys() == {4}


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder.open(tmp_path_factory.mktemp("trial"))
