"""The zoo of feature extractors as data: what builds each, its pretrained weights, where attention layers attach.

Adding one is an entry in :data:`BACKBONES`, which is also the choice of `train.backbone`. Nothing here imports torch.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Architecture:
    """What builds the network: a function of ``pipeline/models/architectures.py``.

    Attributes:
        function: its name.
        arguments: those before the stride.
    """

    function: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class LibraryWeights:
    """ImageNet weights as a library names them: ``timm``'s model ``seresnet50`` with tag ``ra2_in1k``."""

    library: Literal["torchvision", "timm"]
    model: str
    tag: str


@dataclass(frozen=True)
class Normalisation:
    """What images are normalised with before a network: RGB values in [0, 1] minus ``mean``, divided by ``std``."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: To [-1, 1], as networks that come from TensorFlow expect.
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


#: 14×14 and 28×28 at 224.
FINER = (16, 8)
ALL_STRIDES = (32, *FINER)


@dataclass(frozen=True)
class Backbone:
    """A feature extractor of the zoo.

    Attributes:
        architecture: the network, untrained, under the library's parameter names.
        weights: what ``pretrained: true`` downloads.
        attention_sites: submodules whose outputs an attention layer (ADL, RDAP) may replace. All are non-negative, and
            no path goes round them: what is erased there is gone.
        normalisation: of the images that its weights were trained on.
        strides: between image and map that it can be built with; 32 is the library's network, unaltered.
        untrained: prefix of the parameters that no library has weights for.
    """

    architecture: Architecture
    weights: LibraryWeights
    attention_sites: tuple[str, ...]
    normalisation: Normalisation = IMAGENET
    strides: tuple[int, ...] = FINER
    untrained: tuple[str, ...] = ()


# Sites of Choe & Shim (CVPR 2019) in residual networks and, after pool3, conv4_3 and conv5_3, in VGG16.
_RESNET18_SITES = ("layer3.0", "layer4.0", "layer4.1")
_RESNET50_SITES = ("layer3.0", "layer4.0", "layer4.2")
_VGG16_SITES = ("features.16", "features.22", "features.29")
_LITE_SITES = ("blocks.4.0.bn1", "blocks.6.0.bn1", "bn2")

BACKBONES: dict[str, Backbone] = {
    "resnet18": Backbone(
        Architecture("torchvision_resnet", ("resnet18",)),
        LibraryWeights("torchvision", "resnet18", "IMAGENET1K_V1"),
        _RESNET18_SITES,
        strides=ALL_STRIDES,
    ),
    # The literature's weights: V2, torchvision's default, comes from a recipe with CutMix, Mixup and label smoothing.
    "resnet50": Backbone(
        Architecture("torchvision_resnet", ("resnet50",)),
        LibraryWeights("torchvision", "resnet50", "IMAGENET1K_V1"),
        _RESNET50_SITES,
        strides=ALL_STRIDES,
    ),
    # The sum at the end of a block is not activated yet: the BN-ReLU that opens the next stage takes its place.
    "preact_resnet18": Backbone(
        Architecture("preact_resnet18"),
        LibraryWeights("timm", "resnetv2_18", "ra4_e3600_r224_in1k"),
        ("stages.2.blocks.0.norm1", "stages.3.blocks.0.norm1", "norm"),
        HALF,
        ALL_STRIDES,
    ),
    "se_resnet50": Backbone(
        Architecture("timm_resnet", ("seresnet50",)),
        LibraryWeights("timm", "seresnet50", "ra2_in1k"),
        _RESNET50_SITES,
        strides=ALL_STRIDES,
    ),
    "vgg16": Backbone(Architecture("vgg16"), LibraryWeights("torchvision", "vgg16", "IMAGENET1K_V1"), _VGG16_SITES),
    "vgg16_conv1024": Backbone(
        Architecture("vgg16_conv1024"),
        LibraryWeights("torchvision", "vgg16", "IMAGENET1K_V1"),
        _VGG16_SITES,
        untrained=("conv6.",),
    ),
    # As for InceptionV3 below: the last block before the 14×14 stage, and the map.
    "googlenet": Backbone(
        Architecture("googlenet"),
        LibraryWeights("torchvision", "googlenet", "IMAGENET1K_V1"),
        ("inception3b", "inception4e"),
        HALF,
    ),
    # After pool2, conv4 and conv5: what VGG16's sites are in five convolutions.
    "alexnet": Backbone(
        Architecture("alexnet"),
        LibraryWeights("torchvision", "alexnet", "IMAGENET1K_V1"),
        ("features.5", "features.9", "features.11"),
    ),
    # Sites of Choe et al. (CVPR 2020); their third lies in a head that is not built here.
    "inception_v3": Backbone(
        Architecture("inception_v3"),
        LibraryWeights("torchvision", "inception_v3", "IMAGENET1K_V1"),
        ("Mixed_5d", "Mixed_6e"),
        HALF,
    ),
    # Blocks end linearly and mostly have a way round: the activated expansions of two blocks without one, 11 (the
    # first after the stage of layer3[0]) and 17 (after that of layer4[0]), and the map.
    "mobilenet_v2": Backbone(
        Architecture("mobilenet_v2"),
        LibraryWeights("torchvision", "mobilenet_v2", "IMAGENET1K_V2"),
        ("features.11.conv.0", "features.17.conv.0", "features.18"),
        strides=ALL_STRIDES,
    ),
    # After pool3, the second fire module that follows, and the map.
    "squeezenet1_1": Backbone(
        Architecture("squeezenet1_1"),
        LibraryWeights("torchvision", "squeezenet1_1", "IMAGENET1K_V1"),
        ("features.8", "features.10", "features.12"),
    ),
    # As in MobileNetV2: the activated expansions of two blocks without a way round, and the map.
    "tf_efficientnet_lite0": Backbone(
        Architecture("timm_efficientnet_lite", ("tf_efficientnet_lite0",)),
        LibraryWeights("timm", "tf_efficientnet_lite0", "in1k"),
        _LITE_SITES,
        HALF,
        ALL_STRIDES,
    ),
    "tf_efficientnet_lite2": Backbone(
        Architecture("timm_efficientnet_lite", ("tf_efficientnet_lite2",)),
        LibraryWeights("timm", "tf_efficientnet_lite2", "in1k"),
        _LITE_SITES,
        HALF,
        ALL_STRIDES,
    ),
}
