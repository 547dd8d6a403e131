"""The decision on hand-made results: 100 images, of which a given number are right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.bench_promotion import is_false
from pipeline.evaluation.paired import level_at
from pipeline.promotion.rule import Contender, Rule, incomparable
from pipeline.promotion.rule import decide as decide_at

METRIC, GUARD = "gate.gt_known_iou50", "gate.cls_top1"
RULE = Rule(METRIC, min_gain=0.5, guards=(GUARD,), tolerance=1.0, floor=0.0)
N = 100


def decide(rule, challenger, champion, look=1):
    return decide_at(rule, challenger, champion, look)


def contender(run_id, right, classified=90, **changes):
    values = {METRIC: hits(right), GUARD: hits(classified)}
    facts = {"data_hash": "d", "protocol": "p", "image_ids": {"gate": tuple(map(str, range(N)))}, "values": values}
    facts["baselines"] = {"a centred Gaussian": hits(30), "the full image": hits(10)}
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
def test_the_first_champion_must_reach_the_floor(floor, verdict):
    rule = Rule(METRIC, 0.5, (GUARD,), 1.0, floor)
    decision = decide(rule, contender("a", 60, 90), None)
    assert decision.verdict == verdict
    assert decision.comparisons[-1].champion is None


@pytest.mark.parametrize("share", [57, 58, 69, 93])
def test_a_limit_that_is_met_exactly_is_met_whatever_floats_make_of_it(share):
    rule = Rule(METRIC, min_gain=7.0, guards=(GUARD,), tolerance=7.0, floor=float(share))
    assert decide(rule, contender("a", 60, share), None).verdict == "promoted"
    assert decide(rule, contender("b", 97, share), contender("a", 50, share + 7)).verdict == "promoted"


@pytest.mark.parametrize(("right", "verdict"), [(20, "refused"), (30, "refused"), (33, "refused"), (60, "promoted")])
def test_the_first_champion_must_beat_every_baseline_that_looks_at_no_image(right, verdict):
    decision = decide(RULE, contender("a", right), None)
    assert decision.verdict == verdict
    gaussian, whole, guard = decision.comparisons
    assert (gaussian.against, gaussian.champion, whole.against, whole.champion) == (
        "a centred Gaussian", 30.0, "the full image", 10.0,
    )  # fmt: skip
    assert gaussian.difference == pytest.approx(right - 30)
    assert (guard.metric, guard.difference) == (GUARD, None)
    assert "over a centred Gaussian" in decision.reason
    assert decide(RULE, contender("a", 100, baselines={}), None).verdict == "refused"


def test_the_same_gain_is_enough_at_the_first_look_only():
    """8 images won and none lost: p = 1/256, between the levels of the second and the third look."""
    challenger, champion = contender("b", 58), contender("a", 50)
    verdicts = [decide(RULE, challenger, champion, look) for look in (1, 2, 3)]
    assert [decision.verdict for decision in verdicts] == ["promoted", "promoted", "refused"]
    assert [decision.look for decision in verdicts] == [1, 2, 3]
    assert verdicts[0].comparisons[0].p_value == pytest.approx(2**-8)
    assert level_at(2) > 2**-8 > level_at(3)
    assert "p must be at most 0.0034: look 3 at champion" in verdicts[2].reason


def test_an_interval_above_zero_is_not_enough_at_a_later_look():
    """6 images won and none lost: p = 1/64, more than the level of the second look."""
    decision = decide(RULE, contender("b", 56), contender("a", 50), look=2)
    assert decision.comparisons[0].low > 0
    assert (decision.verdict, decision.comparisons[0].p_value) == ("refused", 2**-6)


def test_a_run_without_gate_or_without_boxes_says_what_to_set():
    refused = decide(RULE, contender("b", 90, image_ids={"test": ("0",)}), None)
    assert (refused.verdict, refused.look) == ("refused", None)
    assert "no gate split to decide on: its prepare.gate_fraction is 0" in refused.reason
    refused = decide(RULE, contender("b", 90, values={GUARD: hits(90)}), None)
    assert "promote.metric: gate.cls_top1" in refused.reason


def test_twenty_equal_challengers_bring_a_false_champion_in_at_most_one_of_twenty_sequences():
    """The same sequences have one several times as often where every look is tested as if it were the first."""
    assert sum(is_false(seed, 200) for seed in range(120)) <= 6
    assert sum(is_false(seed, 200, spend=False) for seed in range(30)) >= 3


def test_the_floor_holds_against_a_champion_as_well():
    rule = Rule(METRIC, 0.5, (GUARD,), 100.0, 80.0)
    assert decide(rule, contender("b", 70, 79), contender("a", 50)).verdict == "refused"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data_hash": "other"}, "other data"),
        ({"protocol": "other"}, "other evaluation settings"),
        ({"image_ids": {"gate": ("0",)}}, "the same images"),
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


@pytest.mark.parametrize(("challenger", "champion"), [("", ""), ("", "d"), ("d", "")])
def test_data_that_nobody_recorded_is_equal_to_nothing(challenger, champion):
    first, second = contender("a", 10, data_hash=champion), contender("b", 100, data_hash=challenger)
    assert decide(RULE, second, first).verdict == "refused"


def test_a_challenger_without_the_metric_is_refused():
    decision = decide(RULE, contender("b", 0, values={GUARD: hits(1)}), None)
    assert (decision.verdict, METRIC in decision.reason) == ("refused", True)


@settings(deadline=None, max_examples=30)
@given(first=st.integers(0, N), second=st.integers(0, N))
def test_nobody_is_promoted_both_ways(first, second):
    a, b = contender("a", first), contender("b", second)
    verdicts = {decide(RULE, a, b).verdict, decide(RULE, b, a).verdict}
    assert "refused" in verdicts
    assert decide(RULE, a, a).verdict == "refused"
