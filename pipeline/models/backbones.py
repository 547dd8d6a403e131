"""Feature extractors by name, their pretrained weights, and where attention layers attach.

Adding one takes an entry in :data:`BACKBONES`: what builds it, the library's name of its weights, and its sites.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.files import weights_file
from pipeline.models import architectures
from pipeline.models.weights import LibraryWeights, read_weights


@dataclass(frozen=True)
class Backbone:
    """A feature extractor of the zoo.

    Attributes:
        build: stride between image and map (16 or 8) to the network, untrained, under the library's parameter names.
            The network takes images normalised with the ImageNet statistics.
        weights: what ``pretrained: true`` downloads.
        attention_sites: submodules whose outputs an attention layer (ADL, RDAP) may replace. All are non-negative, and
            no path goes round them: what is erased there is gone.
        untrained: prefix of the parameters that no library has weights for.
    """

    build: Callable[[int], nn.Sequential]
    weights: LibraryWeights
    attention_sites: tuple[str, ...]
    untrained: tuple[str, ...] = ()


# Sites of Choe & Shim (CVPR 2019) in residual networks and, after pool3, conv4_3 and conv5_3, in VGG16.
_RESNET18_SITES = ("layer3.0", "layer4.0", "layer4.1")
_RESNET50_SITES = ("layer3.0", "layer4.0", "layer4.2")
_VGG16_SITES = ("features.16", "features.22", "features.29")

BACKBONES: dict[str, Backbone] = {
    "resnet18": Backbone(
        partial(architectures.torchvision_resnet, "resnet18"),
        LibraryWeights("torchvision", "resnet18", "IMAGENET1K_V1"),
        _RESNET18_SITES,
    ),
    # The literature's weights: V2, torchvision's default, comes from a recipe with CutMix, Mixup and label smoothing.
    "resnet50": Backbone(
        partial(architectures.torchvision_resnet, "resnet50"),
        LibraryWeights("torchvision", "resnet50", "IMAGENET1K_V1"),
        _RESNET50_SITES,
    ),
    # The sum at the end of a block is not activated yet: the BN-ReLU that opens the next stage takes its place.
    "preact_resnet18": Backbone(
        architectures.preact_resnet18,
        LibraryWeights("timm", "resnetv2_18", "ra4_e3600_r224_in1k"),
        ("stages.2.blocks.0.norm1", "stages.3.blocks.0.norm1", "norm"),
    ),
    "se_resnet50": Backbone(
        partial(architectures.timm_resnet, "seresnet50"),
        LibraryWeights("timm", "seresnet50", "ra2_in1k"),
        _RESNET50_SITES,
    ),
    "vgg16": Backbone(architectures.vgg16, LibraryWeights("torchvision", "vgg16", "IMAGENET1K_V1"), _VGG16_SITES),
    "vgg16_conv1024": Backbone(
        architectures.vgg16_conv1024,
        LibraryWeights("torchvision", "vgg16", "IMAGENET1K_V1"),
        _VGG16_SITES,
        untrained=("conv6.",),
    ),
    # As for InceptionV3 below: the last block before the 14×14 stage, and the map.
    "googlenet": Backbone(
        architectures.googlenet,
        LibraryWeights("torchvision", "googlenet", "IMAGENET1K_V1"),
        ("inception3b", "inception4e"),
    ),
    # After pool2, conv4 and conv5: what VGG16's sites are in five convolutions.
    "alexnet": Backbone(
        architectures.alexnet,
        LibraryWeights("torchvision", "alexnet", "IMAGENET1K_V1"),
        ("features.5", "features.9", "features.11"),
    ),
    # Sites of Choe et al. (CVPR 2020); their third lies in a head that is not built here.
    "inception_v3": Backbone(
        architectures.inception_v3,
        LibraryWeights("torchvision", "inception_v3", "IMAGENET1K_V1"),
        ("Mixed_5d", "Mixed_6e"),
    ),
    # Blocks end linearly and mostly have a way round: the activated expansions of two blocks without one, 11 (the
    # first after the stage of layer3[0]) and 17 (after that of layer4[0]), and the map.
    "mobilenet_v2": Backbone(
        architectures.mobilenet_v2,
        LibraryWeights("torchvision", "mobilenet_v2", "IMAGENET1K_V2"),
        ("features.11.conv.0", "features.17.conv.0", "features.18"),
    ),
    # After pool3, the second fire module that follows, and the map.
    "squeezenet1_1": Backbone(
        architectures.squeezenet1_1,
        LibraryWeights("torchvision", "squeezenet1_1", "IMAGENET1K_V1"),
        ("features.8", "features.10", "features.12"),
    ),
}


def build_backbone(name: str, stride: int) -> nn.Module:
    """Build an untrained backbone: images ``(N, 3, H, W)``, normalised with the ImageNet statistics, to a map.

    Args:
        stride: 16 for a map of about 14×14 at 224, 8 for about 28×28.

    Raises:
        UserError: the stride is another.
    """
    if stride not in (8, 16):
        raise UserError(f"the stride of {name}'s map is {stride}; give 16 (14×14 at 224) or 8 (28×28).")
    return BACKBONES[name].build(stride)


@torch.no_grad()
def channels(backbone: nn.Module) -> int:
    """Number of channels of a backbone's last feature map."""
    training = backbone.training
    count: int = backbone.eval()(torch.zeros(1, 3, 64, 64)).shape[1]
    backbone.train(training)
    return count


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
    weights = source.download(name) if pretrained is True else read_weights(weights_file(str(pretrained)))
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
