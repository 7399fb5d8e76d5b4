"""A trial as plain data. Every field that changes its numbers is here, so the hash of it is the trial's identity."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Literal

from trainables.budget import Budget, flops_per_token
from trainables.storage import canonical_json, sha256
from trainables.typed import read

Precision = Literal["float32", "bfloat16"]
LOOP_VERSION = 1  # raise it when a change to the training loop changes a trial's bits


@dataclass(frozen=True)
class ModelConfig:
    """A causal language model as plain data; made by :func:`trainables.models.find` or a function of an architecture.

    settings: the fields of its ``transformers`` configuration of type ``architecture`` (``model_type`` there).
    n_params_matmul: entries of the matrices that each token is multiplied by (projections, MLP, output head).
    attention_width: heads x head size, summed over the layers. source: the Hub id or folder of its tokenizer and
    published weights, if it has any. revision: the published weights that training starts from, None for from scratch;
    commit: what the revision stood for (of a folder, a fingerprint of its weights).
    """

    name: str
    architecture: str
    settings: dict[str, Any]
    n_layers: int
    d_model: int
    vocab_size: int
    context: int
    n_params_total: int
    n_params_non_embedding: int
    n_params_matmul: int
    attention_width: int
    learning_rate: float
    source: str | None = None
    revision: str | None = None
    commit: str | None = None


@dataclass(frozen=True)
class Optimization:
    """How a model is trained: batch, AdamW and learning-rate schedule."""

    batch_size: int
    learning_rate: float
    schedule: Literal["cosine", "wsd"]
    warmup: float
    min_lr_ratio: float
    decay: float
    adam_beta1: float
    adam_beta2: float
    adam_eps: float
    weight_decay: float
    grad_clip: float

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            if item.type == "float":  # 1 and 1.0 are one setting and must hash alike
                object.__setattr__(self, item.name, float(getattr(self, item.name)))


@dataclass(frozen=True)
class TrialConfig:
    """One training run: model, seeds, budget and everything else that determines its weights bit by bit."""

    model: ModelConfig
    init_seed: int
    data_seed: int
    budget: Budget
    seq_len: int
    optimization: Optimization
    tokens: str  # fingerprint of the token store
    threads: int
    workers: int
    seed: int  # the label under which the trial is compared; its effect is in init_seed and data_seed
    checkpoint_every: int
    deterministic: bool = False  # on GPUs, too
    precision: Precision = "float32"  # of matrix products; weights and AdamW's state are float32 in any case
    early_stop: tuple[str, ...] = ()  # trainables.stopping.Rule

    @property
    def flops_per_token(self) -> int:
        return flops_per_token(self.model, self.seq_len)

    @property
    def tokens_per_step(self) -> int:
        return self.optimization.batch_size * self.seq_len

    @property
    def steps(self) -> int:
        return self.budget.steps(flops_per_token=self.flops_per_token, tokens_per_step=self.tokens_per_step)

    @property
    def budget_flops(self) -> float:
        """The budget in FLOPs, also where it was given in tokens or steps."""
        per_unit = {"flops": 1, "tokens": self.flops_per_token, "steps": self.flops(1)}[self.budget.unit]
        return self.budget.amount * per_unit

    @property
    def settings(self) -> dict[str, Any]:
        """How it is trained, flat, by the names of a sweep's fields."""
        shape = {"seq_len": self.seq_len, "threads": self.threads, "workers": self.workers}
        return vars(self.optimization) | shape | {"precision": self.precision}

    @property
    def blocks(self) -> int:
        """Token blocks the trial reads."""
        return self.steps * self.optimization.batch_size

    def tokens_at(self, step: int) -> int:
        """Tokens trained on after ``step`` optimizer steps."""
        return step * self.tokens_per_step

    def flops(self, step: int) -> int:
        """FLOPs spent after ``step`` optimizer steps."""
        return step * self.tokens_per_step * self.flops_per_token

    @property
    def stem(self) -> str | None:
        """Alike for trials that are the same up to the decay of the first of them; None where budgets share nothing."""
        if self.optimization.schedule != "wsd":
            return None
        optimization = dataclasses.replace(self.optimization, decay=0, min_lr_ratio=0)
        return dataclasses.replace(self, budget=Budget(1), optimization=optimization).trial_id

    @property
    def trial_id(self) -> str:
        """A readable slug and a hash of every field that changes the trial's numbers."""
        identity = dataclasses.asdict(self) | {"loop_version": LOOP_VERSION}
        del identity["checkpoint_every"], identity["seed"], identity["model"]["source"], identity["early_stop"]
        for name, before in (("deterministic", False), ("precision", "float32")):  # as before there was a choice
            if identity[name] == before:
                del identity[name]
        seeds = f"s{self.init_seed}" if self.init_seed == self.data_seed else f"i{self.init_seed}d{self.data_seed}"
        return f"{slug(self.model.name)}-{self.budget}-{seeds}-{sha256(canonical_json(identity))[:8]}"

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrialConfig:
        """Raises FormError for what is not a :meth:`to_json`."""
        found: TrialConfig = read(cls, data)
        return found


@dataclass(frozen=True)
class Revision:
    """A published checkpoint: a branch of the model's repository, at an optimizer step of its training.

    step: 0 where the branch's name tells none, which is then not ``numbered``; commit: None of a branch that should be
    there and is not.
    """

    step: int
    name: str
    commit: str | None
    numbered: bool = True


@dataclass(frozen=True)
class PublishedConfig:
    """A published model whose revisions are its checkpoints: a trial that trains nothing.

    family: its name without the seed, the same for models that differ in the seed alone; init_seed, data_seed: None
    where they are not known; revisions: by step; seq_len: of the probe set; tokens_per_step: of its training, None
    where it is not known, and with it tokens and FLOPs; further_steps: of revisions that the store has, and that were
    not asked for now.
    """

    model: ModelConfig
    family: str
    seed: int
    init_seed: int | None
    data_seed: int | None
    revisions: tuple[Revision, ...]
    tokens: str  # fingerprint of the token store of the probe set
    seq_len: int
    tokens_per_step: int | None
    further_steps: tuple[int, ...] = ()

    @property
    def checkpoint_steps(self) -> list[int]:
        """Steps of the checkpoints that are there to be had."""
        return [one.step for one in self.revisions if one.commit is not None]

    @property
    def steps(self) -> int:
        """The last one's."""
        return max(self.checkpoint_steps, default=0)

    @property
    def budget_flops(self) -> float | None:
        """What training had cost at the last checkpoint."""
        return self.flops(self.steps)

    @property
    def settings(self) -> dict[str, Any]:
        """As a trained trial's, as far as there is any."""
        return {"seq_len": self.seq_len}

    @property
    def path(self) -> list[int]:
        """Steps of all checkpoints that the store has or is to have: what neighbours and the trajectory are of."""
        return sorted({*self.checkpoint_steps, *self.further_steps})

    def tokens_at(self, step: int) -> int | None:
        """Tokens of its training up to ``step``; None where they are not known."""
        counted = all(one.numbered for one in self.revisions if one.step == step)
        return step * self.tokens_per_step if counted and self.tokens_per_step is not None else None

    def flops(self, step: int) -> int | None:
        """FLOPs of training up to ``step``, at the model's full context."""
        tokens = self.tokens_at(step)
        return None if tokens is None else tokens * flops_per_token(self.model, self.model.context)

    def at(self, step: int) -> Revision:
        return next(one for one in self.revisions if one.step == step)

    @property
    def trial_id(self) -> str:
        """As a trained trial's; its revisions are not part of it, so that further ones extend it."""
        identity = dataclasses.asdict(self)
        del identity["revisions"], identity["further_steps"], identity["seed"], identity["family"]
        return f"{slug(self.model.name)}-published-{sha256(canonical_json(identity))[:8]}"

    def with_revisions_of(self, other: PublishedConfig) -> PublishedConfig:
        """This trial with the other's revisions, too; where both have a step, the other's if it is there."""
        merged = {one.step: one for one in self.revisions}
        merged |= {one.step: one for one in other.revisions if one.commit is not None or one.step not in merged}
        return dataclasses.replace(self, revisions=tuple(merged[step] for step in sorted(merged)), further_steps=())

    def beside(self, known: PublishedConfig) -> PublishedConfig:
        """This trial, knowing of the revisions that the store's record of it has."""
        return dataclasses.replace(self, further_steps=tuple(known.checkpoint_steps))

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PublishedConfig:
        """Raises FormError for what is not a :meth:`to_json`."""
        found: PublishedConfig = read(cls, data)
        return found


Trial = TrialConfig | PublishedConfig


def trial_from_json(data: dict[str, Any]) -> Trial:
    """From either kind's ``to_json``. Raises FormError."""
    return PublishedConfig.from_json(data) if "revisions" in data else TrialConfig.from_json(data)


def slug(name: str) -> str:
    """A name as a part of a path: a folder or a revision may hold what a path must not."""
    return re.sub(r"[^\w.@-]+", "-", name)
