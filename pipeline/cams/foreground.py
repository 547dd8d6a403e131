"""Class-agnostic maps of a network's inner layers by deep descriptor transforming (:mod:`pipeline.cams.ddt`)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.cams.ddt import DescriptorMoments, Projections, evidence, principal_projections, with_context
from pipeline.errors import UserError
from pipeline.models.localizer import Localizer
from pipeline.models.precision import at_least_float32, autocast


class Foreground:
    """Maps from projections fitted to a set of images, each in several sizes.

    Args:
        network: its backbone's layers are read.
        sources: names of submodules of the backbone, each with the side of the images it is read from; the first leads.
        context: exponent of the leading layer's map of the small images; 0 leaves it out.
        precision: of the network's own work.

    Raises:
        UserError: the backbone has no submodule of a name.
    """

    def __init__(
        self, network: Localizer, sources: Sequence[tuple[str, int]], context: float, precision: str = "float32"
    ) -> None:
        layers = named_layers(network.backbone, [name for name, _ in sources])
        self.network, self.context = network, context
        self.sources = [(layer, side) for layer, (_, side) in zip(layers, sources, strict=True)]
        self.precision = precision
        self.fine: Projections | None = None
        self.coarse: Projections | None = None

    def fit(self, images: Iterable[tuple[Mapping[int, Tensor], Tensor]]) -> None:
        """Find the projections from batches of images.

        Args:
            images: by their side R ``(N, 3, R, R)``, and for the context the same ones small ``(N, 3, S, S)``.
        """
        moments: list[DescriptorMoments] = []
        for large, small in images:
            found = [self._fine(large), self._coarse(small)]
            if not moments:
                moments = [DescriptorMoments([f.shape[1] for f in features]) for features in found]
            for sums, features in zip(moments, found, strict=True):
                sums.add(torch.cat(features, dim=1))
        self.fine, self.coarse = (principal_projections(sums) for sums in moments)

    def __call__(self, large: Mapping[int, Tensor], small: Tensor) -> Tensor:
        """Maps ``(N, h, w)``: the sum of the layers' evidence in the large images, times the context's power.

        Args:
            large: images ``(N, 3, R, R)`` by their side R, for each side in ``sources``.
            small: the same images ``(N, 3, S, S)``.
        """
        assert self.fine and self.coarse, "fit first"
        fine = evidence(self.fine.maps(torch.cat(self._fine(large), dim=1))).sum(dim=1)
        if not self.context:
            return fine
        coarse = evidence(self.coarse.maps(self._coarse(small)[0]))[:, 0]
        return with_context(fine, coarse, self.context)

    def state(self) -> dict[str, Tensor]:
        """The projections as tensors."""
        assert self.fine and self.coarse, "fit first"
        return {
            f"{name}.{key}": tensor
            for name, projections in (("fine", self.fine), ("coarse", self.coarse))
            for key, tensor in projections.state().items()
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the projections of :meth:`state`.

        Raises:
            ValueError: it does not hold them.
        """
        parts = ({k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
                 for name in ("fine", "coarse"))  # fmt: skip
        self.fine, self.coarse = (Projections.of(part) for part in parts)

    def _fine(self, large: Mapping[int, Tensor]) -> list[Tensor]:
        """Descriptors ``(N, K, h, w)`` of all sources, at the first one's resolution."""
        found = {side: iter(self._outputs(images, self._layers_at(side))) for side, images in large.items()}
        outputs = [next(found[side]) for _, side in self.sources]
        size = outputs[0].shape[2:]
        return [F.interpolate(output, size=size, mode="bilinear", align_corners=False) for output in outputs]

    def _layers_at(self, side: int) -> list[nn.Module]:
        return [layer for layer, of in self.sources if of == side]

    def _coarse(self, small: Tensor) -> list[Tensor]:
        return self._outputs(small, [self.sources[0][0]])

    def _outputs(self, images: Tensor, layers: Sequence[nn.Module]) -> list[Tensor]:
        """Outputs ``(N, K, h, w)`` of the layers."""
        with _outputs(layers) as outputs, autocast(self.precision):
            self.network.features(images)
        return [at_least_float32(output) for output in outputs]


def named_layers(backbone: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Submodules of a backbone, or a UserError that lists those there are."""
    known = dict(backbone.named_modules())
    if unknown := [name for name in names if name not in known]:
        raise UserError(
            f"extract_cams.ddt_layers: the backbone has no layer {', '.join(unknown)}; it has "
            f"{', '.join(name for name in known if name.count('.') <= 1 and name)}."
        )
    return [known[name] for name in names]


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
