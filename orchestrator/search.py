"""Searches: which settings to try next, from what the store knows of those that were tried.

A *study* tries candidates for one model at one budget (``asha``: at a ladder of budgets). A candidate is a variant of
the sweep, trained with every seed; its score is the mean of their held-out losses at the end. What was chosen is a file
of the store, and scores are its measurements, so a search that was killed goes on: Optuna's study is made anew from
them for each choice. Ray's OptunaSearch keeps its own in a pickle, where candidates that a kill cut off stay open.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator import space
from orchestrator.retention import held_out_loss
from orchestrator.space import Dimension
from orchestrator.spec import Sweep
from orchestrator.store import Store
from trainables.budget import Budget
from trainables.config import Trial, TrialConfig, slug
from trainables.storage import Folder, sha256
from trainables.typed import read

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SEARCH = "search"
RANDOM_AT_FIRST = 5  # candidates, before tpe and gp have anything to learn from; Optuna's own 10 are most of 20
ENDED = ("done", "stopped", "failed")


@dataclass(frozen=True)
class Candidate:
    """One choice of settings. rung: the highest of the study's budgets that it was sent to."""

    number: int
    variant: str
    rung: int = 0


@dataclass(frozen=True)
class Study:
    """What is searched by itself: a model, and its budgets from the first rung to the last.

    model, revision: in the sweep's words; label: the model's name.
    """

    model: str
    revision: str
    label: str
    budgets: tuple[Budget, ...]

    @property
    def name(self) -> str:
        return "-".join([slug(self.label), *(str(budget) for budget in self.budgets)])


@dataclass
class Search:
    """A sweep's studies, with what the store has of them. Only the driver that holds the store's lease makes one.

    lost: trials that will leave no result, since Tune gave them up.
    """

    sweep: Sweep
    store: Store
    lost: set[str] = field(default_factory=set)
    candidates: dict[Study, list[Candidate]] = field(init=False)
    _scores: dict[tuple[Study, int, int], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.candidates = {study: _read(self.store, study, self.sweep) for study in studies(self.sweep)}

    def trials(self) -> tuple[TrialConfig, ...]:
        """Those of every candidate so far, on each rung that it was sent to."""
        return tuple(
            config
            for study, found in self.candidates.items()
            for one in found
            for rung in range(one.rung + 1)
            for config in self._configs(study, one, rung)
        )

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to choose, by the scores that are there."""
        return not self.to_come and not any(map(self._climbing, self.candidates))

    def best(self) -> Iterator[str]:
        """Of each study the best candidate on its highest rung, in words."""
        for study, found in self.candidates.items():
            scored = [scores for rung in range(len(study.budgets)) if (scores := self._scored(study, rung))]
            if scored:
                number = min(scored[-1], key=lambda one: (scored[-1][one], one))
                budget = study.budgets[len(scored) - 1]
                loss = f"{scored[-1][number]:.4g}, mean of {len(self.sweep.seeds)} seeds"
                place = f"{study.label} at {budget}: best of {len(scored[-1])} (of {len(found)} candidates)"
                yield f"{place} is {found[number].variant}: held-out loss {loss}"

    def forecast(self) -> str:
        """How much is still to be chosen, and what it costs at most, in words."""
        chosen = sum(map(len, self.candidates.values()))
        return (
            f"{self.sweep.search}: {chosen} candidates are chosen, and planned below; {self.to_come} are to come, on "
            f"{len(self.sweep.seeds)} seeds each: about {self._flops_to_come():.3g} FLOPs more"
        )

    def _flops_to_come(self) -> int:
        largest = {(one.model.name, str(one.budget)): one.flops(one.steps) for one in self.sweep.extremes()}
        flops = 0
        for study, found in self.candidates.items():
            count = self.sweep.candidates
            for rung, budget in enumerate(study.budgets):
                sent = sum(one.rung >= rung for one in found)
                flops += max(0, count - sent) * len(self.sweep.seeds) * largest[study.label, str(budget)]
                count //= self.sweep.reduction
        return flops

    @property
    def to_come(self) -> int:
        """Candidates that are still to be chosen."""
        return sum(self.sweep.candidates - len(found) for found in self.candidates.values())

    def next(self) -> tuple[TrialConfig, ...] | None:
        """The trials of the next candidate, or of one that climbs a rung, and its record in the store; none as long as
        scores are waited for, None at the end."""
        waiting = False
        for study, found in self.candidates.items():
            climbing = self._climbing(study)
            if climbing is not None:
                return self._send(study, found, climbing)
            if len(found) < self.sweep.candidates:
                return self._send(study, found, Candidate(len(found), self._choose(study)))
            waiting |= self.sweep.search == "asha" and any(self._awaited(study))
        return () if waiting else None

    def score(self, study: Study, candidate: Candidate, rung: int) -> float | None:
        """The mean over seeds; infinite where a seed failed, None as long as one is not there."""
        key = (study, candidate.number, rung)
        if key not in self._scores:
            losses = [self._loss(config) for config in self._configs(study, candidate, rung)]
            if any(loss is None for loss in losses):
                return None
            self._scores[key] = statistics.fmean(loss for loss in losses if loss is not None)
        return self._scores[key]

    def _loss(self, config: TrialConfig) -> float | None:
        status = self.store.read_status(config.trial_id)
        if config.trial_id in self.lost or (status is not None and status.state == "failed"):
            return math.inf
        if status is None or status.state not in ENDED:
            return None
        return held_out_loss(self.store, config, status.step)

    def _configs(self, study: Study, candidate: Candidate, rung: int) -> tuple[TrialConfig, ...]:
        return self.sweep.candidate(study.model, study.revision, study.budgets[rung], candidate.variant)

    def _send(self, study: Study, found: list[Candidate], one: Candidate) -> tuple[TrialConfig, ...]:
        """Recorded first: what is killed now is found again, and nothing is tried twice."""
        body = {"number": one.number, "variant": one.variant, "rung": one.rung}
        _folder(self.store, study).write_json(_file_name(one.number), body)
        found[one.number :] = [one, *found[one.number + 1 :]]
        return self._configs(study, one, one.rung)

    def _choose(self, study: Study) -> str:
        past = [(one.variant, self.score(study, one, 0)) for one in self.candidates[study]]
        seed = int(sha256(f"{self.sweep.search_seed} {study.name} {len(past)}".encode())[:8], 16)
        return choose(space.parse(self.sweep.space), past, self.sweep.search, seed)

    def _climbing(self, study: Study) -> Candidate | None:
        """Who is to climb next; without asha, studies have one rung."""
        scored = [self._scored(study, rung) for rung in range(len(study.budgets))]
        climbing = promotable(scored, [one.rung for one in self.candidates[study]], self.sweep.reduction)
        if climbing is None:
            return None
        one = self.candidates[study][climbing]
        return Candidate(one.number, one.variant, one.rung + 1)

    def _scored(self, study: Study, rung: int) -> dict[int, float]:
        on_rung = (one for one in self.candidates[study] if one.rung >= rung)
        scores = ((one.number, self.score(study, one, rung)) for one in on_rung)
        return {number: score for number, score in scores if score is not None}

    def _awaited(self, study: Study) -> Iterator[Candidate]:
        return (one for one in self.candidates[study] if self.score(study, one, one.rung) is None)


def trials(sweep: Sweep, store: Store) -> tuple[Trial, ...]:
    """Every trial of a sweep that is known: of a search, those of the candidates so far. Raises SpecError."""
    return sweep.trials() if sweep.search == "grid" else Search(sweep, store).trials()


def studies(sweep: Sweep) -> tuple[Study, ...]:
    """By model and, but for ``asha``, by budget."""
    words = itertools.product(sweep.model, sweep.revision)
    models = [(*one, model.name) for one, model in zip(words, sweep.models(), strict=True)]
    ladders = [sweep.budgets] if sweep.search == "asha" else [(budget,) for budget in sweep.budgets]
    return tuple(Study(*model, ladder) for model in models for ladder in ladders)


def choose(dimensions: Sequence[Dimension], past: Sequence[tuple[str, float | None]], search: str, seed: int) -> str:
    """The next variant: a pure function of those before, each with its score, None where it is still awaited.

    A failed one (infinite) counts like the worst: without it the same would be tried again. Samplers: Optuna's TPE
    (Bergstra et al. 2011) and Gaussian process; ``random`` and ``asha`` take no account of scores.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {one.name: one.distribution() for one in dimensions}
    worst = max((score for _, score in past if score is not None and math.isfinite(score)), default=0.0)
    study = optuna.create_study(sampler=_sampler(search, seed))
    for variant, score in past:
        state = TrialState.RUNNING if score is None else TrialState.COMPLETE
        value = None if score is None else min(score, worst)
        params = space.values(dimensions, variant)
        study.add_trial(create_trial(state=state, value=value, params=params, distributions=distributions))
    return space.variant(dimensions, study.ask(distributions).params)


def _sampler(search: str, seed: int) -> BaseSampler:
    import optuna

    if search == "tpe":
        # multivariate: settings go together, as learning rate and batch size do; constant_liar: not what is running
        return optuna.samplers.TPESampler(
            n_startup_trials=RANDOM_AT_FIRST,
            multivariate=True,
            constant_liar=True,
            seed=seed,
        )
    if search == "gp":
        return optuna.samplers.GPSampler(n_startup_trials=RANDOM_AT_FIRST, seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def promotable(scored: Sequence[Mapping[int, float]], rungs: Sequence[int], reduction: int) -> int | None:
    """Which candidate climbs next; None if none may. scored: by rung, what is scored on it; rungs: where each is.

    Asynchronous successive halving (Li et al. 2020, algorithm 2): of the n scored on a rung the best n / reduction,
    rounded down, may climb, from the highest rung down. One that failed never does.
    """
    for rung in reversed(range(len(scored) - 1)):
        best = sorted(scored[rung], key=lambda number: (scored[rung][number], number))
        for number in best[: len(best) // reduction]:
            if rungs[number] == rung and math.isfinite(scored[rung][number]):
                return number
    return None


def _folder(store: Store, study: Study) -> Folder:
    return store.root / SEARCH / study.name


def _file_name(number: int) -> str:
    return f"candidate-{number:05d}.json"


def _read(store: Store, study: Study, sweep: Sweep) -> list[Candidate]:
    """The first of its candidates, as many as the sweep wants, up to one that is gone. Raises CorruptFileError."""
    folder = _folder(store, study)
    there = set(folder.names())
    names = itertools.takewhile(there.__contains__, map(_file_name, range(sweep.candidates)))
    return [folder.read_record(name, _candidate) for name in names]


def _candidate(body: dict[str, Any]) -> Candidate:
    found: Candidate = read(Candidate, body)
    return found
