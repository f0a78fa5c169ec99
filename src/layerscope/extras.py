"""Optional parts: imported where they are used, and named with the way to install them where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from layerscope.errors import MissingExtraError

__all__ = ["require"]


def require(module: str, extra: str) -> Any:
    """Import a module of an optional part.

    Args:
        module: Its dotted name.
        extra: The extra of this package that installs it.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # it is there, but something else that it needs is not
        raise MissingExtraError(
            f'{error.name} is not installed; this part needs it: pip install "layerscope[{extra}]"'
        ) from None
