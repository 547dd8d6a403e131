"""CUB-200-2011 in its official layout (Wah et al., Caltech technical report CNS-TR-2011-001).

``ROOT/{images/, images.txt, image_class_labels.txt, train_test_split.txt, bounding_boxes.txt, classes.txt}``; a part
of the classes or images is fine as long as the files agree.
"""

from pathlib import Path

from pipeline.data.source import Sample, Source
from pipeline.errors import DataError

_FILES = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt", "classes.txt")


def check_layout(root: Path) -> None:
    """Raise DataError unless ``root`` looks like the data set."""
    missing = [name for name in (*_FILES, "images") if not (root / name).exists()]
    if missing:
        raise DataError(
            f"prepare.root: {root.absolute()} has no {', '.join(missing)}. It must be the CUB_200_2011 folder of the "
            "official archive, the one that holds images.txt."
        )


def read_source(root: Path) -> Source:
    """Read the annotation files; images are not opened.

    Raises:
        DataError: a file is missing, a line is malformed, or an image is not in all files.
    """
    check_layout(root)
    paths, classes, splits, boxes, names = (_table(root / name) for name in _FILES)
    for other in _FILES[1:4]:
        _same_images(root, paths, _table(root / other), other)
    for image, (value, *_) in splits.items():
        if value not in ("0", "1"):
            raise DataError(f"{root / 'train_test_split.txt'}: image {image}: expected 0 or 1, found {value!r}.")
    index = {class_id: i for i, class_id in enumerate(names)}
    unknown = next((image for image, fields in classes.items() if fields[0] not in index), None)
    if unknown is not None:
        raise DataError(f"{root / 'image_class_labels.txt'}: image {unknown} has a class that classes.txt lacks.")
    samples = [
        Sample(
            image_id=image,
            path=f"images/{' '.join(fields)}",
            split="train" if splits[image][0] == "1" else "test",
            labels=(index[classes[image][0]],),
            boxes=(_xyxy(root, image, boxes[image]),),
        )
        for image, fields in paths.items()
    ]
    return Source(root, tuple(" ".join(fields) for fields in names.values()), samples)


def _table(path: Path) -> dict[str, list[str]]:
    """First column → the other columns, in the file's order."""
    table: dict[str, list[str]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}. Convert it, for example with iconv.") from None
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if fields and fields[0] in table:
            raise DataError(f"{path}:{number}: {fields[0]} occurs for the second time; ids must be unique.")
        if len(fields) == 1:
            raise DataError(f"{path}:{number}: expected an id and its values, found {line!r}.")
        if fields:
            table[fields[0]] = fields[1:]
    return table


def _same_images(root: Path, paths: dict[str, list[str]], table: dict[str, list[str]], name: str) -> None:
    lost = sorted(paths.keys() ^ table.keys())
    if lost:
        raise DataError(
            f"{root / name} and images.txt disagree on {len(lost)} images, the first {', '.join(lost[:10])}. "
            "Take both files from the same archive."
        )


def _xyxy(root: Path, image: str, fields: list[str]) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = map(float, fields)
    except ValueError:
        raise DataError(
            f"{root / 'bounding_boxes.txt'}: image {image}: expected x y width height, found {' '.join(fields)!r}."
        ) from None
    return x, y, x + width, y + height
