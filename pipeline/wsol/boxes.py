"""From a score map to boxes, exactly as the field's protocol draws them.

Choe et al., "Evaluating weakly supervised object localization methods right", CVPR 2020 / TPAMI 2022. A map in
[0, 1] is quantised to ``uint8(map·255)`` (truncated), thresholded strictly, and boxed by its contours. Boxes are
``xyxy`` in map pixels, with ``x1 ≤ W−1`` and ``y1 ≤ H−1``; they are compared by the *inclusive* IoU (+1 on each
side). Only the 256 integer levels are distinct, so a threshold τ is a look-up: :func:`threshold_level`.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

LEVELS = 256
#: What the protocol writes where there is no contour.
NO_BOX = (0, 0, 0, 0)


def quantize(score_map: NDArray[np.float64]) -> NDArray[np.uint8]:
    """``uint8(map·255)``, truncated, for a map in [0, 1].

    Raises:
        ValueError: a NaN, or a value outside [0, 1].
    """
    if not (score_map.min() >= 0 and score_map.max() <= 1):
        raise ValueError(f"score map must lie in [0, 1], found {score_map.min()} … {score_map.max()}")
    return (score_map * 255).astype(np.uint8)


def standard_value(image: NDArray[np.uint8], percentile: float = 100.0) -> float:
    """The grey value that τ is a fraction of: the maximum (MaS, 100) or a percentile (PaS).

    MaS: Zhou et al., CVPR 2016. PaS: Bae et al., ECCV 2020, section 3.3.
    """
    return float(image.max()) if percentile == 100.0 else float(np.percentile(image, percentile))


def threshold_level(tau: float, standard: float) -> int:
    """The integer level of threshold τ: foreground is ``image > int(τ·standard)``, strictly."""
    return int(tau * standard)


def contours(image: NDArray[np.uint8], level: int) -> list[NDArray[np.int32]]:
    """Every contour of ``image > level``, hole contours included, in the reference's order."""
    _, binary = cv2.threshold(image, level, 255, cv2.THRESH_BINARY)
    return list(cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0])


def contour_box(contour: NDArray[np.int32], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """The protocol's box ``x, y, x+w, y+h`` of one contour, clipped to the last pixel of ``shape`` (H, W)."""
    x, y, width, height = cv2.boundingRect(contour)
    return x, y, min(x + width, shape[1] - 1), min(y + height, shape[0] - 1)


def largest_box(image: NDArray[np.uint8], level: int) -> tuple[int, int, int, int]:
    """Box of the contour with the largest area in ``image > level``; of equals the first (the lower); else NO_BOX."""
    found = contours(image, level)
    if not found:
        return NO_BOX
    return contour_box(max(found, key=cv2.contourArea), (image.shape[0], image.shape[1]))


def largest_boxes(image: NDArray[np.uint8]) -> NDArray[np.int16]:
    """:func:`largest_box` at every level: ``(256, 4)``; level ``L`` thresholds ``image > L``."""
    boxes = np.zeros((LEVELS, 4), np.int16)
    for level in range(int(image.max())):
        boxes[level] = largest_box(image, level)
    return boxes


def all_boxes(image: NDArray[np.uint8], level: int) -> NDArray[np.int16]:
    """Boxes of every contour in ``image > level``: ``(k, 4)``; one NO_BOX where there is none."""
    shape = (image.shape[0], image.shape[1])
    return np.array([contour_box(c, shape) for c in contours(image, level)] or [NO_BOX], np.int16)


def iou(boxes: NDArray[np.integer], others: NDArray[np.integer]) -> NDArray[np.float64]:
    """Inclusive IoU of ``(n, 4)`` against ``(m, 4)`` boxes: ``(n, m)``; a box holds its last row and column."""
    a, b = boxes[:, None].astype(np.int64), others[None].astype(np.int64)
    size = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
    overlap = np.clip(size, 0, None).prod(axis=-1)
    areas = [(box[..., 2:] - box[..., :2] + 1).prod(axis=-1) for box in (a, b)]
    return np.asarray(overlap / (areas[0] + areas[1] - overlap), dtype=np.float64)


def best_iou_per_level(image: NDArray[np.uint8], truth: NDArray[np.integer]) -> NDArray[np.float64]:
    """Best IoU of any contour with any of the ``(m, 4)`` true boxes, at every level: ``(256,)``."""
    best = np.full(LEVELS, iou(np.array([NO_BOX]), truth).max())
    for level in range(int(image.max())):
        best[level] = iou(all_boxes(image, level), truth).max()
    return best


def to_protocol(boxes: NDArray[np.floating], width: int, height: int, size: int) -> NDArray[np.int64]:
    """True boxes ``(m, 4)`` in image pixels, in the protocol's frame: ``int(v·size/side)``, up to ``size``."""
    return (boxes * float(size) / np.array([width, height] * 2, np.float64)).astype(np.int64)


def to_image(boxes: NDArray[np.integer], width: int, height: int, size: int) -> NDArray[np.float64]:
    """Boxes ``(m, 4)`` of the protocol's frame in the image's own pixels."""
    return np.asarray(boxes * (np.array([width, height] * 2) / size), dtype=np.float64)
