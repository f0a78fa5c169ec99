"""The made-up scenes: the labels say what is in the picture, as measured in the picture."""

from __future__ import annotations

import colorsys
import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

import scenes
from paint import PALETTE_DEG, STRIPE_ANGLES_DEG, TEXTURES, colour_name
from scenes import CLASSES, LARGEST_PX, LEAST_VISIBLE, SIDE_PX, SMALLEST_PX, Scene, SceneObject, scene

SEEDS = range(120)


@pytest.fixture(scope="module")
def many() -> list[Scene]:
    return [scene(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def objects(many: list[Scene]) -> list[tuple[Scene, SceneObject]]:
    return [(one, item) for one in many for item in one.objects]


def digest(one: Scene) -> str:
    content = hashlib.sha256(one.pixels.tobytes())
    for item in one.objects:
        content.update(repr(item).encode())
        content.update(item.mask.tobytes() + item.visible_mask.tobytes())
    return content.hexdigest()


def test_a_seed_gives_the_same_scene_again_and_in_another_process() -> None:
    seeds = (0, 7, 1_000_003)
    here = [digest(scene(seed)) for seed in seeds]
    assert here == [digest(scene(seed)) for seed in seeds]
    assert len(set(here)) == len(seeds)
    script = (
        f"import sys; sys.path[:0] = {[scenes.__file__.rsplit('/', 1)[0], __file__.rsplit('/', 1)[0]]!r}\n"
        f"from test_scenes import digest\nfrom scenes import scene\nprint(*[digest(scene(s)) for s in {seeds}])"
    )
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert there.stdout.split() == here


def test_a_scene_is_an_rgb_picture_of_the_wanted_side() -> None:
    assert scene(3).pixels.shape == (SIDE_PX, SIDE_PX, 3)
    small = scene(3, side_px=256)
    assert small.pixels.shape == (256, 256, 3)
    assert small.pixels.dtype == np.uint8
    assert all(item.mask.shape == (256, 256) for item in small.objects)


def slow_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    left, top, right, bottom = SIDE_PX, SIDE_PX, 0, 0
    for y in range(SIDE_PX):
        for x in range(SIDE_PX):
            if mask[y, x]:
                left, top, right, bottom = min(left, x), min(top, y), max(right, x + 1), max(bottom, y + 1)
    return left, top, right, bottom


def test_boxes_are_tight_around_the_pixels(many: list[Scene]) -> None:
    for one in many[:3]:
        for item in one.objects:
            assert item.box == slow_box(item.mask)


def test_a_whole_shape_is_as_large_as_it_says(objects: list[tuple[Scene, SceneObject]]) -> None:
    for _, item in objects:
        left, top, right, bottom = item.box
        assert SMALLEST_PX <= item.size_px <= LARGEST_PX
        if min(left, top) > 0 and max(right, bottom) < SIDE_PX:
            assert max(right - left, bottom - top) == pytest.approx(item.size_px, abs=2.5)
        else:
            assert max(right - left, bottom - top) <= item.size_px + 2


def test_every_class_colour_texture_and_size_occurs(objects: list[tuple[Scene, SceneObject]]) -> None:
    items = [item for _, item in objects]
    counts = Counter(item.label for item in items)
    assert set(counts) == set(CLASSES)
    assert min(counts.values()) > len(items) / len(CLASSES) / 2
    assert {item.colour for item in items} == set(PALETTE_DEG)
    assert {item.texture for item in items} == set(TEXTURES)
    assert {item.stripe_angle_deg for item in items} == {None, *STRIPE_ANGLES_DEG}
    sizes = np.array([item.size_px for item in items])
    for low, high in ((20, 32), (32, 60), (60, 100), (100, 200)):
        assert np.mean((sizes >= low) & (sizes < high)) > 0.08
    assert {item.class_id for item in items} == set(range(len(CLASSES)))


def test_enough_of_every_object_is_seen(many: list[Scene]) -> None:
    overlapped = 0
    for one in many:
        covered = np.zeros((SIDE_PX, SIDE_PX), bool)
        for item in reversed(one.objects):  # from the top down: what is not covered yet is seen
            np.testing.assert_array_equal(item.visible_mask, item.mask & ~covered)
            covered |= item.mask
            assert LEAST_VISIBLE <= item.visible_share <= 1
            if item.box[0] > 0 and item.box[1] > 0 and max(item.box[2:]) < SIDE_PX:
                assert item.visible_share == pytest.approx(item.visible_mask.sum() / item.mask.sum())
            overlapped += item.visible_share < 0.95
    assert overlapped > len(many) / 2  # there are overlaps to be tested at all


def inner_pixels(one: Scene, item: SceneObject) -> np.ndarray:
    """The (K, 3) pixels that are seen and have only seen neighbours."""
    seen = np.pad(item.visible_mask, 1)
    inner = seen[1:-1, 1:-1] & seen[:-2, 1:-1] & seen[2:, 1:-1] & seen[1:-1, :-2] & seen[1:-1, 2:]
    return one.pixels[inner]


def test_colours_in_the_picture_are_those_of_the_labels(objects: list[tuple[Scene, SceneObject]]) -> None:
    wrong = []
    for one, item in objects:
        if item.size_px < 30:
            continue
        pixels = inner_pixels(one, item)[:400].astype(float) / 255
        hues = [colorsys.rgb_to_hsv(*pixel)[0] * 2 * np.pi for pixel in pixels]
        middle = np.median(np.cos(hues)), np.median(np.sin(hues))
        if colour_name(np.degrees(np.arctan2(middle[1], middle[0]))) != item.colour:
            wrong.append((item.label, item.colour))
    assert not wrong


def measured_direction_deg(one: Scene, item: SceneObject) -> float:
    """Direction along which the picture changes least, by the structure tensor of the seen pixels."""
    grey = one.pixels.astype(float).sum(axis=2)
    seen = np.pad(item.visible_mask, 3)
    inner = np.ones_like(item.visible_mask)
    for dy in range(7):
        for dx in range(7):
            inner &= seen[dy : dy + SIDE_PX, dx : dx + SIDE_PX]
    down, across = (slope[inner] for slope in np.gradient(grey))
    steepest = 0.5 * np.arctan2(2 * (across * down).sum(), (across**2).sum() - (down**2).sum())
    return float(90 - np.degrees(steepest)) % 180  # across it, and counted upward instead of downward


def test_stripes_run_as_the_labels_say(objects: list[tuple[Scene, SceneObject]]) -> None:
    striped = [(one, item) for one, item in objects if item.texture == "stripes" and item.size_px > 70]
    assert {item.stripe_angle_deg for _, item in striped} == set(STRIPE_ANGLES_DEG)
    for one, item in striped:
        assert item.stripe_angle_deg is not None
        off = (measured_direction_deg(one, item) - item.stripe_angle_deg + 90) % 180 - 90
        assert abs(off) < 6, (item, off)


def test_the_direction_that_the_test_measures_is_right() -> None:
    """Upright stripes are at 90 degrees, and ones rising to the right are at 45."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    item = next(item for item in scene(0).objects if item.size_px > 60)
    for wave, direction in ((x, 90), (y, 0), (x + y, 45), (x - y, 135)):
        pixels = np.repeat((128 + 100 * np.sin(wave / 3))[:, :, None], 3, axis=2).astype(np.uint8)
        off = (measured_direction_deg(Scene(pixels=pixels, objects=()), item) - direction + 90) % 180 - 90
        assert abs(off) < 2
