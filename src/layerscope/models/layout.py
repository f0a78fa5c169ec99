"""Where the weights of a Darknet-like network lie: which parameters, in the order of the .weights format."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WeightSlot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSlot:
    """The parameters of one Darknet section, as names in the module's state dict.

    Attributes:
        section: The section's index in the cfg, ``[net]`` not counted.
        keys: State-dict keys in the order in which a ``.weights`` file stores them; for a convolution with
            batch norm its bias, scale, mean and variance, then the convolution's weights.
        conv: State-dict prefix of the convolution (or linear layer); None for a weighted shortcut.
        norm: State-dict prefix of the batch norm beside it, if there is one.
    """

    section: int
    keys: tuple[str, ...]
    conv: str | None = None
    norm: str | None = None

    @classmethod
    def of_convolution(cls, section: int, conv: str, norm: str | None) -> WeightSlot:
        """Build the slot of a convolution from the prefixes of its two modules.

        >>> WeightSlot.of_convolution(81, "out", None).keys
        ('out.bias', 'out.weight')
        """
        if norm is None:
            keys: tuple[str, ...] = (f"{conv}.bias", f"{conv}.weight")
        else:
            stored = ("bias", "weight", "running_mean", "running_var")
            keys = (*(f"{norm}.{part}" for part in stored), f"{conv}.weight")
        return cls(section=section, keys=keys, conv=conv, norm=norm)
