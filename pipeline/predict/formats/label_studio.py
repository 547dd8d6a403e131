"""Label Studio: tasks with *predictions*, which people correct, and the labelling configuration their names come from.

Lengths are percent of the image. The score of a task orders them "least certain first" there. The images are to be
served as local files below the folder that the paths are relative to.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement

from pipeline.files import write_bytes, write_json
from pipeline.predict.formats.annotation import AnnotatedBox, AnnotatedImage, Images, printable, xml_text

FILE, CONFIG = "label-studio.json", "label-studio.xml"
_ROOT = "/data/local-files/?d="
_KEYS = ("x", "y", "width", "height")


def write(folder: Path, images: Images, classes: Sequence[str], model: str) -> None:
    """Write ``label-studio.json`` and ``label-studio.xml``."""
    write_json(folder / FILE, [_task(number, image, model) for number, image in enumerate(images(), start=1)])
    view = Element("View")
    SubElement(view, "Image", {"name": "image", "value": "$image"})
    labels = SubElement(view, "RectangleLabels", {"name": "label", "toName": "image"})
    for name in classes:
        SubElement(labels, "Label", {"value": printable(name)})
    write_bytes(folder / CONFIG, xml_text(view))


def _task(number: int, image: AnnotatedImage, model: str) -> dict[str, Any]:
    place = image.path if "://" in image.path else _ROOT + quote(image.path)
    scores = [box.score for box in image.boxes if box.score is not None]
    prediction = {
        "model_version": model,
        "score": max(scores, default=0.0),
        "result": [_region(f"{number}-{i}", box, image) for i, box in enumerate(image.boxes)],
    }
    return {"data": {"image": place}, "predictions": [prediction]}


def _region(name: str, box: AnnotatedBox, image: AnnotatedImage) -> dict[str, Any]:
    x0, y0, x1, y1 = box.xyxy
    percent = (100 * x0 / image.width, 100 * y0 / image.height,
               100 * (x1 - x0) / image.width, 100 * (y1 - y0) / image.height)  # fmt: skip
    value = dict(zip(_KEYS, percent, strict=True)) | {"rotation": 0, "rectanglelabels": [box.label]}
    facts = {"id": name, "type": "rectanglelabels", "from_name": "label", "to_name": "image", "image_rotation": 0,
             "original_width": image.width, "original_height": image.height}  # fmt: skip
    return facts | {"value": value, "score": box.score}
