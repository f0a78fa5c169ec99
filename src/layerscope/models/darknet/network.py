"""Any Darknet ``.cfg`` as one ``nn.Module``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from layerscope.models.darknet.shapes import plan
from layerscope.models.darknet.stages import find_stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layerscope.models.darknet.cfg import Config
    from layerscope.models.darknet.step import Step

__all__ = ["DarknetNetwork"]


class DarknetNetwork(nn.Module):
    r"""The network that a cfg describes, each section a child called ``<index>_<section>``.

    A section's module is called once per forward with the tensors that it reads, so that a forward hook on
    it sees that layer's output. The network can be built under ``torch.device("meta")`` and then filled by
    ``load_state_dict(state, assign=True)``.

    Args:
        config: The cfg.
        size_hw: Height and width of the input; the cfg's own where it is None.
        bn_eps: What batch norm adds to the variance.

    Attributes:
        config: The cfg.
        size_hw: Height and width of the input.
        shapes: Output shape of each layer, (C, H, W).
        heads: The raw heads in the cfg's order; empty for a classifier.
        slots: Where a ``.weights`` file keeps each layer's weights, in its order.
        stages: The stages' layers, by the rule in :mod:`layerscope.models.darknet.stages`.

    Raises:
        ConfigError: The cfg cannot be built; file, line and section are named.

    >>> import torch
    >>> from layerscope.models.darknet.cfg import parse_config
    >>> text = "[net]\nheight=8\nwidth=6\n[convolutional]\nfilters=4\nsize=3\nstride=2\npad=1"
    >>> net = DarknetNetwork(parse_config(text, "tiny.cfg"))
    >>> net.shapes, [tuple(output.shape) for output in net(torch.zeros(1, 3, 8, 6))]
    (((4, 4, 3),), [(1, 4, 4, 3)])
    """

    def __init__(self, config: Config, size_hw: tuple[int, int] | None = None, *, bn_eps: float = 1e-5) -> None:
        super().__init__()
        input_shape, steps = plan(config, size_hw, bn_eps)
        self.config = config
        self.size_hw = input_shape[1:]
        self.shapes = tuple(step.shape for step in steps)
        self.heads = tuple(step.head for step in steps if step.head)
        self.slots = tuple(step.slot for step in steps if step.slot)
        names = tuple(section.name for section in config.sections)
        self.stages = tuple(names[index] for index in find_stages(config, input_shape, steps))
        self._sources = tuple(step.sources for step in steps)
        self._outputs = _outputs(steps)
        self._finished = _finished(self._sources, self._outputs)
        for name, step in zip(names, steps, strict=True):
            self.add_module(name, step.make())

    def forward(self, x: Tensor) -> list[Tensor]:
        """Run a batch of pictures.

        Args:
            x: ``(N, C, H, W)`` float.

        Returns:
            A detector's raw heads in the cfg's order, each ``(N, anchors * (5 + classes), H', W')``; for any
            other network its last layer's output alone.
        """
        kept = {-1: x}
        layers = zip(self.children(), self._sources, self._finished, strict=True)
        for index, (layer, sources, finished) in enumerate(layers):
            kept[index] = layer(*(kept[source] for source in sources))
            for source in finished:
                del kept[source]
        return [kept[index] for index in self._outputs]


def _outputs(steps: Sequence[Step]) -> tuple[int, ...]:
    """Find the layers whose outputs the network gives: those that detection layers read, else the last."""
    heads = tuple(step.sources[0] for step in steps if step.head)
    return heads or (len(steps) - 1,)


def _finished(sources: Sequence[Sequence[int]], outputs: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """List for each layer the outputs, its own included, that no later layer and nobody outside reads."""
    last_use = {index: index for index in range(len(sources))}
    for index, read in enumerate(sources):
        last_use.update(dict.fromkeys(read, index))
    finished: list[list[int]] = [[] for _ in sources]
    for index, user in last_use.items():
        if index not in outputs:
            finished[user].append(index)
    return tuple(tuple(indices) for indices in finished)
