import shutil
import threading
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from orchestrator.store import Store
from orchestrator.tensorboard import TrialBoard, log_directory, quiet_writers, restore
from trainables.step_log import read_segment, segment_starts


def read(directory: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


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


def test_the_last_checkpoint_has_pictures(trial: tuple[Store, str]) -> None:
    store, trial_id = trial
    events = read(log_directory(store) / trial_id)
    assert set(events.Tags()["images"]) == {
        f"persistent_homology/{name}" for name in ("barcodes", "diagrams", "betti_curves")
    }
    for tag in events.Tags()["images"]:
        (image,) = events.Images(tag)
        assert image.step == store.read_trial(trial_id).steps
        assert image.encoded_image_string.startswith(b"\x89PNG")
        assert (image.width, image.height) == (2 * 208, 2 * 200)


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
    values = read(board.directory).Scalars("late")
    assert [(event.step, event.value) for event in values] == [(2, 3.0)]


def test_hparams_of_the_sweep_and_of_each_trial(trial: tuple[Store, str]) -> None:
    store, trial_id = trial

    def plugin(directory: Path, tag: str) -> plugin_data_pb2.HParamsPluginData:
        content = read(directory).SummaryMetadata(tag).plugin_data.content
        return plugin_data_pb2.HParamsPluginData.FromString(content)

    columns = plugin(log_directory(store), "_hparams_/experiment").experiment
    assert {"seed", "budget_flops"} <= {info.name for info in columns.hparam_infos}
    session = plugin(log_directory(store) / trial_id, "_hparams_/session_start_info").session_start_info
    assert session.hparams["seed"].number_value == store.read_trial(trial_id).seed


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
    assert sorted(path.name for path in log_directory(store).iterdir() if path.is_dir()) == store.trial_ids()
    assert set(read(log_directory(store) / first).Tags()["scalars"]) == before
    assert {"train/loss", "held_out_loss", "parameter_norm"} <= before


def test_a_trial_that_never_started_gets_no_run(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    waiting, *others = store.trial_ids()
    shutil.rmtree(log_directory(store))
    shutil.rmtree(store_copy / "trials" / waiting / "checkpoints")
    restore(store)
    assert sorted(path.name for path in log_directory(store).iterdir() if path.is_dir()) == others


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


def test_a_writer_whose_disk_went_away_is_an_error_for_the_caller_and_nothing_is_said_of_its_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: said.append(args.exc_type))

    def write() -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            writer.add_event(Event(wall_time=1.0, step=3))
            time.sleep(0.01)

    with quiet_writers():
        writer = EventFileWriter(str(tmp_path / "board"))
        writer.add_event(Event(wall_time=1.0, step=1))
        shutil.rmtree(tmp_path / "board")
        with pytest.raises(FileNotFoundError, match="board"):
            write()
        assert said == []
        thread = threading.Thread(target=lambda: [][1])  # others are heard as ever
        thread.start()
        thread.join()
    assert said == [IndexError]
