"""Choose the threshold on val and draw the boxes: the product of the pipeline.

Reads cams, data/prepared, localize.* and evaluate.interval; writes boxes/: threshold.json, predictions.parquet (image,
predicted class, score, box in original pixels), and {val,gate,test}/NNNNN.npz with the true class's largest box at
every integer level (n, 256, 4) int16 and the grey value that thresholds are a fraction of (n,).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import console
from pipeline.data.manifest import Dataset, ImageRow, in_manifest_order, read_dataset
from pipeline.evaluation.boxes import grey_map, largest_box, largest_boxes
from pipeline.evaluation.geometry import iou, standard_value, threshold_level, to_image, to_protocol
from pipeline.evaluation.metrics import ThresholdCurve, probabilities
from pipeline.evaluation.score_maps import FRAME
from pipeline.files import (
    BOXES,
    CAMS,
    PREPARED,
    SHARD_SIZE,
    read_shards,
    replacing_folder,
    write_json,
    write_parquet,
    write_shard,
)
from pipeline.params import LocalizeParams, Params
from pipeline.records import Inputs, write_record
from pipeline.schemas import CAM_SHARD, origin

#: IoU criterion by which the threshold is chosen.
DELTA = 0.5
#: By standard, the threshold where no image of val has boxes: that of CAM (Zhou et al., CVPR 2016, section 3.1), and
#: that of the 90th percentile (Bae et al., ECCV 2020).
WITHOUT_BOXES = {"max": 0.2, "percentile": 0.35}


def run(params: Params) -> dict[str, Any]:
    """Draw the boxes; returns the threshold and where it came from."""
    inputs, settings = Inputs(PREPARED, CAMS), params.localize
    dataset = read_dataset(read=inputs.read)
    percentile = 100.0 if settings.standard == "max" else settings.percentile
    with replacing_folder(BOXES) as folder:
        for split in dataset.evaluated:
            _write_level_boxes(folder / split, split, percentile, dataset, inputs)
        chosen = _chosen(folder / "val", dataset, settings, params.evaluate.interval)
        write_json(folder / "threshold.json", chosen)
        tau = chosen["threshold"]
        predictions = [
            row for split in dataset.evaluated for row in _predictions(folder, split, dataset, tau, percentile, inputs)
        ]
        write_parquet(folder / "predictions.parquet", pd.DataFrame(predictions))
        write_record(folder, BOXES, inputs, params)
    console.say(f"threshold {tau:.3f}, {origin(chosen)}; {len(predictions)} boxes")
    return chosen


def _write_level_boxes(folder: Path, split: str, percentile: float, dataset: Dataset, inputs: Inputs) -> None:
    """The true class's boxes at every level, shard by shard as the maps come."""
    folder.mkdir()
    shards = in_manifest_order(dataset, split, inputs.shards(CAMS / split, CAM_SHARD))
    total = -(-len(dataset.split(split)) // SHARD_SIZE)
    for number, cams in enumerate(console.progress(shards, total, f"boxes of {split}", "shards")):
        grey = [grey_map(maps[0]) for maps in cams["maps"]]
        boxes = np.stack([largest_boxes(image) for image in grey])
        standards = np.array([standard_value(image, percentile) for image in grey])
        write_shard(folder, number, {"image_ids": cams["image_ids"], "boxes": boxes, "standards": standards})


def _chosen(folder: Path, dataset: Dataset, settings: LocalizeParams, interval: float) -> dict[str, Any]:
    """The threshold and where it is from, as ``threshold.json`` has it."""
    if settings.threshold != "auto":
        return {"threshold": float(settings.threshold), "threshold_source": "fixed", "threshold_images": 0}
    images = {image_id: image for image_id, image in dataset.images("val").items() if len(image.boxes)}
    if not images:
        return {"threshold": WITHOUT_BOXES[settings.standard], "threshold_source": "paper", "threshold_images": 0}
    tau = _best_threshold(folder, images, interval)
    return {"threshold": tau, "threshold_source": "val", "threshold_images": len(images)}


def _best_threshold(folder: Path, images: Mapping[str, ImageRow], interval: float) -> float:
    """First threshold with the best GT-known localization at IoU 0.5 on the images of val that have boxes."""
    curve = ThresholdCurve(interval, (DELTA,))
    for shard in read_shards(folder):
        for image_id, boxes, standard in zip(shard["image_ids"], shard["boxes"], shard["standards"], strict=True):
            if (image := images.get(str(image_id))) is None:
                continue
            truth = to_protocol(image.boxes, image.width, image.height, FRAME)
            curve.add(iou(boxes, truth).max(axis=1), standard)
    return float(curve.best_thresholds()[0])


def _predictions(
    folder: Path, split: str, dataset: Dataset, tau: float, percentile: float, inputs: Inputs
) -> Iterator[dict[str, Any]]:
    """One row per image: predicted class, its probability, and the box of its map in original pixels."""
    images = dataset.images(split)
    for cams, levels in zip(inputs.shards(CAMS / split, CAM_SHARD), read_shards(folder / split), strict=True):
        for i, image_id in enumerate(cams["image_ids"]):
            true, predicted = cams["classes"][i]
            if true == predicted:
                box = levels["boxes"][i, threshold_level(tau, levels["standards"][i])]
            else:
                grey = grey_map(cams["maps"][i, 1])
                box = np.array(largest_box(grey, threshold_level(tau, standard_value(grey, percentile))))
            image = images[str(image_id)]
            yield {
                "image_id": str(image_id),
                "split": split,
                "predicted": dataset.classes[predicted],
                "score": float(probabilities(cams["logits"][i])[predicted]),
                "box": to_image(box[None], image.width, image.height, FRAME)[0].tolist(),
            }
