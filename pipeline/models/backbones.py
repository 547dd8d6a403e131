"""Feature extractors of the zoo: built, and filled with ImageNet weights."""

import torch
from torch import nn

from pipeline.backbones import BACKBONES
from pipeline.errors import UserError
from pipeline.files import weights_file
from pipeline.models import architectures
from pipeline.models.weights import download, read_weights
from pipeline.params import TrainParams


def build_backbone(name: str, stride: int) -> nn.Module:
    """Build an untrained backbone: images ``(N, 3, H, W)``, normalised with the ImageNet statistics, to a map.

    Args:
        stride: 16 for a map of about 14×14 at 224, 8 for about 28×28.

    Raises:
        UserError: the stride is another.
    """
    if stride not in (8, 16):
        raise UserError(f"the stride of {name}'s map is {stride}; give 16 (14×14 at 224) or 8 (28×28).")
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
def check_region_fits(backbone: nn.Module, settings: TrainParams) -> None:
    """Raise UserError where the square that RDAP drops is larger than the map; a backbone without memory will do."""
    place = next(backbone.parameters()).device
    side = backbone.eval()(torch.zeros(1, 3, settings.crop, settings.crop, device=place)).shape[-1]
    if settings.rdap_size > side:
        raise UserError(
            f"train.rdap_size: a square of {settings.rdap_size} positions does not fit the map of {side}×{side} that "
            f"{settings.backbone} makes of {settings.crop} pixels; make it smaller, or train.crop larger."
        )


def load_pretrained(backbone: nn.Module, name: str, pretrained: bool | str) -> None:
    """Load ImageNet weights into a backbone; ``False`` leaves it as it is.

    Args:
        pretrained: True for the library's download, or the path of a ``state_dict`` under the library's names, of the
            whole network or of the backbone alone.

    Raises:
        UserError: the file is missing, is no state dict, lacks parameters of this backbone, or is of a larger network.
        TransientError: the download failed.
    """
    if pretrained is False:
        return
    source = BACKBONES[name].weights
    weights = download(source, name) if pretrained is True else read_weights(weights_file(str(pretrained)))
    # Older files lack the counters of batch norm, which nothing reads.
    own = {key: value for key, value in backbone.state_dict().items() if not key.endswith("num_batches_tracked")}
    own = {key: value for key, value in own.items() if not key.startswith(BACKBONES[name].untrained)}
    wrong = [key for key, value in own.items() if key not in weights or weights[key].shape != value.shape]
    if wrong:
        raise UserError(
            f"train.pretrained: {pretrained} does not fit {name}: {len(wrong)} of {len(own)} parameters are missing "
            f"or of another shape, the first {wrong[0]}. Give a state_dict of {source.library}'s {source.model}."
        )
    # Heads are children of their own in all libraries; what else lies in the backbone's children is another network's.
    children = tuple(f"{child}." for child, _ in backbone.named_children())
    if left := [key for key in weights if key.startswith(children) and key not in backbone.state_dict()]:
        raise UserError(
            f"train.pretrained: {pretrained} is of a larger network than {name}: {len(left)} of its parameters are "
            f"too many, the first {left[0]}. Give a state_dict of {source.library}'s {source.model}."
        )
    backbone.load_state_dict({key: weights[key] for key in own}, strict=False)
