"""Class activation maps: from features and classifier weights to maps, and how maps are normalised and fused.

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


def normalize_maps(maps: Tensor) -> Tensor:
    """Min-max normalise each map ``(…, h, w)`` to [0, 1]; a constant map, or one not finite, becomes zeros.

    Maps of 16 bits are normalised in float32: they are compared with thresholds next.
    """
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    with torch.no_grad():
        low, high = torch.aminmax(maps.flatten(-2), dim=-1)
        span = (high - low)[..., None, None]
        regular = span.isfinite() & (span > 0)
    # Set aside before the extrema are taken: their gradient at a NaN is NaN whatever is multiplied with it later.
    maps = torch.where(regular, maps, 0)
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / torch.where(regular, high - low, 1)


def fuse_maps(first: Tensor, second: Tensor) -> Tensor:
    """Element-wise maximum of the two normalised maps ``(…, h, w)``, such as those of ACoL's branches.

    Zhang et al., "Adversarial complementary learning for weakly supervised object localization", CVPR 2018, section
    3.
    """
    return torch.maximum(normalize_maps(first), normalize_maps(second))
