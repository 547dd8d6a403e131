"""What a map method is, and what those by gradients share."""

from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from pipeline.cams.views import Views
from pipeline.models.localizer import Localizer
from pipeline.models.precision import features_in
from pipeline.params import ExtractCamsParams


class MapMethod:
    """Maps of classes from one trained network.

    Args:
        network: in evaluation mode.
        settings: of which a method reads its own.
        precision: of the network's own work.

    Attributes:
        fitted: it learns from the training images before it makes maps: :meth:`fit`, or :meth:`load` what was learnt.
        sides: of the squares that it reads the images in besides the network's input: they are in ``Views.large``.
    """

    fitted: ClassVar[bool] = False

    def __init__(self, network: Localizer, settings: ExtractCamsParams, precision: str) -> None:
        self.network, self.settings, self.precision = network, settings, precision
        self.sides: tuple[int, ...] = ()

    @classmethod
    def check(cls, settings: ExtractCamsParams, backbone: nn.Module) -> None:
        """Refuse, with a UserError, settings that do not fit a backbone; before anything is trained."""

    def maps(self, views: Views, classes: Tensor, features: Tensor | None = None) -> Tensor:
        """Maps ``(N, M, h, w)`` of the classes ``(N, M)``.

        Args:
            features: the network's, of ``views.whole``, where they are known; else whoever needs them computes them.
        """
        raise NotImplementedError

    def fit(self, batches: Iterable[Views]) -> None:
        """Learn from the training images."""

    def state(self) -> dict[str, Tensor]:
        """What was learnt, to be kept beside the maps and in the model's file."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take what was learnt before.

        Raises:
            ValueError: it is not this method's.
        """


class FeatureMethod(MapMethod):
    """Maps from the features that the head sees."""

    def maps(self, views: Views, classes: Tensor, features: Tensor | None = None) -> Tensor:
        """Computes the features where they are not known."""
        if features is None:
            features = features_in(self.precision, self.network, views.whole)
        maps = self.from_features(features, classes)
        return maps.relu() if self.settings.relu else maps

    def from_features(self, features: Tensor, classes: Tensor) -> Tensor:
        """Maps ``(N, M, h, w)`` from features ``(N, K, h, w)``, which may be negative."""
        raise NotImplementedError


class GradientMethod(FeatureMethod):
    """Maps from features and the gradients of the classes' logits."""

    def from_features(self, features: Tensor, classes: Tensor) -> Tensor:
        """Differentiates the head, even where gradients are switched off."""
        return self.combine(features, self._gradients(features, classes))

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Maps from features ``(N, K, h, w)`` and gradients ``(N, M, K, h, w)``: see :mod:`pipeline.cams.gradients`."""
        raise NotImplementedError

    def _gradients(self, features: Tensor, classes: Tensor) -> Tensor:
        with torch.enable_grad():
            features = features.detach().requires_grad_()
            scores = self.network.head(features)[0].gather(1, classes)  # (N, M)
            each = [torch.autograd.grad(score.sum(), features, retain_graph=True)[0] for score in scores.unbind(dim=1)]
        return torch.stack(each, dim=1)
