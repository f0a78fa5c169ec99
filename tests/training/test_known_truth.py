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

LAYERS = ["backbone.block[1-5]", "backbone.block1.*.conv", "neck.stride32", "neck.stride16", "neck.stride8"]
CHOSEN_ON, JUDGED_ON = range(4_000_000, 4_000_160), range(4_000_160, 4_000_320)
SMALLEST_PX, LEAST_VISIBLE, FEWEST = 32, 0.8, 8


@dataclass(frozen=True)
class Responses:
    """(objects, channels) how every channel responds inside each object's visible pixels.

    ``mean`` is its mean there, ``swing`` its standard deviation: stripes make a channel that answers to their edges
    swing between bright and dark ones, about a mean that says little.
    """

    objects: list[SceneObject]
    channels: list[str]
    mean: np.ndarray
    swing: np.ndarray


def responses(net: ls.Network, seeds: range) -> Responses:
    objects, means, swings, channels = [], [], [], []
    for seed in seeds:
        drawn = scene(seed)
        maps = ls.capture(net, drawn.pixels, layers=LAYERS)
        channels = [f"{name}[{at}]" for name, found in maps.items() for at in range(found.channels)]
        for thing in drawn.objects:
            if thing.size_px < SMALLEST_PX or thing.visible_share < LEAST_VISIBLE:
                continue
            mean, swing = [], []
            for found in maps.values():
                values = found.values.numpy()
                _, height, width = values.shape
                cells = thing.visible_mask.reshape(height, 416 // height, width, 416 // width).mean((1, 3))
                weights = cells / cells.sum()
                mean.append((values * weights).sum((1, 2)))
                swing.append(np.sqrt((np.square(values - mean[-1][:, None, None]) * weights).sum((1, 2))))
            objects.append(thing)
            means.append(np.concatenate(mean))
            swings.append(np.concatenate(swing))
    return Responses(objects, channels, np.stack(means), np.stack(swings))


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
    "colour": (lambda thing: thing.colour, lambda found: found.mean),
    "stripe angle": (lambda thing: thing.stripe_angle_deg, lambda found: found.swing),
    "class": (lambda thing: thing.label, lambda found: found.mean),
}


@pytest.mark.parametrize("factor", FACTORS)
def test_a_channel_that_the_labels_point_to_is_selective_on_fresh_scenes(
    both: tuple[Responses, Responses], factor: str
) -> None:
    """The channel and the value that fit best on some scenes: one choice, judged once on others."""
    read, respond = FACTORS[factor]
    # Among striped objects only, so that "has stripes at all" does not pass for their direction.
    truths, values = [], []
    for part in both:
        among = np.array([read(thing) is not None for thing in part.objects])
        truths.append(np.array([read(thing) for thing in part.objects if read(thing) is not None]))
        values.append(respond(part)[among])
    choices = {}
    for value in np.unique(truths[0]):
        has, fresh = (truth == value for truth in truths)
        if min(has.sum(), fresh.sum()) >= FEWEST:
            area = areas(values[0], has)
            best = int(np.abs(area - 0.5).argmax())
            choices[value] = area[best], best
    value, (area, best) = max(choices.items(), key=lambda item: abs(item[1][0] - 0.5))
    judged = areas(values[1][:, [best]], truths[1] == value)[0]
    score = judged if area > 0.5 else 1 - judged  # a channel may answer by keeping still
    assert score >= 0.9, (factor, value, both[0].channels[best], area, judged)


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
    best = int(np.abs(areas(chosen_on.mean, has) - 0.5).argmax())
    assert abs(areas(judged_on.mean[:, [best]], fresh)[0] - 0.5) < 0.2
