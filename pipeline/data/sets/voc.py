"""PASCAL VOC 2007 or 2012 in its official layout (Everingham et al., International Journal of Computer Vision 2010).

``ROOT/{JPEGImages, Annotations, ImageSets/{Main, Segmentation}, SegmentationClass}``, ROOT being ``VOCdevkit/VOC2007``
or ``VOCdevkit/VOC2012``; a part of the images is fine as long as lists and files agree, and classes that none of them
shows are left out. An image has as labels the classes of which it shows an object that is not difficult; whether those
of difficult objects alone count as present is left open, as the challenge leaves it. Corners count pixels from 1.
``SegmentationClass`` holds 0 for the background, 1 to 20 for the classes and 255 for what belongs to nobody.

Splits: where the annotations of ``Main/test.txt`` are there (VOC2007's second archive), that list is test and all other
images are train. Otherwise ``Segmentation/val.txt`` is test, as in weakly supervised segmentation, and all other images
are train; with a folder ``SegmentationClassAug`` (Hariharan et al., ICCV 2011, in VOC's own values) train is that
field's ``trainaug``, which no archive lists: the images of that folder and of ``Segmentation/train.txt`` without those
of ``Segmentation/val.txt``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.data.annotations.record import Annotated, LabelledBox
from pipeline.data.annotations.xml_files import read as read_xml
from pipeline.data.images import read_file
from pipeline.data.lists import read_lines
from pipeline.data.mask_files import stored_numbers
from pipeline.data.masks import Masks, MaskValues
from pipeline.data.names import path_flaw
from pipeline.data.source import Sample, Source
from pipeline.errors import DataError
from pipeline.params import PrepareParams

CLASSES = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
           "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")  # fmt: skip
VOID = 255
SEVERAL_LABELS = True
#: Images of the official lists, by the name of ROOT; and of the one that is built here.
_PUBLISHED = {
    "VOC2007": {"Main/train": 2501, "Main/val": 2510, "Segmentation/train": 209, "Segmentation/val": 213},
    "VOC2012": {"Main/train": 5717, "Main/val": 5823, "Segmentation/train": 1464, "Segmentation/val": 1449},
}
_TEST = {"VOC2007": {"Main/test": 4952}}
_AUGMENTED, _AUGMENTED_IMAGES = "SegmentationClassAug", {"trainaug": 10582}
_LISTS = ("Main/train", "Main/val", "Main/trainval", "Main/test", "Segmentation/train", "Segmentation/val",
          "Segmentation/trainval")  # fmt: skip
_SEGMENTATION = "SegmentationClass"


def check_layout(root: Path) -> None:
    """Raise DataError unless ``root`` looks like the data set."""
    missing = [name for name in ("JPEGImages", "Annotations", "ImageSets/Main") if not (root / name).is_dir()]
    if missing:
        raise DataError(
            f"prepare.root: {root.absolute()} has no {', '.join(missing)}. It must be the folder VOC2007 or VOC2012 in "
            "VOCdevkit of the official archive."
        )


def read_source(settings: PrepareParams, _folder: Path) -> Source:
    """Read the lists and annotations; of images without annotation also the masks, whose classes are their labels.

    Raises:
        DataError: a file is missing, a line or an annotation is malformed, or a class is none of the twenty.
    """
    root = Path(settings.root)
    check_layout(root)
    lists = {name: _stems(path) for name in _LISTS if (path := root / "ImageSets" / f"{name}.txt").is_file()}
    splits, listed, published = _splits(root, lists)
    annotated = {stem: _annotated(root, stem) for stem in splits}
    labels = {stem: _labels(root, stem, found) for stem, found in annotated.items()}
    classes = [name for name in CLASSES if any(name in certain for certain, _ in labels.values())]
    samples = [_sample(root, stem, split, annotated[stem], labels[stem], classes) for stem, split in splits.items()]
    values = MaskValues(ignored=(VOID,), classes=tuple(CLASSES.index(name) + 1 for name in classes))
    return Source(
        root,
        tuple(classes),
        samples,
        mask_values=values,
        published=published,
        listed=listed,
        several_labels=SEVERAL_LABELS,
    )


def _stems(path: Path) -> list[str]:
    stems = []
    for number, line in read_lines(path):
        stem = line.strip()
        if not stem or "/" in stem or len(stem.split()) != 1 or path_flaw(stem):
            raise DataError(f"{path}:{number}: expected the name of an image without its suffix, found {line!r}.")
        stems.append(stem)
    if len(set(stems)) < len(stems):
        twice = next(stem for i, stem in enumerate(stems) if stem in stems[:i])
        raise DataError(f"{path}: {twice} occurs for the second time; an image has one line.")
    return stems


def _splits(root: Path, lists: Mapping[str, list[str]]) -> tuple[dict[str, str], Mapping[str, int], Mapping[str, int]]:
    """Each image's split; how many images are listed, and how many were published."""
    published = dict(_PUBLISHED.get(root.name, {}))
    listed = {name: len(stems) for name, stems in lists.items()}
    train = [stem for name, stems in lists.items() if not name.endswith("/test") for stem in stems]
    test = lists.get("Main/test", [])
    if any((root / "Annotations" / f"{stem}.xml").is_file() for stem in test):
        published |= _TEST.get(root.name, {})
    else:
        test = lists.get("Segmentation/val", [])
        if (root / _AUGMENTED).is_dir():
            train = _augmented(root, lists)
            listed, published = listed | {"trainaug": len(set(train) - set(test))}, published | _AUGMENTED_IMAGES
    return dict.fromkeys(train, "train") | dict.fromkeys(test, "test"), listed, published


def _augmented(root: Path, lists: Mapping[str, list[str]]) -> list[str]:
    stems = {path.stem for path in (root / _AUGMENTED).glob("*.png")}
    return sorted(stems | set(lists.get("Segmentation/train", [])))


def _annotated(root: Path, stem: str) -> Annotated | None:
    """The objects of an image; None where it has a mask alone, as some of ``SegmentationClassAug`` may."""
    path = root / "Annotations" / f"{stem}.xml"
    if not path.is_file() and (root / _AUGMENTED / f"{stem}.png").is_file():
        return None
    found = read_xml(path, stem).get(stem)
    if found is None:
        raise DataError(f"{path}: expected the <annotation> of one image.")
    unknown = {name for name in map(_name, found.boxes) if name not in CLASSES}
    if unknown:
        raise DataError(
            f"{path}: {', '.join(sorted(unknown))} is none of the twenty classes. Images of your own with annotations "
            "of this form are read by prepare.dataset: folder."
        )
    return found


def _name(box: LabelledBox) -> str:
    return (box.label or "").lower()


def _labels(root: Path, stem: str, found: Annotated | None) -> tuple[set[str], set[str]]:
    """Names of the classes that an image certainly shows, and of those whose objects are all difficult."""
    if found is None:
        numbers = {int(n) for n in set(stored_numbers(read_file(root / _AUGMENTED / f"{stem}.png")).flat)}
        return {CLASSES[n - 1] for n in numbers if 1 <= n <= len(CLASSES)}, set()
    certain = {_name(box) for box in found.boxes if not box.difficult}
    return certain, {_name(box) for box in found.boxes} - certain


def _sample(
    root: Path,
    stem: str,
    split: str,
    found: Annotated | None,
    labels: tuple[set[str], set[str]],
    classes: Sequence[str],
) -> Sample:
    boxes = [box for box in found.boxes if not box.difficult] if found else []
    certain, uncertain = (tuple(i for i, name in enumerate(classes) if name in names) for names in labels)
    return Sample(
        image_id=stem,
        path=f"JPEGImages/{stem}.jpg",
        split=split,
        labels=certain,
        boxes=tuple(box.xyxy for box in boxes),
        masks=_masks(root, stem),
        frame=found.frame if found else None,
        box_labels=tuple(classes.index(_name(box)) for box in boxes),
        uncertain=uncertain,
    )


def _masks(root: Path, stem: str) -> Masks:
    for folder in (_SEGMENTATION, _AUGMENTED):
        if (root / folder / f"{stem}.png").is_file():
            return Masks((f"{folder}/{stem}.png",))
    return Masks()
