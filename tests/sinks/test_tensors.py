"""The values themselves, written and read back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import layerscope as ls
from layerscope.errors import OptionError, RunFolderError
from layerscope.models.weights import WeightsReport


@pytest.mark.parametrize("write", [["tensors"], ["sheets", "tensors"]])
def test_values_come_back_bit_for_bit(tiny: ls.Network, photo: np.ndarray, write: list[str]) -> None:
    run = ls.run(tiny, photo, layers="all", write=write)
    for layer, feature_map in ls.capture(tiny, photo, layers="all").items():
        got = run["frame"][layer].values
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, feature_map.values.numpy())


def test_any_program_can_read_the_file(tiny: ls.Network, photo: np.ndarray) -> None:
    run = ls.run(tiny, photo, write=["tensors"])
    expected = ls.capture(tiny, photo)["2_shortcut"].values.numpy()
    np.testing.assert_array_equal(load_file(run.folder / "tensors/2_shortcut.safetensors")["values"], expected)
    assert "colormap" not in run.manifest.render.colormap
    assert run["frame"]["2_shortcut"].record.files == {"tensors": "tensors/2_shortcut.safetensors"}


@pytest.mark.parametrize(("tensor_type", "share"), [("f16", 2**-11), ("q8", 0.5 / 255 + 1e-6)])
def test_smaller_types_err_by_no_more_than_they_must(
    tiny: ls.Network, photo: np.ndarray, tensor_type: str, share: float
) -> None:
    run = ls.run(tiny, photo, write=["tensors"], tensor_type=tensor_type)
    full = ls.run(tiny, photo, write=["tensors"], out="full")
    for layer, exact in full["frame"].items():
        channels = exact.values.reshape(len(exact.values), -1)
        reach = np.abs(channels) if tensor_type == "f16" else np.ptp(channels, axis=1)[:, None]
        error = np.abs(run["frame"][layer].values.reshape(channels.shape) - channels)
        assert (error <= reach * share + 1e-7).all()
        sizes = [(run.folder if at else full.folder) / exact.record.files["tensors"] for at in (0, 1)]
        assert sizes[1].stat().st_size < sizes[0].stat().st_size


class Large(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, :1].repeat(1, 3, 1, 1)
        x[:, 0, 0, 0] = 1e6
        x[:, 1] = 7.0
        x[:, 2, 0, 0] = torch.nan
        return x


def first_of(module: torch.nn.Module, photo: np.ndarray | list[np.ndarray], **options: str) -> np.ndarray:
    """What was kept of the module's part ``0``."""
    report = WeightsReport(path=None, naming="none", taken=0, total=0, bn_eps=1e-5, seed=None)
    net = ls.Network(
        source="own",
        module=module,
        preparation=ls.Preparation(size_hw=(8, 8)),
        weights=report,
        known_stages=("0",),
    )
    run = ls.run(net, photo, write=["tensors"], **options)
    values = [frame["0"].values for frame in run.values()]
    assert all(np.array_equal(other, values[0], equal_nan=True) for other in values)
    return values[0]


def large(photo: np.ndarray, **options: str) -> np.ndarray:
    return first_of(torch.nn.Sequential(Large()), photo, **options)


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize("tensor_type", ["f32", "f16", "q8"])
def test_what_the_next_layer_overwrites_is_kept_as_it_was(photo: np.ndarray, tensor_type: str, frames: int) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Hardtanh(2.0, 3.0, inplace=True))
    kept = first_of(net, [photo] * frames, tensor_type=tensor_type)
    assert kept.max() < 2, "the convolution's own values, before they were clipped"


def test_what_half_precision_cannot_hold_stays_in_single(photo: np.ndarray) -> None:
    values = large(photo, tensor_type="f16")
    assert values[0, 0, 0] == 1e6
    assert np.isnan(values[2, 0, 0])


def test_a_constant_channel_keeps_its_value_in_eight_bits(photo: np.ndarray) -> None:
    assert (large(photo, tensor_type="q8")[1] == 7).all()


def test_errors_say_what_to_do(tiny: ls.Network, photo: np.ndarray) -> None:
    with pytest.raises(OptionError, match="f32, f16, q8"):
        ls.run(tiny, photo, write=["tensors"], tensor_type="int4")
    run = ls.run(tiny, photo, write=["sheets"])
    with pytest.raises(RunFolderError, match=r"write=\['tensors'\] or \['zarr'\] keeps them"):
        _ = run["frame"]["2_shortcut"].values
    kept = ls.run(tiny, photo, write=["tensors"], out="kept")
    path = kept.folder / "tensors/2_shortcut.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(RunFolderError, match="cannot be read"):
        _ = kept["frame"]["2_shortcut"].values


@pytest.mark.parametrize(("tensor_type", "atol"), [("f32", 0), ("f16", 2e-3), ("q8", 2e-2)])
def test_maps_that_lie_otherwise_in_memory_come_back_in_order(photo: np.ndarray, tensor_type: str, atol: float) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)).to(memory_format=torch.channels_last)
    kept = first_of(net, photo, tensor_type=tensor_type)
    seen: list[np.ndarray] = []
    handle = net[0].register_forward_hook(lambda _m, _i, out: seen.append(out[0].clone().numpy()))
    first_of(net, photo, tensor_type=tensor_type, out="again")
    handle.remove()
    np.testing.assert_allclose(kept, seen[0], atol=atol)
