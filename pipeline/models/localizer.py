"""The classifier whose evidence becomes the localization map."""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.files import content, reading, write_bytes
from pipeline.models.backbones import build_backbone, channels
from pipeline.models.heads import Head, build_head
from pipeline.models.zoo import BACKBONES, IMAGENET, Normalisation


class Localizer(nn.Module):
    """A backbone and a head (:mod:`pipeline.models.heads`).

    Takes raw images ``(N, 3, H, W)`` uint8 RGB; normalisation is part of the network, so that it cannot be forgotten.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, head: Head, normalisation: Normalisation = IMAGENET) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.register_buffer("mean", 255 * torch.tensor(normalisation.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(normalisation.std).view(1, 3, 1, 1), persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """Last feature map ``(N, K, h, w)``."""
        features: Tensor = self.backbone((images - self.mean) / self.std)
        return features

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits ``(B, N, C)`` of the head's branches; the first branch classifies."""
        logits: Tensor = self.head(self.features(images), labels)
        return logits


def build_localizer(architecture: Mapping[str, Any]) -> Localizer:
    """Build an untrained network.

    Args:
        architecture: ``backbone`` and ``stride`` (:mod:`pipeline.models.backbones`), ``head`` and its settings
            (``tap_threshold``, ``acol_threshold``, ``acol_width``), and ``classes``, their number.
    """
    backbone = build_backbone(architecture["backbone"], architecture["stride"])
    head = build_head(architecture, channels(backbone))
    return Localizer(backbone, head, BACKBONES[architecture["backbone"]].normalisation)


def save_localizers(path: Path, networks: Sequence[Localizer], architecture: Mapping[str, Any]) -> None:
    """Write weights and description; the same weights give the same bytes.

    Args:
        networks: one, or those of adversarial erasing in their order.
    """
    buffer = io.BytesIO()
    states = [{key: value.cpu() for key, value in network.state_dict().items()} for network in networks]
    torch.save({"architecture": dict(architecture), "state_dicts": states}, buffer)
    write_bytes(path, buffer.getvalue())


def load_localizers(path: Path, read: Callable[[Path], bytes] = content) -> tuple[list[Localizer], dict[str, Any]]:
    """Read what :func:`save_localizers` wrote, in evaluation mode; UserError where it is missing or damaged.

    Args:
        read: gives the file's content, as :meth:`pipeline.records.Inputs.read` does, which verifies it.
    """
    with reading(path):
        saved = torch.load(io.BytesIO(read(path)), map_location="cpu", weights_only=True)
        networks = [_restored(saved["architecture"], state) for state in saved["state_dicts"]]
    return networks, saved["architecture"]


def _restored(architecture: Mapping[str, Any], state: Mapping[str, Tensor]) -> Localizer:
    network = build_localizer(architecture)
    network.load_state_dict(state)
    return network.eval()


def device() -> torch.device:
    """The GPU where there is one; of several, this process's."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
