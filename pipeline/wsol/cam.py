"""Class activation maps: from features and classifier weights to maps.

Shapes: features ``(N, K, h, w)``, classifier weights ``(C, K)``, classes ``(N, M)`` int64, maps ``(N, M, h, w)``.
"""

import torch
from torch import Tensor


def class_activation_maps(
    features: Tensor, weights: Tensor, classes: Tensor, clamp_negative_weights: bool = False
) -> Tensor:
    """``M_c = Σ_k w_k^c f_k`` for the classes asked for: no bias and no ReLU.

    Zhou et al., "Learning deep features for discriminative localization", CVPR 2016, section 2. With
    ``clamp_negative_weights`` the map uses ``max(w_k^c, 0)`` (NWC: Bae et al., "Rethinking class activation mapping
    for weakly supervised object localization", ECCV 2020, section 3.2); logits are not touched by it.
    """
    if clamp_negative_weights:
        weights = weights.clamp(min=0)
    return torch.einsum("nkhw,nmk->nmhw", features, weights[classes])
