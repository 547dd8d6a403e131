"""ILSVRC CLS-LOC, ImageNet with 1,000 classes (Russakovsky et al., IJCV 2015), in either of its packagings.

* 2015 and later, and Kaggle's: ``ROOT/{Data/CLS-LOC/{train/WNID, val}, Annotations/CLS-LOC/val}``, ``ROOT`` being
  ``ILSVRC``;
* 2012: ``ROOT/{train/WNID, val}`` with the boxes of ``ILSVRC2012_bbox_val_v3.tgz`` in ``ROOT/bbox_val``.

Images of val may lie flat or in folders of their WNID. As the field has it, the official val, all 50,000 images, is
``test`` here, and its boxes are taken as they are written, without counting from 0; val is set aside from train. With
ImageNetV2 as val, as in the benchmark, take ``text_metadata``. Classes are in the order of their WNIDs, which is
torchvision's and timm's; ``LOC_synset_mapping.txt`` in ``ROOT`` or beside it names them.
"""

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from pipeline.data.annotations.record import Flaws, number, parse_xml
from pipeline.data.lists import read_lines
from pipeline.data.source import Box, Sample, Source
from pipeline.data.tree import listed
from pipeline.errors import DataError
from pipeline.params import PrepareParams

_PUBLISHED = {"train": 1281167, "test": 50000}
_NAMES = "LOC_synset_mapping.txt"


@dataclass(frozen=True)
class _Packaging:
    """Folders relative to the root."""

    train: str
    val: str
    boxes: str


_PACKAGINGS = (
    _Packaging("Data/CLS-LOC/train", "Data/CLS-LOC/val", "Annotations/CLS-LOC/val"),
    _Packaging("train", "val", "bbox_val"),
)


def check_layout(root: Path) -> None:
    """Raise DataError unless ``root`` is one of the packagings."""
    _packaging(root)


def read_source(settings: PrepareParams, _folder: Path) -> Source:
    """List the images and read the boxes of val; images are not opened.

    Raises:
        DataError: a folder is missing, an image of val has no boxes, or an XML file cannot be understood.
    """
    root = Path(settings.root)
    folders = _packaging(root)
    wnids = sorted(path.name for path in (root / folders.train).iterdir() if path.is_dir())
    index = {wnid: label for label, wnid in enumerate(wnids)}
    samples = [
        Sample(path.stem, path.relative_to(root).as_posix(), "train", (index[wnid],))
        for wnid in wnids
        for path in _images(root / folders.train / wnid)
    ]
    samples += _val(root, folders, index)
    return Source(root, _class_names(root, wnids), samples, published=_PUBLISHED)


def _packaging(root: Path) -> _Packaging:
    for folders in _PACKAGINGS:
        if all((root / name).is_dir() for name in (folders.train, folders.val, folders.boxes)):
            return folders
    wanted = " or ".join(f"{one.train}, {one.val} and {one.boxes}" for one in _PACKAGINGS)
    raise DataError(
        f"prepare.root: {root.absolute()} lacks folders: {wanted} are needed. The archives are at "
        "https://image-net.org, behind its terms; those of 2015 and later are unpacked to a folder ILSVRC."
    )


def _images(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg", ".png"))
    return sorted(found)


def _val(root: Path, folders: _Packaging, index: dict[str, int]) -> list[Sample]:
    """The samples of the official val; the class of an image is that of its boxes."""
    files = {path.stem: path for path in (root / folders.boxes).rglob("*.xml")}
    images = _images(root / folders.val)
    if lost := [path.name for path in images if path.stem not in files]:
        raise DataError(
            f"{len(lost)} images of {root / folders.val} have no XML in {root / folders.boxes}:{listed(lost)}"
        )
    flaws = Flaws(root / folders.boxes)
    samples = []
    for path in images:
        with flaws.at(f"{path.stem}.xml"):
            label, boxes, frame = _annotation(parse_xml(files[path.stem]), index)
            name = path.relative_to(root).as_posix()
            samples.append(Sample(path.stem, name, "test", (label,), boxes, frame=frame))
    flaws.refuse()
    return samples


def _annotation(xml: Element, index: dict[str, int]) -> tuple[int, tuple[Box, ...], tuple[float, float]]:
    """Class, boxes, and the size that they refer to, which is not always that of the image."""
    wnids, boxes = set(), []
    for thing in xml.findall("object"):
        wnids.add((thing.findtext("name") or "").strip())
        x0, y0, x1, y1 = (number(thing.findtext(f"bndbox/{name}")) for name in ("xmin", "ymin", "xmax", "ymax"))
        boxes.append((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
    if len(wnids) != 1 or not wnids <= index.keys():
        raise ValueError(f"expected boxes of one class of train, found {', '.join(sorted(wnids)) or 'none'}")
    width, height = (number(xml.findtext(f"size/{side}")) for side in ("width", "height"))
    return index[wnids.pop()], tuple(boxes), (width, height)


def _class_names(root: Path, wnids: list[str]) -> tuple[str, ...]:
    path = next((path for path in (root / _NAMES, root.parent / _NAMES) if path.is_file()), None)
    if path is None:
        return tuple(wnids)
    names = dict(line.split(" ", 1) for _, line in read_lines(path) if " " in line)
    return tuple(f"{wnid} {names[wnid].strip()}" if wnid in names else wnid for wnid in wnids)
