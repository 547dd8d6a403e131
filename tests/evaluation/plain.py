"""The protocol the plain way, one threshold after the other with OpenCV: the oracle of the fast sweep.

It shares no code with the package. Reference: Choe et al., "Evaluating weakly supervised object localization methods
right", CVPR 2020 / TPAMI 2022.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]


def quantize(score_map: NDArray[np.float64]) -> NDArray[np.uint8]:
    return (score_map * 255).astype(np.uint8)


def contours(image: NDArray[np.uint8], level: int) -> Sequence[Any]:
    _, binary = cv2.threshold(image, level, 255, cv2.THRESH_BINARY)
    return cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]


def _box(contour: Any, image: NDArray[np.uint8]) -> Box:
    x, y, width, height = cv2.boundingRect(contour)
    return x, y, min(x + width, image.shape[1] - 1), min(y + height, image.shape[0] - 1)


def largest_box(image: NDArray[np.uint8], level: int) -> Box:
    found = contours(image, level)
    return _box(max(found, key=cv2.contourArea), image) if found else (0, 0, 0, 0)


def all_boxes(image: NDArray[np.uint8], level: int) -> list[Box]:
    return [_box(contour, image) for contour in contours(image, level)] or [(0, 0, 0, 0)]


def iou(boxes: Any, others: Any) -> NDArray[np.float64]:
    """Inclusive IoU, ``(n, m)``."""
    a, b = np.asarray(boxes, np.int64)[:, None], np.asarray(others, np.int64)[None]
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0]) + 1
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1]) + 1
    overlap = np.maximum(width, 0) * np.maximum(height, 0)
    area_a = (a[..., 2] - a[..., 0] + 1) * (a[..., 3] - a[..., 1] + 1)
    area_b = (b[..., 2] - b[..., 0] + 1) * (b[..., 3] - b[..., 1] + 1)
    return overlap / (area_a + area_b - overlap)


def levels(image: NDArray[np.uint8], interval: float) -> list[int]:
    return [int(tau * image.max()) for tau in np.arange(0, 1, interval)]


def single_boxes(score_map: NDArray[np.float64], interval: float) -> list[Box]:
    """The largest contour's box at every threshold."""
    image = quantize(score_map)
    return [largest_box(image, level) for level in levels(image, interval)]


def multi_ious(score_map: NDArray[np.float64], truth: Any, interval: float) -> NDArray[np.float64]:
    """The best IoU of any contour with any true box at every threshold; boxes of all thresholds compared at once."""
    image = quantize(score_map)
    boxes = [all_boxes(image, level) for level in levels(image, interval)]
    best = iou(np.concatenate(boxes), truth).max(axis=1)
    starts = np.cumsum([0] + [len(found) for found in boxes[:-1]])
    return np.maximum.reduceat(best, starts)


def histograms(
    score_map: NDArray[np.float64], foreground: NDArray[np.bool_], ignored: NDArray[np.bool_], interval: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Scores of the foreground's and the background's pixels, of a map that is checked first."""
    if np.isnan(score_map).any() or (score_map > 1).any() or (score_map < 0).any():
        raise ValueError("not a score map")
    edges = np.append(np.arange(0, 1, interval), [1.0, 2.0, 3.0])
    truth = foreground.astype(np.uint8) + 255 * (ignored & ~foreground).astype(np.uint8)
    return (
        np.histogram(score_map[truth == 1], bins=edges)[0],
        np.histogram(score_map[truth == 0], bins=edges)[0],
    )
