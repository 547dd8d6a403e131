import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from benchmarks.bench_intervals import exact, least_coverage, paired_coverage, percentile, wilson
from pipeline.evaluation.bootstrap import interval, paired_difference


@pytest.mark.parametrize(("right", "images"), [(0, 7), (7, 7), (190, 240), (239, 240), (1, 1)])
def test_interval_is_the_exact_one_of_the_binomial(right, images):
    hits = np.arange(images) < right
    reference = binomtest(right, images).proportion_ci(0.95, "exact")
    assert interval(hits) == pytest.approx((100 * reference.low, 100 * reference.high), abs=1e-6)
    assert interval(hits, 0.5)[0] >= interval(hits)[0]


def test_all_right_is_not_certainty():
    low, high = interval(np.ones(240, bool))
    assert (low, high) == (pytest.approx(100 * 0.025 ** (1 / 240)), 100)


@pytest.mark.parametrize("images", [30, 90, 240, 1000])
def test_interval_holds_the_truth_as_often_as_it_says(images):
    assert least_coverage(exact(images))[0] >= 0.95


def test_coverage_is_computed_right():
    """Of the shorter intervals it is known where they fail."""
    assert least_coverage(percentile(240))[0] < 0.4
    assert 0.83 < least_coverage(wilson(30))[0] < 0.85


@pytest.mark.parametrize("wins", [(0.002, 0.01), (0.005, 0.03), (0.1, 0.2)])
def test_interval_of_a_difference_holds_the_truth_with_few_images_too(wins):
    assert paired_coverage(60, wins, draws=500) >= 0.93


def test_paired_difference_of_hits_is_that_of_two_more_images():
    """Bonett & Price: the first alone is right 1 + 1 times, the second 9 + 1, of 100 + 2."""
    first, second = np.arange(100) < 1, (np.arange(100) >= 1) & (np.arange(100) < 10)
    found = paired_difference(first, second)
    assert found.difference == pytest.approx(8)
    middle, spread = 8 / 102, np.sqrt((12 / 102 - (8 / 102) ** 2) / 102)
    assert (found.low + found.high) / 2 == pytest.approx(100 * middle)
    assert (found.high - found.low) / 2 == pytest.approx(198.4 * spread, rel=1e-3)


def test_means_that_are_no_hits_are_compared_by_their_own_spread():
    random = np.random.default_rng(1)
    first = random.uniform(0.3, 0.6, 400)
    second = first + random.normal(0.01, 0.02, 400)
    found = paired_difference(first, second)
    assert 0.6 < found.low < found.difference < found.high < 1.2


def test_paired_difference_sees_a_small_gain_that_single_intervals_hide():
    random = np.random.default_rng(1)
    first = random.random(500) < 0.5
    second = first.copy()
    second[np.flatnonzero(~first)[:15]] = True
    gain = paired_difference(first, second)
    assert gain.difference == pytest.approx(3.0)
    assert 0 < gain.low < 3 < gain.high
    assert gain.p_value == 1 / 1001
    assert interval(first)[1] > interval(second)[0]


def test_five_images_alone_prove_nothing():
    """All five that differ are won by the second: one of 16 assignments of the names is as extreme."""
    second = np.arange(240) < 5
    found = paired_difference(np.zeros(240, bool), second, draws=4000)
    assert found.p_value == pytest.approx(1 / 16, abs=0.015)
    assert found.low < 0


def test_a_run_does_not_differ_from_itself_and_other_images_might_show_a_difference():
    hits = np.random.default_rng(2).random(80) < 0.5
    same = paired_difference(hits, hits)
    assert (same.difference, same.p_value) == (0, 1)
    assert same.low == -same.high < 0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_a_difference_lies_in_its_interval_or_beside_it_by_the_two_images_and_p_is_never_zero(pairs):
    first, second = np.array(pairs).T
    found = paired_difference(first, second, draws=50)
    assert -100 <= found.low <= found.high <= 100
    assert 0 < found.p_value <= 1
    back = paired_difference(second, first, draws=50)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_errors():
    with pytest.raises(ValueError, match="no image was scored"):
        interval(np.zeros(0, bool))
    with pytest.raises(ValueError, match="3 and 4 images"):
        paired_difference(np.zeros(3, bool), np.zeros(4, bool))
