"""Models of the Hub: what is there of them, whether it is what this program takes them for, and whether it computes."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.disk import human
from preflight.check import Problem
from preflight.connection import FAITHFUL, existing
from trainables import hub, models
from trainables.config import ModelConfig
from trainables.memory import available
from trainables.models import CONFIG, FROM_SCRATCH, WEIGHTS

SENTENCE = "The quick brown fox jumps over the lazy dog, and the dog does not mind."
SAFETENSORS = ".safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
NOT_WEIGHTS = ("BOOL", "U8")  # causal masks, which older files hold beside the weights
SHAPE = ("n_layers", "d_model", "vocab_size", "context", "n_params_total")
SMALLER = "try a smaller Pythia: --model pythia-14m"


@dataclass(frozen=True)
class Target:
    """A model at a revision, or from scratch. ``word``: as a user writes it."""

    word: str
    revision: str

    @classmethod
    def of(cls, text: str) -> Target:
        """``NAME`` or ``NAME@REVISION``; published weights, where it has any. Raises ValueError for an unknown name."""
        word, _, revision = (text, "", "") if hub.local(text) else text.partition("@")
        if not models.is_known(word):
            raise ValueError(f"{word}: no model of that name, no folder, and no Hub id (owner/name)")
        config = models.known(word)
        has_weights = config is None or config.source is not None
        if revision and not has_weights:
            raise ValueError(f"{text}: {word} has no published weights, and so no revisions")
        return cls(word, revision or ("main" if has_weights else FROM_SCRATCH))

    @property
    def source(self) -> str | None:
        """Its Hub id, or its folder as an absolute path, if it has one."""
        if config := models.known(self.word):
            return config.source
        own = hub.local(self.word)
        return str(own) if own else self.word

    @property
    def label(self) -> str:
        return self.word if self.revision in ("main", FROM_SCRATCH) else f"{self.word}@{self.revision}"

    @property
    def branch(self) -> str:
        return "main" if self.revision == FROM_SCRATCH else self.revision

    @property
    def is_remote(self) -> bool:
        return self.source is not None and not hub.is_own(self.source)

    @property
    def starts_from_weights(self) -> bool:
        return self.revision != FROM_SCRATCH

    def config(self) -> ModelConfig:
        return models.find(self.word, self.revision)


def described(target: Target) -> str:
    """What there is of a model, without downloading any of it."""
    config, source = models.known(target.word), target.source
    if source is None:
        assert config is not None, "a model without a source is one of this program's own"
        return f"{config.n_params_total:,} parameters, trained from scratch: nothing to download"
    if not target.is_remote:
        return _local(Path(source))
    return _cached(target) if hub.is_offline() else _remote(target)


def _local(folder: Path) -> str:
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    if CONFIG not in sizes:
        raise Problem(f"{folder} has no {CONFIG}", "give a folder that save_pretrained wrote")
    return f"{folder}: {', '.join(f'{name} {human(size)}' for name, size in sizes.items())}"


def _cached(target: Target) -> str:
    """Offline. Raises HubError where nothing of it is in the cache."""
    assert target.source is not None, "what is cached came from somewhere"
    folder = hub.fetch(target.source, (CONFIG,), target.branch, whole=lambda folder: (folder / CONFIG).is_file())
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    listed = ", ".join(f"{name} {human(size)}" for name, size in sizes.items())
    return f"in the cache: {target.branch} is commit {folder.name[:8]}, {listed}"


def _remote(target: Target) -> str:
    from huggingface_hub import HfApi

    source = str(target.source)
    info = hub.info(source, target.branch, files=True)
    if info.gated:
        HfApi().auth_check(source)
    sizes = {one.rfilename: one.size or 0 for one in info.siblings}
    weights = sum(size for name, size in sizes.items() if name.endswith(SAFETENSORS))
    if target.starts_from_weights and not weights and any(name.endswith(PICKLES) for name in sizes):
        raise models.only_pickled(f"{source} at {target.branch}")
    if target.starts_from_weights and not weights:
        raise Problem(f"{source} at {target.branch} has no weights", "choose another revision of its page")
    parameters = _parameters(models.known(target.word), info)
    revisions = len(HfApi().list_repo_refs(source).branches)
    license_ = (info.card_data or {}).get("license") or "none named"
    said = [
        parameters,
        f"safetensors {human(weights)}{'' if target.starts_from_weights else ' (not needed)'}",
        f"{revisions} revision{'s' * (revisions != 1)}",
        f"license {license_}",
        *(["gated"] if info.gated else []),
    ]
    return f"{source}, {target.branch} is commit {info.sha[:8]}: {', '.join(said)}"


def _parameters(config: ModelConfig | None, info: Any) -> str:
    """How many, by this program and by the Hub, which counts what the file holds: masks of attention, too."""
    stored = info.safetensors.parameters if info.safetensors else None
    if stored is None:
        return f"{config.n_params_total:,} parameters" if config else "parameters not counted by the Hub"
    counted = sum(count for dtype, count in stored.items() if dtype not in NOT_WEIGHTS)
    if config is None:
        return f"{counted:,} parameters"
    masks = config.n_layers * config.context**2
    if not any(math.isclose(counted, n, rel_tol=0.01) for n in (config.n_params_total, config.n_params_total + masks)):
        raise Problem(
            f"{info.id} holds {counted:,} parameters, but {config.name} has {config.n_params_total:,}: it is another "
            "model",
            FAITHFUL,
        )
    return f"{config.n_params_total:,} parameters"


def roomy(target: Target) -> str:
    """Whether what of the weights is not in the cache yet fits on its disk."""
    from huggingface_hub import constants, try_to_load_from_cache

    source = str(target.source)
    info = hub.info(source, target.branch, files=True)
    sizes = {one.rfilename: one.size or 0 for one in info.siblings if one.rfilename.endswith(SAFETENSORS)}
    there = [name for name in sizes if try_to_load_from_cache(source, name, revision=info.sha)]
    missing = sum(size for name, size in sizes.items() if name not in there)
    if not missing:
        return "in the cache"
    free = shutil.disk_usage(existing(Path(constants.HF_HUB_CACHE))).free
    said = f"{human(missing)} to be downloaded, {human(free)} free on the disk of {constants.HF_HUB_CACHE}"
    if missing > free:
        raise Problem(said, "set HF_HOME to a larger disk, as HF_HOME=$SCRATCH/hf")
    return said


def configured(target: Target) -> str:
    """The configuration, and whether it is that of the model that this program knows by this name."""
    known, source = models.known(target.word), target.source
    counted = known if source is None else models.published(source, target.branch)
    assert counted is not None, "a model without a source is one of this program's own"
    for name in SHAPE if known else ():
        theirs, ours = getattr(counted, name), getattr(known, name)
        if theirs != ours:
            raise Problem(
                f"{source} at {target.branch} says {name} {theirs:,}, but {target.word} has {ours:,}: it is another "
                "model",
                f"{FAITHFUL}; or give its own Hub id or folder",
            )
    return (
        f"{counted.architecture}, {counted.n_layers} layers of {counted.d_model}, vocabulary {counted.vocab_size:,}, "
        f"context {counted.context:,}, {counted.n_params_total:,} parameters"
    )


def tokenized(target: Target, word: str, corpus: str) -> str:
    """The tokenizer, whether it fits the model, and what it makes of a sentence."""
    from trainables import tokenizers
    from trainables.token_spec import TokenSpec

    spec = TokenSpec.of(corpus=corpus, tokenizer=word, model=target.config(), seq_len=1)
    if spec.tokenizer == tokenizers.BPE:
        return f"a byte-level BPE of {spec.vocab_size:,} tokens will be trained on the corpus: nothing to download"
    ids = tokenizers.load(spec.tokenizer)[0].encode(SENTENCE).ids
    return (
        f"{spec.vocab_size:,} tokens, {spec.end_of_text} ends a text, {len(ids)} tokens of a sentence; {spec.tokenizer}"
    )


def tokenizer_json(target: Target, word: str) -> str | None:
    """Its path; None for one that is yet to be trained."""
    from trainables import tokenizers

    path = tokenizers.find(word, target.config())
    return str(path) if path else None


def computed(target: Target, word: str) -> str:
    """Weights downloaded, checked and loaded as a trial does; the loss of a sentence. Raises Problem if not finite."""
    import torch
    import torch.nn.functional as F

    config = target.config()
    if (needed := 4 * config.n_params_total) > (free := available()):
        raise Problem(f"{human(needed)} of weights do not fit into the {human(free)} of RAM that are free", SMALLER)
    began = time.perf_counter()
    origin = "from scratch"
    if target.starts_from_weights:
        folder = models.fetch_weights(config)
        size = sum(path.stat().st_size for path in folder.glob(WEIGHTS[0]))
        origin = f"{human(size)} in {folder} ({time.perf_counter() - began:.1f} s)"
        began = time.perf_counter()
    model = models.start(config, init_seed=0, device="cuda" if torch.cuda.is_available() else "cpu")
    loaded = time.perf_counter() - began
    tokens = _sentence(config, word).to(model.device)
    with torch.no_grad():
        logits = model(input_ids=tokens[None, :-1]).logits[0]
    loss = float(F.cross_entropy(logits.float(), tokens[1:]))
    said = f"{origin}; loaded in {loaded:.1f} s; a sentence of {len(tokens)} tokens has a loss of {loss:.3f} nats/token"
    if not math.isfinite(loss):
        raise Problem(said, "the weights are damaged: choose another revision, or report it on the model's page")
    return said


def _sentence(config: ModelConfig, word: str) -> Any:
    """Tokens of a sentence; of a model whose tokenizer is yet to be trained, just some."""
    import torch

    from trainables import tokenizers

    path = tokenizers.find(word, config)
    ids = tokenizers.load(path)[0].encode(SENTENCE).ids if path else range(1, 17)
    return torch.tensor([token % config.vocab_size for token in ids][: config.context])
