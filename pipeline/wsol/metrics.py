"""Localization metrics, streamed image by image. All accuracies are percentages, 0–100.

The protocol is that of Choe et al., "Evaluating weakly supervised object localization methods right", CVPR 2020 /
TPAMI 2022 (MaxBoxAcc, MaxBoxAccV2, PxAP); the deployed accuracies at one threshold (GT-known, Top-1, Top-5
localization) are those of the CAM and ACoL papers.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.wsol.compiled import compiled


def threshold_grid(interval: float) -> NDArray[np.float64]:
    """The thresholds the protocol tries: ``arange(0, 1, interval)``."""
    return np.arange(0, 1, interval)


def percent(hits: NDArray[np.bool_] | NDArray[np.floating]) -> float:
    """Mean of ``hits`` in percent."""
    return float(np.mean(hits) * 100)


class ThresholdCurve:
    """Share of images localized at every threshold, for each IoU criterion δ.

    Args:
        interval: spacing of the thresholds.
        deltas: the IoU criteria, e.g. ``(0.3, 0.5, 0.7)``.
    """

    def __init__(self, interval: float, deltas: tuple[float, ...]) -> None:
        self.thresholds = threshold_grid(interval)
        self.deltas = np.asarray(deltas)
        self.hits = np.zeros((len(deltas), len(self.thresholds)), np.int64)
        self.images = 0

    def add(self, iou_per_level: NDArray[np.floating], standard: float) -> None:
        """Count one image.

        Args:
            iou_per_level: ``(256,)``, IoU of the image's box (or best box) at each integer level.
            standard: grey value the threshold is a fraction of (see :func:`pipeline.wsol.boxes.standard_value`).
        """
        levels = (self.thresholds * standard).astype(np.int64)
        self.hits += iou_per_level[levels] >= self.deltas[:, None]
        self.images += 1

    def merge(self, other: "ThresholdCurve") -> None:
        """Add what another curve over the same thresholds and criteria has counted."""
        self.hits += other.hits
        self.images += other.images

    def accuracies(self) -> NDArray[np.float64]:
        """``(D, T)`` in percent; raises ValueError where no image was counted."""
        if self.images == 0:
            raise ValueError("no image was scored")
        return self.hits * 100.0 / self.images

    def max_box_acc(self) -> NDArray[np.float64]:
        """MaxBoxAcc(δ), the best accuracy over all thresholds, for each δ: ``(D,)``."""
        return np.asarray(self.accuracies().max(axis=1))

    def best_thresholds(self) -> NDArray[np.float64]:
        """The first threshold that reaches :meth:`max_box_acc`, for each δ: ``(D,)``."""
        return np.asarray(self.thresholds[self.hits.argmax(axis=1)])


class PixelAveragePrecision:
    """PxAP: area under the precision–recall curve of all pixels of the data set.

    Scores of foreground and background pixels are counted in bins with edges ``[0, i, …, 1−i, 1, 2, 3]``; the area is
    a right Riemann sum, so the value depends on the interval ``i``.
    """

    def __init__(self, interval: float) -> None:
        self.edges = np.append(threshold_grid(interval), [1.0, 2.0, 3.0])
        self.foreground = np.zeros(len(self.edges) - 1, np.int64)
        self.background = np.zeros(len(self.edges) - 1, np.int64)

    def add(
        self, score_map: NDArray[np.floating], foreground: NDArray[np.bool_], ignored: NDArray[np.bool_] | None = None
    ) -> None:
        """Count one image's pixels; all arrays ``(H, W)``; ignored pixels that are not foreground are left out.

        Raises:
            ValueError: a score is NaN or lies outside [0, 3], or the arrays differ in shape.
        """
        if ignored is None:
            ignored = np.zeros_like(foreground)
        if not score_map.shape == foreground.shape == ignored.shape:
            raise ValueError(f"map {score_map.shape}, mask {foreground.shape} and ignored {ignored.shape} differ")
        kinds = np.where(foreground, 0, np.where(ignored, 2, 1)).astype(np.uint8)
        counts = _score_histograms(np.asarray(score_map, np.float64), kinds, self.edges)
        if counts.sum() != score_map.size:
            raise ValueError("score map has NaNs or values outside [0, 3]")
        self.foreground += counts[0]
        self.background += counts[1]

    def merge(self, other: "PixelAveragePrecision") -> None:
        """Add what another histogram with the same interval has counted."""
        self.foreground += other.foreground
        self.background += other.background

    def value(self) -> float:
        """PxAP in percent; raises ValueError where the whole set has no foreground pixel."""
        true_positives = self.foreground[::-1].cumsum()
        positives = true_positives + self.background[::-1].cumsum()
        if true_positives[-1] == 0:
            raise ValueError("no foreground pixel in the whole set")
        precision = true_positives / np.maximum(positives, 1)
        recall = true_positives / true_positives[-1]
        return float((precision[1:] * np.diff(recall)).sum() * 100)


@compiled
def _score_histograms(
    score_map: NDArray[np.float64], kinds: NDArray[np.uint8], edges: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Pixels per kind and bin, ``(3, B)``; bins are half open, the last one closed, as ``numpy.histogram`` has them."""
    counts = np.zeros((3, len(edges) - 1), np.int64)
    per_unit = 1 / edges[1]
    height, width = score_map.shape
    for y in range(height):
        for x in range(width):
            score = score_map[y, x]
            if 0 <= score <= edges[-1]:
                # A guess from the spacing, put right by the edges themselves.
                k = min(int(score * per_unit), len(edges) - 2)
                while score < edges[k]:
                    k -= 1
                while k < len(edges) - 2 and score >= edges[k + 1]:
                    k += 1
                counts[kinds[y, x], k] += 1
    return counts


class MeanPixelAveragePrecision:
    """mPxAP: the mean over classes of each class's own PxAP, as on PASCAL VOC."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.classes: dict[int, PixelAveragePrecision] = {}

    def add(
        self,
        label: int,
        score_map: NDArray[np.floating],
        foreground: NDArray[np.bool_],
        ignored: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count one image's pixels for its class; see :meth:`PixelAveragePrecision.add`."""
        self.classes.setdefault(label, PixelAveragePrecision(self.interval)).add(score_map, foreground, ignored)

    def values(self) -> dict[int, float]:
        """PxAP of each class seen, in percent."""
        return {label: self.classes[label].value() for label in sorted(self.classes)}

    def value(self) -> float:
        """mPxAP in percent; raises ValueError where no class was seen or one has no foreground pixel."""
        if not self.classes:
            raise ValueError("no image was scored")
        return float(np.mean(list(self.values().values())))


def top_k_correct(logits: NDArray[np.floating], labels: NDArray[np.integer], k: int) -> NDArray[np.bool_]:
    """Whether the label is among the ``k`` highest logits: ``(N, C)``, ``(N,)`` → ``(N,)``. A tie counts against it."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    return np.asarray((logits >= own).sum(axis=1) <= k)


def predictive_entropy(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Entropy of ``softmax(logits)`` in nats: ``(N, C)`` → ``(N,)``."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.asarray(-(np.exp(log_p) * log_p).sum(axis=1))


def coverage(foreground: NDArray[np.bool_], region: NDArray[np.bool_]) -> float:
    """``|F∩R| / |R|`` in percent: how much of a part or an object the foreground covers; NaN for an empty region."""
    return float((foreground & region).sum() / region.sum() * 100) if region.any() else float("nan")


def background_share(foreground: NDArray[np.bool_], region: NDArray[np.bool_]) -> float:
    """``|F∖O| / |F|`` in percent: how much of the foreground is not object; 0 for an empty foreground."""
    return float((foreground & ~region).sum() / foreground.sum() * 100) if foreground.any() else 0.0
