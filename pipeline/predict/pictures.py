"""Overlays: the map over the image, with its boxes."""

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.score_maps import normalize_map
from pipeline.predict.record import Prediction

_GREEN = (0, 200, 0)


def overlay(image: NDArray[np.uint8], score_map: NDArray[np.floating], record: Prediction) -> NDArray[np.uint8]:
    """``(H, W, 3)`` RGB of an image ``(H, W, 3)``, its map ``(h, w)`` and the record's boxes."""
    height, width = image.shape[:2]
    values = cv2.resize(normalize_map(score_map).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    heat = cv2.applyColorMap((values.clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_JET)[:, :, ::-1]
    drawn = np.ascontiguousarray(cv2.addWeighted(image, 0.65, np.ascontiguousarray(heat), 0.35, 0))
    across, down = width / record.width, height / record.height
    for box in record.boxes:
        x0, y0, x1, y1 = (round(v * s) for v, s in zip(box.xyxy, (across, down) * 2, strict=True))
        cv2.rectangle(drawn, (x0, y0), (x1, y1), _GREEN, max(1, round(max(width, height) / 200)))
    return np.asarray(drawn, np.uint8)
