"""The options of preparation as keywords, by the names that every function and command uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PreparationOptions"]


class PreparationOptions(TypedDict, total=False):
    """Keywords of ``load``, ``capture``, ``run`` and ``detect``; one that is left out, or None, changes nothing.

    See ``Preparation`` for what each may be.
    """

    size: int | tuple[int, int] | None
    resize: str | None
    crop_share: float | None
    filter: str | None
    order: str | None
    range: str | None
    mean: Iterable[float] | None
    std: Iterable[float] | None
    pad: int | None
