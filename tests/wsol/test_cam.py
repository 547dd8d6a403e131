"""Class activation maps on tensors small enough to compute by hand."""

import torch

from pipeline.wsol.cam import class_activation_maps

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
