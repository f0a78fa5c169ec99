"""Maps while a Hugging Face Trainer trains."""

from __future__ import annotations

from typing import Any

from layerscope.extras import require
from layerscope.training.logger import MapLogger

__all__ = ["MapCallback"]

_transformers = require("transformers", "transformers")


class MapCallback(_transformers.TrainerCallback):  # type: ignore[misc, name-defined]  # known when it runs
    """Logs maps of the model that the Trainer trains; see ``MapLogger`` for what it keeps.

    ::

        Trainer(model, args, train_dataset=data, callbacks=[MapCallback(frames=pixel_values, layers="convs")])

    Args:
        part: Which submodule to log, by its dotted name; None: the model itself.
        **options: As ``MapLogger`` takes them.
    """

    def __init__(self, *, part: str | None = None, **options: Any) -> None:
        self.part, self.options = part, options
        self.logger: MapLogger | None = None

    def on_train_begin(self, _args: Any, state: Any, _control: Any, model: Any, **_others: Any) -> None:
        """Begin, in the first process only."""
        if state.is_world_process_zero:
            self.logger = MapLogger(model if self.part is None else model.get_submodule(self.part), **self.options)

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_others: Any) -> None:
        """Count the optimizer's steps."""
        if self.logger is not None:
            self.logger.step(state.global_step)
