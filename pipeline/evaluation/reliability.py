"""What the score of a box is worth: how often boxes of such a score were right, where the truth is known.

A reliability table as of DeGroot & Fienberg, The Statistician 1983. The score is the probability of the box's class
times the mean of the normalised map inside the box; it is no probability, so the table is what it is read by.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.bootstrap import interval
from pipeline.evaluation.geometry import NO_BOX
from pipeline.evaluation.metrics import percent

#: Scores of the table, each a tenth wide.
BINS = 10
#: IoU from which a box is right.
DELTA = 0.5


def map_mean(values: NDArray[np.float64], box: tuple[int, int, int, int]) -> float:
    """Mean of a map in [0, 1] inside a box of its own frame, last row and column included; 0 where there is none."""
    x0, y0, x1, y1 = box
    return 0.0 if box == NO_BOX else float(values[y0 : y1 + 1, x0 : x1 + 1].mean())


class Reliability:
    """Scored boxes of a split, one an image."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, float, bool]] = []

    def add(self, score: float, overlap: float, class_right: bool) -> None:
        """Count the box of an image.

        Args:
            score: of the box.
            overlap: its IoU with the true box it fits best.
            class_right: its class is the image's.
        """
        self._rows.append((score, overlap, class_right))

    def table(self) -> list[dict[str, Any]]:
        """A row for each tenth of the score that a box was in, lowest first; accuracies in percent.

        ``low`` and ``high`` are the ends of the tenth, ``boxes`` how many were in it, ``score`` their mean;
        ``iou50`` how many of them reach IoU 0.5, ``top1_iou50`` how many do and are of the right class, each with the
        ends of its exact 95 % interval.
        """
        scores, overlaps, right = (np.array([row[i] for row in self._rows]) for i in range(3))
        tenths = np.minimum((scores * BINS).astype(int), BINS - 1)
        found = ((tenth, tenths == tenth) for tenth in range(BINS))
        return [
            {"low": tenth / BINS, "high": (tenth + 1) / BINS, "boxes": int(inside.sum()),
             "score": float(scores[inside].mean()), **_share("iou50", overlaps[inside] >= DELTA),
             **_share("top1_iou50", (overlaps[inside] >= DELTA) & right[inside].astype(bool))}
            for tenth, inside in found if inside.any()
        ]  # fmt: skip


def _share(name: str, hits: NDArray[np.bool_]) -> dict[str, float]:
    low, high = interval(hits)
    return {name: percent(hits), f"{name}_low": low, f"{name}_high": high}
