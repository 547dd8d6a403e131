"""A YOLO data set: ``labels/….txt`` and ``data.yaml``, as Ultralytics and most tools import it.

A line is ``class x-centre y-centre width height``, classes from 0, all lengths as shares of the image. There is no
place for a score. Labels lie at the path of their image, under ``labels`` in place of ``images``: put the images, or a
link to their folder, at ``yolo/images``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import yaml

from pipeline.errors import DataError, reason
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


def read(path: Path, sizes: Mapping[str, tuple[str, int, int]]) -> list[AnnotatedImage]:
    """Read a ``data.yaml`` with the labels beside it.

    Args:
        sizes: path, width and height of the images, by the path of the label below ``labels``, without suffix.

    Raises:
        DataError: it is not one, or a label is of an unknown image.
    """
    try:
        names = yaml.safe_load(path.read_text())["names"]
        known = dict(enumerate(names)) if isinstance(names, list) else {int(key): name for key, name in names.items()}
        root = path.parent / "labels"
        images = []
        for file in sorted(root.rglob("*.txt")):
            place, width, height = sizes[file.relative_to(root).with_suffix("").as_posix()]
            boxes = [_box(line, known, width, height) for line in file.read_text().splitlines() if line.strip()]
            images.append(AnnotatedImage(place, width, height, boxes))
        return images
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read as a YOLO data set: {type(error).__name__}: {reason(error)}.") from None


def _box(line: str, names: Mapping[int, str], width: int, height: int) -> AnnotatedBox:
    number, x, y, w, h = line.split()[:5]
    across, down = float(w) * width / 2, float(h) * height / 2
    x_centre, y_centre = float(x) * width, float(y) * height
    corners = (x_centre - across, y_centre - down, x_centre + across, y_centre + down)
    return AnnotatedBox(corners, str(names[int(number)]))
