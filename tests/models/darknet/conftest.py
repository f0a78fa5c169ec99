"""Where the real cfgs, weights and reference results lie."""

from pathlib import Path

import pytest
import torch

SHARED_DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the reference data are not on this machine: {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)
