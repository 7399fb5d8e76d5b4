"""Published models: which revisions there are, by the Hub stand-in, and fetching them one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.hub import ALWAYS, Hub, Truncated
from tests.hub_content import tiny_model as files_of
from trainables import checkpoint, hub, models, published, tensor_identity
from trainables.config import ModelConfig, PublishedConfig, Revision, trial_from_json
from trainables.models import MODELS
from trainables.published import PYTHIA_STEPS
from trainables.storage import Folder

COMMIT = "c" * 40


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    published._listed.cache_clear()
    models.find.cache_clear()


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the Hub have these branches."""

    def set_branches(*names: str) -> None:
        monkeypatch.setattr(hub, "branches", lambda repo: dict.fromkeys(names, COMMIT))

    return set_branches


def steps_of(model: ModelConfig, *wanted: str) -> list[int]:
    return [one.step for one in published.revisions(model, wanted)]


def find(model: str, *wanted: str) -> PublishedConfig:
    return published.find(models.find(model), wanted, tokens="tokens", seq_len=64)


def test_pythia_has_154_checkpoints_and_the_lacking_ones_are_missing(listed: Callable[..., None]) -> None:
    listed("main", *(f"step{step}" for step in PYTHIA_STEPS if step not in (8, 3000)))
    found = published.revisions(MODELS["pythia-70m"], ("all",))
    assert len(found) == 154
    assert [one.step for one in found] == list(PYTHIA_STEPS)
    assert [one for one in found if one.commit is None] == [
        Revision(8, "step8", None),
        Revision(3000, "step3000", None),
    ]


def test_log_is_every_power_of_two_and_the_last(listed: Callable[..., None]) -> None:
    listed("main", *(f"step{step}" for step in PYTHIA_STEPS))
    thousands = [1000 * 2**k for k in range(8)]
    assert steps_of(MODELS["pythia-70m"], "log") == [0, *(2**k for k in range(10)), *thousands, 143_000]


def test_names_and_main(listed: Callable[..., None]) -> None:
    listed("main", *(f"step{step}" for step in PYTHIA_STEPS))
    assert steps_of(MODELS["pythia-70m"], "step512", "step0") == [0, 512]
    assert published.revisions(MODELS["pythia-70m"], ("main",)) == (Revision(143_000, "main", COMMIT),)
    with pytest.raises(ValueError, match="both are step 143000"):
        published.revisions(MODELS["pythia-70m"], ("main", "step143000"))
    with pytest.raises(ValueError, match="no such revision; near it: step1000"):
        published.revisions(MODELS["pythia-70m"], ("step100",))


def test_other_models_have_the_branches_that_they_have(listed: Callable[..., None]) -> None:
    listed("main", "step1000-tokens4B", "step20000-tokens84B", "stage1-step3000-tokens13B", "refs-pr-1")
    assert steps_of(MODELS["olmo-1b"], "all") == [1000, 3000, 20_000]
    listed("main", "float16")
    published._listed.cache_clear()
    assert published.revisions(MODELS["gpt2"], ("all",)) == (Revision(0, "main", COMMIT, numbered=False),)


@pytest.mark.parametrize(
    ("name", "family", "seed", "init_seed", "data_seed"),
    [
        ("pythia-70m", "pythia-70m", 1234, 1234, 1234),
        ("pythia-70m-seed3", "pythia-70m", 3, 3, 3),
        ("pythia-70m-data-seed2", "pythia-70m-data", 2, 1234, 2),
        ("pythia-70m-weight-seed2", "pythia-70m-weight", 2, 2, 1234),
        ("gpt2", "gpt2", 0, None, None),
    ],
)
def test_seeds_are_in_the_names(
    listed: Callable[..., None], name: str, family: str, seed: int, init_seed: int | None, data_seed: int | None
) -> None:
    listed("main")
    config = find(name, "main")
    assert (config.family, config.seed, config.init_seed, config.data_seed) == (family, seed, init_seed, data_seed)


def test_the_deduplicated_pythias_are_pythias(listed: Callable[..., None]) -> None:
    listed("main")
    model = dataclasses.replace(MODELS["pythia-70m"], name="pythia-70m-deduped")
    assert len(published.revisions(model, ("all",))) == 154
    config = published.find(model, ("main",), tokens="tokens", seq_len=64)
    assert (config.steps, config.seed) == (143_000, 1234)


def test_what_training_cost_is_counted_where_it_is_known(listed: Callable[..., None]) -> None:
    listed("main", "step1000")
    config = find("pythia-70m", "step1000")
    assert config.tokens_at(143_000) == 299_892_736_000
    forward = MODELS["pythia-70m"].n_params_matmul * 2 + 4 * 2048 * MODELS["pythia-70m"].attention_width
    assert config.flops(1000) == 3 * forward * 1000 * 2_097_152 == config.budget_flops
    assert find("olmo-1b", "step1000").tokens_at(1000) == 4_194_304_000
    last = find("olmo-1b", "main")  # of which the branch tells no step
    assert last.steps == 0
    assert last.tokens_at(0) is last.flops(0) is last.budget_flops is None
    assert find("pythia-70m", "main").tokens_at(143_000) == 299_892_736_000
    unknown = find("gpt2", "main")
    assert unknown.tokens_at(1) is unknown.flops(1) is unknown.budget_flops is None


def test_more_revisions_extend_a_trial(listed: Callable[..., None]) -> None:
    listed("main", "step0", "step1")
    first, second = find("pythia-70m", "step0"), find("pythia-70m", "step1", "step2")
    assert first.trial_id == second.trial_id != find("pythia-160m", "step0").trial_id
    merged = second.with_revisions_of(first)
    assert second.beside(first).path == [0, 1]
    assert second.beside(first).trial_id == second.trial_id
    assert merged.checkpoint_steps == [0, 1]
    assert [one.step for one in merged.revisions] == [0, 1, 2]
    assert trial_from_json(merged.to_json()) == merged


def test_a_model_without_published_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="neox-280k: has no published weights"):
        find("neox-280k", "all")


def test_a_folder_is_its_only_checkpoint(tmp_path: Path) -> None:
    for name, content in files_of("gpt_neox", seed=1).items():
        (tmp_path / name).write_bytes(content)
    config = find(str(tmp_path), "all")
    assert [one.name for one in config.revisions] == ["main"]
    trial = Folder.open(tmp_path / "trial")
    published.fetch_checkpoints(config, trial, [0], lambda: None)
    assert checkpoint.committed_steps(trial) == [0]


@pytest.fixture
def repository(hub: Hub) -> Hub:
    for step, seed in ((0, 0), (1, 1), (2, 2)):
        hub.add("lab/tiny", files_of("gpt_neox", seed=seed, shards=2), revision=f"step{step}")
    hub.add("lab/tiny", files_of("gpt_neox", seed=2))
    return hub


def test_branches_are_asked_once_and_offline_are_the_caches(repository: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [one.name for one in find("lab/tiny", "all").revisions] == ["step0", "step1", "step2"]
    asked = len(repository.requests)
    find("lab/tiny", "step1")
    assert len(repository.requests) == asked
    models.fetch_weights(models.find("lab/tiny", "step1"))
    published._listed.cache_clear()
    monkeypatch.setattr(hub, "is_offline", lambda: True)
    assert [one.name for one in find("lab/tiny", "step1").revisions] == ["step1"]
    with pytest.raises(ValueError, match="step0: lab/tiny: is not in the cache"):
        find("lab/tiny", "step0")
    with pytest.raises(hub.HubError, match="name those in the cache"):
        find("lab/tiny", "all")


def test_an_unreachable_hub_is_explained(repository: Hub) -> None:
    models.find("lab/tiny")
    with repository.down(), pytest.raises(hub.HubError, match=r"lab/tiny: .*cannot be reached"):
        find("lab/tiny", "all")


def test_fetching_makes_whole_checkpoints_and_leaves_no_download(repository: Hub, tmp_path: Path) -> None:
    config, trial, waited = find("lab/tiny", "all"), Folder.open(tmp_path / "trial"), []
    published.fetch_checkpoints(config, trial, [0, 2], lambda: waited.append(checkpoint.committed_steps(trial)))
    assert waited == [[], [0]]
    assert not list((hub.cache() / "toposweep").iterdir())
    assert not (hub.cache() / "models--lab--tiny" / "snapshots" / config.at(2).commit).exists()
    for step in (0, 2):
        expected = models.start(models.find("lab/tiny", f"step{step}"), init_seed=0, device="cpu")
        weights = checkpoint.load_weights(trial, step)
        assert all(torch.equal(weights[name], value) for name, value in models.weights_of(expected).items())
        assert step in tensor_identity.recorded_steps(trial)
    sent = repository.sent
    published.fetch_checkpoints(config, trial, [0, 2], lambda: None)
    assert repository.sent == sent


def test_half_precision_stays_half(hub: Hub, tmp_path: Path) -> None:
    model = models.build(MODELS["neox-280k"], init_seed=0).half()
    model.save_pretrained(tmp_path / "model")
    hub.add("lab/half", {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()})
    trial = Folder.open(tmp_path / "trial")
    published.fetch_checkpoints(find("lab/half", "all"), trial, [0], lambda: None)
    weights = checkpoint.load_weights(trial, 0)
    assert all(torch.equal(weights[name], value) for name, value in models.weights_of(model).items())
    assert {value.dtype for value in weights.values()} == {torch.float16}


def test_what_the_cache_has_is_used_and_stays(repository: Hub, tmp_path: Path) -> None:
    cached = models.fetch_weights(models.find("lab/tiny", "step1"))
    sent = repository.sent
    published.fetch_checkpoints(find("lab/tiny", "all"), Folder.open(tmp_path / "trial"), [1], lambda: None)
    assert repository.sent == sent
    assert cached.exists()


def test_a_download_that_fails_goes_on_where_it_was(
    repository: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, trial = find("lab/tiny", "all"), Folder.open(tmp_path / "trial")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client's waits, and ours
    repository.fail("model-00002", Truncated(), ALWAYS, method="GET")
    with pytest.raises(ValueError, match=r"1 revision could not be fetched: step1: lab/tiny at .* cut short"):
        published.fetch_checkpoints(config, trial, [1], lambda: None)
    assert checkpoint.committed_steps(trial) == []
    repository.clear_faults()
    published.fetch_checkpoints(config, trial, [1], lambda: None)
    assert checkpoint.committed_steps(trial) == [1]
    assert len([one for one in repository.downloads("model-00001") if one.sent]) == 1


def test_a_revision_that_cannot_be_had_does_not_stop_the_others(repository: Hub, tmp_path: Path) -> None:
    repository.add("lab/tiny", files_of("gpt_neox", seed=1, pickled=True), revision="step1")
    config, trial = find("lab/tiny", "all"), Folder.open(tmp_path / "trial")
    with pytest.raises(ValueError, match=r"1 revision could not be fetched: step1: .* has no safetensors"):
        published.fetch_checkpoints(config, trial, [0, 1, 2], lambda: None)
    assert checkpoint.committed_steps(trial) == [0, 2]


def test_of_a_hub_that_went_away_few_are_tried(
    repository: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(3, 7):
        repository.add("lab/tiny", files_of("gpt_neox", seed=step), revision=f"step{step}")
    config = find("lab/tiny", "all")
    with repository.down(), pytest.raises(ValueError, match=r"3 revisions could not be fetched: step0: .*; step2: "):
        published.fetch_checkpoints(config, Folder.open(tmp_path / "trial"), range(7), lambda: None)


def test_an_attempt_after_a_killed_one_makes_nothing_again_that_was_measured_and_let_go(
    repository: Hub, tmp_path: Path
) -> None:
    config, trial = find("lab/tiny", "all"), Folder.open(tmp_path / "trial")
    published.fetch_checkpoints(config, trial, [0, 1], lambda: None)
    checkpoint.release(trial, 0)
    sent = repository.sent
    published.fetch_checkpoints(config, trial, [0, 1], lambda: None)
    assert repository.sent == sent
    assert checkpoint.committed_steps(trial) == [1]
