"""Models are Pythia's, and a seed fixes every weight."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from huggingface_hub import hf_hub_download, snapshot_download
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from transformers import AutoModelForCausalLM

from tests.hub import Hub
from tests.hub_content import tiny_model
from trainables import models
from trainables.config import ModelConfig


def test_a_name_finds_the_model_of_that_name() -> None:
    assert all(name == config.name for name, config in models.MODELS.items())


def test_the_seed_alone_fixes_every_weight(tiny_model: ModelConfig) -> None:
    torch.manual_seed(1)
    first = models.build(tiny_model, init_seed=5).state_dict()
    torch.manual_seed(2)
    second = models.build(tiny_model, init_seed=5).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_changes_every_matrix(tiny_model: ModelConfig) -> None:
    first, second = (dict(models.build(tiny_model, init_seed=seed).named_parameters()) for seed in (5, 6))
    assert not any(torch.equal(first[name], second[name]) for name in first if first[name].ndim > 1)


@pytest.fixture(scope="module")
def wide_model() -> dict[str, torch.Tensor]:
    config = models.gpt_neox("wide", 4, 256, 4, 1000, 16, 1e-3)
    return {name: weight.detach() for name, weight in models.build(config, init_seed=0).named_parameters()}


@pytest.mark.parametrize(
    ("matrix", "std"),
    [
        ("embed_in.weight", math.sqrt(2 / (5 * 256))),
        ("attention.query_key_value.weight", math.sqrt(2 / (5 * 256))),
        ("mlp.dense_h_to_4h.weight", math.sqrt(2 / (5 * 256))),
        ("attention.dense.weight", 2 / (4 * 16)),
        ("mlp.dense_4h_to_h.weight", 2 / (4 * 16)),
    ],
)
def test_matrices_are_drawn_as_pythias(wide_model: dict[str, torch.Tensor], matrix: str, std: float) -> None:
    found = [weight for name, weight in wide_model.items() if name.endswith(matrix)]
    assert found
    for weight in found:  # 65,536 draws and more: six standard errors are 0.017 of the standard deviation
        assert weight.std().item() == pytest.approx(std, rel=0.017)
        assert abs(weight.mean().item()) < 6 * std / math.sqrt(weight.numel())


def test_biases_start_at_zero_and_layer_norms_at_one(wide_model: dict[str, torch.Tensor]) -> None:
    vectors = {name: weight for name, weight in wide_model.items() if weight.ndim == 1}
    assert sum(name.endswith("bias") for name in vectors) == 4 * 6 + 1
    for name, weight in vectors.items():
        assert weight.unique().tolist() == [0.0 if name.endswith("bias") else 1.0]


def test_embeddings_are_not_tied(wide_model: dict[str, torch.Tensor]) -> None:
    big = [weight for weight in wide_model.values() if len(weight) == 1000]
    assert len(big) == 2
    assert not torch.equal(*big)


def test_a_token_does_not_see_what_follows(tiny_model: ModelConfig) -> None:
    model = models.build(tiny_model, init_seed=0).eval()
    block = torch.arange(16)[None]
    other = block.clone()
    other[0, 10:] += 1
    with torch.inference_mode():
        first, second = model(block).logits, model(other).logits
    assert torch.allclose(first[:, :10], second[:, :10], atol=1e-6)
    assert not torch.allclose(first[:, 10:], second[:, 10:], atol=1e-6)


@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_rotary_fraction_reaches_the_model(fraction: float) -> None:
    model = models.build(models.gpt_neox("rotary", 2, 64, 2, 64, 16, 1e-3, rotary_pct=fraction))
    assert model.gpt_neox.rotary_emb.inv_freq.numel() == int(64 // 2 * fraction) // 2


# --- other architectures, and published weights

SHAPES = {
    "gpt_neox": models.gpt_neox("tiny", 2, 32, 2, 300, 32, 1e-3),
    "gpt2": models.gpt2("tiny", 2, 32, 2, 300, 32, 1e-3),
    "olmo": models.olmo("tiny", 2, 32, 2, 300, 32, 1e-3, ffn=80),
}


def test_parameters_of_gpt2_and_olmo_are_the_published() -> None:
    assert models.MODELS["gpt2"].n_params_total == 124_439_808
    assert models.MODELS["olmo-1b"].n_params_total == 1_176_764_416


@pytest.mark.parametrize("name", models.MODELS)
def test_what_is_known_of_a_model_is_what_is_counted_on_it(name: str) -> None:
    """By closed forms in ``MODELS``; by torch, on the meta device, for a configuration from the Hub."""
    known, counted = models.MODELS[name], models._counted(models.MODELS[name])
    for item in ("n_layers", "d_model", "vocab_size", "context", "n_params_total", "n_params_non_embedding"):
        assert getattr(counted, item) == getattr(known, item)
    assert (counted.n_params_matmul, counted.attention_width) == (known.n_params_matmul, known.attention_width)


@pytest.mark.parametrize("kind", SHAPES)
def test_weights_go_out_and_in_whatever_is_tied(kind: str) -> None:
    model = models.build(SHAPES[kind], init_seed=3)
    weights = models.weights_of(model)
    pointers = [weight.data_ptr() for weight in weights.values()]
    assert len(set(pointers)) == len(pointers)  # what shares memory, safetensors refuses
    other = models.build(SHAPES[kind], init_seed=4)
    models.load(other, weights, "here")
    tokens = torch.arange(20)[None]
    assert torch.equal(model(tokens).logits, other(tokens).logits)


@pytest.mark.parametrize("kind", SHAPES)
def test_the_seed_fixes_the_weights_of_every_architecture(kind: str) -> None:
    first, again, other = (models.weights_of(models.build(SHAPES[kind], init_seed=seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_weights_of_another_shape_are_refused_by_name() -> None:
    weights = models.weights_of(models.build(SHAPES["gpt2"]))
    with pytest.raises(ValueError, match=r"here: not the weights of this model: .*gpt_neox.* is missing"):
        models.load(models.build(SHAPES["gpt_neox"]), weights, "here")
    wide = models.weights_of(models.build(models.gpt2("wide", 2, 64, 2, 300, 32, 1e-3)))
    with pytest.raises(ValueError, match=r"has the shape"):
        models.load(models.build(SHAPES["gpt2"]), wide, "here")


@pytest.mark.parametrize("word", ["pythia-70m", "EleutherAI/pythia-70m"])
def test_a_name_and_its_hub_id_are_one_model_and_need_no_hub(word: str, hub: Hub) -> None:
    assert models.find(word) == models.MODELS["pythia-70m"]
    assert not hub.requests


@pytest.mark.parametrize("word", ["pythia-14m-seed3", "pythia-410m-data-seed1", "EleutherAI/pythia-70m-weight-seed2"])
def test_a_polypythia_has_the_shape_of_its_pythia(word: str) -> None:
    name = word.rpartition("/")[2]
    config = models.find(word)
    assert (config.name, config.source) == (name, f"EleutherAI/{name}")
    assert config.settings == models.MODELS["-".join(name.split("-")[:2])].settings


@pytest.mark.parametrize("word", ["pythia-14", "no/such/model", "pythia-14m-seed0", "pythia-1b-seed1"])
def test_an_unknown_word_is_refused(word: str) -> None:
    assert not models.is_known(word)
    with pytest.raises(ValueError, match=f"model={word}: no model of that name"):
        models.find(word)


@pytest.fixture(autouse=True)
def ask_anew() -> None:
    models.find.cache_clear()


@pytest.mark.parametrize("kind", ["gpt_neox", "gpt2", "olmo", "llama"])
@pytest.mark.parametrize("shards", [1, 2])
def test_published_weights_are_those_of_their_revision(hub: Hub, kind: str, shards: int) -> None:
    commits = [hub.add("org/a-model", tiny_model(kind, seed=n, shards=shards), revision=f"step{n}") for n in (1, 2)]
    hub.add("org/a-model", tiny_model(kind))
    for number in (1, 2):
        config = models.find("org/a-model", f"step{number}")
        assert (config.name, config.commit) == (f"a-model@step{number}", commits[number - 1])
        started = models.start(config, init_seed=0, device="cpu")
        folder = snapshot_download("org/a-model", revision=f"step{number}")
        theirs = AutoModelForCausalLM.from_pretrained(folder)
        tokens = torch.arange(20)[None]
        assert torch.allclose(started(tokens).logits, theirs(tokens).logits, atol=1e-6)
        assert sum(weight.numel() for weight in started.parameters()) == config.n_params_total


def test_a_model_of_the_hub_from_scratch_takes_its_shape_alone(hub: Hub) -> None:
    hub.add("org/a-model", tiny_model("llama"))
    config = models.find("org/a-model")
    assert (config.revision, config.commit, config.architecture) == (None, None, "llama")
    assert [request.path.rpartition("/")[2] for request in hub.downloads()] == ["config.json"]
    first, second = (models.weights_of(models.start(config, init_seed=seed, device="cpu")) for seed in (0, 1))
    assert not torch.equal(*(weights["model.layers.0.mlp.up_proj.weight"] for weights in (first, second)))


def test_a_folder_is_a_model_from_scratch_or_from_its_weights(tmp_path: Path) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    for name, content in tiny_model("gpt2", seed=5).items():
        (folder / name).write_bytes(content)
    config = models.find(str(folder), "main")
    assert config.name == "my model@main"
    assert models.find(str(folder)).name == "my model"
    with pytest.raises(ValueError, match="a folder has no revisions"):
        models.find(str(folder), "step3")
    started = models.start(config, init_seed=0, device="cpu")
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(started.transformer.h[0].attn.c_attn.weight, theirs.transformer.h[0].attn.c_attn.weight)


def test_pickled_weights_are_refused_with_the_way_out(hub: Hub) -> None:
    hub.add("org/a-model", tiny_model("gpt_neox", pickled=True))
    config = models.find("org/a-model", "main")
    with pytest.raises(ValueError, match=r"org/a-model at main has no safetensors.*refs/pr/N.*save_pretrained"):
        models.start(config, init_seed=0, device="cpu")
    assert not hub.downloads("pytorch_model.bin")


def test_code_of_a_repository_is_never_run(hub: Hub) -> None:
    files = tiny_model("gpt_neox")
    settings = json.loads(files["config.json"]) | {"auto_map": {"AutoModelForCausalLM": "code.Model"}}
    code = {"code.py": b"raise SystemExit(9)"}
    hub.add("org/a-model", files | code | {"config.json": json.dumps(settings).encode()})
    assert models.start(models.find("org/a-model", "main"), init_seed=0, device="cpu") is not None
    unknown = json.dumps(settings | {"model_type": "of_their_own"}).encode()
    hub.add("org/their-model", files | code | {"config.json": unknown})
    with pytest.raises(ValueError, match="needs code from its repository, which is never run"):
        models.find("org/their-model")
    assert not hub.downloads("code.py")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"junk", "not the configuration"),
        (b"[]", "not the configuration"),
        (b'{"hidden_size": 3}', "not the configuration"),
        (b'{"model_type": "no_such_kind"}', "builds no causal language model"),
        (b'{"model_type": "vit"}', "builds no causal language model"),
    ],
)
def test_what_is_no_language_model_is_refused(hub: Hub, content: bytes, said: str) -> None:
    hub.add("org/a-model", {"config.json": content})
    with pytest.raises(ValueError, match=said):
        models.find("org/a-model")


def test_a_model_without_published_weights_starts_from_scratch_only() -> None:
    with pytest.raises(ValueError, match="neox-280k revision=step3: it has no published weights; use revision=scratch"):
        models.find("neox-280k", "step3")


def save(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_folders_of_different_weights_are_different_starts(tmp_path: Path) -> None:
    """Also where they are named like the Hub's cache, and where one tensor in the middle differs."""
    files = tiny_model("gpt_neox")
    weights = load_safetensors(files["model.safetensors"])
    weights["gpt_neox.layers.1.attention.query_key_value.weight"][3, 4] += 1
    other = files | {"model.safetensors": save_safetensors(weights, {"format": "pt"})}
    first, second = save(tmp_path / "a" / "snapshots" / "m", files), save(tmp_path / "b" / "snapshots" / "m", other)
    assert models.find(str(first), "main").commit != models.find(str(second), "main").commit


def test_a_repository_of_which_the_cache_has_a_part_is_fetched_whole(hub: Hub) -> None:
    files = tiny_model("gpt_neox", shards=2)
    hub.add("org/a-model", files)
    first, *others = sorted(name for name in files if name.endswith(".safetensors"))
    assert others
    for name in ("config.json", "model.safetensors.index.json", first):
        hf_hub_download("org/a-model", name)
    config = models.find("org/a-model", "main")
    assert models.start(config, init_seed=0, device="cpu") is not None


def test_a_folder_does_not_stand_in_for_a_hub_id_of_the_list(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "EleutherAI" / "pythia-14m", tiny_model("gpt_neox"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="EleutherAI/pythia-14m at step3: not found"):
        models.find("pythia-14m", "step3")


def test_there_is_no_dropout_whatever_the_configuration_leaves_out(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", {"config.json": b'{"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2}'})
    model = models.build(models.find(str(folder)))
    assert [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    assert all(module.p == 0 for module in model.modules() if isinstance(module, torch.nn.Dropout))


def test_weights_of_more_layers_than_the_model_has_are_refused(tmp_path: Path) -> None:
    files = tiny_model("gpt_neox")
    settings = json.loads(files["config.json"]) | {"num_hidden_layers": 1}
    folder = save(tmp_path / "m", files | {"config.json": json.dumps(settings).encode()})
    with pytest.raises(ValueError, match=r"unexpected keys gpt_neox\.layers\.1"):
        models.start(models.find(str(folder), "main"), init_seed=0, device="cpu")


@pytest.mark.parametrize("settings", [{"n_head": 0}, {"n_layer": "abc"}, {"n_embd": -4}])
def test_a_configuration_that_cannot_be_is_refused(tmp_path: Path, settings: dict[str, object]) -> None:
    folder = save(tmp_path / "m", {"config.json": json.dumps({"model_type": "gpt2", "n_embd": 16} | settings).encode()})
    with pytest.raises(ValueError, match="model m: transformers builds no causal language model"):
        models.find(str(folder))
