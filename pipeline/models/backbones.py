"""Feature extractors, as the localization literature uses them: the last stage keeps its resolution.

Each comes from torchvision; :data:`BACKBONES` maps its name to how it is built. Weights are read under torchvision's
own parameter names, from torchvision's download or from a local file.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from pipeline.errors import TransientError, UserError


def resnet18() -> nn.Sequential:
    """ResNet-18 (He et al., CVPR 2016) up to layer4, whose stride is removed: 512 channels, 1/16 of the input."""
    network = torchvision.models.resnet18()
    block = network.layer4[0]
    _remove_stride(block.conv1)
    _remove_stride(block.downsample[0])
    return nn.Sequential(OrderedDict(list(network.named_children())[:-2]))


def squeezenet1_1() -> nn.Sequential:
    """SqueezeNet 1.1 (Iandola et al., 2016) without its classifier: 512 channels, 1/16 of the input."""
    return nn.Sequential(OrderedDict(features=torchvision.models.squeezenet1_1().features))


def mobilenet_v2() -> nn.Sequential:
    """MobileNetV2 (Sandler et al., CVPR 2018), stride of the last stage removed: 1280 channels, 1/16 of the input."""
    features = torchvision.models.mobilenet_v2().features
    _remove_stride(features[14].conv[1][0])
    return nn.Sequential(OrderedDict(features=features))


BACKBONES: dict[str, Callable[[], nn.Sequential]] = {
    "resnet18": resnet18,
    "squeezenet1_1": squeezenet1_1,
    "mobilenet_v2": mobilenet_v2,
}


def _remove_stride(convolution: nn.Conv2d) -> None:
    convolution.stride = (1, 1)


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
        pretrained: True for torchvision's download, or the path of a ``state_dict`` under torchvision's names.

    Raises:
        UserError: the file is missing, is no state dict, or lacks parameters of this backbone.
        TransientError: the download failed.
    """
    if pretrained is False:
        return
    weights = _download(name) if pretrained is True else read_weights(Path(str(pretrained)))
    # Older files lack the counters of batch norm, which nothing reads.
    own = {key: value for key, value in backbone.state_dict().items() if not key.endswith("num_batches_tracked")}
    wrong = [key for key, value in own.items() if key not in weights or weights[key].shape != value.shape]
    if wrong:
        raise UserError(
            f"train.pretrained: {pretrained} does not fit {name}: {len(wrong)} of {len(own)} parameters are missing "
            f"or of another shape, the first {wrong[0]}. Give a state_dict of torchvision's {name}."
        )
    backbone.load_state_dict({key: weights[key] for key in own}, strict=False)


def _download(name: str) -> Mapping[str, Tensor]:
    try:
        weights = torchvision.models.get_model_weights(name).DEFAULT
        state: Mapping[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        return state
    except (URLError, OSError, RuntimeError) as error:
        raise TransientError(
            f"cannot download the ImageNet weights of {name}: {error}. Run again later, or download the file by "
            "other means and give its path as train.pretrained."
        ) from None


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict without running any code it may hold.

    Raises:
        UserError: the file is missing or is no state dict.
    """
    if not path.is_file():
        raise UserError(f"train.pretrained: {path.absolute()} does not exist; give true, false or an existing file.")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen unrelated types here
        raise UserError(
            f"train.pretrained: {path} is not a readable state_dict: {str(error).splitlines()[0]}"
        ) from None
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"train.pretrained: {path} must hold a plain state_dict, parameter names to tensors.")
    return weights
