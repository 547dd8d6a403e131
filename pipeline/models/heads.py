"""Heads: from features ``(N, K, h, w)`` to logits, and to the maps of classes.

Every head is called with features and, in training, labels ``(N,)``, and returns the logits of its branches
``(B, N, C)``, the first of which classifies; ``class_maps`` gives the maps ``(N, M, h, w)`` of classes ``(N, M)``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.models.cam import class_activation_maps, fuse_maps, normalize_maps
from pipeline.models.pooling import global_average, global_max, thresholded_average

Pool = Callable[[Tensor], Tensor]


class PooledHead(nn.Linear):
    """A pooling and one linear layer.

    With global average pooling the head of CAM, with global maximum pooling its ablation (Zhou et al., CVPR 2016,
    section 2), with thresholded average pooling that of Bae et al., ECCV 2020, section 3.1. The map is that of CAM
    for all three, of the features as they are.
    """

    def __init__(self, channels: int, classes: int, pool: Pool) -> None:
        super().__init__(channels, classes)
        self.pool = pool

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits ``(1, N, C)``."""
        return super().forward(self.pool(features))[None]

    def class_maps(self, features: Tensor, classes: Tensor, clamp_negative_weights: bool = False) -> Tensor:
        """Class activation maps ``(N, M, h, w)``."""
        return class_activation_maps(features, self.weight, classes, clamp_negative_weights)


class ConvHead(nn.Conv2d):
    """A 1×1 convolution whose maps are averaged to the logits (Zhang et al., "Adversarial complementary learning for
    weakly supervised object localization", CVPR 2018, section 3.1): CAM's head, by linearity.
    """  # fmt: skip

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes, kernel_size=1)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits ``(1, N, C)``."""
        return super().forward(features).mean(dim=(2, 3))[None]

    def class_maps(self, features: Tensor, classes: Tensor, clamp_negative_weights: bool = False) -> Tensor:
        """Maps ``(N, M, h, w)`` without the bias."""
        return class_activation_maps(features, self.weight.flatten(1), classes, clamp_negative_weights)


class _Branch(nn.Module):
    """Two 3×3 convolutions and the 1×1 convolution of :class:`ConvHead`."""

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.classifier = ConvHead(width, classes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(1, N, C)`` and the trunk's features ``(N, width, h, w)``."""
        features = self.trunk(features)
        return self.classifier(features), features

    def class_maps(self, features: Tensor, classes: Tensor, clamp_negative_weights: bool) -> Tensor:
        return self.classifier.class_maps(self.trunk(features), classes, clamp_negative_weights)


class AcolHead(nn.Module):
    """Adversarial complementary learning: the second branch does not see what the first one found.

    Zhang et al., CVPR 2018, section 3.2. The first branch's map of the label (of its own prediction where there is no
    label) is normalised to [0, 1]; where it reaches ``threshold`` the features are zero for the second branch.

    Args:
        threshold: δ.
        width: channels of the branches, 1024 in the paper.
        smooth: average the features over 3×3 positions first, as the authors' code does for VGG16 only.
        select: which map ``class_maps`` gives: ``first``, ``second``, or ``fused``, their maximum after normalisation.
    """

    def __init__(self, channels: int, classes: int, threshold: float, width: int, smooth: bool) -> None:
        super().__init__()
        self.smooth = nn.AvgPool2d(3, stride=1, padding=1) if smooth else nn.Identity()
        self.first, self.second = (_Branch(channels, classes, width) for _ in range(2))
        self.threshold = threshold
        self.select = "fused"

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits ``(2, N, C)`` of the two branches."""
        features = self.smooth(features)
        logits, found = self.first(features)
        target = logits[0].argmax(dim=1) if labels is None else labels
        maps = self.first.classifier.class_maps(found, target[:, None])[:, 0]
        erased = erase_most_discriminative(features, normalize_maps(maps), self.threshold)
        return torch.cat([logits, self.second(erased)[0]])

    def class_maps(self, features: Tensor, classes: Tensor, clamp_negative_weights: bool = False) -> Tensor:
        """Maps ``(N, M, h, w)`` as :attr:`select` says; each class hides its own region from the second branch."""
        features = self.smooth(features)
        first = self.first.class_maps(features, classes, clamp_negative_weights)
        if self.select == "first":
            return first
        second = torch.cat(
            [self._second(features, classes[:, [m]], clamp_negative_weights) for m in range(classes.shape[1])], dim=1
        )
        return second if self.select == "second" else fuse_maps(first, second)

    def _second(self, features: Tensor, classes: Tensor, clamp_negative_weights: bool) -> Tensor:
        hidden = normalize_maps(self.first.class_maps(features, classes, clamp_negative_weights=False)[:, 0])
        erased = erase_most_discriminative(features, hidden, self.threshold)
        return self.second.class_maps(erased, classes, clamp_negative_weights)


Head = PooledHead | ConvHead | AcolHead


def build_head(architecture: Mapping[str, Any], channels: int) -> Head:
    """The head that an architecture (see :func:`pipeline.models.localizer.build_localizer`) describes."""
    classes, name = architecture["classes"], architecture["head"]
    if name == "conv":
        return ConvHead(channels, classes)
    if name == "acol":
        vgg = str(architecture["backbone"]).startswith("vgg16")
        return AcolHead(channels, classes, architecture["acol_threshold"], architecture["acol_width"], vgg)
    pools: dict[str, Pool] = {
        "gap": global_average,
        "gmp": global_max,
        "tap": partial(thresholded_average, threshold=architecture["tap_threshold"]),
    }
    return PooledHead(channels, classes, pools[name])


def erase_most_discriminative(features: Tensor, normalized_maps: Tensor, threshold: float) -> Tensor:
    """Zero the features of every channel where the first branch's map is at least ``δ``: what the second one sees.

    Zhang et al., "Adversarial complementary learning for weakly supervised object localization", CVPR 2018, section
    3. Gradients flow through the features that are left, none through the maps.

    Args:
        normalized_maps: ``(N, h, w)`` in [0, 1]; a NaN erases nothing.
        threshold: δ.
    """
    return features.masked_fill((normalized_maps.detach() >= threshold)[:, None], 0)
