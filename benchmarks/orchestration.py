"""What orchestration costs: 12 equal trials of about 1.5 s of training, driven in three ways.

    python benchmarks/orchestration.py [--repeats 3]

(a) this program without metrics; (b) a plain, sequential Python loop over the same training function; (c) the recipe of
Ray's own documentation: a Tune function around a TorchTrainer with one worker, a Ray Data dataset and
TuneReportCallback. Each is a process of its own, timed from its start to its end: imports and the start of Ray count.
All read the same token store, prepared beforehand, train on one thread per trial, and take the same steps; (a) and (b)
also write the same checkpoints and logs, (c) writes none.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TRIALS, STEPS = 12, 34
SETTINGS = [f"budgets={STEPS}steps", "metrics=none"]


def ours(store: Path, seeds: range) -> list[str]:
    """The command of (a)."""
    listed = ",".join(map(str, seeds))
    command = [sys.executable, str(ROOT / "sweep.py"), "run", "quickstart", "--store", str(store)]
    return [*command, f"seeds={listed}", *SETTINGS]


def plain_loop(store: str, scratch: str) -> None:
    """(b): every trial, one after the other, in this process."""
    from orchestrator.store import Store
    from trainables.pretrain import pretrain
    from trainables.storage import Folder
    from trainables.token_store import TokenStore

    for config in trial_configs():
        tokens = TokenStore.open(Store.open(store).tokens(config.tokens))
        pretrain(config, Folder.open(scratch) / config.trial_id, tokens)


def trial_configs() -> list[Any]:
    from orchestrator.overrides import override
    from search_spaces import find

    seeds = ",".join(map(str, range(TRIALS)))
    return list(override(find("quickstart")(), [f"seeds={seeds}", *SETTINGS]).trials())


def recipe_worker(settings: dict[str, Any]) -> None:
    """(c)'s training function: the same model, optimizer and steps, fed by its Ray Data shard."""
    import ray.train
    import torch

    from trainables import models
    from trainables.config import TrialConfig
    from trainables.pretrain import _adamw, _step
    from trainables.schedules import checkpoint_steps, learning_rate

    config = TrialConfig.from_json(settings["trial"])
    torch.set_num_threads(config.threads)
    model = models.build(config.model, init_seed=config.init_seed)
    optimizer = _adamw(model, config)
    reported = set(checkpoint_steps(config.optimization, config.steps, config.checkpoint_every))
    shard = ray.train.get_dataset_shard("train")
    batches = shard.iter_torch_batches(batch_size=config.optimization.batch_size, dtypes=torch.long)
    for step, batch in zip(range(config.steps), batches, strict=False):
        rate = learning_rate(config.optimization, step, config.steps)
        loss, _ = _step(model, optimizer, batch["tokens"], rate, config)
        if step + 1 in reported:
            ray.train.report({"step": step + 1, "loss": loss.item()})


def recipe_trial(settings: dict[str, Any]) -> None:
    """(c)'s Tune function."""
    import ray.data
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    TorchTrainer(
        recipe_worker,
        train_loop_config=settings,
        datasets={"train": ray.data.read_parquet(settings["parts"], columns=["tokens"])},
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(storage_path=settings["scratch"], callbacks=[TuneReportCallback()]),
    ).fit()


def recipe(store: str, scratch: str) -> None:
    """(c): two trials at a time, with logical CPUs for two drivers, two workers and Ray Data."""
    import ray
    from ray import tune

    from orchestrator import authentication
    from orchestrator.store import Store
    from trainables.token_store import part_name

    authentication.require_token()
    ray.init(address="local", num_cpus=6, log_to_driver=False)
    configs = trial_configs()
    part = f"{Store.open(store).tokens(configs[0].tokens)}/{part_name('train', 0)}"
    base = {"scratch": scratch, "parts": [part]}
    results = tune.Tuner(
        recipe_trial,
        param_space={**base, "trial": tune.grid_search([config.to_json() for config in configs])},
        tune_config=tune.TuneConfig(max_concurrent_trials=2),
        run_config=tune.RunConfig(storage_path=scratch),
    ).fit()
    assert not results.errors, results.errors
    assert all(result.metrics["step"] == STEPS for result in results), "a trial of the recipe stopped early"
    ray.shutdown()


def timed(command: list[str]) -> float:
    """Wall seconds of a command that must succeed; its output is shown only where it does not."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    if result.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}")
    return time.perf_counter() - began


def measure(repeats: int) -> dict[str, list[float]]:
    """Seconds of (a), (b) and (c); (a) and (b) in turn, so that a drift of the machine's speed meets both."""
    seconds: dict[str, list[float]] = {"ours": [], "plain_loop": [], "ray_recipe": []}
    with tempfile.TemporaryDirectory(prefix="toposweep-benchmark-") as scratch:
        prepared = Path(scratch) / "prepared"
        timed(ours(prepared, range(99, 100)))  # the token store, once for all
        for index in range(repeats):
            store = Path(scratch) / f"ours-{index}"
            timed(["cp", "-r", str(prepared), str(store)])
            seconds["ours"].append(timed(ours(store, range(TRIALS))))
            script = [sys.executable, __file__]
            seconds["plain_loop"].append(timed([*script, "--part", "plain", str(prepared), f"{scratch}/plain-{index}"]))
        seconds["ray_recipe"].append(timed([*script, "--part", "recipe", str(prepared), f"{scratch}/recipe"]))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="runs of (a) and (b); the medians count")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        kind, store, scratch = options.part
        (plain_loop if kind == "plain" else recipe)(store, scratch)
        return
    seconds = measure(options.repeats)
    print(f"{TRIALS} trials of {STEPS} steps, {os.cpu_count()} cores; wall seconds, start-up included")
    for name, values in seconds.items():
        print(f"{name:12} {statistics.median(values):8.1f}   of " + ", ".join(f"{value:.1f}" for value in values))
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {"plain_loop": middle["ours"] / middle["plain_loop"], "ray_recipe": middle["ray_recipe"] / middle["ours"]}
    print(json.dumps({"name": "orchestration", "ratios": ratios}))


if __name__ == "__main__":
    main()
