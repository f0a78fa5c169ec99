"""Where tools of this kind have failed their users: one test for each failure, named after it."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import layerscope as ls
from layerscope.errors import LayerError, LayerscopeWarning
from layerscope.models.network import Network
from layerscope.models.weights import WeightsReport
from nasty import InPlace, Layouts, Outputs


def network_of(module: nn.Module, size: int | tuple[int, int] = 32) -> Network:
    return Network(
        source="test",
        module=module.eval(),
        preparation=ls.Preparation(size_hw=_pair(size)),
        weights=WeightsReport(path=None, naming="random", taken=0, total=0, seed=0),
    )


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("build", [InPlace, Outputs, Layouts])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_in_place_operations_do_not_overwrite_what_was_captured(build: type[nn.Module], mode: str) -> None:
    torch.manual_seed(0)
    net = build()
    net.train(mode == "train")
    found = ls.check(net, inputs=noise(2, 3, 32, 32))
    assert found.passed, found.rows
    assert found.maps > 5


def test_a_residual_added_in_place_and_a_copy_to_the_same_device_stay_what_they_were() -> None:
    net = InPlace().eval()
    maps = ls.capture(net, inputs=noise(1, 3, 8, 8), layers=["branch:0", "norm", "relu:0"])
    assert (maps["norm"].values < 0).any(), "the in-place ReLU behind it must not show"
    sum_ = ls.capture(net, inputs=noise(1, 3, 8, 8), layers="add:0")["add:0"].values
    torch.testing.assert_close(maps["branch:0"].values + maps["relu:0"].values, sum_, rtol=0, atol=0)
    assert not torch.equal(maps["branch:0"].values, sum_)


class StagesThatAreEmpty(nn.Module):
    """As in a well-known YOLOv3: the stages end at empty Sequentials whose place the forward fills by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.module_list = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(), nn.Conv2d(4, 4, 1)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.module_list[0](x)
        x = x + 1  # what the empty Sequential stands for
        return self.module_list[2](x)


def test_a_module_that_is_never_called_is_no_silence_and_the_next_ones_input_shows_it() -> None:
    net = StagesThatAreEmpty()
    with pytest.raises(LayerError, match=r"module_list\.1 never ran"):
        ls.capture(net, inputs=noise(1, 3, 8, 8), layers="module_list.1")
    maps = ls.capture(net, inputs=noise(1, 3, 8, 8), layers=["module_list.0", "module_list.2@in", "add"])
    assert list(maps) == ["module_list.0", "add", "module_list.2@in"]
    torch.testing.assert_close(maps["module_list.0"].values + 1, maps["module_list.2@in"].values, rtol=0, atol=0)
    assert torch.equal(maps["add"].values, maps["module_list.2@in"].values)


def test_a_module_called_twice_gives_both_calls() -> None:
    maps = ls.capture(InPlace(), inputs=noise(1, 3, 8, 8), layers="relu")
    assert list(maps) == ["relu:0", "relu:1", "relu:2"]
    assert not torch.equal(maps["relu:0"].values, maps["relu:2"].values)


def test_a_hook_of_the_users_fires_once_a_capture_and_is_left_alone() -> None:
    net = InPlace().eval()
    fired = []
    handle = net.norm.register_forward_hook(lambda _m, _i, out: fired.append(1) or out * 0)
    network = network_of(net, 8)
    maps = ls.capture(network, np.zeros((8, 8, 3), np.uint8), layers="norm")
    assert len(fired) == 1
    assert not maps["norm"].values.any(), "what the next module gets is shown"
    ls.capture(net, inputs=noise(1, 3, 8, 8))
    assert len(fired) == 2
    assert len(net.norm._forward_hooks) == 1
    handle.remove()


def test_the_network_is_not_rewritten() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    parts = [(type(part), part.forward.__func__) for part in net.modules()]  # type: ignore[attr-defined]
    ls.run(network_of(net, 16), np.zeros((16, 16, 3), np.uint8), layers="all", out="out")
    assert [(type(part), part.forward.__func__) for part in net.modules()] == parts  # type: ignore[attr-defined]
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


def test_tuples_lists_dicts_and_none_are_unwrapped_by_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerscopeWarning)
        maps = ls.capture(Outputs(), inputs=noise(1, 3, 8, 8))
    assert {"split.0", "split.1.0", "split.1.1", "named.kept", "named.nested.0"} <= set(maps)
    assert {"rnn.0", "rnn.1.0", "rnn.1.1"} <= set(maps)
    assert maps["rnn.0"].values.shape == (8, 5)
    assert maps["rnn.1.0"].values.shape == (2, 1, 5), "an LSTM's state is (layers, N, width)"


def test_no_hook_no_graph_is_left_and_batch_norm_does_not_move() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    mean = net[1].running_mean.clone()
    for broken in (False, True):
        maps = {}
        try:
            maps = ls.capture(net, inputs=noise(2, 3, 8, 8)[:, : 2 if broken else 3])
        except RuntimeError:
            assert broken
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
        assert all(part.training for part in net.modules())
        assert torch.equal(net[1].running_mean, mean)
        assert not any(one.values.requires_grad for one in maps.values())


def test_data_parallel_gives_the_whole_batch_or_says_why_not() -> None:
    net = nn.DataParallel(nn.Sequential(nn.Conv2d(3, 4, 3)))
    maps = ls.capture(net, inputs=noise(4, 3, 8, 8))
    assert list(maps) == ["0"]
    assert maps["0"].values.shape == (4, 4, 6, 6)
    with torch.no_grad(), ls.tap(net) as tape:
        net(noise(4, 3, 8, 8))
    assert tape["0"].shape == (4, 4, 6, 6)
    net.device_ids = [0, 1]  # as on a machine with two GPUs
    with pytest.raises(LayerError, match=r"a copy on each of 2 devices.*use its \.module"), ls.tap(net):
        pytest.fail("the body must not run")


def test_a_compiled_module_is_seen_as_what_it_wraps() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 2, 1))).eval()
    x = noise(1, 3, 8, 8)
    expected = ls.capture(plain, inputs=x)
    whole = torch.compile(plain, backend="eager")
    inner = nn.Sequential(plain[0], torch.compile(plain[1], backend="eager"))
    for compiled in (whole, inner):
        with torch.no_grad():
            compiled(x)  # compiled now, before any hook
            with ls.tap(compiled) as tape:
                compiled(x)
        assert set(tape) == set(expected) == {"0", "1", "1.0", "1.1"}
        assert all(torch.equal(tape[name][0], expected[name].values) for name in expected)
        maps = ls.capture(compiled, inputs=x)
        assert all(torch.equal(maps[name].values, expected[name].values) for name in expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_reaches_pictures_and_files(dtype: torch.dtype) -> None:
    class Halved(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 3 - 1).to(dtype)

    run = ls.run(network_of(nn.Sequential(Halved()), 16), _ramp(), layers="0", write=["tiles", "sheets", "tensors"])
    (frame,) = run.values()
    assert frame["0"].record.dtype == str(dtype).removeprefix("torch.")
    expected = (_prepared() * 3 - 1).to(dtype).float().numpy()
    np.testing.assert_array_equal(frame["0"].values, expected)


def _ramp() -> np.ndarray:
    return np.tile(np.arange(16, dtype=np.uint8)[:, None, None] * 16, (1, 16, 3))


def _prepared() -> Tensor:
    return torch.from_numpy(_ramp()).permute(2, 0, 1).float() / 255


def test_a_dead_channel_looks_dead_and_zero_and_negative_values_have_their_place() -> None:
    class Three(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, 0] * 0, x[:, 0] * 1e-6, x[:, 0] - 0.5], 1)

    maps = ls.capture(network_of(nn.Sequential(Three()), 16), _ramp(), layers="0")["0"]
    dead = np.asarray(maps[0].tile())
    assert (dead == 0).all()
    assert maps.statistics().constant.tolist() == [True, False, False]
    shared = np.asarray(maps[1].tile("layer"))
    assert np.ptp(shared) <= 1, "under a shared scale a faint channel stays faint"
    signed = np.asarray(maps[2].tile("symmetric")).astype(int)
    values = maps[2].values.numpy()
    assert ((signed > 128) == (values > 0.003)).all()
    assert ((signed < 127) == (values < -0.003)).all()


def test_sorting_keeps_each_channels_number_and_negative_values_do_not_misrank() -> None:
    class Signed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x[:, :1], -2 * x[:, :1], 5 * x[:, :1] - 4], 1)

    maps = ls.capture(network_of(nn.Sequential(Signed()), 16), _ramp(), layers="0")["0"]
    assert maps._order("range").tolist() == [2, 1, 0], "by the sum of their values the last would come first"
    assert torch.equal(maps[2].values, maps.values[2])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 10])
def test_a_layout_drops_no_picture(count: int) -> None:
    from layerscope.render.layout import cut_tiles, sheet_layout

    layout = sheet_layout(count, (8, 8))
    sheet = np.zeros(layout.size_hw, np.uint8)
    assert len(cut_tiles(sheet, layout)) == count


def test_no_sheet_needs_matplotlib() -> None:
    code = (
        "import sys, numpy as np, layerscope as ls\n"
        "ls.capture(ls.load('demo'), np.zeros((416, 416, 3), np.uint8))['backbone.block3'].sheet()\n"
        "print('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
def test_input_overlay_and_display_agree_where_things_are(resize: str) -> None:
    """Every cell of a network that only averages is held against the pixels that its place says it is of."""
    net = network_of(nn.Sequential(nn.AvgPool2d(4)), (32, 64))
    picture = np.zeros((60, 90, 3), np.uint8)
    picture[30:34, 40:44] = 255
    maps = ls.capture(net, picture, layers="0", resize=resize, pad=0)["0"]
    y, x = np.unravel_index(int(maps.values[0].argmax()), maps.values.shape[1:])
    assert maps.placement is not None
    where = maps.placement.to_frame(np.array([[x * 4 + 2.0, y * 4 + 2.0]]))[0]
    assert abs(where[0] - 42) <= 4
    assert abs(where[1] - 32) <= 4
    levels = np.asarray(maps.overlay(alpha=1.0, colormap="grey").convert("L"))
    assert levels.shape == picture.shape[:2]
    assert levels[32, 42] > 150
