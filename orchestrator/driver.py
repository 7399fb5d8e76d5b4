"""Drives a sweep: what the plan says is missing is trained by Ray Tune and measured by the evaluator pool."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator import disk, evaluation_data, lease, probe, provenance, retention, search
from orchestrator import plan as planning
from orchestrator.alarm import Alarm
from orchestrator.capacity import awaited
from orchestrator.collector import Collector
from orchestrator.engine import ray_running
from orchestrator.evaluators import EvaluatorPool
from orchestrator.plan import PlannedTrial
from orchestrator.progress import Display, ingestion
from orchestrator.scratch import remove_abandoned
from orchestrator.search import Search
from orchestrator.spec import Sweep
from orchestrator.store import ERROR_LOG, STATUS, TRIALS, Store
from orchestrator.tensorboard import quiet_writers
from orchestrator.tuning import tune_trials
from orchestrator.words import SpecError
from trainables import ingest, models, packing
from trainables.checkpoint import take_back_release
from trainables.config import Trial, TrialConfig
from trainables.storage import Folder

if TYPE_CHECKING:
    from orchestrator.feed import Feed


def run(sweep: Sweep, space: str, store: Store, *, address: str | None, console: Console) -> list[str]:
    """Do what is left of the sweep; returns what failed, one line each with its log. Nothing left: does nothing.

    Raises SpecError for a sweep that would mix with other results, input that cannot be read, or a store on which
    another driver works; OSError where the store or Ray goes away. KeyboardInterrupt waits until the trials have saved.
    """
    store.refuse_mixing(sweep)
    sweep.bounds()  # raises where there can be none, before anything is written
    alarm = Alarm()
    with alarm.heard(), lease.hold(store.root, alarm) as held:
        try:
            return _run(sweep, space, store, address, console, held)
        finally:
            _remove_temporary(store)


def _remove_temporary(store: Store) -> None:
    """What killed processes left half written; young files at the top may be of a report that is being made."""
    remove_abandoned()
    with contextlib.suppress(OSError):  # of a store that has gone away
        (store.root / TRIALS).remove_temporary()
        store.root.remove_temporary(older_than_s=60)


def _run(sweep: Sweep, space: str, store: Store, address: str | None, console: Console, held: lease.Lease) -> list[str]:
    store.refuse_mixing(sweep)  # once more: until now another driver could write here
    released = sum(len(retention.settle(store, config, sweep)) for config in search.trials(sweep, store))
    planned = planning.plan(sweep, store)
    unavailable, changed = evaluation_data.settle(planned, sweep, store)
    for name, reason in unavailable.items():
        console.print(f"{name} is skipped: {reason}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    if changed:
        planned = planning.plan(sweep, store)
    todo = [trial for trial in planned if trial.action != "done"]
    searching = None if sweep.search == "grid" else Search(sweep, store)
    if not todo and (searching is None or searching.is_finished):
        _write_records(planned, store)
        _say_released(released, sweep, console)
        console.print(f"nothing to do: all {len(planned)} trials are trained and measured")
        _say_best(searching, console)
        return []
    console.print(
        f"{len(planned)} trials: {sum(t.action in ('train', 'fetch') for t in todo)} to "
        f"{'fetch' if sweep.checkpoints else 'train'}, {sum(t.action == 'measure' for t in todo)} to measure, "
        f"{len(planned) - len(todo)} done already"
        + (f", {searching.to_come} candidates to be chosen" if searching else "")
    )
    if warning := disk.estimate(planned, sweep, store).warning:
        console.print(warning, style="yellow", highlight=False, markup=False)
    with ray_running(address, evaluators=sweep.evaluators, distributed=sweep.workers > 1, alarm=held.alarm):
        probe.require_seen(store)
        if waiting := awaited():
            console.print(waiting, highlight=False)
        configs = [*(trial.config for trial in todo), *(sweep.bounds() if searching else ())]
        commits = prepare_data(sweep, store, configs, console, held.alarm)
        store.write_sweep(space, sweep, provenance.collect(), commits)
        store = store.anchored(functools.partial(console.print, style="yellow", highlight=False, markup=False))
        _write_records(planned, store)
        pool = EvaluatorPool.start(store, sweep)
        try:
            with Display(console) as display, quiet_writers():
                training = longest_first(planned)
                for trial in training:
                    _forget_attempt(trial, store)
                collector = Collector(store, sweep, planned, training, pool, display)
                _train_and_measure(sweep, store, training, collector, held, searching)
        finally:
            pool.stop()
    _say_released(released + collector.released, sweep, console)
    _say_best(searching, console)
    return collector.failures()


def _forget_attempt(trial: PlannedTrial, store: Store) -> None:
    """What an earlier run left of it that is no result."""
    for name in (STATUS, ERROR_LOG):
        store.trial(trial.trial_id).delete(name)
    for step in {*trial.to_make, *trial.to_fetch}:  # released, and yet something is to be measured
        take_back_release(store.trial(trial.trial_id), step)


def _say_best(searching: Search | None, console: Console) -> None:
    for line in searching.best() if searching else ():
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _say_released(count: int, sweep: Sweep, console: Console) -> None:
    if count:
        console.print(
            f"keep={sweep.keep}: deleted the weights of {count} measured checkpoint{'s' if count > 1 else ''}"
        )


def _write_records(planned: list[PlannedTrial], store: Store) -> None:
    for trial in planned:
        store.write_trial(trial.config)


def longest_first(planned: list[PlannedTrial]) -> list[PlannedTrial]:
    """The trials to train or fetch, in the order in which they start: the longest first, so that no core waits at the
    end."""
    running = [trial for trial in planned if trial.action in ("train", "fetch")]
    return sorted(running, key=lambda trial: (-trial.flops, -len(trial.to_fetch) * trial.config.model.n_params_total))


def prepare(sweep: Sweep, store: Store, *, address: str | None, console: Console) -> None:
    """Only what a run begins with: everything downloaded, tokenised and packed. Raises SpecError for bad input."""
    configs = sweep.bounds()
    ready = all(
        packing.prepared(store.tokens(tokens), _needed(tokens, configs)) for tokens in {one.tokens for one in configs}
    )
    alarm = Alarm()
    running = contextlib.nullcontext() if ready else ray_running(address, evaluators=0, distributed=False, alarm=alarm)
    with alarm.heard(), running:
        if not ready:
            probe.require_seen(store)
        prepare_data(sweep, store, configs, console, alarm)


def prepare_data(
    sweep: Sweep, store: Store, configs: Sequence[Trial], console: Console, alarm: Alarm
) -> dict[str, str | None]:
    """Fetch published weights, and ingest for each token store what the largest budget of ``configs`` needs.

    The commits of the data sets, by token store. Raises SpecError, naming file and line, for bad input.
    """
    known = store.read_sweep()
    commits: dict[str, str | None] = dict(known["commits"]) if known else {}
    say = functools.partial(console.print, highlight=False, markup=False, soft_wrap=True)
    try:
        for model in sweep.models():
            if model.revision is not None:
                say(f"{model.name}: published weights in {models.fetch_weights(model)}")
        for fingerprint, spec in sweep.token_specs().items():
            needed = _needed(fingerprint, configs)
            folder = store.tokens(fingerprint)
            with (
                _tokens_lease(folder, needed, alarm, say),
                ingestion(console, needed, spec.seq_len) as progress,
            ):
                tokens = ingest.prepare(
                    spec,
                    folder,
                    blocks=needed,
                    commit=commits.get(fingerprint),
                    embedded_shards=store.tokens(spec.corpus_fingerprint),
                    say=say,
                    progress=progress,
                )
            now = tokens.meta["commit"]
            if now != commits.setdefault(fingerprint, now):  # made anew by another sweep, after it was deleted
                raise SpecError(
                    f"{folder}: the tokens are of commit {now} of {spec.corpus}, the results of {store.uri} of "
                    f"{commits[fingerprint]}; move these tokens away, and they are made anew"
                )
    except ValueError as error:
        raise SpecError(str(error)) from error
    return commits


@contextlib.contextmanager
def _tokens_lease(folder: Folder, blocks: int, alarm: Alarm, say: Callable[[str], None]) -> Iterator[None]:
    """One sweep at a time makes a token store, which is for all beside it; the others wait, and find it made."""
    if packing.prepared(folder, blocks):
        yield
        return

    said: set[str] = set()

    def waiting(holder: lease.Holder) -> None:
        if holder.owner not in said:
            said.add(holder.owner)
            say(f"{folder}: {holder} is preparing these tokens; waiting for it")

    with lease.hold(folder, alarm, waiting=waiting):
        folder.remove_temporary()
        yield


def _needed(tokens: str, configs: Sequence[Trial]) -> int:
    """Training blocks that the largest trial of a token store reads."""
    trained = (config for config in configs if isinstance(config, TrialConfig))
    return max((config.blocks for config in trained if config.tokens == tokens), default=0)


def _train_and_measure(
    sweep: Sweep,
    store: Store,
    todo: list[PlannedTrial],
    collector: Collector,
    held: lease.Lease,
    searching: Search | None,
) -> None:
    """Tune in this thread, the collector in another; then the collector until all is measured."""
    stop = threading.Event()
    thread = threading.Thread(target=collector.run, args=(stop,), name="collector", daemon=True)
    thread.start()
    try:
        if todo or searching:
            tune_trials(sweep, store, todo, _feed(searching, todo, collector) if searching else None)
        collector.training_ended()
        while thread.is_alive():
            thread.join(0.2)  # with a limit, so that Ctrl-C is heard
    except KeyboardInterrupt:
        if held.alarm.error is None:
            _save_running(store, sweep, collector, held)
        raise
    finally:
        stop.set()
        thread.join()
        collector.close()


def _feed(searching: Search, todo: list[PlannedTrial], collector: Collector) -> Feed:
    """What is left of the candidates that were chosen before, then those that are chosen now."""
    from orchestrator.feed import Feed  # imports Ray

    sweep, store = searching.sweep, searching.store

    def more() -> list[str] | None:
        configs = None if collector.has_failed else searching.next()
        if not configs:
            return None if configs is None else []
        for config in configs:
            store.write_trial(config)
        chosen = planning.plan_new(configs, sweep, store)
        for trial in chosen:
            _forget_attempt(trial, store)
        collector.add(chosen)
        return [trial.trial_id for trial in chosen]

    return Feed([trial.trial_id for trial in todo], more, searching.lost.add)


def _save_running(store: Store, sweep: Sweep, collector: Collector, held: lease.Lease) -> None:
    """Have the running trials save where they are, and wait for them as long as the sweep says."""
    running = [one.planned.trial_id for one in collector.running]
    if sweep.checkpoints or not sweep.grace or not running:
        return
    held.ask_to_stop()
    collector.display.say(
        f"stopping: {len(running)} running trials save where they are, in at most {sweep.grace:g} s (grace=); "
        "interrupt again to lose what came after their last checkpoints"
    )
    until = time.monotonic() + sweep.grace
    while running and time.monotonic() < until:
        statuses = {trial_id: store.read_status(trial_id) for trial_id in running}
        running = [trial_id for trial_id, status in statuses.items() if status and status.state == "running"]
        time.sleep(0.2)
