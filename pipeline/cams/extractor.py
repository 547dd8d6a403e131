"""Maps of classes from trained networks, by any of the methods, and their logits."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.functional import ten_crop

from pipeline.cams.methods import find_method
from pipeline.cams.views import Views
from pipeline.evaluation.class_predictions import predicted_classes
from pipeline.models.adversarial_erasing import erase_found
from pipeline.models.cam import fuse_maps
from pipeline.models.heads import AcolHead
from pipeline.models.localizer import Localizer
from pipeline.models.precision import features_in
from pipeline.params import ExtractCamsParams


class Extractor:
    """Classes, maps and logits of batches of images.

    Args:
        networks: one, or those of adversarial erasing in their order, of which the first classifies.
        ae_threshold: share of a map's maximum from which the next network's image is erased.
        settings: the method.
        precision: features are computed in it, maps and logits in float32.

    Attributes:
        methods: the map method on each network; one that is to be fitted must be before the first image.
    """

    def __init__(
        self,
        networks: Sequence[Localizer],
        ae_threshold: float,
        settings: ExtractCamsParams,
        precision: str = "float32",
    ) -> None:
        self.networks, self.ae_threshold, self.settings = networks, ae_threshold, settings
        self.precision = precision
        self.methods = [find_method(settings.method)(network, settings, precision) for network in networks]
        for network in networks:
            if isinstance(network.head, AcolHead):
                network.head.select = settings.acol_map

    def __call__(self, labels: Tensor, views: Views) -> tuple[Tensor, Tensor, Tensor]:
        """Extract from images with labels ``(N,)``; where they may have several ``(N, C)``, of which 1 is present.

        Returns:
            Classes ``(N, 2)``, true and predicted, their maps ``(N, 2, h, w)`` and logits ``(N, C)``. Of several labels
            classes ``(N, M)``, those present or predicted, in order, then -1; the maps of the latter mean nothing.
        """
        network, side = self.networks[0], views.whole.shape[-1]
        features = features_in(self.precision, network, views.whole)
        if views.resized is None:
            logits = network.head(features)[0]
        else:
            logits = ten_crop_logits(network, views.resized, side, self.precision, several=labels.ndim == 2)
        classes = torch.stack([labels, logits.argmax(dim=1)], dim=1) if labels.ndim == 1 else _shown(labels, logits)
        mapped = classes.clamp(min=0)
        maps = self._maps(views, mapped, features)
        if self.settings.flip:
            maps = (maps + self._maps(views.mirrored(), mapped).flip(-1)) / 2
        return classes, maps, logits

    def _maps(self, views: Views, classes: Tensor, features: Tensor | None = None) -> Tensor:
        """Maps ``(N, M, h, w)``; ``features`` are those of the first network, where they are known."""
        if len(self.networks) == 1:
            return self.methods[0].maps(views, classes, features)
        if features is None:
            features = features_in(self.precision, self.networks[0], views.whole)
        each = [self._union(features, views, classes[:, m]) for m in range(classes.shape[1])]
        return torch.stack(each, dim=1)

    def _union(self, features: Tensor, views: Views, labels: Tensor) -> Tensor:
        """Maximum ``(N, h, w)`` of the networks' normalised maps (Wei et al., CVPR 2017, section 3.1).

        Each network sees the images without what the ones before it found of the label.
        """
        union = self.methods[0].maps(views, labels[:, None], features)
        for earlier, method in zip(self.networks, self.methods[1:], strict=False):
            views = Views(erase_found(earlier, views.whole, labels, self.ae_threshold, self.precision))
            union = fuse_maps(union, method.maps(views, labels[:, None]))
        return union[:, 0]


def _shown(labels: Tensor, logits: Tensor) -> Tensor:
    """The classes ``(N, M)`` that an image shows or is taken to show, in order, then -1."""
    wanted = (labels == 1) | torch.from_numpy(predicted_classes(logits.cpu().numpy())).to(labels.device)
    counts = wanted.sum(dim=1, keepdim=True)
    order = wanted.byte().argsort(dim=1, descending=True, stable=True)[:, : int(counts.max())]
    return torch.where(torch.arange(order.shape[1], device=labels.device) < counts, order, -1)


def ten_crop_logits(
    network: Localizer, images: Tensor, crop: int, precision: str = "float32", *, several: bool = False
) -> Tensor:
    """Logits ``(N, C)`` of the mean prediction for corners and centre of images ``(N, 3, R, R)``, also mirrored.

    Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", NeurIPS 2012, section 4.1.

    Args:
        several: the prediction is a probability for each class, not one distribution over all.
    """
    crops = ten_crop(images, [crop, crop])
    if several:
        each = [network.head(features_in(precision, network, part))[0].double().sigmoid() for part in crops]
        return torch.stack(each).mean(dim=0).logit(eps=1e-12).float()
    parts = [network.head(features_in(precision, network, part))[0].log_softmax(dim=1) for part in crops]
    return torch.stack(parts).logsumexp(dim=0) - math.log(len(parts))
