import shutil
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from orchestrator.store import Store
from orchestrator.tensorboard import TrialBoard, log_directory, restore
from orchestrator.tensorboard.board import pictured
from trainables.step_log import read_segment, segment_starts


def read(directory: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0, "images": 0})
    accumulator.Reload()
    return accumulator


def runs(store: Store) -> list[str]:
    """Beside the overview, which is one."""
    names = sorted(path.name for path in log_directory(store).iterdir())
    assert sum(name.startswith("overview-") for name in names) == 1
    return [name for name in names if not name.startswith("overview-")]


@pytest.fixture
def trial(finished: Path) -> tuple[Store, str]:
    store = Store.existing(str(finished))
    return store, store.trial_ids()[-1]


def test_a_sweep_leaves_one_run_per_trial_with_every_step(trial: tuple[Store, str]) -> None:
    store, trial_id = trial
    events = read(log_directory(store) / trial_id)
    steps = store.read_trial(trial_id).steps
    for tag in ("train/loss", "train/learning_rate", "train/tokens_per_s", "train/grad_norm"):
        assert [event.step for event in events.Scalars(tag)] == list(range(1, steps + 1))
    logged = [
        v for start in segment_starts(store.trial(trial_id)) for v in read_segment(store.trial(trial_id), start)["loss"]
    ]
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(logged)


def test_metrics_stand_at_their_own_steps(trial: tuple[Store, str]) -> None:
    store, trial_id = trial
    events = read(log_directory(store) / trial_id)
    for tag in ("held_out_loss", "h1_total_persistence/layer_0", "twonn_dimension/layer_1"):
        assert sorted(event.step for event in events.Scalars(tag)) == store.measured_steps(trial_id)


def test_pairs_across_seeds_have_a_curve_for_each_other_seed(trial: tuple[Store, str]) -> None:
    store, trial_id = trial
    tags = set(read(log_directory(store) / trial_id).Tags()["scalars"])
    other = {0: 1, 1: 0}[store.read_trial(trial_id).seed]
    across = {tag for tag in tags if tag.startswith("linear_cka/across_seeds")}
    assert {f"linear_cka/across_seeds/with_seed_{other}/layer_{layer}" for layer in range(4)} == across
    assert "representation_topology_divergence/across_steps/layer_0" in tags


def test_the_last_checkpoint_has_all_pictures_and_a_few_before_it_diagrams(trial: tuple[Store, str]) -> None:
    store, trial_id = trial
    events = read(log_directory(store) / trial_id)
    end = store.read_trial(trial_id).steps
    steps = {"barcodes": [end], "betti_curves": [end], "diagrams": store.measured_steps(trial_id)}
    assert set(events.Tags()["images"]) == {f"persistent_homology/{name}" for name in steps}
    for name, expected in steps.items():
        images = events.Images(f"persistent_homology/{name}")
        assert sorted(image.step for image in images) == expected
        for image in images:
            assert image.encoded_image_string.startswith(b"\x89PNG")
            assert (image.width, image.height) == (350, 350)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], []),
        ([0], [0]),
        ([0, 1, 2, 4, 6], [0, 1, 2, 4, 6]),
        ([0, *(2**k for k in range(8)), 248], [0, 2, 8, 32, 64, 248]),
        ([0, *(2**k for k in range(10)), *range(1000, 144000, 1000)], [0, 8, 128, 1000, 13000, 143000]),
    ],
)
def test_steps_with_pictures_are_spread_on_a_log_scale(steps: list[int], expected: list[int]) -> None:
    assert sorted(pictured(steps)) == expected


def test_final_values_are_the_models_or_the_mean_over_blocks_and_of_pairs_once_all_are_there(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    config = store.read_trial(store.trial_ids()[0])
    end = config.steps
    board = TrialBoard.open(store, config)

    def final() -> dict[str, list[tuple[int, float]]]:
        events = read(board.run.directory)
        tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("final/made")]
        return {tag[len("final/made_") :]: [(one.step, one.value) for one in events.Scalars(tag)] for tag in tags}

    def measure(step: int, *values: tuple[str, int | None, float | None], other: list[object] | None = None) -> None:
        listed = [[f"made_{name}", layer, value, None] for name, layer, value in values]
        record = {"metric": "made", "version": 1, "values": listed, "status": "ok", "reason": None, "seconds": 0.0}
        store.add_measurements(config.trial_id, step, [record | ({"other": other} if other else {})])

    others = [trial_id for trial_id in store.trial_ids() if trial_id != config.trial_id]
    measure(2, ("early", None, 1.0))
    measure(end, ("both", None, 3.0), ("both", 1, 9.0), ("blocks", 0, 50.0), ("blocks", 1, 1.0), ("blocks", 2, 2.0))
    board.close(for_good=False)
    alone = {"both": [(end, 3.0)], "blocks": [(end, 1.5)]}
    assert final() == alone
    measure(end, ("pair/across_seeds", 1, 1.0), ("pair/across_seeds", 2, 2.0), other=[others[0], end])
    board.close(for_good=False)
    assert final() == alone
    measure(end, ("pair/across_seeds", 1, 6.0), ("pair/across_seeds", 2, None), other=[others[1], end])
    for _ in range(2):
        board.close()
        assert final() == alone | {"pair/across_seeds": [(end, 3.0)]}


def test_embeddings_alone_are_a_final_value_and_a_trial_that_ended_early_has_none(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    config = store.read_trial(store.trial_ids()[0])
    record = {"metric": "made", "version": 1, "status": "ok", "reason": None, "seconds": 0.0}
    store.add_measurements(config.trial_id, config.steps, [record | {"values": [["of_embeddings", 0, 4.0, None]]}])
    TrialBoard.open(store, config).close()
    (value,) = read(log_directory(store) / config.trial_id).Scalars("final/of_embeddings")
    assert (value.step, value.value) == (config.steps, 4.0)
    (store.trial(config.trial_id) / "measurements").delete(f"step-{config.steps:08d}.json")
    TrialBoard.open(store, config).close()
    tags = read(log_directory(store) / config.trial_id).Tags()["scalars"]
    assert [tag for tag in tags if tag.startswith("final/")] == []


def test_a_layer_without_norms_has_no_histogram(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    trial_id = store.trial_ids()[0]
    for step in store.measured_steps(trial_id):
        norms = store.read_measurements(trial_id, step)["hidden_norm@1"]
        gone = [[name, layer, None if layer == 2 else value, why] for name, layer, value, why in norms["values"]]
        store.add_measurements(trial_id, step, [norms | {"values": gone}])
    shutil.rmtree(log_directory(store))
    restore(store)
    tags = set(read(log_directory(store) / trial_id).Tags()["tensors"])
    assert {tag for tag in tags if tag.startswith("hidden_norm/")} == {f"hidden_norm/layer_{k}" for k in (0, 1, 3)}


def test_without_its_diagrams_a_trial_has_no_picture_and_all_its_numbers(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    trial_id = store.trial_ids()[0]
    shutil.rmtree(store_copy / "trials" / trial_id / "diagrams")
    shutil.rmtree(log_directory(store))
    restore(store)
    events = read(log_directory(store) / trial_id)
    assert events.Tags()["images"] == []
    assert "h1_count/layer_3" in events.Tags()["scalars"]


def test_what_comes_after_the_end_is_shown_too(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    board = TrialBoard.open(store, store.read_trial(store.trial_ids()[0]))
    board.close()
    board.add_measurements(2, [{"metric": "late", "version": 1, "values": [["late", None, 3.0, None]]}])
    board.close()
    values = read(board.run.directory).Scalars("late")
    assert [(event.step, event.value) for event in values] == [(2, 3.0)]


def test_a_resumed_trial_shows_no_step_twice(store_copy: Path) -> None:
    """The log of a trial that was interrupted after step 8 and cut its later segments elsewhere the second time."""
    store = Store.existing(str(store_copy))
    config = store.read_trial(store.trial_ids()[-1])
    board = TrialBoard.open(store, config)
    assert board.follow() == config.steps
    folder = store.trial(config.trial_id)
    starts = segment_starts(folder)
    merged = read_segment(folder, starts[-2])
    for name, values in read_segment(folder, starts[-1]).items():
        merged[name] += values
    (folder / "log").delete(f"{starts[-1]:08d}.json")
    (folder / "log").write_json(f"{starts[-2]:08d}.json", merged)
    board.close()
    steps = [event.step for event in read(log_directory(store) / config.trial_id).Scalars("train/loss")]
    assert steps == list(range(1, config.steps + 1))


@pytest.mark.parametrize("lost", [".", "first"])
def test_runs_that_are_gone_are_made_anew_from_the_store_alone(store_copy: Path, lost: str) -> None:
    store = Store.existing(str(store_copy))
    first = store.trial_ids()[0]
    before = set(read(log_directory(store) / first).Tags()["scalars"])
    shutil.rmtree(log_directory(store) / lost.replace("first", first))
    restore(store)
    assert runs(store) == store.trial_ids()
    assert set(read(log_directory(store) / first).Tags()["scalars"]) == before
    assert {"train/loss", "held_out_loss", "parameter_norm"} <= before


def test_a_trial_that_never_started_gets_no_run(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    waiting, *others = store.trial_ids()
    shutil.rmtree(log_directory(store))
    shutil.rmtree(store_copy / "trials" / waiting / "checkpoints")
    restore(store)
    assert runs(store) == others


def test_runs_that_are_there_are_left_alone(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    before = sorted(log_directory(store).rglob("*"))
    restore(store)
    assert sorted(log_directory(store).rglob("*")) == before


def test_a_damaged_log_segment_leaves_a_gap_and_stops_nothing(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    config = store.read_trial(store.trial_ids()[-1])
    first = segment_starts(store.trial(config.trial_id))[0]
    (store.trial(config.trial_id) / "log").write(f"{first:08d}.json", b"{}")
    board = TrialBoard.open(store, config)
    assert board.follow() == config.steps
    board.close()


def test_of_two_versions_of_a_metric_the_newest_is_shown(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    trial = store.trial_ids()[0]
    for step in store.measured_steps(trial):
        old = store.read_measurements(trial, step)["parameter_norm@1"]
        store.add_measurements(trial, step, [old | {"version": 2, "values": [["parameter_norm", None, 7.0, None]]}])
    shutil.rmtree(log_directory(store))
    restore(store)
    values = read(log_directory(store) / trial).Scalars("parameter_norm")
    assert [(event.step, event.value) for event in values] == [(step, 7.0) for step in store.measured_steps(trial)]
