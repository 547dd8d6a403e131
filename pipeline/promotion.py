"""The decision whether a challenger takes the champion's place, made of numbers alone.

Both are scored on the same images by the same protocol; the primary metric must rise by a least gain, with a paired
interval (:func:`pipeline.wsol.bootstrap.paired_difference`) above zero, and no guard metric may fall by more than a
tolerance. Accuracies are in percent, differences in points of percent.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.wsol.bootstrap import paired_difference

Verdict = Literal["promoted", "refused"]


@dataclass(frozen=True)
class Rule:
    """What a challenger must achieve.

    Attributes:
        metric: ``SPLIT.NAME`` of the primary metric.
        min_gain: by how much it must rise, in points.
        guards: metrics that must not fall.
        tolerance: by how much a guard may fall all the same, in points.
        floor: what every guard must reach, in percent, champion or not.
    """

    metric: str
    min_gain: float
    guards: tuple[str, ...]
    tolerance: float
    floor: float

    @property
    def metrics(self) -> tuple[str, ...]:
        """The primary metric, then the guards."""
        return self.metric, *(guard for guard in self.guards if guard != self.metric)


@dataclass(frozen=True)
class Contender:
    """A scored result.

    Attributes:
        data_hash: of the images and their truth.
        protocol: stands for the evaluation's settings and code; equal where these are.
        image_ids: the scored images by split, in order.
        values: by metric, what each image contributes, ``(N,)`` in [0, 1]; only metrics that apply to all images.
    """

    run_id: str
    data_hash: str
    protocol: str
    image_ids: Mapping[str, tuple[str, ...]]
    values: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Comparison:
    """One metric of both; without a champion only the challenger's value is there."""

    metric: str
    challenger: float
    champion: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Decision:
    """What became of the challenger, why, and the numbers it rests on."""

    verdict: Verdict
    reason: str
    comparisons: tuple[Comparison, ...] = ()


def decide(rule: Rule, challenger: Contender, champion: Contender | None) -> Decision:
    """Compare two results by the rule; without a champion the floor alone decides."""
    if missing := [metric for metric in rule.metrics if metric not in challenger.values]:
        return Decision("refused", f"the run was not scored by {' and '.join(missing)}")
    if champion is not None and (reason := incomparable(rule, challenger, champion)):
        return Decision("refused", reason)
    comparisons = tuple(_compare(metric, challenger, champion) for metric in rule.metrics)
    objections = [*_below_floor(rule, comparisons), *_objections(rule, comparisons)]
    if objections:
        return Decision("refused", "; ".join(objections), comparisons)
    return Decision("promoted", _praise(comparisons[0]), comparisons)


def incomparable(rule: Rule, challenger: Contender, champion: Contender) -> str:
    """Why two results cannot be compared as they were scored; empty where they can."""
    if challenger.data_hash != champion.data_hash:
        return "the champion was scored on other data"
    if challenger.protocol != champion.protocol:
        return "the champion was scored with other evaluation settings or code"
    for metric in rule.metrics:
        split = metric.partition(".")[0]
        if metric not in champion.values or challenger.image_ids[split] != champion.image_ids[split]:
            return f"the champion was not scored by {metric} on the same images"
    return ""


def _compare(metric: str, challenger: Contender, champion: Contender | None) -> Comparison:
    second = challenger.values[metric]
    value = float(100 * second.mean())
    if champion is None:
        return Comparison(metric, value)
    first = champion.values[metric]
    found = paired_difference(first, second)
    return Comparison(metric, value, float(100 * first.mean()), found.difference, found.low, found.high)


def _below_floor(rule: Rule, comparisons: tuple[Comparison, ...]) -> Iterator[str]:
    for found in comparisons:
        if found.metric in rule.guards and found.challenger < rule.floor:
            yield f"{found.metric} is {found.challenger:.2f} %, at least {rule.floor:g} % are asked"


def _objections(rule: Rule, comparisons: tuple[Comparison, ...]) -> Iterator[str]:
    for found in comparisons:
        if found.difference is None or found.low is None:
            continue
        if found.metric == rule.metric:
            if found.difference < rule.min_gain:
                yield f"{_change(found)}, at least +{rule.min_gain:g} are asked"
            elif found.low <= 0:
                yield f"{_change(found)}, the interval is not above zero"
        elif found.difference < -rule.tolerance:
            yield f"{_change(found)}, at least -{rule.tolerance:g} are asked"


def _praise(primary: Comparison) -> str:
    if primary.difference is None:
        return f"the first champion, {primary.metric} is {primary.challenger:.2f} %"
    return _change(primary)


def _change(found: Comparison) -> str:
    return f"{found.metric} {found.difference:+.2f} points [{found.low:+.2f}, {found.high:+.2f}]"
