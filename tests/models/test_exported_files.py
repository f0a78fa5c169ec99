"""Networks in files of their own, exported, compiled or pickled: their maps are those of the module they came from."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import layerscope as ls
from layerscope.errors import OptionError, SourceError, UnsafeWeightsError
from small_nets import Branching, Plain

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
        elif isinstance(value, tuple):
            for at, item in enumerate(value):
                keep(f"{name}.{at}", item)

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


def test_an_error_in_a_hook_comes_through_compiled_code(tmp_path: Path, picture: np.ndarray) -> None:
    net = ls.load(str(compiled(seeded(Plain), "traced", tmp_path / "net.ts")), device="cpu", size=SIDE_PX)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    handle = net.module.get_submodule("stem").register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        net.outputs(net.prepare(picture)[0])
    handle.remove()
    assert maps_of(net, picture).keys() >= {"stem", "body.1", "down"}


@pytest.mark.parametrize("open_size", [False, True])
def test_an_exported_program_gives_the_maps_of_the_module(open_size: bool, picture: np.ndarray, tmp_path: Path) -> None:
    module = seeded(Plain)
    sides = {2: torch.export.Dim("height", min=8, max=512) * 4, 3: torch.export.Dim("width", min=8, max=512) * 4}
    shapes = ({0: torch.export.Dim("batch", max=64), **sides},) if open_size else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (torch.rand(2 if open_size else 1, 3, 64, 64),), dynamic_shapes=shapes)
        torch.export.save(program, tmp_path / "net.pt2")
    net = ls.load(str(tmp_path / "net.pt2"), device="cpu", **({"size": 64} if open_size else {}))
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
    for name, content in (("net.pt", module), ("net.pth", {"model": module, "epoch": 3})):
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
    for ending in ("pt", "pt2", "torchscript", "pth"):
        (tmp_path / f"text.{ending}").write_text("nothing of the kind")
        (tmp_path / f"empty.{ending}").touch()
    compiled(seeded(Plain), "traced", tmp_path / "whole.ts")
    (tmp_path / "cut.ts").write_bytes((tmp_path / "whole.ts").read_bytes()[:3000])
    for name, message in (
        ("weights.pt", r"holds weights and no network.*-w weights\.pt"),
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
