"""From a map to scored boxes of the original image, by the functions that ``localize`` draws with."""

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.boxes import grey_map, largest_box, largest_boxes
from pipeline.evaluation.geometry import NO_BOX, standard_value, threshold_level, to_image
from pipeline.evaluation.reliability import map_mean
from pipeline.evaluation.score_maps import FRAME, normalize_map, resize_map
from pipeline.predict.record import PredictedBox

#: Components smaller than this share of the frame are noise, where all are drawn.
SMALLEST = 0.005
#: Thresholds of :func:`threshold_steps`.
STEPS = 100

Corners = tuple[int, int, int, int]


def draw_boxes(
    score_map: NDArray[np.floating],
    tau: float,
    percentile: float,
    size: tuple[int, int],
    probability: float,
    every: bool,
) -> list[PredictedBox]:
    """Boxes of a map ``(h, w)``, best first; none where nothing exceeds the threshold.

    Args:
        tau: threshold, a fraction of the standard value.
        percentile: that gives the standard value; 100: the maximum.
        size: width and height of the image.
        probability: of the class.
        every: each connected component, overlapping boxes merged, instead of the largest contour's box.
    """
    grey, values = grey_map(score_map), normalize_map(resize_map(score_map, FRAME))
    level = threshold_level(tau, standard_value(grey, percentile))
    corners = _components(grey, level) if every else [largest_box(grey, level)]
    boxes = [_scored(box, values, size, probability) for box in corners if box != NO_BOX]
    return sorted(boxes, key=lambda box: -box.score)


def _scored(box: Corners, values: NDArray[np.float64], size: tuple[int, int], probability: float) -> PredictedBox:
    mean = map_mean(values, box)
    placed = to_image(np.array([box]), *size, FRAME)[0].tolist()
    return PredictedBox(xyxy=tuple(placed), score=probability * mean, map_mean=mean)


def _components(grey: NDArray[np.uint8], level: int) -> list[Corners]:
    """Boxes of the components of ``grey > level`` of at least the smallest size, overlapping ones merged."""
    count, _, stats, _ = cv2.connectedComponentsWithStats((grey > level).astype(np.uint8), connectivity=8)
    height, width = grey.shape
    boxes = [
        (int(x), int(y), min(int(x + w), width - 1), min(int(y + h), height - 1))
        for x, y, w, h, area in stats[1:count]
        if area >= SMALLEST * grey.size
    ]
    return _merged(boxes)


def _merged(boxes: list[Corners]) -> list[Corners]:
    apart: list[Corners] = []
    for box in boxes:
        while other := next((other for other in apart if _overlap(box, other)), None):
            apart.remove(other)
            box = (*map(min, box[:2], other[:2]), *map(max, box[2:], other[2:]))  # type: ignore[assignment]
        apart.append(box)
    return apart


def _overlap(a: Corners, b: Corners) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def threshold_steps(score_map: NDArray[np.floating], percentile: float, size: tuple[int, int]) -> list[list[float]]:
    """``[100·τ, x0, y0, x1, y1]`` of the largest box, for each hundredth threshold at which it changes."""
    grey = grey_map(score_map)
    standard, boxes = standard_value(grey, percentile), largest_boxes(grey)
    steps: list[list[float]] = []
    for step in range(STEPS):
        box = boxes[threshold_level(step / STEPS, standard)]
        placed = [round(value, 1) for value in to_image(box[None], *size, FRAME)[0].tolist()]
        if not steps or placed != steps[-1][1:]:
            steps.append([step, *placed])
    return steps
