"""What the demo's channels answer to, held against what the scenes are known to hold.

Channels are chosen on some scenes and judged on others, by the area under the ROC curve: the chance that an object
which has the property gets a higher response than one which has not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import layerscope as ls
from scenes import SceneObject, scene

LAYERS = ["backbone.block[1-5]", "neck.stride32", "neck.stride16", "neck.stride8"]
CHOSEN_ON, JUDGED_ON = range(4_000_000, 4_000_160), range(4_000_160, 4_000_320)
SMALLEST_PX, LEAST_VISIBLE, FEWEST = 32, 0.8, 8


@dataclass(frozen=True)
class Responses:
    """(objects, channels) the mean response of every channel inside each object's visible pixels."""

    objects: list[SceneObject]
    channels: list[str]
    values: np.ndarray


def responses(net: ls.Network, seeds: range) -> Responses:
    objects, rows, channels = [], [], []
    for seed in seeds:
        drawn = scene(seed)
        maps = ls.capture(net, drawn.pixels, layers=LAYERS)
        channels = [f"{name}[{at}]" for name, found in maps.items() for at in range(found.channels)]
        for thing in drawn.objects:
            if thing.size_px < SMALLEST_PX or thing.visible_share < LEAST_VISIBLE:
                continue
            parts = []
            for found in maps.values():
                _, height, width = found.values.shape
                cells = thing.visible_mask.reshape(height, 416 // height, width, 416 // width).mean((1, 3))
                weights = cells / cells.sum()
                parts.append((found.values.numpy() * weights).sum((1, 2)))
            objects.append(thing)
            rows.append(np.concatenate(parts))
    return Responses(objects, channels, np.stack(rows))


def areas(values: np.ndarray, has: np.ndarray) -> np.ndarray:
    """(channels,) areas under the ROC curve, by the rank sum of Mann and Whitney."""
    ranks = values.argsort(0).argsort(0) + 1
    positives, negatives = has.sum(), (~has).sum()
    return (ranks[has].sum(0) - positives * (positives + 1) / 2) / (positives * negatives)


@pytest.fixture(scope="module")
def both() -> tuple[Responses, Responses]:
    net = ls.load("demo", device="cpu")
    return responses(net, CHOSEN_ON), responses(net, JUDGED_ON)


FACTORS = {
    "colour": lambda thing: thing.colour,
    "stripe angle": lambda thing: thing.stripe_angle_deg,
    "class": lambda thing: thing.label,
}


NOT_YET = "of the shipped network the best channel for one stripe direction reaches 0.85 on fresh scenes, not 0.9"


@pytest.mark.parametrize(
    "factor", ["colour", "class", pytest.param("stripe angle", marks=pytest.mark.xfail(reason=NOT_YET))]
)
def test_a_channel_that_the_labels_point_to_is_selective_on_fresh_scenes(
    both: tuple[Responses, Responses], factor: str
) -> None:
    chosen_on, judged_on = both
    read = FACTORS[factor]
    held_out = {}
    for value in sorted({read(thing) for thing in chosen_on.objects} - {None}):
        has, fresh = (np.array([read(thing) == value for thing in part.objects]) for part in both)
        # Among striped objects only, so that "has stripes at all" does not pass for their direction.
        among = [np.array([read(thing) is not None for thing in part.objects]) for part in both]
        if has.sum() < FEWEST or fresh.sum() < FEWEST:
            continue
        area = areas(chosen_on.values[among[0]], has[among[0]])
        best = int(np.abs(area - 0.5).argmax())
        judged = areas(judged_on.values[among[1]][:, [best]], fresh[among[1]])[0]
        held_out[value] = (max(judged, 1 - judged) if (judged > 0.5) == (area[best] > 0.5) else 0, best)
    assert held_out
    score, best = max(held_out.values())
    assert score >= 0.9, (factor, held_out, chosen_on.channels[best])


def test_areas_are_those_of_counting_pairs() -> None:
    rng = np.random.default_rng(0)
    values, has = rng.normal(size=(30, 4)), rng.random(30) < 0.4
    counted = [
        np.mean([one > other for one in values[has, c] for other in values[~has, c]]) for c in range(values.shape[1])
    ]
    np.testing.assert_allclose(areas(values, has), counted)


def test_labels_at_random_point_to_nothing(both: tuple[Responses, Responses]) -> None:
    chosen_on, judged_on = both
    rng = np.random.default_rng(0)
    has, fresh = (rng.random(len(part.objects)) < 0.12 for part in both)
    best = int(np.abs(areas(chosen_on.values, has) - 0.5).argmax())
    assert abs(areas(judged_on.values[:, [best]], fresh)[0] - 0.5) < 0.2
