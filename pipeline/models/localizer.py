"""The classifier whose evidence becomes the localization map."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.files import reading, write_bytes
from pipeline.models.backbones import build_backbone, channels

# Statistics of ImageNet, which the pretrained weights expect.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class Localizer(nn.Module):
    """Backbone, global average pooling, one linear layer: the network of CAM (Zhou et al., CVPR 2016).

    Takes raw images ``(N, 3, H, W)`` uint8 RGB; normalisation is part of the network, so that it cannot be forgotten.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(channels(backbone), classes)
        self.register_buffer("mean", 255 * torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """Last feature map ``(N, K, h, w)``."""
        normalized = (images.float() - self.mean) / self.std
        features: Tensor = self.backbone(normalized.contiguous(memory_format=torch.channels_last))
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits ``(N, C)`` of a feature map."""
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, C)``."""
        return self.classify(self.features(images))


def build_localizer(architecture: Mapping[str, Any]) -> Localizer:
    """Build the network that ``{"backbone": name, "head": "gap", "classes": C}`` describes, untrained."""
    network = Localizer(build_backbone(architecture["backbone"], 16), architecture["classes"])
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def save_localizer(path: Path, network: Localizer, architecture: Mapping[str, Any]) -> None:
    """Write weights and description; the same weights give the same bytes."""
    buffer = io.BytesIO()
    state = {key: value.cpu() for key, value in network.state_dict().items()}
    torch.save({"architecture": dict(architecture), "state_dict": state}, buffer)
    write_bytes(path, buffer.getvalue())


def load_localizer(path: Path) -> tuple[Localizer, dict[str, Any]]:
    """Read what :func:`save_localizer` wrote, in evaluation mode; UserError where it is missing or damaged."""
    with reading(path):
        saved = torch.load(path, map_location="cpu", weights_only=True)
        network = build_localizer(saved["architecture"])
        network.load_state_dict(saved["state_dict"])
    return network.eval(), saved["architecture"]


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
