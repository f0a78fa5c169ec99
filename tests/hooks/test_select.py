"""What people write to choose layers."""

from __future__ import annotations

import pytest
from torch import nn

from layerscope.errors import LayerError, UnknownLayerError
from layerscope.hooks import select


@pytest.fixture
def net() -> nn.Module:
    return nn.ModuleDict(
        {
            "body": nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 4, 3)),
            "head": nn.ModuleDict({"out": nn.Conv2d(4, 2, 1)}),
        }
    )


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("body.1", ["body.1"]),
        ("body.*", ["body.0", "body.1", "body.2"]),
        ("*.out", ["head.out"]),
        ("body.[01]", ["body.0", "body.1"]),
        ("ReLU", ["body.1"]),
        ("convs", ["body.0", "body.2", "head.out"]),
        ("modules", ["body", "body.0", "body.1", "body.2", "head", "head.out"]),
        ("all", ["body", "body.0", "body.1", "body.2", "head", "head.out"]),
        ("body.1@in", ["body.1@in"]),
        (["body.*@in", "body.0"], ["body.0@in", "body.0", "body.1@in", "body.2@in"]),
        ("stages", ["body"]),
        (["head.out", "body.0"], ["body.0", "head.out"]),
        (["body.0", ["ReLU", "body.0"]], ["body.0", "body.1"]),
        (lambda name, module: isinstance(module, nn.ReLU) or name == "body", ["body", "body.1"]),
    ],
)
def test_a_selection_means_these_layers_in_order_of_definition(
    net: nn.Module, selection: object, expected: list[str]
) -> None:
    assert list(select(selection, net, stages=("body",)).layers) == expected  # type: ignore[arg-type]


def test_calls_add_up_and_a_bare_name_means_all_of_them(net: nn.Module) -> None:
    assert select(["body.1:0", "body.1:2"], net).layers["body.1"] == {0, 2}
    assert select(["body.1:0", "body.1"], net).layers["body.1"] is None
    assert select(["body.1", "body.1:0"], net).layers["body.1"] is None


@pytest.mark.parametrize(
    ("selection", "hint"),
    [
        ("body.9", "body.0"),
        ("Conv2", "Conv2d"),
        ("stage", "stages"),
        ("nothing.like.it", "layerscope layers"),
        ("neck.*", "no layer"),
    ],
)
def test_an_unknown_name_offers_the_nearest(net: nn.Module, selection: str, hint: str) -> None:
    with pytest.raises(UnknownLayerError, match=hint) as caught:
        select(selection, net, stages=("body",))
    assert "\n" not in str(caught.value)


def test_stages_of_a_bare_module_and_empty_selections_are_refused(net: nn.Module) -> None:
    with pytest.raises(LayerError, match="does not say which its stages are"):
        select("stages", net)
    with pytest.raises(LayerError, match="no layer is selected"):
        select([], net)
    with pytest.raises(LayerError, match="no layer is selected"):
        select(lambda *_: False, net)
    with pytest.raises(LayerError, match="expected names"):
        select(3, net)  # type: ignore[arg-type]
