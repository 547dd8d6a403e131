"""The data card: how many images, of which classes, where their objects lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: Side of the grid on which the places of objects are counted.
GRID = 12


@dataclass(frozen=True)
class Card:
    """Facts of a data set.

    Attributes:
        splits: by name: images, images with boxes, boxes, images of the rarest and of the commonest class.
        facts: (what, value) as texts, of the true boxes of all splits.
        places: ``(GRID, GRID)`` share of the boxes that cover each cell of the squashed image, in [0, 1]; None
            without boxes.
    """

    splits: Mapping[str, tuple[int, int, int, int, int]]
    facts: Sequence[tuple[str, str]]
    places: Sequence[Sequence[float]] | None


def data_card(
    rows: pd.DataFrame, splits: Sequence[str], classes: Sequence[str], equal_images: Mapping[str, Any]
) -> Card:
    """Facts of a manifest.

    Args:
        rows: of the manifest.
        splits: that are shown, in order.
        classes: names by label.
        equal_images: as ``dataset.json`` has it.
    """
    parts = {split: rows[rows["split"] == split] for split in splits}
    counted = {split: _counts(part, len(classes)) for split, part in parts.items() if len(part)}
    relative = _relative(rows)
    facts = [("classes", f"{len(classes):,}"), *_box_facts(relative), *_equal(equal_images)]
    return Card(counted, facts, _places(relative).tolist() if len(relative) else None)


def _counts(part: pd.DataFrame, classes: int) -> tuple[int, int, int, int, int]:
    boxes = part["boxes"].str.len()
    per_class = np.bincount([int(label) for labels in part["labels"] for label in labels], minlength=classes)
    return len(part), int((boxes > 0).sum()), int(boxes.sum()), int(per_class.min()), int(per_class.max())


def _relative(rows: pd.DataFrame) -> NDArray[np.float64]:
    """All boxes ``(B, 4)`` xyxy as shares of their images' sides."""
    counts = rows["boxes"].str.len()
    boxes = np.array([list(box) for some in rows["boxes"] for box in some], np.float64).reshape(-1, 4)
    sides = np.repeat(rows[["width", "height"]].to_numpy(np.float64), counts, axis=0)
    return np.asarray(boxes / np.tile(sides, 2))


def _box_facts(boxes: NDArray[np.float64]) -> list[tuple[str, str]]:
    if not len(boxes):
        return [("true boxes", "none")]
    sizes = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
    low, middle, high = np.quantile(sizes, (0.05, 0.5, 0.95))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    hidden = ((boxes[:, :2] < 0.5) & (boxes[:, 2:] > 0.5)).all(axis=1).mean()
    return [
        ("true boxes", f"{len(boxes):,}"),
        ("box size, root of its share of the image", f"{middle:.2f}, nine in ten from {low:.2f} to {high:.2f}"),
        ("mean centre, as shares of width and height", f"{centres[:, 0].mean():.2f}, {centres[:, 1].mean():.2f}"),
        ("spread of the centre, standard deviation", f"{centres[:, 0].std():.2f}, {centres[:, 1].std():.2f}"),
        ("boxes that hold the image's centre", f"{hidden:.0%}"),
    ]


def _equal(equal_images: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Counts of images of equal content, under the names that ``dataset.json`` gives them."""
    return [(name.replace("_", " "), f"{count:,}") for name, count in equal_images.items() if isinstance(count, int)]


def _places(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    cells = (np.arange(GRID) + 0.5) / GRID
    across = ((boxes[:, None, 0] <= cells) & (cells < boxes[:, None, 2])).astype(np.float64)
    down = ((boxes[:, None, 1] <= cells) & (cells < boxes[:, None, 3])).astype(np.float64)
    return np.asarray((down.T @ across / len(boxes)).round(3))
