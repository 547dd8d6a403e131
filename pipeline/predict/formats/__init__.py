"""Files that annotation tools and detectors import: one adapter a file, around one record type.

Each adapter has ``write(folder, images, classes, model)``, whose ``images()`` gives the images anew, one in memory at a
time where its format allows it. What people corrected is read back by :mod:`pipeline.data.annotations`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import UserError
from pipeline.predict.formats.annotation import AnnotatedBox, AnnotatedImage, file_names
from pipeline.predict.record import Prediction

FORMATS = ("coco", "coco-full", "yolo", "voc", "cvat", "label-studio")
#: Of these the file of an image's boxes is named as the image is, without its suffix.
BY_STEM = ("yolo", "voc")


def adapter(name: str) -> Any:
    """The module of a format."""
    return import_module(f"pipeline.predict.formats.{name.replace('-', '_')}")


def check_formats(names: Sequence[str], places: Sequence[str] = ()) -> None:
    """Raise UserError where a format is not known, or would write the boxes of two images into one file.

    Args:
        places: of the images, where they are known.
    """
    if unknown := [name for name in names if name not in FORMATS]:
        raise UserError(f"--format: {', '.join(unknown)} is not known; the formats are {', '.join(FORMATS)}.")
    if by_stem := [name for name in names if name in BY_STEM]:
        stems: dict[str, str] = {}
        for place in dict.fromkeys(places):
            if (other := stems.setdefault(str(PurePosixPath(place).with_suffix("")), place)) != place:
                raise UserError(
                    f"--format {','.join(by_stem)}: {other} and {place} differ in their suffix alone, and a file of "
                    "boxes there is named without it. Rename one of them, or take another format."
                )


def export(
    names: Sequence[str],
    folder: Path,
    records: Callable[[], Iterable[Prediction]],
    classes: Sequence[str],
    model: str,
) -> None:
    """Write predictions in these formats; images without a prediction are left out."""
    if not names:
        return
    paths = file_names([record.path for record in records()])

    def images() -> Iterator[AnnotatedImage]:
        for path, record in zip(paths, records(), strict=True):
            if not record.error:
                boxes = [AnnotatedBox(box.xyxy, record.class_name, box.score) for box in record.boxes]
                yield AnnotatedImage(path, record.width, record.height, boxes)

    for name in dict.fromkeys(names):
        adapter(name).write(folder, images, classes, model)
