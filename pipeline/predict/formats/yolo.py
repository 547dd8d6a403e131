"""A YOLO data set: ``labels/….txt`` and ``data.yaml``, as Ultralytics and most tools import it.

A line is ``class x-centre y-centre width height``, classes from 0, all lengths as shares of the image. There is no
place for a score. Labels lie at the path of their image, under ``labels`` in place of ``images``: put the images, or a
link to their folder, at ``yolo/images``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import yaml

from pipeline.files import write_bytes
from pipeline.predict.formats.annotation import AnnotatedBox, AnnotatedImage, Images

FOLDER = "yolo"


def write(folder: Path, images: Images, classes: Sequence[str], model: str) -> None:
    """Write ``yolo/``; an image without boxes has an empty file: it shows background alone."""
    index = {name: number for number, name in enumerate(classes)}
    for image in images():
        if "://" not in image.path:
            lines = "".join(_line(box, index, image) for box in image.boxes)
            write_bytes(folder / FOLDER / "labels" / PurePosixPath(image.path).with_suffix(".txt"), lines.encode())
    facts = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(classes))}
    text = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)
    write_bytes(folder / FOLDER / "data.yaml", text.encode())


def _line(box: AnnotatedBox, index: Mapping[str, int], image: AnnotatedImage) -> str:
    x0, y0, x1, y1 = box.xyxy
    shares = ((x0 + x1) / 2 / image.width, (y0 + y1) / 2 / image.height,
              (x1 - x0) / image.width, (y1 - y0) / image.height)  # fmt: skip
    return " ".join([str(index[box.label]), *(f"{value:.6f}" for value in shares)]) + "\n"
