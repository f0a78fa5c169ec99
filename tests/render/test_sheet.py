"""Sheets: every cell used in order, nothing overlapping, and cut apart again without loss."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.errors import InputError, OptionError
from layerscope.render import apply_colormap, cut_tiles, draw_sheet, sheet_layout

shapes = st.tuples(st.integers(1, 40), st.integers(1, 20), st.integers(1, 20))
options = st.fixed_dictionaries(
    {
        "columns": st.none() | st.integers(1, 50),
        "tile_px": st.none() | st.integers(20, 70),
        "gap_px": st.integers(0, 9),
        "header": st.lists(st.text(max_size=30), max_size=3),
    }
)


def random_tiles(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@given(shape=shapes, options=options, coloured=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_sheet_is_cut_apart_again_without_loss(shape, options, coloured):
    tiles = random_tiles((*shape, 3) if coloured else shape)
    sheet = draw_sheet(tiles, **options)
    layout = sheet_layout(shape[0], shape[1:], **options)
    assert layout.factor is not None
    assert sheet.mode == ("RGB" if coloured else "L")
    np.testing.assert_array_equal(cut_tiles(sheet, layout), tiles)


@given(
    count=st.integers(1, 3000),
    map_hw=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    columns=st.none() | st.integers(1, 80),
)
@settings(max_examples=150, deadline=None)
def test_every_cell_is_used_in_order_and_none_touches_another(count, map_hw, columns):
    layout = sheet_layout(count, map_hw, columns=columns)
    corners = [layout.tile_yx(index) for index in range(count)]
    assert corners == sorted(set(corners))
    assert layout.rows == math.ceil(count / layout.columns)
    down, across = layout.pitch_hw
    assert down >= layout.tile_hw[0] + layout.label_band_px
    assert across >= layout.tile_hw[1]
    top, left = layout.origin_yx
    assert corners == [
        (top + index // layout.columns * down, left + index % layout.columns * across) for index in range(count)
    ]
    assert corners[-1][0] + layout.tile_hw[0] <= layout.size_hw[0]
    assert left + (layout.columns - 1) * across + layout.tile_hw[1] <= layout.size_hw[1]
    assert top >= layout.label_band_px
    with pytest.raises(IndexError):
        layout.tile_yx(count)


@given(seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_permuting_channels_permutes_the_tiles(seed):
    tiles = random_tiles((13, 6, 7))
    order = np.random.default_rng(seed).permutation(13)
    layout = sheet_layout(13, (6, 7))
    cut = cut_tiles(draw_sheet(tiles), layout)
    np.testing.assert_array_equal(cut_tiles(draw_sheet(tiles[order]), layout), cut[order])


@pytest.mark.parametrize(
    ("count", "map_hw", "columns"),
    [(64, (208, 208), 8), (128, (104, 104), None), (1024, (13, 13), 32), (1, (416, 416), 1), (5, (20, 40), 2),
     (1515, (13, 13), None), (2048, (7, 7), None), (300, (40, 400), None)],
)  # fmt: skip
def test_sheets_are_nearly_square_and_of_a_reasonable_size(count, map_hw, columns):
    layout = sheet_layout(count, map_hw)
    assert columns is None or layout.columns == columns
    height, width = layout.size_hw
    assert max(height, width) <= 4096
    if count >= 64:
        assert 0.66 < width / height < 1.5
    assert layout.columns * layout.rows - count < layout.columns


def test_small_maps_are_enlarged_by_whole_factors_until_they_are_seen():
    for map_hw in [(1, 1), (7, 7), (13, 13), (20, 40), (1, 64), (2, 30)]:
        layout = sheet_layout(4, map_hw)
        assert layout.factor is not None
        assert max(layout.tile_hw) >= 64
        assert max(layout.tile_hw) <= 256
        assert min(layout.tile_hw) >= 4
    assert sheet_layout(4, (208, 208)).factor == 1


def test_large_maps_are_reduced_by_averaging():
    tiles = np.zeros((4, 8, 8), np.uint8)
    tiles[1, :4, :4] = [[0, 200, 0, 200]] * 4
    layout = sheet_layout(4, (8, 8), tile_px=4)
    assert (layout.tile_hw, layout.factor) == ((4, 4), None)
    cut = cut_tiles(draw_sheet(tiles, tile_px=4), layout)
    assert cut[1].tolist() == [[100, 100, 0, 0], [100, 100, 0, 0], [0] * 4, [0] * 4]
    crowded = sheet_layout(200, (600, 300))
    assert crowded.factor is None
    assert max(crowded.size_hw) <= 4096


def test_a_colormap_colours_the_tiles():
    tiles = random_tiles((6, 5, 5))
    sheet = draw_sheet(tiles, colormap="viridis")
    cut = cut_tiles(sheet, sheet_layout(6, (5, 5)))
    np.testing.assert_array_equal(cut, apply_colormap(tiles, "viridis"))


def test_grey_sheets_are_one_byte_a_pixel_and_equal_their_coloured_selves():
    tiles = random_tiles((6, 5, 5))
    grey = draw_sheet(tiles, header=["stem"], value_range=(0, 1), colormap="gray")
    in_colour = draw_sheet(np.repeat(tiles[..., None], 3, 3), header=["stem"], value_range=(0, 1), colormap="grey")
    assert (grey.mode, in_colour.mode) == ("L", "RGB")
    np.testing.assert_array_equal(np.asarray(grey.convert("RGB")), np.asarray(in_colour))


def test_every_tile_has_its_own_label_above_it():
    tiles = np.zeros((30, 4, 4), np.uint8)
    sheet, layout = np.asarray(draw_sheet(tiles)), sheet_layout(30, (4, 4))
    bands = []
    for index in range(30):
        y, x = layout.tile_yx(index)
        bands.append(sheet[y - layout.label_band_px : y - 1, x : x + layout.tile_hw[1]].tobytes())
        # Dark on white paper, whatever the tile shows.
        assert min(bands[-1]) < 100
        assert max(bands[-1]) == 255
    assert len(set(bands)) == 30


def test_labels_in_another_order_are_those_given():
    tiles = np.zeros((3, 4, 4), np.uint8)
    named = np.asarray(draw_sheet(tiles, labels=["2", "0", "1"]))
    layout = sheet_layout(3, (4, 4))
    plain = np.asarray(draw_sheet(tiles, labels=None))
    assert named.shape == plain.shape

    def band(sheet, index):
        y, x = layout.tile_yx(index)
        return sheet[y - layout.label_band_px : y - 1, x : x + 20]

    for tile, channel in enumerate([2, 0, 1]):
        assert (band(named, tile) == band(plain, channel)).all()


def test_marks_change_their_own_tile_s_band_only():
    tiles = random_tiles((9, 5, 5))
    layout = sheet_layout(9, (5, 5))
    plain = np.asarray(draw_sheet(tiles)).astype(int)
    marked = np.asarray(draw_sheet(tiles, marks=[""] * 4 + ["constant"] + [""] * 4)).astype(int)
    y, x = layout.tile_yx(4)
    changed = np.argwhere(plain != marked)
    assert len(changed)
    assert changed[:, 0].min() >= y - layout.label_band_px
    assert changed[:, 0].max() < y - 1
    assert changed[:, 1].min() >= x
    assert changed[:, 1].max() < x + layout.tile_hw[1]


@pytest.mark.parametrize("text", ["", "\x00\n\t", "层 🦙 été", "\ud800", "x" * 500, "a b " * 200])
def test_a_header_takes_any_characters_and_nothing_is_cut_off(text):
    tiles = np.zeros((2, 13, 13), np.uint8)
    sheet = np.asarray(draw_sheet(tiles, header=[text, text], value_range=(-1e-30, 1e30)))
    layout = sheet_layout(2, (13, 13), header=[text, text], bar=True)
    assert sheet.shape == layout.size_hw
    assert (sheet[:, -8:] == 255).all()
    assert (sheet[:8] == 255).all()
    assert sheet.shape[1] < 400
    assert layout.header_yx[0] + layout.header.size_hw[0] <= layout.origin_yx[0] - layout.label_band_px


def test_the_colour_bar_runs_from_the_low_colour_to_the_high_one():
    layout = sheet_layout(4, (13, 13), header=["stem"], bar=True)
    sheet = draw_sheet(np.zeros((4, 13, 13), np.uint8), header=["stem"], value_range=(-1, 1), colormap="viridis")
    height, width = layout.header.bar_hw
    y, x = layout.header_yx[0] + layout.header.bar_y, layout.header_yx[1]
    bar = np.asarray(sheet)[y : y + height, x : x + width]
    ends = apply_colormap(np.array([0, 255], np.uint8), "viridis")
    assert (bar[:, 0] == ends[0]).all()
    assert np.abs(bar[:, -1].astype(int) - ends[1]).max() <= 2


def test_a_sheet_of_nothing_is_its_header():
    assert min(draw_sheet(np.zeros((0, 13, 13), np.uint8), header=["stem"]).size) >= 1
    assert min(draw_sheet(np.zeros((0, 0, 0), np.uint8), gap_px=0).size) >= 1
    assert min(draw_sheet(np.zeros((0, 9, 9), np.uint8), tile_px=4).size) >= 1
    assert cut_tiles(draw_sheet(np.zeros((0, 4, 5), np.uint8)), sheet_layout(0, (4, 5))).shape == (0, 4, 5)


def test_what_cannot_be_drawn_is_refused():
    tiles = np.zeros((2, 3, 3), np.uint8)
    for bad in (
        tiles.astype(float),
        tiles[0],
        np.zeros((2, 3, 3, 4), np.uint8),
        np.zeros((2, 0, 3), np.uint8),
    ):
        with pytest.raises(InputError):
            draw_sheet(bad)
    for wrong in ({"columns": 0}, {"tile_px": 0}, {"gap_px": -1}, {"labels": ["a"]}, {"marks": ["a"]}):
        with pytest.raises(OptionError):
            draw_sheet(tiles, **wrong)
    with pytest.raises(OptionError, match="colour map"):
        draw_sheet(tiles, colormap="viridiss")
    with pytest.raises(InputError, match="pixels"):
        cut_tiles(draw_sheet(tiles), sheet_layout(3, (3, 3)))
