"""Sheets of all 1984 channels without loss, beside what other tools draw of 160 of them.

All are given the finished maps; what a whole run takes, with its forward and its manifest, stands beside it.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import layerscope as ls
import recipe_script
from layerscope.sinks.drawing import Drawing
from layerscope.sinks.sink import Target
from rounds import put_aside, ratios, take_turns, timed
from table import Goal, Table, compare
from tiles import PICTURE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench import Options
    from layerscope import FeatureMap

__all__ = ["measure"]

OURS = "Layerscope's sheets: all 1984"
SAVED = "`FeatureMap.sheet().save()`, which Pillow writes: all 1984"
RUN = '`ls.run(write=["sheets"])`, picture, forward and manifest included: all 1984'
ULTRALYTICS = "Ultralytics, `feature_visualization`: 32 a layer, 160"
MMENGINE = "MMEngine, `Visualizer.draw_featmap`, then `cv2.imwrite`: 32 a layer, 160"
SHOWN = 32


def measure(options: Options) -> Table:
    """Let all ways take turns."""
    net = ls.load("yolov3", weights=recipe_script.weights(), device="cpu")
    maps = ls.capture(net, PICTURE)

    def drawn() -> None:
        (sink,) = Drawing(write=("sheets",)).sinks()
        with ThreadPoolExecutor(os.cpu_count()) as encoders:
            writing = []
            for name, feature_map in maps.items():
                if write := sink.take(feature_map, feature_map.scaled()):
                    target = Target(folder=Path("drawn"), layer=name, layer_folder=name)
                    writing.append(encoders.submit(write, target))
        for future in writing:
            future.result()

    def saved() -> None:
        for name, feature_map in maps.items():
            feature_map.sheet().save(f"drawn/{name}.png")

    ways: dict[str, Callable[[], object]] = {
        OURS: drawn,
        SAVED: saved,
        RUN: lambda: ls.run(net, PICTURE, out="ours", write=["sheets"]),
    }
    notes = []
    for name, make in {ULTRALYTICS: _ultralytics, MMENGINE: _mmengine}.items():
        try:
            ways[name] = make(maps)
        except Exception as error:  # whatever keeps one library from it, the table is to say it
            notes.append(f"Not measured: {name} ({type(error).__name__}: {error}).")
    seconds = take_turns({name: timed(way) for name, way in ways.items()}, options.rounds, before=_clear)
    known = ULTRALYTICS in seconds
    goal = Goal(
        work="lossless sheets of all 1984 channels, from finished maps",
        against="Ultralytics 8.3's `feature_visualization` of 160 of them",
        measured=ratios(seconds[OURS], seconds[ULTRALYTICS]) if known else [],
        bound=0.1,
    )
    columns = ["channels of YOLOv3's five stages on pictures", "seconds", "of `feature_visualization`"]
    return Table(
        columns=columns if known else columns[:2],
        lines=compare(seconds, [ULTRALYTICS] if known else []),
        rounds=options.rounds,
        goals=[goal],
        notes=notes,
    )


def _ultralytics(maps: Mapping[str, FeatureMap]) -> Callable[[], object]:
    os.environ["YOLO_CONFIG_DIR"] = os.environ["MPLCONFIGDIR"] = str(Path.cwd())
    from ultralytics.utils.plotting import feature_visualization  # type: ignore[attr-defined]  # 8.4 has it no more

    logging.getLogger("ultralytics").setLevel(logging.ERROR)

    def run() -> None:
        for number, (name, feature_map) in enumerate(maps.items()):
            feature_visualization(feature_map.values[None], name, number, n=SHOWN, save_dir=Path("drawn"))

    return run


def _mmengine(maps: Mapping[str, FeatureMap]) -> Callable[[], object]:
    import cv2
    from mmengine.visualization import Visualizer

    def run() -> None:
        for name, feature_map in maps.items():
            picture = Visualizer.draw_featmap(
                feature_map.values, channel_reduction=None, topk=SHOWN, arrangement=(SHOWN // 8, 8)
            )
            cv2.imwrite(f"drawn/{name}.png", picture[..., ::-1])

    return run


def _clear() -> None:
    put_aside("ours", "drawn")
    Path("drawn").mkdir()
