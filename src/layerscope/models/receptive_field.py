"""How far a cell can see: intervals of the input, carried along with the tensors of a running network.

Every operation that the forward calls is heard of as it runs, skips and branches included, so no graph is
needed and control flow does no harm (for the arithmetic: A. Araujo, W. Norris, J. Sim, "Computing Receptive
Fields of Convolutional Neural Networks", Distill, 2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Axis", "Reach", "ReceptiveFields"]


@dataclass(frozen=True, slots=True)
class Axis:
    """What a cell sees along one axis: cell ``i`` sees input pixels ``low + i * jump`` to ``high + i * jump``."""

    low: float = 0.0
    high: float = 0.0
    jump: float = 1.0

    def windowed(self, kernel: int, stride: int, padding: int, dilation: int) -> Axis:
        """Slide a window over the cells."""
        return Axis(
            self.low - padding * self.jump,
            self.high + ((kernel - 1) * dilation - padding) * self.jump,
            self.jump * stride,
        )

    def enlarged(self, factor: int) -> Axis:
        """Repeat every cell; the bounds hold for each of the copies."""
        jump = self.jump / factor
        return Axis(self.low - (factor - 1) * jump, self.high, jump)

    def joined(self, other: Axis) -> Axis:
        """See what either sees."""
        return Axis(min(self.low, other.low), max(self.high, other.high), max(self.jump, other.jump))


EVERYTHING = Axis(-math.inf, math.inf, 1.0)


@dataclass(frozen=True, slots=True)
class Reach:
    """What one cell sees, down and across."""

    down: Axis
    across: Axis

    @property
    def size_hw(self) -> tuple[float, float]:
        """Height and width, input pixels; ``inf`` where it is everything."""
        return self.down.high - self.down.low + 1, self.across.high - self.across.low + 1

    def joined(self, other: Reach) -> Reach:
        """See what either sees."""
        return Reach(self.down.joined(other.down), self.across.joined(other.across))


Known = tuple[Tensor, Reach]


class ReceptiveFields(TorchFunctionMode):
    """While entered, follows every operation from the input on.

    Args:
        x: (N, C, H, W) the tensor that the network is called with.
    """

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self._reaches: Any = WeakIdKeyDictionary()
        self._reaches[x] = Reach(Axis(), Axis())

    def of(self, tensor: Tensor) -> Reach | None:
        """Return what a cell of this tensor sees; None where that is not known."""
        reach: Reach | None = self._reaches.get(tensor)
        return reach

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation and note what its output sees."""
        kwargs = kwargs or {}
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        before = [(tensor, reach) for tensor in inputs if (reach := self.of(tensor)) is not None]
        output = func(*args, **kwargs)
        if before:
            for tensor in tree_leaves(output):
                if isinstance(tensor, Tensor):
                    self._note(func.__name__, tensor, before, args, kwargs)
        return output

    def _note(
        self, name: str, output: Tensor, before: list[Known], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        rule = RULES.get(name, _cellwise)
        reach = rule(output, before, args, kwargs)
        if reach is not None:
            self._reaches[output] = reach
        elif output in self._reaches:
            del self._reaches[output]


def _cellwise(output: Tensor, before: list[Known], _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Reach | None:
    """Every cell from the same cells: activations, sums, concatenations; single cells are spread over all."""
    if output.ndim < 3:
        return Reach(EVERYTHING, EVERYTHING)
    if output.ndim != 4:
        return None
    reach: Reach | None = None
    for tensor, own in before:
        seen = own
        if tensor.shape[-2:] != output.shape[-2:]:
            if (1, 1) not in (tensor.shape[-2:], output.shape[-2:]):
                return None
            seen = Reach(EVERYTHING, EVERYTHING)
        reach = seen if reach is None else reach.joined(seen)
    return reach


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return (value[0], value[1]) if len(value) == 2 else (value[0], value[0])


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], place: int, name: str, default: Any) -> Any:
    value = args[place] if len(args) > place else kwargs.get(name, default)
    return default if value is None or (isinstance(value, tuple | list) and not value) else value


def _windowed(reach: Reach, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Reach:
    k, s, d = _pair(kernel), _pair(stride), _pair(dilation)
    if isinstance(padding, str):
        p = (0, 0) if padding == "valid" else (d[0] * (k[0] - 1) // 2, d[1] * (k[1] - 1) // 2)
    else:
        p = _pair(padding)
    return Reach(reach.down.windowed(k[0], s[0], p[0], d[0]), reach.across.windowed(k[1], s[1], p[1], d[1]))


def _convolution(_output: Tensor, before: list[Known], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reach | None:
    weight = args[1] if len(args) > 1 else kwargs["weight"]
    stride, padding, dilation = (
        _argument(args, kwargs, place, name, default)
        for place, name, default in ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))
    )
    return _windowed(before[0][1], tuple(weight.shape[-2:]), stride, padding, dilation)


def _maximum_pool(_output: Tensor, before: list[Known], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reach | None:
    kernel = _argument(args, kwargs, 1, "kernel_size", 1)
    stride = _argument(args, kwargs, 2, "stride", kernel)
    padding = _argument(args, kwargs, 3, "padding", 0)
    return _windowed(before[0][1], kernel, stride, padding, _argument(args, kwargs, 4, "dilation", 1))


def _average_pool(_output: Tensor, before: list[Known], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reach | None:
    kernel = _argument(args, kwargs, 1, "kernel_size", 1)
    stride = _argument(args, kwargs, 2, "stride", kernel)
    return _windowed(before[0][1], kernel, stride, _argument(args, kwargs, 3, "padding", 0), 1)


def _pad(_output: Tensor, before: list[Known], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reach | None:
    amounts = args[1] if len(args) > 1 else kwargs["pad"]
    left, top = amounts[0], amounts[2] if len(amounts) > 2 else 0
    reach = before[0][1]
    return Reach(reach.down.windowed(1, 1, top, 1), reach.across.windowed(1, 1, left, 1))


def _interpolate(output: Tensor, before: list[Known], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reach | None:
    tensor, reach = before[0]
    factors = [new / old for new, old in zip(output.shape[-2:], tensor.shape[-2:], strict=True)]
    mode = _argument(args, kwargs, 3, "mode", "nearest")
    if mode != "nearest" or any(factor != int(factor) for factor in factors):
        return None
    return Reach(reach.down.enlarged(int(factors[0])), reach.across.enlarged(int(factors[1])))


RULES: dict[str, Callable[[Tensor, list[Known], tuple[Any, ...], dict[str, Any]], Reach | None]] = {
    "avg_pool2d": _average_pool,
    "conv2d": _convolution,
    "interpolate": _interpolate,
    "max_pool2d": _maximum_pool,
    "pad": _pad,
}
"""Operations that move a cell's window; every other one is taken cell by cell if its output has its input's size."""
