"""Pretrained weights: from a library's download, or from a local file under the library's parameter names."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from pipeline.errors import TransientError, UserError, reason
from pipeline.files import weights_file
from pipeline.models.zoo import BACKBONES, LibraryWeights


def load_pretrained(backbone: nn.Module, name: str, pretrained: bool | str) -> None:
    """Load ImageNet weights into a backbone; ``False`` leaves it as it is.

    Args:
        pretrained: True for the library's download, or the path of a ``state_dict`` under the library's names, of the
            whole network or of the backbone alone.

    Raises:
        UserError: the file is missing, not a state dict, lacks parameters of this backbone, or is of a larger network.
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


def download(source: LibraryWeights, name: str) -> Mapping[str, Tensor]:
    """State dict of the whole network, classifier included.

    Args:
        name: of the backbone, for the message.

    Raises:
        TransientError: the download failed.
    """
    try:
        return _from_torchvision(source) if source.library == "torchvision" else _from_timm(source)
    except (OSError, RuntimeError) as error:
        raise TransientError(
            f"cannot download the ImageNet weights of {name}: {error}. Run again later, or download the file by "
            "other means and give its path as train.pretrained."
        ) from None


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict, of torch or in the safetensors format, without running any code it may hold.

    Raises:
        UserError: the file is not a state dict.
    """
    try:
        weights = _read(path)
    except Exception as error:  # the libraries raise half a dozen unrelated types here
        raise UserError(f"train.pretrained: {path} is not a readable state_dict: {reason(error)}") from None
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"train.pretrained: {path} must hold a plain state_dict, parameter names to tensors.")
    return weights


def _read(path: Path) -> object:
    # The format timm's weights come in when they are downloaded by hand.
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _from_torchvision(source: LibraryWeights) -> Mapping[str, Tensor]:
    weights = torchvision.models.get_model_weights(source.model)[source.tag]
    state: Mapping[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    return state


def _from_timm(source: LibraryWeights) -> Mapping[str, Tensor]:
    import timm

    state: Mapping[str, Tensor] = timm.create_model(f"{source.model}.{source.tag}", pretrained=True).state_dict()
    return state
