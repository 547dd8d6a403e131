"""Localization metrics, streamed image by image. All accuracies are percentages, 0–100.

The protocol is that of Choe et al., "Evaluating weakly supervised object localization methods right", CVPR 2020 /
TPAMI 2022 (MaxBoxAcc, MaxBoxAccV2, PxAP); the deployed accuracies at one threshold (GT-known, Top-1, Top-5
localization) are those of the CAM and ACoL papers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.compiled import compiled


def threshold_grid(interval: float) -> NDArray[np.float64]:
    """The thresholds the protocol tries: ``arange(0, 1, interval)``."""
    return np.arange(0, 1, interval)


def percent(hits: NDArray[np.bool_] | NDArray[np.floating]) -> float:
    """Mean of ``hits`` in percent."""
    return float(np.mean(hits) * 100)


def probabilities(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Softmax ``(C,)`` of an image's logits ``(C,)``, in float64."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(exponentials / exponentials.sum(), np.float64)


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
            standard: grey value the threshold is a fraction of (:func:`pipeline.evaluation.geometry.standard_value`).
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
        self.interval = interval
        bins = len(threshold_grid(interval)) + 2
        self.foreground = np.zeros(bins, np.int64)
        self.background = np.zeros(bins, np.int64)

    def add(
        self, score_map: NDArray[np.floating], foreground: NDArray[np.bool_], ignored: NDArray[np.bool_] | None = None
    ) -> None:
        """Count one image's pixels; all arrays ``(H, W)``; ignored pixels that are not foreground are left out.

        Raises:
            ValueError: a score is NaN or lies outside [0, 1], or the arrays differ in shape.
        """
        if ignored is None:
            ignored = np.zeros_like(foreground)
        if not score_map.shape == foreground.shape == ignored.shape:
            raise ValueError(f"map {score_map.shape}, mask {foreground.shape} and ignored {ignored.shape} differ")
        scores = np.ascontiguousarray(score_map, np.float64).reshape(-1)
        inside, left_out = (
            np.ascontiguousarray(mask, np.bool_).view(np.uint8).reshape(-1) for mask in (foreground, ignored)
        )
        if not _count_scores(scores, inside, left_out, self.interval, self.foreground, self.background):
            raise ValueError("score map has NaNs or values outside [0, 1]")

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
def _find_places(
    scores: NDArray[np.float64],
    foreground: NDArray[np.uint8],
    ignored: NDArray[np.uint8],
    interval: float,
    bins: int,
    places: NDArray[np.uint32],
) -> int:
    """Each score's bin, plus ``bins`` in the background and twice that where it is ignored; scores outside [0, 1].

    Without branches, so that the compiler can take several scores at a time. The bin that a scaled score falls in is
    at most one too low, which the edge above it, ``(k+1)·interval`` as ``arange`` has it, puts right.
    """
    per_unit = (1 - 1e-9) / interval
    one, last = np.int32(bins - 2), np.int32(bins - 3)
    outside: Any = 0
    for i in range(len(scores)):
        score = scores[i]
        k = np.int32(score * per_unit)
        k = min(k + np.int32(score >= np.float64(k + np.int32(1)) * interval), last)
        k = one if score >= 1 else k
        outside += np.int32(not (score >= 0 and score <= 1))
        places[i] = k + (np.int32(1) - np.int32(foreground[i])) * np.int32(bins) * (np.int32(1) + np.int32(ignored[i]))
    return int(outside)


@compiled
def _count_scores(
    scores: NDArray[np.float64],
    foreground: NDArray[np.uint8],
    ignored: NDArray[np.uint8],
    interval: float,
    foreground_counts: NDArray[np.int64],
    background_counts: NDArray[np.int64],
) -> bool:
    """Add the scores to the counts; False, and nothing is added, where one lies outside [0, 1]."""
    bins = len(foreground_counts)
    places = np.empty(len(scores), np.uint32)
    if _find_places(scores, foreground, ignored, interval, bins, places) > 0:
        return False
    counts = np.zeros(3 * bins, np.int32)
    for place in places:
        counts[place] += 1
    foreground_counts += counts[:bins]
    background_counts += counts[bins : 2 * bins]
    return True


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
    """Whether the label is among the ``k`` highest logits: ``(N, C)``, ``(N,)`` → ``(N,)``.

    A tie counts against it, and so does a logit that is not a number, which ranks nothing.
    """
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    return np.asarray(((logits >= own).sum(axis=1) <= k) & ~np.isnan(logits).any(axis=1))


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
