"""Maps on tensors small enough to compute by hand."""

import cv2
import numpy as np
import pytest

from pipeline.evaluation.score_maps import gaussian_map, normalize_map, resize_map


def test_normalize_maps_the_range_to_zero_and_one():
    np.testing.assert_array_equal(normalize_map(np.array([[-1.0, 0.0], [1.0, 3.0]])), [[0, 0.25], [0.5, 1]])


@pytest.mark.parametrize("bad", [7.0, np.nan, np.inf])
def test_a_map_without_range_becomes_zeros(bad):
    score_map = np.full((3, 4), 7.0)
    score_map[0, 0] = bad
    np.testing.assert_array_equal(normalize_map(score_map), np.zeros((3, 4)))


def test_resize_is_bicubic_in_double_precision():
    score_map = np.random.default_rng(0).random((7, 7)).astype(np.float32)
    resized = resize_map(score_map, 224)
    assert resized.dtype == np.float64
    assert resized.shape == (224, 224)
    expected = cv2.resize(score_map.astype(np.float64), (224, 224), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(resized, expected)
    assert resized.max() > score_map.max()  # overshoot is kept


def test_gaussian_is_centred_between_the_middle_pixels():
    gaussian = gaussian_map(224, 56.0)
    np.testing.assert_array_equal(gaussian, gaussian[::-1, ::-1])
    assert gaussian[111, 111] == gaussian[112, 112] == gaussian.max()
    assert gaussian[111, 111 - 56] / gaussian[111, 111] == pytest.approx(np.exp(-(56.5**2 - 0.5**2) / (2 * 56**2)))
