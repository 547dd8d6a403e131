"""The exact paired test against counting by hand, and the levels of all looks together."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.paired import ALPHA, gain_p_value, level_at

HITS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


def p_of(first, second, level=0.05):
    return gain_p_value(np.array(first, float), np.array(second, float), level)


def counted(gains):
    """Share of all sign flips whose sum is at least this large."""
    flips = [np.dot(signs, np.abs(gains)) for signs in itertools.product((-1, 1), repeat=len(gains))]
    return np.mean(np.array(flips) >= np.sum(gains) - 1e-12)


def test_of_right_and_wrong_only_the_images_that_differ_count():
    assert p_of([0] * 5 + [1] * 50, [1] * 5 + [1] * 50) == pytest.approx(2**-5)
    # 6 won, 1 lost: 8 of the 128 ways are as good or better.
    assert p_of([0] * 6 + [1], [1] * 6 + [0]) == pytest.approx(8 / 128)


@pytest.mark.parametrize("hits", [[0, 0], [1, 1], [1, 0]])
def test_runs_that_do_not_differ_are_not_told_apart(hits):
    assert p_of(hits, hits) == 1.0


@settings(deadline=None)
@given(HITS)
def test_a_p_value_is_never_zero_and_a_gain_one_way_is_none_the_other(pairs):
    first, second = np.array(pairs, float).T
    there, back = gain_p_value(first, second, 0.05), gain_p_value(second, first, 0.05)
    assert 0 < there <= 1
    assert there + back >= 1


def test_of_overlaps_all_sign_flips_are_counted_where_they_are_few():
    gains = [0.3, 0.2, -0.1, 0.05, 0.4, -0.05]
    assert p_of([0.5] * 6, np.add(0.5, gains)) == pytest.approx(counted(gains))


def test_of_many_overlaps_enough_flips_are_drawn_to_tell_p_at_the_level():
    gains = np.random.default_rng(0).uniform(0.1, 0.2, 60)
    for level in (0.05, 0.001):
        assert 0 < p_of(np.zeros(60), gains, level) < level / 10


def test_the_levels_of_all_looks_sum_up_to_alpha():
    levels = [level_at(look) for look in range(1, 2001)]
    assert levels[0] == pytest.approx(0.0304, abs=1e-4)
    assert levels[1] == pytest.approx(levels[0] / 4)
    assert 0.999 * ALPHA < sum(levels) < ALPHA


@pytest.mark.parametrize("images", [900, 1200, 5000])
def test_p_is_never_zero_however_clear_the_gain(images):
    p_value = gain_p_value(np.zeros(images), np.ones(images), 0.05)
    assert 0 < p_value < 1e-200
