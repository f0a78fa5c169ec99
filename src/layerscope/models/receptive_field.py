"""How far a cell can see: intervals of the input, carried along with the tensors of a running network.

Every operation that the forward calls is heard of as it runs, skips and branches included, so no graph is
needed and control flow does no harm (for the arithmetic: A. Araujo, W. Norris, J. Sim, "Computing Receptive
Fields of Convolutional Neural Networks", Distill, 2019).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from layerscope.models.reach import EVERYTHING, Axis, Reach

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ReceptiveFields"]

Known = tuple[Tensor, Reach]


class ReceptiveFields(TorchFunctionMode):
    """While entered, follows every operation from the input on.

    What an operation that is not understood gives, and all that is made of it, is not known.

    Args:
        x: (N, C, H, W) the tensor that the network is called with.
    """

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self._reaches: Any = WeakIdKeyDictionary()  # all that depends on the input; None: it is not known how
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
        before = [(tensor, self._reaches[tensor]) for tensor in inputs if tensor in self._reaches]
        output = func(*args, **kwargs)
        if before:
            name = func.__name__.strip("_")
            for tensor in tree_leaves(args[0] if name == "setitem" else output):
                if isinstance(tensor, Tensor):
                    self._reaches[tensor] = _reach(name, tensor, before, args, kwargs)
        return output


def _reach(
    name: str,
    output: Tensor,
    before: list[tuple[Tensor, Reach | None]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Reach | None:
    """Tell what a cell of an operation's output sees, by what the cells of its inputs see."""
    known = [(tensor, reach) for tensor, reach in before if reach is not None]
    if any(reach == EVERYTHING for _, reach in known):
        return EVERYTHING
    if len(known) < len(before):
        return None
    if name in WINDOWS:
        return WINDOWS[name](output, known[0], args, kwargs) if len(known) == 1 else None
    if all(_is_one_cell(tensor) for tensor in (output, *(tensor for tensor, _ in known))):
        return _joined(known)
    if name in OVER_AXES and not isinstance(_argument(args, kwargs, 1, "dim", ()), Tensor):
        return _over_axes(output, known[0], args, kwargs)
    if output.ndim < 3:  # no rows and columns: all cells together, unless some are picked out
        return EVERYTHING if name in FLATTENS else None
    if name == "stack" and _argument(args, kwargs, 1, "dim", 0) % output.ndim >= output.ndim - 2:
        return None
    if name in CELLWISE or _is_pointwise(name):
        return _together(output, known)
    if name in MOVES_AXES and _same_axes(output, known[0][0], args):
        return known[0][1]
    return EVERYTHING if name in OVER_ALL else None


def _is_one_cell(tensor: Tensor) -> bool:
    return tensor.ndim < 3 or tensor.shape[-2:] == (1, 1)


def _joined(known: list[Known]) -> Reach | None:
    reach: Reach | None = known[0][1]
    for _, own in known[1:]:
        reach = reach.joined(own) if reach is not None else None
    return reach


@cache
def _is_pointwise(name: str) -> bool:
    """Ask PyTorch whether an operation works number by number."""
    operation = getattr(torch.ops.aten, name, None)
    if operation is None:
        return False
    return any(torch.Tag.pointwise in getattr(operation, kind).tags for kind in operation.overloads())


def _together(output: Tensor, known: list[Known]) -> Reach | None:
    """Every cell from the same cells of all inputs; a single cell is spread over all."""
    for tensor, _ in known:
        if tensor.shape[-2:] != output.shape[-2:]:
            return EVERYTHING if tensor.shape[-2:] == (1, 1) else None
    return _joined(known)


def _over_axes(output: Tensor, before: Known, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reach | None:
    """Keep what a cell sees where the axes are not rows or columns; over both of them it is everything."""
    tensor, reach = before
    axes = _argument(args, kwargs, 1, "dim", ())
    places = {axis % tensor.ndim - tensor.ndim for axis in ((axes,) if isinstance(axes, int) else axes)}
    if not places or places >= {-1, -2}:
        return EVERYTHING
    return None if places & {-1, -2} or output.ndim < 3 else reach


def _same_axes(output: Tensor, tensor: Tensor, args: tuple[Any, ...]) -> bool:
    """Tell whether a view's last two axes still are its tensor's: rows and columns in the same steps."""
    index = args[1] if len(args) > 1 and isinstance(args[1], tuple) else args[1:]
    if any(isinstance(part, Tensor | list) for part in index[0 if Ellipsis in index[:1] else 2 :]):
        return False
    return output.shape[-2:] == tensor.shape[-2:] and output.stride()[-2:] == tensor.stride()[-2:]


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


def _convolution(_output: Tensor, before: Known, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reach | None:
    weight = args[1] if len(args) > 1 else kwargs["weight"]
    stride, padding, dilation = (
        _argument(args, kwargs, place, name, default)
        for place, name, default in ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))
    )
    return _windowed(before[1], tuple(weight.shape[-2:]), stride, padding, dilation)


def _transposed(_output: Tensor, before: Known, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reach | None:
    weight = args[1] if len(args) > 1 else kwargs["weight"]
    stride, padding, dilation = (
        _pair(_argument(args, kwargs, place, name, default))
        for place, name, default in ((3, "stride", 1), (4, "padding", 0), (7, "dilation", 1))
    )
    (kernel_down, kernel_across), reach = weight.shape[-2:], before[1]
    return Reach(
        reach.down.spread(kernel_down, stride[0], padding[0], dilation[0]),
        reach.across.spread(kernel_across, stride[1], padding[1], dilation[1]),
    )


def _maximum_pool(_output: Tensor, before: Known, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reach | None:
    kernel = _argument(args, kwargs, 1, "kernel_size", 1)
    stride = _argument(args, kwargs, 2, "stride", kernel)
    padding = _argument(args, kwargs, 3, "padding", 0)
    return _windowed(before[1], kernel, stride, padding, _argument(args, kwargs, 4, "dilation", 1))


def _average_pool(_output: Tensor, before: Known, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reach | None:
    kernel = _argument(args, kwargs, 1, "kernel_size", 1)
    stride = _argument(args, kwargs, 2, "stride", kernel)
    return _windowed(before[1], kernel, stride, _argument(args, kwargs, 3, "padding", 0), 1)


def _adaptive_pool(output: Tensor, before: Known, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Reach | None:
    tensor, reach = before
    if output.shape[-2:] == (1, 1):
        return reach if _is_one_cell(tensor) else EVERYTHING
    if any(old % new for old, new in zip(tensor.shape[-2:], output.shape[-2:], strict=True)):
        return None
    kernel = [old // new for old, new in zip(tensor.shape[-2:], output.shape[-2:], strict=True)]
    return _windowed(reach, kernel, kernel, 0, 1)


def _pad(_output: Tensor, before: Known, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reach | None:
    amounts = args[1] if len(args) > 1 else kwargs["pad"]
    left, top = amounts[0], amounts[2] if len(amounts) > 2 else 0
    reach = before[1]
    return Reach(reach.down.windowed(1, 1, top, 1), reach.across.windowed(1, 1, left, 1))


def _interpolate(output: Tensor, before: Known, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reach | None:
    tensor, reach = before
    down, across = (new / old for new, old in zip(output.shape[-2:], tensor.shape[-2:], strict=True))
    asked = _argument(args, kwargs, 2, "scale_factor", 1)
    if any(factor % 1 for factor in (asked if isinstance(asked, tuple | list) else (asked,))):
        return None  # it is stepped by what was asked for, which the sizes do not show
    mode = _argument(args, kwargs, 3, "mode", "nearest")
    smooth = mode == "bilinear" and not _argument(args, kwargs, 4, "align_corners", False)
    if down % 1 or across % 1 or not (smooth or mode in ("nearest", "nearest-exact")):
        return None
    axes = ((reach.down, int(down)), (reach.across, int(across)))
    return Reach(*(axis.smoothed(factor) if smooth else axis.spread(factor, factor, 0, 1) for axis, factor in axes))


def _normalised(_output: Tensor, before: Known, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reach | None:
    """Batch norm by stored statistics is cell by cell, by the input's own it sees all of it."""
    own = _argument(args, kwargs, 5, "training", False)
    return EVERYTHING if own else before[1]


def _instance_norm(_output: Tensor, before: Known, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reach | None:
    """Likewise, but for the default."""
    return EVERYTHING if _argument(args, kwargs, 5, "use_input_stats", True) else before[1]


WINDOWS: dict[str, Callable[[Tensor, Known, tuple[Any, ...], dict[str, Any]], Reach | None]] = {
    "adaptive_avg_pool2d": _adaptive_pool,
    "adaptive_max_pool2d": _adaptive_pool,
    "avg_pool2d": _average_pool,
    "batch_norm": _normalised,
    "conv2d": _convolution,
    "conv_transpose2d": _transposed,
    "instance_norm": _instance_norm,
    "interpolate": _interpolate,
    "max_pool2d": _maximum_pool,
    "max_pool2d_with_indices": _maximum_pool,
    "pad": _pad,
}
"""Operations that move a cell's window or decide about it by their options."""

CELLWISE = frozenset(
    [
        "alpha_dropout",
        "bfloat16",
        "cat",
        "chunk",
        "concat",
        "concatenate",
        "contiguous",
        "copy",
        "cpu",
        "cuda",
        "detach",
        "double",
        "dropout",
        "dropout2d",
        "feature_alpha_dropout",
        "flatten",
        "float",
        "glu",
        "half",
        "hardswish",
        "local_response_norm",
        "log_sigmoid",
        "narrow",
        "ones_like",
        "prelu",
        "rdiv",
        "reshape",
        "rpow",
        "softsign",
        "split",
        "split_with_sizes",
        "squeeze",
        "stack",
        "tanhshrink",
        "to",
        "type",
        "type_as",
        "unflatten",
        "unsqueeze",
        "view",
        "view_as",
        "zeros_like",
    ]
)
"""Operations beside PyTorch's pointwise ones whose cells come from the same cells, if rows and columns stay."""

MOVES_AXES = frozenset(
    ["expand", "expand_as", "get", "getitem", "movedim", "permute", "swapaxes", "transpose", "unbind"]
)
"""Operations that may exchange or shorten axes."""

OVER_AXES = frozenset(
    [
        "all",
        "amax",
        "amin",
        "any",
        "argmax",
        "argmin",
        "log_softmax",
        "logsumexp",
        "max",
        "mean",
        "min",
        "prod",
        "softmax",
        "sum",
    ]
)
"""Operations that bring the numbers along some axes together."""

FLATTENS = frozenset(("flatten", "reshape", "view"))
"""Operations that may lay all cells side by side in one row of numbers."""

OVER_ALL = frozenset(("group_norm", "layer_norm"))
"""Operations whose every output hangs on all of the input, by its mean and variance."""
