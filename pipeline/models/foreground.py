"""Class-agnostic maps of a network's inner layers by deep descriptor transforming (:mod:`pipeline.wsol.ddt`)."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import UserError
from pipeline.models.localizer import Localizer
from pipeline.models.precision import at_least_float32, autocast
from pipeline.wsol.ddt import DescriptorMoments, Projections, evidence, principal_projections, with_context


class Foreground:
    """Maps from projections fitted to a set of images: large images, and the same ones small for their context.

    Args:
        network: its backbone's layers are read.
        layers: names of submodules of the backbone; the first leads.
        context: exponent of the leading layer's map of the small images; 0 leaves it out.
        precision: of the network's own work.

    Raises:
        UserError: the backbone has no submodule of a name.
    """

    def __init__(self, network: Localizer, layers: Sequence[str], context: float, precision: str = "float32") -> None:
        known = dict(network.backbone.named_modules())
        if unknown := [name for name in layers if name not in known]:
            raise UserError(
                f"extract_cams.ddt_layers: the backbone has no layer {', '.join(unknown)}; it has "
                f"{', '.join(name for name in known if name.count('.') <= 1 and name)}."
            )
        self.network, self.layers, self.context = network, [known[name] for name in layers], context
        self.precision = precision
        self.fine: Projections | None = None
        self.coarse: Projections | None = None

    def fit(self, images: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Find the projections from images in batches, each ``(N, 3, R, R)`` large and ``(N, 3, S, S)`` small."""
        moments: list[DescriptorMoments] = []
        for large, small in images:
            found = [self._descriptors(large, self.layers), self._descriptors(small, self.layers[:1])]
            if not moments:
                moments = [DescriptorMoments([f.shape[1] for f in features]) for features in found]
            for sums, features in zip(moments, found, strict=True):
                sums.add(torch.cat(features, dim=1))
        self.fine, self.coarse = (principal_projections(sums) for sums in moments)

    def __call__(self, large: Tensor, small: Tensor) -> Tensor:
        """Maps ``(N, h, w)``: the sum of the layers' evidence in the large images, times the context's power."""
        assert self.fine and self.coarse, "fit first"
        fine = evidence(self.fine.maps(torch.cat(self._descriptors(large, self.layers), dim=1))).sum(dim=1)
        if not self.context:
            return fine
        coarse = evidence(self.coarse.maps(self._descriptors(small, self.layers[:1])[0]))[:, 0]
        return with_context(fine, coarse, self.context)

    def _descriptors(self, images: Tensor, layers: Sequence[nn.Module]) -> list[Tensor]:
        """Outputs ``(N, K, h, w)`` of the layers, all at the first one's resolution."""
        with _outputs(layers) as outputs, autocast(self.precision):
            self.network.features(images)
        size = outputs[0].shape[2:]
        return [
            F.interpolate(at_least_float32(output), size=size, mode="bilinear", align_corners=False)
            for output in outputs
        ]


@contextmanager
def _outputs(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collects what the layers return, in their order; copies, as what follows a layer may work in place."""
    found: dict[int, Tensor] = {}
    hooks = [
        layer.register_forward_hook(lambda _, __, output, k=k: found.__setitem__(k, output.clone()))
        for k, layer in enumerate(layers)
    ]
    outputs: list[Tensor] = []
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
        outputs.extend(found[k] for k in sorted(found))
