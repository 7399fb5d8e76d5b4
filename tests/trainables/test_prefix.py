"""A trial that goes on from another budget's has the bits that it has alone, whatever it took over."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load

from tests.trainables.test_pretrain import kept_bytes, log_of
from trainables import prefix
from trainables.budget import Budget
from trainables.checkpoint import CHECKPOINTS, INTERIM, STATE, TRAINING_STATE, committed_steps, step_name
from trainables.config import TrialConfig
from trainables.pretrain import pretrain
from trainables.storage import Folder
from trainables.token_store import TokenStore


@pytest.fixture(scope="module")
def ladder(
    tiny_config: TrialConfig, token_store: TokenStore, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, tuple[TrialConfig, Path]]:
    """Of one stem 20 and 40 steps, each trained alone; their decays begin at 16 and 32."""
    optimization = replace(tiny_config.optimization, schedule="wsd", warmup=3, decay=0.2)
    found = {}
    for steps in (20, 40):
        config = replace(tiny_config, budget=Budget(steps, "steps"), optimization=optimization, checkpoint_every=7)
        path = tmp_path_factory.mktemp(f"steps{steps}")
        pretrain(config, Folder.open(path), token_store)
        found[steps] = config, path
    return found


def take_over(ladder: dict[int, tuple[TrialConfig, Path]], target: Path, small: TrialConfig | None = None) -> int:
    config, path = ladder[20]
    return prefix.take_over(ladder[40][0], Folder.open(target), [(small or config, Folder.open(path))])


def test_it_goes_on_where_the_smaller_decays_and_ends_with_the_same_bits(
    ladder: dict[int, tuple[TrialConfig, Path]], token_store: TokenStore, tmp_path: Path
) -> None:
    large, alone = ladder[40]
    assert take_over(ladder, tmp_path) == 16
    trial = Folder.open(tmp_path)
    assert committed_steps(trial) == [0, 1, 2, 4, 7, 8, 14, 16]
    assert trial.read_json(prefix.PREFIX)["step"] == 16
    pretrain(large, trial, token_store)
    assert min(log_of(tmp_path, "time")[16:]) > max(log_of(alone, "time"))  # what came after is new
    assert log_of(tmp_path, "loss") == log_of(alone, "loss")
    assert log_of(tmp_path, "step") == list(range(1, 41))
    weights = {name: data for name, data in kept_bytes(alone).items() if name.startswith(CHECKPOINTS)}
    assert {name: data for name, data in kept_bytes(tmp_path).items() if name.startswith(CHECKPOINTS)} == weights
    last = f"{TRAINING_STATE}/{step_name(40)}/state.safetensors"
    assert (tmp_path / last).read_bytes() == (alone / last).read_bytes()


def test_a_step_that_is_no_checkpoint_of_its_own_is_gone_on_from_too(
    ladder: dict[int, tuple[TrialConfig, Path]], token_store: TokenStore, tmp_path: Path
) -> None:
    """A decay of 35 % begins at step 13 of 20, which a trial of 40 does not keep."""
    small = replace(ladder[20][0], optimization=replace(ladder[20][0].optimization, decay=0.35))
    pretrain(small, Folder.open(tmp_path / "small"), token_store)
    trial = Folder.open(tmp_path / "large")
    assert prefix.take_over(ladder[40][0], trial, [(small, Folder.open(tmp_path / "small"))]) == 13
    assert committed_steps(trial, INTERIM) == [13]
    recent = load((trial / INTERIM / step_name(13)).read_committed(STATE))["recent"]
    assert recent.tolist() == [sum(log_of(ladder[40][1], "loss")[8:13]), 5]
    pretrain(ladder[40][0], trial, token_store)
    alone = {name: data for name, data in kept_bytes(ladder[40][1]).items() if name.startswith(CHECKPOINTS)}
    assert {n: d for n, d in kept_bytes(tmp_path / "large").items() if n.startswith(CHECKPOINTS)} == alone


@pytest.mark.parametrize(
    "change",
    [
        {"init_seed": 5},
        {"data_seed": 5},
        {"seq_len": 8},
        {"precision": "bfloat16"},
        {"learning_rate": 1e-3},
        {"warmup": 4},
    ],
)
def test_a_trial_that_differs_in_more_than_its_budget_has_no_prefix(
    ladder: dict[int, tuple[TrialConfig, Path]], tmp_path: Path, change: dict[str, object]
) -> None:
    small = ladder[20][0]
    of_trial = {key: value for key, value in change.items() if hasattr(small, key)}
    rest = {key: value for key, value in change.items() if key not in of_trial}
    other = replace(small, optimization=replace(small.optimization, **rest), **of_trial)
    assert take_over(ladder, tmp_path, other) == 0
    assert not list(tmp_path.rglob("*.safetensors"))


def test_with_a_cosine_schedule_budgets_share_nothing(tiny_config: TrialConfig) -> None:
    assert tiny_config.stem is None


def test_what_is_there_already_is_not_replaced_by_less(
    ladder: dict[int, tuple[TrialConfig, Path]], token_store: TokenStore, tmp_path: Path
) -> None:
    assert take_over(ladder, tmp_path) == 16
    assert take_over(ladder, tmp_path) == 0


def test_a_damaged_state_leaves_it_to_begin_alone(
    ladder: dict[int, tuple[TrialConfig, Path]], token_store: TokenStore, tmp_path: Path
) -> None:
    small, path = ladder[20]
    copy = tmp_path / "damaged"
    shutil.copytree(path, copy)
    for state in (copy / TRAINING_STATE).rglob("state.safetensors"):
        state.write_bytes(state.read_bytes()[:-1] + b"x")
    trial = Folder.open(tmp_path / "large")
    assert prefix.take_over(ladder[40][0], trial, [(small, Folder.open(copy))]) == 0
