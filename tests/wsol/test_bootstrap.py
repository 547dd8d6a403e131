import numpy as np
import pytest

from pipeline.wsol.bootstrap import interval, paired_difference


def test_interval_of_an_accuracy_is_that_of_the_binomial_it_draws_from():
    hits = np.arange(400) < 240
    low, high = interval(hits, draws=4000)
    spread = 1.96 * np.sqrt(0.6 * 0.4 / 400) * 100
    assert low == pytest.approx(60 - spread, abs=0.5)
    assert high == pytest.approx(60 + spread, abs=0.5)


def test_interval_of_a_constant_has_no_width():
    assert interval(np.full(7, 0.25)) == (25.0, 25.0)
    assert interval(np.ones((5, 3, 4), bool)) == (100.0, 100.0)


def test_same_seed_same_interval():
    hits = np.random.default_rng(3).random((50, 9)) < 0.5
    assert interval(hits) == interval(hits)
    assert interval(hits) != interval(hits, seed=1)


def test_threshold_is_chosen_anew_in_every_draw():
    """Of two thresholds that are right on complementary images the better one reaches at least half in any draw."""
    right = np.arange(40) % 2 == 0
    low, _ = interval(np.stack([right, ~right], axis=1))
    assert low >= 50
    assert interval(right)[0] < 50


def test_v2_is_the_mean_of_the_criteria_in_every_draw():
    random = np.random.default_rng(0)
    hits = random.random((60, 5)) < 0.4
    assert interval(np.stack([hits, hits], axis=1)) == pytest.approx(interval(hits))


def test_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    ends = [interval(random.random(200) < 0.7, draws=300, seed=k) for k in range(200)]
    covered = np.mean([low <= 70 <= high for low, high in ends])
    assert 0.90 <= covered <= 0.985


def test_paired_difference_sees_a_small_gain_that_single_intervals_hide():
    random = np.random.default_rng(1)
    first = random.random(500) < 0.5
    second = first.copy()
    second[np.flatnonzero(~first)[:15]] = True
    gain = paired_difference(first, second)
    assert gain.difference == pytest.approx(3.0)
    assert 0 < gain.low < 3 < gain.high
    assert gain.p_value == 0
    assert interval(first)[1] > interval(second)[0]


def test_a_run_does_not_differ_from_itself():
    hits = np.random.default_rng(2).random((80, 6)) < 0.5
    same = paired_difference(hits, hits)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_errors():
    with pytest.raises(ValueError, match="no image was scored"):
        interval(np.zeros(0, bool))
    with pytest.raises(ValueError, match="3 and 4 images"):
        paired_difference(np.zeros(3, bool), np.zeros(4, bool))
