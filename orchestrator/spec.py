"""The sweep as plain, frozen data.

A field's *role* says what may happen to it in a store that has results already: an ``axis`` (seeds, budgets ...) may
grow, a ``fixed`` field may not change, since results would mix, and a ``free`` one changes no number.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import metrics
from metrics.evaluation import harness
from metrics.evaluation.harness import COMMON_TASKS, DATA_VARIABLE
from metrics.evaluation.subject import CPU_BATCH_SIZE, EvaluationSettings
from trainables import mixture, models, published, typed
from trainables.budget import Budget
from trainables.config import ModelConfig, Optimization, PublishedConfig, Trial, TrialConfig
from trainables.corpus import CORPORA, EMBEDDED
from trainables.models import FROM_SCRATCH, MODELS
from trainables.published import ALL, LOG
from trainables.schedules import decay_start, warmup_steps
from trainables.shards import Columns
from trainables.stopping import Rule
from trainables.token_spec import TokenSpec
from trainables.token_store import HELD_OUT_BLOCKS
from trainables.tokenizers import AUTO, BPE

Role = Literal["axis", "fixed", "free"]


OF_EVALUATIONS = ("limit", "num_fewshot", "evaluation_batch_size", "evaluator_gpus")  # matter where there are any
TRAINING_AXES = ("seeds", "budgets")
OWN_EVALUATIONS = metrics.evaluations()
CHECKPOINTS_AT_MOST = 100_000  # of a trial; what asks for more was mistyped
STEPS_AT_MOST = 10**8 - 1  # the names of checkpoints have eight digits
EVALUATORS_AT_MOST = 10_000  # each is a process


class SpecError(ValueError):
    """A sweep that cannot be: an unknown key, a value of the wrong type, or fields that contradict each other."""


@dataclass(frozen=True)
class Keep:
    """What of measured checkpoints stays: ``all``, ``weights``, ``log``, of the ``last`` so many, or ``none``."""

    what: str
    count: int = 0

    @classmethod
    def parse(cls, text: str) -> Keep:
        """``all``, ``weights``, ``last:3``, ``log`` or ``none``. Raises SpecError."""
        if text in ("all", "weights", "log", "none"):
            return cls(text)
        match = re.fullmatch(r"last:([1-9][0-9]*)", text)
        if match is None:
            raise SpecError(
                f"keep={text}: unknown. Allowed: all, weights, log, none, and last:K for a whole number K >= 1"
            )
        return cls("last", int(match[1]))


@dataclass(frozen=True)
class Range:
    """Which numbers a field may have."""

    holds: Callable[[float], bool]
    said: str


POSITIVE = Range(lambda number: number > 0, "must be positive")
NOT_NEGATIVE = Range(lambda number: number >= 0, "must not be negative")
FRACTION = Range(lambda number: 0 <= number <= 1, "must lie between 0 and 1")
BETA = Range(lambda number: 0 <= number < 1, "must be at least 0 and less than 1")


def _field(default: Any, role: Role, help: str, allowed: Range | None = None) -> Any:
    return field(default=default, metadata={"role": role, "help": help, "allowed": allowed})


@dataclass(frozen=True)
class Sweep:
    """Models x seeds x budgets, and how each trial is trained and measured."""

    model: tuple[str, ...] = _field(
        ("neox-280k",), "axis", f"{', '.join(MODELS)}; a PolyPythia's name, a folder, or a Hub id of a causal LM"
    )
    revision: tuple[str, ...] = _field(
        (FROM_SCRATCH,), "axis", f"where training starts: {FROM_SCRATCH}, or published weights (step3000, main)"
    )
    checkpoints: tuple[str, ...] = _field(
        (), "axis", f"train nothing, measure these published checkpoints: {ALL}, {LOG}, or names (step1000, main)"
    )
    seeds: tuple[int, ...] = _field((0, 1, 2), "axis", "each seeds a trial's initialisation and data order")
    budgets: tuple[Budget, ...] = _field((), "axis", "what a trial may spend: 1e11 (FLOPs), 3e6tokens or 200steps")
    metrics: tuple[str, ...] = _field(
        metrics.observed(), "axis", "what checkpoints are measured by, or none: " + ", ".join(metrics.observed())
    )
    evaluations: tuple[str, ...] = _field(
        (), "axis", f"{', '.join(COMMON_TASKS)}, any other task of lm-eval; {', '.join(OWN_EVALUATIONS)}"
    )
    init_seed: int | None = _field(None, "fixed", "hold the initialisation at this seed while `seeds` varies the data")
    data_seed: int | None = _field(None, "fixed", "hold the data order at this seed while `seeds` varies the init")
    corpus: str = _field(
        EMBEDDED,
        "fixed",
        f"{EMBEDDED} (CPython's own text), {', '.join(CORPORA)}; a Hub data set as owner/name[:config][@revision]; a "
        "folder, file or URI of Pile shards (*.jsonl.zst, .gz or plain), Parquet, or save_to_disk",
    )
    text_columns: tuple[str, ...] = _field((), "fixed", "the corpus's columns of text; several are joined by line ends")
    domain_column: str = _field("", "fixed", "the corpus's column of the domain, if not meta.pile_set_name")
    mixture: tuple[str, ...] = _field((), "fixed", "domains' shares of the training tokens: Github:1,Wikipedia (en):3")
    tokenizer: str = _field(
        AUTO,
        "fixed",
        f"{AUTO} (the model's own), {BPE} (trained on the corpus), a tokenizer.json, a folder, a Hub id",
    )
    seq_len: int = _field(128, "fixed", "tokens per sequence", POSITIVE)
    batch_size: int = _field(8, "fixed", "sequences per optimizer step, over all workers", POSITIVE)
    learning_rate: float | None = _field(None, "fixed", "peak learning rate; the model's own where not given", POSITIVE)
    schedule: Literal["cosine", "wsd"] = _field("cosine", "fixed", "learning-rate schedule")
    warmup: float = _field(
        0.01, "fixed", "cosine: fraction of the steps; wsd: number of steps, alike for all budgets", NOT_NEGATIVE
    )
    min_lr_ratio: float = _field(0.1, "fixed", "learning rate at the end, as a fraction of the peak", FRACTION)
    decay: float = _field(0.1, "fixed", "wsd: fraction of the steps in the final decay", FRACTION)
    adam_beta1: float = _field(0.9, "fixed", "AdamW beta1", BETA)
    adam_beta2: float = _field(0.95, "fixed", "AdamW beta2", BETA)
    adam_eps: float = _field(1e-8, "fixed", "AdamW epsilon", POSITIVE)
    weight_decay: float = _field(0.1, "fixed", "AdamW weight decay, on matrices only", NOT_NEGATIVE)
    grad_clip: float = _field(1.0, "fixed", "gradient norm is clipped to this", POSITIVE)
    checkpoint_every: int = _field(
        1000, "fixed", "checkpoints at 0, 1, 2, 4, ... 512, every so many steps, and the end", POSITIVE
    )
    early_stop: tuple[str, ...] = _field(
        (),
        "fixed",
        "LOSS@STEP: from that step on, end a trial whose mean training loss since its last checkpoint is above",
    )
    deterministic: bool = _field(
        False, "fixed", "the same bits on GPUs, too, at 1.03 to 1.7 times the time (CPUs always give the same)"
    )
    probe_sequences: int = _field(
        HELD_OUT_BLOCKS,
        "fixed",
        f"held-out sequences of the probe set, <= {HELD_OUT_BLOCKS}",
        Range(lambda n: 0 < n <= HELD_OUT_BLOCKS, f"must be positive, and at most {HELD_OUT_BLOCKS} are held out"),
    )
    probe_points: int = _field(
        512,
        "fixed",
        "token positions whose hidden states make the point clouds",
        Range(lambda n: n >= 3, "at least 3 points are needed"),
    )
    evaluation_data: tuple[str, ...] = _field(
        (),
        "free",
        f"local copies of evaluations' data sets, task:path (or ${DATA_VARIABLE}): jsonl, tsv, Parquet, a folder",
    )
    limit: int | None = _field(None, "fixed", "evaluate just the first so many items of a task", POSITIVE)
    num_fewshot: int | None = _field(
        None, "fixed", "solved examples before each item; the task's own number if not given", NOT_NEGATIVE
    )
    evaluation_batch_size: int = _field(
        0,
        "fixed",
        f"sequences at once; 0: {CPU_BATCH_SIZE} on CPUs, as many as fit on GPUs (others round otherwise)",
        NOT_NEGATIVE,
    )
    log_samples: bool = _field(False, "free", "keep what evaluations find of each item, in STORE/trials/*/items")
    evaluator_gpus: float = _field(
        0.0, "fixed", "GPUs of each evaluator; with one, evaluations run in bf16", NOT_NEGATIVE
    )
    threads: int = _field(1, "fixed", "CPU threads of a worker (another number gives other rounding)", POSITIVE)
    workers: int = _field(1, "fixed", "workers of a trial: 1 runs in a warm Tune actor, more as a DDP group", POSITIVE)
    evaluators: int = _field(
        0,
        "free",
        "actors of the evaluator pool; 0: as many as this machine has cores, at most 4",
        Range(lambda n: 0 <= n <= EVALUATORS_AT_MOST, f"must lie between 0 and {EVALUATORS_AT_MOST:,}"),
    )
    retries: int = _field(
        2,
        "free",
        "how often in a row a trial whose process died without getting further is started again",
        NOT_NEGATIVE,
    )
    grace: float = _field(
        20.0, "free", "seconds that running trials have to save where they are, on Ctrl-C or SIGTERM", NOT_NEGATIVE
    )
    keep: str = _field(
        "weights",
        "free",
        "what stays on disk of measured checkpoints: all (weights and training states), weights (of all), last:K "
        "(weights of the last K and of the lowest held-out loss), log (weights at 0, 1, 2, 4, 8 ... and the end), "
        "none (of published checkpoints, which can be fetched again)",
    )

    def __post_init__(self) -> None:
        _check(self)

    def trials(self) -> tuple[Trial, ...]:
        """Every trial, by model, budget, then seed. Raises SpecError for a budget that buys no step, and a published
        checkpoint that there is not."""
        if self.checkpoints:
            return tuple(map(self._published, self.models()))
        configs = []
        for model in self.models():
            tokens = self.token_spec(model).fingerprint
            for budget in self.budgets:
                configs += [self._trial(model, seed, budget, tokens) for seed in self.seeds]
        for config in configs:
            _check_trial(config)
        _check_distinct(configs)
        return tuple(configs)

    @property
    def suite(self) -> tuple[str, ...]:
        """Everything that is measured: metrics and evaluations."""
        return (*self.metrics, *self.evaluations)

    @property
    def evaluation_settings(self) -> EvaluationSettings:
        return EvaluationSettings(
            data=(*harness.words_of_environment(), *self.evaluation_data),
            limit=self.limit,
            num_fewshot=self.num_fewshot,
            batch_size=self.evaluation_batch_size,
            log_samples=self.log_samples,
        )

    def models(self) -> tuple[ModelConfig, ...]:
        """Every model, from each revision. Raises SpecError for one that is unknown or cannot be had."""
        try:
            found = tuple(models.find(name, revision) for name in self.model for revision in self.revision)
        except ValueError as error:
            raise SpecError(str(error)) from error
        names = [model.name for model in found]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise SpecError(
                f"model={','.join(self.model)}: two of them have the name {twice}; "
                "take one of them from a folder of another name"
            )
        return found

    def token_spec(self, model: ModelConfig) -> TokenSpec:
        """The tokens a model of this sweep is trained on. Raises SpecError where corpus or tokenizer is missing."""
        try:
            return TokenSpec.of(
                corpus=self.corpus,
                tokenizer=self.tokenizer,
                model=model,
                seq_len=self.seq_len,
                columns=Columns(self.text_columns, self.domain_column),
                mixture=self.mixture,
            )
        except ValueError as error:
            raise SpecError(str(error)) from error

    def _published(self, model: ModelConfig) -> PublishedConfig:
        try:
            _check_context(model, self.seq_len)
            tokens = self.token_spec(model).fingerprint
            return published.find(model, self.checkpoints, tokens=tokens, seq_len=self.seq_len)
        except ValueError as error:
            raise SpecError(str(error)) from error

    def _trial(self, model: ModelConfig, seed: int, budget: Budget, tokens: str) -> TrialConfig:
        names = {item.name for item in dataclasses.fields(Optimization)}
        settings = {name: getattr(self, name) for name in names}
        settings["learning_rate"] = self.learning_rate or model.learning_rate
        return TrialConfig(
            model=model,
            init_seed=seed if self.init_seed is None else self.init_seed,
            data_seed=seed if self.data_seed is None else self.data_seed,
            budget=budget,
            seq_len=self.seq_len,
            optimization=Optimization(**settings),
            tokens=tokens,
            threads=self.threads,
            workers=self.workers,
            seed=seed,
            checkpoint_every=self.checkpoint_every,
            deterministic=self.deterministic,
            early_stop=self.early_stop,
        )

    def to_json(self) -> dict[str, Any]:
        data = dataclasses.asdict(self)
        data["budgets"] = [str(budget) for budget in self.budgets]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Sweep:
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        values["budgets"] = tuple(Budget.parse(text) for text in values["budgets"])
        return cls(**values)


def fields_by_role(role: Role) -> tuple[str, ...]:
    return tuple(item.name for item in dataclasses.fields(Sweep) if item.metadata["role"] == role)


def default_words() -> dict[str, Any]:
    """Every field's default as ``sweep.json`` has it."""
    defaults = ((item.name, item.default) for item in dataclasses.fields(Sweep))
    return {name: list(value) if isinstance(value, tuple) else value for name, value in defaults}


def suggest(word: str, allowed: Sequence[str]) -> str:
    """`` Did you mean ...? Allowed: ...`` for an error message."""
    near = difflib.get_close_matches(word, allowed, n=1, cutoff=0.5)
    return (f" Did you mean {near[0]!r}?" if near else "") + f" Allowed: {', '.join(allowed)}."


def _check(sweep: Sweep) -> None:
    _check_types(sweep)
    _check_numbers(sweep)
    _check_axes(sweep)
    _check_words(sweep)
    _check_together(sweep)


def _check_types(sweep: Sweep) -> None:
    hints = typing.get_type_hints(Sweep)
    for item in dataclasses.fields(Sweep):
        try:  # a search space's list is as good as a tuple
            object.__setattr__(sweep, item.name, typed.read(hints[item.name], getattr(sweep, item.name), item.name))
        except typed.FormError as error:
            raise SpecError(str(error)) from error


def _check_numbers(sweep: Sweep) -> None:
    for item in dataclasses.fields(Sweep):
        value = getattr(sweep, item.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise SpecError(f"{item.name}={value}: must be a finite number")
        allowed: Range | None = item.metadata["allowed"]
        if allowed is not None and value is not None and not allowed.holds(value):
            raise SpecError(f"{item.name}={value}: {allowed.said}")
    for name, seeds in (("seeds", sweep.seeds), ("init_seed", (sweep.init_seed,)), ("data_seed", (sweep.data_seed,))):
        for seed in seeds:
            if seed is not None and not 0 <= seed < 2**63:
                raise SpecError(f"{name}={seed}: must lie between 0 and 2**63 - 1")


def _check_axes(sweep: Sweep) -> None:
    for item in dataclasses.fields(Sweep):
        values = getattr(sweep, item.name)
        if isinstance(values, tuple) and len(set(values)) < len(values):
            raise SpecError(f"{item.name}={','.join(map(str, values))}: a value is given twice")
    may_be_empty = ("metrics", "evaluations", "checkpoints", *(TRAINING_AXES if sweep.checkpoints else ()))
    for name in fields_by_role("axis"):
        values = getattr(sweep, name)
        if not values and name not in may_be_empty:
            raise SpecError(f"{name}: needs at least one value")
        if values and sweep.checkpoints and name in TRAINING_AXES:
            listed = ",".join(map(str, values))
            raise SpecError(f"{name}={listed}: published checkpoints have been trained; give {name}=none")


def _check_words(sweep: Sweep) -> None:
    for word in sweep.metrics:
        if word not in metrics.observed():
            raise SpecError(f"metrics={word}: unknown.{suggest(word, metrics.observed())}")
    for word in sweep.model:
        if not models.is_known(word):
            raise SpecError(f"model={word}: unknown, no folder, and no Hub id.{suggest(word, tuple(MODELS))}")
    for name in ("corpus", "tokenizer"):
        if not getattr(sweep, name).strip():
            raise SpecError(f"{name}=: is empty; leave it out for {Sweep.__dataclass_fields__[name].default}")
    try:
        harness.require_known(name for name in sweep.evaluations if name not in OWN_EVALUATIONS)
    except ValueError as error:
        raise SpecError(f"evaluations={','.join(sweep.evaluations)}: {error}") from error
    try:
        harness.sources(sweep.evaluation_data)
    except ValueError as error:
        raise SpecError(str(error)) from error
    for name, words, parse in (
        ("mixture", sweep.mixture, mixture.parse),
        ("early_stop", sweep.early_stop, _parse_rules),
    ):
        try:
            parse(words)
        except ValueError as error:
            raise SpecError(f"{name}={','.join(words)}: {error}") from error
    if Keep.parse(sweep.keep).what == "none" and not sweep.checkpoints:
        raise SpecError("keep=none: trained checkpoints cannot be fetched again; give keep=last:1")


def _parse_rules(words: Sequence[str]) -> list[Rule]:
    return [Rule.parse(word) for word in words]


def _check_together(sweep: Sweep) -> None:
    scratch = set(sweep.revision) == {FROM_SCRATCH}
    for name in ("text_columns", "domain_column"):
        if sweep.corpus == EMBEDDED and getattr(sweep, name):
            raise SpecError(f"{name}: corpus={EMBEDDED} has no columns to choose from; leave it out")
    if sweep.checkpoints and not scratch:
        listed = ",".join(sweep.revision)
        raise SpecError(f"revision={listed}: says where training starts; checkpoints= what is measured")
    if sweep.init_seed is not None and sweep.data_seed is not None and len(sweep.seeds) > 1:
        raise SpecError("seeds: with init_seed and data_seed both held, all seeds would give the same trial; give one")
    if sweep.data_seed is not None and len(sweep.seeds) > 1 and not scratch:
        raise SpecError("seeds: with data_seed held, trials from published weights would all be one; give one seed")
    if sweep.schedule == "cosine" and sweep.warmup > 1:
        raise SpecError(f"warmup={sweep.warmup}: a cosine schedule takes a fraction of the steps, from 0 to 1")
    if sweep.schedule == "wsd" and sweep.warmup != int(sweep.warmup):
        raise SpecError(f"warmup={sweep.warmup}: a wsd schedule takes a whole number of steps, alike for all budgets")
    if sweep.batch_size % sweep.workers:
        raise SpecError(f"batch_size={sweep.batch_size}: must be a multiple of workers={sweep.workers}")


def _check_context(model: ModelConfig, seq_len: int) -> None:
    if seq_len > model.context:
        raise SpecError(f"seq_len={seq_len}: {model.name} has a context of {model.context} tokens")


def _check_trial(config: TrialConfig) -> None:
    _check_context(config.model, config.seq_len)
    if config.steps < 1:
        needed = config.flops(1)
        raise SpecError(
            f"budgets={config.budget}: buys no optimizer step of {config.model.name}; one step of "
            f"batch_size={config.optimization.batch_size} x seq_len={config.seq_len} costs {needed:.3g} FLOPs"
        )
    if config.steps // config.checkpoint_every > CHECKPOINTS_AT_MOST:
        raise SpecError(
            f"budgets={config.budget}: buys {config.steps:.3g} steps of {config.model.name}, which are more than "
            f"{CHECKPOINTS_AT_MOST:,} checkpoints; raise checkpoint_every, or give a smaller budget"
        )
    if config.steps > STEPS_AT_MOST:
        raise SpecError(
            f"budgets={config.budget}: buys {config.steps:.3g} steps of {config.model.name}, which are more than "
            f"{STEPS_AT_MOST:,}; give a smaller budget"
        )
    warmup = warmup_steps(config.optimization, config.steps)
    room = decay_start(config.optimization, config.steps) if config.optimization.schedule == "wsd" else config.steps
    if warmup > room:
        raise SpecError(f"budgets={config.budget}: leaves {room} steps before the decay, fewer than warmup={warmup}")


def _check_distinct(configs: Sequence[TrialConfig]) -> None:
    """Two budgets that buy the same steps would train one trial twice and count it as two seeds."""
    seen: dict[tuple[str, int, int], Budget] = {}
    for config in configs:
        other = seen.setdefault((config.model.name, config.seed, config.steps), config.budget)
        if other != config.budget:
            raise SpecError(
                f"budgets={other},{config.budget}: both buy {config.steps} steps of {config.model.name}; keep one"
            )
