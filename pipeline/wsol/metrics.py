"""Localization metrics, streamed image by image. All accuracies are percentages, 0–100.

The protocol is that of Choe et al., "Evaluating weakly supervised object localization methods right", CVPR 2020 /
TPAMI 2022 (MaxBoxAcc, MaxBoxAccV2, PxAP); the deployed accuracies at one threshold (GT-known, Top-1, Top-5
localization) are those of the CAM and ACoL papers.
"""

import numpy as np
from numpy.typing import NDArray


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
        self, score_map: NDArray[np.float64], foreground: NDArray[np.bool_], ignored: NDArray[np.bool_] | None = None
    ) -> None:
        """Count one image's pixels; all arrays ``(H, W)``; ignored pixels that are not foreground are left out."""
        background = ~foreground if ignored is None else ~foreground & ~ignored
        self.foreground += np.histogram(score_map[foreground], bins=self.edges)[0]
        self.background += np.histogram(score_map[background], bins=self.edges)[0]

    def value(self) -> float:
        """PxAP in percent; raises ValueError where the whole set has no foreground pixel."""
        true_positives = self.foreground[::-1].cumsum()
        positives = true_positives + self.background[::-1].cumsum()
        if true_positives[-1] == 0:
            raise ValueError("no foreground pixel in the whole set")
        precision = true_positives / np.maximum(positives, 1)
        recall = true_positives / true_positives[-1]
        return float((precision[1:] * np.diff(recall)).sum() * 100)


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
