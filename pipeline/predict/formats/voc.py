"""Pascal VOC: one XML file per image. Corners are whole pixels from 1, ends included; there is no place for a score."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, SubElement

from pipeline.errors import DataError, reason
from pipeline.files import write_bytes
from pipeline.predict.formats.annotation import AnnotatedBox, AnnotatedImage, Images, parse_xml, printable, xml_text

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


def read(path: Path) -> list[AnnotatedImage]:
    """Read one file, or all below a folder.

    Raises:
        DataError: one is not of this format.
    """
    files = sorted(path.rglob("*.xml")) if path.is_dir() else [path]
    return [_image(file) for file in files]


def _image(file: Path) -> AnnotatedImage:
    root = parse_xml(file)
    try:
        width, height = (int(float(root.findtext(f"size/{name}", ""))) for name in ("width", "height"))
        boxes = []
        for thing in root.findall("object"):
            x0, y0, x1, y1 = (float(thing.findtext(f"bndbox/{name}", "")) for name in ("xmin", "ymin", "xmax", "ymax"))
            boxes.append(AnnotatedBox((x0 - 1, y0 - 1, x1, y1), thing.findtext("name", "")))
        return AnnotatedImage(root.findtext("filename", ""), width, height, boxes)
    except ValueError as error:
        raise DataError(f"{file} is not Pascal VOC: {reason(error)}.") from None
