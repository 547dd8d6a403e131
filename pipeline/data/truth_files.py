"""Boxes and masks that lie beside images in a folder, for all of them or for some.

* Boxes: ``boxes.csv``, ``metadata.jsonl`` or ``metadata.csv``, a ``*.json`` or ``annotations.xml`` in the root; or a
  folder ``annotations`` (JSON or XML files) or ``labels`` (YOLO's text files): the formats of
  :mod:`pipeline.data.annotations`.
* Masks: images in a folder ``masks``, zero where there is no object, under the image's path or its name; any suffix.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pipeline.data.annotations import Annotated, read_annotations
from pipeline.data.masks import Masks
from pipeline.data.source import NOT_READ, Box, Problem, Sample
from pipeline.errors import DataError

MASKS = "masks"
#: Folders of the root that hold truth: never the images of a class.
TRUTH_FOLDERS = (MASKS, "labels", "annotations", "Annotations")
#: Files of the root that may hold boxes, by the end of their name.
BOX_FILES = ("boxes.csv", "metadata.jsonl", "metadata.csv", ".json", "annotations.xml")
#: Before the name of a file that was uploaded to Label Studio.
UPLOADED = re.compile(r"(^|[/\\])[0-9a-f]{8}-(?=[^/\\]+$)")


def add_truth(
    root: Path, files: Sequence[str], samples: Sequence[Sample], classes: Sequence[str]
) -> tuple[list[Sample], list[Problem]]:
    """The samples with the boxes and masks that are theirs, and what could not be used.

    Args:
        files: all below ``root``, relative to it.
        samples: named by the path of their image.

    Raises:
        DataError: boxes lie in several places, or a file of them cannot be understood.
    """
    masks, problems = _masks(files, samples)
    place = box_place(files)
    annotated = {} if place is None else read_annotations(root / place)
    boxed, unknown = match([sample.path for sample in samples], annotated)
    problems += [Problem(name, f"{place} has boxes for it, but {why}", NOT_READ) for name, why in unknown.items()]
    completed = []
    for sample in samples:
        boxes, frame, others = boxes_of(sample, boxed.get(sample.path), classes)
        problems += [Problem(sample.path, f"{place}: {other}", NOT_READ) for other in others]
        completed.append(replace(sample, masks=masks.get(sample.path, Masks()), boxes=boxes, frame=frame))
    return completed, problems


def box_place(files: Sequence[str]) -> str | None:
    """The file or folder with the boxes, relative to the root; None where there is none.

    Raises:
        DataError: there are several.
    """
    paths = [PurePosixPath(name) for name in files]
    places = {path.name for path in paths if len(path.parts) == 1 and path.name.endswith(BOX_FILES)}
    places |= {path.parts[0] for path in paths if len(path.parts) > 1 and path.parts[0] in TRUTH_FOLDERS} - {MASKS}
    if len(places) > 1:
        raise DataError(
            f"prepare.root: boxes lie in several places: {', '.join(sorted(places))}. Keep one of them, and take the "
            "others out of the folder."
        )
    return next(iter(places), None)


def match(paths: Sequence[str], named: Mapping[str, Annotated]) -> tuple[dict[str, Annotated], dict[str, str]]:
    """Annotations by the path of their image, and by name why others are nobody's.

    A name is that of the one image whose path ends with the longest end of it, with or without its suffix; blanks
    around it and Label Studio's mark of an uploaded file are left out where nothing is found with them.
    """
    ends: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        for key in _keys(path):
            ends[key].append(path)
    found: dict[str, Annotated] = {}
    names: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for name, value in named.items():
        owner, *others = next((owners for key in _wanted(name) if (owners := ends.get(key))), [""])
        if not owner:
            unknown[name] = "no image has that name"
        elif others:
            unknown[name] = f"it may be any of {len(others) + 1} images: {', '.join((owner, *others)[:3])}"
        elif owner in found:
            unknown[name] = f"it is {owner}, which has boxes as {names[owner]} too"
        else:
            found[owner], names[owner] = value, name
    return found, unknown


def _keys(path: str) -> Iterable[str]:
    """Every end of a path, and of the path without its suffix."""
    parts = PurePosixPath(path).parts
    for start in range(len(parts)):
        end = "/".join(parts[start:])
        yield end
        yield f"{PurePosixPath(end).with_suffix('')}/"


def _wanted(name: str) -> Iterator[str]:
    """What a name may stand for, the most telling first: each of its ends, itself and without the suffix."""
    for spelled in dict.fromkeys((name, name.strip(), UPLOADED.sub(r"\1", name))):
        parts = PurePosixPath(spelled.replace("\\", "/")).parts
        for start in range(len(parts)):
            end = PurePosixPath(*parts[start:])
            yield from (str(end), f"{end}/", f"{end.with_suffix('') if end.name else end}/")


def _masks(files: Sequence[str], samples: Sequence[Sample]) -> tuple[dict[str, Masks], list[Problem]]:
    """The mask of each image that has one."""
    ends: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        for key in _keys(sample.path):
            ends[key].append(sample.path)
    masks: dict[str, Masks] = {}
    problems = []
    for name in sorted(name for name in files if PurePosixPath(name).parts[0] == MASKS):
        inner = PurePosixPath(*PurePosixPath(name).parts[1:])
        owners = ends.get(f"{inner.with_suffix('')}/", [])
        if len(owners) == 1 and owners[0] not in masks:
            masks[owners[0]] = Masks((name,))
        else:
            problems.append(Problem(name, "not the mask of any one image, by its name", NOT_READ))
    return masks, problems


def boxes_of(
    sample: Sample, annotated: Annotated | None, classes: Sequence[str]
) -> tuple[tuple[Box, ...], tuple[float, float] | None, list[str]]:
    """The boxes of an image's own class, what they refer to, and why others are not among them.

    Where no label of a box is a class, such as "object", labels are not about classes, and all boxes count.
    """
    if annotated is None:
        return (), None, []
    own = classes[sample.labels[0]].lower()
    known = {name.lower() for name in classes}
    labels = [(box.label or "").strip().lower() for box in annotated.boxes]
    by_class = any(label in known for label in labels)
    kept = tuple(box.xyxy for box, label in zip(annotated.boxes, labels, strict=True) if not by_class or label == own)
    others = sorted({label for label in labels if by_class and label != own})
    return kept, annotated.frame, [f"a box is of {label!r}, the image of {own!r}" for label in others]
