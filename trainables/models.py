"""Models by name, and how one is built: from scratch, or with published weights. Adding a model is one line of
``MODELS``; any other causal language model is found by its Hub id or folder, from its ``config.json``."""

from __future__ import annotations

import functools
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables import hub
from trainables.config import ModelConfig

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def gpt_neox(
    name: str,
    n_layers: int,
    d: int,
    n_heads: int,
    vocab_size: int,
    context: int,
    learning_rate: float,
    source: str | None = None,
    rotary_pct: float = 0.25,
) -> ModelConfig:
    """Pythia's architecture (Biderman et al. 2023): parallel residual, partly rotary, untied embeddings, MLP of 4 d."""
    non_embedding = n_layers * (12 * d**2 + 13 * d) + 2 * d
    settings = {
        "hidden_size": d,
        "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads,
        "intermediate_size": 4 * d,
        "vocab_size": vocab_size,
        "max_position_embeddings": context,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": rotary_pct},
        "use_parallel_residual": True,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    total, matmul = non_embedding + 2 * vocab_size * d, 12 * n_layers * d**2 + vocab_size * d
    shape, counts = (n_layers, d, vocab_size, context), (total, non_embedding, matmul, n_layers * d)
    return ModelConfig(name, "gpt_neox", settings, *shape, *counts, learning_rate, source)


def gpt2(
    name: str,
    n_layers: int,
    d: int,
    n_heads: int,
    vocab_size: int,
    context: int,
    learning_rate: float,
    source: str | None = None,
) -> ModelConfig:
    """GPT-2 (Radford et al. 2019): learned positions, tied embeddings."""
    non_embedding = n_layers * (12 * d**2 + 13 * d) + 2 * d
    settings = {
        "n_embd": d,
        "n_layer": n_layers,
        "n_head": n_heads,
        "vocab_size": vocab_size,
        "n_positions": context,
        "tie_word_embeddings": True,
        "bos_token_id": vocab_size - 1,
        "eos_token_id": vocab_size - 1,
    }
    total, matmul = non_embedding + (vocab_size + context) * d, 12 * n_layers * d**2 + vocab_size * d
    shape, counts = (n_layers, d, vocab_size, context), (total, non_embedding, matmul, n_layers * d)
    return ModelConfig(name, "gpt2", settings, *shape, *counts, learning_rate, source)


def olmo(
    name: str,
    n_layers: int,
    d: int,
    n_heads: int,
    vocab_size: int,
    context: int,
    learning_rate: float,
    source: str | None = None,
    ffn: int = 8192,
) -> ModelConfig:
    """OLMo (Groeneveld et al. 2024): rotary, gated MLP, layer norms without parameters; the 1B's tied embeddings."""
    non_embedding = n_layers * (4 * d**2 + 3 * d * ffn)
    settings = {
        "hidden_size": d,
        "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads,
        "intermediate_size": ffn,
        "vocab_size": vocab_size,
        "max_position_embeddings": context,
        "tie_word_embeddings": True,
    }
    total, matmul = non_embedding + vocab_size * d, non_embedding + vocab_size * d
    shape, counts = (n_layers, d, vocab_size, context), (total, non_embedding, matmul, n_layers * d)
    return ModelConfig(name, "olmo", settings, *shape, *counts, learning_rate, source)


# name, layers, d, heads, vocabulary, context, learning rate, Hub id. Pythia: Biderman et al. 2023 and the published
# configurations; gpt2: Brown et al. 2020's rate for that size; OLMo: Groeneveld et al. 2024.
MODELS = {
    config.name: config
    for config in (
        gpt_neox("neox-40k", 3, 16, 2, 1024, 128, 3e-3),  # the quickstart's, of other widths
        gpt_neox("neox-100k", 3, 32, 2, 1024, 128, 3e-3),
        gpt_neox("neox-280k", 3, 64, 4, 1024, 128, 3e-3),  # the quickstart's: seconds a trial on one core
        gpt_neox("neox-530k", 3, 96, 6, 1024, 128, 3e-3),
        gpt_neox("neox-860k", 3, 128, 8, 1024, 128, 3e-3),
        gpt_neox("pythia-14m", 6, 128, 4, 50304, 2048, 1e-3, "EleutherAI/pythia-14m"),
        gpt_neox("pythia-31m", 6, 256, 8, 50304, 2048, 1e-3, "EleutherAI/pythia-31m"),
        gpt_neox("pythia-70m", 6, 512, 8, 50304, 2048, 1e-3, "EleutherAI/pythia-70m"),
        gpt_neox("pythia-160m", 12, 768, 12, 50304, 2048, 6e-4, "EleutherAI/pythia-160m"),
        gpt_neox("pythia-410m", 24, 1024, 16, 50304, 2048, 3e-4, "EleutherAI/pythia-410m"),
        gpt_neox("pythia-1b", 16, 2048, 8, 50304, 2048, 2.5e-4, "EleutherAI/pythia-1b"),
        gpt_neox("pythia-1.4b", 24, 2048, 16, 50304, 2048, 2e-4, "EleutherAI/pythia-1.4b"),
        gpt_neox("pythia-2.8b", 32, 2560, 32, 50304, 2048, 1.6e-4, "EleutherAI/pythia-2.8b"),
        gpt_neox("pythia-6.9b", 32, 4096, 32, 50432, 2048, 1.2e-4, "EleutherAI/pythia-6.9b"),
        gpt_neox("pythia-12b", 36, 5120, 40, 50688, 2048, 1.2e-4, "EleutherAI/pythia-12b"),
        gpt2("gpt2-tiny", 2, 128, 2, 1000, 256, 1e-3),
        gpt2("gpt2", 12, 768, 12, 50257, 1024, 6e-4, "openai-community/gpt2"),
        olmo("olmo-1b", 16, 2048, 16, 50304, 2048, 4e-4, "allenai/OLMo-1B-hf"),
    )
}
# van der Wal et al. 2025: further seeds of five Pythias, some of the data order or the initialisation alone
POLYPYTHIAS = re.compile(r"(pythia-(?:14m|31m|70m|160m|410m))-(?:data-|weight-)?seed[1-9]")
FROM_SCRATCH = "scratch"
CONFIG, WEIGHTS = "config.json", ("*.safetensors", "*.safetensors.index.json")
_BUFFER = re.compile(r"(attention|attn)\.(masked_)?bias$|rotary_emb\.inv_freq$")  # what older versions saved, too
# fields of a configuration that change no number of a model in float32, or do so only in generation
_NOT_SETTINGS = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache")


@functools.cache
def find(word: str, revision: str = FROM_SCRATCH) -> ModelConfig:
    """A model by its name in ``MODELS``, a PolyPythia's, a folder, or a Hub id; to be trained from ``revision``.

    Asks the Hub (or its cache) for the configuration of a model that is not in ``MODELS``, and for what a revision
    stands for. Raises ValueError for one that is unknown, and a :class:`trainables.hub.HubError`, which is one, where
    it cannot be had.
    """
    config = known(word) or published(word, "main" if revision == FROM_SCRATCH else revision)
    if revision == FROM_SCRATCH:
        return config
    if config.source is None:
        raise ValueError(f"model={word} revision={revision}: it has no published weights; use revision={FROM_SCRATCH}")
    if hub.is_own(config.source) and revision != "main":
        raise ValueError(f"model={word} revision={revision}: a folder has no revisions; revision=main is its weights")
    folder = hub.fetch(config.source, (CONFIG,), revision, whole=_has_config)
    commit = hub.commit(folder, WEIGHTS)
    return replace(config, name=f"{config.name}@{revision}", revision=revision, commit=commit)


def _has_config(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def _has_weights(folder: Path) -> bool:
    """Whether all safetensors are there that an index names, or the only one."""
    indexes = sorted(folder.glob(WEIGHTS[1]))
    if not indexes:
        return any(folder.glob(WEIGHTS[0]))
    try:
        named = {name for path in indexes for name in json.loads(path.read_text())["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return all((folder / name).is_file() for name in named)


def is_known(word: str) -> bool:
    """Whether :func:`find` can take ``word``, as far as that can be told without asking the Hub."""
    return known(word) is not None or hub.local(word) is not None or hub.is_repo_id(word)


def known(word: str) -> ModelConfig | None:
    """A model of ``MODELS`` or a PolyPythia, by its name or its Hub id."""
    of_source = {config.source: config for config in MODELS.values() if config.source}
    owner, _, short = word.rpartition("/")
    if seeds := POLYPYTHIAS.fullmatch(short if owner == "EleutherAI" else word):
        return replace(MODELS[seeds[1]], name=seeds[0], source=f"EleutherAI/{seeds[0]}")
    return MODELS.get(word) or (of_source | {"gpt2": MODELS["gpt2"]}).get(word)


def published(word: str, revision: str) -> ModelConfig:
    """Any causal language model of ``transformers`` by its ``config.json``; parameters and FLOPs are counted on it."""
    if not is_known(word):
        raise ValueError(f"model={word}: no model of that name, no folder, and no Hub id (owner/name)")
    own = hub.local(word)
    source = str(own) if own else word
    path = hub.fetch(source, (CONFIG,), revision, whole=_has_config) / CONFIG
    try:
        settings = json.loads(path.read_text())
        architecture = settings.pop("model_type")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"model={word}: {path} is not the configuration of a transformers model ({error!r}); fetch it anew"
        ) from error
    if settings.pop("auto_map", None) and not _is_native(architecture):
        raise ValueError(
            f"model={word}: needs code from its repository, which is never run; use a model without auto_map"
        )
    settings = {key: value for key, value in settings.items() if key not in _NOT_SETTINGS}
    name = own.name if own else word.rpartition("/")[2]
    return _counted(ModelConfig(name, architecture, settings, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, source))


def _is_native(architecture: str) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return architecture in CONFIG_MAPPING


def _counted(config: ModelConfig) -> ModelConfig:
    """What of the model follows from its settings, counted on the meta device: no memory, whatever its size."""
    model = build(config, device="meta")
    try:
        matmul, attention = _forward_flops(model)
    except Exception as error:  # whatever its own code raises on shapes alone
        raise ValueError(f"model {config.name}: its FLOPs cannot be counted ({error})") from error
    text = model.config.get_text_config()
    embeddings = {id(module.weight): module.weight.numel() for module in _embeddings(model)}
    total = sum(weight.numel() for weight in model.parameters())
    config = replace(
        config,
        n_layers=text.num_hidden_layers,
        d_model=text.hidden_size,
        vocab_size=text.vocab_size,
        context=getattr(text, "max_position_embeddings", None) or 2**31,
        n_params_total=total,
        n_params_non_embedding=total - sum(embeddings.values()),
        n_params_matmul=matmul // 2,
        attention_width=attention // 4,
    )
    for name in ("n_layers", "d_model", "vocab_size", "context"):
        if getattr(config, name) < 1:
            raise ValueError(f"model {config.name}: {CONFIG} says {name}={getattr(config, name)}; it must be positive")
    nearest = min(
        (known for known in MODELS.values() if known.name.startswith("pythia")),
        key=lambda known: abs(math.log(known.n_params_non_embedding / max(1, config.n_params_non_embedding))),
    )
    return replace(config, learning_rate=nearest.learning_rate)


def _embeddings(model: PreTrainedModel) -> list[Any]:
    """Token and position embeddings, and the output head."""
    import torch

    found = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    return [*found, model.get_output_embeddings()]


def _forward_flops(model: PreTrainedModel) -> tuple[int, int]:
    """(a, b) of the forward FLOPs of a token in a sequence of T: a + b T, by torch's counter at two lengths."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model.set_attn_implementation("eager")
    per_token = []
    for length in (16, 32):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            tokens, mask = torch.zeros(1, length, dtype=torch.long), torch.zeros(1, 1, length, length)
            model(input_ids=tokens.to("meta"), attention_mask=mask.to("meta"))  # made from tokens, a mask needs values
        per_token.append(counter.get_total_flops() // length)
    slope = (per_token[1] - per_token[0]) // 16
    return per_token[0] - 16 * slope, slope


def build(model: str | ModelConfig, *, init_seed: int | None = None, device: str = "cpu") -> PreTrainedModel:
    """An untrained causal language model, float32; a name as :func:`find` takes it.

    ``init_seed`` draws the initialisation on the CPU, so that it does not depend on the device: GPT-NeoX's as Pythia's,
    others as ``transformers`` does. Without it the weights are whatever the library's constructor leaves (to be
    overwritten by a checkpoint, or ``device="meta"``).
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = find(model) if isinstance(model, str) else model
    try:
        settings = _settings(config)
        with torch.device("meta" if device == "meta" else "cpu"), torch.random.fork_rng(devices=[]):
            torch.manual_seed(init_seed or 0)
            built = AutoModelForCausalLM.from_config(settings, dtype=torch.float32, trust_remote_code=False)
    except Exception as error:  # a configuration can be wrong in as many ways as there are architectures
        raise ValueError(
            f"model {config.name}: transformers builds no causal language model of it ({error})"
        ) from error
    if device == "meta":
        return built
    if init_seed is not None and config.architecture == "gpt_neox":
        initialize(built, init_seed)
    return built.to(device)


def initialize(model: PreTrainedModel, seed: int) -> None:
    """Draw the weights in place as GPT-NeoX does for Pythia.

    Small init (Nguyen & Salazar 2019): normal with std sqrt(2 / 5d); the matrices that write into the residual stream
    use Wang init: std 2 / (L sqrt d). Biases 0, layer norms 1.
    """
    import torch

    d, n_layers = model.config.hidden_size, model.config.num_hidden_layers
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.fill_(1.0 if "layer_norm" in name or "layernorm" in name else 0.0)
                if name.endswith("bias"):
                    weight.zero_()
                continue
            residual = name.endswith(("attention.dense.weight", "mlp.dense_4h_to_h.weight"))
            std = 2 / (n_layers * math.sqrt(d)) if residual else math.sqrt(2 / (5 * d))
            weight.normal_(0.0, std, generator=generator)


def fetch_weights(config: ModelConfig, into: Path | None = None) -> Path:
    """The folder with a published model's safetensors, downloaded (``into`` a cache of its own) where they are not in
    the cache.

    Raises HubError, also for a repository that has only pickled weights.
    """
    assert config.source is not None, "only a model with a source has published weights"
    commit = None if hub.is_own(config.source) else config.commit
    folder = hub.fetch(config.source, (CONFIG, *WEIGHTS), commit, whole=_has_weights, into=into)
    if not any(folder.glob(WEIGHTS[0])):
        raise only_pickled(f"model {config.name}: {config.source} at {config.revision}")
    return folder


def only_pickled(what: str) -> hub.HubError:
    return hub.HubError(
        f"{what} has no safetensors, only weights in formats that can run code when they are read; choose a revision "
        "that has them, or one that https://huggingface.co/spaces/safetensors/convert makes (refs/pr/N), or convert "
        "them where you trust them (save_pretrained) and give the folder as model="
    )


def start(config: ModelConfig, *, init_seed: int, device: str) -> PreTrainedModel:
    """The module that a trial starts from: untrained, or with the weights of the published checkpoint, float32.

    Raises HubError where these cannot be had, ValueError where they are not those of this model.
    """
    if config.revision is None:
        return build(config, init_seed=init_seed, device=device)
    return load_published(config, fetch_weights(config), "float32").to(device)


def load_published(config: ModelConfig, folder: Path, dtype: str = "auto") -> PreTrainedModel:
    """The model with the weights in a folder that :func:`fetch_weights` gave; ``auto``: in the precision they have.

    Raises ValueError where they cannot be read, or are not those of this model.
    """
    from transformers import AutoModelForCausalLM

    origin = f"{config.source} at {config.revision}"
    try:
        model, found = AutoModelForCausalLM.from_pretrained(  # it knows the names that parameters had in older versions
            folder,
            config=_settings(config),
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # safetensors raises its own for a damaged file
        raise ValueError(f"{origin}: the weights in {folder} cannot be loaded ({error})") from error
    for what in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if names := sorted(str(name) for name in found[what] if not _BUFFER.search(str(name))):
            raise ValueError(f"{origin}: not the weights of this model: {what.replace('_', ' ')} {names[0]}")
    loaded: PreTrainedModel = model
    return loaded


def _settings(config: ModelConfig) -> Any:
    from transformers import AutoConfig

    settings = AutoConfig.for_model(config.architecture, **config.settings, use_cache=False)
    _without_dropout(settings)
    return settings


def _without_dropout(settings: Any) -> None:
    """So that a resumed trial is exact, whatever an architecture calls it, and in its parts, too."""
    for name, value in list(vars(settings).items()):
        if "drop" in name and isinstance(value, float):
            setattr(settings, name, 0.0)
        elif hasattr(value, "model_type") and hasattr(value, "to_dict"):
            _without_dropout(value)


def weights_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The state dict without what is tied to something else in it, on the CPU: what a checkpoint holds."""
    tied = model.all_tied_weights_keys
    return {name: value.cpu().contiguous() for name, value in model.state_dict().items() if name not in tied}


def load(model: PreTrainedModel, weights: dict[str, torch.Tensor], origin: str) -> None:
    """Put ``weights`` into a model, in its own precision. Raises ValueError, naming what does not fit."""
    known = model.state_dict()
    tied = model.all_tied_weights_keys
    missing = [name for name in known if name not in weights and name not in tied]
    shapes = [n for n, value in weights.items() if n in known and known[n].shape != value.shape]
    if missing or shapes:
        what = f"{missing[0]} is missing" if missing else f"{shapes[0]} has the shape {tuple(weights[shapes[0]].shape)}"
        raise ValueError(f"{origin}: not the weights of this model: {what}")
    model.load_state_dict({name: weights[name] for name in weights if name in known}, strict=False)
    model.tie_weights()
