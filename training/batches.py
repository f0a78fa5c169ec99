"""Scenes as training batches, made in a process of their own while the network trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from scenes import FIRST_UNSEEN_SEED, scene

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Batch", "Phase", "batches"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of training with one size of scenes.

    Attributes:
        side_px: Height and width of the scenes.
        batch: Scenes in a step.
        steps: How many steps.
    """

    side_px: int
    batch: int
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Scenes for one step.

    Attributes:
        pictures: (N, 3, H, W) uint8 RGB.
        boxes: (M, 4) float32 left, top, right, bottom, pixels; those of all scenes in a row.
        labels: (M,) class numbers.
        owners: (M,) which scene of the batch each box belongs to.
    """

    pictures: Tensor
    boxes: Tensor
    labels: Tensor
    owners: Tensor


class BatchesOfScenes(Dataset[Batch]):
    """All batches of a training run by their number; each scene's seed is used once."""

    def __init__(self, phases: tuple[Phase, ...], first_seed: int) -> None:
        self.plan: list[tuple[int, int, int]] = []  # first seed, scenes, their size
        for phase in phases:
            for _ in range(phase.steps):
                self.plan.append((first_seed, phase.batch, phase.side_px))
                first_seed += phase.batch
        if first_seed > FIRST_UNSEEN_SEED:
            raise ValueError(f"seeds up to {first_seed - 1} would be trained on; from {FIRST_UNSEEN_SEED} they test")

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> Batch:
        first, count, side_px = self.plan[index]
        made = [scene(first + offset, side_px=side_px) for offset in range(count)]
        boxes = [item.box for one in made for item in one.objects]
        pixels = np.stack([one.pixels for one in made]).transpose(0, 3, 1, 2)
        return Batch(
            pictures=torch.from_numpy(np.ascontiguousarray(pixels)),
            boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor([item.class_id for one in made for item in one.objects], dtype=torch.long),
            owners=torch.tensor([n for n, one in enumerate(made) for _ in one.objects], dtype=torch.long),
        )


def batches(phases: tuple[Phase, ...], first_seed: int) -> Iterator[Batch]:
    """Give the batches of a run in order.

    Args:
        phases: One after the other.
        first_seed: Of the first scene; the following ones count up from it.
    """
    data = BatchesOfScenes(phases, first_seed)
    return iter(DataLoader(data, batch_size=None, num_workers=1, prefetch_factor=6))
