"""The result in words: how good, against what, what changed, and what fails most."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.comparison import BLIND_BOXES, difference, image_values, verdict
from pipeline.report.breakdown import Breakdown
from pipeline.report.facts import DELTA
from pipeline.report.numbers import suffix, value

#: Accuracies that two results are compared by, and what they are called in a sentence.
COMPARED: Mapping[str, str] = {
    f"gt_known_{suffix(DELTA)}": "GT-known localization",
    f"top1_loc_{suffix(DELTA)}": "Top-1 localization",
    "cls_top1": "Top-1 classification",
}


@dataclass(frozen=True)
class Sentence:
    """One sentence of the verdict; ``tone`` is "better", "worse" or empty, and decides its mark."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Earlier:
    """The result that this one is compared with.

    Attributes:
        scored: its ``per_image.parquet``, of the same split.
        settings: by dotted key.
        made_from: identities of what it was made from, by output.
        threshold: its τ.
        commit: of its training.
    """

    scored: pd.DataFrame
    settings: Mapping[str, Any]
    made_from: Mapping[str, str]
    threshold: float
    commit: str


def sentences(
    metrics: Mapping[str, Any], scored: pd.DataFrame, groups: Mapping[str, Breakdown], split: str
) -> Iterator[Sentence]:
    """How good the result is by itself and against a map that looks at nothing.

    Args:
        metrics: content of ``metrics.json``.
        scored: ``per_image.parquet`` of the split.
        groups: breakdowns of its images.
    """
    own = metrics[split]
    localized = value(own, f"gt_known_{suffix(DELTA)}")
    classified = value(own, "cls_top1")
    if localized:
        yield Sentence(
            f"The box is right (IoU ≥ {DELTA:g} with a true box) on {localized.text} % of the {_counted(own)} of "
            f"{split}{_ends(localized.low, localized.high)}."
        )
        yield from _against_gaussian(scored)
        yield from _oracle(metrics, own)
    if classified:
        yield Sentence(
            f"The class is right on {classified.text} %{_ends(classified.low, classified.high)}.",
        )
    if "kind" in groups:
        yield from _what_fails(groups["kind"])


def _counted(own: Mapping[str, float]) -> str:
    return "classes that are shown by the images" if "classes_with_boxes" in own else "images"


def _ends(low: str, high: str) -> str:
    return f", 95 % interval {low} to {high}" if low else ""


def _against_gaussian(scored: pd.DataFrame) -> Iterator[Sentence]:
    name = next(iter(BLIND_BOXES))
    blind = scored.assign(iou=scored[BLIND_BOXES[name]]) if BLIND_BOXES[name] in scored else scored
    metric = f"gt_known_{suffix(DELTA)}"
    if change := compared(image_values(blind, metric), image_values(scored, metric), f"box of {name}"):
        yield change


def compared(first: NDArray[np.float64] | None, second: NDArray[np.float64] | None, rival: str) -> Sentence | None:
    """A difference in words; None where one of the two was not measured.

    Args:
        first, second: what each image contributes, of the rival and of the result.
    """
    found = None if first is None or second is None else difference(first, second)
    if found is None:
        return None
    said, change = verdict(found.low, found.high), f"{abs(found.difference):.1f} points"
    interval = f"paired 95 % interval {found.low:+.1f} to {found.high:+.1f}"
    if said == "cannot be told apart":
        return Sentence(f"It cannot be told apart from the {rival}: {found.difference:+.1f} points, {interval}.")
    return Sentence(f"That is {change} {said} than the {rival}, {interval}.", said)


def _oracle(metrics: Mapping[str, Any], own: Mapping[str, float]) -> Iterator[Sentence]:
    best, deployed = own.get(f"max_box_acc_{suffix(DELTA)}"), own[f"gt_known_{suffix(DELTA)}"]
    if best is not None:
        gain = best - deployed
        yield Sentence(
            f"No other threshold would be right more often on these images than τ = {metrics['threshold']:.3g}."
            if gain < 0.05
            else f"Another threshold than τ = {metrics['threshold']:.3g} would gain {gain:.1f} points at most."
        )


def _what_fails(kinds: Breakdown) -> Iterator[Sentence]:
    failed = [bar for bar in kinds.bars[1:] if bar.images]
    if failed:
        most = max(failed, key=lambda bar: bar.images)
        total = sum(bar.images for bar in failed)
        share = "all" if most.images == total else f"{most.images:,}"
        yield Sentence(f"Of {total:,} images that fail, {share} are of the kind “{most.label}”.")


def against_earlier(scored: pd.DataFrame, earlier: Earlier) -> Iterator[Sentence]:
    """The same images' accuracies now and before, one sentence each."""
    old = earlier.scored.set_index("image_id")
    if set(old.index) != set(scored["image_id"]):
        yield Sentence("The previous result was scored on other images, so no difference is given.")
        return
    old = old.loc[scored["image_id"]].reset_index()
    for metric, label in COMPARED.items():
        first, second = image_values(old, metric), image_values(scored, metric)
        found = None if first is None or second is None else difference(first, second)
        if found:
            said = verdict(found.low, found.high)
            yield Sentence(
                f"{label}: {found.difference:+.1f} points, paired 95 % interval {found.low:+.1f} to {found.high:+.1f}: "
                f"{said}.",
                said if said in ("better", "worse") else "",
            )


def changes(
    settings: Mapping[str, Any], made_from: Mapping[str, str], threshold: float, commit: str, earlier: Earlier
) -> list[tuple[str, str, str]]:
    """What differs from the earlier result: (what, before, now) as texts."""
    keys = [*settings, *(key for key in earlier.settings if key not in settings)]
    found = [(key, _text(earlier.settings, key), _text(settings, key)) for key in keys]
    found.append(("threshold τ", f"{earlier.threshold:.3g}", f"{threshold:.3g}"))
    for folder, name in {"data/prepared": "data", "models": "model", "cams": "maps"}.items():
        found.append((name, earlier.made_from.get(folder, "")[:12], made_from.get(folder, "")[:12]))
    found.append(("commit of the training", earlier.commit[:12], commit[:12]))
    return [(what, before or "–", now or "–") for what, before, now in found if before != now]


def _text(settings: Mapping[str, Any], key: str) -> str:
    return str(settings[key]) if key in settings else ""
