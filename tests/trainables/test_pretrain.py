"""A trial's weights are a pure function of its config, however often it is interrupted."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trainables import checkpoint, models
from trainables.budget import Budget
from trainables.checkpoint import CHECKPOINTS, INTERIM, TRAINING_STATE, committed_steps, step_name
from trainables.config import TrialConfig
from trainables.pretrain import pretrain
from trainables.schedules import checkpoint_steps, learning_rate
from trainables.step_log import TrainingDivergedError, read_segment, segment_starts
from trainables.stopping import StoppedEarlyError, TrainingInterruptedError
from trainables.storage import Folder
from trainables.token_store import TokenStore

TRAIN = """
import json, sys
from trainables.config import TrialConfig
from trainables.pretrain import pretrain
from trainables.storage import Folder
from trainables.token_store import TokenStore
config, trial, tokens = sys.argv[1:]
pretrain(TrialConfig.from_json(json.loads(config)), Folder.open(trial), TokenStore.open(Folder.open(tokens)))
"""


@pytest.fixture(scope="module")
def straight(tiny_config: TrialConfig, token_store: TokenStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trial trained without interruption."""
    path = tmp_path_factory.mktemp("straight")
    assert pretrain(tiny_config, Folder.open(path), token_store) == 24
    return path


def kept_bytes(trial: Path) -> dict[str, bytes]:
    """All weights and training states, by path."""
    return {str(path.relative_to(trial)): path.read_bytes() for path in trial.rglob("*.safetensors")}


def log_of(trial: Path, column: str) -> list[float]:
    folder = Folder.open(trial)
    return [value for start in segment_starts(folder) for value in read_segment(folder, start)[column]]


def test_a_trial_keeps_the_checkpoints_of_its_schedule(straight: Path, tiny_config: TrialConfig) -> None:
    assert committed_steps(Folder.open(straight)) == [0, 1, 2, 4, 8, 16, 20, 24]
    assert tuple(committed_steps(Folder.open(straight))) == checkpoint_steps(tiny_config.optimization, 24, 20)


def test_a_trial_trained_twice_has_the_same_bits(
    straight: Path, tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path
) -> None:
    torch.rand(7)  # whatever else draws numbers in the process does not matter
    pretrain(tiny_config, Folder.open(tmp_path), token_store)
    assert kept_bytes(tmp_path) == kept_bytes(straight)


@pytest.mark.parametrize("change", [{"init_seed": 9}, {"data_seed": 9}])
def test_each_seed_changes_the_weights(
    straight: Path, tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path, change: dict[str, int]
) -> None:
    pretrain(replace(tiny_config, **change), Folder.open(tmp_path), token_store)
    initial, final = (f"{CHECKPOINTS}/{step_name(step)}/model.safetensors" for step in (0, 24))
    assert kept_bytes(tmp_path)[final] != kept_bytes(straight)[final]
    assert (kept_bytes(tmp_path)[initial] == kept_bytes(straight)[initial]) == ("data_seed" in change)


def damage(trial: Path, kind: str, step: int, how: str) -> None:
    folder = trial / kind / step_name(step)
    if how == "lost":
        shutil.rmtree(folder)
    elif how == "uncommitted":
        (folder / "manifest.json").unlink()
    else:
        victim = next(folder.glob("*.safetensors"))
        data = bytearray(victim.read_bytes())
        data[-1] ^= 1
        victim.write_bytes(bytes(data))


@pytest.mark.parametrize("how", ["lost", "uncommitted", "changed"])
@pytest.mark.parametrize("kinds", [(TRAINING_STATE,), (CHECKPOINTS,), (CHECKPOINTS, TRAINING_STATE)], ids="+".join)
def test_a_resumed_trial_ends_with_the_same_bits_and_log(
    straight: Path,
    tiny_config: TrialConfig,
    token_store: TokenStore,
    tmp_path: Path,
    kinds: tuple[str, ...],
    how: str,
) -> None:
    trial = tmp_path / "trial"
    shutil.copytree(straight, trial)
    for kind in kinds:
        damage(trial, kind, 24, how)
    pretrain(tiny_config, Folder.open(trial), token_store)
    assert kept_bytes(trial) == kept_bytes(straight)
    assert log_of(trial, "step") == list(range(1, 25))
    assert log_of(trial, "loss") == log_of(straight, "loss")


@pytest.mark.parametrize("lost", [0, 4, 20])
def test_a_lost_checkpoint_is_made_again_with_the_same_bits(
    straight: Path, tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path, lost: int
) -> None:
    trial = tmp_path / "trial"
    shutil.copytree(straight, trial)
    damage(trial, CHECKPOINTS, lost, "lost")
    pretrain(tiny_config, Folder.open(trial), token_store)
    assert kept_bytes(trial) == kept_bytes(straight)
    assert log_of(trial, "loss") == log_of(straight, "loss")


def test_with_both_training_states_gone_a_trial_starts_again(
    straight: Path, tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path
) -> None:
    trial = tmp_path / "trial"
    shutil.copytree(straight, trial)
    for step in (20, 24):
        damage(trial, TRAINING_STATE, step, "changed")
    pretrain(tiny_config, Folder.open(trial), token_store)
    assert kept_bytes(trial) == kept_bytes(straight)


def test_a_trial_with_released_checkpoints_goes_on_where_it_was_and_ends_with_the_same_bits(
    straight: Path, tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path
) -> None:
    """Cut off before step 24, with all but what it goes on from released: nothing before is made again."""
    trial = tmp_path / "trial"
    shutil.copytree(straight, trial)
    for kind in (CHECKPOINTS, TRAINING_STATE):
        damage(trial, kind, 24, "lost")
    for step in (0, 1, 2, 4, 8, 16):
        checkpoint.release(Folder.open(trial), step)
    pretrain(tiny_config, Folder.open(trial), token_store)
    assert committed_steps(Folder.open(trial)) == [20, 24]
    assert kept_bytes(trial).items() <= kept_bytes(straight).items()
    assert log_of(trial, "loss") == log_of(straight, "loss")


def test_every_training_state_is_kept_where_that_is_asked_for(
    straight: Path, tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path
) -> None:
    pretrain(tiny_config, Folder.open(tmp_path), token_store, keep_states=True)
    assert committed_steps(Folder.open(tmp_path), TRAINING_STATE) == [0, 1, 2, 4, 8, 16, 20, 24]
    assert kept_bytes(straight).items() <= kept_bytes(tmp_path).items()


def test_a_finished_trial_is_left_as_it_is(
    straight: Path, tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path
) -> None:
    trial = tmp_path / "trial"
    shutil.copytree(straight, trial)
    before = {path: path.stat().st_mtime_ns for path in trial.rglob("*")}
    assert pretrain(tiny_config, Folder.open(trial), token_store) == 24
    assert {path: path.stat().st_mtime_ns for path in trial.rglob("*")} == before


def test_a_killed_trial_run_again_ends_with_the_same_bits(
    tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path
) -> None:
    config = replace(tiny_config, budget=Budget(300.0, "steps"))
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    arguments = [json.dumps(config.to_json()), str(killed), token_store.folder.path]
    process = subprocess.Popen([sys.executable, "-c", TRAIN, *arguments])
    pretrain(config, Folder.open(straight), token_store)
    started = time.monotonic()
    while not (killed / CHECKPOINTS / step_name(40) / "manifest.json").exists():
        assert process.poll() is None
        assert time.monotonic() < started + 120
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -9
    assert 300 not in committed_steps(Folder.open(killed))
    pretrain(config, Folder.open(killed), token_store)
    assert kept_bytes(killed) == kept_bytes(straight)
    assert log_of(killed, "loss") == log_of(straight, "loss")


def test_the_loss_falls_from_that_of_a_uniform_guess(
    tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path
) -> None:
    """The stream's tokens are geometric with p = 0.2, independent: no model does better than their entropy."""
    config = replace(tiny_config, budget=Budget(120.0, "steps"))
    pretrain(config, Folder.open(tmp_path), token_store)
    losses = log_of(tmp_path, "loss")
    entropy = -(math.log(0.2) + 4 * math.log(0.8))
    assert losses[0] == pytest.approx(math.log(64), abs=0.3)
    assert entropy - 0.1 < np.mean(losses[-10:]) < entropy + 0.4


def test_the_log_says_what_was_done_at_every_step(
    straight: Path, tiny_config: TrialConfig, token_store: TokenStore
) -> None:
    """Loss of the first step and the learning rates, computed apart from the loop."""
    model = models.build(tiny_config.model, init_seed=tiny_config.init_seed)
    block = torch.from_numpy(token_store.batch(data_seed=tiny_config.data_seed, start=0, count=4))
    with torch.inference_mode():
        log_probabilities = model(block[:, :-1]).logits.log_softmax(-1)
    loss = -log_probabilities.gather(-1, block[:, 1:, None]).mean().item()
    assert log_of(straight, "loss")[0] == pytest.approx(loss, rel=1e-6)
    rates = [learning_rate(tiny_config.optimization, step, 24) for step in range(24)]
    assert log_of(straight, "learning_rate") == rates


@pytest.mark.parametrize("rate", [1e30, 1e39])
def test_a_diverging_trial_names_its_step_and_keeps_only_finite_checkpoints(
    tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path, rate: float
) -> None:
    config = replace(tiny_config, optimization=replace(tiny_config.optimization, learning_rate=rate))
    trial = Folder.open(tmp_path)
    with pytest.raises(TrainingDivergedError, match=r"^step \d+: .*lower learning_rate"):
        pretrain(config, trial, token_store)
    steps = committed_steps(trial)
    assert steps[-1] < 24
    assert log_of(tmp_path, "step")[-1] >= steps[-1]
    for step in steps:
        assert all(weight.isfinite().all() for weight in checkpoint.load_weights(trial, step).values())


def test_a_store_too_small_is_refused(tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path) -> None:
    small = TokenStore(token_store.folder, {**token_store.meta, "complete": False})
    config = replace(tiny_config, budget=Budget(10**6, "steps"), data_seed=1)
    blocks = small.train_blocks
    config = replace(config, optimization=replace(config.optimization, batch_size=blocks // 2 + 1))
    with pytest.raises(ValueError, match=f"holds {blocks} training blocks"):
        pretrain(config, Folder.open(tmp_path), small)


def test_wsd_budgets_share_their_weights_up_to_the_decay(
    tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path
) -> None:
    wsd = replace(tiny_config, optimization=replace(tiny_config.optimization, schedule="wsd", warmup=3, decay=0.2))
    trials = [Folder.open(tmp_path / str(steps)) for steps in (20, 30)]
    for trial, steps in zip(trials, (20, 30), strict=True):
        pretrain(replace(wsd, budget=Budget(float(steps), "steps")), trial, token_store)
    short, long = ((trial / CHECKPOINTS / step_name(16)).read("model.safetensors") for trial in trials)
    assert short == long


def stopping_after(count: int) -> Callable[[], bool]:
    """Says so once it has been asked ``count`` times."""
    asked = iter(range(1, 10_000))
    return lambda: next(asked) >= count


@pytest.mark.parametrize("steps", [range(1, 24), (5, 6, 7)], ids=["everywhere", "thrice between two checkpoints"])
def test_a_trial_that_is_asked_to_stop_saves_and_ends_with_the_same_bits_and_log(
    straight: Path, tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path, steps: Sequence[int]
) -> None:
    done = 0
    for step in steps:
        with pytest.raises(TrainingInterruptedError, match=f"everything up to step {step} is saved"):
            pretrain(tiny_config, Folder.open(tmp_path), token_store, stop=stopping_after(step - done))
        interim = committed_steps(Folder.open(tmp_path), INTERIM)
        assert interim == ([] if step in (1, 2, 4, 8, 16, 20) else [step])
        assert set(committed_steps(Folder.open(tmp_path))) == {0, 1, 2, 4, 8, 16, 20} & set(range(step + 1))
        done = step
    pretrain(tiny_config, Folder.open(tmp_path), token_store)
    assert kept_bytes(tmp_path) == kept_bytes(straight)
    assert log_of(tmp_path, "step") == list(range(1, 25))
    assert log_of(tmp_path, "loss") == log_of(straight, "loss")


@pytest.mark.parametrize("how", ["lost", "uncommitted", "changed"])
def test_where_what_was_saved_between_checkpoints_is_damaged_the_checkpoint_before_serves(
    straight: Path, tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path, how: str
) -> None:
    with pytest.raises(TrainingInterruptedError):
        pretrain(tiny_config, Folder.open(tmp_path), token_store, stop=stopping_after(13))
    damage(tmp_path, INTERIM, 13, how)
    pretrain(tiny_config, Folder.open(tmp_path), token_store)
    assert kept_bytes(tmp_path) == kept_bytes(straight)


def test_asked_to_stop_at_the_last_step_it_is_done(
    tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path
) -> None:
    assert pretrain(tiny_config, Folder.open(tmp_path), token_store, stop=stopping_after(24)) == 24


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_rule_ends_a_trial_at_its_checkpoint_also_when_it_was_interrupted_before(
    straight: Path, tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path, interrupted: bool
) -> None:
    """The mean of the losses since the checkpoint before, 9 to 16, of which some are from before the interruption."""
    losses = np.array(log_of(straight, "loss"))
    mean = losses[8:16].mean()
    assert mean < losses[4:8].mean()
    config = replace(tiny_config, early_stop=(f"{mean + 1e-6}@16", f"{mean - 1e-6}@16"))
    assert config.trial_id == tiny_config.trial_id
    if interrupted:
        with pytest.raises(TrainingInterruptedError):
            pretrain(config, Folder.open(tmp_path), token_store, stop=stopping_after(11))
    with pytest.raises(StoppedEarlyError, match=f"{mean - 1e-6}@16: the mean loss of the 8 steps up to 16 is"):
        pretrain(config, Folder.open(tmp_path), token_store)
    assert committed_steps(Folder.open(tmp_path)) == [0, 1, 2, 4, 8, 16]
    name = f"{CHECKPOINTS}/{step_name(16)}/model.safetensors"
    assert kept_bytes(tmp_path)[name] == kept_bytes(straight)[name]


def test_deterministic_algorithms_are_on_while_it_trains_if_asked_for_and_belong_to_the_trial(
    straight: Path, tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path
) -> None:
    seen: list[bool] = []

    def look() -> bool:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return False

    config = replace(tiny_config, deterministic=True)
    assert config.trial_id != tiny_config.trial_id
    pretrain(config, Folder.open(tmp_path), token_store, stop=look)
    assert seen == [True] * 23
    assert not torch.are_deterministic_algorithms_enabled()
    assert kept_bytes(tmp_path) == kept_bytes(straight)  # on CPUs the same kernels


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_deterministic_algorithms_give_the_same_bits_twice(
    tiny_config: TrialConfig, token_store: TokenStore, tmp_path: Path
) -> None:
    config = replace(tiny_config, deterministic=True)
    for name in ("one", "two"):
        pretrain(config, Folder.open(tmp_path / name), token_store)
    assert kept_bytes(tmp_path / "one") == kept_bytes(tmp_path / "two")
