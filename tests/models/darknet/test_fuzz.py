"""Damaged cfgs and weights: either an error raised on purpose or a network that runs, quickly and small."""

from __future__ import annotations

import random
import resource
import struct
import time
from typing import TYPE_CHECKING

import torch

from layerscope.errors import LayerscopeError
from layerscope.models.darknet import DarknetNetwork, parse_config, read_config, read_weights, write_weights
from layerscope.models.darknet.shapes import plan
from models.darknet.oracle import our_outputs, seeded_state, shapes_of
from models.darknet.test_network import SECTIONS
from models.darknet.test_opencv import CLASSIFIER, EXCITED, YOLOV2_LIKE
from models.darknet.test_weights import TEXT

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 700
LARGEST_GROWTH_KIB = 300 * 1024
LONGEST_CASE_SECONDS = 5.0
NUMBERS = (
    *(
        "0",
        "-1",
        "1",
        "2",
        "3",
        "5",
        "7",
        "64",
        "-7",
        "1000",
        "65537",
        "1000000000",
        "2147483647",
        "-2147483648",
    ),
    *("1e400", "nan", "-inf", "0.5", "", "9" * 5000, "x", "1,2", "-1,-2", "0,0,0"),
)
SEEDS = [
    *(YOLOV2_LIKE, EXCITED, CLASSIFIER, TEXT),
    *("[net]\nwidth=8\nheight=12\n[conv]\nfilters=4\n" + section for section in SECTIONS.values()),
]


def damaged_text(rng: random.Random) -> bytes:
    """A cfg with one or two faults."""
    lines = rng.choice(SEEDS).strip().splitlines()
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(lines))
        kind = rng.randrange(7)
        if kind <= 2 and "=" in lines[at]:
            lines[at] = lines[at].partition("=")[0] + "=" + rng.choice(NUMBERS)
        elif kind == 3:
            lines.insert(at, rng.choice(lines))
        elif kind == 4 and len(lines) > 1:
            del lines[at]
        elif kind == 5:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif lines[at]:
            place = rng.randrange(len(lines[at]))
            lines[at] = lines[at][:place] + chr(rng.randrange(256)) + lines[at][place + 1 :]
    return "\n".join(lines).encode(rng.choice(("utf-8", "latin-1")))


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run_if_small(path: Path) -> bool:
    """Build what can be built; run it where that is cheap, and hold it to the planned shapes."""
    config = read_config(path)
    input_shape, steps = plan(config)
    with torch.device("meta"):
        net = DarknetNetwork(config).eval()
    work = sum(step.work for step in steps)
    numbers = sum(step.parameters + step.shape[0] * step.shape[1] * step.shape[2] for step in steps)
    if work > 10**8 or numbers > 10**6 or input_shape[0] * input_shape[1] * input_shape[2] > 10**6:
        return False
    net.load_state_dict(seeded_state(net, 0), assign=True)
    seen, outputs = our_outputs(net, torch.rand(1, *input_shape).numpy())
    assert [output.shape for output in seen] == list(net.shapes)
    for head, output in zip(net.heads, outputs, strict=bool(net.heads)):
        assert output.shape[0] == head.channels
        assert output.shape[1] * head.stride == net.size_hw[0]
    return True


def test_damaged_cfgs(tmp_path: Path) -> None:
    rng = random.Random(20)
    file = tmp_path / "damaged.cfg"
    before = peak_kib()
    ran = 0
    refused: list[str] = []
    for case in range(COUNT):
        file.write_bytes(damaged_text(rng))
        start = time.perf_counter()
        try:
            ran += run_if_small(file)
        except LayerscopeError as error:
            refused.append(str(error))
        assert time.perf_counter() - start < LONGEST_CASE_SECONDS, case
    assert peak_kib() - before < LARGEST_GROWTH_KIB
    assert [message for message in refused if not message.startswith(f"{file}:")] == []
    assert [message for message in refused if "\n" in message or len(message) > 600] == []
    assert len(refused) > COUNT / 5
    assert ran > COUNT / 5


def damaged_weights(rng: random.Random, whole: bytes) -> bytes:
    """A weights file cut, grown or with other bytes, most often in its header."""
    raw = bytearray(whole)
    for _ in range(rng.randint(1, 2)):
        kind = rng.randrange(5)
        if kind == 0:
            del raw[rng.randrange(len(raw) + 1) :]
        elif kind == 1:
            raw += rng.randbytes(rng.choice((1, 4, 8, 400)))
        elif kind == 2:
            at = 4 * rng.randrange(5)
            value = rng.choice((0, 1, 2, 5, 1001, 9999, 10000, -1, 2**31 - 1, -(2**31)))
            raw[at : at + 4] = struct.pack("<i", value)
        elif raw:
            raw[rng.randrange(min(len(raw), 24))] = rng.randrange(256)
    return bytes(raw)


def test_damaged_weights(tmp_path: Path) -> None:
    rng = random.Random(21)
    with torch.device("meta"):
        net = DarknetNetwork(parse_config(TEXT, "own.cfg")).eval()
    shapes = shapes_of(net)
    file = tmp_path / "damaged.weights"
    write_weights(file, net.slots, seeded_state(net, 1))
    whole = file.read_bytes()
    before = peak_kib()
    read = 0
    refused: list[str] = []
    for _ in range(COUNT):
        file.write_bytes(damaged_weights(rng, whole))
        try:
            loaded = read_weights(file, net.slots, shapes)
        except LayerscopeError as error:
            refused.append(str(error))
            continue
        read += 1
        assert 1 <= loaded.filled <= loaded.total
        assert all(tuple(value.shape) == shapes[key] for key, value in loaded.state.items())
    assert peak_kib() - before < LARGEST_GROWTH_KIB
    assert [message for message in refused if not message.startswith(f"{file}: ")] == []
    assert len(refused) > COUNT / 5
    assert read > COUNT / 5
