"""Localization maps: from features and classifier weights to a score map in [0, 1].

Shapes: features ``(N, K, h, w)``, classifier weights ``(C, K)``, classes ``(N, M)`` int64, maps ``(N, M, h, w)``;
a single map is ``(h, w)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # scoring maps of other code must not wait for torch
    from torch import Tensor

#: Side of the evaluation protocol's frame in pixels (Choe et al., "Evaluating weakly supervised object localization
#: methods right", CVPR 2020): maps, boxes and masks are compared there, whatever the image's shape.
FRAME = 224


def class_activation_maps(
    features: Tensor, weights: Tensor, classes: Tensor, clamp_negative_weights: bool = False
) -> Tensor:
    """``M_c = Σ_k w_k^c f_k`` for the classes asked for: no bias and no ReLU.

    Zhou et al., "Learning deep features for discriminative localization", CVPR 2016, section 2. With
    ``clamp_negative_weights`` the map uses ``max(w_k^c, 0)`` (NWC: Bae et al., "Rethinking class activation mapping
    for weakly supervised object localization", ECCV 2020, section 3.2); logits are not touched by it.
    """
    import torch

    if clamp_negative_weights:
        weights = weights.clamp(min=0)
    return torch.einsum("nkhw,nmk->nmhw", features, weights[classes])


def resize_map(score_map: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """Bicubic resize to ``(size, size)`` in float64; overshoot beyond the input's range is kept."""
    resized = cv2.resize(score_map.astype(np.float64), (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(resized, dtype=np.float64)


def normalize_map(score_map: NDArray[np.floating]) -> NDArray[np.float64]:
    """Min-max normalise to [0, 1]; a constant map, or one with a NaN or infinity, becomes zeros."""
    score_map = score_map.astype(np.float64)
    low, high = score_map.min(), score_map.max()
    if not (np.isfinite(low) and np.isfinite(high)) or low == high:
        return np.zeros_like(score_map)
    return (score_map - low) / (high - low)


def gaussian_map(size: int, sigma: float) -> NDArray[np.float64]:
    """A Gaussian centred in a ``(size, size)`` frame, in (0, 1]: the localizer that never looks at the image."""
    offset = np.arange(size) - (size - 1) / 2
    return np.asarray(np.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / (2 * sigma**2)))
