"""The well-known recipe, written again from its description as an oracle: plain PyTorch, OpenCV, one file a channel."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

BLOCKS = (1, 2, 8, 8, 4)
WIDTHS = (32, 64, 128, 256, 512, 1024)


def save(out: Tensor, channel: int, layer_name: str) -> None:
    """Write one channel below the current folder."""
    picture = out[0][channel].unsqueeze(0).permute(1, 2, 0) * 255
    folder = Path("featuremap", layer_name)
    folder.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(folder / f"out{channel}.jpg"), picture.detach().numpy().astype(np.float32))


class Unit(nn.Module):
    """Two convolutions and the sum, which is made in place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels // 2)
        self.relu1 = nn.LeakyReLU(0.1)
        self.conv2 = nn.Conv2d(channels // 2, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.LeakyReLU(0.1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        out += x
        return out


class Part(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, units: int) -> None:
        super().__init__()
        self.add_module("ds_conv", nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False))
        self.add_module("ds_bn", nn.BatchNorm2d(outputs))
        self.add_module("ds_relu", nn.LeakyReLU(0.1))
        for index in range(units):
            self.add_module(f"residual_{index}", Unit(outputs))


class Backbone(nn.Module):
    def __init__(self, block: str, saving: bool) -> None:
        super().__init__()
        self.block, self.saving = block, saving
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu1 = nn.LeakyReLU(0.1)
        for number, units in enumerate(BLOCKS, start=1):
            setattr(self, f"{block}{number}", Part(WIDTHS[number - 1], WIDTHS[number], units))

    def forward(self, x: Tensor) -> list[Tensor]:
        outs = []
        x = self.relu1(self.bn1(self.conv1(x)))
        for number in range(1, 6):
            x = getattr(self, f"{self.block}{number}")(x)
            if self.saving:
                for channel in range(x.shape[1]):
                    save(x, channel, f"backbone_block{number}")
            outs.append(x)
        return outs[2:]


def conv2d(inputs: int, outputs: int, size: int) -> nn.Sequential:
    unit = nn.Sequential()
    unit.add_module("conv", nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False))
    unit.add_module("bn", nn.BatchNorm2d(outputs))
    unit.add_module("relu", nn.LeakyReLU(0.1))
    return unit


def last_layers(narrow: int, inputs: int, outputs: int) -> nn.ModuleList:
    wide = 2 * narrow
    return nn.ModuleList(
        [
            conv2d(inputs, narrow, 1),
            conv2d(narrow, wide, 3),
            conv2d(wide, narrow, 1),
            conv2d(narrow, wide, 3),
            conv2d(wide, narrow, 1),
            conv2d(narrow, wide, 3),
            nn.Conv2d(wide, outputs, 1),
        ]
    )


class RecipeYOLO(nn.Module):
    """The recipe's network; ``block`` is what it calls the five parts."""

    def __init__(self, classes: int, block: str = "layer", saving: bool = True) -> None:
        super().__init__()
        outputs = 3 * (5 + classes)
        self.backbone = Backbone(block, saving)
        self.last_layer0 = last_layers(512, 1024, outputs)
        self.last_layer1_conv = conv2d(512, 256, 1)
        self.last_layer1_upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.last_layer1 = last_layers(256, 768, outputs)
        self.last_layer2_conv = conv2d(256, 128, 1)
        self.last_layer2_upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.last_layer2 = last_layers(128, 384, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        def branch(layers: nn.ModuleList, value: Tensor) -> tuple[Tensor, Tensor]:
            side = value
            for index, layer in enumerate(layers):
                value = layer(value)
                if index == 4:
                    side = value
            return value, side

        fine, middle, coarse = self.backbone(x)
        out0, side = branch(self.last_layer0, coarse)
        up = self.last_layer1_upsample(self.last_layer1_conv(side))
        out1, side = branch(self.last_layer1, torch.cat([up, middle], 1))
        up = self.last_layer2_upsample(self.last_layer2_conv(side))
        out2, _ = branch(self.last_layer2, torch.cat([up, fine], 1))
        return out0, out1, out2


def lively(net: nn.Module, seed: int = 0) -> nn.Module:
    """Give a network weights whose maps lie about 0 to 1 and beyond on both sides, for inputs of 0 to 255."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.data = torch.randn(module.weight.shape, generator=generator) * fan_in**-0.5
            if module.weight.shape[1] == 3:
                module.weight.data /= 100
        elif isinstance(module, nn.BatchNorm2d):
            count = module.num_features
            module.weight.data = 0.5 + torch.rand(count, generator=generator)
            module.bias.data = 0.2 * torch.randn(count, generator=generator)
            module.running_mean = 0.1 * torch.randn(count, generator=generator)
            module.running_var = 0.5 + torch.rand(count, generator=generator)
    return net.eval()


def run(net: nn.Module, picture: Path) -> tuple[Tensor, ...]:
    """Read, resize and run as the recipe does; its network saves the pictures on the way."""
    bgr = cv2.resize(cv2.imread(str(picture)), (416, 416))
    return tuple(net(torch.from_numpy(bgr.astype(np.float32)[None]).permute(0, 3, 1, 2)))
