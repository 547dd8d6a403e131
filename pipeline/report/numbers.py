"""The accuracies of a result as the page lays them out: deployed, oracle and baseline, with their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """A localization metric: its name in ``metrics.json`` without the IoU suffix, its label, group and meaning."""

    name: str
    label: str
    group: str
    meaning: str

    @property
    def told(self) -> str:
        """What its group is."""
        return GROUPS[self.group]


DEPLOYED, ORACLE, BASELINE = "Deployed", "Oracle", "Baseline"
GROUPS: Mapping[str, str] = {
    DEPLOYED: "at the one threshold τ: what you get in use",
    ORACLE: "the threshold is picked on these very images: a bound, not a result in use",
    BASELINE: "looks at no image",
}
MEASURES = (
    Measure("gt_known", "GT-known", DEPLOYED, "the box of the true class's map overlaps a true one by the IoU or more"),
    Measure("top1_loc", "Top-1 localization", DEPLOYED, "the same, and the predicted class is right"),
    Measure("top5_loc", "Top-5 localization", DEPLOYED, "the same, and the class is among the five likeliest"),
    Measure("max_box_acc", "MaxBoxAcc", ORACLE, "the best accuracy over all thresholds"),
    Measure("max_box_acc_v2", "MaxBoxAccV2", ORACLE, "every contour of the map is a candidate, each IoU has its own τ"),
    Measure("center_gaussian_max_box_acc", "Centred Gaussian", BASELINE,
            "at its best threshold, as for MaxBoxAcc"),
    Measure("full_image", "Full image", BASELINE, "the whole frame as the box"),
)  # fmt: skip
COVERAGE: Mapping[str, str] = {
    "part_coverage": "of the discriminative part lies inside the foreground at τ",
    "object_coverage": "of the object lies inside the foreground at τ",
    "background_share": "of the foreground at τ is not object",
}
OTHERS: Mapping[str, str] = {
    "cls_top1": "Top-1 classification, %",
    "cls_top5": "Top-5 classification, %",
    "entropy": "mean predictive entropy, nats",
    "mean_iou": "mean IoU at τ, %",
    "map": "mean average precision of classification, %",
    "chance_map": "that of guessing, %",
    "found": "classes shown that are predicted, %",
    "found_loc_iou50": "classes shown that are predicted and localized at IoU 0.5, %",
    "mpxap": "mPxAP, %",
    "center_gaussian_mpxap": "mPxAP of a centred Gaussian, %",
    "miou": "mIoU of the masks of predicted classes, %",
    "gt_known_miou": "mIoU of the masks of true classes, %",
    "center_box_miou": "mIoU of the largest true class in a centred box, %",
    "pxap": "PxAP, %",
    "center_gaussian_pxap": "PxAP of a centred Gaussian, %",
}


@dataclass(frozen=True)
class Value:
    """A number as text, with the ends of its 95 % interval where it has one."""

    text: str
    low: str = ""
    high: str = ""


def value(metrics: Mapping[str, float], name: str, digits: int = 1) -> Value | None:
    """A metric of a split; None where it was not measured."""
    if name not in metrics:
        return None
    texts = [f"{metrics[key]:.{digits}f}" for key in (name, f"{name}_low", f"{name}_high") if key in metrics]
    return Value(*texts) if len(texts) == 3 else Value(texts[0])


def accuracies(
    metrics: Mapping[str, float], deltas: Sequence[float]
) -> dict[str, list[tuple[Measure, list[Value | None]]]]:
    """By group, the measures that were scored on a split, with a value for each IoU criterion."""
    found: dict[str, list[tuple[Measure, list[Value | None]]]] = {}
    for measure in MEASURES:
        values = [value(metrics, f"{measure.name}_{suffix(delta)}") for delta in deltas]
        if any(values):
            found.setdefault(measure.group, []).append((measure, values))
    return found


def beside(metrics: Mapping[str, float]) -> dict[str, Value]:
    """What was measured beside localization, by its label."""
    found = {label: value(metrics, name, 3 if name == "entropy" else 1) for name, label in OTHERS.items()}
    return {label: shown for label, shown in found.items() if shown}


def suffix(delta: float) -> str:
    """``iou50`` of 0.5, as metrics are named."""
    return f"iou{round(100 * delta)}"
