"""Look at every image once: its size, its content's hash, and whether image and boxes can be used."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pipeline import console
from pipeline.data.source import Sample, Source
from pipeline.errors import DataError
from pipeline.manifest import SPLITS

#: A box may reach this many pixels over the image's edge (annotations are rounded); it is clipped.
TOLERANCE = 1.0
#: Problems spelled out in one message; the others are counted.
NAMED = 10


@dataclass(frozen=True)
class Inspected:
    """What one image turned out to be."""

    width: int
    height: int
    boxes: tuple[tuple[float, float, float, float], ...]
    digest: str


def inspect_images(source: Source) -> list[Inspected]:
    """Decode every image and mask of a source and check its boxes, in the order of its samples.

    Raises:
        DataError: naming the images and boxes that cannot be used, the first ten of them.
    """
    results: list[Inspected] = []
    problems: list[str] = []
    # Decoding releases the interpreter's lock, so threads are enough.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = pool.map(lambda sample: _try_inspect(source.root, sample), source.samples)
        for outcome in console.progress(outcomes, len(source.samples), "checking images"):
            if isinstance(outcome, str):
                problems.append(outcome)
            else:
                results.append(outcome)
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems[:NAMED])
        more = f"\n  … and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        raise DataError(
            f"{len(problems)} of {len(source.samples)} images cannot be used:\n{listed}{more}\n"
            "Replace the files, or take their lines out of the annotations. Nothing was written."
        )
    return results


def _try_inspect(root: Path, sample: Sample) -> Inspected | str:
    try:
        return _inspect(root, sample)
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError, DataError) as error:
        return f"{root / sample.path}: {_reason(error)}"


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return f"no such file{'' if error.filename is None else f' ({error.filename})'}"
    if isinstance(error, UnidentifiedImageError):
        return "not an image file"
    return str(error)


def _inspect(root: Path, sample: Sample) -> Inspected:
    digest = hashlib.sha256()
    size = (0, 0)
    for path in _files(sample):
        digest.update((root / path).read_bytes())
        with Image.open(root / path) as image:
            image.load()
            size = size if path != sample.path else image.size
    boxes = tuple(_checked_box(sample, box, *size) for box in sample.boxes)
    return Inspected(*size, boxes, digest.hexdigest())


def _files(sample: Sample) -> Iterator[str]:
    yield from (p for p in (sample.path, sample.mask, sample.ignore_mask, sample.part_mask) if p is not None)


def _checked_box(
    sample: Sample, box: tuple[float, float, float, float], width: int, height: int
) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    inside = x0 >= -TOLERANCE and y0 >= -TOLERANCE and x1 <= width + TOLERANCE and y1 <= height + TOLERANCE
    if not (inside and x0 < x1 and y0 < y1):
        raise DataError(
            f"box x0={x0:g} y0={y0:g} x1={x1:g} y1={y1:g} of image {sample.image_id} does not lie in the image "
            f"of {width}×{height} pixels"
        )
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


def check_splits(samples: list[Sample], classes: tuple[str, ...]) -> None:
    """Raise DataError where a split has no image, or a class none to train on, or an id occurs twice."""
    ids = [sample.image_id for sample in samples]
    if len(set(ids)) != len(ids):
        twice = next(image_id for image_id in ids if ids.count(image_id) > 1)
        raise DataError(f"image id {twice} occurs more than once; ids must be unique over all splits.")
    for split in SPLITS:
        if not any(sample.split == split for sample in samples):
            raise DataError(
                f"split {split} has no image. Check the data set's split file, and prepare.val_fraction, which "
                "takes val out of train."
            )
    trained = {label for sample in samples if sample.split == "train" for label in sample.labels}
    untrained = [name for label, name in enumerate(classes) if label not in trained]
    if untrained:
        raise DataError(
            f"{len(untrained)} classes have no training image: {', '.join(untrained[:NAMED])}. Remove them from the "
            "class list, or add images; a class whose images all went to val needs a smaller prepare.val_fraction."
        )
