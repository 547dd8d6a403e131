"""Maps of classes from trained networks, by any of the methods, and their logits."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torchvision.transforms.functional import ten_crop

from pipeline.cams.foreground import Foreground
from pipeline.cams.gradients import grad_cam, grad_cam_plus_plus, layer_cam
from pipeline.models.adversarial_erasing import erase_found
from pipeline.models.cam import fuse_maps
from pipeline.models.heads import AcolHead
from pipeline.models.localizer import Localizer
from pipeline.models.precision import features_in
from pipeline.params import ExtractCamsParams

_BY_GRADIENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "grad_cam": grad_cam,
    "grad_cam_plus_plus": grad_cam_plus_plus,
    "layer_cam": layer_cam,
}


@dataclass(frozen=True)
class Views:
    """The same images in several sizes.

    Attributes:
        whole: ``(N, 3, S, S)``, the network's input.
        resized: ``(N, 3, R, R)``, where ten crops of side S are to classify.
        large: by their side L ``(N, 3, L, L)``, where deep descriptor transforming is to localize.
    """

    whole: Tensor
    resized: Tensor | None = None
    large: Mapping[int, Tensor] = field(default_factory=dict)

    def mirrored(self) -> "Views":
        """What the maps are made of, mirrored."""
        return Views(self.whole.flip(-1), large={side: images.flip(-1) for side, images in self.large.items()})


class Extractor:
    """Classes, maps and logits of batches of images.

    Args:
        networks: one, or those of adversarial erasing in their order, of which the first classifies.
        ae_threshold: share of a map's maximum from which the next network's image is erased.
        settings: the method.
        precision: features are computed in it, maps and logits in float32.
        foreground: of method ``ddt``: the fitted projections.
    """

    def __init__(
        self,
        networks: Sequence[Localizer],
        ae_threshold: float,
        settings: ExtractCamsParams,
        precision: str = "float32",
        foreground: Foreground | None = None,
    ) -> None:
        self.networks, self.ae_threshold, self.settings = networks, ae_threshold, settings
        self.precision, self.foreground = precision, foreground
        for network in networks:
            if isinstance(network.head, AcolHead):
                network.head.select = settings.acol_map

    def __call__(self, labels: Tensor, views: Views) -> tuple[Tensor, Tensor, Tensor]:
        """Extract from images with labels ``(N,)``.

        Returns:
            Classes ``(N, 2)``, true and predicted, their maps ``(N, 2, h, w)`` and logits ``(N, C)``.
        """
        network, side = self.networks[0], views.whole.shape[-1]
        features = features_in(self.precision, network, views.whole)
        if views.resized is None:
            logits = network.head(features)[0]
        else:
            logits = ten_crop_logits(network, views.resized, side, self.precision)
        classes = torch.stack([labels, logits.argmax(dim=1)], dim=1)
        maps = self._maps(views, classes, features)
        if self.settings.flip:
            maps = (maps + self._maps(views.mirrored(), classes).flip(-1)) / 2
        return classes, maps, logits

    def _maps(self, views: Views, classes: Tensor, features: Tensor | None = None) -> Tensor:
        """Maps ``(N, M, h, w)``; ``features`` are those of the first network, where they are known."""
        if self.foreground:
            # It knows no classes: one map for all of them.
            return self.foreground(views.large, views.whole)[:, None].expand(-1, classes.shape[1], -1, -1)
        if features is None:
            features = features_in(self.precision, self.networks[0], views.whole)
        if len(self.networks) == 1:
            return class_maps(self.networks[0], features, classes, self.settings)
        each = [self._union(features, views.whole, classes[:, m]) for m in range(classes.shape[1])]
        return torch.stack(each, dim=1)

    def _union(self, features: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Maximum ``(N, h, w)`` of the networks' normalised maps (Wei et al., CVPR 2017, section 3.1).

        Each network sees the images without what the ones before it found of the label.
        """
        union = class_maps(self.networks[0], features, labels[:, None], self.settings)
        for earlier, network in zip(self.networks, self.networks[1:], strict=False):
            images = erase_found(earlier, images, labels, self.ae_threshold, self.precision)
            features = features_in(self.precision, network, images)
            maps = class_maps(network, features, labels[:, None], self.settings)
            union = fuse_maps(union, maps)
        return union[:, 0]


def class_maps(network: Localizer, features: Tensor, classes: Tensor, settings: ExtractCamsParams) -> Tensor:
    """Maps ``(N, M, h, w)`` of the classes ``(N, M)`` from a network's features ``(N, K, h, w)``."""
    if settings.method == "cam":
        maps = network.head.class_maps(features, classes, settings.clamp_negative_weights)
    else:
        maps = _BY_GRADIENTS[settings.method](features, _gradients(network, features, classes))
    return maps.relu() if settings.relu else maps


def _gradients(network: Localizer, features: Tensor, classes: Tensor) -> Tensor:
    """Gradients ``(N, M, K, h, w)`` of the classes' logits with respect to the features."""
    with torch.enable_grad():
        features = features.detach().requires_grad_()
        scores = network.head(features)[0].gather(1, classes)  # (N, M)
        each = [torch.autograd.grad(score.sum(), features, retain_graph=True)[0] for score in scores.unbind(dim=1)]
    return torch.stack(each, dim=1)


def ten_crop_logits(network: Localizer, images: Tensor, crop: int, precision: str = "float32") -> Tensor:
    """Logarithm ``(N, C)`` of the mean prediction for corners and centre of images ``(N, 3, R, R)``, also mirrored.

    Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", NeurIPS 2012, section 4.1.
    """
    crops = ten_crop(images, [crop, crop])
    parts = [network.head(features_in(precision, network, part))[0].log_softmax(dim=1) for part in crops]
    return torch.stack(parts).logsumexp(dim=0) - math.log(len(parts))
