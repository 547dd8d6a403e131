"""CVAT's "CVAT for images 1.1": one XML file, the score as an attribute of each box.

Corners are floats in pixels, half open. The names of the images must be those of the task: its images are to be
uploaded from the folder that the paths are relative to. Give the labels of the task a number attribute ``score``.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

from pipeline.files import write_bytes
from pipeline.predict.formats.annotation import Images, printable, xml_text

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
