"""Files that annotation tools and detectors import: one adapter a file, around one record type.

Each adapter has ``write(folder, images, classes, model)``, whose ``images()`` gives the images anew, one in memory at a
time where its format allows it, and ``read(path)``, which reads the same format back.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.predict.formats.annotation import AnnotatedBox, AnnotatedImage, file_names
from pipeline.predict.record import Prediction

FORMATS = ("coco", "coco-full", "yolo", "voc", "cvat", "label-studio")


def adapter(name: str) -> Any:
    """The module of a format."""
    return import_module(f"pipeline.predict.formats.{name.replace('-', '_')}")


def check_formats(names: Sequence[str]) -> None:
    """Raise UserError where a format is not known."""
    if unknown := [name for name in names if name not in FORMATS]:
        raise UserError(f"--format: {', '.join(unknown)} is not known; the formats are {', '.join(FORMATS)}.")


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
