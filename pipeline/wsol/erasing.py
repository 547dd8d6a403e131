"""Hiding and mixing: what a classifier does not see it cannot rest on.

Images are ``(N, 3, H, W)`` of any type, features ``(N, K, h, w)``, maps ``(N, h, w)``. Images are erased with random
numbers of the NumPy generator that is passed; nothing here draws from a global one. Results are new tensors.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


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


def erase_regions(images: Tensor, maps: Tensor, threshold: float, fill: Tensor) -> Tensor:
    """Erase from each image the region its map points at, so that the next classifier has to find another one.

    Wei et al., "Object region mining with adversarial erasing: A simple classification to semantic segmentation
    approach", CVPR 2017, section 3.

    Args:
        maps: ``(N, h, w)`` in [0, 1], resized to the images (bilinear).
        threshold: pixels whose map is at least this are erased.
        fill: ``(3,)``, the colour of erased pixels, usually the mean of the data set.
    """
    resized = F.interpolate(maps[:, None], size=images.shape[2:], mode="bilinear", align_corners=False)
    return _filled(images, resized[:, 0] >= threshold, fill)


def erase_most_discriminative(features: Tensor, normalized_maps: Tensor, threshold: float) -> Tensor:
    """Zero the features of every channel where the first branch's map is at least ``δ``: what the second one sees.

    Zhang et al., "Adversarial complementary learning for weakly supervised object localization", CVPR 2018, section
    3. Gradients flow through the features that are left, none through the maps.

    Args:
        normalized_maps: ``(N, h, w)`` in [0, 1]; a NaN erases nothing.
        threshold: δ.
    """
    return features.masked_fill((normalized_maps.detach() >= threshold)[:, None], 0)


def attention_importance(features: Tensor) -> Tensor:
    """Sigmoid of the channel mean, ``(N, 1, h, w)``: what ADL multiplies by when it does not drop.

    Choe & Shim, "Attention-based dropout layer for weakly supervised object localization", CVPR 2019, section 3.
    """
    return torch.sigmoid(_attention(features)).to(features.dtype)


def attention_drop_mask(features: Tensor, threshold: float) -> Tensor:
    """1 where the channel mean is below ``γ`` times its maximum, else 0, ``(N, 1, h, w)`` (ADL, same section).

    Args:
        threshold: γ.
    """
    attention = _attention(features)
    return (attention < threshold * attention.amax(dim=(2, 3), keepdim=True)).to(features.dtype)


def region_drop_mask(features: Tensor, size: int) -> Tensor:
    """0 in a square of ``size`` × ``size`` cells around the maximum of the channel mean, else 1, ``(N, 1, h, w)``.

    After Choe et al., "Region-based dropout with attention prior for weakly supervised object localization", Pattern
    Recognition 2021 (RDAP), which combines ADL's attention with the fixed-size regions of regional dropout. No code of
    it is public. The reading built here: one square per image; its centre, for an even side the cell right below the
    centre, is the first maximum in reading order; at the border it is moved inside, so that it always hides
    ``size²`` cells.

    Raises:
        ValueError: the square does not fit into the map.
    """
    height, width = features.shape[2:]
    if not 1 <= size <= min(height, width):
        raise ValueError(f"a square of {size} cells does not fit into a map of {height} x {width}")
    peak = _attention(features).flatten(1).argmax(dim=1)  # (N,)
    rows = _hidden(peak // width, size, height)
    columns = _hidden(peak % width, size, width)
    hidden = rows[:, None, :, None] & columns[:, None, None, :]
    return (~hidden).to(features.dtype)


def _attention(features: Tensor) -> Tensor:
    """Channel mean ``(N, 1, h, w)``; of features of 16 bits in float32, in which more values are apart."""
    return features.mean(dim=1, keepdim=True, dtype=torch.promote_types(features.dtype, torch.float32))


def _hidden(centre: Tensor, size: int, length: int) -> Tensor:
    """Which of ``length`` cells lie in the interval of ``size`` around each centre ``(N,)``: ``(N, length)``."""
    start = (centre - size // 2).clamp(0, length - size)[:, None]
    cells = torch.arange(length, device=centre.device)
    return (cells >= start) & (cells < start + size)


def _interval(length: int, ratio: float, rng: np.random.Generator) -> tuple[int, int]:
    """An interval of ``ratio`` of the length with a uniform centre, cut off at both ends."""
    centre, half = int(rng.integers(length)), int(length * ratio) // 2
    return max(centre - half, 0), min(centre + half, length)


def _filled(images: Tensor, hidden: Tensor, fill: Tensor) -> Tensor:
    """Images with the colour ``fill`` at the pixels of ``hidden (N, H, W)``."""
    colour = fill if images.is_floating_point() else fill.round()
    return torch.where(hidden[:, None], colour.to(images).view(1, 3, 1, 1), images)
