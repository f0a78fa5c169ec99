"""Every error that Layerscope raises on purpose.

::

    LayerscopeError
    ├── InputError (ValueError)              a picture, folder or array that cannot be read or used
    │   └── InputNotFoundError (FileNotFoundError)
    ├── SourceError (ValueError)             a string that names no network
    │   └── ConfigError                      a Darknet .cfg that cannot be built; carries file and line
    ├── WeightsError (ValueError)            a weights file that cannot be read
    │   ├── WeightsMismatchError             readable, but of another network
    │   ├── UnsafeWeightsError               a pickle that wants to run code
    │   └── DownloadError (OSError)          the file could not be fetched whole
    ├── LayerError (LookupError)             a layer selection or a captured layer that does not exist
    │   └── UnknownLayerError                carries the nearest names
    ├── OptionError (ValueError)             an option's value outside its choices or range
    ├── OutputError (OSError)                a folder that cannot be written
    │   └── OutputExistsError (FileExistsError)
    ├── RunFolderError (ValueError)          a folder that is no finished run
    └── MissingExtraError (ImportError)      an optional part is not installed

Each is also the built-in exception that fits it, so ``except ValueError`` keeps working.
A message says what was expected, what came, and what to do; it is one line.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ConfigError",
    "DownloadError",
    "InputError",
    "InputNotFoundError",
    "LayerError",
    "LayerscopeError",
    "LayerscopeWarning",
    "MissingExtraError",
    "OptionError",
    "OutputError",
    "OutputExistsError",
    "RunFolderError",
    "SourceError",
    "UnknownLayerError",
    "UnsafeWeightsError",
    "WeightsError",
    "WeightsMismatchError",
    "nearest",
]


class LayerscopeError(Exception):
    """The base of every error raised on purpose."""

    def __str__(self) -> str:
        # KeyError and friends would show the repr of the message.
        return str(self.args[0]) if self.args else type(self).__name__


class InputError(LayerscopeError, ValueError):
    """A picture, folder or array cannot be read or used."""


class InputNotFoundError(InputError, FileNotFoundError):
    """An input path leads nowhere."""


class SourceError(LayerscopeError, ValueError):
    """A source string names no network."""


class ConfigError(SourceError):
    """A Darknet configuration cannot be built."""


class WeightsError(LayerscopeError, ValueError):
    """A weights file cannot be read."""


class WeightsMismatchError(WeightsError):
    """A weights file is readable but belongs to another network."""


class UnsafeWeightsError(WeightsError):
    """A pickle asks to run code."""


class DownloadError(WeightsError, OSError):
    """A weights file could not be fetched whole."""


class LayerError(LayerscopeError, LookupError):
    """A layer was selected or asked for that is not there."""


class UnknownLayerError(LayerError):
    """A layer name that the network does not have."""


class OptionError(LayerscopeError, ValueError):
    """An option's value is outside its choices or range."""


class OutputError(LayerscopeError, OSError):
    """An output folder or file cannot be written."""


class OutputExistsError(OutputError, FileExistsError):
    """The output folder already holds something that would be overwritten."""


class RunFolderError(LayerscopeError, ValueError):
    """A folder is not a finished run, or its manifest is not one that this version reads."""


class MissingExtraError(LayerscopeError, ImportError):
    """An optional part is not installed."""


class LayerscopeWarning(UserWarning):
    """Something a user should know that does not stop the work."""


def nearest(name: str, choices: Iterable[str], count: int = 3) -> str:
    """Phrase the choices nearest to a mistyped name, or nothing when none is near.

    >>> nearest("percentil", ["channel", "layer", "percentile"])
    "; did you mean 'percentile'?"
    >>> nearest("zzz", ["channel", "layer"])
    ''
    """
    found = difflib.get_close_matches(name, list(choices), n=count, cutoff=0.5)
    if not found:
        return ""
    quoted = [f"'{item}'" for item in found]
    return f"; did you mean {', '.join(quoted[:-1]) + ' or ' if len(quoted) > 1 else ''}{quoted[-1]}?"
