from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from orchestrator.workers import HearingTorchConfig

WITHIN_S = 120.0


def test_a_worker_hears_sigterm_and_lives_to_act_on_it(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    monkeypatch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")

    def train(settings: dict[str, str]) -> None:
        import ray.train
        from torch import distributed

        from orchestrator.stop import SIGTERM_HEARD

        rank, folder = ray.train.get_context().get_world_rank(), Path(settings["folder"])
        assert distributed.get_world_size() == 2
        (folder / f"pid-{rank}.part").write_text(str(os.getpid()))
        (folder / f"pid-{rank}.part").rename(folder / f"pid-{rank}")
        heard = SIGTERM_HEARD.wait(float(settings["within_s"]) if rank else 0.0)
        (folder / f"heard-{rank}").write_text(str(heard))
        distributed.barrier()

    def kill() -> None:
        until = time.monotonic() + WITHIN_S
        while not (tmp_path / "pid-1").exists() and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(int((tmp_path / "pid-1").read_text()), signal.SIGTERM)

    killer = threading.Thread(target=kill)
    killer.start()
    TorchTrainer(
        train,
        train_loop_config={"folder": str(tmp_path), "within_s": str(WITHIN_S)},
        torch_config=HearingTorchConfig(),
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(storage_path=str(tmp_path / "ray")),
    ).fit()  # raises, had a worker died
    killer.join()
    assert [(tmp_path / f"heard-{rank}").read_text() for rank in (0, 1)] == ["False", "True"]
