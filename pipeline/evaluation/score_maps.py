"""Score maps ``(h, w)``: to the protocol's frame and to [0, 1]."""

import cv2
import numpy as np
from numpy.typing import NDArray

#: Side of the evaluation protocol's frame in pixels (Choe et al., "Evaluating weakly supervised object localization
#: methods right", CVPR 2020): maps, boxes and masks are compared there, whatever the image's shape.
FRAME = 224


def resize_map(score_map: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """Bicubic resize to ``(size, size)`` in float64; overshoot beyond the input's range is kept."""
    resized = cv2.resize(score_map.astype(np.float64), (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(resized, dtype=np.float64)


def normalize_map(score_map: NDArray[np.floating]) -> NDArray[np.float64]:
    """Min-max normalise to [0, 1]; a constant map, or one with a NaN or infinity, becomes zeros."""
    score_map = score_map.astype(np.float64)
    low, high = score_map.min(), score_map.max()
    if not (np.isfinite(low) and np.isfinite(high)) or low == high:
        return np.zeros_like(score_map)
    return np.asarray((score_map - low) / (high - low))


def gaussian_map(size: int, sigma: float) -> NDArray[np.float64]:
    """A Gaussian centred in a ``(size, size)`` frame, in (0, 1]: the localizer that never looks at the image."""
    offset = np.arange(size) - (size - 1) / 2
    return np.asarray(np.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / (2 * sigma**2)))
