"""Two results on the same images: what each image contributes to an accuracy, and what the difference says."""

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.bootstrap import PairedDifference, paired_difference

if TYPE_CHECKING:
    import pandas as pd

#: Boxes of no image in particular, by what they are called: their overlaps in the table.
BLIND_BOXES = {"a centred Gaussian": "center_gaussian_iou", "the full image": "full_image_iou"}


def image_values(rows: "pd.DataFrame", name: str) -> NDArray[np.float64] | None:
    """What each image contributes to an accuracy, ``(N,)`` in [0, 1]; NaN where the image lacks what it needs.

    None where all of them do.
    """
    top = re.search(r"top(\d)", name)
    correct = _column(rows, f"top{top[1]}_correct") if top else np.ones(len(rows))
    if name.startswith("cls_") or correct is None:
        return correct
    overlaps = _column(rows, "iou")
    return None if overlaps is None else correct * _hits(overlaps, name)


def baseline_values(rows: "pd.DataFrame", name: str) -> dict[str, NDArray[np.float64]]:
    """The same for answers that look at no image: boxes always at one place, the class always the likeliest here."""
    top = re.search(r"top(\d)", name)
    common = rows["label"].value_counts().index[: int(top[1]) if top else 0]
    correct = np.isin(rows["label"], common).astype(np.float64) if top else np.ones(len(rows))
    if name.startswith("cls_"):
        return {"the most frequent class" if len(common) == 1 else f"the {len(common)} most frequent classes": correct}
    boxes = {label: _column(rows, column) for label, column in BLIND_BOXES.items()}
    found = {label: correct * _hits(overlaps, name) for label, overlaps in boxes.items() if overlaps is not None}
    return {label: values[~np.isnan(values)] for label, values in found.items()}


def _hits(overlaps: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """The overlaps themselves where the metric is their mean, else which of them reach its criterion."""
    percents = re.search(r"iou(\d\d)", name)
    if not percents:
        return overlaps
    return np.where(np.isnan(overlaps), np.nan, overlaps >= int(percents[1]) / 100)


def _column(rows: "pd.DataFrame", name: str) -> NDArray[np.float64] | None:
    """Numbers of the images, NaN where one has none; None where all have none, as in tables older than the column."""
    if name not in rows:
        return None
    found = rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return None if np.isnan(found).all() else found


def difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> PairedDifference | None:
    """How much better the second is on the images where both have a value; None where there is no such image.

    Args:
        first, second: as :func:`image_values` gives them, ``(N,)``, in the same order.
    """
    both = ~np.isnan(first + second)
    return paired_difference(first[both], second[both]) if both.any() else None


def verdict(low: float, high: float) -> str:
    """What the interval of a difference says of the second result, in words."""
    if low > 0:
        return "better"
    return "worse" if high < 0 else "cannot be told apart"
