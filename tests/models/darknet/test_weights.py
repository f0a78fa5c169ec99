"""The .weights format: every header, whole, partial, truncated, too long."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from layerscope.errors import OutputError, WeightsError, WeightsMismatchError
from layerscope.models.darknet import (
    DarknetNetwork,
    count_numbers,
    looks_like_weights,
    parse_config,
    read_config,
    read_weights,
    slot_numbers,
    write_weights,
)
from models.darknet.oracle import seeded_state, shapes_of

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """[net]
width=4
height=4
[convolutional]
filters=4
batch_normalize=1
size=3
pad=1
[convolutional]
filters=4
groups=2
[shortcut]
from=0
weights_type=per_channel
[batchnorm]
[connected]
output=3
batch_normalize=1
[connected]
output=2
"""
# Numbers in each section that has any: 4 x 4 + 4 x 3 x 9, 4 + 4 x 2, 2 x 4, 4 x 4, 4 x 3 + 3 x 64, 2 + 2 x 3.
SLOT_NUMBERS = [124, 12, 8, 16, 204, 8]


@pytest.fixture
def net() -> DarknetNetwork:
    with torch.device("meta"):
        return DarknetNetwork(parse_config(TEXT, "own.cfg")).eval()


def numbered(count: int, header: bytes = struct.pack("<iiiQ", 0, 2, 5, 77)) -> bytes:
    """A file whose n-th number is n."""
    return header + np.arange(count, dtype="<f4").tobytes()


def test_slots_count_their_numbers(net: DarknetNetwork) -> None:
    assert [slot_numbers(slot, shapes_of(net)) for slot in net.slots] == SLOT_NUMBERS
    assert [slot.section for slot in net.slots] == [0, 1, 2, 3, 4, 5]


def test_numbers_land_in_darknets_order(net: DarknetNetwork, tmp_path: Path) -> None:
    file = tmp_path / "a.weights"
    file.write_bytes(numbered(sum(SLOT_NUMBERS)))
    loaded = read_weights(file, net.slots, shapes_of(net))
    assert (loaded.filled, loaded.total) == (6, 6)
    assert (loaded.header.seen, loaded.header.version, loaded.header.transposed) == (77, "0.2.5", False)
    firsts = {key: int(value.flatten()[0]) for key, value in loaded.state.items()}
    assert firsts == {
        "0_convolutional.norm.bias": 0,
        "0_convolutional.norm.weight": 4,
        "0_convolutional.norm.running_mean": 8,
        "0_convolutional.norm.running_var": 12,
        "0_convolutional.conv.weight": 16,
        "1_convolutional.conv.bias": 124,
        "1_convolutional.conv.weight": 128,
        "2_shortcut.weight": 136,
        "3_batchnorm.bias": 144,
        "3_batchnorm.weight": 148,
        "3_batchnorm.running_mean": 152,
        "3_batchnorm.running_var": 156,
        "4_connected.norm.bias": 160,
        "4_connected.linear.weight": 163,
        "4_connected.norm.weight": 355,
        "4_connected.norm.running_mean": 358,
        "4_connected.norm.running_var": 361,
        "5_connected.linear.bias": 364,
        "5_connected.linear.weight": 366,
    }
    net.load_state_dict(loaded.state, assign=True)
    assert torch.isfinite(net(torch.rand(2, 3, 4, 4))[0]).all()


@pytest.mark.parametrize(
    ("header", "seen", "transposed"),
    [
        (struct.pack("<iiiI", 0, 1, 0, 2**31 + 5), 2**31 + 5, False),
        (struct.pack("<iiiQ", 0, 2, 0, 2**40), 2**40, False),
        (struct.pack("<iiiQ", 1, 0, 0, 3), 3, False),
        (struct.pack("<iiiQ", 0, 1001, 0, 3), 3, True),
        (struct.pack("<iiiQ", 1001, 0, 0, 3), 3, True),
    ],
)
def test_every_header_version(header: bytes, seen: int, transposed: bool, net: DarknetNetwork, tmp_path: Path) -> None:
    assert looks_like_weights(header)
    file = tmp_path / "a.weights"
    file.write_bytes(numbered(sum(SLOT_NUMBERS), header))
    assert count_numbers(file) == sum(SLOT_NUMBERS)
    loaded = read_weights(file, net.slots, shapes_of(net))
    assert (loaded.header.seen, loaded.header.transposed) == (seen, transposed)
    first = loaded.state["5_connected.linear.weight"]
    expected = np.arange(366, 372).reshape((3, 2)).T if transposed else np.arange(366, 372).reshape((2, 3))
    np.testing.assert_array_equal(first.numpy(), expected)
    conv = loaded.state["0_convolutional.conv.weight"]
    np.testing.assert_array_equal(conv.numpy().ravel(), np.arange(16, 124))


def test_a_written_file_comes_back_byte_for_byte(net: DarknetNetwork, tmp_path: Path) -> None:
    first, second = tmp_path / "first.weights", tmp_path / "second.weights"
    state = seeded_state(net, 3)
    write_weights(first, net.slots, state, seen=12345)
    loaded = read_weights(first, net.slots, shapes_of(net))
    for key, value in state.items():
        torch.testing.assert_close(loaded.state[key], value, rtol=0, atol=0)
    write_weights(second, net.slots, loaded.state, seen=loaded.header.seen)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.weights", "second.weights"]


def test_trained_weights_come_back_byte_for_byte(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "darknet"
    for name in ("yolo-fastest-1.1", "MobileNetV2-YOLOv3-Nano-voc"):
        with torch.device("meta"):
            net = DarknetNetwork(read_config(folder / f"{name}.cfg"))
        loaded = read_weights(folder / f"{name}.weights", net.slots, shapes_of(net))
        write_weights(tmp_path / name, net.slots, loaded.state, seen=loaded.header.seen)
        assert (tmp_path / name).read_bytes()[20:] == (folder / f"{name}.weights").read_bytes()[20:]


def test_tensors_are_views_of_one_map_and_never_write_to_the_file(net: DarknetNetwork, tmp_path: Path) -> None:
    file = tmp_path / "a.weights"
    file.write_bytes(numbered(sum(SLOT_NUMBERS)))
    loaded = read_weights(file, net.slots, shapes_of(net))
    storages = {value.untyped_storage().data_ptr() for value in loaded.state.values()}
    assert len(storages) == 1
    loaded.state["0_convolutional.conv.weight"].fill_(-1)
    assert file.read_bytes() == numbered(sum(SLOT_NUMBERS))


def test_a_file_that_ends_between_sections_is_partial(net: DarknetNetwork, tmp_path: Path) -> None:
    file = tmp_path / "a.weights.1"
    for filled in range(1, 6):
        file.write_bytes(numbered(sum(SLOT_NUMBERS[:filled])))
        loaded = read_weights(file, net.slots, shapes_of(net))
        assert (loaded.filled, loaded.total) == (filled, 6)
        assert list(loaded.state) == [key for slot in net.slots[:filled] for key in slot.keys]


def test_darknet53_conv_74_fills_the_backbone(shared_data: Path, tmp_path: Path) -> None:
    with torch.device("meta"):
        net = DarknetNetwork(read_config(shared_data / "cfg" / "yolov3.cfg"))
    backbone = [slot for slot in net.slots if slot.section < 75]
    count = sum(slot_numbers(slot, shapes_of(net)) for slot in backbone)
    file = tmp_path / "darknet53.conv.74"
    with file.open("wb") as stream:
        stream.write(numbered(0))
        stream.truncate(20 + 4 * count)  # a sparse file: all zeros
    loaded = read_weights(file, net.slots, shapes_of(net))
    assert (loaded.filled, loaded.total) == (52, 75)
    assert file.stat().st_size == 162482580  # as large as the authors' own


def test_a_truncated_file_says_where_it_ends(net: DarknetNetwork, tmp_path: Path) -> None:
    file = tmp_path / "a.weights"
    whole = numbered(sum(SLOT_NUMBERS))
    borders = {20 + 4 * sum(SLOT_NUMBERS[:filled]): filled for filled in range(1, 7)}
    for size in range(20, len(whole), 3):
        if size in borders:
            continue
        file.write_bytes(whole[:size])
        section = sum(size > border for border in borders)
        pattern = f"section {section}: {size} bytes came, {len(whole)} were expected"
        with pytest.raises(WeightsError, match=pattern):
            read_weights(file, net.slots, shapes_of(net))


@pytest.mark.parametrize("extra", [1, 4, 400])
def test_bytes_left_over_are_another_network(extra: int, net: DarknetNetwork, tmp_path: Path) -> None:
    file = tmp_path / "a.weights"
    file.write_bytes(numbered(sum(SLOT_NUMBERS)) + bytes(extra))
    with pytest.raises(WeightsMismatchError, match=f"another network.*{extra} are left over"):
        read_weights(file, net.slots, shapes_of(net))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        bytes(15),
        bytes(400),
        b"PK\x03\x04" + bytes(400),
        b"\x80\x02}q\x00" + bytes(400),
        b"\x93NUMPY\x01\x00" + bytes(400),
        struct.pack("<Q", 6688) + b'{"__metadata__":' + bytes(400),
        b"[net]\nwidth=416\nheight=416\n[convolutional]\n",
        struct.pack("<iiiQ", 0, -2, 5, 0) + bytes(400),
        struct.pack("<iii", 0, 2, 5) + bytes(5),
    ],
)
def test_what_is_no_weights_file_is_refused(content: bytes, net: DarknetNetwork, tmp_path: Path) -> None:
    file = tmp_path / "a.weights"
    file.write_bytes(content)
    assert not looks_like_weights(content[:64])
    with pytest.raises(WeightsError, match=r"not a Darknet \.weights file"):
        read_weights(file, net.slots, shapes_of(net))
    with pytest.raises(WeightsError, match=r"not a Darknet \.weights file"):
        count_numbers(file)


def test_files_that_cannot_be_opened(net: DarknetNetwork, tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(WeightsError, match="cannot be read"):
            read_weights(path, net.slots, shapes_of(net))
    with pytest.raises(OutputError, match="cannot be written"):
        write_weights(tmp_path / "absent" / "a.weights", net.slots, seeded_state(net, 0))
    with pytest.raises(WeightsMismatchError, match=r"first 0_convolutional\.norm\.bias"):
        write_weights(tmp_path / "a.weights", net.slots, {})
    assert list(tmp_path.iterdir()) == []


def test_a_network_without_weights(tmp_path: Path) -> None:
    net = DarknetNetwork(parse_config("[net]\nwidth=4\nheight=4\n[maxpool]\nstride=2\n", "a.cfg"))
    write_weights(tmp_path / "a.weights", net.slots, {})
    assert read_weights(tmp_path / "a.weights", net.slots, {}).state == {}
