"""CUB-200-2011 in its official layout (Wah et al., Caltech technical report CNS-TR-2011-001).

``ROOT/{images/, images.txt, image_class_labels.txt, train_test_split.txt, bounding_boxes.txt, classes.txt}``; a part
of the classes or images is fine as long as the files agree. Where ``segmentations.tgz`` is unpacked in ``ROOT``,
every image has its mask there; a grey value is how many annotators agreed, and all but 0 are the bird.
"""

import re
from pathlib import Path, PurePosixPath

from pipeline.data.lists import read_lines
from pipeline.data.masks import Masks
from pipeline.data.source import Sample, Source
from pipeline.errors import DataError
from pipeline.params import PrepareParams

_FILES = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt", "classes.txt")
_PUBLISHED = {"train": 5994, "test": 5794}


def check_layout(root: Path) -> None:
    """Raise DataError unless ``root`` looks like the data set."""
    missing = [name for name in (*_FILES, "images") if not (root / name).exists()]
    if missing:
        raise DataError(
            f"prepare.root: {root.absolute()} has no {', '.join(missing)}. It must be the CUB_200_2011 folder of the "
            "official archive, the one that holds images.txt."
        )


def read_source(settings: PrepareParams, _folder: Path) -> Source:
    """Read the annotation files; images are not opened.

    Raises:
        DataError: a file is missing, a line is malformed, or an image is not in all files.
    """
    root = Path(settings.root)
    check_layout(root)
    paths, classes, splits, boxes, names = (_table(root / name) for name in _FILES)
    for other in _FILES[1:4]:
        _same_images(root, paths, _table(root / other), other)
    for image, value in splits.items():
        if value.strip() not in ("0", "1"):
            raise DataError(f"{root / 'train_test_split.txt'}: image {image}: expected 0 or 1, found {value!r}.")
    index = {class_id: i for i, class_id in enumerate(names)}
    unknown = next((image for image, name in classes.items() if name.strip() not in index), None)
    if unknown is not None:
        raise DataError(f"{root / 'image_class_labels.txt'}: image {unknown} has a class that classes.txt lacks.")
    segmented = (root / "segmentations").is_dir()
    samples = [
        Sample(
            image_id=image,
            path=f"images/{path}",
            split="train" if splits[image].strip() == "1" else "test",
            labels=(index[classes[image].strip()],),
            boxes=(_xyxy(root, image, boxes[image]),),
            masks=Masks((f"segmentations/{PurePosixPath(path).with_suffix('.png')}",)) if segmented else Masks(),
        )
        for image, path in paths.items()
    ]
    if not any(sample.split == "test" for sample in samples):
        # Its own split is the protocol: none is set aside in its place.
        raise DataError(f"{root / 'train_test_split.txt'}: split test has no image. Take the archive's own file.")
    return Source(root, tuple(names.values()), samples, published=_PUBLISHED)


def _table(path: Path) -> dict[str, str]:
    """Id → what follows the first blank of its line, as it stands: names may hold any blanks; in the file's order."""
    table: dict[str, str] = {}
    for number, line in read_lines(path):
        image, value = [*re.split("[ \t]", line, maxsplit=1), ""][:2]
        if not image or not value.strip():
            raise DataError(f"{path}:{number}: expected an id, one blank and its values, found {line!r}.")
        if image in table:
            raise DataError(f"{path}:{number}: {image} occurs for the second time; ids must be unique.")
        table[image] = value
    return table


def _same_images(root: Path, paths: dict[str, str], table: dict[str, str], name: str) -> None:
    lost = sorted(paths.keys() ^ table.keys())
    if lost:
        raise DataError(
            f"{root / name} and images.txt disagree on {len(lost)} images, the first {', '.join(lost[:10])}. "
            "Take both files from the same archive."
        )


def _xyxy(root: Path, image: str, text: str) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = map(float, text.split())
    except ValueError:
        raise DataError(
            f"{root / 'bounding_boxes.txt'}: image {image}: expected x y width height, found {text!r}."
        ) from None
    return x, y, x + width, y + height
