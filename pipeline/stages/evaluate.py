"""Score boxes, maps and classification by the field's protocol; it chooses nothing.

Reads boxes, cams, data/prepared, masks, evaluate.*; writes metrics/: metrics.json (accuracies in percent, for val,
gate and test), threshold_curve.csv (GT-known localization at every threshold), per_image.parquet, which has a row
for each class that an image shows, and reliability.json (how often boxes of a score are right; no rows where images
may have several labels).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline import console
from pipeline.data.manifest import Dataset, ImageRow, in_manifest_order, read_dataset
from pipeline.data.mask_files import read_mask, read_masks
from pipeline.data.refined import drawn_on
from pipeline.evaluation.boxes import largest_box, quantize
from pipeline.evaluation.class_scorer import ClassScorer, ScoredLabels
from pipeline.evaluation.geometry import standard_value, threshold_level, to_protocol
from pipeline.evaluation.metrics import probabilities
from pipeline.evaluation.reliability import map_mean
from pipeline.evaluation.score_maps import FRAME, normalize_map, resize_map
from pipeline.evaluation.scorer import ScoredImage, SplitScorer, gaussian_threshold
from pipeline.files import (
    BOXES,
    CAMS,
    METRICS,
    PREPARED,
    read_json,
    replacing_files,
    write_csv,
    write_json,
    write_parquet,
)
from pipeline.params import Params
from pipeline.records import Inputs, write_record
from pipeline.schemas import BOX_SHARD, CAM_SHARD, CLASS_BOX_SHARD, CLASS_CAM_SHARD, Threshold
from pipeline.several.maps import class_maps
from pipeline.several.truth import scored_labels

#: Columns of per_image.parquet; those that do not apply to a data set are null.
COLUMNS = ("image_id", "split", "label", "top5", "top1_correct", "top5_correct", "entropy", "box", "iou",
           "center_gaussian_iou", "full_image_iou", "part_coverage", "object_coverage")  # fmt: skip
#: Where images may have several labels: whether the class of the row is predicted.
OF_SEVERAL = ("found",)


def run(params: Params) -> dict[str, Any]:
    """Score the splits; returns the main accuracies on test."""
    inputs = Inputs(PREPARED, CAMS, BOXES)
    dataset = read_dataset(read=inputs.read)
    chosen = read_json(BOXES / "threshold.json", Threshold, inputs.read).model_dump(exclude_none=True)
    scorers = {split: _scored(dataset, split, chosen, params, inputs) for split in dataset.evaluated}
    metrics = {
        split: scorer.metrics(tau_chosen_here=chosen["threshold_source"] == split) for split, scorer in scorers.items()
    }
    with replacing_files(METRICS) as folder:
        write_json(folder / "metrics.json", chosen | metrics)
        write_csv(folder / "threshold_curve.csv", _curves(scorers))
        columns = (*COLUMNS, *(OF_SEVERAL if dataset.several_labels else ()))
        write_parquet(folder / "per_image.parquet", _per_image(scorers, columns))
        write_json(folder / "reliability.json", _reliability(scorers))
        write_record(folder, METRICS, inputs, params)
    shown = ("gt_known_iou50", "top1_loc_iou50", "cls_top1", "map", "mpxap", "miou")
    return {f"test_{name}": round(metrics["test"][name], 2) for name in shown if name in metrics["test"]}


def _scored(
    dataset: Dataset, split: str, chosen: dict[str, Any], params: Params, inputs: Inputs
) -> SplitScorer | ClassScorer:
    tau, deltas, interval = chosen["threshold"], tuple(params.evaluate.iou), params.evaluate.interval
    protocol = (tau, _gaussian_threshold(dataset, interval, tau), deltas, interval)
    total, title = len(dataset.split(split)), f"scoring {split}"
    if dataset.several_labels:
        by_class = ClassScorer(*protocol, dataset.classes)
        for labelled in console.progress(_several(dataset, split, chosen["mask_threshold"], inputs), total, title):
            by_class.add(labelled)
        return by_class
    scorer = SplitScorer(*protocol)
    for image in console.progress(
        _images(dataset, split, inputs, tau, params.localize.standard_percentile), total, title
    ):
        scorer.add(image)
    return scorer


def _gaussian_threshold(dataset: Dataset, interval: float, tau: float) -> float:
    """The best on val, also where the method's own was given; that one where val cannot tell."""
    truths = [truth for image in dataset.images("val").values() for truth in _truths(image, dataset.several_labels)]
    return gaussian_threshold(truths, interval) if truths else tau


def _truths(image: ImageRow, several: bool) -> Iterator[NDArray[np.int64]]:
    """The true boxes of an image, or of each class that it shows, where there are any."""
    for boxes in [image.boxes_of(label) for label in image.labels] if several else [image.boxes]:
        if len(boxes):
            yield to_protocol(boxes, image.width, image.height, FRAME)


def _images(dataset: Dataset, split: str, inputs: Inputs, tau: float, percentile: float) -> Iterator[ScoredImage]:
    images = dataset.images(split)
    read = (inputs.shards(CAMS / split, CAM_SHARD), inputs.shards(BOXES / split, BOX_SHARD))
    shards = (in_manifest_order(dataset, split, shards) for shards in read)
    for cams, levels in zip(*shards, strict=True):
        maps = drawn_on(cams, levels)
        for i, image_id in enumerate(cams["image_ids"]):
            image, (label, predicted) = images[str(image_id)], cams["classes"][i]
            score_map, predicted_map = (normalize_map(resize_map(values, FRAME)) for values in maps[i])
            grey = quantize(predicted_map)
            box = largest_box(grey, threshold_level(tau, standard_value(grey, percentile)))
            segmented = read_masks(dataset.root, image.masks, dataset.mask_values, FRAME)
            yield ScoredImage(
                image_id=str(image_id),
                label=int(label),
                logits=cams["logits"][i],
                score_map=score_map,
                level_boxes=levels["boxes"][i],
                standard=float(levels["standards"][i]),
                true_boxes=to_protocol(image.boxes, image.width, image.height, FRAME),
                mask=segmented and segmented[0],
                ignored=segmented and segmented[1],
                part=None if image.masks.part is None else read_mask(dataset.root / image.masks.part, FRAME),
                predicted_box=box,
                score=float(probabilities(cams["logits"][i])[predicted]) * map_mean(predicted_map, box),
            )


def _several(dataset: Dataset, split: str, mask_tau: float, inputs: Inputs) -> Iterator[ScoredLabels]:
    images, labels = dataset.images(split), iter(dataset.labels(split))
    read = (inputs.shards(CAMS / split, CLASS_CAM_SHARD), inputs.shards(BOXES / split, CLASS_BOX_SHARD))
    for cams, levels in zip(*(in_manifest_order(dataset, split, shards) for shards in read), strict=True):
        for found in class_maps(cams, levels):
            yield scored_labels(dataset, images[found.image_id], next(labels), found, mask_tau)


def _curves(scorers: Mapping[str, SplitScorer | ClassScorer]) -> pd.DataFrame:
    columns = {"threshold": next(iter(scorers.values())).thresholds}
    for split, scorer in scorers.items():
        columns |= {f"{split}_{name}": values for name, values in scorer.curve().items()}
    return pd.DataFrame(columns)


def _reliability(scorers: Mapping[str, SplitScorer | ClassScorer]) -> dict[str, list[dict[str, Any]]]:
    return {
        split: scorer.reliability.table() if isinstance(scorer, SplitScorer) else []
        for split, scorer in scorers.items()
    }


def _per_image(scorers: Mapping[str, SplitScorer | ClassScorer], columns: Sequence[str]) -> pd.DataFrame:
    rows = [{"split": split} | row for split, scorer in scorers.items() for row in scorer.rows]
    return pd.DataFrame(rows).reindex(columns=list(columns))
