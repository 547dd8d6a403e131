"""Class activation maps: from features, and classifier weights or gradients, to maps.

Shapes: features ``(N, K, h, w)``, classifier weights ``(C, K)``, classes ``(N, M)`` int64, maps ``(N, M, h, w)``.
Gradients are ``(N, M, K, h, w)``: of the logit of each of ``M`` classes by the features. No map ends with a ReLU here;
the papers of the gradient methods add one.
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
    return _weighted_sum(features, weights[classes])


def grad_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """``M_c = Σ_k α_k^c f_k`` with ``α_k^c`` the mean gradient of channel ``k``.

    Selvaraju et al., "Grad-CAM: Visual explanations from deep networks via gradient-based localization", ICCV 2017,
    section 3. Behind global average pooling it is CAM divided by the number of positions.
    """
    return _weighted_sum(features, gradients.mean(dim=(3, 4)))


def grad_cam_plus_plus(features: Tensor, gradients: Tensor) -> Tensor:
    """``M_c = Σ_k w_k^c f_k`` with ``w_k^c = Σ_xy α·ReLU(g)`` and ``α = g² / (2g² + g³·Σ_xy f_k)``.

    Chattopadhay et al., "Grad-CAM++: Generalized gradient-based visual explanations for deep convolutional networks",
    WACV 2018, section 3. The score is the exponential of the logit, whose higher derivatives are powers of the
    gradient ``g`` of the logit; the positive factor ``exp(logit)``, which scales a whole map, is left out. Where the
    denominator is zero ``α`` is zero.
    """
    # α with g² cancelled, so that small gradients do not underflow in their powers; ReLU(g) covers g = 0.
    denominator = 2 + gradients * features.sum(dim=(2, 3), keepdim=True).unsqueeze(1)
    regular = denominator != 0
    alpha = torch.where(regular, 1 / torch.where(regular, denominator, 1), 0)
    return _weighted_sum(features, (alpha * gradients.clamp(min=0)).sum(dim=(3, 4)))


def layer_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """``M_c = Σ_k ReLU(g)·f_k``, position by position.

    Jiang et al., "LayerCAM: Exploring hierarchical class activation maps for localization", IEEE TIP 2021, section
    III.
    """
    return torch.einsum("nkhw,nmkhw->nmhw", features, gradients.clamp(min=0))


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


def _weighted_sum(features: Tensor, weights: Tensor) -> Tensor:
    """``Σ_k w_k f_k`` with weights ``(N, M, K)``."""
    return torch.einsum("nkhw,nmk->nmhw", features, weights)
