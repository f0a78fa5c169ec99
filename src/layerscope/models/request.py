"""What a source is asked to load, and the parts that loaders of other libraries share."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn

from layerscope.errors import LayerscopeWarning, OptionError, SourceError
from layerscope.models.network import Network
from layerscope.models.weights import WeightsFile, WeightsOptions, WeightsReport, fill_built

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Loader", "Request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a source is asked to load.

    Attributes:
        source: The whole source string.
        argument: What stands behind its colon, or the file.
        file: The opened weights, if any.
        official: The network's own pretrained weights are wanted, from where its library has them.
        weights: How to take weights.
        classes: Number of classes; None: what the weights say, else the source's own.
        size: Height and width of the input; None: the source's own.
        arguments: Keywords for the function or class that builds the network.
    """

    source: str
    argument: str
    file: WeightsFile | None = None
    official: bool = False
    weights: WeightsOptions = field(default_factory=WeightsOptions)
    classes: int | None = None
    size: tuple[int, int] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What stands before the colon."""
        return self.source.partition(":")[0]

    def own_file(self) -> Path:
        """Return the file that is the whole network: it brings its weights, and nothing builds it.

        Raises:
            SourceError: There is no such file.
            OptionError: Weights or keywords were given.
        """
        self.refuse_weights()
        self.refuse_arguments()
        path = Path(self.argument)
        if not path.is_file():
            raise SourceError(f"{path}: no such file")
        return path

    def refuse_argument(self) -> None:
        """Refuse what stands behind a colon, and keywords, for a source that takes neither."""
        if self.argument:
            raise SourceError(
                f"{self.kind} takes nothing after a colon, got {self.source!r}; "
                "a Darknet configuration is darknet:FILE.cfg, weights come by --weights"
            )
        self.refuse_arguments()

    def refuse_arguments(self) -> None:
        """Refuse keywords, for a source that builds nothing with them."""
        if self.arguments:
            raise OptionError(f"arguments: {self.source} takes none, got {', '.join(self.arguments)}")

    def refuse_weights(self) -> None:
        """Refuse weights, for a source that brings its own."""
        if self.file is not None or self.official:
            raise OptionError(f"weights: {self.source} brings its own")

    def refuse_official(self) -> None:
        """Refuse official weights, for a source that knows of none."""
        if self.official:
            raise OptionError(f"weights: no official ones are known for {self.source}; give a file")

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Draw first weights by the request's seed while the body builds; other random numbers are left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.weights.seed)
            yield

    def fill(self, module: nn.Module, *, own: str | None = None, hint: str = "") -> WeightsReport:
        """Put the weights that were asked for into a module that was built elsewhere, in evaluation mode.

        Args:
            module: With numbers of its own.
            own: Where these come from, in words; None: they were drawn under ``seeded``.
            hint: How to get trained weights, for the warning where there are none.

        Raises:
            WeightsMismatchError: The file belongs to another network.
        """
        report = fill_built(module, self.file, network=self.source, options=self.weights, own=own)
        if report.seed is not None:
            more = f"; {hint}" if hint and self.file is None else ""
            warnings.warn(f"{self.source}: {report.summary}{more}", LayerscopeWarning, stacklevel=4)
        return report


Loader: TypeAlias = Callable[[Request], Network]
"""What an entry point of the group ``layerscope.sources`` names."""
