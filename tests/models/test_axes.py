"""Which axes are channels and which are places."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerscope.errors import LayerError
from layerscope.hooks.feature_map import as_maps
from layerscope.models.axes import read_axes


@pytest.mark.parametrize(
    ("shape", "input_hw", "text"),
    [
        ((), (32, 32), "1 channel of 1 x 1"),
        ((1000,), (224, 224), "1000 channels of 1 x 1"),
        ((64, 104, 104), (416, 416), "64 channels of 104 x 104"),
        ((7, 7, 768), (224, 224), "768 channels of 7 x 7"),
        ((56, 56, 96), (224, 224), "96 channels of 56 x 56"),
        ((14, 20, 32), (448, 640), "32 channels of 14 x 20"),
        ((32, 14, 20), (448, 640), "32 channels of 14 x 20"),
        ((1, 1, 16), (224, 224), "16 channels of 1 x 1"),
        ((16, 1, 1), (224, 448), "16 channels of 1 x 1"),
        ((12, 197, 197), (224, 224), "12 channels of 197 x 197"),
        ((64, 53, 53), (211, 211), "64 channels of 53 x 53"),
        ((197, 768), (224, 224), "768 channels of 14 x 14 tokens, 1 token apart"),
        ((201, 384), (224, 224), "384 channels of 14 x 14 tokens, 5 tokens apart"),
        ((729, 1152), (384, 384), "1152 channels of 27 x 27 tokens"),
        ((98, 64), (224, 448), "64 channels of 7 x 14 tokens"),
        ((40, 3136), (224, 224), "40 channels of 56 x 56 tokens"),
        ((6, 1000), None, "6 channels of 1000 values"),
        ((84, 8400), (640, 640), "84 channels of 8400 values"),
        ((16, 8, 56, 56), (112, 112), "16 channels of 8 slices of 56 x 56"),
        ((8, 28, 28, 96), (112, 112), "96 channels of 8 slices of 28 x 28"),
        ((7, 7, 768), None, "7 channels of 7 x 768"),
    ],
)
def test_shapes_are_read_as_a_person_would(shape: tuple[int, ...], input_hw: tuple[int, int] | None, text: str) -> None:
    assert read_axes(shape, input_hw).text == text


def test_more_than_four_axes_are_refused() -> None:
    with pytest.raises(LayerError, match="more axes"):
        read_axes((2, 3, 4, 5, 6), (32, 32))


def test_maps_put_every_value_where_a_loop_puts_it() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(5 + 12, 6))
    axes = read_axes(tokens.shape, (24, 32))
    maps = as_maps(torch.from_numpy(tokens), axes).numpy()
    assert maps.shape == (6, 3, 4)
    assert axes.apart == 5
    for c, y, x in np.ndindex(*maps.shape):
        assert maps[c, y, x] == tokens[5 + y * 4 + x, c]
    last = rng.normal(size=(3, 4, 6))
    maps = as_maps(torch.from_numpy(last), read_axes(last.shape, (24, 32))).numpy()
    for c, y, x in np.ndindex(*maps.shape):
        assert maps[c, y, x] == last[y, x, c]
    volume = rng.normal(size=(2, 5, 3, 4))
    maps = as_maps(torch.from_numpy(volume), read_axes(volume.shape, (24, 32))).numpy()
    assert maps.shape == (2, 3, 20)
    for c, d, y, x in np.ndindex(*volume.shape):
        assert maps[c, y, d * 4 + x] == volume[c, d, y, x]
