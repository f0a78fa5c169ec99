"""The adapters, in the real trainers that they are for."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from layerscope.errors import MissingExtraError
from layerscope.extras import require
from layerscope.training import open_timeline

PROBE = torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)


def data(count: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(3, 16, 16, generator=generator), torch.tensor(at % 4)) for at in range(count)]


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(8 * 14 * 14, 4)
    )


def train_with_lightning(callbacks: list[object], steps: int) -> dict[str, Tensor]:
    import lightning.pytorch as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.05)

    pl.seed_everything(0, verbose=False)
    module = Module()
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
    trainer.fit(module, torch.utils.data.DataLoader(data(40), batch_size=4, shuffle=True))
    return module.state_dict()


@pytest.mark.filterwarnings("ignore")  # Lightning has much to say about small loaders
def test_lightning_trains_to_the_same_bits_and_its_steps_are_logged() -> None:
    pytest.importorskip("lightning.pytorch", reason="needs lightning")
    from layerscope.training.lightning import MapCallback

    logged = train_with_lightning([MapCallback(frames=PROBE, layers="convs", every=10)], 50)
    alone = train_with_lightning([], 50)
    assert all(torch.equal(logged[name], alone[name]) for name in alone)
    timeline = open_timeline("timeline")
    assert list(timeline) == [10, 20, 30, 40, 50]
    assert timeline.layers == ("net.0",)
    assert set(timeline.record.steps[0].numbers) == {"loss"}


@pytest.mark.filterwarnings("ignore")
def test_a_hugging_face_trainer_trains_to_the_same_bits_and_its_steps_are_logged() -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    pytest.importorskip("accelerate", reason="needs accelerate")
    from layerscope.training.transformers import MapCallback

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
            logits = self.net(pixel_values)
            loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
            return {"logits": logits} if loss is None else {"loss": loss, "logits": logits}

    def trained(callbacks: list[object]) -> dict[str, Tensor]:
        transformers.set_seed(0)
        model = Model()
        arguments = transformers.TrainingArguments(
            output_dir="hf", max_steps=12, per_device_train_batch_size=4, report_to=[], save_strategy="no",
            use_cpu=True, disable_tqdm=True, learning_rate=0.01,
        )  # fmt: skip
        examples = [{"pixel_values": x, "labels": y} for x, y in data(40)]
        transformers.Trainer(model, arguments, train_dataset=examples, callbacks=callbacks).train()
        return model.state_dict()

    logged = trained([MapCallback(frames=PROBE, layers="convs", every=4)])
    alone = trained([])
    assert all(torch.equal(logged[name], alone[name]) for name in alone)
    assert list(open_timeline("timeline")) == [4, 8, 12]


@pytest.mark.filterwarnings("ignore")
def test_ultralytics_logs_its_batches() -> None:
    ultralytics = pytest.importorskip("ultralytics", reason="needs ultralytics, which needs torchvision")
    from layerscope.training.ultralytics import add_map_logger

    model = ultralytics.YOLO("yolo11n-cls.yaml")
    add_map_logger(model, frames=torch.rand(1, 3, 32, 32), layers=["model.0", "model.2"], every=2)
    for split in ("train", "val"):
        for label in ("a", "b"):
            folder = Path("set", split, label)
            folder.mkdir(parents=True)
            from PIL import Image

            for index in range(4):
                Image.new("RGB", (32, 32), (index * 60, 10, 200)).save(folder / f"{index}.png")
    model.train(data=str(Path("set").resolve()), epochs=2, imgsz=32, batch=2, workers=0, device="cpu", plots=False)
    assert open_timeline("timeline").layers == ("model.0", "model.2")


def test_weights_and_biases_are_sent_the_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="needs wandb")
    from layerscope.training import MapLogger

    monkeypatch.setenv("WANDB_SILENT", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = wandb.init(mode="offline", project="maps", dir=".", settings=wandb.Settings(console="off"))
        logger = MapLogger(network(), frames=PROBE, layers="convs", out=None, wandb=run)
        assert logger.step()
        run.log({"loss": 0.5})
        run.finish()
    assert len(list(Path("wandb").rglob("*.png"))) == 1


def test_a_missing_part_names_the_way_to_install_it() -> None:
    with pytest.raises(MissingExtraError, match=r'no_such_part is not installed.*pip install "layerscope\[video\]"'):
        require("no_such_part.inner", "video")
