"""What is known of each image of a split: how well it went, and what kind of image it is."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.score_maps import FRAME

#: IoU criterion by which an image counts as localized, here as for the choice of the threshold.
DELTA = 0.5
#: A true box counts as found in a box that covers this share of it, and as one of several at the second share; a box
#: lies on an object with this share of its own area.
COVERED, TOUCHED, INSIDE = 0.7, 0.3, 0.5
#: Kinds of outcome, the good one first, with what each means.
KINDS: Mapping[str, str] = {
    "right": "box and class are right",
    "wrong class": f"the box has an IoU of at least {DELTA:g}, the class is wrong",
    "several objects": f"too low an IoU: the box covers more than {TOUCHED:.0%} of two or more objects",
    "too big": f"too low an IoU: the box covers more than {COVERED:.0%} of the object, and much else",
    "part only": f"too low an IoU: more than {INSIDE:.0%} of the box lies on the object, which reaches beyond it",
    "beside": "too low an IoU: the box covers neither, or there is no box",
}
#: Columns of :func:`image_facts` that hold a number of the true boxes.
OF_BOXES = ("objects", "size", "aspect", "off_centre")


def image_facts(scored: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """One row per image, in the manifest's order.

    Args:
        scored: ``per_image.parquet`` of the split with ``predicted`` and ``score``.
        manifest: the rows of the split.

    Returns:
        The columns of ``scored``, and of the images with boxes ``kind`` (of :data:`KINDS`), ``objects`` (their number)
        and, of the largest true box, ``size`` (root of its share of the image, in [0, 1]), ``aspect`` (width over
        height in the image's own pixels) and ``off_centre`` (distance of the centres over half the image's diagonal).
        NaN, and an empty kind, where the image has no boxes.
    """
    facts = manifest[["image_id"]].merge(scored, on="image_id", validate="one_to_one")
    owners, boxes = _flat(manifest["boxes"])
    sides = manifest[["width", "height"]].to_numpy(np.float64)[owners]
    facts = facts.assign(objects=np.bincount(owners, minlength=len(facts)).astype(np.float64))
    facts[list(OF_BOXES[1:])] = _largest(owners, boxes, sides, len(facts))
    facts.loc[facts["objects"] == 0, list(OF_BOXES)] = np.nan
    predicted = np.array(facts["box"].tolist(), np.int64)[owners]
    truth = (boxes * float(FRAME) / np.tile(sides, 2)).astype(np.int64)
    return facts.assign(kind=_kinds(facts, owners, *_overlaps(predicted, truth)))


def _flat(boxes: "pd.Series[Any]") -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """All boxes under one another, ``(B,)`` positions of their images and ``(B, 4)`` xyxy."""
    owners = np.repeat(np.arange(len(boxes)), [len(some) for some in boxes])
    return owners, np.array([list(box) for some in boxes for box in some], np.float64).reshape(-1, 4)


def _largest(
    owners: NDArray[np.int64], boxes: NDArray[np.float64], sides: NDArray[np.float64], images: int
) -> NDArray[np.float64]:
    """``(images, 3)`` size, aspect and distance from the centre of each image's largest box."""
    spans = boxes[:, 2:] - boxes[:, :2]
    size = np.sqrt((spans / sides).prod(axis=1))
    aspect = spans[:, 0] / np.maximum(spans[:, 1], 1e-9)
    offset = np.linalg.norm((boxes[:, :2] + boxes[:, 2:] - sides) / 2, axis=1) / (np.linalg.norm(sides, axis=1) / 2)
    found = np.full((images, 3), np.nan)
    # Of an image's rows the last one stays: the largest.
    order = np.argsort(size, kind="stable")
    found[owners[order]] = np.stack([size, aspect, offset], axis=1)[order]
    return found


def _overlaps(
    predicted: NDArray[np.int64], truth: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of pairs of boxes ``(B, 4)``, ends included: the overlap over the predicted area, and over the true one."""
    spans = np.minimum(predicted[:, 2:], truth[:, 2:]) - np.maximum(predicted[:, :2], truth[:, :2]) + 1
    overlap = np.clip(spans, 0, None).prod(axis=1)
    areas = [(box[:, 2:] - box[:, :2] + 1).prod(axis=1) for box in (predicted, truth)]
    return overlap / areas[0], overlap / areas[1]


def _kinds(
    facts: pd.DataFrame, owners: NDArray[np.int64], inside: NDArray[np.float64], covered: NDArray[np.float64]
) -> NDArray[np.str_]:
    count = len(facts)
    touched = np.bincount(owners[covered > TOUCHED], minlength=count)
    most_inside, most_covered = np.zeros(count), np.zeros(count)
    np.maximum.at(most_inside, owners, inside)
    np.maximum.at(most_covered, owners, covered)
    hit = facts["iou"].to_numpy() >= DELTA
    conditions = {
        "": facts["iou"].isna().to_numpy(),
        "right": hit & facts["top1_correct"].to_numpy(np.bool_),
        "wrong class": hit,
        "several objects": touched > 1,
        "too big": most_covered > COVERED,
        "part only": most_inside > INSIDE,
    }
    return np.select(list(conditions.values()), list(conditions), "beside")
