"""One picture through a network."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import layerscope as ls
from layerscope.errors import InputError, LayerError, OptionError, SourceError, UnknownLayerError
from layerscope.models.network import Network
from layerscope.models.weights import WeightsReport


def network_of(module: nn.Module, size: int = 16) -> Network:
    return Network(
        source="test",
        module=module.eval(),
        preparation=ls.Preparation(size_hw=(size, size)),
        weights=WeightsReport(path=None, naming="random", taken=0, total=0, bn_eps=1e-5, seed=0),
        known_stages=(),
    )


def test_maps_are_what_a_plain_hook_sees_in_the_order_of_running(tiny: Network, photo: np.ndarray) -> None:
    seen = {}
    handles = [
        child.register_forward_hook(lambda _m, _i, out, name=name: seen.setdefault(name, out.detach().clone()))
        for name, child in tiny.module.named_children()
    ]
    x, placement = tiny.prepare(photo)
    tiny.outputs(x)
    for handle in handles:
        handle.remove()
    maps = ls.capture(tiny, photo, layers="*_*")
    outer = [name for name in maps if "." not in name]
    assert outer == list(seen)
    for name in outer:
        assert torch.equal(maps[name].values, seen[name][0]), name
        assert maps[name].placement == placement
        assert np.array_equal(maps[name].frame.pixels, photo)


def test_stages_are_the_default_and_options_override_the_preparation(tiny: Network, photo: np.ndarray) -> None:
    maps = ls.capture(tiny, photo)
    assert {name: tuple(value.values.shape) for name, value in maps.items()} == {
        "2_shortcut": (4, 32, 32),
        "5_shortcut": (6, 16, 16),
    }
    maps = ls.capture(tiny, photo, size=(32, 96), resize="letterbox", order="bgr", range="0-255")
    assert maps["2_shortcut"].values.shape == (4, 16, 48)
    assert maps["2_shortcut"].placement.offset_xy == (27, 0)
    swapped = ls.capture(tiny, photo[:, :, ::-1].copy(), order="bgr")["5_shortcut"].values
    assert torch.equal(swapped, ls.capture(tiny, photo)["5_shortcut"].values)


def test_the_output_is_bit_equal_and_no_gradient_is_kept(tiny: Network, photo: np.ndarray) -> None:
    x, _ = tiny.prepare(photo)
    before = tiny.outputs(x)
    maps = ls.capture(tiny, photo, layers="all")
    assert all(torch.equal(one, other) for one, other in zip(before, tiny.outputs(x), strict=True))
    assert not any(value.values.requires_grad for value in maps.values())


@pytest.mark.filterwarnings("ignore::layerscope.errors.LayerscopeWarning")
def test_a_layer_asked_for_by_name_that_does_not_run_is_an_error_and_by_pattern_a_warning(nasty: nn.Module) -> None:
    net = network_of(nasty)
    picture = np.zeros((16, 16, 3), np.uint8)
    for name, reason in (("never", "does not call this Conv2d"), ("parts", "only holds its parts")):
        with pytest.raises(LayerError, match=reason):
            ls.capture(net, picture, layers=["conv", name])
    with pytest.warns(ls.LayerscopeWarning, match="never never ran"):
        maps = ls.capture(net, picture, layers="all")
    assert {"relu:0", "relu:1", "split.0", "named.kept"} <= set(maps)


def test_unknown_layers_and_wrong_things_are_refused_before_running(tiny: Network, photo: np.ndarray) -> None:
    with pytest.raises(UnknownLayerError, match="did you mean '2_shortcut'"):
        ls.capture(tiny, photo, layers="2_shortcuts")
    with pytest.raises(SourceError, match=r"network from layerscope\.load or a module, got str"):
        ls.capture("demo", photo)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"cannot prepare a picture; give inputs="):
        ls.capture(tiny.module, photo)
    with pytest.raises(OptionError, match=r"give its \.module"):
        ls.capture(tiny, inputs=photo)
    with pytest.raises(InputError, match="expected one picture, got 2"):
        ls.capture(tiny, [photo, photo])  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="size"):
        ls.capture(tiny, photo, size=(-1, 5))


def test_channels_are_counted_sliced_and_checked(tiny: Network, photo: np.ndarray) -> None:
    feature_map = ls.capture(tiny, photo)["5_shortcut"]
    assert feature_map.channels == 6
    assert torch.equal(feature_map[-1].values, feature_map.values[5])
    with pytest.raises(LayerError, match="channels 0 to 5, not 6"):
        feature_map[6]
    assert "5_shortcut (6, 16, 16)" in repr(feature_map)


def test_tile_is_the_channel_by_the_scale(tiny: Network, photo: np.ndarray) -> None:
    feature_map = ls.capture(tiny, photo)["5_shortcut"]
    values = feature_map.values[3].numpy().astype(np.float64)
    expected = np.rint(255 * (values - values.min()) / (values.max() - values.min()))
    assert np.abs(np.asarray(feature_map[3].tile()) - expected).max() <= 1
    whole = feature_map.values.numpy().astype(np.float64)
    reach = np.abs(whole).max()
    expected = np.rint(255 * (values + reach) / (2 * reach))
    assert np.abs(np.asarray(feature_map[3].tile("symmetric")) - expected).max() <= 1
    assert feature_map[3].tile(colormap="viridis").mode == "RGB"


def test_a_sorted_sheet_says_so_and_keeps_the_numbers(tiny: Network, photo: np.ndarray) -> None:
    from layerscope.hooks.feature_map import sheet_header

    feature_map = ls.capture(tiny, photo)["5_shortcut"]
    assert (
        sheet_header(feature_map.scaled(), "5_shortcut", feature_map.axes, "max")[-1] == "sorted by max, highest first"
    )
    order = feature_map._order("max")
    peaks = feature_map.values.amax((1, 2)).numpy()
    assert (np.diff(peaks[order]) <= 0).all()
    assert feature_map.sheet(sort="max").tobytes() != feature_map.sheet().tobytes()
    with pytest.raises(OptionError, match="did you mean 'mean'"):
        feature_map.sheet(sort="meen")


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("shape", [(50, 90), (90, 50)])
def test_an_overlay_lies_on_the_bright_spot(resize: str, shape: tuple[int, int]) -> None:
    """A network that only averages cells of 4 x 4: its map is hot where the picture's only bright spot is."""
    net = network_of(nn.Sequential(nn.AvgPool2d(4)), size=64)
    picture = np.zeros((*shape, 3), np.uint8)
    y, x = shape[0] // 2 + 4, shape[1] // 2 - 7
    picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    feature_map = ls.capture(net, picture, layers="0", resize=resize)["0"]
    options = {"alpha": 1.0, "colormap": "grey"}
    for overlay in (feature_map.overlay(**options), feature_map[0].overlay(**options)):
        levels = np.asarray(overlay.convert("L")).astype(float)
        assert levels.shape == shape
        rows, columns = np.nonzero(levels > 200)
        assert abs(rows.mean() - y) <= 3, (rows.mean(), y)
        assert abs(columns.mean() - x) <= 3, (columns.mean(), x)


def test_other_shapes_are_kept_as_they_are_and_drawn_by_what_they_mean() -> None:
    class Shapes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flat, self.line, self.last, self.tokens, self.items, self.volume = (nn.Identity() for _ in range(6))

        def forward(self, x: torch.Tensor) -> None:
            small = nn.functional.avg_pool2d(x, 4)  # (1, 3, 4, 4)
            self.flat(small.flatten(1))
            self.line(x.mean(3)[:, :, :15])
            self.last(small.permute(0, 2, 3, 1))
            self.tokens(torch.cat([small.mean((2, 3))[:, None] * 0 + 9, small.flatten(2).transpose(1, 2)], 1))
            self.items(small.expand(5, -1, -1, -1))
            self.volume(torch.stack([small, small * 2], 2))

    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    maps = ls.capture(network_of(Shapes(), 16), picture, layers="modules")
    shapes = {name: (tuple(one.values.shape), one.channels if name != "items" else 0) for name, one in maps.items()}
    assert shapes == {
        "flat": ((48,), 48),
        "line": ((3, 15), 3),
        "last": ((4, 4, 3), 3),
        "tokens": ((17, 3), 3),
        "items": ((5, 3, 4, 4), 0),
        "volume": ((3, 2, 4, 4), 3),
    }
    planes = maps["last"].plane
    assert torch.equal(maps["tokens"].plane, planes)
    assert maps["tokens"].apart.tolist() == [[9.0, 9.0, 9.0]]
    torch.testing.assert_close(maps["volume"].plane, planes * 1.5)
    assert torch.equal(maps["volume"].maps, torch.cat([planes, planes * 2], 2))
    assert torch.equal(maps["last"][1].values, planes[1])
    assert np.asarray(maps["line"][0].tile()).shape == (64, 135)
    for name in set(maps) - {"items"}:
        assert maps[name].sheet().size[0] > 0
        if name != "line":
            assert maps[name].overlay().size == maps[name][0].overlay().size == (16, 16)
    with pytest.raises(LayerError, match="lie nowhere in a picture"):
        maps["line"].overlay()
    with pytest.raises(LayerError, match=r"items gave 5 items of shape \(3, 4, 4\), not one picture's"):
        maps["items"].sheet()


def test_a_modules_own_input_stands_for_the_picture_and_without_one_nothing_is_laid_over() -> None:
    net = nn.Sequential(nn.AvgPool2d(4))
    x = torch.zeros(1, 3, 16, 24)
    x[:, :, 4:8, 8:12] = 1
    found = ls.capture(net, inputs=x, layers="0")["0"]
    assert found.frame is not None
    assert found.frame.pixels[5, 9].tolist() == [255, 255, 255]
    levels = np.asarray(found.overlay(alpha=1.0, colormap="grey").convert("L"))
    assert levels[6, 10] > 150
    assert levels[13, 20] == 0
    several = ls.capture(net, inputs=(x.repeat(2, 1, 1, 1),), layers="0")["0"]
    assert several.values.shape == (2, 3, 4, 6)
    assert several.frame is None
    series = ls.capture(nn.Sequential(nn.Conv1d(2, 3, 3)), inputs={"input": torch.rand(1, 2, 9)}, layers="0")["0"]
    assert series.axes.text == "3 channels of 7 values"
    with pytest.raises(LayerError, match="was given no picture"):
        ls.capture(nn.Sequential(nn.Flatten(0)), inputs=torch.rand(2, 3), layers="0")["0"].overlay()


def test_paths_and_pil_images_give_what_the_array_gives(tiny: Network, photo: np.ndarray) -> None:
    Image.fromarray(photo).save("photo.png")
    expected = ls.capture(tiny, photo)["5_shortcut"].values
    for picture in ("photo.png", Image.fromarray(photo), ls.Frame(name="x", pixels=photo)):
        assert torch.equal(ls.capture(tiny, picture)["5_shortcut"].values, expected)


def test_quantised_outputs_are_kept_as_they_are_and_drawn_as_what_they_stand_for() -> None:
    class Quantised(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.quantize_per_tensor(x - 0.5, 0.01, 128, torch.quint8)

    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch deprecates the type; networks that use it are there
        net = network_of(nn.Sequential(Quantised(), nn.Identity()), 8)
        found = ls.capture(net, picture, layers="0")["0"]
        assert found.values.is_quantized
        expected = found.values.dequantize()
        assert torch.equal(found.maps, expected)
        run = ls.run(net, picture, layers="0", write=["tiles", "tensors"])
    np.testing.assert_array_equal(run["frame"]["0"].values, expected.numpy())
    assert found.statistics().min.min() < 0


def test_a_run_draws_tokens_volumes_and_lines_and_keeps_what_it_cannot_draw() -> None:
    class Shapes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.volume, self.line, self.items = (nn.Identity() for _ in range(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            small = nn.functional.avg_pool2d(x, 4)
            self.tokens(small.flatten(2).transpose(1, 2))
            self.volume(small[:, :, None].expand(-1, -1, 3, -1, -1))
            self.line(x.flatten(2)[:, :, :7])
            self.items(small.expand(5, -1, -1, -1))
            return small

    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    kinds = ["tiles", "sheets", "overlays", "tensors"]
    run = ls.run(network_of(Shapes(), 16), picture, layers="modules", write=kinds)
    layers = {name: layer.record for name, layer in run["frame"].items()}
    assert {name: (one.kind, one.cells) for name, one in layers.items()} == {
        "tokens": ("tokens", [4, 4]),
        "volume": ("volume", [3, 4, 4]),
        "line": ("line", [7]),
        "items": (None, None),
    }
    assert set(layers["tokens"].files) == {"sheets", "overlays", "tensors"}
    assert set(layers["line"].files) == {"sheets", "tensors"}, "a line lies nowhere in a picture"
    assert set(layers["items"].files) == {"tensors"}
    assert run["frame"]["items"].values.shape == (5, 3, 4, 4)
    assert run["frame"]["volume"].tile(0).size == (12, 4)
    assert run["frame"]["line"].tile(2).size[1] == 64
    assert run["frame"]["tokens"].values.shape == (16, 3)
