"""A checkpoint gives back every bit, to us and to transformers."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GPTNeoXForCausalLM

from trainables import checkpoint, models
from trainables.checkpoint import CHECKPOINTS, TRAINING_STATE, committed_steps, released_steps, step_name
from trainables.config import ModelConfig
from trainables.storage import MANIFEST, CorruptFileError, Folder

Pair = tuple[GPTNeoXForCausalLM, torch.optim.AdamW]


def fresh(config: ModelConfig, seed: int) -> Pair:
    model = models.build(config, init_seed=seed)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)


def train(model: GPTNeoXForCausalLM, optimizer: torch.optim.AdamW, *, steps: int) -> None:
    for _ in range(steps):
        block = torch.randint(0, 64, (2, 16))  # its draws show whether the RNG was restored
        model(input_ids=block, labels=block).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture
def trial(tmp_path: Path) -> Folder:
    return Folder.open(tmp_path / "trial")


def test_resumed_training_gives_the_same_bits(tiny_model: ModelConfig, trial: Folder) -> None:
    straight = fresh(tiny_model, 1)
    train(*straight, steps=3)
    checkpoint.save(trial, 3, *straight)
    train(*straight, steps=3)
    torch.manual_seed(99)
    resumed = fresh(tiny_model, 2)
    assert checkpoint.resume(trial, [3], *resumed, torch.zeros(2)) == 3
    train(*resumed, steps=3)
    pairs = zip(straight[0].state_dict().values(), resumed[0].state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_transformers_loads_a_checkpoint_and_gives_the_same_logits(tiny_model: ModelConfig, trial: Folder) -> None:
    model, optimizer = fresh(tiny_model, 1)
    train(model, optimizer, steps=2)
    checkpoint.save(trial, 2, model, optimizer)
    loaded = AutoModelForCausalLM.from_pretrained((trial / CHECKPOINTS / step_name(2)).path)
    block = torch.arange(16)[None]
    with torch.inference_mode():
        assert torch.equal(loaded.eval()(block).logits, model.eval()(block).logits)


def test_load_weights_gives_the_state_dict(tiny_model: ModelConfig, trial: Folder) -> None:
    pair = fresh(tiny_model, 1)
    checkpoint.save(trial, 0, *pair)
    loaded, expected = checkpoint.load_weights(trial, 0), pair[0].state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_weights_are_kept_and_training_states_but_the_last_two_go(tiny_model: ModelConfig, trial: Folder) -> None:
    pair = fresh(tiny_model, 1)
    for step in (0, 5, 10, 100):
        checkpoint.save(trial, step, *pair)
    assert committed_steps(trial) == [0, 5, 10, 100]
    assert committed_steps(trial, TRAINING_STATE) == [10, 100]
    assert (trial / TRAINING_STATE).names() == [step_name(10), step_name(100)]


def test_every_training_state_is_kept_where_that_is_asked_for(tiny_model: ModelConfig, trial: Folder) -> None:
    pair = fresh(tiny_model, 1)
    for step in (0, 5, 10, 100):
        checkpoint.save(trial, step, *pair, keep_states=True)
    assert committed_steps(trial, TRAINING_STATE) == [0, 5, 10, 100]
    checkpoint.drop_training_states(trial, ())
    assert committed_steps(trial, TRAINING_STATE) == [10, 100]


def test_a_checkpoint_cut_off_while_written_is_not_listed(tiny_model: ModelConfig, trial: Folder) -> None:
    pair = fresh(tiny_model, 1)
    for step in (1, 2):
        checkpoint.save(trial, step, *pair)
    (trial / CHECKPOINTS / step_name(2)).delete(MANIFEST)
    (trial / CHECKPOINTS / "notes").write("x", b"")
    assert committed_steps(trial) == [1]


def test_no_checkpoint_is_no_resumption(tiny_model: ModelConfig, trial: Folder) -> None:
    assert committed_steps(trial) == []
    assert checkpoint.resume(trial, [0], *fresh(tiny_model, 1), torch.zeros(2)) is None


@pytest.mark.parametrize("kind", [CHECKPOINTS, TRAINING_STATE])
@pytest.mark.parametrize("damage", ["flip", "truncate", "lose", "uncommit", "flip manifest"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_older(
    tiny_model: ModelConfig, trial: Folder, kind: str, damage: str
) -> None:
    pair = fresh(tiny_model, 1)
    for step in (1, 2):
        checkpoint.save(trial, step, *pair)
    spoil(trial / kind / step_name(2), damage)
    assert checkpoint.resume(trial, [1, 2], *fresh(tiny_model, 2), torch.zeros(2)) == 1


def spoil(folder: Folder, damage: str) -> None:
    name = MANIFEST if "manifest" in damage else next(n for n in folder.names() if n.endswith(".safetensors"))
    data = bytearray(folder.read(name))
    if damage == "lose":
        folder.delete(name)
    elif damage == "uncommit":
        folder.delete(MANIFEST)
    elif damage == "truncate":
        folder.write(name, bytes(data[:-1]))
    else:
        data[len(data) // 2] ^= 1
        folder.write(name, bytes(data))


def test_damaged_weights_are_refused(tiny_model: ModelConfig, trial: Folder) -> None:
    checkpoint.save(trial, 1, *fresh(tiny_model, 1))
    spoil(trial / CHECKPOINTS / step_name(1), "flip")
    with pytest.raises(CorruptFileError, match="step-00000001"):
        checkpoint.load_weights(trial, 1)


def test_a_checkpoint_holds_no_pickle(tiny_model: ModelConfig, trial: Folder) -> None:
    checkpoint.save(trial, 1, *fresh(tiny_model, 1))
    names = {name for kind in (CHECKPOINTS, TRAINING_STATE) for name in (trial / kind / step_name(1)).names()}
    assert names == {"config.json", "manifest.json", "model.safetensors", "state.safetensors"}


@pytest.mark.parametrize(
    ("prescribed", "steps"), [([1, 2], [1, 2]), ([1, 2, 9], [1, 2]), ([], [1, 2]), ([2], [1, 2]), ([0, 2], [])]
)
def test_training_goes_on_only_from_before_a_missing_checkpoint(
    tiny_model: ModelConfig, trial: Folder, prescribed: list[int], steps: list[int]
) -> None:
    for step in (1, 2):
        checkpoint.save(trial, step, *fresh(tiny_model, 1))
    assert checkpoint.resumable_steps(trial, prescribed) == steps


def test_what_is_set_aside_no_longer_counts_until_it_is_written_again(tiny_model: ModelConfig, trial: Folder) -> None:
    pair = fresh(tiny_model, 1)
    for step in (1, 2):
        checkpoint.save(trial, step, *pair)
    checkpoint.set_aside(trial, 1)
    assert committed_steps(trial) == [2]
    assert checkpoint.resumable_steps(trial, [1, 2]) == []
    checkpoint.save(trial, 1, *pair)
    assert committed_steps(trial) == [1, 2]


def test_a_released_checkpoint_leaves_a_marker_and_counts_as_made(tiny_model: ModelConfig, trial: Folder) -> None:
    for step in (1, 2, 4):
        checkpoint.save(trial, step, *fresh(tiny_model, 1))
    folder = trial / CHECKPOINTS / step_name(1)
    weights = folder.read_json(MANIFEST)["files"]["model.safetensors"]
    checkpoint.release(trial, 1, why="keep=last:1")
    assert folder.names() == ["released.json"]
    assert checkpoint.read_release(trial, 1) == {"step": 1, "weights": weights, "why": "keep=last:1"}
    assert (committed_steps(trial), released_steps(trial)) == ([2, 4], [1])
    assert checkpoint.resumable_steps(trial, [1, 2, 4]) == [2, 4]
    assert checkpoint.resume(trial, [1, 2, 4], *fresh(tiny_model, 2), torch.zeros(2)) == 4
    checkpoint.take_back_release(trial, 1)
    assert checkpoint.resumable_steps(trial, [1, 2, 4]) == []


def test_a_released_checkpoint_that_is_made_again_is_there(tiny_model: ModelConfig, trial: Folder) -> None:
    pair = fresh(tiny_model, 1)
    checkpoint.save(trial, 1, *pair)
    checkpoint.release(trial, 1)
    checkpoint.save(trial, 1, *pair)
    assert (committed_steps(trial), released_steps(trial)) == ([1], [])
    assert checkpoint.load_weights(trial, 1).keys() == pair[0].state_dict().keys()


def test_a_release_that_is_cut_off_anywhere_leaves_whole_weights_or_none_and_is_ended_by_the_same_call(
    tiny_model: ModelConfig, trial: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete, write_json = Folder.delete, Folder.write_json
    for allowed in range(5):  # of four changes: the marker, the manifest, two files
        checkpoint.save(trial, 1, *fresh(tiny_model, 1))
        left = allowed

        def limited(change: Callable[..., None], *arguments: object) -> None:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            change(*arguments)

        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr(Folder, "delete", functools.partialmethod(lambda *given: limited(delete, *given)))
            patch.setattr(Folder, "write_json", functools.partialmethod(lambda *given: limited(write_json, *given)))
            checkpoint.release(trial, 1)
        assert released_steps(trial) == ([1] if allowed else [])
        assert committed_steps(trial) == ([1] if allowed < 2 else [])
        if committed_steps(trial):
            checkpoint.load_weights(trial, 1)
        checkpoint.release(trial, 1)
        assert (trial / CHECKPOINTS / step_name(1)).names() == ["released.json"]


def test_what_is_no_checkpoint_cannot_be_released(trial: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        checkpoint.release(trial, 1)
