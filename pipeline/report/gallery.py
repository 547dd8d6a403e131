"""Examples to look at: the best, the median and the worst images of a split, with box, map and overlay."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.score_maps import FRAME, normalize_map, resize_map

#: Images per group, and the longer side of each picture in pixels.
PER_GROUP = 4
SIDE = 240
JPEG_QUALITY = 82


@dataclass(frozen=True)
class Example:
    """One image as the page shows it.

    Attributes:
        picture, map, overlay: data URIs of pictures of ``width`` × ``height`` pixels.
        predicted_box, true_boxes: ``(x, y, width, height)`` in these pixels.
        label, predicted: names of the true and the predicted class; score: probability of the latter, in [0, 1].
        iou: of the predicted with the best true box, in [0, 1]; None where the image has no box.
    """

    image_id: str
    width: int
    height: int
    picture: str
    map: str
    overlay: str
    predicted_box: tuple[float, ...]
    true_boxes: list[tuple[float, ...]]
    label: str
    predicted: str
    score: float
    iou: float | None


def choose(table: pd.DataFrame, by: str) -> dict[str, list[str]]:
    """Image ids of the best, the median and the worst rows by a column; equal values in the order of their ids.

    Args:
        table: one row per image, with ``image_id`` and the column.

    Returns:
        ``best`` (falling), ``median`` and ``worst`` (rising); no image twice.
    """
    ranked = table.sort_values([by, "image_id"], ascending=[False, True])["image_id"].tolist()
    count = min(PER_GROUP, -(-len(ranked) // 3))
    best, rest = ranked[:count], ranked[count:]
    worst, between = rest[::-1][:count], rest[: max(len(rest) - count, 0)]
    start = max((len(between) - count) // 2, 0)
    return {"best": best, "median": between[start : start + count], "worst": worst}


def chosen_maps(shards: Iterable[dict[str, NDArray[Any]]], image_ids: set[str]) -> dict[str, NDArray[np.float32]]:
    """Maps ``(h, w)`` of the true class for the images asked for; no other map is kept."""
    return {
        str(image_id): shard["maps"][i, 0].copy()
        for shard in shards
        for i, image_id in enumerate(shard["image_ids"])
        if str(image_id) in image_ids
    }


def pictures(image: NDArray[np.uint8], score_map: NDArray[np.float32]) -> dict[str, Any]:
    """Size and data URIs of an image ``(H, W, 3)`` RGB, its map ``(h, w)``, and both blended."""
    scale = SIDE / max(image.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    grey = (normalize_map(resize_map(score_map, FRAME)) * 255).astype(np.uint8)
    colour = cv2.applyColorMap(cv2.resize(grey, size), cv2.COLORMAP_VIRIDIS)
    return {
        "width": size[0],
        "height": size[1],
        "picture": _jpeg(small),
        "map": _jpeg(colour),
        "overlay": _jpeg(cv2.addWeighted(small, 0.5, colour, 0.5, 0)),
    }


def corner_and_size(boxes: NDArray[np.floating], frame: tuple[int, int], shown: tuple[int, int]) -> list[Any]:
    """Boxes ``(m, 4)`` xyxy in a frame of (width, height) as ``(x, y, width, height)`` in the picture shown."""
    scaled = boxes * (np.array(shown * 2) / np.array(frame * 2))
    return [(round(x0, 1), round(y0, 1), round(x1 - x0, 1), round(y1 - y0, 1)) for x0, y0, x1, y1 in scaled.tolist()]


def _jpeg(pixels: NDArray[Any]) -> str:
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
