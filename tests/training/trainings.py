"""Trainings of seconds: a small backbone, ten images of two plain colours."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from pipeline.models.heads import build_head
from pipeline.models.localizer import Localizer
from pipeline.params import TrainParams, load_params
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.trainer import Trainer
from pipeline.training.validation import LabelledImages

ROOT = Path(__file__).parents[2]
SMALL = {"resize": 36, "crop": 32, "epochs": 3, "batch_size": 4, "acol_width": 6, "head": "gap", "lambda": 1e-4}


def settings(**changes: Any) -> TrainParams:
    """The committed parameters, made small."""
    committed = load_params(ROOT / "params.yaml").train.model_dump(by_alias=True)
    return TrainParams.model_validate(committed | SMALL | changes)


def small_backbone(norm: bool = True) -> nn.Sequential:
    """Two strided convolutions: 8 channels, 1/4 of the input; the site ``1`` takes attention dropout."""
    norms = [nn.BatchNorm2d(8) if norm else nn.Identity() for _ in range(2)]
    first, second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
    return nn.Sequential(first, norms[0], nn.ReLU(), second, norms[1], nn.ReLU())


def small_network(chosen: TrainParams, norm: bool = True, classes: int = 2) -> Localizer:
    """The small backbone with the head that the settings name."""
    architecture = chosen.model_dump() | {"classes": classes}
    return Localizer(small_backbone(norm), build_head(architecture, channels=8))


def small_trainer(key: str = "k", seed: int = 0, norm: bool = True, **changes: Any) -> Trainer:
    """A training of the small network; its history goes nowhere."""
    chosen = settings(**changes)
    torch.manual_seed(seed)
    return Trainer(small_network(chosen, norm), chosen, seed, Checkpoint(key), lambda row: None)


def two_colours(folder: Path, count: int = 10) -> LabelledImages:
    """Images of noise, every other one reddish."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(count)]
    for i, path in enumerate(paths):
        noise = np.random.default_rng(i).integers(0, 60, (40, 40, 3))
        noise[..., i % 2] += 150
        cv2.imwrite(str(path), noise.astype(np.uint8))
    return LabelledImages(paths, np.arange(count) % 2)
