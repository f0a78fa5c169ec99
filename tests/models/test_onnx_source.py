"""ONNX files: every value true, by the name of the module that it came from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import layerscope as ls
from layerscope.errors import OptionError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
SIDE_PX = 96

# Modules whose values the exporter mingled with others' have no output of their own.
pytestmark = pytest.mark.filterwarnings("ignore:layers without output")


def export(module: nn.Module, path: Path, *, dynamo: bool, x: Tensor | None = None, **options: object) -> Path:
    x = torch.zeros(1, 3, SIDE_PX, SIDE_PX) if x is None else x
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            torch.onnx.export(module, (x,), str(path), dynamo=True, external_data=False, verbose=False, **options)
        else:
            torch.onnx.export(module, (x,), str(path), dynamo=False, **options)
    return path


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def demo() -> ls.Network:
    return ls.load("demo", device="cpu", size=SIDE_PX)


@pytest.mark.parametrize(("dynamo", "least"), [(False, 100), (True, 140)])
def test_an_exported_demo_gives_the_maps_of_the_original_layer_by_layer(
    demo: ls.Network, picture: np.ndarray, tmp_path: Path, dynamo: bool, least: int
) -> None:
    net = ls.load(str(export(demo.module, tmp_path / "demo.onnx", dynamo=dynamo)))
    assert net.preparation.size_hw == (SIDE_PX, SIDE_PX)
    expected = ls.capture(demo, picture, layers="modules")
    found = ls.capture(net, picture, layers="modules")
    same = [name for name in found if name in expected]
    assert len(same) >= least
    assert set(demo.stages) <= set(same)
    assert {"head32", "head16", "head8", "head32.predict"} <= set(same)
    for name in same:
        values, largest = expected[name].values, float(expected[name].values.abs().max())
        assert float((found[name].values - values).abs().max()) <= 1e-4 * largest, name
    if dynamo:
        assert "backbone.stem.norm" in same, "with its batch norm a convolution is what the batch norm gives"
    assert "backbone.stem.conv" not in found
    assert net.stages[-5:] == demo.stages
    assert ls.check(net).passed


def test_values_are_those_of_outputs_added_by_hand(tmp_path: Path, picture: np.ndarray) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x).relu() + 1
            return torch.cat([self.second(x), self.second(x * 2)], 1)

    path = export(Net().eval(), tmp_path / "net.onnx", dynamo=False)
    model = onnx.load(str(path))
    values = [node.output[0] for node in model.graph.node if node.op_type in ("Conv", "Add", "Relu", "Concat")]
    outputs = [value.name for value in model.graph.output]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in values if name not in outputs)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    net = ls.load(str(path))
    x, _ = net.prepare(picture)
    by_hand = dict(zip(values, session.run(values, {session.get_inputs()[0].name: x.numpy()}), strict=True))
    maps = ls.capture(net, picture, layers="modules")
    calls: dict[str, list[np.ndarray]] = {}
    for value, expected in by_hand.items():
        for name in net.module.paths[value]:
            calls.setdefault(name, []).append(expected[0])
    assert {"first", "second"} <= set(calls)
    assert len(calls["second"]) == 2, "the later call of a module goes by its name"
    for name, expected in calls.items():
        for ordinal, one in enumerate(expected):
            found = maps[f"{name}:{ordinal}" if len(expected) > 1 else name]
            np.testing.assert_allclose(found.values.numpy(), one, atol=1e-5)  # there operations are joined
    assert list(ls.capture(net, picture, layers="convs")) == ["first", "second:0", "second:1"]


class Named(nn.Module):
    """Names that are ours or PyTorch's as well, lists in lists, parts that run twice, and a layout put right."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()), nn.Conv2d(8, 8, 1))
        self.paths = nn.ModuleList([nn.Sequential(nn.Conv2d(8, 8, 1), nn.Tanh()), nn.Conv2d(8, 8, 1)])
        self.outputs = Turned()
        self.act = nn.ReLU()
        self.cut = Cut()
        self.conv, self.conv_1 = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)  # the second is no later call of the first

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.outputs(self.model(x)))
        for part in self.paths:
            x = part(x) * 2
        return self.act(self.conv_1(self.cut(self.conv(x))))


class Cut(nn.Module):
    """The newer exporter's optimisation puts in the node that cuts, and says of it nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, second = torch.split(self.before(x), 4, 1)
        return self.after(torch.cat([second, first], 1)) + 1


class Turned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("dynamo", [False, True])
def test_paths_and_calls_are_those_of_the_module(tmp_path: Path, picture: np.ndarray, dynamo: bool) -> None:
    torch.manual_seed(0)
    module = Named().eval()
    net = ls.load(str(export(module, tmp_path / "net.onnx", dynamo=dynamo)))
    x, _ = net.prepare(picture)
    expected = heard(module, lambda: module(x))
    found = heard(net.module, lambda: net.forward(x))
    parts = ["model", "model.0", "model.0.0", "model.0.1", "model.1", "outputs", "outputs.norm", "act"]
    parts += ["paths.0", "paths.0.0", "paths.0.1", "paths.1", "conv", "conv_1", "cut", "cut.before", "cut.after"]
    assert [name for name in parts if name not in found] == []
    assert len(found["act"]) == 2
    for name in expected.keys() & found.keys():
        assert len(expected[name]) == len(found[name]), name
        for one, other in zip(expected[name], found[name], strict=True):
            torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5, msg=name)
    assert ls.check(net).passed


def heard(module: nn.Module, run: Callable[[], object]) -> dict[str, list[Tensor]]:
    """The oracle: plain hooks that clone."""
    seen: dict[str, list[Tensor]] = {}
    handles = [
        part.register_forward_hook(lambda _m, _i, out, name=name: seen.setdefault(name, []).append(out.clone()))
        for name, part in module.named_modules()
        if name
    ]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return seen


def graph(path: Path, *nodes: onnx.NodeProto, gives: str, takes: tuple[object, ...] = (1, 3, "h", "w")) -> Path:
    """Write a graph by hand, of nodes from ``x`` to what it gives."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    entry, end = helper.make_tensor_value_info("x", kind, takes), helper.make_tensor_value_info(gives, kind, None)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.ops", 1)]
    model = helper.make_model(helper.make_graph(nodes, "g", [entry], [end]), opset_imports=opsets, ir_version=8)
    onnx.save(model, str(path))
    return path


def node(kind: str, *names: str, name: str = "", **attributes: object) -> onnx.NodeProto:
    """Make a node that takes the first names and gives the last."""
    return onnx.helper.make_node(kind, names[:-1], names[-1:], name=name, **attributes)


def layers_of(path: Path, picture: np.ndarray) -> list[str]:
    return list(ls.capture(ls.load(str(path), size=16), picture, layers="modules"))


def test_values_of_other_exporters_keep_their_names(tmp_path: Path, picture: np.ndarray) -> None:
    path = graph(
        tmp_path / "net.onnx",
        node("Relu", "x", "half"),  # as a module's own method is called
        node("Neg", "half", "conv2d_0.tmp_0"),
        node("Abs", "conv2d_0.tmp_0", "net/block/abs:0", name="net/block/abs"),
        node("Neg", "net/block/abs:0", "net/block/neg:0", name="net/block/neg"),
        node("Cast", "net/block/neg:0", "small", to=onnx.TensorProto.BFLOAT16),  # NumPy has no such numbers
        node("Cast", "small", "y", to=onnx.TensorProto.FLOAT),
        gives="y",
    )
    assert layers_of(path, picture) == [
        "half",
        "conv2d_0_tmp_0",
        "net.block.Abs",
        "net.block.Neg",
        "net.block",
        "net",
        "y",
    ]


def test_what_a_branch_reads_is_followed(tmp_path: Path, picture: np.ndarray) -> None:
    def branch(kind: str) -> onnx.GraphProto:
        end = onnx.helper.make_tensor_value_info(kind, onnx.TensorProto.FLOAT, None)
        return onnx.helper.make_graph([node(kind, "a", kind)], kind, [], [end])

    path = graph(
        tmp_path / "net.onnx",
        node("Neg", "x", "a"),
        node("Constant", "yes", value=onnx.helper.make_tensor("", onnx.TensorProto.BOOL, [], [True])),
        node("If", "yes", "b", then_branch=branch("Abs"), else_branch=branch("Neg")),
        node("Relu", "b", "y"),
        gives="y",
    )
    assert layers_of(path, picture) == ["a", "b", "y"]


def test_what_onnxruntime_cannot_do_is_said_in_a_line(tmp_path: Path, picture: np.ndarray) -> None:
    class Halved(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.interpolate(nn.functional.avg_pool2d(x, 2), scale_factor=2) + x

    axes = {"input_names": ["x"], "dynamic_axes": {"x": {2: "h", 3: "w"}}}
    odd = export(Halved(), tmp_path / "odd.onnx", dynamo=False, **axes)
    other = graph(tmp_path / "own.onnx", node("Weird", "x", "y", domain="my.ops"), gives="y")
    for path, message in ((odd, "on 1x3x15x15; another size may do"), (other, r"my\.ops:Weird")):
        with pytest.raises(SourceError, match=message) as caught:
            ls.capture(ls.load(str(path), size=15), picture)
        assert "\n" not in str(caught.value)
    tall = graph(tmp_path / "tall.onnx", node("Relu", "x", "y"), gives="y", takes=(1, 3, 48, "w"))
    assert ls.load(str(tall)).preparation.size_hw == (48, 224)
    with pytest.raises(OptionError, match="takes 48xany only"):
        ls.load(str(tall), size=64)


def test_weights_beside_the_file_are_found(tmp_path: Path, picture: np.ndarray) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x, big = torch.zeros(1, 3, 16, 16), nn.Conv2d(3, 4, 3)
        torch.onnx.export(big, (x,), str(home / "net.onnx"), dynamo=True, external_data=True, verbose=False)
    (beside,) = (path for path in home.iterdir() if path.suffix != ".onnx")
    (found,) = ls.capture(ls.load(str(home / "net.onnx")), picture, layers="modules").values()
    assert found.values.shape == (4, 14, 14)
    beside.unlink()
    with pytest.raises(SourceError, match="onnxruntime cannot run it"):
        ls.capture(ls.load(str(home / "net.onnx")), picture)


def test_a_run_and_a_table_are_made_of_it(demo: ls.Network, tmp_path: Path) -> None:
    path = export(demo.module, tmp_path / "demo.onnx", dynamo=True)
    net = ls.load(str(path))
    run = ls.run(net, np.zeros((50, 60, 3), np.uint8), layers=["stages", "*.Concat"], write=["sheets"])
    assert "neck.Concat" in run["frame"]
    table = {layer.name: layer for layer in net.layers()}
    assert table["backbone.block3"].shape == (64, 12, 12)
    assert table["backbone.block3"].stride == (8, 8)


def test_open_sizes_are_open_and_fixed_ones_are_kept(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU()).eval()
    axes = {"input": {0: "batch", 2: "height", 3: "width"}}
    opened = export(net, tmp_path / "open.onnx", dynamo=False, input_names=["input"], dynamic_axes=axes)
    loaded = ls.load(str(opened), size=(32, 64))
    frames = [np.full((8, 9, 3), level, np.uint8) for level in (10, 200)]
    one = ls.run(loaded, frames, out="one", layers="1", write=["tensors"])
    two = ls.run(loaded, frames, out="two", layers="1", write=["tensors"], batch=2)
    for name in one:
        assert one[name]["1"].values.shape == (2, 32, 64)
        np.testing.assert_allclose(one[name]["1"].values, two[name]["1"].values, atol=1e-6)
    fixed = ls.load(str(export(net, tmp_path / "fixed.onnx", dynamo=False)))
    with pytest.raises(OptionError, match=r"fixed\.onnx takes 96x96 only"):
        ls.capture(fixed, frames[0], size=64)
    with pytest.raises(OptionError, match="takes 1 pictures at once, not 2"):
        ls.run(fixed, frames, out="three", layers="1", batch=2)


@pytest.mark.parametrize("kind", ["grey", "half", "last"])
def test_other_ways_to_take_a_picture_are_served(tmp_path: Path, kind: str, picture: np.ndarray) -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.permute(0, 3, 1, 2) if kind == "last" else x) * 2

    shape = {"grey": (1, 1, 8, 8), "half": (1, 3, 8, 8), "last": (1, 8, 8, 3)}[kind]
    x = torch.zeros(shape, dtype=torch.float16 if kind == "half" else torch.float32)
    net = ls.load(str(export(Net(), tmp_path / "net.onnx", dynamo=False, x=x)))
    *_, found = ls.capture(net, picture, layers="modules").values()
    y, _ = net.prepare(picture)
    expected = (y.mean(1, keepdim=True) if kind == "grey" else y)[0] * 2
    torch.testing.assert_close(found.values.float().reshape(-1)[-1], expected.reshape(-1)[-1], atol=2e-3, rtol=0)
    assert net.preparation.size_hw == (8, 8)


def test_what_is_no_network_of_one_picture_is_refused_in_a_line(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    two = tmp_path / "two.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Two(), (torch.zeros(1, 3, 4, 4),) * 2, str(two), dynamo=False, input_names=["a", "b"])
    flat = export(nn.Linear(3, 2), tmp_path / "flat.onnx", dynamo=False, x=torch.zeros(1, 3))
    good = export(nn.Conv2d(3, 2, 1), tmp_path / "good.onnx", dynamo=False)
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "text.onnx").write_text("not a network at all")
    (tmp_path / "cut.onnx").write_bytes(good.read_bytes()[:200])
    for path, message in (
        (two, "expected one input, a picture; it has a, b"),
        (flat, "is no picture: expected float32, float16 or uint8 and four axes"),
        (tmp_path / "none.onnx", "no such file"),
        (tmp_path / "empty.onnx", "is no ONNX file"),
        (tmp_path / "text.onnx", "is no ONNX file"),
        (tmp_path / "cut.onnx", "is no ONNX file"),
    ):
        with pytest.raises(SourceError, match=message) as caught:
            ls.load(str(path))
        assert "\n" not in str(caught.value)
    with pytest.raises(OptionError, match="brings its own"):
        ls.load(str(good), weights="official")


def test_a_trained_text_detector_answers_to_text() -> None:
    package = pytest.importorskip("rapidocr_onnxruntime")
    path = next(Path(package.__file__).parent.rglob("*_det_infer.onnx"))
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (320, 160), "white")
    ImageDraw.Draw(image).text((20, 100), "layer 17", fill="black", font=ImageFont.load_default(size=40))
    net = ls.load(str(path), size=(160, 320), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    x, _ = net.prepare(image)
    (text,) = net.outputs(x)
    assert float(text[0, 0, 110:135, 30:170].max()) > 0.8
    assert float(text[0, 0, :80].max()) < 0.3
    maps = ls.capture(net, image)
    assert [one.axes.cells for one in maps.values()] == [(80, 160), (40, 80), (20, 40), (10, 20), (5, 10)]
    assert ls.check(net, image).passed, "bit for bit the same, whoever listens"
    deepest = list(maps.values())[2].values.numpy()
    busy = np.abs(deepest - np.median(deepest, axis=(1, 2), keepdims=True)).mean(0)
    assert busy[13:17, 3:21].mean() > 5 * busy[:7].mean()
