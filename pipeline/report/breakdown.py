"""Images in groups: where localization fails, how its numbers are distributed. Each group leads to its images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.bootstrap import interval
from pipeline.report.facts import DELTA, KINDS

#: Bins of a distribution.
BINS = 10


@dataclass(frozen=True)
class Bar:
    """One group of a breakdown.

    Attributes:
        code: of the group, as :class:`Breakdown` has it for each image.
        images: how many belong to it.
        share: of all images that belong to some group, in percent.
        accuracy: GT-known localization in percent with the ends of its interval; None where it was not measured.
    """

    label: str
    code: int
    images: int
    share: float
    accuracy: tuple[float, float, float] | None


@dataclass(frozen=True)
class Breakdown:
    """Images in groups.

    Attributes:
        key: its name on the page.
        codes: group of each image ``(N,)``; -1 where it belongs to none.
        bars: the groups, in order.
    """

    key: str
    title: str
    codes: NDArray[np.int64]
    bars: Sequence[Bar]

    @property
    def worst_first(self) -> list[Bar]:
        """The groups that have images, the one with the lowest accuracy first; larger ones first where it is equal."""
        there = [bar for bar in self.bars if bar.images]
        return sorted(there, key=lambda bar: (bar.accuracy[0] if bar.accuracy else 0.0, -bar.images, bar.code))


@dataclass(frozen=True)
class Ranges:
    """Upper ends of ranges of a column and what each is called; the last range has no end."""

    column: str
    title: str
    ends: tuple[float, ...]
    labels: tuple[str, ...]


RANGES: Mapping[str, Ranges] = {
    "size": Ranges("size", "Object size", (0.2, 0.4, 0.6, 0.8),
                   ("up to 0.2 of the side", "0.2 to 0.4", "0.4 to 0.6", "0.6 to 0.8", "above 0.8")),
    "aspect": Ranges("aspect", "Aspect, width to height", (0.5, 0.8, 1.25, 2.0),
                     ("up to 1:2, tall", "1:2 to 4:5", "about square", "5:4 to 2:1", "above 2:1, wide")),
    "position": Ranges("off_centre", "Distance from the centre", (0.1, 0.25, 0.5),
                       ("up to 0.1 of the half diagonal", "0.1 to 0.25", "0.25 to 0.5", "above 0.5")),
    "objects": Ranges("objects", "Number of objects", (1, 2, 4), ("1", "2", "3 or 4", "5 or more")),
}  # fmt: skip


def breakdowns(facts: pd.DataFrame, classes: Sequence[str]) -> dict[str, Breakdown]:
    """All groups that apply, by key.

    Args:
        facts: as :func:`pipeline.report.facts.image_facts` gives them.
    """
    hits = np.where(facts["iou"].isna(), np.nan, facts["iou"] >= DELTA)
    found = [_group("label", "Class", facts["label"].to_numpy(np.int64), classes, hits)]
    if not np.isnan(hits).all():
        kinds = {kind: code for code, kind in enumerate(KINDS)} | {"": -1}
        found += [
            _group("kind", "Kind of outcome", np.array([kinds[kind] for kind in facts["kind"]]), list(KINDS), hits)
        ]
        found += [_ranged(key, facts, hits) for key in RANGES]
        found += [_distribution("iou", "IoU with the best true box", facts["iou"], 1.0, hits)]
    found += [_distribution("score", "Probability of the predicted class", facts["score"], 1.0, hits)]
    if facts["entropy"].notna().any():
        most = float(np.log(len(classes))) or 1.0
        found += [_distribution("entropy", "Predictive entropy, nats", facts["entropy"], most, hits)]
    return {one.key: one for one in found}


def _ranged(key: str, facts: pd.DataFrame, hits: NDArray[np.float64]) -> Breakdown:
    ranges = RANGES[key]
    values = facts[ranges.column].to_numpy(np.float64)
    codes: NDArray[np.int64] = np.searchsorted(ranges.ends, values).astype(np.int64)
    codes[np.isnan(values)] = -1
    return _group(key, ranges.title, codes, ranges.labels, hits)


def _distribution(key: str, title: str, column: pd.Series, most: float, hits: NDArray[np.float64]) -> Breakdown:
    """Equal bins from 0 to ``most``, which belongs to the last one."""
    values = column.to_numpy(np.float64, na_value=np.nan)
    bins = np.clip(np.nan_to_num(values) / most * BINS, 0, BINS - 1).astype(np.int64)
    edges = [f"{most * i / BINS:.3g}" for i in range(BINS + 1)]
    labels = [f"{low} to {high}" for low, high in pairwise(edges)]
    return _group(key, title, np.where(np.isnan(values), -1, bins), labels, hits)


def _group(
    key: str, title: str, codes: NDArray[np.int64], labels: Sequence[str], hits: NDArray[np.float64]
) -> Breakdown:
    sizes = np.bincount(codes[codes >= 0], minlength=len(labels))
    measured = (codes >= 0) & ~np.isnan(hits)
    boxed = np.bincount(codes[measured], minlength=len(labels))
    right = np.bincount(codes[measured], weights=hits[measured], minlength=len(labels))
    total = max(int(sizes.sum()), 1)
    bars = [
        Bar(label, code, int(sizes[code]), 100 * sizes[code] / total, _accuracy(int(right[code]), int(boxed[code])))
        for code, label in enumerate(labels)
    ]
    return Breakdown(key, title, codes, bars)


def _accuracy(right: int, images: int) -> tuple[float, float, float] | None:
    if not images:
        return None
    return 100 * right / images, *interval(np.arange(images) < right)
