"""Maps while Ultralytics trains."""

from __future__ import annotations

from typing import Any

from layerscope.training.logger import MapLogger

__all__ = ["add_map_logger"]


def add_map_logger(yolo: Any, **options: Any) -> None:
    """Have an Ultralytics model log maps while it trains.

    ::

        model = YOLO("yolo11n.yaml")
        add_map_logger(model, frames=probe, layers=["model.2", "model.4"], every=50)
        model.train(data="coco8.yaml")

    Args:
        yolo: An ``ultralytics.YOLO``, before ``train`` is called.
        **options: As ``MapLogger`` takes them; layers are named as in ``yolo.model``.
    """
    loggers: list[MapLogger] = []

    def begin(trainer: Any) -> None:
        loggers[:] = [MapLogger(trainer.model, **options)]

    def step(_trainer: Any) -> None:
        loggers[0].step()

    yolo.add_callback("on_train_start", begin)
    yolo.add_callback("on_train_batch_end", step)
