"""Maps drawn towards the edges of their images, in the protocol's frame."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.images import batches
from pipeline.errors import UserError
from pipeline.evaluation.refine import refine
from pipeline.evaluation.score_maps import FRAME, normalize_map, resize_map


def frames(paths: Sequence[Path], size: int, *, upright: bool) -> Iterator[NDArray[np.uint8]]:
    """Images squashed to the protocol's frame, ``(size, 224, 224, 3)`` RGB for each group of ``size`` paths."""
    groups = [np.arange(start, min(start + size, len(paths))) for start in range(0, len(paths), size)]
    for images in batches(paths, groups, FRAME, upright=upright):
        yield images.transpose(0, 2, 3, 1)


def refined(maps: NDArray[np.floating], owners: NDArray[np.integer], images: NDArray[np.uint8]) -> NDArray[Any]:
    """The foreground's probability by the dense CRF whose unary each normalised map is; it replaces the map.

    Args:
        maps: ``(m, h, w)``.
        owners: ``(m,)``, positions of their images.
        images: ``(n, 224, 224, 3)`` uint8 RGB.

    Returns:
        ``(m, 224, 224)`` float16 in [0, 1]: half the bytes, with steps finer than those of the thresholds tried.

    Raises:
        UserError: the package that it needs is not there.
    """
    try:
        found = [
            refine(normalize_map(resize_map(score_map, FRAME)), np.ascontiguousarray(images[owner]))
            for score_map, owner in zip(maps, owners, strict=True)
        ]
    except ImportError as error:
        raise UserError(f"localize.refine: {error}") from None
    return np.array(found, np.float16).reshape(-1, FRAME, FRAME)


def drawn_on(cams: Mapping[str, NDArray[Any]], boxes: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """The maps that the boxes of a shard were drawn on: its own where they were refined, else those of ``cams``."""
    return boxes.get("maps", cams["maps"])
