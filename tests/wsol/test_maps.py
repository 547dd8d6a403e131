"""Maps on tensors small enough to compute by hand."""

import cv2
import numpy as np
import pytest
import torch

from pipeline.wsol.maps import class_activation_maps, gaussian_map, normalize_map, resize_map

FEATURES = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # (1, 2, 1, 2)
WEIGHTS = torch.tensor([[1.0, 0.5], [-2.0, 1.0], [0.0, -1.0]])  # (3, 2)


def test_cam_is_the_weighted_sum_without_bias_or_relu():
    maps = class_activation_maps(FEATURES, WEIGHTS, torch.tensor([[0, 1]]))
    torch.testing.assert_close(maps, torch.tensor([[[[2.5, 1.5]], [[1.0, -5.0]]]]))


def test_clamped_weights_count_positive_ones_only():
    maps = class_activation_maps(FEATURES, WEIGHTS, torch.tensor([[1, 2]]), clamp_negative_weights=True)
    torch.testing.assert_close(maps, torch.tensor([[[[3.0, -1.0]], [[0.0, 0.0]]]]))


def test_clamping_non_negative_weights_changes_nothing():
    generator = torch.Generator().manual_seed(1)
    features, weights = torch.randn(2, 4, 3, 3, generator=generator), torch.rand(5, 4, generator=generator)
    classes = torch.tensor([[0, 4], [2, 2]])
    plain, clamped = (class_activation_maps(features, weights, classes, clamp) for clamp in (False, True))
    torch.testing.assert_close(plain, clamped, rtol=0, atol=0)


def test_mean_of_the_map_is_the_logit_of_a_pooled_linear_layer():
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(3, 4, 5, 5, dtype=torch.float64, generator=generator)
    weights = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    classes = torch.arange(6).repeat(3, 1)
    logits = features.mean(dim=(2, 3)) @ weights.T
    torch.testing.assert_close(class_activation_maps(features, weights, classes).mean(dim=(2, 3)), logits)


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
