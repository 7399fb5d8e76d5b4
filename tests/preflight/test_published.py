"""Models of the Hub; what users see of them is in tests/test_verify_downloads.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from preflight import published
from preflight.check import Problem
from preflight.published import Target
from tests.hub import Hub
from tests.hub_content import tiny_model, tokenizer_files
from trainables import models
from trainables.models import MODELS


@pytest.fixture(autouse=True)
def ask_anew() -> None:
    models.find.cache_clear()


@pytest.mark.parametrize(
    ("text", "source", "revision", "label"),
    [
        ("pythia-14m", "EleutherAI/pythia-14m", "main", "pythia-14m"),
        ("pythia-14m@step3", "EleutherAI/pythia-14m", "step3", "pythia-14m@step3"),
        ("org/model@refs/pr/1", "org/model", "refs/pr/1", "org/model@refs/pr/1"),
        ("neox-280k", None, "scratch", "neox-280k"),
    ],
)
def test_a_target_is_a_name_and_perhaps_a_revision(text: str, source: str | None, revision: str, label: str) -> None:
    target = Target.of(text)
    assert (target.source, target.revision, target.label) == (source, revision, label)
    assert target.starts_from_weights is target.is_remote is (source is not None)


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "my@model"
    folder.mkdir()
    target = Target.of(str(folder))
    assert (target.source, target.revision, target.is_remote) == (str(folder), "main", False)
    with pytest.raises(Problem, match=r"has no config\.json") as empty:
        published.described(target)
    assert "save_pretrained" in empty.value.mend


def info(**stored: int) -> SimpleNamespace:
    return SimpleNamespace(id="org/model", safetensors=SimpleNamespace(parameters=stored) if stored else None)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("pythia-70m", {"F16": 70_426_630, "U8": 25_165_824}),  # as published: masks as bytes
        ("gpt2", {"F32": 137_022_720}),  # as published: masks as numbers
        ("olmo-1b", {"F32": 1_176_764_416}),
        ("pythia-14m", {}),
    ],
)
def test_what_files_hold_beside_the_weights_is_no_mismatch(name: str, stored: dict[str, int]) -> None:
    assert f"{MODELS[name].n_params_total:,} parameters" in published._parameters(MODELS[name], info(**stored))


def test_another_number_of_parameters_is_another_model() -> None:
    with pytest.raises(Problem, match="org/model holds 70,426,630 parameters, but pythia-14m has 14,067,712"):
        published._parameters(MODELS["pythia-14m"], info(F16=70_426_630, U8=25_165_824))


def test_a_model_that_does_not_fit_into_memory_is_not_loaded(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/model", tiny_model("gpt2"))
    monkeypatch.setattr(published, "available", lambda: 1000)
    with pytest.raises(Problem, match=r"do not fit into the 1\.0 kB of RAM") as large:
        published.computed(Target.of("org/model"), "auto")
    assert "pythia-14m" in large.value.mend
    assert not hub.downloads("safetensors")


def test_weights_that_give_no_number_are_said_to_be_damaged(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/model", tiny_model("gpt_neox", vocabulary=300) | tokenizer_files(300))
    real = models.start

    def damaged(*args: object, **kwargs: object) -> object:
        model = real(*args, **kwargs)  # type: ignore[arg-type]
        next(model.parameters()).data.fill_(float("nan"))
        return model

    monkeypatch.setattr(models, "start", damaged)
    with pytest.raises(Problem, match="a loss of nan") as wrong:
        published.computed(Target.of("org/model"), "auto")
    assert "another revision" in wrong.value.mend


@pytest.mark.parametrize("kind", ["gpt2", "olmo", "llama"])
def test_models_of_every_architecture_compute(hub: Hub, kind: str) -> None:
    hub.add("org/model", tiny_model(kind, vocabulary=300, shards=2) | tokenizer_files(300))
    target = Target.of("org/model")
    assert published.configured(target).startswith(f"{kind}, 2 layers of 16")
    assert "nats/token" in published.computed(target, "auto")


def test_a_folder_is_one_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    for word in ("./mine", "mine", str(tmp_path / "mine")):
        target = published.Target.of(word)
        assert target.source == str(tmp_path / "mine")
        assert not target.is_remote
        assert "config.json 2 B" in published.described(target)
