"""Scoring one split, image by image: everything ``metrics.json`` says of it. It scores; it chooses nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.bootstrap import interval
from pipeline.evaluation.boxes import best_iou_per_level, largest_boxes, quantize
from pipeline.evaluation.geometry import iou, threshold_level
from pipeline.evaluation.metrics import (
    PixelAveragePrecision,
    ThresholdCurve,
    background_share,
    coverage,
    percent,
    predictive_entropy,
    top_k_correct,
)
from pipeline.evaluation.reliability import Reliability
from pipeline.evaluation.score_maps import FRAME, gaussian_map

#: Standard deviation of the centred Gaussian, in pixels of the protocol's frame.
GAUSSIAN_SIGMA = 56.0
#: Grey value that its thresholds are a fraction of: its peak.
GAUSSIAN_STANDARD = 255.0
#: IoU criterion of Top-1 and Top-5 localization.
DELTA = 0.5


@dataclass(frozen=True)
class ScoredImage:
    """One image with all that is known of it; boxes and masks in the protocol's frame.

    Attributes:
        score_map: ``(224, 224)`` in [0, 1], of the true class.
        level_boxes: ``(256, 4)``, the map's largest box at every level.
        standard: grey value that thresholds are a fraction of.
        true_boxes: ``(m, 4)``, none where the image has no boxes.
        mask, ignored, part: ``(224, 224)``, or None.
        predicted_box: ``(4,)``, of the predicted class at the threshold in use; ``score`` is its own.
    """

    image_id: str
    label: int
    logits: NDArray[np.floating]
    score_map: NDArray[np.float64]
    level_boxes: NDArray[np.int16]
    standard: float
    true_boxes: NDArray[np.int64]
    mask: NDArray[np.bool_] | None
    ignored: NDArray[np.bool_] | None
    part: NDArray[np.bool_] | None
    predicted_box: tuple[int, int, int, int]
    score: float


def gaussian_boxes() -> NDArray[np.int16]:
    """The centred Gaussian's largest box at every level, ``(256, 4)``, in the protocol's frame."""
    return largest_boxes(quantize(gaussian_map(FRAME, GAUSSIAN_SIGMA)))


def gaussian_threshold(truths: Iterable[NDArray[np.int64]], interval: float) -> float:
    """The threshold that the centred Gaussian would be deployed with: chosen as ``localize`` chooses a method's.

    Args:
        truths: true boxes ``(m, 4)`` of every image of val, in the protocol's frame.
        interval: spacing of the thresholds tried.
    """
    boxes, curve = gaussian_boxes(), ThresholdCurve(interval, (DELTA,))
    for truth in truths:
        curve.add(iou(boxes, truth).max(axis=1), GAUSSIAN_STANDARD)
    return float(curve.best_thresholds()[0])


class BoxScorer:
    """How well boxes fit, map by map.

    Args:
        gaussian_tau: threshold of the centred Gaussian, see :func:`gaussian_threshold`.
        deltas: the IoU criteria.
        interval: spacing of the thresholds that the oracles try.

    Attributes:
        single, every, gaussian: accuracies at every threshold of the largest contour, of all, and of the Gaussian.
    """

    def __init__(self, gaussian_tau: float, deltas: tuple[float, ...], interval: float) -> None:
        self.deltas = deltas
        self.single, self.every, self.gaussian = (ThresholdCurve(interval, deltas) for _ in range(3))
        self.gaussian_boxes = gaussian_boxes()
        self.gaussian_level = threshold_level(gaussian_tau, GAUSSIAN_STANDARD)

    def add(
        self, grey: NDArray[np.uint8], level_boxes: NDArray[np.int16], standard: float, level: int,
        truth: NDArray[np.int64],
    ) -> dict[str, float]:  # fmt: skip
        """Count one map, ``(224, 224)``, with its largest boxes ``(256, 4)``; returns overlaps with the true boxes.

        Args:
            standard: grey value that thresholds are a fraction of.
            level: of the threshold in use.
            truth: ``(m, 4)``; where there is none nothing is counted or returned.
        """
        if not len(truth):
            return {}
        overlaps = iou(level_boxes, truth).max(axis=1)
        self.single.add(overlaps, standard)
        self.every.add(best_iou_per_level(grey, truth), standard)
        blind = iou(self.gaussian_boxes, truth).max(axis=1)
        self.gaussian.add(blind, GAUSSIAN_STANDARD)
        whole = np.array([[0, 0, FRAME - 1, FRAME - 1]])
        return {
            "iou": float(overlaps[level]),
            "center_gaussian_iou": float(blind[self.gaussian_level]),
            "full_image_iou": float(iou(whole, truth).max()),
        }

    def metrics(self, overlaps: NDArray[np.float64], full_image: NDArray[np.float64]) -> dict[str, float]:
        """Accuracies over what was counted, in percent.

        Args:
            overlaps, full_image: what :meth:`add` returned of each as ``iou`` and ``full_image_iou``.
        """
        best, every = self.single.max_box_acc(), self.every.max_box_acc()
        result = {
            "mean_iou": percent(overlaps),
            "max_box_acc_v2": float(every.mean()),
            "full_image_iou50": percent(full_image >= DELTA),
        }
        for i, suffix in enumerate(suffixes(self.deltas)):
            result |= {
                **with_interval(f"gt_known_{suffix}", overlaps >= self.deltas[i]),
                f"max_box_acc_{suffix}": best[i],
                f"oracle_threshold_{suffix}": self.single.best_thresholds()[i],
                f"max_box_acc_v2_{suffix}": every[i],
                f"center_gaussian_max_box_acc_{suffix}": self.gaussian.max_box_acc()[i],
            }
        return {name: float(value) for name, value in result.items()}

    def curve(self) -> Mapping[str, NDArray[np.float64]]:
        """GT-known localization at every threshold, one array ``(T,)`` per IoU criterion; empty without boxes."""
        if not self.single.images:
            return {}
        accuracies = self.single.accuracies()
        return {f"gt_known_{suffix}": accuracies[i] for i, suffix in enumerate(suffixes(self.deltas))}


class SplitScorer:
    """Metrics of one split, holding a few numbers per image and no map.

    Args:
        tau: the threshold in use.
        gaussian_tau, deltas, interval: see :class:`BoxScorer`.
    """

    def __init__(self, tau: float, gaussian_tau: float, deltas: tuple[float, ...], interval: float) -> None:
        self.tau, self.interval = tau, interval
        self.boxes = BoxScorer(gaussian_tau, deltas, interval)
        self.pixels, self.gaussian_pixels = PixelAveragePrecision(interval), PixelAveragePrecision(interval)
        self.gaussian_map = gaussian_map(FRAME, GAUSSIAN_SIGMA)
        self.reliability = Reliability()
        self.rows: list[dict[str, Any]] = []

    def add(self, image: ScoredImage) -> None:
        """Count one image."""
        logits, label = image.logits[None], np.array([image.label])
        level = threshold_level(self.tau, image.standard)
        row: dict[str, Any] = {
            "image_id": image.image_id,
            "label": image.label,
            "top5": np.argsort(-image.logits, kind="stable")[:5].tolist(),
            "top1_correct": bool(top_k_correct(logits, label, 1)[0]),
            "top5_correct": bool(top_k_correct(logits, label, 5)[0]),
            "entropy": float(predictive_entropy(logits)[0]),
            "box": image.level_boxes[level].tolist(),
        }
        grey = quantize(image.score_map)
        row |= self.boxes.add(grey, image.level_boxes, image.standard, level, image.true_boxes)
        row |= self._segmentation(image, grey > level)
        if len(image.true_boxes):
            overlap = float(iou(np.array([image.predicted_box]), image.true_boxes).max())
            self.reliability.add(image.score, overlap, int(image.logits.argmax()) == image.label)
        self.rows.append(row)

    def _segmentation(self, image: ScoredImage, foreground: NDArray[np.bool_]) -> dict[str, float]:
        if image.mask is None:
            return {}
        self.pixels.add(image.score_map, image.mask, image.ignored)
        self.gaussian_pixels.add(self.gaussian_map, image.mask, image.ignored)
        covered = {
            "object_coverage": coverage(foreground, image.mask),
            "background_share": background_share(foreground, image.mask),
        }
        return covered if image.part is None else covered | {"part_coverage": coverage(foreground, image.part)}

    def metrics(self, *, tau_chosen_here: bool = False) -> dict[str, float]:
        """All metrics that apply to this split, percentages 0–100, entropy in nats.

        Those of boxes (of masks) are of the images that have boxes (masks), whose number stands beside them.

        Args:
            tau_chosen_here: the threshold is the best one for these very images. Accuracies at it are then biased
                upwards, and no interval around them is given: it would be read as that of other images.
        """
        result = {
            "images": float(len(self.rows)),
            "images_with_boxes": float(self.boxes.single.images),
            "entropy": float(self._column("entropy").mean()),
            **with_interval("cls_top1", self._column("top1_correct")),
            **with_interval("cls_top5", self._column("top5_correct")),
        }
        if self.boxes.single.images:
            boxes = self._box_metrics()
            result |= {k: v for k, v in boxes.items() if not (tau_chosen_here and k.endswith(("_low", "_high")))}
        if masked := [row for row in self.rows if "object_coverage" in row]:
            result |= {"images_with_masks": float(len(masked))}
            result |= {"pxap": self.pixels.value(), "center_gaussian_pxap": self.gaussian_pixels.value()}
            result |= {"pxap_interval": self.interval}
        for name in ("part_coverage", "object_coverage", "background_share"):
            if len(values := self._column(name)):
                result[name] = float(np.nanmean(values))
        return result

    def _box_metrics(self) -> dict[str, float]:
        """Of the images that have boxes."""
        overlaps = self._column("iou")
        hit = overlaps >= DELTA
        top1, top5 = (self._column(name, "iou") for name in ("top1_correct", "top5_correct"))
        return {
            **with_interval("top1_loc_iou50", hit & top1),
            **with_interval("top5_loc_iou50", hit & top5),
            **self.boxes.metrics(overlaps, self._column("full_image_iou")),
        }

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """``(T,)``, of :meth:`curve`."""
        return self.boxes.single.thresholds

    def curve(self) -> Mapping[str, NDArray[np.float64]]:
        """See :meth:`BoxScorer.curve`."""
        return self.boxes.curve()

    def _column(self, name: str, needed: str = "") -> NDArray[Any]:
        """A value of every image that has it and, where another is needed, that too."""
        return np.array([row[name] for row in self.rows if name in row and (not needed or needed in row)])


def with_interval(name: str, hits: NDArray[np.bool_]) -> dict[str, float]:
    """An accuracy with the ends of its 95 % interval (see :func:`pipeline.evaluation.bootstrap.interval`)."""
    low, high = interval(hits)
    return {name: percent(hits), f"{name}_low": low, f"{name}_high": high}


def suffixes(deltas: tuple[float, ...]) -> list[str]:
    """``iou30``, ``iou50`` …, as metrics are named."""
    return [f"iou{round(100 * delta)}" for delta in deltas]
