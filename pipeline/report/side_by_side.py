"""The page of a comparison: verdict, table, curves, settings, and the images on which the results differ most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from pipeline.evaluation.score_maps import FRAME
from pipeline.report.charts import Chart, line_chart
from pipeline.report.gallery import STEPS, picture, stops
from pipeline.report.page import TEMPLATES, environment

#: Most images that are shown.
MOST = 24
#: Shown where the image itself is not here: the frame of the boxes.
BLANK: Mapping[str, Any] = {"picture": "", "width": FRAME, "height": FRAME}


@dataclass(frozen=True)
class Contestant:
    """One result: its name, τ, its rows of ``per_image.parquet`` sorted by image, and ``threshold_curve.csv``."""

    name: str
    threshold: float | None
    rows: pd.DataFrame
    curve: pd.DataFrame


@dataclass(frozen=True)
class Disagreement:
    """An image with its place among the rows; ``spread`` is the largest difference of IoU, 1 for another class."""

    image_id: str
    place: int
    spread: float


def disagreements(contestants: Sequence[Contestant]) -> list[Disagreement]:
    """The images on which the results differ most; where none has boxes, those of which classes differ.

    Empty where the results were scored on different images.
    """
    ids = contestants[0].rows["image_id"].tolist()
    if any(one.rows["image_id"].tolist() != ids for one in contestants[1:]):
        return []
    overlaps = np.array([one.rows["iou"].to_numpy(np.float64, na_value=np.nan) for one in contestants])
    if np.isnan(overlaps).all():
        classes = np.array([[top[0] for top in one.rows["top5"]] for one in contestants])
        spread = (classes != classes[0]).any(axis=0).astype(np.float64)
    else:
        spread = np.nan_to_num(overlaps.max(axis=0) - overlaps.min(axis=0))
    order = np.argsort(-spread, kind="stable")[:MOST]
    return [Disagreement(str(ids[i]), int(i), float(spread[i])) for i in order if spread[i] > 0]


def curves(contestants: Sequence[Contestant], split: str) -> list[Chart]:
    """One chart per IoU criterion with a line for each result."""
    columns = [name for name in contestants[0].curve.columns if name.startswith(f"{split}_gt_known_iou")]
    charts = []
    for column in columns:
        lines = {}
        for i, one in enumerate(contestants):
            if column in one.curve:
                tried = stops(one.curve["threshold"].to_numpy(), one.curve["threshold"].iloc[0])[: STEPS + 1]
                shown = one.curve[one.curve["threshold"].isin(tried)]
                lines[one.name] = (shown["threshold"].tolist(), shown[column].tolist(), i, i // 4 + i)
        criterion = int(column.rpartition("iou")[2]) / 100
        title = f"GT-known localization on {split} at IoU ≥ {criterion:g} against threshold; upright, the τ in use"
        marks = {one.name: one.threshold for one in contestants}
        charts.append(line_chart(column, title, lines, "threshold τ", "GT-known, %", (0, 1), (0, 100), marks))
    return charts


def render_comparison(
    *,
    split: str,
    images: int,
    contestants: Sequence[Contestant],
    accuracies: Sequence[tuple[str, ...]],
    differences: Mapping[str, Sequence[tuple[str, str, str, str]]],
    settings: Mapping[str, Sequence[str | None]],
    disagreements: Sequence[Disagreement],
    pictures: Mapping[str, tuple[Any, Any]],
    classes: Sequence[str],
) -> str:
    """The page as HTML that loads and runs nothing.

    Args:
        accuracies: rows of the table: label, and a text for each result.
        differences: by name, (metric, difference, interval, verdict) against the first result; empty for other images.
        settings: by key, those that differ.
        pictures: by image, its pixels ``(H, W, 3)`` and true boxes; those that are not here are left out.
        classes: names by label, where they are known.
    """
    shown = [(one, *_shown(one, pictures)) for one in disagreements]
    return environment().get_template("compare.html.j2").render(
        split=split,
        images=images,
        contestants=contestants,
        accuracies=accuracies,
        differences=differences,
        settings=settings,
        charts=curves(contestants, split),
        disagreements=shown,
        classes=dict(enumerate(classes)),
        frame=FRAME,
        style=Markup((TEMPLATES / "page.css").read_text()),
    )  # fmt: skip


def _shown(one: Disagreement, pictures: Mapping[str, tuple[Any, Any]]) -> tuple[Mapping[str, Any], Any]:
    """An image as a picture, and its true boxes."""
    if one.image_id not in pictures:
        return BLANK, []
    pixels, truth = pictures[one.image_id]
    return picture(pixels), truth
