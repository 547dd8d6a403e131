"""Measures the training loop against a bare loop on the same tensors, and the input pipeline alone.

Prints a table and writes JSON.
    python -m benchmarks.bench_training [--backbone resnet18] [--size 96] [--batch 32] [--steps 30] [--repeat 5]

The bare loop is forward, cross-entropy, backward, step, on random images that lie in memory; it stands for the speed
of the network itself. The trainer gets the same images as batches decoded beforehand, and does all it does in a real
training: augmentation, loss terms, schedule, sums, looks. Both take turns. On a GPU choose the precision and the
backbone, for example ``--backbone resnet50 --size 224 --precision bfloat16``.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import console, files
from pipeline.data import images as loading
from pipeline.models.localizer import Localizer, build_localizer, device
from pipeline.models.precision import autocast, loss_scaler
from pipeline.params import TrainParams, load_params
from pipeline.training import trainer as loop
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.optim import build_optimizer
from pipeline.training.trainer import Trainer
from pipeline.training.validation import LabelledImages

ROOT = Path(__file__).resolve().parents[1]
CLASSES = 20
Images = list[NDArray[np.uint8]]


class NoCheckpoint(Checkpoint):
    """Neither loads nor saves: disks are not what is measured."""

    def __init__(self) -> None:
        super().__init__("benchmark")

    def load(self) -> None:
        """Nothing to go on from."""

    def save(self, state: dict[str, Any]) -> None:
        """Nothing to go on to."""


def settings_of(options: argparse.Namespace) -> TrainParams:
    """The committed parameters with the command's."""
    changes = {"backbone": options.backbone, "resize": options.size, "crop": options.size, "epochs": 1,
               "batch_size": options.batch, "precision": options.precision}  # fmt: skip
    return TrainParams.model_validate(load_params(ROOT / "params.yaml").train.model_dump(by_alias=True) | changes)


def network_of(settings: TrainParams) -> Localizer:
    """Untrained, on the device, in the layout asked for."""
    torch.manual_seed(0)
    network = build_localizer(settings.model_dump() | {"classes": CLASSES})
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    return network.to(device(), memory_format=layout)  # type: ignore[call-overload,no-any-return]


def bare(settings: TrainParams, images: Images) -> Callable[[], None]:
    """Forward, backward, step on tensors that are on the device already."""
    network = network_of(settings).train()
    optimizer, scaler = build_optimizer(network, settings), loss_scaler(settings.precision)
    tensors = [torch.from_numpy(batch).to(device()) for batch in images]
    labels = torch.arange(settings.batch_size, device=device()) % CLASSES

    def work() -> None:
        for batch in tensors:
            with autocast(settings.precision):
                logits = network(batch)[0].float()
            optimizer.zero_grad()
            scaler.scale(torch.nn.functional.cross_entropy(logits, labels)).backward()
            scaler.step(optimizer)
            scaler.update()

    return work


def trained(settings: TrainParams, images: Images) -> Callable[[], None]:
    """An epoch of the trainer, whose images are decoded beforehand."""
    trainer = Trainer(network_of(settings), settings, 0, NoCheckpoint(), lambda row: None)
    count = len(images) * settings.batch_size
    split = LabelledImages([Path()] * count, np.arange(count) % CLASSES)
    trainer.guessing = math.log(CLASSES)
    loop.batches = lambda *_: iter(images)  # type: ignore[assignment]

    def work() -> None:
        trainer.step = trainer.looked = 0
        trainer._train_epoch(split)

    return work


def images_per_second(work: Callable[[], None], count: int) -> float:
    """Of one call."""
    if device().type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device().type == "cuda":
        torch.cuda.synchronize()
    return count / (time.perf_counter() - start)


def loop_ratio(settings: TrainParams, steps: int, repeat: int) -> dict[str, float]:
    """Images per second of both, and their ratio; they take turns."""
    shape = (settings.batch_size, 3, settings.resize, settings.resize)
    images = list(np.random.default_rng(0).integers(0, 256, (steps, *shape), dtype=np.uint8))
    ways = bare(settings, images), trained(settings, images)
    count = steps * settings.batch_size
    for work in ways:
        work()
    pairs = [tuple(images_per_second(work, count) for work in ways) for _ in range(repeat)]
    return {
        "bare_images_per_s": statistics.median(b for b, _ in pairs),
        "trainer_images_per_s": statistics.median(t for _, t in pairs),
        "ratio": statistics.median(t / b for b, t in pairs),
    }


def input_speed(size: int, repeat: int) -> float:
    """Images per second that are read, decoded and squashed by one thread: JPEG files of 320×240 pixels."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{k}.jpg" for k in range(64)]
        for k, path in enumerate(paths):
            noise = np.random.default_rng(k).integers(0, 256, (30, 40, 3), dtype=np.uint8)
            cv2.imwrite(str(path), cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC))
        cv2.setNumThreads(1)

        def work() -> None:
            for path in paths:
                loading.read_squashed(path, size, upright=False)

        work()
        return statistics.median(images_per_second(work, len(paths)) for _ in range(repeat))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "out" / "training.json")
    options = parser.parse_args()
    if device().type == "cpu":
        torch.set_num_threads(1)
    row = loop_ratio(settings_of(options), options.steps, options.repeat)
    row["input_images_per_s_and_core"] = input_speed(options.size, options.repeat)
    row["input_ratio"] = row["input_images_per_s_and_core"] / row["bare_images_per_s"]
    where = torch.cuda.get_device_name() if device().type == "cuda" else "CPU, one thread"
    title = f"{options.backbone}, {options.size} pixels, batches of {options.batch}, {options.precision}, {where}"
    console.table(title, ("what", "value"), [(name, f"{value:.3g}") for name, value in row.items()])
    files.write_json(options.out, {"title": title, "repetitions": options.repeat} | row)


if __name__ == "__main__":
    main()
