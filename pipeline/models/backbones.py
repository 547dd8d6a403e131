"""Feature extractors of the zoo: built, and filled with ImageNet weights."""

import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.models import architectures
from pipeline.models.zoo import BACKBONES


def build_backbone(name: str, stride: int) -> nn.Module:
    """Build an untrained backbone: images ``(N, 3, H, W)``, normalised as its entry in the zoo says, to a map.

    Args:
        stride: 32 for a map of about 7×7 at 224, 16 for 14×14, 8 for 28×28, as far as its entry in the zoo has them.

    Raises:
        UserError: the stride is another.
    """
    if stride not in (strides := BACKBONES[name].strides):
        raise UserError(f"train.stride: {name} cannot be built with {stride}; give {' or '.join(map(str, strides))}.")
    made = BACKBONES[name].architecture
    network: nn.Sequential = getattr(architectures, made.function)(*made.arguments, stride)
    return network


@torch.no_grad()
def channels(backbone: nn.Module) -> int:
    """Number of channels of a backbone's last feature map."""
    training = backbone.training
    count: int = backbone.eval()(torch.zeros(1, 3, 64, 64)).shape[1]
    backbone.train(training)
    return count


@torch.no_grad()
def check_region_fits(backbone: nn.Module, name: str, crop: int, region: int) -> None:
    """Raise UserError where the square that RDAP drops is larger than the map; a backbone without memory will do."""
    place = next(backbone.parameters()).device
    side = backbone.eval()(torch.zeros(1, 3, crop, crop, device=place)).shape[-1]
    if region > side:
        raise UserError(
            f"train.rdap_size: a square of {region} positions does not fit the map of {side}×{side} that "
            f"{name} makes of {crop} pixels; make it smaller, or train.crop larger."
        )
