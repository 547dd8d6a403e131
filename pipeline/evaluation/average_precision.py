"""Average precision: how well a score ranks the images that show a class before those that do not."""

import numpy as np
from numpy.typing import NDArray


def average_precision(scores: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean over the images that show the class of the precision among all that score as high: in percent.

    The area below the precision–recall curve as steps, not interpolated. Images of one score count together, so that
    the order in which they lie does not matter; a score that is the same for all images gives the share of those that
    show the class.

    Args:
        scores: ``(N,)``.
        labels: ``(N,)``: 1 shows the class, 0 does not, -1 is uncertain and left out, as the PASCAL VOC challenge does.

    Returns:
        NaN where no image shows the class.
    """
    known = labels >= 0
    scores, positive = scores[known], labels[known] == 1
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    scores, found = scores[order], positive[order].cumsum()
    last = np.append(np.diff(scores) != 0, True)  # of the images of one score
    found, taken = found[last], np.flatnonzero(last) + 1
    return float((np.diff(found, prepend=0) * found / taken).sum() / found[-1] * 100)


def average_precisions(scores: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """:func:`average_precision` of every class, ``(C,)``, from scores and labels ``(N, C)``."""
    return np.array([average_precision(*column) for column in zip(scores.T, labels.T, strict=True)])
