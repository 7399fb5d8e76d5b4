"""What a sweep must not be: each rule raises SpecError, naming the field, its value and the mend."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Sequence
from typing import TYPE_CHECKING

import metrics
from metrics.evaluation import harness
from orchestrator import space
from orchestrator.keep import Keep
from orchestrator.words import SpecError, suggest
from trainables import mixture, models, typed
from trainables.budget import Budget
from trainables.config import ModelConfig, Optimization, TrialConfig
from trainables.corpus import EMBEDDED
from trainables.models import FROM_SCRATCH, MODELS
from trainables.schedules import decay_start, warmup_steps
from trainables.stopping import Rule

if TYPE_CHECKING:
    from orchestrator.spec import Sweep

TRAINING_AXES = ("seeds", "budgets")
OF_VARIANTS = (*(item.name for item in dataclasses.fields(Optimization)), "seq_len", "precision", "model")
CHECKPOINTS_AT_MOST = 100_000  # of a trial; what asks for more was mistyped
SCORED_BY = "held_out"  # the metric that a search goes by
STEPS_AT_MOST = 10**8 - 1  # the names of checkpoints have eight digits


def check(sweep: Sweep) -> None:
    """Everything that is wrong with a sweep by itself. Raises SpecError."""
    _check_types(sweep)
    _check_numbers(sweep)
    _check_axes(sweep)
    _check_words(sweep)
    _check_together(sweep)
    _check_search(sweep)


def _check_types(sweep: Sweep) -> None:
    hints = typing.get_type_hints(type(sweep))
    for item in dataclasses.fields(sweep):
        try:  # a search space's list is as good as a tuple
            object.__setattr__(sweep, item.name, typed.read(hints[item.name], getattr(sweep, item.name), item.name))
        except typed.FormError as error:
            raise SpecError(str(error)) from error


def _check_numbers(sweep: Sweep) -> None:
    for item in dataclasses.fields(sweep):
        value = getattr(sweep, item.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise SpecError(f"{item.name}={value}: must be a finite number")
        allowed = item.metadata["allowed"]
        if allowed is not None and value is not None and not allowed.holds(value):
            raise SpecError(f"{item.name}={value}: {allowed.said}")
    for name, seeds in (("seeds", sweep.seeds), ("init_seed", (sweep.init_seed,)), ("data_seed", (sweep.data_seed,))):
        for seed in seeds:
            if seed is not None and not 0 <= seed < 2**63:
                raise SpecError(f"{name}={seed}: must lie between 0 and 2**63 - 1")


def _check_axes(sweep: Sweep) -> None:
    for item in dataclasses.fields(sweep):
        values = getattr(sweep, item.name)
        if isinstance(values, tuple) and len(set(values)) < len(values):
            raise SpecError(f"{item.name}={','.join(map(str, values))}: a value is given twice")
    may_be_empty = ("variants", "metrics", "evaluations", "checkpoints", *(TRAINING_AXES if sweep.checkpoints else ()))
    for name in (item.name for item in dataclasses.fields(sweep) if item.metadata["role"] == "axis"):
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
            raise SpecError(f"{name}=: is empty; leave it out for {type(sweep).__dataclass_fields__[name].default}")
    try:
        harness.require_known(name for name in sweep.evaluations if name not in metrics.evaluations())
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


def check_context(model: ModelConfig, seq_len: int) -> None:
    if seq_len > model.context:
        raise SpecError(f"seq_len={seq_len}: {model.name} has a context of {model.context} tokens")


def check_trial(config: TrialConfig) -> None:
    check_context(config.model, config.seq_len)
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


def check_distinct(configs: Sequence[TrialConfig]) -> None:
    """Two budgets that buy the same steps would train one trial twice and count it as two seeds."""
    seen: dict[tuple[str, int, int], Budget] = {}
    for config in configs:
        other = seen.setdefault((config.model.name, config.seed, config.steps), config.budget)
        if other != config.budget:
            raise SpecError(
                f"budgets={other},{config.budget}: both buy {config.steps} steps of {config.model.name}; keep one"
            )


def _check_search(sweep: Sweep) -> None:
    if sweep.search == "pbt":
        raise SpecError(
            "search=pbt: population based training copies Ray Tune's checkpoints from trial to trial, and those of Ray "
            "Train leave none there; search=asha has the best go on from their own"
        )
    if sweep.search == "grid":
        if sweep.space:
            raise SpecError(f"space={','.join(sweep.space)}: a grid chooses nothing; give search= (tpe), or variants=")
        return
    for name in ("variants", "checkpoints"):
        if getattr(sweep, name):
            raise SpecError(f"{name}: not with search={sweep.search}, which chooses its trials itself")
    if not sweep.space:
        raise SpecError(f"space: search={sweep.search} needs something to choose, such as learning_rate=1e-4..1e-2log")
    space.parse(sweep.space)
    if SCORED_BY not in sweep.metrics:
        raise SpecError(f"metrics={','.join(sweep.metrics)}: search={sweep.search} goes by {SCORED_BY}; add it")
    if sweep.search == "asha":
        _check_asha(sweep)


def _check_asha(sweep: Sweep) -> None:
    if sweep.schedule != "wsd":
        raise SpecError(
            f"schedule={sweep.schedule}: has other learning rates for each budget, so that a candidate could not go on "
            "from its own checkpoint; with search=asha give schedule=wsd"
        )
    if len(sweep.budgets) < 2 or len({budget.unit for budget in sweep.budgets}) > 1:
        raise SpecError(f"budgets={','.join(map(str, sweep.budgets))}: search=asha needs two or more of one unit")
    if list(sweep.budgets) != sorted(sweep.budgets, key=lambda budget: budget.amount):
        raise SpecError(f"budgets={','.join(map(str, sweep.budgets))}: search=asha climbs them; give them ascending")
