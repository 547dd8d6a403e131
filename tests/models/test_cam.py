"""Class activation maps on tensors small enough to compute by hand."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pipeline.cams.gradients import grad_cam, grad_cam_plus_plus, layer_cam
from pipeline.evaluation.score_maps import normalize_map
from pipeline.models.cam import class_activation_maps, fuse_maps, normalize_maps
from pipeline.models.pooling import global_average

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


def test_cam_is_the_map_of_a_1x1_convolution_before_pooling():
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(2, 4, 5, 3, dtype=torch.float64, generator=generator)
    weights = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    maps = F.conv2d(features, weights[:, :, None, None])
    torch.testing.assert_close(class_activation_maps(features, weights, torch.arange(6).repeat(2, 1)), maps)
    torch.testing.assert_close(global_average(maps), global_average(features) @ weights.T)


def network(seed):
    """A random network in float64: features ``(N, K, h, w)`` of random images, and the layer behind their mean."""
    torch.manual_seed(seed)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.ReLU(), torch.nn.Conv2d(6, 5, 3)).double()
    return body(torch.randn(2, 3, 9, 8, dtype=torch.float64)), torch.nn.Linear(5, 4).double()


def gradients_of(features, head, classes):
    """``(N, M, K, h, w)``, one backward pass per class."""
    chosen = head(global_average(features)).gather(1, classes)
    return torch.stack(
        [torch.autograd.grad(chosen[:, m].sum(), features, retain_graph=True)[0] for m in range(classes.shape[1])], 1
    )


@pytest.mark.parametrize("seed", range(5))
def test_grad_cam_behind_average_pooling_is_cam_up_to_the_number_of_positions(seed):
    features, head = network(seed)
    classes = torch.tensor([[0, 3], [2, 1]])
    maps = grad_cam(features, gradients_of(features, head, classes))
    cams = class_activation_maps(features, head.weight, classes)
    assert (cams < 0).any()
    torch.testing.assert_close(maps * features[0, 0].numel(), cams, rtol=0, atol=1e-12)


def test_grad_cam_averages_the_gradient_of_a_channel():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])
    gradients = torch.tensor([[[[[1.0, 3.0]], [[-1.0, 0.0]]]]])
    torch.testing.assert_close(grad_cam(features, gradients), torch.tensor([[[[0.5, 4.5]]]]))


def test_layer_cam_weighs_each_position_by_its_positive_gradient():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])
    gradients = torch.tensor([[[[[1.0, 3.0]], [[-1.0, 0.5]]], [[[-1.0, -1.0]], [[2.0, 0.0]]]]])
    torch.testing.assert_close(layer_cam(features, gradients), torch.tensor([[[[1.0, 5.5]], [[6.0, 0.0]]]]))


def test_grad_cam_plus_plus_by_hand():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])
    gradients = torch.tensor([[[[[1.0, 3.0]], [[-1.0, 0.5]]]]])
    first = 1 / (2 + 1 * 3) * 1 + 9 / (2 * 9 + 27 * 3) * 3
    second = 0.25 / (2 * 0.25 + 0.125 * 2) * 0.5
    expected = torch.tensor([[[[first * 1 + second * 3, first * 2 - second]]]])
    torch.testing.assert_close(grad_cam_plus_plus(features, gradients), expected)


def test_grad_cam_plus_plus_is_its_definition_by_derivatives_of_the_exponential_score():
    """``α = ∂²Y/∂f² / (2 ∂²Y/∂f² + Σ f · ∂³Y/∂f³)`` and ``w = Σ α·ReLU(∂Y/∂f)`` with ``Y = exp(logit)``."""
    generator = torch.Generator().manual_seed(5)
    features = torch.rand(1, 3, 2, 2, dtype=torch.float64, generator=generator)
    slopes = torch.randn(1, 1, 3, 2, 2, dtype=torch.float64, generator=generator)  # of a logit linear in f
    point = features.clone().requires_grad_()
    score = derivative = (slopes[0] * point).sum().exp()
    weights = torch.zeros(3, dtype=torch.float64)
    for k, y, x in np.ndindex(3, 2, 2):
        orders, derivative = [], score
        for _ in range(3):
            derivative = torch.autograd.grad(derivative, point, create_graph=True)[0][0, k, y, x]
            orders.append(derivative.detach())
        one, two, three = orders
        weights[k] += two / (2 * two + features[0, k].sum() * three) * one.clamp(min=0)
    expected = (weights[:, None, None] * features[0]).sum(dim=0)
    maps = grad_cam_plus_plus(features, slopes)
    torch.testing.assert_close(score.detach() * maps[0, 0], expected)
    assert (slopes < 0).any()


def test_grad_cam_plus_plus_survives_zero_and_tiny_gradients():
    features = torch.tensor([[[[-1.0, -1.0]]]])
    gradients = torch.tensor([[[[[0.0, 1.0]]], [[[0.0, 0.0]]], [[[0.0, 1e-30]]]]])  # 2·1 + 1·(−2) = 0
    maps = grad_cam_plus_plus(features, gradients)
    torch.testing.assert_close(
        maps[0, :, 0], torch.tensor([[0.0, 0.0], [0.0, 0.0], [-5e-31, -5e-31]]), rtol=1e-6, atol=0
    )


def test_normalized_maps_by_hand_each_for_itself():
    maps = torch.tensor([[[1.0, 3.0], [2.0, 5.0]], [[-4.0, 0.0], [-1.0, -2.0]]])
    expected = torch.tensor([[[0.0, 0.5], [0.25, 1.0]], [[0.0, 1.0], [0.75, 0.5]]])
    torch.testing.assert_close(normalize_maps(maps), expected)
    torch.testing.assert_close(normalize_maps(maps[:, None, None])[:, 0, 0], expected)


@pytest.mark.parametrize("bad", [7.0, 0.0, float("nan"), float("inf"), -float("inf")])
def test_a_constant_or_infinite_map_becomes_zeros_and_spoils_no_gradient(bad):
    maps = torch.full((2, 2, 2), 7.0 if bad != 0.0 else 0.0)
    maps[0, 0, 0] = bad
    maps[1] = torch.tensor([[0.0, 1.0], [2.0, 4.0]])
    maps.requires_grad_()
    normalized = normalize_maps(maps)
    assert normalized[0].tolist() == [[0, 0], [0, 0]]
    assert normalized[1].tolist() == [[0, 0.25], [0.5, 1]]
    normalized.square().sum().backward()
    assert torch.isfinite(maps.grad).all()
    assert maps.grad[1].any()


def test_normalized_maps_are_those_of_the_evaluator():
    maps = torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    maps[1], maps[2, 0, 0] = 2.0, float("nan")
    expected = np.stack([normalize_map(map_) for map_ in maps.numpy()])
    np.testing.assert_allclose(normalize_maps(maps).numpy(), expected, rtol=0, atol=1e-15)
    assert expected[0].max() == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_maps_of_16_bits_are_normalized_in_float32(dtype):
    maps = torch.rand(4, 9, 9, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = normalize_maps(maps)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, normalize_maps(maps.double()).float(), rtol=1e-6, atol=1e-7)


def test_fused_maps_take_the_larger_of_the_normalized_ones():
    first, second = torch.tensor([[[0.0, 5.0, 10.0]]]), torch.tensor([[[3.0, 2.0, 1.0]]])
    assert fuse_maps(first, second).tolist() == [[[1.0, 0.5, 1.0]]]
    constant = torch.ones(1, 1, 3)
    assert fuse_maps(first, constant).tolist() == [[[0.0, 0.5, 1.0]]]
