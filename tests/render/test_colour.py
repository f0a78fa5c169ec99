"""Colour maps by name."""

import logging

import cmap
import numpy as np
import pytest

from layerscope.errors import OptionError
from layerscope.render import SCALES, apply_colormap, colormap_table, default_colormap


@pytest.mark.parametrize("name", ["viridis", "vik_r", "cmocean:balance", "tab20", "RdBu_r"])
def test_a_table_is_the_map_at_256_places(name):
    colours = cmap.Colormap(name if ":" in name or name != "RdBu_r" else "colorbrewer:RdBu_r")
    expected = [[round(part * 255) for part in tuple(colours(byte / 255))[:3]] for byte in range(256)]
    np.testing.assert_allclose(colormap_table(name), expected, atol=1)


def test_grey_is_the_byte_itself_by_either_spelling():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for name in ("grey", "gray"):
        coloured = apply_colormap(values, name)
        assert coloured.shape == (16, 16, 3)
        assert (coloured == values[..., None]).all()


def test_any_shape_is_coloured():
    table = colormap_table("viridis")
    rng = np.random.default_rng(0)
    for shape in [(), (0,), (5,), (2, 0, 3), (2, 3), (2, 3, 4), (3, 1), (7, 11, 13, 2)]:
        values = rng.integers(0, 256, shape).astype(np.uint8)
        np.testing.assert_array_equal(apply_colormap(values, "viridis"), table[values])


def test_values_may_lie_in_memory_in_any_way():
    values = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    for view in (values[::-1, :, ::2], values.transpose(2, 0, 1), np.broadcast_to(values[:, :1], (3, 6, 5))):
        np.testing.assert_array_equal(apply_colormap(view, "RdBu_r"), colormap_table("RdBu_r")[view])


def test_a_name_that_two_collections_share_gives_no_warning(caplog):
    colormap_table.cache_clear()
    with caplog.at_level(logging.WARNING):
        colormap_table("RdBu_r")
    assert not caplog.records


def test_tables_cannot_be_spoilt():
    with pytest.raises(ValueError, match="read-only"):
        colormap_table("viridis")[0] = 0


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(OptionError, match="did you mean 'viridis'"):
        colormap_table("viridi")
    with pytest.raises(OptionError, match="try viridis"):
        colormap_table("zzzqq")


def test_only_bytes_are_coloured():
    with pytest.raises(OptionError, match="uint8"):
        apply_colormap(np.zeros((2, 2)), "grey")


def test_every_scale_has_a_map_and_zero_is_neutral_where_it_is_in_the_middle():
    for rule in SCALES:
        assert colormap_table(default_colormap(rule)).shape == (256, 3)
    assert np.ptp(colormap_table(default_colormap("symmetric"))[128].astype(int)) <= 2
    assert default_colormap("unit") == "grey"
