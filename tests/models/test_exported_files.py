"""Networks in files of their own, exported, compiled or pickled: their maps are those of the module they came from."""

from __future__ import annotations

import contextlib
import shutil
import warnings
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import layerscope as ls
from layerscope.errors import OptionError, SourceError, UnsafeWeightsError
from small_nets import Branching, Gathering, Plain

if TYPE_CHECKING:
    from pathlib import Path

SIDE_PX = 64


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3)).astype(np.uint8)


def seeded(build: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build().eval()


def maps_of(net: ls.Network, picture: np.ndarray) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ls.LayerscopeWarning)
        return {name: one.values for name, one in ls.capture(net, picture, layers="modules").items()}


def expected_of(module: nn.Module, picture: np.ndarray) -> dict[str, Tensor]:
    """The oracle: plain hooks that clone, on the module itself."""
    seen: dict[str, list[Tensor]] = {}

    def keep(name: str, value: object) -> None:
        if isinstance(value, Tensor):
            seen.setdefault(name, []).append(value.detach().clone()[0])
        elif isinstance(value, dict | list | tuple):
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                keep(f"{name}.{key}", item)

    handles = [
        part.register_forward_hook(lambda _m, _i, out, name=name: keep(name, out))
        for name, part in module.named_modules()
        if name
    ]
    with torch.no_grad():
        module(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255)
    for handle in handles:
        handle.remove()
    return {
        f"{name}:{k}" if len(values) > 1 else name: value
        for name, values in seen.items()
        for k, value in enumerate(values)
    }


def compiled(module: nn.Module, how: str, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.rand(1, 3, SIDE_PX, SIDE_PX)
        script = torch.jit.script(module) if how == "scripted" else torch.jit.trace(module, x)
        script.save(str(path))
    return path


@pytest.mark.parametrize("how", ["traced", "scripted"])
@pytest.mark.parametrize("ending", ["torchscript", "pt"])
def test_torchscript_gives_the_maps_of_the_module(how: str, ending: str, picture: np.ndarray, tmp_path: Path) -> None:
    module = seeded(Branching)
    net = ls.load(str(compiled(module, how, tmp_path / f"net.{ending}")), device="cpu", size=SIDE_PX)
    expected, found = expected_of(module, picture), maps_of(net, picture)
    assert set(found) == set(expected)
    assert {"body.0.act:1", "pair.1"} <= set(found)
    for _ in range(3):  # the compiler changes its mind in the first runs
        found = maps_of(net, picture)
        for name, values in expected.items():
            torch.testing.assert_close(found[name], values, rtol=1e-5, atol=1e-6)
    assert net.stages == ("body", "down")
    assert ls.check(net).passed
    assert {layer.name: layer.type for layer in net.layers()}["stem"] == "Conv2d"


def test_the_demo_traced_gives_its_maps(tmp_path: Path) -> None:
    demo = ls.load("demo", device="cpu", size=SIDE_PX)
    picture = np.random.default_rng(1).integers(0, 256, (SIDE_PX, SIDE_PX, 3)).astype(np.uint8)
    net = ls.load(str(compiled(demo.module, "traced", tmp_path / "demo.ts")), device="cpu", size=SIDE_PX)
    expected, found = maps_of(demo, picture), maps_of(net, picture)
    same = set(dict(demo.module.named_modules())) & set(expected) & set(found)  # a dict's items change their order
    assert len(same) > 180
    for name in same:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", ["traced", "scripted"])
def test_torchscript_tells_of_lists_dicts_and_methods(how: str, picture: np.ndarray, tmp_path: Path) -> None:
    module = seeded(Gathering)
    net = ls.load(str(compiled(module, how, tmp_path / "net.ts")), device="cpu", size=SIDE_PX)
    expected, found = expected_of(module, picture), maps_of(net, picture)
    parts = {"script.far", "script.near", "script.items", "cut.0", "cut.1", "path"}
    assert parts | {"told.0", "told.2", "told.side", "told.last"} == set(expected)
    if how == "traced":  # numbers are no part of a trace, and a dict's keys neither
        expected["told.1"] = expected.pop("told.2")
        expected["script.0"], expected["script.1"] = expected.pop("script.near"), expected.pop("script.far")
    assert set(found) == set(expected)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-5, atol=1e-6)
    assert ls.check(net).passed


def test_a_frozen_script_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.freeze(torch.jit.script(seeded(Plain))).save(str(tmp_path / "net.ts"))
    with pytest.raises(SourceError, match="no modules left that could be shown"):
        ls.load(str(tmp_path / "net.ts"))


def test_an_error_in_a_hook_comes_through_compiled_code(tmp_path: Path, picture: np.ndarray) -> None:
    net = ls.load(str(compiled(seeded(Plain), "traced", tmp_path / "net.ts")), device="cpu", size=SIDE_PX)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    handle = net.module.get_submodule("stem").register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        net.outputs(net.prepare(picture)[0])
    handle.remove()
    assert maps_of(net, picture).keys() >= {"stem", "body.1", "down"}


def exported(module: nn.Module, path: Path, *, batch: int = 1, **options: object) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (torch.rand(batch, 3, SIDE_PX, SIDE_PX),), **options)
        torch.export.save(program, path)
    return path


def test_the_demo_exported_gives_its_maps(tmp_path: Path, picture: np.ndarray) -> None:
    demo = ls.load("demo", device="cpu", size=SIDE_PX)
    path = exported(demo.module, tmp_path / "demo.pt2")
    net = ls.load(str(path), device="cpu", trust_pickle=True)
    expected, found = maps_of(demo, picture), maps_of(net, picture)
    same = set(dict(demo.module.named_modules())) & set(expected) & set(found)  # a dict's items change their order
    assert len(same) > 180
    for name in same:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)
    assert net.stages[-5:] == demo.stages
    assert ls.check(net).passed


def test_an_exported_program_is_loaded_only_if_it_is_trusted(tmp_path: Path) -> None:
    """PyTorch unpickles the inputs that it was exported with, and evaluates its shapes: here that makes a file."""
    mark = tmp_path / "mark"
    path = exported(seeded(Plain), tmp_path / "net.pt2")
    doctored = torch._C.PyTorchFileWriter(str(tmp_path / "doctored.pt2"))
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            inner, data = name.split("/", 1)[1], file.read(name)
            if inner == "models/model.json":
                first = b"\"expr_str\": \"__import__('pathlib').Path('%s').touch() or 1\"" % str(mark).encode()
                data = data.replace(b'{"as_int": 64}', b'{"as_expr": {%s, "hint": null}}' % first, 1)
                assert b"touch" in data
            if not inner.startswith(".data/"):
                doctored.write_record(inner, data, len(data))
    doctored.write_end_of_file()
    shutil.copy(tmp_path / "doctored.pt2", tmp_path / "doctored.pt")  # told by what it holds
    for name in ("doctored.pt2", "doctored.pt"):
        with pytest.raises(UnsafeWeightsError, match="--trust-pickle") as caught:
            ls.load(str(tmp_path / name))
        assert "\n" not in str(caught.value)
        assert not mark.exists()
    with contextlib.suppress(SourceError):
        ls.load(str(tmp_path / "doctored.pt2"), trust_pickle=True)
    assert mark.exists(), "the file is no danger, so nothing was shown"


@pytest.mark.parametrize("open_size", [False, True])
def test_an_exported_program_gives_the_maps_of_the_module(open_size: bool, picture: np.ndarray, tmp_path: Path) -> None:
    module = seeded(Plain)
    sides = {2: torch.export.Dim("height", min=8, max=512) * 4, 3: torch.export.Dim("width", min=8, max=512) * 4}
    shapes = ({0: torch.export.Dim("batch", max=64), **sides},) if open_size else None
    path = exported(module, tmp_path / "net.pt2", batch=2 if open_size else 1, dynamic_shapes=shapes)
    net = ls.load(str(path), device="cpu", trust_pickle=True, **({"size": 64} if open_size else {}))
    expected, found = expected_of(module, picture), maps_of(net, picture)
    assert set(found) == set(expected)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-5, atol=1e-6)
    assert net.stages == ("body", "down")
    assert ls.check(net).passed
    if open_size:
        assert ls.capture(net, picture, size=(32, 96), layers="down")["down"].values.shape == (6, 8, 24)
    else:
        with pytest.raises(OptionError, match=r"net\.pt2 was exported for 64x64"):
            ls.capture(net, picture, size=32)
    run = ls.run(net, picture, layers="stages", write=["sheets"])
    assert list(run["frame"]) == ["body", "down"]


def test_a_pickled_module_is_loaded_only_if_it_is_trusted(picture: np.ndarray, tmp_path: Path) -> None:
    module = seeded(Branching)
    for name, content in (
        ("net.pt", module),
        ("net.pth", {"model": module, "epoch": 3}),
        ("net.pkl", {"model": None, "ema": {"module": module}}),
    ):
        torch.save(content, tmp_path / name)
        with pytest.raises(UnsafeWeightsError, match="--trust-pickle") as caught:
            ls.load(str(tmp_path / name))
        assert "\n" not in str(caught.value)
        net = ls.load(str(tmp_path / name), trust_pickle=True, device="cpu", size=SIDE_PX)
        expected, found = expected_of(module, picture), maps_of(net, picture)
        assert set(found) == set(expected)
        assert all(torch.equal(found[one], expected[one]) for one in expected)
        assert name in net.weights.summary


def test_what_is_no_network_is_refused_in_a_line(tmp_path: Path) -> None:
    torch.save(seeded(Plain).state_dict(), tmp_path / "weights.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ls.LayerscopeWarning)
        torch.save(ls.load("darknet53", classes=2, device="cpu").module.state_dict(), tmp_path / "own.pt")
    for ending in ("pt", "pt2", "torchscript", "pth"):
        (tmp_path / f"text.{ending}").write_text("nothing of the kind")
        (tmp_path / f"empty.{ending}").touch()
    compiled(seeded(Plain), "traced", tmp_path / "whole.ts")
    (tmp_path / "cut.ts").write_bytes((tmp_path / "whole.ts").read_bytes()[:3000])
    for name, message in (
        ("weights.pt", r"holds weights and no network.*-w weights\.pt"),
        ("own.pt", r"as in darknet53 -w own\.pt \(its names are Layerscope's own naming\)"),
        ("list.pt", "holds a list, no network"),
        ("text.pt", "is no PyTorch file"),
        ("empty.pth", "is no PyTorch file"),
        ("text.pt2", "is no exported program"),
        ("empty.pt2", "is no exported program"),
        ("text.torchscript", "is no TorchScript"),
        ("cut.ts", "is no TorchScript"),
        ("none.pt2", "no such file"),
        ("none.ts", "no such file"),
        ("none.pt", "no such file"),
    ):
        with pytest.raises(SourceError, match=message) as caught:
            ls.load(str(tmp_path / name))
        assert "\n" not in str(caught.value)
