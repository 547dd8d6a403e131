"""Erasing and mixing: what is hidden, how much of it, and from which random numbers."""

import numpy as np
import pytest
import torch

from pipeline.models.adversarial_erasing import erase_regions
from pipeline.models.attention_dropout import attention_drop_mask, attention_importance, region_drop_mask
from pipeline.models.cam import normalize_maps
from pipeline.models.heads import erase_most_discriminative
from pipeline.training.erasing import cutmix, hide_and_seek

FILL = torch.tensor([123.675, 116.28, 103.53])


def rng(seed=0):
    return np.random.default_rng(seed)


def white(count, height=8, width=8):
    return torch.full((count, 3, height, width), 255, dtype=torch.uint8)


# Hide-and-Seek


def hidden_pixels(images):
    """``(N, H, W)``; a pixel is either left white or takes the fill, rounded, in all channels."""
    hidden = images[:, 0] != 255
    expected = torch.where(hidden[:, None], torch.tensor([124, 116, 104]).view(1, 3, 1, 1), 255)
    assert torch.equal(images.long(), expected)
    return hidden


@pytest.mark.parametrize("side", [1, 2, 3, 5, 8, 20])
def test_cells_are_squares_of_the_side_hidden_as_a_whole(side):
    images = white(40, 8, 11)
    hidden = hidden_pixels(hide_and_seek(images, 0.5, [side], FILL, rng()))
    for y, x in np.ndindex(-(-8 // side), -(-11 // side)):
        cell = hidden[:, y * side : (y + 1) * side, x * side : (x + 1) * side].flatten(1)
        assert (cell.all(dim=1) | ~cell.any(dim=1)).all()
        assert 0 < cell[:, 0].sum() < 40
    assert (images == 255).all()


def test_each_image_draws_one_of_the_sides_and_each_cell_by_itself():
    """A corner cell and its neighbours tell a side apart: they agree within a cell only."""
    hidden = hidden_pixels(hide_and_seek(white(4000, 8, 8), 0.5, [0, 2, 4], FILL, rng()))
    within_2 = (hidden[:, 0, 0] == hidden[:, 0, 1]).double().mean().item()
    within_4 = (hidden[:, 0, 0] == hidden[:, 0, 2]).double().mean().item()
    assert within_2 == 1
    assert within_4 == pytest.approx(2 / 3 + 1 / 3 * 0.5, abs=0.04)  # sides 0 and 4 always, 2 half the time
    whole = (~hidden.flatten(1).any(dim=1)).double().mean().item()
    assert whole == pytest.approx(1 / 3 + 1 / 3 * 0.5**4 + 1 / 3 * 0.5**16, abs=0.04)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_the_rate_is_the_share_of_hidden_cells(rate):
    hidden = hidden_pixels(hide_and_seek(white(2000), rate, [2], FILL, rng()))[:, ::2, ::2]
    assert hidden.double().mean().item() == pytest.approx(rate, abs=0.02 * (0 < rate < 1))


def test_side_0_leaves_images_whole_whatever_the_rate():
    assert torch.equal(hide_and_seek(white(5), 1.0, [0], FILL, rng()), white(5))


def test_float_images_take_the_fill_as_it_is():
    images = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    erased = hide_and_seek(images, 1.0, [2], FILL, rng())
    assert erased.dtype == torch.float64
    torch.testing.assert_close(erased[0, :, 1, 1], FILL.double(), rtol=0, atol=0)


def test_the_same_generator_state_hides_the_same():
    first, second, other = (hide_and_seek(white(8), 0.5, [0, 1, 3], FILL, rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


# CutMix


@pytest.mark.parametrize("seed", range(30))
def test_mix_is_the_share_of_own_pixels_in_a_box_cut_off_at_the_border(seed):
    images = torch.arange(9, dtype=torch.uint8).view(9, 1, 1, 1).expand(9, 3, 7, 10).contiguous()
    mixed, permutation, mix = cutmix(images, 1.0, 1.0, rng(seed))
    assert sorted(permutation.tolist()) == list(range(9))
    for number, (image, partner) in enumerate(zip(mixed, permutation.tolist(), strict=True)):
        if partner != number:
            assert (image == number).double().mean().item() == pytest.approx(mix, abs=1e-12)
        assert torch.isin(image, torch.tensor([number, partner])).all()
    foreign = (mixed != images)[(permutation != torch.arange(9)).nonzero()[0, 0], 0]
    rows, columns = foreign.any(dim=1), foreign.any(dim=0)
    assert torch.equal(foreign, rows[:, None] & columns[None, :])  # a product of two sets,
    for line in (rows, columns):  # each of them an interval
        assert line.diff().sum() <= 2
    assert torch.equal(images[:, 0, 0, 0], torch.arange(9, dtype=torch.uint8))


def test_the_box_follows_beta_and_its_sides_the_root_of_its_area():
    """With a huge β, λ is one half: sides of 0.707, whole where the centre is far enough from the border."""
    images = torch.stack([torch.zeros(3, 100, 200), torch.ones(3, 100, 200)])
    largest = 0
    for seed in range(200):
        mixed, permutation, mix = cutmix(images, 1e9, 1.0, rng(seed))
        if permutation[0] == 1:
            foreign = mixed[0, 0] == 1
            size = (foreign.any(dim=1).sum().item(), foreign.any(dim=0).sum().item())
            assert size[0] <= 70
            assert size[1] <= 140
            largest = max(largest, size[0] * size[1])
            assert mix == pytest.approx(1 - size[0] * size[1] / 20000, abs=1e-12)
    assert largest == 70 * 140


def test_centres_cover_the_image_evenly():
    shares = np.zeros((8, 8))
    images = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    for seed in range(2000):
        mixed, permutation, _ = cutmix(images, 1e9, 1.0, rng(seed))  # 5 -> 2 cells to each side of the centre
        shares += (mixed[0, 0] == permutation[0]).numpy() * permutation[0].item()
    assert shares[3:5, 3:5].min() > shares[0].max()
    np.testing.assert_allclose(shares[2:6, 2:6] / shares[2:6, 2:6].mean(), 1, atol=0.25)


def test_an_unmixed_batch_is_a_copy_with_the_identity():
    images = torch.randint(0, 255, (6, 3, 4, 4), dtype=torch.uint8)
    same, permutation, mix = cutmix(images, 1.0, 0.0, rng())
    assert torch.equal(same, images)
    assert same.data_ptr() != images.data_ptr()
    assert permutation.tolist() == [0, 1, 2, 3, 4, 5]
    assert permutation.dtype == torch.int64
    assert mix == 1.0


def test_probability_is_the_share_of_mixed_batches():
    images = white(3)
    applied = [cutmix(images, 1e9, 0.3, rng(seed))[2] < 1 for seed in range(2000)]
    assert np.mean(applied) == pytest.approx(0.3, abs=0.04)


# Adversarial erasing of images


def test_pixels_at_or_above_the_threshold_are_erased():
    maps = torch.tensor([[[0.0, 0.5], [0.49, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    hidden = hidden_pixels(erase_regions(white(2, 2, 2), maps, 0.5, FILL))
    assert hidden.tolist() == [[[False, True], [False, True]], [[False, False], [False, False]]]


def test_the_map_is_resized_to_the_image_bilinearly():
    """Two cells over eight pixels: 0 0 1/8 3/8 5/8 7/8 1 1."""
    hidden = hidden_pixels(erase_regions(white(1, 4, 8), torch.tensor([[[0.0, 1.0]]]), 0.5, FILL))
    assert hidden[0].tolist() == 4 * [4 * [False] + 4 * [True]]
    assert hidden_pixels(erase_regions(white(1, 1, 8), torch.tensor([[[0.0, 1.0]]]), 0.8, FILL)).sum() == 3


# ACoL


def test_the_second_branch_sees_zeros_where_the_first_one_looked():
    features = torch.arange(1.0, 13.0).view(1, 3, 2, 2)
    maps = torch.tensor([[[0.0, 0.6], [0.59, 1.0]]])
    expected = [[[1, 0], [3, 0]], [[5, 0], [7, 0]], [[9, 0], [11, 0]]]
    assert erase_most_discriminative(features, maps, 0.6)[0].tolist() == expected


def test_gradients_flow_through_the_features_left_and_never_through_the_map():
    features = torch.rand(2, 3, 4, 4, requires_grad=True)
    maps = torch.rand(2, 4, 4, requires_grad=True)
    erase_most_discriminative(features, maps, 0.5).sum().backward()
    assert torch.equal(features.grad, (maps < 0.5).float()[:, None].expand(2, 3, 4, 4))
    assert maps.grad is None


@pytest.mark.parametrize("value", [3.0, float("nan")])
def test_a_constant_or_undefined_map_erases_nothing(value):
    features = torch.rand(1, 2, 3, 3)
    maps = torch.full((1, 3, 3), value)
    assert torch.equal(erase_most_discriminative(features, normalize_maps(maps), 0.6), features)
    assert torch.equal(erase_most_discriminative(features, torch.full((1, 3, 3), float("nan")), 0.6), features)


# Attention-based dropout

#: Channel means 1, 2, 4 and 0, 0, -2.
ATTENDED = torch.tensor([[[[2.0, 2.0, 4.0]], [[0.0, 2.0, 4.0]]], [[[0.0, 1.0, -4.0]], [[0.0, -1.0, 0.0]]]])


def test_importance_is_the_sigmoid_of_the_channel_mean():
    expected = torch.sigmoid(torch.tensor([[[[1.0, 2.0, 4.0]]], [[[0.0, 0.0, -2.0]]]]))
    torch.testing.assert_close(attention_importance(ATTENDED), expected)


@pytest.mark.parametrize(
    ("threshold", "first"), [(1.0, [1, 1, 0]), (0.5, [1, 0, 0]), (0.51, [1, 1, 0]), (0.25, 3 * [0])]
)
def test_drop_mask_hides_what_reaches_a_share_of_each_images_maximum(threshold, first):
    mask = attention_drop_mask(ATTENDED, threshold)
    assert mask.tolist() == [[[first]], [[[0, 0, 1]]]]
    assert mask.dtype == ATTENDED.dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_of_features_of_16_bits_is_compared_in_float32(dtype):
    """Masks are those of the same features in float64; their maxima are close to many other positions."""
    features = (1 + 0.05 * torch.rand(16, 3, 20, 20, generator=torch.Generator().manual_seed(0))).to(dtype)
    for mask in (lambda f: attention_drop_mask(f, 0.98), lambda f: region_drop_mask(f, 1)):
        found, exact = mask(features), mask(features.double())
        assert found.dtype == dtype
        assert torch.equal(found.double(), exact)
        assert 0 < exact.mean() < 1
    exact = attention_importance(features.double()).to(dtype)
    assert torch.equal(attention_importance(features), exact)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_region_is_one_whole_square_that_covers_the_peak_wherever_it_lies(size):
    positions = list(np.ndindex(5, 7))
    features = torch.zeros(len(positions), 2, 5, 7)
    for number, (y, x) in enumerate(positions):
        features[number, :, y, x] = 1
    hidden = region_drop_mask(features, size)[:, 0] == 0
    for mask, (y, x) in zip(hidden, positions, strict=True):
        top = min(max(y - size // 2, 0), 5 - size)
        left = min(max(x - size // 2, 0), 7 - size)
        expected = torch.zeros(5, 7, dtype=torch.bool)
        expected[top : top + size, left : left + size] = True
        assert torch.equal(mask, expected)
        assert mask[y, x]


def test_region_follows_the_mean_of_the_channels_and_takes_the_first_of_equals():
    features = torch.zeros(1, 2, 2, 2)
    features[0, 0, 0, 0] = 5  # the largest value, but not the largest mean
    features[0, :, 0, 1] = features[0, :, 1, 1] = 3
    assert region_drop_mask(features, 1).tolist() == [[[[1, 0], [1, 1]]]]


@pytest.mark.parametrize("size", [0, 4])
def test_a_square_that_does_not_fit_is_refused(size):
    with pytest.raises(ValueError, match=f"a square of {size} cells does not fit into a map of 3 x 6"):
        region_drop_mask(torch.zeros(1, 1, 3, 6), size)
