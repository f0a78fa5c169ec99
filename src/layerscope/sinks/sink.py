"""What a sink is: it takes a feature map while it exists, and writes it when there is time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from layerscope.hooks import FeatureMap

__all__ = ["Sink", "Target", "Write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a layer's pictures go.

    Attributes:
        folder: The frame's folder, existing.
        layer: The layer's true name.
        layer_folder: Its name as a folder's.
    """

    folder: Path
    layer: str
    layer_folder: str


Write = Callable[[Target], str]
"""Writes the files and returns their path within the frame's folder, ``{channel}`` standing for the number."""


class Sink(Protocol):
    """Where feature maps go.

    Attributes:
        kind: Its name, as in ``--write`` and the manifest.
        draws: Whether it makes pictures, so that only what can be drawn comes to it.
    """

    kind: str
    draws: bool

    @property
    def colormap(self) -> str | None:
        """The colour map that it draws with, for the manifest; None where it does not draw."""
        ...

    def take(self, feature_map: FeatureMap, scaled: Any) -> Write | None:
        """Take what is needed of a map.

        Called while the layer's output exists; the next operation may overwrite it, so nothing that shares
        memory with ``feature_map.values`` may be kept.

        Args:
            feature_map: The map.
            scaled: All its channels as bytes, a ``Scaled`` that nothing overwrites; None, for a sink that does not
                draw, where the output cannot be drawn: it counts items, is complex or empty.

        Returns:
            What writes the files, called later, on another thread; None where there is nothing to write.
        """
        ...
