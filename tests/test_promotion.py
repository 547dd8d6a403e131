"""The decision on hand-made results: 100 images, of which a given number are right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.promotion import Contender, Rule, decide, incomparable

METRIC, GUARD = "test.gt_known_iou50", "test.cls_top1"
RULE = Rule(METRIC, min_gain=0.5, guards=(GUARD,), tolerance=1.0, floor=0.0)
N = 100


def contender(run_id, right, classified=90, **changes):
    values = {METRIC: hits(right), GUARD: hits(classified)}
    facts = {"data_hash": "d", "protocol": "p", "image_ids": {"test": tuple(map(str, range(N)))}, "values": values}
    return Contender(run_id, **facts | changes)


def hits(right):
    return (np.arange(N) < right).astype(np.float64)


def test_a_clear_gain_is_promoted_with_its_numbers():
    decision = decide(RULE, contender("b", 70), contender("a", 50))
    assert decision.verdict == "promoted"
    primary, guard = decision.comparisons
    assert (primary.metric, primary.champion, primary.challenger, primary.difference) == (METRIC, 50.0, 70.0, 20.0)
    assert 0 < primary.low < 20 < primary.high
    assert (guard.metric, guard.difference) == (GUARD, 0.0)
    assert guard.low == -guard.high < 0
    assert METRIC in decision.reason


@pytest.mark.parametrize("right", [50, 40, 0])
def test_no_gain_is_refused(right):
    decision = decide(RULE, contender("b", right), contender("a", 50))
    assert (decision.verdict, "at least +0.5 are asked" in decision.reason) == ("refused", True)


def test_a_gain_whose_interval_reaches_zero_is_refused():
    decision = decide(RULE, contender("b", 51), contender("a", 50))
    assert decision.comparisons[0].difference == pytest.approx(1.0)
    assert decision.comparisons[0].low < 0
    assert (decision.verdict, "interval is not above zero" in decision.reason) == ("refused", True)


def test_a_gain_below_the_least_is_refused_however_certain():
    rule = Rule(METRIC, min_gain=20.5, guards=(), tolerance=1.0, floor=0.0)
    decision = decide(rule, contender("b", 70), contender("a", 50))
    assert decision.comparisons[0].low > 0
    assert decision.verdict == "refused"


@pytest.mark.parametrize(("classified", "verdict"), [(95, "promoted"), (89, "promoted"), (88, "refused")])
def test_a_guard_may_fall_by_the_tolerance_only(classified, verdict):
    decision = decide(RULE, contender("b", 70, classified), contender("a", 50, 90))
    assert decision.verdict == verdict
    assert (GUARD in decision.reason) == (verdict == "refused")


@pytest.mark.parametrize(("floor", "verdict"), [(0.0, "promoted"), (90.0, "promoted"), (90.5, "refused")])
def test_the_first_champion_must_reach_the_floor_only(floor, verdict):
    rule = Rule(METRIC, 0.5, (GUARD,), 1.0, floor)
    decision = decide(rule, contender("a", 10, 90), None)
    assert decision.verdict == verdict
    assert decision.comparisons[0].champion is None


def test_the_floor_holds_against_a_champion_as_well():
    rule = Rule(METRIC, 0.5, (GUARD,), 100.0, 80.0)
    assert decide(rule, contender("b", 70, 79), contender("a", 50)).verdict == "refused"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data_hash": "other"}, "other data"),
        ({"protocol": "other"}, "other evaluation settings"),
        ({"image_ids": {"test": ("0",)}}, "the same images"),
        ({"values": {METRIC: hits(1)}}, GUARD),
    ],
)
def test_what_was_scored_otherwise_is_not_compared(changes, reason):
    champion = contender("a", 0, **changes)
    decision = decide(RULE, contender("b", 100), champion)
    assert decision.verdict == "refused"
    assert reason in decision.reason
    assert decision.comparisons == ()
    assert incomparable(RULE, contender("b", 100), champion) == decision.reason


def test_a_challenger_without_the_metric_is_refused():
    decision = decide(RULE, contender("b", 0, values={GUARD: hits(1)}), None)
    assert (decision.verdict, METRIC in decision.reason) == ("refused", True)


@given(first=st.integers(0, N), second=st.integers(0, N))
def test_nobody_is_promoted_both_ways(first, second):
    a, b = contender("a", first), contender("b", second)
    verdicts = {decide(RULE, a, b).verdict, decide(RULE, b, a).verdict}
    assert "refused" in verdicts
    assert decide(RULE, a, a).verdict == "refused"
