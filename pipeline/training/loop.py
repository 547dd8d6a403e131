"""The training loop.

Order of images and augmentation are functions of ``(seed, epoch, step)`` and the learning rate one of the step, so a
training that goes on from a checkpoint repeats exactly what an uninterrupted one would have done.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import console
from pipeline.data.loading import batches
from pipeline.errors import WsolError
from pipeline.models.localizer import Localizer, device
from pipeline.params import TrainParams
from pipeline.training.augment import crop_and_flip
from pipeline.training.optim import build_optimizer, schedule_factor, set_learning_rate
from pipeline.training.resume import Checkpoint
from pipeline.wsol.losses import entropy, regularized_cross_entropy

#: Seconds between two checkpoints inside an epoch.
CHECKPOINT_EVERY = 300.0
#: Steps between two looks at whether the loss is finite; each look waits for the GPU.
CHECK_EVERY = 50

_SUMS = ("loss", "cross_entropy", "regularizer", "entropy", "accuracy")


@dataclass(frozen=True)
class LabelledImages:
    """Images of one split: paths, and labels ``(n,)``."""

    paths: list[Path]
    labels: NDArray[np.int64]


class Trainer:
    """One training of a network.

    Args:
        network: trained in place.
        settings: schedule and loss.
        seed: of order and augmentation.
        checkpoint: where to go on from, and where to save.
        on_epoch: called with each epoch's row of the history.
    """

    def __init__(
        self,
        network: Localizer,
        settings: TrainParams,
        seed: int,
        checkpoint: Checkpoint,
        on_epoch: Callable[[dict[str, float]], None],
    ) -> None:
        self.device = device()
        self.network = network.to(self.device)
        self.settings, self.seed, self.checkpoint, self.on_epoch = settings, seed, checkpoint, on_epoch
        if settings.freeze_batch_norm:
            _freeze_batch_norm(network)
        self.optimizer = build_optimizer(
            network, settings.lr, settings.head_lr_factor, settings.momentum, settings.weight_decay
        )
        self.history: list[dict[str, float]] = []
        self.epoch = self.step = 0
        self.seconds = 0.0
        self.sums = torch.zeros(len(_SUMS), dtype=torch.float64, device=self.device)

    def fit(self, train: LabelledImages, val: LabelledImages) -> list[dict[str, float]]:
        """Train to the end, from the checkpoint where there is one; returns a row per epoch.

        Raises:
            WsolError: the loss is not finite any more.
        """
        self._resume()
        while self.epoch < self.settings.epochs:
            self._train_epoch(train)
            row = {"epoch": self.epoch + 1} | self._means(train) | self._validate(val)
            row |= {"lr": self.optimizer.param_groups[0]["lr"], "seconds": self.seconds}
            row["images_per_s"] = self._steps(train) * self._batch_size(train) / self.seconds
            self.history.append(row)
            self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
            self.sums.zero_()
            self._save()
            self.on_epoch(row)
            self._say(row)
        return self.history

    def _train_epoch(self, train: LabelledImages) -> None:
        self.network.train()
        if self.settings.freeze_batch_norm:
            _freeze_batch_norm(self.network)
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(train.paths))
        size, steps = self._batch_size(train), self._steps(train)
        groups = [order[step * size : (step + 1) * size] for step in range(self.step, steps)]
        images = batches(train.paths, groups, self.settings.resize)
        title = f"epoch {self.epoch + 1}/{self.settings.epochs}"
        started = saved = time.monotonic()
        before = self.seconds
        for group, batch in zip(groups, console.progress(images, len(groups), title, "batches"), strict=True):
            self._train_step(torch.from_numpy(batch), torch.from_numpy(train.labels[group]), steps)
            self.seconds = before + time.monotonic() - started
            if time.monotonic() - saved >= CHECKPOINT_EVERY:
                self._save()
                saved = time.monotonic()
        self._check_finite()

    def _train_step(self, images: Tensor, labels: Tensor, steps: int) -> None:
        rng = np.random.default_rng([self.seed, self.epoch, self.step])
        set_learning_rate(self.optimizer, schedule_factor(self.epoch * steps + self.step, self.settings.epochs * steps))
        images, labels = self._to_device(images), self._to_device(labels)
        with self._autocast():
            logits = self.network(crop_and_flip(images, self.settings.crop, rng)).float()
        loss, *terms = regularized_cross_entropy(logits, labels, self.settings.regularizer, self.settings.lambda_)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        with torch.no_grad():
            correct = (logits.argmax(dim=1) == labels).double().mean()
            self.sums += torch.stack([loss, *terms, entropy(logits).mean(), correct]).double()
        self.step += 1
        if self.step % CHECK_EVERY == 0:
            self._check_finite()

    @torch.inference_mode()
    def _validate(self, val: LabelledImages) -> dict[str, float]:
        self.network.eval()
        loss = correct = 0.0
        for group, images in _in_order(val, self.settings.batch_size, self.settings.crop):
            with self._autocast():
                logits = self.network(self._to_device(torch.from_numpy(images))).float()
            labels = self._to_device(torch.from_numpy(val.labels[group]))
            loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            correct += (logits.argmax(dim=1) == labels).sum().item()
        return {"val_loss": loss / len(val.paths), "val_accuracy": 100 * correct / len(val.paths)}

    def _means(self, train: LabelledImages) -> dict[str, float]:
        means = dict(zip(_SUMS, (self.sums / self._steps(train)).tolist(), strict=True))
        return means | {"accuracy": 100 * means["accuracy"]}

    def _check_finite(self) -> None:
        if not torch.isfinite(self.sums[0]):
            raise WsolError(
                f"the loss is not finite any more in epoch {self.epoch + 1}, at or before step {self.step}. "
                "Lower train.lr or train.lambda; nothing was written, and the last checkpoint is kept."
            )

    def _autocast(self) -> torch.autocast:
        """Mixed precision in bfloat16, whose range needs no loss scaling (Micikevicius et al., ICLR 2018)."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16")

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)

    def _batch_size(self, train: LabelledImages) -> int:
        return min(self.settings.batch_size, len(train.paths))

    def _steps(self, train: LabelledImages) -> int:
        """Steps of an epoch; images that do not fill a last batch wait for another epoch's order."""
        return len(train.paths) // self._batch_size(train)

    def _resume(self) -> None:
        state = self.checkpoint.load()
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history, self.epoch, self.step = state["history"], state["epoch"], state["step"]
        self.seconds = state["seconds"]
        self.sums.copy_(state["sums"])
        console.say(f"going on from the checkpoint after epoch {self.epoch}, step {self.step}")

    def _save(self) -> None:
        state: dict[str, Any] = {name: getattr(self, name) for name in ("history", "epoch", "step", "seconds", "sums")}
        state |= {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        self.checkpoint.save(state)

    def _say(self, row: dict[str, float]) -> None:
        left = (self.settings.epochs - self.epoch) * row["seconds"]
        console.say(
            f"epoch {self.epoch}/{self.settings.epochs}: loss {row['loss']:.4f}, accuracy {row['accuracy']:.1f} %, "
            f"val {row['val_accuracy']:.1f} %, {row['images_per_s']:.0f} images/s, {left:.0f} s left"
        )


def _in_order(
    images: LabelledImages, batch_size: int, size: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    positions = np.arange(len(images.paths))
    groups = [positions[start : start + batch_size] for start in range(0, len(positions), batch_size)]
    yield from zip(groups, batches(images.paths, groups, size), strict=True)


def _freeze_batch_norm(network: nn.Module) -> None:
    """Keep pretrained statistics and affine weights: small batches of a small data set would only blur them."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.requires_grad_(False)
