"""Differences of two results, image by image."""

import numpy as np
import pytest

from pipeline.evaluation.comparison import difference, verdict


def test_only_images_with_a_value_in_both_count():
    first, second = np.array([0.0, 0, 1, np.nan, 0]), np.array([1.0, 0, 1, 1, np.nan])
    found = difference(first, second)
    assert found.difference == pytest.approx(100 / 3)
    assert found.low < 0 < found.high
    assert difference(np.array([np.nan]), np.array([1.0])) is None


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.1, 2, "better"), (-2, -0.1, "worse"), (-1, 1, "cannot be told apart"), (0, 1, None)]
)
def test_an_interval_that_holds_zero_tells_nothing_apart(low, high, said):
    assert verdict(low, high) == (said or "cannot be told apart")
