"""Maps while a network trains: the training must not notice."""

from __future__ import annotations

import copy
import random
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import layerscope as ls
from layerscope.errors import InputError, LayerscopeWarning, OptionError, OutputExistsError, RunFolderError
from layerscope.training import MapLogger, open_timeline

if TYPE_CHECKING:
    from collections.abc import Callable


class Learner(nn.Module):
    """Has everything that a careless forward in between would disturb: batch norm, dropout, frozen parts, noise."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.dropout = nn.Dropout2d(0.3)
        self.head = nn.Linear(8, 4)
        self.mode_changes = 0

    def train(self, mode: bool = True) -> Learner:
        self.mode_changes += 1
        super().train(mode)
        self.norm1.eval()  # frozen
        return self

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm1(self.conv1(x)))
        x = self.dropout(torch.relu(self.norm2(self.conv2(x))))
        x = nn.functional.dropout(x, 0.1)  # draws random numbers in evaluation mode too
        x = x + 0.01 * torch.from_numpy(np.random.standard_normal(x.shape[-1])).float() + 0.01 * random.random()  # noqa: NPY002
        return self.head(x.mean((2, 3)))


PROBE = torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)


def trained(logged: Callable[[nn.Module], MapLogger] | None, steps: int = 50, autocast: bool = False) -> nn.Module:
    """Train from a seed for some steps; return the network."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    net = Learner().train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    logger = logged(net) if logged else None
    for _ in range(steps):
        x, y = torch.randn(4, 3, 16, 16), torch.randint(4, (4,))
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            if logger and autocast:  # in the midst of the step, where cached weights could be left behind
                logger.step()
            loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        if logger and not autocast:
            logger.step(loss=loss.item())
    return net


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    for (name, mine), theirs in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name
    assert [part.training for part in one.modules()] == [part.training for part in other.modules()]
    assert one.mode_changes == other.mode_changes


@pytest.mark.parametrize("autocast", [False, True])
def test_weights_are_bit_identical_with_and_without_the_logger(autocast: bool) -> None:
    logged = trained(lambda net: MapLogger(net, frames=PROBE, every=1), autocast=autocast)
    state = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    alone = trained(None, autocast=autocast)
    assert_equal(logged, alone)
    assert torch.equal(state[0], torch.get_rng_state())
    assert state[1:] == (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002
    assert len(open_timeline("timeline")) == 50


def test_a_careless_forward_would_have_been_noticed() -> None:
    class Careless:
        def __init__(self, net: nn.Module) -> None:
            self.net = net

        def step(self, **_numbers: float) -> None:
            self.net(PROBE)

    assert not torch.equal(trained(Careless).conv1.weight, trained(None).conv1.weight)


def test_maps_are_those_of_a_plain_hook_on_a_copy_in_evaluation_mode() -> None:
    net = Learner().train()
    logger = MapLogger(net, frames=PROBE, layers=["conv2", "norm2"], tensor_type="f32")
    assert logger.step()
    twin, seen = copy.deepcopy(net), {}
    twin.train(False)
    for name in ("conv2", "norm2"):
        getattr(twin, name).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out.clone()}))
    with torch.no_grad():
        twin(PROBE)
    run = open_timeline("timeline")[0]
    assert list(run) == ["frame0", "frame1"]
    for index, frame in enumerate(run.values()):
        for name, expected in seen.items():
            np.testing.assert_allclose(frame[name].values, expected[index].numpy(), rtol=1e-6, atol=1e-6)


def test_one_forward_on_logged_steps_and_none_on_others() -> None:
    net, forwards = Learner(), []
    net.register_forward_hook(lambda *_: forwards.append(1))
    logger = MapLogger(net, frames=PROBE, every=10, write=["sheets"])
    logged = [step for step in range(25) if logger.step()]
    assert (logged, len(forwards)) == ([0, 10, 20], 3)
    assert not logger.log(20), "a step that is logged already"
    assert MapLogger(net, frames=PROBE, every=lambda step: step in (1, 3), out="chosen").step(3)


def test_hooks_and_gradients_are_as_they_were() -> None:
    net = Learner()
    net(PROBE).sum().backward()
    gradients = [parameter.grad.clone() for parameter in net.parameters()]
    MapLogger(net, frames=PROBE).step()
    assert all(torch.equal(one, p.grad) for one, p in zip(gradients, net.parameters(), strict=True))
    assert not any(part._forward_hooks for part in net.modules())


def test_modes_and_random_states_come_back_after_an_error_too() -> None:
    net = Learner()
    net.norm2.eval()
    logger = MapLogger(net, frames=PROBE[:, :2])
    modes, state = [part.training for part in net.modules()], torch.get_rng_state()
    with pytest.raises(RuntimeError, match="channels"):
        logger.step()
    assert modes == [part.training for part in net.modules()]
    assert torch.equal(state, torch.get_rng_state())
    assert not any(part._forward_hooks for part in net.modules())


def test_a_network_of_ours_prepares_pictures_itself(tiny: ls.Network, photo: np.ndarray) -> None:
    logger = MapLogger(tiny, frames=photo, tensor_type="f32")
    assert not logger.step(7)
    logger.log(7, loss=0.5)
    timeline = open_timeline("timeline")
    assert (list(timeline), timeline.frames, timeline.layers) == ([7], ("frame",), ("2_shortcut", "5_shortcut"))
    assert timeline.record.steps[0].numbers == {"loss": 0.5}
    expected = ls.capture(tiny, photo)["5_shortcut"].values.numpy()
    np.testing.assert_array_equal(timeline[7]["frame"]["5_shortcut"].values, expected)
    assert [entry.step for entry, _ in timeline.maps("5_shortcut")] == [7]


def test_wrappers_of_many_devices_are_seen_through() -> None:
    MapLogger(nn.DataParallel(Learner()), frames=PROBE, layers="conv1").step()
    assert open_timeline("timeline").layers == ("conv1",)


def test_tensorboard_is_sent_the_sheets() -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter("board")
    logger = MapLogger(Learner(), frames=PROBE[:1], layers="conv1", every=2, out=None, tensorboard=writer)
    for _ in range(4):
        logger.step()
    writer.close()
    board = EventAccumulator("board", size_guidance={"images": 0}).Reload()
    assert board.Tags()["images"] == ["conv1/frame0"]
    assert [event.step for event in board.Images("conv1/frame0")] == [0, 2]
    assert not Path("timeline").exists()


def test_a_full_disk_is_a_warning_and_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = MapLogger(Learner(), frames=PROBE, every=1)
    logger.step()

    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("layerscope.sinks.pictures.encode_png", full)
        with pytest.warns(LayerscopeWarning, match=r"step 1 is not logged.*No space left"):
            assert not logger.step()
    assert logger.step()
    assert list(open_timeline("timeline")) == [0, 2]
    assert {path.name for path in Path("timeline").iterdir()} == {"timeline.json", "step00000000", "step00000002"}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"frames": None}, InputError, "wants its input as a tensor"),
        ({"frames": torch.zeros(3, 4, 4)}, InputError, r"got shape \(3, 4, 4\)"),
        ({"every": 0}, OptionError, "every: expected"),
        ({"out": None}, OptionError, "nothing would be kept"),
        ({"out": None, "tensorboard": object(), "write": ["tensors"]}, OptionError, "write names none"),
        ({"layers": "conv9"}, ls.LayerscopeError, "did you mean"),
        ({"scale": "loud"}, OptionError, "there are channel"),
    ],
)
def test_wrong_options_are_refused_at_once(options: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        MapLogger(Learner(), **{"frames": PROBE, **options})
    assert not Path("timeline").exists()


def test_another_timeline_is_not_overwritten_unless_told() -> None:
    MapLogger(Learner(), frames=PROBE, every=1).step()
    with pytest.raises(OutputExistsError, match="holds another timeline"):
        MapLogger(Learner(), frames=PROBE)
    Path("timeline/mine.txt").write_text("keep me")
    logger = MapLogger(Learner(), frames=PROBE, overwrite=True)
    assert {path.name for path in Path("timeline").iterdir()} == {"mine.txt"}
    logger.log(5)
    assert list(open_timeline("timeline")) == [5]
    with pytest.raises(RunFolderError, match="step 0 was not logged; there are 5"):
        open_timeline("timeline")[0]


def test_a_folder_without_a_timeline_says_so() -> None:
    with pytest.raises(RunFolderError, match=r"holds no timeline\.json"):
        open_timeline(".")


def test_a_missing_layer_warns_once_and_an_asked_one_is_an_error() -> None:
    net = Learner()
    net.spare = nn.Conv2d(3, 3, 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MapLogger(net, frames=PROBE, layers="convs").step()
    assert any("spare never ran" in str(warning.message) for warning in caught)
    with pytest.raises(ls.LayerscopeError, match="spare never ran"):
        MapLogger(net, frames=PROBE, layers="spare", out="other").step()
