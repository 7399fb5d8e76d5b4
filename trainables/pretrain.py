"""The training loop: one function of plain data, a trial folder and a token store. It knows nothing of Ray.

It runs unchanged in Ray Train's local mode, as a worker of a distributed group (gloo or NCCL, found through
``torch.distributed``), and in a plain Python process.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from trainables import checkpoint, models
from trainables.config import TrialConfig
from trainables.schedules import checkpoint_steps, learning_rate
from trainables.step_log import StepLog, TrainingDivergedError
from trainables.storage import Folder
from trainables.token_store import TokenStore

# Shapes: B sequences of this rank's batch, T tokens, V vocabulary.


def pretrain(config: TrialConfig, trial: Folder, tokens: TokenStore, *, keep_states: bool = False) -> int:
    """Train to the end of the budget; the number of steps done. ``keep_states``: of every checkpoint, not the newest.

    Goes on from the newest whole checkpoint in ``trial`` before which none is missing. Every rank of a distributed
    group calls it; rank 0 writes. Weights are a pure function of ``config`` on one kind of hardware. Raises
    TrainingDivergedError, and ValueError where the token store is too small.
    """
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.init_seed)
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    model = models.start(config.model, init_seed=config.init_seed, device=str(device))
    optimizer = _adamw(model, config)
    keep = set(checkpoint_steps(config.optimization, config.steps, config.checkpoint_every))
    start = checkpoint.resume(trial, keep, model, optimizer)
    replica = DistributedDataParallel(model) if world > 1 else model
    log = StepLog(trial, start or 0, config.tokens_per_step) if rank == 0 else None
    if start is None and rank == 0:
        checkpoint.save(trial, 0, model, optimizer, keep_states=keep_states)
    for step in range(start or 0, config.steps):
        rate = learning_rate(config.optimization, step, config.steps)
        loss, grad_norm = _step(replica, optimizer, _batch(config, tokens, step, rank, world, device), rate, config)
        if world > 1:
            distributed.all_reduce(loss, distributed.ReduceOp.SUM)
            loss /= world
        done = step + 1
        if log:
            log.add(done, rate, loss, grad_norm)
            if done in keep or log.due:
                log.flush()
            if done in keep:
                _require_finite(model, done)
                checkpoint.save(trial, done, model, optimizer, keep_states=keep_states)
    return config.steps


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
    logits_BTV = model(input_ids=block_BT[:, :-1]).logits
    loss = F.cross_entropy(logits_BTV.flatten(0, 1).float(), block_BT[:, 1:].flatten())
    loss.backward()  # type: ignore[no-untyped-call]
    grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimization.grad_clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach(), grad_norm.detach()
