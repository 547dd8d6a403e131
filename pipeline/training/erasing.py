"""Hiding and mixing images in training: what a classifier does not see it cannot rest on.

Images are ``(N, 3, H, W)`` of any type. They are erased with random numbers of the NumPy generator that is passed;
nothing here draws from a global one. Results are new tensors.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def hide_and_seek(images: Tensor, rate: float, sides: Sequence[int], fill: Tensor, rng: np.random.Generator) -> Tensor:
    """Cut each image into square cells and hide each cell with probability ``rate``.

    Singh & Lee, "Hide-and-Seek: Forcing a network to be meticulous for weakly-supervised object and action
    localization", ICCV 2017, section 3. Cells at the right and lower border are cut off there.

    Args:
        rate: of hidden cells.
        sides: cell sides in pixels, of which every image draws one; 0 leaves the image whole.
        fill: ``(3,)``, the colour of hidden pixels, usually the mean of the data set.
        rng: draws sides and cells.
    """
    count, _, height, width = images.shape
    side = rng.choice(np.asarray(sides), count)
    whole = side == 0
    side = np.where(whole, max(height, width), side)
    rows, columns = (np.arange(length) // side[:, None] for length in (height, width))  # (N, H), (N, W)
    cells = rng.random((count, rows.max() + 1, columns.max() + 1)) < rate
    cells[whole] = False
    # From cells to pixels on the images' device: on a GPU the host would take as long as a training step.
    hidden, row, column = (torch.from_numpy(array).to(images.device) for array in (cells, rows, columns))
    batch = torch.arange(count, device=images.device)
    return _filled(images, hidden[batch[:, None, None], row[:, :, None], column[:, None, :]], fill)


def cutmix(images: Tensor, beta: float, probability: float, rng: np.random.Generator) -> tuple[Tensor, Tensor, float]:
    """Paste one box of a permuted batch into each image.

    Yun et al., "CutMix: Regularization strategy to train strong classifiers with localizable features", ICCV 2019,
    section 3: ``λ ~ Beta(β, β)``, sides of the box ``√(1−λ)`` of the image's, its centre uniform, cut off at the
    border. The loss is ``mix·CE(labels) + (1−mix)·CE(labels[permutation])``.

    Args:
        probability: of mixing this batch at all.
        rng: draws everything.

    Returns:
        ``(images, permutation, mix)``: the permutation ``(N,)`` int64, and the share of pixels that each image keeps
        of its own, counted after the cut. Unmixed: the identity and 1.
    """
    count, _, height, width = images.shape
    if rng.random() >= probability:
        return images.clone(), torch.arange(count, device=images.device), 1.0
    ratio = np.sqrt(1 - rng.beta(beta, beta))
    top, bottom = _interval(height, ratio, rng)
    left, right = _interval(width, ratio, rng)
    permutation = torch.from_numpy(rng.permutation(count)).to(images.device)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[permutation, :, top:bottom, left:right]
    return mixed, permutation, 1 - (bottom - top) * (right - left) / (height * width)


def _interval(length: int, ratio: float, rng: np.random.Generator) -> tuple[int, int]:
    """An interval of ``ratio`` of the length with a uniform centre, cut off at both ends."""
    centre, half = int(rng.integers(length)), int(length * ratio) // 2
    return max(centre - half, 0), min(centre + half, length)


def _filled(images: Tensor, hidden: Tensor, fill: Tensor) -> Tensor:
    """Images with the colour ``fill`` at the pixels of ``hidden (N, H, W)``."""
    colour = fill if images.is_floating_point() else fill.round()
    return torch.where(hidden[:, None], colour.to(images).view(1, 3, 1, 1), images)
