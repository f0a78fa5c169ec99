"""Which networks the zoo has."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Subject", "list_subjects", "quick_share"]

PROJECT = Path(__file__).resolve().parents[1]
CFGS = PROJECT.parent / "shared" / "data" / "cfg"
NASTY = PROJECT / "tests" / "nasty.py"

ULTRALYTICS = ("yolov3-tiny", "yolov3", "yolov5n", "yolov8n", "yolo11n", "yolo26n")
ULTRALYTICS_TASKS = ("", "-seg", "-cls", "-pose", "-obb", "-sem", "-depth")
SMP_ENCODERS = {"dpt": "tu-vit_tiny_patch16_224", "segformer": "mobilenet_v2", "pan": "resnet18"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One network to check.

    Attributes:
        library: Where it comes from.
        family: What it is grouped by in the table.
        source: What ``layerscope.load`` is given.
        arguments: Likewise.
        title: What to call it, where that is not the source.
    """

    library: str
    family: str
    source: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""

    @property
    def name(self) -> str:
        """What to call it, without its arguments."""
        return self.title or self.source

    def __str__(self) -> str:
        return self.name + "".join(f" {key}={value}" for key, value in self.arguments.items())


def list_subjects(folder: Path, timm_count: int, seed: int) -> list[Subject]:
    """List all networks whose library is installed.

    Args:
        folder: An empty one, for networks that are made on the fly.
        timm_count: How many of timm's, which has over a thousand.
        seed: Of the choice among them.
    """
    found: list[Subject] = []
    for part in (_own(), _torchvision(), _ultralytics(), _transformers(folder), _smp(), _timm(timm_count, seed)):
        try:
            found += part
        except ImportError:
            continue
    return found


def quick_share(subjects: list[Subject], seed: int) -> list[Subject]:
    """Choose two networks of each library, and the worst ones."""
    chosen = [subject for subject in subjects if subject.family == "nasty"]
    for library in dict.fromkeys(subject.library for subject in subjects):
        same = [subject for subject in subjects if subject.library == library and subject not in chosen]
        chosen += random.Random(seed).sample(same, min(2, len(same)))
    return chosen


def _own() -> Iterator[Subject]:
    for name in ("InPlace", "Outputs", "Layouts"):
        yield Subject(library="layerscope", family="nasty", source=f"{NASTY}:{name}", title=f"nasty.py:{name}")
    yield Subject(library="layerscope", family="yolov3", source="demo")
    for path in sorted(CFGS.glob("*.cfg")):
        yield Subject(library="layerscope", family="darknet", source=f"darknet:{path}", title=f"darknet:{path.name}")


def _torchvision() -> Iterator[Subject]:
    from torchvision import models

    for name in models.list_models():
        group = models.get_model_builder(name).__module__.split(".")[2]
        if group == "optical_flow":
            continue  # two pictures: no source
        family = group if group in ("detection", "segmentation", "video", "quantization") else "classification"
        yield Subject(library="torchvision", family=family, source=f"torchvision:{name}")
        if family == "quantization":
            yield Subject(
                library="torchvision", family="int8", source=f"torchvision:{name}", arguments={"quantize": True}
            )


def _ultralytics() -> Iterator[Subject]:
    import ultralytics

    shipped = {path.stem for path in Path(ultralytics.__file__).parent.glob("cfg/models/**/*.yaml")}
    for family in ULTRALYTICS:
        for task in ULTRALYTICS_TASKS:
            if f"{family}{task}" in shipped or f"{family.removesuffix('n')}{task}" in shipped:
                yield Subject(library="ultralytics", family=family, source=f"ultralytics:{family}{task}.yaml")
    for name in ("yolov10n", "yolo12n", "rtdetr-resnet50"):
        yield Subject(library="ultralytics", family="others", source=f"ultralytics:{name}.yaml")


def _transformers(folder: Path) -> Iterator[Subject]:
    """Make small networks of some architectures, saved as a hub's folder is."""
    import transformers

    log: Any = transformers.logging
    log.disable_progress_bar()
    sides: dict[str, Any] = {"image_size": 64, "patch_size": 8}
    width: dict[str, Any] = {
        "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64
    }  # fmt: skip
    configs = {
        "ViTForImageClassification": transformers.ViTConfig(**sides, **width),
        "Dinov2Model": transformers.Dinov2Config(**sides, **width),
        "ConvNextForImageClassification": transformers.ConvNextConfig(
            hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1]
        ),
        "SwinForImageClassification": transformers.SwinConfig(
            image_size=64, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4
        ),
        "ResNetForImageClassification": transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1]
        ),
    }
    for name, config in configs.items():
        getattr(transformers, name)(config).save_pretrained(folder / name)
        for arguments in ({}, {"attentions": True}) if name.startswith(("ViT", "Swin")) else ({},):
            source = f"hf:{folder / name}"
            yield Subject(
                library="transformers", family="vision", source=source, arguments=arguments, title=f"hf:{name}"
            )


def _smp() -> Iterator[Subject]:
    import segmentation_models_pytorch as smp

    for name in sorted(smp.MODEL_ARCHITECTURES_MAPPING):
        encoder = SMP_ENCODERS.get(name, "resnet18")
        yield Subject(library="smp", family="segmentation", source=f"smp:{name}", arguments={"encoder_name": encoder})


def _timm(count: int, seed: int) -> Iterator[Subject]:
    """Choose among timm's networks: one of every family, then any."""
    import timm

    families: dict[str, list[str]] = {}
    for name in timm.list_models():
        families.setdefault(timm.models.model_entrypoint(name).__module__.rpartition(".")[2], []).append(name)
    choice = random.Random(seed)
    chosen = {choice.choice(names) for names in families.values()}
    rest = sorted({name for names in families.values() for name in names} - chosen)
    chosen |= set(choice.sample(rest, max(0, min(count - len(chosen), len(rest)))))
    for family, names in sorted(families.items()):
        for name in sorted(chosen.intersection(names)):
            yield Subject(library="timm", family=family, source=f"timm:{name}")
