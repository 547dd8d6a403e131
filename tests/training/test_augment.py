"""Batch augmentation against one image at a time."""

import numpy as np
import torch

from pipeline.training.augment import crop_and_flip, random_windows


def cropped(images, crop, rng):
    return crop_and_flip(images, random_windows(len(images), images.shape[-1] - crop, rng), crop)


def test_every_result_is_a_crop_or_its_mirror_image():
    images = torch.arange(4 * 3 * 6 * 6).view(4, 3, 6, 6)
    result = cropped(images, 4, np.random.default_rng(0))
    assert result.shape == (4, 3, 4, 4)
    for image, found in zip(images, result, strict=True):
        crops = [image[:, y : y + 4, x : x + 4] for y in range(3) for x in range(3)]
        assert any(torch.equal(found, c) or torch.equal(found, c.flip(2)) for c in crops)


def test_all_positions_and_both_directions_occur():
    images = torch.arange(25).view(1, 1, 5, 5).repeat(600, 3, 1, 1)
    result = cropped(images, 3, np.random.default_rng(0))
    corners = {tuple(row.tolist()) for row in result[:, 0, 0, :]}
    assert len(corners) == 3 * 3 * 2
    flipped = (result[:, 0, 0, 0] > result[:, 0, 0, 1]).float().mean().item()
    assert 0.4 < flipped < 0.6


def test_a_full_size_crop_is_the_image_or_its_mirror():
    images = torch.randint(0, 255, (8, 3, 5, 5), generator=torch.Generator().manual_seed(0))
    for image, found in zip(images, cropped(images, 5, np.random.default_rng(1)), strict=True):
        assert torch.equal(found, image) or torch.equal(found, image.flip(2))


def test_the_same_generator_state_gives_the_same_batch():
    images = torch.randint(0, 255, (8, 3, 9, 9), generator=torch.Generator().manual_seed(0))
    first, second = (cropped(images, 5, np.random.default_rng([1, 2])) for _ in range(2))
    assert torch.equal(first, second)


def test_a_part_of_the_windows_is_cut_as_in_the_whole_batch():
    images = torch.randint(0, 255, (8, 3, 9, 9), generator=torch.Generator().manual_seed(0))
    windows = random_windows(8, 4, np.random.default_rng(0))
    part = slice(3, 6)
    assert torch.equal(crop_and_flip(images, windows, 5)[part], crop_and_flip(images[part], windows[part], 5))
