"""The list of layers beside what plain hooks see on a real forward."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from layerscope.models.survey import Layer, survey, tensors_in

if TYPE_CHECKING:
    import layerscope as ls

Seen = tuple[str, int, object]


def plain_hooks(module: nn.Module, x: Tensor) -> list[Seen]:
    """The oracle: name, ordinal of the call and output of everything that a real forward calls, as it finishes."""
    seen: list[Seen] = []
    counts: dict[str, int] = {}

    def heard(name: str, output: object) -> None:
        seen.append((name, counts.get(name, 0), output))
        counts[name] = counts.get(name, 0) + 1

    own = copy.deepcopy(module).eval()
    for name, child in own.named_modules(remove_duplicate=False):
        if name:
            child.register_forward_hook(lambda _m, _i, output, name=name: heard(name, output))
    with torch.no_grad():
        own(x)
    return seen


def expected_layers(module: nn.Module, x: Tensor) -> list[tuple[str, tuple[int, ...] | None]]:
    """The oracle of names and shapes, for outputs that are tensors."""
    seen = plain_hooks(module, x)
    calls = [name for name, _, _ in seen]
    return [
        (f"{name}:{ordinal}" if calls.count(name) > 1 else name, tuple(output.shape[1:]))  # type: ignore[attr-defined]
        for name, ordinal, output in seen
    ]


def names_and_shapes(layers: tuple[Layer, ...]) -> list[tuple[str, tuple[int, ...] | None]]:
    return [(layer.name, layer.shape) for layer in layers]


class Branches(nn.Module):
    """Two ways that meet, one module twice, one under two names, one never."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.mix = nn.Conv2d(4, 4, 1, bias=False)
        self.alias = self.mix
        self.never = nn.Conv2d(4, 9, 3)
        self.parts = nn.ModuleList([nn.MaxPool2d(2), nn.Upsample(scale_factor=2)])
        self.tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        x = self.mix(self.mix(x))
        for part in self.parts:
            x = part(x)
        return self.tail(x + 1)


@pytest.mark.parametrize("size_hw", [(16, 16), (8, 24)])
def test_names_calls_and_shapes_are_what_plain_hooks_see(size_hw: tuple[int, int]) -> None:
    net, x = Branches(), torch.rand(1, 3, *size_hw)
    found = survey(net, x)
    assert names_and_shapes(found) == expected_layers(net, x)
    names = [layer.name for layer in found]
    assert {"mix:0", "mix:1", "alias:0", "alias:1", "down", "tail.2"} <= set(names)
    assert not {"never", "parts"} & set(names), "what is never called is no layer that runs"


def test_a_darknet_network_is_listed_as_it_runs(tiny: ls.Network) -> None:
    x = torch.rand(1, 3, 64, 64)
    found = survey(tiny.module, x)
    assert names_and_shapes(tuple(layer for layer in found)) == expected_layers(tiny.module, x)
    own = [layer for layer in found if "." not in layer.name]
    assert [layer.stride for layer in own] == [(2, 2)] * 3 + [(4, 4)] * 5


def test_outputs_of_several_tensors_are_told_apart_and_those_of_none_are_listed(nasty: nn.Module) -> None:
    x = torch.rand(1, 3, 8, 8)
    found = survey(nasty, x)
    expected: list[tuple[str, tuple[int, ...] | None]] = []
    for name, ordinal, output in plain_hooks(nasty, x):
        if name == "split":
            expected += [(f"split.{index}", (4, 8, 8)) for index in (0, 1)]
        elif name == "named":
            expected += [("named.kept", (4, 8, 8)), ("named.nested.0", (4, 8, 8))]
        elif output is None:
            expected.append((name, None))
        else:
            expected.append((f"relu:{ordinal}" if name == "relu" else name, tuple(output.shape[1:])))  # type: ignore[attr-defined]
    assert names_and_shapes(found) == expected
    assert ("nothing", None) in expected
    nothing = next(layer for layer in found if layer.name == "nothing")
    assert (nothing.stride, nothing.receptive_field, nothing.parameters, nothing.leaf) == (None, None, 0, True)


def test_types_parameters_and_leaves_are_the_modules_own() -> None:
    net = Branches()
    modules = dict(net.named_modules(remove_duplicate=False))
    for layer in survey(net, torch.rand(1, 3, 8, 8)):
        module = modules[layer.name.split(":")[0]]
        numbers = {id(value): value.numel() for value in module.parameters()}
        assert layer.type == type(module).__name__
        assert layer.parameters == sum(numbers.values())
        assert layer.leaf == (len(list(module.modules())) == 1)


def test_parameters_that_are_shared_count_once() -> None:
    pair = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    pair[1].weight = pair[0].weight
    found = {layer.name: layer for layer in survey(nn.Sequential(pair), torch.rand(1, 3, 4, 4))}
    assert (found["0"].parameters, found["0.0"].parameters) == (9 + 3 + 3, 12)


@pytest.mark.parametrize(
    ("module", "size_hw", "stride"),
    [
        (nn.Conv2d(3, 2, 3, padding=1), (12, 20), (1, 1)),
        (nn.Conv2d(3, 2, 3, stride=(2, 4), padding=1), (12, 20), (2, 4)),
        (nn.AvgPool2d(4), (12, 20), (4, 4)),
        (nn.Conv2d(3, 2, 3), (12, 20), None),  # 10 x 18 cells do not divide 12 x 20 pixels
        (nn.Conv2d(3, 2, 3, stride=2, padding=1), (13, 20), None),
        (nn.Upsample(scale_factor=2), (12, 20), None),
        (nn.AdaptiveAvgPool2d(1), (12, 20), (12, 20)),
        (nn.Flatten(), (12, 20), None),
        (nn.Flatten(2), (12, 20), None),
    ],
)
def test_strides_are_input_pixels_per_cell_where_they_divide(
    module: nn.Module, size_hw: tuple[int, int], stride: tuple[int, int] | None
) -> None:
    (layer,) = survey(nn.Sequential(module), torch.rand(1, 3, *size_hw))
    assert layer.stride == stride


class Looks(nn.Module):
    """Decides by values, which shapes alone do not have."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.bright, self.dark = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 4, 1)
        self.grid = torch.ones(1, 3, 1, 1)  # neither parameter nor buffer
        self.doubled = self.bright.weight * 2  # cannot be copied

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "item":
            return self.bright(x) if x.mean().item() > 0.5 else self.dark(x)
        if self.how == "numpy":
            return self.bright(torch.from_numpy(x.numpy() * 2))
        return self.dark(x + self.grid.to("cpu"))


@pytest.mark.parametrize("how", ["item", "numpy", "plain tensor"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_network_that_looks_at_values_is_run_on_the_input_itself(how: str, value: float) -> None:
    net, x = Looks(how), torch.full((1, 3, 4, 4), value)
    bright = how == "numpy" or (how == "item" and value == 1)
    expected = [("bright", (2, 4, 4))] if bright else [("dark", (4, 4, 4))]
    assert names_and_shapes(survey(net, x)) == expected


def test_a_network_that_runs_on_shapes_does_no_arithmetic() -> None:
    class Huge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4096, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            assert x.is_meta
            return self.conv(x)

    (layer,) = survey(Huge(), torch.rand(1, 3, 2048, 2048))  # 64 GiB, were it computed
    assert layer.shape == (4096, 2048, 2048)


class Remembers(nn.Module):
    """Keeps what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout()
        self.last: Tensor | None = None
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.last, self.steps = x, self.steps + 1
        return self.drop(self.norm(self.conv(x)))


def test_the_network_is_left_as_it_is() -> None:
    net = Remembers().train()
    net.norm.eval()
    net.conv.weight.requires_grad_(False)
    calls: list[str] = []
    net.conv.register_forward_hook(lambda *_: calls.append("own"))
    before = {key: (id(value), value.clone()) for key, value in net.state_dict(keep_vars=True).items()}
    modes = [module.training for module in net.modules()]
    random = torch.get_rng_state()
    survey(net, torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)))
    for key, value in net.state_dict(keep_vars=True).items():
        assert id(value) == before[key][0]
        assert torch.equal(value, before[key][1])
    assert [module.training for module in net.modules()] == modes
    assert not net.conv.weight.requires_grad
    assert (net.last, net.steps) == (None, 0)
    assert [len(module._forward_hooks) for module in net.modules()] == [0, 1, 0, 0]
    assert torch.equal(torch.get_rng_state(), random)


def test_dropout_and_batch_norm_are_asked_in_evaluation_mode() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    fields = {layer.name: layer.receptive_field for layer in survey(net, torch.rand(1, 3, 9, 9))}
    assert fields == {"0": (3, 3), "1": (3, 3)}, "in training, batch norm would see everything"


@pytest.mark.parametrize("train", [False, True])
def test_an_error_in_the_forward_is_its_own_and_leaves_no_hook(train: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(5, 4, 1)).train(train)
    with pytest.raises(RuntimeError, match="channels"):
        survey(net, torch.rand(1, 3, 4, 4))
    assert not any(module._forward_hooks for module in net.modules())
    assert all(module.training == train for module in net.modules())


def test_parametrised_weights_survive_the_copy() -> None:
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)))
    found = {layer.name: layer for layer in survey(net, torch.rand(1, 3, 8, 8))}
    assert found["0"].shape == (4, 6, 6)
    assert found["0"].parameters == sum(value.numel() for value in net.parameters())


def test_a_network_lists_its_layers_at_any_size_it_takes(tiny: ls.Network) -> None:
    by_name = {layer.name: layer.shape for layer in tiny.layers(size=(32, 96))}
    assert by_name["0_convolutional"] == (4, 16, 48)
    assert by_name["6_convolutional"] == (14, 8, 24)
    assert tiny.layers(size=(32, 96)) is tiny.layers(size=(32, 96))


def test_tensors_are_named_by_their_place_in_the_output() -> None:
    a, b, c = (torch.full((1,), float(value)) for value in range(3))

    def named(output: object, taken: tuple[str, ...] = ()) -> dict[str, Tensor]:
        return dict(tensors_in("x", output, taken))

    assert named(a) == {"x": a}
    assert named((a,)) == {"x": a}
    assert named({"only": a, "words": "no"}) == {"x": a}
    assert named([a, None, b]) == {"x.0": a, "x.2": b}
    assert named({"p": a, "q": [b, {"r": c}]}) == {"x.p": a, "x.q.0": b, "x.q.1.r": c}
    assert named((a, b), ("x.1",)) == {"x.0": a, "x[1]": b}
    assert named(None) == named("text") == named(()) == {}
