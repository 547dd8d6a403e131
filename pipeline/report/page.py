"""The page: what it says of the numbers, and how they are laid out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from pipeline.report.gallery import Example
from pipeline.report.summary import not_measured
from pipeline.schemas import origin


@dataclass(frozen=True)
class Measure:
    """A localization metric: its name in ``metrics.json`` without the IoU suffix, its label, what it tells."""

    name: str
    label: str
    meaning: str


#: Deployed accuracies first, then the oracle, then what a method must beat.
MEASURES = (
    Measure(
        "gt_known",
        "GT-known",
        "Deployed: the box from the true class's map at the one threshold τ overlaps a true box by at least the IoU.",
    ),
    Measure("top1_loc", "Top-1 localization", "Deployed: the same, and the predicted class is right."),
    Measure("top5_loc", "Top-5 localization", "Deployed: the same, and the class is among the five likeliest."),
    Measure(
        "max_box_acc",
        "MaxBoxAcc",
        "Oracle: the best accuracy over all thresholds, picked on these very images; a bound, not a result in use.",
    ),
    Measure(
        "max_box_acc_v2",
        "MaxBoxAccV2",
        "Oracle: every contour of the map is a candidate box, and each IoU has its own best threshold.",
    ),
    Measure(
        "center_gaussian_max_box_acc",
        "Centred Gaussian",
        "Baseline: a map that never looks at the image, at its best threshold; compare it with MaxBoxAcc.",
    ),
    Measure("full_image", "Full image", "Baseline: the whole frame as the box."),
)
#: Test is the result; the others are folded away.
SPLITS = ("test", "val", "gate")
#: Shown in large figures, at the first of these IoU criteria that was scored.
HEADLINES = ("gt_known", "top1_loc", "top5_loc", "max_box_acc", "center_gaussian_max_box_acc", "full_image")
COVERAGE = {
    "part_coverage": "of the discriminative part lies inside the foreground at τ",
    "object_coverage": "of the object lies inside the foreground at τ",
    "background_share": "of the foreground at τ is not object",
}
OTHERS = {
    "images": "images",
    "cls_top1": "Top-1 classification, %",
    "cls_top5": "Top-5 classification, %",
    "entropy": "mean predictive entropy, nats",
    "mean_iou": "mean IoU at τ, %",
    "pxap": "PxAP, %",
    "center_gaussian_pxap": "PxAP of a centred Gaussian, %",
}
GROUPS = {
    True: {"best": "Best by IoU", "median": "Median by IoU", "worst": "Worst by IoU"},
    False: {"best": "Most confident", "median": "Median confidence", "worst": "Least confident"},
}


def render(
    *,
    metrics: Mapping[str, Any],
    deltas: Sequence[float],
    settings: Mapping[str, Any],
    figures: Mapping[str, str | None],
    gallery: Mapping[str, Sequence[Example]],
) -> str:
    """The whole page as HTML that loads nothing and runs nothing.

    Args:
        metrics: content of ``metrics.json``.
        deltas: the IoU criteria.
        settings: dotted parameter → value.
        figures: ``threshold``, ``loss`` and ``accuracy`` → SVG, or None.
        gallery: ``best``, ``median`` and ``worst`` → examples of test.
    """
    localized = any(name.startswith("gt_known") for name in metrics["test"])
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html.j2").render(
        metrics=metrics,
        localized=localized,
        deltas=deltas,
        suffixes=[_suffix(delta) for delta in deltas],
        headlines=_headlines(metrics["test"], deltas),
        tables={split: _table(metrics.get(split, {}), deltas) for split in SPLITS},
        coverage={name: text for name, text in COVERAGE.items() if name in metrics["test"]},
        others={name: text for name, text in OTHERS.items() if name in metrics["test"]},
        settings=settings,
        threshold_origin=origin(metrics),
        not_measured=not_measured("test", metrics["test"]),
        figures=figures,
        gallery={GROUPS[localized][group]: examples for group, examples in gallery.items() if examples},
    )


def _suffix(delta: float) -> str:
    return f"iou{round(100 * delta)}"


def _headlines(test: Mapping[str, float], deltas: Sequence[float]) -> list[tuple[Measure, float, float]]:
    """(measure, its value, its IoU criterion) at IoU 0.5, or at the first criterion where 0.5 was not scored."""
    delta = 0.5 if 0.5 in deltas else deltas[0]
    chosen = [measure for measure in MEASURES if measure.name in HEADLINES]
    return [(m, test[key], delta) for m in chosen if (key := f"{m.name}_{_suffix(delta)}") in test]


def _table(metrics: Mapping[str, float], deltas: Sequence[float]) -> list[tuple[Measure, list[float | None]]]:
    """A row per measure that was scored: its value for each IoU criterion."""
    rows = [(m, [metrics.get(f"{m.name}_{_suffix(delta)}") for delta in deltas]) for m in MEASURES]
    return [(measure, values) for measure, values in rows if any(value is not None for value in values)]
