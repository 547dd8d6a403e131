"""A small finished run to test the last stages on: drawn images and maps, boxes and scores by the real stages."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import yaml

from pipeline.data.manifest import Dataset, labels_only, write_dataset
from pipeline.files import BOXES, CAMS, LABELLED, METRICS, MODELS, PREPARED, REPORT, file_hash, write_csv, write_shard
from pipeline.params import load_params
from pipeline.records import Inputs, write_record, write_sealed
from pipeline.stages import evaluate, localize

REPOSITORY = Path(__file__).parents[1]
CLASSES = ("kite", "Heermann's gull", '<crow> & "co"')
#: Images per split.
SIZES = {"train": 3, "val": 6, "test": 9, "gate": 6}
EPOCHS = 3
WIDTH, HEIGHT = 64, 48


def write_params(folder: Path, **values: Any) -> None:
    """The committed params.yaml with some dotted keys set, ``__`` for the dots."""
    tree = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    for key, value in values.items():
        *groups, name = key.split("__")
        group = tree
        for part in groups:
            group = group[part]
        group[name] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(tree))


def write_run(folder: Path, *, boxes: bool = True, masks: bool = True, seed: int = 0) -> None:
    """Everything up to ``cams/``, relative to the current folder, which must be ``folder``."""
    rng = np.random.default_rng(seed)
    rows = [_row(folder, split, i, rng, boxes, masks) for split, size in SIZES.items() for i in range(size)]
    write_prepared(Dataset(pd.DataFrame(rows), CLASSES, folder / "images", "c0ffee"))
    for split in ("val", "test", "gate"):
        _write_cams(folder, split, [row for row in rows if row["split"] == split], rng)
    write_training(folder)


def write_prepared(dataset: Dataset) -> None:
    """What ``prepare`` leaves in the current folder."""
    for home, written in ((LABELLED, labels_only(dataset, "beef")), (PREPARED, dataset)):
        home.mkdir(parents=True, exist_ok=True)
        write_dataset(written, home)
        inputs = Inputs(LABELLED) if home == PREPARED else None
        write_record(home, home, inputs, load_params(), only=("manifest.parquet", "dataset.json"))


def write_training(folder: Path, *, train_key: str = "a" * 32, model: bytes = b"weights") -> None:
    """``models/`` as train leaves it, and the record of the maps, which look the same for every model."""
    shutil.rmtree(folder / MODELS, ignore_errors=True)
    (folder / MODELS).mkdir()
    (folder / MODELS / "model.pt").write_bytes(model)
    record = write_record(folder / MODELS, MODELS, Inputs(LABELLED), load_params(), only=("model.pt",))
    history = [history_row(epoch) for epoch in range(1, EPOCHS + 1)]
    write_csv(folder / MODELS / "history.csv", pd.DataFrame(history))
    facts = {"train_key": train_key, "seconds": 12.5, "device": "CPU, 2 threads", "parameters": 1234,
             "selected_epoch": EPOCHS, "weights": {}}  # fmt: skip
    seals = {"history": file_hash(folder / MODELS / "history.csv"), "model": record.identity}
    write_sealed(folder / MODELS / "training.json", facts | seals)
    (folder / CAMS / "record.json").unlink(missing_ok=True)
    write_record(folder / CAMS, CAMS, Inputs(LABELLED, MODELS), load_params())


def history_row(epoch: int) -> dict[str, float]:
    """A row of history.csv."""
    names = ("lr", "loss", "cross_entropy", "regularizer", "entropy", "accuracy", "val_loss", "val_accuracy",
             "images_per_s", "seconds")  # fmt: skip
    return {"epoch": epoch} | {name: round(1 / (epoch + i), 4) for i, name in enumerate(names)}


def write_result() -> None:
    """``boxes/`` and ``metrics/`` of the run in the current folder, by its params.yaml."""
    params = load_params()
    localize.run(params)
    evaluate.run(params)


def write_scores_record() -> None:
    """The record of ``metrics/`` and the page, after a test has changed the scores."""
    names = ("metrics.json", "per_image.parquet", "reliability.json", "threshold_curve.csv")
    write_record(METRICS, METRICS, Inputs(PREPARED, CAMS, BOXES), load_params(), only=names)
    write_page()


def write_page(text: str = "<p>report</p>") -> None:
    """``report/`` of the result in the current folder."""
    REPORT.mkdir(exist_ok=True)
    (REPORT / "index.html").write_text(text)
    inputs = Inputs(PREPARED, MODELS, CAMS, BOXES, METRICS)
    write_record(REPORT, REPORT, inputs, load_params(), only=("index.html",))


def write_lock(folder: Path) -> None:
    """A dvc.lock that describes the files in the folder, as DVC writes it."""
    outs = {
        "prepare": ["data/prepared"],
        "train": ["models/model.pt", "models/record.json", "models/training.json", "models/history.csv"],
        "evaluate": [
            "metrics/per_image.parquet",
            "metrics/metrics.json",
            "metrics/threshold_curve.csv",
            "metrics/record.json",
            "metrics/reliability.json",
        ],
    }
    stages = {
        name: {"cmd": f"python -m pipeline {name}", "outs": [_out(folder, path) for path in paths]}
        for name, paths in outs.items()
    }
    (folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def _out(folder: Path, path: str) -> dict[str, str]:
    target = folder / path
    content = target.read_bytes() if target.is_file() else json.dumps(sorted(p.name for p in target.iterdir())).encode()
    return {"path": path, "hash": "md5", "md5": hashlib.md5(content).hexdigest()}


def _row(folder: Path, split: str, i: int, rng: Any, boxes: bool, masks: bool) -> dict[str, Any]:
    x, y = int(rng.integers(2, 30)), int(rng.integers(2, 20))
    box = [x, y, x + 24, y + 20]
    name = f"{split}_{i:02d}"
    image = rng.integers(60, 110, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    mask, part = np.zeros((HEIGHT, WIDTH), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y : y + 20, x : x + 24], part[y : y + 8, x : x + 8] = 255, 255
    image[mask > 0] += 90
    files = {f"{name}.jpg": image, f"{name}_mask.png": mask, f"{name}_part.png": part}
    (folder / "images").mkdir(exist_ok=True)
    for file, pixels in files.items():
        cv2.imwrite(str(folder / "images" / file), pixels)
    return {
        "image_id": name,
        "path": f"{name}.jpg",
        "split": split,
        "labels": [i % len(CLASSES)],
        "width": WIDTH,
        "height": HEIGHT,
        "boxes": [box] if boxes else [],
        "masks": [f"{name}_mask.png"] if masks else [],
        "ignore_mask": None,
        "part_mask": f"{name}_part.png" if masks else None,
    }


def _write_cams(folder: Path, split: str, rows: list[dict[str, Any]], rng: Any) -> None:
    """Maps (7, 7) that peak near the middle of the frame; every third image is taken for another class."""
    (folder / CAMS / split).mkdir(parents=True)
    labels = np.array([row["labels"][0] for row in rows])
    predicted = np.where(np.arange(len(rows)) % 3 == 2, (labels + 1) % len(CLASSES), labels)
    centres = rng.uniform(2, 4, (len(rows), 2, 2, 1, 1))
    ys, xs = np.mgrid[:7, :7]
    maps = np.exp(-((ys - centres[:, :, 0]) ** 2 + (xs - centres[:, :, 1]) ** 2) / 4).astype(np.float32)
    write_shard(
        folder / CAMS / split,
        0,
        {
            "image_ids": np.array([row["image_id"] for row in rows]),
            "classes": np.stack([labels, predicted], axis=1),
            "maps": maps,
            "logits": np.eye(len(CLASSES), dtype=np.float32)[predicted] * 3,
        },
    )
