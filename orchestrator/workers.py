"""Workers of a distributed trial that hear SIGTERM: all of them then save together, where one alone would just die.

Ray Train runs the training in a thread of each worker's process, and signals are for the main thread. That one handles
Ray's calls, ten a second, and between them Python gets to run what handles a signal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

from orchestrator.stop import hear_sigterm


class _HearingBackend(_TorchBackend):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        super().on_start(worker_group, backend_config)
        worker_group.execute(hear_sigterm)


@dataclass
class HearingTorchConfig(TorchConfig):  # type: ignore[misc]
    """torch.distributed as Ray Train sets it up, and SIGTERM."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        return _HearingBackend
