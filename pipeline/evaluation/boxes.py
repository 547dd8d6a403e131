"""From a score map to boxes, exactly as the field's protocol draws them.

Choe et al., "Evaluating weakly supervised object localization methods right", CVPR 2020 / TPAMI 2022. A map in
[0, 1] is quantised to ``uint8(map·255)`` (truncated), thresholded strictly, and boxed by its contours. Boxes are
``xyxy`` in map pixels, with ``x1 ≤ W−1`` and ``y1 ≤ H−1``; they are compared by the *inclusive* IoU (+1 on each
side). Only the 256 integer levels are distinct, so a threshold τ is a look-up
(:func:`pipeline.evaluation.geometry.threshold_level`); all levels together cost one sweep over the pixels
(:mod:`pipeline.evaluation.components`).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.compiled import compiled
from pipeline.evaluation.components import component_boxes, largest_component_boxes
from pipeline.evaluation.geometry import NO_BOX, iou
from pipeline.evaluation.neighbourhood import LEVELS
from pipeline.evaluation.score_maps import FRAME, normalize_map, resize_map


def quantize(score_map: NDArray[np.float64]) -> NDArray[np.uint8]:
    """``uint8(map·255)``, truncated, for a map in [0, 1].

    Raises:
        ValueError: a NaN, or a value outside [0, 1].
    """
    if not (score_map.min() >= 0 and score_map.max() <= 1):
        raise ValueError(f"score map must lie in [0, 1], found {score_map.min()} … {score_map.max()}")
    return (score_map * 255).astype(np.uint8)


def grey_map(score_map: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A map ``(h, w)`` as boxes are drawn on it: resized to the protocol's frame, normalised and quantised."""
    return quantize(normalize_map(resize_map(score_map, FRAME)))


def largest_box(image: NDArray[np.uint8], level: int) -> tuple[int, int, int, int]:
    """Box of the contour with the largest area in ``image > level``; of equals the first (the lower); else NO_BOX."""
    _, binary = cv2.threshold(image, level, 255, cv2.THRESH_BINARY)
    contours = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
    if not contours:
        return NO_BOX
    x, y, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea))
    return x, y, min(x + width, image.shape[1] - 1), min(y + height, image.shape[0] - 1)


def largest_boxes(image: NDArray[np.uint8]) -> NDArray[np.int16]:
    """:func:`largest_box` at every level: ``(256, 4)``; level ``L`` thresholds ``image > L``."""
    boxes = largest_component_boxes(image)
    boxes[: image.max()] = _protocol_boxes(boxes[: image.max()], image.shape)
    boxes[image.max() :] = NO_BOX
    return boxes


def contour_boxes(image: NDArray[np.uint8]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Boxes of every contour at every level, those of holes included.

    Returns:
        ``(k, 4)`` boxes, and ``(k, 2)`` the lowest and the highest level each is drawn at. At a level every contour
        of ``image > level`` has one row; a level without contours has none.
    """
    boxes, spans, with_holes = component_boxes(image, connectivity=8)
    boxes = _protocol_boxes(boxes, image.shape)
    if not with_holes:
        return boxes, spans
    holes, levels = _holes(image)
    return np.concatenate([boxes, _protocol_boxes(holes, image.shape)]), np.concatenate([spans, levels])


def _holes(image: NDArray[np.uint8]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Pixel boxes, ends included, of the contours around holes, and the levels they are drawn at."""
    # The background of ``image > level`` is where ``255 − image`` exceeds ``254 − level``.
    boxes, inverted, _ = component_boxes(LEVELS - 1 - image, connectivity=4)
    last = np.array(image.shape[::-1]) - 1
    enclosed = (boxes[:, :2] > 0).all(axis=1) & (boxes[:, 2:] < last).all(axis=1)
    # A hole's contour runs through the foreground pixels around it.
    return boxes[enclosed] + np.array([-1, -1, 1, 1], np.int16), LEVELS - 2 - inverted[enclosed, ::-1]


def _protocol_boxes(boxes: NDArray[np.int16], shape: tuple[int, ...]) -> NDArray[np.int16]:
    """Pixel boxes ``(n, 4)``, ends included, as ``x, y, x+w, y+h`` clipped to the last pixel of ``shape`` (H, W)."""
    protocol = boxes.copy()
    protocol[:, 2] = np.minimum(boxes[:, 2] + 1, shape[1] - 1)
    protocol[:, 3] = np.minimum(boxes[:, 3] + 1, shape[0] - 1)
    return protocol


def best_iou_per_level(image: NDArray[np.uint8], truth: NDArray[np.integer]) -> NDArray[np.float64]:
    """Best IoU of any contour with any of the ``(m, 4)`` true boxes, at every level: ``(256,)``."""
    empty = float(iou(np.array([NO_BOX]), truth).max())
    boxes, spans = contour_boxes(image)
    best = _best_over_spans(boxes, spans, np.asarray(truth, np.int64))
    best[image.max() :] = empty
    return best


@compiled
def _best_over_spans(
    boxes: NDArray[np.int16], spans: NDArray[np.int16], truth: NDArray[np.int64]
) -> NDArray[np.float64]:
    best = np.zeros(LEVELS)
    for k in range(len(boxes)):
        x0, y0, x1, y1 = np.int64(boxes[k, 0]), np.int64(boxes[k, 1]), np.int64(boxes[k, 2]), np.int64(boxes[k, 3])
        area = (x1 - x0 + 1) * (y1 - y0 + 1)
        highest = 0.0
        for m in range(len(truth)):
            width = min(x1, truth[m, 2]) - max(x0, truth[m, 0]) + 1
            height = min(y1, truth[m, 3]) - max(y0, truth[m, 1]) + 1
            overlap = max(width, 0) * max(height, 0)
            true_area = (truth[m, 2] - truth[m, 0] + 1) * (truth[m, 3] - truth[m, 1] + 1)
            highest = max(highest, overlap / (area + true_area - overlap))
        for level in range(spans[k, 0], spans[k, 1] + 1):
            best[level] = max(best[level], highest)
    return best
