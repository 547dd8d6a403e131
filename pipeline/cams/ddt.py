"""Deep descriptor transforming: where the features of all images of a set vary together.

Wei et al., "Unsupervised object discovery and co-localization by deep descriptor transforming", Pattern Recognition
88, 2019, section 3. The descriptors are the feature vectors at all positions of all images; their projection on the
first principal component separates what the images share from their backgrounds. It knows no classes.

Built here beyond the paper, which takes one layer and leaves the sign open: several layers, of which the first leads
(the component of another is the one that varies most with the leading one's), and the sign that makes the middle of
the images, on average, positive. Descriptors of several layers stand one after the other in the channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

#: How many of a further layer's components are looked at.
CANDIDATES = 3
#: An image's map is divided by this percentile of it, and cut off there: single positions do not set the scale.
PERCENTILE = 98.0


class DescriptorMoments:
    """First and second moments of descriptors, summed over batches.

    Args:
        channels: of each layer.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        self.channels = list(channels)
        width = sum(channels)
        self.positions = self.middle_positions = 0
        self.total, self.middle = np.zeros(width), np.zeros(width)
        self.products = np.zeros((width, width))

    def add(self, descriptors: Tensor) -> None:
        """Add descriptors ``(N, K, h, w)``, K over all layers."""
        height, width = descriptors.shape[2:]
        top, left = height // 4, width // 4
        middle = _rows(descriptors[:, :, top : height - top, left : width - left])
        rows = _rows(descriptors)
        self.positions, self.middle_positions = self.positions + len(rows), self.middle_positions + len(middle)
        self.total += rows.sum(axis=0)
        self.middle += middle.sum(axis=0)
        self.products += rows.T @ rows


@dataclass(frozen=True)
class Projections:
    """One direction of each layer: descriptors minus ``means`` times ``directions`` are the maps.

    Attributes:
        channels: of each layer.
        means: ``(K,)``, K over all layers.
        directions: ``(K,)``, the unit vectors of the layers one after the other.
    """

    channels: list[int]
    means: NDArray[np.float64]
    directions: NDArray[np.float64]

    def maps(self, descriptors: Tensor) -> Tensor:
        """Maps ``(N, L, h, w)`` of L layers from descriptors ``(N, K, h, w)``."""
        means, directions = (torch.from_numpy(v).to(descriptors) for v in (self.means, self.directions))
        weighted = (descriptors - means.view(-1, 1, 1)) * directions.view(-1, 1, 1)
        return torch.stack([part.sum(dim=1) for part in torch.split(weighted, self.channels, dim=1)], dim=1)

    def state(self) -> dict[str, Tensor]:
        """As tensors, by the names of the attributes."""
        means, directions = torch.from_numpy(self.means), torch.from_numpy(self.directions)
        return {"channels": torch.tensor(self.channels), "means": means, "directions": directions}

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> "Projections":
        """From what :meth:`state` gave.

        Raises:
            ValueError: tensors are missing, or of other shapes.
        """
        try:
            channels, means, directions = (state[name] for name in ("channels", "means", "directions"))
        except KeyError as error:
            raise ValueError(f"the projections have no {error.args[0]}") from None
        if (
            not channels.numel()
            or int(channels.min()) < 1
            or means.shape != directions.shape
            or means.shape != (int(channels.sum()),)
        ):
            raise ValueError("means and directions of the projections do not fit their channels")
        return cls([int(width) for width in channels], means.double().numpy(), directions.double().numpy())


def principal_projections(moments: DescriptorMoments) -> Projections:
    """The leading layer's first principal component, and of each further layer the one that goes with it."""
    means = moments.total / moments.positions
    covariance = moments.products / moments.positions - np.outer(means, means)
    ends = np.cumsum(moments.channels)
    parts = [slice(end - width, end) for end, width in zip(ends, moments.channels, strict=True)]
    lead = _components(covariance[parts[0], parts[0]], 1)[0]
    middle = moments.middle / moments.middle_positions - means
    lead *= 1.0 if lead @ middle[parts[0]] >= 0 else -1.0
    others = [_companion(covariance, parts[0], part, lead) for part in parts[1:]]
    return Projections(moments.channels, means, np.concatenate([lead, *others]))


def _companion(
    covariance: NDArray[np.float64], leading: slice, part: slice, lead: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The component of a layer whose correlation with the leading projection is largest, with its sign."""
    components = _components(covariance[part, part], CANDIDATES)
    shared = components @ covariance[part, leading] @ lead
    spread = np.sqrt(np.einsum("ck,kl,cl->c", components, covariance[part, part], components))
    best = np.abs(shared / np.maximum(spread, np.finfo(np.float64).tiny)).argmax()
    return np.asarray(components[best] * (1.0 if shared[best] >= 0 else -1.0))


def _components(covariance: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Principal components ``(count, K)``, largest variance first."""
    return np.linalg.eigh(covariance)[1][:, ::-1][:, :count].T.copy()


def _rows(descriptors: Tensor) -> NDArray[np.float64]:
    return descriptors.movedim(1, -1).flatten(0, -2).double().cpu().numpy()


def evidence(maps: Tensor) -> Tensor:
    """Maps ``(..., h, w)`` to [0, 1]: negative values are background, 1 is the 98th percentile of each map."""
    positive = maps.clamp(min=0)
    scale = torch.quantile(positive.flatten(-2), PERCENTILE / 100, dim=-1)[..., None, None]
    return (positive / scale.clamp(min=torch.finfo(maps.dtype).tiny)).clamp(max=1)


def with_context(fine: Tensor, coarse: Tensor, exponent: float) -> Tensor:
    """Fine maps ``(N, h, w)`` times coarse ones ``(N, h', w')`` to a power, which takes away what only looks alike."""
    resized = F.interpolate(coarse[:, None], size=fine.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    return fine * resized.clamp(min=0) ** exponent
