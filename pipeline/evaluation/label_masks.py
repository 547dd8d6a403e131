"""From a map for each class to one mask of labels, and how well masks agree: mean intersection over union.

A mask holds the index of a class for each pixel, :data:`BACKGROUND` where there is none; a true one also
:data:`IGNORED` where nobody knows.
"""

import numpy as np
from numpy.typing import NDArray

BACKGROUND, IGNORED = -1, -2
#: Grey values of a score.
LEVELS = 256


def strongest(
    scores: NDArray[np.floating], classes: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The class with the highest score at each pixel, and that score; of equals the first.

    Args:
        scores: ``(M, H, W)``, of each class its map divided by the value that thresholds are a fraction of.
        classes: ``(M,)``, at least one.

    Returns:
        ``(H, W)`` each.
    """
    return np.asarray(classes[scores.argmax(axis=0)], np.int64), np.asarray(scores.max(axis=0), np.float64)


def label_mask(scores: NDArray[np.floating], classes: NDArray[np.integer], tau: float) -> NDArray[np.int64]:
    """The strongest class where its score exceeds ``tau``, else background: ``(H, W)``; see :func:`strongest`.

    Without any class all is background.
    """
    if not len(classes):
        return np.full(scores.shape[1:], BACKGROUND)
    labels, best = strongest(scores, classes)
    return np.where(best > tau, labels, BACKGROUND)


class Confusion:
    """Pixels of the whole set by their true and their predicted class.

    Args:
        classes: their number C.
    """

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes + 1, classes + 1), np.int64)

    def add(self, predicted: NDArray[np.integer], truth: NDArray[np.integer]) -> None:
        """Count one image; pixels of the truth that are ignored are left out."""
        known = truth != IGNORED
        size = len(self.counts)
        places = (truth[known] + 1) * size + predicted[known] + 1
        self.counts += np.bincount(places, minlength=size * size).reshape(size, size)

    def iou(self) -> NDArray[np.float64]:
        """IoU in percent of the background and of each class, ``(C+1,)``; NaN where no pixel has it or is given it."""
        return _iou(self.counts)

    def mean_iou(self) -> float:
        """Their mean over the background and all classes that some pixel truly has, in percent."""
        return _mean_iou(self.counts)


class ThresholdedConfusion:
    """The same for every threshold at once, in steps of 1/256 of the score.

    Args:
        classes: their number C.
    """

    def __init__(self, classes: int) -> None:
        # By true class, predicted class, and the highest level at which the pixel is not background.
        self.counts = np.zeros((classes + 1, classes, LEVELS), np.int64)

    def add(self, labels: NDArray[np.integer], scores: NDArray[np.floating], truth: NDArray[np.integer]) -> None:
        """Count one image: the strongest class of each pixel with its score, at most 1 counting, and the true one."""
        known = truth != IGNORED
        levels = (np.minimum(scores[known], 1) * (LEVELS - 1)).astype(np.int64)
        places = ((truth[known] + 1) * self.counts.shape[1] + labels[known]) * LEVELS + levels
        self.counts += np.bincount(places, minlength=self.counts.size).reshape(self.counts.shape)

    def best_threshold(self) -> float:
        """The lowest threshold with the best mean IoU, in [0, 1)."""
        return int(np.argmax([_mean_iou(self._at(level)) for level in range(LEVELS - 1)])) / (LEVELS - 1)

    def _at(self, level: int) -> NDArray[np.int64]:
        """Confusion where scores up to a level are background."""
        foreground = self.counts[:, :, level + 1 :].sum(axis=2)
        background = self.counts[:, :, : level + 1].sum(axis=(1, 2))
        return np.concatenate([background[:, None], foreground], axis=1)


def centred_box(truth: NDArray[np.integer], side: float = 0.6) -> NDArray[np.int64]:
    """The class that covers most of a true mask, in a centred box of ``side`` of each side: looks at no image."""
    height, width = truth.shape
    found, sizes = np.unique(truth[truth >= 0], return_counts=True)
    mask = np.full(truth.shape, BACKGROUND)
    if len(found):
        top, left = round(height * (1 - side) / 2), round(width * (1 - side) / 2)
        mask[top : height - top, left : width - left] = found[sizes.argmax()]
    return mask


def _iou(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    right = confusion.diagonal()
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - right
    return np.asarray(np.where(union > 0, 100 * right / np.maximum(union, 1), np.nan))


def _mean_iou(confusion: NDArray[np.int64]) -> float:
    there = confusion.sum(axis=1) > 0
    return float(_iou(confusion)[there].mean()) if there.any() else float("nan")
