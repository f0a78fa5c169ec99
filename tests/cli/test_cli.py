"""The command line: what it prints, what it returns, and what people see when something is wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import layerscope as ls
from kill import digest
from layerscope.cli import app

if TYPE_CHECKING:
    import numpy as np


@pytest.fixture(autouse=True)
def picture(photo: np.ndarray) -> Path:
    Image.fromarray(photo).save("photo.png")
    return Path("photo.png")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_run_prints_what_it_did_and_warns_of_random_weights(tiny_cfg: Path) -> None:
    result = call("run", f"darknet:{tiny_cfg}", "photo.png")
    assert result.exit_code == 0
    assert "outputs (1, 14, 16, 16)" in result.stdout
    assert "5_shortcut       6 x 16 x 16" in result.stdout
    assert "12 files in featuremap/" in result.stdout
    assert result.stderr.startswith("warning: ")
    assert "seeded random weights" in result.stderr
    assert len(list(Path("featuremap/5_shortcut").iterdir())) == 6


def test_quiet_prints_nothing_and_json_only_json(tiny_cfg: Path) -> None:
    quiet = call("run", f"darknet:{tiny_cfg}", "photo.png", "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")
    result = call("run", f"darknet:{tiny_cfg}", "photo.png", "--json", "-o", "other")
    value = json.loads(result.stdout)
    assert value["frames"][0]["outputs"] == [[1, 14, 16, 16]]
    assert value["frames"][0]["layers"][1]["layer"] == "5_shortcut"
    assert Path(value["folder"], value["frames"][0]["layers"][1]["files"]["sheets"]).is_file()
    listed = json.loads(call("layers", f"darknet:{tiny_cfg}", "--json").stdout)
    assert [entry["name"] for entry in listed if entry["stage"]] == ["2_shortcut", "5_shortcut"]


def test_every_option_reaches_the_api(tiny_cfg: Path, photo: np.ndarray) -> None:
    options = "--size 32x96 --resize letterbox --filter bicubic-aa --order bgr --range 0-255 --mean 1,2,3 --std 4,5,6"
    options += " --pad 7 --scale symmetric --colormap viridis --tile-format png --write tiles,overlays --reduce max"
    options += " --alpha 0.25 -l 5_shortcut -l Convolutional --seed 9 --bn-eps 0.01 --device cpu"
    result = call("run", f"darknet:{tiny_cfg}", "photo.png", *options.split())
    assert result.exit_code == 0, result.output
    manifest = ls.open_run("featuremap").manifest
    prepared = manifest.preparation
    assert (prepared.size_hw, prepared.resize, prepared.filter) == ((32, 96), "letterbox", "bicubic-aa")
    assert (prepared.order, prepared.range, prepared.pad) == ("bgr", "0-255", 7)
    assert (prepared.mean, prepared.std) == ((1, 2, 3), (4, 5, 6))
    assert (manifest.render.scale, manifest.render.reduce) == ("symmetric", "max")
    assert set(manifest.render.colormap.values()) == {"viridis"}
    assert manifest.network.bn_eps == 0.01
    layers = manifest.frames[0].layers
    assert {layer.layer for layer in layers} >= {"5_shortcut", "0_convolutional", "6_convolutional"}
    assert layers[0].tiles is not None
    assert layers[0].tiles.endswith(".png")
    assert set(layers[0].files) == {"overlays"}


def test_layers_lists_names_types_shapes_strides_and_reach(tiny_cfg: Path) -> None:
    result = call("layers", f"darknet:{tiny_cfg}")
    assert result.exit_code == 0
    assert result.stderr == ""
    row = next(line for line in result.stdout.splitlines() if line.startswith("5_shortcut *"))
    assert row.split() == ["5_shortcut", "*", "Shortcut", "6x16x16", "4", "11"]
    assert "parameters" in result.stdout.splitlines()[0]
    few = call("layers", f"darknet:{tiny_cfg}", "-l", "Conv2d", "--size", "128")
    assert [line.split()[0] for line in few.stdout.splitlines()[1:-1]] == [
        f"{index}_convolutional.conv" for index in (0, 1, 3, 4, 6)
    ]
    assert "4x64x64" in few.stdout


def test_detect_draws_and_says_where_each_box_came_from(shared_data: Path) -> None:
    folder = shared_data / "darknet"
    arguments = ("detect", f"darknet:{folder / 'yolo-fastest-1.1.cfg'}", "-w", folder / "yolo-fastest-1.1.weights")
    result = call(*arguments, shared_data / "images/dog.jpg")
    assert result.exit_code == 0
    assert "dog 0.65 at (123, 221) to (365, 515), from stride 32, cell (6, 3), anchor 1" in result.stdout
    with Image.open("detections/dog.png") as drawn:
        assert drawn.size == (768, 576)
    value = json.loads(call(*arguments, shared_data / "images/dog.jpg", "--json", "--overwrite").stdout)
    assert value["frames"][0]["boxes"][0]["label"] == "car"
    assert json.loads(Path("detections/boxes.json").read_text())["frames"] == value["frames"]


def truncated_jpeg() -> Path:
    path = Path("cut.jpg")
    Image.effect_noise((200, 200), 80).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    return path


def bomb() -> Path:
    path = Path("bomb.png")
    Image.new("1", (40_000, 40_000)).save(path)
    return path


def text_picture() -> Path:
    path = Path("text.png")
    path.write_text("not a picture")
    return path


def empty_picture() -> Path:
    path = Path("empty.jpg")
    path.touch()
    return path


@pytest.mark.parametrize("make", [truncated_jpeg, bomb, text_picture, empty_picture, lambda: Path("missing.jpg")])
@pytest.mark.parametrize("command", ["run", "detect"])
def test_a_bad_picture_is_one_line_and_exit_1(tiny_cfg: Path, make: object, command: str) -> None:
    path = make()  # type: ignore[operator]
    alone = call(command, f"darknet:{tiny_cfg}", path, "-q", "-o", "alone")
    assert alone.exit_code == 1
    assert alone.stdout == ""
    assert alone.stderr.count("\n") == 1
    assert alone.stderr.startswith("error: ")
    assert path.name in alone.stderr
    assert not Path("alone").exists()
    among = call(command, f"darknet:{tiny_cfg}", "photo.png", path, "-q", "-o", "among")
    assert among.exit_code == 1
    assert among.stderr == alone.stderr
    assert list(Path("among").rglob("*photo*"))


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("it_ran"),)  # type: ignore[return-value]


def bad_weights(name: str, shared_data: Path) -> Path:
    good = shared_data / "darknet/yolo-fastest-1.1.weights"
    path = Path(name)
    if name == "pickle":
        torch.save(Malicious(), path)
    elif name == "missing":
        return path
    else:
        data = good.read_bytes()
        path.write_bytes({"truncated": data[:-5000], "left over": data + b"\0" * 400, "empty": b""}[name])
    return path


@pytest.mark.parametrize("name", ["truncated", "left over", "empty", "missing", "pickle", "another network's"])
def test_bad_weights_are_one_line_and_exit_1(shared_data: Path, name: str) -> None:
    cfg = shared_data / "darknet/yolo-fastest-1.1.cfg"
    other = shared_data / "darknet/MobileNetV2-YOLOv3-Nano-voc.weights"
    path = other if name.startswith("another") else bad_weights(name, shared_data)
    result = call("run", f"darknet:{cfg}", "-w", path, "photo.png")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1, result.stderr
    assert path.name in result.stderr
    assert not Path("it_ran").exists()
    assert not Path("featuremap").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("from=-2", "from=2"), "12"),
        (("from=-2", "from=-9"), "12"),
        (("filters=4", "filters=0"), "filters"),
        (("stride=2", "stride=-1"), "stride"),
        (("size=3", "size=0"), "size"),
        (("width=64", "width=0"), "width"),
        (("[shortcut]", "[mystery]"), "mystery"),
        (("activation=leaky", "activation=leeky"), "leeky"),
    ],
)
def test_a_bad_cfg_is_one_line_that_names_the_place(tiny_cfg: Path, change: tuple[str, str], words: str) -> None:
    text = tiny_cfg.read_text()
    assert change[0] in text
    tiny_cfg.write_text(text.replace(*change, 1))
    result = call("run", f"darknet:{tiny_cfg}", "photo.png")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1, result.stderr
    assert "tiny.cfg:" in result.stderr
    assert words in result.stderr or words == "12"
    assert not Path("featuremap").exists()


def test_other_trouble_is_one_line_too(tiny_cfg: Path) -> None:
    source = f"darknet:{tiny_cfg}"
    Path("in_the_way").write_text("a file")
    for arguments, words in (
        ((source, "photo.png", "-l", "5_shotcut"), "did you mean '5_shortcut'"),
        ((source, "photo.png", "-o", "in_the_way"), "cannot be written"),
        ((source, "photo.png", "--size", "big"), "size"),
        ((source, "photo.png", "--scale", "simetric"), "did you mean 'symmetric'"),
        (("yolo", "photo.png"), "did you mean 'yolov3'"),
        ((source, "nothing-*.png"), "nothing-*.png"),
    ):
        result = call("run", *arguments, "-q")
        assert result.exit_code == 1, result.output
        assert words in result.stderr
        assert result.stderr.count("\n") == 1
    assert call("run", source, "photo.png", "-q").exit_code == 0
    again = call("run", source, "photo.png", "-q")
    assert again.exit_code == 1
    assert "holds another run" in again.stderr
    assert call("detect", source, "photo.png", "--score", "7", "-q").exit_code == 1


def test_wrong_usage_is_exit_2(tiny_cfg: Path) -> None:
    for arguments in (("run",), ("nothing",), ("run", "yolov3", "x.png", "--no-such-option")):
        assert call(*arguments).exit_code == 2
    assert call("run", f"darknet:{tiny_cfg}", "photo.png", "--mean", "a,b").exit_code == 2


def test_the_examples_in_help_parse(tiny_cfg: Path) -> None:
    for command in ("run", "layers", "detect"):
        text = call(command, "--help").output
        lines = [line.strip() for line in text.splitlines() if line.strip().startswith("layerscope ")]
        assert lines
        options = {word for line in lines for word in line.split() if word.startswith("-")}
        assert all(option in text.split("Options:")[1] for option in options)
    assert tiny_cfg


def test_a_real_process_ends_with_the_code_and_no_traceback(tiny_cfg: Path) -> None:
    command = [sys.executable, "-m", "layerscope", "run", f"darknet:{tiny_cfg}"]
    bad = subprocess.run([*command, "gone.png"], capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert "Traceback" not in bad.stderr
    assert bad.stderr.splitlines()[-1] == "error: no such file: gone.png"
    good = subprocess.run([*command, "photo.png", "--json"], capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["frames"], "all that was printed has come out, though the process leaves at once"
    usage = subprocess.run([*command, "--no-such"], capture_output=True, text=True, check=False)
    assert usage.returncode == 2
    assert "No such option" in usage.stderr


def test_a_log_tells_what_happened_and_when_and_leaves_the_folder_alone(tiny_cfg: Path) -> None:
    Path("bad.png").write_text("no picture")
    call("run", f"darknet:{tiny_cfg}", "photo.png", "bad.png", "--quiet", "--log", "log.txt", "-o", "logged")
    call("detect", "demo", "--log", "log.txt", "--quiet")
    call("run", f"darknet:{tiny_cfg}", "photo.png", "--resize", "bend", "--log", "log.txt", "-o", "other")
    lines = Path("log.txt").read_text().splitlines()
    assert all(re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING|ERROR) ", line) for line in lines)
    said = [line.split(" ", 3)[3] for line in lines]
    assert any(re.match(r"2 of 2 frames, 12 files, [\d.]+ frames/s$", line) for line in said)
    assert any(line.startswith("bad.png: ") for line in said)
    assert any(re.match(r"done in [\d.]+ s$", line) for line in said)
    assert any(line.startswith("resize='bend'") for line in said)
    call("run", f"darknet:{tiny_cfg}", "photo.png", "bad.png", "--quiet", "-o", "plain")
    assert digest(Path("logged")) == digest(Path("plain"))
    assert call("run", f"darknet:{tiny_cfg}", "photo.png", "--log", "no/such/folder/log.txt").exit_code == 1


def test_completion_is_offered() -> None:
    command = Path(sys.executable).with_name("layerscope")
    for words, at, expected in (("layerscope la", "1", "layers"), ("layerscope run --pre", "2", "--preset")):
        asked = {"_LAYERSCOPE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": at}
        shown = subprocess.run([command], env=os.environ | asked, capture_output=True, text=True, check=True)
        assert shown.stdout.split() == [expected]


def test_without_an_input_the_scenes_that_ship_are_taken(tiny_cfg: Path) -> None:
    assert call("run", f"darknet:{tiny_cfg}", "--write", "sheets").exit_code == 0
    assert list(ls.open_run("featuremap")) == ["scene0", "scene7", "scene10"]
    assert call("detect", f"darknet:{tiny_cfg}").exit_code == 0
    assert Path("detections/scene7.png").is_file()


def test_version() -> None:
    assert call("--version").output == f"layerscope {ls.__version__}\n"


def test_garbage_is_collected_again_once_pytorch_is_imported() -> None:
    code = "import gc; from layerscope.cli.options import load_network; load_network('demo')\n"
    code += "print(gc.isenabled(), gc.get_freeze_count() > 100_000)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["True", "True"]


def test_the_program_leaves_after_all_handlers_and_before_objects_are_taken_apart() -> None:
    code = """
import atexit, sys
import layerscope.__main__ as program
class Late:
    def __del__(self):
        print("taken apart")
late = Late()
sys.argv = ["layerscope", "--version"]
try:
    program.main()
finally:
    atexit.register(print, "handled")
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[1:] == ["handled"]
