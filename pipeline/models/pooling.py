"""From a feature map ``(N, K, h, w)`` to one value per channel, ``(N, K)``."""

import torch
from torch import Tensor


def global_average(features: Tensor) -> Tensor:
    """Mean over the positions (GAP): asks for the whole extent of an object.

    Zhou et al., "Learning deep features for discriminative localization", CVPR 2016, section 2.
    """
    return features.mean(dim=(2, 3))


def global_max(features: Tensor) -> Tensor:
    """Maximum over the positions (GMP), compared with GAP in the same section: asks for one peak only."""
    return features.amax(dim=(2, 3))


def thresholded_average(features: Tensor, threshold: float) -> Tensor:
    """Mean over the positions where ``f_k > θ·max_xy f_k``, channel by channel (TAP); 0 where there is none.

    Bae et al., "Rethinking class activation mapping for weakly supervised object localization", ECCV 2020, section
    3.1. A small object is not diluted by the area around it.

    Args:
        threshold: θ, a share of the channel's maximum.
    """
    kept = features > threshold * features.amax(dim=(2, 3), keepdim=True)
    total = torch.where(kept, features, 0).sum(dim=(2, 3))
    return total / kept.sum(dim=(2, 3)).clamp(min=1)
