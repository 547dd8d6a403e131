"""Pascal VOC: one XML file per image. Corners are whole pixels from 1, ends included; there is no place for a score."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, SubElement

from pipeline.files import write_bytes
from pipeline.predict.formats.annotation import AnnotatedImage, Images, printable, xml_text

FOLDER = "voc"


def write(folder: Path, images: Images, classes: Sequence[str], model: str) -> None:
    """Write ``voc/Annotations/….xml``, at the paths of the images."""
    for image in images():
        if "://" not in image.path:
            place = folder / FOLDER / "Annotations" / PurePosixPath(image.path).with_suffix(".xml")
            write_bytes(place, xml_text(_annotation(image)))


def _annotation(image: AnnotatedImage) -> Element:
    root = Element("annotation")
    SubElement(root, "filename").text = printable(image.path)
    size = SubElement(root, "size")
    for name, value in (("width", image.width), ("height", image.height), ("depth", 3)):
        SubElement(size, name).text = str(value)
    SubElement(root, "segmented").text = "0"
    for box in image.boxes:
        thing = SubElement(root, "object")
        for name, text in (
            ("name", printable(box.label)),
            ("pose", "Unspecified"),
            ("truncated", "0"),
            ("difficult", "0"),
        ):
            SubElement(thing, name).text = text
        x0, y0, x1, y1 = box.xyxy
        corners = {"xmin": round(x0) + 1, "ymin": round(y0) + 1,
                   "xmax": max(round(x1), round(x0) + 1), "ymax": max(round(y1), round(y0) + 1)}  # fmt: skip
        place = SubElement(thing, "bndbox")
        for name, value in corners.items():
            SubElement(place, name).text = str(value)
    return root
