"""CVAT's "CVAT for images 1.1": one XML file, the score as an attribute of each box.

Corners are floats in pixels, half open. The names of the images must be those of the task: its images are to be
uploaded from the folder that the paths are relative to. Give the labels of the task a number attribute ``score``.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

from pipeline.errors import DataError, reason
from pipeline.files import write_bytes
from pipeline.predict.formats.annotation import AnnotatedBox, AnnotatedImage, Images, parse_xml, printable, xml_text

FILE = "cvat.xml"


def write(folder: Path, images: Images, classes: Sequence[str], model: str) -> None:
    """Write ``cvat.xml``."""
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    for number, image in enumerate(images()):
        size = {"width": str(image.width), "height": str(image.height)}
        entry = SubElement(root, "image", {"id": str(number), "name": printable(image.path)} | size)
        for box in image.boxes:
            corners = dict(zip(("xtl", "ytl", "xbr", "ybr"), (f"{value:.2f}" for value in box.xyxy), strict=True))
            facts = {"label": printable(box.label), "occluded": "0", "source": "auto", "z_order": "0"}
            place = SubElement(entry, "box", facts | corners)
            if box.score is not None:
                SubElement(place, "attribute", {"name": "score"}).text = f"{box.score:.6g}"
    write_bytes(folder / FILE, xml_text(root))


def read(path: Path) -> list[AnnotatedImage]:
    """Read what CVAT exports under that name.

    Raises:
        DataError: the file is not of this format.
    """
    try:
        return [_image(entry) for entry in parse_xml(path).findall("image")]
    except (KeyError, ValueError) as error:
        raise DataError(f"{path} is not CVAT for images 1.1: {type(error).__name__}: {reason(error)}.") from None


def _image(entry: Element) -> AnnotatedImage:
    boxes = []
    for box in entry.findall("box"):
        x0, y0, x1, y1 = (float(box.attrib[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
        score = next((a.text for a in box.findall("attribute") if a.get("name") == "score" and a.text), None)
        boxes.append(AnnotatedBox((x0, y0, x1, y1), box.attrib["label"], None if score is None else float(score)))
    return AnnotatedImage(entry.attrib["name"], int(entry.attrib["width"]), int(entry.attrib["height"]), boxes)
