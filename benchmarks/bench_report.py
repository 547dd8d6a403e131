"""Time, size and first paint of the report for many images: ``python -m benchmarks.bench_report [IMAGES] [CLASSES]``.

The result is made up (boxes, maps and scores are drawn at random), the page is not: it is written by the stage as it
runs after any other, in a process of its own, and opened in headless Chromium where there is one.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import chdir
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from pipeline.data.manifest import Dataset, labels_only, write_dataset
from pipeline.evaluation.geometry import iou, to_protocol
from pipeline.evaluation.score_maps import FRAME
from pipeline.files import (
    BOXES,
    CAMS,
    LABELLED,
    METRICS,
    MODELS,
    PREPARED,
    REPORT,
    SHARD_SIZE,
    file_hash,
    write_csv,
    write_json,
    write_parquet,
    write_shard,
)
from pipeline.params import Params, load_params
from pipeline.records import Inputs, write_record, write_sealed

ROOT = Path(__file__).parents[1]
#: Size of an image, side of a map, and how many different image files there are.
WIDTH, HEIGHT, MAP, FILES = 500, 375, 14, 20
#: What `run` starts: the stage, then its peak of memory.
STAGE = """
import resource, sys
from pipeline.params import Params, load_params
from pipeline.stages import report
report.run(load_params())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def make_result(images: int, classes: int) -> None:
    """A finished result in the current folder."""
    rng, params = np.random.default_rng(0), load_params()
    Path("images").mkdir()
    for i in range(FILES):
        noise = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        cv2.imwrite(f"images/{i}.jpg", cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
    rows = pd.concat([_rows("test", images, classes, rng), _rows("val", classes, classes, rng)])
    dataset = Dataset(rows, tuple(f"class {i}" for i in range(classes)), Path("images").absolute(), "c0ffee")
    for home, written in ((LABELLED, labels_only(dataset, "beef")), (PREPARED, dataset)):
        home.mkdir(parents=True)
        write_dataset(written, home)
        write_record(home, home, Inputs(LABELLED) if home == PREPARED else None, params)
    _write_training(params)
    _write_scores(dataset, classes, rng, params)


def _rows(split: str, count: int, classes: int, rng: np.random.Generator) -> pd.DataFrame:
    corners = rng.uniform(0, 0.5, (count, 2)) * (WIDTH, HEIGHT)
    boxes = np.concatenate([corners, corners + rng.uniform(0.1, 0.5, (count, 2)) * (WIDTH, HEIGHT)], axis=1).round()
    return pd.DataFrame(
        {"image_id": [f"{split}/ILSVRC_{i:08d}" for i in range(count)],
         "path": [f"{i % FILES}.jpg" for i in range(count)],
         "split": split, "labels": [[i % classes] for i in range(count)], "width": WIDTH, "height": HEIGHT,
         "boxes": [[box] for box in boxes.tolist()], "masks": [[]] * count, "ignore_mask": None, "part_mask": None}
    )  # fmt: skip


def _write_training(params: Params) -> None:
    MODELS.mkdir()
    (MODELS / "model.pt").write_bytes(b"weights")
    record = write_record(MODELS, MODELS, Inputs(LABELLED), params, only=("model.pt",))
    columns = ("loss", "val_loss", "accuracy", "val_accuracy", "entropy")
    write_csv(MODELS / "history.csv", pd.DataFrame({"epoch": range(1, 91), **dict.fromkeys(columns, 1.0)}))
    facts = {"train_key": "a" * 32, "device": "GPU", "seconds": 3600.0, "parameters": 1, "selected_epoch": 90,
             "weights": {}, "history": file_hash(MODELS / "history.csv"), "model": record.identity}  # fmt: skip
    write_sealed(MODELS / "training.json", facts)


def _write_scores(dataset: Dataset, classes: int, rng: np.random.Generator, params: Params) -> None:
    rows = dataset.split("test")
    count, labels = len(rows), np.array([label for (label,) in rows["labels"]])
    predicted = np.where(rng.random(count) < 0.75, labels, rng.integers(0, classes, count))
    levels, ys = rng.integers(0, FRAME - 1, (count, 2, 2)), np.linspace(0, 1, 256)[:, None]
    (CAMS / "test").mkdir(parents=True)
    (BOXES / "test").mkdir(parents=True)
    drawn = np.zeros((count, 4), np.int64)
    for number, start in enumerate(range(0, count, SHARD_SIZE)):
        part = slice(start, start + SHARD_SIZE)
        ids = rows["image_id"].to_numpy(dtype=str)[part]
        low, high = np.sort(levels[part], axis=1).swapaxes(0, 1)
        middle = (low + high) / 2
        # The box shrinks towards its middle as the threshold rises.
        boxes = np.concatenate([low[:, None] * (1 - ys) + middle[:, None] * ys,
                                high[:, None] * (1 - ys) + middle[:, None] * ys], axis=2).astype(np.int16)  # fmt: skip
        drawn[part] = boxes[:, 51]
        write_shard(BOXES / "test", number, {"image_ids": ids, "boxes": boxes, "standards": np.full(len(ids), 255.0)})
        maps = rng.random((len(ids), 2, MAP, MAP), dtype=np.float32)
        classes_of = np.stack([labels, predicted], axis=1)[part]
        logits = rng.random((len(ids), classes), dtype=np.float32)
        write_shard(CAMS / "test", number, {"image_ids": ids, "classes": classes_of, "maps": maps, "logits": logits})
    write_record(CAMS, CAMS, Inputs(LABELLED, MODELS), params)
    tau = {"threshold": 0.2, "threshold_source": "val", "threshold_images": classes}
    write_json(BOXES / "threshold.json", tau)
    names = np.array(dataset.classes)[predicted]
    common = {"image_id": rows["image_id"], "split": "test"}
    write_parquet(BOXES / "predictions.parquet", pd.DataFrame(
        {**common, "predicted": names, "score": rng.random(count), "box": drawn.astype(float).tolist()}))  # fmt: skip
    write_record(BOXES, BOXES, Inputs(PREPARED, CAMS), params)
    METRICS.mkdir()
    overlaps = np.array([
        iou(box[None], to_protocol(np.array(truth[:1], np.float64), WIDTH, HEIGHT, FRAME))[0, 0]
        for box, truth in zip(drawn, rows["boxes"], strict=True)
    ])  # fmt: skip
    write_parquet(METRICS / "per_image.parquet", pd.DataFrame(
        {**common, "label": labels, "top5": [[label] * 5 for label in labels], "top1_correct": labels == predicted,
         "top5_correct": True, "entropy": rng.random(count), "box": drawn.tolist(), "iou": overlaps,
         "center_gaussian_iou": rng.random(count), "full_image_iou": 0.2}))  # fmt: skip
    hits = {f"gt_known_iou{n}": float(100 * (overlaps >= n / 100).mean()) for n in (30, 50, 70)}
    own = hits | {"images": float(count), "images_with_boxes": float(count), "entropy": 0.5,
                  "cls_top1": float(100 * (labels == predicted).mean()), "max_box_acc_iou50": 60.0}  # fmt: skip
    write_json(METRICS / "metrics.json", tau | {"val": own, "test": own})
    thresholds = np.arange(0, 1, 0.001)
    write_csv(
        METRICS / "threshold_curve.csv",
        pd.DataFrame(
            {"threshold": thresholds}
            | {f"{s}_{n}": v * (1 - thresholds) for n, v in hits.items() for s in ("val", "test")}
        ),
    )
    write_record(METRICS, METRICS, Inputs(PREPARED, CAMS, BOXES), params)


def first_paint(page: Path, profile: Path) -> dict[str, float]:
    """Seconds from navigation to the first paint, and to a gallery that can be used."""
    from tests.browser import browser

    profile.mkdir()
    with browser(profile) as opened:
        start = time.monotonic()
        opened.open(page.as_uri())
        opened.until("document.querySelectorAll('button.tile').length > 0")
        usable = time.monotonic() - start
        paint = opened.evaluate(
            "performance.getEntriesByType('paint').find((e) => e.name === 'first-contentful-paint').startTime"
        )
        assert not opened.errors, opened.errors
    return {"first_paint_s": paint / 1000, "gallery_s": usable}


def run(images: int, classes: int, folder: Path) -> dict[str, float]:
    """The figures of one page."""
    shutil.copy(ROOT / "params.yaml", folder)
    with chdir(folder):
        make_result(images, classes)
        variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", STAGE], env=variables, check=True, stdout=subprocess.PIPE, text=True
        )
        wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        page = (folder / REPORT / "index.html").absolute()
        found = {"images": images, "classes": classes, "wall_s": wall,
                 "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
                 "peak_mib": float(done.stdout.split()[-1]), "page_mb": page.stat().st_size / 1e6}  # fmt: skip
        if any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
            found |= first_paint(page, folder / "profile")
    return found


def main() -> None:
    """Print the figures as JSON."""
    images, classes = (int(value) for value in (*sys.argv[1:], "50000", "1000")[:2])
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({name: round(value, 2) for name, value in run(images, classes, Path(folder)).items()}))


if __name__ == "__main__":
    main()
