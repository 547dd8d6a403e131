"""Networks of torchvision and timm as the localization literature uses them, with a map of 14 or 28 at 224.

Each function takes the stride between image and map: 16 or 8, or 32 where the library's network ends there. It returns
the layers up to that map under the library's own parameter names. A finer map comes from strides that are removed; no
convolution is dilated for it, as in Choe et al. (CVPR 2020) and the papers before.
"""

from collections import OrderedDict

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.inception import InceptionB
from torchvision.models.vgg import cfgs, make_layers


def torchvision_resnet(model: str, stride: int) -> nn.Sequential:
    """A ResNet (He et al., CVPR 2016) of torchvision up to layer4: 14×14 or 28×28 at 224.

    ``resnet18`` has 512 channels, ``resnet50`` 2048; any other of torchvision's family fits too.
    """
    return _residual(torchvision.models.get_model(model), stride)


def timm_resnet(model: str, stride: int) -> nn.Sequential:
    """A ResNet of timm up to layer4: 14×14 or 28×28 at 224; ``seresnet50`` (Hu et al., CVPR 2018) has 2048 channels."""
    import timm

    return _residual(timm.create_model(model), stride)


def preact_resnet18(stride: int) -> nn.Sequential:
    """PreActResNet-18 (He et al., ECCV 2016), timm's ``resnetv2_18``: 512 channels, 14×14 or 28×28 at 224.

    Blocks are BN-ReLU-conv3×3-BN-ReLU-conv3×3, and the 1×1 projection of a strided block takes the activated input,
    as in the paper. Stem: conv7×7 and max pooling without norm; the map is the output of the final BN-ReLU.
    """
    import timm

    network = timm.create_model("resnetv2_18")
    for stage in _unstrided_stages(stride):
        _remove_stride(network.get_submodule(f"stages.{stage}.blocks.0"))
    return _up_to(network, "norm")


def vgg16(stride: int) -> nn.Sequential:
    """VGG16 (Simonyan & Zisserman, ICLR 2015) without pool5 and classifier: 512 channels, 14×14 or 28×28 at 224.

    The finer map is made without pool4, whose windows of 2×2 do not overlap.
    """
    # The library's constructor would also fill a classifier of 120 million parameters.
    features = make_layers(cfgs["D"], batch_norm=False)[:30]
    if stride == 8:
        features[23] = nn.Identity()
    _initialize(features)
    return nn.Sequential(OrderedDict(features=features))


def vgg16_conv1024(stride: int) -> nn.Sequential:
    """VGG16 with a 3×3 convolution to 1024 channels and ReLU on top, the VGG-GAP of CAM (Zhou et al., CVPR 2016).

    No library has weights of that convolution; it starts as VGG's own do.
    """
    top = nn.Sequential(OrderedDict(conv6=nn.Conv2d(512, 1024, kernel_size=3, padding=1), relu6=nn.ReLU(inplace=True)))
    _initialize(top)
    return nn.Sequential(OrderedDict([*vgg16(stride).named_children(), *top.named_children()]))


def googlenet(stride: int) -> nn.Sequential:
    """GoogLeNet (Szegedy et al., CVPR 2015) up to inception4e: 832 channels, 14×14 or 28×28 at 224."""
    network = torchvision.models.googlenet(aux_logits=False, init_weights=False)
    if stride == 8:
        _remove_stride(network.maxpool3)
    return _up_to(network, "inception4e")


def alexnet(stride: int) -> nn.Sequential:
    """AlexNet (Krizhevsky, 2014) up to conv5: 256 channels, 13×13 or 27×27 at 224, as its first layers pad little."""
    features = torchvision.models.alexnet().features[:12]
    if stride == 8:
        _remove_stride(features[5])
    return nn.Sequential(OrderedDict(features=features))


def inception_v3(stride: int) -> nn.Sequential:
    """InceptionV3 (Szegedy et al., CVPR 2016) up to Mixed_6e: 768 channels, 14×14 or 28×28 at 224.

    The library's layers pad nothing and give 12×12; the first convolution, the two poolings and Mixed_6a are padded,
    as in SPG (Zhang et al., ECCV 2018) and Choe et al. (CVPR 2020), whose map of 28×28 this is. Their map of 14×14 has
    one more pooling before an un-strided Mixed_6a; here Mixed_6a keeps the stride it was pretrained with.
    """
    network = torchvision.models.inception_v3(aux_logits=False, init_weights=False)
    network.Conv2d_1a_3x3.conv.padding = (1, 1)
    for pool in (network.maxpool1, network.maxpool2):
        pool.padding, pool.ceil_mode = 1, True
    network.Mixed_6a = _PaddedReduction(stride=2 if stride == 16 else 1)
    return _up_to(network, "Mixed_6e")


def mobilenet_v2(stride: int) -> nn.Sequential:
    """MobileNetV2 (Sandler et al., CVPR 2018) without its classifier: 1280 channels, 14×14 or 28×28 at 224."""
    features = torchvision.models.mobilenet_v2().features
    for block in {32: (), 16: (14,), 8: (7, 14)}[stride]:
        _remove_stride(features[block])
    return nn.Sequential(OrderedDict(features=features))


def squeezenet1_1(stride: int) -> nn.Sequential:
    """SqueezeNet 1.1 (Iandola et al., 2016) without its classifier: 512 channels, 13×13 or 27×27 at 224."""
    features = torchvision.models.squeezenet1_1().features
    if stride == 8:
        _remove_stride(features[8])
    return nn.Sequential(OrderedDict(features=features))


def timm_efficientnet_lite(model: str, stride: int) -> nn.Sequential:
    """An EfficientNet-Lite (Liu et al., 2020) of timm with its 1×1 convolution to 1280 channels: 14×14 or 28×28 at 224.

    Lite networks have no squeeze-and-excitation and ReLU6 for swish. Paddings are TensorFlow's "same", which follow the
    stride by themselves.
    """
    import timm

    network = timm.create_model(model)
    for stage in {32: (), 16: (5,), 8: (3, 5)}[stride]:
        _remove_stride(network.get_submodule(f"blocks.{stage}.0"))
    return _up_to(network, "bn2")


class _PaddedReduction(InceptionB):  # type: ignore[misc]
    """InceptionV3's Mixed_6a, padded, with a stride of 1 or 2; the library fixes both inside its forward pass."""

    def __init__(self, stride: int) -> None:
        super().__init__(in_channels=288)
        for convolution in (self.branch3x3.conv, self.branch3x3dbl_3.conv):
            convolution.stride, convolution.padding = (stride, stride), (1, 1)
        self.pool = nn.MaxPool2d(3, stride, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(features)))
        return torch.cat([self.branch3x3(features), double, self.pool(features)], dim=1)


def _initialize(layers: nn.Module) -> None:
    """As torchvision does in VGG."""
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)


def _residual(network: nn.Module, stride: int) -> nn.Sequential:
    for stage in _unstrided_stages(stride):
        _remove_stride(network.get_submodule(f"layer{stage + 1}.0"))
    return _up_to(network, "layer4")


def _unstrided_stages(stride: int) -> tuple[int, ...]:
    """Which of a residual network's stages 0 to 3 lose their stride."""
    return {32: (), 16: (3,), 8: (2, 3)}[stride]


def _remove_stride(block: nn.Module) -> None:
    """Let convolutions and poolings step by one: 3×3 maxima are padded, averages before a projection become nothing."""
    for layer in block.modules():
        if isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1)
        elif isinstance(layer, nn.MaxPool2d):
            layer.stride, layer.padding = 1, 1
        elif isinstance(layer, nn.AvgPool2d):
            layer.kernel_size = layer.stride = 1


def _up_to(network: nn.Module, last: str) -> nn.Sequential:
    """Children of a network in their order, ``last`` included."""
    children = list(network.named_children())
    end = [name for name, _ in children].index(last) + 1
    return nn.Sequential(OrderedDict(children[:end]))
