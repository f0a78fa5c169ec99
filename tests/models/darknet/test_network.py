"""The whole network: names, stages, heads, hooks, memory."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import TYPE_CHECKING

import pytest
import torch

from layerscope.models.darknet import DarknetNetwork, parse_config, read_config
from models.darknet.oracle import our_outputs, seeded_state
from models.darknet.test_opencv import EXCITED, YOLOV2_LIKE

if TYPE_CHECKING:
    from pathlib import Path

STAGES = {
    "cfg/yolov3": ("4_shortcut", "11_shortcut", "36_shortcut", "61_shortcut", "74_shortcut"),
    "cfg/yolov3-spp": ("4_shortcut", "11_shortcut", "36_shortcut", "61_shortcut", "74_shortcut"),
    "cfg/darknet53": ("4_shortcut", "11_shortcut", "36_shortcut", "61_shortcut", "74_shortcut"),
    "cfg/yolov3-tiny": (
        "2_convolutional",
        "4_convolutional",
        "6_convolutional",
        "8_convolutional",
        "13_convolutional",
    ),
    "cfg/yolov4-tiny": ("0_convolutional", "8_route", "16_route", "24_route", "27_convolutional"),
    "cfg/yolov4": (
        "10_convolutional",
        "23_convolutional",
        "54_convolutional",
        "85_convolutional",
        "104_convolutional",
    ),
    "darknet/yolo-fastest-1.1": (
        "9_convolutional",
        "22_convolutional",
        "58_convolutional",
        "81_convolutional",
        "108_shortcut",
    ),
    "darknet/MobileNetV2-YOLOv3-Nano-voc": (
        "3_convolutional",
        "10_convolutional",
        "21_convolutional",
        "47_convolutional",
        "57_shortcut",
    ),
}


def on_meta(text: str, size_hw: tuple[int, int] | None = None) -> DarknetNetwork:
    with torch.device("meta"):
        return DarknetNetwork(parse_config(text, "own.cfg"), size_hw).eval()


def seeded(text: str) -> DarknetNetwork:
    net = on_meta(text)
    net.load_state_dict(seeded_state(net, 0), assign=True)
    return net


@pytest.mark.parametrize("name", STAGES)
def test_stages_of_published_cfgs(name: str, shared_data: Path) -> None:
    with torch.device("meta"):
        net = DarknetNetwork(read_config(shared_data / f"{name}.cfg"))
    assert net.stages == STAGES[name]
    sizes = [net.shapes[int(stage.split("_")[0])][1:] for stage in net.stages]
    assert sizes == [(net.size_hw[0] >> k, net.size_hw[1] >> k) for k in range(1, 6)]


def test_stages_where_there_is_no_shortcut() -> None:
    # The neck begins at the reorg; its last route reads layer 4, the backbone's deepest.
    assert on_meta(YOLOV2_LIKE).stages == ("2_convolutional", "4_convolutional")
    plain = (
        "[net]\nwidth=32\nheight=32\n[conv]\nfilters=4\nstride=2\n[conv]\nfilters=14\nstride=2\n"
        "[conv]\nfilters=14\nactivation=linear\n"
    )
    assert on_meta(plain).stages == ("0_convolutional", "2_convolutional")
    assert on_meta(plain + "[avgpool]\n[softmax]\n").stages == ("0_convolutional", "2_convolutional")
    detector = plain + "[region]\nanchors=1,2,3,4\nnum=2\nclasses=2\nsoftmax=1\n"
    assert on_meta(detector).stages == ("0_convolutional", "1_convolutional")


def test_squeezed_layers_are_no_stage() -> None:
    # Between the shortcut's two ends lies a squeeze-and-excite block of 1 x 1.
    assert on_meta(EXCITED).stages == ("8_shortcut",)


def test_layers_are_named_by_the_cfgs_counting(shared_data: Path) -> None:
    with torch.device("meta"):
        net = DarknetNetwork(read_config(shared_data / "cfg" / "yolov3.cfg"))
    names = [name for name, _ in net.named_children()]
    assert len(names) == 107
    assert names[17] == "17_convolutional"
    assert names[74] == "74_shortcut"
    assert [name for name, _ in net.get_submodule("17_convolutional").named_children()] == [
        "conv",
        "norm",
        "activation",
    ]
    assert [head.layer for head in net.heads] == ["81_convolutional", "93_convolutional", "105_convolutional"]
    assert [head.stride for head in net.heads] == [32, 16, 8]
    assert net.heads[0].anchors == ((116, 90), (156, 198), (373, 326))
    assert {head.classes for head in net.heads} == {80}
    assert len(net.slots) == 75
    assert net.slots[0].keys[0] == "0_convolutional.norm.bias"


def test_region_anchors_are_turned_into_pixels() -> None:
    (head,) = on_meta(YOLOV2_LIKE).heads
    assert (head.kind, head.stride, head.classes) == ("region", 4, 2)
    assert head.anchors[0] == pytest.approx((1.3221 * 4, 1.73145 * 4))


def test_the_size_can_be_chosen(shared_data: Path) -> None:
    config = read_config(shared_data / "cfg" / "yolov3-tiny.cfg")
    with torch.device("meta"):
        net = DarknetNetwork(config, (64, 96)).eval()
        outputs = net(torch.zeros(2, 3, 64, 96))
    assert net.size_hw == (64, 96)
    assert [tuple(output.shape) for output in outputs] == [(2, 255, 2, 3), (2, 255, 4, 6)]
    assert net.shapes[15] == (255, 2, 3)


@pytest.mark.parametrize("text", [YOLOV2_LIKE, EXCITED])
def test_every_layer_is_called_once_and_hooks_change_nothing(text: str) -> None:
    net = seeded(text)
    calls: list[str] = []
    for name, layer in net.named_children():
        layer.register_forward_hook(lambda _module, _args, _output, name=name: calls.append(name))
    x = torch.rand(1, 3, *net.size_hw)
    before = x.clone()
    with torch.inference_mode():
        outputs = net(x)
    assert calls == [section.name for section in net.config.sections]
    assert torch.equal(x, before)
    with torch.inference_mode():
        assert all(torch.equal(a, b) for a, b in zip(net(x), outputs, strict=True))


def test_what_a_hook_keeps_is_not_written_over() -> None:
    net = seeded(EXCITED)
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    for layer in net.modules():
        layer.register_forward_hook(
            lambda _module, _args, output: (
                kept.append((output, output.clone())) if isinstance(output, torch.Tensor) else None
            )
        )
    with torch.inference_mode():
        net(torch.rand(1, 3, *net.size_hw))
    assert len(kept) > 20
    assert all(torch.equal(output, copied) for output, copied in kept)


def test_outputs_are_let_go_once_no_layer_reads_them() -> None:
    text = "[net]\nwidth=8\nheight=8\n" + "[conv]\nactivation=relu\n" * 6 + "[shortcut]\nfrom=0\n"
    net = DarknetNetwork(parse_config(text, "chain.cfg")).eval()
    alive: list[weakref.ref[torch.Tensor]] = []
    counts: list[int] = []

    def look(_module: object, _args: object, output: torch.Tensor) -> None:
        gc.collect()
        counts.append(sum(reference() is not None for reference in alive))
        alive.append(weakref.ref(output))

    for layer in net.children():
        layer.register_forward_hook(look)
    with torch.inference_mode():
        net(torch.rand(1, 3, 8, 8))
    # At each layer live its own input and, from the third on, layer 0 for the shortcut.
    assert counts == [0, 1, 2, 2, 2, 2, 2]


def test_a_classifier_gives_its_last_layer() -> None:
    text = "[net]\nwidth=8\nheight=8\n[conv]\nfilters=5\n[avgpool]\n[softmax]\n[cost]\n"
    net = DarknetNetwork(parse_config(text, "classifier.cfg")).eval()
    (output,) = net(torch.rand(2, 3, 8, 8))
    assert output.shape == (2, 5, 1, 1)
    assert torch.allclose(output.sum(dim=1), torch.ones(2, 1, 1))
    assert net.heads == ()


@pytest.mark.parametrize("section", ["[conv]\nfilters=5\n", "[connected]\noutput=5\n"])
def test_the_activation_is_logistic_where_none_is_named(section: str) -> None:
    net = on_meta("[net]\nwidth=4\nheight=4\n" + section)
    assert isinstance(next(net.children()).activation, torch.nn.Sigmoid)


def test_copies_and_meta_building() -> None:
    net = seeded(YOLOV2_LIKE)
    assert not any(tensor.is_meta for tensor in net.state_dict().values())
    twin = copy.deepcopy(net)
    x = torch.rand(1, 3, *net.size_hw)
    with torch.inference_mode():
        assert torch.equal(net(x)[0], twin(x)[0])


SECTIONS = {
    "activation=tanh": "[activation]\nactivation=tanh\n",
    "batchnorm": "[batchnorm]\n",
    "connected with norm": "[connected]\noutput=7\nbatch_normalize=1\nactivation=linear\n",
    "crop": "[crop]\ncrop_height=5\ncrop_width=4\n",
    "dilation": "[conv]\nfilters=4\nsize=3\npad=1\ndilation=2\nactivation=relu\n",
    "empty": "[empty]\n",
    "local_avgpool": "[local_avgpool]\nsize=3\nstride=2\n",
    "reorg3d": "[reorg3d]\nstride=2\n",
    "sam": "[conv]\nfilters=4\nactivation=logistic\n[sam]\nfrom=-2\n",
    "scale_wh": "[conv]\nfilters=1\nactivation=logistic\n[scale_channels]\nfrom=-2\nscale_wh=1\n",
    "shortcut of three": ("[conv]\nfilters=4\n[conv]\nfilters=2\n[conv]\nfilters=4\n[shortcut]\nfrom=-2,-3,-4\n"),
    "stride_x": "[conv]\nfilters=4\nsize=3\npad=1\nstride_x=2\nstride_y=1\nactivation=relu6\n",
    "weighted shortcut": (
        "[conv]\nfilters=4\n[shortcut]\nfrom=-2\nweights_type=per_channel\nweights_normalization=softmax\n"
    ),
    "yolo without a mask": "[conv]\nfilters=16\n[yolo]\nnum=2\nanchors=1,2,3,4\nclasses=3\nscale_x_y=1.1\n",
}


@pytest.mark.parametrize("case", SECTIONS)
def test_rarer_sections_give_the_planned_shapes(case: str) -> None:
    text = "[net]\nwidth=8\nheight=12\n[conv]\nfilters=4\nsize=3\npad=1\nactivation=leaky\n" + SECTIONS[case]
    net = seeded(text)
    seen, _ = our_outputs(net, torch.rand(1, 3, 12, 8).numpy())
    assert [output.shape for output in seen] == list(net.shapes)
    stored = {key for slot in net.slots for key in slot.keys}
    assert stored == {key for key in net.state_dict() if not key.endswith("num_batches_tracked")}
