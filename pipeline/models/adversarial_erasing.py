"""Erasing from images what a trained network finds in them."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.models.cam import normalize_maps
from pipeline.models.localizer import Localizer
from pipeline.models.precision import features_in


@torch.no_grad()
def erase_found(
    network: Localizer, images: Tensor, labels: Tensor, threshold: float, precision: str = "float32"
) -> Tensor:
    """Images ``(N, 3, H, W)`` with the mean colour where the network's map of the label reaches ``threshold``.

    Args:
        precision: of the features; the map is computed in float32.
    """
    features = features_in(precision, network, images)
    maps = network.head.class_maps(features, labels[:, None])[:, 0]
    return erase_regions(images, normalize_maps(maps), threshold, network.mean.flatten())


def erase_regions(images: Tensor, maps: Tensor, threshold: float, fill: Tensor) -> Tensor:
    """Erase from each image the region its map points at, so that the next classifier has to find another one.

    Wei et al., "Object region mining with adversarial erasing: A simple classification to semantic segmentation
    approach", CVPR 2017, section 3.

    Args:
        maps: ``(N, h, w)`` in [0, 1], resized to the images (bilinear).
        threshold: pixels whose map is at least this are erased.
        fill: ``(3,)``, the colour of erased pixels, usually the mean of the data set.
    """
    resized = F.interpolate(maps[:, None], size=images.shape[2:], mode="bilinear", align_corners=False)
    return _filled(images, resized[:, 0] >= threshold, fill)


def _filled(images: Tensor, hidden: Tensor, fill: Tensor) -> Tensor:
    """Images with the colour ``fill`` at the pixels of ``hidden (N, H, W)``."""
    colour = fill if images.is_floating_point() else fill.round()
    return torch.where(hidden[:, None], colour.to(images).view(1, 3, 1, 1), images)
