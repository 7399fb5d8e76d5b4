from __future__ import annotations

import pytest

import search_spaces
from orchestrator.overrides import override
from orchestrator.store import ERROR_LOG, Status, Store
from orchestrator.tuning import _record_death, _require_room
from orchestrator.words import SpecError


@pytest.mark.parametrize(
    ("settings", "cluster", "said"),
    [
        (["threads=4"], {"CPU": 2.0}, "a trial needs 4 CPUs, Ray has 2"),
        (["workers=2", "threads=2"], {"CPU": 3.0, "trial_driver": 1.0}, "a trial needs 4 CPUs, Ray has 3"),
        (["workers=2"], {"CPU": 2.0}, "start one Ray node with --resources"),
        (["workers=2"], {"CPU": 2.0, "trial_driver": 1.0}, None),
        ([], {"CPU": 1.0}, None),
    ],
)
def test_a_trial_that_would_never_find_a_place_is_refused(
    settings: list[str], cluster: dict[str, float], said: str | None
) -> None:
    sweep = override(search_spaces.find("quickstart")(), settings)
    if said is None:
        _require_room(sweep, cluster)
    else:
        with pytest.raises(SpecError, match=said):
            _require_room(sweep, cluster)


def test_a_trial_that_could_not_even_begin_is_failed_with_its_last_good_step_and_a_log(store_copy: str) -> None:
    store = Store.existing(str(store_copy))
    trial = store.trial_ids()[0]
    store.write_status(trial, Status("running", step=2, seconds=0.0, deaths=3))
    _record_death(store, trial, RuntimeError("Traceback ...\nActorDiedError: it exited"))
    found = store.read_status(trial)
    assert found is not None
    assert (found.state, found.step) == ("failed", store.read_trial(trial).steps)
    assert "again and again" in (found.reason or "")
    assert (found.reason or "").endswith("ActorDiedError: it exited")
    assert store.trial(trial).read(ERROR_LOG) == b"Traceback ...\nActorDiedError: it exited"
