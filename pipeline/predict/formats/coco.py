"""COCO results: a list of image_id, category_id, bbox and score, for pycocotools and FiftyOne.

Boxes are ``[x, y, width, height]`` in pixels. Ids of images and categories count from 1, in the order of
``coco-full``, which names them: images in the order of the predictions, categories in the model's.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.files import write_json
from pipeline.predict.formats.annotation import Corners, Images

FILE = "predictions.json"


def write(folder: Path, images: Images, classes: Sequence[str], model: str) -> None:
    """Write ``predictions.json``."""
    write_json(folder / FILE, [{"image_id": number} | entry for number, entry in entries(images, classes)])


def entries(images: Images, classes: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number of each box's image, and what COCO says of the box."""
    ids = {name: number for number, name in enumerate(classes, start=1)}
    for number, image in enumerate(images(), start=1):
        for box in image.boxes:
            yield number, {"category_id": ids[box.label], "bbox": xywh(box.xyxy), "score": box.score}


def xywh(xyxy: Corners) -> list[float]:
    """A box as COCO has it, to hundredths of a pixel."""
    x0, y0, x1, y1 = xyxy
    return [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)]
