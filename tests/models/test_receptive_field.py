"""Receptive fields beside gradients: the pixels from which anything reaches a cell."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import layerscope as ls
from layerscope.models.receptive_field import ReceptiveFields
from layerscope.models.survey import survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Size = tuple[float, float] | None
EVERYTHING = (math.inf, math.inf)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Thousands of tiny passes: threads would wait for each other far longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Does(nn.Module):
    """Any function as a module."""

    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts)


def alive(net: nn.Module) -> nn.Module:
    """Give every weight a positive number, so that nothing cancels and no ReLU is dead."""
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        parameter.data = 0.5 + torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
    return net.double().eval()


def told(net: nn.Module, hw: tuple[int, int]) -> Size:
    """What the survey says of a network's output."""
    kind = next((parameter.dtype for parameter in net.parameters()), torch.float32)
    return survey(nn.Sequential(net), torch.rand(1, 2, *hw, dtype=kind))[-1].receptive_field


def inputs(net: nn.Module, hw: tuple[int, int]) -> Iterable[Tensor]:
    """Pictures that rise towards a corner, and towards each where there are maxima, which take one pixel each."""
    y, x = torch.meshgrid(*(torch.linspace(0.1, 1, side, dtype=torch.float64) for side in hw), indexing="ij")
    maxima = any(isinstance(part, nn.MaxPool2d | nn.AdaptiveMaxPool2d | Does) for part in net.modules())
    for down in (y, y.flip(0)) if maxima else (y,):
        for across in (x, x.flip(1)) if maxima else (x,):
            yield (down + across).expand(1, 2, *hw).clone()


def seen(net: nn.Module, hw: tuple[int, int], cells: tuple[int | slice, ...]) -> np.ndarray:
    """The oracle: (H, W) bool, the input pixels whose change changes some cells of the output."""
    reached = torch.zeros(hw, dtype=torch.bool)
    for x in inputs(net, hw):
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(net(x)[(0, slice(None), *cells)].sum(), x)
        strength = gradient[0].abs().amax(0)
        reached |= strength > 1e-10 * strength.max()
    return reached.numpy()


def extent(flags: np.ndarray) -> int:
    places = np.flatnonzero(flags)
    return int(np.ptp(places)) + 1 if len(places) else 0


def size_seen(net: nn.Module, hw: tuple[int, int], turns: int = 6) -> tuple[int, int]:
    """The oracle of a size: the most that one of some neighbouring rows, and columns, of the output sees."""
    with torch.no_grad():
        sides = net(torch.rand(1, 2, *hw, dtype=torch.float64)).shape[-2:]
    most = []
    for axis, side in enumerate(sides):
        first = max(0, (side - turns) // 2)
        sizes = []
        for place in range(first, min(side, first + turns)):
            cells = (place, slice(None)) if axis == 0 else (slice(None), place)
            found = seen(net, hw, cells).any(axis=1 - axis)
            assert not found[[0, -1]].any(), "the input is too small to tell"
            sizes.append(extent(found))
        most.append(max(sizes))
    return most[0], most[1]


def pyramid(x: Tensor, *parts: nn.Module) -> Tensor:
    fine = parts[0](x)
    coarse = parts[2](parts[1](fine))
    return parts[4](torch.cat((parts[3](coarse), fine), dim=1))


def conv(inside: int = 2, outside: int = 2, kernel: int = 3, stride: int = 1, padding: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, kernel, stride, padding)


UNDERSTOOD: dict[str, nn.Module] = {
    "convolution": nn.Conv2d(2, 2, (3, 5), stride=(2, 1), padding=(0, 2)),
    "dilated": nn.Conv2d(2, 2, 3, dilation=(2, 3), padding=2),
    "grouped, stride beyond the kernel": nn.Conv2d(2, 2, 2, stride=3, groups=2),
    "same padding": nn.Conv2d(2, 2, (3, 5), padding="same", dilation=2),
    "reflected padding": nn.Conv2d(2, 2, 5, padding=2, padding_mode="reflect"),
    "by keywords": Does(lambda x, c: F.conv2d(input=x, weight=c.weight, stride=2, dilation=2), conv()),
    "maximum": nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
    "dilated maximum": nn.MaxPool2d((2, 3), 1, dilation=2),
    "maximum with indices": Does(lambda x: F.max_pool2d(x, 2, return_indices=True)[0]),
    "mean": nn.AvgPool2d((2, 4), stride=2, padding=(0, 1)),
    "adaptive mean": nn.AdaptiveAvgPool2d((12, 16)),
    "adaptive maximum": nn.AdaptiveMaxPool2d(24),
    "transposed": nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1),
    "transposed, uneven": nn.ConvTranspose2d(2, 2, (3, 5), stride=(2, 3), padding=1, output_padding=(1, 0)),
    "transposed, dilated": nn.ConvTranspose2d(2, 2, 3, stride=2, dilation=2),
    "transposed with holes": nn.ConvTranspose2d(2, 2, 1, stride=3),
    "bilinear": nn.Upsample(scale_factor=2, mode="bilinear"),
    "bilinear by three": nn.Upsample(scale_factor=3, mode="bilinear"),
    "pool, then finer": nn.Sequential(nn.MaxPool2d(2), nn.Upsample(scale_factor=2)),
    "finer, then coarser": nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=4), conv(stride=2), conv(stride=2)),
    "coarse by transposed convolutions": nn.Sequential(
        conv(stride=2), conv(stride=2), nn.ConvTranspose2d(2, 2, 3, 2, 1, 1), nn.ConvTranspose2d(2, 2, 2, 2), conv()
    ),
    "padded on one side": nn.Sequential(nn.ZeroPad2d((3, 0, 1, 0)), conv(padding=0)),
    "cropped by padding": nn.Sequential(nn.ZeroPad2d((-2, -1, -3, 0)), conv()),
    "cropped at opposite sides": Does(
        lambda x, a: F.pad(a(x), (0, -2, 0, -2)) + F.pad(a(x), (-2, 0, 0, -2)), conv(padding=2)
    ),
    "transposed beside a skip": Does(
        lambda x, a, b: a(F.avg_pool2d(x, 2)) + b(x), nn.ConvTranspose2d(2, 2, 6, 2, 2), conv(kernel=5, padding=2)
    ),
    "bilinear, where the centres lie": nn.Sequential(
        nn.Upsample(scale_factor=3, mode="bilinear"), nn.ZeroPad2d(-1), conv(2, 2, 1, 3, 0)
    ),
    "skip": Does(lambda x, a, b: x + b(a(x).relu()), conv(), conv()),
    "skip in place": Does(lambda x, a: a(x).add_(x).mul_(2), conv(kernel=5, padding=2)),
    "stack": Does(lambda x, a: torch.stack([a(x), x]).sum(0), conv()),
    "halves": Does(lambda x, a, b: a(x).chunk(2, 1)[0] + b(x.split(1, dim=1)[1]), conv(), conv(1, 1, 5, padding=2)),
    "channels picked": Does(lambda x, a: a(x)[:, 1:] + x[:, [0]] + x[:, 0, None], conv()),
    "over channels": Does(lambda x, a: a(x).mean(1, keepdim=True) * x.softmax(1) + x.amax(dim=1).unsqueeze(1), conv()),
    "shuffled channels": Does(lambda x, a: a(x).view(1, 2, 1, *x.shape[2:]).transpose(1, 2).reshape(x.shape), conv()),
    "instance norm by stored numbers": nn.Sequential(conv(), nn.InstanceNorm2d(2, track_running_stats=True)),
    "pyramid": Does(pyramid, conv(stride=2), conv(stride=2), conv(), nn.Upsample(scale_factor=2), conv(4, 2)),
    "a loop": Does(lambda x, a: [x := a(x) for _ in range(4)][-1], conv()),
}


@pytest.mark.parametrize("what", UNDERSTOOD)
def test_what_is_told_is_what_gradients_reach(what: str) -> None:
    net = alive(UNDERSTOOD[what])
    assert told(net, (48, 48)) == size_seen(net, (48, 48))


@pytest.mark.parametrize(
    "activation",
    [
        *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Mish", "Hardswish"),
        *("Hardsigmoid", "Hardtanh", "Sigmoid", "LogSigmoid", "Tanh", "Softplus", "Softsign", "Tanhshrink"),
        *("Softshrink", "Dropout", "Dropout2d", "Identity", "Softmax2d"),
    ],
)
def test_activations_see_what_their_input_sees(activation: str) -> None:
    assert told(nn.Sequential(conv(), getattr(nn, activation)()), (12, 12)) == (3, 3)


layers = st.one_of(
    st.builds(
        lambda k, s, d, p: nn.Conv2d(2, 2, k, s, p, d),
        st.integers(1, 4),
        st.integers(1, 2),
        st.integers(1, 2),
        st.integers(0, 2),
    ),
    st.builds(lambda k, s: nn.AvgPool2d(k, s), st.integers(1, 3), st.integers(1, 3)),
    st.builds(lambda k, s: nn.ConvTranspose2d(2, 2, k, s), st.integers(1, 4), st.integers(1, 2)),
    st.builds(lambda f: nn.Upsample(scale_factor=f), st.integers(2, 3)),
    st.builds(lambda f: nn.Upsample(scale_factor=f, mode="bilinear"), st.integers(2, 3)),
    st.builds(lambda a, b, c, d: nn.ZeroPad2d((a, b, c, d)), *[st.integers(0, 2)] * 4),
    st.builds(lambda k: Does(lambda x, a: x + a(x), conv(kernel=k, padding=k // 2)), st.sampled_from([1, 3, 5])),
    st.builds(lambda: Does(lambda x, a, b: torch.cat([a(x), b(x)], 1), conv(2, 1), conv(2, 1, 1, padding=0))),
    st.builds(lambda: Does(lambda x, a: a(x.chunk(2, 1)[0]), conv(1, 2))),
    st.builds(nn.ReLU),
)


# Not with maxima: a gradient shows only the cell that won, so what it shows of them depends on the numbers.
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(parts=st.lists(layers, min_size=2, max_size=5))
def test_random_networks_are_told_to_the_pixel(parts: list[nn.Module]) -> None:
    net, hw = alive(nn.Sequential(*parts)), (64, 64)
    turns = math.prod(int(getattr(part, "scale_factor", 1)) for part in parts)
    turns *= math.prod(part.stride[0] for part in parts if isinstance(part, nn.ConvTranspose2d))
    assume(turns <= 8)
    shape = survey(net, torch.rand(1, 2, *hw, dtype=torch.float64))[-1].shape
    assume(shape is not None and 4 <= shape[-1] <= 150)
    size = told(net, hw)
    assert size is not None
    assume(max(size) < 26)
    assert size_seen(net, hw, turns=turns) == size


SEES_EVERYTHING: dict[str, nn.Module] = {
    "global mean": nn.AdaptiveAvgPool2d(1),
    "mean of rows and columns": Does(lambda x: x.mean((2, 3), keepdim=True)),
    "mean, axes dropped": Does(lambda x: x.mean(dim=(-1, -2))),
    "linear head": nn.Sequential(conv(), nn.Flatten(), nn.Linear(2 * 12 * 12, 3)),
    "squeeze and excite": Does(
        lambda x, a, b: x * b(F.adaptive_avg_pool2d(a(x), 1)).log1p(), conv(), conv(kernel=1, padding=0)
    ),
    "behind it": nn.Sequential(Does(lambda x: x + x.mean((2, 3), keepdim=True)), conv(stride=2), nn.MaxPool2d(2)),
    "group norm": nn.GroupNorm(1, 2),
    "instance norm": Does(lambda x: F.instance_norm(x)),
    "weighed by a sum": Does(lambda x: x * x.sum((2, 3), keepdim=True)),
}


@pytest.mark.parametrize("what", SEES_EVERYTHING)
def test_where_everything_is_seen_gradients_reach_every_pixel(what: str) -> None:
    net = alive(SEES_EVERYTHING[what])
    assert told(net, (12, 12)) == EVERYTHING
    with torch.no_grad():
        cell = tuple(side // 2 for side in net(torch.rand(1, 2, 12, 12, dtype=torch.float64)).shape[2:])
    found = seen(net, (12, 12), cell)
    # A normalisation's cell hangs on the others by their mean and variance only, which may be nearly nothing.
    assert found.mean() > (0.9 if "norm" in what else 0.999)


def written(x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    out[:, :, 1:] = x[:, :, :-1]
    return out


NOT_UNDERSTOOD: dict[str, nn.Module] = {
    "rolled": Does(lambda x: x.roll(1, 2)),
    "mirrored": Does(lambda x: x.flip(3)),
    "turned": Does(lambda x: x.transpose(2, 3)),
    "turned and laid out anew": Does(lambda x: x.permute(0, 1, 3, 2).contiguous()),
    "channels last": Does(lambda x: x.permute(0, 2, 3, 1)),
    "cropped": Does(lambda x: x[:, :, 1:-1, 1:-1]),
    "rows exchanged": Does(lambda x: x[:, :, torch.arange(11, -1, -1)]),
    "one cell": Does(lambda x: x[:, :, 4, 4]),
    "one cell with its axes": Does(lambda x: x[:, :, 4:5, 4:5]),
    "one cell, then a linear layer": Does(lambda x, a: a(x[:, :, 4, 4]), nn.Linear(2, 3)),
    "one channel of one picture": Does(lambda x: x[0, 0]),
    "one row selected": Does(lambda x: x.select(2, 3).select(2, 3)),
    "over all but rows and columns": Does(lambda x: x.sum((0, 1))),
    "softmax along a row": Does(lambda x: x.softmax(3)),
    "pixels as channels": nn.PixelUnshuffle(2),
    "tokens": Does(lambda x: x.flatten(2).transpose(1, 2)),
    "attention": Does(lambda x: (x.flatten(2).transpose(1, 2) @ x.flatten(2)).softmax(-1)),
    "bicubic": nn.Upsample(scale_factor=2, mode="bicubic"),
    "aligned corners": nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
    "no whole factor": nn.Upsample(scale_factor=1.5),
    "no whole factor that looks like one": Does(lambda x: F.interpolate(x[:, :, :], scale_factor=2.05)),
    "adaptive, uneven": nn.AdaptiveAvgPool2d(5),
    "stacked along columns": Does(lambda x: torch.stack([x] * 12, -1)),
    "rows side by side": Does(lambda x: torch.cat([x, x], 2)),
    "weights made of the picture": Does(lambda x: F.conv2d(x, x[:, :, :3, :3])),
    "unequal steps side by side": Does(lambda x, a: a(x)[:, :, :6, :6] + x[:, :, :6, :6], conv(stride=2)),
    "written in parts": Does(written),
    "sampled": Does(
        lambda x: F.grid_sample(x, torch.zeros(1, 1, 1, 2, dtype=x.dtype, device=x.device), align_corners=False)
    ),
}


@pytest.mark.parametrize("what", NOT_UNDERSTOOD)
def test_what_is_not_understood_is_not_guessed(what: str) -> None:
    net = NOT_UNDERSTOOD[what]
    assert told(net, (12, 12)) is None
    behind = nn.Sequential(net, nn.Tanh())
    assert told(behind, (12, 12)) is None, "nor is what is made of it"


def test_maps_that_shrank_to_one_cell_are_followed_into_their_head() -> None:
    net = alive(
        nn.Sequential(conv(kernel=3, stride=40, padding=0), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 5))
    )
    assert told(net, (32, 32)) == (3, 3), "its one cell sees no more than that"
    assert seen(net, (32, 32), ()).sum() == 9


def test_it_does_not_hang_on_the_size_of_the_input() -> None:
    net = nn.Sequential(*[conv(stride=2) for _ in range(5)])
    assert told(net, (32, 32)) == told(net, (512, 512)) == (63, 63)


def test_each_of_several_outputs_and_calls_has_its_own() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()
            self.two = Does(lambda x: (x, F.avg_pool2d(x, 5)))  # type: ignore[arg-type, return-value]

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.conv(self.conv(x)))[1]

    fields = {layer.name: layer.receptive_field for layer in survey(Both(), torch.rand(1, 2, 20, 20))}
    assert fields["conv:0"] == (3, 3)
    assert fields["conv:1"] == (5, 5)
    assert (fields["two.0"], fields["two.1"]) == ((5, 5), (9, 9))


def test_what_does_not_come_from_the_input_is_not_known() -> None:
    x = torch.rand(1, 2, 8, 8)
    with ReceptiveFields(x) as fields:
        other = torch.rand(1, 2, 8, 8) * 2
        own = x * 2 + other
    assert fields.of(other) is None
    reach = fields.of(own)
    assert reach is not None
    assert reach.size_hw == (1, 1)


def darknet53() -> list[int]:
    """The oracle: the textbook's recursion over kernels and strides; what each stage sees."""
    size, jump, stages = 3, 1, []  # behind the first convolution
    for residuals in (1, 2, 8, 8, 4):
        for kernel, stride in [(3, 2), *[(1, 1), (3, 1)] * residuals]:
            size += (kernel - 1) * jump
            jump *= stride
        stages.append(size)
    return stages


def test_the_stages_of_darknet53_have_their_known_sizes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ls.LayerscopeWarning)
        net = ls.load("yolov3", classes=2, device="cpu")
    fields = {layer.name: layer.receptive_field for layer in net.layers(size=64)}
    expected = darknet53()
    assert [fields[stage] for stage in net.stages] == [(size, size) for size in expected]
    assert expected[-1] == 725
