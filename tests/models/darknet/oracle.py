"""OpenCV's reading of a Darknet network, layer by layer, and seeded weights to feed both readings with.

cv2.dnn shares no code with PyTorch. Its batch norm has an epsilon of 1e-6, so the networks compared with
it are built with ``bn_eps=1e-6``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from layerscope.models.darknet import Config, DarknetNetwork, parse_config, read_weights, write_weights

if TYPE_CHECKING:
    from pathlib import Path

OPENCV_BN_EPS = 1e-6
# OpenCV calls its leaky ReLU "relu".
OPENCV_ACTIVATIONS = {"leaky": ("relu", "leaky"), "relu": ("relu",)}


def seeded_state(net: DarknetNetwork, seed: int) -> dict[str, torch.Tensor]:
    """Numbers that keep the maps of a deep network near one; the head stays small."""
    rng = np.random.default_rng(seed)
    like = net.state_dict()
    kinds = {section.index: section.kind for section in net.config.sections}
    state = {}
    for slot in net.slots:
        feeds_shortcut = kinds.get(slot.section + 1) == "shortcut"
        for key in slot.keys:
            shape = tuple(like[key].shape)
            values = rng.standard_normal(shape, dtype=np.float32)
            if key.endswith("running_var"):
                values = 0.5 + rng.random(shape, dtype=np.float32)
            elif key.endswith("norm.weight"):
                values = (1 + 0.1 * values) * (0.3 if feeds_shortcut else 1)
            elif len(shape) == 1:
                values *= 0.1
            elif key.endswith((".conv.weight", ".linear.weight")):
                values *= np.sqrt(2 / np.prod(shape[1:]))
                values *= 1 if slot.norm else 0.1
            state[key] = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    return state


def shapes_of(net: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of everything in the state dict."""
    return {key: tuple(value.shape) for key, value in net.state_dict().items()}


def with_size(text: str, size_hw: tuple[int, int]) -> str:
    """The cfg with another height and width in its [net] section."""
    end = re.search(r"(?m)^\[(?!net)", text)
    assert end is not None
    head, rest = text[: end.start()], text[end.start() :]
    for option, value in zip(("height", "width"), size_hw, strict=True):
        head = re.sub(rf"(?m)^(\s*{option}\s*=).*$", rf"\g<1>{value}", head)
    return head + rest


def build(
    config: Config, weights: Path, size_hw: tuple[int, int] | None = None, bn_eps: float = 1e-5
) -> DarknetNetwork:
    """The network with a file's weights, ready to run."""
    with torch.device("meta"):
        net = DarknetNetwork(config, size_hw, bn_eps=bn_eps)
    loaded = read_weights(weights, net.slots, shapes_of(net))
    assert loaded.filled == loaded.total
    net.load_state_dict(loaded.state, assign=True)
    return net.eval()


def seeded_pair(
    text: str, name: str, folder: Path, seed: int, size_hw: tuple[int, int] | None = None
) -> tuple[DarknetNetwork, cv2.dnn.Net]:
    """One seeded network as ours and as OpenCV's, both from the same two files."""
    cfg, weights = folder / f"{name}.cfg", folder / f"{name}.weights"
    cfg.write_text(with_size(text, size_hw) if size_hw else text)
    config = parse_config(text, f"{name}.cfg")
    with torch.device("meta"):
        empty = DarknetNetwork(config, size_hw)
    write_weights(weights, empty.slots, seeded_state(empty, seed))
    theirs = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    theirs.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    theirs.enableFusion(False)
    theirs.enableWinograd(False)
    ours = build(config, weights, size_hw, bn_eps=OPENCV_BN_EPS)
    weights.unlink()  # mapped still, and too large to be left behind
    return ours, theirs


def opencv_name(net: DarknetNetwork, index: int, known: set[str]) -> str | None:
    """OpenCV's layer that holds what our layer gives; None where it has none."""
    section = net.config.sections[index]
    default = "logistic" if section.kind in ("convolutional", "connected") else "linear"
    activation = section.text("activation", default)
    names = [f"{word}_{index + 1}" for word in OPENCV_ACTIVATIONS.get(activation, (activation,))]
    if section.kind in ("convolutional", "connected"):
        names += [f"bn_{index}", f"conv_{index}", f"fullyConnected_{index}"]
    elif section.kind == "route":
        names += [f"concat_{index}", f"slice_{index}", f"identity_{index}"]
    elif section.kind in ("region", "yolo"):
        names = [f"yolo_{index}"] if section.kind == "yolo" else ["detection_out"]
    else:
        names += [f"{section.kind}_{index}", f"pool_{index}", f"identity_{index}"]
    return next((name for name in names if name in known), None)


def our_outputs(net: DarknetNetwork, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What hooks see at every layer, and what the network gives; batches of one, their axis dropped."""
    seen: list[np.ndarray] = []
    hooks = [
        layer.register_forward_hook(lambda _module, _args, output: seen.append(output[0].clone().numpy()))
        for layer in net.children()
    ]
    with torch.inference_mode():
        outputs = net(torch.from_numpy(x))
    for hook in hooks:
        hook.remove()
    return seen, [output[0].numpy() for output in outputs]


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference, as a part of the reference's largest value."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    assert np.isfinite(theirs).all()
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-12))


def decoded_rows(net: DarknetNetwork, index: int, squashed: np.ndarray) -> np.ndarray:
    """A detection layer's map as OpenCV's rows: x, y, w, h as parts of the picture, objectness, classes.

    Rows run over y, then x, then anchor; each class is times the objectness.
    """
    head = next(head for head in net.heads if head.layer == net.config.sections[index - 1].name)
    _, height, width = squashed.shape
    x = squashed.reshape(len(head.anchors), 5 + head.classes, height, width).transpose(2, 3, 0, 1).copy()
    rows, columns = np.mgrid[:height, :width]
    x[..., 0] = (x[..., 0] + columns[..., None]) / width
    x[..., 1] = (x[..., 1] + rows[..., None]) / height
    x[..., 2:4] = np.exp(x[..., 2:4]) * np.array(head.anchors) / (width * head.stride, height * head.stride)
    x[..., 5:] *= x[..., 4:5]
    return x.reshape(-1, 5 + head.classes)
