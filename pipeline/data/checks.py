"""Look at every image once: its size, its content's hash, and whether image and boxes can be used."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2

from pipeline import console
from pipeline.data.images import decode, read_file
from pipeline.data.names import alike, path_flaw, shown
from pipeline.data.source import Sample, Source
from pipeline.data.tree import NAMED, listed
from pipeline.errors import DataError
from pipeline.data.manifest import SPLITS

#: A box may reach this many pixels over the image's edge (annotations are rounded); it is clipped.
TOLERANCE = 1.0


@dataclass(frozen=True)
class Inspected:
    """What one image turned out to be; ``digest`` is of its file and its masks, ``content`` of its file alone."""

    width: int
    height: int
    boxes: tuple[tuple[float, float, float, float], ...]
    digest: str
    content: str


@dataclass(frozen=True)
class _Problem:
    path: Path
    reason: str

    def __str__(self) -> str:
        there = os.listdir(self.path.parent) if not self.path.exists() and self.path.parent.is_dir() else ()  # noqa: PTH208
        hint = alike([self.path.name], there)
        return f"{shown(str(self.path))}: {self.reason}{hint and f'; {hint}'}"


def inspect_images(source: Source) -> list[Inspected]:
    """Decode every image and mask of a source and check its boxes, in the order of its samples.

    Raises:
        DataError: naming the images and boxes that cannot be used, the first ten of them.
    """
    results: list[Inspected] = []
    problems: list[_Problem] = []
    # Decoding releases the interpreter's lock, so threads are enough.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = pool.map(lambda sample: _try_inspect(source.root, sample), source.samples)
        for outcome in console.progress(outcomes, len(source.samples), "checking images"):
            if isinstance(outcome, _Problem):
                problems.append(outcome)
            else:
                results.append(outcome)
    if problems:
        raise DataError(
            f"{len(problems)} of {len(source.samples)} images cannot be used:{listed(problems)}\n"
            "Replace the files, or take their lines out of the annotations. Nothing was written."
        )
    return results


def _try_inspect(root: Path, sample: Sample) -> Inspected | _Problem:
    digest, content, size = hashlib.sha256(), "", (0, 0)
    for path in _files(sample):
        try:
            if flaw := path_flaw(path):
                raise DataError(flaw)
            data = read_file(root / path)
            digest.update(data)
            pixels = decode(data, cv2.IMREAD_COLOR if path == sample.path else cv2.IMREAD_UNCHANGED)
        except DataError as error:
            return _Problem(root / path, str(error))
        if path == sample.path:
            content, size = digest.hexdigest(), (pixels.shape[1], pixels.shape[0])
    try:
        boxes = tuple(_checked_box(sample, box, *size) for box in sample.boxes)
    except DataError as error:
        return _Problem(root / sample.path, str(error))
    return Inspected(*size, boxes, digest.hexdigest(), content)


def _files(sample: Sample) -> Iterator[str]:
    yield from (p for p in (sample.path, sample.mask, sample.ignore_mask, sample.part_mask) if p is not None)


def _checked_box(
    sample: Sample, box: tuple[float, float, float, float], width: int, height: int
) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    inside = x0 >= -TOLERANCE and y0 >= -TOLERANCE and x1 <= width + TOLERANCE and y1 <= height + TOLERANCE
    if not (inside and x0 < x1 and y0 < y1):
        turned = 0 <= x0 < x1 <= height and 0 <= y0 < y1 <= width
        raise DataError(
            f"box x0={x0:g} y0={y0:g} x1={x1:g} y1={y1:g} of image {sample.image_id} does not lie in the image "
            f"of {width}×{height} pixels{'; are width and height swapped?' if turned else ''}"
        )
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


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
