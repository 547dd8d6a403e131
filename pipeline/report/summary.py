"""The result in one table: what `run` and `show` print."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline import console
from pipeline.errors import UserError
from pipeline.files import EVALUATED_SPLITS, METRICS, REPORT
from pipeline.records import Inputs
from pipeline.results import read_metrics
from pipeline.schemas import origin

#: Rows of the table: the key of ``metrics.json``, and what it says; rows that do not apply to a data set are left out.
ROWS = (
    ("gt_known_iou50", "GT-known localization"),
    ("top1_loc_iou50", "Top-1 localization"),
    ("cls_top1", "Top-1 classification"),
    ("map", "classification, mAP"),
    ("mpxap", "maps, mPxAP"),
    ("miou", "masks of predicted classes, mIoU"),
    ("gt_known_miou", "masks of true classes, mIoU"),
    ("max_box_acc_iou50", "MaxBoxAcc (best threshold)"),
    ("part_coverage", "part covered by the map"),
    ("object_coverage", "object covered by the map"),
    ("center_gaussian_max_box_acc_iou50", "centred Gaussian, MaxBoxAcc"),
    ("center_gaussian_mpxap", "centred Gaussian, mPxAP"),
    ("center_box_miou", "largest class in a centred box, mIoU"),
    ("full_image_iou50", "full-image box"),
)


def show_summary() -> None:
    """Print the table of ``metrics/metrics.json`` and where the report lies.

    Raises:
        UserError: there is no result yet, or it is damaged.
    """
    metrics = read_metrics(Inputs(METRICS))
    title = "Result in percent, boxes at IoU 0.5, with exact 95 % intervals"
    console.table(title, ("", *_splits(metrics)), summary_rows(metrics))
    console.say(f"Threshold {metrics['threshold']:g}, {origin(metrics)}{_why_no_interval(metrics)}.")
    for split in _splits(metrics):
        if note := not_measured(split, metrics[split]):
            console.say(note)
    if (page := REPORT / "index.html").exists():
        console.say(f"Report: {page.absolute()}")


def show_result() -> None:
    """The same after the stages have run, which is what counts: they may measure nothing, or something else."""
    if (METRICS / "metrics.json").exists():
        try:
            show_summary()
        except UserError as error:
            console.warn(f"the result cannot be shown: {error}")


def not_measured(split: str, metrics: Mapping[str, float]) -> str:
    """What the numbers of a split leave out, in a sentence; empty where all images have boxes."""
    images, boxed = metrics["images"], metrics.get("images_with_boxes", metrics["images"])
    if not boxed:
        return f"Localization on {split} is not measured: no image has boxes."
    return f"Localization on {split} is measured on the {boxed:,.0f} of {images:,.0f} images that have boxes." * (
        boxed < images
    )


def _why_no_interval(metrics: Mapping[str, Any]) -> str:
    return "; boxes of val have no interval for that reason" if metrics["threshold_source"] == "val" else ""


def summary_rows(metrics: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Title and values, one per scored split, of every row that applies."""
    for key, title in ROWS:
        cells = [_cell(metrics[split], key) for split in _splits(metrics)]
        if set(cells) != {"–"}:
            yield title, *cells


def _splits(metrics: Mapping[str, Any]) -> list[str]:
    return [split for split in EVALUATED_SPLITS if split in metrics]


def _cell(metrics: Mapping[str, float], key: str) -> str:
    """A value with its 95 % interval, where it has one."""
    if key not in metrics:
        return "–"
    ends = f" [{metrics[f'{key}_low']:.1f}, {metrics[f'{key}_high']:.1f}]" if f"{key}_low" in metrics else ""
    return f"{metrics[key]:.1f}{ends}"
