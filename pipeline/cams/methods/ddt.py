"""Deep descriptor transforming of inner layers, fitted to the training images: :mod:`pipeline.cams.foreground`.

It knows no classes: one map for all of them.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from pipeline.cams.foreground import Foreground, named_layers
from pipeline.cams.method import MapMethod
from pipeline.cams.views import Views
from pipeline.models.localizer import Localizer
from pipeline.params import ExtractCamsParams


class Method(MapMethod):
    """Reads ``ddt_layers``, each from images of its own size, and ``ddt_context``."""

    fitted = True

    def __init__(self, network: Localizer, settings: ExtractCamsParams, precision: str) -> None:
        super().__init__(network, settings, precision)
        self._foreground = Foreground(network, settings.ddt_sources, settings.ddt_context, precision)
        self.sides = tuple(sorted({side for _, side in settings.ddt_sources}))

    @classmethod
    def check(cls, settings: ExtractCamsParams, backbone: nn.Module) -> None:
        """Its layers are read after the training, which may take days."""
        named_layers(backbone, [layer for layer, _ in settings.ddt_sources])

    def maps(self, views: Views, classes: Tensor, _features: Tensor | None = None) -> Tensor:
        """The same map for every class; none is negative."""
        return self._foreground(views.large, views.whole)[:, None].expand(-1, classes.shape[1], -1, -1)

    def fit(self, batches: Iterable[Views]) -> None:
        """Find the projections."""
        self._foreground.fit((views.large, views.whole) for views in batches)

    def state(self) -> dict[str, Tensor]:
        """Means and directions of both projections, and the channels of each layer."""
        return self._foreground.state()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the projections of a former fit."""
        self._foreground.load(state)
