"""XML: Pascal VOC, a file for each image, or "CVAT for images 1.1", one file for all."""

from pathlib import Path
from xml.etree.ElementTree import Element

from pipeline.data.annotations.record import Annotated, Flaws, LabelledBox, number, parse_xml
from pipeline.errors import DataError


def read(path: Path, name: str) -> dict[str, Annotated]:
    """Boxes of one image (VOC) by the name of the file itself, or of many (CVAT) by the name that each has there.

    The ``filename`` of VOC is not read: it is left as it was when files are renamed, and is "%s" in published archives.
    """
    root = parse_xml(path)
    flaws = Flaws(path)
    named: dict[str, Annotated] = {}
    if root.tag == "annotation":
        with flaws.at("annotation"):
            named[name] = _voc(root)
    elif root.tag == "annotations":
        for entry in root.findall("image"):
            with flaws.at(f"image {entry.get('name', '')[:80]!r}"):
                named[entry.attrib["name"]] = _cvat(entry)
    else:
        raise DataError(f"{path}: expected <annotation> (Pascal VOC) or <annotations> (CVAT), found <{root.tag[:40]}>.")
    flaws.refuse()
    return named


def _voc(root: Element) -> Annotated:
    """Corners count pixels from 1 and include the last; parts of an object have boxes of their own, left out here."""
    boxes = []
    for thing in root.findall("object"):
        x0, y0, x1, y1 = (number(thing.findtext(f"bndbox/{name}")) for name in ("xmin", "ymin", "xmax", "ymax"))
        label = (thing.findtext("name") or "").strip() or None
        boxes.append(LabelledBox((x0 - 1, y0 - 1, x1, y1), label, (thing.findtext("difficult") or "").strip() == "1"))
    return Annotated(tuple(boxes), _frame(root.findtext("size/width"), root.findtext("size/height")))


def _cvat(entry: Element) -> Annotated:
    """Corners in pixels from 0."""
    boxes = []
    for box in entry.findall("box"):
        if number(box.get("rotation", "0")):
            raise ValueError(f"a box is rotated by {box.get('rotation')}°; boxes here are upright: draw it anew")
        x0, y0, x1, y1 = (number(box.get(name)) for name in ("xtl", "ytl", "xbr", "ybr"))
        boxes.append(LabelledBox((x0, y0, x1, y1), box.get("label")))
    return Annotated(tuple(boxes), _frame(entry.get("width"), entry.get("height")))


def _frame(width: str | None, height: str | None) -> tuple[float, float] | None:
    if not width or not height:
        return None
    frame = number(width), number(height)
    return frame if min(frame) > 0 else None
