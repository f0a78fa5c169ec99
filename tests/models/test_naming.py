"""Other codebases' names, against the table that was read off their sources."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from layerscope.errors import UnsafeWeightsError, WeightsError, WeightsMismatchError
from layerscope.models.checkpoints import fit, kind_of, read_state
from layerscope.models.naming import NAMINGS, recognise
from layerscope.models.yolov3 import YOLOv3

FAMILIES = {
    "A_bubbliiiing": "bubbliiiing/yolo3-pytorch",
    "B_eriklindernoren_and_ultralytics_v1_to_v6": "eriklindernoren/PyTorch-YOLOv3",
    "C_ultralytics_v7_v8": "ultralytics/yolov3 of its Darknet years",
    "D_ultralytics_yaml_v9": "ultralytics/yolov3 since v9.6",
    "E_mmdetection": "mmdetection",
}
EPS = dict.fromkeys(FAMILIES, 1e-05) | {"C_ultralytics_v7_v8": 1e-4, "D_ultralytics_yaml_v9": 1e-3}
CLASSES = 7


@pytest.fixture(scope="module")
def table(shared_data: Path) -> list[dict]:
    return json.loads((shared_data / "checkpoint-naming.json").read_text())["convolutions"]


@pytest.fixture(scope="module")
def own() -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in YOLOv3(CLASSES).state_dict().items()}


@pytest.fixture(scope="module")
def slots() -> tuple:
    with torch.device("meta"):
        return YOLOv3(CLASSES).slots


def foreign_state(table: list[dict], family: str, classes: int = CLASSES) -> dict[str, Tensor]:
    """A state dict as that codebase would save it, on the meta device but for what must be told apart."""
    state: dict[str, Tensor] = OrderedDict()
    for entry in table:
        names, shape = entry["keys"][family], list(entry["weight_shape"])
        if not entry["batch_norm"]:
            shape[0] = 3 * (5 + classes)
            state[f"{names['conv']}.bias"] = torch.empty(shape[0], device="meta")
        state[f"{names['conv']}.weight"] = torch.empty(shape, device="meta")
        if entry["batch_norm"]:
            for part in ("weight", "bias", "running_mean", "running_var"):
                state[f"{names['bn']}.{part}"] = torch.empty(shape[0], device="meta")
            state[f"{names['bn']}.num_batches_tracked"] = torch.tensor(3)
    return state


@pytest.mark.parametrize("family", FAMILIES)
def test_each_convolution_is_called_what_the_table_says(table: list[dict], slots: tuple, family: str) -> None:
    naming = next(naming for naming in NAMINGS if naming.name == FAMILIES[family])
    for entry, slot in zip(table, slots, strict=True):
        assert slot.section == entry["darknet_section"]
        expected = entry["keys"][family]
        assert naming.pair(slot, entry["n"]) == (expected["conv"], expected.get("bn"))


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "model."])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_fits_whole_under_any_wrapping(
    table: list[dict], own: dict, slots: tuple, family: str, prefix: str
) -> None:
    state = {prefix + key: value for key, value in foreign_state(table, family).items()}
    fitted = fit(state, own, slots)
    assert fitted.whole
    assert fitted.match.name == FAMILIES[family]
    assert fitted.match.naming is not None
    assert fitted.match.naming.eps == EPS[family]
    assert set(fitted.state) == set(own)


def test_extras_of_a_naming_are_no_left_overs(table: list[dict], own: dict, slots: tuple) -> None:
    state = foreign_state(table, "B_eriklindernoren_and_ultralytics_v1_to_v6")
    for section in (82, 94, 106):
        state[f"module_list.{section}.yolo_{section}.anchors"] = torch.zeros(3, 2)
        state[f"module_list.{section}.yolo_{section}.anchor_grid"] = torch.zeros(1, 3, 1, 1, 2)
    assert fit(state, own, slots).whole
    yaml = foreign_state(table, "D_ultralytics_yaml_v9")
    yaml["model.28.anchors"] = torch.zeros(3, 3, 2)
    later = fit(yaml, own, slots)
    assert later.whole
    assert later.match.naming is not None
    assert later.match.naming.activation == "silu"
    yaml["model.28.anchor_grid"] = torch.zeros(3, 1, 3, 1, 1, 2)
    earlier = fit(yaml, own, slots)
    assert earlier.whole
    assert earlier.match.naming is not None
    assert earlier.match.naming.activation == "leaky"


def test_counters_that_old_files_lack_are_no_loss(table: list[dict], own: dict, slots: tuple) -> None:
    state = foreign_state(table, "A_bubbliiiing")
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert fit(state, own, slots).whole


def test_a_backbone_saved_alone_is_found_and_what_lacks_is_named(table: list[dict], own: dict, slots: tuple) -> None:
    state = foreign_state(table, "A_bubbliiiing")
    alone = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    fitted = fit(alone, own, slots)
    assert fitted.match.name == "bubbliiiing/yolo3-pytorch"
    assert not fitted.left_over
    assert not any(key.startswith("backbone.") for key in fitted.missing)
    message = str(fitted.refusal(Path("alone.pth"), "yolov3"))
    assert "missing (neck.stride32.conv1.conv.weight" in message
    assert "bubbliiiing" in message
    assert "--partial" in message
    assert "\n" not in message


def test_unknown_names_are_matched_by_order_only_if_every_shape_agrees(
    table: list[dict], own: dict, slots: tuple
) -> None:
    state = foreign_state(table, "A_bubbliiiing")
    with torch.device("meta"):
        like = YOLOv3(CLASSES).state_dict()
    ordered = {}
    for index, slot in enumerate(slots):  # what torch saves of modules that are defined in the order of use
        for key in (f"{slot.conv}.weight", *([] if slot.norm else [f"{slot.conv}.bias"])):
            ordered[f"mystery{index}.c.{key.rsplit('.', 1)[1]}"] = like[key]
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked") if slot.norm else ():
            ordered[f"mystery{index}.n.{part}"] = like[f"{slot.norm}.{part}"]
    fitted = fit(ordered, own, slots)
    assert fitted.whole
    assert fitted.match.by_order
    ordered["mystery5.c.weight"] = torch.empty(1, 1, 1, 1, device="meta")
    other = fit(ordered, own, slots)
    assert not other.whole
    assert "none that Layerscope knows" in str(other.refusal(Path("x"), "yolov3"))
    assert state


def test_other_shapes_and_left_overs_are_counted_and_named(table: list[dict], own: dict, slots: tuple) -> None:
    state = foreign_state(table, "E_mmdetection", classes=80)
    state["optimizer.step"] = torch.zeros(1)
    message = str(fit(state, own, slots).refusal(Path("m.pth"), "yolov3"))
    assert "1 left over (optimizer.step)" in message
    assert "6 of another shape" in message
    assert "(255,) in the file, (36,) wanted" in message
    assert "mmdetection" in message


def test_an_own_checkpoint_is_recognised_first(own: dict, slots: tuple) -> None:
    assert recognise(own.keys(), tuple(own), slots).naming is None
    assert recognise(own.keys(), tuple(own), slots).found == len(own)


@pytest.mark.parametrize(
    ("wrap", "reason"),
    [
        (lambda state: state, "bare"),
        (lambda state: {"model": state, "epoch": 3}, "model"),
        (lambda state: {"state_dict": state, "meta": {"a": 1}}, "state_dict"),
        (lambda state: {"model": None, "ema": {"module": state}}, "nested"),
        (lambda state: {"n_averaged": torch.tensor(4), **state}, "averaged"),
        (lambda state: {"model": {"w": torch.zeros(1)}, "ema": state}, "averaged weights come first"),
    ],
)
def test_wrappers_are_taken_off(tmp_path: Path, wrap: object, reason: str) -> None:
    state = {"a.weight": torch.arange(4.0), "a.bias": torch.ones(2)}
    path = tmp_path / "any.name"
    torch.save(wrap(state), path)  # type: ignore[operator]
    assert kind_of(path.read_bytes()[:64]) == "torch"
    loaded = read_state(path, "torch")
    assert set(loaded) == set(state), reason
    assert torch.equal(loaded["a.weight"], state["a.weight"])


def test_old_and_new_files_and_safetensors_are_told_by_content(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {"a.weight": torch.arange(4.0)}
    torch.save(state, tmp_path / "old", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "safe")
    for name, kind in (("old", "torch"), ("safe", "safetensors")):
        path = tmp_path / name
        assert kind_of(path.read_bytes()[:64]) == kind
        assert torch.equal(read_state(path, kind)["a.weight"], state["a.weight"])


class Malicious:
    """Unpickling one would write a file."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return Path.write_text, (Path("it_ran"), "it ran")  # type: ignore[return-value]


@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_that_runs_code_does_not_run(tmp_path: Path, new_format: bool) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": Malicious()}, path, _use_new_zipfile_serialization=new_format)
    with pytest.raises(UnsafeWeightsError, match="--trust-pickle") as caught:
        read_state(path, "torch")
    assert "pathlib.Path" in str(caught.value) or "write_text" in str(caught.value) or "getattr" in str(caught.value)
    assert not Path("it_ran").exists()
    with pytest.raises(WeightsError):
        read_state(path, "torch", trust_pickle=True)  # it runs, and then holds no state dict
    assert Path("it_ran").exists(), "the test's pickle must be one that would run"


def test_a_pickled_module_is_refused_and_taken_when_trusted(tmp_path: Path) -> None:
    path = tmp_path / "module.pth"
    torch.save({"model": torch.nn.Linear(2, 3).half()}, path)
    with pytest.raises(UnsafeWeightsError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_state(path, "torch")
    state = read_state(path, "torch", trust_pickle=True)
    assert set(state) == {"weight", "bias"}
    assert state["weight"].dtype == torch.float32


def test_damaged_files_give_one_line(tmp_path: Path) -> None:
    good = tmp_path / "good.pth"
    torch.save({"a": torch.zeros(100)}, good)
    data = good.read_bytes()
    for name, content, kind in (
        ("cut", data[: len(data) // 2], "torch"),
        ("text", b"PK\x03\x04 nothing else", "torch"),
        ("safe", (60).to_bytes(8, "little") + b'{"a": 1', "safetensors"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(WeightsError) as caught:
            read_state(path, kind)
        assert "\n" not in str(caught.value)
        assert not isinstance(caught.value, WeightsMismatchError)
    torch.save([1, 2, 3], good)
    with pytest.raises(WeightsError, match="holds no state dict"):
        read_state(good, "torch")
    torch.save({"epoch": 3}, good)
    with pytest.raises(WeightsError, match="the keys epoch"):
        read_state(good, "torch")
