"""Maps from features and the gradients of the classes' logits.

Shapes: features ``(N, K, h, w)``, gradients ``(N, M, K, h, w)`` of the logit of each of ``M`` classes by the features,
maps ``(N, M, h, w)``. No map ends with a ReLU here; the papers add one.
"""

import torch
from torch import Tensor


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


def _weighted_sum(features: Tensor, weights: Tensor) -> Tensor:
    """``Σ_k w_k f_k`` with weights ``(N, M, K)``."""
    return torch.einsum("nkhw,nmk->nmhw", features, weights)
