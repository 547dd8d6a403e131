"""The way back of ``predict --format``: boxes that people corrected, from annotation tools into the data set."""

import csv
import io
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.data.annotations import Annotated, read_annotations
from pipeline.data.checks import inspect_images
from pipeline.data.manifest import SPLITS
from pipeline.data.masks import Masks
from pipeline.data.sets import folder
from pipeline.data.source import Sample, Source
from pipeline.data.splits import set_aside
from pipeline.data.tree import listed
from pipeline.data.truth_files import box_place, boxes_of, match
from pipeline.errors import DataError, UserError
from pipeline.files import reaching, write_bytes
from pipeline.params import PrepareParams

FILE = "boxes.csv"
COLUMNS = ("path", "label", "x0", "y0", "x1", "y1", "width", "height")
#: Below the root, and hidden, so that nothing there is read: what boxes were replaced, by number.
FORMER = ".former-boxes"


def import_boxes(files: Sequence[Path], settings: PrepareParams) -> dict[str, Any]:
    """Enter corrected boxes into ``boxes.csv`` of the data set: all that the files hold, or nothing.

    Boxes of the same images are replaced, those of others kept. Images without boxes in the files, and tasks of Label
    Studio that nobody has answered, say nothing. No image changes its split.

    Args:
        files: in any of the formats of :mod:`pipeline.data.annotations`, or folders of them.

    Returns:
        Images that got boxes, by split, and how many images of val have boxes now.

    Raises:
        UserError: the data set is none that takes boxes, or no file holds one that a person has drawn.
        DataError: a file cannot be read, or a box or name in it cannot be that of an image here; names each.
    """
    if settings.dataset != "folder":
        raise UserError(
            f"prepare.dataset is {settings.dataset}, which has boxes of its own: they are imported into a folder of "
            "your own images, see docs/data.md."
        )
    root = Path(settings.root)
    source = folder.read_source(settings, Path())
    shares = settings.test_fraction, settings.val_fraction, settings.gate_fraction
    samples = {one.path: one for one in set_aside(source.samples, *shares, settings.seed)}
    corrected = _matched(_corrected(files, root), list(samples))
    _check(replace(source, problems=()), [samples[path] for path in sorted(corrected)], corrected)
    _write(root, corrected, list(samples))
    counts = Counter(samples[path].split for path in corrected)
    on_val = [path for path, one in samples.items() if one.split == "val" and (one.boxes or path in corrected)]
    _tell(root, counts, len(on_val))
    return {split: counts[split] for split in SPLITS} | {"val_with_boxes": len(on_val)}


def _corrected(files: Sequence[Path], root: Path) -> dict[str, Annotated]:
    """What people have drawn, by the image's name in its file."""
    named: dict[str, Annotated] = {}
    for file in files:
        with reaching(str(file)):
            if not file.exists():
                raise UserError(f"{file.absolute()} does not exist.")
            if file.resolve().is_relative_to(root.resolve()):
                raise UserError(f"{file.absolute()} lies in the data set, where boxes are read without an import.")
        found = read_annotations(file)
        if twice := sorted(named.keys() & found.keys()):
            raise DataError(f"{file}: {twice[0]} has boxes in another file too; keep one of them.")
        named |= found
    drawn = {name: one for name, one in named.items() if one.boxes and one.by_people}
    if len(drawn) < len(named):
        console.say(f"{len(named) - len(drawn)} images have no box there, or none that a person has answered for")
    if not drawn:
        raise UserError(f"{', '.join(map(str, files))}: no image has a box there that a person has drawn or corrected.")
    return drawn


def _matched(named: Mapping[str, Annotated], paths: Sequence[str]) -> dict[str, Annotated]:
    found, unknown = match(paths, named)
    _refuse([f"{name}: {why}" for name, why in unknown.items()], len(named))
    return found


def _check(source: Source, samples: Sequence[Sample], corrected: Mapping[str, Annotated]) -> None:
    """Every image has a box of its class, and every box lies in its image."""
    boxed, flaws = [], []
    for sample in samples:
        boxes, frame, others = boxes_of(sample, corrected[sample.path], source.classes)
        if not boxes:
            flaws.append(f"{sample.path}: {others[0]}, and none is of its class: give the box the label of the image")
        boxed.append(replace(sample, boxes=boxes, frame=frame, masks=Masks()))
    _, problems = inspect_images(replace(source, samples=boxed), strict=False)
    _refuse([*flaws, *map(str, problems)], len(samples))


def _refuse(flaws: Sequence[str], images: int) -> None:
    if flaws:
        raise DataError(
            f"{len(flaws)} of {images} images cannot take their boxes:{listed(flaws)}\nMend them in the annotation "
            "tool or take them out of the file. Nothing was written."
        )


def _write(root: Path, corrected: Mapping[str, Annotated], paths: Sequence[str]) -> None:
    """Write ``boxes.csv``; what boxes were read from before is kept."""
    place = box_place(folder.visible_files(root))
    former = {} if place is None else read_annotations(root / place)
    known, nobodys = match(paths, former)
    # Names that are nobody's come last: they are not to take the place of an image's own.
    table = _table(dict(sorted({**known, **corrected}.items())) | {name: former[name] for name in nobodys})
    if place == FILE and (root / FILE).read_bytes() == table:
        return
    kept = _free(root / FORMER)
    try:
        if place == FILE:
            kept.mkdir(parents=True)
            shutil.copy2(root / FILE, kept)
        write_bytes(root / FILE, table)
        if place not in (None, FILE):
            kept.mkdir(parents=True)
            (root / place).rename(kept / place)
    except OSError as error:
        raise UserError(f"{error.filename or root}: {error.strerror}. No box was lost.") from None
    if place is not None:
        console.say(f"the former {place} is kept as {kept / place}")


def _table(named: Mapping[str, Annotated]) -> bytes:
    """Boxes as they were read, each with what it refers to; an image without boxes has a line without numbers."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, one in named.items():
        frame = one.frame or ("", "")
        writer.writerows([name, box.label or "", *box.xyxy, *frame] for box in one.boxes)
        if not one.boxes:
            writer.writerow([name, "", "", "", "", "", *frame])
    return text.getvalue().encode()


def _free(place: Path) -> Path:
    """The first number below a folder that is not taken."""
    number = 1
    while (place / str(number)).exists():
        number += 1
    return place / str(number)


def _tell(root: Path, counts: Mapping[str, int], on_val: int) -> None:
    boxed = ", ".join(f"{counts[split]} of {split}" for split in SPLITS if counts[split])
    console.say(f"{sum(counts.values())} images have their boxes in {root / FILE} now: {boxed}")
    if counts["train"]:
        console.warn("boxes on images of train choose and measure nothing; `predict --split val` boxes those of val")
    if on_val:
        console.say(f"the threshold is chosen on the {on_val} images of val that have boxes: python -m pipeline repro")
    else:
        console.warn("no image of val has boxes: the threshold stays that of the method's paper")
