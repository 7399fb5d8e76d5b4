"""TensorBoard event files, made from the store: one run per trial, and an overview of all.

What a trial wrote before this driver started is written again from the store, so a curve never shows a step twice after
a restart.
"""

from __future__ import annotations

from orchestrator.store import Store
from orchestrator.tensorboard.board import TrialBoard
from orchestrator.tensorboard.event_files import log_directory, quiet_writers
from orchestrator.tensorboard.overview import Overview
from trainables.checkpoint import CHECKPOINTS

__all__ = ["Overview", "TrialBoard", "log_directory", "quiet_writers", "restore"]


def restore(store: Store) -> None:
    """Make the runs of started trials that are gone anew from the store; nothing happens where none is."""
    started = [trial_id for trial_id in store.trial_ids() if store.trial(trial_id).exists(CHECKPOINTS)]
    gone = [trial_id for trial_id in started if not (log_directory(store) / trial_id).exists()]
    if gone:
        Overview.of(store).write()
    for trial_id in gone:
        TrialBoard.open(store, store.read_trial(trial_id)).close()
