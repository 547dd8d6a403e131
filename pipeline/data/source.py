"""What every data set hands to ``prepare``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.data.masks import Masks, MaskValues

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Sample:
    """One image as its data set describes it; paths are relative to the source's root.

    Attributes:
        labels: of a source with several labels, the classes with at least one object that is not difficult.
        boxes: ``xyxy``, in pixels of the image unless ``frame`` says otherwise.
        box_labels: the class of each box; none where an image has one label, which is that of its boxes.
        uncertain: classes of which it is not said whether they count as present.
        frame: width and height that the boxes refer to, where the annotation states them: ``(1, 1)`` where they are
            shares of the image's.
    """

    image_id: str
    path: str
    split: str
    labels: tuple[int, ...]
    boxes: tuple[Box, ...] = ()
    masks: Masks = field(default_factory=Masks)
    frame: tuple[float, float] | None = None
    box_labels: tuple[int, ...] = ()
    uncertain: tuple[int, ...] = ()


@dataclass(frozen=True)
class Problem:
    """Something of a data set that cannot be used, and what becomes of it where ``prepare.strict`` is false."""

    path: str
    reason: str
    consequence: str = "left out"

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


#: What becomes of a file that was never meant to be an image: no reason to refuse a data set.
NOT_READ = "not read"


@dataclass(frozen=True)
class Source:
    """A data set before its images were looked at.

    Attributes:
        root: folder the paths are relative to, as the manifest will name it.
        classes: class names; a label is an index into them.
        samples: all images, ``split`` being ``train`` or ``test`` (``val`` and ``gate`` too where the data set
            has its own). Without any ``test``, one is set aside from train.
        upright: images are turned as their orientation tag says, as viewers and annotation tools show them; otherwise
            they are taken as stored, as the protocols of published data sets do.
        mask_values: what the values in its mask files mean.
        boxes_from_masks: an image without boxes has the extent of its object and of the ignored pixels, a border.
        published: images of each split in the whole data set, where it is known; a part of it is told.
        listed: what ``published`` is compared with where it does not count splits but lists, by their names.
        problems: what was found in lists and annotations.
        several_labels: an image may have several classes, or none.
    """

    root: Path
    classes: tuple[str, ...]
    samples: list[Sample] = field(repr=False)
    upright: bool = False
    mask_values: MaskValues = field(default_factory=MaskValues)
    boxes_from_masks: bool = False
    published: Mapping[str, int] = field(default_factory=dict)
    listed: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    several_labels: bool = False
