"""One forward pass shows what transformers itself computes, however the sequences are batched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import GPTNeoXForCausalLM

from metrics import probe
from metrics.probe import ATTENTION_SEQUENCES, Observation, ProbeSet, observe
from trainables import models
from trainables.config import ModelConfig

SEQUENCES, TOKENS, POINTS = 21, 12, 50


@pytest.fixture(scope="module")
def model(tiny_model: ModelConfig) -> GPTNeoXForCausalLM:
    return models.build(tiny_model, init_seed=0)


@pytest.fixture(scope="module")
def probe_set() -> ProbeSet:
    blocks = np.random.default_rng(0).integers(0, 300, size=(SEQUENCES, TOKENS + 1)).astype(np.uint16)
    return ProbeSet.of(blocks, ("a",) * SEQUENCES, np.arange(300), n_points=POINTS)


@pytest.fixture(scope="module")
def observation(model: GPTNeoXForCausalLM, probe_set: ProbeSet) -> Observation:
    return observe(model, probe_set)


def test_points_are_a_seeded_sample_without_repetition(probe_set: ProbeSet) -> None:
    assert len(set(probe_set.points.tolist())) == POINTS
    assert set(probe_set.points.tolist()) <= set(range(SEQUENCES * TOKENS))
    again, other = (
        ProbeSet.of(probe_set.blocks, probe_set.domains, np.arange(300), n_points=POINTS, seed=seed) for seed in (0, 1)
    )
    assert np.array_equal(again.points, probe_set.points)
    assert not np.array_equal(other.points, probe_set.points)


def test_more_points_than_there_are_positions_means_all(probe_set: ProbeSet) -> None:
    every = ProbeSet.of(probe_set.blocks, probe_set.domains, np.arange(300), n_points=10**6)
    assert every.points.tolist() == list(range(SEQUENCES * TOKENS))


def test_target_bytes_are_those_of_the_next_tokens(probe_set: ProbeSet) -> None:
    assert np.array_equal(probe_set.target_bytes, probe_set.blocks[:, 1:])  # token k stands for k bytes here


def test_the_loss_is_what_transformers_computes(
    model: GPTNeoXForCausalLM, probe_set: ProbeSet, observation: Observation
) -> None:
    block = torch.from_numpy(probe_set.blocks.astype(np.int64))
    with torch.inference_mode():
        expected = [model(input_ids=row[None], labels=row[None]).loss.item() for row in block]
    assert observation.loss.shape == (SEQUENCES, TOKENS)
    assert observation.loss.dtype == np.float64
    assert observation.loss.mean(axis=1) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_each_target_is_in_its_place(
    model: GPTNeoXForCausalLM, probe_set: ProbeSet, observation: Observation
) -> None:
    sequence, position = SEQUENCES - 2, 7
    prefix = torch.from_numpy(probe_set.blocks[sequence, : position + 1].astype(np.int64))
    with torch.inference_mode():
        log_probabilities = model(input_ids=prefix[None]).logits[0, -1].log_softmax(-1)
    expected = -log_probabilities[int(probe_set.blocks[sequence, position + 1])].item()
    assert observation.loss[sequence, position] == pytest.approx(expected, rel=1e-5)


def test_the_clouds_are_the_residual_stream_at_the_points(
    model: GPTNeoXForCausalLM, probe_set: ProbeSet, observation: Observation
) -> None:
    """transformers' own hidden states, but for the last, which it normalises: the norm of ours is its."""
    assert observation.hidden_states.shape == (3, POINTS, 16)
    for place in (0, 17, POINTS - 1):
        sequence, position = divmod(int(probe_set.points[place]), TOKENS)
        row = torch.from_numpy(probe_set.blocks[sequence, :-1].astype(np.int64))
        last = torch.from_numpy(observation.hidden_states[-1, place]).float()
        with torch.inference_mode():
            *before, normalised = model(input_ids=row[None], output_hidden_states=True).hidden_states
            assert model.base_model.final_layer_norm(last).numpy() == pytest.approx(normalised[0, position], abs=1e-5)
        assert last.numpy() != pytest.approx(normalised[0, position].numpy(), abs=1e-2)
        for layer, state in enumerate(before):
            assert observation.hidden_states[layer, place] == pytest.approx(state[0, position].numpy(), abs=1e-5)


def test_observing_leaves_no_hook_on_the_model(model: GPTNeoXForCausalLM, probe_set: ProbeSet) -> None:
    def hooks() -> int:
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())

    before = hooks()  # transformers has some of its own
    observe(model, probe_set)
    assert hooks() == before


def test_attention_is_what_transformers_shows(
    tiny_model: ModelConfig, probe_set: ProbeSet, observation: Observation
) -> None:
    """Of each of the first sequences by itself, by a model that is eager from the start."""
    eager = models.build(tiny_model, init_seed=0).eval()
    eager.set_attn_implementation("eager")
    assert observation.attention.shape == (2, ATTENTION_SEQUENCES, 2, TOKENS, TOKENS)
    assert observation.attention.dtype == np.float32
    for place in range(ATTENTION_SEQUENCES):
        row = torch.from_numpy(probe_set.blocks[place, :-1].astype(np.int64))
        with torch.inference_mode():
            expected = eager(input_ids=row[None], output_attentions=True).attentions
        for layer, heads in enumerate(expected):
            assert observation.attention[layer, place] == pytest.approx(heads[0].numpy(), abs=1e-6)


def test_attention_is_causal_and_its_rows_sum_to_1(observation: Observation) -> None:
    later = np.triu(np.ones((TOKENS, TOKENS), dtype=bool), 1)
    assert not observation.attention[..., later].any()
    assert (observation.attention >= 0).all()
    assert observation.attention.sum(axis=-1) == pytest.approx(1, abs=1e-6)


def test_attention_of_the_first_tokens_does_not_depend_on_the_later(
    model: GPTNeoXForCausalLM, probe_set: ProbeSet, observation: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "ATTENTION_SEQUENCES", 2)
    monkeypatch.setattr(probe, "ATTENTION_TOKENS", 5)
    attention = observe(model, probe_set).attention
    assert attention.shape == (2, 2, 2, 5, 5)
    assert attention == pytest.approx(observation.attention[:, :2, :, :5, :5], abs=1e-6)


def test_fewer_sequences_than_are_asked_for_are_all_shown(model: GPTNeoXForCausalLM, probe_set: ProbeSet) -> None:
    few = ProbeSet.of(probe_set.blocks[:2], ("a",) * 2, np.arange(300), n_points=5)
    assert observe(model, few).attention.shape == (2, 2, 2, TOKENS, TOKENS)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_observing_leaves_the_attention_implementation_as_it_was(
    tiny_model: ModelConfig, probe_set: ProbeSet, implementation: str
) -> None:
    model = models.build(tiny_model, init_seed=0)
    model.set_attn_implementation(implementation)
    observe(model, probe_set)
    assert model.config._attn_implementation == implementation


def test_the_attention_implementation_is_restored_where_observing_fails(
    tiny_model: ModelConfig, probe_set: ProbeSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.build(tiny_model, init_seed=0)
    before = model.config._attn_implementation

    def failing(*_: object, **asked: object) -> object:
        if "output_attentions" in asked:
            raise MemoryError
        return forward(*_, **asked)

    forward = model.base_model.forward
    monkeypatch.setattr(model.base_model, "forward", failing)
    with pytest.raises(MemoryError):
        observe(model, probe_set)
    assert model.config._attn_implementation == before != "eager"


def test_layer_0_is_the_embeddings(model: GPTNeoXForCausalLM, probe_set: ProbeSet, observation: Observation) -> None:
    tokens = probe_set.blocks[:, :-1].ravel()[probe_set.points]
    embeddings = model.get_input_embeddings().weight.detach().numpy()
    assert np.array_equal(observation.hidden_states[0], embeddings[tokens].astype(np.float64))


@pytest.mark.parametrize("batch", [1, 7, 21, 100])
def test_the_batch_size_changes_nothing(
    model: GPTNeoXForCausalLM,
    probe_set: ProbeSet,
    observation: Observation,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
) -> None:
    monkeypatch.setattr(probe, "SEQUENCES_PER_BATCH", batch)
    other = observe(model, probe_set)
    assert other.loss == pytest.approx(observation.loss, rel=1e-5)
    assert other.hidden_states == pytest.approx(observation.hidden_states, abs=1e-5)


def test_a_large_vocabulary_goes_in_smaller_batches(
    model: GPTNeoXForCausalLM, probe_set: ProbeSet, observation: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    embeddings = model.get_input_embeddings()
    hook = embeddings.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    monkeypatch.setattr(probe, "LOGITS_PER_BATCH", 3 * TOKENS * model.config.vocab_size)
    other = observe(model, probe_set)
    hook.remove()
    assert other.loss == pytest.approx(observation.loss, rel=1e-5)
    *batches, attention = sizes
    assert max(batches) == 3
    assert sum(batches) == SEQUENCES
    assert attention == ATTENTION_SEQUENCES


def test_the_weights_are_all_parameters_by_name(model: GPTNeoXForCausalLM, observation: Observation) -> None:
    expected = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    assert observation.weights.keys() == expected.keys()
    assert all(np.array_equal(observation.weights[name], expected[name]) for name in expected)
