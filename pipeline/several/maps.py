"""The maps of an image's classes, read from the shards of ``extract_cams`` and ``localize``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.refined import drawn_on
from pipeline.evaluation.boxes import grey_map
from pipeline.evaluation.score_maps import FRAME

Shard = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class ClassMaps:
    """One image: M classes that it shows or is taken to show.

    Attributes:
        logits: ``(C,)``, of all classes.
        classes: ``(M,)``, their indices.
        maps: ``(M, h, w)``.
        boxes: ``(M, 256, 4)``, of each map the largest box at every level.
        standards: ``(M,)``, of each map the grey value that thresholds are a fraction of.
    """

    image_id: str
    logits: NDArray[np.floating]
    classes: NDArray[np.int64]
    maps: NDArray[np.floating]
    boxes: NDArray[np.int16]
    standards: NDArray[np.floating]

    def grey(self) -> NDArray[np.uint8]:
        """``(M, 224, 224)``, as boxes are drawn on them."""
        grey = [grey_map(score_map) for score_map in self.maps]
        return np.array(grey, np.uint8).reshape(-1, FRAME, FRAME)

    def only(self, wanted: NDArray[np.bool_]) -> "ClassMaps":
        """Those whose class is wanted: ``(C,)``."""
        kept = wanted[self.classes]
        return ClassMaps(
            self.image_id,
            self.logits,
            self.classes[kept],
            self.maps[kept],
            self.boxes[kept],
            self.standards[kept],
        )


def class_maps(cams: Shard, boxes: Shard) -> Iterator[ClassMaps]:
    """The images of a shard of each kind, which hold the same."""
    ends = cams["counts"].cumsum()[:-1]
    parts = (
        np.split(array, ends) for array in (cams["classes"], drawn_on(cams, boxes), boxes["boxes"], boxes["standards"])
    )
    for image_id, logits, *own in zip(cams["image_ids"], cams["logits"], *parts, strict=True):
        yield ClassMaps(str(image_id), logits, *own)
