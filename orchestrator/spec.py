"""The sweep as plain, frozen data.

A field's *role* says what may happen to it in a store that has results already: an ``axis`` (seeds, budgets ...) may
grow, a ``fixed`` field may not change, since results would mix, and a ``free`` one changes no number.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import metrics
from metrics.evaluation import harness
from metrics.evaluation.harness import COMMON_TASKS, DATA_VARIABLE
from metrics.evaluation.subject import CPU_BATCH_SIZE, EvaluationSettings
from orchestrator import checks
from orchestrator.space import corners
from orchestrator.words import SpecError, assigned
from trainables import models, published
from trainables.budget import Budget
from trainables.config import ModelConfig, Optimization, PublishedConfig, Trial, TrialConfig
from trainables.corpus import CORPORA, EMBEDDED
from trainables.models import FROM_SCRATCH, MODELS
from trainables.published import ALL, LOG
from trainables.shards import Columns
from trainables.token_spec import TokenSpec
from trainables.token_store import HELD_OUT_BLOCKS
from trainables.tokenizers import AUTO, BPE

Role = Literal["axis", "fixed", "free"]


OF_EVALUATIONS = ("limit", "num_fewshot", "evaluation_batch_size", "evaluator_gpus")  # matter where there are any
OWN_EVALUATIONS = metrics.evaluations()
EVALUATORS_AT_MOST = 10_000  # each is a process
PLAIN = "plain"  # the variant that changes nothing


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
    variants: tuple[str, ...] = _field(
        (), "axis", f"trials that differ in more: setting=value, several joined by colons, or {PLAIN} for none"
    )
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
    precision: Literal["float32", "bfloat16"] = _field(
        "float32", "fixed", "of matrix products in training; weights stay float32"
    )
    search: Literal["grid", "random", "tpe", "gp", "asha", "pbt"] = _field(
        "grid",
        "fixed",
        "grid: models x seeds x budgets x variants. Others try candidates from `space`, each on all seeds, by the mean "
        "of their held-out losses: random, tpe, gp (Optuna's); asha: the best of a budget go on to the next",
    )
    space: tuple[str, ...] = _field(
        (), "fixed", "what a search chooses: learning_rate=1e-4..1e-2log, warmup=0..0.1, batch_size=4/8/16"
    )
    search_seed: int = _field(0, "fixed", "seeds what a search chooses", NOT_NEGATIVE)
    reduction: int = _field(
        3,
        "fixed",
        "asha: one of so many candidates goes on to the next budget",
        Range(lambda n: n >= 2, "must be >= 2"),
    )
    candidates: int = _field(20, "free", "how many a search tries of each model (and budget, but for asha)", POSITIVE)
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
        checks.check(self)

    def trials(self) -> tuple[Trial, ...]:
        """Every trial of a grid, by variant, model, budget, then seed. Raises SpecError for a budget that buys no step,
        a published checkpoint that there is not, and variants that are one."""
        assert self.search == "grid", "a search chooses its trials as it goes: orchestrator.search.trials()"
        if self.checkpoints:
            return tuple(map(self._published, self.models()))
        return self._of_grids()

    def bounds(self) -> tuple[Trial, ...]:
        """The trials of a grid; of a search :meth:`extremes`. Raises as these do."""
        return self.trials() if self.search == "grid" else self.extremes()

    def extremes(self) -> tuple[TrialConfig, ...]:
        """Trials with the extremes of all that a search may choose, in all combinations. Raises SpecError."""
        return self._of_grids()

    def grids(self) -> dict[str, Sweep]:
        """The sweep of each variant; of a search, of the extremes of all that it may choose. Raises SpecError."""
        found = {}
        for words in corners(self.space) if self.search != "grid" else self.variants or (PLAIN,):
            try:
                found[words] = self.variant(words)
            except SpecError as error:
                raise self._of_words(words, error) from error
        return found

    def _of_words(self, words: str, error: SpecError) -> SpecError:
        """An error with the variant that it is of, where there are several."""
        if words == PLAIN:
            return error
        return SpecError(f"variants={words}: {error}" if self.variants else f"space: {words}: {error}")

    def candidate(self, model: str, revision: str, budget: Budget, words: str) -> tuple[TrialConfig, ...]:
        """The trials of a search's candidate: one for each seed."""
        one = dataclasses.replace(self.variant(words), model=(model,), revision=(revision,), budgets=(budget,))
        return one._grid()

    def variant(self, words: str) -> Sweep:
        """This sweep with the settings of a variant, as a grid. Raises SpecError."""
        assignments = [] if words == PLAIN else words.split(":")
        hints = {name: hint for name, hint in typing.get_type_hints(Sweep).items() if name in checks.OF_VARIANTS}
        changes = assigned(assignments, hints | {"model": str})
        if "model" in changes:
            changes["model"] = (changes["model"],)
        grid: dict[str, Any] = {"variants": (), "search": "grid", "space": ()}
        return dataclasses.replace(self, **grid, **changes)

    def _of_grids(self) -> tuple[TrialConfig, ...]:
        found: dict[str, str] = {}
        configs: list[TrialConfig] = []
        for words, grid in self.grids().items():
            try:
                trials = grid._grid()
            except SpecError as error:
                raise self._of_words(words, error) from error
            if twice := next((found[one.trial_id] for one in trials if one.trial_id in found), None):
                raise SpecError(f"variants: {twice} and {words} give the same trials; keep one")
            found |= {one.trial_id: words for one in trials}
            configs += trials
        return tuple(configs)

    def _grid(self) -> tuple[TrialConfig, ...]:
        configs = []
        for model in self.models():
            tokens = self.token_spec(model).fingerprint
            for budget in self.budgets:
                configs += [self._trial(model, seed, budget, tokens) for seed in self.seeds]
        for config in configs:
            checks.check_trial(config)
        checks.check_distinct(configs)
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

    def token_specs(self) -> dict[str, TokenSpec]:
        """Those of all models and variants, by fingerprint. Raises SpecError."""
        specs = (grid.token_spec(model) for grid in self.grids().values() for model in grid.models())
        return {spec.fingerprint: spec for spec in specs}

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
            checks.check_context(model, self.seq_len)
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
            precision=self.precision,
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
