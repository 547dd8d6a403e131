"""Batches of images in the sizes that maps are made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Views:
    """The same images in several sizes.

    Attributes:
        whole: ``(N, 3, S, S)``, the network's input.
        resized: ``(N, 3, R, R)``, where ten crops of side S are to classify.
        large: by their side L ``(N, 3, L, L)``: what the map method asked for.
    """

    whole: Tensor
    resized: Tensor | None = None
    large: Mapping[int, Tensor] = field(default_factory=dict)

    def mirrored(self) -> "Views":
        """What the maps are made of, mirrored."""
        return Views(self.whole.flip(-1), large={side: images.flip(-1) for side, images in self.large.items()})
