"""Pooling on maps small enough to count."""

import pytest
import torch

from pipeline.models.pooling import global_average, global_max, thresholded_average

#: (1, 3, 2, 2): positive, with zeros, negative.
FEATURES = torch.tensor([[[[1.0, 2.0], [4.0, 5.0]], [[0.0, 0.0], [0.0, 8.0]], [[-1.0, -2.0], [-3.0, -6.0]]]])


def test_average_and_maximum_by_hand():
    assert global_average(FEATURES).tolist() == [[3.0, 2.0, -3.0]]
    assert global_max(FEATURES).tolist() == [[5.0, 8.0, -1.0]]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.0, [3.0, 8.0, 0.0]),  # nothing of the negative channel exceeds 0 times its maximum
        (0.2, [11 / 3, 8.0, 0.0]),  # 1 = 0.2 x 5 is not above the threshold
        (0.8, [5.0, 8.0, 0.0]),  # 4 = 0.8 x 5 neither
        (1.0, [0.0, 0.0, 0.0]),
    ],
)
def test_thresholded_average_keeps_what_is_strictly_above(threshold, expected):
    torch.testing.assert_close(thresholded_average(FEATURES, threshold), torch.tensor([expected]))


def test_each_channel_of_each_image_has_its_own_maximum():
    features = torch.tensor([1.0, 10.0]).view(2, 1, 1, 1) * FEATURES
    torch.testing.assert_close(
        thresholded_average(features, 0.2), torch.tensor([[11 / 3, 8.0, 0.0], [110 / 3, 80.0, 0.0]])
    )


def test_threshold_zero_on_positive_maps_is_the_global_average():
    features = torch.rand(3, 5, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1e-3
    ours, theirs = (features.clone().requires_grad_() for _ in range(2))
    pooled, expected = thresholded_average(ours, 0.0), global_average(theirs)
    torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-15)
    pooled.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-15)


def test_empty_channels_pass_no_gradient():
    features = torch.zeros(1, 1, 2, 2, requires_grad=True)
    thresholded_average(features, 0.1).sum().backward()
    assert features.grad.tolist() == [[[[0.0, 0.0], [0.0, 0.0]]]]
