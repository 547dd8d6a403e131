"""Boxes as numbers: comparing them, the level of a threshold, and the way between an image and the protocol's frame.

Boxes are ``xyxy`` in the frame's pixels, as :mod:`pipeline.evaluation.boxes` draws them.
"""

import numpy as np
from numpy.typing import NDArray

#: What the protocol writes where there is no contour.
NO_BOX = (0, 0, 0, 0)


def standard_value(image: NDArray[np.uint8], percentile: float = 100.0) -> float:
    """The grey value that τ is a fraction of: the maximum (MaS, 100) or a percentile (PaS).

    MaS: Zhou et al., CVPR 2016. PaS: Bae et al., ECCV 2020, section 3.3.
    """
    return float(image.max()) if percentile == 100.0 else float(np.percentile(image, percentile))


def threshold_level(tau: float, standard: float) -> int:
    """The integer level of threshold τ: foreground is ``image > int(τ·standard)``, strictly."""
    return int(tau * standard)


def iou(boxes: NDArray[np.integer], others: NDArray[np.integer]) -> NDArray[np.float64]:
    """Inclusive IoU of ``(n, 4)`` against ``(m, 4)`` boxes: ``(n, m)``; a box holds its last row and column."""
    a, b = boxes[:, None].astype(np.int64), others[None].astype(np.int64)
    size = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
    overlap = np.clip(size, 0, None).prod(axis=-1)
    areas = [(box[..., 2:] - box[..., :2] + 1).prod(axis=-1) for box in (a, b)]
    return np.asarray(overlap / (areas[0] + areas[1] - overlap), dtype=np.float64)


def to_protocol(boxes: NDArray[np.floating], width: int, height: int, size: int) -> NDArray[np.int64]:
    """True boxes ``(m, 4)`` in image pixels, in the protocol's frame: ``int(v·size/side)``, up to ``size``."""
    return (boxes * float(size) / np.array([width, height] * 2, np.float64)).astype(np.int64)


def to_image(boxes: NDArray[np.integer], width: int, height: int, size: int) -> NDArray[np.float64]:
    """Boxes ``(m, 4)`` of the protocol's frame in the image's own pixels."""
    return np.asarray(boxes * (np.array([width, height] * 2) / size), dtype=np.float64)
