"""One section of a Darknet ``.cfg``: its options, read with their type and range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layerscope.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Section", "shortened"]

LARGEST_INTEGER = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section of a cfg.

    Attributes:
        index: Position by the cfg's own counting; ``[net]`` is -1, the first layer 0.
        kind: The section's name in its long form (``convolutional`` where the file says ``conv``).
        line: Line of the section's header, counted from 1.
        options: Each option's text, white space and comment taken out.
        lines: The line of each option.
        file: What messages call the file.
    """

    index: int
    kind: str
    line: int
    options: Mapping[str, str]
    lines: Mapping[str, int]
    file: str

    @property
    def name(self) -> str:
        """Name of the layer: ``<index>_<section>``."""
        return f"{self.index}_{self.kind}"

    def error(self, message: str, option: str | None = None) -> ConfigError:
        """Phrase an error of this section, at the option's line where it has one.

        Args:
            message: What was expected and what came.
            option: The option at fault.

        Returns:
            The error, to be raised by the caller.
        """
        line = self.lines.get(option, self.line) if option else self.line
        where = f"[{self.kind}]" if self.index < 0 else f"section {self.index} [{self.kind}]"
        return ConfigError(f"{self.file}:{line}: {where}: {message}")

    def text(self, option: str, default: str | None = None, choices: Sequence[str] = ()) -> str:
        """Read an option as text.

        Args:
            option: The option's name.
            default: What holds where it is absent; None makes it required.
            choices: The only values it may have, if not empty.

        Raises:
            ConfigError: It is absent and required, or outside the choices.
        """
        value = self.options.get(option, default)
        if value is None:
            raise self.error(f"the option {option}= is missing")
        if choices and value not in choices:
            expected = ", ".join(choices)
            hint = nearest(value, choices)
            raise self.error(f"{option}={shortened(value)} is none of {expected}{hint}", option)
        return value

    def integer(self, option: str, default: int | None = None, *, low: int = 0, high: int = LARGEST_INTEGER) -> int:
        """Read an option as a whole number from ``low`` to ``high``; see :meth:`text` for the rest."""
        text = self.text(option, None if default is None else str(default))
        return self._integer(option, text, low, high)

    def number(self, option: str, default: float | None = None, *, low: float = -1e9, high: float = 1e9) -> float:
        """Read an option as a finite number from ``low`` to ``high``; see :meth:`text` for the rest."""
        text = self.text(option, None if default is None else repr(default))
        return self._number(option, text, low, high)

    def integers(self, option: str, *, low: int = -LARGEST_INTEGER, high: int = LARGEST_INTEGER) -> tuple[int, ...]:
        """Read a required comma-separated list of whole numbers from ``low`` to ``high``."""
        pieces = self.text(option).split(",")
        return tuple(self._integer(option, piece, low, high) for piece in pieces)

    def numbers(self, option: str, *, low: float = -1e9, high: float = 1e9) -> tuple[float, ...]:
        """Read a required comma-separated list of finite numbers from ``low`` to ``high``.

        One comma may be left over at the end, as some published anchors have it.
        """
        pieces = self.text(option).removesuffix(",").split(",")
        return tuple(self._number(option, piece, low, high) for piece in pieces)

    def flag(self, option: str) -> bool:
        """Read an option that is on where its number is not 0; absent is off."""
        return self.number(option, 0.0) != 0

    def refuse(self, *options: str) -> None:
        """Refuse options that would change the result and that no layer here follows.

        Raises:
            ConfigError: One of them is there with a value other than 0.
        """
        for option in options:
            if self.options.get(option, "0") not in ("0", "0.0"):
                raise self.error(f"the option {option}={shortened(self.options[option])} is not supported", option)

    def _integer(self, option: str, text: str, low: int, high: int) -> int:
        try:
            value = int(text)
        except ValueError:  # also raised for more than 4300 digits
            raise self.error(f"{option}= wants a whole number, not {shortened(text)!r}", option) from None
        if not low <= value <= high:
            raise self.error(f"{option}={shortened(text)} is outside {low} to {high}", option)
        return value

    def _number(self, option: str, text: str, low: float, high: float) -> float:
        try:
            value = float(text)
        except ValueError:
            raise self.error(f"{option}= wants a number, not {shortened(text)!r}", option) from None
        if not low <= value <= high:  # also where it is no number
            raise self.error(f"{option}={shortened(text)} is outside {low:g} to {high:g}", option)
        return value


def shortened(text: str, length: int = 40) -> str:
    """Keep a message on one readable line whatever stood in the file."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= length else shown[:length] + "..."
