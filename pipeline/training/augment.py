"""What happens to whole batches of images before the network sees them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """Crop positions in pixels and mirroring, each ``(N,)``."""

    top: NDArray[np.int64]
    left: NDArray[np.int64]
    mirrored: NDArray[np.bool_]

    def __getitem__(self, part: slice) -> "Windows":
        return Windows(self.top[part], self.left[part], self.mirrored[part])


def random_windows(count: int, room: int, rng: np.random.Generator) -> Windows:
    """Draw windows that may be moved by ``room`` pixels; every other one, on average, is mirrored."""
    top, left = (rng.integers(0, room + 1, count) for _ in range(2))
    return Windows(top, left, rng.random(count) < 0.5)


def crop_and_flip(images: Tensor, windows: Windows, crop: int) -> Tensor:
    """Cut a window from each image: ``(N, 3, R, R)`` → ``(N, 3, crop, crop)``."""
    top, left, mirrored = (
        torch.from_numpy(values).to(images.device) for values in (windows.top, windows.left, windows.mirrored)
    )
    offsets = torch.arange(crop, device=images.device)
    columns = torch.where(mirrored[:, None], crop - 1 - offsets, offsets) + left[:, None]  # (N, crop)
    rows = offsets + top[:, None]  # (N, crop)
    batch = torch.arange(len(images), device=images.device)
    # Indices broadcast to (N, crop, crop); the channel axis moves to the end.
    return images[batch[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
