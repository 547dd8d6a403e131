"""What every data set hands to ``prepare``."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One image as its data set describes it; paths are relative to the source's root, boxes ``xyxy`` in pixels."""

    image_id: str
    path: str
    split: str
    labels: tuple[int, ...]
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    mask: str | None = None
    ignore_mask: str | None = None
    part_mask: str | None = None


@dataclass(frozen=True)
class Source:
    """A data set before its images were looked at.

    Attributes:
        root: folder the paths are relative to, as the manifest will name it.
        classes: class names; a label is an index into them.
        samples: all images, ``split`` being ``train`` or ``test`` (``val`` and ``gate`` too where the data set
            has its own).
    """

    root: Path
    classes: tuple[str, ...]
    samples: list[Sample] = field(repr=False)
