"""Mixed precision (Micikevicius et al., ICLR 2018): weights stay in float32, most of the work is done in 16 bits."""

import torch
from torch import Tensor

from pipeline.models.localizer import Localizer, device

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast(precision: str) -> torch.autocast:
    """The context that the network is called in."""
    dtype = _DTYPES[precision]
    return torch.autocast(device().type, dtype, enabled=dtype != torch.float32)


def loss_scaler(precision: str) -> torch.amp.GradScaler:
    """Keeps small gradients from vanishing in float16; the range of bfloat16 needs no scaling."""
    return torch.amp.GradScaler(device().type, enabled=precision == "float16")


def at_least_float32(values: Tensor) -> Tensor:
    """Losses and maps are computed in full precision."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def features_in(precision: str, network: Localizer, images: Tensor) -> Tensor:
    """Last feature map ``(N, K, h, w)`` of images: computed in ``precision``, returned in full."""
    with autocast(precision):
        return at_least_float32(network.features(images))
