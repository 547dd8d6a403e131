"""Look at every image once: its size, its content's hash, and whether image and boxes can be used."""

import hashlib
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import console
from pipeline.data.frames import View, alike
from pipeline.data.looks import MaskLook, look_at_image, look_at_mask
from pipeline.data.manifest import SPLITS
from pipeline.data.masks import Masks, MaskValues
from pipeline.data.memory import Memory
from pipeline.data.names import shown, similar
from pipeline.data.orientation import UPRIGHT
from pipeline.data.source import NOT_READ, Box, Problem, Sample, Source
from pipeline.data.tree import NAMED, listed
from pipeline.errors import DataError

#: A box may reach this many pixels over the image's edge (annotations are rounded); it is clipped.
TOLERANCE = 1.0


@dataclass(frozen=True)
class Inspected:
    """What one image turned out to be, upright where its data set has images upright.

    Attributes:
        boxes: ``xyxy`` in pixels of the image.
        box_labels: the class of each, where images have several.
        digest: of its file, its masks and its boxes, which are what a result is scored against.
        content: of its file alone.
    """

    sample: Sample
    width: int
    height: int
    boxes: tuple[Box, ...]
    digest: str
    content: str
    box_labels: tuple[int, ...] = ()


def inspect_images(source: Source, *, strict: bool = True) -> tuple[list[Inspected], list[Problem]]:
    """Decode every image and mask of a source and check its boxes, in the order of its samples.

    Args:
        strict: refuse the data set where anything of it cannot be used; otherwise leave that out.

    Raises:
        DataError: naming the images and boxes that cannot be used, the first ten of them.
    """
    usable: list[Inspected] = []
    problems = list(source.problems)
    # Decoding releases the interpreter's lock, so threads are enough.
    with Memory() as memory, ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = pool.map(lambda sample: _try_inspect(memory, source, sample), source.samples)
        for inspected, flaws in console.progress(outcomes, len(source.samples), "checking images"):
            usable += [inspected] if inspected else []
            problems += flaws
    if strict:
        _refuse([problem for problem in problems if problem.consequence != NOT_READ], len(source.samples))
    return usable, problems


def _refuse(problems: list[Problem], images: int) -> None:
    if problems:
        raise DataError(
            f"{len({problem.path for problem in problems})} of {images} images cannot be used:{listed(problems)}\n"
            "Replace the files or mend their annotations; or set prepare.strict: false, which leaves them out "
            "and notes "
            "each in data/prepared/problems.csv. Nothing was written."
        )


def _try_inspect(memory: Memory, source: Source, sample: Sample) -> tuple[Inspected | None, list[Problem]]:
    """The image where it can be used, and what of it cannot."""
    try:
        image = look_at_image(memory, source.root, sample.path)
    except DataError as error:
        return None, [_problem(source.root / sample.path, str(error))]
    view = View(image.width, image.height, image.turned if source.upright else UPRIGHT)
    masks, flaws = _usable_masks(memory, source, sample, view)
    if flaws:
        sample, masks = replace(sample, masks=Masks()), {}
    boxes, box_labels, wrong = _checked_boxes(source.root, sample, view)
    extents = [box for path, (box, _) in masks.items() if box and path in sample.masks.files]
    if source.boxes_from_masks and not sample.boxes and extents:
        boxes = [_around(extents)]
    contents = [image.content, *(content for _, content in masks.values())]
    digest = hashlib.sha256(repr((contents, boxes, box_labels)).encode()).hexdigest()
    return Inspected(sample, *view.size, tuple(boxes), digest, image.content, tuple(box_labels)), flaws + wrong


def _usable_masks(
    memory: Memory, source: Source, sample: Sample, view: View
) -> tuple[dict[str, tuple[Box | None, str]], list[Problem]]:
    """Of each mask the box around its object, in pixels of the image, and its hash; and why one cannot be used."""
    usable, flaws = {}, []
    for path in sample.masks.paths:
        values = source.mask_values if path in sample.masks.files else MaskValues()
        try:
            mask = look_at_mask(memory, source.root, path, values)
            usable[path] = _extent_in(view, mask), mask.content
        except DataError as error:
            flaws.append(replace(_problem(source.root / path, str(error)), consequence="mask left out"))
    return usable, flaws


def _extent_in(view: View, mask: MaskLook) -> Box | None:
    """The box around all that a mask shows, in pixels of the image, which may be another size."""
    if not alike((mask.width, mask.height), view.size):
        raise DataError(f"a mask of {mask.width}×{mask.height} pixels for an image of {view.size[0]}×{view.size[1]}")
    x, y, box = view.size[0] / mask.width, view.size[1] / mask.height, mask.extent
    return box and (box[0] * x, box[1] * y, box[2] * x, box[3] * y)


def _around(boxes: list[Box]) -> Box:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _problem(path: Path, reason: str) -> Problem:
    there = os.listdir(path.parent) if not path.exists() and path.parent.is_dir() else ()  # noqa: PTH208
    hint = similar([path.name], there)
    return Problem(shown(str(path)), f"{reason}{hint and f'; {hint}'}")


def _checked_boxes(root: Path, sample: Sample, view: View) -> tuple[list[Box], list[int], list[Problem]]:
    """The boxes that can be used, their labels where they have any, and what is wrong with the others."""
    boxes: list[Box] = []
    labels: list[int] = []
    flaws: list[Problem] = []
    for number, box in enumerate(sample.boxes):
        try:
            boxes.append(_checked_box(sample, view.from_frame(box, sample.frame), *view.size))
            labels += sample.box_labels[number : number + 1]
        except DataError as error:
            flaws.append(Problem(shown(str(root / sample.path)), str(error), "box left out"))
    return boxes, labels, flaws


def _checked_box(sample: Sample, box: Box, width: int, height: int) -> Box:
    x0, y0, x1, y1 = box
    inside = x0 >= -TOLERANCE and y0 >= -TOLERANCE and x1 <= width + TOLERANCE and y1 <= height + TOLERANCE
    clipped = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    if not (inside and clipped[0] < clipped[2] and clipped[1] < clipped[3]):
        turned = 0 <= x0 < x1 <= height and 0 <= y0 < y1 <= width
        raise DataError(
            f"box x0={x0:g} y0={y0:g} x1={x1:g} y1={y1:g} of image {sample.image_id} does not lie in the image "
            f"of {width}×{height} pixels{'; are width and height swapped?' if turned else ''}"
        )
    return clipped


def check_splits(samples: list[Sample], classes: tuple[str, ...], *, gate: bool) -> None:
    """Raise DataError where a split has no image, or a class none to train on, or an id or a file occurs twice.

    Args:
        gate: whether a gate was asked for.
    """
    _refuse_repeated("image id", [sample.image_id for sample in samples])
    _refuse_repeated("image file", [os.path.normpath(sample.path) for sample in samples])
    for split in SPLITS if gate else (name for name in SPLITS if name != "gate"):
        if not any(sample.split == split for sample in samples):
            raise DataError(
                f"split {split} has no image. Check the data set's split file, and prepare.val_fraction and "
                "prepare.gate_fraction, the shares of each class's training images that become val and gate."
            )
    trained = {label for sample in samples if sample.split == "train" for label in sample.labels}
    untrained = [name for label, name in enumerate(classes) if label not in trained]
    if untrained:
        raise DataError(
            f"{len(untrained)} classes have no training image: {', '.join(untrained[:NAMED])}. Remove them from the "
            "class list, or add images; a class whose images all went to val and gate needs smaller "
            "prepare.val_fraction and prepare.gate_fraction."
        )


def _refuse_repeated(what: str, names: list[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            f"{len(repeated)} {what}s occur more than once, over all splits and classes:{listed(repeated)}\n"
            "An image has one line, one split and one set of labels; take the other lines out."
        )
