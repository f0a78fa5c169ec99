from __future__ import annotations

import subprocess
import sys

from layerscope import inputs


def test_all_is_sorted_and_complete() -> None:
    assert sorted(inputs.__all__, key=lambda name: (not name.isupper(), name)) == inputs.__all__
    for name in inputs.__all__:
        assert hasattr(inputs, name)


def test_finding_and_reading_pictures_loads_no_torch() -> None:
    code = (
        "import sys, numpy as np, layerscope.inputs as i;"
        "frame = i.find_inputs(np.zeros((4, 4), np.uint8))[0].open();"
        "i.place(frame, i.Preparation(size_hw=(2, 2)));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
