"""Class names of the data sets that Darknet's detectors are trained on, in the order of their outputs."""

from __future__ import annotations

from pathlib import Path

from layerscope.errors import OptionError

__all__ = ["class_names", "read_names"]

# fmt: off
COCO = (
    "person", "bicycle", "car", "motorbike", "aeroplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse",
    "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag",
    "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat",
    "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle", "wine glass", "cup",
    "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot",
    "hot dog", "pizza", "donut", "cake", "chair", "sofa", "pottedplant", "bed", "diningtable",
    "toilet", "tvmonitor", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave",
    "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
    "hair drier", "toothbrush",
)

PASCAL_VOC = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)
# fmt: on


def class_names(classes: int) -> tuple[str, ...]:
    """Name the classes of a detector by their number: 80 is COCO, 20 is Pascal VOC, else they are numbered.

    >>> class_names(80)[16], class_names(2)
    ('dog', ('class 0', 'class 1'))
    """
    for known in (COCO, PASCAL_VOC):
        if len(known) == classes:
            return known
    return tuple(f"class {index}" for index in range(classes))


def read_names(path: str | Path, classes: int) -> tuple[str, ...]:
    """Read a Darknet ``.names`` file, one class a line.

    Args:
        path: The file.
        classes: How many the network has; 0 where it does not say.

    Raises:
        OptionError: It cannot be read, or does not name as many classes as the network has.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{path}: cannot be read as a list of names ({error})") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if classes and len(names) != classes:
        raise OptionError(f"{path}: names {len(names)} classes, the network has {classes}")
    return names
