"""A stand-in for the hub of Hugging Face: its cache, filled by hand, so that only the host is missing."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

REVISION = "0123456789abcdef0123456789abcdef01234567"


def use_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the hub's client look into this folder only, and never at the network."""
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def put(cache: Path, repository: str, files: list[Path], revision: str = "main") -> None:
    """Lay files into the cache as a download of a repository does."""
    home = cache / f"models--{repository.replace('/', '--')}"
    snapshot = home / "snapshots" / REVISION
    snapshot.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, snapshot / file.name)
    (home / "refs").mkdir(exist_ok=True)
    (home / "refs" / revision).write_text(REVISION)
    if revision != "main" and not (home / "snapshots" / revision).exists():
        shutil.copytree(snapshot, home / "snapshots" / revision)
