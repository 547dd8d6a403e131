"""Pictures to look at: of all images where they are few, else of a sample in which every group of the page occurs."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.geometry import threshold_level
from pipeline.evaluation.score_maps import FRAME, normalize_map, resize_map
from pipeline.report.breakdown import Breakdown

#: Most images with pictures: 600 triptychs are some 10 MB.
MOST = 600
#: The best and the worst images that always belong to them, and images of each group, as long as there is room.
EXTREMES, PER_GROUP = 30, 8
#: Longer side of a picture in pixels, side of a map, which has no details, and the quality of both as WebP, which
#: spends a third of what JPEG does on pictures as small as these.
SIDE, MAP_SIDE, QUALITY = 240, 56, 80
#: Thresholds on the slider: this many equal steps.
STEPS = 100


@dataclass(frozen=True)
class Tile:
    """One image as the page shows it.

    Attributes:
        picture, map: data URIs; the map is of the true class, coloured, and is drawn as large as the picture.
        other_map: of the predicted class where it is another one; empty where it is not.
        width, height: of the picture.
        boxes: the box at every stop of the slider, in the protocol's frame: ``[stop, x0, y0, x1, y1]`` wherever it
            changes.
        truth: true boxes ``(m, 4)`` in the protocol's frame.
    """

    picture: str
    map: str
    other_map: str
    width: int
    height: int
    boxes: list[list[int]]
    truth: list[list[int]]


def sample(facts: pd.DataFrame, groups: Mapping[str, Breakdown], by: str) -> list[int]:
    """Rows of the images that have pictures, in order: all of them, or :data:`MOST`.

    The best and the worst, then one image of each group after the other, then any; equal input gives equal choices.

    Args:
        facts: a row per image.
        groups: of these rows.
        by: column that tells good from bad.
    """
    if len(facts) <= MOST:
        return list(range(len(facts)))
    order = np.argsort(facts[by].to_numpy(np.float64), kind="stable")
    order = order[~np.isnan(facts[by].to_numpy(np.float64)[order])]
    shuffled = np.array(sorted(range(len(facts)), key=lambda row: _shuffle(facts["image_id"].iloc[row])))
    members = [
        shuffled[group.codes[shuffled] == bar.code][:PER_GROUP]
        for group in sorted(groups.values(), key=lambda group: len(group.bars))
        for bar in group.bars
        if bar.images
    ]
    in_turn = (row for round_ in zip_longest(*members) for row in round_ if row is not None)
    chosen: dict[int, None] = {}
    for row in (*order[:EXTREMES], *order[::-1][:EXTREMES], *in_turn, *shuffled):
        chosen.setdefault(int(row))
        if len(chosen) == MOST:
            break
    return sorted(chosen)


def _shuffle(image_id: str) -> bytes:
    return hashlib.blake2b(str(image_id).encode(), digest_size=8).digest()


def chosen(
    shards: Iterable[Mapping[str, NDArray[Any]]], names: Sequence[str], image_ids: set[str]
) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    """Id and arrays of the images asked for; no other image is kept.

    Args:
        shards: with ``image_ids``, and arrays with a row for each of them.
        names: of the arrays to pass on.
    """
    for shard in shards:
        for i, image_id in enumerate(shard["image_ids"].tolist()):
            if image_id in image_ids:
                yield image_id, {name: np.array(shard[name][i]) for name in names}


def stops(thresholds: NDArray[np.float64], tau: float) -> NDArray[np.float64]:
    """The thresholds on the slider, rising: those tried nearest to equal steps, and τ itself.

    Args:
        thresholds: those tried, rising; the accuracy at them is known.
    """
    steps = np.arange(STEPS) / STEPS
    nearest = thresholds[np.abs(thresholds[:, None] - steps).argmin(axis=0)]
    return np.unique([*nearest, tau])


def boxes_by_stop(levels: NDArray[np.int16], standard: float, taus: NDArray[np.float64]) -> list[list[int]]:
    """The box at each of ``taus``, as :attr:`Tile.boxes` has it.

    Args:
        levels: ``(256, 4)``, the box at every grey level.
        standard: grey value that thresholds are a fraction of.
    """
    found: list[list[int]] = []
    for stop, tau in enumerate(taus):
        box = levels[threshold_level(float(tau), standard)].tolist()
        if not found or found[-1][1:] != box:
            found.append([stop, *box])
    return found


def picture(image: NDArray[np.uint8]) -> dict[str, Any]:
    """``picture``, ``width`` and ``height`` of an image ``(H, W, 3)`` RGB, never larger than it is."""
    scale = min(1.0, SIDE / max(image.shape[:2]))
    width, height = (max(1, round(side * scale)) for side in image.shape[1::-1])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return {"picture": _webp(cv2.cvtColor(small, cv2.COLOR_RGB2BGR)), "width": width, "height": height}


def coloured(score_map: NDArray[np.float32]) -> str:
    """Data URI of a map ``(h, w)`` as boxes are drawn on it, in colours from low, dark, to high, yellow."""
    grey = (normalize_map(resize_map(score_map, FRAME)) * 255).astype(np.uint8)
    small = cv2.resize(grey, (MAP_SIDE, MAP_SIDE), interpolation=cv2.INTER_AREA)
    return _webp(cv2.applyColorMap(small, cv2.COLORMAP_VIRIDIS))


def _webp(pixels: NDArray[Any]) -> str:
    done, data = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    assert done
    return "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode()
