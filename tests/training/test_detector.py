"""What the demonstration detector is trained by, against slow second versions and the package's own reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from averaging import AveragedWeights
from batches import Batch, BatchesOfScenes, Phase
from demo_network import DEMO, Architecture, load_demo, save_demo
from layerscope.detection.decode import decode_head
from layerscope.detection.suppress import iou
from loss import NEAR_ANCHOR, _assign, _best_iou, _decoded, complete_iou, detection_loss
from scenes import FIRST_UNSEEN_SEED, scene

if TYPE_CHECKING:
    from pathlib import Path

SIDE_PX = 128


@pytest.fixture(scope="module")
def batch() -> Batch:
    return BatchesOfScenes((Phase(side_px=SIDE_PX, batch=4, steps=2),), first_seed=50)[1]


@pytest.fixture
def raws() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    network = DEMO.build()
    return tuple(torch.randn(4, head.channels, *[SIDE_PX // head.stride] * 2) for head in network.heads)


def test_batches_hold_the_scenes_of_their_seeds(batch: Batch) -> None:
    for index in range(4):
        one = scene(50 + 4 + index, side_px=SIDE_PX)
        np.testing.assert_array_equal(batch.pictures[index].permute(1, 2, 0).numpy(), one.pixels)
        mine = batch.owners == index
        assert batch.boxes[mine].tolist() == [[*map(float, item.box)] for item in one.objects]
        assert batch.labels[mine].tolist() == [item.class_id for item in one.objects]


def test_no_scene_that_is_kept_for_testing_is_trained_on() -> None:
    phase = Phase(side_px=SIDE_PX, batch=4, steps=2)
    assert len(BatchesOfScenes((phase,), first_seed=FIRST_UNSEEN_SEED - 8)) == 2
    with pytest.raises(ValueError, match="1000000"):
        BatchesOfScenes((phase,), first_seed=FIRST_UNSEEN_SEED - 7)


def test_boxes_are_decoded_as_the_package_decodes_them(raws: tuple[torch.Tensor, ...]) -> None:
    for raw, head in zip(raws, DEMO.build().heads, strict=True):
        count, _, height, width = raw.shape
        parts = raw.reshape(count, 3, -1, height, width).permute(0, 1, 3, 4, 2)
        ours = _decoded(parts[..., :4], head)[1]
        theirs = decode_head(raw[1].numpy(), head, (SIDE_PX, SIDE_PX), score=0.0)
        row, column = theirs.cell.T
        np.testing.assert_allclose(ours[theirs.anchor, row, column], theirs.xyxy, rtol=1e-4, atol=1e-3)


def test_boxes_are_given_to_all_near_anchors_and_at_least_to_one(batch: Batch) -> None:
    heads = DEMO.build().heads
    chosen = _assign(heads, batch, [(SIDE_PX // head.stride,) * 2 for head in heads])
    found = {
        (head.stride, *(int(part[k]) for part in responsible.place), int(responsible.box[k]))
        for head, responsible in zip(heads, chosen, strict=True)
        for k in range(len(responsible.box))
    }
    expected = set()
    for number, (left, top, right, bottom) in enumerate(batch.boxes.tolist()):
        misfits = {
            (head.stride, index): max((right - left) / w, w / (right - left), (bottom - top) / h, h / (bottom - top))
            for head in heads
            for index, (w, h) in enumerate(head.anchors)
        }
        nearest = min(misfits, key=lambda anchor: misfits[anchor])
        for (stride, index), misfit in misfits.items():
            if misfit < NEAR_ANCHOR or (stride, index) == nearest:
                row, column = int((top + bottom) / 2 / stride), int((left + right) / 2 / stride)
                expected.add((stride, int(batch.owners[number]), index, row, column, number))
    assert found == expected


def test_complete_iou_is_one_for_equal_boxes_and_less_the_worse_they_fit() -> None:
    box = torch.tensor([[10.0, 10, 50, 50]])
    assert complete_iou(box, box).item() == pytest.approx(1)
    shifted, further = box + 5, box + 15
    thin = torch.tensor([[25.0, 10, 35, 50]])
    plain = [iou(box[0].double().numpy(), other.double().numpy()).item() for other in (shifted, further, thin)]
    complete = [complete_iou(box, other).item() for other in (shifted, further, thin)]
    assert complete[0] > complete[1]
    for with_penalties, without in zip(complete, plain, strict=True):
        assert -1 < with_penalties < without
    distance = 2 * 5**2 / (2 * 45**2)  # of the centres, by the diagonal of the box around both, squared
    assert complete[0] == pytest.approx(plain[0] - distance, abs=1e-4)


def test_best_iou_is_that_of_the_package(batch: Batch) -> None:
    torch.manual_seed(1)
    corner = torch.rand(1, 50, 2) * 80
    predicted = torch.cat([corner, corner + 10 + torch.rand(1, 50, 2) * 40], dim=2)
    boxes = batch.boxes[batch.owners == 0]
    best = _best_iou(predicted, boxes[None])[0]
    for prediction, value in zip(predicted[0], best, strict=True):
        expected = iou(prediction.double().numpy(), boxes.double().numpy()).max()
        assert value.item() == pytest.approx(expected, abs=1e-5)


def test_a_perfect_answer_costs_almost_nothing_and_another_more(batch: Batch, raws: tuple[torch.Tensor, ...]) -> None:
    heads = DEMO.build().heads
    answers = [torch.full_like(raw, -12.0) for raw in raws]
    chosen = _assign(heads, batch, [(raw.shape[2], raw.shape[3]) for raw in raws])
    for answer, head, responsible in zip(answers, heads, chosen, strict=True):
        for k, box in enumerate(responsible.box.tolist()):
            left, top, right, bottom = batch.boxes[box].tolist()
            n, anchor, row, column = (int(part[k]) for part in responsible.place)
            centre = torch.tensor([(left + right) / 2 / head.stride - column, (top + bottom) / 2 / head.stride - row])
            size = torch.tensor([right - left, bottom - top]) / torch.tensor(head.anchors[anchor])
            mine = answer[n].view(3, 5 + head.classes, *answer.shape[2:])[anchor, :, row, column]
            mine[:2], mine[2:4], mine[4] = centre.logit(1e-4), size.log(), 12.0
            mine[5 + int(batch.labels[box])] = 12.0
    perfect = detection_loss(tuple(answers), heads, batch)
    assert perfect.box < 0.01
    assert perfect.label < 0.01
    assert perfect.objectness < 0.1
    assert detection_loss(raws, heads, batch).total > 5
    for answer, head in zip(answers, heads, strict=True):
        answer.view(4, 3, 5 + head.classes, *answer.shape[2:])[:, :, 4] = -12.0
    silent = detection_loss(tuple(answers), heads, batch)
    assert silent.objectness > 10  # to fit well without saying so is wrong where one is responsible


def test_a_batch_without_objects_teaches_silence_only(raws: tuple[torch.Tensor, ...]) -> None:
    nothing = Batch(
        pictures=torch.zeros(4, 3, SIDE_PX, SIDE_PX, dtype=torch.uint8),
        boxes=torch.zeros(0, 4),
        labels=torch.zeros(0, dtype=torch.long),
        owners=torch.zeros(0, dtype=torch.long),
    )
    losses = detection_loss(raws, DEMO.build().heads, nothing)
    assert losses.box == losses.label == 0
    assert losses.objectness > 0


def test_a_saved_detector_is_rebuilt_from_its_file_alone(tmp_path: Path) -> None:
    network = DEMO.build().eval()
    size = save_demo(tmp_path / "demo.safetensors", network.state_dict(), DEMO)
    assert size <= 2_000_000
    again, architecture = load_demo(tmp_path / "demo.safetensors")
    assert architecture == DEMO == Architecture.from_metadata(DEMO.as_metadata())
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for mine, stored in zip(network(x), again(x), strict=True):
            torch.testing.assert_close(mine, stored, rtol=0.02, atol=0.02)


def test_averaged_weights_follow_at_first_quickly_then_slowly() -> None:
    network = DEMO.build()
    average = AveragedWeights(network, decay=0.9)
    name, before = next(iter(network.named_parameters()))
    start = before.detach().clone()
    with torch.no_grad():
        before.add_(1)
    average.update(network)
    torch.testing.assert_close(average.module.get_parameter(name), start + 9 / 11)
    average.steps = 1000
    average.update(network)
    torch.testing.assert_close(average.module.get_parameter(name), start + 1 - 0.9 * 2 / 11)
