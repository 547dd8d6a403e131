"""Scoring one split whose images may show several classes: everything ``metrics.json`` says of it.

Boxes and maps are scored for each class that an image shows; the maps of a class by pixels over the images that show
it (mPxAP: Choe et al., TPAMI 2022); masks of labels over all pixels of the set (mIoU of PASCAL VOC).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.average_precision import average_precisions
from pipeline.evaluation.boxes import quantize
from pipeline.evaluation.class_predictions import class_probabilities, predicted_classes
from pipeline.evaluation.geometry import threshold_level
from pipeline.evaluation.label_masks import IGNORED, Confusion, centred_box
from pipeline.evaluation.metrics import MeanPixelAveragePrecision, percent
from pipeline.evaluation.score_maps import FRAME, gaussian_map
from pipeline.evaluation.scorer import DELTA, GAUSSIAN_SIGMA, BoxScorer, with_interval


@dataclass(frozen=True)
class ScoredClass:
    """A class that an image shows; see :class:`pipeline.evaluation.scorer.ScoredImage`."""

    label: int
    score_map: NDArray[np.float64]
    level_boxes: NDArray[np.int16]
    standard: float
    true_boxes: NDArray[np.int64]


@dataclass(frozen=True)
class LabelMasks:
    """Masks of labels ``(H, W)``: the true one, that of the predicted classes, and that of the true classes."""

    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    of_labels: NDArray[np.int64]


@dataclass(frozen=True)
class ScoredLabels:
    """One image.

    Attributes:
        logits: ``(C,)``.
        labels: ``(C,)``: 1 present, 0 not, -1 uncertain.
        classes: those present.
        truth: ``(224, 224)``, the true class of each pixel of the protocol's frame; None where it has no mask.
        masks: None where it has no mask.
    """

    image_id: str
    logits: NDArray[np.floating]
    labels: NDArray[np.int64]
    classes: Sequence[ScoredClass]
    truth: NDArray[np.int64] | None
    masks: LabelMasks | None


def row_id(image_id: str, name: str) -> str:
    """What a class that an image shows goes by among those of all images."""
    return f"{image_id} {name}"


class ClassScorer:
    """Metrics of one split, holding a few numbers per image and no map.

    Args:
        tau: the threshold in use.
        gaussian_tau, deltas, interval: see :class:`pipeline.evaluation.scorer.BoxScorer`.
        classes: their names.
    """

    def __init__(
        self, tau: float, gaussian_tau: float, deltas: tuple[float, ...], interval: float, classes: Sequence[str]
    ) -> None:
        self.tau, self.interval, self.names = tau, interval, classes
        self.boxes = BoxScorer(gaussian_tau, deltas, interval)
        self.pixels, self.gaussian_pixels = (MeanPixelAveragePrecision(interval) for _ in range(2))
        self.gaussian_map = gaussian_map(FRAME, GAUSSIAN_SIGMA)
        self.predicted, self.of_labels, self.centred = (Confusion(len(classes)) for _ in range(3))
        self.masked = self.boxed = 0
        self.logits: list[NDArray[np.floating]] = []
        self.labels: list[NDArray[np.int64]] = []
        self.rows: list[dict[str, Any]] = []

    def add(self, image: ScoredLabels) -> None:
        """Count one image."""
        self.logits.append(image.logits)
        self.labels.append(image.labels)
        found = predicted_classes(image.logits[None])[0]
        best = np.argsort(-image.logits, kind="stable")[:5].tolist()
        for shown in image.classes:
            row = {
                "image_id": row_id(image.image_id, self.names[shown.label]),
                "label": shown.label,
                "top5": best,
                "found": bool(found[shown.label]),
            }
            self.rows.append(row | self._localization(shown))
            self._pixels(shown, image.truth)
        self.boxed += any(len(shown.true_boxes) for shown in image.classes)
        if image.masks is not None:
            self.masked += 1
            self.predicted.add(image.masks.predicted, image.masks.truth)
            self.of_labels.add(image.masks.of_labels, image.masks.truth)
            self.centred.add(centred_box(image.masks.truth), image.masks.truth)

    def _localization(self, shown: ScoredClass) -> dict[str, Any]:
        level = threshold_level(self.tau, shown.standard)
        grey = quantize(shown.score_map)
        overlaps = self.boxes.add(grey, shown.level_boxes, shown.standard, level, shown.true_boxes)
        return {"box": shown.level_boxes[level].tolist(), **overlaps}

    def _pixels(self, shown: ScoredClass, truth: NDArray[np.int64] | None) -> None:
        """A class that the mask lacks, though the image is labelled with it, has only background there."""
        if truth is not None:
            foreground, ignored = truth == shown.label, truth == IGNORED
            self.pixels.add(shown.label, shown.score_map, foreground, ignored)
            self.gaussian_pixels.add(shown.label, self.gaussian_map, foreground, ignored)

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """``(T,)``, of :meth:`curve`."""
        return self.boxes.single.thresholds

    def curve(self) -> Mapping[str, NDArray[np.float64]]:
        """See :meth:`pipeline.evaluation.scorer.BoxScorer.curve`."""
        return self.boxes.curve()

    def metrics(self, *, tau_chosen_here: bool = False) -> dict[str, float]:
        """All metrics that apply to this split: see :meth:`pipeline.evaluation.scorer.SplitScorer.metrics`."""
        boxed = [row for row in self.rows if "iou" in row]
        result = {
            "images": float(len(self.logits)),
            "images_with_boxes": float(self.boxed),
            "classes_with_boxes": float(len(boxed)),
            **self._classification(),
        }
        if boxed:
            boxes = self._box_metrics(boxed)
            result |= {k: v for k, v in boxes.items() if not (tau_chosen_here and k.endswith(("_low", "_high")))}
        if self.masked:
            result |= {"images_with_masks": float(self.masked), "pxap_interval": self.interval} | self._mask_metrics()
        return {name: value for name, value in result.items() if np.isfinite(value)}

    def _classification(self) -> dict[str, float]:
        logits, labels = np.stack(self.logits), np.stack(self.labels)
        probabilities = class_probabilities(logits)
        precisions = average_precisions(probabilities, labels)
        known = (labels >= 0).sum(axis=0)
        shares = 100 * (labels == 1).sum(axis=0) / np.maximum(known, 1)
        measured = np.isfinite(precisions)
        return {
            "entropy": float(_binary_entropy(probabilities).mean()),
            "map": float(precisions[measured].mean()),
            "chance_map": float(shares[measured].mean()),
            "found": percent(np.array([row["found"] for row in self.rows])),
            **{f"ap_{name}": float(value) for name, value in zip(self.names, precisions, strict=True)},
        }

    def _box_metrics(self, boxed: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        overlaps, found, whole = (np.array([row[name] for row in boxed]) for name in ("iou", "found", "full_image_iou"))
        return with_interval("found_loc_iou50", found & (overlaps >= DELTA)) | self.boxes.metrics(overlaps, whole)

    def _mask_metrics(self) -> dict[str, float]:
        pixels, blind = (_seen(metric) for metric in (self.pixels, self.gaussian_pixels))
        ious = zip(("background", *self.names), self.predicted.iou(), strict=True)
        return {
            "mpxap": float(np.mean(list(pixels.values()))),
            "center_gaussian_mpxap": float(np.mean(list(blind.values()))),
            "miou": self.predicted.mean_iou(),
            "gt_known_miou": self.of_labels.mean_iou(),
            "center_box_miou": self.centred.mean_iou(),
            **{f"pxap_{self.names[label]}": value for label, value in pixels.items()},
            **{f"iou_{name}": float(value) for name, value in ious},
        }


def _seen(metric: MeanPixelAveragePrecision) -> dict[int, float]:
    """PxAP of the classes that some pixel shows."""
    return {label: one.value() for label, one in sorted(metric.classes.items()) if one.foreground.any()}


def _binary_entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each class, in nats."""
    inside = np.clip(probabilities, 1e-12, 1 - 1e-12)
    return np.asarray(-inside * np.log(inside) - (1 - inside) * np.log(1 - inside))
