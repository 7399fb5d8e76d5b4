"""A sweep over published checkpoints on the Hub stand-in, with a planted fault of each known kind."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import sweep
from metrics.measure import probe_set
from metrics.probe import observe
from orchestrator.retention import AHEAD
from orchestrator.store import Store
from tests.hub import Hub
from tests.hub_content import tiny_model as files_of
from trainables import checkpoint, models, published
from trainables.models import MODELS
from trainables.storage import Folder
from trainables.token_store import TokenStore

SETTINGS = ["model=lab/tiny", "corpus=embedded", "tokenizer=bpe", "seq_len=32", "probe_sequences=8", "probe_points=24"]
STEPS = (0, 1, 2, 4, 8, 16, 32, 64)
METRICS = "metrics=held_out,linear_cka"
SHAPE = {"vocabulary": 1024, "length": 64}


def run(store: Path, *overrides: str) -> int:
    return sweep.main(["run", "public_checkpoints", *SETTINGS, *overrides, "--store", str(store)])


def planted() -> dict[int, dict[str, bytes]]:
    """Step 0 is step 1, step 4 the last, step 8 half the last; step 64 is missing."""
    files = {step: files_of("gpt_neox", seed=seed, shards=2, **SHAPE) for seed, step in enumerate((1, 2, 8, 16, 32))}
    shard = next(name for name in sorted(files[32]) if name.endswith(".safetensors"))
    return files | {0: files[1], 4: files[32], 8: {**files[8], shard: files[32][shard]}}


@pytest.fixture(scope="module")
def repository(hub_of_module: Hub) -> Iterator[Hub]:
    files = planted()
    for step, content in files.items():
        hub_of_module.add("lab/tiny", content, revision=f"step{step}")
    hub_of_module.add("lab/tiny", files[32])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "PYTHIA_STEPS", STEPS)
        patch.setattr(published, "_is_pythia", lambda name: name == "tiny")
        published._listed.cache_clear()
        yield hub_of_module
    published._listed.cache_clear()
    models.find.cache_clear()


@pytest.fixture(scope="module")
def swept(ray_session: None, repository: Hub, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep. Read only."""
    path = tmp_path_factory.mktemp("public") / "store"
    assert run(path, METRICS) == 0
    return path


@pytest.fixture
def copy(swept: Path, tmp_path: Path) -> Path:
    shutil.copytree(swept.parent / "tokens", tmp_path / "tokens")
    return Path(shutil.copytree(swept, tmp_path / "store"))


def trial_of(path: Path) -> Folder:
    store = Store.existing(str(path))
    (trial_id,) = store.trial_ids()
    return store.trial(trial_id)


def test_every_revision_is_measured_as_its_model_is(swept: Path) -> None:
    frame = pd.read_parquet(swept / "results.parquet")
    losses = frame[frame["metric"] == "held_out_loss"].set_index("step")["value"]
    assert sorted(losses.index) == list(STEPS[:-1])
    tokens = TokenStore.open(Folder.open(next((swept.parent / "tokens").glob("*/tokens.json")).parent))
    model = models.start(models.find("lab/tiny", "step16"), init_seed=0, device="cpu")
    observation = observe(model, probe_set(tokens, n_sequences=8, n_points=24))
    assert losses[16] == observation.loss.mean()
    assert losses[0] == losses[1]
    pairs = frame[frame["metric"] == "linear_cka/across_steps"]
    assert set(zip(pairs["other_step"], pairs["step"], strict=True)) == set(itertools.pairwise(STEPS[:-1]))
    assert set(frame["tokens"].dropna()) == {step * 2**21 for step in STEPS}
    assert set(frame["revision"]) == {f"step{step}" for step in STEPS}


def test_each_fault_is_in_results_report_and_table(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.read_parquet(swept / "results.parquet")
    pairs = frame["other_step"].notna()
    flagged = frame[~pairs].dropna(subset="fault").groupby("step")["fault"].unique().map(list).to_dict()
    assert flagged == {0: ["identical"], 1: ["identical"], 4: ["identical"], 8: ["mixed"], 64: ["missing"]}
    assert set(frame[pairs & frame["fault"].isna()]["step"]) == {32}  # of all others one of the two has a fault
    missing = frame[frame["step"] == 64]
    assert missing["value"].isna().all()
    assert missing["reason"].tolist() == ["lab/tiny has no revision step64"]
    assert sweep.main(["report", str(swept)]) == 0
    said = capsys.readouterr().out
    lines = (
        "tiny: identical at step 0, 1, 4 (step 0: all 10 matrices are those of step 1)",
        "tiny: mixed at step 8 (step 8: 5 of 10 matrices are those of steps 32, 4)",
        "tiny: missing at step 64 (step 64: lab/tiny has no revision step64)",
    )
    page = (swept / "report.html").read_text()
    for line in lines:
        assert f"fault    {line}" in said
        assert line in page
    assert "with a fault" in page  # the legend of the crosses


def test_downloads_go_on_while_others_are_measured_and_nothing_stays(swept: Path) -> None:
    trial = trial_of(swept)
    assert checkpoint.committed_steps(trial) == []
    assert not list(swept.rglob("*.safetensors.tmp*"))
    root, steps = Path(trial.path), STEPS[:-1]
    fetched = {step: os.path.getmtime(root / "tensors" / f"step-{step:08d}.json") for step in steps}
    gone = {step: os.path.getmtime(root / "checkpoints" / f"step-{step:08d}" / "released.json") for step in steps}
    assert any(fetched[later] < gone[earlier] for earlier, later in itertools.pairwise(steps))
    for place, step in enumerate(steps):  # of the earlier ones, what was still there when it had been fetched
        assert sum(gone[earlier] > fetched[step] for earlier in steps[:place]) < AHEAD


def test_again_it_does_nothing(swept: Path, repository: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    before = repository.sent
    assert run(swept, METRICS) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert repository.sent == before


def test_a_new_metric_fetches_again_what_was_released(copy: Path, repository: Hub) -> None:
    before = pd.read_parquet(copy / "results.parquet")
    wider = "metrics=held_out,linear_cka,parameter_norm,weight_trajectory_dimension"
    assert run(copy, wider, "checkpoints=step2,step16") == 0
    after = pd.read_parquet(copy / "results.parquet")
    assert sorted(after[after["metric"] == "parameter_norm"]["step"]) == [2, 16]
    assert "weight_trajectory_dimension" not in set(after["metric"])  # it is of all checkpoints, never of a part
    kept = after[after["metric"] != "parameter_norm"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, before, check_dtype=False)  # 2 and 16 are no neighbours
    assert checkpoint.committed_steps(trial_of(copy)) == []
    shutil.rmtree(Path(trial_of(copy).path) / "traces")  # then they are fetched for their traces alone
    assert run(copy, "metrics=held_out,linear_cka,weight_trajectory_dimension") == 0
    assert checkpoint.committed_steps(trial_of(copy)) == []
    after = pd.read_parquet(copy / "results.parquet")
    path = after[after["metric"] == "weight_trajectory_dimension"]
    assert (path["step"].tolist(), path["fault"].tolist()) == ([32], ["identical"])
    assert "5 different snapshots" in path["reason"].item()  # of 7, of which two pairs are alike


def test_a_checkpoint_that_cannot_be_observed_makes_room_all_the_same(
    copy: Path, repository: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    """What fails is named, stops nothing, and is to be fetched again by the next run."""
    store = Store.existing(str(copy))
    (trial_id,) = store.trial_ids()
    for name in ("measurements", "traces"):
        shutil.rmtree(copy / "trials" / trial_id / name)
    (part,) = (copy.parent / "tokens").glob("*/validation-*.parquet")
    whole = part.read_bytes()
    part.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # no probe set, so no evaluator can observe anything
    assert run(copy, METRICS) == 1
    assert "held_out, linear_cka: CorruptFileError" in capsys.readouterr().err
    assert checkpoint.committed_steps(trial_of(copy)) == []
    part.write_bytes(whole)
    assert sweep.main(["status", str(copy)]) == 1
    assert "held_out (failed) x 7" in " ".join(capsys.readouterr().out.split())


def test_a_moved_branch_is_refused(copy: Path, repository: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    commit = repository.repositories["model", "lab/tiny"].branches["step2"]
    repository.add("lab/tiny", files_of("gpt_neox", seed=99, **SHAPE), revision="step2")
    published._listed.cache_clear()
    assert run(copy, METRICS) == 2
    assert "step 2 of tiny was step2 at" in capsys.readouterr().err
    repository.repositories["model", "lab/tiny"].branches["step2"] = commit
    published._listed.cache_clear()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seeds=0,1", "give seeds=none"),
        ("budgets=5steps", "give budgets=none"),
        ("revision=step1000", "checkpoints= what is measured"),
        ("model=neox-280k", "has no published weights"),
        ("checkpoints=step3", "no such revision; near it"),
        ("seq_len=65", "tiny has a context of 64 tokens"),
    ],
)
def test_what_cannot_be_is_said(
    repository: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, said: str
) -> None:
    arguments = [word for word in SETTINGS if word.partition("=")[0] != override.partition("=")[0]]
    code = sweep.main(["plan", "public_checkpoints", *arguments, override, "--store", str(tmp_path / "store")])
    assert code == 2
    assert said in capsys.readouterr().err


def test_a_trained_sweep_needs_its_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(["plan", "quickstart", "keep=none", "--store", str(tmp_path / "store")]) == 2
    assert "give keep=last:1" in capsys.readouterr().err


def test_the_space_is_pythia_14m_and_its_seeds() -> None:
    from search_spaces.public_checkpoints import search_space

    names = search_space().model
    assert len(names) == 10
    assert {published._seeds(name)[0] for name in names} == {"pythia-14m"}
    assert all(models.known(name) is not None for name in names)
    assert MODELS["pythia-14m"].source == "EleutherAI/pythia-14m"
