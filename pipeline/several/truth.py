"""What ``evaluate`` scores of images that may show several classes: maps, boxes and masks beside the truth."""

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.data.manifest import Dataset, ImageRow
from pipeline.data.mask_files import read_classes
from pipeline.evaluation.class_predictions import predicted_classes
from pipeline.evaluation.class_scorer import LabelMasks, ScoredClass, ScoredLabels
from pipeline.evaluation.geometry import to_protocol
from pipeline.evaluation.label_masks import label_mask
from pipeline.evaluation.score_maps import FRAME, normalize_map, resize_map
from pipeline.several.maps import ClassMaps
from pipeline.several.masks import class_scores


def scored_labels(
    dataset: Dataset, image: ImageRow, labels: NDArray[np.int64], found: ClassMaps, mask_tau: float
) -> ScoredLabels:
    """One image with its truth.

    Args:
        labels: ``(C,)`` as :meth:`pipeline.data.manifest.Dataset.labels` has them.
        mask_tau: threshold of the masks of labels.
    """
    truth = read_classes(dataset.root, image.masks, dataset.mask_values)
    own = found.only(labels == 1)
    return ScoredLabels(
        image_id=found.image_id,
        logits=found.logits,
        labels=labels,
        classes=[_scored_class(image, own, m) for m in range(len(own.classes))],
        truth=None if truth is None else _in_frame(truth),
        masks=None if truth is None else _label_masks(truth, found, own, mask_tau),
    )


def _scored_class(image: ImageRow, own: ClassMaps, m: int) -> ScoredClass:
    label = int(own.classes[m])
    return ScoredClass(
        label=label,
        score_map=normalize_map(resize_map(own.maps[m], FRAME)),
        level_boxes=own.boxes[m],
        standard=float(own.standards[m]),
        true_boxes=to_protocol(image.boxes_of(label), image.width, image.height, FRAME),
    )


def _label_masks(truth: NDArray[np.int64], found: ClassMaps, own: ClassMaps, tau: float) -> LabelMasks:
    predicted = found.only(predicted_classes(found.logits[None])[0])
    return LabelMasks(truth, *(_mask(maps, truth.shape, tau) for maps in (predicted, own)))


def _mask(maps: ClassMaps, shape: tuple[int, ...], tau: float) -> NDArray[np.int64]:
    scores = class_scores(maps.grey(), maps.standards, shape[1], shape[0])
    return label_mask(scores, maps.classes, tau)


def _in_frame(truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Nearest neighbour, as the protocol takes masks."""
    resized = cv2.resize(truth.astype(np.int16), (FRAME, FRAME), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, np.int64)
