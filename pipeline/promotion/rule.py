"""The decision whether a challenger takes the champion's place, made of numbers alone.

Both are scored on the same images of the split gate by the same protocol. The primary metric must rise by a least gain,
with a paired interval (:func:`pipeline.evaluation.bootstrap.paired_difference`) above zero and with an exact test
beside it, whose level falls with every challenger that was compared with the champion (see
:mod:`pipeline.evaluation.paired`); and no guard metric may fall by more than a tolerance. Where there is no champion,
the same is asked against baselines that never look at the image. Accuracies are in percent, differences in points of
percent.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.bootstrap import paired_difference
from pipeline.evaluation.paired import gain_p_value, level_at

Verdict = Literal["promoted", "refused"]
CHAMPION = "champion"
#: The split that decides.
GATE = "gate"
#: A limit that is met exactly is met: 57 of 100 images are 56.999… percent in floats.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Rule:
    """What a challenger must achieve.

    Attributes:
        metric: ``gate.NAME`` of the primary metric.
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
        data_hash: of the images and their truth; empty where it is not recorded, which is equal to nothing.
        protocol: stands for the evaluation's settings and code; equal where these are.
        image_ids: the scored images by split, in order.
        values: by metric, what each image contributes, ``(N,)`` in [0, 1]; only metrics that apply to all images.
        baselines: by name, the same of the primary metric for what looks at no image, scored on the same ones.
    """

    run_id: str
    data_hash: str
    protocol: str
    image_ids: Mapping[str, tuple[str, ...]]
    values: Mapping[str, NDArray[np.float64]]
    baselines: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """One metric of both; guards have only the challenger's value where there is no champion.

    Attributes:
        champion: its value, or that of the baseline that stands in for it.
        against: "champion", or the baseline's name.
        p_value: of the exact test; of the primary metric only.
    """

    metric: str
    challenger: float
    champion: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    against: str = CHAMPION
    p_value: float | None = None


@dataclass(frozen=True)
class Decision:
    """What became of the challenger, why, and the numbers it rests on.

    Attributes:
        look: how many challengers had been compared with this champion by then, this one included; None where nothing
            was compared.
    """

    verdict: Verdict
    reason: str
    comparisons: tuple[Comparison, ...] = ()
    look: int | None = None


def decide(rule: Rule, challenger: Contender, champion: Contender | None, look: int) -> Decision:
    """Compare two results by the rule; without a champion the baselines stand in for it.

    Args:
        look: how many challengers have been compared with this champion, this one included.
    """
    if reason := obstacle(rule, challenger, champion):
        return Decision("refused", reason)
    rivals = challenger.baselines if champion is None else {CHAMPION: champion.values[rule.metric]}
    primary = [_gain(rule.metric, challenger, name, values, look) for name, values in rivals.items()]
    guards = [_guard(metric, challenger, champion) for metric in rule.metrics[1:]]
    comparisons = (*primary, *guards)
    objections = [*_below_floor(rule, comparisons), *_objections(rule, comparisons, look)]
    if objections:
        return Decision("refused", "; ".join(objections), comparisons, look)
    return Decision("promoted", "; ".join(map(_change, primary)), comparisons, look)


def obstacle(rule: Rule, challenger: Contender, champion: Contender | None) -> str:
    """Why nothing can be compared, so that no number of the gate is looked at; empty where it can."""
    if reason := shortcoming(rule, challenger):
        return reason
    if champion is None:
        return "" if challenger.baselines else f"there is no baseline for {rule.metric} that a first champion must beat"
    return incomparable(rule, challenger, champion)


def shortcoming(rule: Rule, challenger: Contender) -> str:
    """What a run lacks to compete with anyone; empty where it lacks nothing."""
    if GATE not in challenger.image_ids:
        return (
            "the run has no gate split to decide on: its prepare.gate_fraction is 0, or it is older than that "
            "parameter. Set one, such as 0.1, run again and enter that run"
        )
    if missing := [metric for metric in rule.metrics if metric not in challenger.values]:
        return (
            f"the run was not scored by {' and '.join(missing)}: images of its gate have no boxes. By classification "
            "alone: promote.metric: gate.cls_top1, and no guard that needs boxes"
        )
    return ""


def incomparable(rule: Rule, challenger: Contender, champion: Contender) -> str:
    """Why two results cannot be compared as they were scored; empty where they can."""
    if not challenger.data_hash:
        return "it is not recorded what data the run was scored on: run `python -m pipeline track` where its data is"
    if challenger.data_hash != champion.data_hash:
        return "the champion was scored on other data"
    if challenger.protocol != champion.protocol:
        return "the champion was scored with other evaluation settings or code"
    for metric in rule.metrics:
        split = metric.partition(".")[0]
        if metric not in champion.values or challenger.image_ids[split] != champion.image_ids[split]:
            return f"the champion was not scored by {metric} on the same images"
    return ""


def _gain(metric: str, challenger: Contender, rival: str, first: NDArray[np.float64], look: int) -> Comparison:
    return replace(
        _difference(metric, first, challenger.values[metric]),
        against=rival,
        p_value=gain_p_value(first, challenger.values[metric], level_at(look)),
    )


def _guard(metric: str, challenger: Contender, champion: Contender | None) -> Comparison:
    if champion is None:
        return Comparison(metric, float(100 * challenger.values[metric].mean()))
    return _difference(metric, champion.values[metric], challenger.values[metric])


def _difference(metric: str, first: NDArray[np.float64], second: NDArray[np.float64]) -> Comparison:
    found = paired_difference(first, second)
    values = float(100 * second.mean()), float(100 * first.mean())
    return Comparison(metric, *values, found.difference, found.low, found.high)


def _below_floor(rule: Rule, comparisons: tuple[Comparison, ...]) -> Iterator[str]:
    for found in comparisons:
        if found.metric in rule.guards and found.challenger < rule.floor - ROUNDING:
            yield f"{found.metric} is {found.challenger:.2f} %, at least {rule.floor:g} % are asked"


def _objections(rule: Rule, comparisons: tuple[Comparison, ...], look: int) -> Iterator[str]:
    for found in comparisons:
        if found.difference is None or found.low is None:
            continue
        if found.p_value is not None:
            if found.difference < rule.min_gain - ROUNDING:
                yield f"{_change(found)}, at least +{rule.min_gain:g} are asked"
            elif found.low <= 0:
                yield f"{_change(found)}, the interval is not above zero"
            elif found.p_value > level_at(look):
                yield f"{_change(found)}, p must be at most {level_at(look):.2g}: look {look} at {found.against}"
        elif found.difference < -rule.tolerance - ROUNDING:
            yield f"{_change(found)}, at least -{rule.tolerance:g} are asked"


def _change(found: Comparison) -> str:
    """The difference with its interval; where it is not the champion's, from what; where it was tested, with p."""
    rival = "" if found.against == CHAMPION else f" over {found.against}"
    p_value = "" if found.p_value is None else f" (p = {found.p_value:.2g})"
    return f"{found.metric} {found.difference:+.2f} points{rival} [{found.low:+.2f}, {found.high:+.2f}]{p_value}"
