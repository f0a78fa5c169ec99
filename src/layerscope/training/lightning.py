"""Maps while PyTorch Lightning trains."""

from __future__ import annotations

import importlib.util
from typing import Any

from layerscope.extras import require
from layerscope.training.logger import MapLogger

__all__ = ["MapCallback"]

_old = importlib.util.find_spec("lightning") is None and importlib.util.find_spec("pytorch_lightning") is not None
_lightning = require("pytorch_lightning" if _old else "lightning.pytorch", "lightning")


class MapCallback(_lightning.Callback):  # type: ignore[misc, name-defined]  # known when it runs
    """Logs maps of the module that Lightning trains; see ``MapLogger`` for what it keeps.

    ::

        Trainer(callbacks=[MapCallback(frames=probe, layers="convs", every=100)])

    Args:
        part: Which submodule to log, by its dotted name; None: the module itself.
        **options: As ``MapLogger`` takes them.
    """

    def __init__(self, *, part: str | None = None, **options: Any) -> None:
        super().__init__()
        self.part, self.options = part, options
        self.logger: MapLogger | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin, in the first process only."""
        if trainer.is_global_zero:
            module = pl_module if self.part is None else pl_module.get_submodule(self.part)
            self.logger = MapLogger(module, **self.options)

    def on_train_batch_end(self, trainer: Any, *_batch: Any) -> None:
        """Count the optimizer's steps."""
        if self.logger is not None:
            numbers = {name: float(value) for name, value in trainer.callback_metrics.items()}
            self.logger.step(trainer.global_step, **numbers)
