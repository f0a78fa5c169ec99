"""Sheets are what a slow and plain way of drawing gives, pixel by pixel."""

import math
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from layerscope.render import colormap_table, cut_tiles, draw_sheet, sheet_layout
from layerscope.render.sheet import sheet_pixels
from layerscope.render.text import clip_text


def random_tiles(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


class SlowSheet:
    """A sheet drawn tile by tile, pixel by pixel, with Pillow's own text, on the layout that it is to have."""

    def __init__(
        self, tiles, *, header=(), labels=None, marks=None, colormap="grey", value_range=None, gap_px=6, **size
    ):
        layout = sheet_layout(
            len(tiles),
            tiles.shape[1:3],
            header=header,
            labels=labels,
            bar=value_range is not None,
            gap_px=gap_px,
            **size,
        )
        table = colormap_table(colormap)
        in_grey = tiles.ndim == 3 and colormap in ("grey", "gray")
        self.canvas = np.full((*layout.size_hw, 3), 255, int)
        y, x = layout.header_yx
        for text, size_px, level in layout.header.lines:
            self.write(text, size_px, y, x, level)
            y += sum(ImageFont.load_default(size_px).getmetrics())
        if value_range is not None:
            self.bar(layout, table, value_range)
        for index, tile in enumerate(tiles):
            coloured = tile if tile.ndim == 3 else table[tile]
            self.tile(coloured, layout, *layout.tile_yx(index), border=gap_px >= 3)
            if layout.label_band_px:
                label = str(index) if labels is None else labels[index]
                self.label(label, "" if marks is None else marks[index], layout, *layout.tile_yx(index))
        self.pixels = self.canvas[..., 0] if in_grey else self.canvas

    def write(self, text, size_px, y, x, level):
        """Blend a line into what is there, and return its width."""
        font = ImageFont.load_default(size_px)
        text = re.sub(r"[\t\n]", " ", text)
        picture = Image.new("L", (max(math.ceil(font.getlength(text)), 1), sum(font.getmetrics())))
        ImageDraw.Draw(picture).text((0, 0), text, fill=255, font=font)
        for (row, column), cover in np.ndenumerate(np.asarray(picture).astype(int)):
            if cover and y + row < self.canvas.shape[0] and x + column < self.canvas.shape[1]:
                there = self.canvas[y + row, x + column]
                self.canvas[y + row, x + column] = there + ((level - there) * cover + 127) // 255
        return math.ceil(font.getlength(text))

    def bar(self, layout, table, value_range):
        (height, width), size_px = layout.header.bar_hw, layout.header.body_px
        y, x = layout.header_yx[0] + layout.header.bar_y, layout.header_yx[1]
        self.canvas[y - 1 : y + height + 1, x - 1 : x + width + 1] = 150
        for column in range(width):
            self.canvas[y : y + height, x + column] = table[column * 256 // width]
        font = ImageFont.load_default(size_px)
        first, last = (f"{end:.4g}" for end in value_range)
        begin = math.ceil(font.getlength(first)) + size_px
        right = width - math.ceil(font.getlength(last))
        below = y + height + size_px // 4
        self.write(first, size_px, below, x, 90)
        self.write(last, size_px, below, x + max(right, begin), 90)
        low, high = value_range
        if low < 0 < high:
            zero = math.ceil(font.getlength("0"))
            centre = round(low / (low - high) * width - zero / 2)
            if begin <= centre <= right - zero - size_px:
                self.write("0", size_px, below, x + centre, 90)

    def tile(self, coloured, layout, y, x, *, border):
        height, width = layout.tile_hw
        if layout.factor is None:
            coloured = np.asarray(Image.fromarray(coloured).resize((width, height), Image.Resampling.BOX))
        else:
            coloured = np.kron(coloured, np.ones((layout.factor, layout.factor, 1), int))
        if border:
            self.canvas[y - 1 : y + height + 1, x - 1 : x + width + 1] = 190
        self.canvas[y : y + height, x : x + width] = coloured

    def label(self, label, mark, layout, y, x):
        y, size_px, room = y - layout.label_band_px, layout.label_px, layout.pitch_hw[1] - layout.gap_px
        taken = self.write(clip_text(label, size_px, room), size_px, y, x, 60)
        mark = clip_text(mark, size_px - 1, room - (taken + 2 if taken else 0) - 4, ".")
        if mark:
            font = ImageFont.load_default(size_px - 1)
            width, height = math.ceil(font.getlength(re.sub(r"[\t\n]", " ", mark))), sum(font.getmetrics())
            self.canvas[y : y + height + 1, x + room - width - 4 : x + room] = 70
            self.write(mark, size_px - 1, y, x + room - width - 2, 255)


words = st.sampled_from(["", "0", "17", "4x4; 44", "constant", "NaN Inf", "-1.234e-07", "層 é", "x" * 40, "a\tb  c"])
FULL = {"header": ["stem", "values -1.2 to 4; 4/4"], "value_range": (-1.5, 2.25), "marks": ["", "constant"] * 9}


@given(
    shape=st.tuples(st.integers(1, 18), st.integers(1, 12), st.integers(1, 12)),
    rgb=st.booleans(),
    options=st.fixed_dictionaries(
        {
            "header": st.lists(words, max_size=3),
            "colormap": st.sampled_from(["grey", "gray", "viridis", "RdBu_r"]),
            "gap_px": st.integers(0, 9),
        },
        optional={
            "labels": st.lists(words, min_size=18, max_size=18),
            "marks": st.lists(words, min_size=18, max_size=18),
            "value_range": st.sampled_from([(0.0, 1.0), (-1.5, 2.25), (-1e-30, 1e30), (3.0, 3.0)]),
            "columns": st.integers(1, 20),
            "tile_px": st.integers(1, 40),
        },
    ),
    seed=st.integers(0, 99),
)
@example(shape=(18, 5, 4), rgb=False, options=FULL | {"colormap": "viridis", "columns": 4}, seed=0)
@example(shape=(18, 1, 1), rgb=False, options=FULL | {"colormap": "grey"}, seed=1)
@example(shape=(18, 70, 80), rgb=False, options=FULL | {"colormap": "viridis"}, seed=2)
@settings(max_examples=25, deadline=None)
def test_a_sheet_is_what_is_drawn_slowly(shape, rgb, options, seed):
    for name in ("labels", "marks"):
        if name in options:
            options = options | {name: options[name][: shape[0]]}
    tiles = random_tiles((*shape, 3) if rgb else shape, seed)
    pixels = sheet_pixels(tiles, **options)
    np.testing.assert_array_equal(pixels, SlowSheet(tiles, **options).pixels)
    np.testing.assert_array_equal(np.asarray(draw_sheet(tiles, **options)), pixels)


@pytest.mark.parametrize("colormap", ["viridis", "grey"])
@pytest.mark.parametrize(("shape", "columns"), [((11, 150, 160), 3), ((150, 30, 32), 29), ((2, 400, 410), 2)])
def test_sheets_of_many_blocks_lose_none(shape, columns, colormap):
    tiles = random_tiles(shape)
    cut = cut_tiles(
        draw_sheet(tiles, columns=columns, colormap=colormap), sheet_layout(*shape[:1], shape[1:], columns=columns)
    )
    np.testing.assert_array_equal(cut, tiles if colormap == "grey" else colormap_table(colormap)[tiles])


def test_numbers_are_labels_like_any_others():
    for count in (1, 12, 111, 1200):
        tiles = np.zeros((count, 2, 2), np.uint8)
        numbered = sheet_pixels(tiles)
        np.testing.assert_array_equal(numbered, sheet_pixels(tiles, labels=[str(index) for index in range(count)]))


def test_sheets_drawn_side_by_side_are_those_drawn_one_after_another():
    drawings = [
        (
            random_tiles((count, 9, 9), count),
            {"header": [f"layer {count}", f"values {turn} to 4"], "colormap": colormap},
        )
        for turn in range(4)
        for count in (3, 30, 70)
        for colormap in ("grey", "viridis")
    ]
    alone = [sheet_pixels(tiles, **options).copy() for tiles, options in drawings]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda drawing: sheet_pixels(drawing[0], **drawing[1]), drawings))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_drawing_on_a_sheet_spoils_no_other():
    tiles = random_tiles((12, 5, 5))
    first = sheet_pixels(tiles, header=["stem"])
    before = first.copy()
    first[...] = 0
    np.testing.assert_array_equal(sheet_pixels(tiles, header=["stem"]), before)
