"""Dropout that follows the network's own attention, at chosen places inside a backbone."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

#: Name of the module that :func:`insert_after` adds; it holds no parameters and no buffers.
_NAME = "attention_dropout"


class _SelfAttentionDropout(nn.Module):
    """In training, features are multiplied by their drop mask or by their importance map; otherwise left alone."""

    def __init__(self, drop_rate: float) -> None:
        super().__init__()
        self.drop_rate = drop_rate

    def drop_mask(self, features: Tensor) -> Tensor:
        """``(N, 1, h, w)``, 0 at dropped positions."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(N, K, h, w)`` in, and of the same shape out."""
        if not self.training:
            return features
        # Chosen on the device, as a tensor: no wait for the GPU and no break in a compiled graph.
        drop = torch.rand((), device=features.device) < self.drop_rate
        return features * torch.where(drop, self.drop_mask(features), attention_importance(features))


class AttentionDropout(_SelfAttentionDropout):
    """ADL: hides the most discriminative positions, or highlights the informative ones.

    Choe & Shim, "Attention-based dropout layer for weakly supervised object localization", CVPR 2019, section 3. One
    Bernoulli per forward pass decides for the whole batch, drawn from torch's default generator.

    Args:
        drop_rate: probability of the drop mask.
        threshold: γ; positions of at least this share of the attention's maximum are dropped.
    """

    def __init__(self, drop_rate: float, threshold: float) -> None:
        super().__init__(drop_rate)
        self.threshold = threshold

    def drop_mask(self, features: Tensor) -> Tensor:
        """``(N, 1, h, w)``, see :func:`pipeline.models.attention_dropout.attention_drop_mask`."""
        return attention_drop_mask(features, self.threshold)

    def extra_repr(self) -> str:
        """Settings, for printing."""
        return f"drop_rate={self.drop_rate}, threshold={self.threshold}"


class RegionDropout(_SelfAttentionDropout):
    """RDAP: as ADL, but what is dropped is a square of fixed size at the attention's maximum.

    Choe et al., "Region-based dropout with attention prior for weakly supervised object localization", Pattern
    Recognition 2021; :func:`pipeline.models.attention_dropout.region_drop_mask` says which reading is built.

    Args:
        drop_rate: probability of the drop mask.
        size: side of the square in cells of the feature map.
    """

    def __init__(self, drop_rate: float, size: int) -> None:
        super().__init__(drop_rate)
        self.size = size

    def drop_mask(self, features: Tensor) -> Tensor:
        """``(N, 1, h, w)``, see :func:`pipeline.models.attention_dropout.region_drop_mask`."""
        return region_drop_mask(features, self.size)

    def extra_repr(self) -> str:
        """Settings, for printing."""
        return f"drop_rate={self.drop_rate}, size={self.size}"


def insert_after(backbone: nn.Module, sites: Sequence[str], make: Callable[[], nn.Module]) -> None:
    """Pass the output of each named submodule through a module of its own; the keys of the state dict stay.

    The new module becomes a child of its site: it follows ``train()``, ``eval()`` and ``to()``, and is copied with the
    backbone. Without parameters and buffers it has no key in the state dict, so weights of the plain backbone fit, and
    those trained here fit a plain one. A sequential site runs its new last child itself, any other by a forward hook,
    which holds no reference of its own: a deep copy calls the copied child, and torch.compile traces it.

    Args:
        sites: names as in ``backbone.named_modules()``.
        make: returns a new module without parameters and buffers.

    Raises:
        ValueError: the backbone has no submodule of a name; nothing is inserted then.
    """
    modules = dict(backbone.named_modules())
    if unknown := [site for site in sites if site not in modules]:
        raise ValueError(f"no submodule {', '.join(unknown)} in {type(backbone).__name__}: it has {', '.join(modules)}")
    for site in sites:
        modules[site].add_module(_NAME, make())
        if not isinstance(modules[site], nn.Sequential):
            modules[site].register_forward_hook(_through_child)


def _through_child(site: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
    result: Tensor = site.get_submodule(_NAME)(output)
    return result


def attention_importance(features: Tensor) -> Tensor:
    """Sigmoid of the channel mean, ``(N, 1, h, w)``: what ADL multiplies by when it does not drop.

    Choe & Shim, "Attention-based dropout layer for weakly supervised object localization", CVPR 2019, section 3.
    """
    return torch.sigmoid(_attention(features)).to(features.dtype)


def attention_drop_mask(features: Tensor, threshold: float) -> Tensor:
    """1 where the channel mean is below ``γ`` times its maximum, else 0, ``(N, 1, h, w)`` (ADL, same section).

    Args:
        threshold: γ.
    """
    attention = _attention(features)
    return (attention < threshold * attention.amax(dim=(2, 3), keepdim=True)).to(features.dtype)


def region_drop_mask(features: Tensor, size: int) -> Tensor:
    """0 in a square of ``size`` × ``size`` cells around the maximum of the channel mean, else 1, ``(N, 1, h, w)``.

    After Choe et al., "Region-based dropout with attention prior for weakly supervised object localization", Pattern
    Recognition 2021 (RDAP), which combines ADL's attention with the fixed-size regions of regional dropout. No code of
    it is public. The reading built here: one square per image; its centre, for an even side the cell right below the
    centre, is the first maximum in reading order; at the border it is moved inside, so that it always hides
    ``size²`` cells.

    Raises:
        ValueError: the square does not fit into the map.
    """
    height, width = features.shape[2:]
    if not 1 <= size <= min(height, width):
        raise ValueError(f"a square of {size} cells does not fit into a map of {height} x {width}")
    peak = _attention(features).flatten(1).argmax(dim=1)  # (N,)
    rows = _hidden(peak // width, size, height)
    columns = _hidden(peak % width, size, width)
    hidden = rows[:, None, :, None] & columns[:, None, None, :]
    return (~hidden).to(features.dtype)


def _attention(features: Tensor) -> Tensor:
    """Channel mean ``(N, 1, h, w)``; of features of 16 bits in float32, in which more values are apart."""
    return features.mean(dim=1, keepdim=True, dtype=torch.promote_types(features.dtype, torch.float32))


def _hidden(centre: Tensor, size: int, length: int) -> Tensor:
    """Which of ``length`` cells lie in the interval of ``size`` around each centre ``(N,)``: ``(N, length)``."""
    start = (centre - size // 2).clamp(0, length - size)[:, None]
    cells = torch.arange(length, device=centre.device)
    return (cells >= start) & (cells < start + size)
