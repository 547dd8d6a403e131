"""Choose the threshold on val and draw the boxes: the product of the pipeline.

Reads cams, data/prepared, localize.* and evaluate.interval; writes boxes/: threshold.json, predictions.parquet (image,
predicted class, score, box in original pixels), and {val,gate,test}/NNNNN.npz with the true class's largest box at
every integer level (n, 256, 4) int16 and the grey value that thresholds are a fraction of (n,). Where images may have
several labels, there is a row and a box for each predicted class, boxes of all maps (m, 256, 4), and
masks/{val,gate,test}/IMAGE.png with the predicted class of each pixel. With localize.refine the shards hold the maps
that boxes were drawn on besides, float16, in the protocol's frame.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline import console
from pipeline.data.manifest import Dataset, ImageRow, in_manifest_order, read_dataset
from pipeline.data.refined import drawn_on, frames, refined
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
from pipeline.schemas import CAM_SHARD, CLASS_CAM_SHARD, origin
from pipeline.several.maps import ClassMaps, Shard, class_maps
from pipeline.several.regions import best_mask_threshold, class_predictions, write_mask

#: IoU criterion by which the threshold is chosen.
DELTA = 0.5
#: By standard, the threshold where no image of val has boxes: that of CAM (Zhou et al., CVPR 2016, section 3.1), and
#: that of the 90th percentile (Bae et al., ECCV 2020).
WITHOUT_BOXES = {"max": 0.2, "percentile": 0.35}


def run(params: Params) -> dict[str, Any]:
    """Draw the boxes; returns the threshold and where it came from."""
    inputs, settings = Inputs(PREPARED, CAMS), params.localize
    dataset = read_dataset(read=inputs.read)
    with replacing_folder(BOXES) as folder:
        for split in dataset.evaluated:
            _write_level_boxes(folder / split, split, settings, dataset, inputs)
        chosen = _chosen(folder, dataset, settings, params.evaluate.interval, inputs)
        write_json(folder / "threshold.json", chosen)
        rows: list[dict[str, Any]] = []
        for split in dataset.evaluated:
            if dataset.several_labels:
                rows += _of_classes(folder, split, dataset, chosen, inputs)
            else:
                rows += _predictions(folder, split, dataset, chosen["threshold"], settings, inputs)
        write_parquet(folder / "predictions.parquet", pd.DataFrame(rows))
        write_record(folder, BOXES, inputs, params)
    console.say(f"threshold {chosen['threshold']:.3f}, {origin(chosen)}; {len(rows)} boxes")
    return chosen


def _cams(dataset: Dataset, split: str, inputs: Inputs) -> Iterator[Shard]:
    return inputs.shards(CAMS / split, CLASS_CAM_SHARD if dataset.several_labels else CAM_SHARD)


def _write_level_boxes(
    folder: Path, split: str, settings: LocalizeParams, dataset: Dataset, inputs: Inputs
) -> None:  # fmt: skip
    """The true class's boxes at every level, or those of all maps, shard by shard as the maps come."""
    folder.mkdir()
    shards = _maps(in_manifest_order(dataset, split, _cams(dataset, split, inputs)), split, settings, dataset)
    total = -(-len(dataset.split(split)) // SHARD_SIZE)
    for number, cams in enumerate(console.progress(shards, total, f"boxes of {split}", "shards")):
        several = dataset.several_labels
        grey = [grey_map(score_map) for score_map in (cams["maps"] if several else cams["maps"][:, 0])]
        boxes = np.stack([largest_boxes(image) for image in grey])
        standards = np.array([standard_value(image, settings.standard_percentile) for image in grey])
        names = (
            "image_ids",
            *(("counts", "classes") if several else ()),
            *(("maps",) if settings.refine == "crf" else ()),
        )
        kept = {name: cams[name] for name in names}
        write_shard(folder, number, {**kept, "boxes": boxes, "standards": standards})


def _maps(shards: Iterator[Shard], split: str, settings: LocalizeParams, dataset: Dataset) -> Iterator[Shard]:
    """The shards with the maps that boxes are drawn on."""
    if settings.refine == "none":
        yield from shards
        return
    images = frames(dataset.paths(split), SHARD_SIZE, upright=dataset.upright)
    for cams, pixels in zip(shards, images, strict=True):
        maps, each = cams["maps"], np.arange(len(pixels))
        if dataset.several_labels:
            yield cams | {"maps": refined(maps, np.repeat(each, cams["counts"]), pixels)}
            continue
        first, second = refined(maps[:, 0], each, pixels), cams["classes"][:, 0] != cams["classes"][:, 1]
        both = np.stack([first, first], axis=1)
        both[second, 1] = refined(maps[second, 1], each[second], pixels)
        yield cams | {"maps": both}


def _chosen(
    folder: Path, dataset: Dataset, settings: LocalizeParams, interval: float, inputs: Inputs
) -> dict[str, Any]:
    """The threshold and where it is from, as ``threshold.json`` has it."""
    images = dataset.images("val")
    boxed = sum(len(image.boxes) > 0 for image in images.values())
    if settings.threshold != "auto":
        tau, source, count = float(settings.threshold), "fixed", 0
    elif not boxed:
        tau, source, count = WITHOUT_BOXES[settings.standard], "paper", 0
    else:
        tau, source, count = _best_threshold(folder / "val", images, interval), "val", boxed
    chosen: dict[str, Any] = {"threshold": tau, "threshold_source": source, "threshold_images": count}
    if not dataset.several_labels:
        return chosen
    found = (
        None if source == "fixed" else best_mask_threshold(dataset, images, _class_maps(folder, "val", dataset, inputs))
    )
    return chosen | {"mask_threshold": tau if found is None else found}


def _best_threshold(folder: Path, images: Mapping[str, ImageRow], interval: float) -> float:
    """First threshold with the best GT-known localization at IoU 0.5 on the images of val that have boxes."""
    curve = ThresholdCurve(interval, (DELTA,))
    for shard in read_shards(folder):
        for image, true_boxes, boxes, standard in zip(
            *_owners(shard, images), shard["boxes"], shard["standards"], strict=True
        ):
            if len(true_boxes):
                truth = to_protocol(true_boxes, image.width, image.height, FRAME)
                curve.add(iou(boxes, truth).max(axis=1), standard)
    return float(curve.best_thresholds()[0])


def _owners(
    shard: Shard, images: Mapping[str, ImageRow]
) -> tuple[list[ImageRow], list[NDArray[np.float64]]]:  # fmt: skip
    """The image of each map whose boxes a shard holds, and the true boxes that they are for."""
    rows = [images[str(image_id)] for image_id in shard["image_ids"]]
    if "counts" not in shard:
        return rows, [row.boxes for row in rows]
    rows = [row for row, count in zip(rows, shard["counts"], strict=True) for _ in range(count)]
    return rows, [row.boxes_of(label) for row, label in zip(rows, shard["classes"], strict=True)]


def _class_maps(folder: Path, split: str, dataset: Dataset, inputs: Inputs) -> Iterator[ClassMaps]:
    for cams, levels in zip(_cams(dataset, split, inputs), read_shards(folder / split), strict=True):
        yield from class_maps(cams, levels)


def _of_classes(
    folder: Path, split: str, dataset: Dataset, chosen: Mapping[str, Any], inputs: Inputs
) -> Iterator[dict[str, Any]]:
    """One row per image and predicted class; writes the image's mask besides."""
    images = dataset.images(split)
    for found in _class_maps(folder, split, dataset, inputs):
        image = images[found.image_id]
        write_mask(folder / "masks" / split, dataset, image, found, chosen["mask_threshold"])
        for row in class_predictions(dataset, image, found, chosen["threshold"]):
            yield {"split": split} | row


def _predictions(
    folder: Path, split: str, dataset: Dataset, tau: float, settings: LocalizeParams, inputs: Inputs
) -> Iterator[dict[str, Any]]:
    """One row per image: predicted class, its probability, and the box of its map in original pixels."""
    images = dataset.images(split)
    for cams, levels in zip(_cams(dataset, split, inputs), read_shards(folder / split), strict=True):
        for i, image_id in enumerate(cams["image_ids"]):
            true, predicted = cams["classes"][i]
            if true == predicted:
                box = levels["boxes"][i, threshold_level(tau, levels["standards"][i])]
            else:
                grey = grey_map(drawn_on(cams, levels)[i, 1])
                level = threshold_level(tau, standard_value(grey, settings.standard_percentile))
                box = np.array(largest_box(grey, level))
            image = images[str(image_id)]
            yield {
                "image_id": str(image_id),
                "split": split,
                "predicted": dataset.classes[predicted],
                "score": float(probabilities(cams["logits"][i])[predicted]),
                "box": to_image(box[None], image.width, image.height, FRAME)[0].tolist(),
            }
