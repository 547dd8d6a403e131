"""Train the classifier from image labels alone; a killed training goes on from its last checkpoint.

Reads data/prepared, the images, train.* and seed; writes models/ (model.pt, history.csv, training.json). Metrics are
streamed to MLflow while it trains; where no server answers, training goes on without.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pipeline import console
from pipeline.errors import DataError
from pipeline.files import MODELS, write_csv, write_json
from pipeline.manifest import Dataset, read_dataset
from pipeline.models.backbones import load_pretrained
from pipeline.models.localizer import Localizer, build_localizer, device, save_localizer
from pipeline.params import Params
from pipeline.tracking import live_run
from pipeline.training.loop import LabelledImages, Trainer
from pipeline.training.resume import Checkpoint, train_key

#: Columns of history.csv, one row per epoch.
COLUMNS = ("epoch", "lr", "loss", "cross_entropy", "regularizer", "entropy", "accuracy", "val_loss", "val_accuracy",
           "images_per_s", "seconds")  # fmt: skip


def run(params: Params) -> dict[str, Any]:
    """Train and write the model; returns the last epoch's figures."""
    dataset, settings = read_dataset(), params.train
    key = train_key(params)
    architecture = {"backbone": settings.backbone, "head": settings.head, "classes": len(dataset.classes)}
    network = _initial_network(architecture, params)
    console.say(f"{settings.backbone} on {_device_name()}, λ = {settings.lambda_:g} ({settings.regularizer})")
    checkpoint = Checkpoint(key)
    with live_run(params.track.experiment, key) as live:
        trainer = Trainer(network, settings, params.seed, checkpoint, lambda row: live.log(row, int(row["epoch"])))
        history = trainer.fit(_images(dataset, "train"), _images(dataset, "val"))
    save_localizer(MODELS / "model.pt", network, architecture)
    write_csv(MODELS / "history.csv", pd.DataFrame(history)[list(COLUMNS)])
    facts = {
        "train_key": key,
        "device": _device_name(),
        "seconds": sum(row["seconds"] for row in history),
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    write_json(MODELS / "training.json", facts)
    checkpoint.remove()
    return {"epochs": len(history), "val_accuracy": round(history[-1]["val_accuracy"], 2)}


def _initial_network(architecture: dict[str, Any], params: Params) -> Localizer:
    torch.manual_seed(params.seed)
    network = build_localizer(architecture)
    load_pretrained(network.backbone, architecture["backbone"], params.train.pretrained)
    return network


def _images(dataset: Dataset, split: str) -> LabelledImages:
    rows = dataset.split(split)
    if rows.empty:
        raise DataError(f"split {split} has no image; run prepare with another prepare.val_fraction or data set.")
    labels = np.array([labels[0] for labels in rows["labels"]], np.int64)
    return LabelledImages([dataset.root / Path(path) for path in rows["path"]], labels)


def _device_name() -> str:
    return torch.cuda.get_device_name() if device().type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
