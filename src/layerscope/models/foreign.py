"""What the sources of other libraries share: building in silence, and checks of size."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from layerscope.errors import DownloadError, LayerscopeError, OptionError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from layerscope.models.request import Request

__all__ = [
    "OFFICIAL_HINT",
    "any_size",
    "anything_of",
    "building",
    "exactly",
    "multiples_of",
    "names_for",
    "numbered",
    "one_line",
]

OFFICIAL_HINT = "--weights official downloads the library's own, --weights FILE loads a file of them"

ARGUMENTS = (AssertionError, AttributeError, ImportError, KeyError, NotImplementedError, TypeError, ValueError)
"""What builders raise about what they are told; the rest, where weights are fetched, is about those."""


@contextmanager
def building(request: Request) -> Iterator[None]:
    """Let another library build a network while the body runs: seeded, without its warnings.

    Raises:
        SourceError: It failed.
        DownloadError: It failed over official weights.
    """
    try:
        with request.seeded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except LayerscopeError:
        raise
    except Exception as error:  # a builder raises whatever its code stumbles over
        if request.official and (isinstance(error, OSError) or not isinstance(error, ARGUMENTS)):
            raise DownloadError(
                f"{request.source}: its official weights could not be fetched ({one_line(error)}); "
                "--weights FILE loads a file of them"
            ) from error
        raise SourceError(f"{request.source}: cannot be built ({one_line(error)})") from error


def one_line(error: BaseException) -> str:
    r"""Say an error of another library in one line, not too long.

    >>> one_line(ValueError("no such\n  backbone")), one_line(AssertionError())
    ('no such backbone', 'AssertionError')
    """
    text = " ".join(str(error).split())
    return f"{text[:240]}..." if len(text) > 240 else text or type(error).__name__


def anything_of(request: Request, mark: str) -> bool:
    """Tell whether the weights file that was given has tensors with this in their names."""
    return request.file is not None and any(mark in key for key in request.file.state or ())


def names_for(known: Sequence[str], classes: int | None) -> tuple[str, ...]:
    """Take the names that a library knows, unless there are another number of classes.

    >>> names_for(("cat", "dog"), None), names_for(("cat", "dog"), 1)
    (('cat', 'dog'), ('class 0',))
    """
    return tuple(known) if classes is None or classes == len(known) else numbered(classes)


def numbered(classes: int) -> tuple[str, ...]:
    """Name classes by their numbers."""
    return tuple(f"class {index}" for index in range(classes))


def any_size(_size_hw: tuple[int, int]) -> None:
    """Let every size pass."""


def exactly(built_hw: tuple[int, int], name: str) -> Callable[[tuple[int, int]], None]:
    """Make a check of size for a network that is built for one."""

    def check(size_hw: tuple[int, int]) -> None:
        if tuple(size_hw) != tuple(built_hw):
            raise OptionError(
                f"size {size_hw[0]}x{size_hw[1]}: {name} was built for {built_hw[0]}x{built_hw[1]}; "
                "load it with the size that you want, if it can be built so"
            )

    return check


def multiples_of(step: int, name: str) -> Callable[[tuple[int, int]], None]:
    """Make a check of size for a network that halves its input some times."""

    def check(size_hw: tuple[int, int]) -> None:
        if size_hw[0] % step or size_hw[1] % step:
            height, width = (max(step, round(side / step) * step) for side in size_hw)
            raise OptionError(
                f"size {size_hw[0]}x{size_hw[1]}: {name} takes multiples of {step}, such as {height}x{width}"
            )

    return check
