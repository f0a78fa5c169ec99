"""A weights file of any kind into a module that was built without memory."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from layerscope.errors import LayerscopeWarning, WeightsError
from layerscope.models.checkpoints import Fitted, fit, kind_of, read_state
from layerscope.models.darknet.weights import looks_like_weights, read_weights
from layerscope.models.seeded import seeded_tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layerscope.models.layout import WeightSlot

__all__ = ["WeightsFile", "WeightsOptions", "WeightsReport", "fill_built", "open_weights", "put_weights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsOptions:
    """How weights are to be taken.

    Attributes:
        partial: Take what fits of a file that does not fit whole.
        trust_pickle: Unpickle files that run code.
        seed: Of the random weights that stand in for those that no file gives.
        bn_eps: The batch norm epsilon; None: the one that the file's naming brings.
    """

    partial: bool = False
    trust_pickle: bool = False
    seed: int = 0
    bn_eps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """An opened weights file: its tensors, or for Darknet's format only that it is one."""

    path: Path
    kind: str
    state: dict[str, Tensor] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsReport:
    """Where a network's weights came from.

    Attributes:
        path: The file; None for seeded random weights.
        naming: Whose names or format it uses, in words.
        taken: How many tensors came from the file.
        total: How many the network has, counters not counted.
        bn_eps: The batch norm epsilon in force; None: the one that the network was built with.
        seed: Of the random rest; None where nothing is random.
    """

    path: Path | None
    naming: str
    taken: int
    total: int
    bn_eps: float | None = None
    seed: int | None = None

    @property
    def summary(self) -> str:
        """One line for a person."""
        if self.path is None and self.seed is not None:
            return f"seeded random weights (seed {self.seed}), nothing trained"
        if self.path is None:
            return self.naming
        part = "" if self.taken == self.total else f", {self.taken} of {self.total} tensors, the rest random"
        return f"{self.path.name} ({self.naming}{part})"


def open_weights(path: str | Path, *, trust_pickle: bool = False) -> WeightsFile:
    """Open a weights file, telling its kind by its content.

    Raises:
        WeightsError: It is missing, empty, or of no kind that can be read.
        UnsafeWeightsError: It is a pickle that wants to run code, and is not trusted.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such weights file") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise WeightsError(f"{path}: the weights file is empty")
    kind = kind_of(head)
    if kind in ("torch", "safetensors", "pickle"):
        return WeightsFile(path=path, kind=kind, state=read_state(path, kind, trust_pickle=trust_pickle))
    if kind is None and looks_like_weights(head):
        return WeightsFile(path=path, kind="darknet")
    found = "a text file" if kind == "text" else "neither a PyTorch, safetensors nor Darknet weights file"
    hint = "; it is a Git LFS pointer: fetch the file itself with `git lfs pull`" if b"git-lfs" in head else ""
    raise WeightsError(f"{path}: is {found}{hint}")


def put_weights(
    module: nn.Module,
    slots: Sequence[WeightSlot],
    file: WeightsFile | None,
    *,
    network: str,
    options: WeightsOptions,
) -> WeightsReport:
    """Fill a module that was built on the meta device.

    Tensors of the file are assigned, not copied: what is memory mapped stays so. What no file gives is
    seeded random, with a warning.

    Args:
        module: Built under ``torch.device("meta")``.
        slots: Its parameters in Darknet order.
        file: From ``open_weights``; None for random weights only.
        network: What to call it in messages.
        options: How to take them.

    Raises:
        WeightsMismatchError: The file belongs to another network and ``partial`` is off.
        WeightsError: A Darknet file is damaged.
    """
    own = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    state, naming, eps = _state_for(own, slots, file, network=network, options=options)
    countable = [key for key in own if not key.endswith("num_batches_tracked")]
    missing = [key for key in countable if key not in state]
    taken = len(countable) - len(missing)
    for key in own:
        if key not in state:
            state[key] = seeded_tensor(key, own[key], options.seed)
    module.load_state_dict(state, assign=True)
    eps = eps if options.bn_eps is None else options.bn_eps
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
            part.eps = eps
    module.eval()
    report = WeightsReport(
        path=file.path if file else None,
        naming=naming,
        taken=taken,
        total=len(countable),
        bn_eps=eps,
        seed=options.seed if missing else None,
    )
    if missing:
        warnings.warn(f"{network}: {report.summary}", LayerscopeWarning, stacklevel=3)
    return report


def fill_built(
    module: nn.Module, file: WeightsFile | None, *, network: str, options: WeightsOptions, own: str | None = None
) -> WeightsReport:
    """Fill a module that another library built, and put it into evaluation mode.

    Args:
        module: With numbers of its own.
        file: From ``open_weights``; None to keep the module's numbers.
        network: What to call it in messages.
        options: How to take them.
        own: Where the module's own numbers come from, in words; None: they are random.

    Raises:
        WeightsMismatchError: The file belongs to another network and ``partial`` is off.
        WeightsError: It is no PyTorch or safetensors file.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
    countable = [key for key in shapes if not key.endswith("num_batches_tracked")]
    taken, naming, path = 0 if own is None else len(countable), own or "random", None
    if file is not None:
        if file.state is None:
            raise WeightsError(f"{file.path}: is a Darknet weights file; {network} takes PyTorch or safetensors files")
        fitted = fit(file.state, shapes, ())
        if not fitted.whole and not (options.partial and _anything(fitted)):
            raise fitted.refusal(file.path, network)
        module.load_state_dict(fitted.state, strict=False)
        taken, naming, path = sum(key in fitted.state for key in countable), fitted.match.name, file.path
    if options.bn_eps is not None:
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eps = options.bn_eps
    module.eval()
    random = own is None and taken < len(countable)
    return WeightsReport(
        path=path,
        naming=naming,
        taken=taken,
        total=len(countable),
        bn_eps=options.bn_eps,
        seed=options.seed if random else None,
    )


def _state_for(
    own: dict[str, tuple[int, ...]],
    slots: Sequence[WeightSlot],
    file: WeightsFile | None,
    *,
    network: str,
    options: WeightsOptions,
) -> tuple[dict[str, Tensor], str, float]:
    """Return what the file gives, whose naming it is, and the epsilon that goes with it."""
    if file is None:
        return {}, "random", 1e-5
    if file.state is None:
        stored = read_weights(file.path, slots, own)
        return dict(stored.state), f"Darknet {stored.header.version}", 1e-5
    fitted = fit(file.state, own, slots)
    if not fitted.whole and not (options.partial and _anything(fitted)):
        raise fitted.refusal(file.path, network)
    naming = fitted.match.naming
    return fitted.state, fitted.match.name, naming.eps if naming else 1e-5


def _anything(fitted: Fitted) -> bool:
    return any(not key.endswith("num_batches_tracked") for key in fitted.state)
