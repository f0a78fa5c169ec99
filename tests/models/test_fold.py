"""Folded networks against the networks themselves: the same maps, and nothing folded that anybody could tell."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import layerscope as ls
from layerscope.errors import LayerscopeWarning
from layerscope.hooks import select
from layerscope.hooks.tape import Tape, catch
from layerscope.inputs import Preparation
from layerscope.models.flow import UndecidedError, follow
from layerscope.models.fold import quicker
from layerscope.models.network import Network
from layerscope.models.weights import WeightsReport
from layerscope.models.wrapped import named_layers
from recipe_oracle import lively
from small_nets import Branching, Plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROMISED = 1e-4


def network(module: nn.Module, size: int = 16) -> Network:
    weights = WeightsReport(path=None, naming="", taken=0, total=0)
    return Network(source="test", module=module, preparation=Preparation(size_hw=(size, size)), weights=weights)


def load(source: str, **options: Any) -> Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerscopeWarning)
        return ls.load(source, device="cpu", **options)


def picture(net: Network, count: int = 1) -> Tensor:
    """Draw something smooth, unlike the noise by which a folded network is tried."""
    height, width = net.preparation.size_hw
    y, x = np.mgrid[:height, :width]
    red, green, blue = 127 + 120 * np.sin(x / 7), 255 * y / height, 255 * ((x // 8 + y // 8) % 2)
    first, _ = net.prepare(np.stack([red, green, blue], 2).astype(np.uint8))
    return torch.cat([first.roll(shift, -1) for shift in range(count)])


def as_if_trained(net: Network, seed: int = 0) -> Network:
    """Give batch norms numbers that are far from trivial, and statistics as training does, and then off them."""
    norms: list[Any] = [part for part in net.module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    generator = torch.Generator().manual_seed(seed)
    for norm in norms:
        for parameter in norm.parameters():
            parameter.data.normal_(generator=generator)
        norm.training, norm.momentum = True, 1.0
    with torch.no_grad():
        net.call(net.module, picture(net, 4))
    for norm in norms:
        norm.training, norm.momentum = False, 0.1
        if norm.running_var is not None:
            noise = torch.randn(2, norm.num_features, generator=generator).to(norm.running_var)
            norm.running_mean += 0.5 * noise[0] * norm.running_var.sqrt()
            norm.running_var *= (0.5 * noise[1]).exp()
    return net


def maps_of(net: Network, module: nn.Module, layers: Any, count: int = 1) -> dict[str, Tensor]:
    plan = select(layers, net.module, stages=net.stages if layers == "stages" else ())
    tape = Tape(plan, module)
    with torch.no_grad(), catch(module, plan, tape.take) as calls:
        tape.calls = calls
        net.call(module, picture(net, count))
    return dict(tape)


def quick(net: Network, layers: Any, **options: Any) -> nn.Module:
    plan = select(layers, net.module, stages=net.stages if layers == "stages" else ())
    return quicker(net, plan, net.preparation, **options)


def assert_same_maps(net: Network, module: nn.Module, layers: Any, count: int = 1) -> None:
    expected, found = maps_of(net, net.module, layers, count), maps_of(net, module, layers, count)
    assert list(found) == list(expected)
    for name, one in expected.items():
        assert found[name].dtype == one.dtype
        assert found[name].shape == one.shape
        if one.numel():
            difference = (found[name].double() - one.double()).abs().max()
            assert difference <= PROMISED * one.double().abs().max(), name


def folded(net: Network, module: nn.Module) -> list[str]:
    """Name the batch norms that are none any more."""
    assert list(named_layers(module)) == list(named_layers(net.module))
    norms = nn.modules.batchnorm._BatchNorm
    found = named_layers(module)
    return [
        name
        for name, part in named_layers(net.module).items()
        if isinstance(part, norms) and type(found[name]) is nn.Identity
    ]


def assert_folds(module: nn.Module, expected: list[str], *, size: int = 16, layers: Any = "last") -> nn.Module:
    """Check which batch norms are folded, and that nobody can tell."""
    torch.manual_seed(0)
    net = as_if_trained(network(module.eval(), size))
    result = quick(net, layers)
    assert folded(net, result) == expected
    assert (result is net.module) == (not expected)
    assert_same_maps(net, result, layers)
    return result


def pairs_of(module: nn.Module) -> dict[str, str]:
    """Follow one run, without trying anything out."""
    found = named_layers(module.eval())
    convs = [name for name, part in found.items() if isinstance(part, nn.modules.conv._ConvNd)]
    norms = [name for name, part in found.items() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad(), follow(x, module, convs, norms) as flow:
        flow.see(module(x))
    return flow.pairs()


class Unit(nn.Module):
    """A convolution and its batch norm, then something to listen to; how they are called is told."""

    def __init__(
        self,
        forward: Callable[[Any, Tensor], Tensor] | None = None,
        conv: nn.Module | None = None,
        norm: nn.Module | None = None,
        **parts: nn.Module,
    ) -> None:
        super().__init__()
        self.conv = conv or nn.Conv2d(3, 4, 3)
        self.norm = norm or nn.BatchNorm2d(4)
        for name, part in parts.items():
            self.add_module(name, part)
        self.act = nn.ReLU(inplace=True)
        self.last = nn.Sigmoid()
        self.way = forward

    def forward(self, x: Tensor) -> Any:
        if self.way is None:
            return self.last(self.act(self.norm(self.conv(x))))
        return self.way(self, x)


# Networks as people build them.

SELECTIONS = ("stages", "convs", "all", "operations", "modules")
NETWORKS = {
    "demo": ({"size": 64}, 40),
    "yolov3": ({"size": 64}, 72),
    "torchvision:resnet18": ({"size": 64}, 20),
    "torchvision:mobilenet_v2": ({"size": 64}, 52),
    "torchvision:densenet121": ({"size": 64}, 59),
    "torchvision:googlenet": ({"size": 64}, 57),
    "ultralytics:yolov8n.yaml": ({"size": 64}, 57),
    "timm:resnet10t": ({"size": 64}, 14),
    "torchvision:ssdlite320_mobilenet_v3_large": ({}, 0),
    "torchvision:vit_b_32": ({}, 0),
}


@pytest.fixture(scope="module", params=NETWORKS)
def real(request: pytest.FixtureRequest) -> tuple[Network, int]:
    source: str = request.param
    if ":" in source:
        pytest.importorskip(source.partition(":")[0])
    options, count = NETWORKS[source]
    net = load(source, **options)
    if source in ("yolov3", "torchvision:mobilenet_v2"):  # the latter, as deep as it is, would be chaotic otherwise
        lively(net.module)
    elif source != "demo":
        as_if_trained(net)
    if source.startswith("ultralytics"):  # scores and sizes that do not hang on the last bit
        for branch in (*net.module.model[-1].cv2, *net.module.model[-1].cv3):
            branch[-1].weight.data /= 100
    return net, count


@pytest.mark.parametrize("layers", SELECTIONS)
def test_the_maps_of_every_selection_are_the_same(real: tuple[Network, int], layers: str) -> None:
    net, count = real
    result = quick(net, layers)
    assert len(folded(net, result)) == (count if layers in ("stages", "operations") else 0)
    assert_same_maps(net, result, layers)


def test_what_hangs_on_the_last_bit_is_not_folded() -> None:
    """What turns a difference of a millionth into one of a half is compared as well where it is listened to."""

    def way(net: Any, x: Tensor) -> Tensor:
        y = net.last(net.act(net.norm(net.conv(x))))
        return (1e6 * y).sin() + net.norm2(net.conv2(x))

    def build() -> Network:
        torch.manual_seed(0)
        return as_if_trained(network(Unit(way, conv2=nn.Conv2d(3, 4, 3), norm2=nn.BatchNorm2d(4)).eval()))

    for layers in ("sin", "operations", ["last", "sin"]):
        net = build()
        assert quick(net, layers) is net.module
    net = build()
    assert folded(net, quick(net, "last")) == ["norm", "norm2"]


def test_a_chaotic_network_is_left_alone() -> None:
    """Drawn at random and normed, MobileNetV2 turns the last bit of its first map into a thousandth of its last."""
    pytest.importorskip("torchvision")
    net = as_if_trained(load("torchvision:mobilenet_v2", size=64))
    assert quick(net, "features") is net.module
    assert len(folded(net, quick(net, "features.3"))) == 52


def test_densenets_norms_that_come_before_a_convolution_stay() -> None:
    pytest.importorskip("torchvision")
    net = as_if_trained(load("torchvision:densenet121", size=64))
    assert {name.rpartition(".")[2] for name in folded(net, quick(net, "stages"))} == {"norm0", "norm2"}


def test_a_transformers_network_that_gives_a_dict(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers.logging.disable_progress_bar()
        transformers.ResNetForImageClassification(config).eval().save_pretrained(tmp_path)
    net = as_if_trained(load(f"hf:{tmp_path}", size=64))
    result = quick(net, "stages")
    assert len(folded(net, result)) == sum(isinstance(part, nn.BatchNorm2d) for part in net.module.modules()) > 6
    assert_same_maps(net, result, "stages")


def test_trained_weights_and_photographs(shared_data: Path) -> None:
    code = f"{__file__.rpartition('/tests/')[0]}/tests/trained.py"
    weights = shared_data / "models"
    resnet = load(f"{code}:ResNet20", weights=weights / "resnet20-12fca82f.th", size=32)
    fastest = load(f"{code}:FastestDet", weights=weights / "fastestdet_AP05_0.253207_280-epoch.pth", size=352)
    for net in (resnet, fastest):
        photo, _ = net.prepare(next((shared_data / "images").glob("*.jpg")))
        result = quick(net, "stages")
        assert len(folded(net, result)) == sum(isinstance(part, nn.BatchNorm2d) for part in net.module.modules()) > 15
        plan = select("stages", net.module, stages=net.stages)
        tapes = Tape(plan, net.module), Tape(plan, result)
        for module, tape in zip((net.module, result), tapes, strict=True):
            with torch.no_grad(), catch(module, plan, tape.take):
                net.call(module, photo)
        for expected, found in zip(tapes[0].values(), tapes[1].values(), strict=True):
            assert (found - expected).abs().max() <= PROMISED * expected.abs().max()


@pytest.mark.parametrize("kind", ["script", "exported"])
def test_what_runs_elsewhere_is_left_alone(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x = nn.Sequential(Plain(), nn.BatchNorm2d(6)).eval(), torch.rand(1, 3, 32, 32)
    if kind == "script":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.trace(module, x), path := tmp_path / "net.pt")
    else:
        torch.export.save(torch.export.export(module, (x,)), path := tmp_path / "net.pt2")
    net = load(str(path), size=32, trust_pickle=True)
    assert quick(net, "modules") is net.module
    assert quick(net, "stages") is net.module


# What may be folded.


def without_bias(norm: nn.Module) -> nn.Module:
    norm.register_parameter("bias", None)
    return norm


@pytest.mark.parametrize(
    ("conv", "norm"),
    [
        (nn.Conv2d(3, 4, 3, bias=False), None),
        (nn.Conv2d(3, 4, 3), without_bias(nn.BatchNorm2d(4))),
        (nn.Conv2d(3, 4, 3, bias=True), nn.BatchNorm2d(4, affine=False)),
        (nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6, eps=0.1)),
        (nn.Conv2d(3, 4, 3, padding=2, dilation=2, stride=2, padding_mode="reflect"), None),
        (nn.Conv2d(3, 4, 3, padding="same", padding_mode="circular"), None),
        (nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=1), None),
        (nn.ConvTranspose2d(3, 4, 2, bias=False), None),
    ],
)
def test_convolutions_of_every_kind(conv: nn.Module, norm: nn.Module | None) -> None:
    assert_folds(Unit(conv=conv, norm=norm), ["norm"])


def test_convolutions_over_lines_and_volumes() -> None:
    line = Unit(lambda net, x: net.last(net.norm(net.conv(x.flatten(2)))), nn.Conv1d(3, 4, 5), nn.BatchNorm1d(4))
    assert_folds(line, ["norm"])
    volume = Unit(lambda net, x: net.last(net.norm(net.conv(x[:, :, None]))), nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4))
    assert_folds(volume, ["norm"])
    up = Unit(lambda net, x: net.last(net.norm(net.conv(x.flatten(2)))), nn.ConvTranspose1d(3, 4, 3), nn.BatchNorm1d(4))
    assert_folds(up, ["norm"])


def test_what_gives_its_input_on_may_lie_between() -> None:
    parts = {"same": nn.Identity(), "drop": nn.Dropout()}
    assert_folds(Unit(lambda net, x: net.last(net.norm(net.drop(net.same(net.conv(x))))), **parts), ["norm"])


def test_a_pair_that_runs_twice() -> None:
    assert_folds(Unit(lambda net, x: net.last(net.norm(net.conv(x)) - net.norm(net.conv(x.flip(3))))), ["norm"])


def test_a_forward_that_writes_to_its_input() -> None:
    assert_folds(Unit(lambda net, x: net.last(net.norm(net.conv(x.mul_(2))))), ["norm"])


def test_two_convolutions_of_one_weight() -> None:
    module = Unit(
        lambda net, x: net.last(net.norm(net.conv(x)) - net.norm2(net.conv2(x))),
        conv2=nn.Conv2d(3, 4, 3),
        norm2=nn.BatchNorm2d(4),
    )
    module.conv2.weight = module.conv.weight
    assert_folds(module, ["norm", "norm2"])


def test_a_part_under_two_names_is_still_one() -> None:
    module = Unit()
    module.also = module.norm
    result = assert_folds(module, ["norm", "also"])
    assert result.also is result.norm


def test_constants_may_be_read() -> None:
    def way(net: Any, x: Tensor) -> Tensor:
        step = torch.arange(1, 3)[1].item() + len(net.norm.running_mean.tolist())
        return net.last(net.act(net.norm(net.conv(x))) * step)

    class Kept(Unit):
        """Keeps what it asks for, as an identity has no statistics."""

        def forward(self, x: Tensor) -> Any:
            step = self.step.max().item() + (2.0 if self.step[self.step > 1].numel() else 0.0)
            return self.last(self.norm(self.conv(x)) * step)

    module = Kept()
    module.step = torch.arange(4.0)
    assert_folds(module, ["norm"])
    assert_folds(Unit(way), [])  # it looks for what an identity has not


def test_dead_channels_and_no_variance_at_all() -> None:
    torch.manual_seed(0)
    net = as_if_trained(network(Unit().eval()))
    conv, norm = net.module.conv, net.module.norm
    conv.weight.data[0], norm.running_mean[0], norm.running_var[0] = 0, conv.bias.data[0], 0
    norm.running_var[1] = 0
    norm.running_var[2], norm.running_mean[2] = 1e-40, 1e-30
    norm.weight.data[3] = 0
    result = quick(net, "last")
    assert folded(net, result) == ["norm"]
    assert_same_maps(net, result, ["act", "last"])


def test_what_rounding_would_change_is_left_alone() -> None:
    """Means ten thousand deviations away: what the convolution itself rounds off is more than is promised."""
    torch.manual_seed(0)
    module = Unit().eval()
    module.conv.bias.data += 1000
    module.norm.running_mean.fill_(1000)
    module.norm.running_var.fill_(0.01)
    assert quick(network(module), "last") is module


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_statistics_are_left_alone(value: float) -> None:
    net = network(Unit().eval())
    net.module.norm.running_var[1] = value
    net.module.norm.running_mean[1] = value
    assert quick(net, "last") is net.module


def test_double_precision() -> None:
    class Double(Unit):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x.double())

    result = assert_folds(Double().double(), ["norm"])
    assert result.conv.weight.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_left_alone(dtype: torch.dtype) -> None:
    class Half(Unit):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x.to(dtype))

    net = network(Half().to(dtype).eval())
    assert quick(net, "last") is net.module


# What somebody else sees, or what is not as PyTorch made it.


def kept_on_the_side(net: Any, x: Tensor) -> Tensor:
    net.__dict__["side"] = net.conv(x)
    value = net.act(net.norm(net.side))
    return net.last(value + net.side)


def written_through_a_view(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    y[:, :1] *= 2
    return net.last(net.norm(y))


def overwritten_afterwards(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    z = net.norm(y)
    return net.last(torch.add(z, 1, out=y))


def alias_kept(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    side = y.data
    return net.last(net.norm(y) + side)


class Added(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        return a.relu() + b


def added(a: Tensor, b: Tensor) -> Tensor:
    return a.relu() + b


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    added_in_script = torch.jit.script(added)


@pytest.mark.parametrize(
    "way",
    [
        lambda net, x: net.last(net.norm(y := net.conv(x)) + y),
        lambda net, x: net.last(net.act(y := net.conv(x)) + net.norm(y)),
        lambda net, x: (net.last(net.norm(y := net.conv(x))), y),
        lambda net, x: {"a": [net.last(net.norm(y := net.conv(x)))], "b": {"c": y[:, 1:]}},
        lambda net, x: net.last(net.norm(net.conv(x).add_(1))),
        lambda net, x: net.last(net.norm(net.conv(x) * 2)),
        lambda net, x: net.last(net.norm(net.conv(x).detach())),
        lambda net, x: net.last(net.norm(net.conv(x).transpose(2, 3))),
        lambda net, x: net.last(net.norm(y := net.conv(x)) + net.norm(y).flip(3)),
        lambda net, x: net.last(net.norm(net.conv(x)) + net.norm(x[:, :1].expand(-1, 4, -1, -1))[..., 2:, 2:]),
        lambda net, x: net.last(net.norm(net.conv(x)) + net.conv(x)),
        lambda net, x: net.last(net.norm(net.conv(x)) + net.act(net.conv(x.flip(2)))),
        lambda net, x: net.last(
            F.batch_norm(net.conv(x), net.norm.running_mean, net.norm.running_var, net.norm.weight, net.norm.bias)
        ),
        lambda net, x: net.last(net.norm(F.conv2d(x, net.conv.weight))),
        lambda net, x: net.last(net.norm(net.conv(x[0])[None])),
        lambda net, x: net.last(added_in_script(y := net.conv(x), net.norm(y))),
        lambda net, x: net.last(Added.apply(y := net.conv(x), net.norm(y))),
        kept_on_the_side,
        written_through_a_view,
        overwritten_afterwards,
        alias_kept,
    ],
)
def test_what_somebody_else_sees_is_not_folded(way: Callable[[Any, Tensor], Any]) -> None:
    assert_folds(Unit(way), [])
    assert pairs_of(Unit(way)) == {}


@pytest.mark.parametrize(
    "way",
    [
        lambda net, x: net.last(net.norm(y := net.conv(x)) + net.norm2(y)),
        lambda net, x: net.last(net.norm(net.conv(x)) + net.norm2(net.conv(x))),
        lambda net, x: net.last(net.norm(net.conv(x)) + net.norm(net.conv2(x))),
        lambda net, x: net.last(net.norm2(net.norm(net.conv(x))) + net.norm(net.conv2(x))),
    ],
)
def test_a_convolution_for_two_norms_and_a_norm_for_two_convolutions(way: Callable[[Any, Tensor], Any]) -> None:
    def build() -> nn.Module:
        return Unit(way, conv2=nn.Conv2d(3, 4, 3), norm2=nn.BatchNorm2d(4))

    assert_folds(build(), [])
    assert pairs_of(build()) == {}


class OwnConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) ** 2


class OwnNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).abs()


@pytest.mark.parametrize(
    ("conv", "norm"),
    [
        (OwnConv(3, 4, 3), None),
        (None, OwnNorm(4)),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), None),
        (None, nn.BatchNorm2d(4, track_running_stats=False)),
        (None, nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
        (nn.ConvTranspose2d(6, 4, 3, groups=2), None),
    ],
)
def test_parts_that_are_not_what_they_seem(conv: nn.Module | None, norm: nn.Module | None) -> None:
    parts = {
        "first": nn.Conv2d(3, 6, 1) if isinstance(conv, nn.ConvTranspose2d) else nn.Identity(),
        "conv2": nn.Conv2d(4, 4, 3),
        "norm2": nn.BatchNorm2d(4),
    }
    module = Unit(lambda net, x: net.last(net.norm2(net.conv2(net.norm(net.conv(net.first(x)))))), conv, norm, **parts)
    assert_folds(module, ["norm2"])


def test_a_forward_put_on_one_convolution() -> None:
    module = Unit()
    own = module.conv.forward
    module.conv.forward = lambda x: own(x) + 1
    net = network(module.eval())
    assert folded(net, quick(net, "last")) == []


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
@pytest.mark.parametrize("part", ["conv", "norm", "last"])
def test_hooks_of_the_user_are_neither_copied_nor_called(register: str, part: str) -> None:
    module, heard = Unit().eval(), []
    getattr(getattr(module, part), register)(lambda *_: heard.append(1))
    net = network(module)
    assert quick(net, "last") is net.module
    assert not heard


def test_weights_normed_the_old_way() -> None:
    module = Unit()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(module.conv)
    net = network(module.eval())
    assert quick(net, "last") is net.module


def test_a_network_in_training_is_left_alone() -> None:
    module = Unit().eval()
    module.norm.train()
    before = copy.deepcopy(module.state_dict())
    net = network(module)
    assert quick(net, "last") is net.module
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    module.norm.eval()
    module.last.train()
    assert quick(net, "last") is net.module


def test_a_compiled_network_is_left_alone() -> None:
    net = network(torch.compile(Unit().eval()))
    assert quick(net, "last") is net.module
    module = Unit().eval()
    module.compile()
    assert quick(network(module), "last") is module


def test_without_a_batch_axis_channels_are_others() -> None:
    module = Unit(lambda net, x: net.last(net.norm(net.conv(x[0, :, :4, 0]))), nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4))
    assert_folds(module, [])
    assert pairs_of(module) == {}


def test_under_autocast_nothing_is_folded() -> None:
    net = as_if_trained(network(Unit().eval()))
    with torch.autocast("cpu", torch.bfloat16):
        assert quick(net, "last") is net.module

    def way(net: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            y = net.norm(net.conv(x))
        return net.last(y + net.norm2(net.conv2(x)))

    module = Unit(way, conv2=nn.Conv2d(3, 4, 3), norm2=nn.BatchNorm2d(4))
    assert_folds(module, ["norm2"])
    assert pairs_of(module) == {"conv2": "norm2"}


@pytest.mark.parametrize(
    "way",
    [
        lambda net, x: net.last(net.norm(net.conv(x)) * (2 if type(net.norm) is nn.Identity else 1)),
        lambda net, x: net.last(net.norm(net.conv(x)) * net.norm.eps),
        lambda net, x: net.last(net.norm(net.conv(x)) + (0 if net.conv.bias is None else 1)),
        lambda net, x: net.last(net.norm(net.conv(x)) + torch.rand(1)),
        lambda net, x: (y := net.last(net.norm(net.conv(x))), type(net.norm) is nn.Identity and net.last(y)),
    ],
)
def test_a_forward_that_can_tell_or_is_never_the_same(way: Callable[[Any, Tensor], Any]) -> None:
    torch.manual_seed(0)
    net = network(Unit(way, nn.Conv2d(3, 4, 3, bias=False)).eval())
    state = torch.get_rng_state()
    assert quick(net, "last") is net.module
    assert torch.equal(torch.get_rng_state(), state)


def test_a_norm_that_is_called_past_its_name() -> None:
    module = Unit(lambda net, x: net.last(net.parts[1](net.parts[0](x))))
    module.parts = [module.conv, module.norm]
    assert_folds(module, [])


# What is listened to.


class Two(nn.Module):
    """Two pairs, the first within wrappers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.second = nn.ModuleDict({"conv": nn.Conv2d(4, 4, 3), "norm": nn.BatchNorm2d(4)})
        self.last = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second["norm"](self.second["conv"](self.first(x))).relu() + 1)


FIRST, SECOND = "first.1", "second.norm"


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("last", [FIRST, SECOND]),
        ("first", [FIRST, SECOND]),
        ("first.2", [FIRST, SECOND]),
        ("first@in", [FIRST, SECOND]),
        ("first.2@in", [FIRST, SECOND]),
        (["add", "relu"], [FIRST, SECOND]),
        ("operations", [FIRST, SECOND]),
        ("second.conv", [FIRST]),
        ("second.conv:0", [FIRST]),
        ("second.conv@in", [FIRST]),
        ("second.norm", [FIRST]),
        ("second.norm@in", [FIRST]),
        ("second.*", [FIRST]),
        ("Conv2d", []),
        ("BatchNorm2d", []),
        ("first.0", [SECOND]),
        ("first.0.0", [SECOND]),
        ("first.*", [SECOND]),
        (["first.0", "second.norm"], []),
        (lambda name, part: name.endswith("norm"), [FIRST]),
    ],
)
def test_only_what_is_not_listened_to_is_folded(layers: Any, expected: list[str]) -> None:
    assert_folds(Two(), expected, layers=layers)


def test_operations_that_a_pattern_asks_for_are_the_same_ones() -> None:
    torch.manual_seed(0)
    net = as_if_trained(network(Two().eval()))
    result = quick(net, "operations")
    assert folded(net, result) == [FIRST, SECOND]
    assert list(maps_of(net, result, "operations")) == ["relu", "add"]


class Telling(nn.Module):
    """Gives what its convolution gave beside the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        y = self.conv(x)
        return self.norm(y), {"raw": y}


def test_a_part_that_tells_of_a_convolution_may_do_so_unheard() -> None:
    def build() -> nn.Module:
        return Unit(lambda net, x: net.last(net.telling(x)[0] + 1), telling=Telling())

    assert_folds(build(), ["telling.norm"])
    assert_folds(build(), [], layers="telling")


# Values that decide.


@torch.library.custom_op("layerscope_tests::chosen", mutates_args=())
def chosen(y: Tensor) -> Tensor:
    return y[y > 1e9]


@chosen.register_fake
def _(y: Tensor) -> Tensor:
    return y.new_empty(torch.library.get_ctx().new_dynamic_size())


def decided_by(look: Callable[[Tensor], Any]) -> Callable[[Any, Tensor], Tensor]:
    def way(net: Any, x: Tensor) -> Tensor:
        y = net.norm(net.conv(x))
        return net.last(y + 1 if look(y) else y)

    return way


def gathered(y: Tensor) -> Tensor:
    total = torch.zeros(())
    torch._foreach_add_([total], [y.mean()])
    return total > 1e9


@pytest.mark.parametrize(
    "look",
    [
        gathered,
        lambda y: y.mean() > 1e9,
        lambda y: y.max().item() > 1e9,
        lambda y: float(y.view(-1)[0]) > 1e9,
        lambda y: y.numpy().max() > 1e9,
        lambda y: np.asarray(y).max() > 1e9,
        lambda y: y.flatten().tolist()[0] > 1e9,
        lambda y: torch.equal(y, y + 1),
        lambda y: len(y[y > 1e9]),
        lambda y: len(y.nonzero()),
        lambda y: len(torch.where(y > 1e9)[0]),
        lambda y: len(torch.masked_select(y, y > 1e9)),
        lambda y: len(torch.unique(y)) == 1,
        lambda y: torch.zeros(1).add_(y.mean()) > 1e9,
        lambda y: 1e9 in y,
        lambda y: len(chosen(y)),
    ],
)
def test_where_values_decide_nothing_is_folded(look: Callable[[Tensor], Any]) -> None:
    net = network(Unit(decided_by(look)).eval())
    assert quick(net, "last") is net.module
    with pytest.raises(UndecidedError, match="the forward calls"):
        pairs_of(net.module)


def test_a_choice_that_would_bring_another_part_in() -> None:
    torch.manual_seed(0)
    net = network(nn.Sequential(Branching(), nn.Conv2d(12, 4, 1), nn.BatchNorm2d(4)).eval(), 32)
    assert quick(net, "0") is net.module


def test_indices_may_be_computed_from_values() -> None:
    assert_folds(Unit(lambda net, x: net.last((y := net.norm(net.conv(x)))[:, y.sum((0, 2, 3)).argsort()])), ["norm"])


# The layout of memory.


@pytest.mark.parametrize("layers", ["last", "second.norm"])
def test_all_weights_lie_channels_last_so_that_maps_do(layers: str) -> None:
    torch.manual_seed(0)
    net = as_if_trained(network(Two().eval()))
    result = quick(net, layers)
    for name in ("first.0.0", "second.conv"):
        assert named_layers(result)[name].weight.is_contiguous(memory_format=torch.channels_last)
    seen: list[Tensor] = []
    result.second["conv"].register_forward_hook(lambda _part, _args, output: seen.append(output))
    net.call(result, picture(net))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("way", "batch", "channels_last"),
    [
        (lambda net, x: net.last(net.norm(net.conv(x)).view(len(x), -1)), 1, False),
        (lambda net, x: net.last(net.norm(net.conv(x)).flatten(1)), 1, True),
        (lambda net, x: net.last(net.norm(net.conv(x)).view(2 * len(x), 2, 14, 14)), 1, True),
        (lambda net, x: net.last(net.norm(net.conv(x)).view(2 * len(x), 2, 14, 14)), 4, False),
        (lambda net, x: net.last(torch.as_strided(net.norm(net.conv(x)), (1, 14), (1, 14))), 1, False),
    ],
)
def test_memory_stays_as_it_was_where_a_forward_relies_on_it(way: Any, batch: int, channels_last: bool) -> None:
    torch.manual_seed(0)
    net = as_if_trained(network(Unit(way).eval()))
    result = quick(net, "last", batch=batch)
    assert folded(net, result) == ["norm"]
    assert result.conv.weight.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert_same_maps(net, result, "last", batch)


# The network itself.


def test_the_network_is_not_touched_and_what_is_not_changed_is_shared() -> None:
    pytest.importorskip("torchvision")
    net = as_if_trained(load("torchvision:resnet18", size=64))
    module = net.module
    parts = list(module.named_modules())
    flags = [part.training for _, part in parts]
    state = {name: (value, value.clone()) for name, value in module.state_dict(keep_vars=True).items()}
    result = quick(net, "stages")
    assert result is not module
    assert list(module.named_modules()) == parts
    assert [part.training for _, part in parts] == flags
    for _, part in [*parts, *result.named_modules()]:
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
        assert not part.training
    after = module.state_dict(keep_vars=True)
    assert list(after) == list(state)
    for name, (value, before) in state.items():
        assert after[name] is value
        assert torch.equal(value, before)
    assert result.fc.weight is module.fc.weight
    assert result.layer2[0].downsample[0].weight is not module.layer2[0].downsample[0].weight
    shared = {parameter.data_ptr() for parameter in module.parameters()}
    own = sum(one.numel() for one in result.parameters() if one.data_ptr() not in shared)
    convs = sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Conv2d))
    assert own <= 1.01 * convs


def test_what_a_forward_remembers_stays_in_the_copy() -> None:
    class Counting(Unit):
        def __init__(self) -> None:
            super().__init__()
            self.runs = 0
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x: Tensor) -> Any:
            self.runs += 1
            self.seen += 1
            return super().forward(x)

    net = network(Counting().eval())
    result = quick(net, "last")
    assert folded(net, result) == ["norm"]
    assert (net.module.runs, net.module.seen.item()) == (0, 0)


def test_what_a_forward_does_only_once_is_still_to_be_done() -> None:
    class Caching(Unit):
        grid = None

        def forward(self, x: Tensor) -> Any:
            if self.grid is None:
                self.grid = x.cumsum(2)
            return super().forward(x + self.grid)

    net = network(Caching().eval())
    result = quick(net, "last")
    assert folded(net, result) == ["norm"]
    assert net.module.grid is None
    assert result.grid is None
    assert_same_maps(net, result, "operations")


def test_twice_the_same() -> None:
    torch.manual_seed(0)
    net = as_if_trained(network(Two().eval()))
    one, other = maps_of(net, quick(net, "last"), "last"), maps_of(net, quick(net, "last"), "last")
    assert torch.equal(one["last"], other["last"])


def test_a_forward_that_fails_is_left_to_fail_where_it_matters() -> None:
    def way(net: Any, x: Tensor) -> Tensor:
        raise ValueError("broken")

    net = network(Unit(way).eval())
    assert quick(net, "last") is net.module


def test_an_interrupt_passes() -> None:
    def way(net: Any, x: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(network(Unit(way).eval()), "last")
