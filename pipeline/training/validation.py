"""Labelled images, and how well a network classifies them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.data.images import batches
from pipeline.models.localizer import Localizer, device
from pipeline.models.precision import at_least_float32, autocast
from pipeline.params import TrainParams
from pipeline.training.distributed import rank, sum_over_processes, world_size
from pipeline.training.objective import correct, loss_sum


@dataclass(frozen=True)
class LabelledImages:
    """Images of one split: paths, labels ``(n,)`` or ``(n, C)``, and whether their orientation tags are followed."""

    paths: list[Path]
    labels: NDArray[np.int64]
    upright: bool = False


@torch.inference_mode()
def validate(network: Localizer, images: LabelledImages, settings: TrainParams) -> dict[str, float]:
    """``val_loss`` without its regularizer, in nats, and ``val_accuracy`` in percent; each process takes its share."""
    network.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=device())
    for batch, labels in _shares(images, settings):
        with autocast(settings.precision):
            logits = at_least_float32(network(batch)[0])
        sums += torch.stack([loss_sum(logits, labels).double(), correct(logits, labels).sum().double()])
    loss, right = sum_over_processes(sums).tolist()
    return {"val_loss": loss / len(images.paths), "val_accuracy": 100 * right / len(images.paths)}


def _shares(images: LabelledImages, settings: TrainParams) -> Iterator[tuple[Tensor, Tensor]]:
    positions = np.arange(rank(), len(images.paths), world_size())
    size = settings.batch_size
    groups = [positions[start : start + size] for start in range(0, len(positions), size)]
    for group, batch in zip(groups, batches(images.paths, groups, settings.crop, upright=images.upright), strict=True):
        yield torch.from_numpy(batch).to(device()), torch.from_numpy(images.labels[group]).to(device())
