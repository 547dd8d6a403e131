"""Augmentation of whole batches."""

import numpy as np
import torch
from torch import Tensor


def crop_and_flip(images: Tensor, crop: int, rng: np.random.Generator) -> Tensor:
    """Random crop and random horizontal flip of each image: ``(N, 3, R, R)`` → ``(N, 3, crop, crop)``."""
    count, _, side, _ = images.shape
    top, left = (torch.from_numpy(rng.integers(0, side - crop + 1, count)).to(images.device) for _ in range(2))
    flipped = torch.from_numpy(rng.random(count) < 0.5).to(images.device)
    offsets = torch.arange(crop, device=images.device)
    columns = torch.where(flipped[:, None], crop - 1 - offsets, offsets) + left[:, None]  # (N, crop)
    rows = offsets + top[:, None]  # (N, crop)
    batch = torch.arange(count, device=images.device)
    # Indices broadcast to (N, crop, crop); the channel axis moves to the end.
    return images[batch[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
