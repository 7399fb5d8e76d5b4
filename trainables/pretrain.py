"""The training loop: one function of plain data, a trial folder and a token store. It knows nothing of Ray.

It runs unchanged in Ray Train's local mode, as a worker of a distributed group (gloo or NCCL, found through
``torch.distributed``), and in a plain Python process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from trainables import checkpoint, models
from trainables.config import TrialConfig
from trainables.schedules import checkpoint_steps, learning_rate, shared_steps
from trainables.step_log import StepLog, TrainingDivergedError
from trainables.stopping import StoppedEarlyError, TrainingInterruptedError, broken
from trainables.storage import Folder
from trainables.token_store import TokenStore

# Shapes: B sequences of this rank's batch, T tokens, V vocabulary.
AGREE_EVERY = 16  # steps: ranks stop together, and asking each other waits for the device


@dataclass
class _Records:
    """What rank 0 writes of a trial. recent: sum and number of the losses since the checkpoint before."""

    trial: Folder
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    log: StepLog
    keep_states: bool
    shared: tuple[int, ...]

    def checkpoint(self, step: int) -> None:
        self.log.flush()
        _require_finite(self.model, step)
        checkpoint.save(self.trial, step, self.model, self.optimizer, keep_states=self.keep_states, shared=self.shared)

    def interim(self, step: int, recent: torch.Tensor) -> None:
        self.log.flush()
        _require_finite(self.model, step)
        checkpoint.save_interim(self.trial, step, self.model, self.optimizer, recent)


def pretrain(
    config: TrialConfig,
    trial: Folder,
    tokens: TokenStore,
    *,
    keep_states: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Train to the end of the budget; the number of steps done. ``keep_states``: of every checkpoint, not the newest.

    Goes on from the newest whole checkpoint in ``trial`` before which none is missing. Every rank of a distributed
    group calls it; rank 0 writes. Weights are a pure function of ``config`` on one kind of hardware. ``stop`` is asked
    after each step. Raises TrainingDivergedError; TrainingInterruptedError, with everything saved, once ``stop`` says
    so; StoppedEarlyError by the rules of ``config``; and ValueError where the token store is too small.
    """
    with _algorithms(config.deterministic):
        return _train(config, trial, tokens, keep_states, stop)


@contextlib.contextmanager
def _algorithms(deterministic: bool) -> Iterator[None]:
    """On CPUs PyTorch's default kernels are deterministic; on GPUs those of attention's gradient are not."""
    before = torch.are_deterministic_algorithms_enabled()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it PyTorch refuses matrix products
    torch.use_deterministic_algorithms(deterministic)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _train(config: TrialConfig, trial: Folder, tokens: TokenStore, keep_states: bool, stop: Callable[[], bool]) -> int:
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.init_seed)
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    model = models.start(config.model, init_seed=config.init_seed, device=str(device))
    optimizer = _adamw(model, config)
    keep = set(checkpoint_steps(config.optimization, config.steps, config.checkpoint_every))
    recent = torch.zeros(2, dtype=torch.float64, device=device)  # sum and number of losses since a checkpoint
    start = checkpoint.resume(trial, keep, model, optimizer, recent)
    replica = DistributedDataParallel(model) if world > 1 else model
    records = None
    if rank == 0:
        log = StepLog(trial, start or 0, config.tokens_per_step)
        shared = shared_steps(config.optimization, config.steps)
        records = _Records(trial, model, optimizer, log, keep_states, shared)
    if start is None and records:
        records.checkpoint(0)
    for step in range(start or 0, config.steps):
        rate = learning_rate(config.optimization, step, config.steps)
        loss, grad_norm = _step(replica, optimizer, _batch(config, tokens, step, rank, world, device), rate, config)
        if world > 1:
            distributed.all_reduce(loss, distributed.ReduceOp.SUM)
            loss /= world
        recent += torch.stack([loss, torch.ones_like(loss)])
        done = step + 1
        if records:
            records.log.add(done, rate, loss, grad_norm)
            if records.log.due:
                records.log.flush()
        if done in keep:
            if records:
                records.checkpoint(done)
            if done < config.steps and config.early_stop and (why := broken(config.early_stop, done, recent.tolist())):
                _wait_for_all(world, device)
                raise StoppedEarlyError(why)
            recent.zero_()
        if done < config.steps and _is_asked(stop, done, world, device):
            if records and done not in keep:
                records.interim(done, recent)
            _wait_for_all(world, device)
            raise TrainingInterruptedError(f"asked to stop; everything up to step {done} is saved")
    return config.steps


def _is_asked(stop: Callable[[], bool], done: int, world: int, device: torch.device) -> bool:
    if world == 1:
        return stop()
    if done % AGREE_EVERY:
        return False
    asked = torch.tensor(float(stop()), device=device)
    distributed.all_reduce(asked)
    return bool(asked)


def _wait_for_all(world: int, device: torch.device) -> None:
    """Until rank 0 has saved, too: where one rank raises, Ray Train ends the others, whatever they are doing."""
    if world > 1:
        there = torch.ones(1, device=device)
        distributed.all_reduce(there)
        there.item()  # on a GPU only this waits


def _require_finite(model: torch.nn.Module, step: int) -> None:
    """An update can overflow after a loss and a gradient that were finite; such weights are no checkpoint."""
    if not all(bool(weight.isfinite().all()) for weight in model.parameters()):
        raise TrainingDivergedError(f"step {step}: weights are no longer finite; lower learning_rate for this trial")


def _adamw(model: torch.nn.Module, config: TrialConfig) -> torch.optim.AdamW:
    """AdamW with Pythia's grouping: no weight decay on biases and layer norms."""
    settings = config.optimization
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    betas = (settings.adam_beta1, settings.adam_beta2)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas, eps=settings.adam_eps, fused=True)


def _batch(
    config: TrialConfig, tokens: TokenStore, step: int, rank: int, world: int, device: torch.device
) -> torch.Tensor:
    """This rank's share of the batch of ``step``, (B, T + 1): a pure function of (data_seed, step, rank)."""
    share = config.optimization.batch_size // world
    first = step * config.optimization.batch_size + rank * share
    block = torch.from_numpy(tokens.batch(data_seed=config.data_seed, start=first, count=share))
    if device.type == "cuda":
        block = block.pin_memory()  # else every copy would wait for the device
    return block.to(device, non_blocking=True)


def _step(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, block_BT: torch.Tensor, rate: float, config: TrialConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """One optimizer step; mean loss (nats per token) and gradient norm before clipping, left on the device."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    with torch.autocast(block_BT.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        logits_BTV = model(input_ids=block_BT[:, :-1]).logits
    loss = F.cross_entropy(logits_BTV.flatten(0, 1).float(), block_BT[:, 1:].flatten())
    loss.backward()  # type: ignore[no-untyped-call]
    grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimization.grad_clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach(), grad_norm.detach()
