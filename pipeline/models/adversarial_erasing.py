"""Erasing from images what a trained network finds in them."""

import torch
from torch import Tensor

from pipeline.models.localizer import Localizer
from pipeline.models.precision import features_in
from pipeline.wsol.cam import normalize_maps
from pipeline.wsol.erasing import erase_regions


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
