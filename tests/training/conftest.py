"""Lets the tests import the modules of ``training/``, which is a folder of scripts and no package."""

from __future__ import annotations

import sys
from pathlib import Path

TRAINING = Path(__file__).resolve().parents[2] / "training"

if str(TRAINING) not in sys.path:
    sys.path.append(str(TRAINING))
